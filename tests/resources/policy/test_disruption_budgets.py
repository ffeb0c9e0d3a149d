"""PodDisruptionBudgets: what they count, and which evictions they refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from reconcile import Resource, Scale, kind, struct
from reconcile.conditions import condition, is_true
from reconcile.errors import ConflictError, InvalidError, NotFoundError, TooManyRequestsError, Tree
from reconcile.identity import SYSTEM
from reconcile.kinds import kind_of
from reconcile.resources.apps import Deployment
from reconcile.resources.apps.deployment_controller import deployment_controller
from reconcile.resources.apps.replicaset_controller import replicaset_controller, replication_controller
from reconcile.resources.core import Pod, ReplicationController
from reconcile.resources.kubelet.simulated import simulated_nodes
from reconcile.resources.policy import PodDisruptionBudget
from reconcile.resources.policy.budget_controller import disruption_controller, still_disrupted
from reconcile.resources.policy.eviction import Evictions
from reconcile.resources.scheduler import scheduler
from reconcile.runtime.testing.virtual import VirtualClock, virtual

Make = Callable[..., Tree]


def operators() -> tuple[Any, ...]:
    return deployment_controller(), replicaset_controller(), scheduler(), simulated_nodes(3), disruption_controller()


def budget(**spec: Any) -> Tree:
    return {"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec}}


async def evict(plane: Any, name: str, **options: Any) -> Tree:
    """Ask for an eviction, as the API server does."""
    asked = {"metadata": {"name": name}, "deleteOptions": options}
    return await Evictions(plane.client, plane.clock, Pod).respond(await plane.get(Pod, name), asked, SYSTEM)


async def allowed(plane: Any, count: int) -> Tree:
    """Wait until the budget allows so many disruptions; returns its status."""

    async def seen() -> Tree | None:
        tree = await plane.get(PodDisruptionBudget, "web")
        status: Tree = tree.get("status") or {}
        current = status.get("observedGeneration") == tree["metadata"]["generation"]
        return status if current and status.get("disruptionsAllowed") == count and not status["disruptedPods"] else None

    found: Tree = await plane.until(seen, f"{count} disruptions allowed")
    return found


async def names(plane: Any) -> list[str]:
    """The Pods that nobody deleted."""
    return sorted(pod["metadata"]["name"] for pod in await plane.all(Pod) if not pod["metadata"].get("deletionTimestamp"))


@pytest.mark.parametrize(
    ("spec", "desired"),
    [
        ({"minAvailable": 3}, 3), ({"minAvailable": "60%"}, 3), ({"minAvailable": "70%"}, 4), ({"maxUnavailable": 1}, 4),
        ({"maxUnavailable": "30%"}, 3), ({"maxUnavailable": 0}, 5), ({"minAvailable": 9}, 9),
    ],
)  # fmt: skip
@virtual
async def test_a_budget_counts_what_must_stay(
    clock: VirtualClock, control_plane: Any, deployment_tree: Make, spec: Tree, desired: int
) -> None:
    """Percentages are rounded up, of what the Deployment wants, as the reference does."""
    async with control_plane(clock, *operators()) as plane:
        await plane.create(Deployment, deployment_tree(5))
        await plane.complete("web")
        await plane.create(PodDisruptionBudget, budget(**spec))
        status = await allowed(plane, max(0, 5 - desired))
        assert (status["currentHealthy"], status["desiredHealthy"], status["expectedPods"]) == (5, desired, 5)
        (condition,) = status["conditions"]
        assert condition["status"] == str(desired < 5)
        assert condition["reason"] == ("SufficientPods" if desired < 5 else "InsufficientPods")


@virtual
async def test_an_eviction_is_refused_while_the_budget_has_nothing_left(
    clock: VirtualClock, control_plane: Any, deployment_tree: Make
) -> None:
    """Of five who ask at the same moment, exactly as many get one as the budget allows."""
    async with control_plane(clock, *operators()) as plane:
        await plane.create(Deployment, deployment_tree(5))
        await plane.complete("web")
        await plane.create(PodDisruptionBudget, budget(minAvailable=3))
        await allowed(plane, 2)
        pods = await names(plane)
        done = await asyncio.gather(*(evict(plane, name) for name in pods), return_exceptions=True)
        refused = [error for error in done if isinstance(error, TooManyRequestsError)]
        assert [each["status"] for each in done if isinstance(each, dict)] == ["Success"] * 2
        assert len(refused) == 3
        status = refused[0].status()
        assert status["code"] == 429
        assert status["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
        assert status["details"]["causes"] == [
            {"reason": "DisruptionBudget", "message": "The disruption budget web needs 3 healthy pods and has 5 currently"}
        ]
        await plane.complete("web")
        await allowed(plane, 2)
        assert len(set(await names(plane)) & set(pods)) == 3


@virtual
async def test_pods_that_do_not_count_are_evicted_whatever_the_budget_says(
    clock: VirtualClock, control_plane: Any, deployment_tree: Make
) -> None:
    """A drain must not hang on Pods that never became ready, where the others are enough."""
    async with control_plane(clock, *operators()) as plane:
        await plane.create(Deployment, deployment_tree(2))
        await plane.complete("web")
        sick = {"metadata": {"name": "sick", "labels": {"app": "web"}, "annotations": {"reconcile.dev/sim-ready": "false"}}}
        await plane.create(Pod, {**sick, "spec": {"containers": [{"name": "main", "image": "x"}]}})
        await plane.create(PodDisruptionBudget, budget(minAvailable=2))

        async def runs() -> bool:
            return bool(((await plane.get(Pod, "sick")).get("status") or {}).get("phase") == "Running")

        await plane.until(runs, "the sick one runs")
        await allowed(plane, 0)
        assert (await evict(plane, "sick"))["status"] == "Success"
        with pytest.raises(TooManyRequestsError):
            await evict(plane, (await names(plane))[-1])


@virtual
async def test_an_evicted_pod_says_that_it_was_disrupted(clock: VirtualClock, control_plane: Any) -> None:
    """A Job's failure policy tells by it what was no failure of the work."""
    held = {"metadata": {"name": "held", "finalizers": ["test/held"]}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}}
    async with control_plane(clock, scheduler(), simulated_nodes(1)) as plane:
        await plane.create(Pod, held)

        async def ready() -> bool:
            return is_true((await plane.get(Pod, "held"))["status"].get("conditions"), "Ready")

        await plane.until(ready, "it is ready")
        await evict(plane, "held", dryRun=["All"])
        assert condition((await plane.get(Pod, "held"))["status"].get("conditions"), "DisruptionTarget") is None
        with pytest.raises(ConflictError):
            await evict(plane, "held", preconditions={"resourceVersion": "1"})
        seen = (await plane.get(Pod, "held"))["metadata"]["resourceVersion"]
        await evict(plane, "held", preconditions={"resourceVersion": seen})
        pod = await plane.get(Pod, "held")
        assert "deletionTimestamp" in pod["metadata"]
        told = condition(pod["status"]["conditions"], "DisruptionTarget")
        assert told is not None
        assert (told["status"], told["reason"], told["message"]) == ("True", "EvictionByEvictionAPI", "Eviction API: evicting")


@virtual
async def test_an_eviction_that_is_only_tried_changes_nothing(
    clock: VirtualClock, control_plane: Any, deployment_tree: Make
) -> None:
    async with control_plane(clock, *operators()) as plane:
        await plane.create(Deployment, deployment_tree(2))
        await plane.complete("web")
        await plane.create(PodDisruptionBudget, budget(minAvailable=1))
        await allowed(plane, 1)
        pods = await names(plane)
        for name in pods:
            assert (await evict(plane, name, dryRun=["All"]))["status"] == "Success"
        assert await names(plane) == pods
        await allowed(plane, 1)
        await evict(plane, pods[0], gracePeriodSeconds=0)

        async def gone() -> bool:
            try:
                await plane.get(Pod, pods[0])
            except NotFoundError:
                return True
            return False

        await plane.until(gone, "the pod is gone")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"minAvailable": 1, "maxUnavailable": 1}, "minAvailable and maxUnavailable cannot be both set"),
        ({"minAvailable": -1}, "must be greater than or equal to 0"), ({"minAvailable": "x"}, "a valid percent string"),
        ({"maxUnavailable": "101%"}, "must not be greater than 100%"),
        ({"unhealthyPodEvictionPolicy": "Never"}, 'supported values: "AlwaysAllow", "IfHealthyBudget"'),
    ],
)  # fmt: skip
@virtual
async def test_a_budget_that_makes_no_sense_is_refused(clock: VirtualClock, control_plane: Any, spec: Tree, why: str) -> None:
    async with control_plane(clock) as plane:
        with pytest.raises(InvalidError, match=why):
            await plane.create(PodDisruptionBudget, budget(**spec))


@struct
class FarmSpec:
    replicas: int = 1


@kind("example.com", "v1", scale=Scale())
class Farm(Resource):
    """Something that somebody else's controller keeps Pods for."""

    spec: FarmSpec


@kind("example.com", "v1", plural="fixtures")
class Fixture(Resource):
    """Something that has Pods and no number of them."""


async def owned_pods(plane: Any, owner: Tree, count: int) -> None:
    reference = {
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": True,
    }  # fmt: skip
    for number in range(count):
        meta = {"name": f"web-{number}", "labels": {"app": "web"}, "ownerReferences": [reference]}
        await plane.create(Pod, {"metadata": meta, "spec": {"containers": [{"name": "main", "image": "x"}]}})


@virtual
async def test_a_budget_counts_what_a_replication_controller_wants(clock: VirtualClock, control_plane: Any) -> None:
    """The old kind has Pods to be careful with, too."""
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "x"}]}}
    controller = {"metadata": {"name": "web"}, "spec": {"replicas": 4, "selector": {"app": "web"}, "template": template}}
    async with control_plane(clock, *operators(), replication_controller()) as plane:
        await plane.create(ReplicationController, controller)
        await plane.create(PodDisruptionBudget, budget(maxUnavailable="50%"))
        status = await allowed(plane, 2)
        assert (status["expectedPods"], status["desiredHealthy"], status["currentHealthy"]) == (4, 2, 4)


@virtual
async def test_a_budget_counts_what_anything_with_a_scale_wants(clock: VirtualClock, control_plane: Any) -> None:
    """Operators' own kinds say in their scale subresource how many Pods they want, which need not be there yet."""
    async with control_plane(clock, *operators()) as plane:
        plane.client.api.serve(kind_of(Farm))
        farm = await plane.create(Farm, {"metadata": {"name": "web"}, "spec": {"replicas": 5}})
        await owned_pods(plane, farm, 4)
        await plane.create(PodDisruptionBudget, budget(minAvailable="60%"))
        status = await allowed(plane, 1)
        assert (status["expectedPods"], status["desiredHealthy"], status["currentHealthy"]) == (5, 3, 4)


@virtual
async def test_where_nobody_can_tell_how_many_there_should_be_nothing_may_go(clock: VirtualClock, control_plane: Any) -> None:
    """And the budget says why."""
    async with control_plane(clock, *operators()) as plane:
        plane.client.api.serve(kind_of(Fixture))
        await owned_pods(plane, await plane.create(Fixture, {"metadata": {"name": "web"}}), 2)
        await plane.create(PodDisruptionBudget, budget(maxUnavailable=1))
        status = await allowed(plane, 0)
        (condition,) = status["conditions"]
        assert condition["reason"] == "SyncFailed"
        assert condition["message"].endswith("belongs to a Fixture, which has no number of replicas")


def test_a_granted_eviction_counts_until_it_is_seen_or_forgotten() -> None:
    """For two minutes a Pod that is about to go must not be counted on."""
    pods: list[Tree] = [{"metadata": {"name": name}} for name in ("a", "b")]
    pods.append({"metadata": {"name": "c", "deletionTimestamp": "x"}})
    granted = {"a": "1970-01-01T00:01:40Z", "b": "1970-01-01T00:03:00Z", "c": "1970-01-01T00:03:00Z", "d": "1970-01-01T00:03:00Z"}
    assert still_disrupted(granted, pods, 240.0) == {"b": "1970-01-01T00:03:00Z"}
