"""A ReplicaSet's status, counted from its Pods.

Source: k8s.io/kubernetes/pkg/controller/replicaset/replica_set_utils.go
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from reconcile.clock import timestamp
from reconcile.errors import Tree

from .pod_state import available_at_s, is_active, is_terminating

REPLICA_FAILURE = "ReplicaFailure"


@attrs.frozen
class Failure:
    """Why Pods could not be created or deleted: FailedCreate or FailedDelete, and the error's words."""

    reason: str
    message: str


@attrs.frozen
class Counted:
    """A status, and the next instant at which a Pod becomes available by waiting alone (None: no such Pod)."""

    status: Tree
    next_s: float | None


def counted(replica_set: Tree, pods: Iterable[Tree], failure: Failure | None, now_s: float) -> Counted:
    """Count the Pods that the ReplicaSet controls (finished and terminating ones too). O(pods)."""
    spec = replica_set["spec"]
    wanted = list((((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}).items())
    min_ready_s = spec.get("minReadySeconds", 0)
    replicas = labeled = ready = available = terminating = 0
    next_s: float | None = None
    for pod in pods:
        if not is_active(pod):
            terminating += is_terminating(pod)
            continue
        replicas += 1
        labels = pod["metadata"].get("labels") or {}
        labeled += all(labels.get(key) == value for key, value in wanted)
        at_s = available_at_s(pod, min_ready_s)
        if at_s is None:
            continue
        ready += 1
        if at_s <= now_s:
            available += 1
        else:
            next_s = at_s if next_s is None else min(next_s, at_s)
    before = replica_set.get("status") or {}
    status: Tree = {
        "replicas": replicas, "fullyLabeledReplicas": labeled, "readyReplicas": ready, "availableReplicas": available,
        "terminatingReplicas": terminating, "observedGeneration": replica_set["metadata"].get("generation", 0),
        "conditions": _conditions(before.get("conditions") or [], failure, now_s),
    }  # fmt: skip
    return Counted(status, next_s)


def _conditions(before: list[Tree], failure: Failure | None, now_s: float) -> list[Tree]:
    standing = next((c for c in before if c["type"] == REPLICA_FAILURE), None)
    if (failure is None) == (standing is None):
        return before
    others = [c for c in before if c["type"] != REPLICA_FAILURE]
    if failure is None:
        return others
    return [
        *others,
        {
            "type": REPLICA_FAILURE, "status": "True", "lastTransitionTime": timestamp(now_s),
            "reason": failure.reason, "message": failure.message,
        },
    ]  # fmt: skip
