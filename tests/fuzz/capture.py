#!/usr/bin/env python3
"""Captures what real clients send to a node during the interop test, as frames for make_corpus.py. Needs root.

    capture.py FRAMES [--binary build/tools/penstock] [options of tests/interop/run]

It starts a node, listens on the loopback interface while tests/interop/run talks to it, and keeps a small choice of the
requests: no two of one kind (see Choice.kind) and about one size.
"""
import argparse
import collections
import ctypes
import pathlib
import re
import socket
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/interop"))
sys.dont_write_bytecode = True
from node import Node  # noqa: E402

FRAME_BYTES_MAX = 2048
# The smallest sizes of a kind are kept, one frame for each power of two.
SIZES_OF_A_KIND_MAX = 3
LANES = 2
PRODUCE, API_VERSIONS = 0, 18

ETH_P_IP, IPPROTO_TCP, PACKET_OUTGOING = 0x0800, 6, 4
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_ATTACH_FILTER, SO_RCVBUFFORCE = 26, 33
SYN = 0x02


def listen(first_port, last_port):
    """A raw socket that gets the loopback's IPv4 packets to these TCP ports, from the IP header on."""
    filter_steps = [            # classic BPF: code, jump if true, jump if false, operand
        (0x30, 0, 0, 9),        # ldb [9]             the protocol
        (0x15, 0, 5, IPPROTO_TCP),
        (0xb1, 0, 0, 0),        # ldxb 4*([0]&0xf)    the length of the IP header
        (0x48, 0, 0, 2),        # ldh [x + 2]         the destination port
        (0x35, 0, 2, first_port),
        (0x25, 1, 0, last_port),
        (0x06, 0, 0, 1 << 18),  # the whole packet
        (0x06, 0, 0, 0),        # nothing
    ]
    steps = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in filter_steps))
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)  # protocol 0: silent until it is bound
    listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(filter_steps), ctypes.addressof(steps)))
    listener.bind(("lo", ETH_P_IP))
    listener.settimeout(0.2)
    return listener


def packets(listener, process):
    """Until the process has ended and nothing more comes."""
    while True:
        try:
            packet, (_, _, direction, *_) = listener.recvfrom(1 << 18)
        except TimeoutError:
            if process.poll() is not None:
                return
            continue
        if direction != PACKET_OUTGOING:  # on loopback each packet is seen going out and coming in
            yield packet


class Stream:
    """One direction of a connection, from its SYN: segments in, in any order, and frames out."""

    def __init__(self, syn_sequence):
        self.next = syn_sequence + 1 & 0xffffffff
        self.early = {}           # payloads after a hole, by sequence number
        self.bytes = bytearray()  # what no frame has been cut from yet
        self.handshake = b""      # see Choice.kind

    def segment(self, sequence, payload):
        self.early[sequence] = max(payload, self.early.get(sequence, b""), key=len)
        while fitting := [start for start in self.early if self.before_next(start) < 1 << 31]:
            payload = self.early.pop(fitting[0])[self.before_next(fitting[0]):]
            self.bytes += payload
            self.next = self.next + len(payload) & 0xffffffff

    def before_next(self, sequence):
        return self.next - sequence & 0xffffffff

    def frames(self):
        while len(self.bytes) >= 4:
            length = 4 + int.from_bytes(self.bytes[:4])
            if len(self.bytes) < length:
                return
            yield bytes(self.bytes[:length])
            del self.bytes[:length]


class Choice:
    def __init__(self):
        self.seen = collections.Counter()  # by API key and version
        self.kept = {}                     # by kind, then by size: the first frame

    def offer(self, stream, frame):
        if len(frame) < 14:
            return
        key, version = struct.unpack_from(">hh", frame, 4)
        self.seen[key, version] += 1
        if len(frame) <= FRAME_BYTES_MAX:
            self.kept.setdefault(self.kind(stream, frame, key, version), {}).setdefault(len(frame).bit_length(), frame)

    @staticmethod
    def kind(stream, frame, key, version):
        """API, version and client; of a Produce also the attributes of its first batch, which tell the codec.

        A client is known by its client id, but for the numbers in it, and, since kcat and confluent have the same id, by
        the ApiVersions request of its connection, which has the name and version of the library.
        """
        (id_length,) = struct.unpack_from(">h", frame, 12)
        id_end = 14 + max(id_length, 0)
        if key == API_VERSIONS:
            stream.handshake = frame[id_end:]
        batch = re.search(rb"\0{8}.{4}(?:\xff{4}|\0{4})\x02.{4}(..)", frame, re.DOTALL) if key == PRODUCE else None
        return key, version, re.sub(rb"\d+", b"", frame[14:id_end]), stream.handshake, batch and batch[1]

    def frames(self):
        for kind in sorted(self.kept, key=repr):
            sizes = self.kept[kind]
            yield from (sizes[size] for size in sorted(sizes)[:SIZES_OF_A_KIND_MAX])


def watch(listener, process):
    streams, choice = {}, Choice()
    for packet in packets(listener, process):
        tcp = (packet[0] & 15) * 4
        source, destination, sequence = struct.unpack_from(">HHI", packet, tcp)
        data, flags = tcp + (packet[tcp + 12] >> 4) * 4, packet[tcp + 13]
        # A packet of 64 KiB or more has the length 0; loopback never pads, so the rest is payload either way.
        payload, connection = packet[data:], (packet[12:16], source, destination)
        if flags & SYN:
            streams[connection] = Stream(sequence)
        elif payload and connection in streams:
            stream = streams[connection]
            stream.segment(sequence, payload)
            for frame in stream.frames():
                choice.offer(stream, frame)
    lost = struct.unpack("II", listener.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
    holes = sum(bool(stream.early) for stream in streams.values())
    return choice, f"{len(streams)} connections, {holes} with a hole, {lost} packets lost"


def main():
    parser = argparse.ArgumentParser(usage="capture.py FRAMES [--binary FILE] [options of tests/interop/run]")
    parser.add_argument("frames", type=pathlib.Path)
    parser.add_argument("--binary", default=str(ROOT / "build/tools/penstock"))
    arguments, options = parser.parse_known_args()
    with Node(None, arguments.binary, LANES) as bootstrap:
        port = int(bootstrap.rpartition(":")[2])
        try:
            listener = listen(port, port + LANES - 1)
        except PermissionError:
            sys.exit("capture: only root may listen on an interface")
        process = subprocess.Popen([ROOT / "tests/interop/run", "--bootstrap", bootstrap, *options])
        choice, summary = watch(listener, process)
    kept = list(choice.frames())
    arguments.frames.write_bytes(b"".join(kept))
    for (key, version), count in sorted(choice.seen.items()):
        print(f"api {key:2} version {version:2}: {sum(frame[4:8] == struct.pack('>hh', key, version) for frame in kept):3}"
              f" kept of {count}")
    print(f"{summary}; {len(kept)} frames, {sum(map(len, kept))} bytes in {arguments.frames}")
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
