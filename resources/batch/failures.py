"""What failed Pods mean for a Job: which count, which end it, and how long to wait before the next try.

Source: k8s.io/kubernetes/pkg/controller/job/{pod_failure_policy,backoff_utils}.go
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from reconcile.errors import Tree
from reconcile.resources.apps.pod_state import condition, instant_s

BACKOFF_S_FIRST, BACKOFF_S_MAX = 10.0, 600.0


@attrs.frozen
class Verdict:
    """What the failure policy says of a failed Pod: whether it counts, and why the Job or its index is to fail."""

    counts: bool = True
    fails_job: str = ""
    fails_index: bool = False


def judged(policy: Tree | None, pod: Tree) -> Verdict:
    """The verdict of the first rule that matches."""
    for number, rule in enumerate((policy or {}).get("rules") or ()):
        told = _matched(rule, pod)
        if told is None:
            continue
        action = rule.get("action")
        if action == "Ignore":
            return Verdict(counts=False)
        if action == "FailJob":
            return Verdict(fails_job=f"{told} matching {action} rule at index {number}")
        return Verdict(fails_index=action == "FailIndex")
    return Verdict()


def _matched(rule: Tree, pod: Tree) -> str | None:
    meta = pod["metadata"]
    name = f"{meta.get('namespace')}/{meta.get('name')}"
    codes = rule.get("onExitCodes")
    if codes:
        for container, code in exit_codes(pod):
            if codes.get("containerName") not in (None, container) or code == 0:
                continue
            if (code in (codes.get("values") or ())) == (codes.get("operator") == "In"):
                return f"Container {container} for pod {name} failed with exit code {code}"
    for pattern in rule.get("onPodConditions") or ():
        found = condition(pod, pattern.get("type", ""))
        if found is not None and found.get("status") == pattern.get("status", "True"):
            return f"Pod {name} has condition {found['type']}"
    return None


def exit_codes(pod: Tree) -> list[tuple[str, int]]:
    """Container and exit code of all that ended."""
    status = pod.get("status") or {}
    found = []
    for entry in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
        ended = (entry.get("state") or {}).get("terminated")
        if ended is not None:
            found.append((str(entry.get("name", "")), int(ended.get("exitCode", 0))))
    return found


def ended_s(pod: Tree) -> float:
    """When a Pod ended: the last of its containers, or else when it was last said to change, or made."""
    status = pod.get("status") or {}
    times = [
        instant_s(((entry.get("state") or {}).get("terminated") or {}).get("finishedAt"))
        for entry in status.get("containerStatuses") or ()
    ]
    known = [time for time in times if time is not None]
    if known:
        return max(known)
    changed = instant_s((condition(pod, "Ready") or {}).get("lastTransitionTime"))
    return changed if changed is not None else instant_s(pod["metadata"].get("deletionTimestamp")) or created_s(pod)


def created_s(pod: Tree) -> float:
    """When a Pod was made."""
    return instant_s(pod["metadata"].get("creationTimestamp")) or 0.0


def wait_until_s(failed: Iterable[Tree], succeeded: Sequence[Tree]) -> float:
    """The instant before which no new Pod is made: after n failures since the last success, 10 s, 20 s, 40 s ... 10 min."""
    last_success_s = max(map(ended_s, succeeded), default=0.0)
    since = [time for time in map(ended_s, failed) if time > last_success_s]
    if not since:
        return 0.0
    return float(max(since) + min(BACKOFF_S_FIRST * 2 ** min(len(since) - 1, 30), BACKOFF_S_MAX))
