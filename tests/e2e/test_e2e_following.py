"""What goes on until it is told to stop: watches, logs that are followed, and the view in a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.conftest import SAMPLES
from tests.plane import COMMAND, Plane


@contextmanager
def following(plane: Plane, output: Path, *arguments: str) -> Iterator[Path]:
    """A command that runs until Ctrl-C, which must end it with 130 and without a traceback."""
    env = {**plane.env, "RECONCILE_HOME": str(plane.data_dir)}
    with open(output, "wb") as file:
        process = subprocess.Popen([*COMMAND, *arguments], stdout=file, stderr=subprocess.STDOUT, env=env)
    try:
        yield output
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 130
        assert "Traceback" not in output.read_text()
    finally:
        process.kill()
        process.wait()


def test_watches_and_followed_logs_tell_what_happens_as_it_happens(hello: Plane, tmp_path: Path) -> None:
    """People leave these open in another window."""
    with (
        following(hello, tmp_path / "pods", "get", "pods", "-w") as pods,
        following(hello, tmp_path / "logs", "logs", "-f", "deploy/web", "--all") as logs,
        following(hello, tmp_path / "events", "events", "-w") as events,
    ):
        hello.wait("all began", lambda: pods.read_text().count("Running") >= 3 and logs.read_text().count("listening on") == 3)
        hello.wait("events began", lambda: events.read_text())
        victim = min(tree["metadata"]["name"] for tree in hello.objects("pods", "app=web"))
        hello.cli("delete", "pod", victim)
        hello.wait("the watch tells of the end", lambda: any(
            victim in line and "Terminating" in line for line in pods.read_text().splitlines()
        ))  # fmt: skip
        hello.wait("and of the new one", lambda: len({line.split()[0] for line in pods.read_text().splitlines()[1:]}) == 4)
        hello.wait("events tell it", lambda: f"Deleted pod: {victim}" in events.read_text() or "Killing" in events.read_text())
        hello.wait("it is complete again", lambda: hello.rolled_out("web", 3))


def test_the_view_in_a_terminal_shows_the_rollout_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    """What `make demo` shows: bars, pods, the Service's address; and the terminal as it was when it is over."""
    shutil.copytree(SAMPLES / "hello", tmp_path / "hello")
    plane = Plane(tmp_path / "hello", tmp_path / "state")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    env = {**{key: value for key, value in plane.env.items() if key != "NO_COLOR"}, "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [*COMMAND, "up", str(plane.folder), "--data-dir", str(plane.data_dir)],
        stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    stopped = False
    deadline = time.monotonic() + 30
    try:
        while time.monotonic() < deadline:
            readable, _, _ = select.select([ours], [], [], 0.1)
            try:
                piece = os.read(ours, 65536) if readable else None
            except OSError:
                break  # the other end is closed: it ended
            if piece == b"":
                break
            seen += piece or b""
            if b"ready: everything runs" in seen and b"3 ready" in seen and not stopped:
                stopped = True
                process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        plane.bury()
    text = seen.decode(errors="replace")
    for part in ("deployment/web", "━", "pod/web-", "service/web", "3/3 available", "3/3 pods well", "stopped, 3 pods with it"):
        assert part in text, text[-2000:]
    assert "Traceback" not in text
    assert "\x1b[?25h" in text, "the cursor is shown again"
    assert plane.containers() == []
