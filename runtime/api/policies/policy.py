"""Admission policies and their bindings, compiled.

Source: k8s.io/apiserver/pkg/admission/plugin/policy/validating/validator.go, .../mutating/compilation.go
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from reconcile.errors import Tree
from reconcile.expressions import BrokenExpressionError, EvaluationError, Expression, available, compile_expression
from reconcile.expressions.mutations import Mutation, compile_mutation
from reconcile.runtime.api.matching import Match, match_of

VARIABLES = ("object", "oldObject", "request", "params", "namespaceObject", "authorizer", "variables")
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
    """What policies that validate and policies that mutate have in common. `problem` says why it cannot be evaluated at all."""

    name: str
    match: Match
    ignores_failure: bool
    parameter_kind: tuple[str, str] | None
    """apiVersion and kind of its parameters."""
    conditions: tuple[Expression, ...] = ()
    variables: Mapping[str, Expression] = attrs.field(factory=dict)
    problem: str = ""

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether all match conditions are true for `values` (all variables but `variables`). They see no namespace.

        Raises:
            EvaluationError: none is false, and one has no value.
        """
        seen, known, broken = {**values, "namespaceObject": None}, dict[str, Any](), list[str]()
        for condition in self.conditions:
            try:
                if self.value(condition, seen, known) is not True:
                    return False
            except EvaluationError as error:
                broken.append(str(error))
        if broken:
            raise EvaluationError(broken[0] if len(broken) == 1 else f"[{', '.join(broken)}]")
        return True

    def value(self, expression: Expression, values: Mapping[str, Any], known: dict[str, Any]) -> Any:
        """The value of an expression; the variables that it names are computed first, each once for what is `known`.

        Raises:
            EvaluationError: it has none.
        """
        try:
            return self._value(expression, values, known)
        except EvaluationError as error:
            raise EvaluationError(f"expression '{expression.text}' resulted in error: {error}") from error

    def _value(self, expression: Expression, values: Mapping[str, Any], known: dict[str, Any]) -> Any:
        for name in _USED.findall(expression.text):
            if name not in known and name in self.variables:
                known[name] = self._composed(name, values, known)
        return expression.evaluate({**values, "variables": known})

    def _composed(self, name: str, values: Mapping[str, Any], known: dict[str, Any]) -> Any:
        try:
            return self._value(self.variables[name], values, known)
        except EvaluationError as error:
            raise EvaluationError(f'composited variable "{name}" fails to evaluate: {error}') from error


@attrs.frozen
class ValidatingPolicy(Policy):
    """A ValidatingAdmissionPolicy."""

    rules: tuple[Rule, ...] = ()
    annotations: tuple[Expression, ...] = ()
    """What would stand in the audit log. There is none; but an expression without a value counts as broken."""

    def broken(self, values: Mapping[str, Any]) -> list[Broken]:
        """The rules that do not hold for `values` (all variables but `variables`)."""
        try:
            if not self.holds(values):
                return []
        except EvaluationError as error:
            return self._failed(str(error))
        known: dict[str, Any] = {}
        found = []
        for rule in self.rules:
            try:
                holds = self.value(rule.expression, values, known) is True
            except EvaluationError as error:
                found += self._failed(str(error))
                continue
            if not holds:
                found.append(Broken(self._message(rule, values, known), rule.reason))
        return found

    def unannotated(self, values: Mapping[str, Any]) -> list[Broken]:
        """The audit annotations that have no value, where that matters. They deny, whatever a binding's actions are."""
        found, known = list[Broken](), dict[str, Any]()
        try:
            if not self.annotations or not self.holds(values):
                return []
        except EvaluationError:
            return []  # which is told with the rules
        for expression in self.annotations:
            try:
                value = self.value(expression, values, known)
            except EvaluationError as error:
                found += self._failed(str(error))
                continue
            if value is not None and not isinstance(value, str):
                why = "resulted in unsupported return type. Return type must be either string or null."
                found.append(Broken(f"valueExpression '{expression.text}' {why}", "Invalid"))
        return found

    def _message(self, rule: Rule, values: Mapping[str, Any], known: dict[str, Any]) -> str:
        if rule.message_expression is not None:
            try:
                said = self._value(rule.message_expression, values, known)
            except EvaluationError:
                said = ""
            said = said.strip() if isinstance(said, str) else ""
            if said and "\n" not in said and len(said.encode()) <= _MESSAGE_BYTES_MAX:
                return str(said)
        return rule.message.strip() or f"failed expression: {rule.expression.text.strip()}"

    def _failed(self, why: str) -> list[Broken]:
        return [] if self.ignores_failure else [Broken(why, "Invalid")]


@attrs.frozen
class MutatingPolicy(Policy):
    """A MutatingAdmissionPolicy."""

    mutations: tuple[Mutation, ...] = ()
    reinvoked: bool = False

    def mutation(self, mutation: Mutation, values: Mapping[str, Any]) -> Any:
        """What one of its mutations comes to for `values` (all variables but `variables`).

        Raises:
            EvaluationError: it has no value.
        """
        return self.value(mutation.expression, values, {})


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


def validating_policy_of(tree: Tree) -> ValidatingPolicy:
    """Compile a policy; what does not compile ends in its `problem`."""
    spec, common = _spec(tree), _common(tree)
    if not available():
        return ValidatingPolicy(**common, problem=_EXTRA)
    try:
        return ValidatingPolicy(
            **common, **_compiled_parts(spec), rules=tuple(_rule(given) for given in spec.get("validations") or ()),
            annotations=tuple(_compiled(given["valueExpression"]) for given in spec.get("auditAnnotations") or ()),
        )  # fmt: skip
    except BrokenExpressionError as error:
        return ValidatingPolicy(**common, problem=f"compilation failed: {error}")


def mutating_policy_of(tree: Tree) -> MutatingPolicy:
    """Compile a policy; what does not compile ends in its `problem`."""
    spec, common = _spec(tree), _common(tree)
    if not available():
        return MutatingPolicy(**common, problem=_EXTRA)
    try:
        mutations = tuple(_mutation(given) for given in spec.get("mutations") or ())
        reinvoked = spec.get("reinvocationPolicy") == "IfNeeded"
        return MutatingPolicy(**common, **_compiled_parts(spec), mutations=mutations, reinvoked=reinvoked)
    except BrokenExpressionError as error:
        return MutatingPolicy(**common, problem=f"compilation failed: {error}")


def binding_of(tree: Tree) -> Binding:
    """Read a binding."""
    spec = _spec(tree)
    given = spec.get("matchResources")
    match = (
        match_of(given, given.get("resourceRules") or (), given.get("excludeResourceRules") or ()) if given is not None else None
    )  # fmt: skip
    return Binding(
        tree["metadata"]["name"], spec.get("policyName") or "", match, spec.get("paramRef"),
        frozenset(spec.get("validationActions") or ()),
    )  # fmt: skip


def _spec(tree: Tree) -> Tree:
    return tree.get("spec") or {}


def _common(tree: Tree) -> dict[str, Any]:
    spec = _spec(tree)
    constraints, kind = spec.get("matchConstraints") or {}, spec.get("paramKind")
    match = match_of(constraints, constraints.get("resourceRules") or (), constraints.get("excludeResourceRules") or ())
    return {
        "name": tree["metadata"]["name"], "match": match, "ignores_failure": spec.get("failurePolicy") == "Ignore",
        "parameter_kind": (kind["apiVersion"], kind["kind"]) if kind else None,
    }  # fmt: skip


def _compiled_parts(spec: Tree) -> dict[str, Any]:
    variables: dict[str, Expression] = {}
    for given in spec.get("variables") or ():
        # Those that were declared before can be used; an order also keeps them from going in circles.
        unknown = [name for name in _USED.findall(given["expression"]) if name not in variables]
        if unknown:
            raise BrokenExpressionError(f"variable {given['name']}: undefined field '{unknown[0]}'")
        variables[given["name"]] = _compiled(given["expression"])
    conditions = tuple(_compiled(given["expression"]) for given in spec.get("matchConditions") or ())
    return {"conditions": conditions, "variables": variables}


def _rule(given: Tree) -> Rule:
    message = given.get("messageExpression")
    return Rule(
        _compiled(given["expression"]), given.get("message") or "", _compiled(message) if message else None,
        given.get("reason") or "Invalid",
    )  # fmt: skip


def _mutation(given: Tree) -> Mutation:
    if given.get("patchType") == "JSONPatch":
        return compile_mutation(given["jsonPatch"]["expression"], VARIABLES, "JSONPatch")
    return compile_mutation(given["applyConfiguration"]["expression"], VARIABLES, "Object")


def _compiled(text: str) -> Expression:
    return compile_expression(text, VARIABLES)
