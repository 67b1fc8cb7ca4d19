"""Network namespaces with tap devices in them, and the programs at their ends. Everything made here goes away again."""
import os
import subprocess
import time

NODE_V4, NODE_V6 = "10.9.0.1", "fd09::1"
CLIENT_V4, CLIENT_V6 = "10.9.0.2", "fd09::2"
NODE_LINK = "02:09:00:00:00:01"
PORT = 7000


def why_not():
    """Why there can be no test here; None if there can."""
    if os.geteuid() != 0:
        return "not root: network namespaces and tap devices cannot be made"
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        return f"/dev/net/tun: {error.strerror}"
    name = f"penstock-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode != 0:
        return f"ip netns add: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=False)
    return None


class Network:
    """One client namespace, and at the other end of its link our TCP or a second namespace with Linux's."""
    made = 0

    def __init__(self, programs, faults, ours, direct=False, sink_options=()):
        Network.made += 1
        self.programs, self.ours = programs, ours
        self.a = f"penstock-{os.getpid()}-{Network.made}a"
        self.b = f"penstock-{os.getpid()}-{Network.made}b"
        self.tap = "tap0"
        self.processes = []
        self.output = ""
        try:
            self.namespace(self.a)
            self.start(faults, direct, list(sink_options))
        except BaseException:
            self.close()
            raise

    def start(self, faults, direct, sink_options):
        sink = [f"{self.programs}/tcp_sink", "--address", f"{NODE_V4}/24", "--address", f"{NODE_V6}/64",
                "--port", str(PORT), *sink_options]
        port = [f"{self.programs}/fault_port", "--a", f"{self.a}:{self.tap}", *faults]
        if self.ours and direct:
            self.spawn(["ip", "netns", "exec", self.a, *sink, "--tap", self.tap], "ready")
        elif self.ours:
            self.spawn([*port, "--", *sink, "--file", "3"], "ready")
        else:
            self.namespace(self.b)
            self.spawn([*port, "--b", f"{self.b}:{self.tap}"], "carrying")
            self.interface(self.b, NODE_V4, NODE_V6)
            self.spawn(["ip", "netns", "exec", self.b, f"{self.programs}/kernel_peer", "serve", str(PORT)], "ready")
        self.interface(self.a, CLIENT_V4, CLIENT_V6)

    def namespace(self, name):
        subprocess.run(["ip", "netns", "add", name], check=True)
        # What one transfer learned about the path is not for the next.
        subprocess.run(["ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv4.tcp_no_metrics_save=1"], check=True)

    def interface(self, name, v4, v6):
        for command in [["addr", "add", f"{v4}/24", "dev", self.tap],
                        ["-6", "addr", "add", f"{v6}/64", "dev", self.tap, "nodad"],
                        ["link", "set", self.tap, "txqueuelen", "4096", "up"]]:
            subprocess.run(["ip", "-n", name, *command], check=True)

    def spawn(self, command, until):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        while True:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{command[0]} ended before it was {until}")
            if line.strip() == until:
                return

    def client(self, *arguments):
        """A program of kernel_peer's in the client's namespace."""
        return subprocess.Popen(["ip", "netns", "exec", self.a, f"{self.programs}/kernel_peer", *map(str, arguments)],
                                stdout=subprocess.PIPE, text=True)

    def bulk(self, what, address, seconds, connections=1, rate=0):
        return Bulk(self.client(what, address, PORT, "--seconds", seconds, "--connections", connections,
                                "--rate", rate), seconds)

    def close(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                rest, _ = process.communicate(timeout=10)
                self.output += rest or ""
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        for name in (self.a, self.b):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Bulk:
    """A transfer under way."""

    def __init__(self, process, seconds):
        self.process, self.deadline = process, time.monotonic() + seconds + 60

    def result(self):
        """(bytes per second, fault or None)"""
        try:
            line, _ = self.process.communicate(timeout=max(1, self.deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            return 0.0, "hangs"
        words = line.split()
        if len(words) != 8:
            return 0.0, "said nothing"
        return float(words[2]), None if words[4] == words[6] else f"{words[4]} of {words[6]} right"
