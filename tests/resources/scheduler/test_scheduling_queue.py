"""Which Pod is tried next, and when one that found no node is tried again."""

from __future__ import annotations

from reconcile.resources.scheduler.demand import Demands, PodInfo
from reconcile.resources.scheduler.queue import SchedulingQueue

DEMANDS = Demands()
HELPED_BY = {"Fit": frozenset(["node", "pod-gone"]), "Taints": frozenset(["node"]), "Spread": frozenset(["node", "pod-new"])}


def pod(name: str, priority: int = 0, cpu: str = "1") -> PodInfo:
    """A Pod of that priority."""
    container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
    return DEMANDS.read({"metadata": {"name": name, "uid": name}, "spec": {"containers": [container], "priority": priority}})


def pop(queue: SchedulingQueue, now_s: float) -> str:
    """The name of the next Pod, put aside at once; empty when there is none."""
    entry = queue.pop(now_s)
    return entry.pod.name if entry else ""


def parked(queue: SchedulingQueue, info: PodInfo, by: str, now_s: float = 0.0) -> None:
    """Add a Pod and let it be rejected."""
    queue.add(info, now_s)
    entry = queue.pop(now_s)
    assert entry is not None
    queue.park(entry, [by], now_s)


def test_priority_comes_first_then_age() -> None:
    """A flood of small Pods must not delay the important one."""
    queue = SchedulingQueue(HELPED_BY)
    queue.add(pod("early"), 1.0)
    queue.add(pod("late"), 2.0)
    queue.add(pod("vital", 100), 3.0)
    assert [pop(queue, 4.0) for _ in range(4)] == ["vital", "early", "late", ""]


def test_only_events_that_can_help_bring_a_pod_back() -> None:
    """A taint does not go away because a Pod ends."""
    queue = SchedulingQueue(HELPED_BY)
    parked(queue, pod("a"), "Taints")
    assert queue.helped("pod-gone", 20.0) == 0
    assert pop(queue, 20.0) == ""
    assert queue.helped("node", 20.0) == 1
    assert pop(queue, 20.0) == "a"


def test_the_node_it_happened_to_must_fit() -> None:
    """With a thousand waiting Pods, a small gap must not wake them all; equal ones are asked about once."""
    queue = SchedulingQueue(HELPED_BY)
    asked = []
    for name in "abc":
        parked(queue, pod(name, cpu="9" if name == "c" else "1"), "Fit")

    def fits(info: PodInfo) -> bool:
        asked.append(info.name)
        return info.demand.cpu_milli < 5000

    assert queue.helped("pod-gone", 20.0, fits) == 2
    assert asked == ["a", "c"]
    assert {pop(queue, 20.0), pop(queue, 20.0)} == {"a", "b"}


def test_backing_off_yields_to_others_but_not_to_idleness() -> None:
    """A Pod that failed waits its turn; with nothing else to do, waiting helps nobody."""
    queue = SchedulingQueue(HELPED_BY)
    parked(queue, pod("a"), "Fit", 0.0)
    queue.helped("node", 0.1)
    queue.add(pod("fresh"), 0.1)
    assert pop(queue, 0.2) == "fresh"
    assert pop(queue, 0.2) == "a"


def test_errors_back_off_ever_longer_up_to_ten_seconds() -> None:
    """A server that refuses bindings is not helped by more of them."""
    queue = SchedulingQueue(HELPED_BY)
    queue.add(pod("a"), 0.0)
    now_s, waits = 0.0, []
    for _ in range(6):
        entry = queue.pop(now_s)
        assert entry is not None
        queue.back_off(entry, now_s)
        assert pop(queue, now_s + entry.backoff_s - 0.01) == ""
        waits.append(entry.backoff_s)
        now_s += entry.backoff_s
    assert waits == [1, 2, 4, 8, 10, 10]


def test_a_pod_that_is_gone_is_not_tried() -> None:
    """Wherever in the queue it was."""
    queue = SchedulingQueue(HELPED_BY)
    queue.add(pod("active"), 0.0)
    queue.remove("active")
    parked(queue, pod("parked"), "Fit")
    queue.remove("parked")
    queue.helped("node", 30.0)
    assert pop(queue, 400.0) == ""
    assert len(queue) == 0


def test_a_parked_pod_is_tried_again_after_five_minutes_or_when_it_changes() -> None:
    """No event may be so well hidden that a Pod waits for ever."""
    queue = SchedulingQueue(HELPED_BY)
    parked(queue, pod("a"), "Fit")
    assert pop(queue, 299.0) == ""
    assert pop(queue, 300.0) == "a"
    parked(queue, pod("b"), "Fit", 300.0)
    queue.add(pod("b"), 301.0)
    assert pop(queue, 301.0) == "", "nothing that matters changed"
    queue.add(pod("b", cpu="500m"), 302.0)
    assert pop(queue, 302.0) == "b"
