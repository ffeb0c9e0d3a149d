"""An apply configuration of a policy merged into an object: as server-side apply does, without owners and with limits.

What an atomic list, map or object holds would be replaced as a whole, which nobody means who sets a part of it. So
configurations with atomic parts are refused.

Source: k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch/smd.go, sigs.k8s.io/structured-merge-diff/typed/validate.go
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reconcile.errors import ReconcileError, Tree
from reconcile.runtime.api.structure import METADATA, atomic, child, merged, path_element, rooted

_NAMED = ("apiVersion", "kind")
_TEXT: Tree = {"type": "string"}
_TEXTS: Tree = {"type": "object", "additionalProperties": _TEXT}
_OBJECT_META: Tree = {
    **METADATA,
    "properties": {
        **dict.fromkeys(("name", "generateName", "namespace", "selfLink", "uid", "resourceVersion"), _TEXT),
        **dict.fromkeys(("creationTimestamp", "deletionTimestamp"), _TEXT),
        **{key: {"type": "integer"} for key in ("generation", "deletionGracePeriodSeconds")},
        "labels": _TEXTS, "annotations": _TEXTS, "managedFields": {"type": "array", "items": {"type": "object"}},
        **METADATA["properties"],
    },
}  # fmt: skip
_SCALARS: dict[str, tuple[type, ...]] = {
    "integer": (int, float), "number": (int, float), "string": (str,), "boolean": (bool,),
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
    root = {**schema, "properties": {**(schema.get("properties") or {}), "metadata": _OBJECT_META}}
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
    made: Tree = merged(tree, given, rooted(schema))
    return made


def _wrong(value: Any, schema: Tree, path: str) -> Iterator[str]:
    """What the schema does not have, or has otherwise."""
    if schema.get("x-kubernetes-int-or-string"):
        return
    kind = str(schema.get("type") or "")
    if kind in _SCALARS:
        if not isinstance(value, _SCALARS[kind]) or (isinstance(value, bool) and kind != "boolean"):
            yield f"{path}: {_unlike(kind, value)}"
    elif kind == "array":
        if isinstance(value, list):
            yield from _wrong_items(value, schema, path)
        else:
            yield f"{path}: expected list, got &{{{_go_value(value)}}}"
    elif kind == "object" or "properties" in schema:
        if not isinstance(value, dict):
            yield f"{path}: expected map, got &{{{_go_value(value)}}}"
            return
        for name, item in value.items():
            where = f"{path}.{name}"
            if _declares(schema, name):
                yield from _wrong(item, child(schema, name), where)
            else:
                yield f"{where}: field not declared in schema"


def _wrong_items(items: list[Any], schema: Tree, path: str) -> Iterator[str]:
    inner = schema.get("items") or {}
    keyed = not atomic(items, schema)
    seen = set()
    for at, item in enumerate(items):
        element = path_element(item, schema) if keyed else f"[{at}]"
        if element in seen:
            yield f"{path}: duplicate entries for key {element}"
        seen.add(element if keyed else at)
        yield from _wrong(item, inner, f"{path}{element}")


def _unlike(kind: str, value: Any) -> str:
    """In the words of the reference, which shows a value of Go's."""
    if kind == "boolean":
        return f"expected boolean, got &{{{_go_value(value)}}}"
    if kind == "string":
        return f"expected string, got &value.valueUnstructured{{Value:{_go_value(value, quoted=True)}}}"
    found = "structpb.NullValue" if value is None else _GO_TYPES.get(type(value), type(value).__name__)
    return f"expected numeric (int or float), got {found}"


def _go_value(value: Any, *, quoted: bool = False) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "0" if quoted else "NULL_VALUE"
    if isinstance(value, str) and quoted:
        return f'"{value}"'
    if isinstance(value, dict):
        return "map[" + " ".join(f"{name}:{_go_value(item)}" for name, item in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(_go_value, value)) + "]"
    return str(value)


def _declares(schema: Tree, name: str) -> bool:
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
