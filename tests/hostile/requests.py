"""Requests that are not what the protocol says. What cannot be understood closes the connection, as in Kafka."""

from tests.hostile.site import Site
from tests.wire.cases import case
from tests.wire import batch, kafka
from tests.wire.kafka import array, blob, frame, i8, i16, i32, i64, text

INT_MAX, INT_MIN = (1 << 31) - 1, -(1 << 31)


def good_requests() -> dict[str, tuple[int, bytes]]:
    return {
        "Produce": (kafka.PRODUCE, kafka.produce_body("abused", 0, batch.batch([b"cut"]))),
        "Fetch": (kafka.FETCH, kafka.fetch_body("abused", 0, 0)),
        "ListOffsets": (kafka.LIST_OFFSETS, i32(-1) + array([text("abused") + array([i32(0) + i64(-1)])])),
        "Metadata": (kafka.METADATA, array([text("abused")]) + i8(0)),
        "CreateTopics": (kafka.CREATE_TOPICS,
                         array([text("never") + i32(1) + i16(1) + i32(0) + i32(0)]) + i32(1000) + i8(0)),
        "InitProducerId": (kafka.INIT_PRODUCER_ID, text(None) + i32(1000)),
    }


@case("length prefix 0, negative, shorter than a header")
def short_lengths(site: Site) -> None:
    for length in (0, -1, INT_MIN, 1, 7):
        site.closes(i32(length) + bytes(16), f"on length {length}")


@case("length prefix of 2 GiB, and just over the limit")
def long_lengths(site: Site) -> None:
    for length in (INT_MAX, (100 << 20) + 1):
        site.closes(i32(length) + bytes(16), f"on length {length}")


@case("large requests announced and never sent")
def announced_only(site: Site) -> None:
    for connection in [site.connect() for _ in range(50)]:
        connection.send_raw(i32(1 << 20) + i16(kafka.PRODUCE) + i16(7) + i32(1) + bytes(100))
        connection.close()


@case("requests cut off at every byte, then closed")
def cut_off(site: Site) -> None:
    for name, (api, body) in good_requests().items():
        whole = frame(api, kafka.VERSION[api], 1, body)
        for length in range(1, len(whole), 7):
            with site.connect() as connection:
                connection.send_raw(whole[:length])


@case("bodies cut short inside, with a length prefix that says so")
def cut_inside(site: Site) -> None:
    for name, (api, body) in good_requests().items():
        for length in range(0, len(body), 3):
            site.closes(frame(api, kafka.VERSION[api], 1, body[:length]), f"on {name} cut after {length} bytes")


@case("array counts that lie: huge, negative")
def array_counts(site: Site) -> None:
    topic = text("abused")
    for count in (-2, INT_MIN):  # Kafka takes any negative count for null
        site.closes_or_answers(frame(kafka.METADATA, 4, 1, i32(count) + i8(0)), f"on {count} topics in Metadata")
    for count in (INT_MAX, 1 << 24):
        site.closes(frame(kafka.METADATA, 4, 1, i32(count) + topic + i8(0)), f"on {count} topics in Metadata")
        site.closes(frame(kafka.PRODUCE, 7, 1, text(None) + i16(-1) + i32(1000) + i32(count) + topic),
                    f"on {count} topics in Produce")
        site.closes(frame(kafka.FETCH, 4, 1, i32(-1) + i32(0) + i32(1) + i32(1000) + i8(0) + array([topic + i32(count)])),
                    f"on {count} partitions in Fetch")
        site.closes(frame(kafka.CREATE_TOPICS, 2, 1, i32(count) + topic), f"on {count} topics in CreateTopics")


@case("strings and record bytes with lengths that lie")
def string_lengths(site: Site) -> None:
    for length in (32767, -2, -32768):
        site.closes(frame(kafka.METADATA, 4, 1, i32(1) + i16(length) + b"abused" + i8(0)), f"on string length {length}")
        site.closes(blob(i16(kafka.METADATA) + i16(4) + i32(1) + i16(length) + b"client"), f"on client id length {length}")
    for length in (INT_MAX, 1 << 20):
        body = text(None) + i16(-1) + i32(1000) + array([text("abused") + array([i32(0) + i32(length) + bytes(61)])])
        site.closes(frame(kafka.PRODUCE, 7, 1, body), f"on {length} record bytes")


@case("flexible versions: varints without an end, tags that lie")
def flexible(site: Site) -> None:
    def metadata_9(body: bytes) -> bytes:
        return blob(i16(kafka.METADATA) + i16(9) + i32(1) + text("wire") + b"\0" + body)

    endless, huge = b"\xff" * 12, b"\xff\xff\xff\xff\x0f"
    for what, body in {"endless array count": endless, "huge array count": huge, "endless name": b"\x02" + endless,
                       "huge name": b"\x02" + huge, "endless tag count": b"\x01\0\0\0" + endless,
                       "huge tag": b"\x01\0\0\0" + b"\x01\x05" + huge}.items():
        site.closes(metadata_9(body), f"on {what}")


@case("unknown API keys")
def unknown_keys(site: Site) -> None:
    for key in (-1, 999, 32767, -32768):
        site.closes(frame(key, 0, 1, b""), f"on API key {key}")


@case("versions that are not served")
def unknown_versions(site: Site) -> None:
    for api, version in ((kafka.PRODUCE, 2), (kafka.PRODUCE, 99), (kafka.FETCH, 3), (kafka.FETCH, -1),
                         (kafka.METADATA, 99), (kafka.CREATE_TOPICS, 32767), (kafka.LIST_OFFSETS, 0)):
        site.closes(frame(api, version, 1, good_requests()["Produce"][1]), f"on API {api} version {version}")


@case("ApiVersions of an unknown version: error 35 in version 0, connection kept")
def api_versions(site: Site) -> None:
    with site.connect() as connection:
        for version in (99, 32767, 5):
            answer = connection.call(kafka.API_VERSIONS, b"\0" + b"\x05name" + b"\x021" + b"\0", version)
            error, ranges = kafka.read_api_versions(answer)
            assert error == kafka.UNSUPPORTED_VERSION, f"version {version}: error {error}"
            assert kafka.API_VERSIONS in ranges, f"version {version}: the ranges served are not in the answer"
        assert kafka.api_versions(connection)[0] == kafka.NONE


@case("garbage")
def garbage(site: Site) -> None:
    for _ in range(200):
        with site.connect() as connection:
            try:
                connection.send_raw(site.random.randbytes(site.random.randrange(1, 3000)))
            except kafka.Closed:
                pass


@case("garbage behind a plausible header")
def garbage_behind_header(site: Site) -> None:
    with_header = list(good_requests().values())
    for _ in range(200):
        api, _ = site.random.choice(with_header)
        body = site.random.randbytes(site.random.randrange(0, 300))
        site.closes_or_answers(frame(api, site.random.randrange(0, 12), 1, body), f"on API {api} with {body.hex()}")


@case("one byte of good requests changed")
def flipped(site: Site) -> None:
    for name, (api, body) in good_requests().items():
        if name == "CreateTopics":
            continue  # would make topics with odd names
        for _ in range(60):
            request = bytearray(frame(api, kafka.VERSION[api], 1, body))
            request[site.random.randrange(4, len(request))] ^= 1 << site.random.randrange(8)
            with site.connect() as connection:
                connection.send_raw(bytes(request))


@case("other protocols: HTTP, TLS, SSH")
def other_protocols(site: Site) -> None:
    hello = bytes.fromhex("1603010200010001fc0303") + bytes(500)
    for greeting in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", hello, b"SSH-2.0-OpenSSH_9.2\r\n"):
        site.closes(greeting, f"on {greeting[:12]!r}")


@case("topics and partitions that do not exist")
def unknown_places(site: Site) -> None:
    records = batch.batch([b"lost"])
    with site.connect() as connection:
        for topic, partition in (("nowhere", 0), ("abused", 99), ("abused", -1), ("abused", INT_MAX), ("", 0)):
            produced = kafka.produce(connection, topic, partition, records)
            assert produced.error == kafka.UNKNOWN_TOPIC_OR_PARTITION, f"produce to {topic!r}/{partition}: {produced}"
            fetched = kafka.fetch(connection, topic, partition, 0)
            assert fetched.error == kafka.UNKNOWN_TOPIC_OR_PARTITION, f"fetch of {topic!r}/{partition}: {fetched}"


@case("the wrong lane: NOT_LEADER_OR_FOLLOWER")
def wrong_lane(site: Site) -> None:
    before = site.stored()
    with site.other_lane() as connection:
        assert kafka.produce(connection, "abused", 0, batch.batch([b"x"])).error == kafka.NOT_LEADER_OR_FOLLOWER
        assert kafka.fetch(connection, "abused", 0, 0).error == kafka.NOT_LEADER_OR_FOLLOWER
        assert kafka.end_offset(connection, "abused", 0)[0] == kafka.NOT_LEADER_OR_FOLLOWER
    assert site.stored() == before


@case("acks that do not exist: INVALID_REQUIRED_ACKS")
def odd_acks(site: Site) -> None:
    before = site.stored()
    with site.connect() as connection:
        for acks in (2, -2, 32767):
            answer = connection.call(kafka.PRODUCE, kafka.produce_body("abused", 0, batch.batch([b"x"]), acks))
            assert kafka.read_produced(answer).error == 21
    assert site.stored() == before


@case("acks=0 with a bad batch: the connection closes")
def bad_without_acks(site: Site) -> None:
    bad = bytearray(batch.batch([b"x"]))
    bad[-2] ^= 1
    site.closes(frame(kafka.PRODUCE, 7, 1, kafka.produce_body("abused", 0, bytes(bad), acks=0)))


@case("fetches with odd limits are answered")
def odd_fetches(site: Site) -> None:
    with site.connect() as connection:
        for wait_ms, bytes_min, bytes_max, partition_max in ((0, 1, 0, 0), (-5, 1, 1000, 1000), (10, INT_MAX, 1000, 1000),
                                                             (0, -1, -1, -1), (0, 0, INT_MAX, INT_MAX), (0, 1, 1, 1)):
            body = (i32(-1) + i32(wait_ms) + i32(bytes_min) + i32(bytes_max) + i8(0) +
                    array([text("abused") + array([i32(0) + i64(0) + i32(partition_max)])]))
            fetched = kafka.read_fetched(connection.call(kafka.FETCH, body))
            assert fetched.error == kafka.NONE, f"error {fetched.error}"
        for offset in (-1, 1 << 60, -(1 << 63), (1 << 63) - 1):
            assert kafka.fetch(connection, "abused", 0, offset).error == 1, f"offset {offset}"  # OFFSET_OUT_OF_RANGE


@case("topics that cannot be created")
def impossible_topics(site: Site) -> None:
    with site.connect() as connection:
        for name, partitions, errors in (("", 1, (17,)), ("..", 1, (17,)), ("a/b", 1, (17,)), ("x" * 250, 1, (17,)),
                                         ("zero", 0, (37,)), ("minus", -5, (37,)),
                                         ("huge", INT_MAX, (37, 44)), ("abused", 1, (36,))):
            error = kafka.create_topic(connection, name, partitions)
            assert error in errors, f"{name[:10]!r} with {partitions} partitions: error {error}, expected {errors}"


@case("metadata of 20,000 topics that do not exist")
def much_metadata(site: Site) -> None:
    with site.connect() as connection:
        connection.socket.settimeout(20)
        answer = kafka.metadata(connection, [f"absent-{i}" for i in range(20_000)])
        assert set(answer.errors.values()) == {kafka.UNKNOWN_TOPIC_OR_PARTITION}
        assert len(answer.errors) == 20_000
