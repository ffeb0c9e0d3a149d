"""What has to hold of admission policies and their bindings, as far as it can be told before they are asked.

Source: k8s.io/kubernetes/pkg/apis/admissionregistration/validation/validation.go
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from reconcile.errors import Cause, Tree
from reconcile.expressions import BrokenExpressionError, available
from reconcile.expressions.language import spelled
from reconcile.expressions.mutations import check_mutation
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

if TYPE_CHECKING:
    from reconcile.expressions.checking import Types

_UNTYPED = ("object", "oldObject")
_ACTIONS = ("Audit", "Deny", "Warn")
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
_REINVOCATIONS = ("IfNeeded", "Never")
_PATCH_TYPES = ("ApplyConfiguration", "JSONPatch")
_NAME = re.compile(r"[A-Za-z_]\w*")
_KIND = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_KIND_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end "
    "with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_USED = re.compile(r"\bvariables\.([A-Za-z_]\w*)")
_LOOSE = re.compile(
    r"\b(?:bind|distinct|flatten|max|min|reverse|slice|sort|sortBy|sum|transformList|transformMap|transformMapEntry)\s*\("
)
"""Functions of which it is not known here what they come to."""
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
    _main: Types | None = None

    def types(self, *, authorizer: bool = True, composed: bool = True) -> Types:
        """The variables with their types: what an object and parameters are is not known."""
        if authorizer and composed and self._main is not None:
            return self._main
        from reconcile.expressions.checking import NAMESPACE, REQUEST, Types

        names = (*_UNTYPED, *(("params",) if self.parameters else ()), *(("authorizer",) if authorizer else ()))
        made = Types({"request": REQUEST, "namespaceObject": NAMESPACE}, names)
        if authorizer and composed:
            self._main = made
        elif composed and self._main is not None:
            made.adopt(self._main, [f"variables.{name}" for name in self.known])
        return made


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
    yield from _annotations(tree, spec, scope)


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
        yield from _parameter_kind(kind, "spec.paramKind")
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
        yield from _expression(variable, "expression", path, scope)
        scope.known.add(name)
        if available() and _NAME.fullmatch(name) and str(variable.get("expression") or "").strip():
            scope.types().declare(f"variables.{name}", str(variable["expression"]))


def _parameter_kind(kind: Tree, path: str) -> Iterator[Cause]:
    version, name = str(kind.get("apiVersion") or ""), str(kind.get("kind") or "")
    if not version:
        yield required(f"{path}.apiVersion")
    elif version.count("/") > 1:
        yield invalid(f"{path}.apiVersion", version, f"unexpected GroupVersion string: {version}")
    if not name:
        yield required(f"{path}.kind")
    elif not _KIND.fullmatch(name.lower()):
        yield invalid(f"{path}.kind", name, f"may have mixed case, but should otherwise match: {_KIND_TEXT}")


def _conditions(conditions: list[Tree], scope: _Scope) -> Iterator[Cause]:
    if len(conditions) > _CONDITIONS_MAX:
        yield invalid("spec.matchConditions", len(conditions), f"must have at most {_CONDITIONS_MAX} items")
    seen = set()
    for number, condition in enumerate(conditions):
        path, name = f"spec.matchConditions[{number}]", str(condition.get("name") or "")
        if str(condition.get("expression") or "").strip():
            yield from _expression(condition, "expression", path, scope, "bool", composed=False)
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
    yield from _expression(rule, "expression", path, scope, "bool")
    said = rule.get("messageExpression")
    if said and not said.strip():
        yield invalid(f"{path}.messageExpression", said, "must be non-empty if specified")
    elif said:
        yield from _expression(rule, "messageExpression", path, scope, "string", authorizer=False)
    message = rule.get("message")
    if message and not message.strip():
        yield invalid(f"{path}.message", message, "must be non-empty if specified")
    elif message and re.search(r"[\n\r]", message.strip()):
        yield invalid(f"{path}.message", message, "must not contain line breaks")
    if rule.get("reason") and rule["reason"] not in _REASONS:
        yield unsupported(f"{path}.reason", rule["reason"], _REASONS)


def _annotations(tree: Tree, spec: Tree, scope: _Scope) -> Iterator[Cause]:
    annotations = spec.get("auditAnnotations") or []
    if len(annotations) > _ANNOTATIONS_MAX:
        yield invalid("spec.auditAnnotations", annotations, f"must not have more than {_ANNOTATIONS_MAX} auditAnnotations")
    seen = set()
    for number, annotation in enumerate(annotations):
        path, key = f"spec.auditAnnotations[{number}]", str(annotation.get("key") or "")
        yield from is_qualified_name(f"{(tree.get('metadata') or {}).get('name', '')}/{key}", f"{path}.key")
        text = str(annotation.get("valueExpression") or "").strip()
        if len(text.encode()) > _ANNOTATION_BYTES_MAX:
            yield required(f"{path}.valueExpression", f"must not exceed {_ANNOTATION_BYTES_MAX} bytes in length")
        else:
            yield from _expression(annotation, "valueExpression", path, scope, "string", "null_type")
        if key in seen:
            yield duplicate(f"{path}.key", key)
        seen.add(key)


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
        check_mutation(text, scope.types(), "JSONPatch" if kind == "JSONPatch" else "Object")
    except BrokenExpressionError as error:
        why = _undefined(str(error), text, scope)
        yield invalid(where, text, why if why.startswith("must evaluate") else f"compilation failed: {why}")


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
    given: Tree, field: str, path: str, scope: _Scope, *results: str, authorizer: bool = True, composed: bool = True
) -> Iterator[Cause]:  # fmt: skip
    where, text = f"{path}.{field}", str(given.get(field) or "")
    if not text.strip():
        yield required(where, f"{field} is not specified")
        return
    if not available():
        yield forbidden(where, _EXTRA)
        return
    try:
        found = spelled(scope.types(authorizer=authorizer, composed=composed).check(text))
    except BrokenExpressionError as error:
        why = _undefined(str(error), text, scope) if composed else str(error)
        yield invalid(where, text, f"compilation failed: {why}")
        return
    if results and found not in results and not (found == "dyn" and _LOOSE.search(text)):
        wanted = results[0] if len(results) == 1 else f"one of [{' '.join(results)}]"
        yield invalid(where, text, f"must evaluate to {wanted} but got {found}")


def _undefined(why: str, text: str, scope: _Scope) -> str:
    """A complaint about `variables`, which are there, is one about a variable that was not declared before."""
    if not scope.composed or "undeclared reference to 'variables'" not in why:
        return why
    unknown = next((name for name in _USED.findall(text) if name not in scope.known), "")
    column = text.find(f"variables.{unknown}") + len("variables") + 1
    if "\n" in text.strip():
        return f"undefined field '{unknown}'"
    return f"ERROR: <input>:1:{column}: undefined field '{unknown}'\n | {text}\n | {'.' * (column - 1)}^"
