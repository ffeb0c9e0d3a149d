"""The scheduler at work, on the real API and engine in virtual time."""

from __future__ import annotations

from typing import Any

from reconcile.errors import ForbiddenError, Tree
from reconcile.kinds import kind_of
from reconcile.resources.core import Node, Pod
from reconcile.resources.scheduler import Plugin, scheduler
from reconcile.runtime.testing.virtual import VirtualClock, virtual


def pod(name: str, cpu: str = "1", **spec: Any) -> Tree:
    """A Pod that asks for so much CPU."""
    container = {"name": "c", "image": "x:1", "resources": {"requests": {"cpu": cpu}}}
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}


async def add_node(plane: Any, name: str, cpu: str = "4", **spec: Any) -> None:
    """Register a node."""
    await plane.create(Node, {"metadata": {"name": name}, "spec": spec})
    await plane.patch(Node, name, {"status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "10"}}}, "status")


async def node_of(plane: Any, name: str) -> str:
    """Where a Pod was bound to."""
    return str((await plane.get(Pod, name))["spec"].get("nodeName", ""))


def scheduled(tree: Tree) -> Tree:
    """The PodScheduled condition; empty where there is none."""
    found: Tree = next((c for c in tree["status"].get("conditions") or () if c["type"] == "PodScheduled"), {})
    return found


@virtual
async def test_a_pod_is_bound_and_an_event_says_where(clock: VirtualClock, control_plane: Any) -> None:
    """The plain case."""
    async with control_plane(clock, scheduler()) as plane:
        await add_node(plane, "n1")
        await plane.create(Pod, pod("a"))
        await plane.until(lambda: node_of(plane, "a"), "bound")
        assert scheduled(await plane.get(Pod, "a"))["status"] == "True"
        assert await plane.events("a") == [("Scheduled", "Successfully assigned default/a to n1")]


@virtual
async def test_a_pod_without_a_place_says_why_once_and_goes_when_it_can(clock: VirtualClock, control_plane: Any) -> None:
    """A pending Pod must explain itself, must not be rewritten over and over, and must not wait longer than needed."""
    async with control_plane(clock, scheduler()) as plane:
        await add_node(plane, "n1")
        await plane.create(Pod, pod("first", "3"))
        await plane.until(lambda: node_of(plane, "first"), "bound")
        await plane.create(Pod, pod("second", "2"))

        async def told() -> Any:
            return scheduled(await plane.get(Pod, "second")).get("message")

        message = await plane.until(told, "condition")
        assert message == "0/1 nodes are available: 1 Insufficient cpu. Needs 2 cpu, largest free is 1 on n1."
        assert ("FailedScheduling", message) in await plane.events("second")
        written = (await plane.get(Pod, "second"))["metadata"]["resourceVersion"]
        await clock.sleep(700)
        assert (await plane.get(Pod, "second"))["metadata"]["resourceVersion"] == written
        began_s = clock.now()
        await plane.delete(Pod, "first", 0)
        await plane.until(lambda: node_of(plane, "second"), "bound after the first went")
        assert clock.now() - began_s < 1


@virtual
async def test_a_new_node_helps_a_waiting_pod(clock: VirtualClock, control_plane: Any) -> None:
    """Also one that only becomes schedulable."""
    async with control_plane(clock, scheduler()) as plane:
        await add_node(plane, "n1", unschedulable=True)
        await plane.create(Pod, pod("a"))
        await clock.sleep(30)
        assert scheduled(await plane.get(Pod, "a"))["reason"] == "Unschedulable"
        assert scheduled(await plane.get(Pod, "a"))["observedGeneration"] == 1
        await plane.patch(Node, "n1", {"spec": {"unschedulable": None}})
        await plane.until(lambda: node_of(plane, "a"), "bound after uncordon", 2)


@virtual
async def test_gated_pods_and_those_of_other_schedulers_are_left_alone(clock: VirtualClock, control_plane: Any) -> None:
    """Two schedulers can share a cluster, and a gate holds until it is taken away."""
    async with control_plane(clock, scheduler(), scheduler("second")) as plane:
        await add_node(plane, "n1")
        await plane.create(Pod, pod("gated", schedulingGates=[{"name": "wait"}]))
        await plane.create(Pod, pod("other", schedulerName="third"))
        await plane.create(Pod, pod("ours", schedulerName="second"))
        await plane.until(lambda: node_of(plane, "ours"), "bound by the second")
        await clock.sleep(20)
        assert (await node_of(plane, "gated"), await node_of(plane, "other")) == ("", "")
        await plane.patch(Pod, "gated", {"spec": {"schedulingGates": None}})
        await plane.until(lambda: node_of(plane, "gated"), "bound once ungated")


@virtual
async def test_a_failed_binding_frees_the_place_and_is_tried_again(clock: VirtualClock, control_plane: Any) -> None:
    """Capacity must not leak into Pods that were never bound."""
    async with control_plane(clock, scheduler()) as plane:
        await add_node(plane, "n1", "1")
        refused: list[str] = []

        def refuse(review: Any) -> None:
            if review.subresource == "binding" and review.tree["metadata"]["name"] == "unlucky" and len(refused) < 2:
                refused.append("once")
                raise ForbiddenError("not now")

        plane.client.api.add_validator(kind_of(Pod), refuse)
        await plane.create(Pod, pod("unlucky"))
        await plane.until(lambda: node_of(plane, "unlucky"), "bound in the end", 20)
        assert len(refused) == 2
        assert any("not now" in text for _, text in await plane.events("unlucky"))


@virtual
async def test_nodes_are_never_filled_beyond_what_they_offer(clock: VirtualClock, control_plane: Any) -> None:
    """Many decisions run ahead of their bindings; what was decided must count at once."""
    async with control_plane(clock, scheduler()) as plane:
        for number in range(5):
            await add_node(plane, f"n{number}", "4")
        for number in range(30):
            await plane.create(Pod, pod(f"p{number}", "1"))
        await clock.sleep(30)
        nodes = [p["spec"].get("nodeName", "") for p in await plane.all(Pod)]
        assert sorted(nodes.count(f"n{number}") for number in range(5)) == [4] * 5
        assert nodes.count("") == 10


@virtual
async def test_a_plugin_that_raises_stops_one_pod_not_all(clock: VirtualClock, control_plane: Any) -> None:
    """The scheduler is everybody's; a mistake in a plugin is told where it hurts."""

    class Broken(Plugin):
        name, filters = "Broken", True

        def reject(self, pod: Any, node: Any, cycle: Any) -> tuple[str, ...]:
            if pod.name == "bad":
                raise ZeroDivisionError("oops")
            return ()

    async with control_plane(clock, scheduler(plugins=[Broken()])) as plane:
        await add_node(plane, "n1")
        await plane.create(Pod, pod("bad", "2"))
        await plane.create(Pod, pod("good"))
        await plane.until(lambda: node_of(plane, "good"), "bound")
        assert ("FailedScheduling", "deciding failed: ZeroDivisionError: oops") in await plane.events("bad")


@virtual
async def test_a_plugin_from_outside_takes_part(clock: VirtualClock, control_plane: Any) -> None:
    """Users can teach the scheduler rules of their own."""

    class OnlyEven(Plugin):
        name, filters = "OnlyEven", True

        def reject(self, pod: Any, node: Any, cycle: Any) -> tuple[str, ...]:
            return () if int(node.name[1:]) % 2 == 0 else ("node(s) had an odd name",)

    async with control_plane(clock, scheduler(plugins=[OnlyEven()])) as plane:
        await add_node(plane, "n1")
        await plane.create(Pod, pod("a"))

        async def told() -> Any:
            return scheduled(await plane.get(Pod, "a")).get("message")

        assert await plane.until(told, "condition") == "0/1 nodes are available: 1 node(s) had an odd name."
        await add_node(plane, "n2")
        await plane.until(lambda: node_of(plane, "a"), "bound")
        assert await node_of(plane, "a") == "n2"
