"""kubectl's generators and drain: kubectl 1.32 and later sends protobuf for them, with no way back to JSON."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

LEFT_OUT = ("creationTimestamp", "generation", "managedFields", "namespace", "resourceVersion", "uid")
GENERATORS = (
    "configmap c --from-literal=a=b --from-literal=empty=", "secret generic s --from-literal=user=ann",
    "secret docker-registry r --docker-username=u --docker-password=p --docker-server=x.y", "serviceaccount a",
    "deployment d --image=x:1 --image=y --replicas=0 --port=80", "service clusterip v --tcp=80:8080 --tcp=443:https",
    "service clusterip headless --clusterip=None --tcp=80", "service nodeport n --tcp=80:8080 --node-port=30123",
    "service externalname e --external-name=example.com",
)  # fmt: skip


def holds(tree: Any, part: Any, path: str = "") -> None:
    """Whether everything that a client gave is in the object; what is empty may be left out."""
    if isinstance(part, dict) and isinstance(tree, dict):
        for key, value in part.items():
            if value not in ({}, None) and key not in LEFT_OUT:
                holds(tree.get(key), value, f"{path}.{key}")
    elif isinstance(part, list) and isinstance(tree, list):
        assert len(tree) == len(part), path
        for index, (one, other) in enumerate(zip(tree, part, strict=True)):
            holds(one, other, f"{path}[{index}]")
    else:
        assert tree == part, path


@pytest.mark.parametrize("command", GENERATORS)
def test_what_a_generator_makes_is_what_it_shows_beforehand(kubectl: Any, command: str) -> None:
    """kubectl prints the object as JSON and sends it as protobuf: both must mean the same."""
    shown = json.loads(kubectl("create", *command.split(), "--dry-run=client", "-o", "json"))
    assert " created" in kubectl("create", *command.split())
    kind, name = shown["kind"].lower(), shown["metadata"]["name"]
    made = json.loads(kubectl("get", kind, name, "-o", "json"))
    holds(made, shown)
    assert "already exists" in kubectl("create", *command.split(), code=1)


def test_a_binary_file_and_a_namespace_come_through(kubectl: Any, namespace: str) -> None:
    """Bytes are text in JSON and bytes in protobuf."""
    (kubectl.folder / "blob").write_bytes(b"\xff\x00\x80")
    kubectl("create", "configmap", "c", "--from-file=blob")
    made = json.loads(kubectl("get", "cm", "c", "-o", "json"))
    assert made["binaryData"] == {"blob": base64.b64encode(b"\xff\x00\x80").decode()}
    kubectl("create", "namespace", f"{namespace}-more")
    assert kubectl("get", "ns", f"{namespace}-more", "-o", "jsonpath={.status.phase}") == "Active"
    assert kubectl.run("delete", "ns", f"{namespace}-more", "--timeout=10s").returncode == 0


def test_a_dry_run_is_answered_and_leaves_nothing(kubectl: Any) -> None:
    """Query options hold for protobuf bodies as for any other."""
    assert "(server dry run)" in kubectl("create", "serviceaccount", "a", "--dry-run=server")
    assert "NotFound" in kubectl("get", "serviceaccount", "a", code=1)


def test_a_created_deployment_runs_its_command_and_its_objects_are_refused_when_invalid(kubectl: Any) -> None:
    """The whole way: protobuf in, Pods out; and the rules hold for it."""
    kubectl("create", "deployment", "d", "--image=x", "--replicas=2", "--", "sleep", "100")
    kubectl("rollout", "status", "deploy/d", "--timeout=15s")
    pods = json.loads(kubectl("get", "pods", "-l", "app=d", "-o", "json"))["items"]
    assert [pod["spec"]["containers"][0]["command"] for pod in pods] == [["sleep", "100"]] * 2
    assert "Invalid value" in kubectl("create", "configmap", "Wrong_Name", code=1)


def test_drain_deletes_the_pods_of_a_node(kubectl: Any) -> None:
    """Its DeleteOptions are protobuf, too."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "drained"}}
    kubectl("create", "-f", "-", stdin=json.dumps(node))
    spec = {"containers": [{"name": "a", "image": "x"}], "nodeName": "drained", "terminationGracePeriodSeconds": 0}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    kubectl("create", "-f", "-", stdin=json.dumps(pod))
    done = kubectl.run("drain", "drained", "--force", "--grace-period=0", "--timeout=15s")
    assert done.returncode == 0, done.stderr
    assert "node/drained drained" in done.stdout
    assert "NotFound" in kubectl("get", "pod", "p", code=1)
    assert kubectl.run("delete", "node", "drained").returncode == 0
