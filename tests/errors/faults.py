"""What shall fail in a node that runs over fault_ring.cc: numbers in a file that both sides map."""

import mmap
import struct
from pathlib import Path

from tests.wire.node import ROOT

LIBRARY = ROOT / "build/tests/errors/fault_ring.so"
# In the order of struct Faults. The last four are counted by the node's side.
FIELDS = ["fail_writes", "fail_flushes", "fail_reads", "shorten_writes", "error", "clock_ahead_ms", "hide_features",
          "kernel_too_old", "failed_writes", "failed_flushes", "failed_reads", "shortened_writes"]
ALWAYS = -1


class Faults:
    def __init__(self, path: Path):
        self.path = path
        path.write_bytes(bytes(8 * len(FIELDS)))
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)
        self.set(error=5)  # EIO

    def set(self, **values: int) -> None:
        for name, value in values.items():
            struct.pack_into("q", self.memory, 8 * FIELDS.index(name), value)

    def get(self, name: str) -> int:
        return struct.unpack_from("q", self.memory, 8 * FIELDS.index(name))[0]

    def none(self) -> None:
        self.set(fail_writes=0, fail_flushes=0, fail_reads=0, shorten_writes=0)

    def environment(self) -> list[str]:
        return ["env", f"LD_PRELOAD={LIBRARY}", f"PENSTOCK_FAULTS={self.path}"]
