"""A million SYNs from addresses that never answer, while honest producers send at a fixed rate."""
import time

from tests.linux import network

# Every SYN costs the tap two system calls; a rate that leaves a core nothing else would measure only that.
SYNS, SYNS_PER_S = 1_000_000, 60_000
PRODUCERS, RATE = 4, 40_000_000  # bytes a second, of all producers together
QUIET_S = 2


def flood(programs, count):
    with network.Network(programs, [], ours=True, direct=True, sink_options=["--backlog", "1024"]) as link:
        before, fault_before = link.bulk("send", network.NODE_V4, QUIET_S, PRODUCERS, RATE).result()
        flooding = link.client("flood", link.tap, network.NODE_LINK, network.NODE_V4, network.PORT,
                               "--count", SYNS, "--rate", SYNS_PER_S)
        time.sleep(0.3)
        # As long as the flood lasts, in connections made while it does.
        seconds = SYNS / SYNS_PER_S - 2
        during, fault_during = link.bulk("send", network.NODE_V4, seconds, PRODUCERS, RATE).result()
        still = flooding.poll() is None
        said, _ = flooding.communicate(timeout=120)
        after, fault_after = link.bulk("send", network.NODE_V6, 1, PRODUCERS, RATE).result()
    ratio = during / before if before else 0
    line = (f"SYN flood: {said.strip()}; {PRODUCERS} honest producers: {before / 1e6:.1f} MB/s before, "
            f"{during / 1e6:.1f} during ({ratio:.2f}), {after / 1e6:.1f} after" + ("" if still else "; the flood ended early"))
    print(line, flush=True)
    for name, fault in [("before", fault_before), ("during", fault_during), ("after", fault_after)]:
        count.judge(fault is None, f"producers {name} the flood: {fault}")
    count.judge(ratio >= 0.8, f"honest producers keep {ratio:.2f} of their rate under a SYN flood")
    wanted = ["syn_received", "syn_cookies_sent", "syn_cookies_accepted", "connections_opened", "memory_bytes",
              "port_dropped_no_buffer"]
    told = [" ".join(words.split()) for words in link.output.splitlines() if words.split()[:1] and words.split()[0] in wanted]
    print("  " + ", ".join(told), flush=True)
    return [line]
