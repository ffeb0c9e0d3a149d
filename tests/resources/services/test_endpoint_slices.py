"""EndpointSlices: who takes traffic, told with few writes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from reconcile.errors import Tree
from reconcile.resources.core import Pod, Service
from reconcile.resources.discovery import EndpointSlice
from reconcile.resources.services import endpoint_slices
from reconcile.resources.services.slices import ENDPOINTS_MAX, Plan, planned
from reconcile.runtime.testing.virtual import VirtualClock, virtual

PlaneOf = Callable[..., Any]
SERVICE: Tree = {
    "metadata": {"name": "web", "namespace": "default", "uid": "svc", "labels": {"team": "a"}},
    "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}]},
}


def pod(number: int, *, ready: bool = True, port: int = 8080, phase: str = "Running") -> Tree:
    container = {"name": "c", "command": ["serve"], "ports": [{"name": "web", "containerPort": port}]}
    return {
        "metadata": {"name": f"p{number}", "namespace": "default", "uid": f"u{number}", "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "containers": [container]},
        "status": {
            "phase": phase, "podIP": f"127.9.{number // 250}.{number % 250}",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }  # fmt: skip


def written(plan: Plan, slices: list[Tree]) -> list[Tree]:
    """What is stored after the plan."""
    gone = {s["metadata"]["name"] for s in plan.delete}
    updated = {s["metadata"]["name"]: s for s in plan.update}
    kept = [updated.get(s["metadata"]["name"], s) for s in slices if s["metadata"]["name"] not in gone]
    made = copy.deepcopy(plan.create)
    for number, tree in enumerate(made):
        tree["metadata"]["name"] = f"web-{len(slices)}-{number}"
    return kept + made


def addresses(slices: list[Tree]) -> list[str]:
    return sorted(e["addresses"][0] for s in slices for e in s["endpoints"])


def test_a_pod_is_ready_while_it_is_ready_and_stays() -> None:
    """Traffic to a Pod that is going away is a failed request."""
    leaving, waiting, over = pod(1), pod(2, ready=False), pod(3, phase="Succeeded")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    (made,) = planned(SERVICE, [pod(0), leaving, waiting, over], []).create
    flags = {e["targetRef"]["name"]: tuple(e["conditions"].values()) for e in made["endpoints"]}
    assert flags == {"p0": (True, True, False), "p1": (False, True, True), "p2": (False, False, False)}
    assert made["ports"] == [{"name": "http", "protocol": "TCP", "port": 8080}]
    assert made["metadata"]["labels"]["kubernetes.io/service-name"] == "web"
    assert made["metadata"]["ownerReferences"][0]["uid"] == "svc"


def test_nothing_is_written_when_nothing_changed() -> None:
    """Every slice written is read by every proxy."""
    pods = [pod(n) for n in range(250)]
    slices = written(planned(SERVICE, pods, []), [])
    assert sorted(len(s["endpoints"]) for s in slices) == [50, 100, 100]
    assert planned(SERVICE, reversed(pods), slices).writes == 0


def test_a_change_of_one_pod_writes_one_slice_and_moves_nobody() -> None:
    """A rollout of a thousand Pods touches ten slices, not a thousand objects."""
    pods = [pod(n) for n in range(250)]
    slices = written(planned(SERVICE, pods, []), [])
    pods[7] = pod(7, ready=False)
    plan = planned(SERVICE, pods, slices)
    assert (len(plan.create), len(plan.update), len(plan.delete)) == (0, 1, 0)
    replaced = [p for p in pods if p["metadata"]["name"] != "p7"] + [pod(300)]
    plan = planned(SERVICE, replaced, slices)
    assert (len(plan.create), len(plan.update), len(plan.delete)) == (0, 1, 0)
    after = written(plan, slices)
    assert addresses(after) == sorted(p["status"]["podIP"] for p in replaced)
    assert max(len(s["endpoints"]) for s in after) <= ENDPOINTS_MAX


def test_pods_that_listen_elsewhere_have_slices_of_their_own() -> None:
    """A named port may mean another number in the next version."""
    slices = planned(SERVICE, [pod(0), pod(1, port=9090)], []).create
    assert sorted(s["ports"][0]["port"] for s in slices) == [8080, 9090]


def test_a_service_without_endpoints_keeps_one_empty_slice() -> None:
    """An empty slice says that nobody is there; no slice says that nobody looked."""
    slices = written(planned(SERVICE, [], []), [])
    assert [s["endpoints"] for s in slices] == [[]]
    full = written(planned(SERVICE, [pod(0)], slices), slices)
    assert addresses(full) == ["127.9.0.0"]
    empty = written(planned(SERVICE, [], full), full)
    assert [s["endpoints"] for s in empty] == [[]]
    assert planned(SERVICE, [], empty).writes == 0


@virtual
async def test_slices_follow_the_pods_and_gather_what_comes_together(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """A thousand replicas that get ready within a second cost some writes a slice, not one a Pod."""
    count = 150
    async with control_plane(clock, endpoint_slices()) as plane:
        spec = {
            "clusterIP": "127.9.0.9",
            "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "web"}],
        }
        await plane.create(Service, {"metadata": {"name": "web"}, "spec": spec})
        for number in range(count):
            tree = pod(number)
            await plane.create(
                Pod, {"metadata": {"name": tree["metadata"]["name"], "labels": {"app": "web"}}, "spec": tree["spec"]}
            )

        for number in range(count):
            await plane.patch(Pod, f"p{number}", {"status": pod(number)["status"]}, subresource="status")
            await clock.sleep(0.002)

        async def ready() -> bool:
            slices = await plane.all(EndpointSlice)
            return bool(sum(e["conditions"]["ready"] for s in slices for e in s.get("endpoints") or ()) == count)

        await plane.until(ready, "every pod is a ready endpoint")
        slices = await plane.all(EndpointSlice)
        assert sum(s["metadata"]["generation"] for s in slices) < count / 3
        await plane.delete(Pod, "p3")

        async def leaves() -> bool:
            endpoints = [e for s in await plane.all(EndpointSlice) for e in s["endpoints"] if e["targetRef"]["name"] == "p3"]
            return bool(endpoints) and endpoints[0]["conditions"] == {"ready": False, "serving": True, "terminating": True}

        await plane.until(leaves, "a pod that is going away takes no traffic", limit_s=1.0)
