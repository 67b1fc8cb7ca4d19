"""What a commit of a log that turns over asks of the file system, traced, on ext4 and on xfs: no space is allocated, nothing
is converted from unwritten to written, and no slot is prepared. What the journal takes is for timestamps alone.

The control is the time before: while slots are prepared, the same events are there.
"""

import collections
import os
import re
import sys
from pathlib import Path

from tests.weekend.small_drive import NoDrive, SmallDrive
from tests.wire import batch, kafka
from tests.wire.node import Node
from tests.wire.tally import Skip, Tally

MIB = 1 << 20
SEGMENT_BYTES, BATCH_BYTES = 16 * MIB, 256 << 10
TRACING = Path("/sys/kernel/tracing")
# Events that allocate or convert, by file system.
SPACE = {"ext4": ["ext4/ext4_allocate_blocks", "ext4/ext4_ext_convert_to_initialized_enter", "ext4/ext4_ext_handle_unwritten_extents",
                  "ext4/ext4_mballoc_alloc", "ext4/ext4_request_blocks"],
         "xfs": ["xfs/xfs_alloc_near_first", "xfs/xfs_alloc_vextent_finish", "xfs/xfs_bmap_post_update", "xfs/xfs_unwritten_convert",
                 "xfs/xfs_iomap_alloc"]}
JOURNAL = {"ext4": ["jbd2/jbd2_handle_start"], "xfs": ["xfs/xfs_trans_alloc"]}


class Trace:
    """An instance of its own, so that nobody else's tracing is disturbed."""

    def __init__(self, events: list[str]):
        self.at = TRACING / "instances/penstock-steady"
        try:
            self.at.mkdir()
            (self.at / "buffer_size_kb").write_text("16384")
            self.known = [event for event in events if (self.at / "events" / event).is_dir()]
            for event in self.known:
                (self.at / "events" / event / "enable").write_text("1")
        except OSError as error:
            raise Skip(f"no tracing here: {error}") from error

    def take(self, device: int, segments: set[int]) -> collections.Counter:
        """Events on that file system since the last look, whoever caused them, by name: those that name a file only if it is
        one of the segments, and not the catalog's."""
        at = f"dev {os.major(device)}[,:]{os.minor(device)}"
        counts: collections.Counter = collections.Counter()
        for line in (self.at / "trace").read_text().splitlines():
            if found := re.search(rf": (\w+): {at}\b", line):
                file = re.search(r"\b(?:ino|inode) (0x[0-9a-f]+|\d+)", line)
                if file is None or int(file[1], 0) in segments:
                    counts[found[1]] += 1
        (self.at / "trace").write_text("")
        return counts

    def close(self) -> None:
        for event in self.known:
            (self.at / "events" / event / "enable").write_text("0")
        self.at.rmdir()


def main() -> int:
    tally = Tally()
    for kind in ("ext4", "xfs"):
        with tally.case(f"{kind}: a commit of a log that turns over allocates and converts nothing"):
            try:
                drive = SmallDrive(1024 * MIB, kind)
            except NoDrive as why:
                raise Skip(str(why)) from why
            trace = Trace(SPACE[kind] + JOURNAL[kind])
            node = Node(lanes=1, settings={"data_directory": str(drive.path / "data"), "segment_bytes": SEGMENT_BYTES})
            try:
                node.start()
                steady(node, trace, kind, os.stat(drive.path).st_dev)
            finally:
                trace.close()
                node.remove()
                drive.remove()
    return tally.close()


def steady(node: Node, trace: Trace, kind: str, device: int) -> None:
    space = [event.partition("/")[2] for event in SPACE[kind]]
    made = batch.batch_of_size(BATCH_BYTES)
    data = Path(node.settings["data_directory"])

    def segments() -> set[int]:
        return {path.stat().st_ino for path in data.rglob("segment-*.log")}

    with kafka.Cluster(node.bootstrap) as cluster:
        cluster.create_topic("steady", 1, {"retention.bytes": str(2 * SEGMENT_BYTES)})

        def produce(count: int) -> None:
            for _ in range(count):
                produced = kafka.produce(cluster.leader("steady", 0), "steady", 0, made)
                assert produced.error in (kafka.NONE, kafka.KAFKA_STORAGE_ERROR), f"error {produced.error}"

        produce(200)
        filling = trace.take(device, segments())
        assert sum(filling[each] for each in space) > 0, f"the control shows nothing: {dict(filling)}"
        while node.metrics()["penstock_slots_recycled_total"] < 70:  # every slot has been written once
            produce(100)
        before = node.metrics()
        trace.take(device, segments())
        while (after := node.metrics())["penstock_slots_recycled_total"] < before["penstock_slots_recycled_total"] + 30:
            produce(100)
        seen = trace.take(device, segments())

    def grown(name: str) -> float:
        return after[f"penstock_{name}_total"] - before[f"penstock_{name}_total"]
    print(f"      {grown('commits'):.0f} commits, {grown('slots_recycled'):.0f} slots recycled, {grown('slots_prepared'):.0f} prepared, "
          f"{grown('drive_flushes'):.0f} flushes, {grown('ring_worker_wakes'):.0f} wake-ups of workers; traced {dict(seen)}; "
          f"while filling up {dict(filling)}")
    assert grown("commits") >= 300 and grown("slots_recycled") > 3, "too little to mean anything"
    asked = {each: seen[each] for each in space if seen[each]}
    assert not asked, f"{asked} in {grown('commits'):.0f} commits"
    assert grown("slots_prepared") == 0, "slots were prepared"
    # Timestamps have the file system's own grain (a clock tick), so not every write changes them.
    handles = sum(seen[event.partition("/")[2]] for event in JOURNAL[kind])
    assert handles <= grown("drive_writes"), f"{handles} journal handles for {grown('drive_writes'):.0f} writes"


if __name__ == "__main__":
    sys.exit(main())
