"""kafka-python: a client of its own making, without librdkafka. tools/run reads back with it for that reason."""

import itertools

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from clients.admin import Admin, AdminError, Cluster
from clients.base import PATIENCE_S, Client, ConsumeJob, ProduceJob
from records import Record


class KafkaPython(Client, Admin):
    name = "kafka-python"

    def can_write(self, record: Record) -> bool:
        # It refuses a record without key and value, and a header without a value.
        return ((record.key is not None or record.value is not None)
                and all(value is not None for _, value in record.headers))

    def produce(self, job: ProduceJob) -> None:
        producer = KafkaProducer(bootstrap_servers=self.bootstrap, linger_ms=50, enable_idempotence=job.idempotent,
                                 acks=job.acks if job.acks == "all" else int(job.acks),
                                 compression_type=None if job.codec == "none" else job.codec)
        try:
            sent = [producer.send(job.topic, record.value, record.key, list(record.headers), record.partition,
                                  record.timestamp) for record in job.records]
            producer.flush(30)
            for future in sent:
                future.get(30)
        finally:
            producer.close(5)

    def consume(self, job: ConsumeJob) -> None:
        consumer = KafkaConsumer(bootstrap_servers=self.bootstrap, enable_auto_commit=False, fetch_max_wait_ms=50)
        try:
            partitions = [TopicPartition(job.topic, partition) for partition in job.partitions()]
            consumer.assign(partitions)
            for partition in partitions:
                consumer.seek(partition, job.first_offset)
            ends = consumer.end_offsets(partitions)
            while any(consumer.position(partition) < ends[partition] for partition in partitions):
                batches = consumer.poll(timeout_ms=PATIENCE_S * 1000)
                if not batches:
                    return  # what is missing shows in the comparison
                for message in itertools.chain.from_iterable(batches.values()):
                    job.records.append(Record(message.partition, message.key, message.value, tuple(message.headers)))
        finally:
            consumer.close()

    def ask(self, question):
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            return question(admin)
        except KafkaError as error:
            # A refusal by the broker has Kafka's number; the client's own troubles have none.
            code = getattr(error, "errno", None)
            if code is None or code < 0:
                raise
            raise AdminError(code) from error
        finally:
            admin.close()

    def create_topic(self, topic: str, partition_count: int, replication_factor: int = 1) -> None:
        options = {"num_partitions": partition_count, "replication_factor": replication_factor}
        self.ask(lambda admin: admin.create_topics({topic: options}))

    def delete_topic(self, topic: str) -> None:
        self.ask(lambda admin: admin.delete_topics([topic]))

    def leaders(self) -> dict[str, list[int]]:
        topics = self.ask(lambda admin: admin.describe_topics(admin.list_topics()))
        return {topic["name"]: [partition["leader_id"] for partition in
                                sorted(topic["partitions"], key=lambda partition: partition["partition_index"])]
                for topic in topics}

    def cluster(self) -> Cluster:
        described = self.ask(lambda admin: admin.describe_cluster())
        return Cluster(described["cluster_id"], described["controller_id"],
                       {broker["broker_id"]: f"{broker['host']}:{broker['port']}" for broker in described["brokers"]})

    def offset_at(self, topic: str, partition: int, timestamp: int) -> int | None:
        consumer = KafkaConsumer(bootstrap_servers=self.bootstrap)
        try:
            (found,) = consumer.offsets_for_times({TopicPartition(topic, partition): timestamp}).values()
            return found.offset if found else None
        finally:
            consumer.close()
