"""Record batches that lie. None may be stored; which error each gets is Kafka's choice where Kafka has one.

Against Apache Kafka some of these fail, as it overlooks bytes behind a batch, answers a negative length with
UNKNOWN_SERVER_ERROR, and asks whether the transaction's producer is authorized first.
"""

import struct

from tests.hostile.site import Site
from tests.wire.cases import case
from tests.wire import batch, kafka
from tests.wire.batch import COUNT_AT, CRC_AT, MAGIC_AT, with_crc

LENGTH_AT, LAST_DELTA_AT = 8, 23
BAD_FORM = kafka.CORRUPT_MESSAGE, kafka.INVALID_RECORD


def changed(made: bytes, at: int, new: bytes) -> bytes:
    return made[:at] + new + made[at + len(new):]


@case("corrupt CRC: CORRUPT_MESSAGE")
def crc(site: Site) -> None:
    for made in (batch.batch([b"a", b"b"]), batch.batch_of_size(300_000)):
        for at in (CRC_AT, len(made) // 2, len(made) - 1):
            site.refuses_batch(changed(made, at, bytes([made[at] ^ 0x40])), kafka.CORRUPT_MESSAGE)


@case("magic 0, 1 and 3")
def magic(site: Site) -> None:
    for number in (0, 1, 3, 0x7F):
        site.refuses_batch(changed(batch.batch([b"a"]), MAGIC_AT, bytes([number])), *BAD_FORM)


@case("a record count that lies: INVALID_RECORD")
def count(site: Site) -> None:
    values = [b"a", b"b", b"c"]
    for number in (2, 4, 0, -1, (1 << 31) - 1):
        made = with_crc(changed(batch.batch(values), COUNT_AT, struct.pack(">i", number)))
        site.refuses_batch(made, kafka.INVALID_RECORD)


@case("count and last offset delta that lie together: INVALID_RECORD")
def count_and_delta(site: Site) -> None:
    for number in (2, 4, 1 << 30):
        made = changed(batch.batch([b"a", b"b", b"c"]), COUNT_AT, struct.pack(">i", number))
        made = with_crc(changed(made, LAST_DELTA_AT, struct.pack(">i", number - 1)))
        site.refuses_batch(made, kafka.INVALID_RECORD)


@case("a batch length that lies")
def length(site: Site) -> None:
    made = batch.batch([b"a", b"b", b"c"])
    true = len(made) - 12
    for number in (true + 1, true - 1, true + (1 << 20), 0, -1, 48, 49, (1 << 31) - 1, -(1 << 31)):
        site.refuses_batch(changed(made, LENGTH_AT, struct.pack(">i", number)), *BAD_FORM)


@case("record lengths inside that lie, with a good CRC")
def inner_lengths(site: Site) -> None:
    made = batch.batch([b"abc", b"def"])
    first_record = COUNT_AT + 4
    for at, byte in ((first_record, 0xFE), (first_record, 0x00), (first_record, 0x01), (first_record + 5, 0x7E),
                     (first_record + 4, 0x7E), (first_record + 9, 0x7E), (first_record + 9, 0x01)):
        site.refuses_batch(with_crc(changed(made, at, bytes([byte]))), *BAD_FORM)


@case("no batch, half a header, two batches in one")
def wrong_number(site: Site) -> None:
    made = batch.batch([b"a"])
    for records in (b"", made[:16], made[:30], made[:60], made[:-1], made + b"\0", made + made):
        site.refuses_batch(records, *BAD_FORM)


@case("larger than max.message.bytes: MESSAGE_TOO_LARGE")
def too_large(site: Site) -> None:
    site.refuses_batch(batch.batch_of_size((1 << 20) + 4096), kafka.MESSAGE_TOO_LARGE)
    site.cluster.create_topic("narrow", 1, {"max.message.bytes": "1000"})
    connection = site.cluster.leader("narrow", 0)
    for size, error in ((1001, kafka.MESSAGE_TOO_LARGE), (1000, kafka.NONE), (50_000, kafka.MESSAGE_TOO_LARGE)):
        produced = kafka.produce(connection, "narrow", 0, batch.batch_of_size(size))
        assert produced.error == error, f"{size} bytes: error {produced.error}"
    assert site.stored("narrow") == 1


@case("control and transactional batches, unknown codecs")
def attributes(site: Site) -> None:
    for bits, errors in ((0x20, BAD_FORM), (0x10, (kafka.INVALID_RECORD, 48, 49)), (5, (76, *BAD_FORM)), (7, (76, *BAD_FORM))):
        site.refuses_batch(batch.batch([b"a"], attributes=bits), *errors)


@case("sequences: a duplicate is answered as the first was, a gap is OUT_OF_ORDER")
def sequences(site: Site) -> None:
    before = site.stored()
    with site.connect() as connection:
        producer_id, epoch = kafka.new_producer_id(connection)

        def send(sequence: int, count: int = 2) -> tuple[int, int]:
            made = batch.batch([b"s"] * count, producer_id, epoch, sequence)
            return kafka.produce(connection, "abused", 0, made)

        for sequence in (0, 2, 4):
            assert send(sequence) == (kafka.NONE, before + sequence), f"sequence {sequence}"
        for sequence in (0, 2, 4):
            produced = send(sequence)
            assert produced == (kafka.NONE, before + sequence), f"duplicate of {sequence}: {produced}"
        for sequence in (8, 7, 5, 3, 1):
            assert send(sequence).error == kafka.OUT_OF_ORDER_SEQUENCE_NUMBER, f"sequence {sequence} after 6"
        assert send(4, 1).error == kafka.OUT_OF_ORDER_SEQUENCE_NUMBER, "half of a duplicate"
        assert site.stored() == before + 6, "duplicates were stored"
        assert send(6) == (kafka.NONE, before + 6), "the right sequence after all that"


@case("sequences: twenty duplicates under way at once are stored once")
def duplicates_at_once(site: Site) -> None:
    before = site.stored()
    with site.connect() as connection, site.connect() as second:
        producer_id, epoch = kafka.new_producer_id(connection)
        body = kafka.produce_body("abused", 0, batch.batch([b"once"], producer_id, epoch, 0))
        for _ in range(10):
            connection.send(kafka.PRODUCE, body)
            second.send(kafka.PRODUCE, body)
        for _ in range(10):
            for each in connection, second:
                produced = kafka.read_produced(each.receive()[1])
                assert produced == (kafka.NONE, before), f"{produced}"
    assert site.stored() == before + 1
