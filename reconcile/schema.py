"""Derives the structural OpenAPI v3 schema of a kind from its attrs classes.

Types become types, docstrings become descriptions, `field(...)` rules become constraints and merge hints. A field with no
default is required. Rules in CEL are those of `field(rules=...)`, and of a struct's own `__rules__`. Simple scalar defaults of
users' kinds become server defaults; built-in kinds name theirs (`server_default`), because there an absent field means something.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

from __future__ import annotations

import enum
import inspect
import types
import typing
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any, cast

import attrs

from .errors import DeclarationError, Tree
from .kinds import Resource
from .quantities import Base64, IntOrString, Quantity
from .views import FieldRules, Rule, Wire, shape_of

_SCALARS: dict[Any, Tree] = {
    str: {"type": "string"},
    int: {"type": "integer", "format": "int64"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
}
_ANYTHING: Tree = {"x-kubernetes-preserve-unknown-fields": True}


@lru_cache(maxsize=1024)
def schema_of(cls: type) -> Tree:
    """The schema of the whole object, `metadata` being left open (its rules are the server's own)."""
    declared = cast(type[Resource], cls).__kind__
    schema = _object(cls, scalar_defaults=not declared.builtin)
    schema.pop("x-type", None)
    properties = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        **{name: node for name, node in schema["properties"].items() if name != "metadata"},
    }
    return {**schema, "properties": properties}


def _object(cls: type, *, scalar_defaults: bool) -> Tree:
    properties: Tree = {}
    required = []
    for wire in shape_of(cls).fields.values():
        properties[wire.name] = _field(wire, scalar_defaults=scalar_defaults)
        if not wire.has_default:
            required.append(wire.name)
    schema: Tree = {"type": "object", "properties": properties}
    if doc := inspect.getdoc(cls) if "__doc__" in vars(cls) and vars(cls)["__doc__"] else None:
        schema["description"] = doc
    if required:
        schema["required"] = required
    if rules := vars(cls).get("__rules__"):
        schema["x-kubernetes-validations"] = [_rule(rule) for rule in rules]
    # Types of users' kinds stay nameless, as those of a CustomResourceDefinition do.
    return schema if scalar_defaults else named_type(schema, cls.__name__, schema.get("description", ""))


def named_type(schema: Tree, name: str, description: str) -> Tree:
    """Mark an object's schema as a type that OpenAPI documents name (`PodSpec`), with the type's own description."""
    return {**schema, "x-type": {"name": name, "description": description}}


def _field(wire: Wire, *, scalar_defaults: bool) -> Tree:
    node = dict(_node(wire.type, scalar_defaults=scalar_defaults))
    rules = wire.rules
    if rules.server_default is not None:
        node["default"] = rules.server_default
    elif scalar_defaults and wire.has_default:
        default = wire.make_default()
        if isinstance(default, enum.Enum):
            default = default.value
        if default is not None and default != "" and isinstance(default, str | int | float | bool):
            node["default"] = default
    _constrain(node, rules)
    return node


def _constrain(node: Tree, rules: FieldRules) -> None:
    for name, value in (
        ("description", rules.doc), ("minimum", rules.minimum), ("maximum", rules.maximum), ("minLength", rules.min_length),
        ("maxLength", rules.max_length), ("minItems", rules.min_items), ("maxItems", rules.max_items),
        ("pattern", rules.pattern), ("format", rules.format), ("x-kubernetes-list-type", rules.list_type),
        ("x-kubernetes-map-type", rules.map_type), ("x-kubernetes-patch-merge-key", rules.merge_key),
        ("x-kubernetes-patch-strategy", rules.merge_strategy),
    ):  # fmt: skip
        if value not in (None, ""):
            node[name] = value
    if rules.enum:
        node["enum"] = list(rules.enum)
    if rules.list_map_keys:
        node["x-kubernetes-list-map-keys"] = list(rules.list_map_keys)
    if rules.preserve_unknown:
        node["x-kubernetes-preserve-unknown-fields"] = True
    validations = [{"rule": "self == oldSelf", "message": "field is immutable"}] if rules.immutable else []
    if validations := [*node.get("x-kubernetes-validations", ()), *validations, *map(_rule, rules.rules)]:
        node["x-kubernetes-validations"] = validations


def _rule(rule: Rule) -> Tree:
    made: Tree = {"rule": rule.cel}
    for name, value in (
        ("message", rule.message), ("messageExpression", rule.message_cel), ("reason", rule.reason),
        ("fieldPath", rule.field_path), ("optionalOldSelf", rule.optional_old_self),
    ):  # fmt: skip
        if value:
            made[name] = value
    return made


def check_rules(cls: type[Resource]) -> list[str]:
    """Compile the rules of a kind. Returns those that are not evaluated here, with why, for its author to know.

    Raises:
        DeclarationError: one does not compile, or has a reason that there is not.
    """
    rules = list(rules_in(schema_of(cast(Any, cls))))  # Any: a class is hashable, whatever its instances are
    if not rules:
        return []
    from .expressions import rules as language  # few kinds have rules

    warnings = []
    for path, rule in rules:
        where = f"{cls.__name__}: {path or 'self'}: the rule {rule['rule']!r}"
        if rule.get("reason") and rule["reason"] not in language.REASONS:
            raise DeclarationError(f"{where} has the reason {rule['reason']!r}; give one of {', '.join(language.REASONS)}")
        if not language.evaluated(rule["rule"]):
            warnings.append(f"{where} is not evaluated here: {language.why_not_evaluated()}")
        elif language.available():
            try:
                language.compile_rule(rule)
            except language.BrokenExpressionError as error:
                raise DeclarationError(f"{where} cannot be used: {error}") from error
    return warnings


def rules_in(schema: Tree, path: str = "") -> Iterator[tuple[str, Tree]]:
    """The x-kubernetes-validations of a schema, with where they stand: `spec.lines[*]`."""
    for rule in schema.get("x-kubernetes-validations") or ():
        if isinstance(rule, dict):
            yield path, rule
    for name, node in (schema.get("properties") or {}).items():
        yield from rules_in(node, f"{path}.{name}" if path else name)
    for name in ("items", "additionalProperties"):
        if isinstance(node := schema.get(name), dict):
            yield from rules_in(node, f"{path}[*]")


def _node(annotation: Any, *, scalar_defaults: bool) -> Tree:
    """The schema of one annotation; shapes that `views` refuses never come here."""
    if annotation == Quantity:
        return {"x-kubernetes-int-or-string": True, "format": "quantity"}
    if annotation == Base64:
        return {"type": "string", "format": "byte"}
    if annotation == IntOrString:
        return {"x-kubernetes-int-or-string": True}
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if annotation is datetime:
        return {"type": "string", "format": "date-time"}
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _node(args[0], scalar_defaults=scalar_defaults)
    if isinstance(annotation, typing.NewType):
        return _node(annotation.__supertype__, scalar_defaults=scalar_defaults)
    if origin is typing.Literal:
        return {"type": "string", "enum": list(args)}
    if origin in (typing.Union, types.UnionType):
        options = [a for a in args if a is not type(None)]
        if len(options) == 1:
            return _node(options[0], scalar_defaults=scalar_defaults)
        return {"x-kubernetes-int-or-string": True} if set(options) == {int, str} else _ANYTHING
    if origin in (list, tuple):
        return {"type": "array", "items": _node(args[0], scalar_defaults=scalar_defaults)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _node(args[1], scalar_defaults=scalar_defaults)}
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return {"type": "string", "enum": [member.value for member in annotation]}
    if isinstance(annotation, type) and attrs.has(annotation):
        return _object(annotation, scalar_defaults=scalar_defaults)
    return _ANYTHING
