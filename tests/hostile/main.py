"""Bad input against a running node. After every case an honest client, on connections it has had from the beginning,
writes and reads back; in the end the node is alive and ready, holds nothing for anybody, and stops with status 0.
"""

import argparse
import random
import sys

from tests.hostile import batches, clients, refusals, requests  # noqa: F401  importing them registers their cases
from tests.hostile.site import Site
from tests.wire.cases import cases
from tests.wire.node import BINARY, KafkaPeer, Node
from tests.wire.tally import Tally

# Nothing may be left of these once all clients are gone.
HELD = ["penstock_connections", "penstock_reserved_bytes", "penstock_reservations_waiting", "penstock_inflight_bytes"]


def main() -> int:
    options = parse()
    print(f"seed {options.seed} (again with --seed {options.seed})")
    node = (KafkaPeer if options.against == "kafka" else Node)(lanes=2, binary=options.binary)
    node.start()
    site = Site(node, options.seed)
    tally = Tally()
    for name, run in cases:
        if options.only not in name:
            continue
        failed_before = tally.failed
        with tally.case(name):
            run(site)
            site.honest.check()
        if node.alive() and tally.failed > failed_before:
            try:
                site.honest.begin_again()
            except OSError as error:
                print(f"after that nobody is served: {error!r}; the node's log:\n{node.last_words()}")
                tally.record(False, "the node serves")
                return tally.close()
        if not node.alive():
            print(f"the node ended with status {node.process.returncode}; last words:\n{node.last_words()}")
            tally.record(False, "the node is alive")
            return tally.close()
    if site.is_node and options.only in "start refused":
        refusals.check_refusals(tally, node)
        with tally.case("the running node did not notice"):
            site.honest.check()

    site.cluster.__exit__()
    site.honest.close()
    if site.is_node:
        with tally.case("alive, ready, nothing held"):
            assert node.ready(), "not ready: " + node.get("/v1/status/ready")[1]
            for name in HELD:
                left = node.wait_metric(name, lambda value: value == 0)
                assert left == 0, f"{name} is {left:.0f}"
    with tally.case("SIGTERM: exit status 0"):
        node.stop_well()
    return tally.close()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/hostile/run")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--binary", default=str(BINARY))
    parser.add_argument("--against", choices=["node", "kafka"], default="node",
                        help="kafka: Apache Kafka in the node's place, to try the test itself")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
