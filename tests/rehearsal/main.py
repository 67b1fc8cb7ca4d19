"""Boots the emulated machine and lets clients on the host write to a node in it and read back. For each card, MTU and drive:

  * what comes back is what was written, byte for byte;
  * of batches of 16 KiB and more under 2 % are copied where a frame carries 4 KiB or more;
  * a commit takes a handful of drive commands, by the drive's own statistics;
  * each lane's memory and thread are on the node they were given, by the kernel's own numbers.

And `penstock doctor` sees each thing that is broken on purpose.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.rehearsal import traffic
from tests.rehearsal.doctor import doctor_cases
from tests.rehearsal.guest_node import GuestNode
from tests.rehearsal.machine import CARD, CARDS, GUEST, Machine
from tests.wire.node import ROOT
from tests.wire.tally import Tally

FILE_SYSTEMS = {"512": "ext4", "4096": "xfs"}
BATCHES = [16 << 10, 128 << 10, 900_000]
TRAFFIC_BYTES = 8 << 20
HUGEPAGES_PER_NODE = 128
COPIED_MAX = 0.02
COMMANDS_PER_COMMIT_MAX = 6
NODE_OF_CORE = {0: 0, 1: 0, 2: 1, 3: 1}

# Of MTU and drive; all pairs would take too long.
DPDK_ROUNDS = {"virtio-net-pci": [(9000, "512"), (9000, "4096"), (1500, "512")],
               "vmxnet3": [(9000, "4096")],
               "e1000e": [(9000, "512")]}

HEAD = (f"{'world':7} {'card':15} {'MTU':>5} {'drive':10} {'batch':>7}  {'content':8} {'commands per commit':>20} "
        f"{'copied':>7} {'written':>8}")


class Rehearsal:
    def __init__(self, options: argparse.Namespace, home: Path):
        self.options, self.home = options, home
        self.tally = Tally()
        self.rows: list[str] = []
        self.build = Path(options.build).resolve()

    def machine(self, card: str, mtu: int) -> Machine:
        began = time.monotonic()
        home = Path(tempfile.mkdtemp(dir=self.home))
        machine = Machine(Path(self.options.image), card, mtu, home)
        machine.run("ip link set lo up; for n in 0 1; do echo " + str(HUGEPAGES_PER_NODE) +
                    " > /sys/devices/system/node/node$n/hugepages/hugepages-2048kB/nr_hugepages; done")
        print(f"      {card} booted after {time.monotonic() - began:.0f} s", flush=True)
        return machine

    # ---- the kernel's network stack in the guest ----

    def kernel_world(self, machine: Machine, card: str, mtu: int) -> None:
        interface = machine.interface()
        machine.run(f"ip addr add {GUEST}/24 dev {interface} && ip link set {interface} mtu {mtu} up")
        with self.tally.case("the CRC agrees with its vectors on this CPU"):
            machine.run(f"{self.build}/tests/storage/crc32c_test")
        if self.options.long:
            self.serve("kernel", machine, card, mtu, "512", [0, 3], {})
        node = self.serve("kernel", machine, card, mtu, "4096", [2, 3], {}, stay_mounted=True)
        with self.tally.case("doctor"):
            doctor_cases(self.tally, machine, node, interface)
        node.unmount()

    # ---- the card driven by the node itself, behind the IOMMU ----

    def dpdk_world(self, machine: Machine, card: str) -> None:
        machine.bind("vfio-pci")
        # All near the card, or one on each node.
        rounds, cores = (DPDK_ROUNDS[card], [2, 3]) if self.options.long else (DPDK_ROUNDS[card][:1], [0, 3])
        for mtu, drive in rounds:
            machine.set_mtu(mtu)
            self.serve("dpdk", machine, card, mtu, drive, cores,
                       {"network": "dpdk", "dpdk.device": CARD, "dpdk.addresses": [f"{GUEST}/24"], "dpdk.mtu": mtu})

    def serve(self, world: str, machine: Machine, card: str, mtu: int, drive: str, cores: list[int],
              settings: dict[str, object], stay_mounted: bool = False) -> GuestNode:
        name = f"{world}, {card}, MTU {mtu}, {FILE_SYSTEMS[drive]} on {drive} B"
        node = GuestNode(machine, f"{self.build}/tools/penstock", drive, FILE_SYSTEMS[drive],
                         {"cores": cores} | settings)
        with self.tally.case(name):
            node.start()
            self.placement(node, cores, name)
            self.fallback(node, name)
            for batch_bytes in BATCHES if self.options.long else BATCHES[::2]:
                self.traffic(world, node, card, mtu, drive, batch_bytes)
            node.stop()
            trouble = [line for line in node.log().splitlines() if re.search(r" (error|critical) ", line)]
            self.tally.record(not trouble, f"{name}: no line of the log is an error", "; ".join(trouble))
        if not stay_mounted:
            node.unmount()
        return node

    def placement(self, node: GuestNode, cores: list[int], name: str) -> None:
        found = sorted(tuple(pages) for pages in node.arena_pages())
        wanted = sorted((NODE_OF_CORE[core],) for core in cores)
        self.tally.record(found == wanted, f"{name}: arenas on the lanes' nodes", f"{found}")
        lanes = node.lane_processors()
        self.tally.record(lanes == {f"lane-{lane}": core for lane, core in enumerate(cores)},
                          f"{name}: lanes on their cores", f"{lanes}")

    def fallback(self, node: GuestNode, name: str) -> None:
        self.tally.record("registered memory for single vectors only" in node.log(),
                          f"{name}: kernel 6.1 has no vectored writes from registered memory")

    def traffic(self, world: str, node: GuestNode, card: str, mtu: int, drive: str, batch_bytes: int) -> None:
        wrote, back, topic = self.home / "wrote", self.home / "back", f"batches-of-{batch_bytes}"
        traffic.make_lines(wrote, TRAFFIC_BYTES, batch_bytes)
        before = node.counts()
        traffic.write(node.machine, topic, wrote, batch_bytes)
        after = node.counts()
        traffic.read(node.machine, topic, back)
        same = wrote.read_bytes() == back.read_bytes()

        payload = after.payload - before.payload
        commands = (after.commands - before.commands) / max(1, after.commits - before.commits)
        copied = (after.copied - before.copied) / payload
        name = f"{world}, {card}, MTU {mtu}, {drive} B, batches of {batch_bytes}"
        self.rows.append(f"{world:7} {card:15} {mtu:5} {drive + ' ' + FILE_SYSTEMS[drive]:10} {batch_bytes:7}  "
                         f"{'equal' if same else 'DIFFERS':8} {commands:20.2f} {copied:7.2%} "
                         f"{(after.written - before.written) / payload:8.3f}")
        self.tally.record(same, f"{name}: what came back is what was written")
        self.tally.record(payload >= TRAFFIC_BYTES, f"{name}: all of it was counted", f"{payload:.0f} bytes")
        self.tally.record(commands <= COMMANDS_PER_COMMIT_MAX, f"{name}: drive commands per commit", f"{commands:.2f}")
        if mtu >= 9000:
            self.tally.record(copied < COPIED_MAX, f"{name}: copied share", f"{copied:.2%}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--image", required=True, help="directory with vmlinux and initramfs")
    parser.add_argument("--build", required=True)
    parser.add_argument("--card", choices=CARDS, help="only this one")
    parser.add_argument("--long", action="store_true", help="all cards, and for each its MTUs and drives")
    parser.add_argument("--world", choices=["kernel", "dpdk"], help="only this one")
    options = parser.parse_args()
    # Not in /tmp: the guest has one of its own, and drives are opened past the page cache.
    home = Path(tempfile.mkdtemp(prefix="penstock-rehearsal-", dir="/var/tmp"))
    rehearsal = Rehearsal(options, home)
    began = time.monotonic()
    try:
        cards = [options.card] if options.card else list(CARDS) if options.long else ["virtio-net-pci"]
        for card in cards:
            with rehearsal.tally.case(card), rehearsal.machine(card, 9000) as machine:
                if card == cards[0] and options.world != "dpdk":
                    rehearsal.kernel_world(machine, card, 9000)
                if options.world != "kernel":
                    rehearsal.dpdk_world(machine, card)
                machine.power_off()
    finally:
        shutil.rmtree(home)
    print(HEAD)
    print("\n".join(rehearsal.rows))
    print(f"{time.monotonic() - began:.0f} s")
    return rehearsal.tally.close()


if __name__ == "__main__":
    sys.exit(main())
