"""The rows of docs/ERRORS.md, each brought about for real. Cases register themselves when their files are imported.

Each case is a process of its own with nodes of its own; they mostly wait, so several run at a time.
"""

import argparse
import multiprocessing
import sys
import traceback
from pathlib import Path

from tests.errors import drives, guest, limits, ring  # noqa: F401
from tests.wire.cases import cases
from tests.wire.node import ROOT
from tests.wire.tally import Skip, Tally

AT_A_TIME = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/errors/run")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--machine", type=Path, help="the emulated machine instead; its image (tools/setup where machine)")
    options = parser.parse_args()
    tally = Tally()
    if options.machine:
        guest.check(tally, ROOT / "build", options.machine)
        return tally.close()
    wanted = [number for number, (name, _) in enumerate(cases) if options.only in name]
    with multiprocessing.get_context("fork").Pool(AT_A_TIME, maxtasksperchild=1) as pool:
        for number, skipped, failure in pool.imap_unordered(run, wanted, chunksize=1):
            name = cases[number][0]
            if skipped:
                print(f"skip  {name}: {skipped}", flush=True)
            else:
                tally.record(not failure, name, failure)
    return tally.close()


def run(number: int) -> tuple[int, str, str]:
    """Which it was, why it was skipped, how it failed."""
    try:
        cases[number][1]()
    except Skip as why:
        return number, str(why), ""
    except (Exception, SystemExit):
        return number, "", traceback.format_exc()
    return number, "", ""


if __name__ == "__main__":
    sys.exit(main())
