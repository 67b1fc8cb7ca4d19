"""A small file system on a loop device, so that a drive is full when its file says so."""

import atexit
import os
import shutil
import subprocess
import tempfile
from pathlib import Path


class NoDrive(Exception):
    """This machine gives us none; says why."""


class SmallDrive:
    def __init__(self, bytes_: int, kind: str = "ext4", parent: str = "/var/tmp"):
        self.home = Path(tempfile.mkdtemp(prefix="penstock-drive-", dir=parent))
        self.path = self.home / "mounted"
        self.device = ""
        atexit.register(self.remove)
        if os.geteuid() != 0:
            raise NoDrive("only root may make a loop device")
        image = self.home / "image"
        with open(image, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, bytes_)  # never short of space itself
        self.path.mkdir()
        try:
            # Without the page cache in between, which would only add its own ups and downs.
            self.device = self._run("losetup", "--find", "--show", "--direct-io=on", image)
            self._run(f"mkfs.{kind}", "-q", *(["-m", "0"] if kind == "ext4" else []), self.device)
            self._run("mount", self.device, self.path)
        except (OSError, subprocess.CalledProcessError) as error:
            raise NoDrive(getattr(error, "stderr", None) or str(error)) from error

    @staticmethod
    def _run(*words) -> str:
        return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout.strip()

    @property
    def capacity(self) -> int:
        facts = os.statvfs(self.path)
        return facts.f_blocks * facts.f_frsize

    def remove(self) -> None:
        if os.path.ismount(self.path):
            subprocess.run(["umount", str(self.path)], check=False)
        if self.device:
            subprocess.run(["losetup", "--detach", self.device], check=False)
            self.device = ""
        shutil.rmtree(self.home, ignore_errors=True)
