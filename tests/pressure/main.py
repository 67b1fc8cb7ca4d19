"""More half-sent requests than the node has memory: 20,000 connections, each half-way through a 1 MiB produce request.

What must hold:
  an honest producer on warm connections keeps at least half of the rate it has undisturbed; measured in turns, with
  the crowd and without, and judged by the medians, so that a noisy machine disturbs both alike
  the node's memory stays within its bounds, by its own metrics and by the kernel's, however much is written
  a newcomer still gets small requests answered
  when the crowd is gone everything it held is back
And the limits on single connections: limits.py.
"""

import argparse
import statistics
import sys
import time

from tests.pressure.crowd import Crowd, raise_descriptors
from tests.pressure.honest import Honest
from tests.pressure.limits import check_limits
from tests.wire import kafka
from tests.wire.node import BINARY, Node
from tests.wire.tally import Tally

LANES = 2
MIB = 1 << 20
RECEIVE_BYTES = 48 * MIB       # of each lane, as configured below
RESIDENT_BYTES = 32 * MIB      # likewise: the newest records stay in the buffers they were received into
# Buffers are all in the arena, which is there from the start; what may grow is the bookkeeping of connections.
RSS_GROWTH_MAX, RSS_GROWTH_PER_CONNECTION_MAX = 16 * MIB, 4 << 10
RATE_KEPT_MIN = 0.5
MEASURE_S = 1.0
DESCRIPTORS_SPARE = 200


def main() -> int:
    options = parse()
    tally = Tally()
    # The node needs all of them in one process; so does whoever limits this one.
    descriptors = raise_descriptors(options.connections + DESCRIPTORS_SPARE)
    connections = min(options.connections, descriptors - DESCRIPTORS_SPARE)
    if connections < options.connections:
        print(f"only {connections} connections: the limit of open files is {descriptors}")
    check_crowd(tally, options, connections)
    check_limits(tally, options.binary)
    return tally.close()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/pressure/run")
    parser.add_argument("--connections", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--binary", default=str(BINARY))
    return parser.parse_args()


def check_crowd(tally: Tally, options: argparse.Namespace, connections: int) -> None:
    node = Node(lanes=LANES, binary=options.binary, settings={
        "memory.arena_bytes": 128 * MIB, "memory.receive_bytes": RECEIVE_BYTES,
        "memory.resident_bytes": RESIDENT_BYTES,
        "connections_max": connections // LANES + DESCRIPTORS_SPARE})
    node.start()
    with kafka.Cluster(node.bootstrap) as cluster:
        cluster.create_topic("pressed", 2 * LANES)
        partitions = one_of_each_lane(cluster, "pressed")
        addresses = [cluster.address_of("pressed", p) for p in partitions]
        crowd = Crowd(addresses, [("pressed", p) for p in partitions], connections)
        honest = Honest(cluster, "pressed", partitions)
        before = node.metrics()["penstock_connections"]
        growth_max = RSS_GROWTH_MAX + connections * RSS_GROWTH_PER_CONNECTION_MAX
        rss_settled = written_settled = 0  # after the first round, when every table has been used once
        alone, pressed = [], []
        for number in range(1, options.rounds + 1):
            alone.append(honest.rate(MEASURE_S))
            with tally.case(f"round {number}: {connections} connections half-way"):
                rss_before = node.rss_bytes()
                began = time.monotonic()
                still_open = crowd.open()
                took = time.monotonic() - began
                check_growth(node, rss_before, growth_max)
                pressed.append(honest.rate(MEASURE_S))
                print(f"      alone {alone[-1] / 1e6:6.0f} MB/s   pressed {pressed[-1] / 1e6:6.0f} MB/s   "
                      f"crowd opened in {took:.1f} s   " + memory_line(node))
                assert still_open == connections, f"only {still_open} are open"
                check_bounds(node)
                newcomer(addresses)
            with tally.case(f"round {number}: all given back"):
                crowd.drop()
                check_given_back(node, before)
            if number == 1:
                rss_settled, written_settled = node.rss_bytes(), written(node)
        crowd.close()
        with tally.case("memory does not grow with what is written"):
            check_growth(node, rss_settled, RSS_GROWTH_MAX, f", {(written(node) - written_settled) / 1e9:.1f} GB written")
        with tally.case(f"the honest producer keeps at least {RATE_KEPT_MIN:.0%} of its rate"):
            kept = statistics.median(pressed) / statistics.median(alone)
            print(f"      kept {kept:.0%}: median {statistics.median(pressed) / 1e6:.0f} of "
                  f"{statistics.median(alone) / 1e6:.0f} MB/s")
            assert kept >= RATE_KEPT_MIN, f"it kept {kept:.0%}"
    with tally.case("SIGTERM: exit status 0"):
        node.stop_well()


def one_of_each_lane(cluster: kafka.Cluster, topic: str) -> list[int]:
    by_leader = {leader: partition for partition, leader in cluster.known.leaders[topic].items()}
    assert len(by_leader) == LANES, f"partitions of {topic} are led by {sorted(by_leader)}"
    return list(by_leader.values())


def memory_line(node: Node) -> str:
    metrics = node.metrics()
    return (f"reserved {metrics['penstock_reserved_bytes'] / MIB:.0f} MiB, "
            f"waiting {metrics['penstock_reservations_waiting']:.0f}, "
            f"held {metrics['penstock_receive_bytes_held'] / MIB:.0f} MiB, rss {node.rss_bytes() / MIB:.0f} MiB")


def check_bounds(node: Node) -> None:
    metrics = node.metrics()
    assert metrics["penstock_reserved_bytes"] <= LANES * RECEIVE_BYTES, "more reserved than there is"
    held_max = LANES * (RECEIVE_BYTES + RESIDENT_BYTES)
    assert metrics["penstock_receive_bytes_held"] <= held_max, "more receive memory held than configured"


def written(node: Node) -> float:
    return node.metrics()["penstock_payload_bytes_total"]


def check_growth(node: Node, before: int, growth_max: int, also: str = "") -> None:
    grown = node.rss_bytes() - before
    assert grown <= growth_max, f"the node grew by {grown / MIB:.0f} MiB, at most {growth_max / MIB:.0f} expected{also}"


def newcomer(addresses: list[kafka.Address]) -> None:
    """Whoever asks for little needs no reservation, so a crowd of waiting requests is not in the way."""
    for address in addresses:
        with kafka.Connection(address, 10) as connection:
            assert kafka.api_versions(connection)[0] == kafka.NONE


def check_given_back(node: Node, connections_before: float) -> None:
    for name, accepted in {"penstock_connections": connections_before, "penstock_reservations_waiting": 0,
                           "penstock_reserved_bytes": 0}.items():
        left = node.wait_metric(name, lambda value: value <= accepted)
        assert left <= accepted, f"{name} is {left:.0f} after the crowd has gone, {accepted:.0f} before"


if __name__ == "__main__":
    sys.exit(main())
