"""Structural schemas compiled to closures that complete an object: defaults written in, unknown fields taken out, and in built-in
kinds values in their one form.

The schema is walked once, when a kind is served. A completed object shares all that did not change with what came in,
and parts that are the very same as in the stored object are not even looked at: they were completed before.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/{defaulting,pruning}
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reconcile.errors import Tree

from .canonical import canonical_form
from .objectmeta import SHAPES

Complete = Callable[[Any, Any, list[str]], Any]
"""(value, the same value in the stored object or None, paths of unknown fields to add to) -> completed value."""

_OF_EVERY_OBJECT = ("apiVersion", "kind", "metadata")


def compile_completion(schema: Tree, *, drop_null: bool, defaults: bool = True) -> Complete:
    """Compile the schema of a whole object; apiVersion, kind and metadata are left alone.

    `drop_null`: as in built-in kinds, an explicit null counts as absent everywhere, not only where there is a default, and what
    can be written in many forms is kept in one (`canonical`).
    `defaults`: write them in; without, all else is done.
    """
    if not defaults:
        schema = _without_defaults(schema)
    return _object(schema, drop_null, root=True) or _same


def _without_defaults(node: Any) -> Any:
    """A structural schema with no defaults in it."""
    if not isinstance(node, dict):
        return node
    made = {name: value for name, value in node.items() if name != "default"}
    if "properties" in made:
        made["properties"] = {name: _without_defaults(value) for name, value in made["properties"].items()}
    for name in ("additionalProperties", "items"):
        if name in made:
            made[name] = _without_defaults(made[name])
    return made


def _same(value: Any, old: Any, unknown: list[str]) -> Any:  # noqa: ARG001 - a Complete
    return value


def _node(schema: Tree, drop_null: bool) -> Complete | None:
    """None: there is nothing to complete below this node."""
    form = canonical_form(schema) if drop_null else None
    if form is not None:
        return lambda value, _old, _unknown: form(value)
    if "properties" in schema or "additionalProperties" in schema or schema.get("type") == "object":
        return _object(schema, drop_null)
    if isinstance(schema.get("items"), dict):
        return _list(schema["items"], drop_null)
    return None


def _list(items: Tree, drop_null: bool) -> Complete | None:
    child = _node(items, drop_null)
    if child is None:
        return None

    def complete(value: Any, old: Any, unknown: list[str]) -> Any:
        if value is old or type(value) is not list:
            return value
        result = value
        earlier = old if type(old) is list and len(old) == len(value) else None
        for at, item in enumerate(value):
            known = len(unknown)
            made = child(item, earlier[at] if earlier is not None and earlier[at] is item else None, unknown)
            if len(unknown) > known:
                unknown[known:] = [f"[{at}]{path if path.startswith('[') else '.' + path}" for path in unknown[known:]]
            if made is not item:
                if result is value:
                    result = list(value)
                result[at] = made
        return result

    return complete


def _metadata(value: Any, old: Any, unknown: list[str]) -> Any:
    """An embedded object's metadata has the fields that all have, whatever else its schema preserves."""
    if value is old or type(value) is not dict or value.keys() <= SHAPES.keys():
        return value
    unknown += [name for name in value if name not in SHAPES]
    return {name: item for name, item in value.items() if name in SHAPES}


def _object(schema: Tree, drop_null: bool, *, root: bool = False) -> Complete | None:
    properties: Tree = schema.get("properties") or {}
    extra = schema.get("additionalProperties")
    if not properties and extra:
        return _map(extra, drop_null) if isinstance(extra, dict) else None
    preserves = bool(schema.get("x-kubernetes-preserve-unknown-fields") or extra)
    children: dict[str, Complete | None] = {name: _node(node, drop_null) for name, node in properties.items()}
    if root:
        children.update(dict.fromkeys(_OF_EVERY_OBJECT))
    elif schema.get("x-kubernetes-embedded-resource"):
        children.update({"apiVersion": None, "kind": None, "metadata": _metadata})
    defaults = _defaults(properties, drop_null)
    by_name = dict(defaults)
    nullable = {name for name, node in properties.items() if node.get("nullable")}
    if preserves and not defaults and not any(children.values()) and not drop_null:
        return None

    def complete(value: Any, old: Any, unknown: list[str]) -> Any:
        if value is old or type(value) is not dict:
            return value
        result = value
        earlier = old if type(old) is dict else _NOTHING
        for name, item in value.items():
            if name not in children:
                if not preserves:
                    if result is value:
                        result = dict(value)
                    del result[name]
                    unknown.append(name)
                continue
            if item is None:
                if name not in nullable and (drop_null or name in by_name):
                    if result is value:
                        result = dict(value)
                    del result[name]
                continue
            child = children[name]
            if child is None:
                continue
            known = len(unknown)
            made = child(item, earlier.get(name), unknown)
            if len(unknown) > known:
                unknown[known:] = [name + (path if path.startswith("[") else "." + path) for path in unknown[known:]]
            if made is not item:
                if result is value:
                    result = dict(value)
                result[name] = made
        for name, default in defaults:
            if name not in result:
                if result is value:
                    result = dict(value)
                result[name] = default
        return result

    return complete


_NOTHING: Tree = {}


def _map(extra: Tree, drop_null: bool) -> Complete | None:
    child = _node(extra, drop_null)
    if child is None:
        return None

    def complete(value: Any, old: Any, unknown: list[str]) -> Any:
        if value is old or type(value) is not dict:
            return value
        result = value
        earlier = old if type(old) is dict else _NOTHING
        for name, item in value.items():
            known = len(unknown)
            made = child(item, earlier.get(name), unknown)
            if len(unknown) > known:
                unknown[known:] = [name + (path if path.startswith("[") else "." + path) for path in unknown[known:]]
            if made is not item:
                if result is value:
                    result = dict(value)
                result[name] = made
        return result

    return complete


def _defaults(properties: Tree, drop_null: bool) -> tuple[tuple[str, Any], ...]:
    """The defaults of an object's fields, completed themselves, so that they can be shared by all objects."""
    found = []
    for name, node in properties.items():
        if node.get("default") is not None:
            child = _node(node, drop_null)
            found.append((name, child(node["default"], None, []) if child else node["default"]))
    return tuple(found)
