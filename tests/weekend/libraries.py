"""Client libraries that live through the weekend: librdkafka writes, librdkafka and kafka-python read along.

Records of each producer are numbered, see tests/crash/producers.py. A reader checks order and offsets as it reads; in the
end every acknowledged record it came by must have been where it was acknowledged.
"""

import threading
import time

import kafka as kafka_python
from confluent_kafka import Consumer, KafkaError, TopicPartition

from tests.crash.producers import Idempotent, Load, Plain


class SlowIdempotent(Idempotent):
    records_per_s = 300


class SlowPlain(Plain):
    records_per_s = 300


class Reader(threading.Thread):
    def __init__(self, name: str, load: Load, bootstrap: tuple[str, int]):
        super().__init__(name=name, daemon=True)
        self.load = load
        self.servers = "%s:%d" % bootstrap
        self.partitions = range(len(load.written))
        self.seen: list[dict[int, int]] = [{} for _ in self.partitions]  # offset -> number
        self.next_offset = [0] * len(self.partitions)
        self.last_number = [-1] * len(self.partitions)
        self.jumps = 0
        self.wrong: list[str] = []
        self.done = threading.Event()

    def take(self, partition: int, offset: int, value: bytes) -> None:
        name, at, number = value.split(b":", 3)[:3]
        where = f"{self.name}: {self.load.topic}-{partition}, offset {offset}"
        if (name.decode(), int(at)) != (self.load.name, partition):
            self.complain(f"{where}: a record of {name}, partition {at}")
        jumped = offset != self.next_offset[partition]
        if offset < self.next_offset[partition]:
            self.complain(f"{where} after {self.next_offset[partition] - 1}")
        if jumped:  # retention has overtaken the reader: the libraries go on at the log start
            self.jumps += 1
        last = self.last_number[partition]
        if int(number) <= last or (self.load.keeps_all and not jumped and int(number) != last + 1):
            self.complain(f"{where}: record {int(number)} follows {last}")
        self.seen[partition][offset] = int(number)
        self.next_offset[partition], self.last_number[partition] = offset + 1, int(number)

    def complain(self, what: str) -> None:
        if len(self.wrong) < 20:
            self.wrong.append(what)

    def check_acknowledged(self) -> int:
        """Returns how many acknowledged records this reader has seen."""
        found = 0
        for partition in self.partitions:
            for number, offset in self.load.acknowledged[partition].items():
                seen = self.seen[partition].get(offset)
                if seen is not None and seen != number:
                    self.complain(f"{self.name}: {self.load.topic}-{partition}: record {number} was acknowledged at {offset}, "
                                  f"where record {seen} is")
                found += seen is not None
        return found


class LibrdkafkaReader(Reader):
    def run(self) -> None:
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": "unused", "log_level": 0, "logger": None,
                             "enable.auto.commit": False, "auto.offset.reset": "earliest", "check.crcs": True,
                             "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100})
        consumer.assign([TopicPartition(self.load.topic, p, 0) for p in self.partitions])
        while not self.done.is_set():
            for message in consumer.consume(1000, 0.2):
                if message.error() is None:
                    self.take(message.partition(), message.offset(), message.value())
                elif message.error().code() not in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT,
                                                    KafkaError._AUTO_OFFSET_RESET, KafkaError._PARTITION_EOF):
                    self.complain(f"{self.name}: {message.error()}")
        consumer.close()


class KafkaPythonReader(Reader):
    def run(self) -> None:
        consumer = kafka_python.KafkaConsumer(bootstrap_servers=self.servers, group_id=None, check_crcs=True,
                                              auto_offset_reset="earliest", reconnect_backoff_ms=20,
                                              reconnect_backoff_max_ms=100, retry_backoff_ms=20)
        consumer.assign([kafka_python.TopicPartition(self.load.topic, p) for p in self.partitions])
        for partition in self.partitions:
            consumer.seek(kafka_python.TopicPartition(self.load.topic, partition), 0)
        while not self.done.is_set():
            try:
                for place, records in consumer.poll(200).items():
                    for record in records:
                        self.take(place.partition, record.offset, record.value)
            except kafka_python.errors.KafkaError as error:
                if not error.retriable:
                    self.complain(f"{self.name}: {error}")
                time.sleep(0.05)
        consumer.close()


READERS = {"librdkafka": LibrdkafkaReader, "kafka-python": KafkaPythonReader}
PRODUCERS = {"library-idempotent": SlowIdempotent, "library-plain": SlowPlain}
