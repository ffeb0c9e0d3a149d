"""The node authorizer: what a node may ask for, by what its Pods refer to; everything else by the rules of all nodes.

What is written is looked at once more by `NodeRestriction`, which knows the object.

Source: K/plugin/pkg/auth/authorizer/node/node_authorizer.go
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from reconcile.errors import BadRequestError, Tree
from reconcile.identity import Access, Authorizer, Caller, Decision
from reconcile.resources.rbac.rules import CompiledRules
from reconcile.selectors import parse_fields

from .graph import Look, NodeGraph
from .identity import node_of

LEASES_NAMESPACE = "kube-node-lease"
_YES = Decision(True)
_NO = Decision(False)
_OWN_VERBS = ("get", "create", "update", "patch", "delete")


class NodeAuthorizer:
    """Decides for nodes; asks `others` where it does not allow, and for everybody else."""

    def __init__(self, graph: NodeGraph, look: Look, rules: Iterable[Tree], others: Authorizer) -> None:
        self._graph = graph
        self._look = look
        self._rules = CompiledRules(rules)
        self._others = others
        self._deciders: dict[tuple[str, str], Callable[[str, Access], Decision]] = {
            ("", "secrets"): self._read, ("", "configmaps"): self._read, ("", "persistentvolumeclaims"): self._claim,
            ("", "persistentvolumes"): self._get, ("resource.k8s.io", "resourceclaims"): self._get,
            ("storage.k8s.io", "volumeattachments"): self._attachment, ("", "serviceaccounts"): self._token,
            ("coordination.k8s.io", "leases"): self._lease, ("storage.k8s.io", "csinodes"): self._csi_node,
            ("", "nodes"): self._node, ("", "pods"): self._pod,
        }  # fmt: skip

    def __call__(self, caller: Caller, access: Access) -> Decision:
        """Whether `caller` may."""
        node = node_of(caller)
        if node is None:
            return self._others(caller, access)
        if node:
            decide = self._deciders.get((access.group, access.resource), self._static)
            found = decide(node, access)
        else:
            found = _no(f'unknown node for user "{caller.user}"')
        if found.allowed:
            return found
        other = self._others(caller, access)
        if other.allowed:
            return other
        return _no("\n".join(reason for reason in (found.reason, other.reason) if reason))

    def _static(self, _node: str, access: Access) -> Decision:
        return Decision(self._rules.allow(access))

    def _related(self, node: str, access: Access) -> Decision:
        if not access.name:
            return _no("No Object name found")
        if self._graph.leads(node, access.resource, access.namespace, access.name):
            return _YES
        return _no(f"no relationship found between node '{node}' and this object")

    def _read(self, node: str, access: Access) -> Decision:
        if access.verb not in ("get", "list", "watch"):
            return _no("can only read resources of this type")
        if access.subresource:
            return _no("cannot read subresource")
        if not access.namespace:
            return _no("can only read namespaced object of this type")
        return self._related(node, access)

    def _get(self, node: str, access: Access) -> Decision:
        if access.verb != "get":
            return _no("can only get individual resources of this type")
        if access.subresource:
            return _no("cannot get subresource")
        return self._related(node, access)

    def _claim(self, node: str, access: Access) -> Decision:
        if access.subresource != "status":
            return self._get(node, access)
        if access.verb not in ("update", "patch"):
            return _no("can only get/update/patch this type")
        return self._related(node, access)

    def _attachment(self, node: str, access: Access) -> Decision:
        if access.verb != "get":
            return _no("can only get individual resources of this type")
        found = self._look(access.group, access.resource, "", access.name)
        if found is not None and (found.get("spec") or {}).get("nodeName") == node:
            return _YES
        return _no(f"no relationship found between node '{node}' and this object")

    def _token(self, node: str, access: Access) -> Decision:
        if access.verb != "create" or not access.name:
            return _no("can only create tokens for individual service accounts")
        if access.subresource != "token":
            return _no("can only create token subresource of serviceaccount")
        return self._related(node, access)

    def _lease(self, node: str, access: Access) -> Decision:
        if access.verb not in _OWN_VERBS:
            return _no("can only get, create, update, patch, or delete a node lease")
        if access.namespace != LEASES_NAMESPACE:
            return _no(f'can only access leases in the "{LEASES_NAMESPACE}" system namespace')
        if access.verb != "create" and access.name != node:
            return _no("can only access node lease with the same name as the requesting node")
        return _YES

    def _csi_node(self, node: str, access: Access) -> Decision:
        if access.verb not in _OWN_VERBS:
            return _no("can only get, create, update, patch, or delete a CSINode")
        if access.subresource:
            return _no("cannot authorize CSINode subresources")
        if access.verb != "create" and access.name != node:
            return _no("can only access CSINode with the same name as the requesting node")
        return _YES

    def _node(self, node: str, access: Access) -> Decision:
        writes = ("update", "patch") if access.subresource == "status" else ("create", "update", "patch")
        if access.subresource in ("", "status") and access.verb in writes:
            return _YES
        if access.subresource or access.verb not in ("get", "list", "watch"):
            return _NO
        if access.name == node:
            return _YES
        if not access.name:
            return _no(f"node '{node}' cannot read all nodes, only its own Node object")
        return _no(f"node '{node}' cannot read '{access.name}', only its own Node object")

    def _pod(self, node: str, access: Access) -> Decision:
        match access.subresource, access.verb:
            case "", "get":
                return self._related(node, access)
            case "", "list" | "watch":
                if _selected_node(access) == node:
                    return _YES
                if access.name:
                    return self._related(node, access)
                return _no("can only list/watch pods with spec.nodeName field selector")
            case ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create"):
                return _YES
        return _NO


def _selected_node(access: Access) -> str | None:
    try:
        return parse_fields(access.fields).exact("spec.nodeName") if access.fields else None
    except BadRequestError:
        return None  # who may, will be told what is wrong with it


def _no(reason: str) -> Decision:
    return Decision(False, reason)
