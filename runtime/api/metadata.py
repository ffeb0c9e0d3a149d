"""What the server itself keeps in an object's metadata, and the rules for the rest of it.

Every function returns a new metadata dict or changes one that is the caller's own; the objects they came from stay as they
are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconcile.clock import Clock, timestamp
from reconcile.errors import BadRequestError, Cause, ConflictError, Tree
from reconcile.kinds import Kind

from . import refusals
from .catalog import Served
from .names import (
    check_annotations,
    check_finalizers,
    check_labels,
    check_owners,
    generated,
    wrong_label,
    wrong_subdomain,
)
from .objectmeta import SHAPES
from .refusals import value_forbidden, value_invalid, value_required

_GO_TYPES = {str: "string", int: "number", dict: "object", list: "array", bool: "bool", float: "number"}
_KEPT = (
    "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "namespace", "name",
    "generateName",
)  # fmt: skip
_NONE: Tree = {}


def shaped(served: Served, tree: Any, unknown: list[str]) -> tuple[Tree, Tree]:
    """The object with apiVersion, kind and metadata in front, and that metadata, which is now the caller's own.

    Raises:
        BadRequestError: it is of another kind, or its metadata cannot be read.
    """
    kind = served.kind
    if type(tree) is not dict:
        raise BadRequestError(f"a {kind.kind} is an object, not {refusals.show(tree)[:100]}")
    for name, wanted in (("apiVersion", served.api_version), ("kind", kind.kind)):
        found = tree.get(name)
        if found and found != wanted:
            what = "API version" if name == "apiVersion" else "kind"
            raise BadRequestError(f"the {what} in the data ({found}) does not match the expected {what} ({wanted})")
    given = tree.get("metadata")
    if given is None:
        given = _NONE
    elif type(given) is not dict:
        raise _unreadable(kind, "metadata", given, "v1.ObjectMeta")
    metadata: Tree = {}
    for name, value in given.items():
        if value is None:
            continue
        shape = SHAPES.get(name)
        if shape is None:
            unknown.append(f"metadata.{name}")
            continue
        if type(value) is not shape:
            raise _unreadable(kind, f"metadata.{name}", value, _GO_TYPES[shape])
        if value or shape is int:
            metadata[name] = value
    for name in ("labels", "annotations"):
        for value in metadata.get(name, _NONE).values():
            if type(value) is not str:
                raise _unreadable(kind, f"metadata.{name}", value, "string")
    for name, shape in (("ownerReferences", dict), ("finalizers", str), ("managedFields", dict)):
        for value in metadata.get(name, ()):
            if type(value) is not shape:
                raise _unreadable(kind, f"metadata.{name}", value, _GO_TYPES[shape])
    made = {"apiVersion": served.api_version, "kind": kind.kind, "metadata": metadata}
    for name, value in tree.items():
        if name not in made:
            made[name] = value
    return made, metadata


def _unreadable(kind: Kind, path: str, value: Any, wanted: str) -> BadRequestError:
    found = _GO_TYPES.get(type(value), "null")
    return refusals.undecodable(kind, f"json: cannot unmarshal {found} into Go struct field {kind.kind}.{path} of type {wanted}")


def place(kind: Kind, metadata: Tree, namespace: str, name: str) -> None:
    """Agree on namespace and name with the URL's.

    Raises:
        BadRequestError: they differ.
    """
    if kind.namespaced:
        found = metadata.get("namespace", "")
        if found and namespace and found != namespace:
            raise BadRequestError("the namespace of the provided object does not match the namespace sent on the request")
        if not (namespace or found):
            raise BadRequestError("an empty namespace may not be set during creation")
        metadata["namespace"] = namespace or found
    else:
        metadata.pop("namespace", None)
    if name:
        found = metadata.setdefault("name", name)
        if found != name:
            raise BadRequestError(f"the name of the object ({found}) does not match the name on the URL ({name})")


def begin(kind: Kind, metadata: Tree, clock: Clock) -> None:
    """Fill in what a new object gets from the server.

    Raises:
        BadRequestError: it names a resourceVersion.
    """
    if metadata.pop("resourceVersion", ""):
        raise BadRequestError("resourceVersion should not be set on objects to be created")
    for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"):
        metadata.pop(name, None)
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = generated(metadata["generateName"], clock)
    metadata["uid"] = clock.uid()
    metadata["creationTimestamp"] = timestamp(clock.now())
    if kind.has_generation:
        metadata["generation"] = 1
    for finalizer in kind.hooks.finalizers:
        if finalizer not in metadata.get("finalizers", ()):
            metadata["finalizers"] = [*metadata.get("finalizers", ()), finalizer]


def carry_over(kind: Kind, metadata: Tree, old: Tree) -> None:
    """Keep what only the server may change, and check what a write claims to know.

    Raises:
        ConflictError: the uid is another object's, or the resourceVersion is not the newest.
    """
    name = old["name"]
    claimed = metadata.get("uid")
    if claimed and claimed != old.get("uid"):
        raise ConflictError(
            f'Operation cannot be fulfilled on {kind.resource} "{name}": Precondition failed: UID in precondition: {claimed}, '
            f"UID in object meta: {old.get('uid', '')}",
            details={"name": name, **({"group": kind.group} if kind.group else {}), "kind": kind.plural},
        )
    claimed = metadata.get("resourceVersion")
    if claimed and claimed != old.get("resourceVersion"):
        if not claimed.isdigit():
            raise refusals.invalid(kind, name, [value_invalid("metadata.resourceVersion", claimed, "must be a decimal number")])
        raise refusals.conflict(kind, name)
    metadata.pop("selfLink", None)
    for field in _KEPT:
        if field in old:
            metadata[field] = old[field]
        else:
            metadata.pop(field, None)
    metadata["resourceVersion"] = old.get("resourceVersion", "")
    # A client that leaves managedFields out keeps them; the one way to clear them is to send [{}].
    if "managedFields" not in metadata and "managedFields" in old:
        metadata["managedFields"] = old["managedFields"]
    elif metadata.get("managedFields") == [{}]:
        del metadata["managedFields"]


def check_new(kind: Kind, metadata: Tree, label_names: bool) -> list[Cause]:
    """What is wrong with a new object's metadata; `label_names`: its name must be a label, not only a subdomain."""
    causes = []
    name = metadata.get("name", "")
    if not name:
        causes.append(value_required("metadata.name", "name or generateName is required"))
    elif why := (kind.hooks.wrong_name or (wrong_label if label_names else wrong_subdomain))(name):
        causes.append(value_invalid("metadata.name", name, why))
    if kind.namespaced and (why := wrong_label(metadata["namespace"])):
        causes.append(value_invalid("metadata.namespace", metadata["namespace"], why))
    causes.extend(_check_common(metadata, _NONE))
    return causes


def check_changed(metadata: Tree, old: Tree) -> list[Cause]:
    """What is wrong with a changed object's metadata; what did not change is not looked at."""
    causes = _check_common(metadata, old)
    if old.get("deletionTimestamp"):
        before = old.get("finalizers") or ()
        if added := [finalizer for finalizer in metadata.get("finalizers") or () if finalizer not in before]:
            shown = ", ".join(f'"{finalizer}"' for finalizer in added)
            causes.append(
                value_forbidden(
                    "metadata.finalizers",
                    f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{shown}}}",
                )
            )
    return causes


def _check_common(metadata: Tree, old: Mapping[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    for name, check in _CHECKS:
        value = metadata.get(name)
        if value and value is not old.get(name):
            causes.extend(check(value))
    return causes


_CHECKS: tuple[tuple[str, Any], ...] = (
    ("labels", check_labels), ("annotations", check_annotations), ("ownerReferences", check_owners),
    ("finalizers", check_finalizers),
)  # fmt: skip


def lingers(kind: Kind, tree: Tree, meta: Tree) -> bool:
    """Whether an object whose deletion has begun stays for now; `meta` is its metadata as it will be."""
    if meta.get("finalizers"):
        return True
    return kind.hooks.held(tree) if kind.hooks.held is not None else bool(meta.get("deletionGracePeriodSeconds"))
