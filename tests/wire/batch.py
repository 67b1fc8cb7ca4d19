"""Record batches of message format 2, written and read with the standard library."""

import struct
import time
from typing import Iterator, NamedTuple

try:
    from crc32c import crc32c  # the clients' environment has it; a hundred times faster
except ImportError:
    def _table() -> list[int]:
        rows = []
        for value in range(256):
            for _ in range(8):
                value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
            rows.append(value)
        return rows

    TABLE = _table()

    def crc32c(data: bytes) -> int:
        crc = 0xFFFFFFFF
        for byte in data:
            crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
        return crc ^ 0xFFFFFFFF


# base offset, batch length, leader epoch, magic, CRC | what the CRC covers: attributes, last offset delta, first and
# last time, producer id, producer epoch, base sequence, count
HEAD, COVERED = struct.Struct(">qiibI"), struct.Struct(">hiqqqhii")
CRC_AT, COVERED_AT, MAGIC_AT = 17, 21, 16
COUNT_AT = HEAD.size + COVERED.size - 4


def varint(number: int) -> bytes:
    number = number << 1 ^ number >> 63
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def record(offset_delta: int, value: bytes, key: bytes | None = None) -> bytes:
    body = b"".join((b"\0", varint(0), varint(offset_delta),
                     varint(-1) if key is None else varint(len(key)) + key,
                     varint(len(value)), value, varint(0)))
    return varint(len(body)) + body


def batch(values: list[bytes], producer_id: int = -1, epoch: int = -1, sequence: int = -1,
          attributes: int = 0, count: int | None = None) -> bytes:
    """`count` may lie; the last offset delta and the records do not."""
    now_ms = int(time.time() * 1000)
    covered = COVERED.pack(attributes, len(values) - 1, now_ms, now_ms, producer_id, epoch, sequence,
                           len(values) if count is None else count)
    covered += b"".join(record(i, value) for i, value in enumerate(values))
    return HEAD.pack(0, len(covered) + COVERED_AT - 12, -1, 2, crc32c(covered)) + covered


def batch_of_size(size: int, fill: bytes = b"p") -> bytes:
    """One record, `size` bytes in all; the same bytes every time but for the time."""
    value = size - len(batch([b""]))
    while len(made := batch([fill * value])) > size:
        value -= len(made) - size
    return made


def with_crc(made: bytes) -> bytes:
    """After a field that the CRC covers was changed."""
    return made[:CRC_AT] + struct.pack(">I", crc32c(made[COVERED_AT:])) + made[COVERED_AT:]


class Read(NamedTuple):
    offset: int
    value: bytes


def read(records: bytes) -> Iterator[Read]:
    """The records of whole batches, in order; what a fetch cut off at its end is left out. Checks every CRC."""
    at = 0
    while at + HEAD.size <= len(records):
        base, length, _, magic, crc = HEAD.unpack_from(records, at)
        end = at + 12 + length
        if end > len(records):
            return
        assert magic == 2, f"batch at offset {base} has magic {magic}"
        assert crc32c(records[at + COVERED_AT:end]) == crc, f"batch at offset {base}: CRC does not match"
        attributes, last_delta, *_, count = COVERED.unpack_from(records, at + HEAD.size)
        assert attributes & 7 == 0, "compressed batches are not read here"
        assert last_delta == count - 1, f"batch at offset {base}: {count} records, last offset delta {last_delta}"
        at += HEAD.size + COVERED.size
        for _ in range(count):
            delta, value, at = _read_record(records, at)
            yield Read(base + delta, value)
        assert at == end, f"batch at offset {base}: its records do not fill it"


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number >> 1 ^ -(number & 1), at
        shift += 7


def _read_record(data: bytes, at: int) -> tuple[int, bytes, int]:
    length, at = _read_varint(data, at)
    end = at + length
    _, at = _read_varint(data, at + 1)          # attributes, time
    delta, at = _read_varint(data, at)
    key_length, at = _read_varint(data, at)
    value_length, at = _read_varint(data, at + max(key_length, 0))
    return delta, data[at:at + value_length], end
