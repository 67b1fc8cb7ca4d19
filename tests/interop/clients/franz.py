"""franz-go, run by franz/main.go."""

import json

from clients.admin import Admin, AdminError, Cluster
from clients.base import ProgramClient


class Franz(ProgramClient, Admin):
    name = "franz-go"

    def __init__(self, bootstrap: str, directory: str):
        super().__init__(bootstrap)
        self.directory = directory

    def command(self) -> list[str]:
        return [f"{self.directory}/franz"]

    def ask(self, verb: str, *arguments) -> dict:
        answer = json.loads(self.run(verb, self.bootstrap, *map(str, arguments)))
        if "code" in answer:
            raise AdminError(answer["code"])
        return answer

    def create_topic(self, topic: str, partition_count: int, replication_factor: int = 1) -> None:
        self.ask("create", topic, partition_count, replication_factor)

    def delete_topic(self, topic: str) -> None:
        self.ask("delete", topic)

    def leaders(self) -> dict[str, list[int]]:
        return self.ask("leaders")

    def cluster(self) -> Cluster:
        answer = self.ask("cluster")
        return Cluster(answer["cluster_id"], answer["controller"],
                       {int(node): address for node, address in answer["brokers"].items()})

    def offset_at(self, topic: str, partition: int, timestamp: int) -> int | None:
        return self.ask("offset", topic, partition, timestamp)["offset"]
