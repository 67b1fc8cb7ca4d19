"""Writes, flushes and reads that fail, by a ring that fails them."""

from tests.errors.faults import ALWAYS
from tests.errors.site import KAFKA_STORAGE_ERROR, TOPIC, SmallNode
from tests.wire.cases import case
from tests.wire import kafka


@case("a write fails once: written again, clients see a delay")
def write_error():
    with SmallNode() as node:
        node.topic()
        values = node.put(5)
        node.faults.set(fail_writes=1)
        values += node.put(5)
        assert node.faults.get("failed_writes") == 1
        assert node.metric("penstock_drive_write_errors_total") == 1
        assert node.metric("penstock_log_state") == 1
        node.says(r"warning lane 0: 1 writes or flushes failed \(Input/output error\); nothing acknowledged is lost")
        assert node.ready()
        node.holds(values)
        node.again()
        node.holds(values)


@case("a flush fails once: the same")
def flush_error():
    with SmallNode() as node:
        node.topic()
        values = node.put(5)
        node.faults.set(fail_flushes=1)
        for _ in range(50):  # several commits in flight share a flush
            good, errors = node.put_together(100, 2000)
            assert not errors, f"errors {errors}"
            values += good
            if node.faults.get("failed_flushes") == 1:
                break
        assert node.faults.get("failed_flushes") == 1, "no flush was sent"
        assert node.metric("penstock_drive_write_errors_total") == 1
        node.says(r"1 writes or flushes failed \(Input/output error\)")
        assert node.ready()
        node.holds(values)
        node.again()
        node.holds(values)


@case("writes fail again: read-only, reads go on, a restart mends it")
def write_errors():
    with SmallNode() as node:
        node.topic()
        values = node.put(5)
        node.faults.set(fail_writes=ALWAYS)
        good, errors = node.put_together(10, 1000)
        assert not good and set(errors) == {KAFKA_STORAGE_ERROR}, f"{len(good)} acknowledged, errors {errors}"
        assert node.produce(b"later").error == KAFKA_STORAGE_ERROR
        node.not_ready(r"lane 0 is read-only: the drive failed twice to write \(Input/output error\); what was "
                       "acknowledged is there and can be read; look at the drive, then restart the node")
        node.says("error lane 0: read-only: the drive failed twice to write")
        assert node.metric("penstock_log_state") == 3 and node.metric("penstock_log_trouble") == 3
        assert node.metric("penstock_errors_total:KAFKA_STORAGE_ERROR") == 11
        node.holds(values)
        assert kafka.end_offset(node.client().leader(TOPIC, 0), TOPIC, 0) == (kafka.NONE, len(values))
        node.faults.none()
        assert node.produce(b"later").error == KAFKA_STORAGE_ERROR, "writable without being asked"
        node.again(crash=False)
        node.holds(values)
        values += node.put(3)
        node.holds(values)


@case("what was found at start cannot be flushed: read-only, reads go on")
def flush_at_start():
    with SmallNode() as node:
        node.topic()
        values = node.put(5)
        node.end()
        node.faults.set(fail_flushes=ALWAYS)
        node.launch()
        node.not_ready(r"lane 0 is read-only: what it found at start could not be flushed \(Input/output error\)")
        assert node.produce(b"x").error == KAFKA_STORAGE_ERROR
        node.holds(values)
        node.faults.none()
        node.again(crash=False)
        node.holds(values + node.put(1))


@case("writes come up short: the rest is written, nothing is told")
def short_writes():
    with SmallNode() as node:
        node.topic()
        node.faults.set(shorten_writes=10)
        values = []
        for _ in range(20):
            values += node.put_together(4, 300_000)[0]
            if node.faults.get("shorten_writes") == 0:
                break
        assert node.faults.get("shortened_writes") == 10, "few writes were long enough to be cut"
        assert node.metric("penstock_drive_write_errors_total") == 0
        node.holds(values)
        node.again()
        node.holds(values)


@case("a read fails: not served, said, and served when the drive can")
def read_error():
    with SmallNode() as node:
        node.topic()
        values = node.put(5, 50_000)
        node.again()  # nothing is in memory now
        node.faults.set(fail_reads=1)
        try:
            node.read()
            raise AssertionError("served although the drive could not read it")
        except kafka.Closed:
            node.forget()
        assert node.faults.get("failed_reads") == 1
        node.says(r"partition number \d+, offset 0: the batch cannot be read from the drive; not served, "
                  "connection closed")
        node.says(r"1 reads failed \(Input/output error\)")
        assert node.metric("penstock_drive_read_errors_total") == 1
        assert node.metric("penstock_errors_total:KAFKA_STORAGE_ERROR") == 1
        assert node.ready(), "one unreadable batch does not stop the others"
        node.holds(values)
        node.put(1)


@case("a read of a footer fails: refused, said, and served when the drive can")
def footer_read_error():
    with SmallNode() as node:
        node.topic()
        assert node.put_large(40) == 40  # two sealed segments
        node.again()
        node.faults.set(fail_reads=1)
        assert kafka.fetch(node.client().leader(TOPIC, 0), TOPIC, 0, 0).error == KAFKA_STORAGE_ERROR
        assert node.faults.get("failed_reads") == 1
        node.says(r"1 reads failed \(Input/output error\)")
        assert node.metric("penstock_drive_read_errors_total") == 1
        assert node.offsets() == list(range(40))
