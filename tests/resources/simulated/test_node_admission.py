"""What a node does not take: Pods that were put on it by name and do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from reconcile.client import MERGE_PATCH, Patch
from reconcile.errors import Tree
from reconcile.kinds import kind_of
from reconcile.resources.core import Node, Pod
from reconcile.resources.kubelet.admission import NodeAdmission
from reconcile.resources.kubelet.simulated import simulated_nodes
from reconcile.runtime.testing.virtual import VirtualClock, virtual


def node(taints: Sequence[Tree] = (), more: Tree | None = None) -> Tree:
    """A Node `n` with a CPU, a gigabyte, and room for three Pods."""
    offers = {"cpu": "1", "memory": "1Gi", "pods": "3", **(more or {})}
    return {"metadata": {"name": "n", "labels": {}}, "spec": {"taints": list(taints)}, "status": {"allocatable": offers}}


def pod(name: str, requests: Tree | None = None, port: int = 0, status: Tree | None = None, **spec: Any) -> Tree:
    """A Pod that is on the node already."""
    container: Tree = {"name": "c", "image": "x:1", "resources": {"requests": requests or {}}}
    if port:
        container["ports"] = [{"containerPort": port, "hostPort": port}]
    meta = {"name": name, "namespace": "default", "uid": name}
    return {
        "metadata": meta,
        "spec": {"nodeName": "n", "containers": [container], **spec},
        "status": status or {"phase": "Pending"},
    }


@pytest.mark.parametrize(
    ("tree", "reason", "why"),
    [
        (
            pod("p", {"cpu": "600m"}), "OutOfcpu",
            "Node didn't have enough resource: cpu, requested: 600, used: 500, capacity: 1000",
        ),
        (
            pod("p", {"memory": "1Gi"}), "OutOfmemory",
            "Node didn't have enough resource: memory, requested: 1073741824, used: 104857600, capacity: 1073741824",
        ),
        (
            pod("p", {"ephemeral-storage": "1Gi"}), "OutOfephemeral-storage",
            "Node didn't have enough resource: ephemeral-storage, requested: 1073741824, used: 0, capacity: 0",
        ),
        (
            pod("p", {"example.com/known": "2"}), "OutOfexample.com/known",
            "Node didn't have enough resource: example.com/known, requested: 2, used: 0, capacity: 1",
        ),
        (
            pod("p", port=80), "NodePorts",
            "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
        ),
        (
            pod("p", nodeSelector={"disk": "ssd"}), "NodeAffinity",
            "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ),
        (
            pod("p", os={"name": "windows"}), "PodOSNotSupported",
            "Failed to admit pod as the OS field doesn't match node OS",
        ),
    ],
)  # fmt: skip  # one field a word reads better packed
def test_a_pod_that_does_not_fit_is_told_why_in_the_reference_kubelets_words(tree: Tree, reason: str, why: str) -> None:
    """Owners and people read the reason."""
    admission = NodeAdmission()
    admission.describe(node(more={"example.com/known": "1"}))
    assert admission.admit(pod("first", {"cpu": "500m", "memory": "100Mi"}, port=80)) is None
    rejection = admission.admit(tree)
    assert rejection is not None
    assert (rejection.reason, rejection.why) == (reason, why)
    assert rejection.status(tree, 0.0)["message"] == f"Pod was rejected: {why}"


def test_what_is_not_the_nodes_to_refuse_is_let_in() -> None:
    """Devices that the node does not know, critical Pods, and what ran before."""
    admission = NodeAdmission()
    admission.describe(node())
    assert admission.admit(pod("device", {"example.com/unknown": "2"})) is None
    assert admission.admit(pod("critical", {"cpu": "5"}, priority=2_000_000_000)) is None
    assert admission.admit(pod("ran", {"cpu": "5"}, status={"phase": "Running"})) is None
    assert admission.admit(pod("started", {"cpu": "5"}, status={"phase": "Pending", "startTime": "2026-01-01T00:00:00Z"})) is None


def test_room_comes_back_with_each_pod_that_ends() -> None:
    """Else a node would refuse everything after a while."""
    admission = NodeAdmission()
    admission.describe(node())
    for name in ("a", "b", "c"):
        assert admission.admit(pod(name, {"cpu": "300m"})) is None
    refused = admission.admit(pod("d"))
    assert refused is not None
    assert refused.reason == "OutOfpods"
    assert refused.why == "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3"
    admission.count(pod("a", {"cpu": "300m"}, status={"phase": "Succeeded"}))
    assert admission.admit(pod("d", {"cpu": "400m"})) is None
    admission.release("b")
    admission.release("b")
    assert admission.admit(pod("e", {"cpu": "300m"})) is None


def test_only_taints_that_end_pods_matter() -> None:
    """NoSchedule is for schedulers."""
    admission = NodeAdmission()
    admission.describe(node(taints=[{"key": "a", "effect": "NoSchedule"}]))
    assert admission.admit(pod("p")) is None
    admission.describe(node(taints=[{"key": "a", "effect": "NoExecute"}]))
    refused = admission.admit(pod("q"))
    assert refused is not None
    assert refused.why == "Predicate TaintToleration failed: node(s) had untolerated taint(s)"
    assert admission.admit(pod("r", tolerations=[{"operator": "Exists"}])) is None


@virtual
async def test_a_simulated_node_refuses_what_does_not_fit(clock: VirtualClock, control_plane: Any) -> None:
    """A StatefulSet makes such a Pod again and again, until the port is free."""
    async with control_plane(clock, simulated_nodes(1)) as plane:
        await clock.sleep(1)

        def bound(name: str) -> Tree:
            port = {"containerPort": 80, "hostPort": 8080}
            return {
                "metadata": {"name": name},
                "spec": {"nodeName": "sim-0", "containers": [{"name": "c", "image": "x:1", "ports": [port]}]},
            }

        async def phase(name: str) -> str:
            return str((await plane.get(Pod, name))["status"]["phase"])

        await plane.create(Pod, bound("first"))
        await clock.sleep(1)
        await plane.create(Pod, bound("second"))
        await clock.sleep(1)
        assert await phase("first") == "Running"
        status = (await plane.get(Pod, "second"))["status"]
        assert (status["phase"], status["reason"]) == ("Failed", "NodePorts")
        assert status["message"].startswith("Pod was rejected: Predicate NodePorts failed")
        assert [reason for reason, _ in await plane.events("second")] == ["NodePorts"]
        await plane.delete(Pod, "first")
        await plane.delete(Pod, "second")
        await clock.sleep(1)
        await plane.create(Pod, bound("third"))
        await clock.sleep(1)
        assert await phase("third") == "Running"


@virtual
async def test_a_node_that_was_just_enlarged_takes_what_the_scheduler_saw_room_for(
    clock: VirtualClock, control_plane: Any
) -> None:
    """News of the Node and of the Pod come on two ways: whichever is first, the Pod must not fail."""
    async with control_plane(clock, simulated_nodes(1)) as plane:
        await clock.sleep(1)
        await plane.client.patch(
            kind_of(Node),
            "sim-0",
            Patch(MERGE_PATCH, {"status": {"allocatable": {"example.com/known": "1"}}}),
            subresource="status",
        )
        await clock.sleep(1)
        await plane.client.patch(
            kind_of(Node),
            "sim-0",
            Patch(MERGE_PATCH, {"status": {"allocatable": {"example.com/known": "3"}}}),
            subresource="status",
        )
        asked = {"requests": {"example.com/known": "3"}, "limits": {"example.com/known": "3"}}
        container = {"name": "c", "image": "x:1", "resources": asked}
        await plane.create(Pod, {"metadata": {"name": "p"}, "spec": {"nodeName": "sim-0", "containers": [container]}})
        await clock.sleep(1)
        assert (await plane.get(Pod, "p"))["status"]["phase"] == "Running"


@virtual
async def test_nobody_is_refused_for_a_pod_that_ended_unheard_of(clock: VirtualClock, control_plane: Any) -> None:
    """The news may be late, or lost until the next list; the server knows."""
    async with control_plane(clock) as plane:
        await plane.create(Node, node())
        admission = NodeAdmission()
        admission.describe(node())
        gone, over, there = [pod(name, {"cpu": "300m"}) for name in ("gone", "over", "there")]
        for tree in (gone, over, there):
            assert admission.admit(tree) is None
        for tree in (over, there):
            made = await plane.create(Pod, {**tree, "metadata": {"name": tree["metadata"]["name"]}})
            admission.release(tree["metadata"]["uid"])
            assert admission.admit(made) is None
        await plane.patch(Pod, "over", {"status": {"phase": "Succeeded"}}, "status")
        late = pod("late", {"cpu": "700m"})
        assert admission.admit(late) is not None
        refused = await admission.judge_again(pod("greedy", {"cpu": "701m"}), plane.client)
        assert refused is not None
        assert refused.why == "Node didn't have enough resource: cpu, requested: 701, used: 300, capacity: 1000"
        assert await admission.judge_again(late, plane.client) is None
