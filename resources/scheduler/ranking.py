"""The fast way for equal Pods: nodes stay ranked from one Pod to the next.

Placing a Pod changes one node, so for the next Pod that asks the same only that node is filtered and scored anew. Nodes are
kept in buckets: within a bucket all scores that are scaled over the feasible nodes are equal, so that a heap by the other
(plain) scores has the best on top; between the few buckets the sums are compared. The answer is that of
`placement.Chooser` without sampling; a test holds the two against each other.

Source: the idea is Borg's equivalence classes and score cache (Verma et al., EuroSys 2015), and OpportunisticBatching of
Kubernetes 1.35
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, OrderedDict
from collections.abc import Sequence

from .demand import Demand, PodInfo
from .placement import Chooser, Rejection, Unschedulable, rejected, unschedulable
from .plugin import Cycle, Plugin
from .plugins_spread import DefaultSpread, spread_score
from .snapshot import ZONE, ClusterState, NodeInfo

_RANKINGS_MAX = 32
_STALE_SHARE = 8  # a ranking is made anew when its heaps hold this many times the nodes
_PLAIN = frozenset(["NodeResourcesFit", "NodeResourcesBalancedAllocation"])
_Key = tuple[float, ...]
_Entry = tuple[int, float, str, int]


class Rankings:
    """Chooses nodes; the fast way where it can, else the plain way."""

    def __init__(self, state: ClusterState, plugins: Sequence[Plugin]) -> None:
        self._state = state
        self._plugins = tuple(plugins)
        self._chooser = Chooser(plugins)
        self._rankings: OrderedDict[int, _Ranking] = OrderedDict()
        # A plugin from outside that is not node-local would be left out of a ranking: then nothing is ranked.
        plain = ("PodTopologySpread", "InterPodAffinity", "VolumeBinding")
        self._possible = all(p.node_local or p.name in plain for p in plugins)
        self._volumes = next((plugin for plugin in plugins if plugin.name == "VolumeBinding"), None)

    def choose(self, pod: PodInfo) -> str | Unschedulable:
        """The best node's name, or why there is none. O(nodes changed) for a Pod like the last."""
        with_volumes = self._volumes is not None and self._volumes.applies(pod, self._state)
        if not self._possible or pod.demand.about_pods or self._state.affine_count or with_volumes:
            return self._chooser.choose(pod, self._state)
        ranking = self._rankings.get(id(pod.demand))
        if ranking is None:
            ranking = self._rankings[id(pod.demand)] = _Ranking(pod.demand, self._state, self._plugins)
            if len(self._rankings) > _RANKINGS_MAX:
                self._rankings.popitem(last=False)
        else:
            self._rankings.move_to_end(id(pod.demand))
        return ranking.best(pod)

    def fits(self, pod: PodInfo, node_name: str) -> bool:
        """Whether the node passes every filter that looks at one node alone: whether trying again makes sense."""
        node = self._state.nodes.get(node_name)
        if node is None:
            return False
        cycle = Cycle(self._state)
        filters = [p for p in self._plugins if p.filters and p.node_local and p.applies(pod, self._state)]
        return rejected(pod, node, cycle, filters) is None


class _Ranking:
    """All nodes, ranked for one Demand."""

    def __init__(self, demand: Demand, state: ClusterState, plugins: Sequence[Plugin]) -> None:
        self.demand = demand  # also keeps the Demand alive, so that its id stays its own
        self._state = state
        self._plugins = plugins
        self._seen = -1
        self._clear()

    def _clear(self) -> None:
        self._rejections: dict[str, Rejection] = {}
        self._versions: dict[str, int] = {}
        self._zones: Counter[str] = Counter()
        self._zone_of: dict[str, str | None] = {}
        self._buckets: dict[tuple[_Key, int, str | None], list[_Entry]] = {}
        self._entries = 0
        self._version = 0
        self._failure: Unschedulable | None = None

    def best(self, pod: PodInfo) -> str | Unschedulable:
        self._catch_up(pod)
        if not self._zone_of:
            if self._failure is None:
                self._failure = unschedulable(pod, self._state, self._rejections)
            return self._failure
        buckets = self._tops()
        scorers = self._scaled_plugins
        weights = math.log(len(self._zone_of) + 2), math.log(len(self._zones) + 2)
        raws = [self._raws(key, *weights) for key, _ in buckets]
        lows = [min(column) for column in zip(*raws, strict=True)]
        highs = [max(column) for column in zip(*raws, strict=True)]
        ranked = []
        for (_, top), row in zip(buckets, raws, strict=True):
            total = -top[0]
            for plugin, raw, low, high in zip(scorers, row, lows, highs, strict=True):
                total += plugin.weight * plugin.scaled(raw, low, high)
            ranked.append((-total, top[1], top[2]))
        return min(ranked)[2]

    def _catch_up(self, pod: PodInfo) -> None:
        changed = self._state.changed_since(self._seen)
        if changed is None or self._seen < 0 or self._entries > _STALE_SHARE * (len(self._state.nodes) + 8):
            self._clear()
            applying = [p for p in self._plugins if p.applies(pod, self._state)]
            self._filters = [p for p in applying if p.filters]
            scorers = [p for p in applying if p.weight]
            self._plain_plugins = [p for p in scorers if p.name in _PLAIN]
            self._spread = next((p for p in scorers if isinstance(p, DefaultSpread)), None)
            self._local = [p for p in scorers if p.name not in _PLAIN and p is not self._spread]
            self._scaled_plugins = [*self._local, *([self._spread] if self._spread else ())]
            changed = self._state.nodes
        if changed:
            self._failure = None
            cycle = Cycle(self._state)
            for name in changed:
                self._judge(pod, name, cycle)
        self._seen = self._state.change

    def _judge(self, pod: PodInfo, name: str, cycle: Cycle) -> None:
        """Filter and score one node; what was known of it before becomes void with its version."""
        self._rejections.pop(name, None)
        self._versions.pop(name, None)
        if name in self._zone_of:
            zone = self._zone_of.pop(name)
            if zone is not None:
                self._zones[zone] -= 1
                if not self._zones[zone]:
                    del self._zones[zone]
        node = self._state.nodes.get(name)
        if node is None:
            return
        rejection = rejected(pod, node, cycle, self._filters)
        if rejection is not None:
            self._rejections[name] = rejection
            return
        self._enter(pod, node, cycle)

    def _enter(self, pod: PodInfo, node: NodeInfo, cycle: Cycle) -> None:
        plain = sum(p.weight * int(p.score(pod, node, cycle) or 0) for p in self._plain_plugins)
        key = tuple(p.score(pod, node, cycle) or 0 for p in self._local)
        zone = node.labels.get(ZONE)
        on_host = node.owners[self.demand.owner] if self._spread else 0
        self._version += 1
        self._entries += 1
        self._versions[node.name] = self._version
        self._zone_of[node.name] = zone
        if zone is not None:
            self._zones[zone] += 1
        bucket = self._buckets.setdefault((key, on_host, zone if self._spread else None), [])
        heapq.heappush(bucket, (-plain, node.tiebreak, node.name, self._version))

    def _tops(self) -> list[tuple[tuple[_Key, int, str | None], _Entry]]:
        """The best entry of every bucket that still has one."""
        tops = []
        for key, heap in list(self._buckets.items()):
            while heap and self._versions.get(heap[0][2]) != heap[0][3]:
                heapq.heappop(heap)
                self._entries -= 1
            if heap:
                tops.append((key, heap[0]))
            else:
                del self._buckets[key]
        return tops

    def _raws(self, key: tuple[_Key, int, str | None], host_weight: float, zone_weight: float) -> tuple[float, ...]:
        local, on_host, zone = key
        if self._spread is None:
            return local
        zones = self._state.zones_of_owner.get(self.demand.owner)
        in_zone = zones[zone] if zones and zone else 0
        return (*local, spread_score(on_host, host_weight, zone is not None, in_zone, zone_weight))
