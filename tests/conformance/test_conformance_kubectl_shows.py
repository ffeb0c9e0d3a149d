"""kubectl's ways to look and to wait: get, describe, explain, wait, rollout, events; and what it does to nodes and Services."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.kubectl import OTHERS, POD, WEB, Kubectl


def test_wait_and_rollout_see_every_revision_come_and_go(kubectl: Any) -> None:
    """They watch with WatchList, and stop at conditions that our controllers write."""
    kubectl("apply", "-f", "-", stdin=WEB)
    assert "condition met" in kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=10s")
    kubectl("set", "image", "deploy/web", "a=x:2")
    assert "successfully rolled out" in kubectl("rollout", "status", "deploy/web", "--timeout=10s")
    assert [line.split()[0] for line in kubectl("rollout", "history", "deploy/web").splitlines()[2:] if line] == ["1", "2"]
    assert "Image:\tx:2" in kubectl("rollout", "history", "deploy/web", "--revision=2")
    told = kubectl.run("rollout", "undo", "deploy/web")
    assert (told.returncode, told.stdout) == (0, "deployment.apps/web rolled back\n")
    kubectl("wait", "--for=jsonpath={.status.updatedReplicas}=1", "deploy/web", "--timeout=10s")
    image = "jsonpath={.spec.template.spec.containers[0].image}"
    assert kubectl("get", "deploy", "web", "-o", image) == "x:1"
    kubectl("rollout", "pause", "deploy/web")
    kubectl("rollout", "resume", "deploy/web")
    kubectl("rollout", "restart", "deploy/web")
    assert "successfully rolled out" in kubectl("rollout", "status", "deploy/web", "--timeout=10s")
    assert "kubectl.kubernetes.io/restartedAt" in kubectl("get", "deploy", "web", "-o", "yaml")
    events = kubectl("events", "--for", "deploy/web")
    assert "ScalingReplicaSet" in events
    assert "Scaled up replica set" in events


def test_get_prints_in_every_format_and_filters(kubectl: Any) -> None:
    """Columns, paths, templates, selectors, chunks."""
    kubectl("apply", "-f", "-", stdin=WEB + "---" + OTHERS)
    kubectl("rollout", "status", "deploy/web", "--timeout=10s")
    shown = kubectl("get", "pods", "-o", "custom-columns=I:.spec.containers[0].image,P:.status.phase")
    assert [line.split() for line in shown.splitlines()] == [["I", "P"], ["x:1", "Running"]]
    assert kubectl("get", "cm", "c", "-o", "go-template={{.data.a}}") == "b"
    assert kubectl("get", "pods", "-o", "jsonpath={.items[*].status.phase}") == "Running"
    assert len(kubectl("get", "pods", "--field-selector=status.phase=Running", "-o", "name").split()) == 1
    assert kubectl("get", "pods", "--field-selector=status.phase=Pending", "-o", "name") == ""
    assert kubectl("get", "cm,secrets", "-l", "set in (others)", "-o", "name").split() == ["configmap/c", "secret/s"]
    chunked = kubectl("get", "lease,cm,secret,pod", "-A", "--chunk-size=1", "-o", "name")
    assert chunked == kubectl("get", "lease,cm,secret,pod", "-A", "-o", "name")
    header = kubectl("get", "pods", "-o", "wide").splitlines()[0]
    assert header.split()[:6] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP"]
    names = {line.split("/")[0] for line in kubectl("get", "all", "-o", "name").split()}
    assert names == {"deployment.apps", "replicaset.apps", "pod"}
    listed = json.loads(kubectl("get", "deploy", "web", "--subresource=scale", "-o", "json"))
    assert (listed["kind"], listed["status"]["selector"]) == ("Scale", "app=web")


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("deployments", "NewReplicaSet:"), ("replicasets", "Controlled By:  Deployment/web"), ("services", "Endpoints:"),
        ("pods", "QoS Class:"), ("endpointslices", "TargetRef:  Pod/web-"), ("configmaps", "Data"),
        ("secrets", "a:  1 bytes"), ("serviceaccounts", "Image pull secrets"), ("leases", "Holder Identity:"),
        ("events", "Involved Object:"), ("nodes", "Non-terminated Pods:"), ("namespaces", "Status:"), ("folders", "Path:"),
        ("gadgets", "API Version:  toys.example.com/v1"),
    ],
)  # fmt: skip
def test_describe_knows_every_kind(described: Any, kind: str, told: str) -> None:
    """It reads more than the object itself: events, pods of a node, slices of a Service."""
    assert told in described("describe", kind)


@pytest.fixture(scope="module")
def described(plane: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One namespace with an object of every kind."""
    plane.api.ask("POST", "/api/v1/namespaces", None, {"metadata": {"name": "described"}})
    kubectl = Kubectl(str(plane.data_dir / "kubeconfig"), "described", tmp_path_factory.mktemp("described"))
    robot = "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: robot}\n"
    gadget = "---\napiVersion: toys.example.com/v1\nkind: Gadget\nmetadata: {name: g}\n"
    kubectl("apply", "-f", "-", stdin=WEB + "---" + OTHERS + robot + gadget)
    kubectl("expose", "deploy/web", "--port=80")
    kubectl("rollout", "status", "deploy/web", "--timeout=10s")
    kubectl("wait", "--for=jsonpath={.endpoints[0].conditions.ready}=true", "endpointslices", "--all", "--timeout=10s")
    return kubectl


def test_expose_makes_a_service_with_endpoints(kubectl: Any) -> None:
    """Its slices name the Pods."""
    kubectl("apply", "-f", "-", stdin=WEB)
    assert kubectl("expose", "deploy/web", "--port=80", "--target-port=8080") == "service/web exposed\n"
    kubectl("wait", "--for=jsonpath={.endpoints[0].conditions.ready}=true", "endpointslices", "--all", "--timeout=10s")
    service = json.loads(kubectl("get", "svc", "web", "-o", "json"))
    assert service["spec"]["clusterIP"].startswith("127.")
    assert service["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 8080}]


def test_nodes_are_cordoned_and_tainted(kubectl: Any) -> None:
    """Cordon, taint and their opposites are patches of a kind without namespace."""
    kubectl("cordon", "sim-0")
    assert "Ready,SchedulingDisabled" in kubectl("get", "node", "sim-0")
    kubectl("uncordon", "sim-0")
    kubectl("taint", "nodes", "sim-0", "k=v:PreferNoSchedule")
    assert "already has k taint" in kubectl("taint", "nodes", "sim-0", "k=w:PreferNoSchedule", code=1)
    kubectl("taint", "nodes", "sim-0", "k=w:PreferNoSchedule", "--overwrite")
    assert kubectl("get", "node", "sim-0", "-o", "jsonpath={.spec.taints[*].value}") == "w"
    kubectl("taint", "nodes", "sim-0", "k-")
    assert kubectl("get", "node", "sim-0", "-o", "jsonpath={.spec}").count("taint") == 0


def test_a_node_is_drained(kubectl: Any) -> None:
    """Its Pods are deleted, with options in protobuf, and run elsewhere; no eviction is served, and kubectl copes."""
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("rollout", "status", "deploy/web", "--timeout=10s")
    node = kubectl("get", "pods", "-o", "jsonpath={.items[0].spec.nodeName}")
    done = kubectl.run("drain", node, "--force", "--pod-selector=app=web", "--timeout=15s")
    assert done.returncode == 0, done.stderr
    kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=10s")
    assert kubectl("get", "pods", "--field-selector", f"spec.nodeName={node}", "-o", "name") == ""
    kubectl("uncordon", node)


def test_a_node_made_by_hand_keeps_its_status(kubectl: Any) -> None:
    """Kubelets, and people who fake them, register with capacity in one request."""
    node = {
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "by-hand"}, "spec": {"unschedulable": True},
        "status": {"capacity": {"cpu": "4"}, "conditions": [{"type": "Ready", "status": "False"}]},
    }  # fmt: skip
    kubectl("create", "-f", "-", stdin=json.dumps(node))
    assert kubectl("get", "node", "by-hand", "-o", "jsonpath={.status.capacity.cpu} {.status.allocatable.cpu}") == "4 4"
    assert kubectl.run("delete", "node", "by-hand").returncode == 0


def test_explain_and_discovery_list_everything(kubectl: Any) -> None:
    """Both are made from the OpenAPI and discovery documents alone."""
    elder = kubectl("explain", "deployment.spec.strategy", "--output", "plaintext-openapiv2")
    assert "RollingUpdate or Recreate." in elder
    explained = kubectl("explain", "deployment", "--recursive")
    assert "terminationGracePeriodSeconds\t<integer>" in explained
    assert "matchLabels\t<map[string]string>" in explained
    wide = kubectl("api-resources", "-o", "wide", "--no-headers")
    gadgets = next(line for line in wide.splitlines() if line.startswith("gadgets"))
    assert gadgets.split() == [
        "gadgets", "gad", "toys.example.com/v1", "true", "Gadget", "create,delete,deletecollection,get,list,patch,update,watch",
    ]  # fmt: skip
    assert "apps/v1" in kubectl("api-versions").split()
    assert "is running at" in kubectl("cluster-info")


def test_a_pod_is_run_and_deleted_now(kubectl: Any) -> None:
    """`run` sends JSON; `--now` gives one second of grace."""
    kubectl("run", "p", "--image=x", "--labels=a=b")
    kubectl("wait", "--for=condition=Ready", "pod/p", "--timeout=10s")
    kubectl("delete", "pod", "p", "--now", "--timeout=10s")
    kubectl("apply", "-f", "-", stdin=POD)
    told = kubectl.run("delete", "pod", "--all", "--force", "--grace-period=0")
    assert told.returncode == 0, told.stderr
    assert kubectl("get", "pods", "-o", "name") == ""
