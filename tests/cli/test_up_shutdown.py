"""`up` around its edges: telling its parent, hanging up, ending in order whatever fails, unusual folders."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from reconcile.cli.running import Session, UpSettings, folder_object_name
from reconcile.cli.up import _show_until
from reconcile.errors import UnavailableError
from reconcile.runtime.api.names import wrong_label
from reconcile.runtime.clock import SystemClock
from tests.plane import COMMAND, Plane, wait_until

POD = """\
apiVersion: v1
kind: Pod
metadata: {name: one}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, command: [sleep, "600"]}]}
"""


class FakeSession:
    """A session that is ready before its API listens."""

    def __init__(self) -> None:
        self.changed, self.clock, self.scene = asyncio.Event(), SystemClock(), None
        self.url, self.ready, self.elapsed_s = "", True, 0.0

    def told(self, text: str) -> None:
        """Nobody listens."""

    def pods(self) -> list[object]:
        """None."""
        return []

    async def failure(self) -> str:
        """Never."""
        await asyncio.Event().wait()
        return ""


class FakeView:
    """At each look it opens a file, as a busy control plane does, and at the third it has the API listen."""

    def __init__(self, session: FakeSession, stop: asyncio.Event, folder: Path) -> None:
        self.session, self.stop, self.folder = session, stop, folder
        self.files: list[Any] = []

    def draw(self, *_: object) -> None:
        """Play the world."""
        self.files.append(open(self.folder / f"{len(self.files)}", "wb", buffering=0))  # noqa: SIM115 - they stay open on purpose
        self.session.changed.set()
        if len(self.files) == 3:
            self.session.url = "https://127.0.0.1:1"
        if len(self.files) == 6:
            self.stop.set()


async def test_ready_is_told_once_and_never_into_a_file_that_took_over_the_descriptor(tmp_path: Path) -> None:
    """A closed descriptor's number is given to the next file: the store's, say. Writing there again would corrupt it."""
    session, stop = FakeSession(), asyncio.Event()
    view = FakeView(session, stop, tmp_path)
    reading, writing = os.pipe()
    await _show_until(cast(Session, session), cast(Any, view), stop, wait=False, timeout_s=60.0, ready_fd=writing)
    assert os.read(reading, 100) == b"ready"
    assert os.read(reading, 100) == b"", "the descriptor was left open"
    os.close(reading)
    for number, file in enumerate(view.files):
        file.close()
        assert (tmp_path / str(number)).read_bytes() == b""


@pytest.mark.parametrize("name", ["hello", "my_app", "My App", "größe", "日本", "-x-", "a" * 200, "..", "x.y"])
def test_any_folder_name_gives_a_valid_and_stable_object_name(name: str) -> None:
    """The name goes into an object's name and a label's value; a folder called `my app` must work like any other."""
    made = folder_object_name(Path("/srv") / name)
    assert not wrong_label(made), made
    assert made == folder_object_name(Path("/elsewhere") / name)


def test_different_odd_names_stay_different() -> None:
    """Two folders that share an object would prune each other's objects."""
    assert folder_object_name(Path("/srv/日本")) != folder_object_name(Path("/srv/中国"))


def test_up_works_in_a_folder_with_spaces_and_unicode_in_its_name(tmp_path: Path) -> None:
    """The name used to end `up` with a validation error."""
    folder = tmp_path / "Mein Größtes Projekt"
    folder.mkdir()
    (folder / "cm.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: odd}\n")
    plane = Plane(folder, tmp_path / "state")
    try:
        plane.start()
        plane.wait("it is applied", lambda: plane.get("configmaps", "odd"))
        assert plane.stop() == 0
    finally:
        plane.bury()


def test_a_closed_terminal_ends_up_in_order_and_leaves_no_process(tmp_path: Path) -> None:
    """SIGHUP used to end the control plane at once; what it ran went on, seen by nobody."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "pod.yaml").write_text(POD)
    plane = Plane(folder, tmp_path / "state")
    main, terminal = pty.openpty()
    try:
        plane.process = subprocess.Popen(
            [*COMMAND, "up", str(folder), "--data-dir", str(plane.data_dir), "--plain"],
            stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal, env=plane.env, start_new_session=True,
        )  # fmt: skip
        os.close(terminal)
        plane.wait_listening()
        plane.wait("the pod runs", lambda: plane.containers())
        os.close(main)
        plane.process.send_signal(signal.SIGHUP)
        plane.forget_connection()
        assert plane.process.wait(20.0) == 0
        assert plane.containers() == []
    finally:
        plane.bury()


def test_detached_flags_written_together_start_one_control_plane(tmp_path: Path) -> None:
    """`-vd` was handed on whole, so that each background process started the next one, without end."""
    folder = tmp_path / "folder"
    folder.mkdir()
    plane = Plane(folder, tmp_path / "state")
    try:
        done = plane.run("up", str(folder), "-vd", "--data-dir", str(plane.data_dir))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "running in the background" in done.stdout
        plane.cli("down", "--data-dir", str(plane.data_dir))
    finally:
        plane.bury()


async def test_the_processes_are_stopped_even_if_the_api_fails_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that failed must not be why processes run on after a stop."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "pod.yaml").write_text(POD)
    session = Session(UpSettings(folder, tmp_path / "state"))
    async with asyncio.timeout(25.0):
        await session.__aenter__()
        node = session._assembly.node if session._assembly else None
        assert node is not None
        kubelet = await node.kubelet()
        while not any(pod.status == "Running" for pod in session.pods()):
            session.changed.clear()
            await session.changed.wait()
        pids = [s.pid for s in await kubelet._host.runtime.list()]

        async def refuse(*_: object, **__: object) -> None:
            raise UnavailableError("the store failed")

        assert session._sync is not None
        monkeypatch.setattr(type(session._plane.client if session._plane else None), "list", refuse)
        monkeypatch.setattr(session._sync, "stop", refuse)
        with pytest.raises(UnavailableError):
            await session.__aexit__()
    wait_until("the shims are gone", lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_a_state_folder_that_cannot_be_made_is_said_in_a_sentence(tmp_path: Path) -> None:
    """A traceback tells a person nothing."""
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "reconcile.cli", "up", str(tmp_path / "folder"), "--data-dir", str(tmp_path / "file" / "state")],
        check=False, capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "--data-dir" in done.stderr
