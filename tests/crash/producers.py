"""Producers of numbered records. Each remembers what was acknowledged; main.py compares that with what is there.

A record's value is `producer:partition:number:` and padding. Numbers count up from 0 in each partition of a producer's
own topic.
"""

import random
import threading
import time

from confluent_kafka import KafkaError, Producer

from tests.wire import batch, kafka

PADDING = bytes(range(33, 123)) * 40


def value_of(producer: str, partition: int, number: int, padding: int) -> bytes:
    return f"{producer}:{partition}:{number}:".encode() + PADDING[:padding]


class Load(threading.Thread):
    """A thread that writes until it is told to finish."""

    keeps_all = False     # every record written must be there in the end
    records_per_s = 1500

    def __init__(self, name: str, bootstrap: kafka.Address, partitions: int, seed: int):
        super().__init__(name=name, daemon=True)
        self.topic = name
        self.bootstrap = bootstrap
        self.random = random.Random(f"{seed}:{name}")
        self.written = [0] * partitions                                   # numbers given out
        self.acknowledged: list[dict[int, int]] = [{} for _ in range(partitions)]  # number -> offset
        self.failed = [0] * partitions
        self.fatal: list[str] = []
        self.done = threading.Event()

    def acknowledged_count(self) -> int:
        return sum(map(len, self.acknowledged))

    def finish(self) -> None:
        self.done.set()

    def next_values(self, partition: int, count: int) -> list[bytes]:
        first = self.written[partition]
        self.written[partition] += count
        # Mostly small records, as clients have them; now and then one of several pages.
        return [value_of(self.name, partition, number,
                         self.random.randrange(200) if self.random.random() < 0.9 else self.random.randrange(3500))
                for number in range(first, first + count)]


class LibraryLoad(Load):
    """librdkafka, acks=all."""

    def __init__(self, *arguments, settings: dict):
        super().__init__(*arguments)
        self.producer = Producer({"bootstrap.servers": "%s:%d" % self.bootstrap, "acks": "all", "linger.ms": 2,
                                  "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100, "retry.backoff.ms": 20,
                                  "retry.backoff.max.ms": 100, "topic.metadata.refresh.interval.ms": 2000,
                                  "queue.buffering.max.messages": 5000,
                                  "logger": None, "error_cb": self.on_error, "log_level": 0} | settings)

    def on_error(self, error) -> None:
        if error.fatal():
            self.fatal.append(str(error))

    def run(self) -> None:
        while not self.done.is_set():
            partition = self.random.randrange(len(self.written))
            for value in self.next_values(partition, self.random.randrange(1, 12)):
                self.produce(partition, value)
                time.sleep(1 / self.records_per_s)
        self.producer.flush(60)

    def produce(self, partition: int, value: bytes) -> None:
        number = int(value.split(b":", 3)[2])
        while True:
            try:
                self.producer.produce(self.topic, value, partition=partition,
                                      on_delivery=lambda error, message: self.delivered(error, message, number))
                self.producer.poll(0)
                return
            except BufferError:
                self.producer.poll(0.05)

    def delivered(self, error, message, number: int) -> None:
        partition = message.partition()
        if error is None:
            self.acknowledged[partition][number] = message.offset()
            return
        self.failed[partition] += 1
        if error.code() in (KafkaError._FATAL, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
                            KafkaError.UNKNOWN_PRODUCER_ID, KafkaError.INVALID_PRODUCER_EPOCH):
            self.fatal.append(str(error))


class Idempotent(LibraryLoad):
    """Lives through all crashes: the library repeats what was not acknowledged, the node drops what it has."""

    keeps_all = True

    def __init__(self, *arguments):
        super().__init__(*arguments, settings={"enable.idempotence": True, "message.timeout.ms": 120_000})


class Plain(LibraryLoad):
    """Sends everything once. What was under way when the node died may be there or not, but never twice."""

    def __init__(self, *arguments):
        super().__init__(*arguments, settings={"retries": 0, "message.timeout.ms": 3_000})


class Raw(Load):
    """Four requests under way on one connection, no library in between. Batches from one record to several pages."""

    depth = 4

    def run(self) -> None:
        while not self.done.is_set():
            try:
                with kafka.Cluster(self.bootstrap) as cluster:
                    self.write_to(cluster)
            except (OSError, KeyError):
                time.sleep(0.02)

    def write_to(self, cluster: kafka.Cluster) -> None:
        """All partitions of one leader, until it dies."""
        leader = cluster.address_of(self.topic, self.random.randrange(len(self.written)))
        partitions = [p for p in range(len(self.written)) if cluster.address_of(self.topic, p) == leader]
        connection = cluster.to(leader)
        under_way: list[tuple[int, int, int]] = []  # partition, first number, count
        until = time.monotonic() + 0.3              # then perhaps the other leader
        while under_way or (not self.done.is_set() and time.monotonic() < until):
            if len(under_way) < self.depth and not self.done.is_set() and time.monotonic() < until:
                partition = self.random.choice(partitions)
                first, count = self.written[partition], self.random.randrange(1, 20)
                values = self.next_values(partition, count)
                connection.send(kafka.PRODUCE, kafka.produce_body(self.topic, partition, batch.batch(values)))
                under_way.append((partition, first, count))
                continue
            partition, first, count = under_way.pop(0)
            _, answer = connection.receive()
            produced = kafka.read_produced(answer)
            if produced.error != kafka.NONE:
                self.failed[partition] += count
                continue
            for i in range(count):
                self.acknowledged[partition][first + i] = produced.base_offset + i
            time.sleep(count / self.records_per_s)
