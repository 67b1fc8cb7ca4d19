"""Starts that must be refused: exit status not 0, soon, and a message that names the cause."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

from tests.wire.node import Node, free_ports, toml
from tests.wire.tally import Skip, Tally

PATIENCE_S = 15
NOBODY = 65534


def check_refusals(tally: Tally, running: Node) -> None:
    """`running` is up; its directory is the one that is taken."""
    home = running.home
    good = running.settings | {"port": free_ports(2), "admin_port": free_ports(1), "data_directory": str(home / "other")}

    def refused(name: str, settings: dict, *words: str, prefix: list[str] = [], **options) -> None:
        with tally.case(f"start refused: {name}"):
            config = home / "refused.toml"
            config.write_text("".join(f"{key} = {toml(value)}\n" for key, value in (good | settings).items()))
            config.chmod(0o644)
            expect(running.binary, ["--config", str(config)], words, prefix, **options)

    refused("unknown key", {"segment_byte": 1 << 26}, "segment_byte", "segment_bytes")
    refused("a number out of range", {"port": 70_000}, "port", "70000", "65535")
    refused("not one of the choices", {"poll": "often"}, "poll", "often", "wait", "busy")
    refused("not a size", {"segment_bytes": "many"}, "segment_bytes", "many")
    refused("not an address", {"listen": "nowhere"}, "listen", "nowhere")
    refused("memory shares that do not fit", {"memory.receive_bytes": 120 << 20, "memory.resident_bytes": 64 << 20},
            "memory")
    with tally.case("start refused: TOML that is none"):
        broken = home / "broken.toml"
        broken.write_text("lanes = = 2\n")
        expect(running.binary, ["--config", str(broken)], ["broken.toml", "1"], [])
    with tally.case("start refused: no such configuration file"):
        expect(running.binary, ["--config", str(home / "absent.toml")], ["absent.toml"], [])

    refused("data directory in use", {"data_directory": running.settings["data_directory"]},
            running.settings["data_directory"], "another node", str(running.process.pid))
    refused("port in use", {"port": running.port}, str(running.port), "in use")
    refused("the second lane's port in use", {"port": running.port - 1}, str(running.port), "in use")
    refused("admin port in use", {"admin_port": running.admin_port}, str(running.admin_port), "in use")
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        refused("port in use by another program", {"port": taken - 1}, str(taken), "in use")

    file = home / "file"
    file.write_text("")
    refused("data directory below a file", {"data_directory": str(file / "data")}, str(file / "data"))
    refused("data directory is a file", {"data_directory": str(file)}, str(file))
    locked = home / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    home.chmod(0o755)
    with tally.case("start refused: data directory not writable"):
        # Root may write anywhere, so this start is another user's; who must be able to reach the program.
        config, program = home / "refused.toml", home / "penstock"
        config.write_text("".join(f"{k} = {toml(v)}\n" for k, v in (good | {"data_directory": str(locked)}).items()))
        shutil.copy(running.binary, program)
        program.chmod(0o755)
        expect(program, ["--config", str(config)], [str(locked), "ermission denied"], [],
               **({"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}))

    strange = home / "strange"
    strange.mkdir()
    (strange / "letters").write_text("dear")
    refused("a directory with other files in it", {"data_directory": str(strange)}, str(strange), "letters")
    newer = home / "newer"
    newer.mkdir()
    (newer / "format").write_text("penstock_format 2\nlanes 2\nsegment_bytes 67108864\n")
    refused("a newer format", {"data_directory": str(newer)}, str(newer), "version is 2")
    (newer / "format").write_text("something else\n")
    refused("a format file that is none", {"data_directory": str(newer)}, str(newer), "format")
    (newer / "format").write_text("penstock_format 1\nlanes 3\nsegment_bytes 67108864\n")
    refused("another number of lanes than at creation", {"data_directory": str(newer)}, str(newer), "lanes", "3")

    with tally.case("start refused: a file system without direct I/O"):
        mount = home / "ramfs"
        mount.mkdir()
        if not can_mount(mount):
            raise Skip("no right to mount a ramfs, which has none")
        config = home / "refused.toml"
        config.write_text("".join(f"{k} = {toml(v)}\n" for k, v in (good | {"data_directory": f"{mount}/data"}).items()))
        expect(running.binary, ["--config", str(config)], ["direct", str(mount)],
               ["unshare", "--mount", "sh", "-c", f'mount -t ramfs none {mount} && exec "$@"', "sh"])


def can_mount(mount: Path) -> bool:
    return subprocess.run(["unshare", "--mount", "mount", "-t", "ramfs", "none", str(mount)],
                          capture_output=True).returncode == 0


def expect(binary: str | Path, arguments: list[str], words, prefix: list[str], **options) -> None:
    try:
        ended = subprocess.run([*prefix, str(binary), "serve", *arguments], stdin=subprocess.DEVNULL, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE_S, **options)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"it was still running after {PATIENCE_S} s") from None
    said = ended.stdout.strip()
    assert ended.returncode > 0, f"exit status {ended.returncode}: {said}"
    missing = [word for word in words if word.lower() not in said.lower()]
    assert not missing, f"the message does not say {missing}: {said}"
    assert "still held" not in said, f"a lane that never turned reports a leak: {said}"
