"""Preemption: whom to end so that a more important Pod fits.

On each node that nothing but Pods keeps the Pod from, all less important ones are thought away; if it fits then, as many as
possible come back, those first whose PodDisruptionBudget would be broken, and the most important of them before the others.
Who stays out is a victim. The node where that does the least harm is taken. Everything is tried on the scheduler's own
model, which is afterwards as it was before.

Source: K/pkg/scheduler/framework/preemption, K/pkg/scheduler/framework/plugins/defaultpreemption
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

import attrs

from reconcile.errors import Tree
from reconcile.selectors import LabelSelector, label_selector

from .demand import PodInfo
from .placement import rejected
from .plugin import Cycle, Plugin
from .snapshot import ClusterState, NodeInfo

NEVER = "Never"
_SHARE, _TRIED_MIN = 10, 100


@attrs.frozen
class Choice:
    """A node, and the Pods that have to end there (none: they end already)."""

    node: str
    victims: tuple[PodInfo, ...]
    violations: int
    """How many of them a budget would keep."""

    @property
    def harm(self) -> tuple[float, ...]:
        """The less the better: broken budgets, the most important victim, all of them together, how many, how long they run."""
        if not self.victims:
            return (0,)
        highest = max(pod.priority for pod in self.victims)
        weight = sum(pod.priority + 2**31 for pod in self.victims)
        return (self.violations, highest, weight, len(self.victims))

    @property
    def started(self) -> str:
        """When the longest running of the most important victims began; a later one has less to lose."""
        highest = max((pod.priority for pod in self.victims), default=0)
        return min((started(pod) for pod in self.victims if pod.priority == highest), default="")


@attrs.define
class _Budget:
    """How many more Pods of a PodDisruptionBudget may end."""

    namespace: str
    selector: LabelSelector
    allowed: int
    disrupted: Collection[str]

    @classmethod
    def of(cls, tree: Tree) -> _Budget:
        status = tree.get("status") or {}
        selector = label_selector((tree.get("spec") or {}).get("selector"))
        return cls(
            tree["metadata"]["namespace"], selector, status.get("disruptionsAllowed", 0), status.get("disruptedPods") or ()
        )  # fmt: skip

    def keeps(self, pod: PodInfo) -> bool:
        """Count one more Pod that ends; whether the budget has a word to say against it."""
        if pod.namespace != self.namespace or self.selector.empty or not self.selector.matches(pod.labels):
            return False
        if pod.name in self.disrupted:
            return False  # its end is counted already
        self.allowed -= 1
        return self.allowed < 0


class Preemption:
    """Looks for victims in a cluster's model."""

    def __init__(self, state: ClusterState, plugins: Sequence[Plugin], ends: Callable[[PodInfo], bool]) -> None:
        self._state, self._plugins, self._ends = state, plugins, ends
        self._next = 0

    def can_help(self, pod: PodInfo) -> bool:
        """Whether there is anybody less important at all, and the Pod would have them end."""
        policy = (pod.tree.get("spec") or {}).get("preemptionPolicy")
        return policy != NEVER and pod.priority > self._state.lowest_priority

    def choose(self, pod: PodInfo, budgets: Sequence[Tree]) -> Choice | None:
        """The least harmful choice; None: no Pod's end helps. O(nodes x less important Pods x plugins), on a sample of nodes."""
        filters = [plugin for plugin in self._plugins if plugin.filters and plugin.applies(pod, self._state)]
        final = [plugin for plugin in filters if "pod-gone" not in plugin.helped_by]
        cycle = Cycle(self._state)
        for plugin in final:
            plugin.prepare(pod, cycle)
        nodes = list(self._state.nodes.values())
        enough = max(len(nodes) // _SHARE, _TRIED_MIN)
        start = self._next % len(nodes) if nodes else 0
        found: list[Choice] = []
        looked = 0
        for node in (*nodes[start:], *nodes[:start]):
            looked += 1
            if rejected(pod, node, cycle, final) is not None:
                continue
            choice = self._victims(pod, node, filters, budgets)
            if choice is not None:
                found.append(choice)
                if len(found) >= enough:
                    break
        self._next = start + looked
        if not found:
            return None
        least = min(choice.harm for choice in found)
        return max((choice for choice in found if choice.harm == least), key=lambda choice: choice.started)

    def _victims(self, pod: PodInfo, node: NodeInfo, filters: Sequence[Plugin], budgets: Sequence[Tree]) -> Choice | None:
        lower = [p for p in node.pods.values() if p.priority < pod.priority and not self._state.is_assumed(p.uid)]
        if not lower:
            return None
        with self._without(node, lower) as out:
            if not self._fits(pod, node, filters):
                return None
            # Who ends anyway makes room for nothing more; everybody else may stay if there is room.
            staying = sorted((p for p in lower if not self._ends(p)), key=lambda p: (-p.priority, started(p)))
            left = [_Budget.of(tree) for tree in budgets]
            kept = {p.uid for p in staying if sum(budget.keeps(p) for budget in left)}  # each of them counts
            victims = []
            for p in sorted(staying, key=lambda p: p.uid not in kept):
                self._state.add_pod(p, node.name)
                if self._fits(pod, node, filters):
                    out.remove(p)
                else:
                    self._state.remove_pod(p.uid)
                    victims.append(p)
        return Choice(node.name, tuple(victims), sum(p.uid in kept for p in victims))

    def _fits(self, pod: PodInfo, node: NodeInfo, filters: Sequence[Plugin]) -> bool:
        cycle = Cycle(self._state)
        for plugin in filters:
            plugin.prepare(pod, cycle)
        return rejected(pod, node, cycle, filters) is None

    @contextmanager
    def _without(self, node: NodeInfo, pods: Sequence[PodInfo]) -> Iterator[list[PodInfo]]:
        """Think Pods away; those that are still in the list that it gives come back at the end."""
        out = list(pods)
        for pod in pods:
            self._state.remove_pod(pod.uid)
        try:
            yield out
        finally:
            for pod in out:
                self._state.add_pod(pod, node.name)


def started(pod: PodInfo) -> str:
    """When a Pod began to run, as it stands in its status; of one that did not yet, when it was made."""
    return str((pod.tree.get("status") or {}).get("startTime") or pod.tree["metadata"].get("creationTimestamp") or "")
