"""DaemonSets at work, on the real API and engine in virtual time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from reconcile.client import DeleteOptions
from reconcile.errors import InvalidError, Tree
from reconcile.kinds import kind_of
from reconcile.resources.apps import ControllerRevision, DaemonSet
from reconcile.resources.apps.daemonset_controller import daemonset_controller
from reconcile.resources.core import Node, Pod
from reconcile.resources.gc import garbage_collector
from reconcile.resources.kubelet.simulated import simulated_nodes
from reconcile.resources.scheduler import scheduler
from reconcile.runtime.testing.virtual import VirtualClock, virtual

PlaneOf = Callable[..., Any]


def daemon_set(image: str = "agent:1", inner: Tree | None = None, annotations: Tree | None = None, **spec: Any) -> Tree:
    """A DaemonSet `agent` whose Pods take a second to start."""
    template = {
        "metadata": {"labels": {"app": "agent"}, "annotations": {"reconcile.dev/sim-start-s": "1", **(annotations or {})}},
        "spec": {"containers": [{"name": "agent", "image": image}], **(inner or {})},
    }
    return {"metadata": {"name": "agent"}, "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": template, **spec}}


def parts(nodes: int = 4) -> tuple[Any, ...]:
    return daemonset_controller(), scheduler(), simulated_nodes(nodes, zones=2), garbage_collector()


def image(value: str) -> Tree:
    return {"spec": {"template": {"spec": {"containers": [{"name": "agent", "image": value}]}}}}


async def on_nodes(plane: Any) -> dict[str, str]:
    """Node -> image of its Pod (or Pods)."""
    found: dict[str, str] = {}
    for pod in await plane.all(Pod):
        node = pod["spec"].get("nodeName", "")
        found[node] = ",".join(sorted(filter(None, (found.get(node), pod["spec"]["containers"][0]["image"]))))
    return found


async def settled(plane: Any, count: int, limit_s: float = 120.0) -> Tree:
    """Wait until so many nodes are meant, and have an available Pod of the newest template."""

    async def fact() -> Tree | None:
        tree: Tree = await plane.get(DaemonSet, "agent")
        status = tree["status"]
        counts = [status.get(n, 0) for n in ("desiredNumberScheduled", "numberAvailable", "updatedNumberScheduled")]
        return tree if counts == [count] * 3 and status["observedGeneration"] == tree["metadata"]["generation"] else None

    tree: Tree = await plane.until(fact, f"available on {count} nodes", limit_s)
    return tree


@virtual
async def test_each_node_has_one_new_ones_too(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Bound by the scheduler, each to the node that it is for."""
    async with control_plane(clock, *parts()) as plane:
        await clock.sleep(1)
        await plane.create(DaemonSet, daemon_set())
        await settled(plane, 4)
        assert await on_nodes(plane) == {f"sim-{n}": "agent:1" for n in range(4)}
        await plane.engine.start(simulated_nodes(1, prefix="late-"))
        await settled(plane, 5)
        assert "late-0" in await on_nodes(plane)
        await plane.delete(Node, "late-0")
        await settled(plane, 4)


@virtual
async def test_only_nodes_that_are_meant_and_that_bear_it(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """A selector, a taint that nothing tolerates, and one that makes what runs leave."""
    async with control_plane(clock, *parts()) as plane:
        await clock.sleep(1)
        taint = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
        await plane.patch(Node, "sim-0", {"spec": {"taints": [taint]}})
        await plane.create(DaemonSet, daemon_set(inner={"nodeSelector": {"topology.kubernetes.io/zone": "zone-0"}}))
        await settled(plane, 1)
        assert list(await on_nodes(plane)) == ["sim-2"]
        await plane.patch(Node, "sim-2", {"spec": {"taints": [taint]}})
        await clock.sleep(3)
        assert list(await on_nodes(plane)) == ["sim-2"], "who runs already stays"
        assert (await plane.get(DaemonSet, "agent"))["status"]["numberMisscheduled"] == 1
        await plane.patch(Node, "sim-2", {"spec": {"taints": [{**taint, "effect": "NoExecute"}]}})
        await clock.sleep(3)
        assert await on_nodes(plane) == {}
        await plane.patch(Node, "sim-0", {"spec": {"taints": None}})
        await settled(plane, 1)


@virtual
async def test_a_node_that_is_cordoned_keeps_and_gets_its_daemon(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """drain leaves daemons alone, because they would come back at once."""
    async with control_plane(clock, *parts(2)) as plane:
        await clock.sleep(1)
        await plane.patch(Node, "sim-0", {"spec": {"unschedulable": True}})
        await plane.create(DaemonSet, daemon_set())
        await settled(plane, 2)


@virtual
async def test_an_update_replaces_as_many_at_a_time_as_may_be_missing(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """And stops where the new ones are not well."""
    async with control_plane(clock, *parts()) as plane:
        await clock.sleep(1)
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}
        await plane.create(DaemonSet, daemon_set(updateStrategy=strategy))
        await settled(plane, 4)
        bad = image("agent:2")
        bad["spec"]["template"]["metadata"] = {"annotations": {"reconcile.dev/sim-ready": "false"}}
        await plane.patch(DaemonSet, "agent", bad)
        await clock.sleep(20)
        assert sorted((await on_nodes(plane)).values()) == ["agent:1", "agent:1", "agent:2", "agent:2"]
        good = image("agent:3")
        good["spec"]["template"]["metadata"] = {"annotations": {"reconcile.dev/sim-ready": None}}
        await plane.patch(DaemonSet, "agent", good)
        await settled(plane, 4)
        assert set((await on_nodes(plane)).values()) == {"agent:3"}
        assert len(await plane.all(ControllerRevision)) == 3


@virtual
async def test_with_a_surge_the_new_one_is_there_before_the_old_one_goes(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """No node is without its log collector."""
    async with control_plane(clock, *parts()) as plane:
        await clock.sleep(1)
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}}
        await plane.create(DaemonSet, daemon_set(updateStrategy=strategy))
        await settled(plane, 4)
        await plane.patch(DaemonSet, "agent", image("agent:2"))
        least, most = 4, 0
        for _ in range(200):
            await clock.sleep(0.1)
            pods = [pod for pod in await plane.all(Pod) if not pod["metadata"].get("deletionTimestamp")]
            ready = {p["spec"]["nodeName"] for p in pods if p["status"].get("phase") == "Running"}
            least, most = min(least, len(ready)), max(most, len(pods))
        assert (least, most) == (4, 5)
        await settled(plane, 4)
        assert set((await on_nodes(plane)).values()) == {"agent:2"}


@virtual
async def test_a_failed_daemon_is_made_again_ever_more_slowly(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Pods that the kubelet refuses must not be made ten times a second."""
    async with control_plane(clock, *parts(1)) as plane:
        await clock.sleep(1)
        await plane.create(DaemonSet, daemon_set())
        await settled(plane, 1)
        seen: list[str] = []
        ends_s = clock.now() + 20
        while clock.now() < ends_s:
            for pod in await plane.all(Pod):
                if pod["metadata"]["name"] not in seen and pod["status"].get("phase") == "Running":
                    seen.append(pod["metadata"]["name"])
                    await plane.patch(Pod, pod["metadata"]["name"], {"status": {"phase": "Failed"}}, "status")
            await clock.sleep(0.1)
        assert 4 <= len(seen) <= 6, "at once, then after 1, 2, 4 and 8 seconds, and a second for each start"
        assert "FailedDaemonPod" in [reason for reason, _ in await plane.events("agent")]


@virtual
async def test_it_adopts_and_everything_goes_with_it(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Deleted without its Pods and made again, it finds them."""
    async with control_plane(clock, *parts(2)) as plane:
        await clock.sleep(1)
        await plane.create(DaemonSet, daemon_set())
        await settled(plane, 2)
        before = {pod["metadata"]["uid"] for pod in await plane.all(Pod)}
        await plane.client.delete(kind_of(DaemonSet), "agent", "default", DeleteOptions(propagation="Orphan"))
        await clock.sleep(3)
        await plane.create(DaemonSet, daemon_set())
        await settled(plane, 2)
        assert {pod["metadata"]["uid"] for pod in await plane.all(Pod)} == before
        await plane.delete(DaemonSet, "agent")
        await clock.sleep(20)
        assert (await plane.all(Pod), await plane.all(ControllerRevision)) == ([], [])


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"updateStrategy": {"type": "Sometimes"}}, 'supported values: "OnDelete", "RollingUpdate"'),
        (
            {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}}},
            "may not be set when maxUnavailable is non-zero",
        ),
        ({"selector": {"matchLabels": {"app": "x"}}}, "`selector` does not match template `labels`"),
    ],
)  # fmt: skip
@virtual
async def test_what_cannot_work_is_refused(spec: Tree, text: str, clock: VirtualClock, control_plane: PlaneOf) -> None:
    """With the reference server's words."""
    async with control_plane(clock) as plane:
        with pytest.raises(InvalidError) as refused:
            await plane.create(DaemonSet, daemon_set(**spec))
        assert text in str(refused.value)


@virtual
async def test_a_revision_holds_its_template_with_keys_in_order(clock: VirtualClock, control_plane: Any) -> None:
    """Clients make the text of a template anew, with keys in order, and look for the revision that holds the same."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(DaemonSet, daemon_set())
        await clock.sleep(2)
        (revision,) = await plane.all(ControllerRevision)
        assert json.dumps(revision["data"]) == json.dumps(revision["data"], sort_keys=True)
