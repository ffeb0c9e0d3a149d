"""StatefulSets at work, on the real API and engine in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reconcile.errors import InvalidError, NotFoundError, Tree
from reconcile.kinds import Kind
from reconcile.resources.apps import ControllerRevision, StatefulSet
from reconcile.resources.apps.statefulset_controller import statefulset_controller
from reconcile.resources.core import Pod
from reconcile.resources.gc import garbage_collector
from reconcile.resources.kubelet.simulated import simulated_nodes
from reconcile.resources.scheduler import scheduler
from reconcile.resources.stored.storage import persistent_volume_claim
from reconcile.runtime.testing.virtual import VirtualClock, virtual

PlaneOf = Callable[..., Any]
CLAIM: Tree = {
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
CLAIMS: Kind = persistent_volume_claim()


def stateful_set(replicas: int = 3, image: str = "db:1", **spec: Any) -> Tree:
    """A StatefulSet `db` whose Pods take a second to start."""
    told = {"reconcile.dev/sim-start-s": "1"}
    template = {
        "metadata": {"labels": {"app": "db"}, "annotations": told}, "spec": {"containers": [{"name": "db", "image": image}]},
    }  # fmt: skip
    wanted = {"replicas": replicas, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "template": template}
    return {"metadata": {"name": "db"}, "spec": {**wanted, **spec}}


def parts() -> tuple[Any, ...]:
    return statefulset_controller(), scheduler(), simulated_nodes(3), garbage_collector()


def image(value: str) -> Tree:
    return {"spec": {"template": {"spec": {"containers": [{"name": "db", "image": value}]}}}}


async def names(plane: Any) -> list[str]:
    return sorted(pod["metadata"]["name"] for pod in await plane.all(Pod))


async def images(plane: Any) -> list[str]:
    pods = sorted(await plane.all(Pod), key=lambda pod: str(pod["metadata"]["name"]))
    return [pod["spec"]["containers"][0]["image"] for pod in pods]


async def settled(plane: Any, replicas: int, *, updated: int | None = None, limit_s: float = 120.0) -> Tree:
    """Wait until so many Pods are available, and as many (or `updated`) of the newest revision."""

    async def fact() -> Tree | None:
        tree: Tree = await plane.get(StatefulSet, "db")
        status = tree["status"]
        counts = [status.get(name, 0) for name in ("replicas", "availableReplicas", "updatedReplicas")]
        seen = status.get("observedGeneration") == tree["metadata"]["generation"]
        return tree if seen and counts == [replicas, replicas, replicas if updated is None else updated] else None

    tree: Tree = await plane.until(fact, f"{replicas} available", limit_s)
    return tree


@virtual
async def test_pods_have_names_and_are_made_one_after_the_other(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """The second member of a database joins the first."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(StatefulSet, stateful_set())
        await clock.sleep(0.5)
        assert await names(plane) == ["db-0"]
        await clock.sleep(1)
        assert await names(plane) == ["db-0", "db-1"]
        tree = await settled(plane, 3)
        pods = sorted(await plane.all(Pod), key=lambda pod: str(pod["metadata"]["name"]))
        assert [pod["metadata"]["name"] for pod in pods] == ["db-0", "db-1", "db-2"]
        labels = pods[2]["metadata"]["labels"]
        assert (labels["statefulset.kubernetes.io/pod-name"], labels["apps.kubernetes.io/pod-index"]) == ("db-2", "2")
        assert labels["controller-revision-hash"] == tree["status"]["updateRevision"] == tree["status"]["currentRevision"]
        assert (pods[1]["spec"]["hostname"], pods[1]["spec"]["subdomain"]) == ("db-1", "db")
        told = [message for reason, message in await plane.events("db") if reason == "SuccessfulCreate"]
        assert "create Pod db-0 in StatefulSet db successful" in told


@virtual
async def test_the_last_goes_first_when_there_are_to_be_fewer(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """And only when those before it are well."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(StatefulSet, stateful_set())
        await settled(plane, 3)
        await plane.patch(Pod, "db-0", {"metadata": {"annotations": {"reconcile.dev/sim-ready": "false"}}})
        await plane.patch(StatefulSet, "db", {"spec": {"replicas": 1}})
        await clock.sleep(5)
        assert await names(plane) == ["db-0", "db-1", "db-2"], "db-0 is not ready: nobody may leave it alone"
        await plane.patch(Pod, "db-0", {"metadata": {"annotations": {"reconcile.dev/sim-ready": None}}})
        await settled(plane, 1)
        assert await names(plane) == ["db-0"]


@virtual
async def test_an_update_goes_from_the_last_to_the_first_and_stops_where_one_is_not_well(
    clock: VirtualClock, control_plane: PlaneOf
) -> None:
    """A bad version costs one member."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(StatefulSet, stateful_set())
        first = await settled(plane, 3)
        change = image("db:2")
        change["spec"]["template"]["metadata"] = {"annotations": {"reconcile.dev/sim-ready": "false"}}
        await plane.patch(StatefulSet, "db", change)
        await clock.sleep(20)
        assert await images(plane) == ["db:1", "db:1", "db:2"]
        status = (await plane.get(StatefulSet, "db"))["status"]
        assert (status["currentReplicas"], status["updatedReplicas"], status["readyReplicas"]) == (2, 1, 2)
        assert status["currentRevision"] == first["status"]["currentRevision"] != status["updateRevision"]
        await plane.patch(Pod, "db-2", {"metadata": {"annotations": {"reconcile.dev/sim-ready": None}}})
        await clock.sleep(5)
        assert await images(plane) == ["db:1", "db:2", "db:2"]


@virtual
async def test_pods_below_the_partition_stay_and_come_back_as_they_were(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """A canary, and a member that is lost meanwhile."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(StatefulSet, stateful_set())
        await settled(plane, 3)
        change = image("db:2")
        change["spec"]["updateStrategy"] = {"rollingUpdate": {"partition": 2}}
        await plane.patch(StatefulSet, "db", change)
        await settled(plane, 3, updated=1)
        await plane.delete(Pod, "db-0", 0)
        await clock.sleep(5)
        await settled(plane, 3, updated=1)
        assert await images(plane) == ["db:1", "db:1", "db:2"]
        await plane.patch(StatefulSet, "db", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}})
        tree = await settled(plane, 3)
        assert await images(plane) == ["db:2"] * 3
        assert tree["status"]["currentRevision"] == tree["status"]["updateRevision"]


@virtual
async def test_going_back_takes_an_old_revision_up_again_and_old_ones_are_forgotten(
    clock: VirtualClock, control_plane: PlaneOf
) -> None:
    """`rollout undo` writes the old template; `rollout history` shows what there is."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(StatefulSet, stateful_set(1, revisionHistoryLimit=1))
        first = (await settled(plane, 1))["status"]["updateRevision"]
        for version in ("db:2", "db:3", "db:1"):
            await plane.patch(StatefulSet, "db", image(version))
            await clock.sleep(3)
            await settled(plane, 1)
        revisions = {r["metadata"]["name"]: r for r in await plane.all(ControllerRevision)}
        assert len(revisions) == 2, "the live one and one more"
        assert (await plane.get(StatefulSet, "db"))["status"]["updateRevision"] in revisions
        newest = max(revisions.values(), key=lambda r: int(r["revision"]))
        assert newest["data"]["spec"]["template"]["$patch"] == "replace"
        assert newest["data"]["spec"]["template"]["spec"]["containers"][0]["image"] == "db:1"
        assert newest["metadata"]["name"] == first, "the same template has the same name"
        assert newest["revision"] == 4


@virtual
async def test_a_pod_that_ended_is_made_again_under_its_name(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """The name is what its peers know."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(StatefulSet, stateful_set(2))
        await settled(plane, 2)
        before = (await plane.get(Pod, "db-0"))["metadata"]["uid"]
        await plane.patch(Pod, "db-0", {"status": {"phase": "Failed"}}, "status")
        await clock.sleep(1)
        await settled(plane, 2)
        assert (await plane.get(Pod, "db-0"))["metadata"]["uid"] != before
        assert "RecreatingFailedPod" in [reason for reason, _ in await plane.events("db")]


@virtual
async def test_all_at_once_where_the_set_says_parallel(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Workers need no order."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(StatefulSet, stateful_set(4, podManagementPolicy="Parallel", ordinals={"start": 5}))
        await clock.sleep(0.5)
        assert await names(plane) == ["db-5", "db-6", "db-7", "db-8"]
        await settled(plane, 4)
        await plane.patch(StatefulSet, "db", {"spec": {"replicas": 1}})
        await clock.sleep(0.3)
        assert [pod["metadata"]["name"] for pod in await plane.all(Pod) if not pod["metadata"].get("deletionTimestamp")] == [
            "db-5"
        ]
        await clock.sleep(0.3)
        assert await names(plane) == ["db-5"]


@virtual
async def test_a_pod_must_stay_ready_for_a_while_before_the_next(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """minReadySeconds."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(StatefulSet, stateful_set(2, minReadySeconds=30))
        await clock.sleep(25)
        assert await names(plane) == ["db-0"]
        await clock.sleep(10)
        assert await names(plane) == ["db-0", "db-1"]


@virtual
async def test_on_delete_nothing_is_replaced_until_somebody_deletes_it(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """For those who do it by hand."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(StatefulSet, stateful_set(2, updateStrategy={"type": "OnDelete"}))
        await settled(plane, 2)
        await plane.patch(StatefulSet, "db", image("db:2"))
        await clock.sleep(5)
        assert await images(plane) == ["db:1", "db:1"]
        await plane.delete(Pod, "db-0", 0)
        await clock.sleep(5)
        assert await images(plane) == ["db:2", "db:1"]


@pytest.mark.parametrize(("policy", "left"), [({}, 3), ({"whenScaled": "Delete"}, 1)])
@virtual
async def test_each_pod_has_its_claims_which_outlive_it_unless_told_otherwise(
    policy: Tree, left: int, clock: VirtualClock, control_plane: PlaneOf
) -> None:
    """Data is not lost because there are fewer members for a while."""
    async with control_plane(clock, *parts()) as plane:
        spec: Tree = {"volumeClaimTemplates": [CLAIM], "persistentVolumeClaimRetentionPolicy": policy}
        await plane.create(StatefulSet, stateful_set(3, **spec))
        await settled(plane, 3)
        found = (await plane.client.list(CLAIMS, "default")).items
        assert sorted(claim["metadata"]["name"] for claim in found) == ["data-db-0", "data-db-1", "data-db-2"]
        assert found[0]["metadata"]["labels"] == {"app": "db"}
        volumes = (await plane.get(Pod, "db-1"))["spec"]["volumes"]
        assert volumes[0] == {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-1"}}
        await plane.patch(StatefulSet, "db", {"spec": {"replicas": 1}})
        await settled(plane, 1)
        await clock.sleep(5)
        assert len((await plane.client.list(CLAIMS, "default")).items) == left


@virtual
async def test_everything_goes_with_the_set(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Pods and revisions belong to it."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(StatefulSet, stateful_set(2))
        await settled(plane, 2)
        await plane.delete(StatefulSet, "db")
        await clock.sleep(20)
        assert (await names(plane), await plane.all(ControllerRevision)) == ([], [])
        with pytest.raises(NotFoundError):
            await plane.get(StatefulSet, "db")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"serviceName": "other"}, "updates to statefulset spec for fields other than 'replicas'"),
        ({"podManagementPolicy": "Random"}, 'supported values: "OrderedReady", "Parallel"'),
        ({"replicas": -1}, "spec.replicas: Invalid value: -1"),
    ],
)  # fmt: skip
@virtual
async def test_what_a_set_is_may_not_change(change: Tree, text: str, clock: VirtualClock, control_plane: PlaneOf) -> None:
    """With the reference server's words."""
    async with control_plane(clock) as plane:
        await plane.create(StatefulSet, stateful_set())
        with pytest.raises(InvalidError) as refused:
            await plane.patch(StatefulSet, "db", {"spec": change})
        assert text in str(refused.value)


@virtual
async def test_nothing_is_made_again_for_a_set_that_is_gone(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """News of the set's end may come later than news of its Pods', which were deleted for just that reason."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(StatefulSet, stateful_set(2, podManagementPolicy="Parallel"))
        await settled(plane, 2)
        seen: set[str] = {pod["metadata"]["uid"] for pod in await plane.all(Pod)}
        await plane.delete(StatefulSet, "db")
        for name in ("db-0", "db-1"):
            await plane.delete(Pod, name, 0)
        for _ in range(100):
            await clock.sleep(0.05)
            seen |= {pod["metadata"]["uid"] for pod in await plane.all(Pod)}
        assert len(seen) == 2
        assert await plane.all(Pod) == []
