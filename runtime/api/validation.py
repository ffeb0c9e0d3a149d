"""Structural schemas compiled to closures that check an object, with the reference server's texts.

The schema is walked once, when a kind is served. A check returns None, or the causes with paths relative to its node; the
nodes above put their names in front, so that valid objects cost no path at all. Parts that are the very same as in the
stored object are not looked at again, but by rules about changes. Rules in expressions are `expressionrules`' business, except
the plainest of them, `self == oldSelf` (immutable), which needs no expression language.

Source: k8s.io/kube-openapi/pkg/validation/errors, k8s.io/apiextensions-apiserver/pkg/apiserver/validation
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from reconcile.errors import Cause, DeclarationError, Tree
from reconcile.expressions.rules import IMMUTABLE, BrokenExpressionError
from reconcile.quantities import parse_quantity

from .canonical import ILLEGAL_BASE64, illegal_byte
from .refusals import BrokenRule, show, value_duplicate, value_invalid, value_required, value_unsupported

Check = Callable[[Any, Any], list[Cause] | None]
"""(value, the same value in the stored object or None) -> what is wrong."""

HERE = "\0"
"""Stands in a message for the path of the node, which only the nodes above know."""
_ROOT = "<nil>"
"""How the reference server names the object itself."""
_NOTHING: Tree = {}
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "object": (dict,), "array": (list,),
}  # fmt: skip
_EMBEDDED = ("apiVersion", "kind")
"""What an object inside of another must say of itself."""
_QUANTITY = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_INT_RANGES = {"int32": 1 << 31, "int64": 1 << 63}


def compile_validation(schema: Tree) -> Check:
    """Compile the schema of a whole object; apiVersion, kind and metadata are the server's own business.

    Raises:
        DeclarationError: a pattern in the schema is no regular expression, or a rule does not compile.
    """
    properties = {k: v for k, v in (schema.get("properties") or {}).items() if k not in ("apiVersion", "kind", "metadata")}
    try:
        check = _node({**schema, "properties": properties}, root=True) or (lambda _value, _old: None)
    except BrokenExpressionError as error:
        raise DeclarationError(f"a rule of a schema does not compile: {error}") from error

    def whole(value: Any, old: Any) -> list[Cause] | None:
        causes = check(value, old)
        return [Cause(c.reason, c.message.replace(HERE, c.field), c.field or _ROOT) for c in causes] if causes else None

    return whole


def type_name(value: Any) -> str:
    """The JSON type of a value, as error texts name it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return next(
        name for name, types in (("string", str), ("integer", int), ("number", float), ("object", dict), ("array", list))
        if isinstance(value, types)
    )  # fmt: skip


def _node(schema: Tree, *, root: bool = False) -> Check | None:
    """None: any value will do. One closure for the type, what is inside, and the rules: calls are what checking costs."""
    wanted, rules = _typed(schema), tuple(_rules(schema, root))
    name = "integer,string" if schema.get("x-kubernetes-int-or-string") else str(schema.get("type"))
    inside = None
    if wanted == (dict,) or (wanted is None and "properties" in schema):
        inside = _object(schema)
    elif wanted == (list,):
        inside = _list(schema)
    if wanted is None and not rules:
        return inside
    nullable = bool(schema.get("nullable"))
    unchanged = _unchanged(schema, root=root)

    def check(value: Any, old: Any) -> list[Cause] | None:
        if value is old and value is not None:
            return None if unchanged is None else unchanged(value, old)
        if wanted is not None and type(value) not in wanted:
            if value is None and nullable:
                return None
            found = type_name(value)
            why = f'{HERE} in body must be of type {name}: "{found}"'
            return [Cause("FieldValueTypeInvalid", f'Invalid value: "{found}": {why}')]
        causes = inside(value, old) if inside is not None else None
        for rule in rules:
            broken = rule(value, old)
            if broken:
                causes = [*causes, *broken] if causes else broken
        return causes

    return check


def _unchanged(schema: Tree, *, root: bool = False) -> Check | None:
    """What is asked about a value that stays as it was: rules, here and below, that name what it was. None: nothing."""
    rules = _expressions(schema, root=root, transitions=True)
    children = {name: test for name, node in (schema.get("properties") or {}).items() if (test := _unchanged(node)) is not None}
    extra, items = schema.get("additionalProperties"), schema.get("items")
    other = _unchanged(extra) if isinstance(extra, dict) else None
    item_test = _unchanged(items) if isinstance(items, dict) else None
    keyed = schema.get("x-kubernetes-list-type") == "map"
    if not rules and not children and other is None and item_test is None:
        return None

    def check(value: Any, old: Any) -> list[Cause] | None:
        causes: list[Cause] = []
        if type(value) is dict:
            for name, item in value.items():
                if (test := children.get(name, other)) is not None and (found := test(item, None if old is None else item)):
                    causes += _below(name, found, key=name not in children)
        elif type(value) is list and item_test is not None:
            for at, item in enumerate(value):
                # Items of other lists correspond to none of before, not even to themselves.
                if found := item_test(item, item if keyed and old is not None else None):
                    causes += _below(f"[{at}]", found)
        for rule in rules:
            causes += rule(value, old) or ()
        return causes or None

    return check


def _expressions(schema: Tree, *, root: bool, transitions: bool = False) -> list[Check]:
    """The rules of a node that need the expression language."""
    given = schema.get("x-kubernetes-validations") or ()
    rules = [rule for rule in given if not _is_immutable(rule)]
    if not rules:
        return []
    from .expressionrules import expression_rules  # few schemas have any

    return expression_rules({**schema, "x-kubernetes-validations": rules}, root=root, transitions=transitions)


def _typed(schema: Tree) -> tuple[type, ...] | None:
    if schema.get("x-kubernetes-int-or-string"):
        return (int, str, float) if schema.get("format") == "quantity" else (int, str)
    return _TYPES.get(str(schema.get("type")))


def _object(schema: Tree) -> Check | None:
    properties: Tree = schema.get("properties") or {}
    children = {name: test for name, node in properties.items() if (test := _node(node)) is not None}
    # A plain string or boolean needs no call: looking at its type is all.
    plain: dict[str, type] = {
        name: _TYPES[node["type"]][0] for name, node in properties.items() if set(node) <= {"type", "description", "default"}
        and node.get("type") in ("string", "boolean")
    }  # fmt: skip
    table = {name: (plain.get(name), children.get(name)) for name in properties}
    required: tuple[str, ...] = tuple(schema.get("required") or ())
    embedded = _EMBEDDED if schema.get("x-kubernetes-embedded-resource") else ()
    extra = schema.get("additionalProperties")
    other = _node(extra) if isinstance(extra, dict) else None
    beyond = (_TYPES["string"][0] if extra == {"type": "string"} else None, other)
    if not children and not required and other is None and not embedded:
        return None

    def check(value: Any, old: Any) -> list[Cause] | None:
        causes: list[Cause] | None = None
        earlier = old if type(old) is dict else _NOTHING
        for name, item in value.items():
            expected, child = table.get(name, beyond)
            if child is None or expected is type(item):
                continue
            found = child(item, earlier.get(name))
            if found:
                causes = [*(causes or ()), *_below(name, found, key=name not in properties)]
        for name in required:
            if name not in value:
                causes = [*(causes or ()), value_required(name)]
        for name in embedded:
            if not value.get(name):
                causes = [*(causes or ()), value_required(name, "must not be empty")]
        return causes

    return check


def _key(name: str) -> str:
    return name if name.isidentifier() else f"[{name}]"


def _list(schema: Tree) -> Check | None:
    items = schema.get("items")
    child = _node(items) if isinstance(items, dict) else None
    kind = schema.get("x-kubernetes-list-type") or ("set" if schema.get("uniqueItems") else "")
    keys: tuple[str, ...] = tuple(schema.get("x-kubernetes-list-map-keys") or ())
    if child is None and kind not in ("set", "map"):
        return None

    def check(value: Any, old: Any) -> list[Cause] | None:
        causes: list[Cause] = []
        earlier: dict[Any, Any] = (
            {_identity(item, kind, keys): item for item in old} if kind == "map" and type(old) is list else _NOTHING
        )
        seen = set()
        for at, item in enumerate(value):
            identity = _identity(item, kind, keys) if kind in ("set", "map") else None
            if child is not None and (found := child(item, earlier.get(identity))):
                causes.extend(_below(f"[{at}]", found))
            if identity is not None:
                if identity in seen:
                    keyed = kind == "map" and type(item) is dict
                    shown = {key: item[key] for key in keys if key in item} if keyed else item
                    causes.append(Cause(**{**_as_dict(value_duplicate("", shown)), "field": f"[{at}]"}))
                seen.add(identity)
        return causes or None

    return check


def _as_dict(cause: Cause) -> dict[str, str]:
    return {"reason": cause.reason, "message": cause.message, "field": cause.field}


def _identity(item: Any, kind: str, keys: tuple[str, ...]) -> Any:
    """What must not stand twice; JSON text only for what cannot be hashed."""
    try:
        identity = tuple([item.get(key) for key in keys]) if kind == "map" and type(item) is dict else (type(item), item)
        hash(identity)
    except TypeError:
        return show(item)
    return identity


def _below(name: str, causes: list[Cause], *, key: bool = False) -> list[Cause]:
    """The causes of a node, seen from the one above it; `key`: by the key of a map."""
    made = []
    for cause in causes:
        step = name if not key else f"[{name}]" if isinstance(cause, BrokenRule) else _key(name)
        made.append(cause._replace(field=step + (cause.field if cause.field[:1] in ("", "[") else f".{cause.field}")))
    return made


def _rules(schema: Tree, root: bool) -> list[Check]:
    """Everything that a schema says of a value beyond its shape."""
    rules: list[Check] = []
    for keyword, build in (
        ("enum", _enum), ("minimum", _minimum), ("maximum", _maximum), ("pattern", _pattern), ("minLength", _min_length),
        ("maxLength", _max_length), ("minItems", _min_items), ("maxItems", _max_items), ("minProperties", _min_properties),
        ("maxProperties", _max_properties), ("multipleOf", _multiple), ("format", _format), ("anyOf", _any_of),
        ("oneOf", _one_of), ("allOf", _all_of), ("not", _not),
    ):  # fmt: skip
        if schema.get(keyword) is not None and (rule := build(schema)) is not None:
            rules.append(rule)
    if given := schema.get("x-kubernetes-validations"):
        rules.extend(_immutable(rule) for rule in given if _is_immutable(rule))
        rules.extend(_expressions(schema, root=root))
    return rules


def _is_immutable(rule: Tree) -> bool:
    plain = not {"messageExpression", "reason", "fieldPath", "optionalOldSelf"} & set(rule)
    return plain and str(rule.get("rule", "")).replace(" ", "") == IMMUTABLE


def _immutable(rule: Tree) -> Check:
    why = str(rule.get("message") or "field is immutable")
    return lambda value, old: [value_invalid("", value, why)] if old is not None and value != old else None


def _rule(broken: Callable[[Any], bool], why: str) -> Check:
    return lambda value, _: [value_invalid("", value, f"{HERE} in body {why}")] if broken(value) else None


def _enum(schema: Tree) -> Check:
    allowed = list(schema["enum"])
    return lambda value, _: [value_unsupported("", value, allowed)] if value not in allowed else None


def _minimum(schema: Tree) -> Check:
    limit = schema["minimum"]
    if schema.get("exclusiveMinimum"):
        return _rule(lambda value: _number(value) and value <= limit, f"should be greater than {show(limit)}")
    return _rule(lambda value: _number(value) and value < limit, f"should be greater than or equal to {show(limit)}")


def _maximum(schema: Tree) -> Check:
    limit = schema["maximum"]
    if schema.get("exclusiveMaximum"):
        return _rule(lambda value: _number(value) and value >= limit, f"should be less than {show(limit)}")
    return _rule(lambda value: _number(value) and value > limit, f"should be less than or equal to {show(limit)}")


def _multiple(schema: Tree) -> Check:
    step = schema["multipleOf"]
    return _rule(lambda value: _number(value) and value % step != 0, f"should be a multiple of {show(step)}")


def _number(value: Any) -> bool:
    return isinstance(value, int | float)


def _pattern(schema: Tree) -> Check:
    try:
        compiled = re.compile(schema["pattern"])
    except re.error as error:
        raise DeclarationError(f"the pattern {schema['pattern']!r} of a schema is no regular expression: {error}") from error
    return _rule(lambda v: isinstance(v, str) and not compiled.search(v), f"should match '{schema['pattern']}'")


def _min_length(schema: Tree) -> Check:
    limit = schema["minLength"]
    return _rule(lambda value: isinstance(value, str) and len(value) < limit, f"should be at least {limit} chars long")


def _max_length(schema: Tree) -> Check:
    limit = schema["maxLength"]
    cause = Cause("FieldValueTooLong", f"Too long: may not be more than {limit} bytes")
    return lambda value, _: [cause] if isinstance(value, str) and len(value) > limit else None


def _min_items(schema: Tree) -> Check:
    limit = schema["minItems"]
    why = f"{HERE} in body should have at least {limit} items"
    return lambda value, _: [value_invalid("", len(value), why)] if len(value) < limit else None


def _max_items(schema: Tree) -> Check:
    limit = schema["maxItems"]

    def check(value: Any, _: Any) -> list[Cause] | None:
        if len(value) <= limit:
            return None
        return [Cause("FieldValueTooMany", f"Too many: {len(value)}: must have at most {limit} items")]

    return check


def _min_properties(schema: Tree) -> Check:
    limit = schema["minProperties"]
    why = f"{HERE} in body should have at least {limit} properties"
    return lambda value, _: [value_invalid("", len(value), why)] if len(value) < limit else None


def _max_properties(schema: Tree) -> Check:
    limit = schema["maxProperties"]
    cause_of: Callable[[int], Cause] = lambda n: Cause("FieldValueTooMany", f"Too many: {n}: must have at most {limit} items")  # noqa: E731
    return lambda value, _: [cause_of(len(value))] if len(value) > limit else None


def _format(schema: Tree) -> Check | None:
    name = schema["format"]
    if name in _INT_RANGES and schema.get("type") == "integer":
        bound = _INT_RANGES[name]
        why = f"{HERE} in body must be of type {name}"
        return lambda value, _: [value_invalid("", value, why)] if not -bound <= value < bound else None
    if name == "quantity":
        return lambda value, _: None if _is_quantity(value) else [value_invalid("", value, _QUANTITY)]
    if name in ("date-time", "micro-time"):
        return lambda value, _: None if value == "" or _is_time(value) else [_no_time(value)]
    if name == "byte":
        return lambda value, _: None if (at := illegal_byte(value)) is None else [_no_bytes(at)]
    return None


def _no_bytes(at: int) -> Cause:
    """The value itself is not told: it may be a Secret's."""
    why = f"{HERE} in body must be of type byte: {ILLEGAL_BASE64} at input byte {at}"
    return Cause("FieldValueTypeInvalid", f'Invalid value: "string": {why}')


def _is_quantity(value: Any) -> bool:
    if type(value) is int:
        return True
    try:
        parse_quantity(value)
    except ValueError:
        return False
    return True


def _no_time(value: Any) -> Cause:
    return value_invalid("", value, f"{HERE} in body must be of type date-time: {show(value)}")


def _is_time(value: Any) -> bool:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return True


def _branches(schema: Tree, keyword: str) -> list[Check]:
    return [_node(branch) or (lambda _value, _old: None) for branch in schema[keyword]]


def _any_of(schema: Tree) -> Check | None:
    if schema.get("x-kubernetes-int-or-string"):
        return None  # it repeats what the extension says
    branches = _branches(schema, "anyOf")
    cause = value_invalid("", "", f'"{HERE}" must validate at least one schema (anyOf)')
    return lambda value, old: None if any(not branch(value, old) for branch in branches) else [cause]


def _one_of(schema: Tree) -> Check:
    branches = _branches(schema, "oneOf")
    cause = value_invalid("", "", f'"{HERE}" must validate one and only one schema (oneOf)')
    return lambda value, old: None if sum(not branch(value, old) for branch in branches) == 1 else [cause]


def _all_of(schema: Tree) -> Check:
    branches = _branches(schema, "allOf")
    return lambda value, old: [cause for branch in branches for cause in branch(value, old) or ()] or None


def _not(schema: Tree) -> Check:
    branch = _node(schema["not"]) or (lambda _value, _old: None)
    cause = value_invalid("", "", f'"{HERE}" must not validate the schema (not)')
    return lambda value, old: [cause] if not branch(value, old) else None
