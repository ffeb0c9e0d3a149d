"""Which Pods go first when a ReplicaSet shrinks.

The first difference decides: unassigned before assigned; Pending, Unknown, Running; not ready before ready; lower
`controller.kubernetes.io/pod-deletion-cost`; more siblings on its node; ready for less time; more restarts; newer. Times are
compared by power of two of their age, ties by uid, so that which of many equally old Pods goes is a fair draw.

Source: ActivePodsWithRanks in k8s.io/kubernetes/pkg/controller/controller_utils.go, KEP-2185 (log-scaled ages)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cmp_to_key

import attrs

from reconcile.errors import Tree

from .pod_state import instant_s, is_active, is_ready, ready_since_s, restarts

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


@attrs.frozen
class Ranked:
    """What the comparison needs of one Pod; `first` holds the criteria that order plainly."""

    pod: Tree
    uid: str
    first: tuple[int, int, int, int, int]
    ready_s: float | None
    restarts: tuple[int, int]
    created_s: float | None


def pods_to_delete(active: Sequence[Tree], related: Iterable[Tree], count: int, now_s: float) -> list[Tree]:
    """The `count` Pods of `active` that are to go. `related` are the Pods of all sibling ReplicaSets (these included).

    O(n log n); where all go, no order is made.
    """
    if count >= len(active):
        return list(active)
    return ranked(active, related, now_s)[:count]


def ranked(active: Iterable[Tree], related: Iterable[Tree], now_s: float) -> list[Tree]:
    """The Pods in the order in which they are to go."""
    on_node = Counter((pod.get("spec") or {}).get("nodeName", "") for pod in related if is_active(pod))
    candidates = [_facts(pod, on_node) for pod in active]

    def compared(a: Ranked, b: Ranked) -> int:
        return -1 if goes_before(a, b, now_s) else int(goes_before(b, a, now_s))

    candidates.sort(key=cmp_to_key(compared))
    return [candidate.pod for candidate in candidates]


def goes_before(a: Ranked, b: Ranked, now_s: float) -> bool:
    """Whether `a` is deleted before `b`."""
    if a.first != b.first:
        return a.first < b.first
    if a.ready_s != b.ready_s:
        return _younger(a.ready_s, b.ready_s, a.uid, b.uid, now_s)
    if a.restarts != b.restarts:
        return a.restarts > b.restarts
    if a.created_s != b.created_s:
        return _younger(a.created_s, b.created_s, a.uid, b.uid, now_s)
    return False


def _facts(pod: Tree, on_node: Counter[str]) -> Ranked:
    spec = pod.get("spec") or {}
    node = spec.get("nodeName", "")
    phase = (pod.get("status") or {}).get("phase", "Pending")
    ready = is_ready(pod)
    first = (1 if node else 0, _PHASES.get(phase, 0), 1 if ready else 0, deletion_cost(pod), -on_node[node])
    created_s = instant_s(pod["metadata"].get("creationTimestamp"))
    return Ranked(pod, pod["metadata"].get("uid", ""), first, ready_since_s(pod), restarts(pod), created_s)


def deletion_cost(pod: Tree) -> int:
    """The annotated cost of deleting this Pod; 0 where there is none or it is no whole number of 32 bits.

    Source: helper.GetDeletionCostFromPodAnnotations (a leading plus or zero is refused there too)
    """
    text = (pod["metadata"].get("annotations") or {}).get(DELETION_COST, "0")
    try:
        cost = int(text)
    except ValueError:
        return 0
    return cost if str(cost) == text and -(2**31) <= cost < 2**31 else 0


def _younger(a_s: float | None, b_s: float | None, a_uid: str, b_uid: str, now_s: float) -> bool:
    if a_s is None or b_s is None:
        return a_s is None
    a_age, b_age = _age_rank(now_s - a_s), _age_rank(now_s - b_s)
    return a_uid < b_uid if a_age == b_age else a_age < b_age


def _age_rank(age_s: float) -> int:
    return int(math.log2(age_s * 1e9)) if age_s * 1e9 >= 1 else -1
