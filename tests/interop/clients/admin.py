"""What the administration checks ask of a client, in words that all of them share."""

from dataclasses import dataclass


class AdminError(Exception):
    """A refusal by the broker, with Kafka's number for it."""

    OFFSET_OUT_OF_RANGE = 1
    UNKNOWN_TOPIC_OR_PARTITION = 3
    TOPIC_ALREADY_EXISTS = 36
    INVALID_REPLICATION_FACTOR = 38

    def __init__(self, code: int):
        super().__init__(f"error {code}")
        self.code = code


@dataclass
class Cluster:
    cluster_id: str
    controller: int
    brokers: dict[int, str]  # HOST:PORT by node id


class Admin:
    def create_topic(self, topic: str, partition_count: int, replication_factor: int = 1) -> None:
        raise NotImplementedError

    def delete_topic(self, topic: str) -> None:
        raise NotImplementedError

    def leaders(self) -> dict[str, list[int]]:
        """Every topic's leaders in order of partition."""
        raise NotImplementedError

    def cluster(self) -> Cluster:
        raise NotImplementedError

    def delete_records(self, topic: str, partition: int, before: int) -> int:
        """Deletes the records below an offset, -1: all; says where the log starts."""
        raise NotImplementedError

    def offset_at(self, topic: str, partition: int, timestamp: int) -> int | None:
        """The first offset whose timestamp is not earlier, None if there is none."""
        raise NotImplementedError
