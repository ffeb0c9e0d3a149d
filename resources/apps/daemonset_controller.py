"""The DaemonSet controller: one Pod on each node that is meant, and the way from one template to the next.

A Pod that failed is deleted, ever more slowly where it fails again; one for a node that is no longer meant goes. An update
takes away Pods of old templates, never more than may be missing at once, or with a surge makes the new one first.

Source: k8s.io/kubernetes/pkg/controller/daemon/{daemon_controller,update}.go
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from math import ceil
from typing import Any

import attrs

from reconcile.clock import Clock
from reconcile.errors import ApiError, ConflictError, Tree
from reconcile.handling import Cluster, EventRecorder, Requeue
from reconcile.kinds import typed
from reconcile.registry import Operator, Watch
from reconcile.resources.core import Node, Pod
from reconcile.selectors import label_selector
from reconcile.views import tree_of

from .daemonset import DaemonSet
from .daemonset_nodes import Fit, fit, node_of, pod_tree
from .history import HASH_LABEL, History, forget, history_of
from .orphans import Orphans
from .ownership import claim, ensure_there, settle
from .pod_batches import all_at_once
from .pod_state import available_at_s, is_finished, is_ready
from .status_writing import write_status

BURST_MAX = 250
_COUNTS = frozenset(["numberAvailable", "numberUnavailable", "updatedNumberScheduled"])
_BACKOFF_S_FIRST, _BACKOFF_S_MAX = 1.0, 900.0


def daemonset_controller() -> Operator:
    """The operator that keeps every DaemonSet."""
    app = Operator("daemonset-controller")
    orphans = Orphans.followed(app, Pod, DaemonSet)

    @app.on.reconcile(DaemonSet, owns=(Pod,), watches=(Watch(Pod, to=orphans.adopters),), workers=2)
    async def daemons(
        daemon_set: DaemonSet, cluster: Cluster, events: EventRecorder, clock: Clock, memo: dict[str, Any]
    ) -> Requeue | None:
        tree = tree_of(daemon_set)
        selector = label_selector(tree["spec"].get("selector"))
        owned = map(tree_of, await cluster.list(Pod, daemon_set.namespace, owner=daemon_set))
        nodes = [tree_of(node) for node in await cluster.list(Node)]
        try:
            found = claim(tree, selector, owned, orphans.matching(daemon_set.namespace, selector))
            pods = await settle(cluster, Pod, daemon_set, found)
            if len(pods) < (tree.get("status") or {}).get("currentNumberScheduled", 0):
                await ensure_there(cluster, daemon_set)
            history = await history_of(daemon_set, cluster)
            return await _Pass(daemon_set, tree, pods, nodes, history, cluster, events, clock, memo).run()
        except ConflictError:
            return Requeue(0.01)  # a Pod changed under us: its newer state is on its way

    return app


@attrs.define
class _Pass:
    """One pass over one DaemonSet."""

    owner: DaemonSet
    tree: Tree
    pods: list[Tree]
    nodes: list[Tree]
    history: History
    cluster: Cluster
    events: EventRecorder
    clock: Clock
    memo: dict[str, Any]
    wait_s: float | None = None
    wanted: int = 0
    """Nodes that are meant."""

    async def run(self) -> Requeue | None:
        """Delete what is not to be, make what is missing, take a step of an update, and count.

        Raises:
            ApiError: a write failed; the status is written, and the pass is repeated with back-off.
        """
        template = self.tree["spec"]["template"]
        fits = {node["metadata"]["name"]: fit(template, node) for node in self.nodes}
        self.wanted = sum(found.runs for found in fits.values())
        by_node: dict[str, list[Tree]] = defaultdict(list)
        for pod in self.pods:
            by_node[node_of(pod)].append(pod)
        missing, surplus = self._compared(fits, by_node)
        error = await self._change(missing, surplus)
        if error is None and not missing and not surplus:
            error = await self._update(fits, by_node)
        await write_status(self.cluster, self.owner, self._status(fits, by_node), unless_zero=_COUNTS)
        used = {str((pod["metadata"].get("labels") or {}).get(HASH_LABEL)) for pod in self.pods}
        live = (r["metadata"]["name"] for r in self.history.revisions if _hash(r) in used)
        await forget(self.history, live, self.tree["spec"].get("revisionHistoryLimit", 10), self.cluster)
        if error is not None:
            raise error
        return None if self.wait_s is None else Requeue(max(self.wait_s - self.clock.now(), 0.0))

    # What is to be there

    def _compared(self, fits: dict[str, Fit], by_node: dict[str, list[Tree]]) -> tuple[list[str], list[Tree]]:
        """Nodes that lack a Pod, and Pods that are not to be."""
        missing: list[str] = []
        surplus: list[Tree] = []
        for node, found in fits.items():
            pods = by_node.get(node, [])
            if not pods:
                if found.runs:
                    missing.append(node)
            elif not found.stays:
                surplus += [pod for pod in pods if not _going(pod)]
            else:
                surplus += self._ended(node, pods)
                surplus += self._doubles([pod for pod in pods if not _going(pod) and not is_finished(pod)])
        for node, pods in by_node.items():
            if node not in fits and node:
                surplus += [pod for pod in pods if not _going(pod)]
        return missing, surplus

    def _ended(self, node: str, pods: list[Tree]) -> list[Tree]:
        """Pods of a node that ended; those that failed wait, so that they are not made again without a pause."""
        gone = []
        for pod in pods:
            if _going(pod) or not is_finished(pod):
                continue
            if pod["status"]["phase"] == "Failed":
                until_s = self._backoff(node, pod)
                if until_s > self.clock.now():
                    self._wait(until_s)
                    continue
                self.events.warning(
                    "FailedDaemonPod", f"Found failed daemon pod {_title(pod)} on node {node}, will try to kill it"
                )
            else:
                self.events.normal(
                    "SucceededDaemonPod", f"Found succeeded daemon pod {_title(pod)} on node {node}, will try to delete it"
                )
            gone.append(pod)
        return gone

    def _backoff(self, node: str, pod: Tree) -> float:
        """The instant until which a failed Pod stays. What is remembered is lost at a restart: then it starts anew."""
        failures: dict[str, tuple[str, int, float]] = self.memo.setdefault("failures", {})
        uid, count, until_s = failures.get(node, ("", 0, 0.0))
        if uid != pod["metadata"]["uid"]:
            # The first failure costs no wait.
            delay_s = min(_BACKOFF_S_FIRST * 2 ** (count - 1), _BACKOFF_S_MAX) if count else 0.0
            count, until_s = min(count + 1, 20), self.clock.now() + delay_s
            failures[node] = (pod["metadata"]["uid"], count, until_s)
        return until_s

    def _doubles(self, pods: list[Tree]) -> list[Tree]:
        """All but the oldest; of two templates, one each may be there while an update with a surge is on its way."""
        newest = _hash(self.history.update)
        old = sorted((pod for pod in pods if _hash(pod) != newest), key=_age)
        new = sorted((pod for pod in pods if _hash(pod) == newest), key=_age)
        if not self._surge():
            return sorted(pods, key=_age)[1:]
        return [*old[1:], *new[1:]]

    async def _change(self, missing: list[str], surplus: Iterable[Tree]) -> ApiError | None:
        reference = tree_of(self.owner.owner_reference())
        hash_ = _hash(self.history.update)

        async def delete(pod: Tree) -> None:
            await self.cluster.delete(typed(Pod, pod))
            self.events.normal("SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")

        async def create(node: Tree) -> None:
            made = await self.cluster.create(typed(Pod, pod_tree(self.tree, node["name"], hash_, reference)))
            self.pods.append(tree_of(made))
            self.events.normal("SuccessfulCreate", f"Created pod: {made.name}")

        _, failed = await all_at_once(list(surplus)[:BURST_MAX], delete)
        if failed is None and missing:
            # One first: what refuses it would refuse them all.
            _, failed = await all_at_once([{"name": missing[0]}], create)
            if failed is None:
                _, failed = await all_at_once([{"name": node} for node in missing[1:BURST_MAX]], create)
            if failed is not None:
                self.events.warning("FailedCreate", f"Error creating: {failed.message}")
        return failed

    # Updates

    async def _update(self, fits: dict[str, Fit], by_node: dict[str, list[Tree]]) -> ApiError | None:
        if (self.tree["spec"].get("updateStrategy") or {}).get("type") != "RollingUpdate":
            return None
        surge, newest = self._surge(), _hash(self.history.update)
        allowed = surge if surge else max(self._share("maxUnavailable"), 1)
        unavailable: list[Tree] = []
        candidates: list[Tree] = []
        extra: list[str] = []
        busy = 0
        for node, found in fits.items():
            if not found.runs:
                continue
            staying = [pod for pod in by_node.get(node, []) if not _going(pod)]
            old = next((pod for pod in staying if _hash(pod) != newest), None)
            new = next((pod for pod in staying if _hash(pod) == newest), None)
            if surge:
                busy += new is not None and not self._available(new)
                if old is not None and new is None and not self._available(old):
                    unavailable.append(old)
                elif old is not None and new is None:
                    extra.append(node)
                elif old is not None and new is not None and self._available(new):
                    unavailable.append(old)  # the new one serves: the old one may go
            elif old is None:
                busy += new is None or not self._available(new)
            elif self._available(old):
                candidates.append(old)
            else:
                unavailable.append(old)
                busy += 1
        room = max(allowed - busy, 0)
        # What does not serve anyway is replaced at once.
        return await self._change(extra[:room] if surge else [], [*unavailable, *(() if surge else candidates[:room])])

    def _surge(self) -> int:
        return self._share("maxSurge")

    def _share(self, name: str) -> int:
        value = ((self.tree["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}).get(name) or 0
        if isinstance(value, str):
            return ceil(self.wanted * int(value.rstrip("%")) / 100)
        return int(value)

    def _available(self, pod: Tree) -> bool:
        at_s = available_at_s(pod, self.tree["spec"].get("minReadySeconds", 0))
        if at_s is None:
            return False
        if at_s > self.clock.now():
            self._wait(at_s)
            return False
        return True

    def _wait(self, until_s: float) -> None:
        self.wait_s = until_s if self.wait_s is None else min(self.wait_s, until_s)

    # What it comes to

    def _status(self, fits: dict[str, Fit], by_node: dict[str, list[Tree]]) -> Tree:
        newest = _hash(self.history.update)
        counts: dict[str, int] = dict.fromkeys(("desired", "current", "misplaced", "ready", "available", "updated"), 0)
        for node, found in fits.items():
            staying = sorted((pod for pod in by_node.get(node, []) if not _going(pod)), key=_age)
            counts["misplaced"] += bool(staying) and not found.runs
            if not found.runs:
                continue
            counts["desired"] += 1
            if staying:
                counts["current"] += 1
                counts["ready"] += any(map(is_ready, staying))
                counts["available"] += any(map(self._available, staying))
                counts["updated"] += any(_hash(pod) == newest for pod in staying)
        return {
            "desiredNumberScheduled": counts["desired"], "currentNumberScheduled": counts["current"],
            "numberMisscheduled": counts["misplaced"], "numberReady": counts["ready"], "numberAvailable": counts["available"],
            "numberUnavailable": counts["desired"] - counts["available"], "updatedNumberScheduled": counts["updated"],
            "observedGeneration": self.tree["metadata"].get("generation", 0),
        }  # fmt: skip


def _going(pod: Tree) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def _hash(obj: Tree) -> str:
    return str((obj["metadata"].get("labels") or {}).get(HASH_LABEL, ""))


def _age(pod: Tree) -> tuple[str, str]:
    return pod["metadata"].get("creationTimestamp", ""), pod["metadata"].get("uid", "")


def _title(pod: Tree) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
