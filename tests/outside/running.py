"""Runs one suite against one server, alone on a network of its own where the kernel allows it.

Some of the suites' tests insist on port 2379. On a private loopback every run can have that port; where none can be made
(no user namespaces), a free port is taken, and those tests fail against a real etcd and ours alike.

`python -m tests.outside.running SERVER FOLDER PORT -- COMMAND ...` is what runs inside.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from tests.etcd.conftest import connected, free_ports, our_process, program, real_etcd_process
from tests.outside.suites import Prepared

ROOT = Path(__file__).parents[2]
_PORT = 2379
_TEST_S_MAX = 90
_ALONE = ["unshare", "--map-root-user", "--net"]
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def outcomes(prepared: Prepared, server: str, folder: Path, *, short: bool) -> dict[str, str]:
    """How each test of a suite ended ("passed", "failed", "skipped") against a server: "ours" or "real"."""
    folder.mkdir(parents=True)
    alone = subprocess.run([*_ALONE, "true"], check=False, capture_output=True).returncode == 0
    port = _PORT if alone else free_ports(1)[0]
    suite = prepared.suite
    report = folder / "report.xml"
    tests = suite.short if short else ("tests",)
    # Its own settings, or pytest would find ours in a folder above.
    ini = next(path for path in (prepared.source / "pyproject.toml", prepared.source / "setup.cfg") if path.exists())
    command = [
        str(prepared.python),
        "-m",
        "pytest",
        "-c",
        str(ini),
        "-q",
        "-p",
        "no:cacheprovider",
        f"--timeout={_TEST_S_MAX}",
        *tests,
    ]
    command += [f"--junitxml={report}", *(["--no-cov"] if "pytest-cov" in " ".join(suite.needs) else [])]
    inside = [sys.executable, "-m", "tests.outside.running", server, str(folder / "server"), str(port), "--", *command]
    url = f"http://127.0.0.1:{port}"
    path = f"{program('etcdctl').parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, suite.endpoint: url, "PATH": path, "TEST_ETCD_VERSION": "v3.5.1"}
    environment |= {"PYTHONPATH": str(ROOT), "OUTSIDE_SOURCE": str(prepared.source)}
    with (folder / "output.txt").open("w") as output:
        subprocess.run([*(_ALONE if alone else []), *inside], check=False, stdout=output, stderr=output, env=environment)
    if not report.exists():
        raise RuntimeError(f"{suite.name} against {server} told nothing; see {folder / 'output.txt'}")
    return read(report)


def read(report: Path) -> dict[str, str]:
    """How each test of a JUnit report ended."""
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        bad = case.find("failure") is not None or case.find("error") is not None
        name = f"{(case.get('classname') or '').removeprefix('tests.')}::{case.get('name')}"
        found[name] = "failed" if bad else "skipped" if case.find("skipped") is not None else "passed"
    return found


def raise_loopback() -> None:
    """A new network has a loopback that is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
        flags = struct.unpack("16sH14x", asked)[1]
        if not flags & _IFF_UP:
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


async def _answers(address: str) -> None:
    async with connected(address):
        pass


def main(server: str, folder: Path, port: int, command: list[str]) -> int:
    """Start the server, run the command while it serves, and give the command's exit code."""
    raise_loopback()
    folder.mkdir()
    address = f"127.0.0.1:{port}"
    serving = our_process(folder / "data", "--listen", address) if server == "ours" else real_etcd_process(folder, port=port)
    with serving:
        asyncio.run(_answers(address))
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(command, check=False, cwd=os.environ["OUTSIDE_SOURCE"], env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[5:]))
