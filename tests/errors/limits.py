"""Limits of the process, of the kernel and of the clock; the catalog; who else uses the directory."""

import fcntl
import os
import shutil
import socket
import sqlite3
import time
from pathlib import Path

from tests.errors.drive import SmallDrive
from tests.errors.drives import home
from tests.errors.site import KAFKA_STORAGE_ERROR, TOPIC, SmallNode
from tests.wire.cases import case
from tests.wire import batch, kafka
from tests.wire.tally import Skip

# Without the rights that would let root pass the limits.
FEW_FILES = ["setpriv", "--bounding-set", "-sys_resource", "prlimit", "--nofile=64:64"]
LITTLE_LOCKED = ["setpriv", "--bounding-set", "-ipc_lock,-sys_resource", "prlimit", "--memlock=8388608:8388608"]


# ----------------------------------------------------------------------------------------------------------- limits


@case("few descriptors: said at start with the remedy; what is open is served, the rest waits")
def few_descriptors():
    with SmallNode(prefix=FEW_FILES) as node:
        node.says(r"warning only 64 files may be open, \d+ may be needed for connections_max and segments: raise the "
                  r"limit \(LimitNOFILE=, ulimit -n\) or lower connections_max")
        node.topic()
        values = node.put(3)
        crowd = [socket.create_connection(node.bootstrap) for _ in range(80)]
        node.says("accepting connections pauses: Too many open files; raise the limit of open files")
        values += node.put(3)
        for each in crowd:
            each.close()
        with kafka.Connection(node.bootstrap) as late:
            assert kafka.fetch(late, TOPIC, 0, 0).error == kafka.NONE
        node.holds(values)


@case("no descriptor left for a segment: refused with the reserve kept, goes on when there are some")
def no_descriptor_for_a_segment():
    with SmallNode(prefix=FEW_FILES) as node:
        node.topic()
        crowd = [socket.create_connection(node.bootstrap) for _ in range(80)]
        stored = node.put_large(100)
        assert 17 < stored < 100, f"{stored} stored"
        node.not_ready(r"lane 0 is read-only: the drive gives no further segment \(Too many open files\)")
        assert node.offsets() == list(range(stored))
        for each in crowd:
            each.close()
        node.wait_ready()
        assert node.put_large(20) == 20
        assert node.offsets() == list(range(stored + 20))


@case("little memory may be locked: not started, with the remedy")
def little_locked_memory():
    node = SmallNode(prefix=LITTLE_LOCKED)
    try:
        node.refused("lane 0: cannot register 64 MiB with io_uring: Cannot allocate memory; locked memory is limited to "
                     "8192 KiB (ulimit -l): raise it (LimitMEMLOCK=infinity in the service file), grant CAP_IPC_LOCK, or lower "
                     "memory.arena_bytes")
    finally:
        node.remove()


@case("no huge pages: not started when they are demanded, done without when not")
def no_huge_pages():
    pages = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
    if int(pages.read_text()) >= 512:
        raise Skip("this machine has huge pages")
    node = SmallNode(hugepages="on", memory__arena_bytes=1 << 30)
    try:
        node.refused("of reserved hugepages; reserve 2 MiB pages with sysctl vm.nr_hugepages=512 or more")
        node.settings |= {"hugepages": "auto", "memory.arena_bytes": 64 << 20}
        node.start()
        node.says("lane 0: 64 MiB, transparent hugepages")
    finally:
        node.remove()


# ------------------------------------------------------------------------------------------------------- the kernel


@case("a kernel with fewer io_uring features: said, and done without")
def older_kernel():
    node = SmallNode()
    node.faults.set(hide_features=1)
    with node:
        node.says("registered memory for single vectors only .*, no buffer rings, single accepts")
        node.topic()
        values = node.put(5) + node.put_together(10, 100_000)[0]
        node.holds(values)
        node.again()
        node.holds(values)


@case("no io_uring: not started, and why")
def no_io_uring():
    node = SmallNode()
    try:
        node.faults.set(kernel_too_old=1)
        node.refused("cannot create an io_uring: Invalid argument; the kernel is too old, Linux 6.1 or newer is needed")
        node.faults.set(kernel_too_old=0)
        node.prefix = ["/usr/bin/python3", str(Path(__file__).with_name("without_io_uring.py"))]
        node.refused("cannot create an io_uring: Operation not permitted; the kernel or the container forbids it: see "
                     "sysctl kernel.io_uring_disabled and the seccomp profile")
    finally:
        node.remove()


# -------------------------------------------------------------------------------------------------------- the clock


@case("the wall clock jumps: nothing expires by it, nothing is lost, timestamps follow")
def clock_jumps():
    with SmallNode() as node:
        node.topic(retention_ms=str(3_600_000))
        node.topic("stamped", message_timestamp_type="LogAppendTime")
        values = node.put(5)
        day_ms = 86_400_000
        for ahead in (day_ms, -30 * day_ms, 400 * day_ms, 0):
            node.faults.set(clock_ahead_ms=ahead)
            values += node.put(2)
            before = int(time.time() * 1000) + ahead
            answer = node.client().leader("stamped", 0).call(
                kafka.PRODUCE, kafka.produce_body("stamped", 0, batch.batch([b"x"])))
            answer.i32(), answer.text(), answer.i32(), answer.i32(), answer.i16(), answer.i64()
            stamped = answer.i64()
            assert abs(stamped - before) < 60_000, f"stamped {stamped}, the clock says {before}"
            node.holds(values)
        node.faults.set(clock_ahead_ms=400 * day_ms)
        node.again()
        time.sleep(2)  # a round of retention
        node.holds(values + node.put(1))
        assert node.metric("penstock_retention_moves_total") == 0
        node.faults.set(clock_ahead_ms=0)
        node.again()
        node.holds(values + node.read()[-1:])


# ------------------------------------------------------------------------------------------------------ the catalog


@case("the catalog cannot be written: topics are refused, records go on, it comes back")
def catalog_busy():
    with SmallNode() as node:
        node.topic()
        values = node.put(3)
        holder = sqlite3.connect(node.directory / "catalog.sqlite", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        assert kafka.create_topic(node.client().to(node.bootstrap), "later") == KAFKA_STORAGE_ERROR
        node.says(r"catalog .*: another program holds the file \(database is locked\)")
        values += node.put(3)
        holder.execute("ROLLBACK")
        holder.close()
        assert kafka.create_topic(node.client().to(node.bootstrap), "later") == kafka.NONE
        node.holds(values)


@case("the drive of the metadata is full: topics are refused, records go on, it comes back")
def catalog_drive_full():
    with home() as place, SmallDrive(place, "small", 24) as small, SmallDrive(place, "large", 160) as large:
        with SmallNode(small.path / "data", drives=str(large.path)) as node:
            node.topic()
            values = node.put(3)
            ballast = small.path / "ballast"
            with open(ballast, "wb", buffering=0) as file:
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    pass
            errors = set()
            for i in range(40):
                errors.add(kafka.create_topic(node.client().to(node.bootstrap), f"{'long-name' * 20}-{i}", 50))
                if KAFKA_STORAGE_ERROR in errors:
                    break
            assert KAFKA_STORAGE_ERROR in errors, f"errors {errors}"
            node.says(r"catalog .*: the drive is full \(database or disk is full\)")
            values += node.put(3)
            assert node.ready()
            ballast.unlink()
            assert kafka.create_topic(node.client().to(node.bootstrap), "later") == kafka.NONE
            node.holds(values)
            node.again()
            node.holds(values)


@case("the catalog is damaged: not started, and why")
def catalog_damaged():
    with SmallNode() as node:
        node.topic()
        node.end(crash=False)
        catalog = node.directory / "catalog.sqlite"
        whole = catalog.read_bytes()
        catalog.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
        node.refused("catalog", "the file is damaged", "restore it from a copy")
        catalog.write_bytes(b"something else, and long enough to be looked at. " * 100)
        node.refused("catalog", "the file is not a catalog")
        catalog.write_bytes(whole)
        node.start()


# ------------------------------------------------------------------------------------------------- whose directory


@case("a lane's directory in use by another process: not started")
def lane_in_use():
    with SmallNode() as node:
        node.end(crash=False)
        held = os.open(node.lane(), os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX)
        node.refused(f"lane 0: {node.lane()} is in use by another process")
        os.close(held)
        node.start()


@case("another cluster's directory, another number of lanes: not started")
def other_cluster():
    with SmallNode(cluster_id="ours") as node:
        node.end(crash=False)
        node.settings["cluster_id"] = "theirs"
        node.refused("ours", "theirs")
        node.settings |= {"cluster_id": "ours", "lanes": 2}
        node.refused("it was created with lanes = 1, which cannot be changed to 2")


@case("the logs of two lanes, or of two directories, mixed up: not started")
def mixed_up():
    with SmallNode(lanes=2) as node, SmallNode(lanes=2) as other:
        node.end(crash=False)
        other.end(crash=False)
        swap(node.lane(0), node.lane(1))
        node.refused("is the log of another lane or data directory")
        swap(node.lane(0), node.lane(1))
        swap(node.lane(1), other.lane(1))
        node.refused(f"{node.lane(1)} is the log of another lane or data directory", "another drive")
        swap(node.lane(1), other.lane(1))
        node.lane(1).rename(node.home / "away")
        node.refused("the log of lane 1 is missing", "put it back")
        (node.home / "away").rename(node.lane(1))
        # Without its file 'owner' a segment still says whose it is.
        for number in (0, 1):
            (node.lane(number) / "owner").unlink()
        swap(node.lane(0), node.lane(1))
        node.launch()
        node.not_ready("lane 0 is read-only: its log is damaged")
        node.says("belongs to another lane")


def swap(a: Path, b: Path) -> None:
    aside = a.with_name("aside")
    a.rename(aside)
    shutil.move(b, a)
    aside.rename(b)
