"""An apply configuration of a policy merged into an object: as server-side apply does, without owners and with limits.

What an atomic list, map or object holds would be replaced as a whole, which nobody means who sets a part of it. So
configurations with atomic parts are refused.

Source: k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch/smd.go, sigs.k8s.io/structured-merge-diff/typed/validate.go
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reconcile.errors import ReconcileError, Tree
from reconcile.runtime.api.structure import atomic, child, merged, rooted

_NAMED = ("apiVersion", "kind")
_OBJECT_META = frozenset(
    {
        "name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
        "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers",
        "managedFields",
    }
)  # fmt: skip
_SCALARS: dict[str, tuple[tuple[type, ...], str]] = {
    "integer": ((int, float), "numeric (int or float)"), "number": ((int, float), "numeric (int or float)"),
    "string": ((str,), "string"), "boolean": ((bool,), "boolean"),
}  # fmt: skip
_GO_TYPES = {str: "string", int: "int64", bool: "bool", float: "float64", dict: "map[string]interface {}", list: "[]interface {}"}


class UnfitError(ReconcileError):
    """A mutation does not fit the object; the message says where and why."""


def configured(tree: Tree, configuration: Tree, schema: Tree) -> Tree:
    """The object with the configuration merged into it; the very same where that changes nothing.

    Raises:
        UnfitError: the configuration has fields that the kind has not, values of other types, or atomic parts.
    """
    given = {name: value for name, value in configuration.items() if name not in _NAMED}
    root = rooted(schema)
    wrong = list(_wrong(given, root, ""))
    if wrong:
        listed = wrong[0] if len(wrong) == 1 else "\n".join(["errors:", *(f"  {each}" for each in wrong)])
        raise UnfitError(f"error applying patch: failed to convert patch object to typed object: {listed}")
    atomics = list(_atomics(given, root, ""))
    if atomics:
        listed = ", ".join(atomics)
        raise UnfitError(
            f"error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {listed}"
        )
    made: Tree = merged(tree, given, root)
    return made


def _wrong(value: Any, schema: Tree, path: str) -> Iterator[str]:
    """What the schema does not have, or has otherwise."""
    if value is None or schema.get("x-kubernetes-int-or-string"):
        return
    kind = str(schema.get("type") or "")
    if kind in _SCALARS:
        types, name = _SCALARS[kind]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            yield f"{path}: expected {name}, got {_GO_TYPES.get(type(value), type(value).__name__)}"
    elif kind == "array":
        if not isinstance(value, list):
            yield f"{path}: expected list, got {value}"
            return
        for at, item in enumerate(value):
            yield from _wrong(item, schema.get("items") or {}, f"{path}[{at}]")
    elif kind == "object" or "properties" in schema:
        if not isinstance(value, dict):
            yield f"{path}: expected map, got {value}"
            return
        for name, item in value.items():
            where = f"{path}.{name}"
            if _declares(schema, name, path):
                yield from _wrong(item, child(schema, name), where)
            else:
                yield f"{where}: field not declared in schema"


def _declares(schema: Tree, name: str, path: str) -> bool:
    if path == ".metadata":
        return name in _OBJECT_META
    if schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("additionalProperties"):
        return True
    properties = schema.get("properties")
    return name in properties if properties is not None else True


def _atomics(value: Any, schema: Tree, path: str) -> Iterator[str]:
    """Where the value has atomic lists, maps or objects. What is below the values of maps is not looked at."""
    if isinstance(value, dict):
        if atomic(value, schema):
            yield path
        for name, item in value.items():
            if name in (schema.get("properties") or {}):
                yield from _atomics(item, child(schema, name), f"{path}.{name}")
    elif isinstance(value, list):
        if atomic(value, schema):
            yield path
        for at, item in enumerate(value):
            yield from _atomics(item, schema.get("items") or {}, f"{path}[{at}]")
