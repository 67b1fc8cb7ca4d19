"""A node on a temporary data directory, for the length of a `with`."""

import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

START_PATIENCE_S = 60


class Node:
    def __init__(self, bootstrap: str | None, binary: str, lanes: int):
        """With a bootstrap address nothing is started: the broker there is used as it is."""
        self.bootstrap = bootstrap
        self.binary = binary
        self.lanes = lanes
        self.process = None
        self.directory = None

    def __enter__(self) -> str:
        if self.bootstrap:
            return self.bootstrap
        if not Path(self.binary).exists():
            sys.exit(f"interop: {self.binary} is not built (ninja -C build tools/penstock), and no --bootstrap given")
        self.directory = tempfile.TemporaryDirectory(prefix="penstock-interop-")
        port = free_ports(self.lanes + 1)
        metrics_port = port + self.lanes
        config = Path(self.directory.name) / "penstock.toml"
        config.write_text(f'''data_directory = "{self.directory.name}/data"
lanes = {self.lanes}
port = {port}
admin_port = {metrics_port}
segment_bytes = "64 MiB"
''')
        self.log = Path(self.directory.name) / "log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen([self.binary, "serve", "--config", str(config)], stdout=log, stderr=log)
        self.wait_for(port + self.lanes - 1)
        return f"127.0.0.1:{port}"

    def wait_for(self, port: int) -> None:
        end = time.monotonic() + START_PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    self.__exit__()
                    sys.exit("interop: the node did not start")
                time.sleep(0.1)

    def __exit__(self, *_) -> None:
        if not self.process:
            return
        self.process.terminate()
        try:
            status = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        if status != 0:
            print(f"interop: the node ended with status {status}; its last words:\n" +
                  "\n".join(self.log.read_text().splitlines()[-30:]))
        self.directory.cleanup()


def free_ports(count: int) -> int:
    """The first of so many neighbouring ports that nobody listens on."""
    for first in range(21000, 30000, 10):
        sockets = []
        try:
            for port in range(first, first + count):
                sockets.append(socket.socket())
                sockets[-1].bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for each in sockets:
                each.close()
    sys.exit("interop: no free ports")
