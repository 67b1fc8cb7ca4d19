"""The power of the emulated machine is cut under load, and a fresh boot recovers what its drives have left.

Each drive has a volatile cache (drive.py), a file system and a node, whose clients are on the host. The machine is killed
at a random moment: mostly under load, sometimes while a node starts. The drives forget what was not flushed, all of it or
any part, down to single sectors. The next boot mounts the file systems, starts the nodes, and everything is read back:

  * what was acknowledged is there, at its offset, with its content; offsets are dense, and start where they may;
  * nothing is there twice or out of order; of an idempotent producer everything is there, once;
  * a batch is there whole or not at all;
  * topics made and deleted stay so;

and then the load goes on until the next cut. Commits go by single writes with O_DSYNC and by several that share a flush,
in turns. A control, built so that it acknowledges before the flush, must be caught.
"""

import argparse
import ctypes
import json
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.power.load import Partition, Writers
from tests.rehearsal.guest_node import GuestNode
from tests.rehearsal.machine import GUEST, GuestError, Machine
from tests.wire import kafka
from tests.wire.node import ROOT
from tests.wire.tally import Tally

MEGABYTES = 1024
PARTITIONS = 2
# The machine may have little of a busy host.
PATIENCE = 5
PROGRESS_PATIENCE_S = START_PATIENCE_S = 60 * PATIENCE
LOAD_S = (0.1, 3.0)
START_S = (0.0, 3.0)
CUT_WHILE_STARTING = 0.15
CONTROL_CUTS = 3
DELETE_TOPICS = 20
BOOTS_MAX = 3
FIRST_PLACE = 0x10  # on the bus
CLONE_NEWNET = 0x40000000
UNITS = {"O_DSYNC": 1, "shared flushes": 4}  # writes in flight


class Site:
    """A drive, and the node on it through all its lives."""

    def __init__(self, number: int, file_system: str, sector: int, binary: Path, seed: int, home: Path,
                 control: bool = False):
        self.name = "control" if control else f"{file_system} on {sector} B"
        self.number, self.file_system, self.sector, self.control = number, file_system, sector, control
        self.drive, self.place = f"power{number}", f"0000:00:{FIRST_PLACE + number:02x}.0"
        self.binary, self.seed = binary, seed
        self.bootstrap, self.admin_port = (GUEST, 19000 + 10 * number), 19500 + number
        self.socket = home / f"drive-{number}.socket"
        self.process = subprocess.Popen([sys.executable, "-m", "tests.power.drive", str(self.socket), str(MEGABYTES),
                                         str(sector), str(seed + number)], cwd=ROOT, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()
        self.fresh = True
        self.made: list[Partition] = []  # the topic of this life, and the one of the last
        self.gone: list[str] = []
        self.partitions = [Partition(topic, partition, topic == "idempotent", seed) for topic in ("plain", "idempotent")
                           for partition in range(PARTITIONS)]
        self.path = "no path"
        self.trial_of = ""  # the drive's trial says what it is of
        self.done = False

    def hardware(self) -> list[str]:
        return ["-drive", f"if=none,id={self.drive},format=raw,cache=writeback,file.driver=nbd,"
                          f"file.server.type=unix,file.server.path={self.socket}",
                "-device", f"virtio-blk-pci,drive={self.drive},bus=pcie.0,addr={FIRST_PLACE + self.number:#x},"
                           f"logical_block_size={self.sector},physical_block_size={self.sector}"]

    def order(self, command: str) -> dict:
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    # ---- a life ----

    def mount(self, machine: Machine) -> None:
        defect = "env PENSTOCK_MUTATION=acknowledge_before_flush " if self.control else ""
        self.node = GuestNode(machine, defect + str(self.binary), self.drive, self.file_system,
                              {"lanes": 1, "cores": [0], "port": self.bootstrap[1], "admin_listen": GUEST,
                               "admin_port": self.admin_port, "segment_bytes": 16 << 20, "hugepages": "off"},
                              fresh=self.fresh)
        if self.trial_of:
            self.change_path(machine)
        self.fresh = False

    def units(self) -> str:
        return f"{self.node.mount}/data/drive-units"

    def change_path(self, machine: Machine) -> None:
        """What the drive's trial chose in the first life is the other one in the next, and so on."""
        writes = UNITS["shared flushes" if self.path == "O_DSYNC" else "O_DSYNC"]
        machine.write(self.units(), f"{self.trial_of}\ncopybreak 2048\ncommit_bytes_max 262144\n"
                                    f"inflight_bytes_max {4 << 18}\ninflight_writes_max {writes}\n")

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{GUEST}:{self.admin_port}/v1/status/ready", timeout=5) as answer:
                return answer.status == 200
        except urllib.error.HTTPError as error:
            why = error.read().decode()
            assert "damaged" not in why, f"acknowledged records lost: {why}"
            return False
        except OSError:
            return False

    def recover(self) -> int:
        """How many records are there."""
        end = time.monotonic() + START_PATIENCE_S
        while not self.ready():
            if time.monotonic() > end or not self.node.running():
                raise GuestError(f"the node is not ready:\n{self.node.log()[-4000:]}")
            time.sleep(0.3)
        self.path = next(path for path in UNITS if path in re.search(r"chosen:.*", self.node.log())[0])
        if not self.trial_of:
            self.trial_of = self.node.machine.run(f"head -1 {self.units()}").strip()
        with kafka.Cluster(self.bootstrap) as cluster:
            for topic in self.gone:
                known = kafka.metadata(cluster.to(self.bootstrap), [topic])
                assert known.errors[topic] == kafka.UNKNOWN_TOPIC_OR_PARTITION, f"{topic} was deleted and is there again"
            return sum(each.check(cluster) for each in self.partitions + self.made if each.written)

    def begin_load(self, life: int) -> Writers:
        with kafka.Cluster(self.bootstrap) as cluster:
            for topic in ("plain", "idempotent"):
                cluster.create_topic(topic, PARTITIONS)
            for old in self.made:
                answer = cluster.to(self.bootstrap).call(DELETE_TOPICS, kafka.array([kafka.text(old.topic)]) +
                                                         kafka.i32(30_000), version=1)
                answer.i32(), answer.i32(), answer.text()
                error = answer.i16()
                assert error == kafka.NONE, f"DeleteTopics: error {error}"
                self.gone.append(old.topic)
            self.made = [Partition(f"made-{life}", 0, False, self.seed)]
            cluster.create_topic(self.made[0].topic, 1)
        return Writers(self.bootstrap, self.partitions + self.made)

    def acknowledged(self) -> int:
        return sum(len(each.acknowledged) for each in self.partitions + self.made)

    def deletions(self) -> int:
        return sum(each.deletions for each in self.partitions)

    def close(self, save: str | None) -> None:
        if save:
            self.order(f"save {save}")
            print(f"      what was on {self.name} is in {save}")
        self.process.kill()
        self.process.wait()


class SmallMachine(Machine):
    """The drives of these sites and a card, and little else: it boots again and again."""

    kernel_words = "modules=crc32c-intel,virtio_blk,virtio_net,ext4,xfs"

    def __init__(self, cache: Path, home: Path, sites: list[Site]):
        self.sites = sites
        self.drives = {site.drive: site.place for site in sites}
        super().__init__(cache, "virtio-net-pci", 9000, home)

    def ask(self, request: dict, patience_s: float = 60) -> dict:
        return super().ask(request, PATIENCE * patience_s)

    def hardware(self) -> list[str]:
        return self.frame() + [
            "-m", "1G", "-smp", "1", *(word for site in self.sites for word in site.hardware()),
            "-netdev", "tap,id=net,ifname=tap0,script=no,downscript=no,queues=4",
            "-device", "virtio-net-pci,netdev=net,bus=pcie.0,romfile=,mq=on,vectors=10,host_mtu=9000"]


class Power:
    def __init__(self, options: argparse.Namespace, home: Path):
        self.options, self.home = options, home
        self.random = random.Random(options.seed)
        self.tally = Tally()
        binary = Path(options.binary).resolve()
        self.sites = [Site(0, "ext4", 512, binary, options.seed, home), Site(1, "xfs", 4096, binary, options.seed, home),
                      Site(2, "ext4", 512, Path(options.control).resolve(), options.seed, home, control=True)]
        self.paths = dict.fromkeys(UNITS, 0)  # cuts under load
        self.unflushed: list[int] = []
        self.records = 0

    def run(self) -> None:
        for life in range(self.options.cuts + 1):
            began = time.monotonic()
            with self.boot() as machine:
                booted = time.monotonic() - began
                self.live(life, machine)
                print(f"      booted after {booted:.0f} s, dead after {time.monotonic() - began:.0f} s", flush=True)
            self.sites = [site for site in self.sites if not site.done]
            if self.tally.failed:
                return

    def boot(self) -> Machine:
        """A host that is too busy to boot a machine in time gets another chance."""
        for attempt in range(BOOTS_MAX):
            home = Path(tempfile.mkdtemp(dir=self.home))
            try:
                machine = SmallMachine(Path(self.options.image), home, self.sites)
                break
            except GuestError as error:
                if attempt + 1 == BOOTS_MAX:
                    raise
                print(f"      booted once more: {error}", flush=True)
        join_network(machine.namespace)
        machine.run(f"ip link set lo up; ip addr add {GUEST}/24 dev eth0 && ip link set eth0 mtu 9000 up")
        return machine

    def live(self, life: int, machine: Machine) -> None:
        last = life == self.options.cuts
        starting = 0 < life and not last and self.random.random() < CUT_WHILE_STARTING
        mounted = [site for site in self.sites if self.well(site, life, "mounted", lambda: site.mount(machine))]
        for site in mounted:
            site.node.launch()
        if starting:
            time.sleep(self.random.uniform(*START_S))
            return self.cut(life, machine, [], "while nodes start")
        recovered = [site for site in mounted if self.well(site, life, "recovered", site.recover)]
        if last or self.tally.failed:
            return machine.power_off()
        writers = [site.begin_load(life) for site in recovered if not site.done]
        with self.tally.case(f"life {life}: all write"):
            wait_for_progress(writers)
            time.sleep(self.random.uniform(*LOAD_S))
        self.cut(life, machine, writers, "under load")

    def well(self, site: Site, life: int, what: str, action) -> bool:
        """The control is well until it is caught, and not again."""
        if site.done:
            return False
        try:
            told = action()
        except (AssertionError, GuestError, OSError) as error:
            site.done = site.control
            caught = site.control and "acknowledged records lost" in str(error)
            self.tally.record(caught, f"life {life}, {site.name}: " + ("caught" if caught else f"not {what}"), str(error))
            return False
        if told is not None:
            if site.control and life == self.options.control_cuts:
                site.done = True
                return self.tally.record(False, f"life {life}, {site.name}: not caught")
            self.records += told
            self.tally.record(True, f"life {life}, {site.name}: {what}, {told} records, by {site.path}")
        return True

    def cut(self, life: int, machine: Machine, writers: list[Writers], when: str) -> None:
        for site in self.sites:
            site.order("freeze")
        machine.kill()
        for each in writers:
            each.machine_is_dead()
            if each.wrong:
                self.tally.record(False, f"life {life}: refused", "; ".join(each.wrong))
        for site in self.sites:
            told = site.order("cut some" if site.control else "cut")
            if writers and not site.control:
                self.paths[site.path] += 1
                self.unflushed.append(told["unflushed"])
            print(f"      cut {life + 1} {when}: {site.name}: of {told['unflushed']} writes since the last flush "
                  f"({told['answered']} answered) {told['lost']} lost, {told['torn']} torn; {told['writes']} writes, "
                  f"{told['flushes']} flushes in this life; {site.acknowledged()} acknowledged, "
                  f"{site.deletions()} deletions in all", flush=True)


def wait_for_progress(writers: list[Writers]) -> None:
    end = time.monotonic() + PROGRESS_PATIENCE_S
    while not all(each.progress() for each in writers):
        assert time.monotonic() < end, "no acknowledgement: " + "; ".join(each.stuck() for each in writers)
        time.sleep(0.01)


def join_network(namespace: str) -> None:
    """Threads made from here on as well."""
    with open(f"/run/netns/{namespace}") as there:
        if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/power/run")
    parser.add_argument("cuts", nargs="?", type=int, default=2)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--image", required=True, help="directory with vmlinux and initramfs")
    parser.add_argument("--binary", required=True)
    parser.add_argument("--control", required=True, help="a node with defects built in")
    options = parser.parse_args()
    options.control_cuts = min(CONTROL_CUTS, options.cuts)
    print(f"seed {options.seed} (again with --seed {options.seed}; the moments are never quite the same)")
    # Told to end, it leaves no machine behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # Not in /tmp: the guest has one of its own.
    home = Path(tempfile.mkdtemp(prefix="penstock-power-", dir="/var/tmp"))
    power = Power(options, home)
    sites, began = power.sites, time.monotonic()
    try:
        power.run()
    finally:
        for site in sites:
            site.close(save=None if site.control or not power.tally.failed else
                       f"/var/tmp/penstock-power-{options.seed}-{site.drive}")
        shutil.rmtree(home)
    print(f"      {options.cuts} cuts, {time.monotonic() - began:.0f} s; nodes under load by path: "
          + ", ".join(f"{path} {count}" for path, count in power.paths.items())
          + f"; writes since the last flush: median {statistics.median(power.unflushed or [0]):.0f}, "
            f"largest {max(power.unflushed, default=0)}; {power.records} records read back")
    return power.tally.close()


if __name__ == "__main__":
    sys.exit(main())
