"""Trees seen through a schema's merge rules: which fields they have, how two merge, where two differ.

Lists are atomic unless the schema says `set` or `map` (x-kubernetes-list-type, or a merge key); maps are granular unless it
says atomic. Results share what did not change.

Source: sigs.k8s.io/structured-merge-diff/typed; https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

from typing import Any

import orjson

from reconcile.errors import Tree

from .fieldsets import FieldSet, union

METADATA: Tree = {
    "type": "object",
    "properties": {
        "finalizers": {"type": "array", "x-kubernetes-list-type": "set"},
        "ownerReferences": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"],
            "items": {"type": "object", "x-kubernetes-map-type": "atomic"},
        },
    },
}  # fmt: skip
_UNTYPED: Tree = {}
_MISSING = object()


def rooted(schema: Tree) -> Tree:
    """The schema of a whole object, with the merge rules of metadata."""
    return {**schema, "properties": {**(schema.get("properties") or {}), "metadata": METADATA}}


def child(schema: Tree, name: str) -> Tree:
    """The schema of a field, or of a map's value."""
    found = (schema.get("properties") or _UNTYPED).get(name)
    if found is None:
        found = schema.get("additionalProperties")
    return found if isinstance(found, dict) else _UNTYPED


def _atomic_map(schema: Tree) -> bool:
    return schema.get("x-kubernetes-map-type") == "atomic"


def _granular(value: Any, schema: Tree) -> bool:
    """Whether the value's parts are owned one by one."""
    if isinstance(value, dict):
        return not _atomic_map(schema)
    return isinstance(value, list) and list_kind(schema) != "atomic"


def atomic(value: Any, schema: Tree) -> bool:
    """Whether a list or map is replaced as a whole; what has no schema is owned in parts."""
    if isinstance(value, list) and "items" not in schema:
        return False
    return isinstance(value, dict | list) and not _granular(value, schema)


def list_kind(schema: Tree) -> str:
    """Whether a list is atomic, a set or a map."""
    kind = schema.get("x-kubernetes-list-type")
    if kind:
        return str(kind)
    if "merge" not in str(schema.get("x-kubernetes-patch-strategy", "")):
        return "atomic"
    return "map" if schema.get("x-kubernetes-patch-merge-key") else "set"


def keys_of(schema: Tree) -> list[str]:
    """The fields that name the items of a keyed list."""
    return schema.get("x-kubernetes-list-map-keys") or [schema.get("x-kubernetes-patch-merge-key", "name")]


def path_element(item: Any, schema: Tree) -> str:
    """An item of a set or keyed list as paths name it: `[name="a"]`, `[containerPort=80,protocol="TCP"]`, `[="x"]`."""
    if list_kind(schema) == "set" or not isinstance(item, dict):
        return f"[={orjson.dumps(item).decode()}]"
    inner = schema.get("items") or _UNTYPED
    named = ((key, item.get(key, child(inner, key).get("default"))) for key in sorted(keys_of(schema)))
    return "[" + ",".join(f"{key}={orjson.dumps(value).decode()}" for key, value in named if value is not None) + "]"


def elements(items: list[Any], schema: Tree) -> dict[str, Any]:
    """The items of a set or keyed list by their path elements; a duplicate keeps the first."""
    found: dict[str, Any] = {}
    if list_kind(schema) == "set":
        for item in items:
            found.setdefault("v:" + orjson.dumps(item).decode(), item)
        return found
    keys, item_schema = sorted(keys_of(schema)), schema.get("items") or _UNTYPED
    for item in items:
        named = {}
        for key in keys:
            value = item.get(key) if isinstance(item, dict) else None
            # A key that the client left out has its default: a Service's port is TCP.
            named[key] = child(item_schema, key).get("default") if value is None else value
        text = orjson.dumps({key: value for key, value in named.items() if value is not None}).decode()
        found.setdefault("k:" + text, item)
    return found


def fields_of(value: Any, schema: Tree) -> FieldSet:
    """The fields that an applied configuration names; the caller sees to the node itself."""
    made: FieldSet = {}
    if isinstance(value, dict):
        properties = schema.get("properties") or _UNTYPED
        for name, item in value.items():
            below = child(schema, name)
            inside = fields_of(item, below) if _granular(item, below) else {}
            if inside and name not in properties and "additionalProperties" in schema:
                inside = {**inside, ".": {}}
            made[f"f:{name}"] = inside
    elif isinstance(value, list):
        items = schema.get("items") or _UNTYPED
        for element, item in elements(value, schema).items():
            inside = fields_of(item, items) if _granular(item, items) else {}
            made[element] = {**inside, ".": {}} if inside else inside
    return made


def merged(live: Any, config: Any, schema: Tree) -> Any:
    """`config` applied on top of `live`."""
    if live is None or live is config or type(live) is not type(config) or not _granular(config, schema):
        return live if live == config and type(live) is type(config) else config
    if isinstance(config, dict):
        made = live
        for name, item in config.items():
            there = live.get(name)
            value = merged(there, item, child(schema, name))
            if value is not there or name not in live:
                if made is live:
                    made = dict(live)
                made[name] = value
        return made
    return _merged_list(live, config, schema)


def _merged_list(live: list[Any], config: list[Any], schema: Tree) -> list[Any]:
    there, wanted = elements(live, schema), elements(config, schema)
    items = schema.get("items") or _UNTYPED
    both = {name: merged(item, wanted[name], items) if name in wanted else item for name, item in there.items()}
    both.update((name, item) for name, item in wanted.items() if name not in there)
    made = [both[name] for name in _order(list(there), list(wanted))]
    return live if len(made) == len(live) and all(new is old for new, old in zip(made, live, strict=True)) else made


def _order(there: list[str], wanted: list[str]) -> list[str]:
    """What is wanted in its own order; what is only there stays behind what it followed. Applying again moves nothing."""
    if there == wanted:
        return there
    rank = {name: at for at, name in enumerate(wanted)}
    order: list[str] = []
    taken = 0
    for name in there:
        at = rank.get(name)
        if at is None:
            order.append(name)
        elif at >= taken:
            order.extend(wanted[taken : at + 1])
            taken = at + 1
    return order + wanted[taken:]


def changes(old: Any, new: Any, schema: Tree) -> tuple[FieldSet, FieldSet]:
    """(fields that `new` sets otherwise than `old`, fields of `old` that `new` lacks); the nodes themselves excluded."""
    if old is new:
        return {}, {}
    if isinstance(new, list) or isinstance(old, list):
        before, after = (elements(v, schema) if isinstance(v, list) else {} for v in (old, new))
        prefix, below = "", schema.get("items") or _UNTYPED
    else:
        before, after = (v if isinstance(v, dict) else {} for v in (old, new))
        prefix, below = "f:", None
    set_, gone = FieldSet(), FieldSet()
    for name, item in after.items():
        inner = below if below is not None else child(schema, name)
        there = before.get(name, _MISSING)
        if there is item:
            continue
        if there is _MISSING:
            inside = _whole(item, inner)
            set_[prefix + name] = {**inside, ".": {}} if inside else inside
        elif _granular(item, inner) and type(there) is type(item):
            inside, lost = changes(there, item, inner)
            if inside:
                set_[prefix + name] = inside
            if lost:
                gone[prefix + name] = lost
        elif there != item:
            set_[prefix + name] = {}
    for name, item in before.items():
        if name not in after:
            inside = _whole(item, below if below is not None else child(schema, name))
            gone[prefix + name] = {**inside, ".": {}} if inside else inside
    return set_, gone


def _whole(value: Any, schema: Tree) -> FieldSet:
    """All fields of a value, each map and list in it being a member too."""
    if not _granular(value, schema):
        return {}
    fields: FieldSet = {}
    pairs = ((f"f:{k}", v, child(schema, k)) for k, v in value.items()) if isinstance(value, dict) else (
        (k, v, schema.get("items") or _UNTYPED) for k, v in elements(value, schema).items()
    )  # fmt: skip
    for name, item, below in pairs:
        inside = _whole(item, below)
        fields[name] = {**inside, ".": {}} if inside else inside
    return fields


def removed(value: Any, fields: FieldSet, kept: FieldSet, schema: Tree) -> Any:
    """`value` without `fields`; whatever is in `kept`, which others own, stays. Containers that get empty go too."""
    if isinstance(value, dict):
        made = dict(value)
        for name, node in fields.items():
            key = name[2:]
            if not name.startswith("f:") or key not in made:
                continue
            rest = _without(made[key], node, kept.get(name), child(schema, key))
            if rest is _MISSING:
                del made[key]
            else:
                made[key] = rest
        return made
    items = schema.get("items") or _UNTYPED
    found = elements(value, schema)
    for name, node in fields.items():
        if name in found:
            rest = _without(found[name], node, kept.get(name), items)
            if rest is _MISSING or (name in kept and not isinstance(rest, dict)):
                if name not in kept:
                    del found[name]
            else:
                found[name] = _with_keys(rest, found[name], schema)
    return list(found.values())


def _without(value: Any, node: FieldSet, kept: FieldSet | None, schema: Tree) -> Any:
    member = not node or "." in node
    if kept is None and member:
        return _MISSING
    if not _granular(value, schema):
        return value if kept is not None else _MISSING
    rest = removed(value, node, kept or {}, schema)
    return _MISSING if not rest and kept is None else rest


def _with_keys(rest: Tree, item: Tree, schema: Tree) -> Tree:
    """Keys of an item stay as long as the item does."""
    lost = {key: item[key] for key in keys_of(schema) if key in item and key not in rest}
    return {**lost, **rest} if lost else rest


__all__ = ["changes", "child", "elements", "fields_of", "merged", "removed", "rooted", "union"]
