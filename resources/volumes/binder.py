"""Binds claims to volumes: to one that somebody made, or, of the class `local` or of none, to a new folder of this machine.

A volume that was made for a claim goes with it, and its folder too; any other one is kept, and says Released.

Source: k8s.io/kubernetes/pkg/controller/volume/persistentvolume/pv_controller.go
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from reconcile.client import MERGE_PATCH, Client, Patch
from reconcile.errors import AlreadyExistsError, NotFoundError, Tree
from reconcile.handling import Cluster, EventRecorder, Key, Requeue
from reconcile.kinds import Resource
from reconcile.registry import Operator, Watch
from reconcile.resources.stored.storage import persistent_volume, persistent_volume_claim, storage_class
from reconcile.views import tree_of

from .claims import (
    LATE,
    LOCAL,
    PROVISIONED_BY,
    PROVISIONER,
    SELECTED_NODE,
    PersistentVolume,
    PersistentVolumeClaim,
    best_for,
    is_bound,
    is_claimed_by,
    reference_to,
    volume_for,
)

_AGAIN_S = 15.0


async def removed(path: Path) -> None:
    """Remove a folder with all that is in it, on a thread: it may be large."""
    await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)


def local_volumes(folder: Path, remove: Callable[[Path], Awaitable[None]] = removed) -> Operator:
    """The operator that binds claims; new volumes lie below `folder`, and are taken away by `remove`."""
    app = Operator("persistent-volumes")

    def holder(volume: Resource) -> tuple[Key, ...]:
        reference = (tree_of(volume)["spec"] or {}).get("claimRef") or {}
        return (Key(reference["namespace"], reference["name"]),) if reference.get("name") else ()

    # One after the other: two claims must not take the same volume.
    @app.on.reconcile(PersistentVolumeClaim, watches=(Watch(PersistentVolume, to=holder),), workers=1)
    async def claim(claim: Resource, cluster: Cluster, events: EventRecorder) -> Requeue | None:
        tree = tree_of(claim)
        if is_bound(tree):
            return None
        volumes = (await cluster.client.list(persistent_volume())).items
        if await _waits_for_pod(tree, volumes, cluster.client):
            events.normal("WaitForFirstConsumer", "waiting for first consumer to be created before binding")
            return Requeue(_AGAIN_S)
        volume = best_for(tree, volumes) or await _made(tree, folder, cluster.client)
        if volume is None:
            events.normal("FailedBinding", "no persistent volume fits this claim, and its class is none that makes one here")
            return Requeue(_AGAIN_S)
        await _bind(tree, volume, cluster.client)
        return None

    def owned(claim: Resource) -> tuple[Key, ...]:
        name = (tree_of(claim)["spec"] or {}).get("volumeName")
        return (Key("", name),) if name else ()

    @app.on.reconcile(PersistentVolume, watches=(Watch(PersistentVolumeClaim, to=owned),), workers=1)
    async def volume(volume: Resource, cluster: Cluster) -> None:
        tree = tree_of(volume)
        reference = tree["spec"].get("claimRef") or {}
        if not reference.get("uid"):
            await _say(tree, "Available", cluster.client)
            return
        if await _holder(tree, cluster.client) is not None:
            return
        await _say(tree, "Released", cluster.client)
        if tree["spec"].get("persistentVolumeReclaimPolicy") == "Delete" and is_made_here(tree, folder):
            await remove(Path(tree["spec"]["hostPath"]["path"]))
            await cluster.delete(volume)

    return app


async def _waits_for_pod(claim: Tree, volumes: Sequence[Tree], client: Client) -> bool:
    """Whether a claim's class leaves it to the scheduler where it is bound, and that has not chosen yet."""
    if (claim["metadata"].get("annotations") or {}).get(SELECTED_NODE) or claim["spec"].get("volumeName"):
        return False
    if any(volume["spec"].get("claimRef") and is_claimed_by(volume, claim) for volume in volumes):
        return False
    try:
        cls = await client.get(storage_class(), claim["spec"].get("storageClassName") or "")
    except NotFoundError:
        return False
    return cls.get("volumeBindingMode") == LATE


def is_made_here(volume: Tree, folder: Path) -> bool:
    """Whether the volume is a folder that was made here: nothing else is ever removed."""
    path = Path((volume["spec"].get("hostPath") or {}).get("path") or "/")
    return (volume["metadata"].get("annotations") or {}).get(PROVISIONED_BY) == PROVISIONER and path.parent == folder


async def _holder(volume: Tree, client: Client) -> Tree | None:
    """The claim that has a volume, or None where that is gone."""
    reference = volume["spec"]["claimRef"]
    try:
        claim = await client.get(persistent_volume_claim(), reference["name"], reference["namespace"])
    except NotFoundError:
        return None
    return claim if is_claimed_by(volume, claim) else None


async def _made(claim: Tree, folder: Path, client: Client) -> Tree | None:
    """A new volume for a claim; None: its class, or the volume that it names, is not for us to make."""
    if claim["spec"].get("storageClassName", LOCAL) != LOCAL or claim["spec"].get("volumeName"):
        return None
    tree = volume_for(claim, folder)
    try:
        return await client.create(persistent_volume(), tree)
    except AlreadyExistsError:
        return await client.get(persistent_volume(), tree["metadata"]["name"])


async def _bind(claim: Tree, volume: Tree, client: Client) -> None:
    """Tell both halves of each other: the volume first, so that a crash in between leaves it kept for this claim."""
    name, meta = volume["metadata"]["name"], claim["metadata"]
    await client.patch(persistent_volume(), name, Patch(MERGE_PATCH, {"spec": {"claimRef": reference_to(claim)}}))
    await _say(volume, "Bound", client)
    bound = {"phase": "Bound", "accessModes": volume["spec"].get("accessModes"), "capacity": volume["spec"].get("capacity")}
    kind, namespace = persistent_volume_claim(), meta["namespace"]
    uid = {"uid": meta["uid"]}
    if not claim["spec"].get("volumeName"):
        await client.patch(kind, meta["name"], Patch(MERGE_PATCH, {"metadata": uid, "spec": {"volumeName": name}}), namespace)
    change = Patch(MERGE_PATCH, {"metadata": uid, "status": bound})
    await client.patch(kind, meta["name"], change, namespace, subresource="status")


async def _say(volume: Tree, phase: str, client: Client) -> None:
    if (volume.get("status") or {}).get("phase") != phase:
        change = Patch(MERGE_PATCH, {"status": {"phase": phase}})
        await client.patch(persistent_volume(), volume["metadata"]["name"], change, subresource="status")
