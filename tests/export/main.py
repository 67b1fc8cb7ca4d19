"""`penstock log verify` and `penstock log export`, judged by Apache Kafka and by damage.

A node takes in batches of every codec from kcat, plain and idempotent, restarts and stops. Then:
  verify finds the log whole, also while a node writes to it, and changes nothing
  Apache Kafka's DumpLogSegments deep-iterates every exported file: CRCs valid, offsets dense, records as produced
  a real Apache Kafka broker, given the exported segments, serves the same records
  each kind of damage is named, with file, bytes, commits and offsets, and the rest can still be exported
"""

import argparse
import atexit
import base64
import hashlib
import json
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

from confluent_kafka.admin import AdminClient

from tests.export.dump_log import KafkaDump
from tests.wire import kafka
from tests.wire.node import BINARY, KafkaPeer, Node
from tests.wire.tally import Tally

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
PARTITIONS = 2
SEGMENT_BYTES = 16 << 20  # several in a short test
WHOLE, DAMAGED, UNREADABLE = 0, 1, 2

Expected = dict[tuple[str, int], list[bytes]]  # (topic, partition) -> values by offset


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/export/run")
    parser.add_argument("--binary", default=str(BINARY))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    tally = Tally()
    node = Node(lanes=2, binary=options.binary, settings={"segment_bytes": SEGMENT_BYTES})
    log = Log(options.binary, node.home)
    expected: Expected = {}

    with tally.case("a node takes in every codec, a large topic, and a topic that is deleted"):
        take_in(node, expected, random.Random(options.seed))
    with tally.case("verify while the node writes: whole"):
        verify_under_load(node, log, expected)
    with tally.case("export while the node runs: refused"):
        done = log.run("export", log.data, log.exported)
        assert done.returncode == UNREADABLE and "running" in done.stderr, done
    with tally.case("the node stops"):
        node.stop_well()
    with tally.case("verify, stopped: whole, every record counted, nothing changed"):
        verify_whole(log, expected)
    with tally.case("export: all topics but the deleted one"):
        log.succeeds("export", log.data, log.exported, "--segment-bytes", 1 << 20)
        found = {path.name for path in log.exported.iterdir() if path.is_dir()}
        assert found == {f"{topic}-{partition}" for topic, partition in expected}, found
        for topic in log.partitions():
            path = log.exported / f"{topic['topic']}-{topic['partition']}/partition.metadata"
            topic_id = base64.urlsafe_b64encode(topic["id"]).decode().rstrip("=")
            assert path.read_text() == f"version: 0\ntopic_id: {topic_id}\n"
        assert len(list((log.exported / "large-0").glob("*.log"))) > 5, "segments of 1 MB expected"
    with tally.case("Apache Kafka's DumpLogSegments: CRCs valid, records as produced"):
        same_records(KafkaDump(log.exported).records(), expected)
    with tally.case("export of one partition"):
        only = log.home / "only"
        log.succeeds("export", log.data, only, "--topic", "gzip", "--partition", 1)
        assert [path.name for path in only.iterdir() if path.is_dir()] == ["gzip-1"]
        same_records(KafkaDump(only).records(), {("gzip", 1): expected["gzip", 1]})
    with tally.case("a Kafka broker takes the segments over and serves the same"):
        served_by_kafka(log, expected)

    for name, damage in DAMAGES.items():
        with tally.case(f"damage, {name}: named"):
            damage(log.copy())
    with tally.case("export of a damaged log: all but the damaged batch"):
        export_damaged(log, expected)
    with tally.case("what is no log: refused"):
        assert log.run("verify", log.home / "nothing").returncode == UNREADABLE
        assert log.run("verify", log.exported).returncode == UNREADABLE
        assert log.run("export", log.exported, log.home / "never").returncode == UNREADABLE
        assert log.run("export", log.data, log.exported).returncode == UNREADABLE, "into a directory that is not empty"
    if tally.failed:
        print(f"kept for a look: {node.home}")
        atexit.unregister(node.remove)
    return tally.close()


class Log:
    """A data directory, and the commands that look at it."""

    def __init__(self, binary: str, home: Path, data: str = "data"):
        self.binary = binary
        self.home = home
        self.data = home / data
        self.exported = home / "exported"

    def run(self, *arguments) -> subprocess.CompletedProcess:
        return subprocess.run([self.binary, "log", *map(str, arguments)], capture_output=True, text=True, timeout=300)

    def succeeds(self, *arguments) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, f"status {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def verify_json(self, status: int) -> dict:
        done = self.run("verify", self.data, "--json")
        assert done.returncode == status, f"status {done.returncode}: {done.stdout[-2000:]}{done.stderr}"
        return json.loads(done.stdout)

    def copy(self) -> "Log":
        target = self.home / "damaged"
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", self.data, target], check=True)
        return Log(self.binary, self.home, "damaged")

    def picture(self) -> list:
        return sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in self.data.rglob("*"))

    def sealed_batches(self) -> list[dict]:
        """The batches of `large` in the lane's first segment, which is sealed, as `log dump` shows them."""
        partitions = {(topic["topic"], topic["partition"]): topic for topic in self.partitions()}
        place = partitions["large", 0]
        found, segment, commit = [], None, None
        for line in self.succeeds("dump", self.data, "--lane", place["lane"], "--verbose").splitlines():
            if head := re.match(r"  slot (\d+): segment (\d+) ", line):
                segment = {"slot": int(head[1]), "segment": int(head[2])}
            elif head := re.match(r"    commit (\d+) at (\d+):", line):
                commit = {"commit": int(head[1]), "at": int(head[2])}
            elif head := re.match(rf"      \d+ batch partition {place['number']} offsets (\d+)-(\d+)", line):
                found.append({**segment, **commit, "first": int(head[1]), "last": int(head[2]), "lane": place["lane"]})
            elif (head := re.match(r"          run (\d+) (\d+)", line)) and found and "run" not in found[-1]:
                found[-1]["run"] = int(head[1])
        first = min(batch["segment"] for batch in found)
        return [batch for batch in found if batch["segment"] == first]

    def partitions(self) -> list[dict]:
        catalog = sqlite3.connect(f"file:{self.data}/catalog.sqlite?mode=ro&immutable=1", uri=True)
        rows = catalog.execute("SELECT name, partition_index, number, lane, id FROM partitions "
                               "JOIN topics ON topics.id = partitions.topic_id").fetchall()
        return [dict(zip(("topic", "partition", "number", "lane", "id"), row)) for row in rows]

    def file(self, batch: dict) -> Path:
        return self.data / f"lane-{batch['lane']:03}" / f"segment-{batch['slot']:06}.log"


def flip(path: Path, position: int) -> None:
    with open(path, "r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 0x40]))


# ---- taking in ----

def take_in(node: Node, expected: Expected, chooser: random.Random) -> None:
    node.start()
    with kafka.Cluster(node.bootstrap) as cluster:
        for topic in (*CODECS, "idempotent", "large", "deleted", "empty"):
            cluster.create_topic(topic, PARTITIONS)
        cluster.create_topic("stamped", PARTITIONS, {"message.timestamp.type": "LogAppendTime"})
    expected.update({("empty", partition): [] for partition in range(PARTITIONS)})
    for partition in range(PARTITIONS):
        for codec in CODECS:
            produce(node, expected, codec, partition, texts(chooser, codec, 300, 2000), "-z", codec)
        produce(node, expected, "idempotent", partition, texts(chooser, "idempotent", 500, 500),
                "-X", "enable.idempotence=true", "-z", "lz4")
        produce(node, expected, "stamped", partition, texts(chooser, "stamped", 100, 1000), "-z", CODECS[partition])
        produce(node, {}, "deleted", partition, texts(chooser, "deleted", 100, 1000))
    produce(node, expected, "large", 0, texts(chooser, "large", 4000, 20_000))
    node.stop_well()
    node.start()
    for topic in ("large", "zstd"):  # behind a restart: in a segment of another term
        produce(node, expected, topic, 0, texts(chooser, f"{topic} again", 500, 5000), "-z", "zstd")
    admin = AdminClient({"bootstrap.servers": "%s:%d" % node.bootstrap})
    admin.delete_topics(["deleted"])["deleted"].result(20)


def texts(chooser: random.Random, name: str, count: int, bytes_max: int) -> list[bytes]:
    """Lines that are told apart by their number; half of each cannot be compressed much."""
    return [f"{name} {number} {chooser.randbytes(chooser.randrange(bytes_max) // 3).hex()} "
            f"{'penstock ' * chooser.randrange(20)}.".encode() for number in range(count)]


def produce(node: Node, expected: Expected, topic: str, partition: int, values: list[bytes], *options: str) -> None:
    done = subprocess.run(["kcat", "-P", "-b", "%s:%d" % node.bootstrap, "-t", topic, "-p", str(partition),
                           "-X", "linger.ms=5", "-X", "batch.size=200000", *options],
                          input=b"\n".join(values), capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    expected.setdefault((topic, partition), []).extend(values)


# ---- the log as it is ----

def verify_under_load(node: Node, log: Log, expected: Expected) -> None:
    chooser, ended = random.Random(2), threading.Event()

    def load() -> None:
        for _ in range(6):
            produce(node, expected, "large", 1, texts(chooser, "load", 1000, 10_000))
        ended.set()
    producer = threading.Thread(target=load)
    producer.start()
    runs = 0
    while not ended.is_set() or runs < 3:
        log.verify_json(WHOLE)
        runs += 1
        if not producer.is_alive() and not ended.is_set():
            raise AssertionError("the producer failed")
    producer.join()


def verify_whole(log: Log, expected: Expected) -> None:
    before = log.picture()
    result = log.verify_json(WHOLE)
    assert result["verdict"] == "whole"
    deleted = 2 * 100
    records = sum(lane["records"] for lane in result["lanes"])
    assert records == sum(map(len, expected.values())) + deleted, f"{records} records"
    for lane in result["lanes"]:
        assert not [each for each in lane["findings"] if each["damage"]] and not lane["damaged_batches"], lane
    text = log.succeeds("verify", log.data)
    assert text.splitlines()[-1].startswith("whole; read "), text
    log.succeeds("verify", log.data / "lane-001")
    assert log.picture() == before, "something in the directory changed"


def digest(values: list[bytes]) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(value).digest() for value in values)).hexdigest()


def same_records(found: Expected, expected: Expected) -> None:
    assert found.keys() == expected.keys(), f"{sorted(found)} instead of {sorted(expected)}"
    for at, values in expected.items():
        assert len(found[at]) == len(values), f"{at}: {len(found[at])} records instead of {len(values)}"
        assert digest(found[at]) == digest(values), f"{at}: the records differ"


def wait_for_end(cluster: kafka.Cluster, topic: str, partition: int, offset: int) -> None:
    """A broker listens before it leads its partitions."""
    deadline = time.monotonic() + 30
    while (end := kafka.end_offset(cluster.leader(topic, partition), topic, partition)) != (kafka.NONE, offset):
        assert time.monotonic() < deadline, f"{topic}-{partition} ends at {end}, not {offset}"
        time.sleep(0.2)


def served_by_kafka(log: Log, expected: Expected) -> None:
    peer = KafkaPeer(lanes=1)
    try:
        peer.start()
        with kafka.Cluster(peer.bootstrap) as cluster:
            for topic in sorted({topic for topic, _ in expected}):
                cluster.create_topic(topic, PARTITIONS)
        peer.stop()
        for topic, partition in expected:
            # The broker's own partition.metadata stays: its topic ids are its controller's.
            directory = peer.home / f"data/0/{topic}-{partition}"
            ours, theirs = [(place / "partition.metadata").read_text().split()
                            for place in (log.exported / directory.name, directory)]
            assert [*ours[:3], len(ours[3])] == [*theirs[:3], len(theirs[3])], f"{ours}, Kafka writes {theirs}"
            for path in directory.iterdir():
                if path.name != "partition.metadata":
                    path.unlink()
            for path in (log.exported / directory.name).glob("*.log"):
                shutil.copy(path, directory)
        peer.start()
        found = {}
        with kafka.Cluster(peer.bootstrap) as cluster:
            for topic, partition in expected:
                wait_for_end(cluster, topic, partition, len(expected[topic, partition]))
        for topic, partition in expected:
            read = subprocess.run(["kcat", "-C", "-b", "%s:%d" % peer.bootstrap, "-t", topic, "-p", str(partition),
                                   "-e", "-q", "-o", "beginning", "-X", "fetch.wait.max.ms=50"],
                                  capture_output=True, timeout=120)
            assert read.returncode == 0, read.stderr.decode()
            found[topic, partition] = read.stdout.splitlines()
        same_records(found, expected)
    finally:
        peer.remove()


# ---- damage ----

def damaged_lane(log: Log, batch: dict) -> dict:
    result = log.verify_json(DAMAGED)
    assert result["verdict"] == "damaged"
    return result["lanes"][batch["lane"]]


def payload(log: Log) -> None:
    batch = log.sealed_batches()[5]
    flip(log.file(batch), batch["at"] + batch["run"] + 300)
    (named,) = damaged_lane(log, batch)["damaged_batches"]
    assert (named["topic"], named["partition"], named["commit"]) == ("large", 0, batch["commit"]), named
    assert (named["first_offset"], named["last_offset"]) == (batch["first"], batch["last"]), named
    assert named["file"] == log.file(batch).name, named
    assert named["first_byte"] <= batch["at"] + batch["run"] + 300 <= named["last_byte"], named
    text = log.run("verify", log.data).stdout
    assert f"large-0 (partition {named['partition_number']}), offsets {batch['first']} to {batch['last']}" in text, text


def commit_header(log: Log) -> None:
    batch = log.sealed_batches()[5]
    flip(log.file(batch), batch["at"] + 40)
    lane = damaged_lane(log, batch)
    (hole,) = [each for each in lane["findings"] if each["damage"]]
    assert hole["file"] == log.file(batch).name and hole["first_byte"] == batch["at"], hole
    assert hole["first_commit"] == hole["last_commit"] == batch["commit"], hole
    assert any(lost["topic"] == "large" and lost["first_offset"] <= batch["first"] and
               lost["last_offset"] >= batch["last"] for lost in lane["lost"]), lane["lost"]


def cut(log: Log) -> None:
    batch = log.sealed_batches()[5]
    with open(log.file(batch), "r+b") as file:
        file.truncate(SEGMENT_BYTES // 2)
    lane = damaged_lane(log, batch)
    short = [each for each in lane["findings"] if each["damage"] and "shorter" in each["what"]]
    assert [(each["file"], each["first_byte"], each["last_byte"]) for each in short] == \
        [(log.file(batch).name, SEGMENT_BYTES // 2, SEGMENT_BYTES - 1)], lane["findings"]
    assert lane["lost"], "no offsets named"


def removed(log: Log) -> None:
    batches = log.sealed_batches()
    chain = re.findall(r"slot (\d+): segment (\d+) ", log.succeeds("dump", log.data, "--lane", batches[0]["lane"]))
    middle = sorted(chain, key=lambda each: int(each[1]))[1]
    log.file({"lane": batches[0]["lane"], "slot": int(middle[0])}).unlink()
    lane = damaged_lane(log, batches[0])
    (missing,) = [each for each in lane["findings"] if each["damage"]]
    assert missing["what"] == "segments before it are missing" and missing["first_commit"] > 0, missing


def segment_header(log: Log) -> None:
    batches = log.sealed_batches()
    flip(log.file(batches[0]), 50)
    lane = damaged_lane(log, batches[0])
    (lost,) = [each for each in lane["findings"] if each["damage"]]
    assert lost["file"] == log.file(batches[0]).name and "header" in lost["what"], lost


def unknown_version(log: Log) -> None:
    batch = log.sealed_batches()[0]
    flip(log.file(batch), 12)
    result = log.verify_json(UNREADABLE)
    assert result["verdict"] == "cannot be judged"


DAMAGES = {"a byte of a payload": payload, "a byte of a commit header": commit_header, "a file cut": cut,
           "a file removed": removed, "a segment header": segment_header, "a version to come": unknown_version}


def export_damaged(log: Log, expected: Expected) -> None:
    damaged = log.copy()
    batch = damaged.sealed_batches()[5]
    flip(damaged.file(batch), batch["at"] + batch["run"] + 300)
    target = log.home / "exported-damaged"
    done = damaged.run("export", damaged.data, target, "--topic", "large")
    assert done.returncode == DAMAGED, done
    assert f"large-0: offsets {batch['first']} to {batch['last']} are missing" in done.stderr, done.stderr
    found = KafkaDump(target).records(holes={("large", 0): range(batch["first"], batch["last"] + 1)})
    rest = [value for offset, value in enumerate(expected["large", 0]) if not batch["first"] <= offset <= batch["last"]]
    same_records(found, {("large", 0): rest, ("large", 1): expected["large", 1]})


if __name__ == "__main__":
    sys.exit(main())
