"""Small file systems in files, on loop devices: to be filled, slowed, made read-only, moved."""

import os
import subprocess
from pathlib import Path

from tests.wire.tally import Skip

THROTTLE = Path("/sys/fs/cgroup/blkio")


class SmallDrive:
    """Mounted below `home`; a context manager, gone afterwards."""

    def __init__(self, home: Path, name: str, mib: int, block: int = 512, file_system: str = "ext4"):
        self.image, self.path = home / f"{name}.img", home / name
        self.mib, self.block, self.file_system = mib, block, file_system
        self.device = ""
        self.mounted = self.path
        self.group: Path | None = None

    def __enter__(self):
        if os.geteuid() != 0:
            raise Skip("loop devices need root")
        self.path.mkdir()
        with open(self.image, "wb") as image:
            image.truncate(self.mib << 20)
        try:
            self.device = output("losetup", "-f", "--show", "-b", str(self.block), str(self.image))
        except subprocess.CalledProcessError:
            raise Skip("no loop device is free") from None
        quiet = {"ext4": ["-q", "-E", "nodiscard", "-m", "0"], "xfs": ["-q", "-K"]}[self.file_system]
        output(f"mkfs.{self.file_system}", *quiet, self.device)
        self.mount()
        return self

    def __exit__(self, *_):
        if self.group:
            self.full_speed()
        subprocess.run(["umount", "-l", str(self.mounted)], capture_output=True)
        if self.device:
            subprocess.run(["losetup", "-d", self.device], capture_output=True)
        self.image.unlink(missing_ok=True)

    def mount(self, at: Path | None = None) -> None:
        self.mounted = at or self.path
        output("mount", self.device, str(self.mounted))

    def unmount(self) -> None:
        output("umount", str(self.mounted))

    def free_mib(self) -> int:
        facts = os.statvfs(self.path)
        return facts.f_bavail * facts.f_bsize >> 20

    def fill(self, leave_mib: int = 0) -> Path:
        """A file that takes all the rest; whoever wants room deletes it."""
        ballast = self.path / "ballast"
        output("fallocate", "-l", f"{self.free_mib() - leave_mib}M", str(ballast))
        return ballast

    def read_only(self) -> None:
        output("mount", "-o", "remount,ro", str(self.path))

    # ---- as slow as one likes: the kernel's own throttle of block devices ----

    def slow(self, process: int, key: str, value: int) -> None:
        """`key` is write_iops or write_bps; of this process on this drive."""
        if not (THROTTLE / "blkio.throttle.write_iops_device").exists():
            raise Skip("no blkio controller to slow a drive with")
        self.group = THROTTLE / f"penstock-test-{os.getpid()}"
        self.group.mkdir(exist_ok=True)
        self.limit(key, value)
        (self.group / "cgroup.procs").write_text(str(process))

    def limit(self, key: str, value: int) -> None:
        number = (Path("/sys/block") / Path(self.device).name / "dev").read_text().strip()
        (self.group / f"blkio.throttle.{key}_device").write_text(f"{number} {value}")

    def full_speed(self) -> None:
        for key in ("write_iops", "write_bps"):
            self.limit(key, 0)
        for process in (self.group / "cgroup.procs").read_text().split():
            try:
                (THROTTLE / "cgroup.procs").write_text(process)
            except ProcessLookupError:
                pass
        self.group.rmdir()
        self.group = None


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
