"""Drives that are full, slow, read-only, damaged, moved: small file systems on loop devices."""

import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from tests.errors.drive import SmallDrive
from tests.errors.site import KAFKA_STORAGE_ERROR, SEGMENT, TOPIC, SmallNode
from tests.wire.cases import case
from tests.wire import batch, kafka

MIB = 1 << 20


@contextmanager
def on_drive(mib: int = 160, block: int = 512, file_system: str = "ext4", **settings):
    """A node, not started, with its data on a small drive."""
    with home() as place, SmallDrive(place, "drive", mib, block, file_system) as drive:
        node = SmallNode(drive.path / "data", **settings)
        try:
            yield drive, node
        finally:
            node.__exit__()


@contextmanager
def home():
    place = Path(tempfile.mkdtemp(prefix="penstock-errors-"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


# ------------------------------------------------------------------------------------------------------------ space


@case("the drive is full: refused with one segment in reserve, reads go on, room comes")
def drive_full():
    with on_drive() as (drive, node):
        node.start()
        node.topic()
        ballast = drive.fill(leave_mib=40)
        stored = node.put_large(400)
        assert 20 < stored < 400, f"{stored} records before it was full"
        node.not_ready(r"lane 0 is read-only: the drive gives no further segment \(No space left on device\); it goes "
                       "on by itself when records expire or there is room")
        node.says("error lane 0: read-only: the drive gives no further segment")
        assert node.metric("penstock_log_state") == 3 and node.metric("penstock_log_trouble") == 1
        assert node.offsets() == list(range(stored))
        # The reserve: a segment that is prepared and holds nothing.
        assert len(node.segments()) == node.metric("penstock_segments") + 1
        ballast.unlink()
        node.wait_ready()
        node.says("info  lane 0: takes records again")
        assert node.put_large(3) == 3
        assert node.offsets() == list(range(stored + 3))


@case("the drive is full: records expire, it goes on")
def full_and_expiring():
    with on_drive(mib=140) as (drive, node):
        node.start()
        node.topic(retention_bytes=str(8 * MIB), segment_bytes=str(SEGMENT))
        drive.fill(leave_mib=20)
        stored = refused = 0
        end = time.monotonic() + 30
        while stored < 120 and time.monotonic() < end:
            done = node.put_large(120 - stored)
            stored += done
            refused += stored < 120
            time.sleep(0.2)
        assert stored == 120 and refused > 0, f"{stored} stored, refused {refused} times"
        assert node.metric("penstock_segments_released_total") > 0


@case("crashes on a full drive: reads go on after each, room comes")
def crashes_while_full():
    with on_drive() as (drive, node):
        node.start()
        node.topic()
        ballast = drive.fill(leave_mib=40)
        stored = node.put_large(400)
        for _ in range(3):  # the first uses the reserve up
            node.end()
            node.launch()
            node.not_ready("lane 0 is read-only: the drive gives no further segment")
            assert node.put_large(1) == 0
            assert node.offsets() == list(range(stored))
        ballast.unlink()
        node.wait_ready()
        assert node.put_large(3) == 3
        assert node.offsets() == list(range(stored + 3))


@case("a crash on a full drive: what is left is for the notes that let records expire")
def crash_while_full_and_expiring():
    with on_drive() as (drive, node):
        node.start()
        node.topic(retention_ms="9000")
        drive.fill(leave_mib=40)
        stored = node.put_large(400)
        node.end()
        node.launch()
        node.not_ready("lane 0 is read-only: the drive gives no further segment")
        assert node.put_large(1) == 0, "records in what is left"
        assert node.offsets() == list(range(stored))
        node.wait_ready(patience_s=40)
        assert node.metric("penstock_segments_released_total") > 0
        assert node.put_large(5) == 5


# ------------------------------------------------------------------------------------------------------------- slow


@case("a slow drive: producers wait, all is acknowledged in the end, reads go on")
def slow_drive():
    with on_drive(mib=220) as (drive, node):
        node.start()
        node.topic()
        values = node.put(5)
        drive.slow(node.process.pid, "write_iops", 2)
        began = time.monotonic()
        good, errors = node.put_together(12, 50_000)
        took = time.monotonic() - began
        assert not errors and len(good) == 12
        assert took > 0.5, f"12 requests took {took:.1f} s on a drive of two writes a second"
        values += good
        # Nothing for seconds: said, and consumers are served all the same.
        drive.limit("write_bps", 4096)
        connection = node.client().leader(TOPIC, 0)
        connection.send(kafka.PRODUCE, kafka.produce_body(TOPIC, 0, batch.batch([b"s" * 60_000])))
        with kafka.Connection(node.bootstrap) as reader:
            fetched = kafka.fetch(reader, TOPIC, 0, 0)
            assert fetched.error == kafka.NONE and fetched.high_watermark == len(values)
        node.says(r"warning lane 0: the drive has completed no write for \d+ s; producers wait", 12)
        drive.full_speed()
        assert kafka.read_produced(connection.receive()[1]).error == kafka.NONE
        node.says(r"lane 0: the drive goes on after \d+ s")
        node.holds(values + [b"s" * 60_000])
        page = node.get("/metrics")[1]
        assert 'penstock_produce_latency_seconds_bucket{lane="0",le="+Inf"}' in page


# -------------------------------------------------------------------------------------------- what cannot be written


@case("a read-only file system: not started, and why")
def read_only_file_system():
    with on_drive() as (drive, node):
        node.start()
        node.topic()
        node.end(crash=False)
        drive.read_only()
        node.refused(str(node.directory), "Read-only file system")


@case("a segment file is missing: read-only, named, the rest is served")
def missing_slot():
    with SmallNode() as node:
        node.topic()
        assert node.put_large(60) == 60
        node.end()
        gone = node.segments()[1]
        gone.rename(node.home / "gone")
        node.launch()
        node.not_ready("lane 0 is read-only: its log is damaged")
        node.says("segments before it are missing")
        assert node.metric("penstock_log_trouble") == 5
        assert node.put_large(1) == 0
        kept = node.offsets()
        assert kept[0] == 0 and kept[-1] == 59 and len(kept) < 50, f"kept {kept}"
        node.end(crash=False)
        (node.home / "gone").rename(gone)
        node.start()
        assert node.offsets() == list(range(60))


@case("a torn tail is the end of the log; damage below it is not: read-only, named")
def torn_or_damaged():
    with SmallNode() as node:
        node.topic()
        values = node.put(6, 5000)
        node.end()
        segment = node.segments()[0]
        whole = segment.read_bytes()
        last, middle = whole.rindex(values[-1][:16]), whole.index(values[2][:16])

        overwrite(segment, last, b"torn")  # nothing after it claims that it was durable
        node.start()
        node.says("the log ends with commit")
        node.holds(values[:-1])
        node.end(crash=False)

        for path in node.segments():  # as it was
            path.unlink()
        segment.write_bytes(whole)
        overwrite(segment, middle, b"damaged")
        node.launch()
        node.not_ready("lane 0 is read-only: its log is damaged, see the lines of its start; `penstock log verify` names")
        node.says("batches that were durable are damaged")
        node.says("lost")
        assert node.produce(b"x").error == KAFKA_STORAGE_ERROR
        kept = [record.value for record in node.client().records(TOPIC, 0)]
        assert kept == values[:2] + values[3:], "what is whole is not served"


def overwrite(path: Path, at: int, what: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(what)


# ------------------------------------------------------------------------------------------------------- other units


@case("moved to a drive with 4 KiB blocks and back: read with theirs, written with its own")
def other_units():
    with home() as place, SmallDrive(place, "small-blocks", 200) as small, \
            SmallDrive(place, "large-blocks", 200, block=4096) as large:
        node = SmallNode(small.path / "data")
        try:
            node.start()
            node.topic()
            values = node.put(5) + node.put_together(10, 100_000)[0]
            assert "logical block 512" in node.says("from the queue")
            for drive, block in ((large, 4096), (small, 512)):
                node.end(crash=block == 512)
                target = drive.path / f"moved-{block}"
                shutil.move(node.directory, target)
                node.settings["data_directory"] = str(target)
                (node.home / "log").write_text("")
                node.start()
                assert f"logical block {block}" in node.says("from the queue")
                node.holds(values)
                values += node.put(5) + node.put_together(10, 100_000)[0]
                node.holds(values)
        finally:
            node.__exit__()


# -------------------------------------------------------------------------------------------------------- two drives


@case("two drives: each lane on one, one full while the other goes on, absent or exchanged: not started")
def two_drives():
    with home() as place, SmallDrive(place, "first", 120) as first, SmallDrive(place, "second", 120) as second:
        with SmallNode(lanes=2, drives=[str(first.path), str(second.path)]) as node:
            for lane, drive in ((0, first), (1, second)):
                assert node.lane(lane).resolve() == drive.path / f"lane-{lane:03}"
                node.says(f"lane {lane}: log at {drive.path}/lane-{lane:03}, drive {Path(drive.device).name}")
            topics = topic_of_each_lane(node)
            for topic in topics:
                assert node.put_large(2, topic) == 2
            ballast = second.fill()
            stored = node.put_large(200, topics[1]) + 2
            assert stored < 200
            node.not_ready("lane 1 is read-only: the drive gives no further segment")
            assert node.put_large(3, topics[0]) == 3, "the other drive has room"
            assert node.offsets(topics[0]) == list(range(5)) and node.offsets(topics[1]) == list(range(stored))
            ballast.unlink()
            node.wait_ready()

            node.end(crash=False)
            second.unmount()
            node.refused(f"the log of lane 1 is at {second.path}/lane-001, which is not there; is its drive mounted?")
            first.unmount()
            first.mount(at=second.path), second.mount(at=first.path)
            node.refused("is not there; is its drive mounted?")
            (first.path / "lane-001").rename(first.path / "lane-000")
            node.refused("is the log of another lane or data directory")
            (first.path / "lane-000").rename(first.path / "lane-001")
            first.unmount(), second.unmount()
            first.mount(), second.mount()
            node.start()
            assert node.offsets(topics[0]) == list(range(5)) and node.offsets(topics[1]) == list(range(stored))


def topic_of_each_lane(node: SmallNode) -> list[str]:
    topics: dict[int, str] = {}
    for number in range(20):
        node.topic(name := f"topic-{number}")
        topics.setdefault(node.client().known.leaders[name][0], name)
        if len(topics) == node.lanes:
            return [topics[lane] for lane in sorted(topics)]
    raise AssertionError("no topic for each lane among twenty")
