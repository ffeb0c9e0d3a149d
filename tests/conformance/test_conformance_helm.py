"""helm, the real one, on a control plane whose Pods are processes: releases come, change, fail, go back and go.

helm is client-go: it applies on the server's side, waits by watching, and keeps its releases in Secrets.
"""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.binaries import NotToBeHadError, helm
from tests.conformance.chart import write_chart
from tests.conformance.kubectl import Kubectl
from tests.plane import Plane, Tree

_NUMBERS = itertools.count(1)


class Helm:
    """helm with one namespace and one chart."""

    def __init__(self, binary: Path, kubeconfig: str, namespace: str, folder: Path) -> None:
        self.chart = str(write_chart(folder))
        self._binary, self._folder = binary, folder
        self._env = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "KUBECONFIG": kubeconfig, "HELM_NAMESPACE": namespace}

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Run it; it must end with `code`. Returns its output; stderr where it has to fail."""
        done = subprocess.run(
            [self._binary, *arguments], check=False, capture_output=True, text=True, timeout=60, env=self._env, cwd=self._folder
        )
        assert done.returncode == code, f"helm {' '.join(arguments)} -> {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stderr if code else done.stdout

    def history(self, name: str) -> list[tuple[int, str]]:
        """The numbers and states of a release's revisions."""
        return [(row["revision"], row["status"]) for row in json.loads(self("history", name, "-o", "json"))]


@pytest.fixture(scope="module")
def binary() -> Path:
    """The real helm; where the registry does not have it, these tests are left out."""
    try:
        return helm()
    except NotToBeHadError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def machine(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane whose Pods are processes: hooks have to end, and tests have to say something."""
    root = tmp_path_factory.mktemp("helm")
    (root / "folder").mkdir()
    plane = Plane(root / "folder", root / "state", "--allow-empty")
    try:
        yield plane.start()
        assert plane.stop() == 0, plane.said()[-3000:]
    finally:
        plane.bury()


@pytest.fixture
def namespace(machine: Plane) -> str:
    """A fresh namespace."""
    name = f"h{next(_NUMBERS)}"
    machine.api.ask("POST", "/api/v1/namespaces", None, {"metadata": {"name": name}})
    return name


@pytest.fixture
def run(binary: Path, machine: Plane, namespace: str, tmp_path: Path) -> Helm:
    """helm in a namespace of its own, which is there before the first command."""
    return Helm(binary, str(machine.data_dir / "kubeconfig"), namespace, tmp_path)


@pytest.fixture
def kubectl(machine: Plane, namespace: str, tmp_path: Path) -> Kubectl:
    """kubectl beside it."""
    return Kubectl(str(machine.data_dir / "kubeconfig"), namespace, tmp_path)


def shown(kubectl: Kubectl, what: str) -> Any:
    tree: Tree = json.loads(kubectl("get", what, "-o", "json"))
    return tree


def test_a_release_is_installed_shown_tested_and_uninstalled(run: Helm, kubectl: Kubectl, namespace: str) -> None:
    """The kind of crds/ is there before its first object; hooks run to their end; what comes back is what was sent."""
    told = run("install", "web", run.chart, "--wait", "--wait-for-jobs", "--timeout", "30s", "--labels", "team=a")
    assert "STATUS: deployed" in told
    assert "Say hello." in told
    assert shown(kubectl, "job/web-before")["status"]["succeeded"] == 1
    deployment = shown(kubectl, "deployment/web")
    assert deployment["status"]["availableReplicas"] == 1
    assert deployment["metadata"]["labels"] == {"app": "web", "app.kubernetes.io/managed-by": "Helm"}
    data = shown(kubectl, "configmap/web")["data"]
    assert (data["served"], data["found"]) == ("true", namespace)
    assert shown(kubectl, "parcels.shop.example.com/web")["spec"] == {"weight": 3}
    assert [row["name"] for row in json.loads(run("list", "-l", "team=a", "-o", "json"))] == ["web"]
    assert "tested hello" in run("test", "web", "--logs")
    status = run("status", "web")
    for line in ("==> v1/Service", "==> v1/Deployment", "==> v1/Parcel", "Phase:          Succeeded"):
        assert line in status, status
    assert "kind: RoleBinding" in run("get", "manifest", "web")
    assert "web-before" in run("get", "all", "web")
    assert run.history("web") == [(1, "deployed")]
    assert "uninstalled" in run("uninstall", "web", "--wait", "--timeout", "30s")
    left = kubectl("get", "deploy,svc,role,rolebinding,parcels,cm,secret", "-o", "name").split()
    assert left == ["configmap/kube-root-ca.crt"]
    assert kubectl("get", "job", "-o", "name").split() == ["job.batch/web-before"], "hooks stay, or went as they ask"
    assert "parcels.shop.example.com" in kubectl("get", "crd", "-o", "name"), "a chart's kinds outlive it"


def test_what_would_be_done_is_told_and_not_done(run: Helm, kubectl: Kubectl, namespace: str) -> None:
    """`--dry-run=server` renders with lookups and capabilities, and has the server judge what came out."""
    assert "0 chart(s) failed" in run("lint", run.chart)
    kubectl("apply", "--server-side", "--force-conflicts", "-f", f"{run.chart}/crds/parcels.yaml")
    rendered = run("template", "web", run.chart, "--dry-run=server")
    assert f'found: "{namespace}"' in rendered
    assert 'served: "true"' in rendered
    assert "STATUS: pending-install" in run("install", "web", run.chart, "--dry-run=server")
    assert kubectl("get", "deploy,secret", "-o", "name") == ""
    assert "minimum: got -1, want 0" in run("install", "web", run.chart, "--set", "replicas=-1", code=1)


def test_a_release_is_upgraded_and_rolled_back(run: Helm, kubectl: Kubectl) -> None:
    """Each revision is a Secret; going back applies an older one."""
    run("install", "web", run.chart, "--wait", "--timeout", "30s")
    run("upgrade", "web", run.chart, "--set", "greeting=bye,replicas=2", "--wait", "--timeout", "30s")
    assert shown(kubectl, "configmap/web")["data"]["greeting"] == "bye"
    assert shown(kubectl, "deployment/web")["status"]["updatedReplicas"] == 2
    run("rollback", "web", "1", "--wait", "--timeout", "30s")
    assert shown(kubectl, "configmap/web")["data"]["greeting"] == "hello"
    assert shown(kubectl, "deployment/web")["spec"]["replicas"] == 1
    assert run.history("web") == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    assert "type: helm.sh/release.v1" in kubectl("get", "secret", "-l", "owner=helm,status=deployed", "-o", "yaml")
    run("uninstall", "web", "--keep-history")
    assert run.history("web")[-1] == (3, "uninstalled")
    run("rollback", "web", "2", "--wait", "--timeout", "30s")
    assert shown(kubectl, "configmap/web")["data"]["greeting"] == "bye"


def test_a_release_that_fails_is_undone(run: Helm, kubectl: Kubectl) -> None:
    """helm reads conditions and counts while it waits; a Pod that is never ready must not look as if it were."""
    run("install", "web", run.chart, "--wait", "--timeout", "30s")
    told = run("upgrade", "web", run.chart, "--set", "ready=false", "--rollback-on-failure", "--timeout", "3s", code=1)
    assert "has been rolled back due to rollback-on-failure being set" in told
    assert run.history("web") == [(1, "superseded"), (2, "failed"), (3, "deployed")]
    probe = shown(kubectl, "deployment/web")["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]
    assert probe["exec"]["command"] == ["true"]
    told = run("upgrade", "web", run.chart, "--set", "hook=false", "--timeout", "20s", code=1)
    assert "pre-upgrade hooks failed: resource Job/" in told
    assert "Job Failed. failed: 1/1" in told
    run("install", "other", run.chart, "--set", "ready=false", "--rollback-on-failure", "--timeout", "3s", code=1)
    assert "other" not in kubectl("get", "deploy,cm,svc", "-o", "name")


def test_who_set_a_field_is_known_to_helm(run: Helm, kubectl: Kubectl) -> None:
    """It applies on the server's side; with the older way, by patches made here, both meet on the same objects."""
    run("install", "web", run.chart, "--server-side=false", "--wait", "--timeout", "30s")
    run("upgrade", "web", run.chart, "--server-side=true", "--force-conflicts", "--set", "greeting=a")
    mine = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {greeting: mine}\n"
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=mine)
    told = run("upgrade", "web", run.chart, "--set", "greeting=theirs", code=1)
    assert 'Apply failed with 1 conflict: conflict with "kubectl": .data.greeting' in told
    run("upgrade", "web", run.chart, "--set", "greeting=theirs", "--force-conflicts")
    assert shown(kubectl, "configmap/web")["data"]["greeting"] == "theirs"
    run("upgrade", "web", run.chart, "--server-side=false", "--set", "greeting=b")
    assert shown(kubectl, "configmap/web")["data"]["greeting"] == "b"
    assert "cannot reuse a name that is still in use" in run("install", "web", run.chart, code=1)
    kubectl("create", "configmap", "taken")
    told = run("install", "taken", run.chart, code=1)
    assert "cannot be imported into the current release: invalid ownership metadata" in told
