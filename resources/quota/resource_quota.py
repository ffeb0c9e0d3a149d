"""ResourceQuota: how much all objects of a namespace may ask for together.

Source: K/pkg/apis/core/validation ValidateResourceQuota, https://kubernetes.io/docs/concepts/policy/resource-quotas/
"""

from __future__ import annotations

from collections.abc import Iterator

from reconcile.errors import Cause, Tree
from reconcile.kinds import Column, Hooks, Resource, kind
from reconcile.quantities import Quantity
from reconcile.resources.core.cells import AGE
from reconcile.resources.core.names import immutable, invalid, is_qualified_name, is_quantity, required
from reconcile.views import field, struct

SCOPES = (
    "BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating",
    "VolumeAttributesClass",
)  # fmt: skip
_WITHOUT_VALUES = frozenset(SCOPES) - {"PriorityClass", "VolumeAttributesClass"}
_ONLY_EXISTS = (
    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)
_EXCLUSIVE = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))


@struct
class ScopedResourceSelectorRequirement:
    """One rule about Pods or claims: a scope, an operator (In, NotIn, Exists, DoesNotExist) and its values."""

    scope_name: str
    operator: str
    values: list[str] = field(factory=list, list_type="atomic")


@struct
class ScopeSelector:
    """Which Pods count; all rules must hold."""

    match_expressions: list[ScopedResourceSelectorRequirement] = field(factory=list, list_type="atomic")


@struct
class ResourceQuotaSpec:
    """The totals, and which Pods count towards them."""

    hard: dict[str, Quantity] = field(factory=dict, doc="The most of each: pods, requests.cpu, count/deployments.apps ...")
    scopes: list[str] = field(factory=list, list_type="atomic")
    scope_selector: ScopeSelector | None = field(default=None, map_type="atomic")


@struct
class ResourceQuotaStatus:
    """The totals that hold, and what is used of them."""

    hard: dict[str, Quantity] = field(factory=dict)
    used: dict[str, Quantity] = field(factory=dict)


def _validate(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    spec = tree.get("spec") or {}
    for name, value in (spec.get("hard") or {}).items():
        yield from is_qualified_name(name, f"spec.hard[{name}]")
        yield from is_quantity(value, f"spec.hard[{name}]")
    scopes = spec.get("scopes") or []
    for scope in scopes:
        if scope not in SCOPES:
            yield invalid("spec.scopes", scopes, "unsupported scope")
    if any(set(pair) <= set(scopes) for pair in _EXCLUSIVE):
        yield invalid("spec.scopes", scopes, "conflicting scopes")
    for position, rule in enumerate((spec.get("scopeSelector") or {}).get("matchExpressions") or ()):
        path = f"spec.scopeSelector.matchExpressions[{position}]"
        if rule.get("scopeName") not in SCOPES:
            yield invalid(f"{path}.scopeName", rule.get("scopeName"), "unsupported scope")
        yield from _selecting(rule, path)
    if old is not None and (old.get("spec") or {}).get("scopes") != spec.get("scopes"):
        yield immutable("spec.scopes", scopes)


def _selecting(rule: Tree, path: str) -> Iterator[Cause]:
    values, operator = rule.get("values") or [], rule.get("operator")
    if rule.get("scopeName") in _WITHOUT_VALUES and operator != "Exists":
        yield invalid(f"{path}.operator", operator, _ONLY_EXISTS)
    if operator in ("In", "NotIn"):
        if not values:
            why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            yield required(f"{path}.values", why)
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
            yield invalid(f"{path}.values", values, why)
    else:
        yield invalid(f"{path}.operator", operator, "not a valid selector operator")


def _column(name: str, *, limits: bool) -> Column:
    def cell(tree: Tree, _now_s: float) -> str:
        status = tree.get("status") or {}
        used = status.get("used") or {}
        return ", ".join(
            f"{resource}: {used.get(resource, 0)}/{hard}"
            for resource, hard in sorted((status.get("hard") or {}).items()) if resource.startswith("limits.") is limits
        )  # fmt: skip

    return Column(name, cell=cell, doc=f"{name}s: used of allowed.")


@kind(
    "", "v1", plural="resourcequotas", short_names=("quota",), builtin=True, has_generation=False,
    hooks=Hooks(validate=_validate, answers_deleted=True),
    columns=(_column("Request", limits=False), _column("Limit", limits=True), AGE),
)  # fmt: skip
class ResourceQuota(Resource):
    """How much all objects of a namespace may ask for together."""

    spec: ResourceQuotaSpec = field(factory=ResourceQuotaSpec)
    status: ResourceQuotaStatus = field(factory=ResourceQuotaStatus, server_default={})
