"""What is asked before a write, and who is served first: stored and shown; what evaluates them is another matter.

Source: k8s.io/kubernetes/pkg/apis/{admissionregistration,flowcontrol}, k8s.io/kube-aggregator
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from reconcile.errors import Cause, Tree
from reconcile.expressions import BrokenExpressionError, available, compile_expression
from reconcile.kinds import Column, Hooks, Kind
from reconcile.resources.client_config import broken_client_config
from reconcile.resources.core.cells import AGE, NONE, path_cell
from reconcile.resources.core.names import duplicate, forbidden, invalid, required

from .declaration import at, count_cell, declared

Validate = Callable[[Tree, Tree | None], Iterable[Cause]]
_ADMISSION = "admissionregistration.k8s.io/v1"
_FLOW = "flowcontrol.apiserver.k8s.io/v1"
_CATEGORIES = ("api-extensions",)
_UNSET = "<unset>"
_MATCHING: dict[str, Any] = {
    "spec.matchResources.matchPolicy": "Equivalent", "spec.matchResources.namespaceSelector": {},
    "spec.matchResources.objectSelector": {}, "spec.matchResources.resourceRules[].scope": "*",
    "spec.matchResources.excludeResourceRules[].scope": "*",
}  # fmt: skip


def policy_kinds() -> list[Kind]:
    """Webhooks, admission policies, priority and fairness, and API services."""
    return [*webhook_kinds(), *validating_policy_kinds(), *mutating_policy_kinds(), *_fairness(), _api_service()]


def webhook_kinds() -> list[Kind]:
    """MutatingWebhookConfiguration and ValidatingWebhookConfiguration."""
    made = []
    for kind, plural, doc in (
        ("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", "Webhooks that may change what is written."),
        ("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", "Webhooks that may refuse what is written."),
    ):
        defaults: dict[str, Any] = {
            "webhooks[].failurePolicy": "Fail", "webhooks[].matchPolicy": "Equivalent", "webhooks[].timeoutSeconds": 10,
            "webhooks[].namespaceSelector": {}, "webhooks[].objectSelector": {}, "webhooks[].rules[].scope": "*",
            "webhooks[].clientConfig.service.port": 443,
        }  # fmt: skip
        if kind.startswith("Mutating"):
            defaults["webhooks[].reinvocationPolicy"] = "Never"
        columns = (Column("Webhooks", cell=count_cell("webhooks"), type="integer", doc="How many there are."), AGE)
        made.append(
            declared(
                _ADMISSION, kind, plural, doc, namespaced=False, categories=_CATEGORIES, columns=columns, defaults=defaults,
                hooks=Hooks(validate=_validate_webhooks), needs_revision=True,
            )
        )  # fmt: skip
    return made


def validating_policy_kinds() -> list[Kind]:
    """ValidatingAdmissionPolicy and its binding."""
    common, reference, parameters, defaults = _policy_parts()
    return [
        declared(
            _ADMISSION, "ValidatingAdmissionPolicy", "validatingadmissionpolicies", "Rules in CEL for what is written.",
            status=True, defaults=defaults, hooks=Hooks(validate=_later("validate_policy")), **common,
            columns=(
                Column("Validations", cell=count_cell("spec", "validations"), type="integer", doc="How many rules."),
                parameters, AGE,
            ),
        ),
        declared(
            _ADMISSION, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", "Puts such rules into force.",
            columns=reference, hooks=Hooks(validate=_later("validate_binding")), defaults=_MATCHING, **common,
        ),
    ]  # fmt: skip


def mutating_policy_kinds() -> list[Kind]:
    """MutatingAdmissionPolicy and its binding."""
    common, reference, parameters, defaults = _policy_parts()
    return [
        declared(
            _ADMISSION, "MutatingAdmissionPolicy", "mutatingadmissionpolicies", "Changes in CEL of what is written.",
            defaults=defaults, hooks=Hooks(validate=_later("validate_mutating_policy")), **common,
            columns=(
                Column("Mutations", cell=count_cell("spec", "mutations"), type="integer", doc="How many changes."),
                parameters, AGE,
            ),
        ),
        declared(
            _ADMISSION, "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", "Puts such changes into force.",
            columns=reference, hooks=Hooks(validate=_later("validate_mutating_binding")), defaults=_MATCHING, **common,
        ),
    ]  # fmt: skip


def _policy_parts() -> tuple[dict[str, Any], tuple[Column, ...], Column, dict[str, Any]]:
    """What validating and mutating policies have in common: how they are served, columns, defaults."""
    reference = (
        Column("PolicyName", cell=path_cell("spec", "policyName"), doc="The policy that it puts into force."),
        Column("ParamRef", cell=_parameter, doc="The parameters."),
        AGE,
    )
    defaults: dict[str, Any] = {
        "spec.failurePolicy": "Fail", "spec.matchConstraints.matchPolicy": "Equivalent",
        "spec.matchConstraints.namespaceSelector": {}, "spec.matchConstraints.objectSelector": {},
        "spec.matchConstraints.resourceRules[].scope": "*", "spec.matchConstraints.excludeResourceRules[].scope": "*",
    }  # fmt: skip
    common: dict[str, Any] = {"namespaced": False, "categories": _CATEGORIES, "needs_revision": True}
    return common, reference, Column("ParamKind", cell=_parameter_kind, doc="The kind of its parameters."), defaults


def _fairness() -> list[Kind]:
    return [
        declared(
            _FLOW, "FlowSchema", "flowschemas", "Which requests belong together, and how important they are.", namespaced=False,
            status=True, defaults={"spec.matchingPrecedence": 1000},
            columns=(
                Column("PriorityLevel", cell=path_cell("spec", "priorityLevelConfiguration", "name"), doc="How important."),
                Column("MatchingPrecedence", ".spec.matchingPrecedence", doc="The lowest that matches counts."),
                Column("DistinguisherMethod", cell=path_cell("spec", "distinguisherMethod", "type", absent=NONE), doc="By what."),
                AGE,
                Column("MissingPL", cell=_dangling, doc="Whether the priority level is missing."),
            ),
        ),
        declared(
            _FLOW, "PriorityLevelConfiguration", "prioritylevelconfigurations", "How many requests of an importance run at once.",
            namespaced=False, status=True,
            defaults={"spec.limited.nominalConcurrencyShares": 30, "spec.limited.lendablePercent": 0},
            columns=(
                Column("Type", cell=path_cell("spec", "type"), doc="Limited or Exempt."),
                Column("NominalConcurrencyShares", cell=_shares, doc="Its part of the server."),
                *(
                    Column(title, cell=_queuing(name), doc=doc)
                    for title, name, doc in (
                        ("Queues", "queues", "How many queues."), ("HandSize", "handSize", "Queues that a flow may use."),
                        ("QueueLengthLimit", "queueLengthLimit", "How many may wait."),
                    )
                ),
                AGE,
            ),
        ),
    ]  # fmt: skip


def _api_service() -> Kind:
    return declared(
        "apiregistration.k8s.io/v1", "APIService", "apiservices", "Which server answers for a group and version.",
        namespaced=False, status=True, categories=_CATEGORIES, defaults={"spec.service.port": 443}, has_generation=False,
        needs_revision=True,
        columns=(
            Column("Service", cell=_server, doc="Who answers."),
            Column("Available", cell=_available, doc="Whether it does."),
            AGE,
        ),
    )  # fmt: skip


def _later(name: str) -> Validate:
    """A rule of `policy_rules`, which is loaded when somebody writes a policy: few do."""

    def validate(tree: Tree, old: Tree | None) -> Iterable[Cause]:
        from . import policy_rules

        rule: Validate = getattr(policy_rules, name)
        return rule(tree, old)

    return validate


def _validate_webhooks(tree: Tree, old: Tree | None) -> Iterator[Cause]:  # noqa: ARG001 - a hook's signature
    seen = set()
    for number, webhook in enumerate(tree.get("webhooks") or ()):
        path = f"webhooks[{number}]"
        if webhook.get("name") in seen:
            yield duplicate(f"{path}.name", webhook.get("name"))
        seen.add(webhook.get("name"))
        client = webhook.get("clientConfig") or {}
        yield from broken_client_config(client, f"{path}.clientConfig")
        if not webhook.get("admissionReviewVersions"):
            yield required(f"{path}.admissionReviewVersions", "must specify one of v1, v1beta1")
        if webhook.get("sideEffects") not in (None, "None", "NoneOnDryRun"):
            yield forbidden(f"{path}.sideEffects", "must be None or NoneOnDryRun")
        if not 1 <= webhook.get("timeoutSeconds", 10) <= 30:
            yield invalid(
                f"{path}.timeoutSeconds", webhook["timeoutSeconds"], "the timeout value must be between 1 and 30 seconds"
            )
        yield from _broken_conditions(webhook, path)


def _broken_conditions(webhook: Tree, path: str) -> Iterator[Cause]:
    """What is wrong with match conditions, as far as it can be told here: compiling needs an extra."""
    for number, condition in enumerate(webhook.get("matchConditions") or ()):
        where = f"{path}.matchConditions[{number}].expression"
        if not available():
            yield forbidden(where, "expressions need the extra: pip install 'reconcile-toolkit[cel]'")
            continue
        try:
            compile_expression(str(condition.get("expression") or ""), ("object", "oldObject", "request", "authorizer"))
        except BrokenExpressionError as error:
            yield invalid(where, condition.get("expression"), f"compilation failed: {error}")


def _parameter_kind(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    about = at(tree, "spec", "paramKind")
    return f"{about.get('apiVersion')}/{about.get('kind')}" if about else _UNSET


def _parameter(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    about = at(tree, "spec", "paramRef")
    if not about:
        return _UNSET
    name = str(about.get("name") or "*")
    return f"{about['namespace']}/{name}" if about.get("namespace") else name


def _condition(tree: Tree, name: str) -> Tree | None:
    found: list[Tree] = at(tree, "status", "conditions") or []
    return next((condition for condition in found if condition.get("type") == name), None)


def _dangling(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    condition = _condition(tree, "Dangling")
    return str(condition["status"]) if condition else "?"


def _shares(tree: Tree, now_s: float) -> Any:  # noqa: ARG001 - a cell's signature
    part = "limited" if at(tree, "spec", "type") == "Limited" else "exempt"
    shares = at(tree, "spec", part, "nominalConcurrencyShares")
    return NONE if shares is None else shares


def _queuing(name: str) -> Any:
    return path_cell("spec", "limited", "limitResponse", "queuing", name, absent=NONE)


def _server(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    service = at(tree, "spec", "service")
    return f"{service.get('namespace')}/{service.get('name')}" if service else "Local"


def _available(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    condition = _condition(tree, "Available")
    if condition is None:
        return "Unknown"
    return str(condition["status"]) + ("" if condition["status"] == "True" else f" ({condition.get('reason', '')})")
