#!/usr/bin/env python3
"""The program's command line: help, config, version, and errors with exit code 2. Arguments: program, source tree."""
import pathlib
import subprocess
import sys
import tempfile

program, source = sys.argv[1], pathlib.Path(sys.argv[2])
faults = []


def run(*arguments):
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=30)


def expect(what, condition, result):
    if not condition:
        faults.append(f"{what}: exit {result.returncode}\n--- out\n{result.stdout}\n--- err\n{result.stderr}")


result = run("--help")
expect("--help", result.returncode == 0 and "serve" in result.stdout and "log" in result.stdout, result)
result = run("serve", "--help")
expect("serve --help", result.returncode == 0 and "--config" in result.stdout and "--set" in result.stdout, result)
for spelling in ("version", "--version"):
    result = run(spelling)
    expect(spelling, result.returncode == 0 and result.stdout.startswith("penstock "), result)

result = run("config")
expect("config", result.returncode == 0 and "\nport = 9092\n" in result.stdout, result)
result = run("config", "--markdown")
expect("config --markdown", result.stdout == (source / "docs/CONFIGURATION.md").read_text(), result)

for arguments in ([], ["swim"], ["serve", "--frobnicate"], ["log"], ["log", "dump"]):
    result = run(*arguments)
    expect(f"usage {arguments}", result.returncode == 2 and result.stderr, result)

with tempfile.TemporaryDirectory() as directory:
    path = pathlib.Path(directory) / "penstock.toml"
    path.write_text("lanes = 2\nprot = 9092\n")
    result = run("serve", "--config", str(path))
    expect("unknown key", result.returncode == 2 and
           result.stderr == f"{path}:2: there is no key 'prot'; did you mean 'port'?\n", result)
    result = run("serve", "--set", "poll=never")
    expect("bad value", result.returncode == 2 and "poll = never: must be one of wait, busy" in result.stderr, result)
    result = run("serve", "--config", directory + "/missing.toml")
    expect("missing file", result.returncode == 2 and "cannot be read" in result.stderr, result)
    result = run("log", "dump", directory)
    expect("dump of no data directory", result.returncode == 1 and "not a Penstock data directory" in result.stderr, result)
    data = pathlib.Path(directory) / "data"
    data.mkdir()
    (data / "letter").write_text("dear")
    result = run("serve", "--set", f"data_directory={data}", "--set", "admin_port=0")
    expect("foreign directory", result.returncode == 1 and "was not created by Penstock" in result.stderr, result)

print("\n".join(faults) or "the command line does what it says")
sys.exit(1 if faults else 0)
