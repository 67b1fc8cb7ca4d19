"""In the guest: reads so many records, then sends more, all at once. Prints what became of them as JSON."""

import json
import sys

from tests.errors.site import TOPIC
from tests.wire import batch, kafka


def main(port: int, stored: int, count: int) -> None:
    with kafka.Cluster(("127.0.0.1", port)) as cluster:
        cluster.create_topic(TOPIC)
        found = [record.offset for record in cluster.records(TOPIC, 0)]
        assert found == list(range(stored)), f"{len(found)} records, {stored} were acknowledged"
        connection, answers = cluster.leader(TOPIC, 0), []
        for number in range(count):
            connection.send(kafka.PRODUCE, kafka.produce_body(TOPIC, 0, batch.batch([b"%d" % number * 100])))
        answers = [kafka.read_produced(connection.receive()[1]).error for _ in range(count)]
    print(json.dumps({"good": answers.count(kafka.NONE), "errors": [each for each in answers if each != kafka.NONE]}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
