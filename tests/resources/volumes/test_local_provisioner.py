"""Volumes for claims that another program binds: kube-controller-manager, whose part the tests play here."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconcile.client import MERGE_PATCH, Patch
from reconcile.errors import InvalidError, Tree
from reconcile.resources.stored.storage import persistent_volume, persistent_volume_claim, storage_class
from reconcile.resources.volumes import local_provisioner
from reconcile.runtime.testing.virtual import VirtualClock, virtual

PlaneOf = Callable[..., Any]
CLAIMS, VOLUMES, CLASSES = persistent_volume_claim(), persistent_volume(), storage_class()
WANTED: Tree = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


async def inline(path: Path) -> None:
    """Without a thread, which virtual time does not know."""
    shutil.rmtree(path)


async def asked(plane: Any, provisioner: str) -> Tree:
    """A claim of which the binder has said who is to make its volume."""
    claim = {"metadata": {"name": "data"}, "spec": {**WANTED, "storageClassName": "local"}}
    await plane.client.create(CLAIMS, claim, "default")
    note = Patch(MERGE_PATCH, {"metadata": {"annotations": {"volume.kubernetes.io/storage-provisioner": provisioner}}})
    made: Tree = await plane.client.patch(CLAIMS, "data", note, "default")
    await plane.engine.settled()
    return made


@virtual
async def test_claims_come_by_a_class_that_is_the_default(clock: VirtualClock, control_plane: PlaneOf, tmp_path: Path) -> None:
    """A binder sends nobody claims without a class; one that somebody changed stays as it is."""
    async with control_plane(clock, local_provisioner(tmp_path, inline)) as plane:
        made = await plane.client.get(CLASSES, "local")
        assert made["provisioner"] == "reconcile.dev/local"
        assert made["metadata"]["annotations"] == {"storageclass.kubernetes.io/is-default-class": "true"}


@virtual
async def test_a_folder_is_made_when_it_is_asked_for_and_goes_when_it_is_released(
    clock: VirtualClock, control_plane: PlaneOf, tmp_path: Path
) -> None:
    """Bound is left to the binder: two that bind would take each other's volumes."""
    async with control_plane(clock, local_provisioner(tmp_path, inline)) as plane:
        claim = await asked(plane, "reconcile.dev/local")
        (volume,) = (await plane.client.list(VOLUMES)).items
        assert volume["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"]
        assert (volume["status"]["phase"], volume["spec"]["storageClassName"]) == ("Pending", "local")
        assert (await plane.client.get(CLAIMS, "data", "default"))["status"]["phase"] == "Pending"
        path = Path(volume["spec"]["hostPath"]["path"])
        assert path.parent == tmp_path
        path.mkdir()
        name = volume["metadata"]["name"]
        for phase, left in (("Bound", True), ("Released", False)):
            change = Patch(MERGE_PATCH, {"status": {"phase": phase}})
            await plane.client.patch(VOLUMES, name, change, subresource="status")
            await plane.engine.settled()
            assert (path.exists(), bool((await plane.client.list(VOLUMES)).items)) == (left, left)


@virtual
async def test_who_is_not_asked_makes_nothing(clock: VirtualClock, control_plane: PlaneOf, tmp_path: Path) -> None:
    """Claims of another provisioner's class, and claims that nobody has looked at."""
    async with control_plane(clock, local_provisioner(tmp_path, inline)) as plane:
        await asked(plane, "somebody.else/here")
        await plane.client.create(CLAIMS, {"metadata": {"name": "other"}, "spec": WANTED}, "default")
        await plane.engine.settled()
        assert (await plane.client.list(VOLUMES)).items == []


@virtual
async def test_a_claim_without_a_class_may_be_given_one_once(clock: VirtualClock, control_plane: PlaneOf, tmp_path: Path) -> None:
    """As the binder does where there is a default class; afterwards it stays."""
    async with control_plane(clock) as plane:
        await plane.client.create(CLAIMS, {"metadata": {"name": "data"}, "spec": WANTED}, "default")
        for name in ("local", "other"):
            change = Patch(MERGE_PATCH, {"spec": {"storageClassName": name}})
            if name == "other":
                with pytest.raises(InvalidError, match="spec is immutable after creation"):
                    await plane.client.patch(CLAIMS, "data", change, "default")
            else:
                await plane.client.patch(CLAIMS, "data", change, "default")
