"""ReplicaSets at work, on the real API and engine in virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.errors import ForbiddenError, InvalidError, Tree
from reconcile.kinds import kind_of
from reconcile.resources.apps import ReplicaSet
from reconcile.resources.apps.replicaset_controller import replicaset_controller, replication_controller
from reconcile.resources.core import Pod, ReplicationController
from reconcile.resources.kubelet.simulated import simulated_nodes
from reconcile.resources.scheduler import scheduler
from reconcile.runtime.testing.virtual import VirtualClock, virtual


def replica_set(replicas: int, **spec: Any) -> Tree:
    """A ReplicaSet `web`."""
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}
    wanted = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    return {"metadata": {"name": "web"}, "spec": {**wanted, **spec}}


def orphan(name: str, **labels: str) -> Tree:
    """A Pod that nobody owns."""
    return {"metadata": {"name": name, "labels": labels}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}}


async def ready(plane: Any, count: int, limit_s: float = 60.0) -> Tree:
    """Wait until the ReplicaSet reports so many available Pods of as many."""

    async def fact() -> Tree | None:
        tree: Tree = await plane.get(ReplicaSet, "web")
        status = tree.get("status") or {}
        return tree if (status.get("replicas", 0), status.get("availableReplicas", 0)) == (count, count) else None

    tree: Tree = await plane.until(fact, f"{count} available", limit_s)
    return tree


@virtual
async def test_it_scales_up_and_down_and_says_so(clock: VirtualClock, control_plane: Any) -> None:
    """The whole of its job, with the Pods named after it and owned by it."""
    async with control_plane(clock, replicaset_controller(), scheduler(), simulated_nodes(3)) as plane:
        await plane.create(ReplicaSet, replica_set(5))
        tree = await ready(plane, 5)
        pods = await plane.all(Pod)
        assert all(pod["metadata"]["name"].startswith("web-") and len(pod["metadata"]["name"]) == 9 for pod in pods)
        assert {pod["metadata"]["ownerReferences"][0]["uid"] for pod in pods} == {tree["metadata"]["uid"]}
        assert tree["status"]["fullyLabeledReplicas"] == 5
        await plane.patch(ReplicaSet, "web", {"spec": {"replicas": 2}})
        tree = await ready(plane, 2)
        assert tree["status"]["observedGeneration"] == tree["metadata"]["generation"] == 2
        reasons = [reason for reason, _ in await plane.events("web")]
        assert (reasons.count("SuccessfulCreate"), reasons.count("SuccessfulDelete")) == (5, 3)


@virtual
async def test_a_pod_that_goes_or_ends_is_replaced(clock: VirtualClock, control_plane: Any) -> None:
    """Self-healing."""
    async with control_plane(clock, replicaset_controller(), scheduler(), simulated_nodes(3)) as plane:
        await plane.create(ReplicaSet, replica_set(2))
        await ready(plane, 2)
        first, second = await plane.all(Pod)
        await plane.delete(Pod, first["metadata"]["name"], 0)
        await plane.patch(Pod, second["metadata"]["name"], {"status": {"phase": "Failed"}}, "status")

        async def replaced() -> bool:
            return len(await plane.all(Pod)) == 3

        await plane.until(replaced, "two new Pods beside the failed one")
        await ready(plane, 2)
        names = {pod["metadata"]["name"] for pod in await plane.all(Pod)}
        assert first["metadata"]["name"] not in names
        assert second["metadata"]["name"] in names, "a failed Pod stays for whoever wants to look at it"


@virtual
async def test_it_adopts_and_releases(clock: VirtualClock, control_plane: Any) -> None:
    """Changing a Pod's label takes it out of service for debugging, and back."""
    async with control_plane(clock, replicaset_controller(), scheduler(), simulated_nodes(3)) as plane:
        await plane.create(Pod, orphan("early", app="web"))
        await plane.create(ReplicaSet, replica_set(2))
        tree = await ready(plane, 2)
        early = await plane.get(Pod, "early")
        assert [ref["uid"] for ref in early["metadata"]["ownerReferences"]] == [tree["metadata"]["uid"]]
        await plane.patch(Pod, "early", {"metadata": {"labels": {"app": "debug"}}})
        await plane.until(lambda: _is_free(plane, "early"), "released")
        await ready(plane, 2)
        assert len(await plane.all(Pod)) == 3
        await plane.patch(Pod, "early", {"metadata": {"labels": {"app": "web"}}})

        async def two_again() -> bool:
            return len(await plane.all(Pod)) == 2 and not await _is_free(plane, (await plane.all(Pod))[0]["metadata"]["name"])

        await plane.until(two_again, "adopted again, and one too many deleted")


async def _is_free(plane: Any, name: str) -> bool:
    return not (await plane.get(Pod, name))["metadata"].get("ownerReferences")


@virtual
async def test_min_ready_seconds_are_waited_for_exactly(clock: VirtualClock, control_plane: Any) -> None:
    """Available at the instant, without polling."""
    async with control_plane(clock, replicaset_controller(), scheduler(), simulated_nodes(3)) as plane:
        await plane.create(ReplicaSet, replica_set(3, minReadySeconds=120))

        async def all_ready() -> bool:
            return ((await plane.get(ReplicaSet, "web")).get("status") or {}).get("readyReplicas") == 3

        await plane.until(all_ready, "ready")
        began_s = clock.now()
        tree = await plane.get(ReplicaSet, "web")
        assert tree["status"].get("availableReplicas", 0) == 0
        await ready(plane, 3, 200)
        assert 118 <= clock.now() - began_s <= 121


@virtual
async def test_a_refused_creation_costs_one_request_and_is_a_condition(clock: VirtualClock, control_plane: Any) -> None:
    """Slow start: a quota that refuses everything must not be asked five hundred times."""
    async with control_plane(clock) as plane:
        attempts = []

        def refuse(review: Any) -> None:
            if review.operation == "CREATE":
                attempts.append(1)
                raise ForbiddenError("exceeded quota")

        allow = plane.client.api.add_validator(kind_of(Pod), refuse)
        await plane.engine.start(replicaset_controller())
        await plane.create(ReplicaSet, replica_set(500))

        async def failed() -> bool:
            tree = await plane.get(ReplicaSet, "web")
            return any(c["reason"] == "FailedCreate" for c in (tree.get("status") or {}).get("conditions") or ())

        await plane.until(failed, "ReplicaFailure")
        assert len(attempts) <= 3
        assert any(reason == "FailedCreate" and "exceeded quota" in text for reason, text in await plane.events("web"))
        allow()

        async def healed() -> bool:
            status = (await plane.get(ReplicaSet, "web"))["status"]
            return status.get("replicas") == 500 and not status.get("conditions")

        await plane.until(healed, "created after all", 1200)


@virtual
async def test_a_thousand_replicas_cost_few_status_writes(clock: VirtualClock, control_plane: Any) -> None:
    """Convergence of a large set, without a status write for every Pod."""
    async with control_plane(clock, replicaset_controller(), scheduler(), simulated_nodes(100)) as plane:
        written = []
        plane.client.api.add_validator(kind_of(ReplicaSet), lambda review: written.append(review.subresource))
        await plane.create(ReplicaSet, replica_set(1000))
        await ready(plane, 1000, 300)
        assert written.count("status") < 50
        pods = await plane.all(Pod)
        assert len({pod["status"]["podIP"] for pod in pods}) == 1000
        per_node: dict[str, int] = {}
        for pod in pods:
            per_node[pod["spec"]["nodeName"]] = per_node.get(pod["spec"]["nodeName"], 0) + 1
        assert set(per_node.values()) == {10}, "spread evenly"


@virtual
async def test_a_replication_controller_does_the_same_with_a_plain_selector(clock: VirtualClock, control_plane: Any) -> None:
    """Old manifests still have them; the selector is the template's labels where they leave it out."""
    template = {"metadata": {"labels": {"app": "old"}}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}}
    async with control_plane(clock, replication_controller(), scheduler(), simulated_nodes(2)) as plane:
        await plane.create(Pod, orphan("loose", app="old"))
        tree = await plane.create(
            ReplicationController, {"metadata": {"name": "old"}, "spec": {"replicas": 3, "template": template}}
        )
        assert tree["spec"]["selector"] == tree["metadata"]["labels"] == {"app": "old"}

        async def available() -> bool:
            status = (await plane.get(ReplicationController, "old"))["status"]
            return bool(status.get("availableReplicas") == 3)

        await plane.until(available, "three available")
        owners = [pod["metadata"]["ownerReferences"][0] for pod in await plane.all(Pod)]
        assert len(owners) == 3, "the loose one is adopted"
        assert {owner["kind"] for owner in owners} == {"ReplicationController"}
        with pytest.raises(InvalidError, match="does not match template"):
            await plane.patch(ReplicationController, "old", {"spec": {"selector": {"app": "new"}}})
