"""A producer who finishes what it begins: one warm connection to each lane, a few requests under way on each."""

import time
from collections import deque

from tests.wire import batch, kafka

BATCH_BYTES = 64 << 10  # large enough to need a reservation, so it is in the crowd's way
DEPTH = 4


class Honest:
    def __init__(self, cluster: kafka.Cluster, topic: str, partitions: list[int]):
        """`partitions`: one of each lane."""
        records = batch.batch_of_size(BATCH_BYTES)
        self.lanes = [(cluster.leader(topic, p), kafka.produce_body(topic, p, records)) for p in partitions]
        self.rate(0.5)  # from now on the connections are known to finish their requests

    def rate(self, seconds: float) -> float:
        """Acknowledged bytes a second."""
        began = time.monotonic()
        under_way = deque()
        for _ in range(DEPTH):
            for connection, body in self.lanes:
                connection.send(kafka.PRODUCE, body)
                under_way.append((connection, body))
        acknowledged = 0
        while under_way:
            connection, body = under_way.popleft()
            produced = kafka.read_produced(connection.receive()[1])
            assert produced.error == kafka.NONE, f"honest producer: error {produced.error}"
            acknowledged += BATCH_BYTES
            if time.monotonic() < began + seconds:
                connection.send(kafka.PRODUCE, body)
                under_way.append((connection, body))
        return acknowledged / (time.monotonic() - began)
