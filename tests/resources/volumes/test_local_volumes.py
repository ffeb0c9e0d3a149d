"""Claims and the volumes they get, on the real API and engine in virtual time."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconcile.client import MERGE_PATCH, Patch
from reconcile.errors import Tree
from reconcile.resources.stored.storage import persistent_volume, persistent_volume_claim
from reconcile.resources.volumes import local_volumes, volume_path
from reconcile.runtime.testing.virtual import VirtualClock, virtual

PlaneOf = Callable[..., Any]
CLAIMS, VOLUMES = persistent_volume_claim(), persistent_volume()


def claim(name: str = "data", size: str = "1Gi", **spec: Any) -> Tree:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    return {"metadata": {"name": name}, "spec": {**wanted, **spec}}


def by_hand(name: str, size: str, path: str = "/srv", labels: Tree | None = None, **spec: Any) -> Tree:
    has = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "hostPath": {"path": path}}
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": {**has, **spec}}


async def inline(path: Path) -> None:
    """Without a thread, which virtual time does not know."""
    shutil.rmtree(path)


async def bound(plane: Any, name: str = "data") -> Tree:
    async def fact() -> Tree | None:
        tree: Tree = await plane.client.get(CLAIMS, name, "default")
        return tree if tree["status"]["phase"] == "Bound" else None

    tree: Tree = await plane.until(fact, f"{name} is bound")
    return tree


async def phase_of(plane: Any, name: str) -> str:
    return str((await plane.client.get(VOLUMES, name))["status"]["phase"])


@virtual
async def test_a_claim_gets_a_folder_that_goes_with_it(clock: VirtualClock, control_plane: PlaneOf, tmp_path: Path) -> None:
    """What a StatefulSet's members keep their data in."""
    async with control_plane(clock, local_volumes(tmp_path, inline)) as plane:
        await plane.client.create(CLAIMS, claim(), "default")
        tree = await bound(plane)
        assert tree["status"]["capacity"] == {"storage": "1Gi"}
        volume = await plane.client.get(VOLUMES, tree["spec"]["volumeName"])
        assert volume["status"]["phase"] == "Bound"
        assert volume["spec"]["claimRef"]["uid"] == tree["metadata"]["uid"]
        path, why = await volume_path(plane.client, "default", "data")
        assert (path is not None and path.parent, why) == (tmp_path, "")
        assert path is not None
        path.mkdir()
        (path / "x").write_text("kept")
        await plane.client.delete(CLAIMS, "data", "default")

        async def gone() -> bool:
            return not (await plane.client.list(VOLUMES)).items and not path.exists()

        await plane.until(gone, "volume and folder are gone")


@virtual
async def test_a_volume_made_by_hand_is_taken_before_one_is_made_and_is_kept(
    clock: VirtualClock, control_plane: PlaneOf, tmp_path: Path
) -> None:
    """The smallest that fits; somebody else's data is never removed."""
    kept = tmp_path / "kept"
    kept.mkdir()
    async with control_plane(clock, local_volumes(tmp_path, inline)) as plane:
        for tree in (
            by_hand("small", "100Mi"), by_hand("large", "10Gi"), by_hand("other", "1Gi", storageClassName="fast"),
            by_hand("right", "2Gi", str(kept), persistentVolumeReclaimPolicy="Delete"),
            by_hand("labelled", "1Gi", labels={"a": "b"}, accessModes=["ReadOnlyMany"]),
        ):  # fmt: skip
            await plane.client.create(VOLUMES, tree)
        await plane.client.create(CLAIMS, claim(), "default")
        assert (await bound(plane))["spec"]["volumeName"] == "right"
        assert await phase_of(plane, "right") == "Bound"
        assert await phase_of(plane, "large") == "Available"
        await plane.client.delete(CLAIMS, "data", "default")

        async def released() -> bool:
            return await phase_of(plane, "right") == "Released"

        await plane.until(released, "the volume is released")
        assert kept.exists()
        selecting = claim("picky", accessModes=["ReadOnlyMany"], selector={"matchLabels": {"a": "b"}})
        await plane.client.create(CLAIMS, selecting, "default")
        assert (await bound(plane, "picky"))["spec"]["volumeName"] == "labelled"


@virtual
async def test_two_claims_do_not_take_one_volume(clock: VirtualClock, control_plane: PlaneOf, tmp_path: Path) -> None:
    """The second one gets a folder."""
    async with control_plane(clock, local_volumes(tmp_path, inline)) as plane:
        await plane.client.create(VOLUMES, by_hand("one", "1Gi"))
        for name in "ab":
            await plane.client.create(CLAIMS, claim(name), "default")
        names = {(await bound(plane, name))["spec"]["volumeName"] for name in "ab"}
        assert len(names) == 2
        assert "one" in names


@pytest.mark.parametrize("spec", [{"storageClassName": "fast"}, {"storageClassName": ""}, {"volumeName": "none"}])
@virtual
async def test_a_claim_that_nothing_here_fulfils_waits_and_says_so(
    spec: Tree, clock: VirtualClock, control_plane: PlaneOf, tmp_path: Path
) -> None:
    """A class of somebody else's, or a volume that is not there yet: when it comes, the claim is bound."""
    async with control_plane(clock, local_volumes(tmp_path, inline)) as plane:
        await plane.client.create(CLAIMS, claim(**spec), "default")
        await clock.sleep(1)
        assert (await plane.client.get(CLAIMS, "data", "default"))["status"]["phase"] == "Pending"
        assert "FailedBinding" in [reason for reason, _ in await plane.events("data")]
        path, why = await volume_path(plane.client, "default", "data")
        assert (path, why) == (None, 'persistentvolumeclaim "data" is not bound to a volume yet')
        late = by_hand("none", "1Gi", storageClassName=spec.get("storageClassName", ""))
        await plane.client.create(VOLUMES, late)
        await bound(plane)


@virtual
async def test_a_volume_that_was_taken_before_a_crash_is_still_kept_for_its_claim(
    clock: VirtualClock, control_plane: PlaneOf, tmp_path: Path
) -> None:
    """Between telling the volume and telling the claim."""
    async with control_plane(clock) as plane:
        made = await plane.client.create(CLAIMS, claim(), "default")
        await plane.client.create(VOLUMES, by_hand("first", "5Gi"))
        await plane.client.create(VOLUMES, by_hand("better", "1Gi"))
        reference = {"namespace": "default", "name": "data", "uid": made["metadata"]["uid"]}
        await plane.client.patch(VOLUMES, "first", Patch(MERGE_PATCH, {"spec": {"claimRef": reference}}))
        await plane.engine.start(local_volumes(tmp_path, inline))
        assert (await bound(plane))["spec"]["volumeName"] == "first"
