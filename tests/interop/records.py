"""The records every client writes and reads, and their common form: one JSON object a line, bytes in base64.

    {"p": partition, "k": key or null, "v": value or null, "h": [[name, value or null], ...], "t": milliseconds or null}
"""

import base64
import json
import random
from dataclasses import dataclass

PARTITION_COUNT = 4


@dataclass(frozen=True)
class Record:
    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    # Only set where a test asks for it; never compared, since a broker may stamp records itself.
    timestamp: int | None = None

    def line(self) -> str:
        headers = [[name, encode(value)] for name, value in self.headers]
        return json.dumps({"p": self.partition, "k": encode(self.key), "v": encode(self.value), "h": headers,
                           "t": self.timestamp})

    @staticmethod
    def from_line(line: str) -> "Record":
        fields = json.loads(line)
        headers = tuple((name, decode(value)) for name, value in fields["h"] or ())
        return Record(fields["p"], decode(fields["k"]), decode(fields["v"]), headers)


def encode(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def decode(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def write_records(path, records) -> None:
    with open(path, "w") as file:
        file.writelines(record.line() + "\n" for record in records)


def read_records(path) -> list[Record]:
    with open(path) as file:
        return [Record.from_line(line) for line in file]


def by_partition(records) -> list[list[Record]]:
    """Order is promised within a partition only, so that is how records are compared."""
    partitions = [[] for _ in range(PARTITION_COUNT)]
    for record in records:
        partitions[record.partition].append(record)
    return partitions


def sample(seed: str) -> list[Record]:
    """A topic's worth of records. Each partition has a temper of its own; the seed makes every topic's bytes differ,
    so that a record which strays from one topic to another is noticed."""
    source = random.Random(seed)
    records = []
    # 0: many small keyed records of text, so that batches hold many.
    for i in range(200):
        text = f"{seed} line {i} " + "penstock " * source.randrange(20)
        records.append(Record(0, f"key-{i % 17}".encode(), text.encode()))
    # 1: sizes around the units of drives and networks, half of them incompressible.
    for i, size in enumerate((1, 2, 511, 512, 513, 1447, 4095, 4096, 4097, 10_240, 65_537, 300_001)):
        value = source.randbytes(size) if i % 2 else (f"{seed} {i} ".encode() * size)[:size]
        records.append(Record(1, None, value))
    # 2: binary keys and plain headers.
    for i in range(20):
        headers = (("content-type", b"text/plain"), ("trace", f"{seed}-{i // 10}".encode()), ("blank", b""))
        records.append(Record(2, source.randbytes(16), source.randbytes(300), headers))
    # 3: everything that may be empty or absent.
    records += [
        Record(3, b"deleted", None),
        Record(3, b"empty value", b""),
        Record(3, b"", b"empty key"),
        Record(3, b"", b""),
        Record(3, None, None),
        Record(3, None, b""),
        Record(3, b"", None),
        Record(3, b"h", b"headers", (("null", None), ("binary", bytes(range(256))), ("twice", b"1"), ("twice", b"2"))),
        Record(3, None, "Schütz, 水門".encode(), (("größe", b"1"),)),
        Record(3, b"last", seed.encode()),
    ]
    return records


def numbered(seed: str, count: int, partition: int = 0, first_timestamp: int | None = None) -> list[Record]:
    """Records told apart by their number, one per second if they have timestamps."""
    return [Record(partition, None, f"{seed} {i}".encode(),
                   timestamp=None if first_timestamp is None else first_timestamp + 1000 * i)
            for i in range(count)]
