"""What nodes may ask for, and in which words they are refused."""

from __future__ import annotations

import pytest

from reconcile.errors import Tree
from reconcile.identity import Access, Caller, Decision
from reconcile.resources.nodes import NodeAuthorizer, NodeGraph
from reconcile.resources.rbac.bootstrap import node_rules

N1 = Caller("system:node:n1", ("system:nodes", "system:authenticated"))
LEASES, STORAGE = "coordination.k8s.io", "storage.k8s.io"
OBJECTS: dict[tuple[str, str, str, str], Tree] = {
    (STORAGE, "volumeattachments", "", "va1"): {"spec": {"nodeName": "n1"}},
    (STORAGE, "volumeattachments", "", "va2"): {"spec": {"nodeName": "n2"}},
}
NO_RELATION = "no relationship found between node 'n1' and this object"
TOKENS_ONLY = "can only create token subresource of serviceaccount"


def nobody(_caller: Caller, _access: Access) -> Decision:
    return Decision(False)


def authorizer(others: object = nobody) -> NodeAuthorizer:
    graph = NodeGraph(lambda *_: None)
    spec: Tree = {
        "nodeName": "n1", "serviceAccountName": "sa",
        "volumes": [
            {"name": "s", "secret": {"secretName": "mine"}}, {"name": "c", "persistentVolumeClaim": {"claimName": "mine"}}
        ],
    }  # fmt: skip
    graph.saw({"metadata": {"namespace": "ns", "name": "p", "uid": "u"}, "spec": spec}, gone=False)
    return NodeAuthorizer(graph, lambda *where: OBJECTS.get(where), node_rules(), others)  # type: ignore[arg-type]  # any of them


def access(verb: str, what: str, name: str = "", namespace: str = "ns", group: str = "", fields: str = "") -> Access:
    resource, _, subresource = what.partition("/")
    return Access(verb, group, resource, subresource, namespace, name, fields=fields)


@pytest.mark.parametrize(
    "wanted",
    [
        access("get", "secrets", "mine"),
        access("watch", "secrets", "mine", fields="metadata.name=mine"),
        access("get", "persistentvolumeclaims", "mine"),
        access("patch", "persistentvolumeclaims/status", "mine"),
        access("create", "serviceaccounts/token", "sa"),
        access("get", "nodes", "n1", ""), access("watch", "nodes", "n1", ""),
        access("create", "nodes", "", ""), access("patch", "nodes", "n1", ""), access("patch", "nodes/status", "n1", ""),
        access("list", "pods", "", "", fields="spec.nodeName=n1"),
        access("watch", "pods", "", "", fields="status.phase!=Failed,spec.nodeName=n1"),
        access("get", "pods", "p"), access("watch", "pods", "p"),
        access("create", "pods"), access("delete", "pods", "p"), access("patch", "pods/status", "p"),
        access("create", "pods/eviction", "p"),
        access("get", "leases", "n1", "kube-node-lease", LEASES), access("create", "leases", "", "kube-node-lease", LEASES),
        access("get", "csinodes", "n1", "", STORAGE), access("get", "volumeattachments", "va1", "", STORAGE),
        # By the rules of all nodes.
        access("list", "services"), access("create", "events"), access("watch", "runtimeclasses", "", "", "node.k8s.io"),
        access("create", "certificatesigningrequests", "", "", "certificates.k8s.io"),
    ],
    ids=lambda wanted: f"{wanted.verb} {wanted.part} {wanted.name}",
)  # fmt: skip
def test_a_node_gets_what_its_pods_need(wanted: Access) -> None:
    """A kubelet that could not would start nothing."""
    assert authorizer()(N1, wanted) == Decision(True)


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (access("get", "secrets", "others"), NO_RELATION),
        (access("get", "secrets", "mine", "kube-system"), NO_RELATION),
        (access("list", "secrets"), "No Object name found"),
        (access("list", "secrets", "", ""), "can only read namespaced object of this type"),
        (access("update", "secrets", "mine"), "can only read resources of this type"),
        (access("delete", "configmaps", "x"), "can only read resources of this type"),
        (access("list", "persistentvolumeclaims"), "can only get individual resources of this type"),
        (access("get", "persistentvolumeclaims/status", "mine"), "can only get/update/patch this type"),
        (access("get", "persistentvolumes", "pv", ""), NO_RELATION),
        (access("get", "volumeattachments", "va2", "", STORAGE), NO_RELATION),
        (access("get", "serviceaccounts", "sa"), "can only create tokens for individual service accounts"),
        (access("create", "serviceaccounts/x", "sa"), TOKENS_ONLY),
        (access("create", "serviceaccounts/token", "boss"), NO_RELATION),
        (access("list", "nodes", "", ""), "node 'n1' cannot read all nodes, only its own Node object"),
        (access("get", "nodes", "n2", ""), "node 'n1' cannot read 'n2', only its own Node object"),
        (access("delete", "nodes", "n1", ""), ""),
        (access("list", "pods", "", ""), "can only list/watch pods with spec.nodeName field selector"),
        (
            access("list", "pods", "", "", fields="spec.nodeName=n2"),
            "can only list/watch pods with spec.nodeName field selector",
        ),
        (access("get", "pods", "others"), NO_RELATION),
        (access("update", "pods", "p"), ""),
        (access("create", "pods/exec", "p"), ""),
        (access("deletecollection", "pods", fields="spec.nodeName=n1"), ""),
        (access("list", "leases", "", "kube-node-lease", LEASES), "can only get, create, update, patch, or delete a node lease"),
        (access("get", "leases", "n1", "ns", LEASES), 'can only access leases in the "kube-node-lease" system namespace'),
        (
            access("update", "leases", "n2", "kube-node-lease", LEASES),
            "can only access node lease with the same name as the requesting node",
        ),
        (
            access("get", "csinodes", "n2", "", STORAGE),
            "can only access CSINode with the same name as the requesting node",
        ),
        (access("list", "deployments", "", "ns", "apps"), ""),
    ],
    ids=lambda given: f"{given.verb} {given.part} {given.name}" if isinstance(given, Access) else "",
)
def test_a_node_gets_nothing_else_and_is_told_why(wanted: Access, why: str) -> None:
    """One machine that is broken into must not be the whole cluster's end."""
    assert authorizer()(N1, wanted) == Decision(False, why)


def test_who_is_no_node_is_the_business_of_the_others() -> None:
    """The group alone, or the name alone, makes no node; and a node that names itself badly is none in particular."""
    asked = []

    def others(caller: Caller, _access: Access) -> Decision:
        asked.append(caller.user)
        return Decision(caller.user == "bob", "RBAC: says no")

    decide = authorizer(others)
    wanted = access("get", "secrets", "mine")
    assert decide(Caller("bob", ("system:nodes",)), wanted).allowed
    assert not decide(Caller("system:node:n1", ()), wanted).allowed
    found = decide(Caller("system:node:", ("system:nodes",)), wanted)
    assert found == Decision(False, 'unknown node for user "system:node:"\nRBAC: says no')
    assert asked == ["bob", "system:node:n1", "system:node:"]


def test_what_a_policy_grants_to_a_node_it_may_besides() -> None:
    """As on a real cluster, where both are asked."""
    decide = authorizer(lambda *_: Decision(True, "RBAC: allowed"))
    assert decide(N1, access("list", "deployments", "", "ns", "apps")) == Decision(True, "RBAC: allowed")
