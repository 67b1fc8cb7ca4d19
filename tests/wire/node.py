"""A node on a data directory of its own: started, asked, stopped, killed and started again."""

import atexit
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / "build/tools/penstock"
START_PATIENCE_S = 60
STOP_PATIENCE_S = 40


class Node:
    good_stop = 0  # exit status after SIGTERM

    def __init__(self, lanes: int = 2, settings: dict[str, object] = {}, binary: str | Path = BINARY,
                 parent: str | None = None):
        """The home directory is temporary, below `parent` if that is given."""
        self.home = Path(tempfile.mkdtemp(prefix="penstock-test-", dir=parent))
        atexit.register(self.remove)
        # A test that is told to end, by a time limit for example, must not leave its node behind.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        self.lanes = lanes
        self.binary = binary
        self.port = free_ports(lanes + 1)
        self.admin_port = self.port + lanes
        self.settings = {"data_directory": str(self.home / "data"), "lanes": lanes, "port": self.port,
                         "admin_port": self.admin_port, "listen": "127.0.0.1", "memory.arena_bytes": 128 << 20,
                         "segment_bytes": 64 << 20} | settings
        self.process: subprocess.Popen | None = None

    @property
    def bootstrap(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def address(self, lane: int) -> tuple[str, int]:
        return "127.0.0.1", self.port + lane

    def command(self) -> list[str]:
        config = self.home / "penstock.toml"
        config.write_text("".join(f"{key} = {toml(value)}\n" for key, value in self.settings.items()))
        return [str(self.binary), "serve", "--config", str(config)]

    def start(self) -> float:
        """Returns the seconds until it was ready."""
        began = time.monotonic()
        with open(self.home / "log", "a") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, start_new_session=True)
        while not self.ready():
            if self.process.poll() is not None:
                raise SystemExit(f"the node ended with status {self.process.returncode} at start:\n{self.last_words()}")
            if time.monotonic() - began > START_PATIENCE_S:
                raise SystemExit(f"the node was not ready after {START_PATIENCE_S} s:\n{self.last_words()}")
            time.sleep(0.01)
        return time.monotonic() - began

    def ready(self) -> bool:
        return self.get("/v1/status/ready")[0] == 200

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop_well(self) -> None:
        status = self.stop()
        assert status == self.good_stop, f"exit status {status}; last words:\n{self.last_words()}"

    def get(self, path: str) -> tuple[int, str]:
        """HTTP status and body; status 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metrics(self) -> dict[str, float]:
        """Summed over lanes; without the histograms' buckets."""
        sums: dict[str, float] = {}
        for line in self.get("/metrics")[1].splitlines():
            if found := re.fullmatch(r"(\w+)(\{[^}]*\})? ([-+.\deE]+)", line):
                code = re.search(r'code="(\w+)"', found[2] or "")
                name = found[1] + (f":{code[1]}" if code else "")
                if not name.endswith("_bucket"):
                    sums[name] = sums.get(name, 0) + float(found[3])
        return sums

    def wait_metric(self, name: str, accepted, patience_s: float = 10) -> float:
        """The metric's value once it is accepted, or after all patience is gone."""
        end = time.monotonic() + patience_s
        while not accepted(value := self.metrics().get(name, 0)) and time.monotonic() < end:
            time.sleep(0.1)
        return value

    def rss_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def kill(self) -> None:
        """SIGKILL; also what it may have started."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def signal(self, number: int) -> None:
        if self.alive():
            os.killpg(self.process.pid, number)  # its own session, so its own group

    def stop(self) -> int:
        """SIGTERM; returns the exit status, -9 if it had to be killed."""
        self.signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.process.returncode

    def last_words(self, lines: int = 30) -> str:
        return "\n".join((self.home / "log").read_text().splitlines()[-lines:])

    def remove(self) -> None:
        if self.alive():
            self.kill()
        shutil.rmtree(self.home, ignore_errors=True)


class KafkaPeer(Node):
    """Apache Kafka in the node's place: shows whether a failure is the node's or the test's."""

    good_stop = 143
    broker_settings: list[str] = []  # "key=value"

    def command(self) -> list[str]:
        return [str(ROOT / "tests/interop/kafka-peer"), "--port", str(self.port), "--brokers", str(self.lanes),
                "--data", str(self.home / "data")] + [word for each in self.broker_settings for word in ("--set", each)]

    def ready(self) -> bool:
        log = self.home / "log"
        started = log.read_text().count("listens on") if log.exists() else 0
        if started == getattr(self, "starts_seen", 0):
            return False
        self.starts_seen = started
        return True


def toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return str(value) if isinstance(value, int) else f'"{value}"'


def free_ports(count: int) -> int:
    """The first of so many neighbouring ports that nobody listens on; a different place for every process."""
    chooser = random.Random(os.getpid() * 1000 + time.monotonic_ns() % 1000)  # not the test's own random numbers
    for _ in range(1000):
        first = chooser.randrange(20_000, 32_000, 10)
        sockets = []
        try:
            for port in range(first, first + count):
                sockets.append(socket.socket())
                sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sockets[-1].bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for each in sockets:
                each.close()
    raise SystemExit("no free ports")
