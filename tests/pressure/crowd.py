"""Thousands of connections, each half-way through a 1 MiB produce request, held by several processes.

Each process has a source address of its own (127.0.0.x), so that ports do not run out.

What the node has not read lies in the kernel's socket buffers, and those are bounded over all sockets
(net.ipv4.tcp_mem): half a MiB from each of 20,000 would make the kernel the bottleneck, and this is not its test. So
the first connections send their whole first half, which is more than the node grants at once; all others send enough
to be many times beyond what they may without a reservation.
"""

import errno
import multiprocessing
import resource
import socket
import time
from multiprocessing.connection import Connection as Pipe

from tests.wire import batch, kafka

REQUEST_BYTES = 1 << 20
DEEP_COUNT, DEEP_BYTES, SHALLOW_BYTES = 400, REQUEST_BYTES // 2, 24 << 10
CONNECTIONS_PER_PROCESS = 5000
PATIENCE_S = 30


class Crowd:
    def __init__(self, addresses: list[kafka.Address], topics: list[tuple[str, int]], connections: int):
        """`topics`: per address, a topic and partition that this broker leads."""
        records = batch.batch_of_size(REQUEST_BYTES - 1000)
        requests = [kafka.frame(kafka.PRODUCE, 7, 1, kafka.produce_body(topic, partition, records))
                    for topic, partition in topics]
        self.members = []
        for number in range(0, connections, CONNECTIONS_PER_PROCESS):
            ours, theirs = multiprocessing.Pipe()
            count = min(CONNECTIONS_PER_PROCESS, connections - number)
            deep = max(0, min(DEEP_COUNT - number, count))
            source = f"127.0.0.{2 + number // CONNECTIONS_PER_PROCESS}"
            process = multiprocessing.Process(target=member, daemon=True,
                                              args=(theirs, source, addresses, requests, count, deep))
            process.start()
            self.members.append((process, ours))

    def open(self) -> int:
        """Opens all connections and sends what they send; returns how many are open then."""
        return sum(self.ask("open"))

    def count(self) -> int:
        """How many are open now."""
        return sum(self.ask("count"))

    def drop(self) -> None:
        self.ask("drop")

    def close(self) -> None:
        for process, pipe in self.members:
            pipe.close()
            process.join(5)

    def ask(self, what: str) -> list[int]:
        for _, pipe in self.members:
            pipe.send(what)
        return [pipe.recv() for _, pipe in self.members]


def member(pipe: Pipe, source: str, addresses: list[kafka.Address], requests: list[bytes], count: int,
           deep: int) -> None:
    held: list[socket.socket] = []
    while True:
        try:
            what = pipe.recv()
        except EOFError:
            return
        if what == "open":
            held = half_sent(source, addresses, requests, count, deep)
        elif what == "drop":
            for each in held:
                each.close()
            held = []
        pipe.send(sum(map(is_open, held)))


def half_sent(source: str, addresses: list[kafka.Address], requests: list[bytes], count: int,
              deep: int) -> list[socket.socket]:
    held, left = [], []
    for number in range(count):
        lane = number % len(addresses)
        held.append(connect(source, addresses[lane]))
        first_half = memoryview(requests[lane])[:DEEP_BYTES if number < deep else SHALLOW_BYTES]
        left.append((held[-1], first_half))
    # What a full buffer did not take is tried again while others still get on.
    end = time.monotonic() + PATIENCE_S
    progress = True
    while left and progress and time.monotonic() < end:
        progress, waiting = False, []
        for each, data in left:
            try:
                sent = each.send(data)
                progress = True
                if sent < len(data):
                    waiting.append((each, data[sent:]))
            except BlockingIOError:
                waiting.append((each, data))
            except OSError:
                pass  # the node closed it; counted as not open
        left = waiting
        time.sleep(0.05)
    return held


def connect(source: str, address: kafka.Address) -> socket.socket:
    for _ in range(100):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 << 10)  # little of it in our own kernel buffers
        connection.setsockopt(socket.IPPROTO_IP, 24, 1)                       # IP_BIND_ADDRESS_NO_PORT
        connection.bind((source, 0))
        try:
            connection.connect(address)
            connection.setblocking(False)
            return connection
        except OSError as error:
            if error.errno not in (errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED):
                raise
            connection.close()
            time.sleep(0.05)  # the backlog is full
    raise SystemExit(f"cannot connect to {address}")


def is_open(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def raise_descriptors(wanted: int) -> int:
    """Raises our limit, which children inherit; returns what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
        except (ValueError, PermissionError):
            wanted = hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    return wanted
