"""Deployments at work, on the real API and engine in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from reconcile.clock import parse_timestamp
from reconcile.errors import ForbiddenError, Tree
from reconcile.kinds import kind_of
from reconcile.resources.apps import Deployment, ReplicaSet
from reconcile.resources.apps.deployment_controller import deployment_controller
from reconcile.resources.apps.replicaset_controller import replicaset_controller
from reconcile.resources.apps.revisions import HASH_LABEL, REVISION, REVISION_HISTORY
from reconcile.resources.core import Pod
from reconcile.resources.kubelet.simulated import simulated_nodes
from reconcile.resources.scheduler import scheduler
from reconcile.runtime.testing.virtual import VirtualClock, virtual

Make = Callable[..., Tree]


def operators(**nodes: Any) -> tuple[Any, ...]:
    """All that a rollout needs."""
    return deployment_controller(), replicaset_controller(), scheduler(), simulated_nodes(5, **nodes)


def condition(tree: Tree, type_: str) -> Tree:
    """A condition of the status; empty where it is absent."""
    found: Tree = next((c for c in (tree.get("status") or {}).get("conditions") or () if c["type"] == type_), {})
    return found


def image(name: str) -> Tree:
    """A patch to another image."""
    return {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": name}]}}}}


async def sizes(plane: Any) -> dict[str, int]:
    """spec.replicas of every ReplicaSet, by revision."""
    return {rs["metadata"]["annotations"][REVISION]: rs["spec"]["replicas"] for rs in await plane.all(ReplicaSet)}


@virtual
async def test_a_deployment_becomes_a_replica_set_becomes_pods(
    clock: VirtualClock, control_plane: Any, deployment_tree: Make
) -> None:
    """Names, labels, annotations, conditions and Events as kubectl users know them."""
    async with control_plane(clock, *operators()) as plane:
        await plane.create(Deployment, {**deployment_tree(3), "metadata": {"name": "web", "annotations": {"team": "a"}}})
        tree = await plane.complete("web")
        (rs,) = await plane.all(ReplicaSet)
        hash_ = rs["metadata"]["labels"][HASH_LABEL]
        assert rs["metadata"]["name"] == f"web-{hash_}"
        assert rs["metadata"]["annotations"]["team"] == "a"
        assert all(pod["metadata"]["labels"] == {"app": "web", HASH_LABEL: hash_} for pod in await plane.all(Pod))
        assert tree["metadata"]["annotations"][REVISION] == "1"
        assert condition(tree, "Progressing")["reason"] == "NewReplicaSetAvailable"
        assert condition(tree, "Available")["status"] == "True"
        assert ("ScalingReplicaSet", f"Scaled up replica set web-{hash_} from 0 to 3") in await plane.events("web")


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable"), [(6, "25%", "25%"), (4, 0, 1), (4, 1, 0), (1, "25%", "25%"), (7, 3, 2), (3, 0, "100%")]
)
def test_a_rolling_update_stays_within_its_bounds_at_every_moment(
    replicas: int, surge: int | str, unavailable: int | str, control_plane: Any, deployment_tree: Make
) -> None:
    """Seen by a watcher of all Pods: never fewer available, never more in total, than was promised."""
    from reconcile.resources.apps.rolling import limits_of
    from reconcile.runtime.testing.virtual import run_virtual

    async def scenario(clock: VirtualClock) -> None:
        strategy = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
        async with control_plane(clock, *operators(start_s=1.0, start_jitter_s=4.0, stop_s=2.0)) as plane:
            made = deployment_tree(replicas, strategy=strategy)
            limits = limits_of(made["spec"])
            await plane.create(Deployment, made)
            await plane.complete("web")
            pods = {pod["metadata"]["name"]: pod for pod in await plane.all(Pod)}
            watching = asyncio.ensure_future(_bounds(plane, pods, limits.available_min, limits.total_max))
            await plane.patch(Deployment, "web", image("web:2"))
            await plane.complete("web", 200)
            watching.cancel()
            broken = await asyncio.gather(watching, return_exceptions=True)
            assert isinstance(broken[0], asyncio.CancelledError), broken[0]
            assert sorted((await sizes(plane)).items()) == [("1", 0), ("2", replicas)]

    run_virtual(scenario)


async def _bounds(plane: Any, pods: dict[str, Tree], available_min: int, total_max: int) -> None:
    async for change in plane.client.watch(kind_of(Pod), since=max(int(p["metadata"]["resourceVersion"]) for p in pods.values())):
        name = change.object.get("metadata", {}).get("name")
        if change.type == "DELETED":
            pods.pop(name, None)
        elif name:
            pods[name] = change.object
        alive = [pod for pod in pods.values() if not pod["metadata"].get("deletionTimestamp")]
        available = sum(condition(pod, "Ready").get("status") == "True" for pod in alive)
        assert available >= available_min, f"{available} of {available_min} available"
        assert len(alive) <= total_max, f"{len(alive)} of at most {total_max}"


@virtual
async def test_undo_reuses_the_old_replica_set_and_remembers_its_revision(
    clock: VirtualClock, control_plane: Any, deployment_tree: Make
) -> None:
    """Rolling back is writing the old template back; history must show it."""
    async with control_plane(clock, *operators()) as plane:
        await plane.create(Deployment, deployment_tree(2))
        await plane.complete("web")
        await plane.patch(Deployment, "web", image("web:2"))
        await plane.complete("web")
        await plane.patch(Deployment, "web", image("web:1"))
        tree = await plane.complete("web")
        assert await sizes(plane) == {"2": 0, "3": 2}
        assert tree["metadata"]["annotations"][REVISION] == "3"
        assert [rs["metadata"]["annotations"].get(REVISION_HISTORY) for rs in await plane.all(ReplicaSet)].count("1") == 1


@virtual
async def test_a_restart_annotation_rolls_all_pods(clock: VirtualClock, control_plane: Any, deployment_tree: Make) -> None:
    """`rollout restart` is nothing but a template annotation."""
    async with control_plane(clock, *operators()) as plane:
        await plane.create(Deployment, deployment_tree(3))
        await plane.complete("web")
        before = {pod["metadata"]["name"] for pod in await plane.all(Pod)}
        stamp = {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}
        await plane.patch(Deployment, "web", {"spec": {"template": {"metadata": {"annotations": stamp}}}})
        await plane.complete("web")
        left = [pod["metadata"] for pod in await plane.all(Pod) if pod["metadata"]["name"] in before]
        assert all(meta.get("deletionTimestamp") for meta in left)


@virtual
async def test_recreate_lets_all_old_pods_go_first(clock: VirtualClock, control_plane: Any, deployment_tree: Make) -> None:
    """Two versions never run at once, not even while the old ones take their time to stop."""
    async with control_plane(clock, *operators(stop_s=5.0)) as plane:
        await plane.create(Deployment, deployment_tree(3, strategy={"type": "Recreate"}))
        await plane.complete("web")
        await plane.patch(Deployment, "web", image("web:2"))

        async def images() -> set[str]:
            return {pod["spec"]["containers"][0]["image"] for pod in await plane.all(Pod)}

        async def never_both() -> bool:
            assert len(await images()) < 2
            return await images() == {"web:2"}

        await plane.until(never_both, "the new version")
        await plane.complete("web")


@virtual
async def test_paused_means_no_rollout_but_scaling(clock: VirtualClock, control_plane: Any, deployment_tree: Make) -> None:
    """Changes gather while paused, and go out together on resume."""
    async with control_plane(clock, *operators()) as plane:
        await plane.create(Deployment, deployment_tree(2))
        await plane.complete("web")
        await plane.patch(Deployment, "web", {"spec": {"paused": True}})
        await plane.patch(Deployment, "web", image("web:2"))
        await clock.sleep(5)
        assert await sizes(plane) == {"1": 2}
        assert condition(await plane.get(Deployment, "web"), "Progressing")["reason"] == "DeploymentPaused"
        await plane.patch(Deployment, "web", {"spec": {"replicas": 4}})
        await clock.sleep(5)
        assert await sizes(plane) == {"1": 4}
        await plane.patch(Deployment, "web", {"spec": {"paused": False}})
        await plane.complete("web")
        assert await sizes(plane) == {"1": 0, "2": 4}


@virtual
async def test_scaling_in_the_middle_of_a_rollout_is_proportional(
    clock: VirtualClock, control_plane: Any, deployment_tree: Make
) -> None:
    """A bad new version must not get all of the growth, nor the old one."""
    async with control_plane(clock, *operators()) as plane:
        made = deployment_tree(10, strategy={"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}})
        await plane.create(Deployment, made)
        await plane.complete("web")
        stuck = image("web:2")
        stuck["spec"]["template"]["metadata"] = {"annotations": {"reconcile.dev/sim-ready": "false"}}
        await plane.patch(Deployment, "web", stuck)
        await clock.sleep(5)
        assert await sizes(plane) == {"1": 8, "2": 5}
        await plane.patch(Deployment, "web", {"spec": {"replicas": 15}})
        await clock.sleep(5)
        # The example of the reference's documentation: of five more Pods the larger, old one gets three.
        assert await sizes(plane) == {"1": 11, "2": 7}


@virtual
async def test_no_progress_is_reported_at_the_deadline_and_never_undone(
    clock: VirtualClock, control_plane: Any, deployment_tree: Make
) -> None:
    """`rollout status` fails on it; the old Pods go on serving."""
    async with control_plane(clock, *operators()) as plane:
        await plane.create(Deployment, deployment_tree(3, progressDeadlineSeconds=100))
        await plane.complete("web")
        stuck = image("web:2")
        stuck["spec"]["template"]["metadata"] = {"annotations": {"reconcile.dev/sim-ready": "false"}}
        await plane.patch(Deployment, "web", stuck)

        async def failed() -> Tree | None:
            tree: Tree = await plane.get(Deployment, "web")
            return tree if condition(tree, "Progressing").get("reason") == "ProgressDeadlineExceeded" else None

        began_s = clock.now()
        tree = await plane.until(failed, "deadline", 200)
        assert 100 <= clock.now() - began_s <= 104
        assert condition(tree, "Progressing")["status"] == "False"
        assert tree["status"]["availableReplicas"] == 3
        assert parse_timestamp(condition(tree, "Progressing")["lastUpdateTime"]) <= clock.now()
        await plane.patch(Deployment, "web", image("web:1") | {})
        await plane.patch(Deployment, "web", {"spec": {"template": {"metadata": {"annotations": None}}}})
        tree = await plane.complete("web")
        assert condition(tree, "Progressing")["reason"] == "NewReplicaSetAvailable"


@virtual
async def test_old_revisions_beyond_the_limit_are_forgotten(
    clock: VirtualClock, control_plane: Any, deployment_tree: Make
) -> None:
    """History is bounded, newest kept."""
    async with control_plane(clock, *operators()) as plane:
        await plane.create(Deployment, deployment_tree(1, revisionHistoryLimit=2))
        for version in range(1, 6):
            await plane.patch(Deployment, "web", image(f"web:{version}"))
            await plane.complete("web")

        async def bounded() -> bool:
            return await sizes(plane) == {"3": 0, "4": 0, "5": 1}

        await plane.until(bounded, "two old revisions left")


@virtual
async def test_a_taken_name_gets_another_hash(clock: VirtualClock, control_plane: Any, deployment_tree: Make) -> None:
    """A hash collision must not stop a rollout for ever."""
    async with control_plane(clock) as plane:
        from reconcile.resources.apps.revisions import template_hash

        made = await plane.create(Deployment, deployment_tree(1))
        taken = f"web-{template_hash(made['spec']['template'], None)}"
        other = deployment_tree(0)["spec"]
        foreign = {
            "replicas": 0,
            "selector": {"matchLabels": {"x": "y"}},
            "template": {**other["template"], "metadata": {"labels": {"x": "y"}}},
        }
        await plane.create(ReplicaSet, {"metadata": {"name": taken}, "spec": foreign})
        for operator in operators():
            await plane.engine.start(operator)
        tree = await plane.complete("web")
        assert tree["status"]["collisionCount"] == 1
        assert len(await plane.all(ReplicaSet)) == 2


@virtual
async def test_a_refused_replica_set_is_told(clock: VirtualClock, control_plane: Any, deployment_tree: Make) -> None:
    """Otherwise the Deployment would just stand there."""
    async with control_plane(clock) as plane:

        def refuse(review: Any) -> None:
            raise ForbiddenError("not on Fridays")

        plane.client.api.add_validator(kind_of(ReplicaSet), refuse)
        await plane.engine.start(deployment_controller())
        await plane.create(Deployment, deployment_tree(1))

        async def told() -> bool:
            return condition(await plane.get(Deployment, "web"), "Progressing").get("reason") == "ReplicaSetCreateError"

        await plane.until(told, "ReplicaSetCreateError")
        assert any("not on Fridays" in text for _, text in await plane.events("web"))


@virtual
async def test_a_replica_set_that_matches_is_adopted(clock: VirtualClock, control_plane: Any, deployment_tree: Make) -> None:
    """Deleting a Deployment with --cascade=orphan and creating it again must not start new Pods."""
    async with control_plane(clock, *operators()) as plane:
        made = await plane.create(Deployment, deployment_tree(2))
        await plane.complete("web")
        (rs,) = await plane.all(ReplicaSet)
        before = {pod["metadata"]["uid"] for pod in await plane.all(Pod)}
        await plane.delete(Deployment, "web")
        await plane.patch(ReplicaSet, rs["metadata"]["name"], {"metadata": {"ownerReferences": None}})
        again = await plane.create(Deployment, deployment_tree(2))
        assert again["metadata"]["uid"] != made["metadata"]["uid"]
        await plane.complete("web")
        (rs,) = await plane.all(ReplicaSet)
        assert rs["metadata"]["ownerReferences"][0]["uid"] == again["metadata"]["uid"]
        assert {pod["metadata"]["uid"] for pod in await plane.all(Pod)} == before
