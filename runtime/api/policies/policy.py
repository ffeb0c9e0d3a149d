"""One ValidatingAdmissionPolicy and one binding of it, compiled.

Source: k8s.io/apiserver/pkg/admission/plugin/policy/validating/validator.go
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from reconcile.errors import Tree
from reconcile.expressions import BrokenExpressionError, EvaluationError, Expression, available, compile_expression
from reconcile.runtime.api.matching import Match, match_of

VARIABLES = ("object", "oldObject", "request", "params", "namespaceObject", "variables")
_USED = re.compile(r"\bvariables\.([A-Za-z_]\w*)")
_MESSAGE_BYTES_MAX = 5 << 10
_EXTRA = "expressions need the extra: pip install 'reconcile-toolkit[cel]'"


@attrs.frozen
class Rule:
    """One of a policy's validations."""

    expression: Expression
    message: str
    message_expression: Expression | None
    reason: str


@attrs.frozen
class Broken:
    """A rule that a write breaks: what to say, and the reason that its Status gets."""

    message: str
    reason: str


@attrs.frozen
class Policy:
    """A policy. `problem` says why it cannot be evaluated at all."""

    name: str
    match: Match
    ignores_failure: bool
    parameter_kind: tuple[str, str] | None
    """apiVersion and kind of its parameters."""
    conditions: tuple[Expression, ...] = ()
    variables: Mapping[str, Expression] = attrs.field(factory=dict)
    rules: tuple[Rule, ...] = ()
    problem: str = ""

    def broken(self, values: Mapping[str, Any]) -> list[Broken]:
        """The rules that do not hold for `values` (all variables but `variables`)."""
        known: dict[str, Any] = {}
        try:
            if not all(self._value(condition, values, known) is True for condition in self.conditions):
                return []
        except EvaluationError as error:
            return self._failed(f"match condition resulted in error: {error}")
        found = []
        for rule in self.rules:
            try:
                holds = self._value(rule.expression, values, known) is True
            except EvaluationError as error:
                found += self._failed(f"expression '{_line(rule.expression)}' resulted in error: {error}")
                continue
            if not holds:
                found.append(Broken(self._message(rule, values, known), rule.reason))
        return found

    def _value(self, expression: Expression, values: Mapping[str, Any], known: dict[str, Any]) -> Any:
        """The value of an expression; the variables that it names are computed first, each once for a write."""
        for name in _USED.findall(expression.text):
            if name not in known and name in self.variables:
                known[name] = self._value(self.variables[name], values, known)
        return expression.evaluate({**values, "variables": known})

    def _message(self, rule: Rule, values: Mapping[str, Any], known: dict[str, Any]) -> str:
        if rule.message_expression is not None:
            try:
                said = self._value(rule.message_expression, values, known)
            except EvaluationError:
                said = ""
            if isinstance(said, str) and said.strip() and "\n" not in said and len(said.encode()) <= _MESSAGE_BYTES_MAX:
                return said
        return rule.message.strip() or f"failed expression: {_line(rule.expression)}"

    def _failed(self, why: str) -> list[Broken]:
        return [] if self.ignores_failure else [Broken(why, "Invalid")]


@attrs.frozen
class Binding:
    """Puts a policy into force."""

    name: str
    policy: str
    match: Match | None
    """Which of the policy's writes it is for; None: all."""
    parameters: Tree | None
    """Its paramRef."""
    actions: frozenset[str]


def policy_of(tree: Tree) -> Policy:
    """Compile a policy; what does not compile ends in its `problem`."""
    spec = tree.get("spec") or {}
    constraints, kind = spec.get("matchConstraints") or {}, spec.get("paramKind")
    bare = Policy(
        tree["metadata"]["name"],
        match_of(constraints, constraints.get("resourceRules") or (), constraints.get("excludeResourceRules") or ()),
        spec.get("failurePolicy") == "Ignore", (kind["apiVersion"], kind["kind"]) if kind else None,
    )  # fmt: skip
    if not available():
        return attrs.evolve(bare, problem=_EXTRA)
    try:
        variables: dict[str, Expression] = {}
        for given in spec.get("variables") or ():
            # Those that were declared before can be used; an order also keeps them from going in circles.
            unknown = [name for name in _USED.findall(given["expression"]) if name not in variables]
            if unknown:
                raise BrokenExpressionError(f"variable {given['name']}: undefined field '{unknown[0]}'")
            variables[given["name"]] = _compiled(given["expression"])
        return attrs.evolve(
            bare, conditions=tuple(_compiled(given["expression"]) for given in spec.get("matchConditions") or ()),
            variables=variables, rules=tuple(_rule(given) for given in spec.get("validations") or ()),
        )  # fmt: skip
    except BrokenExpressionError as error:
        return attrs.evolve(bare, problem=f"compilation failed: {error}")


def binding_of(tree: Tree) -> Binding:
    """Read a binding."""
    spec = tree.get("spec") or {}
    given = spec.get("matchResources")
    match = (
        match_of(given, given.get("resourceRules") or (), given.get("excludeResourceRules") or ()) if given is not None else None
    )  # fmt: skip
    return Binding(
        tree["metadata"]["name"], spec.get("policyName") or "", match, spec.get("paramRef"),
        frozenset(spec.get("validationActions") or ()),
    )  # fmt: skip


def _rule(given: Tree) -> Rule:
    message = given.get("messageExpression")
    return Rule(
        _compiled(given["expression"]), given.get("message") or "", _compiled(message) if message else None,
        given.get("reason") or "Invalid",
    )  # fmt: skip


def _compiled(text: str) -> Expression:
    return compile_expression(text, VARIABLES)


def _line(expression: Expression) -> str:
    return expression.text.strip().replace("\n", " ")
