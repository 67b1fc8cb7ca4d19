"""Writes and flushes that fail below a real NVMe driver: the emulated machine of tests/rehearsal, with QEMU's blkdebug put
under its drive while the node runs.
"""

import json
import shutil
import socket
import tempfile
from contextlib import contextmanager
from pathlib import Path

from tests.errors.site import KAFKA_STORAGE_ERROR
from tests.rehearsal.guest_node import PORT, GuestNode
from tests.rehearsal.machine import Machine
from tests.wire.node import ROOT
from tests.wire.tally import Tally

DRIVE = "512"
COUNT = 100
TRIES_OF_THE_KERNEL = 6  # one, and nvme_core.max_retries


class FailingMachine(Machine):
    def hardware(self) -> list[str]:
        words = super().hardware()
        drive = next(i for i, word in enumerate(words) if word.startswith("if=none,id=d1,"))
        file = self.home / f"drive-{DRIVE}"
        words[drive - 1:drive + 1] = ["-blockdev", f"driver=file,node-name=file1,filename={file},cache.direct=on",
                                      "-blockdev", "driver=raw,node-name=d1,file=file1"]
        return [*words, "-qmp", f"unix:{self.home}/qmp,server=on,wait=off"]

    def boot(self) -> None:
        super().boot()
        control = socket.socket(socket.AF_UNIX)
        control.connect(str(self.home / "qmp"))
        self.control = control.makefile("rw")
        self.control.readline()
        self.tell("qmp_capabilities")

    def tell(self, command: str, **arguments: object) -> None:
        self.control.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.control.flush()
        while "event" in (answer := json.loads(self.control.readline())):
            pass
        assert "return" in answer, f"QEMU: {answer}"

    @contextmanager
    def failing(self, kind: str, once: bool):
        """`kind` is write or flush. What shall reach the node has to fail as often as the guest's kernel tries."""
        fault = {"event": "none", "iotype": kind, "errno": 5, "once": once}
        self.tell("blockdev-add", **{"driver": "blkdebug", "node-name": "faults", "image": "file1",
                                     "inject-error": [fault] * (TRIES_OF_THE_KERNEL if once else 1)})
        self.tell("blockdev-reopen", options=[{"driver": "raw", "node-name": "d1", "file": "faults"}])
        try:
            yield
        finally:
            self.tell("blockdev-reopen", options=[{"driver": "raw", "node-name": "d1", "file": "file1"}])
            self.tell("blockdev-del", **{"node-name": "faults"})


def check(tally: Tally, build: Path, image: Path) -> None:
    home = Path(tempfile.mkdtemp(prefix="penstock-errors-", dir="/var/tmp"))
    try:
        with FailingMachine(image, "virtio-net-pci", 1500, home) as machine:
            machine.run("ip link set lo up")
            node = GuestNode(machine, f"{build}/tools/penstock", DRIVE, "ext4",
                             {"lanes": 1, "cores": [2], "segment_bytes": 16 << 20, "memory.arena_bytes": 64 << 20,
                              "hugepages": "off", "io.measure": "off", "listen": "127.0.0.1"})
            node.start()
            stored = 0
            for kind in ("write", "flush"):
                with tally.case(f"blkdebug: a {kind} fails once"):
                    stored += client(machine, stored)["good"]
                    errors = write_errors(machine, node)
                    machine.run("sync")
                    with machine.failing(kind, once=True):
                        for _ in range(5):  # commits that go alone need no flush, and a write shall be alone
                            did = client(machine, stored, 1 if kind == "write" else COUNT)
                            stored += did["good"]
                            assert not did["errors"], f"errors {did['errors']}"
                            if write_errors(machine, node) > errors:
                                break
                    assert write_errors(machine, node) == errors + 1, "the drive's error did not reach the node"
                    assert "writes or flushes failed (" in node.log()
            with tally.case("blkdebug: every write fails"):
                machine.run("sync")
                with machine.failing("write", once=False):
                    did = client(machine, stored)
                    assert did["good"] == 0 and set(did["errors"]) == {KAFKA_STORAGE_ERROR}, f"{did}"
                    ready = machine.run(node.http("/v1/status/ready"))
                    assert "the drive failed twice to write (" in ready, ready
                assert client(machine, stored, produce=0)["good"] == 0
            with tally.case("blkdebug: what was acknowledged is there after a restart"):
                machine.run(f"kill -KILL {node.pid}")
                machine.ask({"wait": node.pid}, patience_s=60)
                machine.run(f"umount {node.mount}; mount /dev/{node.device} {node.mount}")
                node.start()
                assert client(machine, stored)["good"] == COUNT
                node.stop()
            machine.power_off()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def write_errors(machine: Machine, node: GuestNode) -> int:
    page = machine.run(node.http("/metrics"))
    return next(int(line.split()[1]) for line in page.splitlines() if line.startswith("penstock_drive_write_errors_total{"))


def client(machine: Machine, stored: int, produce: int = COUNT) -> dict:
    """Runs guest_client.py in the guest, which finds `stored` records and writes more."""
    return json.loads(machine.run(f"cd {ROOT} && PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m tests.errors.guest_client "
                                  f"{PORT} {stored} {produce}", patience_s=180).splitlines()[-1])
