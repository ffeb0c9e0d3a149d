"""RBAC in a whole control plane: the first policy, aggregation, and writes that would grant too much."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

from reconcile.errors import ForbiddenError, InvalidError, NotFoundError, Tree
from reconcile.identity import Access, Caller
from reconcile.kinds import kind_of
from reconcile.resources.rbac import ClusterRole, ClusterRoleBinding, Role, RoleBinding
from reconcile.resources.rbac.bootstrap import bootstrap_policy
from reconcile.resources.rbac.operator import controller_roles, ensure_policy, rbac
from reconcile.resources.rbac.policy import Policy
from reconcile.runtime.client import InProcessClient
from reconcile.runtime.testing.virtual import VirtualClock, virtual

EVE = Caller("eve", ("system:authenticated",))
PODS = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]


@attrs.define
class Ruled:
    plane: Any
    policy: Policy

    @property
    def client(self) -> InProcessClient:
        client: InProcessClient = self.plane.client
        return client

    def as_eve(self) -> InProcessClient:
        return self.client.as_caller(EVE)

    async def bind(self, role: str, *, everywhere: bool = False, kind: str = "ClusterRole") -> None:
        tree = {
            "metadata": {"name": f"eve-{role}"}, "roleRef": {"kind": kind, "name": role},
            "subjects": [{"kind": "User", "name": "eve"}],
        }  # fmt: skip
        await self.plane.create(ClusterRoleBinding if everywhere else RoleBinding, tree)
        await self.plane.engine.settled()


@asynccontextmanager
async def ruled(clock: VirtualClock, control_plane: Any) -> AsyncIterator[Ruled]:
    policy = Policy()
    async with control_plane(clock, rbac(policy)) as plane:
        yield Ruled(plane, policy)


def may(policy: Policy, user: Caller, verb: str, resource: str, group: str = "", namespace: str = "default") -> bool:
    part, _, sub = resource.partition("/")
    return policy(user, Access(verb, group, part, sub, namespace)).allowed


@virtual
async def test_a_new_cluster_has_the_policy_that_users_know(clock: VirtualClock, control_plane: Any) -> None:
    """view sees no secrets, edit grants no rights, admin does: people rely on that without reading it up."""
    async with ruled(clock, control_plane) as world:
        for role in ("view", "edit", "admin"):
            await world.bind(role)
            if role == "view":
                assert may(world.policy, EVE, "list", "pods")
                assert may(world.policy, EVE, "get", "pods/log")
                assert may(world.policy, EVE, "list", "deployments", "apps")
                assert not may(world.policy, EVE, "get", "secrets")
                assert not may(world.policy, EVE, "create", "pods")
            elif role == "edit":
                assert may(world.policy, EVE, "create", "pods")
                assert may(world.policy, EVE, "get", "secrets")
                assert may(world.policy, EVE, "create", "serviceaccounts/token")
                assert not may(world.policy, EVE, "create", "roles", "rbac.authorization.k8s.io")
        assert may(world.policy, EVE, "create", "roles", "rbac.authorization.k8s.io")
        assert not may(world.policy, EVE, "list", "nodes", namespace="")
        assert not may(world.policy, EVE, "list", "pods", namespace="kube-system")


@virtual
async def test_aggregated_roles_are_written_complete_and_not_again(clock: VirtualClock, control_plane: Any) -> None:
    """The first policy is what the controller would make of it: a new cluster starts without a second write."""
    async with ruled(clock, control_plane) as world:
        await world.plane.engine.settled()
        for name in ("view", "edit", "admin"):
            role = await world.plane.get(ClusterRole, name)
            assert role["rules"]
            stored = world.client.api.store.get(_key(role))
            assert stored is not None
            assert role["metadata"]["resourceVersion"] == str(stored.create_revision)


def _key(role: Tree) -> bytes:
    return f"/registry/clusterroles.rbac.authorization.k8s.io/{role['metadata']['name']}".encode()


@virtual
async def test_an_aggregated_role_follows_the_roles_that_its_selectors_pick(clock: VirtualClock, control_plane: Any) -> None:
    """How a custom kind's rights get into view, edit and admin."""
    label = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    extra = {"apiGroups": ["x.io"], "resources": ["things"], "verbs": ["get"]}
    async with ruled(clock, control_plane) as world:
        await world.bind("admin")
        await world.plane.create(ClusterRole, {"metadata": {"name": "a-things", "labels": label}, "rules": [extra]})

        async def has() -> bool:
            return extra in (await world.plane.get(ClusterRole, "admin"))["rules"]

        await world.plane.until(has, "admin has the rule, through edit and view")
        assert may(world.policy, EVE, "get", "things", "x.io")
        assert (await world.plane.get(ClusterRole, "view"))["rules"][0] == extra  # in the order of the roles' names
        await world.plane.delete(ClusterRole, "a-things")

        async def has_not() -> bool:
            return not await has()

        await world.plane.until(has_not, "it is gone again")


@virtual
async def test_what_was_taken_from_the_first_policy_comes_back_unless_it_is_not_to_be_updated(
    clock: VirtualClock, control_plane: Any
) -> None:
    """Nobody can lock everybody out for good by accident, and who means it can say so."""
    async with ruled(clock, control_plane) as world:
        for name, kept in (("system:discovery", False), ("system:basic-user", True)):
            note = {"metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}} if kept else {}
            await world.plane.patch(ClusterRole, name, {"rules": None, **note})
        await world.plane.patch(ClusterRole, "view", {"metadata": {"labels": {"own": "x"}}})
        await world.plane.delete(ClusterRoleBinding, "cluster-admin")
        fresh = Policy()
        await ensure_policy(world.client, fresh, bootstrap_policy())
        assert (await world.plane.get(ClusterRole, "system:discovery"))["rules"]
        assert not (await world.plane.get(ClusterRole, "system:basic-user")).get("rules")
        assert await world.plane.get(ClusterRoleBinding, "cluster-admin")
        assert fresh(EVE, Access("get", path="/apis")).allowed
        assert fresh(Caller("root", ("system:masters",)), Access("delete", "", "nodes")).allowed


@virtual
async def test_nobody_grants_more_than_they_hold(clock: VirtualClock, control_plane: Any) -> None:
    """Otherwise the right to write roles would be the right to everything."""
    async with ruled(clock, control_plane) as world:
        await world.bind("admin")
        own = world.as_eve()
        await own.create(kind_of(Role), {"metadata": {"name": "reader"}, "rules": PODS}, "default")
        nodes = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]
        with pytest.raises(ForbiddenError) as refused:
            await own.create(kind_of(Role), {"metadata": {"name": "more"}, "rules": nodes}, "default")
        assert str(refused.value) == (
            'roles.rbac.authorization.k8s.io "more" is forbidden: user "eve" (groups=["system:authenticated"]) is attempting to '
            'grant RBAC permissions not currently held:\n{APIGroups:[""], Resources:["nodes"], Verbs:["get"]}'
        )
        assert refused.value.status()["details"] == {"name": "more", "group": "rbac.authorization.k8s.io", "kind": "roles"}
        with pytest.raises(ForbiddenError, match="not currently held"):
            await own.update(kind_of(Role), {"metadata": {"name": "reader"}, "rules": nodes}, "default")
        binding = {"metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": "mallory"}]}
        with pytest.raises(ForbiddenError, match="not currently held"):
            await own.create(
                kind_of(RoleBinding), {**binding, "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}}, "default"
            )
        with pytest.raises(NotFoundError, match=r'roles.rbac.authorization.k8s.io "none" not found'):
            await own.create(kind_of(RoleBinding), {**binding, "roleRef": {"kind": "Role", "name": "none"}}, "default")
        await own.create(kind_of(RoleBinding), {**binding, "roleRef": {"kind": "ClusterRole", "name": "view"}}, "default")


@virtual
async def test_what_changes_no_rules_needs_no_rights(clock: VirtualClock, control_plane: Any) -> None:
    """A label on a powerful role is a label."""
    async with ruled(clock, control_plane) as world:
        await world.bind("admin")
        nodes = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]
        await world.plane.create(Role, {"metadata": {"name": "strong"}, "rules": nodes})
        labelled = {"metadata": {"name": "strong", "labels": {"a": "b"}}, "rules": nodes}
        await world.as_eve().update(kind_of(Role), labelled, "default")
        await world.as_eve().delete(kind_of(Role), "strong", "default")


@virtual
async def test_escalate_and_bind_are_rights_of_their_own(clock: VirtualClock, control_plane: Any) -> None:
    """Who manages roles for others need not hold what they hand out."""
    rules = [{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "clusterroles"], "verbs": ["escalate", "bind"]}]
    nodes = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]
    async with ruled(clock, control_plane) as world:
        await world.plane.create(ClusterRole, {"metadata": {"name": "granter"}, "rules": rules})
        await world.bind("granter")
        await world.as_eve().create(kind_of(Role), {"metadata": {"name": "more"}, "rules": nodes}, "default")
        binding = {
            "metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "User", "name": "mallory"}],
        }  # fmt: skip
        await world.as_eve().create(kind_of(RoleBinding), binding, "default")
        with pytest.raises(ForbiddenError, match="not currently held"):  # bound in one namespace, not everywhere
            await world.as_eve().create(kind_of(ClusterRoleBinding), binding)


@virtual
async def test_only_who_may_everything_writes_an_aggregation_rule(clock: VirtualClock, control_plane: Any) -> None:
    """It would give its author rights that nobody has checked yet."""
    rule = {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}
    async with ruled(clock, control_plane) as world:
        await world.bind("admin", everywhere=True)
        with pytest.raises(ForbiddenError, match="must have cluster-admin privileges to use an aggregationRule"):
            await world.as_eve().create(kind_of(ClusterRole), {"metadata": {"name": "x"}, "aggregationRule": rule})


@pytest.mark.parametrize(
    ("cls", "tree", "wrong"),
    [
        (
            Role,
            {"rules": [{"apiGroups": [""], "resources": ["pods"]}]},
            "rules[0].verbs: Required value: verbs must contain at least one value",
        ),
        (
            Role,
            {"rules": [{"verbs": ["get"], "resources": ["pods"]}]},
            "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
        ),
        (
            Role,
            {"rules": [{"verbs": ["get"], "apiGroups": [""]}]},
            "rules[0].resources: Required value: resource rules must supply at least one resource",
        ),
        (
            Role,
            {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]},
            'rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs',
        ),
        (
            ClusterRole,
            {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"], "apiGroups": [""]}]},
            'rules[0].nonResourceURLs: Invalid value: ["/x"]: rules cannot apply to both regular resources and non-resource URLs',
        ),
        (
            ClusterRole,
            {"aggregationRule": {}},
            (
                "aggregationRule.clusterRoleSelectors: Required value: "
                "at least one clusterRoleSelector required if aggregationRule is non-nil"
            ),
        ),
        (
            RoleBinding,
            {"roleRef": {"kind": "Pod", "name": "x"}},
            'roleRef.kind: Unsupported value: "Pod": supported values: "ClusterRole", "Role"',
        ),
        (
            ClusterRoleBinding,
            {"roleRef": {"kind": "Role", "name": "x"}},
            'roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"',
        ),
        (RoleBinding, {"roleRef": {"kind": "Role"}}, "roleRef.name: Required value"),
        (
            RoleBinding,
            {"roleRef": {"kind": "Role", "name": "x"}, "subjects": [{"kind": "Robot", "name": "x"}]},
            'subjects[0].kind: Unsupported value: "Robot": supported values: "Group", "ServiceAccount", "User"',
        ),
        (
            ClusterRoleBinding,
            {"roleRef": {"kind": "ClusterRole", "name": "x"}, "subjects": [{"kind": "ServiceAccount", "name": "x"}]},
            "subjects[0].namespace: Required value",
        ),
    ],
)
@virtual
async def test_roles_and_bindings_are_refused_in_the_reference_servers_words(
    clock: VirtualClock, control_plane: Any, cls: Any, tree: Tree, wrong: str
) -> None:
    """A binding that binds nobody would be found out much later."""
    async with control_plane(clock) as plane:
        with pytest.raises(InvalidError) as refused:
            await plane.create(cls, {"metadata": {"name": "x"}, **tree})
        assert str(refused.value).endswith(f'"x" is invalid: {wrong}')


@virtual
async def test_a_bindings_role_can_never_be_changed(clock: VirtualClock, control_plane: Any) -> None:
    """Who was bound to one role must not silently be bound to another."""
    async with control_plane(clock) as plane:
        await plane.create(RoleBinding, {"metadata": {"name": "system:b"}, "roleRef": {"kind": "Role", "name": "x"}})
        with pytest.raises(InvalidError, match="cannot change roleRef"):
            await plane.patch(RoleBinding, "system:b", {"roleRef": {"name": "y"}})


@pytest.mark.parametrize(
    ("user", "verb", "resource", "group", "name"),
    [
        ("system:kube-scheduler", "list", "resourceslices", "resource.k8s.io", ""),
        ("system:kube-scheduler", "watch", "volumeattachments", "storage.k8s.io", ""),
        ("system:kube-scheduler", "update", "leases", "coordination.k8s.io", "kube-scheduler"),
        ("system:kube-scheduler", "get", "configmaps", "", "extension-apiserver-authentication"),
        ("system:kube-controller-manager", "create", "serviceaccounts/token", "", "deployment-controller"),
        ("deployment-controller", "update", "deployments/status", "apps", "web"),
        ("generic-garbage-collector", "delete", "things", "example.com", "x"),
        ("clusterrole-aggregation-controller", "escalate", "clusterroles", "rbac.authorization.k8s.io", "admin"),
        ("token-cleaner", "delete", "secrets", "", "x"),
        ("bootstrap-signer", "list", "secrets", "", ""),
    ],
)
@virtual
async def test_the_references_controllers_and_scheduler_may_what_they_need(
    user: str, verb: str, resource: str, group: str, name: str, clock: VirtualClock, control_plane: Any
) -> None:
    """Kube-controller-manager and kube-scheduler take the place of ours without anybody granting them anything."""
    policy = Policy()
    part, _, sub = resource.partition("/")
    access = Access(verb, group, part, sub, "kube-system", name)
    async with control_plane(clock, rbac(policy), controller_roles(policy)):
        caller = Caller(user if user.startswith("system:") else f"system:serviceaccount:kube-system:{user}")
        assert policy(caller, access).allowed
        assert not policy(Caller("system:serviceaccount:kube-system:default"), access).allowed
