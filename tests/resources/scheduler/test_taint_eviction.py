"""Taints that end Pods: at once, after the time that a Pod tolerates, or never."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from reconcile.errors import Tree
from reconcile.resources.core import Node, Pod
from reconcile.resources.scheduler import taint_eviction
from reconcile.resources.scheduler.taint_eviction import tolerated_s
from reconcile.resources.scheduler.terms import Taint
from reconcile.runtime.testing.virtual import VirtualClock, virtual

PlaneOf = Callable[..., Any]
GONE, SLOW = Taint("gone", "", "NoExecute"), Taint("slow", "disk", "NoExecute")


def tolerating(*tolerations: Tree) -> Tree:
    return {"metadata": {"name": "p"}, "spec": {"tolerations": list(tolerations)}}


@pytest.mark.parametrize(
    ("tolerations", "wanted"),
    [
        ([], 0.0),
        ([{"key": "gone", "operator": "Exists"}], 0.0),
        ([{"operator": "Exists"}], math.inf),
        ([{"key": "gone", "operator": "Exists"}, {"key": "slow", "value": "disk"}], math.inf),
        ([{"operator": "Exists", "tolerationSeconds": 30}], 30.0),
        ([{"operator": "Exists"}, {"key": "slow", "operator": "Exists", "tolerationSeconds": 5}], 5.0),
        ([{"operator": "Exists", "tolerationSeconds": -1}], 0.0),
        ([{"operator": "Exists", "effect": "NoSchedule"}], 0.0),
    ],
)
def test_how_long_a_pod_may_stay(tolerations: list[Tree], wanted: float) -> None:
    assert tolerated_s(tolerating(*tolerations), [GONE, SLOW]) == wanted


def pod(name: str, node: str, seconds: float | None = None, *, tolerates: bool = True) -> Tree:
    toleration = {"key": "gone", "operator": "Exists", "effect": "NoExecute"}
    if seconds is not None:
        toleration["tolerationSeconds"] = seconds  # type: ignore[assignment]  # a JSON object
    spec = {"nodeName": node, "containers": [{"name": "c", "image": "x"}], "tolerations": [toleration] if tolerates else []}
    return {"metadata": {"name": name}, "spec": spec}


async def going(plane: Any) -> set[str]:
    return {tree["metadata"]["name"] for tree in await plane.all(Pod) if "deletionTimestamp" in tree["metadata"]}


@virtual
async def test_pods_leave_a_tainted_node_when_their_time_is_over(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Those that come later, too; and none of another node."""
    taint = {"spec": {"taints": [{"key": "gone", "effect": "NoExecute"}]}}
    async with control_plane(clock, taint_eviction()) as plane:
        for name in ("a", "b"):
            await plane.create(Node, {"metadata": {"name": name}})
        for tree in (
            pod("now", "a", tolerates=False),
            pod("soon", "a", 10),
            pod("never", "a"),
            pod("other", "b", tolerates=False),
        ):
            await plane.create(Pod, tree)
        await plane.engine.settled()
        assert await going(plane) == set()

        await plane.patch(Node, "a", taint)
        await plane.engine.settled()
        assert await going(plane) == {"now"}
        await plane.create(Pod, pod("late", "a", 3))
        await clock.sleep(5.0)
        assert await going(plane) == {"now", "late"}
        await clock.sleep(6.0)
        assert await going(plane) == {"now", "late", "soon"}
        (gone,) = [tree for tree in await plane.all(Pod) if tree["metadata"]["name"] == "now"]
        assert [c["reason"] for c in gone["status"]["conditions"]] == ["DeletionByTaintManager"]


@virtual
async def test_a_taint_that_goes_in_time_ends_nothing(clock: VirtualClock, control_plane: PlaneOf) -> None:
    async with control_plane(clock, taint_eviction()) as plane:
        await plane.create(Node, {"metadata": {"name": "a"}, "spec": {"taints": [{"key": "gone", "effect": "NoExecute"}]}})
        await plane.create(Pod, pod("p", "a", 10))
        await clock.sleep(8.0)
        await plane.patch(Node, "a", {"spec": {"taints": None}})
        await clock.sleep(8.0)
        assert await going(plane) == set()
        await plane.patch(Node, "a", {"spec": {"taints": [{"key": "gone", "effect": "NoExecute"}]}})
        await clock.sleep(8.0)
        assert await going(plane) == set(), "its time counts anew"
        await clock.sleep(3.0)
        assert await going(plane) == {"p"}
