"""What the workload controllers read off a Pod: active, ready, available, and since when.

Works on plain trees, because a ReplicaSet of a thousand Pods asks these questions a thousand times a pass. What a Pod's
fields mean is decided by whoever runs it; here they are only read.

Source: k8s.io/kubernetes/pkg/api/v1/pod/util.go, pkg/controller/controller_utils.go
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconcile.clock import parse_timestamp
from reconcile.errors import Tree

_FINISHED = ("Succeeded", "Failed")


def is_finished(pod: Tree) -> bool:
    """Whether the Pod ran to its end, well or not."""
    return (pod.get("status") or {}).get("phase") in _FINISHED


def is_terminating(pod: Tree) -> bool:
    """Whether the Pod is on its way out and has not ended yet."""
    return bool(pod["metadata"].get("deletionTimestamp")) and not is_finished(pod)


def is_active(pod: Tree) -> bool:
    """Whether the Pod counts as a replica: neither finished nor being deleted."""
    return not pod["metadata"].get("deletionTimestamp") and not is_finished(pod)


def condition(obj: Tree, type_: str) -> Tree | None:
    """The condition of that type, or None."""
    for entry in (obj.get("status") or {}).get("conditions") or ():
        if entry.get("type") == type_:
            found: Tree = entry
            return found
    return None


def is_ready(pod: Tree) -> bool:
    """Whether the Ready condition is True."""
    entry = condition(pod, "Ready")
    return entry is not None and entry.get("status") == "True"


def ready_since_s(pod: Tree) -> float | None:
    """When the Pod became ready, in seconds since the epoch; None where it is not ready or does not say."""
    entry = condition(pod, "Ready")
    if entry is None or entry.get("status") != "True":
        return None
    return instant_s(entry.get("lastTransitionTime"))


def available_at_s(pod: Tree, min_ready_s: int) -> float | None:
    """The instant from which the Pod counts as available; None while it is not ready.

    An instant in the past means available now; one in the future says when to look again.
    """
    entry = condition(pod, "Ready")
    if entry is None or entry.get("status") != "True":
        return None
    if min_ready_s == 0:
        return 0.0
    since_s = instant_s(entry.get("lastTransitionTime"))
    return None if since_s is None else since_s + min_ready_s


def instant_s(text: Any) -> float | None:
    """A timestamp field as seconds since the epoch; None where it is absent."""
    return parse_timestamp(text) if text else None


def restarts(pod: Tree) -> tuple[int, int]:
    """The highest restart counts: of its containers, and of its sidecars (init containers that restart always)."""
    status = pod.get("status") or {}
    sidecars = {
        container.get("name")
        for container in (pod.get("spec") or {}).get("initContainers") or ()
        if container.get("restartPolicy") == "Always"
    }
    regular = max((entry.get("restartCount", 0) for entry in status.get("containerStatuses") or ()), default=0)
    sidecar = max(
        (e.get("restartCount", 0) for e in status.get("initContainerStatuses") or () if e.get("name") in sidecars), default=0
    )
    return regular, sidecar


def controller_of(obj: Tree) -> Mapping[str, Any] | None:
    """The owner reference marked as controller, or None."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            found: Mapping[str, Any] = reference
            return found
    return None
