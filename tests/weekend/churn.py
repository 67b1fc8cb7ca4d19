"""A topic that is created, written, read, deleted while it is written, and created again under the same name, for ever.

Of each of its lives must hold: it begins at offset 0; offsets are dense; only what was written in this life is served, in
order; what was acknowledged is there at its offset; once its deletion is confirmed it takes and serves nothing, and it is
not back after a crash.
"""

import random
import threading
import time

from tests.wire import batch, kafka

PARTITIONS = 2
PATIENCE_S = 120
DELETED = (kafka.UNKNOWN_TOPIC_OR_PARTITION,)


class Churner(threading.Thread):
    def __init__(self, name: str, bootstrap: kafka.Address, seed: int):
        super().__init__(name=name, daemon=True)
        self.bootstrap = bootstrap
        self.random = random.Random(f"{seed}:{name}")
        self.generation = 0
        self.lives = self.acknowledged_records = 0
        self.wrong: list[str] = []
        self.done = threading.Event()

    def run(self) -> None:
        self.cluster = kafka.Cluster(self.bootstrap)
        try:
            while not self.done.is_set() and not self.wrong:
                self.generation += 1
                self.live()
                self.lives += 1
        except AssertionError as error:
            self.wrong.append(f"{self.name}, life {self.generation}: {error}")
        except Exception as error:
            self.wrong.append(f"{self.name}, life {self.generation}: {type(error).__name__}: {error}")

    def live(self) -> None:
        self.change("created", lambda: kafka.create_topic(self.cluster.to(self.bootstrap), self.name, PARTITIONS),
                    lost_and_done=kafka.TOPIC_ALREADY_EXISTS)
        self.insist(lambda: self.cluster.learn(self.name))
        for partition in range(PARTITIONS):
            self.insist(lambda: self.starts_empty(partition))
        self.written = [0] * PARTITIONS
        self.acknowledged: list[dict[int, int]] = [{} for _ in range(PARTITIONS)]  # number -> offset
        self.read_up_to = [(0, -1)] * PARTITIONS                                  # offset, last number
        until = time.monotonic() + self.random.uniform(0.2, 3)
        while time.monotonic() < until:
            partition = self.random.randrange(PARTITIONS)
            try:
                self.write(partition, self.random.randrange(1, 6))
            except OSError:
                self.reconnect()
            self.insist(lambda: self.read(self.random.randrange(PARTITIONS)))
        for partition in range(PARTITIONS):
            self.insist(lambda: self.read_all(partition))
        self.delete_while_writing()
        for partition in range(PARTITIONS):
            self.insist(lambda: self.takes_and_serves_nothing(partition))
        time.sleep(self.random.choice((0, 0, 0.5)))

    # ------------------------------------------------------------------------------------------- through every crash

    def insist(self, action):
        """Again and again while there is nobody to answer."""
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return action()
            except (OSError, KeyError) as error:
                assert time.monotonic() < end, f"no answer for {PATIENCE_S} s: {error}"
                self.reconnect()

    def reconnect(self) -> None:
        self.cluster.__exit__()
        self.cluster.connections.clear()
        time.sleep(0.05)

    def change(self, what: str, ask, lost_and_done: int) -> None:
        """Until it is confirmed. Only after an answer was lost may it have been done already."""
        end, lost = time.monotonic() + PATIENCE_S, False
        while True:
            error = None
            try:
                error = ask()
            except OSError:
                self.reconnect()
                lost = True
            if error == kafka.NONE or (lost and error == lost_and_done):
                return
            assert error != lost_and_done, f"cannot be {what}: error {error}"
            assert time.monotonic() < end, f"is not {what} for {PATIENCE_S} s: error {error}"
            time.sleep(0.05)

    # -------------------------------------------------------------------------------------------------- one life

    def starts_empty(self, partition: int) -> None:
        error, end = kafka.end_offset(self.cluster.leader(self.name, partition), self.name, partition)
        assert (error, end) == (kafka.NONE, 0), f"partition {partition} begins with error {error}, end {end}"

    def batch(self, partition: int, count: int) -> tuple[int, bytes]:
        first = self.written[partition]
        self.written[partition] += count
        padding = b"." * self.random.randrange(2000)
        return first, batch.batch([f"{self.name}:{self.generation}:{partition}:{number}:".encode() + padding
                                   for number in range(first, first + count)])

    def write(self, partition: int, requests: int) -> None:
        connection = self.cluster.leader(self.name, partition)
        under_way = []
        for _ in range(requests):
            count = self.random.randrange(1, 10)
            first, records = self.batch(partition, count)
            connection.send(kafka.PRODUCE, kafka.produce_body(self.name, partition, records))
            under_way.append((first, count))
        for first, count in under_way:
            self.note(partition, first, count, kafka.read_produced(connection.receive()[1]))

    def note(self, partition: int, first: int, count: int, produced: kafka.Produced) -> None:
        assert produced.error in (kafka.NONE, kafka.KAFKA_STORAGE_ERROR), f"partition {partition}: error {produced.error}"
        if produced.error == kafka.NONE:
            self.acknowledged_records += count
            for i in range(count):
                self.acknowledged[partition][first + i] = produced.base_offset + i

    def read(self, partition: int) -> int:
        """One fetch. Returns the high watermark."""
        offset, last = self.read_up_to[partition]
        fetched = kafka.fetch(self.cluster.leader(self.name, partition), self.name, partition, offset, 1 << 20, wait_ms=5)
        assert fetched.error == kafka.NONE, f"fetching {partition} from {offset}: error {fetched.error}"
        for record in batch.read(fetched.records):
            if record.offset < offset:
                continue
            where = f"partition {partition}, offset {record.offset}"
            name, generation, at, number = record.value.split(b":", 4)[:4]
            assert (name.decode(), int(generation), int(at)) == (self.name, self.generation, partition), \
                f"{where}: a record of {name}, life {generation}, partition {at}"
            assert record.offset == offset, f"{where} follows {offset - 1}"
            assert int(number) > last, f"{where}: record {number} follows {last}"
            known = self.acknowledged[partition].get(int(number), offset)
            assert known == offset, f"{where}: record {number} was acknowledged at {known}"
            skipped = [each for each in range(last + 1, int(number)) if each in self.acknowledged[partition]]
            assert not skipped, f"{where}: acknowledged records {skipped[:3]} are missing"
            offset, last = offset + 1, int(number)
            self.read_up_to[partition] = offset, last
        return fetched.high_watermark

    def read_all(self, partition: int) -> None:
        while self.read(partition) > self.read_up_to[partition][0]:
            pass
        end = max(self.acknowledged[partition].values(), default=-1) + 1
        assert self.read_up_to[partition][0] >= end, \
            f"partition {partition} ends at {self.read_up_to[partition][0]}, acknowledged was up to {end}"

    def delete_while_writing(self) -> None:
        partition = self.random.randrange(PARTITIONS)
        producer = None
        try:
            producer = kafka.Connection(self.cluster.address_of(self.name, partition))
            for _ in range(5):
                producer.send(kafka.PRODUCE, kafka.produce_body(self.name, partition, self.batch(partition, 3)[1]))
        except OSError:
            pass
        self.change("deleted", lambda: kafka.delete_topic(self.cluster.to(self.bootstrap), self.name),
                    lost_and_done=kafka.UNKNOWN_TOPIC_OR_PARTITION)
        if producer is None:
            return
        try:
            for _ in range(5):
                error = kafka.read_produced(producer.receive()[1]).error
                assert error in (kafka.NONE, kafka.KAFKA_STORAGE_ERROR) + DELETED, f"written during deletion: error {error}"
        except OSError:
            pass
        finally:
            producer.close()

    def takes_and_serves_nothing(self, partition: int) -> None:
        connection = self.cluster.leader(self.name, partition)
        produced = kafka.produce(connection, self.name, partition, self.batch(partition, 1)[1])
        assert produced.error in DELETED, f"written after deletion: error {produced.error}"
        fetched = kafka.fetch(connection, self.name, partition, 0, wait_ms=5)
        assert fetched.error in DELETED and not fetched.records, f"read after deletion: error {fetched.error}"
