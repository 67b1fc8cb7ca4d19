"""Writes the records of a topic's partition 0 as lines, in order, with kafka-python. tools/run compares by this.

usage: read_lines.py BOOTSTRAP TOPIC FILE
"""

import sys
import time

from kafka import KafkaConsumer, TopicPartition

PATIENCE_S = 30
MIB = 1 << 20


def main() -> None:
    bootstrap, topic, path = sys.argv[1:]
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, check_crcs=True,
                             max_poll_records=50_000, max_partition_fetch_bytes=8 * MIB, fetch_max_bytes=32 * MIB)
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek(partition, 0)
    end = consumer.end_offsets([partition])[partition]

    shown = time.monotonic()
    with open(path, "wb") as file:
        while consumer.position(partition) < end:
            batches = consumer.poll(timeout_ms=PATIENCE_S * 1000)
            if not batches:
                sys.exit(f"read_lines: nothing came for {PATIENCE_S} s after offset {consumer.position(partition)} of {end}")
            for records in batches.values():
                file.write(b"".join([record.value + b"\n" for record in records]))
            if time.monotonic() - shown > 1:
                shown = time.monotonic()
                print(f"\r  {file.tell() / 1e6:.0f} MB", end="", file=sys.stderr, flush=True)
    consumer.close()
    print("\r", end="", file=sys.stderr)


main()
