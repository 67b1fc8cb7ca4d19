"""A small node that may fail, and what its operator sees of it."""

import functools
import os
import re
import struct
import subprocess
import time
from pathlib import Path

from tests.errors.faults import Faults
from tests.wire import batch, kafka
from tests.wire.node import BINARY, Node

SEGMENT = 16 << 20
TOPIC = "errors"
KAFKA_STORAGE_ERROR = 56


@functools.cache
def large() -> bytes:
    return batch.batch_of_size(900_000)


class SmallNode(Node):
    """One lane, small segments, over a ring that may be told to fail. A context manager."""

    def __init__(self, directory: Path | None = None, lanes: int = 1, prefix: list[str] = [], **settings: object):
        super().__init__(lanes=lanes, settings={"segment_bytes": SEGMENT, "memory.arena_bytes": 64 << 20,
                                                "io.measure": "off", "hugepages": "off"} |
                         {key.replace("__", "."): value for key, value in settings.items()})
        if directory:
            self.settings["data_directory"] = str(directory)
        self.faults = Faults(self.home / "faults")
        self.prefix = prefix
        self.cluster: kafka.Cluster | None = None

    @property
    def directory(self) -> Path:
        return Path(self.settings["data_directory"])

    def lane(self, number: int = 0) -> Path:
        return self.directory / f"lane-{number:03}"

    def segments(self, number: int = 0) -> list[Path]:
        return sorted(self.lane(number).glob("segment-*.log"))

    def command(self) -> list[str]:
        return [*self.prefix, *self.faults.environment(), *super().command()]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.forget()
        self.remove()

    # ---- starts that do not become ready ----

    def launch(self) -> None:
        with open(self.home / "log", "a") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, start_new_session=True)

    def refused(self, *words: str, patience_s: float = 15) -> str:
        """The start ends by itself, soon, with status 1, and says these words; returns what it said."""
        log = self.home / "log"
        begin = log.stat().st_size if log.exists() else 0
        self.launch()
        try:
            status = self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it was still running after {patience_s} s: {self.last_words()}") from None
        said = log.read_text()[begin:]
        assert status in (1, 2), f"exit status {status}: {said}"
        missing = [word for word in words if word not in said]
        assert not missing, f"the message does not say {missing}: {said}"
        return said

    def says(self, words: str, patience_s: float = 5) -> str:
        """The first line of the log with these words, a regular expression."""
        end = time.monotonic() + patience_s
        while True:
            for line in (self.home / "log").read_text().splitlines():
                if re.search(words, line):
                    return line
            assert time.monotonic() < end, f"the log does not say '{words}':\n{self.last_words(12)}"
            time.sleep(0.05)

    def not_ready(self, words: str, patience_s: float = 10) -> None:
        end = time.monotonic() + patience_s
        while True:
            status, body = self.get("/v1/status/ready")
            if status == 503 and re.search(words, body):
                return
            assert time.monotonic() < end, f"ready says {status} '{body}', not 503 '{words}'"
            time.sleep(0.05)

    def wait_ready(self, patience_s: float = 15) -> None:
        end = time.monotonic() + patience_s
        while not self.ready():
            assert self.alive(), f"it ended: {self.last_words()}"
            assert time.monotonic() < end, f"not ready: {self.get('/v1/status/ready')[1]}\n{self.last_words(12)}"
            time.sleep(0.02)

    def metric(self, name: str) -> float:
        return self.metrics().get(name, 0)

    # ---- a client ----

    def forget(self) -> None:
        if self.cluster:
            self.cluster.__exit__()
        self.cluster = None

    def client(self) -> kafka.Cluster:
        if self.cluster is None:
            self.cluster = kafka.Cluster(self.bootstrap)
        return self.cluster

    def topic(self, name: str = TOPIC, partitions: int = 1, **configs: str) -> None:
        self.client().create_topic(name, partitions, {k.replace("_", "."): v for k, v in configs.items()})

    def produce(self, value: bytes, topic: str = TOPIC, partition: int = 0) -> kafka.Produced:
        return kafka.produce(self.client().leader(topic, partition), topic, partition, batch.batch([value]))

    def put(self, count: int, size: int = 1000, topic: str = TOPIC) -> list[bytes]:
        """Acknowledged records."""
        values = [os.urandom(8).hex().encode() + b"." * (size - 16) for _ in range(count)]
        for value in values:
            produced = self.produce(value, topic)
            assert produced.error == kafka.NONE, f"produce: error {produced.error}"
        return values

    def put_together(self, count: int, size: int, topic: str = TOPIC) -> tuple[list[bytes], list[int]]:
        """Many requests under way at once on one connection: what was acknowledged, and the errors of the others."""
        connection = self.client().leader(topic, 0)
        values = [os.urandom(8).hex().encode() + b"." * (size - 16) for _ in range(count)]
        for value in values:
            connection.send(kafka.PRODUCE, kafka.produce_body(topic, 0, batch.batch([value])))
        answers = [kafka.read_produced(connection.receive()[1]) for _ in values]
        good = [value for value, answer in zip(values, answers) if answer.error == kafka.NONE]
        return good, [answer.error for answer in answers if answer.error != kafka.NONE]

    def read(self, topic: str = TOPIC) -> list[bytes]:
        return [record.value for record in self.client().records(topic, 0)]

    def holds(self, values: list[bytes], topic: str = TOPIC) -> None:
        found = self.read(topic)
        assert found == values, f"{len(found)} records read, {len(values)} acknowledged, or others"

    # ---- large batches, all with the same bytes: a checksum takes its time here ----

    def put_large(self, count: int, topic: str = TOPIC) -> int:
        """Returns how many were acknowledged before one was refused for lack of space."""
        for done in range(count):
            error = kafka.produce(self.client().leader(topic, 0), topic, 0, large()).error
            if error == KAFKA_STORAGE_ERROR:
                return done
            assert error == kafka.NONE, f"produce: error {error}"
        return count

    def offsets(self, topic: str = TOPIC, start: int = 0) -> list[int]:
        """Of all large batches from `start` on; each is compared."""
        found, high = [], start + 1
        while start < high:
            fetched = kafka.fetch(self.client().leader(topic, 0), topic, 0, start)
            assert fetched.error == kafka.NONE, f"Fetch at {start}: error {fetched.error}"
            high, at = fetched.high_watermark, 0
            assert fetched.records or start == high, f"nothing at {start} below {high}"
            while at < len(fetched.records):
                base, = struct.unpack_from(">q", fetched.records, at)
                assert fetched.records[at + batch.MAGIC_AT:at + len(large())] == large()[batch.MAGIC_AT:], "other bytes"
                found.append(base)
                start, at = base + 1, at + len(large())
        return found

    def again(self, crash: bool = True) -> None:
        """Ended, by SIGKILL or well, and started again."""
        self.end(crash)
        self.start()

    def end(self, crash: bool = True) -> None:
        self.forget()
        self.kill() if crash else self.stop_well()
