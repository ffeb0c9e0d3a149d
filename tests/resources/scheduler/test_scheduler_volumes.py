"""Pods with claims: placed where their volumes are, and claims that are bound for the place that was chosen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from reconcile.client import MERGE_PATCH, Patch
from reconcile.errors import Tree
from reconcile.resources.core import Node, Pod
from reconcile.resources.scheduler import scheduler
from reconcile.resources.stored.storage import persistent_volume, persistent_volume_claim, storage_class
from reconcile.resources.volumes import local_volumes
from reconcile.runtime.testing.virtual import VirtualClock, virtual

PlaneOf = Callable[..., Any]
CLAIMS, VOLUMES, CLASSES = persistent_volume_claim(), persistent_volume(), storage_class()
SELECTED = "volume.kubernetes.io/selected-node"


def parts(tmp_path: Path) -> tuple[Any, ...]:
    return scheduler(volumes=True), local_volumes(tmp_path)


async def add_nodes(plane: Any, *names: str) -> None:
    for name in names:
        await plane.create(Node, {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}})
        status = {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}}
        await plane.patch(Node, name, {"status": status}, "status")


async def add_class(plane: Any, provisioner: str = "kubernetes.io/no-provisioner", **parts: Any) -> None:
    tree = {"metadata": {"name": "late"}, "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer", **parts}
    await plane.client.create(CLASSES, tree)


async def add_claim(plane: Any, name: str, cls: str = "late") -> None:
    size = {"resources": {"requests": {"storage": "1Gi"}}, "accessModes": ["ReadWriteOnce"]}
    await plane.client.create(CLAIMS, {"metadata": {"name": name}, "spec": {"storageClassName": cls, **size}}, "default")


async def add_volume(plane: Any, name: str, node: str, cls: str = "late") -> None:
    where = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    spec = {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": cls, "local": {"path": "/x"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [where]}},
    }  # fmt: skip
    await plane.client.create(VOLUMES, {"metadata": {"name": name}, "spec": spec})


async def add_pod(plane: Any, name: str, claim: str) -> None:
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": claim}}
    spec = {"containers": [{"name": "c", "image": "x"}], "volumes": [volume]}
    await plane.create(Pod, {"metadata": {"name": name}, "spec": spec})


async def place(plane: Any, name: str) -> str:
    async def there() -> Any:
        return (await plane.get(Pod, name))["spec"].get("nodeName")

    return str(await plane.until(there, f"{name} has a node"))


async def why(plane: Any, name: str) -> str:
    async def told() -> Any:
        conditions = (await plane.get(Pod, name))["status"].get("conditions") or ()
        return next((c.get("message") for c in conditions if c["type"] == "PodScheduled" and c["status"] == "False"), None)

    return str(await plane.until(told, f"{name} says why it waits"))


async def claim_of(plane: Any, name: str) -> Tree:
    tree: Tree = await plane.client.get(CLAIMS, name, "default")
    return tree


@virtual
async def test_a_pod_goes_where_its_volume_is(clock: VirtualClock, control_plane: PlaneOf, tmp_path: Path) -> None:
    """Elsewhere it would never start."""
    async with control_plane(clock, *parts(tmp_path)) as plane:
        await add_nodes(plane, "n1", "n2", "n3")
        for number in range(6):
            await add_volume(plane, f"v{number}", "n2", "now")
            await add_claim(plane, f"c{number}", "now")
        await plane.engine.settled()
        for number in range(6):
            await add_pod(plane, f"p{number}", f"c{number}")
            assert await place(plane, f"p{number}") == "n2"


@virtual
async def test_a_claim_that_waits_for_its_pod_is_bound_where_that_can_run(
    clock: VirtualClock, control_plane: PlaneOf, tmp_path: Path
) -> None:
    """Binder and scheduler agree through the volume alone: it is kept for the claim first."""
    async with control_plane(clock, *parts(tmp_path)) as plane:
        await add_nodes(plane, "n1", "n2")
        await add_class(plane)
        await add_claim(plane, "data")
        await add_volume(plane, "far", "n2")
        await clock.sleep(20)
        assert (await claim_of(plane, "data"))["status"]["phase"] == "Pending"
        await add_pod(plane, "a", "data")
        assert await place(plane, "a") == "n2"
        claim = await claim_of(plane, "data")
        assert (claim["spec"]["volumeName"], claim["status"]["phase"]) == ("far", "Bound")


@virtual
async def test_a_pod_without_a_volume_anywhere_says_so_and_goes_when_there_is_one(
    clock: VirtualClock, control_plane: PlaneOf, tmp_path: Path
) -> None:
    """Of two that want the one volume there is, one waits, and holds up nobody."""
    async with control_plane(clock, *parts(tmp_path)) as plane:
        await add_nodes(plane, "n1", "n2")
        await add_class(plane)
        await add_volume(plane, "only", "n1")
        for name in ("a", "b"):
            await add_claim(plane, name)
            await add_pod(plane, name, name)
        assert await place(plane, "a") == "n1"
        assert "2 node(s) didn't find available persistent volumes to bind" in await why(plane, "b")
        await add_volume(plane, "another", "n2")
        assert await place(plane, "b") == "n2"


@virtual
async def test_a_pod_waits_for_a_claim_that_is_not_there_yet(clock: VirtualClock, control_plane: PlaneOf, tmp_path: Path) -> None:
    """One that is seen before its claim must not be bound without it: the claim would never be told its node."""
    async with control_plane(clock, *parts(tmp_path)) as plane:
        await add_nodes(plane, "n1")
        await add_class(plane)
        await add_volume(plane, "v", "n1")
        await add_pod(plane, "a", "data")
        assert 'persistentvolumeclaim "data" not found' in await why(plane, "a")
        await add_claim(plane, "data")
        assert await place(plane, "a") == "n1"


@virtual
async def test_who_makes_volumes_is_told_the_node_and_may_refuse_it(
    clock: VirtualClock, control_plane: PlaneOf, tmp_path: Path
) -> None:
    """The test plays an external provisioner: the first node is full, which it says by taking its choice away."""
    async with control_plane(clock, *parts(tmp_path)) as plane:
        await add_nodes(plane, "n1", "n2")
        topology = [{"matchLabelExpressions": [{"key": "kubernetes.io/hostname", "values": ["n2"]}]}]
        await add_class(plane, "somebody.else/here", allowedTopologies=topology)
        await add_claim(plane, "data")
        await add_pod(plane, "a", "data")

        async def selected() -> Any:
            return ((await claim_of(plane, "data"))["metadata"].get("annotations") or {}).get(SELECTED)

        assert await plane.until(selected, "the node is told") == "n2"
        assert "nodeName" not in (await plane.get(Pod, "a"))["spec"]
        refusal = Patch(MERGE_PATCH, {"metadata": {"annotations": {SELECTED: None}}})
        await clock.sleep(1)
        await plane.client.patch(CLAIMS, "data", refusal, "default")
        await plane.until(selected, "it is told again")
        assert "FailedScheduling" in [reason for reason, _ in await plane.events("a")]
        await add_volume(plane, "made", "n2")
        ref = {"kind": "PersistentVolumeClaim", "namespace": "default", "name": "data"}
        ref["uid"] = (await claim_of(plane, "data"))["metadata"]["uid"]
        await plane.client.patch(VOLUMES, "made", Patch(MERGE_PATCH, {"spec": {"claimRef": ref}}))
        assert await place(plane, "a") == "n2"
