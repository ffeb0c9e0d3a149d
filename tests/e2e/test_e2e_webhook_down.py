"""A webhook that has to be asked and does not answer: everybody who waits is told whom for, and goes on once it is gone."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from reconcile.conditions import condition
from tests.plane import COMMAND, Plane, Tree

LABELS = {"app": "web"}
DEPLOYMENT: Tree = {
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
    "spec": {
        "replicas": 1, "selector": {"matchLabels": LABELS},
        "template": {
            "metadata": {"labels": LABELS},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "command": ["sleep", "600"]}]},
        },
    },
}  # fmt: skip


def guard(port: int) -> Tree:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    webhook = {
        "name": "guard.example.com", "clientConfig": {"url": f"https://127.0.0.1:{port}/ask"}, "rules": [rule],
        "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"],
    }  # fmt: skip
    return {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "guard"}, "webhooks": [webhook],
    }  # fmt: skip


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port on which nobody listens, and nobody else will."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_a_webhook_that_is_down_is_named_to_whoever_waits(tmp_path: Path, dead_port: int) -> None:
    """`up --wait` ends and says why, the Deployment has the condition and the Event, and nothing has to be started anew."""
    folder, state = tmp_path / "folder", tmp_path / "state"
    folder.mkdir()
    (folder / "a-guard.yaml").write_text(yaml.safe_dump(guard(dead_port)))
    (folder / "web.yaml").write_text(yaml.safe_dump(DEPLOYMENT))
    why = f'failed calling webhook "guard.example.com": failed to call webhook: Post "https://127.0.0.1:{dead_port}/ask'
    plane = Plane(folder, state)
    try:
        command = [*COMMAND, "up", str(folder), "--data-dir", str(state), "--plain", "--wait", "--timeout", "4"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=plane.env)
        assert done.returncode == 4
        assert "deployment/web: 0/1 available" in done.stderr
        assert why in done.stderr
        assert "connect: connection refused" in done.stderr

        plane.start()

        def failing() -> Tree | None:
            found = condition((plane.get("deployments", "web") or {}).get("status", {}).get("conditions"), "ReplicaFailure")
            return found if found is not None and found["status"] == "True" else None

        said = plane.wait("the condition says so", failing)
        assert why in said["message"]
        assert any(why in event.get("message", "") for event in plane.objects("events") if event["reason"] == "FailedCreate")
        assert why in plane.cli("status", code=1)

        (folder / "a-guard.yaml").unlink()
        plane.wait("it goes on", lambda: plane.rolled_out("web", 1), 40)
        plane.wait("the condition is gone", lambda: failing() is None)
    finally:
        plane.bury()
