"""Role and ClusterRole: what may be done, as a list of rules. Nothing is ever forbidden by a rule, only allowed.

Source: K/pkg/apis/rbac/validation, https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from __future__ import annotations

from collections.abc import Iterator

from reconcile.errors import Cause, Tree
from reconcile.kinds import Column, Hooks, Resource, kind
from reconcile.resources.core.cells import path_cell
from reconcile.resources.core.names import check_selector, invalid, required
from reconcile.resources.core.references import LabelSelector
from reconcile.views import field, struct

GROUP = "rbac.authorization.k8s.io"
CREATED = Column(
    "Created At", type="date", cell=path_cell("metadata", "creationTimestamp"), doc="When the object was created."
)  # fmt: skip


@struct
class PolicyRule:
    """Verbs on resources (of API groups, perhaps by name only), or on URL paths that are no resources."""

    verbs: list[str] = field(factory=list, list_type="atomic", doc="What may be done: get, list, create ... or *.")
    api_groups: list[str] = field(factory=list, list_type="atomic", doc='API groups; "" is the core group, * is all.')
    resources: list[str] = field(factory=list, list_type="atomic", doc="Plural names, pods/log for a part, or *.")
    resource_names: list[str] = field(factory=list, list_type="atomic", doc="Only objects of these names; all unless given.")
    non_resource_urls: list[str] = field(
        factory=list, name="nonResourceURLs", list_type="atomic", doc="Paths such as /healthz; a * may stand at the end."
    )


@struct
class AggregationRule:
    """Collects the rules of other ClusterRoles."""

    cluster_role_selectors: list[LabelSelector] = field(factory=list, list_type="atomic", doc="Which; any of them will do.")


def wrong_path_segment(name: str) -> str:
    """Why a name cannot stand in a URL path (empty: it can). Roles and bindings may be called system:node.

    Source: k8s.io/apimachinery/pkg/api/validation/path
    """
    if name in (".", ".."):
        return f"may not be '{name}'"
    for part in ("/", "%"):
        if part in name:
            return f"may not contain '{part}'"
    return ""


def check_rules(rules: list[Tree], path: str, *, namespaced: bool) -> Iterator[Cause]:
    """What is wrong with rules."""
    for position, rule in enumerate(rules):
        yield from _check_rule(rule, f"{path}[{position}]", namespaced)


def _check_rule(rule: Tree, path: str, namespaced: bool) -> Iterator[Cause]:
    if not rule.get("verbs"):
        yield required(f"{path}.verbs", "verbs must contain at least one value")
    urls = rule.get("nonResourceURLs")
    if urls:
        if namespaced:
            yield invalid(f"{path}.nonResourceURLs", urls, "namespaced rules cannot apply to non-resource URLs")
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            why = "rules cannot apply to both regular resources and non-resource URLs"
            yield invalid(f"{path}.nonResourceURLs", urls, why)
        return
    if not rule.get("apiGroups"):
        yield required(f"{path}.apiGroups", "resource rules must supply at least one api group")
    if not rule.get("resources"):
        yield required(f"{path}.resources", "resource rules must supply at least one resource")


def _validate_role(tree: Tree, old: Tree | None) -> Iterator[Cause]:  # noqa: ARG001 - a hook's signature
    yield from check_rules(tree.get("rules") or [], "rules", namespaced=True)


def _validate_cluster_role(tree: Tree, old: Tree | None) -> Iterator[Cause]:  # noqa: ARG001 - a hook's signature
    yield from check_rules(tree.get("rules") or [], "rules", namespaced=False)
    aggregation = tree.get("aggregationRule")
    if aggregation is None:
        return
    selectors = aggregation.get("clusterRoleSelectors") or []
    path = "aggregationRule.clusterRoleSelectors"
    if not selectors:
        yield required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil")
    for position, selector in enumerate(selectors):
        yield from check_selector(selector, f"{path}[{position}]")


@kind(
    GROUP, "v1", plural="roles", builtin=True, has_generation=False, columns=(CREATED,),
    hooks=Hooks(validate=_validate_role, wrong_name=wrong_path_segment),
)  # fmt: skip
class Role(Resource):
    """What may be done in one namespace."""

    rules: list[PolicyRule] = field(factory=list, list_type="atomic")


@kind(
    GROUP, "v1", plural="clusterroles", namespaced=False, builtin=True, has_generation=False, columns=(CREATED,),
    hooks=Hooks(validate=_validate_cluster_role, wrong_name=wrong_path_segment),
)  # fmt: skip
class ClusterRole(Resource):
    """What may be done in the whole cluster, or, through a RoleBinding, in a namespace."""

    rules: list[PolicyRule] = field(factory=list, list_type="atomic")
    aggregation_rule: AggregationRule | None = field(
        default=None, doc="Where rules come from; those above are then kept by the control plane."
    )
