"""confluent-kafka: a current librdkafka, with its admin client."""

import functools

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from clients.admin import Admin, AdminError, Cluster
from clients.base import PATIENCE_S, Client, ConsumeJob, ProduceJob
from records import Record


class Confluent(Client, Admin):
    name = "confluent"

    def produce(self, job: ProduceJob) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap, "compression.type": job.codec, "acks": job.acks,
                             "enable.idempotence": job.idempotent, "linger.ms": 50, "message.timeout.ms": 20_000})
        errors = []

        def delivered(error, _message):
            if error is not None:
                errors.append(str(error))

        for record in job.records:
            optional = {} if record.timestamp is None else {"timestamp": record.timestamp}
            producer.produce(job.topic, record.value, record.key, record.partition, headers=list(record.headers),
                             on_delivery=delivered, **optional)
        left = producer.flush(30)
        if errors or left:
            raise RuntimeError(errors[0] if errors else f"{left} records not delivered")

    def consume(self, job: ConsumeJob) -> None:
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "unused", "enable.auto.commit": False,
                             "enable.partition.eof": True, "fetch.wait.max.ms": 50, "check.crcs": True})
        try:
            start = job.first_offset or OFFSET_BEGINNING
            consumer.assign([TopicPartition(job.topic, partition, start) for partition in job.partitions()])
            unfinished = set(job.partitions())
            while unfinished:
                message = consumer.poll(PATIENCE_S)
                if message is None:
                    return  # what is missing shows in the comparison
                if message.error() is None:
                    job.records.append(Record(message.partition(), message.key(), message.value(),
                                              tuple(message.headers() or ())))
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    unfinished.discard(message.partition())
                else:
                    raise KafkaException(message.error())
        finally:
            consumer.close()

    @functools.cached_property
    def admin(self) -> AdminClient:
        # It must outlive the answers to what it asks.
        return AdminClient({"bootstrap.servers": self.bootstrap})

    @staticmethod
    def result(futures: dict) -> None:
        (future,) = futures.values()
        try:
            future.result(20)
        except KafkaException as error:
            raise AdminError(error.args[0].code()) from error

    def create_topic(self, topic: str, partition_count: int, replication_factor: int = 1) -> None:
        self.result(self.admin.create_topics([NewTopic(topic, partition_count, replication_factor)]))

    def delete_topic(self, topic: str) -> None:
        self.result(self.admin.delete_topics([topic]))

    def delete_records(self, topic: str, partition: int, before: int) -> int:
        (future,) = self.admin.delete_records([TopicPartition(topic, partition, before)]).values()
        try:
            return future.result(20).low_watermark
        except KafkaException as error:
            raise AdminError(error.args[0].code()) from error

    def leaders(self) -> dict[str, list[int]]:
        topics = self.admin.list_topics(timeout=10).topics
        return {name: [topic.partitions[number].leader for number in sorted(topic.partitions)]
                for name, topic in topics.items()}

    def cluster(self) -> Cluster:
        described = self.admin.describe_cluster().result(10)
        return Cluster(described.cluster_id, described.controller.id,
                       {node.id: f"{node.host}:{node.port}" for node in described.nodes})

    def offset_at(self, topic: str, partition: int, timestamp: int) -> int | None:
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "unused"})
        try:
            (found,) = consumer.offsets_for_times([TopicPartition(topic, partition, timestamp)], timeout=10)
            # librdkafka says OFFSET_END where nothing is that late.
            return found.offset if found.offset >= 0 else None
        finally:
            consumer.close()
