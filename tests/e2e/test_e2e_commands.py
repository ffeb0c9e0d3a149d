"""The commands of the issue's list against samples/hello, called as a person calls them."""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.plane import Plane


def pod_names(plane: Plane) -> set[str]:
    return {tree["metadata"]["name"] for tree in plane.objects("pods", "app=web")}


def test_up_detached_waits_until_all_is_ready_and_down_ends_it(tmp_path: Path) -> None:
    """The two commands of a script: it must not go on before the service answers, and leave nothing behind."""
    shutil.copytree(Path(__file__).parents[2] / "samples" / "hello", tmp_path / "hello")
    plane = Plane(tmp_path / "hello", tmp_path / "state")
    try:
        said = plane.cli("up", str(plane.folder), "--data-dir", str(plane.data_dir), "-d", "--wait", "--timeout", "20")
        assert "running in the background" in said
        assert "all is well" in plane.cli("status")
        service = plane.get("services", "web")
        assert service is not None
        with urllib.request.urlopen(f"http://{service['spec']['clusterIP']}/", timeout=5) as answer:
            assert answer.read().startswith(b"Hello from web-")
        assert len(plane.containers()) == 3
        plane.forget_connection()
        assert "stopped the control plane" in plane.cli("down")
        assert plane.containers() == []
        assert "no control plane" in plane.cli("down", code=3)
        assert "reconcile up" in plane.cli("get", "pods", code=3)
    finally:
        plane.run("down")
        plane.bury()


def test_up_with_wait_says_what_is_not_ready_and_ends_with_4(tmp_path: Path) -> None:
    """A script must learn which pod kept it waiting, without a second command."""
    folder = tmp_path / "stuck"
    folder.mkdir()
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stuck"},
        "spec": {"containers": [{"name": "main", "image": "postgres:17"}]},
    }  # fmt: skip
    (folder / "pod.yaml").write_text(yaml.safe_dump(pod))
    plane = Plane(folder, tmp_path / "state")
    said = plane.cli("up", str(folder), "--plain", "--wait", "--timeout", "4", code=4)
    assert "not ready after 4 s" in said
    assert "pod/stuck" in said
    assert "container runtime" in said


def test_the_store_of_a_running_control_plane_is_looked_after(live: Plane, tmp_path: Path) -> None:
    """Back-up, check, figures and compaction: none of them needs a stop."""
    (live.folder / "map.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept}\n"
    )  # others' history stays whole
    live.wait("it is applied", lambda: live.get("configmaps", "kept"))
    folder = str(live.data_dir / "store")
    assert "revision     " in live.cli("store", "stats", "--data-dir", folder)
    assert live.cli("store", "verify", "--data-dir", folder).endswith("sound\n")
    assert "bytes, revision " in live.cli("store", "snapshot", "--data-dir", folder, str(tmp_path / "copy.db"))
    assert "keys " in live.cli("store", "restore", "--data-dir", str(tmp_path / "again"), str(tmp_path / "copy.db"))
    assert "history begins at revision " in live.cli("store", "defrag", "--data-dir", folder)
    said = live.cli("store", "compact", "--data-dir", folder, "--keep", "3")
    assert "history begins at revision " in said
    assert "revision 1;" not in said
    assert "is compacted: history begins at revision" in live.run("get", "pods", "--at", "2").stderr
    assert live.cli("get", "cm/kept").startswith("NAME")


def test_get_answers_in_every_form(hello: Plane) -> None:
    """Scripts parse these."""
    table = hello.cli("get", "deploy", "web")
    assert table.splitlines()[0].split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert table.splitlines()[1].split()[:2] == ["web", "3/3"]
    assert "SELECTOR" in hello.cli("get", "deployments.apps", "-o", "wide")
    assert hello.cli("get", "deploy,svc", "-o", "name").split() == [
        "deployment.apps/web", "service/kubernetes", "service/web",
    ] or hello.cli("get", "deploy,svc", "-o", "name").split() == ["deployment.apps/web", "service/web"]  # fmt: skip
    assert json.loads(hello.cli("get", "deploy/web", "-o", "json"))["spec"]["replicas"] == 3
    assert yaml.safe_load(hello.cli("get", "pods", "-o", "yaml"))["kind"] == "List"
    everything = hello.cli("get", "all")
    for title in ("deployment.apps/web", "service/web", "pod/web-", "replicaset.apps/web-"):
        assert title in everything
    assert 'pods "nosuch" not found' in hello.cli("get", "pod", "nosuch", code=1)
    assert "api-resources" in hello.cli("get", "nosuchkind", code=1)
    assert "No such option" in hello.cli("get", "--nosuchoption", code=2)


def test_describe_logs_events_top_and_status_tell_about_the_pods(hello: Plane) -> None:
    """What one types when something looks odd."""
    pod = min(pod_names(hello))
    told = hello.cli("describe", "pod", pod)
    for fact in (f"Name:              {pod}", "Status:            Running", "Started container server", "GREETING"):
        assert fact in told
    assert "ScalingReplicaSet" in hello.cli("describe", "deploy/web")
    assert "listening on http://127." in hello.cli("logs", pod)
    assert hello.cli("logs", "deploy/web", "--all").count("listening on") == 3
    assert "Scheduled" in hello.cli("events")
    hello.wait("pods are measured", lambda: pod in hello.run("top").stdout)
    status = json.loads(hello.cli("status", "-o", "json"))
    assert status["well"]
    assert [rollout["available"] for rollout in status["rollouts"]] == [3]
    assert "3 ready" in hello.cli("status")
    assert not hello.lines("FailedScheduling"), "the node is there with its resources from its first moment"


def test_explain_api_resources_version_and_kubeconfig_tell_about_the_server(hello: Plane) -> None:
    """A newcomer's questions, answered without a manual."""
    assert "readinessProbe" in hello.cli("explain", "pod.spec.containers")
    resources = hello.cli("api-resources")
    for kind in ("Deployment", "ReplicaSet", "Pod", "Service", "ConfigMap", "Secret", "Node", "Lease", "Folder"):
        assert kind in resources
    assert "server: v1." in hello.cli("version")
    path = Path(hello.cli("kubeconfig").strip())
    assert path == hello.data_dir / "kubeconfig"
    assert path.stat().st_mode & 0o777 == 0o600


def test_scale_and_rollout_restart_undo_history_change_the_pods(hello: Plane) -> None:
    """kubectl's habits, on our own command."""
    assert "deployment.apps/web scaled" in hello.cli("scale", "deploy/web", "--replicas", "4")
    assert "successfully rolled out" in hello.cli("rollout", "status", "deploy/web", "--timeout", "20")
    hello.cli("scale", "deploy/web", "--replicas", "3")
    hello.wait("three again", lambda: hello.rolled_out("web", 3) and len(pod_names(hello)) == 3)

    before = pod_names(hello)
    hello.cli("rollout", "restart", "deploy/web")
    assert "successfully rolled out" in hello.cli("rollout", "status", "deploy/web", "--timeout", "20")
    hello.wait("the old pods are gone", lambda: len(pod_names(hello)) == 3)
    assert not pod_names(hello) & before
    history = hello.cli("rollout", "history", "deploy/web").splitlines()
    assert [line.split()[0] for line in history[2:]] == ["1", "2"]

    assert "rolled back to revision 1" in hello.cli("rollout", "undo", "deploy/web")
    assert "successfully rolled out" in hello.cli("rollout", "status", "deploy/web", "--timeout", "20")
    history = hello.cli("rollout", "history", "deploy/web").splitlines()
    assert [line.split()[0] for line in history[2:]] == ["2", "3"]


def test_apply_and_delete_work_on_files_outside_of_the_folder(hello: Plane, tmp_path: Path) -> None:
    """Not everything belongs in the watched folder."""
    manifest = tmp_path / "map.yaml"
    manifest.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: outside}\ndata: {a: '1'}\n")
    assert "configmap/outside" in hello.cli("apply", "-f", str(manifest))
    manifest.write_text(manifest.read_text().replace("'1'", "'2'"))
    hello.cli("apply", "-f", str(manifest))
    tree = hello.get("configmaps", "outside")
    assert tree is not None
    assert tree["data"] == {"a": "2"}
    hello.cli("apply", "-f", "-", stdin=manifest.read_text().replace("'2'", "'3'"))
    assert "deleted" in hello.cli("delete", "configmap", "outside")
    assert hello.gone("configmaps", "outside")
    assert "not found" in hello.cli("delete", "configmap", "outside", code=1)


@pytest.mark.parametrize("command", ["up", "down", "status", "get", "describe", "logs", "events", "top", "apply", "delete",
                                     "scale", "rollout", "api-resources", "explain", "kubeconfig", "version"])  # fmt: skip
def test_every_command_explains_itself(command: str, tmp_path: Path) -> None:
    """Help that crashes is worse than none."""
    assert "Usage:" in Plane(tmp_path, tmp_path / "state").cli(command, "--help")
