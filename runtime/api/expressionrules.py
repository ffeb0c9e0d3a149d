"""Rules in expressions as checks of a schema's node, with the reference server's texts and its ratcheting.

An expression sees a value as the schema types it: numbers as doubles, times as timestamps, names that are no identifiers
escaped; of an object's metadata its name alone.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go, values.go
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from reconcile.errors import Cause, Tree
from reconcile.expressions.names import escaped
from reconcile.expressions.rules import Rule, compile_rule, evaluated, is_transition

from .refusals import BrokenRule, value_duplicate, value_forbidden, value_invalid, value_required

Check = Callable[[Any, Any], list[Cause] | None]
View = Callable[[Any], Any]
_DURATION = re.compile(r"([+-]?)((?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h))+")
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def expression_rules(schema: Tree, *, root: bool, transitions: bool = False) -> list[Check]:
    """The checks that a node's x-kubernetes-validations ask for; those that are not evaluated here are left out.

    With `transitions`, only those of rules that name `oldSelf`: they are asked about values that did not change, too.

    Raises:
        BrokenExpressionError: one does not compile.
    """
    given = [rule for rule in schema.get("x-kubernetes-validations") or () if evaluated(str(rule.get("rule", "")))]
    rules = [compile_rule(rule) for rule in given if not transitions or is_transition(str(rule.get("rule", "")))]
    if not rules:
        return []
    view = _view(schema, whole=root)
    return [_check(rule, view, str(schema.get("type") or "object")) for rule in rules]


def _check(rule: Rule, view: View | None, type_: str) -> Check:
    def check(value: Any, old: Any) -> list[Cause] | None:
        if rule.transition:
            if old is None and not rule.sees_absent:
                return None
        elif old is not None and value == old:
            return None  # what broke a rule before it was made, or before a version of ours, may stay as it is
        seen, before = (value, old) if view is None else (view(value), None if old is None else view(old))
        broken = rule.broken(seen, before)
        return [BrokenRule(*_cause(rule, type_, broken))] if broken is not None else None

    return check


def _cause(rule: Rule, type_: str, why: str) -> Cause:
    if rule.reason == "FieldValueForbidden":
        return value_forbidden(rule.field, why)
    if rule.reason == "FieldValueRequired":
        return value_required(rule.field, why)
    if rule.reason == "FieldValueDuplicate":
        return value_duplicate(rule.field, type_)
    return value_invalid(rule.field, type_, why)


def _view(schema: Tree, *, whole: bool = False) -> View | None:
    """What turns a value of the schema into the one that expressions see; None: it is the same."""
    if schema.get("x-kubernetes-int-or-string"):
        return None
    match schema.get("type"):
        case "number":
            return lambda value: float(value) if type(value) is int else value
        case "string":
            return {"date-time": _time, "date": _time, "duration": _duration, "byte": _bytes}.get(str(schema.get("format")))
        case "array":
            item = _view(schema.get("items") or {})
            return None if item is None else lambda value: [item(v) for v in value] if type(value) is list else value
        case _:
            return _object_view(schema, whole or bool(schema.get("x-kubernetes-embedded-resource")))


def _object_view(schema: Tree, whole: bool) -> View | None:
    extra = schema.get("additionalProperties")
    other = _view(extra) if isinstance(extra, dict) else None
    fields = {name: (escaped(name), _view(node)) for name, node in (schema.get("properties") or {}).items()}
    changed = {name: entry for name, entry in fields.items() if entry != (name, None)}
    if not changed and other is None and not whole:
        return None

    def view(value: Any) -> Any:
        if type(value) is not dict:
            return value
        made = {}
        for name, item in value.items():
            if whole and name == "metadata":
                made[name] = {key: item[key] for key in ("name", "generateName") if key in item}
                continue
            key, inner = changed.get(name) or (name, None if name in fields else other)
            made[key] = item if inner is None else inner(item)
        return made

    return view


def _time(value: Any) -> Any:
    from google.protobuf.timestamp_pb2 import Timestamp

    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return value
    made = Timestamp()
    made.FromDatetime(at if at.tzinfo else at.replace(tzinfo=UTC))
    return made


def _duration(value: Any) -> Any:
    from google.protobuf.duration_pb2 import Duration

    if not isinstance(value, str) or not (found := _DURATION.fullmatch(value)):
        return value
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(value))
    made = Duration()
    made.FromNanoseconds(round((-seconds if found[1] == "-" else seconds) * 1e9))
    return made


def _bytes(value: Any) -> Any:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError):
        return value
