"""Strategic merge patch: a merge patch that knows, from the schema, which lists are sets and which have keys.

Directives: `$patch: replace|merge|delete` in a map or in an item of a keyed list, `$deleteFromPrimitiveList/<field>`,
`$setElementOrder/<field>`, `$retainKeys`. The schema's x-kubernetes-patch-strategy (`merge`, `replace`, `retainKeys`, or two
of them) and x-kubernetes-patch-merge-key drive it. Untouched parts are shared with the original.

Source: k8s.io/apimachinery/pkg/util/strategicpatch/patch.go,
https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from __future__ import annotations

from typing import Any

import orjson

from reconcile.errors import BadRequestError, Tree

_PATCH, _RETAIN = "$patch", "$retainKeys"
_DELETE_PRIMITIVE, _ORDER = "$deleteFromPrimitiveList", "$setElementOrder"
_NO_SCHEMA: Tree = {}


def apply_strategic_patch(document: Tree, patch: Any, schema: Tree) -> Tree:
    """The document with `patch` merged into it as `schema` says.

    Raises:
        BadRequestError: the patch contradicts the schema, or a directive is not understood.
    """
    if not isinstance(patch, dict):
        raise BadRequestError("a strategic merge patch is an object")
    return _map(document, patch, schema, "")


def _map(there: Any, patch: Tree, schema: Tree, where: str) -> Tree:
    original: Tree = there if isinstance(there, dict) else {}
    directive = patch.get(_PATCH)
    if directive is not None:
        rest = {key: value for key, value in patch.items() if key != _PATCH}
        if directive == "replace":
            return rest
        if directive == "delete":
            return {}
        if directive != "merge":
            raise BadRequestError(f"{where or 'patch'}: $patch is {directive!r}; use replace, merge or delete")
        patch = rest
    merged = dict(original)
    retained = patch.get(_RETAIN)
    if retained is not None:
        _listed(retained, _RETAIN, where)
        merged = {key: value for key, value in merged.items() if key in retained}
        if missing := [key for key in patch if not key.startswith("$") and patch[key] is not None and key not in retained]:
            raise BadRequestError(f"{where or 'patch'}: $retainKeys does not list {missing[0]!r}, which the patch sets")
    for key, value in patch.items():
        if key.startswith("$"):
            name, _, field = key.partition("/")
            if name == _DELETE_PRIMITIVE and isinstance(merged.get(field), list):
                _listed(value, key, where)
                merged[field] = [item for item in merged[field] if item not in value]
            elif name not in (_DELETE_PRIMITIVE, _ORDER, _RETAIN):
                raise BadRequestError(f"{where or 'patch'}: the directive {key!r} is not understood")
        elif value is None:
            merged.pop(key, None)
        else:
            merged[key] = _value(merged.get(key), value, _child(schema, key), f"{where}.{key}" if where else key)
    for key, order in patch.items():
        name, _, field = key.partition("/")
        if name == _ORDER and isinstance(merged.get(field), list) and isinstance(order, list):
            merged[field] = _ordered(merged[field], original.get(field), order, _child(schema, field))
    return merged


def _listed(value: Any, directive: str, where: str) -> None:
    if not isinstance(value, list):
        raise BadRequestError(f"{where or 'patch'}: {directive} takes a list, not {value!r}")


def _value(there: Any, value: Any, schema: Tree, where: str) -> Any:
    strategies = str(schema.get("x-kubernetes-patch-strategy", "")).split(",")
    if isinstance(value, dict):
        if "replace" in strategies and _PATCH not in value:
            return _without_directives(value)
        return _map(there, value, schema, where)
    if isinstance(value, list):
        if "merge" in strategies:
            return _list(there if isinstance(there, list) else [], value, schema, where)
        return [_without_directives(item) for item in value if not _is_directive(item)]
    return value


def _list(there: list[Any], patch: list[Any], schema: Tree, where: str) -> list[Any]:
    key = schema.get("x-kubernetes-patch-merge-key")
    if not key:
        if any(isinstance(item, dict | list) for item in patch):
            raise BadRequestError(f"{where}: the schema names no merge key for this list; replace it whole")
        added = [item for item in dict.fromkeys(patch) if item not in there]
        return _ordered([*there, *added], there, patch, schema) if added else there
    whole = [item for item in patch if _is_directive(item) and len(item) == 1]
    if any(item[_PATCH] == "replace" for item in whole):
        return [_without_directives(item) for item in patch if not _is_directive(item)]
    merged = list(there)
    items = schema.get("items") or _NO_SCHEMA
    for item in patch:
        if not isinstance(item, dict):
            raise BadRequestError(f"{where}: {item!r} is no object; items are merged by {key!r}")
        if key not in item:
            if item in whole:
                continue
            raise BadRequestError(f"map: {item!r} does not contain declared merge key: {key}")
        at = next((i for i, old in enumerate(merged) if isinstance(old, dict) and old.get(key) == item[key]), None)
        if item.get(_PATCH) == "delete":
            merged = [old for old in merged if not (isinstance(old, dict) and old.get(key) == item[key])]
        elif at is None:
            merged.append(_map({}, {k: v for k, v in item.items() if k != _PATCH}, items, where))
        else:
            merged[at] = _map(merged[at], item, items, f"{where}[{item[key]!r}]")
    return _ordered(merged, there, [item for item in patch if key in item], schema)


def _ordered(merged: list[Any], before: Any, order: list[Any], schema: Tree) -> list[Any]:
    """Items in the order of the patch; those it does not name stay behind what they followed, so that new ones come first."""
    key = schema.get("x-kubernetes-patch-merge-key")

    def identity(item: Any) -> Any:
        named = item.get(key) if key and isinstance(item, dict) else item
        return orjson.dumps(named) if isinstance(named, dict | list) else named

    rank = {identity(item): position for position, item in enumerate(order)}
    named = sorted((item for item in merged if identity(item) in rank), key=lambda item: rank[identity(item)])
    others = [item for item in merged if identity(item) not in rank]
    positions = {identity(item): at for at, item in enumerate(before)} if isinstance(before, list) else {}
    result: list[Any] = []
    # A merge of two sorted runs: an item that the patch does not name goes before the first named one that stood behind it.
    for item in named:
        at = positions.get(identity(item))
        while others and at is not None and positions.get(identity(others[0]), len(positions)) < at:
            result.append(others.pop(0))
        result.append(item)
    return result + others


def _is_directive(item: Any) -> bool:
    return isinstance(item, dict) and _PATCH in item


def _without_directives(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_directives(v) for k, v in value.items() if not k.startswith("$")}
    if isinstance(value, list):
        return [_without_directives(item) for item in value if not _is_directive(item)]
    return value


def _child(schema: Tree, key: str) -> Tree:
    properties = schema.get("properties") or _NO_SCHEMA
    found = properties.get(key)
    if found is None:
        found = schema.get("additionalProperties")
    return found if isinstance(found, dict) else _NO_SCHEMA
