"""The RBAC operator: gives a cluster its first policy, keeps the index, checks what is granted, aggregates ClusterRoles.

Aggregation: a ClusterRole with an aggregationRule holds the rules of all ClusterRoles that its selectors pick, sorted by
their names; its own rules are overwritten.

Source: K/pkg/controller/clusterroleaggregation, K/pkg/registry/rbac/rest/storage_rbac.go
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from reconcile.client import MERGE_PATCH, Client, Patch
from reconcile.errors import AlreadyExistsError, Tree
from reconcile.handling import AdmissionReview, Cluster
from reconcile.kinds import Kind, Resource, kind_of
from reconcile.registry import Operator
from reconcile.resources.core.names import selects
from reconcile.views import tree_of

from .binding import ClusterRoleBinding, RoleBinding
from .bootstrap import AUTOUPDATE, bootstrap_policy, controller_policy
from .escalation import check_binding, check_role
from .policy import Policy
from .role import ClusterRole, Role

_ROLES: tuple[type[Resource], ...] = (Role, ClusterRole)
_BINDINGS: tuple[type[Resource], ...] = (RoleBinding, ClusterRoleBinding)


def rbac(policy: Policy, *, aggregates: bool = True) -> Operator:
    """The operator that keeps `policy`, which the API's authorizer and the reviews ask; `aggregates`: and ClusterRoles, too."""
    app = Operator("rbac")
    for cls in (*_ROLES, *_BINDINGS):
        _follow(app, cls, policy)

    @app.on.startup()
    async def begin(cluster: Cluster) -> None:
        # Before anything else of this cluster: who asks before the caches are full is not to be told a wrong no.
        await ensure_policy(cluster.client, policy, bootstrap_policy())

    if not aggregates:
        return app

    @app.on.reconcile(ClusterRole)
    async def aggregated(role: ClusterRole, cluster: Cluster) -> None:
        if role.aggregation_rule is None:
            return
        selectors = [tree_of(selector) for selector in role.aggregation_rule.cluster_role_selectors]
        found = [other for other in await cluster.list(ClusterRole) if any(selects(s, other.labels) for s in selectors)]
        rules = aggregated_rules([tree_of(other) for other in found if other.uid != role.uid])
        if rules != (tree_of(role).get("rules") or []):
            await cluster.patch(role, {"rules": rules})

    return app


def aggregated_rules(roles: Sequence[Tree]) -> list[Tree]:
    """The rules of several ClusterRoles, in the order of their names, each once."""
    rules: list[Tree] = []
    for role in sorted(roles, key=lambda role: str(role["metadata"]["name"])):
        rules += [rule for rule in role.get("rules") or () if rule not in rules]
    return rules


def controller_roles(policy: Policy) -> Operator:
    """The operator that gives a cluster the roles of the reference's controllers, once it has the others."""
    app = Operator("controller-roles")

    @app.on.startup()
    async def begin(cluster: Cluster) -> None:
        await ensure_policy(cluster.client, policy, controller_policy())

    return app


async def ensure_policy(client: Client, policy: Policy, wanted: Iterable[Tree]) -> None:
    """Read the policy that is there, and add what is wanted; what somebody took from it on purpose stays away.

    Of an object that is there, rules and subjects that are missing are put back, unless it is annotated not to be updated.
    """
    known: dict[tuple[str, str, str], Tree] = {}
    for cls in (*_ROLES, *_BINDINGS):
        kind = kind_of(cls)
        for tree in (await client.list(kind)).items:
            policy.saw(kind, tree, gone=False)
            known[_place(kind.kind, tree)] = tree
    # All at once: the store writes them together.
    kinds = {kind_of(cls).kind: kind_of(cls) for cls in (*_ROLES, *_BINDINGS)}
    await asyncio.gather(
        *(_ensure(client, policy, kinds[tree["kind"]], tree, known.get(_place(tree["kind"], tree))) for tree in wanted)
    )


def _place(kind: str, tree: Tree) -> tuple[str, str, str]:
    return kind, tree["metadata"].get("namespace", ""), tree["metadata"]["name"]


async def _ensure(client: Client, policy: Policy, kind: Kind, wanted: Tree, known: Tree | None) -> None:
    name, namespace = wanted["metadata"]["name"], wanted["metadata"].get("namespace", "")
    if known is None:
        try:
            made = await client.create(kind, wanted, namespace, field_manager="bootstrap")
        except AlreadyExistsError:
            return  # another server of this store was faster; its event is on its way
        policy.saw(kind, made, gone=False)
        return
    if (known["metadata"].get("annotations") or {}).get(AUTOUPDATE) != "true":
        return
    part = "subjects" if "roleRef" in wanted else "rules"
    if wanted.get("aggregationRule") is not None:
        return  # its rules are the aggregation's
    have = known.get(part) or []
    lost = [item for item in wanted.get(part) or () if item not in have]
    if lost:
        changed = await client.patch(kind, name, Patch(MERGE_PATCH, {part: [*have, *lost]}), namespace)
        policy.saw(kind, changed, gone=False)


def _follow(app: Operator, cls: type[Resource], policy: Policy) -> None:
    """Keep the index by the events of one kind, and check its writes."""
    kind = kind_of(cls)
    check = check_role if cls in _ROLES else check_binding

    def saw(obj: Any, event: str) -> None:  # Any: a view of `cls`
        policy.saw(kind, tree_of(obj), gone=event == "DELETED")

    def granted(review: AdmissionReview) -> None:
        check(policy, kind, review)

    app.on.event(cls, inline=True, name=f"policy-{kind.plural}")(saw)
    app.on.validate(cls, name=f"escalation-{kind.plural}")(granted)
