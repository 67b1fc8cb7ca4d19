#!/usr/bin/env python3
"""The objects on the per-frame path neither allocate, nor throw, nor call through a pointer.

Arguments: the archives. Objects that only run at start and end are named in AT_START.
"""
import re
import subprocess
import sys

AT_START = {"core.cc.o", "tcp_stack.cc.o", "counters.cc.o"}
FORBIDDEN = re.compile(r"^(malloc|calloc|realloc|free|aligned_alloc|_Zn[wa].*|_Zd[la].*|__cxa_throw|__cxa_allocate_exception"
                       r"|_ZSt\d+__throw_.*|__cxa_guard_acquire)$")


def objects(archive):
    return subprocess.run(["ar", "t", archive], capture_output=True, text=True, check=True).stdout.split()


def main():
    faults, seen = [], 0
    for archive in sys.argv[1:]:
        members = [name for name in objects(archive) if name.split("/")[-1] not in AT_START]
        symbols = subprocess.run(["nm", "-u", archive], capture_output=True, text=True, check=True).stdout
        current = None
        for line in symbols.splitlines():
            if line.endswith(":"):
                current = line[:-1].split("/")[-1]
                continue
            parts = line.split()
            if parts and current not in AT_START and FORBIDDEN.match(parts[-1].split("@")[0]):
                faults.append(f"{current}: uses {parts[-1]}")
        code = subprocess.run(["objdump", "-d", "--no-show-raw-insn", archive], capture_output=True, text=True,
                              check=True).stdout
        current = function = None
        for line in code.splitlines():
            if line.endswith("file format elf64-x86-64"):
                current = line.split(":")[0].split("/")[-1]
            elif line.endswith(">:"):
                function = line.split("<")[1][:-2]
            # A jump through a table of its own function (a switch) goes through a register with notrack or *%reg; only
            # calls leave the object.
            elif current not in AT_START and re.search(r"\bcallq?\s+\*", line):
                faults.append(f"{current}: {function} calls through a pointer:{line.split(':')[1]}")
        seen += len(members)
    print("\n".join(faults) if faults else f"{seen} objects are pure")
    return 1 if faults or seen == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
