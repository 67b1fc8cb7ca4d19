"""kcat, of Debian: the oldest librdkafka in the test, and the one client that is only a command line.

kcat takes headers, and whether an empty field means null, per invocation: neighbours that agree on these go together.
"""

import itertools
import subprocess
from dataclasses import replace

from clients.base import PATIENCE_S, Client, ConsumeJob, ProduceJob, last_words
from records import Record

KEY_END = b"\x1e<key ends>\x1e"
RECORD_END = b"\x1e<record ends>\x1e"


def escaped(delimiter: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in delimiter)


def field(output: bytes, position: int, length: int) -> tuple[bytes | None, int]:
    """One field and the position after it."""
    return (None, position) if length < 0 else (output[position:position + length], position + length)


def plain_text(value: bytes | None) -> bool:
    return value is None or value.isascii() and b"," not in value and b"\x00" not in value


class Kcat(Client):
    name = "kcat"

    def can_write(self, record: Record) -> bool:
        # kcat skips a record that is empty altogether, and -Z makes key and value null together.
        return ((record.key, record.value) not in ((None, b""), (b"", None))
                and all(plain_text(value) for _, value in record.headers))

    def produce(self, job: ProduceJob) -> None:
        def invocation(record: Record):
            return record.partition, record.headers, record.value is None

        for (partition, headers, nulls), group in itertools.groupby(job.records, invocation):
            options = ["-t", job.topic, "-p", str(partition), "-z", job.codec, "-X", f"acks={job.acks}",
                       "-X", f"enable.idempotence={str(job.idempotent).lower()}", "-X", "linger.ms=20"]
            if nulls:
                options.append("-Z")
            for name, value in headers:
                options += ["-H", name if value is None else f"{name}={value.decode()}"]
            self.run(["-P", "-K", escaped(KEY_END), "-D", escaped(RECORD_END), *options],
                     RECORD_END.join(self.input_of(record) for record in group))

    @staticmethod
    def input_of(record: Record) -> bytes:
        if record.key is None and record.value is not None:
            return record.value
        return (record.key or b"") + KEY_END + (record.value or b"")

    def consume(self, job: ConsumeJob) -> None:
        # Lengths come first, so that any byte may follow; only the headers, which are text here, end with a mark.
        output = self.run(["-C", "-t", job.topic, "-o", str(job.first_offset), "-e", "-q",
                           "-f", "%p %K %S\\n%k%s%h" + escaped(RECORD_END),
                           "-X", "fetch.wait.max.ms=50", "-X", "check.crcs=true"])
        position = 0
        while position < len(output):
            lengths, _, _ = output[position:position + 40].partition(b"\n")
            partition, key_length, value_length = map(int, lengths.split())
            key, position = field(output, position + len(lengths) + 1, key_length)
            value, position = field(output, position, value_length)
            end = output.index(RECORD_END, position)
            job.records.append(Record(partition, key, value, (("", output[position:end]),)))
            position = end + len(RECORD_END)

    def offset_at(self, topic: str, partition: int, timestamp: int) -> int | None:
        answer = self.run(["-Q", "-t", f"{topic}:{partition}:{timestamp}"]).decode()
        offset = int(answer.split("offset ")[1])
        return offset if offset >= 0 else None

    def as_shown(self, record: Record) -> Record:
        """kcat prints headers as text, up to a zero byte, so they are compared as it prints them."""
        printed = b",".join(name.encode() + b"=" + (b"NULL" if value is None else value.partition(b"\x00")[0])
                            for name, value in record.headers)
        return replace(record, headers=(("", printed),), timestamp=None)

    def run(self, arguments: list[str], data: bytes = b"") -> bytes:
        done = subprocess.run(["kcat", "-b", self.bootstrap, *arguments], input=data, capture_output=True,
                              timeout=4 * PATIENCE_S)
        if done.returncode != 0:
            raise RuntimeError(last_words(done.stderr.decode(errors="replace")))
        return done.stdout
