"""The limits on single connections: idle, stalled, too many. One node with all of them small."""

import time
from contextlib import ExitStack

from tests.wire import batch, kafka
from tests.wire.node import Node
from tests.wire.tally import Tally

IDLE_MS, STALL_MS, CONNECTIONS_MAX = 2000, 1000, 40
LATE_S = 4  # the node looks once a second; the rest is for a busy machine


def check_limits(tally: Tally, binary: str) -> None:
    node = Node(lanes=1, binary=binary, settings={"connections_max_idle_ms": IDLE_MS, "request_stall_ms": STALL_MS,
                                                  "connections_max": CONNECTIONS_MAX})
    node.start()
    with kafka.Cluster(node.bootstrap) as cluster:
        cluster.create_topic("limits", 1)
    for check in (idle, stalled_small, stalled_large, slow_but_steady, waiting_fetch, too_many):
        with tally.case(check.__doc__):
            check(node)
            honest(node)
    with tally.case("the node with small limits stops with status 0"):
        node.stop_well()


def honest(node: Node) -> None:
    with kafka.Connection(node.bootstrap) as connection:
        produced = kafka.produce(connection, "limits", 0, batch.batch([b"fine"]))
        assert produced.error == kafka.NONE, f"error {produced.error}"


def idle(node: Node) -> None:
    """connections_max_idle_ms: an idle connection is closed, a busy one is not"""
    before = node.metrics()["penstock_connections_closed_idle_total"]
    with kafka.Connection(node.bootstrap) as silent, kafka.Connection(node.bootstrap) as busy:
        kafka.api_versions(silent)
        began = time.monotonic()
        silent.socket.settimeout(0.25)
        while not silent.is_closed_by_peer():
            kafka.api_versions(busy)
            assert time.monotonic() - began < IDLE_MS / 1000 + LATE_S, "the idle connection is not closed"
        assert time.monotonic() - began > IDLE_MS / 1000 - 0.1, "closed too early"
        kafka.api_versions(busy)
    assert node.metrics()["penstock_connections_closed_idle_total"] == before + 1


def closed_as_stalled(node: Node, sent: bytes) -> None:
    before = node.metrics()["penstock_connections_closed_stalled_total"]
    with kafka.Connection(node.bootstrap, STALL_MS / 1000 + LATE_S) as connection:
        connection.send_raw(sent)
        began = time.monotonic()
        assert connection.is_closed_by_peer(), "not closed"
        assert time.monotonic() - began > STALL_MS / 1000 - 0.1, "closed too early"
    assert node.metrics()["penstock_connections_closed_stalled_total"] == before + 1


def request(size: int) -> bytes:
    return kafka.frame(kafka.PRODUCE, 7, 1, kafka.produce_body("limits", 0, batch.batch_of_size(size)))


def stalled_small(node: Node) -> None:
    """request_stall_ms: a small request that stops half-way"""
    closed_as_stalled(node, request(1000)[:500])


def stalled_large(node: Node) -> None:
    """request_stall_ms: a large request that stops half-way, its memory comes back"""
    closed_as_stalled(node, request(1 << 20)[:300_000])
    left = node.wait_metric("penstock_reserved_bytes", lambda value: value == 0)
    assert left == 0, f"{left:.0f} bytes stay reserved"


def slow_but_steady(node: Node) -> None:
    """request_stall_ms: a large request that crawls is let finish"""
    whole = request(60_000)
    with kafka.Connection(node.bootstrap) as connection:
        step = len(whole) // 15 + 1
        for at in range(0, len(whole), step):
            connection.send_raw(whole[at:at + step])
            time.sleep(0.3)
        assert kafka.read_produced(connection.receive()[1]).error == kafka.NONE


def waiting_fetch(node: Node) -> None:
    """a fetch that waits longer than both is answered"""
    with kafka.Connection(node.bootstrap) as connection:
        _, end = kafka.end_offset(connection, "limits", 0)
        began = time.monotonic()
        answer = connection.call(kafka.FETCH, kafka.fetch_body("limits", 0, end, wait_ms=IDLE_MS + 1500))
        assert kafka.read_fetched(answer).error == kafka.NONE
        assert time.monotonic() - began > IDLE_MS / 1000 + 1, "answered before its time"


def too_many(node: Node) -> None:
    """connections_max: the surplus is closed at once, the others stay; room comes back"""
    with ExitStack() as all_of_them:
        def connect() -> kafka.Connection:
            return all_of_them.enter_context(kafka.Connection(node.bootstrap, LATE_S))

        node.wait_metric("penstock_connections", lambda value: value == 0)
        inside = [connect() for _ in range(CONNECTIONS_MAX)]
        for connection in inside:
            kafka.api_versions(connection)
        for _ in range(100):
            with kafka.Connection(node.bootstrap, LATE_S) as surplus:
                assert surplus.is_closed_by_peer(), "one too many was let in"
        for connection in inside:
            kafka.api_versions(connection)
        refused = node.metrics()["penstock_connections_refused_total"]
        assert refused == 100, f"penstock_connections_refused_total is {refused:.0f}, expected 100"
        inside.pop().close()
        node.wait_metric("penstock_connections", lambda value: value < CONNECTIONS_MAX)
        kafka.api_versions(connect())
