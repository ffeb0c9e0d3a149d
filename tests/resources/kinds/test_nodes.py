"""Nodes that fall silent or vanish, and what becomes of their Pods."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from reconcile.clock import timestamp_micro
from reconcile.errors import Tree
from reconcile.kinds import kind_of
from reconcile.resources.coordination import Lease
from reconcile.resources.core import Node, Pod
from reconcile.resources.core.node_lifecycle import node_lifecycle_controller
from reconcile.resources.core.pod_gc import pod_garbage_collector
from reconcile.runtime.testing.virtual import VirtualClock, virtual

PlaneOf = Callable[..., Any]
READY = {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}


async def ready_status(plane: Any) -> str:
    conditions = (await plane.get(Node, "n1"))["status"]["conditions"]
    return str(conditions[0]["status"])


@virtual
async def test_a_node_that_falls_silent_is_unknown_and_tainted_until_it_speaks(
    clock: VirtualClock, control_plane: PlaneOf
) -> None:
    """The scheduler must stop sending Pods where nobody answers, and start again when somebody does."""
    async with control_plane(clock, node_lifecycle_controller()) as plane:
        await plane.create(Node, {"metadata": {"name": "n1"}})
        await plane.patch(Node, "n1", {"status": READY}, subresource="status")
        lease = {"metadata": {"name": "n1"}, "spec": {"holderIdentity": "n1", "renewTime": timestamp_micro(clock.now())}}
        lease = await plane.client.create(kind_of(Lease), lease, "kube-node-lease")
        for _ in range(10):
            await clock.sleep(10)
            renewed: Tree = {**lease["spec"], "renewTime": timestamp_micro(clock.now())}
            lease = await plane.client.update(kind_of(Lease), {**lease, "spec": renewed}, "kube-node-lease")
            assert await ready_status(plane) == "True"
        await clock.sleep(70)
        assert await ready_status(plane) == "Unknown"
        taints = (await plane.get(Node, "n1"))["spec"]["taints"]
        assert {(t["key"], t["effect"]) for t in taints} == {
            ("node.kubernetes.io/unreachable", "NoExecute"), ("node.kubernetes.io/unreachable", "NoSchedule"),
        }  # fmt: skip
        await plane.patch(Node, "n1", {"status": READY}, subresource="status")
        renewed = {**lease["spec"], "renewTime": timestamp_micro(clock.now())}
        await plane.client.update(kind_of(Lease), {**lease, "spec": renewed}, "kube-node-lease")
        await clock.sleep(12)
        assert "taints" not in (await plane.get(Node, "n1")).get("spec", {})


@virtual
async def test_pods_of_a_node_that_is_gone_fail_and_go(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Nobody else would ever end them, and their controller would wait for ever."""
    async with control_plane(clock, pod_garbage_collector()) as plane:
        await plane.create(Node, {"metadata": {"name": "n1"}})
        for name in ("n1", "vanished"):
            spec = {"nodeName": name, "containers": [{"name": "c", "command": ["x"]}]}
            await plane.create(Pod, {"metadata": {"name": f"on-{name}"}, "spec": spec})
        await clock.sleep(30)
        assert len(await plane.all(Pod)) == 2
        await clock.sleep(60)
        assert [pod["metadata"]["name"] for pod in await plane.all(Pod)] == ["on-n1"]


@virtual
async def test_a_watch_of_nodes_that_take_pods_sees_those_that_say_nothing_of_it(
    clock: VirtualClock, control_plane: PlaneOf
) -> None:
    """Who waits for such nodes would wait for ever; a narrowed watch asks the object itself, not only the selector."""
    schedulable = "spec.unschedulable=false"
    async with control_plane(clock) as plane, aclosing(plane.client.watch(kind_of(Node), fields=schedulable)) as changes:
        await plane.create(Node, {"metadata": {"name": "n1"}})
        assert (await anext(changes)).type == "ADDED"
        await plane.patch(Node, "n1", {"spec": {"unschedulable": True}})
        assert (await anext(changes)).type == "DELETED"
        await plane.patch(Node, "n1", {"spec": {"unschedulable": None}})
        assert (await anext(changes)).type == "ADDED"
