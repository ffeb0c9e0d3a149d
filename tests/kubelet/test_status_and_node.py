"""What a kubelet writes: the pods' statuses beside those who write them too, and its own Node and Lease."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from reconcile.client import Patch
from reconcile.clock import parse_timestamp
from reconcile.errors import NotFoundError, Tree
from reconcile.kinds import kind_of
from reconcile.resources.coordination import Lease
from reconcile.resources.core import Node, Pod

Cluster = AbstractAsyncContextManager[Any]  # Any: the conftest's Plane, which importlib mode keeps from being imported
MakePod = Callable[..., Tree]
GATE = "example.com/in-load-balancer"


def condition(tree: Tree, type_: str) -> Tree:
    found: list[Tree] = [c for c in tree["status"].get("conditions") or () if c["type"] == type_]
    return found[0] if found else {}


async def test_a_readiness_gate_is_waited_for_and_kept(plane: Cluster, make_pod: MakePod) -> None:
    """Somebody else's condition decides too; the kubelet's own writes must not lose it."""
    async with plane as cluster:
        await cluster.start_kubelet()
        await cluster.create(make_pod(["sleep", "1000"], spec={"readinessGates": [{"conditionType": GATE}]}))
        pod = await cluster.until(lambda p: condition(p, "ContainersReady").get("status") == "True")
        assert condition(pod, "Ready")["reason"] == "ReadinessGatesNotReady"
        conditions = [*pod["status"]["conditions"], {"type": GATE, "status": "True"}]
        body = {"status": {"conditions": conditions}}
        await cluster.client.patch(
            kind_of(Pod), "p", Patch("application/merge-patch+json", body), "default", subresource="status"
        )
        pod = await cluster.until(lambda p: condition(p, "Ready").get("status") == "True")
        assert condition(pod, GATE)["status"] == "True"


async def test_a_status_that_somebody_overwrote_is_told_again(plane: Cluster, make_pod: MakePod) -> None:
    """What is true is what the node sees, not what was written last."""
    async with plane as cluster:
        await cluster.start_kubelet()
        await cluster.create(make_pod(["sleep", "1000"]))
        await cluster.until(lambda p: p["status"]["phase"] == "Running")
        body = {"status": {"phase": "Pending", "podIP": "10.1.2.3"}}
        await cluster.client.patch(
            kind_of(Pod), "p", Patch("application/merge-patch+json", body), "default", subresource="status"
        )
        await cluster.until(lambda p: p["status"]["phase"] == "Running" and p["status"]["podIP"].startswith("127."))


async def test_a_pod_that_does_not_change_is_not_written(plane: Cluster, make_pod: MakePod) -> None:
    """Every write wakes everybody who watches pods: silence is part of the contract."""
    async with plane as cluster:
        await cluster.start_kubelet()
        await cluster.create(make_pod(["sleep", "1000"]))
        before = await cluster.until(lambda p: condition(p, "Ready").get("status") == "True")
        await cluster.client.patch(
            kind_of(Pod), "p", Patch("application/merge-patch+json", {"metadata": {"labels": {"a": "b"}}}), "default"
        )
        await asyncio.sleep(0.4)
        after = await cluster.pod()
        assert int(after["metadata"]["resourceVersion"]) > int(before["metadata"]["resourceVersion"])
        assert after["status"] == before["status"]


async def test_a_node_registers_itself_and_beats(plane: Cluster) -> None:
    """The scheduler fills what it finds there; the Lease says that somebody is at home."""
    async with plane as cluster:
        await cluster.start_kubelet()

        async def registered() -> Tree | None:
            try:
                node: Tree = await cluster.client.get(kind_of(Node), "node-1")
            except NotFoundError:
                return None
            return node if node.get("status", {}).get("conditions") else None

        node = await cluster.eventually(registered)
        assert condition(node, "Ready")["status"] == "True"
        assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "node-1"
        assert node["spec"]["podCIDR"] == f"{cluster.net}.16.0/24"
        assert {"cpu", "memory", "pods"} <= set(node["status"]["allocatable"])

        async def leased() -> Tree | None:
            try:
                return dict(await cluster.client.get(kind_of(Lease), "node-1", "kube-node-lease"))
            except NotFoundError:
                return None

        lease = await cluster.eventually(leased)
        assert lease["spec"]["holderIdentity"] == "node-1"
        node = await cluster.client.get(kind_of(Node), "node-1")
        owner = {"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": node["metadata"]["uid"]}
        assert lease["metadata"]["ownerReferences"] == [owner], "it goes with its Node"
        assert abs(parse_timestamp(lease["spec"]["renewTime"]) - cluster.clock.now()) < 20
