"""NodeRestriction: what a node writes is its own Node, its Lease, the status of its Pods, mirrors, and tokens for its Pods.

Source: K/plugin/pkg/admission/noderestriction/admission.go
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from reconcile.errors import ForbiddenError, NotFoundError, Tree
from reconcile.handling import AdmissionReview
from reconcile.identity import Caller
from reconcile.kinds import Kind, kind_of
from reconcile.resources.core import Node, Pod, ServiceAccount

from .authorizer import LEASES_NAMESPACE
from .graph import MIRROR, Look, references_of
from .identity import node_of

_RESTRICTED = "node-restriction.kubernetes.io"
_OWN_LABELS = frozenset({
    "kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch", "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone", "topology.kubernetes.io/region", "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type", "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region",
})  # fmt: skip
_OWN_PREFIXES = ("kubelet.kubernetes.io", "node.kubernetes.io")
_NOT_OTHERS_LEASE = "can only access node lease with the same name as the requesting node"
_NOT_OTHERS_CSI = "can only access CSINode with the same name as the requesting node"


@attrs.frozen
class NodeRestriction:
    """Looks at what nodes write. `admit` is a validator for Pods, Nodes, claims, Leases and CSINodes."""

    look: Look

    def admit(self, review: AdmissionReview) -> None:
        """Refuse what is not the writing node's.

        Raises:
            ForbiddenError: it is somebody else's; the message says whose it would have to be.
        """
        node = node_of(review.caller)
        if node is None:
            return
        if not node:
            raise _refused(review.kind, _name(review), f'could not determine node from user "{review.user}"')
        for why in self._faults(node, review):
            raise _refused(review.kind, _name(review), why)

    def _faults(self, node: str, review: AdmissionReview) -> Iterator[str]:
        match review.kind.plural:
            case "pods":
                yield from self._pod_faults(node, review)
            case "nodes":
                yield from _node_faults(node, review)
            case "persistentvolumeclaims":
                yield from _claim_faults(node, review)
            case "leases":
                if review.tree["metadata"].get("namespace") != LEASES_NAMESPACE:
                    yield f'can only access leases in the "{LEASES_NAMESPACE}" system namespace'
                if _name(review) != node:
                    yield _NOT_OTHERS_LEASE
            case "csinodes":
                if _name(review) != node:
                    yield _NOT_OTHERS_CSI

    # Pods

    def _pod_faults(self, node: str, review: AdmissionReview) -> Iterator[str]:
        pod, old = review.tree, review.old
        if review.subresource == "status" and old is not None:
            if _node_of_pod(old) != node:
                yield f'node "{node}" can only update pod status for pods with spec.nodeName set to itself'  # noqa: S608 - no SQL
            if (old["metadata"].get("labels") or {}) != (pod["metadata"].get("labels") or {}):
                yield f'node "{node}" cannot update labels through pod status'
            if _claim_statuses(old) != _claim_statuses(pod):
                yield f'node "{node}" cannot update resource claim statues'  # the reference's spelling
        elif review.subresource:
            yield f"unexpected pod subresource \"{review.subresource}\", only 'status' and 'eviction' are allowed"
        elif review.operation == "CREATE":
            yield from self._mirror_faults(node, pod)
        elif review.operation == "DELETE":
            if _node_of_pod(pod) != node:
                yield f'node "{node}" can only delete pods with spec.nodeName set to itself'
        else:
            yield f'unexpected operation "{review.operation}", node "{node}" can only create and delete mirror pods'

    def _mirror_faults(self, node: str, pod: Tree) -> Iterator[str]:
        """A new Pod may only show what the node runs without having been told to, and must need nothing of the cluster."""
        meta = pod["metadata"]
        if MIRROR not in (meta.get("annotations") or {}):
            yield f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods'
        if _node_of_pod(pod) != node:
            yield f'node "{node}" can only create pods with spec.nodeName set to itself'
        owners = meta.get("ownerReferences") or []
        if len(owners) > 1:
            yield f'node "{node}" can only create pods with a single owner reference set to itself'
        owner = owners[0] if owners else {}
        if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
            yield f'node "{node}" can only create pods with an owner reference set to itself'
        if not owner.get("controller"):
            yield f'node "{node}" can only create pods with a controller owner reference set to itself'
        if owner.get("blockOwnerDeletion"):
            yield f'node "{node}" must not set blockOwnerDeletion on an owner reference'
        found = self.look("", "nodes", "", node)
        if found is None:
            raise _absent(kind_of(Node), node)
        if found["metadata"]["uid"] != owner.get("uid"):
            yield f"node {node} UID mismatch: expected {owner.get('uid') or ''} got {found['metadata']['uid']}"
        referred = {resource for resource, _, _ in references_of({**pod, "metadata": {**meta, "annotations": {}}})}
        if "serviceaccounts" in referred:
            yield f'node "{node}" can not create pods that reference a service account'
        for resource in ("secrets", "configmaps", "persistentvolumeclaims"):
            if resource in referred:
                yield f'node "{node}" can not create pods that reference {resource}'

    # What is asked about an object, and passes no admission

    def check_eviction(self, pod: Tree, _eviction: Tree, caller: Caller) -> None:
        """Refuse to evict Pods of other nodes. Raises ForbiddenError."""
        node = node_of(caller)
        if node is not None and _node_of_pod(pod) != node:
            why = f"node {node} can only evict pods with spec.nodeName set to itself"
            raise _refused(kind_of(Pod), pod["metadata"]["name"], why)

    def check_token(self, account: Tree, request: Tree, caller: Caller) -> None:
        """Refuse tokens that are not bound to a Pod of the asking node. Raises ForbiddenError, NotFoundError."""
        node = node_of(caller)
        if node is None:
            return
        meta = account["metadata"]
        reference = (request.get("spec") or {}).get("boundObjectRef") or {}
        why, name = "", reference.get("name") or ""
        if (reference.get("apiVersion"), reference.get("kind")) != ("v1", "Pod") or not name:
            why = "node requested token not bound to a pod"
        elif not reference.get("uid"):
            why = "node requested token with a pod binding without a uid"
        else:
            pod = self.look("", "pods", meta["namespace"], name)
            if pod is None:
                raise _absent(kind_of(Pod), name)
            if pod["metadata"]["uid"] != reference["uid"]:
                why = (
                    f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
                    f"The object might have been deleted and then recreated"
                )
            elif _node_of_pod(pod) != node:
                why = "node requested token bound to a pod scheduled on a different node"
        if why:
            raise _refused(kind_of(ServiceAccount), meta["name"], why)


def _node_faults(node: str, review: AdmissionReview) -> Iterator[str]:
    name, new, old = _name(review), review.tree, review.old
    if name != node:
        yield f'node "{node}" is not allowed to modify node "{name}"'
    if review.operation == "DELETE":
        return
    if old is not None and (_spec(new).get("taints") or []) != (_spec(old).get("taints") or []):
        yield f'node "{node}" is not allowed to modify taints'
    before = (old["metadata"].get("labels") or {}) if old is not None else {}
    labels = new["metadata"].get("labels") or {}
    changed = {key for key in {*labels, *before} if labels.get(key) != before.get(key)}
    forbidden = ", ".join(sorted(key for key in changed if _is_others_label(key)))
    if forbidden and old is None:
        yield f'node "{node}" is not allowed to set the following labels: {forbidden}'
    elif forbidden:
        yield f"is not allowed to modify labels: {forbidden}"


def _is_others_label(key: str) -> bool:
    """Whether a label is Kubernetes' own, and none of those by which kubelets describe their nodes."""
    prefix, slash, _ = key.partition("/")
    if not slash:
        return False
    if _below(prefix, _RESTRICTED):
        return True
    ours = key in _OWN_LABELS or any(_below(prefix, own) for own in _OWN_PREFIXES)
    return (_below(prefix, "kubernetes.io") or _below(prefix, "k8s.io")) and not ours


def _below(prefix: str, domain: str) -> bool:
    return prefix == domain or prefix.endswith(f".{domain}")


def _claim_faults(node: str, review: AdmissionReview) -> Iterator[str]:
    if review.subresource != "status" or review.old is None:
        yield "may only update PVC status"
    elif _without_progress(review.tree) != _without_progress(review.old):
        yield f'node "{node}" is not allowed to update fields other than status.capacity and status.conditions'


def _without_progress(claim: Tree) -> Tree:
    """A claim without what a node may say about it."""
    progress = ("capacity", "conditions", "allocatedResourceStatuses", "allocatedResources")
    status = {key: value for key, value in (claim.get("status") or {}).items() if key not in progress}
    meta = {key: value for key, value in claim["metadata"].items() if key not in ("resourceVersion", "managedFields")}
    return {**claim, "metadata": meta, "status": status}


def _claim_statuses(pod: Tree) -> object:
    return (pod.get("status") or {}).get("resourceClaimStatuses") or []


def _node_of_pod(pod: Tree) -> str:
    return _spec(pod).get("nodeName") or ""


def _spec(tree: Tree) -> Tree:
    return tree.get("spec") or {}


def _name(review: AdmissionReview) -> str:
    return review.tree["metadata"].get("name") or ""


def _refused(kind: Kind, name: str, why: str) -> ForbiddenError:
    group = {"group": kind.group} if kind.group else {}
    qualified = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
    return ForbiddenError(
        f'{qualified} "{name}" is forbidden: {why}', details={"name": name, **group, "kind": kind.plural}
    )  # fmt: skip


def _absent(kind: Kind, name: str) -> NotFoundError:
    return NotFoundError(f'{kind.plural} "{name}" not found', details={"name": name, "kind": kind.plural})
