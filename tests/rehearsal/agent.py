"""The first process of the guest. Runs what the host asks for over the second serial line: a line of JSON each way.

  {"run": "shell text", "patience_s": 60}   ->   {"status": 0, "output": "both streams"}
  {"start": "shell text"}                   ->   {"status": pid, "output": ""}
  {"wait": pid, "patience_s": 60}           ->   {"status": how it ended, "output": ""}
"""

import json
import os
import signal
import subprocess
import sys
import tty

LINE = "/dev/ttyS1"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


started: dict[int, subprocess.Popen] = {}


def answer(request: dict) -> dict:
    if "start" in request:
        process = subprocess.Popen(["/bin/bash", "-c", request["start"]], stdin=subprocess.DEVNULL,
                                   start_new_session=True)
        started[process.pid] = process
        return {"status": process.pid, "output": ""}
    try:
        if "wait" in request:
            return {"status": started[request["wait"]].wait(request["patience_s"]), "output": ""}
        done = subprocess.run(["/bin/bash", "-c", request["run"]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=request["patience_s"])
        return {"status": done.returncode, "output": done.stdout.decode(errors="replace")}
    except subprocess.TimeoutExpired as late:
        return {"status": -1, "output": f"not done after {request['patience_s']} s: {(late.stdout or b'').decode(errors='replace')}"}


def main() -> None:
    os.environ.update(PATH=PATH, HOME="/root", PYTHONDONTWRITEBYTECODE="1")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    line = os.open(LINE, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(line)
    os.write(line, b'{"status": 0, "output": "booted"}\n')
    with os.fdopen(line, "r+b", buffering=0) as host:
        pending = b""
        while True:
            pending += host.read(4096) or b""
            while b"\n" in pending:
                text, _, pending = pending.partition(b"\n")
                try:
                    reply = answer(json.loads(text))
                except Exception as error:  # the first process must not end
                    reply = {"status": -2, "output": repr(error)}
                host.write(json.dumps(reply).encode() + b"\n")


if __name__ == "__main__":
    main()
    sys.exit(1)
