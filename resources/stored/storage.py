"""Storage: volumes, claims on them, their classes and drivers. Nothing here provisions: a claim waits for somebody who does.

Source: k8s.io/kubernetes/pkg/apis/{core,storage}, k8s.io/kubernetes/pkg/printers/internalversion
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from reconcile.errors import Cause, Tree
from reconcile.kinds import Column, Hooks, Kind
from reconcile.resources.core.cells import AGE, path_cell
from reconcile.resources.core.names import forbidden, immutable, is_quantity, required, unsupported

from .declaration import at, count_cell, declared

_UNSET = "<unset>"
_ANSWERS_DELETED = Hooks(answers_deleted=True)
_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_NOT_SOURCES = frozenset(
    ("capacity", "accessModes", "claimRef", "persistentVolumeReclaimPolicy", "storageClassName", "mountOptions", "volumeMode",
     "nodeAffinity", "volumeAttributesClassName")
)  # fmt: skip
_TRAITS = Column("VolumeAttributesClass", cell=path_cell("spec", "volumeAttributesClassName", absent=_UNSET), doc="Its traits.")
_MODE = Column("VolumeMode", cell=path_cell("spec", "volumeMode", absent=_UNSET), priority=1, doc="Filesystem or Block.")


def storage_kinds() -> list[Kind]:
    """Everything about volumes."""
    return [persistent_volume(), persistent_volume_claim(), *_classes(), *_drivers()]


@lru_cache(maxsize=1)
def persistent_volume() -> Kind:
    """The kind of volumes."""
    return declared(
        "v1", "PersistentVolume", "persistentvolumes", "A piece of storage that somebody provisioned.", namespaced=False,
        short_names=("pv",), status=True, has_generation=False,
        defaults={"spec.persistentVolumeReclaimPolicy": "Retain", "spec.volumeMode": "Filesystem"},
        hooks=Hooks(prepare=_pending, prepares_changes=False, validate=_validate_volume, answers_deleted=True),
        columns=(
            Column("Capacity", cell=path_cell("spec", "capacity", "storage"), doc="How much it holds."),
            Column("Access Modes", cell=_modes_of("spec"), doc="Who may mount it how."),
            Column("Reclaim Policy", cell=path_cell("spec", "persistentVolumeReclaimPolicy"), doc="What a release does."),
            Column("Status", cell=_phase, doc="Available, Bound, Released or Failed."),
            Column("Claim", cell=_claim, doc="Who has it."),
            Column("StorageClass", cell=_class, doc="The class it belongs to."),
            _TRAITS,
            Column("Reason", cell=path_cell("status", "reason"), doc="Why it is in this state."),
            AGE,
            _MODE,
        ),
    )  # fmt: skip


@lru_cache(maxsize=1)
def persistent_volume_claim() -> Kind:
    """The kind of claims on volumes."""
    return declared(
        "v1", "PersistentVolumeClaim", "persistentvolumeclaims", "A wish for storage, bound to a volume that fulfils it.",
        short_names=("pvc",), status=True, has_generation=False, defaults={"spec.volumeMode": "Filesystem"},
        hooks=Hooks(prepare=_pending, prepares_changes=False, validate=_validate_claim, answers_deleted=True),
        columns=(
            Column("Status", cell=_phase, doc="Pending, Bound or Lost."),
            Column("Volume", cell=path_cell("spec", "volumeName"), doc="The volume it has."),
            Column("Capacity", cell=_claimed, doc="How much the volume holds."),
            Column("Access Modes", cell=_claimed_modes, doc="Who may mount it how."),
            Column("StorageClass", cell=_class, doc="The class it asks for."),
            _TRAITS,
            AGE,
            _MODE,
        ),
    )  # fmt: skip


@lru_cache(maxsize=1)
def storage_class() -> Kind:
    """The kind of classes."""
    no_update = "updates to {} are forbidden."
    return declared(
        "storage.k8s.io/v1", "StorageClass", "storageclasses", "A way in which volumes are provisioned.", namespaced=False,
        hooks=_ANSWERS_DELETED,
        short_names=("sc",), has_generation=False,
        defaults={"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"},
        immutable={name: no_update.format(name) for name in ("parameters", "provisioner", "reclaimPolicy")}
        | {"volumeBindingMode": "field is immutable"},
        columns=(
            Column("Name", cell=_class_name, format="name", doc="Its name, and whether it is the default."),
            Column("Provisioner", cell=path_cell("provisioner"), doc="Who makes its volumes."),
            Column("ReclaimPolicy", cell=path_cell("reclaimPolicy", absent="Delete"), doc="What a release does."),
            Column("VolumeBindingMode", cell=path_cell("volumeBindingMode", absent="Immediate"), doc="When it binds."),
            Column("AllowVolumeExpansion", cell=_text_of("allowVolumeExpansion", False), doc="Whether claims may grow."),
            AGE,
        ),
    )  # fmt: skip


def _classes() -> list[Kind]:
    return [
        storage_class(),
        declared(
            "storage.k8s.io/v1", "VolumeAttributesClass", "volumeattributesclasses", "Traits that a volume can be given later.",
            hooks=_ANSWERS_DELETED,
            namespaced=False, short_names=("vac",), has_generation=False, immutable=("driverName", "parameters"),
            columns=(Column("DriverName", cell=path_cell("driverName"), doc="The driver that knows the traits."), AGE),
        ),
    ]  # fmt: skip


def _drivers() -> list[Kind]:
    return [
        declared(
            "storage.k8s.io/v1", "CSIDriver", "csidrivers", "A storage driver, and what it wants of a cluster.", namespaced=False,
            hooks=_ANSWERS_DELETED, has_generation=False, needs_revision=True,
            defaults={
                "spec.attachRequired": True, "spec.podInfoOnMount": False, "spec.storageCapacity": False,
                "spec.fsGroupPolicy": "ReadWriteOnceWithFSType", "spec.volumeLifecycleModes": ["Persistent"],
                "spec.requiresRepublish": False, "spec.seLinuxMount": False,
            },
            immutable=("spec.attachRequired", "spec.volumeLifecycleModes"),
            columns=(
                Column("AttachRequired", ".spec.attachRequired", "boolean", doc="Whether volumes are attached to a node first."),
                Column("PodInfoOnMount", ".spec.podInfoOnMount", "boolean", doc="Whether it is told about the Pod."),
                Column("StorageCapacity", ".spec.storageCapacity", "boolean", doc="Whether the scheduler asks for room."),
                Column("TokenRequests", cell=_audiences, doc="Whose tokens it wants."),
                Column("RequiresRepublish", cell=_flag("requiresRepublish"), type="boolean", doc="Whether mounts are renewed."),
                Column("Modes", cell=_lifecycles, doc="Kinds of volumes that it makes."),
                AGE,
            ),
        ),
        declared(
            "storage.k8s.io/v1", "CSINode", "csinodes", "The storage drivers of one node.", namespaced=False,
            hooks=_ANSWERS_DELETED, has_generation=False, needs_revision=True, defaults={"spec.drivers": []},
            columns=(Column("Drivers", cell=count_cell("spec", "drivers"), type="integer", doc="How many there are."), AGE),
        ),
        declared(
            "storage.k8s.io/v1", "CSIStorageCapacity", "csistoragecapacities", "How much room there is where.",
            has_generation=False, columns=(Column("Created At", ".metadata.creationTimestamp", "date", doc="When it was made."),),
            immutable=("storageClassName", "nodeTopology"), needs_revision=True,
        ),
        declared(
            "storage.k8s.io/v1", "VolumeAttachment", "volumeattachments", "The wish to have a volume on a node.",
            hooks=_ANSWERS_DELETED, needs_revision=True,
            namespaced=False, status=True, has_generation=False, immutable=("spec",), defaults={"status": {"attached": False}},
            columns=(
                Column("Name", cell=path_cell("metadata", "name"), format="name", doc="Its name."),
                Column("Attacher", cell=path_cell("spec", "attacher"), format="name", doc="The driver."),
                Column("PV", cell=path_cell("spec", "source", "persistentVolumeName"), doc="The volume."),
                Column("Node", cell=path_cell("spec", "nodeName"), doc="Where it is wanted."),
                Column("Attached", cell=path_cell("status", "attached", absent=False), type="boolean", doc="Is it there?"),
                AGE,
            ),
        ),
    ]  # fmt: skip


def _pending(tree: Tree, old: Tree | None) -> None:
    if old is None:
        tree["status"] = {"phase": "Pending"}


def _validate_volume(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    spec = tree.get("spec") or {}
    yield from _valid_modes(spec, "spec.accessModes")
    if "capacity" not in spec:
        yield required("spec.capacity")
    elif "storage" not in spec["capacity"] or len(spec["capacity"]) > 1:
        yield unsupported("spec.capacity", ",".join(sorted(spec["capacity"])), ("storage",))
    else:
        yield from is_quantity(spec["capacity"]["storage"], "spec.capacity.storage")
    sources = [name for name in spec if name not in _NOT_SOURCES]
    if not sources:
        yield required("spec", "must specify a volume type")
    for name in sources[1:]:
        yield forbidden(f"spec.{name}", "may not specify more than 1 volume type")
    if old is not None:
        before = old.get("spec") or {}
        if [before.get(name) for name in before if name not in _NOT_SOURCES] != [spec[name] for name in sources]:
            yield forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")
        if before.get("volumeMode") != spec.get("volumeMode"):
            yield immutable("spec.volumeMode", spec.get("volumeMode"))


def _validate_claim(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    spec = tree.get("spec") or {}
    yield from _valid_modes(spec, "spec.accessModes")
    requested = at(spec, "resources", "requests", "storage")
    if requested is None:
        yield required("spec.resources[storage]")
    else:
        yield from is_quantity(requested, "spec.resources[storage]")
    if old is not None:
        yield from _unchanged_claim(spec, old.get("spec") or {})


def _unchanged_claim(spec: Tree, before: Tree) -> Iterator[Cause]:
    """A claim may be bound once, be given a class where it names none, grow, and take on other traits; nothing else changes."""
    changeable = {"resources", "volumeAttributesClassName", *(() if before.get("volumeName") else ("volumeName",))}
    if before.get("storageClassName") is None:
        changeable.add("storageClassName")
    if any(spec.get(name) != before.get(name) for name in spec.keys() | before.keys() if name not in changeable):
        yield forbidden(
            "spec", "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        )


def _valid_modes(spec: Tree, path: str) -> Iterator[Cause]:
    modes: Iterable[str] = spec.get("accessModes") or ()
    if not modes:
        yield required(path, "at least 1 access mode is required")
    for position, mode in enumerate(modes):
        if mode not in _MODES:
            yield unsupported(f"{path}[{position}]", mode, _MODES)


def _phase(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    return "Terminating" if "deletionTimestamp" in tree["metadata"] else str(at(tree, "status", "phase") or "")


def _modes_of(part: str) -> Any:
    return lambda tree, _: ",".join(_MODES.get(m, m) for m in _MODES if m in (at(tree, part, "accessModes") or ()))


def _claimed(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    return str(at(tree, "status", "capacity", "storage") or "") if at(tree, "spec", "volumeName") else ""


def _claimed_modes(tree: Tree, now_s: float) -> str:
    return str(_modes_of("status")(tree, now_s)) if at(tree, "spec", "volumeName") else ""


def _claim(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    claim = at(tree, "spec", "claimRef")
    return f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else ""


def _class(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    annotated = (tree["metadata"].get("annotations") or {}).get(_CLASS_ANNOTATION)
    return str(annotated or at(tree, "spec", "storageClassName") or "")


def _class_name(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    default = (tree["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"
    return str(tree["metadata"]["name"]) + (" (default)" if default else "")


def _text_of(name: str, absent: bool) -> Any:
    return lambda tree, _: "true" if tree.get(name, absent) else "false"


def _flag(name: str) -> Any:
    return lambda tree, _: bool(at(tree, "spec", name))


def _audiences(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    return ",".join(request.get("audience", "") for request in at(tree, "spec", "tokenRequests") or ()) or _UNSET


def _lifecycles(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    return ",".join(at(tree, "spec", "volumeLifecycleModes") or ()) or "<none>"
