"""What makes a schema structural, in the reference server's words, and what in it nobody here evaluates.

A structural schema gives every field one type, outside of anyOf, allOf, oneOf and not, so that objects can be pruned,
defaulted and merged by it.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/validation.go, pkg/apis/apiextensions/validation/validation.go
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from reconcile.errors import Cause, Tree
from reconcile.expressions.rules import evaluated
from reconcile.resources.core.names import forbidden, invalid, required, unsupported
from reconcile.schema import rules_in

from .expressions import broken_rules

Level = Literal["root", "field", "item", "map"]
TYPES = ("array", "boolean", "integer", "number", "object", "string")
_EMPTY = {
    "root": "must not be empty at the root", "item": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields", "map": "must not be empty for specified object fields",
}  # fmt: skip
_FORBIDDEN = {
    "$ref": "$ref is not supported", "$schema": "$schema is not supported", "id": "id is not supported",
    "definitions": "definitions is not supported", "dependencies": "dependencies is not supported",
    "patternProperties": "patternProperties is not supported", "additionalItems": "additionalItems is not supported",
}  # fmt: skip
_KNOWN = frozenset(
    {
        "type", "properties", "additionalProperties", "items", "required", "description", "title", "default", "nullable", "enum",
        "format", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
        "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties", "anyOf", "allOf", "oneOf", "not", "example",
        "externalDocs", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string",
        "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "x-kubernetes-validations",
        *_FORBIDDEN,
    }
)  # fmt: skip
_COMPOSED = ("anyOf", "allOf", "oneOf")
_STRUCTURE = ("type", "additionalProperties", "default", "title", "description", "nullable")
_EXTENSIONS = (
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "x-kubernetes-validations",
)  # fmt: skip
_PYTHON = {
    "array": (list,), "boolean": (bool,), "integer": (int,), "number": (int, float), "object": (dict,), "string": (str,),
}  # fmt: skip
_INT_OR_STRING = ({"type": "integer"}, {"type": "string"})


def broken_schema(schema: Any, path: str) -> Iterator[Cause]:
    """Everything that is wrong with the schema of a version."""
    yield from _node(schema, path, "root")


def unevaluated_rules(schema: Tree) -> Iterator[str]:
    """The x-kubernetes-validations that nobody here evaluates, as `spec.x: rule`."""
    for where, rule in rules_in(schema):
        if not evaluated(str(rule.get("rule", ""))):
            yield f"{where or 'self'}: {rule.get('rule', '')}"


def unknown_keywords(schema: Any, path: str) -> Iterator[str]:
    """Words of a schema that mean nothing, as paths."""
    if not isinstance(schema, dict):
        return
    for name in schema:
        if name not in _KNOWN:
            yield f"{path}.{name}"
    for name, node in (schema.get("properties") or {}).items():
        yield from unknown_keywords(node, f"{path}.properties[{name}]")
    for name in ("items", "additionalProperties", "not"):
        yield from unknown_keywords(schema.get(name), f"{path}.{name}")


def _node(schema: Any, path: str, level: Level) -> Iterator[Cause]:
    if not isinstance(schema, dict):
        yield invalid(path, schema, "must be a schema object")
        return
    yield from _keywords(schema, path)
    yield from _type(schema, path, level)
    yield from _extensions(schema, path)
    resource = level == "root" or bool(schema.get("x-kubernetes-embedded-resource"))
    yield from broken_rules(schema, path, resource=resource)
    if resource:
        yield from _resource(schema, path)
    properties = schema.get("properties")
    for name, node in properties.items() if isinstance(properties, dict) else ():
        yield from _node(node, f"{path}.properties[{name}]", "field")
    if (items := schema.get("items")) is not None:
        if isinstance(items, list):
            yield forbidden(f"{path}.items", "items must be a schema object and not an array")
        else:
            yield from _node(items, f"{path}.items", "item")
    if isinstance(extra := schema.get("additionalProperties"), dict):
        yield from _node(extra, f"{path}.additionalProperties", "map")
    yield from _compositions(schema, path)


def _keywords(schema: Tree, path: str) -> Iterator[Cause]:
    for name, why in _FORBIDDEN.items():
        if schema.get(name):
            yield forbidden(f"{path}.{name}", why)
    if schema.get("uniqueItems"):
        yield forbidden(f"{path}.uniqueItems", "uniqueItems cannot be set to true since the runtime complexity becomes quadratic")
    if "additionalProperties" in schema:
        if schema["additionalProperties"] is False:
            yield forbidden(f"{path}.additionalProperties", "additionalProperties cannot be set to false")
        elif schema.get("properties"):
            yield forbidden(f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive")
    if (pattern := schema.get("pattern")) is not None:
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            yield invalid(f"{path}.pattern", pattern, f"must be a valid regular expression, but isn't: {error}")
    if (default := schema.get("default")) is not None:
        yield from _default(schema, default, f"{path}.default")
    for name, wanted in (("properties", dict), ("required", list), ("enum", list)):
        if schema.get(name) is not None and type(schema[name]) is not wanted:
            yield invalid(f"{path}.{name}", schema[name], f"must be {'an object' if wanted is dict else 'a list'}")


def _default(schema: Tree, default: Any, path: str) -> Iterator[Cause]:
    """A default of the wrong type would be wrong in every object; its parts are looked at as well."""
    types = _PYTHON.get(str(schema.get("type")))
    if schema.get("x-kubernetes-int-or-string"):
        types = (int, str)
    if types is not None and type(default) not in types:
        yield invalid(path, default, f"must be of type {schema.get('type') or 'integer or string'}")
    elif isinstance(schema.get("enum"), list) and default not in schema["enum"]:
        yield unsupported(path, default, map(str, schema["enum"]))
    elif isinstance(default, dict):
        properties = schema.get("properties") or {}
        for name, value in default.items():
            if value is not None and isinstance(properties.get(name), dict):
                yield from _default(properties[name], value, f"{path}.{name}")


def _type(schema: Tree, path: str, level: Level) -> Iterator[Cause]:
    kind = schema.get("type")
    if kind == "null":
        yield forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
    elif kind and kind not in TYPES:
        yield unsupported(f"{path}.type", kind, TYPES)
    if schema.get("x-kubernetes-embedded-resource") and kind != "object":
        why = "must be object if x-kubernetes-embedded-resource is true"
        yield invalid(f"{path}.type", kind, why) if kind else required(f"{path}.type", why)
    elif not kind and not (schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")):
        yield required(f"{path}.type", _EMPTY[level])
    elif level == "root" and kind and kind != "object":
        yield invalid(f"{path}.type", kind, "must be object at the root")
    if kind == "array" and schema.get("items") is None:
        yield required(f"{path}.items", "must be specified")
    if level == "root" and schema.get("additionalProperties"):
        yield forbidden(f"{path}.additionalProperties", "must not be used at the root")
    if level == "root" and schema.get("nullable"):
        yield forbidden(f"{path}.nullable", "nullable cannot be true at the root")


def _extensions(schema: Tree, path: str) -> Iterator[Cause]:
    either = bool(schema.get("x-kubernetes-int-or-string"))
    if either and schema.get("type"):
        yield invalid(f"{path}.type", schema["type"], "must be empty if x-kubernetes-int-or-string is true")
    for name in ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"):
        if either and schema.get(name):
            yield invalid(f"{path}.{name}", True, "must be false if x-kubernetes-int-or-string is true")
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        yield invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")
    if (list_type := schema.get("x-kubernetes-list-type")) is not None:
        yield from _list_type(schema, list_type, path)
    elif schema.get("x-kubernetes-list-map-keys"):
        yield required(f"{path}.x-kubernetes-list-type", "must be map if x-kubernetes-list-map-keys is non-empty")
    if (map_type := schema.get("x-kubernetes-map-type")) is not None:
        if map_type not in ("atomic", "granular"):
            yield unsupported(f"{path}.x-kubernetes-map-type", map_type, ("atomic", "granular"))
        if schema.get("type") != "object":
            yield invalid(f"{path}.type", schema.get("type", ""), "must be object if x-kubernetes-map-type is specified")


def _list_type(schema: Tree, list_type: Any, path: str) -> Iterator[Cause]:
    keys = schema.get("x-kubernetes-list-map-keys") or []
    items = schema.get("items") if isinstance(schema.get("items"), dict) else {}
    assert items is not None
    if schema.get("type") != "array":
        yield invalid(f"{path}.type", schema.get("type", ""), "must be array if x-kubernetes-list-type is specified")
    if list_type not in ("atomic", "set", "map"):
        yield unsupported(f"{path}.x-kubernetes-list-type", list_type, ("atomic", "set", "map"))
    if list_type != "map":
        if keys:
            yield invalid(f"{path}.x-kubernetes-list-type", list_type, "must be map if x-kubernetes-list-map-keys is non-empty")
        return
    if not keys:
        yield required(f"{path}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
    if items.get("type") != "object":
        yield invalid(
            f"{path}.items.type", items.get("type", ""), "must be object if parent array's x-kubernetes-list-type is map"
        )
    properties = items.get("properties") or {}
    for at, key in enumerate(keys):
        if key not in properties:
            yield invalid(f"{path}.x-kubernetes-list-map-keys[{at}]", key, "entries must all be names of item properties")
        elif properties[key].get("default") is None and key not in (items.get("required") or ()):
            yield required(
                f"{path}.items.properties[{key}].default",
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            )
        elif properties[key].get("type") in ("array", "object"):
            yield invalid(
                f"{path}.items.properties[{key}].type", properties[key]["type"],
                "must be a scalar type if parent array's x-kubernetes-list-type is map",
            )  # fmt: skip


def _resource(schema: Tree, path: str) -> Iterator[Cause]:
    """Rules for what is a whole object: the server knows apiVersion, kind and metadata itself."""
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    for name, wanted in (("kind", "string"), ("apiVersion", "string"), ("metadata", "object")):
        node = properties.get(name)
        if isinstance(node, dict) and node.get("type") not in (wanted, None):
            yield invalid(f"{path}.properties[{name}].type", node["type"], f"must be {wanted}")
    metadata = properties.get("metadata")
    beyond = set((metadata or {}).get("properties") or ()) - {"name", "generateName"} if isinstance(metadata, dict) else set()
    if beyond:
        yield forbidden(
            f"{path}.properties[metadata]",
            "must not specify anything other than name and generateName, but metadata is implicitly specified",
        )
    if not schema.get("x-kubernetes-embedded-resource"):
        return
    if schema.get("additionalProperties"):
        yield forbidden(f"{path}.additionalProperties", "must not be used if x-kubernetes-embedded-resource is set")
    if not properties and not schema.get("x-kubernetes-preserve-unknown-fields"):
        yield required(
            f"{path}.properties",
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        )


def _compositions(schema: Tree, path: str) -> Iterator[Cause]:
    either = bool(schema.get("x-kubernetes-int-or-string"))
    for word in _COMPOSED:
        branches = schema.get(word)
        if branches is None:
            continue
        if not isinstance(branches, list):
            yield invalid(f"{path}.{word}", branches, "must be a list of schemas")
            continue
        if either and word == "anyOf" and tuple(branches) == _INT_OR_STRING:
            continue
        for at, branch in enumerate(branches):
            first = either and word == "allOf" and at == 0
            yield from _branch(schema, branch, f"{path}.{word}[{at}]", path, first)
    if schema.get("not") is not None:
        yield from _branch(schema, schema["not"], f"{path}.not", path, False)


def _branch(around: Mapping[str, Any], branch: Any, path: str, around_path: str, typed: bool) -> Iterator[Cause]:
    """A part of anyOf, allOf, oneOf or not: it constrains values, and never says what fields there are."""
    if not isinstance(branch, dict):
        yield invalid(path, branch, "must be a schema object")
        return
    if typed and tuple(branch.get("anyOf") or ()) == _INT_OR_STRING:
        return
    for name in _STRUCTURE:
        if branch.get(name) not in (None, "", False):
            why = (
                "must be undefined to be structural"
                if name in ("default", "additionalProperties")
                else "must be empty to be structural"
            )
            yield forbidden(f"{path}.{name}", why)
    for name in _EXTENSIONS:
        if branch.get(name):
            yield forbidden(f"{path}.{name}", "must be undefined to be structural")
    known = around.get("properties") or {}
    extra = around.get("additionalProperties")
    for name, node in (branch.get("properties") or {}).items():
        outer = known.get(name, extra if isinstance(extra, dict) else None)
        if outer is None:
            yield required(f"{around_path}.properties[{name}]", f"because it is defined in {path}.properties[{name}]")
        else:
            yield from _branch(outer, node, f"{path}.properties[{name}]", f"{around_path}.properties[{name}]", False)
    if isinstance(items := branch.get("items"), dict):
        if not isinstance(around.get("items"), dict):
            yield required(f"{around_path}.items", f"because it is defined in {path}.items")
        else:
            yield from _branch(around["items"], items, f"{path}.items", f"{around_path}.items", False)
    for word in _COMPOSED:
        for at, inner in enumerate(branch.get(word) or ()):
            yield from _branch(around, inner, f"{path}.{word}[{at}]", around_path, False)
    if branch.get("not") is not None:
        yield from _branch(around, branch["not"], f"{path}.not", around_path, False)
