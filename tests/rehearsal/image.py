"""What the machine boots: Debian's kernel, uncompressed, and an initramfs whose init lays a tmpfs over the host's own
root file system. So nothing is installed in the guest, and whatever the host has built runs there.
"""

import lzma
import shutil
import subprocess
from pathlib import Path

XZ_MAGIC = b"\xfd7zXZ\x00"

# Loaded before the root file system is there; modules they need come along.
BOOT_MODULES = ["virtio_pci", "overlay", "9p", "9pnet_virtio"]
# Drives and cards. The host has no modules of this kernel, so all are loaded at boot; file systems need the CRC first.
MODULES = ["crc32c-intel", "nvme", "vfio-pci", "vfio_iommu_type1", "virtio_blk", "virtio_net", "e1000e", "vmxnet3", "ext4",
           "xfs"]

INIT = """#!/bin/busybox sh
# init AGENT: the rest of the command line names the program that takes over, by its path on the host.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
modprobe -a BOOT
mount -t tmpfs -o size=256m changes /changes; mkdir /changes/upper /changes/work
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /host || exec sh
mount -t overlay -o lowerdir=/host,upperdir=/changes/upper,workdir=/changes/work root /root || exec sh
# A machine that has less names them on its command line.
modprobe -a $(echo ${modules:-MODULES} | tr , " ")
for each in proc sys dev; do mkdir -p /root/$each; mount --move /$each /root/$each; done
mkdir -p /root/dev/shm; mount -t tmpfs shm /root/dev/shm
mount -t tmpfs run /root/run; mount -t tmpfs tmp /root/tmp
mkdir -p /root/lib/modules/$(uname -r)
cp /lib/modules/$(uname -r)/modules.* /root/lib/modules/$(uname -r)
exec switch_root /root /usr/bin/python3 "$@"
"""


def make(cache: Path, unpacked: Path, version: str) -> None:
    """Into `cache`: vmlinux and initramfs, from the unpacked kernel package."""
    packed = (unpacked / f"boot/vmlinuz-{version}").read_bytes()
    # Uncompressed it starts by PVH, which saves half of the boot.
    (cache / "vmlinux").write_bytes(lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(packed[packed.index(XZ_MAGIC):]))

    root = cache / "root"
    for each in ("bin", "proc", "sys", "dev", "host", "changes", "root"):
        (root / each).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin")
    copy_modules(unpacked, root, version)
    (root / "init").write_text(INIT.replace("MODULES", " ".join(MODULES)).replace("BOOT", " ".join(BOOT_MODULES)))
    (root / "init").chmod(0o755)
    with open(cache / "initramfs", "wb") as file:
        names = "\n".join(str(each.relative_to(root)) for each in sorted(root.rglob("*")))
        subprocess.run(["busybox", "cpio", "-o", "-H", "newc"], input=names.encode(), stdout=file,
                       stderr=subprocess.DEVNULL, cwd=root, check=True)
    shutil.rmtree(root)


def copy_modules(unpacked: Path, root: Path, version: str) -> None:
    subprocess.run(["busybox", "depmod", "-b", unpacked, version], check=True)
    source, target = (each / "lib/modules" / version for each in (unpacked, root))
    needs = {}
    for line in (source / "modules.dep").read_text().splitlines():
        name, _, others = line.partition(":")
        needs[Path(name).stem] = [name, *others.split()]
    for module in BOOT_MODULES + MODULES:
        for name in needs[module]:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, target / name)
    for index in source.glob("modules.builtin*"):
        shutil.copy(index, target)
    shutil.copy(source / "modules.order", target)
    subprocess.run(["busybox", "depmod", "-b", root, version], check=True)


if __name__ == "__main__":
    import sys
    make(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
