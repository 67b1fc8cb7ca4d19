"""A node in the guest: its configuration, its start and end, and what the kernel says of it."""

import json
import re
import time
from dataclasses import dataclass

from tests.rehearsal.machine import GUEST, GuestError, Machine
from tests.wire.node import toml

PORT, ADMIN_PORT = 19092, 19644
START_PATIENCE_S = 120
MKFS = {"ext4": "mkfs.ext4 -q -F -m 0 -E lazy_itable_init=0,lazy_journal_init=0", "xfs": "mkfs.xfs -q -f"}


@dataclass
class Counts:
    """What the node counted, and what the drive's own block statistics say."""
    payload: float
    copied: float
    written: float
    commits: float
    writes: float
    commands: float


class GuestNode:
    def __init__(self, machine: Machine, binary: str, drive: str, file_system: str, settings: dict[str, object],
                 fresh: bool = True):
        """`fresh`: on a new file system."""
        self.machine, self.binary, self.pid = machine, binary, 0
        self.device = machine.block_device(drive)
        self.home = f"/run/node-{drive}"
        self.mount = f"{self.home}/mount"
        self.config = f"{self.home}/penstock.toml"
        if fresh:
            machine.run(f"{MKFS[file_system]} /dev/{self.device}")
        machine.run(f"mkdir -p {self.mount} && mount -o lazytime /dev/{self.device} {self.mount}")
        self.settings = {"data_directory": f"{self.mount}/data", "lanes": 2, "cores": [2, 3], "port": PORT,
                         "admin_port": ADMIN_PORT, "memory.arena_bytes": 96 << 20, "segment_bytes": 64 << 20,
                         "hugepages": "on"} | settings

        self.machine.write(self.config, "".join(f"{key} = {value_text(value)}\n" for key, value in self.settings.items()))

    def start(self) -> None:
        self.launch()
        end = time.monotonic() + START_PATIENCE_S
        while "200" not in self.machine.run(self.http("/v1/status/ready", "-o /dev/null -w '%{http_code}'"), status=None):
            if time.monotonic() > end or not self.running():
                raise GuestError(f"the node is not ready:\n{self.log()[-4000:]}")
            time.sleep(0.3)

    def launch(self) -> None:
        self.pid = self.machine.start(f"exec {self.binary} serve --config {self.config} > {self.home}/log 2>&1")

    def running(self) -> bool:
        return self.machine.ask({"wait": self.pid}, patience_s=0)["status"] == -1  # not ended yet

    def stop(self) -> None:
        self.machine.run(f"kill {self.pid}")
        status = self.machine.ask({"wait": self.pid}, patience_s=60)["status"]
        if status != 0:
            raise GuestError(f"the node ended with status {status}:\n{self.log()[-4000:]}")

    def unmount(self) -> None:
        """Also after a failure, so that the next round has the drive and the card."""
        if self.pid and self.running():
            self.machine.run(f"kill -KILL {self.pid}")
            self.machine.ask({"wait": self.pid}, patience_s=60)
        self.machine.run(f"umount {self.mount}")

    def log(self) -> str:
        return self.machine.run(f"cat {self.home}/log", status=None)

    def http(self, path: str, options: str = "") -> str:
        return f"curl -sS --max-time 10 {options} http://127.0.0.1:{self.settings['admin_port']}{path}"

    def counts(self) -> Counts:
        """Once nothing is under way: read twice, until it stands still."""
        before = None
        while (now := self.counts_now()) != before:
            before = now
            time.sleep(0.2)
        return now

    def counts_now(self) -> Counts:
        page = self.machine.run(self.http("/metrics") + f"; echo; echo stat $(cat /sys/block/{self.device}/stat)")

        def metric(name: str) -> float:
            return sum(float(value) for value in re.findall(rf"^penstock_{name}(?:{{[^}}]*}})? (\S+)$", page, re.M))

        fields = re.search(r"^stat (.*)$", page, re.M)[1].split()
        return Counts(metric("payload_bytes_total"), metric("payload_bytes_copied_total"), metric("written_bytes_total"),
                      metric("commits_total"), metric("drive_writes_total"), float(fields[4]))

    # ---- by the kernel's own numbers ----

    def arena_pages(self) -> list[dict[int, int]]:
        """For each arena, how many pages lie on which node. The heap may grow as large, but is bound to no node."""
        maps = self.machine.run(f"cat /proc/{self.pid}/numa_maps")
        arenas = []
        for line in maps.splitlines():
            if not re.match(r"\w+ bind:", line):
                continue
            pages = {int(node): int(count) for node, count in re.findall(r" N(\d+)=(\d+)", line)}
            unit = int(found[1]) if (found := re.search(r"kernelpagesize_kB=(\d+)", line)) else 4
            if sum(pages.values()) * unit * 1024 >= self.settings["memory.arena_bytes"]:
                arenas.append(pages)
        return arenas

    def lane_processors(self) -> dict[str, int]:
        """Where each lane's thread ran last."""
        stats = self.machine.run(f"cat /proc/{self.pid}/task/*/stat")
        lanes = {}
        for line in stats.splitlines():
            name = line[line.index("(") + 1:line.rindex(")")]
            if name.startswith("lane-"):
                lanes[name] = int(line[line.rindex(")") + 2:].split()[36])
        return lanes


def value_text(value: object) -> str:
    return json.dumps(value) if isinstance(value, list) else toml(value)


def bootstrap() -> str:
    return f"{GUEST}:{PORT}"
