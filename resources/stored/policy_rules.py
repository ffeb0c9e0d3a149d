"""What has to hold of admission policies and their bindings, as far as it can be told before they are asked.

Source: k8s.io/kubernetes/pkg/apis/admissionregistration/validation/validation.go
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from reconcile.errors import Cause, Tree
from reconcile.expressions import BrokenExpressionError, available, compile_expression
from reconcile.resources.core.names import duplicate, forbidden, invalid, required, unsupported

_VARIABLES = ("object", "oldObject", "request", "params", "namespaceObject", "variables")
_ACTIONS = ("Audit", "Deny", "Warn")
_REASONS = ("Unauthorized", "Forbidden", "RequestEntityTooLarge", "Invalid")
_NAME = re.compile(r"[A-Za-z_]\w*")
_USED = re.compile(r"\bvariables\.([A-Za-z_]\w*)")
_EXTRA = "expressions need the extra: pip install 'reconcile-toolkit[cel]'"


def validate_policy(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    """A policy: what it is for, and expressions that compile and come to what they have to."""
    spec = tree.get("spec") or {}
    if old is not None and (old.get("spec") or {}) == spec:
        return
    if not (spec.get("matchConstraints") or {}).get("resourceRules"):
        yield required("spec.matchConstraints.resourceRules")
    if not spec.get("validations") and not spec.get("auditAnnotations"):
        yield required("spec.validations", "validations or auditAnnotations must contain at least one item")
    known: set[str] = set()
    for number, variable in enumerate(spec.get("variables") or ()):
        path, name = f"spec.variables[{number}]", str(variable.get("name") or "")
        if not _NAME.fullmatch(name):
            yield invalid(f"{path}.name", name, "name is not a valid CEL identifier")
        if name in known:
            yield duplicate(f"{path}.name", name)
        yield from _expression(variable, "expression", path, known)
        known.add(name)
    for number, condition in enumerate(spec.get("matchConditions") or ()):
        yield from _expression(condition, "expression", f"spec.matchConditions[{number}]", known, "BOOL")
    for number, rule in enumerate(spec.get("validations") or ()):
        path = f"spec.validations[{number}]"
        yield from _expression(rule, "expression", path, known, "BOOL")
        if rule.get("messageExpression"):
            yield from _expression(rule, "messageExpression", path, known, "STRING")
        if rule.get("reason") and rule["reason"] not in _REASONS:
            yield unsupported(f"{path}.reason", rule["reason"], _REASONS)


def validate_binding(tree: Tree, old: Tree | None) -> Iterator[Cause]:  # noqa: ARG001 - a hook's signature
    """A binding: to which policy, and what follows."""
    spec = tree.get("spec") or {}
    if not spec.get("policyName"):
        yield required("spec.policyName")
    actions = spec.get("validationActions") or []
    if not actions:
        yield required("spec.validationActions", "at least one validation action is required")
    for number, action in enumerate(actions):
        if action not in _ACTIONS:
            yield unsupported(f"spec.validationActions[{number}]", action, _ACTIONS)
        if action in actions[:number]:
            yield duplicate(f"spec.validationActions[{number}]", action)
    if {"Deny", "Warn"} <= set(actions):
        why = "repeating the same validation failure information in the API response and headers serves no purpose"
        yield invalid("spec.validationActions", actions, f"must not contain both Deny and Warn ({why})")
    reference = spec.get("paramRef")
    if reference is not None:
        if bool(reference.get("name")) == (reference.get("selector") is not None):
            yield required("spec.paramRef", "one of name or selector must be specified, and not both")
        if reference.get("parameterNotFoundAction") not in ("Allow", "Deny"):
            yield required("spec.paramRef.parameterNotFoundAction", "must be Allow or Deny")


def _expression(given: Tree, field: str, path: str, known: set[str], result: str = "") -> Iterator[Cause]:
    where, text = f"{path}.{field}", str(given.get(field) or "")
    if not text.strip():
        yield required(where, f"{field} is not specified")
        return
    if not available():
        yield forbidden(where, _EXTRA)
        return
    try:
        compiled = compile_expression(text, _VARIABLES)
    except BrokenExpressionError as error:
        yield invalid(where, text, f"compilation failed: {error}")
        return
    for name in _USED.findall(text):
        if name not in known:
            yield invalid(where, text, f"compilation failed: undefined field '{name}'")
    if result and compiled.result not in (result, "DYN"):
        yield invalid(where, text, f"must evaluate to {'bool' if result == 'BOOL' else 'string'}")
