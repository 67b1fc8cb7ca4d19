"""Apache Kafka's own kafka-console-producer and kafka-console-consumer, run by java/ConsoleJobs.java."""

from clients.base import ProgramClient


class JavaConsole(ProgramClient):
    name = "java"

    def __init__(self, bootstrap: str, kafka: str, console: str):
        super().__init__(bootstrap)
        self.class_path = f"{console}:{kafka}/libs/*"

    def command(self) -> list[str]:
        # A heap and a collector for a small machine; the run is too short for the second compiler to pay.
        return ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", self.class_path, "ConsoleJobs"]
