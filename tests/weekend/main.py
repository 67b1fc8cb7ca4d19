"""The weekend in an hour: a node at full speed on a small drive, retention turning the log over and over, clients that
reconnect, topics that come and go, and a SIGKILL every two minutes (every 40 s in runs of less than 10 minutes).

What must hold:
  nothing acknowledged is lost that retention was to keep; offsets are dense and never given out twice; readers see every
    byte as it was written, in order; log starts never go back (load/, which also reads everything after each crash)
  deleted topics are gone, and their successors begin at 0 with nothing of theirs (churn.py)
  client libraries see the same (libraries.py)
  retention turns the whole drive over at least 20 times in an hour, 3 times in three minutes
  the node's memory, open files and files on the drive stay level (flat.py); in runs from 20 minutes on, also latency
  a stop by SIGTERM in the end has status 0, and `penstock log verify` finds the log whole
"""

import argparse
import collections
import json
import os
import random
import re
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from tests.weekend import chart, flat
from tests.weekend.churn import Churner
from tests.weekend.libraries import PRODUCERS, READERS
from tests.weekend.small_drive import NoDrive, SmallDrive
from tests.wire import kafka
from tests.wire.node import BINARY, ROOT, Node
from tests.wire.tally import Skip, Tally

MIB = 1 << 20
LANES, SEGMENT_BYTES, ARENA_BYTES = 2, 16 * MIB, 128 * MIB
DRIVE_BYTES = 2048 * MIB
LOAD = ROOT / "build/tests/weekend/load"
OUT = ROOT / "build/weekend"
LONG_MINUTES, DRIFT_MINUTES = 10, 20
SETTLED_S = 8  # of a node's life: tables that grow with use have been used
MEMORY_GROWTH, MEMORY_LEAP = flat.Bound(0.02, 4 * MIB), flat.Bound(0.03, 8 * MIB)
OPEN_GROWTH, OPEN_LEAP = flat.Bound(0.03, 4), flat.Bound(0.10, 12)  # connections come and go
FILES_GROWTH, FILES_LEAP = flat.Bound(0.02, 1), flat.Bound(0.02, 2)
DRIFT_MAX = 3
AUDIT_PATIENCE_S = 180

# Bulk topics have one partition for each lane. Bytes to keep are about as many batches for each, since all share the log,
# and the slowest would hold the segments of all.
class Bulk(NamedTuple):
    kind: str
    records: int  # in a batch
    value_bytes: int
    retention_ms: int = -1
    retention_bytes: int = -1


BULK = {"size-64k-idempotent": Bulk("idempotent", 64, 1000, retention_bytes=24 * MIB),
        "size-64k-plain": Bulk("plain", 64, 1000, retention_bytes=24 * MIB),
        "size-4k": Bulk("plain", 8, 500, retention_bytes=1 * MIB),
        "age-850k": Bulk("idempotent", 850, 1000, retention_ms=2000),
        "age-64k": Bulk("plain", 64, 1000, retention_ms=2000)}
LIBRARY_CONFIG = {"retention.ms": "3000"}


def main() -> int:
    options = parse()
    OUT.mkdir(parents=True, exist_ok=True)
    print(f"seed {options.seed} (again with {options.minutes:g} --seed {options.seed})")
    tally = Tally()
    with tally.case("what judges levels can fail"):
        flat.test()
    drive = None
    with tally.case("a small drive"):
        try:
            drive = SmallDrive(DRIVE_BYTES)
        except NoDrive as why:
            raise Skip(str(why)) from why
    if drive is not None:
        weekend = Weekend(options, tally, drive)
        try:
            weekend.run()
        finally:
            weekend.end()
    return tally.close()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/weekend/run")
    parser.add_argument("minutes", type=float, nargs="?", default=3)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--binary", default=str(BINARY))
    parser.add_argument("--lose", action="store_true",
                        help="the control: with each crash the newest segment is lost, and the run must fail")
    return parser.parse_args()


class Weekend:
    def __init__(self, options: argparse.Namespace, tally: Tally, drive: SmallDrive):
        self.options, self.tally = options, tally
        self.chooser = random.Random(options.seed)
        self.seconds = options.minutes * 60
        self.crash_every_s = 120 if options.minutes >= LONG_MINUTES else 40
        self.drive = drive
        self.node = Node(lanes=LANES, binary=options.binary, settings={
            "data_directory": str(self.drive.path / "data"), "segment_bytes": SEGMENT_BYTES,
            "memory.arena_bytes": ARENA_BYTES})
        self.samples: list[dict] = []
        self.lives: list[dict[str, float]] = []  # the last metrics of each
        self.crashes: list[float] = []
        self.restarts: list[float] = []
        self.wrong: list[str] = []
        self.audits = 0
        self.life_began = 0.0
        self.latest: dict = {}                                  # what the load said last
        self.by_minute: dict[int, collections.Counter] = {}     # latencies: us -> requests
        self.up = False

    # ------------------------------------------------------------------------------------------------- the course of it

    def run(self) -> None:
        self.began = time.monotonic()
        self.node.start()
        self.up = True
        self.start_clients()
        sampler = threading.Thread(target=self.sample, daemon=True)
        sampler.start()
        next_crash = self.crash_every_s
        while self.now() < self.seconds:
            time.sleep(0.2)
            if self.now() >= next_crash and self.now() < self.seconds - self.crash_every_s / 4:
                self.crash()
                next_crash += self.crash_every_s + self.chooser.uniform(-0.1, 0.1) * self.crash_every_s
            if self.wrong or self.load.poll() is not None or not self.node.alive():
                break
        self.finish_clients()
        self.up = False
        sampler.join(10)
        self.judge()

    def now(self) -> float:
        return time.monotonic() - self.began

    def start_clients(self) -> None:
        places = []
        with kafka.Cluster(self.node.bootstrap) as cluster:
            for topic, bulk in BULK.items():
                cluster.create_topic(topic, LANES, {"retention.ms": str(bulk.retention_ms),
                                                    "retention.bytes": str(bulk.retention_bytes)})
                for partition in range(LANES):
                    port = cluster.address_of(topic, partition)[1]
                    places.append(f"{topic},{partition},{port},{bulk.kind},{bulk.records},{bulk.value_bytes},"
                                  f"{bulk.retention_ms},{bulk.retention_bytes}")
            for topic in PRODUCERS:
                cluster.create_topic(topic, 2, LIBRARY_CONFIG)
        self.load = subprocess.Popen([LOAD, "--seed", str(self.options.seed), *places], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, text=True)
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()
        self.producers = [make(name, self.node.bootstrap, 2, self.options.seed) for name, make in PRODUCERS.items()]
        self.readers = [make(name, producer, self.node.bootstrap)
                        for producer in self.producers for name, make in READERS.items()]
        self.churners = [Churner(f"churn-{i}", self.node.bootstrap, self.options.seed) for i in range(3)]
        for thread in self.producers + self.readers + self.churners:
            thread.start()

    def listen(self) -> None:
        for line in self.load.stdout:
            said = json.loads(line)
            if "wrong" in said and "second" not in said:
                self.wrong.append(said["wrong"])
            elif "audited" in said:
                self.audits += 1
            else:
                self.latest = said
                self.latencies_of(said["latency_us"])

    def latencies_of(self, counts: dict[str, int]) -> None:
        minute = int(self.now() // 60)
        self.by_minute.setdefault(minute, collections.Counter()).update({int(us): n for us, n in counts.items()})

    def say(self, word: str) -> None:
        try:
            self.load.stdin.write(word + "\n")
            self.load.stdin.flush()
        except OSError:
            pass  # it has ended, which is told elsewhere

    def crash(self) -> None:
        self.up = False
        time.sleep(self.chooser.uniform(0, 0.5))
        self.crashes.append(self.now())
        self.node.kill()
        line = self.line()
        self.lives.append(self.samples[-1].get("metrics", {}) if self.samples else {})
        if self.options.lose:
            lose_newest_segment(self.drive.path / "data")
        took = self.node.start()
        self.restarts.append(took)
        self.life_began = self.now()
        self.up = True
        self.say("audit")
        print(f"      {self.now():5.0f} s: killed, ready again after {took:.2f} s; {line}", flush=True)

    def finish_clients(self) -> None:
        for thread in self.producers:
            thread.finish()
        for thread in self.churners:
            thread.done.set()
        for thread in self.producers + self.churners:
            thread.join(150)
        self.say("finish")
        try:
            self.load.wait(AUDIT_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.load.kill()
            self.wrong.append("the load does not finish")
        self.listener.join(10)
        time.sleep(1)  # for the libraries' last reads
        for reader in self.readers:
            reader.done.set()
        for reader in self.readers:
            reader.join(30)
        self.lives.append(self.node.metrics())

    # ------------------------------------------------------------------------------------------------------- samples

    def sample(self) -> None:
        """Once a second."""
        next_at = time.monotonic()
        while self.now() < self.seconds + 1000 and not (self.now() > self.seconds and not self.up):
            next_at += 1
            time.sleep(max(0, next_at - time.monotonic()))
            if not self.up:
                continue
            try:
                pid = self.node.process.pid
                row = {"at": self.now(), "age": self.now() - self.life_began, "rss": self.node.rss_bytes(),
                       "open_files": len(os.listdir(f"/proc/{pid}/fd")),
                       "files": sum(len(names) for _, _, names in os.walk(self.drive.path / "data")),
                       "metrics": self.node.metrics(), "load": {k: v for k, v in self.latest.items() if k != "latency_us"}}
            except (OSError, TypeError):
                continue  # killed meanwhile
            if row["metrics"] and self.up:
                self.samples.append(row)

    def line(self) -> str:
        if not self.samples:
            return ""
        row = self.samples[-1]
        return (f"{row['load'].get('acknowledged_bytes', 0) / 1e9:.1f} GB acknowledged, "
                f"{self.turns():.1f} turns, rss {row['rss'] / MIB:.0f} MiB, {row['open_files']} open files, "
                f"{row['files']} files, {sum(churner.lives for churner in self.churners)} topics deleted")

    def total(self, name: str) -> float:
        """Over all lives; what the node did in its last second before a crash is not known."""
        lives = self.lives + [self.samples[-1]["metrics"]] if len(self.lives) <= len(self.crashes) else self.lives
        return sum(life.get(name, 0) for life in lives)

    def turns(self) -> float:
        """How many times the drive's whole capacity was released by retention."""
        return self.total("penstock_segments_released_total") * SEGMENT_BYTES / self.drive.capacity

    # --------------------------------------------------------------------------------------------------------- judging

    def judge(self) -> None:
        tally = self.tally
        self.write_down()
        acknowledged = self.latest.get("acknowledged_bytes", 0)
        with tally.case(f"{self.latest.get('acknowledged_batches', 0)} batches, {acknowledged / 1e9:.1f} GB acknowledged; "
                        f"{len(self.crashes)} crashes, {self.audits} audits: nothing lost, nothing out of place"):
            assert not self.wrong, "; ".join(self.wrong[:10])
            assert self.node.alive(), f"the node is gone:\n{self.node.last_words()}"
            assert self.load.returncode == 0, f"the load ended with status {self.load.returncode}"
            assert self.audits == len(self.crashes) + 1, f"{self.audits} audits"
            expected = int(self.seconds / self.crash_every_s) - 1
            assert len(self.crashes) >= max(expected, 1), f"{len(self.crashes)} crashes"
        with tally.case(f"clients reconnected {self.latest.get('reconnects', 0)} times of their own will"):
            assert self.latest.get("reconnects", 0) >= self.options.minutes, "too few to mean anything"
        for churner in self.churners:
            with tally.case(f"{churner.name}: created and deleted {churner.lives} times, "
                            f"{churner.acknowledged_records} records"):
                assert not churner.wrong, churner.wrong[0]
                assert not churner.is_alive(), f"does not come to an end in life {churner.generation}"
                assert churner.lives >= self.options.minutes, "too seldom to mean anything"
        for producer in self.producers:
            with tally.case(f"{producer.name}: {producer.acknowledged_count()} records acknowledged"):
                assert not producer.is_alive(), "does not come to an end"
                assert not producer.fatal, producer.fatal[0]
                if producer.keeps_all:
                    assert producer.acknowledged_count() == sum(producer.written), f"{sum(producer.written)} written"
        for reader in self.readers:
            found = reader.check_acknowledged()
            with tally.case(f"{reader.name} has read {found} of {reader.load.name}, retention overtook it {reader.jumps} times"):
                assert not reader.wrong, reader.wrong[0]
                assert found > reader.load.acknowledged_count() / 4, "too few to mean anything"
        turns, wanted = self.turns(), max(3.0, self.options.minutes / 3)
        with tally.case(f"retention has turned the drive over {turns:.1f} times, at least {wanted:g}"):
            assert turns >= wanted
        settled = self.settled_samples()
        for what, key, growth, leap in (("resident memory", "rss", MEMORY_GROWTH, MEMORY_LEAP),
                                        ("open files", "open_files", OPEN_GROWTH, OPEN_LEAP),
                                        ("files on the drive", "files", FILES_GROWTH, FILES_LEAP)):
            series = [(row["at"], float(row[key])) for row in settled]
            with tally.case(f"{what}: level, {describe([y for _, y in series], key)}"):
                complaint = flat.grows(series, growth, leap)
                assert not complaint, complaint
        self.judge_latency()
        with tally.case("stop by SIGTERM: status 0"):
            self.node.stop_well()
        with tally.case("the log verifies"):
            verified = subprocess.run([self.options.binary, "log", "verify", str(self.drive.path / "data")],
                                      capture_output=True, text=True, timeout=300)
            assert verified.returncode == 0, verified.stdout[-1000:] + verified.stderr[-1000:]
        self.show_lines()

    def settled_samples(self) -> list[dict]:
        """Without the time in which the drive fills up for the first time, and the first seconds of each life."""
        wanted, released, before = self.drive.capacity / SEGMENT_BYTES, 0.0, 0.0
        settled = []
        for row in self.samples:
            now = row["metrics"].get("penstock_segments_released_total", 0)
            released += now - before if now >= before else now
            before = now
            if released >= wanted and row["age"] > SETTLED_S:
                settled.append(row)
        return settled

    def judge_latency(self) -> None:
        minutes = sorted(minute for minute in self.by_minute if minute < self.seconds // 60)
        rows = [percentiles(self.by_minute[minute]) for minute in minutes]
        print("      minute  requests   p50 ms   p99 ms  p99.9 ms")
        for minute, row in zip(minutes, rows):
            print(f"      {minute:6} {row['count']:9} {row['p50']:8.1f} {row['p99']:8.1f} {row['p99.9']:9.1f}")
        third = len(rows) // 3
        if third == 0:
            return
        for name in ("p50", "p99"):
            # Of the quietest quarter of each: whoever else uses the machine adds to the others, and a drift to all.
            first, last = (sorted(row[name] for row in part)[len(part) // 4] for part in (rows[:third], rows[-third:]))
            line = f"{name} of the last third's quiet minutes {last:.1f} ms, of the first's {first:.1f}: {last / first:.2f} times"
            if self.options.minutes < DRIFT_MINUTES:
                print(f"      {line}")
                continue
            with self.tally.case(f"latency does not drift: {line}"):
                assert last <= DRIFT_MAX * first, f"more than {DRIFT_MAX}"

    def write_down(self) -> None:
        minutes = {str(minute): percentiles(counts) for minute, counts in sorted(self.by_minute.items())}
        written = {"minutes": self.options.minutes, "seed": self.options.seed, "capacity": self.drive.capacity,
                   "crashes": self.crashes, "restarts": self.restarts, "latency_ms": minutes, "samples": self.samples,
                   "totals": {name: self.total(name) for name in self.lives[-1]}}
        (OUT / "samples.json").write_text(json.dumps(written))
        chart.draw(written, OUT / "weekend.svg")
        written, payload, read = (self.total(f"penstock_{name}_bytes_total") for name in ("written", "payload", "fetch"))
        print(f"      {payload / 1e9:.1f} GB of payload, {written / max(payload, 1):.4f} times that written, "
              f"{read / 1e9:.1f} GB fetched; {self.total('penstock_slots_prepared_total'):.0f} slots prepared, "
              f"{self.total('penstock_slots_recycled_total'):.0f} recycled; "
              f"{self.latest.get('storage_errors', 0)} times the drive was full; {self.latest.get('jumps', 0)} readers overtaken")
        if self.restarts:
            print(f"      ready again after a crash: median {median(self.restarts):.2f} s, longest {max(self.restarts):.2f} s")
        print(f"      plotted in {OUT / 'weekend.svg'}")

    def show_lines(self) -> None:
        """What the node had to say beyond the usual, without its numbers."""
        kinds: collections.Counter = collections.Counter()
        for line in (self.node.home / "log").read_text().splitlines():
            if re.search(r"\b(warn|warning|error|critical)\b", line):
                kinds[re.sub(r"\d+", "N", line.partition("] ")[2] or line)[:150]] += 1
        for kind, count in kinds.most_common(12):
            print(f"      {count:6} times: {kind}")

    def end(self) -> None:
        if getattr(self, "load", None) is not None and self.load.poll() is None:
            self.load.kill()
        if self.tally.failed:
            target = OUT / f"failed-{self.options.seed}"
            target.mkdir(exist_ok=True)
            if self.node.alive():
                self.node.kill()
            subprocess.run(["cp", "-r", "--sparse=always", str(self.node.home / "log"), str(self.drive.path / "data"), target], check=False)
            print(f"      data directory and log kept in {target}")
        self.node.remove()
        self.drive.remove()


def lose_newest_segment(data: Path) -> None:
    """All its commits."""
    magic, number_at = b"PNSTKSEG", 32

    def number(path: Path) -> int:
        with open(path, "rb") as file:
            header = file.read(number_at + 8)
        return struct.unpack_from("<Q", header, number_at)[0] if header.startswith(magic) else 0

    newest = max(data.rglob("segment-*.log"), key=number)
    with open(newest, "r+b") as file:
        file.seek(4096)
        file.write(bytes(SEGMENT_BYTES - 4096))
        os.fsync(file.fileno())


def percentiles(counts: dict[int, int]) -> dict[str, float]:
    """In ms; of each bucket its upper end."""
    total, found, seen = sum(counts.values()), {"count": sum(counts.values())}, 0
    wanted = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)]
    for us, count in sorted(counts.items()):
        seen += count
        while wanted and seen >= wanted[0][1] * total:
            found[wanted.pop(0)[0]] = us / 1000
    return {"p50": 0, "p99": 0, "p99.9": 0} | found


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def describe(values: list[float], key: str) -> str:
    if not values:
        return "no samples"
    scale, unit = (MIB, " MiB") if key == "rss" else (1, "")
    return f"{min(values) / scale:.0f} to {max(values) / scale:.0f}{unit}"


if __name__ == "__main__":
    sys.exit(main())
