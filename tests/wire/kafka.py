"""Kafka's protocol over plain sockets: enough to produce, fetch and be a nuisance.

Every API in one version, the newest that is not flexible or a little older, so that a request is readable as bytes.
"""

import socket
import struct
import time
from typing import NamedTuple

PRODUCE, FETCH, LIST_OFFSETS, METADATA, API_VERSIONS, CREATE_TOPICS, DELETE_TOPICS, INIT_PRODUCER_ID = \
    0, 1, 2, 3, 18, 19, 20, 22
VERSION = {PRODUCE: 7, FETCH: 4, LIST_OFFSETS: 1, METADATA: 4, API_VERSIONS: 0, CREATE_TOPICS: 2, DELETE_TOPICS: 1,
           INIT_PRODUCER_ID: 1}

NONE = 0
CORRUPT_MESSAGE = 2
UNKNOWN_TOPIC_OR_PARTITION = 3
NOT_LEADER_OR_FOLLOWER = 6
MESSAGE_TOO_LARGE = 10
COORDINATOR_LOAD_IN_PROGRESS = 14
UNSUPPORTED_VERSION = 35
TOPIC_ALREADY_EXISTS = 36
OUT_OF_ORDER_SEQUENCE_NUMBER = 45
DUPLICATE_SEQUENCE_NUMBER = 46
KAFKA_STORAGE_ERROR = 56
INVALID_RECORD = 87

Address = tuple[str, int]


def i8(value: int) -> bytes: return struct.pack(">b", value)
def i16(value: int) -> bytes: return struct.pack(">h", value)
def i32(value: int) -> bytes: return struct.pack(">i", value)
def i64(value: int) -> bytes: return struct.pack(">q", value)
def text(value: str | None) -> bytes: return i16(-1) if value is None else i16(len(value)) + value.encode()
def blob(value: bytes) -> bytes: return i32(len(value)) + value
def array(items: list[bytes]) -> bytes: return i32(len(items)) + b"".join(items)


def frame(api: int, version: int, correlation: int, body: bytes, client: str = "wire") -> bytes:
    return blob(i16(api) + i16(version) + i32(correlation) + text(client) + body)


class Reader:
    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def _take(self, form: str) -> int:
        value, = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def i8(self) -> int: return self._take(">b")
    def i16(self) -> int: return self._take(">h")
    def i32(self) -> int: return self._take(">i")
    def i64(self) -> int: return self._take(">q")
    def text(self) -> str | None: return None if (length := self.i16()) < 0 else self._bytes(length).decode()
    def blob(self) -> bytes: return b"" if (length := self.i32()) < 0 else self._bytes(length)
    def array(self, item) -> list: return [item() for _ in range(self.i32())]

    def _bytes(self, length: int) -> bytes:
        self.at += length
        return self.data[self.at - length:self.at]


class Closed(ConnectionError):
    """The other side closed or reset the connection."""


class Connection:
    def __init__(self, address: Address, timeout_s: float = 20, receive_buffer: int = 0):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout_s)
        self.socket.connect(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.correlation = 0

    def __enter__(self): return self
    def __exit__(self, *_): self.close()
    def close(self) -> None: self.socket.close()

    def reset(self) -> None:
        """Closes with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, api: int, body: bytes, version: int | None = None) -> int:
        self.correlation += 1
        self.send_raw(frame(api, VERSION[api] if version is None else version, self.correlation, body))
        return self.correlation

    def send_raw(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed from error

    def receive(self) -> tuple[int, Reader]:
        """Correlation id, and the body behind it. (Response header 0.)"""
        length, = struct.unpack(">i", self._exactly(4))
        answer = Reader(self._exactly(length))
        return answer.i32(), answer

    def call(self, api: int, body: bytes, version: int | None = None) -> Reader:
        correlation = self.send(api, body, version)
        answered, answer = self.receive()
        assert answered == correlation, f"answer to request {answered}, expected {correlation}"
        return answer

    def is_closed_by_peer(self) -> bool:
        """Waits for the end of the stream; False when bytes come instead, or nothing until the timeout."""
        try:
            return self.socket.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    def _exactly(self, length: int) -> bytes:
        data = bytearray(length)
        view, at = memoryview(data), 0
        while at < length:
            try:
                count = self.socket.recv_into(view[at:])
            except ConnectionResetError as error:
                raise Closed from error
            if count == 0:
                raise Closed("connection closed")
            at += count
        return bytes(data)


# ---------------------------------------------------------------------------------------------- one function per API


def api_versions(connection: Connection) -> tuple[int, dict[int, tuple[int, int]]]:
    return read_api_versions(connection.call(API_VERSIONS, b""))


def read_api_versions(answer: Reader) -> tuple[int, dict[int, tuple[int, int]]]:
    error = answer.i16()
    return error, {key: (low, high) for key, low, high in
                   answer.array(lambda: (answer.i16(), answer.i16(), answer.i16()))}


class Metadata(NamedTuple):
    brokers: dict[int, Address]
    leaders: dict[str, dict[int, int]]  # topic -> partition -> broker id
    errors: dict[str, int]


def metadata(connection: Connection, topics: list[str], create: bool = False) -> Metadata:
    answer = connection.call(METADATA, array([text(t) for t in topics]) + i8(create))
    answer.i32()
    brokers = {node: (host, port) for node, host, port, _ in
               answer.array(lambda: (answer.i32(), answer.text(), answer.i32(), answer.text()))}
    answer.text(), answer.i32()

    def partition() -> tuple[int, int]:
        answer.i16()
        index, leader = answer.i32(), answer.i32()
        answer.array(answer.i32), answer.array(answer.i32)
        return index, leader

    rows = answer.array(lambda: (answer.i16(), answer.text(), answer.i8(), dict(answer.array(partition))))
    return Metadata(brokers, {name: leaders for _, name, _, leaders in rows}, {name: error for error, name, *_ in rows})


def create_topic(connection: Connection, name: str, partitions: int = 1, configs: dict[str, str] = {}) -> int:
    topic = text(name) + i32(partitions) + i16(1) + i32(0) + array([text(k) + text(v) for k, v in configs.items()])
    answer = connection.call(CREATE_TOPICS, array([topic]) + i32(30_000) + i8(0))
    answer.i32(), answer.i32(), answer.text()
    return answer.i16()


def delete_topic(connection: Connection, name: str) -> int:
    answer = connection.call(DELETE_TOPICS, array([text(name)]) + i32(30_000))
    answer.i32(), answer.i32(), answer.text()
    return answer.i16()


def produce_body(topic: str, partition: int, records: bytes, acks: int = -1) -> bytes:
    return text(None) + i16(acks) + i32(30_000) + array([text(topic) + array([i32(partition) + blob(records)])])


class Produced(NamedTuple):
    error: int
    base_offset: int


def produce(connection: Connection, topic: str, partition: int, records: bytes) -> Produced:
    return read_produced(connection.call(PRODUCE, produce_body(topic, partition, records)))


def read_produced(answer: Reader) -> Produced:
    """Of the one partition in the request."""
    answer.i32(), answer.text(), answer.i32(), answer.i32()
    return Produced(answer.i16(), answer.i64())


def fetch_body(topic: str, partition: int, offset: int, bytes_max: int = 4 << 20, wait_ms: int = 100) -> bytes:
    return (i32(-1) + i32(wait_ms) + i32(1) + i32(bytes_max) + i8(0) +
            array([text(topic) + array([i32(partition) + i64(offset) + i32(bytes_max)])]))


class Fetched(NamedTuple):
    error: int
    high_watermark: int
    records: bytes


def fetch(connection: Connection, topic: str, partition: int, offset: int, bytes_max: int = 4 << 20,
          wait_ms: int = 100) -> Fetched:
    return read_fetched(connection.call(FETCH, fetch_body(topic, partition, offset, bytes_max, wait_ms)))


def read_fetched(answer: Reader) -> Fetched:
    answer.i32(), answer.i32(), answer.text(), answer.i32(), answer.i32()
    error, high_watermark = answer.i16(), answer.i64()
    answer.i64(), answer.array(lambda: (answer.i64(), answer.i64()))
    return Fetched(error, high_watermark, answer.blob())


def end_offset(connection: Connection, topic: str, partition: int) -> tuple[int, int]:
    """Error and the offset behind the last record."""
    answer = connection.call(LIST_OFFSETS, i32(-1) + array([text(topic) + array([i32(partition) + i64(-1)])]))
    answer.i32(), answer.text(), answer.i32(), answer.i32()
    error, _ = answer.i16(), answer.i64()
    return error, answer.i64()


def new_producer_id(connection: Connection, patience_s: float = 10) -> tuple[int, int]:
    end = time.monotonic() + patience_s
    while True:
        answer = connection.call(INIT_PRODUCER_ID, text(None) + i32(60_000))
        answer.i32()
        error, producer_id, epoch = answer.i16(), answer.i64(), answer.i16()
        if error != COORDINATOR_LOAD_IN_PROGRESS or time.monotonic() > end:
            assert error == NONE, f"InitProducerId: error {error}"
            return producer_id, epoch
        time.sleep(0.1)


# ------------------------------------------------------------------------------------------------------- by leader


class Cluster:
    """Connections to whoever leads a partition, kept."""

    def __init__(self, bootstrap: Address):
        self.bootstrap = bootstrap
        self.known: Metadata | None = None
        self.connections: dict[Address, Connection] = {}

    def __enter__(self): return self

    def __exit__(self, *_):
        for connection in self.connections.values():
            connection.close()

    def to(self, address: Address) -> Connection:
        if address not in self.connections:
            self.connections[address] = Connection(address)
        return self.connections[address]

    def create_topic(self, name: str, partitions: int = 1, configs: dict[str, str] = {}) -> None:
        error = create_topic(self.to(self.bootstrap), name, partitions, configs)
        assert error in (NONE, TOPIC_ALREADY_EXISTS), f"CreateTopics {name}: error {error}"
        self.learn(name)

    def learn(self, topic: str) -> None:
        self.known = metadata(self.to(self.bootstrap), [topic])

    def address_of(self, topic: str, partition: int) -> Address:
        if self.known is None or partition not in self.known.leaders.get(topic, {}):
            self.learn(topic)
        return self.known.brokers[self.known.leaders[topic][partition]]

    def leader(self, topic: str, partition: int) -> Connection:
        return self.to(self.address_of(topic, partition))

    def records(self, topic: str, partition: int, start: int = 0):
        """Yields all records of a partition as (offset, value), up to the high watermark."""
        from tests.wire.batch import read
        offset = start
        while True:
            fetched = fetch(self.leader(topic, partition), topic, partition, offset)
            assert fetched.error == NONE, f"Fetch {topic}/{partition} at {offset}: error {fetched.error}"
            for record in read(fetched.records):
                if record.offset >= offset:
                    yield record
                    offset = record.offset + 1
            if offset >= fetched.high_watermark:
                return
