"""The real etcdctl as a process, and its output without what differs between any two etcds."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from tests.etcd.conftest import our_process, program, real_etcd_process

WAIT_S = 10.0


class Etcdctl:
    """etcdctl with an endpoint."""

    def __init__(self, address: str, **settings: str) -> None:
        """`settings` are etcdctl's options by name: `cacert="/path"`."""
        self.address = address
        # Nothing of the environment may lead it elsewhere.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ETCDCTL_")}
        self.environment = {**kept, "ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": address}
        self.environment |= {f"ETCDCTL_{name.upper()}": value for name, value in settings.items()}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [str(program("etcdctl")), *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=self.environment)

    def __call__(self, *arguments: str, stdin: str = "") -> str:
        """What it prints; of an error only the last line, which is the message."""
        process = self.start(*arguments)
        output, error = process.communicate(stdin, timeout=WAIT_S)
        message = [line for line in error.splitlines() if line.startswith("Error")] if process.returncode else []
        return output + "\n".join(message)


@contextmanager
def ours_and_theirs(folder: Path) -> Iterator[tuple[Etcdctl, Etcdctl]]:
    """etcdctl against ours and against a real etcd, both empty."""
    with ExitStack() as stack:
        ours, _ = stack.enter_context(our_process(folder / "ours"))
        theirs = stack.enter_context(real_etcd_process(folder))
        both = Etcdctl(ours), Etcdctl(theirs)
        for etcdctl in both:
            while "is healthy" not in etcdctl("endpoint", "health"):
                pass
        yield both


def differences(pair: tuple[Etcdctl, Etcdctl], script: list[tuple[list[str], str]]) -> list[tuple[list[str], str, str]]:
    """The commands of a script that print something else against ours; in order, each on what those before it left."""
    found = []
    with ThreadPoolExecutor(len(pair)) as both:
        for arguments, stdin in script:
            ours, theirs = both.map(partial(_printed, arguments, stdin), pair)
            if ours != theirs:
                found.append((arguments, ours, theirs))
    return found


def _printed(arguments: list[str], stdin: str, etcdctl: Etcdctl) -> str:
    return plain(etcdctl(*arguments, stdin=stdin))


def plain(output: str) -> str:
    """Output without what differs between any two etcds."""
    output = re.sub(r'"(cluster_id|member_id|raft_term|ID|leader)":\d+', r'"\1":0', output)
    output = re.sub(r'"(ClusterID|MemberID)" : \d+', r'"\1" : 0', output)
    output = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", output)
    return re.sub(r'took( = |":")[\d.]+\w+', "took", output)


def line(process: subprocess.Popen[str]) -> str:
    """The next line; a process that says nothing is ended, and then has no line."""
    assert process.stdout is not None
    timer = threading.Timer(WAIT_S, process.kill)
    timer.start()
    try:
        text = process.stdout.readline()
    finally:
        timer.cancel()
    assert text, "it says nothing"
    return text.rstrip("\n")


def end(process: subprocess.Popen[str]) -> None:
    """Interrupt it, as Ctrl-C does."""
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
