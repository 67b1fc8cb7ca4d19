"""The node over DPDK's tap device: real clients write eight partitions at once and read them back, all the same.

For each number of lanes, with the port steering frames to their lane and with lanes handing them over:

  * what was written is read back, byte for byte, over IPv4 and over IPv6;
  * frames are handed over when they have to be, and when the port steers hardly any is;
  * echo is answered once, and only by the node's own addresses;
  * it stops in order and no buffer is missing.

And once: the same without receive interrupts, where lanes look again after a while; a stop while producers and consumers are
at work; and huge pages, where this machine has some free, which DPDK and the arenas must use.
"""
import argparse
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import tap_node as dpdk  # noqa: E402
from echo import answers_once  # noqa: E402

PARTITIONS = 8


class Count:
    def __init__(self):
        self.passed, self.failed = 0, 0

    def judge(self, right, what):
        self.passed += bool(right)
        self.failed += not right
        print(("ok    " if right else "FAILED ") + what, flush=True)


def make_text(path, megabytes, seed):
    """Lines that say where they belong, so that a difference can be read."""
    filler = hashlib.sha256(str(seed).encode()).hexdigest() * 3
    with open(path, "w") as file:
        for number in range(megabytes * 1_000_000 // (len(filler) + 16)):
            file.write(f"{seed:03} {number:09} {filler}\n")


def produce(bootstrap, topic, texts):
    started = time.monotonic()
    running = [subprocess.Popen(["kcat", "-P", "-b", bootstrap, "-t", topic, "-p", str(partition), "-X", "acks=all",
                                 "-l", str(text)], stderr=subprocess.DEVNULL)
               for partition, text in enumerate(texts)]
    deadline = time.monotonic() + 90
    codes = []
    for each in running:
        try:
            codes.append(each.wait(max(1, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            each.kill()
            codes.append("hangs")
    return codes == [0] * len(texts), time.monotonic() - started


def same(bootstrap, topic, texts, work):
    """Whether every partition holds its text."""
    running = []
    for partition in range(len(texts)):
        back = open(work / f"back{partition}", "wb")
        running.append(subprocess.Popen(["kcat", "-C", "-q", "-e", "-b", bootstrap, "-t", topic, "-p", str(partition),
                                         "-o", "beginning"], stdout=back, stderr=subprocess.DEVNULL))
    for each in running:
        try:
            each.wait(90)
        except subprocess.TimeoutExpired:
            each.kill()
    return all((work / f"back{partition}").read_bytes() == text.read_bytes() for partition, text in enumerate(texts))


def cell(lanes, mtu, steering, texts, megabytes, work, count):
    what = f"{lanes} lanes, MTU {mtu}, steering {steering}"
    with dpdk.Node(lanes, mtu, steering) as node:
        count.judge(answers_once(dpdk.NODE_V4) and answers_once(dpdk.NODE_V6), f"{what}: echo is answered once")
        count.judge(not answers_once(dpdk.NOBODY_V4, 1, 0.3), f"{what}: no echo for another address")
        written, seconds = produce(f"{dpdk.NODE_V4}:{dpdk.PORT}", "one", texts)
        count.judge(written, f"{what}: {PARTITIONS} producers, {PARTITIONS * megabytes / seconds:.0f} MB/s")
        count.judge(same(f"{dpdk.NODE_V4}:{dpdk.PORT}", "one", texts, work), f"{what}: read back")
        written, _ = produce(f"[{dpdk.NODE_V6}]:{dpdk.PORT + lanes - 1}", "two", texts[:2])
        count.judge(written and same(f"[{dpdk.NODE_V6}]:{dpdk.PORT}", "two", texts[:2], work), f"{what}: IPv6")
        numbers = node.metrics()
        frames, handed = numbers["penstock_frames_received_total"], numbers["penstock_frames_handed_out_total"]
        copied = numbers["penstock_payload_bytes_copied_total"] / max(1, numbers["penstock_payload_bytes_total"])
        aligned = numbers["penstock_payload_frames_aligned_total"] / max(1, numbers["penstock_payload_frames_total"])
        print(f"      {frames:.0f} frames, {handed:.0f} handed over, {numbers.get('penstock_frames_dropped_total', 0):.0f} "
              f"dropped, {100 * copied:.1f} % copied, {100 * aligned:.1f} % aligned, "
              f"{numbers['penstock_frame_cycles_total'] / frames:.0f} cycles a frame", flush=True)
        count.judge(numbers["penstock_address_conflicts_total"] == 0, f"{what}: no conflict")
        if lanes > 1 and steering == "hand_over":
            count.judge(handed > frames / 100, f"{what}: frames are handed over")
        elif node.said("steering") and not node.said("none: lanes hand frames over"):
            count.judge(handed < frames / 20, f"{what}: hardly any frame is handed over")
        count.judge((fault := node.stop()) is None, f"{what}: it ends in order" + (f": {fault}" if fault else ""))


def without_interrupts(texts, work, count):
    what = "no interrupts"
    with dpdk.Node(1, 9000, settings={"dpdk.interrupts": "off"}) as node:
        count.judge(node.said("none: lanes look again"), f"{what}: the port's table says so")
        written, _ = produce(f"{dpdk.NODE_V4}:{dpdk.PORT}", "one", texts)
        count.judge(written and same(f"{dpdk.NODE_V4}:{dpdk.PORT}", "one", texts, work), f"{what}: read back")
        before, cpu = node.metrics()["penstock_idle_waits_total"], node.cpu_s()
        time.sleep(2)
        looks, cpu = (node.metrics()["penstock_idle_waits_total"] - before) / 2, (node.cpu_s() - cpu) / 2
        count.judge(100 < looks < 1500, f"{what}: idle, it looks {looks:.0f} times a second")
        count.judge(cpu < 0.5, f"{what}: idle, it takes {100 * cpu:.0f} % of a core")
        count.judge((fault := node.stop()) is None, f"{what}: it ends in order" + (f": {fault}" if fault else ""))


def stop_under_load(steering, count):
    what = f"stop under load, steering {steering}"
    with dpdk.Node(2, 9000, steering) as node, open("/dev/null", "w") as nowhere:
        bootstrap = f"{dpdk.NODE_V4}:{dpdk.PORT}"
        running = []
        for partition in range(4):
            lines = subprocess.Popen(["yes", "a line that says nothing" * 8], stdout=subprocess.PIPE)
            running += [lines, subprocess.Popen(["kcat", "-P", "-b", bootstrap, "-t", "load", "-p", str(partition)],
                                                stdin=lines.stdout, stderr=nowhere)]
        time.sleep(1)
        running += [subprocess.Popen(["kcat", "-C", "-b", bootstrap, "-t", "load", "-p", str(partition)], stdout=nowhere,
                                     stderr=nowhere) for partition in range(4)]
        time.sleep(2)
        busy = node.metrics()
        count.judge(busy["penstock_payload_bytes_total"] > 1e6 and busy["penstock_fetch_bytes_total"] > 1e6,
                    f"{what}: {busy['penstock_payload_bytes_total'] / 1e6:.0f} MB written, "
                    f"{busy['penstock_fetch_bytes_total'] / 1e6:.0f} MB read meanwhile")
        # A leak is an error line that names the holder.
        count.judge((fault := node.stop()) is None, f"{what}: it ends in order" + (f": {fault}" if fault else ""))
        for each in running:
            each.kill()
            each.wait()


def huge_pages_free():
    return int(pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages").read_text())


def huge_pages(count):
    arena, of_dpdk = 128, 64
    if huge_pages_free() < arena + of_dpdk:
        return
    with dpdk.Node(1, 1500) as node:
        maps = pathlib.Path(f"/proc/{node.process.pid}/numa_maps").read_text().splitlines()
        huge = sum(int(re.search(r"dirty=(\d+)|anon=(\d+)", line)[0].split("=")[1]) for line in maps
                   if "kernelpagesize_kB=2048" in line and re.search(r"dirty=|anon=", line))
        count.judge(huge > arena, f"huge pages: {huge} in use, the arena has {arena}")
        count.judge(node.said(", huge pages"), "huge pages: DPDK has them too")
        count.judge((fault := node.stop()) is None, "huge pages: it ends in order" + (f": {fault}" if fault else ""))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lanes", default="1,2,4")
    parser.add_argument("--mtu", default="9000")
    parser.add_argument("--steering", default="auto,hand_over")
    parser.add_argument("--megabytes", type=int, default=4)
    options = parser.parse_args()
    count, start = Count(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="penstock-dpdk-text-", dir=os.environ.get("PENSTOCK_TEST_DIR")) as name:
        work = pathlib.Path(name)
        texts = [work / f"text{partition}" for partition in range(PARTITIONS)]
        for partition, text in enumerate(texts):
            make_text(text, options.megabytes, partition)
        for lanes in map(int, options.lanes.split(",")):
            for mtu in map(int, options.mtu.split(",")):
                for steering in options.steering.split(",") if lanes > 1 else ["auto"]:
                    cell(lanes, mtu, steering, texts, options.megabytes, work, count)
        without_interrupts(texts[:2], work, count)
    for steering in options.steering.split(","):
        stop_under_load(steering, count)
    huge_pages(count)
    print(f"{time.monotonic() - start:.0f} s")
    print(f"{count.passed} passed, {count.failed} failed")
    return 1 if count.failed else 0


if __name__ == "__main__":
    sys.exit(main())
