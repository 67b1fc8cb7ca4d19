"""Clients that behave badly with good requests: vanish, stop reading, cut their bytes fine, come in crowds."""

import functools
import socket
import time

from tests.hostile.site import Site
from tests.wire.cases import case
from tests.wire import batch, kafka
from tests.wire.kafka import frame

MIB = 1 << 20


@case("a client that half-closes is still answered")
def half_close(site: Site) -> None:
    before = site.stored()
    with site.connect() as connection:
        for _ in range(3):
            connection.send(kafka.PRODUCE, kafka.produce_body("abused", 0, batch.batch([b"last words"])))
        connection.socket.shutdown(socket.SHUT_WR)
        for number in range(3):
            _, answer = connection.receive()
            assert kafka.read_produced(answer) == (kafka.NONE, before + number)
        assert connection.is_closed_by_peer()


@case("a client that half-closes inside a request")
def half_close_inside(site: Site) -> None:
    before = site.stored()
    for size in (100, 300_000):
        whole = frame(kafka.PRODUCE, 7, 1, kafka.produce_body("abused", 0, batch.batch_of_size(size)))
        with site.connect() as connection:
            connection.send_raw(whole[:-1])
            connection.socket.shutdown(socket.SHUT_WR)
            assert connection.is_closed_by_peer(), "not closed"
    assert site.stored() == before


@case("clients that reset in the middle of a request")
def reset(site: Site) -> None:
    whole = frame(kafka.PRODUCE, 7, 1, kafka.produce_body("abused", 0, batch.batch_of_size(MIB)))
    for round_number in range(60):
        connection = site.connect()
        connection.socket.setblocking(False)
        try:
            connection.socket.send(whole[:site.random.randrange(1, MIB)])
        except BlockingIOError:
            pass
        connection.reset()
    no_reservation_left(site)


@case("clients that reset before their answer")
def reset_before_answer(site: Site) -> None:
    for _ in range(60):
        connection = site.connect()
        connection.send(kafka.PRODUCE, kafka.produce_body("abused", 0, batch.batch_of_size(50_000)))
        connection.reset()
    no_reservation_left(site)


@case("clients that reset while a fetch waits or its answer leaves")
def reset_while_fetching(site: Site) -> None:
    end = site.stored()
    for number in range(60):
        connection = site.connect()
        connection.send(kafka.FETCH, kafka.fetch_body("abused", 0, end if number % 2 else 0, wait_ms=30_000))
        if number % 3:
            time.sleep(0.005)
        connection.reset()


def stopped_readers(site: Site, count: int, seconds: float) -> None:
    """Their answers wait; nobody else does, and the node's memory is where it was."""
    made = cold_batch()
    fill_cold_topic(site, made)
    site.honest.check()
    before = site.node.rss_bytes() if site.is_node else 0
    readers = [kafka.Connection(site.cluster.address_of(COLD, 0), 30, receive_buffer=64 << 10) for _ in range(count)]
    try:
        for reader in readers:
            for first in (0, COLD_BATCHES // 2):
                reader.send(kafka.FETCH, kafka.fetch_body(COLD, 0, first, bytes_max=100 * MIB))
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            site.honest.check()
        if site.is_node:
            grown = site.node.rss_bytes() - before
            assert grown < 64 * MIB, f"memory grew by {grown / MIB:.0f} MiB"
        # One of them wakes up and gets everything it was promised; or it was closed, since others waited for the memory
        # of what it did not take, and gets everything when it asks again.
        try:
            taken = take_answers(readers[0], made)
        except kafka.Closed:
            assert count > 1, "closed although nobody waited"
            readers[0] = kafka.Connection(site.cluster.address_of(COLD, 0), 30)
            for first in (0, COLD_BATCHES // 2):
                readers[0].send(kafka.FETCH, kafka.fetch_body(COLD, 0, first, bytes_max=100 * MIB))
            taken = take_answers(readers[0], made)
        assert taken >= COLD_BATCHES // 2, f"only {taken} batches came"
    finally:
        for reader in readers:
            reader.close()


def take_answers(reader, made: bytes) -> int:
    """How many whole batches two answers brought."""
    taken = 0
    for _ in range(2):
        fetched = kafka.read_fetched(reader.receive()[1])
        assert fetched.error == kafka.NONE
        taken += sum(1 for _ in whole_batches(fetched.records, made))
    return taken


COLD, COLD_BATCHES = "cold", 100


@functools.cache
def cold_batch() -> bytes:
    """Made once: it carries the time, and the topic is filled only once."""
    return batch.batch_of_size(MIB - 1000, b"C")


def fill_cold_topic(site: Site, made: bytes) -> None:
    """100 MB, more than the node keeps in memory."""
    site.cluster.create_topic(COLD, 1)
    if site.stored(COLD) >= COLD_BATCHES:
        return
    leader = site.cluster.leader(COLD, 0)
    for _ in range(COLD_BATCHES):
        leader.send(kafka.PRODUCE, kafka.produce_body(COLD, 0, made))
    for _ in range(COLD_BATCHES):
        assert kafka.read_produced(leader.receive()[1]).error == kafka.NONE


@case("a client that fetches 100 MB and reads nothing")
def stopped_reader(site: Site) -> None:
    stopped_readers(site, 1, 2)


@case("50 clients that fetch 100 MB each and read nothing")
def many_stopped_readers(site: Site) -> None:
    stopped_readers(site, 50, 3)


@case("40 clients that do not read the last of 5 MB, and one that reads")
def unread_ends(site: Site) -> None:
    """Each holds little that is unsent, and with it the whole batch that was read for it: all that may be read at once."""
    made = cold_batch()
    fill_cold_topic(site, made)
    stopped = [kafka.Connection(site.cluster.address_of(COLD, 0), 30, receive_buffer=64 << 10) for _ in range(40)]
    try:
        for number, reader in enumerate(stopped):
            reader.send(kafka.FETCH, kafka.fetch_body(COLD, 0, 2 * number % 50, bytes_max=5 * MIB))
            time.sleep(0.05)
        time.sleep(2)  # so that all that can be read for them is read
        with kafka.Connection(site.cluster.address_of(COLD, 0), 10) as reader:
            for first in (60, 52):
                reader.send(kafka.FETCH, kafka.fetch_body(COLD, 0, first, bytes_max=MIB))
            assert take_answers(reader, made) == 2
    finally:
        for reader in stopped:
            reader.close()


@case("20 clients that ask and ask and never read an answer")
def never_reading(site: Site) -> None:
    ask = frame(kafka.METADATA, 4, 1, kafka.array([kafka.text("abused")] * 50) + kafka.i8(0)) * 50
    clients = [site.connect(receive_buffer=4096) for _ in range(20)]
    for client in clients:
        client.socket.setblocking(False)
    until = time.monotonic() + 2
    while time.monotonic() < until:
        for client in clients:
            try:
                client.socket.send(ask)
            except (BlockingIOError, ConnectionResetError, BrokenPipeError):
                pass  # it may lose its connection when others wait for the memory of its answers
        site.honest.check()
    for client in clients:
        client.close()


def whole_batches(records: bytes, made: bytes):
    """The same batch again and again; compared from the magic on, which is faster than its CRC."""
    for at in range(0, len(records) - len(made) + 1, len(made)):
        assert records[at + batch.MAGIC_AT:at + len(made)] == made[batch.MAGIC_AT:], "other bytes than were written"
        yield at


@case("200 requests in one go are answered in order")
def pipelined(site: Site) -> None:
    with site.connect() as connection:
        connection.socket.settimeout(30)
        requests = []
        for number in range(200):
            api, body = [
                (kafka.PRODUCE, kafka.produce_body("abused", 0, batch.batch([b"p"] * 3))),
                (kafka.API_VERSIONS, b""),
                (kafka.FETCH, kafka.fetch_body("abused", 0, 0, bytes_max=100_000, wait_ms=10)),
                (kafka.METADATA, kafka.array([kafka.text("abused")]) + kafka.i8(0)),
                (kafka.PRODUCE, kafka.produce_body("abused", 0, batch.batch_of_size(20_000))),
            ][number % 5]
            requests.append(frame(api, kafka.VERSION[api], number, body))
        connection.send_raw(b"".join(requests))
        for number in range(200):
            answered, _ = connection.receive()
            assert answered == number, f"answer {answered} came when {number} was due"


@case("requests cut into single bytes")
def single_bytes(site: Site) -> None:
    before = site.stored()
    with site.connect() as connection:
        for number, size in enumerate((80, 300, 6000)):
            request = frame(kafka.PRODUCE, 7, number, kafka.produce_body("abused", 0, batch.batch_of_size(size)))
            for at in range(len(request)):
                connection.send_raw(request[at:at + 1])
            answered, answer = connection.receive()
            assert (answered, *kafka.read_produced(answer)) == (number, kafka.NONE, before + number)


@case("a large request in odd cuts")
def odd_cuts(site: Site) -> None:
    made = batch.batch_of_size(700_001, b"o")
    request = frame(kafka.PRODUCE, 7, 1, kafka.produce_body("abused", 0, made))
    with site.connect() as connection:
        at = 0
        while at < len(request):
            size = site.random.choice((1, 2, 3, 4095, 4096, 4097, 100_000))
            connection.send_raw(request[at:at + size])
            at += size
            if site.random.random() < 0.3:
                time.sleep(0.001)
        _, answer = connection.receive()
        produced = kafka.read_produced(answer)
        assert produced.error == kafka.NONE
        fetched = kafka.fetch(connection, "abused", 0, produced.base_offset)
        assert fetched.records[batch.MAGIC_AT:len(made)] == made[batch.MAGIC_AT:], "other bytes came back"


@case("1,000 connections opened and dropped")
def crowd(site: Site) -> None:
    before = site.node.metrics().get("penstock_connections", 0) if site.is_node else 0
    connections = [site.connect() for _ in range(1000)]
    for number, connection in enumerate(connections):
        connection.reset() if number % 2 else connection.close()
    if site.is_node:
        left = site.node.wait_metric("penstock_connections", lambda value: value <= before)
        assert left <= before, f"{left - before:.0f} connections left"


@case("1,000 connections opened and dropped one after the other, each with a request")
def procession(site: Site) -> None:
    for number in range(1000):
        connection = site.connect()
        connection.send(kafka.API_VERSIONS, b"")
        connection.reset() if number % 2 else connection.close()


def no_reservation_left(site: Site) -> None:
    if site.is_node:
        left = site.node.wait_metric("penstock_reserved_bytes", lambda value: value == 0)
        assert left == 0, f"{left:.0f} bytes stay reserved"
