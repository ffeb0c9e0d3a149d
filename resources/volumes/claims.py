"""Which volume fits a claim, what one made for it looks like, and where on this machine a claim's data lies.

Source: k8s.io/kubernetes/pkg/controller/volume/persistentvolume/{index.go,pv_controller.go}
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

from reconcile.client import Client
from reconcile.errors import NotFoundError, Tree
from reconcile.quantities import parse_quantity
from reconcile.resources.stored.declaration import class_of
from reconcile.resources.stored.storage import persistent_volume, persistent_volume_claim
from reconcile.selectors import label_selector

LOCAL = "local"
"""The storage class of volumes that are folders of this machine; claims that name none get them."""
SELECTED_NODE = "volume.kubernetes.io/selected-node"
"""The node that a scheduler chose for the Pod of a claim, which the volume is to be made for."""
LATE = "WaitForFirstConsumer"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
PROVISIONER = "reconcile.dev/local"


PersistentVolume = class_of(persistent_volume())
PersistentVolumeClaim = class_of(persistent_volume_claim())


def is_bound(tree: Tree) -> bool:
    """Whether a volume or claim has its other half."""
    return (tree.get("status") or {}).get("phase") == "Bound"


def is_claimed_by(volume: Tree, claim: Tree) -> bool:
    """Whether a volume is kept for a claim: by uid, or by name where somebody wrote that by hand."""
    reference, meta = volume["spec"].get("claimRef") or {}, claim["metadata"]
    same = (reference.get("namespace"), reference.get("name")) == (meta["namespace"], meta["name"])
    return same and reference.get("uid") in (None, "", meta["uid"])


def best_for(claim: Tree, volumes: Iterable[Tree]) -> Tree | None:
    """The volume for a claim: the one that is kept for it or that it names, else the smallest free one that fits."""
    spec = claim["spec"]
    found = list(volumes)
    if spec.get("volumeName"):
        return next((v for v in found if v["metadata"]["name"] == spec["volumeName"] and _free_for(v, claim)), None)
    kept = next((volume for volume in found if volume["spec"].get("claimRef") and is_claimed_by(volume, claim)), None)
    fitting = [volume for volume in found if not volume["spec"].get("claimRef") and _fits(volume, claim)]
    return kept or min(fitting, key=lambda v: (_size(v["spec"].get("capacity")), v["metadata"]["name"]), default=None)


def _free_for(volume: Tree, claim: Tree) -> bool:
    return not volume["spec"].get("claimRef") or is_claimed_by(volume, claim)


def _fits(volume: Tree, claim: Tree) -> bool:
    has, wants = volume["spec"], claim["spec"]
    if volume["metadata"].get("deletionTimestamp") or (has.get("storageClassName") or "") != (
        wants.get("storageClassName") or ""
    ):
        return False
    if (has.get("volumeMode") or "Filesystem") != (wants.get("volumeMode") or "Filesystem"):
        return False
    if not set(wants.get("accessModes") or ()) <= set(has.get("accessModes") or ()):
        return False
    selector = wants.get("selector")
    if selector and not label_selector(selector).matches(volume["metadata"].get("labels")):
        return False
    return _size(has.get("capacity")) >= _size((wants.get("resources") or {}).get("requests"))


def _size(amounts: Tree | None) -> Decimal:
    return parse_quantity((amounts or {}).get("storage", 0))


def volume_for(claim: Tree, folder: Path) -> Tree:
    """A new volume for a claim: a folder below `folder`."""
    meta, spec = claim["metadata"], claim["spec"]
    name = f"pvc-{meta['uid']}"
    path = folder / f"{meta['namespace']}_{meta['name']}_{meta['uid']}"
    return {
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "capacity": {"storage": (spec.get("resources") or {}).get("requests", {}).get("storage", "0")},
            "accessModes": spec.get("accessModes") or [], "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec.get("storageClassName") or LOCAL, "volumeMode": spec.get("volumeMode") or "Filesystem",
            "hostPath": {"path": str(path), "type": "DirectoryOrCreate"}, "claimRef": reference_to(claim),
        },
    }  # fmt: skip


def reference_to(claim: Tree) -> Tree:
    """What a volume says of the claim that has it."""
    meta = claim["metadata"]
    return {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": meta["namespace"], "name": meta["name"],
        "uid": meta["uid"],
    }  # fmt: skip


async def volume_path(client: Client, namespace: str, name: str) -> tuple[Path | None, str]:
    """Where a claim's data lies on this machine; or None, and what is in the way."""
    try:
        claim = await client.get(persistent_volume_claim(), name, namespace)
    except NotFoundError:
        return None, f'persistentvolumeclaim "{name}" not found'
    volume_name = claim["spec"].get("volumeName")
    if not is_bound(claim) or not volume_name:
        return None, f'persistentvolumeclaim "{name}" is not bound to a volume yet'
    try:
        spec = (await client.get(persistent_volume(), volume_name))["spec"]
    except NotFoundError:
        return None, f'persistentvolume "{volume_name}" not found'
    source = spec.get("hostPath") or spec.get("local")
    if source is None:
        return None, f'persistentvolume "{volume_name}" is no folder of this machine (hostPath or local)'
    return Path(source["path"]), ""
