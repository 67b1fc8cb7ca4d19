"""Bulk transfers between Linux and our TCP through a link that loses, delays and reorders; beside it, Linux with Linux
through the same link. In every cell of the matrix, each way:

  * every byte arrives and is right (compared by place, and by a hash of all of it);
  * nothing hangs;
  * the rate is at least half of what Linux has with Linux.

Then a SYN flood: a million SYNs of nobody, while honest producers keep 0.8 of the rate they had before, in the same run.
"""
import argparse
import itertools
import os
import pathlib
import signal
import sys
import time

from tests.linux import network
from tests.linux.flood import flood

LOSSES, DELAYS, REORDERINGS = [0, 1_000, 10_000, 30_000], [0, 1_000, 10_000, 40_000], [0, 10_000, 50_000]
SHORT = [(0, 0, 0), (10_000, 0, 0), (0, 0, 50_000), (0, 10_000, 0), (1_000, 1_000, 10_000), (30_000, 10_000, 10_000)]
TABLE = pathlib.Path(__file__).parent / "throughput.txt"


class Count:
    def __init__(self):
        self.passed, self.failed = 0, 0

    def judge(self, right, what):
        self.passed += right
        self.failed += not right
        if not right:
            print(f"FAILED {what}", flush=True)


def faults_of(cell):
    loss, delay, reordering = cell
    return ["--lose", str(loss), "--delay-us", str(delay), "--reorder", str(reordering),
            "--reorder-us", str(max(500, delay // 4)), "--repeat", str(reordering // 10)]


def name_of(cell):
    loss, delay, reordering = cell
    return f"loss {loss / 10_000:g} % delay {delay / 1000:g} ms reordering {reordering / 10_000:g} %"


def connections_of(cell):
    """Losses make single flows noisy: several where the rate is low anyway."""
    return 8 if cell[0] >= 10_000 or (cell[0] and cell[1] >= 10_000) else 4 if cell[0] or cell[1] >= 10_000 else 1


def seconds_of(cell):
    """Of one transfer: some fifteen round trips at least."""
    return 1.2 if cell[1] >= 40_000 else 0.7


def measure(programs, cell, ours, families, seconds):
    """{(direction, family): (rate, fault)}"""
    results = {}
    with network.Network(programs, faults_of(cell), ours) as link:
        for family, direction in families:
            address = network.NODE_V6 if family == 6 else network.NODE_V4
            results[direction, family] = link.bulk(direction, address, seconds, connections_of(cell)).result()
    return results


def run_cell(programs, cell, families, seconds, count, rows):
    linux = measure(programs, cell, False, families, seconds)
    ours = measure(programs, cell, True, families, seconds)
    for family, direction in families:
        what = f"{name_of(cell)}, IPv{family}, {direction}"
        rate, fault = ours[direction, family]
        reference, its_fault = linux[direction, family]
        # A ratio below the bound is measured once more, both sides: the machine has other work.
        if fault is None and its_fault is None and rate < 0.5 * reference:
            again = measure(programs, cell, False, [(family, direction)], 2 * seconds)
            once_more = measure(programs, cell, True, [(family, direction)], 2 * seconds)
            (rate, fault), (reference, its_fault) = once_more[direction, family], again[direction, family]
        count.judge(fault is None, f"{what}: {fault}")
        ratio = rate / reference if reference else 0
        if fault is None and its_fault is None:
            count.judge(rate > 0 and rate >= 0.5 * reference, f"{what}: {ratio:.2f} of Linux with Linux")
        verdict = fault or ("below half" if not its_fault and rate < 0.5 * reference else "")
        row = (f"{cell[0] / 10_000:7.2f} {cell[1] / 1000:9.1f} {cell[2] / 10_000:8.1f}   IPv{family} {direction:8}"
               f"{rate / 1e6:9.2f} {reference / 1e6:9.2f} {ratio:7.2f}"
               + (f"   {verdict}" if verdict else ""))
        rows.append(row)
        print(row, flush=True)


# At the head of the table. What a reader of a change compares is in the second half.
ABOUT = """\
# Bulk rates of our TCP with Linux at the other end (ours), and of Linux with Linux (Linux), through the same link.
#
#   tests/linux/run --long, on {machine}, load {load:.1f} when it began
#
# A row is one transfer: send is the client to the node, receive the node to the client. 1 flow where nothing is lost and
# the delay is short, 4 or 8 elsewhere. Where the ratio was below 0.5 both sides were measured a second time, for twice
# as long, and the row is that; the run counts as failed where it stays there, where a byte is wrong or missing, or where
# a transfer hangs, and the row says so.
#
# What to look at when this file changes: rows that end with a fault; ratios that leave the band of their neighbours (the
# same cell in the other family, the next delay, the next reordering), in the receive rows above all, where our
# congestion control and loss repair decide; a column that falls as a whole. Single ratios move by a third between two runs
# on a machine with other work, and rates with the machine; neither is news.
"""


def about(load):
    model = next((line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), "unknown")
    kernel = os.uname().release.partition("-")[0]
    return ABOUT.format(machine=f"{os.cpu_count()} cores ({model}), Linux {kernel}", load=load)


HEAD = "loss %  delay ms  reord %   transfer         ours     Linux   ratio   (MB/s; delay one way)"


def direct(programs, count):
    """Without the link: the tap device read by the stack itself."""
    with network.Network(programs, [], ours=True, direct=True) as link:
        for family, what in itertools.product((4, 6), ("send", "receive", "echo")):
            address = network.NODE_V6 if family == 6 else network.NODE_V4
            rate, fault = link.bulk(what, address, 0.7).result()
            count.judge(fault is None, f"tap alone, IPv{family}, {what}: {fault}")
            print(f"      tap alone             IPv{family} {what:8}{rate / 1e6:9.2f}" + (f"   {fault}" if fault else ""),
                  flush=True)
    return link.output


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", required=True)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--cell", help="loss in PPM, delay in us, reordering in PPM")
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--only", choices=["direct", "matrix", "flood"])
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through the networks' ends
    reason = network.why_not()
    if reason:
        print(f"SKIPPED: {reason}")
        print("0 passed, 0 failed")
        return 0
    count, rows, start, load = Count(), [], time.monotonic(), os.getloadavg()[0]
    both = [(4, "send"), (4, "receive"), (6, "send"), (6, "receive")]
    if options.only in (None, "direct") and not options.cell:
        direct(options.programs, count)
    if options.only in (None, "matrix"):
        print(HEAD)
        if options.cell:
            cells = [tuple(int(part) for part in options.cell.split(","))]
        else:
            cells = list(itertools.product(LOSSES, DELAYS, REORDERINGS)) if options.long else SHORT
        for number, cell in enumerate(cells):
            # The short form takes one family a cell and direction, crosswise.
            families = both if options.long or options.cell else [both[number % 2 * 2], both[3 - number % 2 * 2]]
            run_cell(options.programs, cell, families, options.seconds or seconds_of(cell), count, rows)
    if options.only in (None, "flood") and not options.cell:
        for line in flood(options.programs, count):
            rows.append(line)
    if options.long and options.only is None:
        TABLE.write_text("\n".join([about(load) + HEAD, *rows]) + "\n")
    print(f"{time.monotonic() - start:.0f} s")
    print(f"{count.passed} passed, {count.failed} failed")
    return 1 if count.failed else 0


if __name__ == "__main__":
    sys.exit(main())
