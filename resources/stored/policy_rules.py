"""What has to hold of admission policies and their bindings, as far as it can be told before they are asked.

Source: k8s.io/kubernetes/pkg/apis/admissionregistration/validation/validation.go
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

from reconcile.errors import Cause, Tree
from reconcile.expressions import BrokenExpressionError, available, compile_expression
from reconcile.expressions.mutations import compile_mutation
from reconcile.expressions.names import RESERVED
from reconcile.resources.core.names import (
    check_selector,
    duplicate,
    forbidden,
    invalid,
    is_qualified_name,
    is_subdomain,
    required,
    unsupported,
)

from .matching_rules import MUTATED, validate_match

_VARIABLES = ("object", "oldObject", "request", "namespaceObject")
_ACTIONS = ("Audit", "Deny", "Warn")
_REASONS = ("Unauthorized", "Forbidden", "RequestEntityTooLarge", "Invalid")
_REINVOCATIONS = ("IfNeeded", "Never")
_PATCH_TYPES = ("ApplyConfiguration", "JSONPatch")
_NAME = re.compile(r"[A-Za-z_]\w*")
_USED = re.compile(r"\bvariables\.([A-Za-z_]\w*)")
_NAMED = {"BOOL": "bool", "STRING": "string"}
_EXTRA = "expressions need the extra: pip install 'reconcile-toolkit[cel]'"
_CONDITIONS_MAX, _ANNOTATIONS_MAX, _ANNOTATION_BYTES_MAX = 64, 20, 5 << 10


@attrs.define
class _Scope:
    """What expressions of a policy may name."""

    parameters: bool
    composed: bool
    """Whether `variables` is there."""
    known: set[str] = attrs.field(factory=set)
    """The variables that were declared so far."""

    def names(self, *, authorizer: bool = True, composed: bool = True) -> tuple[str, ...]:
        return (
            *_VARIABLES, *(("params",) if self.parameters else ()), *(("authorizer",) if authorizer else ()),
            *(("variables",) if composed and self.composed else ()),
        )  # fmt: skip


def validate_policy(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    """A ValidatingAdmissionPolicy: what it is for, and expressions that compile and come to what they have to."""
    spec = tree.get("spec") or {}
    if old is not None and (old.get("spec") or {}) == spec:
        return
    scope = _Scope(bool(spec.get("paramKind")), composed=bool(spec.get("variables")))
    yield from _common(spec, scope)
    if not spec.get("validations") and not spec.get("auditAnnotations"):
        for name in ("validations", "auditAnnotations"):
            yield required(f"spec.{name}", "validations or auditAnnotations must contain at least one item")
    for number, rule in enumerate(spec.get("validations") or ()):
        yield from _validation(rule, f"spec.validations[{number}]", scope)
    yield from _annotations(tree, scope)


def validate_mutating_policy(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    """A MutatingAdmissionPolicy: what it is for, and mutations that compile to patches of their kind."""
    spec = tree.get("spec") or {}
    if old is not None and (old.get("spec") or {}) == spec:
        return
    scope = _Scope(bool(spec.get("paramKind")), composed=True)
    yield from _common(spec, scope, mutates=True)
    if not spec.get("mutations"):
        yield required("spec.mutations", "mutations must contain at least one item")
    for number, mutation in enumerate(spec.get("mutations") or ()):
        yield from _mutation(mutation, f"spec.mutations[{number}]", scope)
    if not spec.get("reinvocationPolicy"):
        yield required("spec.reinvocationPolicy")
    elif spec["reinvocationPolicy"] not in _REINVOCATIONS:
        yield unsupported("spec.reinvocationPolicy", spec["reinvocationPolicy"], _REINVOCATIONS)


def validate_binding(tree: Tree, old: Tree | None) -> Iterator[Cause]:  # noqa: ARG001 - a hook's signature
    """A ValidatingAdmissionPolicyBinding: to which policy, and what follows."""
    spec = tree.get("spec") or {}
    yield from _binding(spec)
    yield from validate_match(spec.get("matchResources") or {}, "spec.matchResources")
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


def validate_mutating_binding(tree: Tree, old: Tree | None) -> Iterator[Cause]:  # noqa: ARG001 - a hook's signature
    """A MutatingAdmissionPolicyBinding: to which policy."""
    spec = tree.get("spec") or {}
    yield from _binding(spec)
    yield from validate_match(spec.get("matchResources") or {}, "spec.matchResources", MUTATED)


def _common(spec: Tree, scope: _Scope, *, mutates: bool = False) -> Iterator[Cause]:
    """What both kinds of policies have: parameters, constraints, conditions, variables."""
    kind = spec.get("paramKind")
    if kind is not None:
        for name in ("apiVersion", "kind"):
            if not kind.get(name):
                yield required(f"spec.paramKind.{name}")
    constraints: Tree | None = spec.get("matchConstraints")
    if constraints is None:
        yield required("spec.matchConstraints")
    else:
        yield from validate_match(constraints, "spec.matchConstraints", *([MUTATED] if mutates else []))
        if not constraints.get("resourceRules"):
            yield required("spec.matchConstraints.resourceRules")
    yield from _conditions(spec.get("matchConditions") or [], scope)
    for number, variable in enumerate(spec.get("variables") or ()):
        path, name = f"spec.variables[{number}]", str(variable.get("name") or "")
        if not name.strip():
            yield required(f"{path}.name", "name is not specified")
        elif not _NAME.fullmatch(name) or name in RESERVED:
            yield invalid(f"{path}.name", name, "must be a valid CEL identifier")
        if name in scope.known:
            yield duplicate(f"{path}.name", name)
        yield from _expression(variable, "expression", path, scope)
        scope.known.add(name)


def _conditions(conditions: list[Tree], scope: _Scope) -> Iterator[Cause]:
    if len(conditions) > _CONDITIONS_MAX:
        yield invalid("spec.matchConditions", len(conditions), f"must have at most {_CONDITIONS_MAX} items")
    seen = set()
    for number, condition in enumerate(conditions):
        path, name = f"spec.matchConditions[{number}]", str(condition.get("name") or "")
        if str(condition.get("expression") or "").strip():
            yield from _expression(condition, "expression", path, scope, "BOOL", names=scope.names(composed=False))
        else:
            yield required(f"{path}.expression")
        if not name:
            yield required(f"{path}.name")
        elif name in seen:
            yield duplicate(f"{path}.name", name)
        else:
            yield from is_qualified_name(name, f"{path}.name")
        seen.add(name)


def _validation(rule: Tree, path: str, scope: _Scope) -> Iterator[Cause]:
    yield from _expression(rule, "expression", path, scope, "BOOL")
    said = rule.get("messageExpression")
    if said and not said.strip():
        yield invalid(f"{path}.messageExpression", said, "must be non-empty if specified")
    elif said:
        yield from _expression(rule, "messageExpression", path, scope, "STRING", names=scope.names(authorizer=False))
    message = rule.get("message")
    if message and not message.strip():
        yield invalid(f"{path}.message", message, "must be non-empty if specified")
    elif message and re.search(r"[\n\r]", message.strip()):
        yield invalid(f"{path}.message", message, "must not contain line breaks")
    if rule.get("reason") and rule["reason"] not in _REASONS:
        yield unsupported(f"{path}.reason", rule["reason"], _REASONS)


def _annotations(tree: Tree, scope: _Scope) -> Iterator[Cause]:
    annotations = tree["spec"].get("auditAnnotations") or []
    if len(annotations) > _ANNOTATIONS_MAX:
        yield invalid("spec.auditAnnotations", annotations, f"must not have more than {_ANNOTATIONS_MAX} auditAnnotations")
    seen = set()
    for number, annotation in enumerate(annotations):
        path, key = f"spec.auditAnnotations[{number}]", str(annotation.get("key") or "")
        yield from is_qualified_name(f"{(tree.get('metadata') or {}).get('name', '')}/{key}", f"{path}.key")
        if key in seen:
            yield duplicate(f"{path}.key", key)
        seen.add(key)
        text = str(annotation.get("valueExpression") or "").strip()
        if len(text.encode()) > _ANNOTATION_BYTES_MAX:
            yield required(f"{path}.valueExpression", f"must not exceed {_ANNOTATION_BYTES_MAX} bytes in length")
        else:
            yield from _expression(annotation, "valueExpression", path, scope, "STRING", "NULL")


def _mutation(mutation: Tree, path: str, scope: _Scope) -> Iterator[Cause]:
    kind = mutation.get("patchType")
    if not kind:
        yield required(f"{path}.patchType")
        return
    if kind not in _PATCH_TYPES:
        yield unsupported(f"{path}.patchType", kind, _PATCH_TYPES)
        return
    name, other = ("jsonPatch", "applyConfiguration") if kind == "JSONPatch" else ("applyConfiguration", "jsonPatch")
    if mutation.get(name) is None:
        yield required(f"{path}.{name}", f"must be specified when patchType is {kind}")
    else:
        yield from _patch(str(mutation[name].get("expression") or "").strip(), kind, f"{path}.{name}.expression", scope)
    if mutation.get(other) is not None:
        yield invalid(f"{path}.{other}", f"{{{other}}}", f"must not be specified when patchType is {kind}")


def _patch(text: str, kind: str, where: str, scope: _Scope) -> Iterator[Cause]:
    if not text:
        yield required(where)
        return
    if not available():
        yield forbidden(where, _EXTRA)
        return
    try:
        compile_mutation(text, scope.names(), "JSONPatch" if kind == "JSONPatch" else "Object")
    except BrokenExpressionError as error:
        why = str(error)
        yield invalid(where, text, why if why.startswith("must evaluate") else f"compilation failed: {why}")
    yield from _undefined(text, where, scope)


def _binding(spec: Tree) -> Iterator[Cause]:
    """What bindings of both kinds of policies have."""
    if not spec.get("policyName"):
        yield required("spec.policyName")
    else:
        yield from is_subdomain(spec["policyName"], "spec.policyName")
    reference = spec.get("paramRef")
    if reference is None:
        return
    path, name, selector = "spec.paramRef", reference.get("name"), reference.get("selector")
    if name and selector is not None:
        yield forbidden(f"{path}.name", "name and selector are mutually exclusive")
    if selector is not None:
        yield from check_selector(selector, f"{path}.selector")
        if name:
            yield forbidden(f"{path}.selector", "name and selector are mutually exclusive")
    if not name and selector is None:
        yield required(path, "one of name or selector must be specified")
    action = reference.get("parameterNotFoundAction")
    if not action:
        yield required(f"{path}.parameterNotFoundAction")
    elif action not in ("Allow", "Deny"):
        yield unsupported(f"{path}.parameterNotFoundAction", action, ("Deny", "Allow"))


def _expression(
    given: Tree, field: str, path: str, scope: _Scope, *results: str, names: tuple[str, ...] | None = None
) -> Iterator[Cause]:  # fmt: skip
    where, text = f"{path}.{field}", str(given.get(field) or "")
    if not text.strip():
        yield required(where, f"{field} is not specified")
        return
    if not available():
        yield forbidden(where, _EXTRA)
        return
    try:
        compiled = compile_expression(text, scope.names() if names is None else names)
    except BrokenExpressionError as error:
        yield invalid(where, text, f"compilation failed: {error}")
        return
    yield from _undefined(text, where, scope)
    if results and compiled.result not in (*results, "DYN"):
        wanted = _NAMED[results[0]] if len(results) == 1 else "one of [string null_type]"
        yield invalid(where, text, f"must evaluate to {wanted}")


def _undefined(text: str, where: str, scope: _Scope) -> Iterator[Cause]:
    """Variables that were not declared before: expressions can use those alone, which keeps them from going in circles."""
    for name in _USED.findall(text):
        if scope.composed and name not in scope.known:
            yield invalid(where, text, f"compilation failed: undefined field '{name}'")
