"""What is left when the control plane goes: everything with --keep, nothing without; and what the next one finds."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.plane import Plane, Tree, alive, copies

PODS = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: kept}
spec:
  replicas: 3
  selector: {matchLabels: {app: kept}}
  template:
    metadata: {labels: {app: kept}}
    spec:
      containers:
        - {name: main, command: [sh, -c, "echo started; sleep 600 & wait"]}
"""


def plane_with_pods(tmp_path: Path, *options: str) -> Plane:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "pods.yaml").write_text(PODS)
    return Plane(folder, tmp_path / "state", *options)


def first_pids(plane: Plane) -> dict[str, list[int]]:
    return {name: [c.pid for c in found] for name, found in copies(plane.containers()).items()}


def test_kept_processes_run_on_and_are_taken_over_by_the_next_up(tmp_path: Path) -> None:
    """An upgrade of the control plane must not touch what runs."""
    plane = plane_with_pods(tmp_path, "--keep")
    try:
        plane.start()
        plane.wait("it runs", lambda: plane.rolled_out("kept", 3))
        before = first_pids(plane)
        assert len(before) == 3
        assert plane.stop() == 0
        assert "3 pods keep running" in plane.said()
        assert first_pids(plane) == before

        # While nobody looks, one of them ends: its exit is not lost, and it is restarted.
        victim = min(before)
        os.kill(before[victim][0], signal.SIGTERM)
        plane.start()
        plane.wait("it is restarted", lambda: len(first_pids(plane)) == 3 and first_pids(plane)[victim] != before[victim])
        plane.wait("all run", lambda: plane.rolled_out("kept", 3))
        after = first_pids(plane)
        assert {n: p for n, p in after.items() if n != victim} == {n: p for n, p in before.items() if n != victim}

        def restarted() -> Tree | None:
            tree = plane.get("pods", victim.split("/")[0])
            (status,) = tree["status"]["containerStatuses"] if tree else ({},)
            return status if status.get("restartCount") else None

        # The process is there before its status is told.
        status = plane.wait("its restart is counted", restarted)
        assert status["restartCount"] == 1
        assert status["lastState"]["terminated"]["exitCode"] == 143 or status["lastState"]["terminated"].get("signal") == 15
        assert "started" in plane.cli("logs", "deploy/kept")

        plane.options = ("--stop",)
        plane.stop()
        plane.start()
        plane.wait("the second take-over", lambda: plane.rolled_out("kept", 3))
        assert first_pids(plane) == after
        assert plane.stop() == 0
        assert plane.containers() == []
    finally:
        plane.bury()


def test_ctrl_c_stops_every_process_and_says_so(tmp_path: Path) -> None:
    """The default leaves nothing behind, not even grandchildren in sessions of their own, and is quick."""
    plane = plane_with_pods(tmp_path)
    (plane.folder / "pods.yaml").write_text(PODS.replace("sleep 600 & wait", "setsid sleep 600 & sleep 601 & wait"))
    try:
        plane.start()
        plane.wait("it runs", lambda: plane.rolled_out("kept", 3) and len(plane.containers()) >= 9)
        pids = [c.pid for c in plane.containers()]
        assert plane.stop(10.0) == 0
        assert "3 pods with it" in plane.said()
        assert not [pid for pid in pids if alive(pid)]
        assert plane.containers() == []
        assert not [line for line in plane.said().splitlines() if "Traceback" in line or "Error" in line]
    finally:
        plane.bury()


def test_a_killed_control_plane_is_replaced_without_touching_what_runs(tmp_path: Path) -> None:
    """kill -9 of the control plane is no event for the processes."""
    plane = plane_with_pods(tmp_path)
    try:
        plane.start()
        plane.wait("it runs", lambda: plane.rolled_out("kept", 3))
        before = first_pids(plane)
        plane.kill()
        assert first_pids(plane) == before
        plane.start()
        plane.wait("all run", lambda: plane.rolled_out("kept", 3))
        assert first_pids(plane) == before
    finally:
        plane.bury()


def test_a_second_up_on_the_same_state_is_refused(tmp_path: Path) -> None:
    """Two control planes on one state would fight; the second is told what to do."""
    plane = plane_with_pods(tmp_path)
    try:
        plane.start()
        plane.wait("it runs", lambda: plane.rolled_out("kept", 3))
        said = plane.cli("up", str(plane.folder), "--data-dir", str(plane.data_dir), "--plain", code=1)
        assert "already runs" in said
        assert "reconcile down" in said
        assert "all is well" in plane.cli("status"), "the refused one must not remove the note of the one that runs"
        assert "stopped" in plane.cli("down")
        assert plane.containers() == []
    finally:
        plane.bury()
