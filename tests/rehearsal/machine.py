"""The emulated machine: two NUMA nodes, PCI cards and drives of a known node behind an IOMMU, Debian's kernel.

  node 0   root port 0000:20:  drive 512 B    0000:21:00.0
  node 1   root ports 0000:40: drive 512 B    0000:41:00.0
                               drive 4 KiB    0000:42:00.0
                               card           0000:43:00.0
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOST, GUEST = "10.99.0.1", "10.99.0.2"
CARD = "0000:43:00.0"
DRIVES = {"far": "0000:21:00.0", "512": "0000:41:00.0", "4096": "0000:42:00.0"}
BOOT_PATIENCE_S = 240

# QEMU's name and what follows it. All of them answer to drivers of DPDK.
CARDS = {
    "virtio-net-pci": "virtio-net-pci,disable-legacy=on,iommu_platform=on,ats=on,mq=on,vectors=10,rss=on,host_mtu=9000",
    "vmxnet3": "vmxnet3",
    "e1000e": "e1000e",
}
QUEUES = {"virtio-net-pci": 4}


class GuestError(Exception):
    pass


class Machine:
    drives = DRIVES
    kernel_words = "intel_iommu=on iommu=pt"

    def __init__(self, cache: Path, card: str, mtu: int, home: Path):
        self.cache, self.card, self.home = cache, card, home
        self.namespace = f"penstock-rehearsal-{os.getpid()}"
        self.qemu: subprocess.Popen | None = None
        self.replies = b""
        try:
            self.make_network(mtu)
            self.boot()
        except BaseException:
            self.close()
            raise

    def make_network(self, mtu: int) -> None:
        ip("netns", "add", self.namespace)
        several = ["multi_queue"] if self.card in QUEUES else []
        ip("-n", self.namespace, "tuntap", "add", "tap0", "mode", "tap", *several)
        ip("-n", self.namespace, "addr", "add", f"{HOST}/24", "dev", "tap0")
        ip("-n", self.namespace, "link", "set", "tap0", "mtu", str(mtu), "up")
        ip("-n", self.namespace, "link", "set", "lo", "up")

    def boot(self) -> None:
        agent = self.home / "agent"
        with open(self.home / "qemu.log", "wb") as log:
            self.qemu = subprocess.Popen(["ip", "netns", "exec", self.namespace, "qemu-system-x86_64", *self.hardware(),
                                          "-serial", f"file:{self.home}/console.log",
                                          "-serial", f"unix:{agent},server=on,wait=off"],
                                         stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + BOOT_PATIENCE_S
        self.line = socket.socket(socket.AF_UNIX)
        while self.line.connect_ex(str(agent)) != 0:
            if self.qemu.poll() is not None or time.monotonic() > end:
                raise GuestError("QEMU did not start:\n" + (self.home / "qemu.log").read_text())
            time.sleep(0.05)
        self.reply(BOOT_PATIENCE_S)

    def hardware(self) -> list[str]:
        def each(option: str, *values: str) -> list[str]:
            return [word for value in values for word in (option, value)]

        queues = f",queues={QUEUES[self.card]}" if self.card in QUEUES else ""
        drives, devices = [], []
        for number, (name, port, block) in enumerate([("far", "p0", 512), ("512", "p10", 512), ("4096", "p11", 4096)]):
            file = self.home / f"drive-{name}"
            with open(file, "wb") as made:
                made.truncate(2 << 30)
            drives.append(f"if=none,id=d{number},file={file},format=raw,cache=none,aio=native")
            devices += [f"nvme,id=n{number},serial=drive-{name},bus={port}",
                        f"nvme-ns,bus=n{number},nsid=1,drive=d{number},"
                        f"logical_block_size={block},physical_block_size={block}"]
        return self.frame() + [
            "-m", "3G", "-smp", "4,sockets=2,cores=2,threads=1",
            *each("-object", "memory-backend-ram,id=m0,size=1536M", "memory-backend-ram,id=m1,size=1536M"),
            *each("-numa", "node,nodeid=0,memdev=m0,cpus=0-1", "node,nodeid=1,memdev=m1,cpus=2-3",
                  "dist,src=0,dst=1,val=21"),
            *each("-device", "intel-iommu,intremap=on,aw-bits=48,device-iotlb=on",
                  "pxb-pcie,id=host0,bus_nr=32,bus=pcie.0,numa_node=0",
                  "pxb-pcie,id=host1,bus_nr=64,bus=pcie.0,numa_node=1",
                  "pcie-root-port,id=p0,bus=host0,chassis=1,slot=1",
                  "pcie-root-port,id=p10,bus=host1,chassis=2,slot=2",
                  "pcie-root-port,id=p11,bus=host1,chassis=3,slot=3",
                  "pcie-root-port,id=p12,bus=host1,chassis=4,slot=4"),
            *each("-drive", *drives), *each("-device", *devices),
            "-netdev", f"tap,id=net,ifname=tap0,script=no,downscript=no{queues}",
            "-device", f"{CARDS[self.card]},netdev=net,bus=p12,romfile=,mac=52:54:00:00:00:05",
        ]

    def frame(self) -> list[str]:
        """What every machine has."""
        return [
            "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-nodefaults", "-no-user-config",
            "-display", "none", "-vga", "none", "-monitor", "none", "-no-reboot",
            "-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
            "-device", "virtio-9p-pci,bus=pcie.0,fsdev=host,mount_tag=host",
            "-kernel", str(self.cache / "vmlinux"), "-initrd", str(self.cache / "initramfs"),
            # The kernel's looks at whether timer interrupts arrive, and how fast the clock is, are too brief for a busy
            # host: its clock then runs many times too fast.
            "-append", f"console=ttyS0 quiet panic=-1 mitigations=off {self.kernel_words} tsc=reliable no_timer_check "
                       f"tsc_early_khz={clock_khz()} -- {HERE}/agent.py"]

    def set_mtu(self, mtu: int) -> None:
        """Of the host's end of the wire."""
        ip("-n", self.namespace, "link", "set", "tap0", "mtu", str(mtu))

    # ---- asking the guest ----

    def reply(self, patience_s: float) -> dict:
        self.line.settimeout(patience_s)
        while b"\n" not in self.replies:
            try:
                some = self.line.recv(65536)
            except TimeoutError:
                some = b""
            if not some:
                raise GuestError(f"the guest says nothing; its console:\n{self.console()}")
            self.replies += some
        line, _, self.replies = self.replies.partition(b"\n")
        return json.loads(line)

    def ask(self, request: dict, patience_s: float = 60) -> dict:
        self.line.sendall(json.dumps(request | {"patience_s": patience_s}).encode() + b"\n")
        return self.reply(patience_s + 30)

    def run(self, text: str, patience_s: float = 60, status: int | None = 0) -> str:
        """A shell command's output. Any status is well if `status` is None."""
        answer = self.ask({"run": text}, patience_s)
        if status is not None and answer["status"] != status:
            raise GuestError(f"{text!r} ended with status {answer['status']}:\n{answer['output']}")
        return answer["output"]

    def start(self, text: str) -> int:
        return self.ask({"start": text})["status"]

    def write(self, path: str, text: str) -> None:
        self.run(f"cat > {path} <<'END_OF_FILE'\n{text}END_OF_FILE\n")

    def console(self) -> str:
        log = self.home / "console.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-40:]) if log.exists() else "(none)"

    def client(self, *command: str | Path, patience_s: float = 120) -> str:
        """A program on the host, at the other end of the card's wire."""
        done = subprocess.run(["ip", "netns", "exec", self.namespace, *map(str, command)], capture_output=True,
                              text=True, timeout=patience_s)
        if done.returncode != 0:
            raise GuestError(f"{command[0]} ended with status {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    # ---- devices ----

    def block_device(self, drive: str) -> str:
        """Which name a drive got is a matter of luck; its place on the bus is not."""
        place = f"/sys/bus/pci/devices/{self.drives[drive]}"
        return self.run(f"basename $(ls -d {place}/nvme/nvme*/nvme*n1 {place}/virtio*/block/vd* 2> /dev/null)").strip()

    def interface(self) -> str:
        return self.run(f"ls $(ls -d /sys/bus/pci/devices/{CARD}/net /sys/bus/pci/devices/{CARD}/virtio*/net "
                        "2>/dev/null)").strip()

    def bind(self, driver: str) -> None:
        self.run(f"cd /sys/bus/pci/devices/{CARD} && echo {driver} > driver_override && "
                 f"if [ -e driver ]; then echo {CARD} > driver/unbind; fi && echo {CARD} > /sys/bus/pci/drivers_probe "
                 f"&& readlink driver | grep -q /{driver}$")

    # ---- the end ----

    def kill(self) -> None:
        """It stops where it is."""
        os.killpg(self.qemu.pid, signal.SIGKILL)
        self.qemu.wait()

    def power_off(self) -> None:
        self.ask({"start": "sync; busybox poweroff -f"})
        try:
            self.qemu.wait(30)
        except subprocess.TimeoutExpired:
            raise GuestError("the guest did not power off") from None

    def close(self) -> None:
        if self.qemu and self.qemu.poll() is None:
            self.kill()
        ip("netns", "del", self.namespace, check=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def clock_khz() -> int:
    """The guest's time stamp counter is the host's."""
    return round(float(re.search(r"^cpu MHz\s*: (\S+)$", Path("/proc/cpuinfo").read_text(), re.M)[1]) * 1000)


def ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=not check)
