#!/usr/bin/env python3
"""Makes seeds for request_fuzz from the codec's test vectors.

    make_corpus.py vectors.txt corpus/request            the vectors of tests/kafka/vectors
    make_corpus.py --frames capture.bin corpus/request   what a real client sent

A capture is a row of frames: length, key, version, correlation id, client id, body. capture.py makes one; so does
`socat -r capture.bin TCP-LISTEN:9092,fork TCP:broker:9092`, one connection per file. Of the header only key and version
go into the seed. Seeds from captures are called sent-*.
"""
import hashlib
import pathlib
import struct
import sys

# Name, key, oldest version that is decoded, newest, first flexible: the order of served_apis in dataplane/kafka/api.h.
APIS = [
    ("Produce", 0, 3, 13, 9), ("Fetch", 1, 4, 17, 12), ("ListOffsets", 2, 1, 10, 6), ("Metadata", 3, 0, 13, 9),
    ("FindCoordinator", 10, 0, 6, 3), ("ApiVersions", 18, 0, 4, 3), ("CreateTopics", 19, 2, 7, 5),
    ("DeleteTopics", 20, 1, 6, 4), ("InitProducerId", 22, 0, 5, 2), ("DescribeCluster", 60, 0, 2, 0),
]


def seed(index, response, version, body):
    oldest = APIS[index][2]
    pieces = hashlib.sha256(body).digest()[0]
    return bytes([index | (0x80 if response else 0), version - oldest, pieces]) + body


def write(folder, prefix, data):
    (folder / (prefix + hashlib.sha1(data).hexdigest()[:16])).write_bytes(data)


def from_vectors(path):
    # The full form of every version; the other forms of the newest only, to keep the folder small.
    names = {api[0]: i for i, api in enumerate(APIS)}
    for line in pathlib.Path(path).read_text().splitlines():
        name, kind, version, variant, *hexes = line.split(" ")
        if name not in names:
            continue
        index = names[name]
        if variant == "full" or int(version) == APIS[index][3]:
            yield seed(index, kind == "response", int(version), bytes.fromhex("".join(hexes)))


def from_frames(path):
    data = pathlib.Path(path).read_bytes()
    keys = {api[1]: i for i, api in enumerate(APIS)}
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from(">i", data.ljust(at + 4, b"\0"), at)
        if not 0 <= length <= len(data) - at - 4:
            sys.exit(f"{path}: no frame at byte {at}: length {length}")
        frame = data[at + 4:at + 4 + length]
        at += 4 + length
        if len(frame) < 10:
            continue
        key, version, _, client = struct.unpack_from(">hhih", frame)
        if key not in keys:
            continue
        _, _, oldest, newest, flexible = APIS[keys[key]]
        if not oldest <= version <= newest:
            continue
        start = 10 + max(client, 0)
        if version >= flexible:
            # No known client tags the header.
            if frame[start:start + 1] != b"\0":
                continue
            start += 1
        yield seed(keys[key], False, version, frame[start:])


def main():
    frames = sys.argv[1] == "--frames"
    source, folder = sys.argv[-2], pathlib.Path(sys.argv[-1])
    folder.mkdir(parents=True, exist_ok=True)
    for data in from_frames(source) if frames else from_vectors(source):
        write(folder, "sent-" if frames else "", data)


main()
