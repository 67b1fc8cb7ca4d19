"""Where the cases happen: a node, a topic to abuse, and an honest client who must not notice."""

import random

from tests.wire import batch, kafka
from tests.wire.node import Node

CLOSE_PATIENCE_S = 5
PARTITIONS = 4


class Site:
    def __init__(self, node: Node, seed: int):
        self.node = node
        self.random = random.Random(seed)
        self.cluster = kafka.Cluster(node.bootstrap)
        self.cluster.create_topic("abused", PARTITIONS)
        self.honest = Honest(node)
        self.is_node = type(node) is Node

    def connect(self, **options) -> kafka.Connection:
        """A fresh connection to the leader of partition 0."""
        return kafka.Connection(self.cluster.address_of("abused", 0), CLOSE_PATIENCE_S, **options)

    def other_lane(self) -> kafka.Connection:
        """A fresh connection to a broker that does not lead partition 0."""
        leader = self.cluster.address_of("abused", 0)
        return kafka.Connection(next(a for a in self.cluster.known.brokers.values() if a != leader), CLOSE_PATIENCE_S)

    def stored(self, topic: str = "abused", partition: int = 0) -> int:
        error, offset = kafka.end_offset(self.cluster.leader(topic, partition), topic, partition)
        assert error == kafka.NONE, f"ListOffsets: error {error}"
        return offset

    def refuses_batch(self, records: bytes, *errors: int) -> None:
        """The batch gets one of these errors, nothing is stored, and the connection goes on."""
        before = self.stored()
        with self.connect() as connection:
            error = kafka.produce(connection, "abused", 0, records).error
            assert error in errors, f"error {error}, expected {' or '.join(map(str, errors))}"
            assert self.stored() == before, "something was stored"
            assert kafka.produce(connection, "abused", 0, batch.batch([b"good"])) == (kafka.NONE, before), \
                "a good batch behind it"

    def closes(self, sent: bytes, what: str = "") -> None:
        """The node closes the connection on this, soon and without an answer."""
        with self.connect() as connection:
            try:
                connection.send_raw(sent)
                assert connection.is_closed_by_peer(), f"connection not closed {what}"
            except kafka.Closed:
                pass  # closed while we were sending

    def closes_or_answers(self, sent: bytes, what: str = "") -> None:
        """For requests that some implementations can make sense of; but no silence."""
        with self.connect() as connection:
            try:
                connection.send_raw(sent)
                connection.receive()
            except kafka.Closed:
                pass
            except TimeoutError:
                raise AssertionError(f"neither closed nor answered {what}") from None


class Honest:
    """One connection to each broker, kept from beginning to end, so any harm done to it shows."""

    def __init__(self, node: Node):
        self.node = node
        self.begin()
        # A small request and one that needs memory reserved for it.
        self.batches = [batch.batch([b"small"]), batch.batch_of_size(100_000, b"L")]

    def begin(self) -> None:
        self.cluster = kafka.Cluster(self.node.bootstrap)
        self.cluster.create_topic("honest", PARTITIONS)
        self.next = {p: kafka.end_offset(self.cluster.leader("honest", p), "honest", p)[1] for p in range(PARTITIONS)}

    def begin_again(self) -> None:
        """After a case that did harm, so that the next one is judged by what it does."""
        self.close()
        self.begin()

    def check(self) -> None:
        for partition in range(PARTITIONS):
            connection = self.cluster.leader("honest", partition)
            for records in self.batches:
                produced = kafka.produce(connection, "honest", partition, records)
                assert produced == (kafka.NONE, self.next[partition]), f"honest produce: {produced}"
                fetched = kafka.fetch(connection, "honest", partition, produced.base_offset)
                assert fetched.error == kafka.NONE, f"honest fetch: error {fetched.error}"
                # The node fills in the base offset and the leader epoch; all else is as it was sent.
                assert fetched.records[batch.MAGIC_AT:] == records[batch.MAGIC_AT:], "honest fetch: other bytes"
                self.next[partition] += 1

    def close(self) -> None:
        self.cluster.__exit__()
