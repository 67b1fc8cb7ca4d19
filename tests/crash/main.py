"""A node is killed with SIGKILL under load, ten times, and started again on the same directory. Then all is read back.

What must hold, for each producer and partition:
  every acknowledged record is there, at the offset that was acknowledged, and exactly once
  records are in the order in which they were written
  an unacknowledged record is there at most once
  of an idempotent producer, which lives through all the crashes, every record is there: no gap, no double
At last a stop by SIGTERM under load: exit status 0, and the same holds.
"""

import argparse
import random
import statistics
import sys
import time

from confluent_kafka import Consumer, TopicPartition

from tests.crash.producers import Idempotent, Load, Plain, Raw
from tests.wire import kafka
from tests.wire.node import BINARY, KafkaPeer, Node
from tests.wire.tally import Tally

PARTITIONS = 4
LOADS = {"idempotent-a": Idempotent, "idempotent-b": Idempotent, "plain": Plain, "raw-a": Raw, "raw-b": Raw}
RECOVERY_PATIENCE_S = 30


def main() -> int:
    options = parse()
    print(f"seed {options.seed} (again with --seed {options.seed})")
    chooser = random.Random(options.seed)
    tally = Tally()
    node = make_node(options)
    node.start()
    with kafka.Cluster(node.bootstrap) as cluster:
        for topic in LOADS:
            cluster.create_topic(topic, PARTITIONS)
    loads = [make(name, node.bootstrap, PARTITIONS, options.seed) for name, make in LOADS.items()]
    for load in loads:
        load.start()

    restarts = []
    for number in range(1, options.rounds + 1):
        with tally.case(f"round {number}: all producers go on"):
            wait_for_progress(loads)
            time.sleep(chooser.uniform(0.05, 0.8))
            node.kill()
            restarts.append(node.start())
    if restarts:
        print(f"      restart after a crash: median {statistics.median(restarts):.2f} s, "
              f"longest {max(restarts):.2f} s, until ready")

    with tally.case("stop by SIGTERM under load: status 0"):
        wait_for_progress(loads)
        node.stop_well()
    with tally.case("started after a stop: all producers finish"):
        print(f"      restart after a stop: {node.start():.2f} s until ready")
        wait_for_progress(loads)
        for load in loads:
            load.finish()
        for load in loads:
            load.join(RECOVERY_PATIENCE_S)
        slow = [load.name for load in loads if load.is_alive()]
        assert not slow, f"still waiting for acknowledgements: {slow}"

    with kafka.Cluster(node.bootstrap) as cluster:
        for load in loads:
            with tally.case(f"{load.name}: {load.acknowledged_count()} records acknowledged, all there"):
                check_topic(cluster, load)
    with tally.case("a client library reads the same"):
        check_library(node, loads)
    with tally.case("and the node stops with status 0"):
        node.stop_well()
    if tally.failed:
        keep(node, options.seed)
    return tally.close()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/crash/run")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--binary", default=str(BINARY))
    parser.add_argument("--against", choices=["node", "kafka"], default="node",
                        help="kafka: Apache Kafka in the node's place, to try the test itself")
    return parser.parse_args()


def make_node(options: argparse.Namespace) -> Node:
    # Small segments, so that crashes fall into their changes too.
    make = KafkaPeer if options.against == "kafka" else Node
    return make(lanes=2, binary=options.binary, settings={"segment_bytes": 16 << 20})


def wait_for_progress(loads: list[Load]) -> None:
    """Until each producer has had something acknowledged since now."""
    before = {load.name: load.acknowledged_count() for load in loads}
    end = time.monotonic() + RECOVERY_PATIENCE_S
    while stuck := [load for load in loads if load.acknowledged_count() == before[load.name]]:
        assert time.monotonic() < end, "no acknowledgement for 30 s: " + \
            ", ".join(f"{load.name} ({load.fatal[0] if load.fatal else 'no fatal error'})" for load in stuck)
        time.sleep(0.01)


def check_topic(cluster: kafka.Cluster, load: Load) -> None:
    assert not load.fatal, f"fatal: {load.fatal[0]}"
    for partition in range(PARTITIONS):
        where = f"partition {partition}"
        found: dict[int, int] = {}  # number -> offset
        last, next_offset = -1, 0
        for offset, value in cluster.records(load.topic, partition):
            name, at, number = value.split(b":", 3)[:3]
            number = int(number)
            assert (name.decode(), int(at)) == (load.name, partition), f"{where}: a record of {name} {at}"
            assert offset == next_offset, f"{where}: offset {offset} follows {next_offset - 1}"
            assert number not in found, f"{where}: record {number} at offsets {found[number]} and {offset}"
            assert number > last, f"{where}: record {number} at offset {offset} follows record {last}"
            if load.keeps_all:
                assert number == last + 1, f"{where}: records {last + 1} to {number - 1} are missing"
            found[number] = offset
            last, next_offset = number, offset + 1
        acknowledged = load.acknowledged[partition]
        lost = sorted(acknowledged.keys() - found.keys())
        assert not lost, f"{where}: {len(lost)} acknowledged records lost, the first {lost[0]} at {acknowledged[lost[0]]}"
        for number, offset in acknowledged.items():
            # librdkafka knows no offset for a batch that the broker had already (-1).
            assert offset < 0 or offset == found[number], \
                f"{where}: record {number} acknowledged at {offset}, found at {found[number]}"
        if load.keeps_all:
            assert len(acknowledged) == load.written[partition] == len(found), \
                f"{where}: {load.written[partition]} written, {len(acknowledged)} acknowledged, {len(found)} there"


def check_library(node: Node, loads: list[Load]) -> None:
    """As many records as the offsets say, and values as numbered as the wire client saw them."""
    consumer = Consumer({"bootstrap.servers": "%s:%d" % node.bootstrap, "group.id": "unused", "log_level": 0,
                         "enable.auto.commit": False, "auto.offset.reset": "error", "check.crcs": True})
    try:
        places = [TopicPartition(load.topic, p, 0) for load in loads for p in range(PARTITIONS)]
        ends = {(place.topic, place.partition): consumer.get_watermark_offsets(place, 10)[1] for place in places}
        consumer.assign(places)
        left = sum(ends.values())
        next_offset = dict.fromkeys(ends, 0)
        last = dict.fromkeys(ends, -1)
        end = time.monotonic() + 60
        while left > 0:
            assert time.monotonic() < end, f"{left} records did not come"
            for message in consumer.consume(10_000, 1):
                assert message.error() is None, str(message.error())
                place = message.topic(), message.partition()
                number = int(message.value().split(b":", 3)[2])
                assert message.offset() == next_offset[place], f"{place}: offset {message.offset()}"
                assert number > last[place], f"{place}: record {number} follows {last[place]}"
                next_offset[place] += 1
                last[place] = number
                left -= 1
    finally:
        consumer.close()


def keep(node: Node, seed: int) -> None:
    target = node.home.with_name(f"penstock-crash-{seed}")
    node.home.rename(target)
    print(f"      data directory and log kept in {target}")


if __name__ == "__main__":
    sys.exit(main())
