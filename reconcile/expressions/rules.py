"""The rules of a schema, `x-kubernetes-validations`: what a rule says, compiled.

`self` is the value that the rule stands at, `oldSelf` the same value in the stored object. A rule that names `oldSelf` is a
transition rule: it looks at changes only, unless it says `optionalOldSelf`.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
"""

from __future__ import annotations

import re
from typing import Any

import attrs

from reconcile.errors import Tree

from .language import BrokenExpressionError, CostlyExpressionError, EvaluationError, Expression, available, compile_expression

REASONS = ("FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired", "FieldValueDuplicate")
IMMUTABLE = "self==oldSelf"
"""The one rule that needs no expression language, without its spaces."""
_VARIABLES = ("self", "oldSelf")
_LITERAL = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")
_OLD = re.compile(r"\boldSelf\b")


@attrs.frozen
class Rule:
    """One rule; `message_of` may compute its message."""

    text: str
    message: str
    message_of: Expression | None
    reason: str
    field: str
    expression: Expression
    transition: bool
    sees_absent: bool

    def broken(self, now: Any, old: Any) -> str | None:
        """What is wrong with a value; None: nothing. `old` is None where there is none, or none that corresponds."""
        values = {"self": now} if old is None else {"self": now, "oldSelf": old}
        try:
            if self.expression.evaluate(values) is True:
                return None
        except CostlyExpressionError as error:
            return f"'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {self.said}"
        except EvaluationError as error:
            if str(error).startswith("no such overload"):
                why = "call arguments did not match a supported operator, function or macro signature for rule"
                return f"'{error}': {why}: {self.said}"
            return f"{error} evaluating rule: {self.said}"
        return self._computed(values) or self.said

    @property
    def said(self) -> str:
        """The message where none is computed."""
        return self.message or f"failed rule: {self.text}"

    def _computed(self, values: dict[str, Any]) -> str:
        """The computed message; a plain one is better than an error over a message."""
        if self.message_of is None:
            return ""
        try:
            text = self.message_of.evaluate(values)
        except EvaluationError:
            return ""
        return text.strip() if isinstance(text, str) and "\n" not in text.strip() else ""


def evaluated(text: str) -> bool:
    """Whether a rule is evaluated here: it needs no expression language, or the language is there."""
    return text.replace(" ", "") == IMMUTABLE or available()


def is_transition(text: str) -> bool:
    """Whether a rule names `oldSelf`."""
    return bool(_OLD.search(_LITERAL.sub("''", text)))


def why_not_evaluated() -> str:
    """What a user can do about rules that are not."""
    return "install the extra: pip install 'reconcile-toolkit[cel]'"


def compile_rule(rule: Tree) -> Rule:
    """Compile an entry of x-kubernetes-validations.

    Raises:
        BrokenExpressionError: the rule or its messageExpression does not compile, or has a value of another type.
    """
    text = str(rule.get("rule", "")).strip()
    transition = is_transition(text)
    sees_absent = bool(rule.get("optionalOldSelf"))
    optional = frozenset({"oldSelf"}) if sees_absent else frozenset[str]()
    message_text = str(rule.get("messageExpression") or "").strip()
    expression = _typed(text, "BOOL", "cel expression must evaluate to a bool", optional)
    message_of = None
    if message_text:
        message_of = _typed(message_text, "STRING", "messageExpression must evaluate to a string", optional)
    return Rule(
        text, str(rule.get("message") or "").strip(), message_of, str(rule.get("reason") or REASONS[0]),
        str(rule.get("fieldPath") or "").removeprefix("."), expression, transition, sees_absent,
    )  # fmt: skip


def _typed(text: str, wanted: str, otherwise: str, optional: frozenset[str]) -> Expression:
    expression = compile_expression(text, _VARIABLES, optional=optional)
    if expression.result not in (wanted, "DYN"):
        raise BrokenExpressionError(otherwise)
    return expression


__all__ = [
    "IMMUTABLE", "REASONS", "BrokenExpressionError", "Rule", "available", "compile_rule", "evaluated", "is_transition",
    "why_not_evaluated",
]  # fmt: skip
