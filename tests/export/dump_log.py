"""Apache Kafka's DumpLogSegments over an exported directory."""

import os
import re
import subprocess
from collections import defaultdict
from pathlib import Path

BATCH = re.compile(r"baseOffset: (\d+) lastOffset: (\d+) count: (\d+) .* isvalid: (\w+)$")
RECORD = re.compile(r"\| offset: (\d+) .*? payload: (.*)$")


class KafkaDump:
    def __init__(self, directory: Path):
        self.directory = directory

    def records(self, holes: dict = {}) -> dict[tuple[str, int], list[bytes]]:
        """Values by topic and partition, in order. Every batch must be valid and begin where the one before ended,
        but for the offsets in `holes`."""
        files = sorted(self.directory.glob("*/*.log"))
        found, partition, next_offset = {}, None, defaultdict(int)
        for path in files:
            found[self.partition_of(path)] = []
        for line in self.output(files):
            if line.startswith("Dumping "):
                path = Path(line.split(" ", 1)[1])
                partition = self.partition_of(path)
                first = int(path.stem)
            elif batch := BATCH.match(line):
                base, last, count = map(int, batch.groups()[:3])
                assert batch[4] == "true", f"{partition}: {line}"
                assert count == last - base + 1, f"{partition}: {line}"
                assert first is None or base == first, f"{partition}: a file named {first} begins with {base}"
                first = None
                while next_offset[partition] in holes.get(partition, ()):
                    next_offset[partition] += 1
                assert base == next_offset[partition], f"{partition}: {base} follows {next_offset[partition] - 1}"
                next_offset[partition] = last + 1
            elif record := RECORD.match(line):
                found[partition].append(record[2].encode())
            else:
                assert line.startswith("Log starting offset: ") or not line, f"DumpLogSegments says: {line}"
        for each, values in found.items():
            assert len(values) == next_offset[each] - len(holes.get(each, ())), f"{each}: records and batches differ"
        return found

    @staticmethod
    def partition_of(path: Path) -> tuple[str, int]:
        topic, _, partition = path.parent.name.rpartition("-")
        return topic, int(partition)

    @staticmethod
    def output(files: list[Path]):
        done = subprocess.run(["java", "-Xmx512m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
                               "-cp", f"{os.environ['INTEROP_KAFKA']}/libs/*", "kafka.tools.DumpLogSegments",
                               "--deep-iteration", "--print-data-log", "--files", ",".join(map(str, files))],
                              capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        return done.stdout.decode().splitlines()
