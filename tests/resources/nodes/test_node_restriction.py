"""What nodes may write, and in which words they are refused."""

from __future__ import annotations

import copy
from typing import Any, Literal

import pytest

from reconcile.errors import ForbiddenError, NotFoundError, Tree
from reconcile.handling import AdmissionReview
from reconcile.identity import SYSTEM, Caller
from reconcile.kinds import Resource, kind_of
from reconcile.resources.coordination import Lease
from reconcile.resources.core import Node, Pod
from reconcile.resources.nodes import NodeRestriction

N1 = Caller("system:node:n1", ("system:nodes",))
MIRROR = {"kubernetes.io/config.mirror": "h"}
OWNER = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "node-uid", "controller": True}
OBJECTS: dict[tuple[str, str, str, str], Tree] = {
    ("", "nodes", "", "n1"): {"metadata": {"name": "n1", "uid": "node-uid"}},
    ("", "pods", "ns", "p"): {"metadata": {"name": "p", "uid": "1"}, "spec": {"nodeName": "n1"}},
    ("", "pods", "ns", "q"): {"metadata": {"name": "q", "uid": "2"}, "spec": {"nodeName": "n2"}},
}
RESTRICTION = NodeRestriction(lambda *where: OBJECTS.get(where))


def review(
    operation: Literal["CREATE", "UPDATE", "DELETE"], cls: type[Resource], tree: Tree, old: Tree | None = None, part: str = "",
    caller: Caller = N1,
) -> AdmissionReview:  # fmt: skip
    return AdmissionReview(operation, tree, old, part, False, caller, kind=kind_of(cls))


def pod(node: str = "n1", meta: Tree | None = None, **spec: Any) -> Tree:
    return {"metadata": {"name": "p", "namespace": "ns", "uid": "1", **(meta or {})}, "spec": {"nodeName": node, **spec}}


def mirror(owner: Tree | None = None, **spec: Any) -> Tree:
    return pod(meta={"annotations": MIRROR, "ownerReferences": [owner or OWNER]}, **spec)


def node(name: str = "n1", labels: dict[str, str] | None = None, **spec: Any) -> Tree:
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": spec}


def lease(name: str = "n1", namespace: str = "kube-node-lease") -> Tree:
    return {"metadata": {"name": name, "namespace": namespace}}


@pytest.mark.parametrize(
    "given",
    [
        review("CREATE", Pod, mirror()),
        review("UPDATE", Pod, pod(), pod(), "status"),
        review("DELETE", Pod, pod(), pod()),
        review("CREATE", Node, node(labels={"kubernetes.io/hostname": "n1", "node.kubernetes.io/x": "y", "mine": "z"})),
        review("UPDATE", Node, node(labels={"role": "b"}), node(labels={"role": "a"})),
        review("UPDATE", Node, node(taints=[{"key": "a"}]), node(taints=[{"key": "a"}]), "status"),
        review("CREATE", Lease, lease()), review("UPDATE", Lease, lease(), lease()),
        # Others are no business of this.
        review("CREATE", Pod, pod("n2"), caller=SYSTEM), review("UPDATE", Node, node("n2"), node("n2"), caller=SYSTEM),
    ],
    ids=lambda given: f"{given.operation} {given.kind.plural}/{given.subresource} by {given.user}",
)  # fmt: skip
def test_a_node_writes_what_is_its_own(given: AdmissionReview) -> None:
    """A kubelet that could not report would have its Pods taken away."""
    before = copy.deepcopy(given.tree)
    RESTRICTION.admit(given)
    assert given.tree == before


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (
            review("CREATE", Pod, pod()),
            (
                'pods "p" is forbidden: pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create '
                "mirror pods"
            ),
        ),
        (
            review("CREATE", Pod, pod("n2", {"annotations": MIRROR})),
            'pods "p" is forbidden: node "n1" can only create pods with spec.nodeName set to itself',
        ),
        (
            review("CREATE", Pod, mirror({**OWNER, "name": "n2"})),
            'pods "p" is forbidden: node "n1" can only create pods with an owner reference set to itself',
        ),
        (
            review("CREATE", Pod, mirror({**OWNER, "uid": "older"})),
            'pods "p" is forbidden: node n1 UID mismatch: expected older got node-uid',
        ),
        (
            review("CREATE", Pod, mirror(volumes=[{"name": "v", "secret": {"secretName": "x"}}])),
            'pods "p" is forbidden: node "n1" can not create pods that reference secrets',
        ),
        (
            review("UPDATE", Pod, pod("n2"), pod("n2"), "status"),
            'pods "p" is forbidden: node "n1" can only update pod status for pods with spec.nodeName set to itself',
        ),
        (
            review("UPDATE", Pod, pod(meta={"labels": {"a": "b"}}), pod(), "status"),
            'pods "p" is forbidden: node "n1" cannot update labels through pod status',
        ),
        (
            review("DELETE", Pod, pod("n2"), pod("n2")),
            'pods "p" is forbidden: node "n1" can only delete pods with spec.nodeName set to itself',
        ),
        (
            review("UPDATE", Node, node("n2"), node("n2"), "status"),
            'nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2"',
        ),
        (
            review("UPDATE", Node, node(), node(taints=[{"key": "a", "effect": "NoSchedule"}])),
            'nodes "n1" is forbidden: node "n1" is not allowed to modify taints',
        ),
        (
            review("CREATE", Node, node(labels={"node-restriction.kubernetes.io/x": "y", "k8s.io/role": "z"})),
            (
                'nodes "n1" is forbidden: node "n1" is not allowed to set the following labels: k8s.io/role, '
                "node-restriction.kubernetes.io/x"
            ),
        ),
        (
            review("UPDATE", Node, node(labels={}), node(labels={"a.kubernetes.io/x": "y"})),
            'nodes "n1" is forbidden: is not allowed to modify labels: a.kubernetes.io/x',
        ),
        (
            review("CREATE", Lease, lease("n2")),
            'leases.coordination.k8s.io "n2" is forbidden: can only access node lease with the same name as the requesting node',
        ),
        (
            review("CREATE", Lease, lease(namespace="ns")),
            'leases.coordination.k8s.io "n1" is forbidden: can only access leases in the "kube-node-lease" system namespace',
        ),
        (
            review("CREATE", Lease, lease(), caller=Caller("system:node:", ("system:nodes",))),
            'leases.coordination.k8s.io "n1" is forbidden: could not determine node from user "system:node:"',
        ),
    ],
)
def test_a_node_writes_nothing_of_others_and_is_told_why(given: AdmissionReview, why: str) -> None:
    """Who has a node's key could else draw the work of the whole cluster to it."""
    with pytest.raises(ForbiddenError) as refused:
        RESTRICTION.admit(given)
    assert refused.value.message == why
    assert refused.value.details["kind"] == given.kind.plural


def test_a_claims_status_is_told_and_nothing_else_of_it() -> None:
    """A node grows file systems, and says so."""
    claim = {"metadata": {"name": "c", "namespace": "ns", "resourceVersion": "1"}, "spec": {"x": 1}, "status": {"phase": "Bound"}}

    class Claim:
        plural, group = "persistentvolumeclaims", ""

    def write(tree: Tree, part: str) -> None:
        RESTRICTION.admit(AdmissionReview("UPDATE", tree, claim, part, False, N1, kind=Claim))  # type: ignore[arg-type]  # enough

    grown = {"phase": "Bound", "capacity": {"storage": "2Gi"}}
    write({**claim, "metadata": {"name": "c", "namespace": "ns"}, "status": grown}, "status")
    with pytest.raises(ForbiddenError, match="not allowed to update fields other than status"):
        write({**claim, "status": {"phase": "Lost"}}, "status")
    with pytest.raises(ForbiddenError, match="may only update PVC status"):
        write(claim, "")


def test_tokens_and_evictions_are_for_pods_of_the_node() -> None:
    """They pass no admission, so they are checked where they are answered."""
    account = {"metadata": {"name": "sa", "namespace": "ns"}}

    def ask(reference: dict[str, str], caller: Caller = N1) -> None:
        question = {"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", **reference} if reference else None}}
        RESTRICTION.check_token(account, question, caller)

    ask({"name": "p", "uid": "1"})
    ask({}, SYSTEM)
    for reference, why in (
        ({}, "node requested token not bound to a pod"),
        ({"kind": "Secret", "name": "p", "uid": "1"}, "node requested token not bound to a pod"),
        ({"name": "p"}, "node requested token with a pod binding without a uid"),
        ({"name": "p", "uid": "9"}, "the UID in the bound object reference (9) does not match the UID in record"),
        ({"name": "q", "uid": "2"}, "node requested token bound to a pod scheduled on a different node"),
    ):
        with pytest.raises(ForbiddenError) as refused:
            ask(reference)
        assert refused.value.message.startswith(f'serviceaccounts "sa" is forbidden: {why}')
    with pytest.raises(NotFoundError, match='pods "z" not found'):
        ask({"name": "z", "uid": "1"})
    RESTRICTION.check_eviction(pod(), {}, N1)
    RESTRICTION.check_eviction(pod("n2"), {}, SYSTEM)
    with pytest.raises(ForbiddenError, match="node n1 can only evict pods with spec"):
        RESTRICTION.check_eviction(pod("n2"), {}, N1)
