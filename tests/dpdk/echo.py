"""ICMP echo requests by hand: whether an address answers each of them once."""
import ipaddress
import os
import select
import socket
import struct
import time

BEHIND_IP = 20  # a raw IPv4 socket delivers the IP header too


def checksum(message):
    total = sum(struct.unpack(f"!{len(message) // 2}H", message))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def answers_once(address, count=3, patience_s=2.0):
    v4 = ipaddress.ip_address(address).version == 4
    family, protocol = (socket.AF_INET, socket.IPPROTO_ICMP) if v4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    request, reply = (8, 0) if v4 else (128, 129)
    own, payload = os.getpid() & 0xffff, bytes(range(56))
    expected = {number: payload for number in range(count)}
    with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        for number in expected:
            message = struct.pack("!BBHHH", request, 0, 0, own, number) + payload
            # Of IPv6 the kernel fills it in.
            raw.sendto(message[:2] + struct.pack("!H", checksum(message)) + message[4:], (address, 0))
        got = []
        end = time.monotonic() + patience_s
        while (left := end - time.monotonic()) > 0 and select.select([raw], [], [], left)[0]:
            message, sender = raw.recvfrom(2048)
            message = message[BEHIND_IP if v4 else 0:]
            kind, code, _, identifier, number = struct.unpack("!BBHHH", message[:8])
            if (kind, code, identifier) != (reply, 0, own) or sender[0] != address:
                continue
            got.append((number, message[8:]))
            if len(got) == count:
                end = min(end, time.monotonic() + 0.2)  # a second answer would be there by then
    return sorted(got) == sorted(expected.items())
