"""Structural schemas of kinds that are only stored and served, made of the wire tables and `rules.json`.

The wire tables say which fields a message has and of which type; the rules say what its type does not: what is required, how
lists and maps merge, the words of an enumeration, defaults. Messages that several kinds hold are one object in memory. Nothing
is read before a schema is first asked for.

Source: the markers in the Go types of k8s.io/api (see tools/make_kinds.py, which wrote the rules)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import Any, cast

from reconcile.errors import Tree
from reconcile.resources.wire import wire_tables
from reconcile.schema import named_type

IMMUTABLE = "field is immutable"
_SIMPLE: dict[str, Tree] = {
    "string": {"type": "string"}, "bytes": {"type": "string", "format": "byte"}, "bool": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"}, "int64": {"type": "integer", "format": "int64"},
    "double": {"type": "number"}, "Time": {"type": "string", "format": "date-time"},
    "MicroTime": {"type": "string", "format": "micro-time"}, "IntOrString": {"x-kubernetes-int-or-string": True},
    "Quantity": {"x-kubernetes-int-or-string": True, "format": "quantity"},
    "FieldsV1": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "RawExtension": {"x-kubernetes-preserve-unknown-fields": True},
}  # fmt: skip
_WORDS = {
    "list": "x-kubernetes-list-type", "keys": "x-kubernetes-list-map-keys", "map": "x-kubernetes-map-type",
    "mergeKey": "x-kubernetes-patch-merge-key", "strategy": "x-kubernetes-patch-strategy", "default": "default", "enum": "enum",
}  # fmt: skip
_PACKAGES = {"meta.k8s.io": "io.k8s.apimachinery.pkg.apis.meta", "apiregistration.k8s.io":
             "io.k8s.kube-aggregator.pkg.apis.apiregistration"}  # fmt: skip


def object_schema(message: str, description: str, defaults: Mapping[str, Any], immutable: Mapping[str, str]) -> Tree:
    """The schema of a whole object.

    `defaults` and `immutable` name fields by dotted paths, items of lists by `[]`; the latter give the text that refuses.
    """
    schema = dict(_message(message))
    del schema["x-type"]
    properties = dict(schema["properties"])
    schema["properties"] = {
        "apiVersion": {"type": "string"}, "kind": {"type": "string"}, **properties, "metadata": {"type": "object"},
    }  # fmt: skip
    schema["description"] = description
    for path, value in defaults.items():
        schema = _with(schema, path.split("."), {"default": value})
    for path, why in immutable.items():
        schema = _with(schema, path.split("."), {"x-kubernetes-validations": [{"rule": "self == oldSelf", "message": why}]})
    return schema


def _with(node: Tree, steps: list[str], more: Tree) -> Tree:
    """The schema with something added at a path; what is shared stays as it is."""
    if not steps:
        return {**node, **more}
    name, *rest = steps
    if name.endswith("[]"):
        child = node["properties"][name[:-2]]
        made = {**child, "items": _with(child["items"], rest, more)}
        name = name[:-2]
    else:
        made = _with(node["properties"][name], rest, more)
    return {**node, "properties": {**node["properties"], name: made}}


@lru_cache(maxsize=1)
def _rules() -> dict[str, dict[str, Tree]]:
    text = resources.files(__package__).joinpath("rules.json").read_text("utf-8")
    return cast(dict[str, dict[str, Tree]], json.loads(text))


@lru_cache(maxsize=1)
def _tables() -> dict[str, dict[str, list[str]]]:
    return wire_tables()


@lru_cache(maxsize=1024)
def _message(message: str) -> Tree:
    rules = _rules().get(message, {})
    properties: Tree = {}
    required: list[str] = []
    for name, type_ in _tables()[message].values():
        if type_.startswith(">"):
            inner = _message(type_[1:])
            properties.update(inner["properties"])
            required += inner.get("required") or ()
            continue
        properties[name] = _field(type_, rules.get(name, {}))
        if rules.get(name, {}).get("required"):
            required.append(name)
    schema: Tree = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    if (whole := rules.get("")) is not None:
        schema["x-kubernetes-map-type"] = whole["map"]
    prefix, _, name = message.rpartition(".")
    group, _, version = prefix.rpartition("/")
    package = _PACKAGES.get(group) or f"io.k8s.api.{group.partition('.')[0] or 'core'}"
    return named_type(schema, f"{package}.{version}.{name}", "")


def _field(type_: str, rules: Tree) -> Tree:
    node = dict(_type(type_.rstrip("?")))
    for word, value in rules.items():
        if word == "enum" and type_.startswith("[]"):
            node["items"] = {**node["items"], "enum": value}
        elif word in _WORDS:
            node[_WORDS[word]] = value
    return node


def _type(type_: str) -> Tree:
    if type_.startswith("[]"):
        return {"type": "array", "items": _type(type_[2:])}
    if type_.startswith("{}"):
        return {"type": "object", "additionalProperties": _type(type_[2:])}
    return _SIMPLE.get(type_) or _message(type_)
