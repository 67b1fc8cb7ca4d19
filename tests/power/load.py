"""What is written to a node that is going to lose its power, what it acknowledged, and whether that is there afterwards.

A record's value is `topic:partition:number:` and bytes that follow from these three. Numbers count up from 0. Each
partition has one writer, with a few requests under way.
"""

import random
import struct
import threading
import time
import zlib
from collections import deque
from dataclasses import dataclass, field

from tests.wire import batch, kafka

DELETE_RECORDS = 21
EARLIEST, LATEST = -2, -1
DEPTH = 4
# So many bytes stay; what is before them is deleted, so that segments are released and their slots used again.
KEPT_BYTES = 3 << 20
FILLING = random.Random(0).randbytes(1 << 18)


def value_of(topic: str, partition: int, number: int) -> bytes:
    """Mostly small, some of several pages, a few large."""
    chance = zlib.crc32(f"{topic}:{partition}:{number}".encode())
    kind, rest = chance % 100, chance // 100
    length = rest % 200 if kind < 85 else rest % 5_000 if kind < 97 else rest % 150_000
    start = chance % 100_000
    return f"{topic}:{partition}:{number}:".encode() + FILLING[start:start + length]


@dataclass
class Sent:
    """A batch, or where to delete up to."""
    first: int = 0
    count: int = 0
    before: int | None = None


@dataclass
class Partition:
    topic: str
    partition: int
    idempotent: bool
    seed: int
    written: int = 0                                            # numbers given out
    acknowledged: dict[int, int] = field(default_factory=dict)  # number -> offset
    batches: list[tuple[int, int]] = field(default_factory=list)  # first number and count of those not acknowledged
    under_way: deque[Sent] = field(default_factory=deque)
    producer: tuple[int, int] = (-1, -1)
    deleted: int = 0           # the log starts there or later,
    asked_to_delete: int = 0   # and not later than there
    deletions: int = 0

    def __post_init__(self):
        self.random = random.Random(f"{self.seed}:{self.topic}:{self.partition}")
        self.fresh_bytes = 0  # since the last deletion

    # ---- writing ----

    def write_to(self, cluster: kafka.Cluster, connections: list[kafka.Connection], stop: threading.Event) -> None:
        connection = kafka.Connection(cluster.address_of(self.topic, self.partition), timeout_s=60)
        connections.append(connection)
        if self.idempotent and self.producer[0] < 0:
            self.producer = kafka.new_producer_id(connection, patience_s=60)
        again = [sent for sent in self.under_way if sent.before is None]
        self.under_way.clear()
        if self.idempotent:
            for sent in again:
                self.send(connection, sent)
        else:
            self.batches += [(sent.first, sent.count) for sent in again]  # there or not, nobody knows
        while not stop.is_set():
            if len(self.under_way) < DEPTH:
                self.send(connection, self.next_request())
            else:
                self.receive(connection)
        while True:  # what it had still said
            self.receive(connection)

    def next_request(self) -> Sent:
        if self.fresh_bytes > KEPT_BYTES and self.acknowledged:
            self.fresh_bytes = 0
            return Sent(before=self.random.choice(list(self.acknowledged.values())[-200:]))
        sent = Sent(self.written, self.random.randrange(1, 20))
        self.written += sent.count
        return sent

    def send(self, connection: kafka.Connection, sent: Sent) -> None:
        self.under_way.append(sent)
        if sent.before is not None:
            self.asked_to_delete = max(self.asked_to_delete, sent.before)
            where = kafka.i32(self.partition) + kafka.i64(sent.before)
            connection.send(DELETE_RECORDS, kafka.array([kafka.text(self.topic) + kafka.array([where])]) +
                            kafka.i32(30_000), version=0)
            return
        values = [value_of(self.topic, self.partition, number) for number in range(sent.first, sent.first + sent.count)]
        identity, epoch = self.producer
        made = batch.batch(values, identity, epoch, sent.first if self.idempotent else -1)
        self.fresh_bytes += len(made)
        connection.send(kafka.PRODUCE, kafka.produce_body(self.topic, self.partition, made))

    def receive(self, connection: kafka.Connection) -> None:
        _, answer = connection.receive()
        sent = self.under_way[0]
        if sent.before is not None:
            answer.i32(), answer.i32(), answer.text(), answer.i32(), answer.i32()
            low, error = answer.i64(), answer.i16()
            assert error == kafka.NONE, f"{self}: DeleteRecords: error {error}"
            self.deleted = max(self.deleted, low)
            self.deletions += 1
        else:
            produced = kafka.read_produced(answer)
            assert produced.error == kafka.NONE, f"{self}: Produce: error {produced.error}"
            for i in range(sent.count):
                self.acknowledged[sent.first + i] = produced.base_offset + i
        self.under_way.popleft()

    # ---- reading back ----

    def check(self, cluster: kafka.Cluster) -> int:
        """All that was acknowledged and not deleted is there, once and where it was said to be. How many records."""
        start = self.offset_at(cluster, EARLIEST)
        assert self.deleted <= start <= self.asked_to_delete, \
            f"{self}: the log starts at {start}, deleted up to {self.deleted}, asked for {self.asked_to_delete}"
        found: dict[int, int] = {}
        last, next_offset = -1, start
        for offset, value in cluster.records(self.topic, self.partition, start):
            topic, partition, number = value.split(b":", 3)[:3]
            number = int(number)
            assert offset == next_offset, f"{self}: offset {offset} follows {next_offset - 1}"
            assert value == value_of(self.topic, self.partition, number), f"{self}: record {number} has other bytes"
            assert number > last, f"{self}: record {number} at offset {offset} follows record {last}"
            assert not (self.idempotent and found) or number == last + 1, f"{self}: record {number} follows {last}"
            found[number] = offset
            last, next_offset = number, offset + 1
        end = self.offset_at(cluster, LATEST)
        assert end == next_offset, f"{self}: the log ends at {end}, its records at {next_offset}"
        self.acknowledged = {number: offset for number, offset in self.acknowledged.items() if offset >= start}
        lost = [number for number in self.acknowledged if number not in found]
        assert not lost, (f"{self}: {len(lost)} acknowledged records lost, the first {lost[0]} at "
                          f"{self.acknowledged[lost[0]]}; the log ends at {end}")
        for number, offset in self.acknowledged.items():
            assert found[number] == offset, f"{self}: record {number} acknowledged at {offset}, found at {found[number]}"
        for first, count in self.batches:
            there = [number in found for number in range(first, first + count)]
            whole = all(there) or not any(there)
            assert whole or found[max(n for n in range(first, first + count) if n in found)] - count < start, \
                f"{self}: of the records {first} to {first + count - 1} some are there"
        return len(found)

    def offset_at(self, cluster: kafka.Cluster, time: int) -> int:
        answer = cluster.leader(self.topic, self.partition).call(
            kafka.LIST_OFFSETS,
            kafka.i32(-1) + kafka.array([kafka.text(self.topic) +
                                         kafka.array([kafka.i32(self.partition) + kafka.i64(time)])]))
        answer.i32(), answer.text(), answer.i32(), answer.i32()
        error, _ = answer.i16(), answer.i64()
        assert error == kafka.NONE, f"{self}: ListOffsets: error {error}"
        return answer.i64()

    def __str__(self):
        return f"{self.topic}/{self.partition}"


class Writers:
    """A thread for each partition, until the machine is dead."""

    def __init__(self, bootstrap: kafka.Address, partitions: list[Partition]):
        self.bootstrap = bootstrap
        self.stop = threading.Event()
        self.connections: list[kafka.Connection] = []
        self.wrong: list[str] = []
        self.before = {str(each): len(each.acknowledged) for each in partitions}
        self.partitions = partitions
        self.threads = [threading.Thread(target=self.run, args=[each], daemon=True) for each in partitions]
        for thread in self.threads:
            thread.start()

    def run(self, partition: Partition) -> None:
        try:
            with kafka.Cluster(self.bootstrap) as cluster:
                partition.write_to(cluster, self.connections, self.stop)
        except (OSError, struct.error) as error:
            if not self.stop.is_set():
                self.wrong.append(f"{partition}: {error!r}")
        except AssertionError as error:
            self.wrong.append(str(error))

    def progress(self) -> bool:
        """Each has had something acknowledged."""
        assert not self.wrong, "; ".join(self.wrong)
        return all(len(each.acknowledged) > self.before[str(each)] for each in self.partitions)

    def stuck(self) -> str:
        return ", ".join(name for each in self.partitions if len(each.acknowledged) <= self.before[name := str(each)])

    def machine_is_dead(self) -> None:
        """Errors from here on are what is to be expected."""
        self.stop.set()
        time.sleep(0.05)
        for connection in self.connections:
            try:
                connection.socket.shutdown(2)
            except OSError:
                pass
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive(), "a writer does not end"
