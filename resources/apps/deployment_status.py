"""A Deployment's status: the counts of its ReplicaSets, and the conditions Available, Progressing and ReplicaFailure.

Progressing carries the rollout's story: NewReplicaSetCreated or FoundNewReplicaSet, ReplicaSetUpdated with every sign of
progress, and in the end NewReplicaSetAvailable, or ProgressDeadlineExceeded when nothing moved for
spec.progressDeadlineSeconds. The controller never rolls back by itself.

Source: k8s.io/kubernetes/pkg/controller/deployment/progress.go, sync.go (calculateStatus)
"""

from __future__ import annotations

from collections.abc import Sequence

from reconcile.clock import timestamp
from reconcile.errors import Tree

from .pod_state import instant_s
from .rolling import limits_of

NO_DEADLINE = 2**31 - 1
PROGRESSING, AVAILABLE, REPLICA_FAILURE = "Progressing", "Available", "ReplicaFailure"
_COUNTS = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")


def deadline_s(spec: Tree) -> int | None:
    """The progress deadline, or None where there is none."""
    seconds: int | None = spec.get("progressDeadlineSeconds", 600)
    return None if seconds is None or seconds == NO_DEADLINE else seconds


def find(status: Tree, type_: str) -> Tree | None:
    """The condition of that type, or None."""
    found: Tree | None = next((c for c in status.get("conditions") or () if c["type"] == type_), None)
    return found


def put(status: Tree, type_: str, value: str, reason: str, message: str, now_s: float) -> None:
    """Set a condition; one with the same status and reason is left as it is."""
    current = find(status, type_)
    if current is not None and (current["status"], current.get("reason")) == (value, reason):
        return
    now = timestamp(now_s)
    moved = current["lastTransitionTime"] if current and current["status"] == value else now
    remove(status, type_)
    status["conditions"].append(
        {
            "type": type_, "status": value, "lastUpdateTime": now, "lastTransitionTime": moved,
            "reason": reason, "message": message,
        }
    )  # fmt: skip


def remove(status: Tree, type_: str) -> None:
    """Drop the condition of that type. The list is made anew: the old one may be shared."""
    status["conditions"] = [c for c in status.get("conditions") or () if c["type"] != type_]


def put_paused(spec: Tree, status: Tree, now_s: float) -> None:
    """Say that the rollout is paused or goes on, so that the time it stood still is not held against it."""
    current = find(status, PROGRESSING)
    reason = current.get("reason") if current else None
    if deadline_s(spec) is None or reason == "ProgressDeadlineExceeded":
        return
    if spec.get("paused") and reason != "DeploymentPaused":
        put(status, PROGRESSING, "Unknown", "DeploymentPaused", "Deployment is paused", now_s)
    elif not spec.get("paused") and reason == "DeploymentPaused":
        put(status, PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed", now_s)


def counted(deployment: Tree, working: Tree, sets: Sequence[Tree], new: Tree | None, now_s: float) -> Tree:
    """The status that the ReplicaSets add up to; conditions and collisionCount are those of `working`."""
    limits = limits_of(deployment["spec"])

    def total(name: str) -> int:
        return sum((rs.get("status") or {}).get(name, 0) for rs in sets)

    available = total("availableReplicas")
    wanted = sum(rs["spec"].get("replicas", 1) for rs in sets)
    status: Tree = {
        "observedGeneration": deployment["metadata"].get("generation", 0),
        "replicas": total("replicas"),
        "updatedReplicas": ((new or {}).get("status") or {}).get("replicas", 0),
        "readyReplicas": total("readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(wanted - available, 0),
        "terminatingReplicas": total("terminatingReplicas"),
        "conditions": list(working.get("conditions") or ()),
    }
    if working.get("collisionCount") is not None:
        status["collisionCount"] = working["collisionCount"]
    if available >= limits.available_min:
        put(status, AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now_s)
    else:
        put(status, AVAILABLE, "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", now_s)
    return status


def judged(deployment: Tree, before: Tree, status: Tree, sets: Sequence[Tree], new: Tree | None, now_s: float) -> Tree:
    """Add what a rollout says of its progress to a counted status. `before` is the stored status."""
    spec = deployment["spec"]
    if deadline_s(spec) is None:
        remove(status, PROGRESSING)
    current = find(status, PROGRESSING)
    done_before = status["replicas"] == status["updatedReplicas"] and (current or {}).get("reason") == "NewReplicaSetAvailable"
    if deadline_s(spec) is not None and not done_before:
        what = f'ReplicaSet "{new["metadata"]["name"]}"' if new else f'Deployment "{deployment["metadata"]["name"]}"'
        if is_complete(deployment, status):
            put(status, PROGRESSING, "True", "NewReplicaSetAvailable", f"{what} has successfully progressed.", now_s)
        elif has_progressed(before, status):
            _touch(status, current, f"{what} is progressing.", now_s)
        elif has_timed_out(spec, status, now_s):
            message = f"{what} has timed out progressing."
            put(status, PROGRESSING, "False", "ProgressDeadlineExceeded", message, now_s)
    failures = [c for rs in (*([new] if new else ()), *sets) for c in (rs.get("status") or {}).get("conditions") or ()]
    failure = next((c for c in failures if c["type"] == REPLICA_FAILURE), None)
    if failure is None:
        remove(status, REPLICA_FAILURE)
    else:
        put(status, REPLICA_FAILURE, failure["status"], failure.get("reason", ""), failure.get("message", ""), now_s)
    return status


def _touch(status: Tree, current: Tree | None, message: str, now_s: float) -> None:
    """Note progress: lastUpdateTime moves even where status and reason stay, lastTransitionTime only with the status."""
    remove(status, PROGRESSING)
    put(status, PROGRESSING, "True", "ReplicaSetUpdated", message, now_s)
    if current is not None and current["status"] == "True":
        status["conditions"][-1]["lastTransitionTime"] = current["lastTransitionTime"]


def is_complete(deployment: Tree, status: Tree) -> bool:
    """Whether all Pods are of the current template and available, and the status is about the current spec."""
    replicas = deployment["spec"].get("replicas", 1)
    return bool(
        status.get("updatedReplicas", 0) == replicas
        and status.get("replicas", 0) == replicas
        and status.get("availableReplicas", 0) == replicas
        and status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    )


def has_progressed(before: Tree, after: Tree) -> bool:
    """More updated, fewer old, more ready or more available Pods than before."""
    old, new = ({name: status.get(name, 0) for name in _COUNTS} for status in (before, after))
    return bool(
        new["updatedReplicas"] > old["updatedReplicas"]
        or new["replicas"] - new["updatedReplicas"] < old["replicas"] - old["updatedReplicas"]
        or new["readyReplicas"] > old["readyReplicas"]
        or new["availableReplicas"] > old["availableReplicas"]
    )


def has_timed_out(spec: Tree, status: Tree, now_s: float) -> bool:
    """Whether nothing moved for longer than the deadline. A rollout that was complete cannot time out any more."""
    current, seconds = find(status, PROGRESSING), deadline_s(spec)
    if current is None or seconds is None or current.get("reason") == "NewReplicaSetAvailable":
        return False
    if current.get("reason") == "ProgressDeadlineExceeded":
        return True
    return (instant_s(current.get("lastUpdateTime")) or now_s) + seconds < now_s


def check_after_s(deployment: Tree, status: Tree, now_s: float) -> float | None:
    """In how many seconds to look again whether the deadline passed; None where there is nothing to wait for."""
    current, seconds = find(status, PROGRESSING), deadline_s(deployment["spec"])
    if current is None or seconds is None or is_complete(deployment, status):
        return None
    if current.get("reason") in ("ProgressDeadlineExceeded", "DeploymentPaused", "NewReplicaSetAvailable"):
        return None
    left_s = (instant_s(current.get("lastUpdateTime")) or now_s) + seconds - now_s
    # Times are stored in whole seconds: one more makes sure that the deadline has passed by then.
    return max(left_s, 0.0) + 1.0
