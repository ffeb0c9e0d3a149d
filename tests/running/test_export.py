"""`reconcile export` and `reconcile release`, with the real kubectl on what they print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.plane import COMMAND, Plane
from tests.running.conftest import Run
from tests.running.test_run import say, write


def export(*arguments: str) -> list[Any]:
    done = subprocess.run([*COMMAND, "export", *arguments], check=False, capture_output=True, text=True, timeout=40)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def kubectl(plane: Plane, *arguments: str, stdin: str = "") -> str:
    env = {
        **plane.env, "KUBECONFIG": str(plane.data_dir / "kubeconfig"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }  # fmt: skip
    done = subprocess.run(["kubectl", *arguments], check=False, capture_output=True, text=True, timeout=40, env=env, input=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_operator_runs_with_the_rights_that_are_exported_for_it_and_no_others(plane: Plane, run: Run, tmp_path: Path) -> None:
    """As its ServiceAccount: everything it does is allowed, and what it does not do is not."""
    file = write(tmp_path / "app.py", "least")
    manifests = [m for m in export(file) if m["kind"] not in ("Deployment", "ConfigMap")]
    assert "leasts" not in plane.cli("api-resources"), "from now on the discovery is on disk"
    kubectl(plane, "apply", "-f", "-", stdin=yaml.safe_dump_all(manifests))
    plane.forget_connection()
    plane.wait("the kind is served", lambda: "leasts" in plane.cli("api-resources"))
    account = "system:serviceaccount:default:least-example-com"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = plane.api.ask("POST", "/api/v1/namespaces/default/serviceaccounts/least-example-com/token", None, body)
    config = yaml.safe_load((plane.data_dir / "kubeconfig").read_text())
    config["users"][0]["user"] = {"token": answer["status"]["token"]}
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    running = run(file, "--kubeconfig", str(tmp_path / "kubeconfig"), "--elect-name", "least-example-com")
    running.wait("leading")
    say(plane, "least", "l", "little")
    plane.wait("its child", lambda: plane.get("configmaps", "l"), told_by(running))
    plane.wait("its status", lambda: (plane.get("leasts.example.com", "l") or {}).get("status"), told_by(running))
    plane.api.ask("DELETE", "/apis/example.com/v1/namespaces/default/leasts/l")
    plane.wait("its cleanup", lambda: plane.gone("leasts.example.com", "l"), told_by(running))
    assert running.end() == 0
    assert "forbidden" not in running.said().lower()
    for verb, resource in (("list", "secrets"), ("delete", "leasts.example.com"), ("create", "pods"), ("update", "configmaps")):
        review = {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": account, "resourceAttributes": {
                "namespace": "default", "verb": verb, "resource": resource.partition(".")[0],
                "group": resource.partition(".")[2],
            }},
        }  # fmt: skip
        said = plane.api.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", None, review)
        assert said["status"]["allowed"] is False, (verb, resource)


def told_by(_: object) -> float:
    return 20.0


def test_what_is_exported_is_valid_and_says_how_to_run_it(plane: Plane, tmp_path: Path) -> None:
    """kubectl applies all of it, and the server keeps every field."""
    file = write(tmp_path / "app.py", "whole")
    manifests = export(file, "-n", "default", "--replicas", "2", "--image", "example.com/app:1")
    kubectl(plane, "apply", "--server-side", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump_all(manifests))
    assert [m["kind"] for m in manifests] == [
        "CustomResourceDefinition", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ConfigMap",
        "Deployment",
    ]  # fmt: skip
    (container,) = manifests[-1]["spec"]["template"]["spec"]["containers"]
    assert container["command"][:3] == ["reconcile", "run", "/app/app.py"]
    assert "--elect-name" in container["command"]
    assert manifests[-2]["data"]["app.py"] == Path(file).read_text()
    assert [m["kind"] for m in export(file, "--only", "crds")] == ["CustomResourceDefinition"]
    assert "Role" in [m["kind"] for m in export(file, "--namespaced", "--only", "rbac")]
    sharing = export(file, "--shard", "--replicas", "3", "--namespaced")
    assert "--shard" in str(sharing[-1]["spec"]["template"]["spec"]["containers"][0]["command"])
    role = next(m for m in sharing if m["kind"] == "Role")
    assert {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
            "verbs": ["get", "list", "create", "update", "delete"]} in role["rules"]  # fmt: skip
    assert "ClusterRole" not in [m["kind"] for m in export(file, "--namespaced", "--only", "rbac")]


def test_an_object_whose_operator_is_gone_is_released(plane: Plane) -> None:
    """Only when it is being deleted, and only after a question."""
    meta = {"name": "stuck", "finalizers": ["gone.example.com/finalizer", "other.example.com/f"]}
    plane.create("configmaps", {"metadata": meta})
    assert "is not being deleted" in plane.cli("release", "cm/stuck", "--yes", code=1)
    plane.api.ask("DELETE", "/api/v1/namespaces/default/configmaps/stuck")
    assert "has no finalizer 'nobody'" in plane.cli("release", "cm/stuck", "--finalizer", "nobody", "--yes", code=1)
    plane.cli("release", "cm/stuck", code=130, stdin="n\n")
    said = plane.cli("release", "cm/stuck", "--finalizer", "gone.example.com/finalizer", "--yes")
    assert "configmap/stuck released from gone.example.com/finalizer" in said
    assert plane.get("configmaps", "stuck") is not None
    plane.cli("release", "cm/stuck", stdin="y\n")
    assert plane.gone("configmaps", "stuck")
    assert plane.run("release", "cm/stuck", "--yes").returncode == 1
    assert "never released at once" in plane.cli("release", "configmaps", code=1)


@pytest.mark.parametrize("command", ["run", "export", "release"])
def test_help_has_examples(command: str) -> None:
    """They are read before anything else."""
    done = subprocess.run([*COMMAND, command, "--help"], check=False, capture_output=True, text=True)
    assert done.returncode == 0
    assert f"reconcile {command} " in done.stdout
