"""What a client is to the interop test.

A client works on jobs. A whole list of jobs is handed over at once, so that a client with a slow start (a JVM)
starts once for all topics.
"""

import json
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from records import PARTITION_COUNT, Record, read_records, write_records

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
# A read ends when nothing has come for this long. Every expected record is on the broker before reading begins.
PATIENCE_S = 8
PROGRAM_TIMEOUT_S = 180


@dataclass
class ProduceJob:
    topic: str
    records: list[Record]
    codec: str = "none"
    acks: str = "all"

    @property
    def idempotent(self) -> bool:
        return self.acks == "all"


@dataclass
class ConsumeJob:
    topic: str
    # How many records each partition must give. A client that can see the end of a partition reads to there instead,
    # so that a record too many is noticed.
    counts: list[int]
    first_offset: int = 0
    records: list[Record] = field(default_factory=list)
    error: str = ""

    def partitions(self) -> list[int]:
        return [partition for partition in range(PARTITION_COUNT) if self.counts[partition] > 0]


class Client:
    name = ""
    codecs = CODECS
    can_consume = True

    def __init__(self, bootstrap: str):
        self.bootstrap = bootstrap

    def can_write(self, record: Record) -> bool:
        """False for the few records that the client's interface has no way to express."""
        return True

    def as_shown(self, record: Record) -> Record:
        """The record as far as this client's consumer can tell."""
        return replace(record, timestamp=None)

    def produce(self, job: ProduceJob) -> None:
        raise NotImplementedError

    def consume(self, job: ConsumeJob) -> None:
        """Fills job.records, in order within each partition."""
        raise NotImplementedError

    def produce_all(self, jobs: list[ProduceJob]) -> dict[str, str]:
        """Returns the errors by topic."""
        errors = {}
        for job in jobs:
            try:
                self.produce(job)
            except Exception as error:  # whatever a client throws is that cell's failure, not the run's
                errors[job.topic] = f"{type(error).__name__}: {error}"
        return errors

    def consume_all(self, jobs: list[ConsumeJob]) -> None:
        for job in jobs:
            try:
                self.consume(job)
            except Exception as error:
                job.error = f"{type(error).__name__}: {error}"


class ProgramClient(Client):
    """A client in another language: a program called as `PROGRAM produce|consume BOOTSTRAP JOBS`.

    JOBS is a file of one JSON object a line, done in order. For produce: topic, codec, acks, idempotent, file (records
    to send). For consume: topic, counts, first_offset, patience_ms, file (records to write, as they come). A job that
    fails leaves one line {"topic": ..., "error": ...} on standard output and the next job goes on.
    """

    def command(self) -> list[str]:
        raise NotImplementedError

    def run(self, *arguments: str) -> str:
        done = subprocess.run([*self.command(), *arguments], capture_output=True, text=True, timeout=PROGRAM_TIMEOUT_S)
        if done.returncode != 0:
            raise RuntimeError(f"exit status {done.returncode}: {last_words(done.stderr)}")
        return done.stdout

    def run_jobs(self, verb: str, jobs: list[dict], directory: Path) -> dict[str, str]:
        path = directory / "jobs"
        path.write_text("".join(json.dumps(job) + "\n" for job in jobs))
        try:
            answers = [json.loads(line) for line in self.run(verb, self.bootstrap, str(path)).splitlines()]
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            return {job["topic"]: str(error) for job in jobs}
        return {answer["topic"]: answer["error"] for answer in answers}

    def produce_all(self, jobs: list[ProduceJob]) -> dict[str, str]:
        with tempfile.TemporaryDirectory(prefix="interop-") as directory:
            described = []
            for number, job in enumerate(jobs):
                file = Path(directory) / str(number)
                write_records(file, job.records)
                described.append({"topic": job.topic, "codec": job.codec, "acks": job.acks,
                                  "idempotent": job.idempotent, "file": str(file)})
            return self.run_jobs("produce", described, Path(directory))

    def consume_all(self, jobs: list[ConsumeJob]) -> None:
        with tempfile.TemporaryDirectory(prefix="interop-") as directory:
            files = [Path(directory) / str(number) for number in range(len(jobs))]
            described = [{"topic": job.topic, "counts": job.counts, "first_offset": job.first_offset,
                          "patience_ms": PATIENCE_S * 1000, "file": str(file)} for job, file in zip(jobs, files)]
            errors = self.run_jobs("consume", described, Path(directory))
            for job, file in zip(jobs, files):
                job.error = errors.get(job.topic, "")
                job.records = read_records(file) if file.exists() else []


def last_words(text: str) -> str:
    return " | ".join(text.strip().splitlines()[-3:])
