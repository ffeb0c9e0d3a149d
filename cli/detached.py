"""`up --detach`: the same command again, in the background, until it says that it is ready."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import click

from .errors import CommandError, TimedOut


def start_detached(data_dir: Path, *, wait: bool, timeout_s: float) -> None:
    """Start `up` with the same arguments in a session of its own, and return when it is ready.

    Raises:
        CommandError: it ended before it was ready; the message ends with what it said.
        TimedOut: it was not ready in time.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    log_path = data_dir / "up.log"
    reading, writing = os.pipe()
    with open(log_path, "ab") as log:
        begin = log.tell()
        child = subprocess.Popen(
            [sys.executable, "-m", "reconcile.cli", *sys.argv[1:2], "--plain", "--ready-fd", str(writing), *sys.argv[2:]],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=[writing],
        )  # fmt: skip
    os.close(writing)
    try:
        # The child itself gives up after `timeout_s` where it was told to wait; a little more lets it say why.
        readable, _, _ = select.select([reading], [], [], (timeout_s if wait else 30.0) + 10.0)
        said = os.read(reading, 16) if readable else b""
    finally:
        os.close(reading)
    if said == b"ready":
        click.echo(f"running in the background (pid {child.pid}, log {log_path}); stop it with `reconcile down`")
        return
    if not readable:
        raise TimedOut(f"not ready yet (pid {child.pid}); see {log_path}")
    code = child.wait()
    tail = log_path.read_bytes()[min(begin, log_path.stat().st_size) :].decode(errors="replace").strip()
    error = TimedOut(tail) if code == TimedOut.exit_code else CommandError(f"`up` ended with exit code {code}:\n{tail[-2000:]}")
    raise error
