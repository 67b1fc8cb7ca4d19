"""Runs tests/mutations/table: with each defect at work its checker must complain, within as many seeds as stated there.

First the control: the same seeds with no defect at work, which must pass. One program at a time for each core. A defect
without a row is a failure, and so is a program that dies or hangs without naming a seed.
"""

import argparse
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.wire.tally import Tally

HOME = Path(__file__).parent
ROOT = HOME.parent.parent
PATIENCE_S = 300
FAILED_SEED, TRACED_SEED = r"FAILED seed (\d+)", r": seed (\d+)$"
FAILED_SCRIPT, FAILED_TEST = r"FAILED \S*/(\S+\.pkt)", r"FAILED  \] ([^ ,]+)"
# Of check(), of netsim, of a packet script.
COMPLAINT = r"check failed: (.*) \(-?\d+, -?\d+\) at|^at [\d.]+ ms: (.*)|\.pkt:(\d+: .*)"


@dataclass(frozen=True)
class Checker:
    """How it is given its seeds, by arguments or by PENSTOCK_SEEDS, and how it names the one that failed."""
    program: str
    failed: str
    arguments: str = ""
    seeds: str = ""
    first: int = 1


CHECKERS = {
    "simulator": Checker("tests/simulator/penstock-sim", FAILED_SEED, "--jobs 1 --failures 1 --seeds {first}..{last}"),
    "netsim": Checker("tests/netsim/netsim", FAILED_SEED, "--seeds {first}..{last}"),
    "log model": Checker("tests/storage/log_model_test", TRACED_SEED, "--gtest_filter=*ManySeeds", "{first},{count}", 1000),
    "power cuts": Checker("tests/storage/power_cut_test", TRACED_SEED, "", "{first},{count}"),
    "recovery": Checker("tests/storage/recovery_test", FAILED_TEST),
    "packets": Checker("tests/packets/packets", FAILED_SCRIPT, f"--all {ROOT}/tests/packets/{{folder}}"),
}


@dataclass(frozen=True)
class Row:
    defect: str
    caught_by: str  # a checker, and for scripts their folder
    within: int     # seeds

    @property
    def checker(self) -> Checker:
        return CHECKERS.get(self.caught_by) or CHECKERS[self.caught_by.split()[0]]


@dataclass
class Outcome:
    failed: str = ""     # seed, script or test
    complaint: str = ""  # what was said of it
    passed: bool = False


def read_table() -> list[Row]:
    lines = [line.split() for line in (HOME / "table").read_text().splitlines() if line and not line.startswith("#")]
    return [Row(words[0], " ".join(words[1:-1]), int(words[-1])) for words in lines]


def defects() -> dict[str, str]:
    """What can be built in, and what it is."""
    return dict(re.findall(r'defect\((\w+), "(.*)"\)', (ROOT / "dataplane/base/mutation.h").read_text()))


def run(build: Path, row: Row, defect: str, first: int) -> Outcome:
    checker, folder = row.checker, row.caught_by.split()[-1]
    places = {"first": first, "last": first + row.within - 1, "count": row.within, "folder": folder}
    environment = os.environ | {"PENSTOCK_MUTATION": defect}
    if checker.seeds:
        environment["PENSTOCK_SEEDS"] = checker.seeds.format(**places)
    process = subprocess.Popen([build / checker.program, *checker.arguments.format(**places).split()], env=environment,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    outcome = Outcome()
    patience = threading.Timer(PATIENCE_S, end, [process])
    patience.start()
    for line in filter(None, map(str.strip, process.stdout)):
        if failed := re.search(checker.failed, line):
            outcome.failed = outcome.failed or failed[1]
        if said := re.search(COMPLAINT, line):
            outcome.complaint = outcome.complaint or said[1] or said[2] or said[3]
        if outcome.failed and outcome.complaint:
            end(process)
    patience.cancel()
    outcome.passed = process.wait() == 0
    return outcome


def end(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/mutations/run")
    parser.add_argument("--build", type=Path)
    parser.add_argument("--targets", action="store_true", help="only say what must be built")
    parser.add_argument("--from", dest="first", type=int, help="the first seed, instead of each checker's own")
    parser.add_argument("--within", type=int, help="so many seeds, instead of the table's")
    parser.add_argument("defects", nargs="*")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    rows, known, tally = read_table(), defects(), Tally()
    if options.targets:
        print("\n".join({row.checker.program for row in rows}))
        return 0
    for missing in known.keys() ^ {row.defect for row in rows}:
        tally.record(False, f"{missing} is not both in mutation.h and in the table")
    rows = [Row(row.defect, row.caught_by, options.within or row.within) for row in rows
            if not options.defects or row.defect in options.defects]
    first_of = lambda row: options.first or row.checker.first
    controls = {row.caught_by: row for row in sorted(rows, key=lambda row: row.within)}

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        control = {row: pool.submit(run, options.build, row, "none", first_of(row)) for row in controls.values()}
        caught = {row: pool.submit(run, options.build, row, row.defect, first_of(row)) for row in rows}
        for row, future in control.items():
            outcome = future.result()
            tally.record(outcome.passed, f"no defect: {row.caught_by}, {row.within} seeds",
                         "" if outcome.passed else f"{outcome.failed} {outcome.complaint}")
        for row, future in caught.items():
            outcome = future.result()
            needed = outcome.failed
            if needed.isdigit():
                needed = f"seed {int(needed) - first_of(row) + 1} of {row.within}"
            tally.record(bool(outcome.failed), f"{row.defect}: {row.caught_by}",
                         f"{needed}: {outcome.complaint}".rstrip(": ") if needed else
                         f"not caught in {row.within}" if outcome.passed else f"ended without a seed: {outcome.complaint}")
    return tally.close()


if __name__ == "__main__":
    sys.exit(main())
