#!/usr/bin/env python3
"""Seeds for frames_fuzz: writes tests/fuzz/corpus/frames. The steps are those at the head of frames_fuzz.cc."""
import pathlib

WAIT, SYN, DATA, ACK, FIN, RST, RAW, ICMP, ARP, NEIGHBOUR, APP, OPTIONS, REPEAT, SACK = range(14)
V6 = 8
ALLOW, ALLOW_FEW, DONE, CLOSE, ABORT, HOLD, SEND = (number << 5 for number in range(7))


def step(what, *needs, whose=0):
    return bytes([whose << 4 | what, *needs])


def syn(whose=0, offers=0b1111, scale=7):
    needs = [offers, 0x34, 0x12]
    if offers & 1:
        needs += [0xb4, 0x05]
    if offers & 2:
        needs += [scale]
    return step(SYN, *needs, 0, whose=whose)


def data(length, shift=0, whose=0, changes=(0,)):
    return step(DATA, shift & 255, 0, length & 255, length >> 8, *changes, whose=whose)


def ack(back=0, window=8192, whose=0):
    return step(ACK, back & 255, window & 255, window >> 8, 0, whose=whose)


def options(*raw, syn_too=False, whose=0):
    return step(OPTIONS, len(raw) << 1 | syn_too, *raw, 0, whose=whose)


def open_flow(whose=0, **how):
    return syn(whose, **how) + ack(whose=whose)


def wait(milliseconds):
    return step(WAIT, milliseconds // 10, 10)


SEEDS = {
    # A parser that steps by an option's length and trusts it does not end here.
    "00-option-of-length-0": bytes([0]) + options(8, 0, 0, 0, syn_too=True) + open_flow() + options(5, 0, 1, 1),
    "01-option-of-length-1": bytes([0]) + options(2, 1, 0, 0, syn_too=True) + open_flow() + options(8, 1),
    "02-option-beyond-the-end": bytes([0]) + options(8, 40, 0, 0, syn_too=True) + open_flow() + options(1, 1, 5, 34),
    "03-in-order": bytes([0]) + open_flow() + data(1460) + data(100) + data(1) + step(FIN, 0, 0) + step(APP, CLOSE) + ack(),
    "04-holes": bytes([4]) + open_flow() + b"".join(data(50, shift) for shift in (2, 4, 6, 8, 10, 3, 5)) + data(1000),
    "05-send": bytes([0]) + open_flow() + step(APP, SEND, 0, 16) * 4 + ack() + step(SACK, 2, 5, 10, 20, 10, 8, 0)
               + wait(500) + ack(),
    "06-zero-window": bytes([0]) + open_flow() + ack(0, 0) + step(APP, SEND, 0, 8) + wait(900) + wait(2000) + ack(),
    "07-reset": bytes([0]) + open_flow() + data(10) + step(RST, 4, 0) + step(RST, 0, 0),
    "08-v6": bytes([0]) + open_flow(V6) + data(1000, whose=V6) + step(FIN, 0, 0, whose=V6) + step(NEIGHBOUR, 0x12, 0),
    "09-path-mtu": bytes([0]) + open_flow() + step(APP, SEND, 0, 16) + step(ICMP, 3, 4, 0x58, 2, 7, 0) + wait(300),
    "10-cookies": bytes([1]) + b"".join(syn(each) for each in range(8)) + b"".join(ack(whose=each) for each in range(8)),
    "11-arp-conflict": bytes([2]) + step(ARP, 2 | 4, 0) + step(ARP, 1, 0) + step(NEIGHBOUR, 1, 0) + wait(2500),
    "12-fragment": bytes([0]) + open_flow() + data(100, changes=(2, 20, 0x20, 21, 1)),
    "13-segmentation": bytes([16 + 32 + 8]) + open_flow() + step(APP, SEND, 255, 15) * 4 + ack() * 3 + step(APP, ABORT),
    "14-echo": bytes([0]) + step(ICMP, 8, 0, 1, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0) + step(ICMP, 128, 0, 1, 0, 0, 0, whose=V6),
    "15-raw": bytes([0]) + step(RAW, 20, *range(20), whose=1),
    "16-close-first": bytes([0]) + open_flow() + step(APP, CLOSE) + ack() + step(FIN, 0, 0) + wait(600) + step(REPEAT),
}


def main():
    folder = pathlib.Path(__file__).parent / "corpus" / "frames"
    folder.mkdir(parents=True, exist_ok=True)
    for name, seed in SEEDS.items():
        (folder / name).write_bytes(seed)
    print(f"{len(SEEDS)} seeds in {folder}")


if __name__ == "__main__":
    main()
