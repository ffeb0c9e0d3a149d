"""`up --image NAME=COMMAND`: manifests made for a container runtime run as processes, unchanged."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.plane import COMMAND, Plane

PODS = """\
apiVersion: v1
kind: Pod
metadata: {name: known}
spec: {containers: [{name: a, image: "shop/web:1.2", args: ["$(POD_IP)"]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: unknown}
spec: {containers: [{name: a, image: "shop/other:1.2"}]}
"""


def test_what_stands_for_an_image_is_run_where_a_container_has_no_command(tmp_path: Path) -> None:
    """Its `args` are appended, and variables are expanded, as in a command; any tag of the name will do."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "pods.yaml").write_text(PODS)
    plane = Plane(tmp_path / "folder", tmp_path / "state", "--image", 'shop/web=sh -c "echo at $0; sleep 600"')
    try:
        plane.start()
        pod = plane.wait("it runs", lambda: (p := plane.get("pods", "known")) and p["status"].get("phase") == "Running" and p)
        plane.wait("it told its address", lambda: plane.cli("logs", "pod/known") == f"at {pod['status']['podIP']}\n")
        assert "command" not in pod["spec"]["containers"][0]

        def waiting() -> str:
            statuses = (plane.get("pods", "unknown") or {}).get("status", {}).get("containerStatuses") or [{}]
            return str(statuses[0].get("state", {}).get("waiting", {}).get("message", ""))

        assert "reconcile up --image NAME=COMMAND" in plane.wait("the other one waits", waiting)
        assert plane.stop() == 0, plane.said()
    finally:
        plane.bury()


@pytest.mark.parametrize("image", ["web", "=sleep 1", "web=", "web=sh -c 'never closed"])
def test_an_image_that_names_no_command_is_refused_before_anything_starts(tmp_path: Path, image: str) -> None:
    """It would be found out when the first Pod waits."""
    (tmp_path / "folder").mkdir()
    done = subprocess.run(
        [*COMMAND, "up", str(tmp_path / "folder"), "--image", image], check=False, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2
    assert "--image" in done.stderr
    assert not (tmp_path / ".reconcile" / "folder" / "pki").exists()
