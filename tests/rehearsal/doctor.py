"""`penstock doctor` on a real kernel: each thing broken on purpose, seen, and mended again."""

import json
from typing import NamedTuple

from tests.rehearsal.guest_node import GuestNode
from tests.rehearsal.machine import CARD, GUEST, Machine
from tests.wire.tally import Tally

PAGES = "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages"
CLOCK = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
NEEDED_FOR_BYPASS = ["card.iommu", "card.vfio", "card.driver", "card.group", "card.node"]
BY_CONFIGURATION = f"--set dpdk.device={CARD} --set dpdk.addresses={GUEST}/24 --set network=dpdk"
NOBODY = "setpriv --reuid=65534 --clear-groups --inh-caps=-all"


class Broken(NamedTuple):
    what: str
    check: str
    verdict: str
    breaks: str = "true"
    mends: str = "true"
    before: str = ""    # in front of the program
    options: str = ""


def broken_things(node: GuestNode, interface: str) -> list[Broken]:
    queue = f"/sys/block/{node.device}/queue"
    return [
        Broken("huge pages on the other node only", "memory.hugepages", "fail", f"echo 8 > {PAGES}", f"echo 128 > {PAGES}"),
        Broken("a scheduler", "drive.scheduler", "warn", f"echo mq-deadline > {queue}/scheduler",
               f"echo none > {queue}/scheduler"),
        Broken("a cache that is called safe", "drive.cache", "fail", f"echo 'write through' > {queue}/write_cache",
               f"echo 'write back' > {queue}/write_cache"),
        Broken("no lazytime", "files.options", "warn", f"mount -o remount,nolazytime {node.mount}",
               f"mount -o remount,lazytime {node.mount}"),
        # xfs takes it when it is mounted only.
        Broken("discard", "files.options", "warn",
               f"umount {node.mount} && mount -o lazytime,discard /dev/{node.device} {node.mount}",
               f"umount {node.mount} && mount -o lazytime /dev/{node.device} {node.mount}"),
        Broken("read-only", "files.options", "fail", f"mount -o remount,ro {node.mount}",
               f"mount -o remount,rw {node.mount}"),
        Broken("little locked memory", "limit.locked", "fail", before=f"prlimit --memlock=8388608 {NOBODY}"),
        Broken("few files", "limit.files", "warn", before=f"prlimit --nofile=512 {NOBODY}"),
        Broken("lanes far from the card", "card.node", "warn", options="--set cores=0 --set lanes=1"),
        Broken("memory for a disk", "files.kind", "fail", options="--set data_directory=/tmp/data"),
        Broken("small frames", "card.mtu", "warn", f"ip link set {interface} mtu 1500", f"ip link set {interface} mtu 9000"),
        Broken("a slow clock", "system.clock", "warn", f"echo hpet > {CLOCK}", f"echo tsc > {CLOCK}"),
        Broken("irqbalance", "cpu.interrupts", "warn",
               "cp /bin/sleep /run/irqbalance; /run/irqbalance 60 > /dev/null 2>&1 & echo $! > /run/balancer",
               "kill $(cat /run/balancer)"),
    ]


def examine(machine: Machine, node: GuestNode, broken: Broken | None = None) -> dict[str, str]:
    """Verdicts by check."""
    before, options = (broken.before, broken.options) if broken else ("", "")
    text = machine.run(f"{before} {node.binary} doctor --config {node.config} --json {options}", status=None)
    return {each["name"]: each["verdict"] for each in json.loads(text)["checks"]}


def doctor_cases(tally: Tally, machine: Machine, node: GuestNode, interface: str) -> None:
    """The node's drive is mounted and the card is with the kernel."""
    good = examine(machine, node)
    bad = {name: verdict for name, verdict in good.items() if verdict != "ok"}
    tally.record(bad == {"system.time": "warn"}, "doctor: only the time is wrong on this machine", f"{bad}")
    for broken in broken_things(node, interface):
        machine.run(broken.breaks)
        seen = examine(machine, node, broken).get(broken.check)
        machine.run(broken.mends)
        tally.record(seen == broken.verdict, f"doctor: {broken.what}", f"{broken.check} is {seen}")
    by_itself = Broken("", "", "", options="--bypass")
    tally.record(examine(machine, node, by_itself).get("card.driver") == "fail", "doctor: the card is the kernel's")
    machine.bind("vfio-pci")
    tally.record(examine(machine, node).get("card.driver") == "fail", "doctor: the card is not the kernel's")
    for options in ("--bypass", BY_CONFIGURATION):
        found = examine(machine, node, Broken("", "", "", options=options))
        seen = {name: verdict for name, verdict in found.items() if name in NEEDED_FOR_BYPASS}
        tally.record(seen == dict.fromkeys(NEEDED_FOR_BYPASS, "ok"), f"doctor: the card is ready for {options.split()[-1]}",
                     f"{seen}")
    near = examine(machine, node, Broken("", "", "", options=f"{BY_CONFIGURATION} --set cores=auto"))
    tally.record(near["card.node"] == "ok", "doctor: lanes that may choose are near the card")
    tally.record(CARD in machine.run(f"{node.binary} doctor --config {node.config}", status=1), "doctor: exit code 1")
