"""A node over DPDK's tap device, in the network namespace of the caller, whose kernel is the client's side of it."""
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import time
import urllib.request

NODE_V4, CLIENT_V4, NOBODY_V4 = "10.9.0.1", "10.9.0.2", "10.9.0.3"
NODE_V6, CLIENT_V6 = "fd09::1", "fd09::2"
PORT, ADMIN_PORT = 9192, 9744
INTERFACE = "penstock0"
START_PATIENCE_S = 60


def shell(*words):
    subprocess.run(words, check=True, capture_output=True)


def join_interface():
    """The kernel's end, once the node has made it."""
    shell("ip", "link", "set", "lo", "up")
    shell("ip", "addr", "replace", f"{CLIENT_V4}/24", "dev", INTERFACE)
    shell("ip", "-6", "addr", "replace", f"{CLIENT_V6}/64", "dev", INTERFACE, "nodad")
    shell("ip", "link", "set", INTERFACE, "up")


class Node:
    def __init__(self, lanes, mtu, steering="auto", settings=()):
        self.lanes = lanes
        self.directory = tempfile.TemporaryDirectory(prefix="penstock-dpdk-", dir=os.environ.get("PENSTOCK_TEST_DIR"))
        self.log = pathlib.Path(self.directory.name) / "log"
        words = {"data_directory": f"{self.directory.name}/data", "lanes": lanes, "port": PORT, "admin_port": ADMIN_PORT,
                 "segment_bytes": "64 MiB", "network": "dpdk", "dpdk.device": f"net_tap0,iface={INTERFACE}",
                 "dpdk.addresses": f"{NODE_V4}/24,{NODE_V6}/64", "dpdk.mtu": mtu, "dpdk.steering": steering,
                 "num_partitions": 8, **dict(settings)}
        command = [os.environ["PENSTOCK_BINARY"], "serve"]
        for key, value in words.items():
            command += ["--set", f"{key}={value}"]
        self.file = open(self.log, "w")
        self.process = subprocess.Popen(command, stdout=self.file, stderr=self.file)
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise

    def wait(self):
        end = time.monotonic() + START_PATIENCE_S
        joined = False
        while True:
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the node did not start:\n" + self.log.read_text()[-3000:])
            try:
                if not joined:
                    join_interface()
                    joined = True
                for lane in range(self.lanes):
                    for address in (NODE_V4, NODE_V6):
                        socket.create_connection((address, PORT + lane), 2).close()
                return
            except (OSError, subprocess.CalledProcessError):
                time.sleep(0.1)

    def metrics(self):
        page = urllib.request.urlopen(f"http://127.0.0.1:{ADMIN_PORT}/metrics", timeout=10).read().decode()
        sums = {}
        for line in page.splitlines():
            if not line.startswith("#"):
                name, value = re.match(r"([a-z0-9_]+)(?:\{.*\})? (\S+)", line).groups()
                sums[name] = sums.get(name, 0) + float(value)
        return sums

    def cpu_s(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def said(self, text):
        return text in self.log.read_text()

    def stop(self):
        """What was wrong with its end; None if nothing."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            status = self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self.file.close()
        wrong = [line for line in self.log.read_text().splitlines() if " error" in line or "[error]" in line]
        if status != 0 or wrong:
            return f"status {status} {wrong[:3]}"
        return None

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.stop()
        if kind is not None:
            print(self.log.read_text()[-3000:])
        self.directory.cleanup()
