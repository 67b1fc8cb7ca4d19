#!/usr/bin/env python3
"""Seeds for batch_fuzz, options_fuzz and config_fuzz: writes tests/fuzz/corpus/{batch,options,config}."""
import pathlib
import struct

HEADER = ">qiibIHiqqqhii"


def varint(value):
    value = (value << 1) ^ (value >> 63)
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(value):
    return varint(-1) if value is None else varint(len(value)) + value


def record(at, key=b"k", value=b"value", headers=(), time=0):
    body = b"\0" + varint(time) + varint(at) + field(key) + field(value) + varint(len(headers))
    body += b"".join(field(name) + field(content) for name, content in headers)
    return varint(len(body)) + body


def batch(records, attributes=0, producer=(-1, -1, -1), how=b"\x2a\0"):
    return how + struct.pack(HEADER, 0, 0, 0, 2, 0, attributes, len(records) - 1, 1000, 1500, *producer, len(records)) + b"".join(records)


plain = [record(i, time=i * 100) for i in range(4)]
BATCH = {
    "plain": batch(plain),
    "idempotent": batch(plain, producer=(7, 1, 2**31 - 2)),
    "compacted": batch(plain, how=b"\x05\1"),
    "no-key": batch([record(0, key=None), record(1, value=None)], how=b"\x05\1"),
    "headers": batch([record(0, headers=((b"h", b"1"), (b"g", None)))]),
    "negative-delta": batch([record(0, time=-300)]),
    "gzip": batch([b"\x1f\x8b" + bytes(20)], attributes=1),
    "zstd-too-early": batch([bytes(20)], attributes=4, how=b"\0\2"),
    "control": batch(plain, attributes=0x20),
    "wrong-crc": batch(plain, how=b"\0\4"),
}
OPTIONS = {
    "of-linux": bytes([1, 2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7]),
    "length-0": bytes([1, 8, 0, 0, 0]),
    "length-1": bytes([0, 5, 1, 5, 10]),
    "beyond": bytes([0, 8, 40, 0, 0]),
    "timestamps": bytes([2, 1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8]),
    "three-sacks": bytes([0, 1, 1, 8, 10]) + bytes(8) + bytes([1, 1, 5, 26]) + bytes(range(24)),
    "four-sacks": bytes([0, 1, 1, 5, 34]) + bytes(range(32)),
    "scale-15": bytes([1, 3, 3, 15, 0]),
    "twice": bytes([1, 2, 4, 1, 0, 2, 4, 2, 0]),
    "end-then-rest": bytes([1, 0, 2, 4, 5]),
}
CONFIG = {
    "tables": b'\nlanes = 2\n[memory]\narena_bytes = "256 MiB"\nreceive_bytes = 4096\n',
    "lists": b'lanes=1\nadvertised = ["10.0.0.1", "host.example"]\ncores = [0, "1-3"]\ndrives = []\n',
    "choice": b'network=dpdk\n[dpdk]\naddresses = ["10.0.0.1/24", "fd00::1/64"]\nmtu = 9000\n',
    "mistyped": b"\nlane = 2\n",
    "out-of-bounds": b"segment_bytes=1 EiB\nport = 99999\nlanes = -1\n",
    "wrong-type": b"log_level=loud\nauto_create_topics = 3\ndata_directory = 7\n",
    "dates": b"\nlanes = 2026-11-22\nport = 1e3\nrack = '''\n",
}


def main():
    corpus = pathlib.Path(__file__).parent / "corpus"
    for kind, seeds in (("batch", BATCH), ("options", OPTIONS), ("config", CONFIG)):
        (corpus / kind).mkdir(exist_ok=True)
        for name, seed in seeds.items():
            (corpus / kind / name).write_bytes(seed)


if __name__ == "__main__":
    main()
