"""What is wrong with the rules in expressions of a schema, in the reference server's words.

Source: k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from reconcile.errors import Cause, Tree
from reconcile.expressions import BrokenExpressionError, available
from reconcile.expressions.rules import IMMUTABLE, REASONS, compile_rule, evaluated
from reconcile.resources.core.names import invalid, required, unsupported

if TYPE_CHECKING:
    from reconcile.expressions.checking import Types

MESSAGE_LENGTH_MAX = 2048
_TEXT: Tree = {"type": "string"}
_METADATA: Tree = {"type": "object", "properties": {"name": _TEXT, "generateName": _TEXT}}
_BEFORE = "before"
_OLD = re.compile(r"\boldSelf\b")
_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\['([^']+)'\]")


def broken_rules(schema: Tree, path: str, *, resource: bool = False) -> Iterator[Cause]:
    """Everything that is wrong with the x-kubernetes-validations of one node; a `resource` is a whole object."""
    types: Types | None = None
    for at, rule in enumerate(schema.get("x-kubernetes-validations") or ()):
        where = f"{path}.x-kubernetes-validations[{at}]"
        if not isinstance(rule, dict):
            yield invalid(where, rule, "must be a rule")
            continue
        yield from _texts(schema, rule, where)
        wrong = list(_compiled(rule, where))
        if not wrong and _is_typed(schema) and available():
            types = types or _types(schema, resource)
            wrong.extend(_mistyped(types, rule, where))
        yield from wrong


def _texts(schema: Tree, rule: Tree, where: str) -> Iterator[Cause]:
    message, reason = rule.get("message"), rule.get("reason")
    if not str(rule.get("rule") or "").strip():
        yield required(f"{where}.rule", "rule is not specified")
    if message is not None and not str(message).strip():
        yield invalid(f"{where}.message", message, "message must be non-empty if specified")
    elif message is not None and "\n" in str(message):
        yield invalid(f"{where}.message", message, "message must not contain line breaks")
    elif message is not None and len(str(message)) > MESSAGE_LENGTH_MAX:
        yield invalid(
            f"{where}.message", f"{message[0:10]}...", f"message must have a maximum length of {MESSAGE_LENGTH_MAX} characters"
        )
    if message is None and "\n" in str(rule.get("rule") or "").strip() and not rule.get("messageExpression"):
        yield required(f"{where}.message", "message must be specified if rule contains line breaks")
    if reason is not None and reason not in REASONS:
        yield unsupported(f"{where}.reason", reason, REASONS)
    if (field := rule.get("fieldPath")) is not None and not _there(schema, str(field)):
        yield invalid(f"{where}.fieldPath", field, "fieldPath must be a valid path")


def _compiled(rule: Tree, where: str) -> Iterator[Cause]:
    text = str(rule.get("rule") or "")
    plain = text.replace(" ", "") == IMMUTABLE and not rule.get("messageExpression")
    if not text.strip() or plain or not evaluated(text):
        return
    try:
        compiled = compile_rule(rule)
    except BrokenExpressionError as error:
        yield invalid(f"{where}.rule", rule, str(error) if "must evaluate" in str(error) else f"compilation failed: {error}")
        return
    if rule.get("optionalOldSelf") is not None and not compiled.transition:
        yield invalid(f"{where}.optionalOldSelf", rule["optionalOldSelf"], "may not be set if oldSelf is not used in rule")


def _is_typed(schema: Tree) -> bool:
    """Whether the value is an object with known fields: those are what rules get wrong."""
    return schema.get("type") == "object" and not isinstance(schema.get("additionalProperties"), dict)


def _types(schema: Tree, resource: bool) -> Types:
    from reconcile.expressions.checking import Types

    seen = schema
    if resource:
        properties = {**(schema.get("properties") or {}), "apiVersion": _TEXT, "kind": _TEXT, "metadata": _METADATA}
        seen = {"type": "object", "properties": properties}
    return Types({"self": seen, "oldSelf": seen}, untyped=(_BEFORE,))


def _mistyped(types: Types, rule: Tree, where: str) -> Iterator[Cause]:
    """Fields that the schema does not have, and operands that do not fit."""
    for name in ("rule", "messageExpression"):
        text = str(rule.get(name) or "").strip()
        if not text:
            continue
        if rule.get("optionalOldSelf"):  # the optional is of any type
            text = _OLD.sub(_BEFORE, text)
        try:
            types.check(text)
        except BrokenExpressionError as error:
            yield invalid(f"{where}.{name}", rule, f"compilation failed: {error}")


def _there(schema: Tree, field: str) -> bool:
    """Whether a path leads to a field of the schema."""
    node: Any = schema
    at = 0
    while at < len(field):
        step = _STEP.match(field, at)
        if step is None or not isinstance(node, dict):
            return False
        name = step[1] or step[2]
        node = (node.get("properties") or {}).get(name) or node.get("additionalProperties")
        at = step.end()
    return bool(field) and isinstance(node, dict)
