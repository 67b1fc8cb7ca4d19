#!/usr/bin/env python3
"""Holds the include arrows of docs/ARCHITECTURE.md, and the few rules about which header may appear where.

A folder may include itself and what its row names. Run from anywhere; the argument is the top of the source tree.
"""
import pathlib
import re
import sys

ARROWS = {
    "dataplane/base": [],
    "storage": ["dataplane/base"],
    "dataplane/net": ["dataplane/base", "dataplane/frames.h"],
    "dataplane/tcp": ["dataplane/base", "dataplane/net", "dataplane/frames.h", "dataplane/streams.h"],
    "dataplane/kafka": ["dataplane/base"],
    "dataplane/control": ["dataplane/base", "dataplane/kafka", "storage"],
    "dataplane/session": ["dataplane/base", "dataplane/kafka", "dataplane/control", "dataplane/streams.h",
                          "dataplane/metrics.h", "storage"],
    "dataplane/streams.h": ["dataplane/base"],
    "dataplane/frames.h": ["dataplane/base"],
    "dataplane/metrics.h": ["dataplane/base"],
    "dataplane/lane.h": ["dataplane/base", "dataplane/session", "dataplane/streams.h", "dataplane/metrics.h", "storage"],
    "drivers/uring": ["dataplane/base", "storage"],
    "drivers/kernel": ["dataplane/base", "dataplane/streams.h", "drivers/uring"],
    "drivers/sqlite": ["dataplane/base", "dataplane/control", "dataplane/kafka"],
    "drivers/sim": ["dataplane/base", "dataplane/streams.h", "dataplane/frames.h", "storage"],
    "drivers/dpdk": ["dataplane/base", "dataplane/frames.h", "dataplane/net", "drivers/uring"],
    "drivers/tap": ["dataplane/base", "dataplane/frames.h", "drivers/uring"],
    "tools": ["dataplane", "storage", "drivers"],
}

# Header (by regular expression) -> folders that may include it.
ONLY_IN = {
    r"rte_.*\.h": ["drivers/dpdk"],
    r"liburing/io_uring_version\.h": ["tools/penstock/version.cc"],
    r"liburing(?!/io_uring_version).*": ["drivers/uring", "drivers/kernel"],
    r"(isa-l|crc).*\.h": ["storage/crc"],
    r"sqlite3\.h": ["drivers/sqlite", "tools/penstock/version.cc"],
    r"hwloc.*\.h": ["drivers/uring", "tools"],
}
NOT_IN_THE_CORE = re.compile(
    r"steady_clock|system_clock|clock_gettime|random_device|std::thread|pthread_|(?<!\w)::open\(|(?<!\w)::read\(|(?<!\w)::write\(|io_uring")
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')


def room_of(path):
    """The row of ARROWS that a file belongs to: itself or its nearest folder that has one."""
    for candidate in [path, *path.parents]:
        if str(candidate) in ARROWS:
            return str(candidate)
    return None


def within(path, folder):
    return path == folder or path.startswith(folder + "/")


def main():
    top = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    faults, arrows = [], 0
    for folder in ["dataplane", "storage", "drivers", "tools"]:
        for source in sorted((top / folder).rglob("*")):
            if source.suffix not in (".h", ".cc"):
                continue
            path = source.relative_to(top)
            room = room_of(path)
            if room is None:
                faults.append(f"{path}: this folder has no row in the table of arrows")
                continue
            for number, line in enumerate(source.read_text().splitlines(), 1):
                if folder in ("dataplane", "storage") and NOT_IN_THE_CORE.search(line.split("//")[0]):
                    faults.append(f"{path}:{number}: clock, randomness, thread or I/O in the core")
                include = INCLUDE.match(line)
                if not include:
                    continue
                kind, name = include.groups()
                if kind == '"':
                    arrows += 1
                    allowed = [room, *ARROWS[room]]
                    if not any(within(name, target) for target in allowed):
                        faults.append(f"{path}:{number}: {room} may not include {name}")
                else:
                    for pattern, rooms in ONLY_IN.items():
                        if re.fullmatch(pattern, name) and not any(within(str(path), r) for r in rooms):
                            faults.append(f"{path}:{number}: <{name}> belongs in {', '.join(rooms)}")
    print("\n".join(faults))
    print(f"{arrows} arrows held" if not faults else f"{len(faults)} faults")
    return 1 if faults or arrows == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
