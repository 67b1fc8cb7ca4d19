"""Fills a node's log: batches of several sizes from idempotent producers, turn by turn to all partitions of a topic."""

import random
import struct
import threading

from tests.wire import batch, kafka

SEQUENCE_AT, IN_FLIGHT = 53, 16


class Template:
    """A batch that becomes another one by its base sequence: the checksum follows from the bits that differ."""

    def __init__(self, size: int, producer: tuple[int, int], noise: random.Random):
        overhead = len(batch.batch([b""], *producer, 0)) + 6
        values = [noise.randbytes(min(1000, size - overhead)) for _ in range(max(1, (size - overhead) // 1010))]
        made = batch.batch(values, *producer, 0)
        self.records = len(values)
        self.before, self.after = made[:batch.CRC_AT], made[batch.COVERED_AT:SEQUENCE_AT]
        self.rest = made[SEQUENCE_AT + 4:]
        self.crc, = struct.unpack_from(">I", made, batch.CRC_AT)
        zeros = zero_bytes(len(self.rest))
        self.bits = [apply(zeros, field_crc(1 << bit)) for bit in range(32)]
        self.bytes = len(made)

    def pieces(self, sequence: int) -> list[bytes]:
        crc = self.crc
        for bit in range(sequence.bit_length()):
            if sequence >> bit & 1:
                crc ^= self.bits[bit]
        return [self.before + struct.pack(">I", crc) + self.after + struct.pack(">i", sequence), self.rest]


TABLE = [0] * 256
for value in range(256):
    row = value
    for _ in range(8):
        row = row >> 1 ^ (0x82F63B78 if row & 1 else 0)
    TABLE[value] = row


def field_crc(value: int) -> int:
    """What four bytes do to a checksum that was 0, without its complements."""
    crc = 0
    for byte in struct.pack(">I", value):
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc


def apply(matrix: list[int], vector: int) -> int:
    out = 0
    for bit in range(vector.bit_length()):
        if vector >> bit & 1:
            out ^= matrix[bit]
    return out


def zero_bytes(count: int) -> list[int]:
    """So many zeros behind a checksum, as a matrix: squared for each bit of `count`."""
    power = [TABLE[1 << bit & 0xFF] ^ (1 << bit) >> 8 for bit in range(32)]
    product = [1 << bit for bit in range(32)]
    while count:
        if count & 1:
            product = [apply(power, row) for row in product]
        power = [apply(power, row) for row in power]
        count >>= 1
    return product


class Filler(threading.Thread):
    """One connection to one lane, one producer id."""

    def __init__(self, address: kafka.Address, topic: str, partitions: list[int], sizes: list[int], byte_count: int):
        super().__init__(daemon=True)
        self.address, self.topic, self.partitions, self.byte_count = address, topic, partitions, byte_count
        self.sizes = sizes
        self.acknowledged = self.batches = 0
        self.wrong = ""

    def run(self) -> None:
        try:
            self.fill()
        except OSError as error:
            self.wrong = self.wrong or f"{type(error).__name__}: {error}"

    def fill(self) -> None:
        noise = random.Random(self.partitions[0])
        sent, under_way, turn = 0, [], 0
        sequences = dict.fromkeys(self.partitions, 0)
        with kafka.Connection(self.address, timeout_s=60) as connection:
            producer = kafka.new_producer_id(connection)
            templates = [Template(size, producer, noise) for size in self.sizes]
            while not self.wrong and (sent < self.byte_count or under_way):
                if sent < self.byte_count and len(under_way) < IN_FLIGHT:
                    partition = self.partitions[turn % len(self.partitions)]
                    template = noise.choice(templates)
                    self.send(connection, partition, template, sequences[partition])
                    sequences[partition] += template.records
                    under_way.append(template.bytes)
                    sent += template.bytes
                    turn += 1
                    continue
                error = kafka.read_produced(connection.receive()[1]).error
                if error:
                    self.wrong = f"produce: error {error}"
                self.acknowledged += under_way.pop(0)
                self.batches += 1

    def send(self, connection: kafka.Connection, partition: int, template: Template, sequence: int) -> None:
        body = kafka.produce_body(self.topic, partition, b"")[:-4] + kafka.i32(template.bytes)
        head = kafka.frame(kafka.PRODUCE, kafka.VERSION[kafka.PRODUCE], 0, body)
        length = kafka.i32(len(head) - 4 + template.bytes)
        pieces = [memoryview(piece) for piece in (length + head[4:], *template.pieces(sequence))]
        while pieces:
            taken = connection.socket.sendmsg(pieces)
            while pieces and taken >= len(pieces[0]):
                taken -= len(pieces.pop(0))
            if taken:
                pieces[0] = pieces[0][taken:]


def fillers(bootstrap: kafka.Address, topic: str, partitions: int, sizes: list[int], byte_count: int,
            connections: int) -> list[Filler]:
    """Started, `connections` to each lane that leads partitions of the topic."""
    with kafka.Cluster(bootstrap) as cluster:
        cluster.learn(topic)
        led: dict[kafka.Address, list[int]] = {}
        for partition in range(partitions):
            led.setdefault(cluster.address_of(topic, partition), []).append(partition)
    shares = [(address, some[first::connections]) for address, some in led.items() for first in range(connections)]
    started = [Filler(address, topic, share, sizes, byte_count * len(share) // partitions) for address, share in shares
               if share]
    for filler in started:
        filler.start()
    return started
