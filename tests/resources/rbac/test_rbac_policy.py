"""The policy as an index: who may, why, and how it follows the objects."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.identity import Access, Caller
from reconcile.kinds import Resource, kind_of
from reconcile.resources.rbac import ClusterRole, ClusterRoleBinding, Role, RoleBinding
from reconcile.resources.rbac.policy import Policy

Tree = dict[str, Any]
BOB = Caller("bob", ("devs", "system:authenticated"))
ROBOT = Caller("system:serviceaccount:ns1:robot", ("system:serviceaccounts",))
READ = [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]


def named(name: str, namespace: str = "", **parts: Any) -> Tree:
    return {"metadata": {"name": name, **({"namespace": namespace} if namespace else {})}, **parts}


def bound(kind: str, role: str, *subjects: tuple[str, str], account_namespace: str = "") -> Tree:
    made = [{"kind": k, "name": n, **({"namespace": account_namespace} if account_namespace else {})} for k, n in subjects]
    return {"roleRef": {"kind": kind, "name": role}, "subjects": made}


def policy_of(*objects: tuple[type[Resource], Tree]) -> Policy:
    policy = Policy()
    for cls, tree in objects:
        policy.saw(kind_of(cls), tree, gone=False)
    return policy


def get(namespace: str = "ns1") -> Access:
    return Access("get", "", "pods", "", namespace, "x")


def test_a_role_binding_reaches_no_further_than_its_namespace() -> None:
    """The same ClusterRole bound in one namespace is nothing in another."""
    binding = named("b", "ns1", **bound("ClusterRole", "reader", ("User", "bob")))
    policy = policy_of((ClusterRole, named("reader", rules=READ)), (RoleBinding, binding))
    found = policy(BOB, get("ns1"))
    assert found.allowed
    assert found.reason == 'RBAC: allowed by RoleBinding "b/ns1" of ClusterRole "reader" to User "bob"'
    assert not policy(BOB, get("ns2")).allowed
    assert not policy(BOB, get("")).allowed


def test_a_cluster_role_binding_reaches_everywhere() -> None:
    """And a group's members are all reached."""
    binding = named("b", **bound("ClusterRole", "reader", ("Group", "devs")))
    policy = policy_of((ClusterRole, named("reader", rules=READ)), (ClusterRoleBinding, binding))
    for namespace in ("", "ns1", "ns2"):
        assert (
            policy(BOB, get(namespace)).reason
            == 'RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "reader" to Group "devs"'
        )
    assert not policy(Caller("eve", ("system:authenticated",)), get()).allowed


@pytest.mark.parametrize(("account_namespace", "allowed"), [("ns1", True), ("", True), ("ns2", False)])
def test_a_service_account_without_a_namespace_is_of_the_bindings_own(account_namespace: str, allowed: bool) -> None:
    """As on the reference server; ours would otherwise bind nobody."""
    binding = bound("Role", "reader", ("ServiceAccount", "robot"), account_namespace=account_namespace)
    policy = policy_of((Role, named("reader", "ns1", rules=READ)), (RoleBinding, named("b", "ns1", **binding)))
    assert policy(ROBOT, get()).allowed is allowed


def test_a_role_of_the_same_name_elsewhere_is_another_role() -> None:
    """A binding to a Role means the one beside it."""
    policy = policy_of(
        (Role, named("reader", "ns2", rules=READ)), (RoleBinding, named("b", "ns1", **bound("Role", "reader", ("User", "bob"))))
    )  # fmt: skip
    found = policy(BOB, get())
    assert (found.allowed, found.reason) == (False, 'RBAC: role.rbac.authorization.k8s.io "reader" not found')


def test_the_policy_follows_what_happens_to_roles_and_bindings() -> None:
    """A right that was taken away must be gone with the event that says so."""
    role, binding = named("reader", rules=READ), named("b", **bound("ClusterRole", "reader", ("User", "bob")))
    policy = policy_of((ClusterRoleBinding, binding))
    assert not policy(BOB, get()).allowed
    policy.saw(kind_of(ClusterRole), role, gone=False)
    assert policy(BOB, get()).allowed
    policy.saw(kind_of(ClusterRole), {**role, "rules": []}, gone=False)
    assert not policy(BOB, get()).allowed
    policy.saw(kind_of(ClusterRole), role, gone=False)
    policy.saw(kind_of(ClusterRoleBinding), {**binding, "subjects": [{"kind": "User", "name": "eve"}]}, gone=False)
    assert not policy(BOB, get()).allowed
    assert policy(Caller("eve"), get()).allowed
    policy.saw(kind_of(ClusterRoleBinding), binding, gone=True)
    assert not policy(Caller("eve"), get()).allowed
    assert not policy.rules_of(BOB, "ns1")[0]


def test_the_rules_of_a_caller_are_those_of_all_its_bindings() -> None:
    """What `auth can-i --list` shows, and what may be granted on."""
    policy = policy_of(
        (ClusterRole, named("reader", rules=READ)), (Role, named("own", "ns1", rules=[{"verbs": ["*"]}])),
        (ClusterRoleBinding, named("a", **bound("ClusterRole", "reader", ("Group", "devs")))),
        (RoleBinding, named("b", "ns1", **bound("Role", "own", ("User", "bob")))),
        (RoleBinding, named("c", "ns1", **bound("Role", "none", ("User", "bob")))),
    )  # fmt: skip
    assert policy.rules_of(BOB, "ns1") == ([*READ, {"verbs": ["*"]}], ['role.rbac.authorization.k8s.io "none" not found'])
    assert policy.rules_of(BOB, "ns2") == (READ, [])
    rules, _ = policy.rules_of(Caller("root", ("system:masters",)), "ns2")
    assert rules == [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]}]
