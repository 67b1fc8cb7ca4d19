"""Unmodified clients on the host: kcat writes lines, kafka-python reads them back."""

import random
import subprocess
import time
from pathlib import Path

from tests.rehearsal.guest_node import bootstrap
from tests.rehearsal.machine import Machine
from tests.wire.node import ROOT

LINE_BYTES = 1000
LINGER_MS = 50


def make_lines(path: Path, size: int, seed: int) -> None:
    chooser = random.Random(seed)
    with open(path, "w") as file:
        for _ in range(size // LINE_BYTES):
            file.write(chooser.randbytes(LINE_BYTES // 2)[:-1].hex() + "\n")


def venv_python() -> str:
    return subprocess.run([ROOT / "tools/setup", "where", "venv"], capture_output=True, text=True,
                          check=True).stdout.strip() + "/bin/python"


def write(machine: Machine, topic: str, lines: Path, batch_bytes: int) -> float:
    """Seconds until all of it was acknowledged."""
    began = time.monotonic()
    machine.client("kcat", "-P", "-b", bootstrap(), "-t", topic, "-p", "0", "-l", "-X", "acks=all",
                   "-X", f"batch.size={batch_bytes}", "-X", f"linger.ms={LINGER_MS}",
                   "-X", f"batch.num.messages={max(1, batch_bytes // LINE_BYTES)}", lines)
    return time.monotonic() - began


def read(machine: Machine, topic: str, path: Path) -> None:
    machine.client(venv_python(), ROOT / "tests/interop/read_lines.py", bootstrap(), topic, path)
