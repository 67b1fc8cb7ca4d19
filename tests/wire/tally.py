"""One line a case, and the closing line that tools/test adds up."""

import time
import traceback
from contextlib import contextmanager


class Skip(Exception):
    """What a case needs is not here; says what."""


class Tally:
    def __init__(self):
        self.passed = self.failed = 0

    def record(self, good: bool, name: str, detail: str = "") -> bool:
        self.passed += good
        self.failed += not good
        print(f"{'ok  ' if good else 'FAIL'}  {name}" + (f": {detail}" if detail else ""), flush=True)
        return good

    @contextmanager
    def case(self, name: str):
        began = time.monotonic()
        try:
            yield
        except Skip as why:
            print(f"skip  {name}: {why}", flush=True)
        except Exception as error:
            self.record(False, name, f"{type(error).__name__}: {error} ({place_of(error)})")
        else:
            took = time.monotonic() - began
            self.record(True, name, f"{took:.1f} s" if took >= 1 else "")

    def close(self) -> int:
        """Prints the closing line; returns the exit status."""
        print(f"{self.passed} passed, {self.failed} failed")
        return self.failed > 0


def place_of(error: Exception) -> str:
    """Where in the test it happened, and not where in the helpers here."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    frame = next((f for f in reversed(frames) if "/tests/wire/" not in f.filename), frames[-1])
    return f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
