"""The interop test: what one Kafka client writes, every other client reads back, byte for byte.

Three parts, in the order in which they run:
  administration   topics come and go, the cluster describes itself, by every admin client
  matrix           every writer, with every codec, is read by every reader
  corners          acks, topics created by writing to them, offsets inside a batch, offsets by time
"""

import argparse
import contextlib
import itertools
import os
import pathlib
import sys
import time

sys.path.append(str(pathlib.Path(__file__).parents[1] / "dpdk"))

from clients.admin import Admin, AdminError
from clients.base import Client, ConsumeJob, ProduceJob
from clients.confluent import Confluent
from clients.franz import Franz
from clients.java_console import JavaConsole
from clients.kafka_python import KafkaPython
from clients.kafkajs import KafkaJs
from clients.kcat import Kcat
from node import Node
from records import PARTITION_COUNT, by_partition, numbered, sample
import tap_node


class Report:
    def __init__(self):
        self.passed = self.failed = 0

    def cell(self, what: str, error: str = "") -> None:
        if error:
            self.failed += 1
        else:
            self.passed += 1
        print(f"{'FAIL' if error else 'ok  '}  {what}{'  -- ' + error if error else ''}", flush=True)

    def check(self, what: str, test) -> None:
        """A cell whose test raises, or returns, what is wrong."""
        try:
            self.cell(what, test() or "")
        except Exception as error:  # a client may throw anything; the other cells still run
            self.cell(what, f"{type(error).__name__}: {error}")


def difference(expected, job: ConsumeJob, reader: Client) -> str:
    """What is wrong with what was read; nothing if it is what was written."""
    expected = [reader.as_shown(record) for record in expected]
    for partition, (wanted, got) in enumerate(zip(by_partition(expected), by_partition(job.records))):
        if wanted == got:
            continue
        for number, (one, other) in enumerate(itertools.zip_longest(wanted, got)):
            if one != other:
                return (f"partition {partition}: {len(got)} records of {len(wanted)}, the first wrong one is "
                        f"{number}: {str(other)[:120]} instead of {str(one)[:120]}" + (f" ({job.error})" if job.error else ""))
    return job.error


def counts(records) -> list[int]:
    return [len(partition) for partition in by_partition(records)]


class Test:
    def __init__(self, clients: list[Client], report: Report):
        self.clients = clients
        self.readers = [client for client in clients if client.can_consume]
        self.admins = [client for client in clients if isinstance(client, Admin)]
        self.report = report
        # A broker that has been tested before still has the topics of then.
        self.prefix = f"interop-{int(time.time())}"

    def run(self) -> None:
        for part in (self.administration, self.matrix, self.corners):
            print(f"== {part.__name__}", flush=True)
            part()

    # --- administration

    def administration(self) -> None:
        for admin in self.admins:
            topic = f"{self.prefix}-admin-{admin.name}"
            for what, test in (
                    ("describes the cluster", self.cluster_is_described),
                    ("creates a topic", self.topic_appears),
                    ("sees its partitions led by every broker", self.leaders_are_spread),
                    ("is refused the same topic again", self.second_topic_is_refused),
                    ("is refused more replicas than brokers", self.replicas_are_refused),
                    ("deletes the topic", self.topic_disappears),
                    ("is refused the deletion of an unknown topic", self.unknown_topic_is_refused)):
                self.report.check(f"{admin.name} {what}", lambda: test(admin, topic))
        for node, address in sorted(self.admins[0].cluster().brokers.items()):
            self.report.check(f"broker {node} at {address} names the same brokers as the others",
                              lambda: self.broker_agrees(address))

    @staticmethod
    def cluster_is_described(admin: Admin, _topic: str) -> str:
        cluster = admin.cluster()
        if not cluster.cluster_id:
            return "no cluster id"
        return "" if cluster.controller in cluster.brokers else f"controller {cluster.controller} is not a broker"

    def topic_appears(self, admin: Admin, topic: str) -> str:
        admin.create_topic(topic, PARTITION_COUNT)
        return eventually(lambda: len(admin.leaders().get(topic, [])) == PARTITION_COUNT, "the topic does not appear")

    @staticmethod
    def leaders_are_spread(admin: Admin, topic: str) -> str:
        brokers = admin.cluster().brokers
        leaders = set(admin.leaders()[topic])
        if not leaders <= set(brokers):
            return f"led by {leaders}, of brokers {set(brokers)}"
        return "" if len(leaders) == min(PARTITION_COUNT, len(brokers)) else f"led by {leaders} of {len(brokers)} brokers"

    @staticmethod
    def second_topic_is_refused(admin: Admin, topic: str) -> str:
        return refusal(lambda: admin.create_topic(topic, PARTITION_COUNT), AdminError.TOPIC_ALREADY_EXISTS)

    @staticmethod
    def replicas_are_refused(admin: Admin, topic: str) -> str:
        return refusal(lambda: admin.create_topic(f"{topic}-replicas", 1, 30), AdminError.INVALID_REPLICATION_FACTOR)

    @staticmethod
    def topic_disappears(admin: Admin, topic: str) -> str:
        admin.delete_topic(topic)
        return eventually(lambda: topic not in admin.leaders(), "the topic is still there")

    @staticmethod
    def unknown_topic_is_refused(admin: Admin, topic: str) -> str:
        return refusal(lambda: admin.delete_topic(f"{topic}-unknown"), AdminError.UNKNOWN_TOPIC_OR_PARTITION)

    def broker_agrees(self, address: str) -> str:
        there, here = Confluent(address).cluster(), self.admins[0].cluster()
        return "" if (there.cluster_id, there.brokers) == (here.cluster_id, here.brokers) else f"it says {there}"

    # --- matrix

    def matrix(self) -> None:
        jobs = []
        for writer in self.clients:
            for codec in writer.codecs:
                topic = f"{self.prefix}-{writer.name}-{codec}"
                self.admins[0].create_topic(topic, PARTITION_COUNT)
                records = [record for record in sample(topic) if writer.can_write(record)]
                jobs.append((f"{codec:6} {writer.name:12}", writer, ProduceJob(topic, records, codec)))
        self.write_and_read(jobs, lambda writer: self.readers)

    def write_and_read(self, jobs: list[tuple[str, Client, ProduceJob]], readers_of, first_offset: int = 0) -> None:
        """One cell for each job and reader. Each client gets all its jobs at once, see clients/base.py."""
        errors = {}
        for writer in self.clients:
            written = [job for _, client, job in jobs if client is writer]
            if written:
                with timed(f"{writer.name} writes {len(written)} topics"):
                    errors |= writer.produce_all(written)
        for reader in self.readers:
            cells = [(what, job, ConsumeJob(job.topic, counts(job.records[first_offset:]), first_offset))
                     for what, writer, job in jobs if reader in readers_of(writer)]
            with timed(f"{reader.name} reads {len(cells)} topics"):
                reader.consume_all([consume for _, job, consume in cells if job.topic not in errors])
            for what, job, consume in cells:
                error = errors.get(job.topic)
                self.report.cell(f"{what} -> {reader.name:12} {len(consume.records):5} records",
                                 f"not written: {error}" if error else
                                 difference(job.records[first_offset:], consume, reader))

    def next_reader(self, writer: Client) -> list[Client]:
        """One reader that is not the writer, another one for each writer."""
        readers = [reader for reader in self.readers if reader is not writer]
        return [readers[self.clients.index(writer) % len(readers)]]

    # --- corners

    def corners(self) -> None:
        jobs = []
        for writer in self.clients:
            for acks in ("0", "1"):  # the matrix has all
                topic = f"{self.prefix}-{writer.name}-acks-{acks}"
                self.admins[0].create_topic(topic, PARTITION_COUNT)
                jobs.append((f"acks={acks} {writer.name:12}", writer, ProduceJob(topic, numbered(topic, 50, 2), acks=acks)))
            topic = f"{self.prefix}-{writer.name}-auto"
            jobs.append((f"creates a topic by writing to it: {writer.name:12}", writer, ProduceJob(topic, numbered(topic, 5))))
        self.write_and_read(jobs, self.next_reader)
        self.inside_a_batch()
        self.offsets_by_time()
        self.deleted_records()

    def inside_a_batch(self) -> None:
        """The broker answers with the whole batch that holds the offset; the client drops what is before it."""
        writer = next(client for client in self.clients if isinstance(client, Confluent))
        jobs = []
        for codec in ("none", "zstd"):
            topic = f"{self.prefix}-inside-{codec}"
            self.admins[0].create_topic(topic, 1)
            jobs.append((f"from inside a batch: {codec:6}", writer, ProduceJob(topic, numbered(topic, 100), codec)))
        self.write_and_read(jobs, lambda writer: self.readers, first_offset=57)

    def deleted_records(self) -> None:
        writer = next(client for client in self.clients if isinstance(client, Confluent))
        topic = f"{self.prefix}-deleted"
        self.admins[0].create_topic(topic, 1)
        writer.produce(ProduceJob(topic, numbered(topic, 100)))

        def log_start(before: int, expected: int) -> str:
            got = writer.delete_records(topic, 0, before)
            return "" if got == expected else f"the log starts at {got} instead of {expected}"
        self.report.check(f"{writer.name:12} deletes records", lambda: log_start(40, 40))
        self.report.check(f"{writer.name:12} deletes none twice", lambda: log_start(10, 40))
        self.report.check(f"{writer.name:12} deletes none beyond the end", lambda: refusal(
            lambda: writer.delete_records(topic, 0, 101), AdminError.OFFSET_OUT_OF_RANGE))
        self.report.check(f"{writer.name:12} finds the first that is left",
                          lambda: "" if writer.offset_at(topic, 0, 0) == 40 else "it is another")
        self.report.check(f"{writer.name:12} deletes all", lambda: log_start(-1, 100))

    def offsets_by_time(self) -> None:
        writer = next(client for client in self.clients if isinstance(client, Confluent))
        topic = f"{self.prefix}-time"
        self.admins[0].create_topic(topic, 1)
        first_ms = (int(time.time()) - 1000) * 1000
        writer.produce(ProduceJob(topic, numbered(topic, 100, first_timestamp=first_ms)))
        for client in (client for client in self.clients if hasattr(client, "offset_at")):
            for what, timestamp, offset in (("before the first record", first_ms - 5000, 0),
                                            ("of a record", first_ms + 40_000, 40),
                                            ("between two records", first_ms + 40_001, 41),
                                            ("after the last record", first_ms + 100_000, None)):
                def found():
                    got = client.offset_at(topic, 0, timestamp)
                    return "" if got == offset else f"offset {got} instead of {offset}"
                self.report.check(f"{client.name:12} finds the offset for the time {what}", found)


@contextlib.contextmanager
def timed(what: str):
    print(f"   {what} ...", end="", flush=True)
    start = time.monotonic()
    yield
    print(f" {time.monotonic() - start:.1f} s", flush=True)


def eventually(condition, complaint: str, patience_s: float = 10) -> str:
    """Metadata reaches the brokers of a cluster one after the other."""
    end = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > end:
            return complaint
        time.sleep(0.1)
    return ""


def refusal(action, code: int) -> str:
    try:
        action()
    except AdminError as error:
        return "" if error.code == code else f"{error} instead of {code}"
    return "it is not refused"


@contextlib.contextmanager
def broker(arguments, report: Report):
    """Where clients find it."""
    if not arguments.dpdk:
        with Node(arguments.bootstrap, arguments.binary, arguments.lanes) as bootstrap:
            yield bootstrap
        return
    os.environ["PENSTOCK_BINARY"] = arguments.binary
    with tap_node.Node(arguments.lanes, arguments.mtu, settings={"num_partitions": 1}) as node:
        yield f"{tap_node.NODE_V4}:{tap_node.PORT}"
        report.cell("the node ends in order", node.stop() or "")


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/interop/run", description="Tests a node with unmodified Kafka clients.")
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="test this running broker instead of starting a node")
    parser.add_argument("--binary", default="build/tools/penstock", help="the node's program (%(default)s)")
    parser.add_argument("--lanes", type=int, default=2, help="the node's lanes (%(default)s)")
    parser.add_argument("--dpdk", action="store_true", help="over DPDK's tap device, in this process's namespace")
    parser.add_argument("--mtu", type=int, default=1500, help="of that device (%(default)s)")
    parser.add_argument("--clients", help="only these, with commas between")
    arguments = parser.parse_args()

    start = time.monotonic()
    report = Report()
    with broker(arguments, report) as bootstrap:
        clients = [Kcat(bootstrap), Confluent(bootstrap), KafkaPython(bootstrap),
                   JavaConsole(bootstrap, os.environ["INTEROP_KAFKA"], os.environ["INTEROP_CONSOLE"]),
                   Franz(bootstrap, os.environ["INTEROP_FRANZ"]), KafkaJs(bootstrap, os.environ["INTEROP_KAFKAJS"])]
        if arguments.clients:
            chosen = arguments.clients.split(",")
            unknown = set(chosen) - {client.name for client in clients}
            if unknown:
                parser.error(f"unknown clients: {', '.join(sorted(unknown))}")
            clients = [client for client in clients if client.name in chosen]
        Test(clients, report).run()
    print(f"took {time.monotonic() - start:.1f} s")
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
