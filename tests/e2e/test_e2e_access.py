"""`reconcile auth` and `reconcile token`, and a program in a Pod that uses what its Pod has."""

from __future__ import annotations

import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.plane import Plane

PROGRAM = """
import asyncio, sys
from reconcile.errors import ApiError
from reconcile.kinds import kind_of
from reconcile.resources.core import ConfigMap, Secret
from reconcile.runtime.client.http import HttpClient
from reconcile.runtime.client.kubeconfig import load
from reconcile.runtime.clock import SystemClock

async def main():
    client = HttpClient(load(), SystemClock())
    try:
        page = await client.list(kind_of(ConfigMap), "default")
        print("sees", sorted(tree["metadata"]["name"] for tree in page.items))
        await client.list(kind_of(Secret), "default")
    except ApiError as error:
        print("refused:", error)
    finally:
        await client.close()

asyncio.run(main())
"""
IN_CLUSTER = """
import os
import kubernetes
kubernetes.config.load_config()
core = kubernetes.client.CoreV1Api()
print("maps", sorted(found.metadata.name for found in core.list_namespaced_config_map("default").items))
service = os.environ["KUBERNETES_SERVICE_HOST"] + ":" + os.environ["KUBERNETES_SERVICE_PORT"]
print("same", core.api_client.configuration.host == "https://" + service, os.environ["KUBERNETES_PORT"] == "tcp://" + service)
try:
    core.list_namespaced_secret("default")
except kubernetes.client.ApiException as error:
    print("refused", error.status)
"""
ROLE = {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps"]}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Plane:
    """A control plane whose folder holds a Pod with rights of its own, in the order in which they are needed."""
    root = tmp_path_factory.mktemp("access")
    (root / "folder").mkdir()
    (root / "folder" / "program.txt").write_text(PROGRAM)
    account = {"kind": "ServiceAccount", "name": "robot", "namespace": "default"}
    objects = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "reader"}, "rules": [ROLE]},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "robot"},
            "subjects": [account], "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        },
        {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"},
            "spec": {
                "serviceAccountName": "robot", "restartPolicy": "OnFailure",
                "containers": [{"name": "main", "command": [sys.executable, str(root / "folder" / "program.txt")]}],
            },
        },
    ]  # fmt: skip
    (root / "folder" / "all.yaml").write_text(yaml.safe_dump_all(objects))
    return Plane(root / "folder", root / "state", env={"PYTHONPATH": os.environ.get("PYTHONPATH", "")})


@pytest.fixture(scope="module", autouse=True)
def running(plane: Plane) -> Iterator[Plane]:
    """It runs as long as these tests do."""
    try:
        plane.start()
        yield plane
    finally:
        plane.bury()


def test_a_program_in_a_pod_speaks_to_the_api_as_its_account(plane: Plane) -> None:
    """Without a line of configuration: the folder says what it may do, and it may no more."""
    plane.wait("the program ran", lambda: (plane.get("pods", "client") or {}).get("status", {}).get("phase") == "Succeeded", 30)
    said = plane.cli("logs", "client")
    assert "sees ['kube-root-ca.crt']" in said
    assert 'refused: secrets is forbidden: User "system:serviceaccount:default:robot" cannot list resource "secrets"' in said


def test_a_program_with_the_usual_client_finds_the_api_from_inside(plane: Plane) -> None:
    """What is written for a Pod of any cluster runs in one of this: address, authority and token are where it looks."""
    (plane.folder / "inside.txt").write_text(IN_CLUSTER)
    plane.create("pods", {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "inside"},
        "spec": {
            "serviceAccountName": "robot", "restartPolicy": "Never",
            "containers": [{"name": "main", "command": [sys.executable, str(plane.folder / "inside.txt")]}],
        },
    })  # fmt: skip
    done = ("Succeeded", "Failed")
    plane.wait("the program ran", lambda: (plane.get("pods", "inside") or {}).get("status", {}).get("phase") in done, 30)
    said = plane.cli("logs", "inside")
    assert "maps ['kube-root-ca.crt']" in said
    assert "same True True" in said
    assert "refused 403" in said


def test_the_api_answers_at_the_address_of_its_service(plane: Plane) -> None:
    """By the authority that Pods are given; and who deletes the Service gets it back."""
    first = plane.wait("it is there", lambda: plane.get("services", "kubernetes"))
    plane.api.ask("DELETE", "/api/v1/namespaces/default/services/kubernetes")

    def back() -> dict[str, Any] | None:
        now = plane.get("services", "kubernetes")
        return now if now is not None and now["metadata"]["uid"] != first["metadata"]["uid"] else None

    again = plane.wait("it is back", back)
    address, port = again["spec"]["clusterIP"], again["spec"]["ports"][0]["port"]
    assert address == first["spec"]["clusterIP"]
    context = ssl.create_default_context(cafile=str(plane.data_dir / "pki" / "ca.crt"))

    def version() -> str:
        try:
            with urllib.request.urlopen(f"https://{address}:{port}/version", context=context, timeout=10) as answer:
                return str(json.loads(answer.read())["major"])
        except urllib.error.URLError:
            return ""  # the proxy listens a moment later

    assert plane.wait("it answers", version) == "1"


def test_auth_tells_who_you_are_and_what_you_may_do(plane: Plane) -> None:
    """The owner may do everything, and sees so."""
    assert "kubernetes-admin" in plane.cli("auth", "whoami")
    assert json.loads(plane.cli("auth", "whoami", "-o", "json"))["status"]["userInfo"]["groups"][0] == "system:masters"
    assert plane.cli("auth", "can-i", "create", "deployments") == "yes\n"
    assert plane.cli("auth", "can-i", "*", "*", "-A") == "yes\n"
    assert plane.cli("auth", "can-i", "get", "/metrics") == "yes\n"
    assert plane.cli("auth", "can-i", "--list").splitlines()[1].split() == ["*.*", "<none>", "<none>", "*"]
    assert "say verb and kind" in plane.cli("auth", "can-i", "create", code=1)
    assert "nonsenses" in plane.cli("auth", "can-i", "create", "nonsenses", code=1)


def test_a_token_makes_you_its_account(plane: Plane, tmp_path: Path) -> None:
    """And `can-i` says no with its exit code."""
    token = plane.cli("token", "create", "robot", "--duration", "30m", "--bound-to", "pod/client").strip()
    tree = json.loads((plane.data_dir / "kubeconfig").read_text())
    tree["users"][0]["user"] = {"token": token}
    (tmp_path / "kubeconfig").write_text(json.dumps(tree))

    def as_robot(*arguments: str) -> tuple[int, str]:
        env, plane.env = plane.env, {**plane.env, "KUBECONFIG": str(tmp_path / "kubeconfig")}
        try:
            done = plane.run(*arguments)
        finally:
            plane.env = env
        return done.returncode, done.stdout + done.stderr

    code, said = as_robot("auth", "whoami")
    assert code == 0, said
    assert "system:serviceaccount:default:robot" in said
    assert "pod-name" in said
    assert as_robot("auth", "can-i", "list", "configmaps")[:2] == (0, "yes\n")
    assert as_robot("auth", "can-i", "list", "configmap/x") == (0, "yes\n")
    assert as_robot("auth", "can-i", "list", "secrets") == (1, "no\n")
    assert as_robot("auth", "can-i", "list", "secrets", "--quiet") == (1, "")
    code, said = as_robot("auth", "can-i", "--list")
    assert ["configmaps", "<none>", "<none>", "get,", "list"] in [line.split() for line in said.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["default", "--duration", "soon"], "give a number with its unit"),
        (["default", "--duration", "5m"], "may not specify a duration less than 10 minutes"),
        (["default", "--bound-to", "pod"], "name kind and object"),
        (["none"], 'serviceaccounts "none" not found'),
    ],
)
def test_a_token_that_cannot_be_had_is_said_why(plane: Plane, arguments: list[str], says: str) -> None:
    """With what to do instead."""
    assert says in plane.cli("token", "create", *arguments, code=1)


def as_node(plane: Plane, name: str, method: str, path: str, body: dict[str, object] | None = None) -> tuple[int, str]:
    """What the API answers to a node: the code, and the message where it refuses."""
    headers = {"Impersonate-User": f"system:node:{name}", "Impersonate-Group": "system:nodes"}
    if method == "PATCH":
        headers["Content-Type"] = "application/merge-patch+json"
    reply = plane.api.request(method, path, {}, body, headers)
    return reply.status, json.loads(reply.body).get("message", "")


def test_a_node_reads_what_its_pods_need_and_writes_what_is_its_own(plane: Plane) -> None:
    """The key of one machine is worth what runs on it: the kubelet of this control plane stands for one that was broken into."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "default"}}
    for name in ("mine", "others"):
        plane.create("secrets", {**secret, "metadata": {"name": name}})
    volume = {"name": "v", "secret": {"secretName": "mine"}}
    sleeper = {"name": "main", "command": ["sleep", "600"]}
    plane.create("pods", {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "reader"},
        "spec": {"containers": [sleeper], "volumes": [volume], "terminationGracePeriodSeconds": 0},
    })  # fmt: skip
    ran = plane.wait("it runs", lambda: (pod := plane.get("pods", "reader")) and pod["status"].get("phase") == "Running" and pod)
    node, core = ran["spec"]["nodeName"], "/api/v1/namespaces/default"

    def may(method: str, path: str, body: dict[str, object] | None = None) -> tuple[int, str]:
        return as_node(plane, node, method, path, body)

    plane.wait("the graph has it", lambda: may("GET", f"{core}/secrets/mine")[0] == 200)
    code, why = may("GET", f"{core}/secrets/others")
    assert (code, why) == (
        403,
        (
            f'secrets "others" is forbidden: User "system:node:{node}" cannot get resource "secrets" in API group "" in the '
            f"namespace \"default\": no relationship found between node '{node}' and this object"
        ),
    )
    assert as_node(plane, "elsewhere", "GET", f"{core}/secrets/mine")[0] == 403
    assert may("GET", f"{core}/secrets")[0] == 403
    assert may("GET", f"/api/v1/nodes/{node}")[0] == 200
    assert may("PATCH", f"/api/v1/nodes/{node}/status", {"metadata": {"annotations": {"a": "b"}}})[0] == 200
    assert as_node(plane, "elsewhere", "PATCH", f"/api/v1/nodes/{node}/status", {"metadata": {"annotations": {"a": "c"}}}) == (
        403, f'nodes "{node}" is forbidden: node "elsewhere" is not allowed to modify node "{node}"'
    )  # fmt: skip
    assert may("PATCH", f"{core}/pods/reader/status", {"status": {"message": "hello"}})[0] == 200
    assert as_node(plane, "elsewhere", "PATCH", f"{core}/pods/reader/status", {"status": {"message": "bye"}})[0] == 403
    bound = {"apiVersion": "v1", "kind": "Pod", "name": "reader", "uid": ran["metadata"]["uid"]}
    wanted: dict[str, object] = {
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"boundObjectRef": bound}
    }  # fmt: skip
    assert may("POST", f"{core}/serviceaccounts/default/token", wanted)[0] == 201
    assert may("POST", f"{core}/serviceaccounts/default/token", {**wanted, "spec": {}}) == (
        403, 'serviceaccounts "default" is forbidden: node requested token not bound to a pod'
    )  # fmt: skip
    assert as_node(plane, "elsewhere", "POST", f"{core}/pods/reader/eviction", {}) == (
        403, 'pods "reader" is forbidden: node elsewhere can only evict pods with spec.nodeName set to itself'
    )  # fmt: skip
    assert may("POST", f"{core}/pods/reader/eviction", {})[0] == 201
