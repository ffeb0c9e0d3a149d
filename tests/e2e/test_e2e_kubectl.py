"""The real kubectl against samples/hello: nobody should have to learn another tool."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.plane import Plane

KUBECTL = shutil.which("kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
pytestmark = [pytest.mark.outside, pytest.mark.skipif(KUBECTL is None, reason="there is no kubectl")]
Kubectl = Callable[..., str]


@pytest.fixture
def kubectl(hello: Plane, tmp_path: Path) -> Kubectl:
    """Runs kubectl against the plane; fails unless it ends with `code`."""

    def run(*arguments: str, code: int = 0, stdin: str = "") -> str:
        assert KUBECTL is not None
        env = {**os.environ, "KUBECONFIG": str(hello.data_dir / "kubeconfig"), "HOME": str(hello.home)}
        done = subprocess.run(
            [KUBECTL, *arguments], check=False, capture_output=True, text=True, input=stdin, env=env, timeout=40
        )
        assert done.returncode == code, f"kubectl {' '.join(arguments)} -> {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    return run


def test_kubectl_gets_and_describes_what_runs(kubectl: Kubectl) -> None:
    """Tables, wide tables, JSON, JSONPath, names; and the long text of describe, which reads many fields."""
    lines = kubectl("get", "pods").splitlines()
    assert lines[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert "NODE" in kubectl("get", "pods", "-o", "wide")
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={.status.availableReplicas}") == "3"
    assert json.loads(kubectl("get", "svc", "web", "-o", "json"))["spec"]["clusterIP"].startswith("127.")
    assert "deployment.apps/web" in kubectl("get", "all")
    described = kubectl("describe", "deployment", "web")
    assert "3 desired | 3 updated | 3 total | 3 available" in described
    assert "ScalingReplicaSet" in described
    pod = kubectl("get", "pods", "-l", "app=web", "-o", "name").split()[0]
    assert "Started container" in kubectl("describe", pod)
    assert "NotFound" in kubectl("get", "pod", "nosuch", code=1)
    for kind in ("nodes", "namespaces", "events", "configmaps", "secrets", "leases", "endpointslices", "replicasets"):
        kubectl("get", kind)


def test_kubectl_prints_logs(kubectl: Kubectl) -> None:
    """The kubelet's logs, streamed through the API."""
    pod = kubectl("get", "pods", "-l", "app=web", "-o", "name").split()[0]
    assert "listening on http://127." in kubectl("logs", pod)
    assert kubectl("logs", pod, "--tail=1").count("\n") == 1
    assert "listening on" in kubectl("logs", "deploy/web")


def test_kubectl_applies_changes_and_deletes(kubectl: Kubectl, hello: Plane, tmp_path: Path) -> None:
    """Client-side apply (a strategic merge patch), server-side apply, edit by patch, label, delete with waiting."""
    file = tmp_path / "app.yaml"
    file.write_text(
        """
apiVersion: apps/v1
kind: Deployment
metadata: {name: other}
spec:
  replicas: 1
  selector: {matchLabels: {app: other}}
  template:
    metadata: {labels: {app: other}}
    spec: {containers: [{name: main, command: [sleep, "600"], env: [{name: A, value: "1"}]}]}
"""
    )
    assert "deployment.apps/other created" in kubectl("apply", "-f", str(file))
    assert "deployment.apps/other unchanged" in kubectl("apply", "-f", str(file))
    assert "successfully rolled out" in kubectl("rollout", "status", "deploy/other", "--timeout=20s")
    file.write_text(file.read_text().replace('"1"', '"2"'))
    assert "deployment.apps/other configured" in kubectl("apply", "-f", str(file))
    assert "successfully rolled out" in kubectl("rollout", "status", "deploy/other", "--timeout=20s")
    assert kubectl("rollout", "history", "deploy/other").splitlines()[2:4][-1].split()[0] == "2"
    assert "rolled back" in kubectl("rollout", "undo", "deploy/other")
    assert "successfully rolled out" in kubectl("rollout", "status", "deploy/other", "--timeout=20s")
    container = "jsonpath={.spec.template.spec.containers[0].env[0].value}"
    assert kubectl("get", "deploy", "other", "-o", container) == "1"
    assert "serverside-applied" in kubectl("apply", "--server-side", "--force-conflicts", "-f", str(file))
    assert "scaled" in kubectl("scale", "deploy/other", "--replicas=2")
    assert "successfully rolled out" in kubectl("rollout", "status", "deploy/other", "--timeout=20s")
    assert "labeled" in kubectl("label", "deploy", "other", "tier=back")
    assert "patched" in kubectl("patch", "deploy", "other", "-p", '{"spec":{"replicas":1}}')
    assert "restarted" in kubectl("rollout", "restart", "deploy/other")
    assert "condition met" in kubectl("wait", "--for=condition=Available", "deploy/other", "--timeout=20s")
    assert "deleted" in kubectl("delete", "-f", str(file), "--timeout=20s")
    hello.wait("its pods are gone", lambda: not hello.objects("pods", "app=other"))
    assert not [c for c in hello.containers() if c.argv[:1] == ("sleep",)]


def test_kubectl_creates_a_pod_and_waits_for_its_end(kubectl: Kubectl, hello: Plane) -> None:
    """A pod of one's own, without a controller: it runs once, and says how it ended."""
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "once"},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "command": ["sh", "-c", "echo done; exit 0"]}]},
    }  # fmt: skip
    assert "created" in kubectl("create", "-f", "-", stdin=json.dumps(pod))
    assert "condition met" in kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/once", "--timeout=10s")
    assert kubectl("logs", "once") == "done\n"
    assert "Completed" in kubectl("get", "pod", "once")
    assert "deleted" in kubectl("delete", "pod", "once", "--timeout=10s")
    assert "AlreadyExists" not in kubectl("create", "-f", "-", stdin=json.dumps(pod))
    kubectl("delete", "pod", "once", "--timeout=10s")


def test_kubectl_explains_and_says_what_is_wrong(kubectl: Kubectl) -> None:
    """OpenAPI v3 feeds explain and kubectl's own validation."""
    assert "readinessProbe" in kubectl("explain", "pod.spec.containers")
    assert "deployments" in kubectl("api-resources")
    wrong = "apiVersion: v1\nkind: Pod\nmetadata: {name: wrong}\nspec: {containers: [{name: a, commandd: [x]}]}\n"
    assert "commandd" in kubectl("apply", "-f", "-", stdin=wrong, code=1)
    assert "Server Version" in kubectl("version")
