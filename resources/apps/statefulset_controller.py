"""The StatefulSet controller: Pods 0, 1, 2 ... each made when the one before it is available, and replaced from the last down.

One thing at a time is done in a pass, unless the set is Parallel: the next change of a Pod brings the next pass. A Pod that
ended is deleted, and made again under its name. What is wrong with one Pod stops the update, and nothing else undoes that but
whoever changes the set.

Source: k8s.io/kubernetes/pkg/controller/statefulset/stateful_set_control.go
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import attrs

from reconcile.client import MERGE_PATCH, Patch
from reconcile.clock import Clock
from reconcile.errors import AlreadyExistsError, ApiError, ConflictError, NotFoundError, Tree
from reconcile.handling import Cluster, EventRecorder, Key, Requeue
from reconcile.kinds import typed
from reconcile.registry import Operator, Watch
from reconcile.resources.core import Pod
from reconcile.resources.stored.storage import persistent_volume_claim
from reconcile.selectors import label_selector
from reconcile.views import tree_of

from .history import History, forget, history_of
from .orphans import Orphans
from .ownership import claim, ensure_there, settle
from .pod_state import available_at_s, is_finished
from .statefulset import StatefulSet
from .statefulset_pods import claim_trees, is_healthy, ordinal_of, pod_tree, revision_of, runs
from .status_writing import write_status

_COUNTS = frozenset(["readyReplicas", "currentReplicas", "updatedReplicas"])


def statefulset_controller() -> Operator:
    """The operator that keeps every StatefulSet."""
    app = Operator("statefulset-controller")
    orphans = Orphans.followed(app, Pod, StatefulSet)

    def adopters(pod: Pod) -> Iterator[Key]:
        return (key for key in orphans.wanted_by(tree_of(pod)) if ordinal_of(key.name, tree_of(pod)) is not None)

    @app.on.reconcile(StatefulSet, owns=(Pod,), watches=(Watch(Pod, to=adopters),), workers=5)
    async def replicas(stateful_set: StatefulSet, cluster: Cluster, events: EventRecorder, clock: Clock) -> Requeue | None:
        tree = tree_of(stateful_set)
        selector = label_selector(tree["spec"].get("selector"))
        owned = map(tree_of, await cluster.list(Pod, stateful_set.namespace, owner=stateful_set))
        loose = [p for p in orphans.matching(stateful_set.namespace, selector) if ordinal_of(stateful_set.name, p) is not None]
        try:
            pods = await settle(cluster, Pod, stateful_set, claim(tree, selector, owned, loose))
            if len(pods) < (tree.get("status") or {}).get("replicas", 0):
                await ensure_there(cluster, stateful_set)
            history = await history_of(stateful_set, cluster)
            return await _Pass(stateful_set, tree, pods, history, cluster, events, clock).run()
        except ConflictError:
            return Requeue(0.01)  # a Pod changed under us: its newer state is on its way

    return app


@attrs.define
class _Pass:
    """One pass over one StatefulSet."""

    owner: StatefulSet
    tree: Tree
    pods: list[Tree]
    history: History
    cluster: Cluster
    events: EventRecorder
    clock: Clock

    async def run(self) -> Requeue | None:
        """Do the next thing, if there is one, and tell how it stands.

        Raises:
            ApiError: a write failed; the status is written, and the pass is repeated with back-off.
        """
        spec, before = self.tree["spec"], self.tree.get("status") or {}
        current = self.history.named(before.get("currentRevision")) or self.history.update
        error: ApiError | None = None
        try:
            await self._step(current)
        except ConflictError:
            raise
        except ApiError as failed:
            error = failed
        status = self._status(current)
        await write_status(self.cluster, self.owner, status, unless_zero=_COUNTS)
        used = {status["currentRevision"], *map(revision_of, self.pods)}
        await forget(self.history, used, spec.get("revisionHistoryLimit", 10), self.cluster)
        if error is not None:
            raise error
        return self._again()

    async def _step(self, current: Tree) -> None:
        spec = self.tree["spec"]
        start, replicas = (spec.get("ordinals") or {}).get("start", 0), spec.get("replicas", 1)
        numbered = {n: pod for pod in self.pods if (n := ordinal_of(self.owner.name, pod)) is not None}
        wanted = range(start, start + replicas)
        condemned = sorted((n for n in numbered if n not in wanted), reverse=True)
        in_order = spec.get("podManagementPolicy") != "Parallel"
        for ordinal in wanted:
            if not await self._keep(ordinal, numbered.get(ordinal), current) and in_order:
                return
        for ordinal in condemned:
            pod = numbered[ordinal]
            first = next((n for n in sorted(numbered) if not self._healthy(numbered[n])), None)
            if pod["metadata"].get("deletionTimestamp") or (in_order and not self._healthy(pod) and ordinal != first):
                if in_order:
                    return
                continue
            await self._condemn(pod, ordinal)
            if in_order:
                return
        await self._update(wanted, numbered)

    async def _keep(self, ordinal: int, pod: Tree | None, current: Tree) -> bool:
        """See that there is a Pod of a number. Returns whether the next one may follow."""
        if pod is None:
            await self._create(ordinal, self._revision_for(ordinal, current))
            return False
        if is_finished(pod):
            if not pod["metadata"].get("deletionTimestamp"):
                phase = pod["status"]["phase"]
                self.events.warning(f"Recreating{phase}Pod", f"StatefulSet {self._title} is recreating {phase} Pod {_name(pod)}")
                await self.cluster.delete(typed(Pod, pod))
            return False
        return self._healthy(pod)

    def _revision_for(self, ordinal: int, current: Tree) -> Tree:
        """What a new Pod is made of: below the partition of an update, what was there before."""
        strategy = self.tree["spec"].get("updateStrategy") or {}
        start = (self.tree["spec"].get("ordinals") or {}).get("start", 0)
        rolling = strategy.get("rollingUpdate")
        if strategy.get("type") != "RollingUpdate" or rolling is None:
            return self.history.update
        return current if ordinal < start + (rolling.get("partition") or 0) else self.history.update

    async def _create(self, ordinal: int, revision: Tree) -> None:
        reference = tree_of(self.owner.owner_reference())
        for tree in claim_trees(self.tree, ordinal, reference):
            await self._claim(tree)
        made = pod_tree(self.tree, ordinal, revision, reference)
        name = made["metadata"]["name"]
        try:
            self.pods.append(tree_of(await self.cluster.create(typed(Pod, made))))
        except ApiError as error:
            self.events.warning("FailedCreate", f"create Pod {name} in StatefulSet {self._title} failed error: {error.message}")
            raise
        self.events.normal("SuccessfulCreate", f"create Pod {name} in StatefulSet {self._title} successful")

    async def _claim(self, tree: Tree) -> None:
        meta = tree["metadata"]
        try:
            await self.cluster.client.get(persistent_volume_claim(), meta["name"], meta["namespace"])
        except NotFoundError:
            try:
                await self.cluster.client.create(persistent_volume_claim(), tree, meta["namespace"])
            except AlreadyExistsError:
                return
            self.events.normal("SuccessfulCreate", f"create Claim {meta['name']} in StatefulSet {self._title} success")

    async def _update(self, wanted: range, numbered: dict[int, Tree]) -> None:
        """Replace the last Pod that is of an old revision, when all behind it are well."""
        strategy = self.tree["spec"].get("updateStrategy") or {}
        if strategy.get("type") == "OnDelete":
            return
        partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0
        for ordinal in reversed(wanted):
            pod = numbered.get(ordinal)
            if ordinal < wanted.start + partition or pod is None:
                return
            if revision_of(pod) != self.history.update["metadata"]["name"] and not pod["metadata"].get("deletionTimestamp"):
                await self._delete(pod, "replaced")
                return
            if not self._healthy(pod):
                return

    async def _delete(self, pod: Tree, why: str) -> None:
        await self.cluster.delete(typed(Pod, pod))
        self.events.normal("SuccessfulDelete", f"delete Pod {_name(pod)} in StatefulSet {self._title} successful: {why}")

    async def _condemn(self, pod: Tree, ordinal: int) -> None:
        """Delete a Pod that is too many. Its claims belong to it from now on, where they are to go with it."""
        policy = self.tree["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
        if policy.get("whenScaled") == "Delete":
            reference = {"apiVersion": "v1", "kind": "Pod", "name": _name(pod), "uid": pod["metadata"]["uid"]}
            for tree in claim_trees(self.tree, ordinal, reference):
                meta = tree["metadata"]
                with suppress(NotFoundError):
                    change = Patch(MERGE_PATCH, {"metadata": {"ownerReferences": [reference]}})
                    await self.cluster.client.patch(persistent_volume_claim(), meta["name"], change, meta["namespace"])
        await self._delete(pod, "scaled down")

    def _healthy(self, pod: Tree) -> bool:
        return is_healthy(pod, self.tree["spec"].get("minReadySeconds", 0), self.clock.now())

    def _status(self, current: Tree) -> Tree:
        spec = self.tree["spec"]
        names = current["metadata"]["name"], self.history.update["metadata"]["name"]
        staying = [pod for pod in self.pods if not pod["metadata"].get("deletionTimestamp")]
        status: Tree = {
            "observedGeneration": self.tree["metadata"].get("generation", 0), "replicas": len(self.pods),
            "readyReplicas": sum(map(runs, self.pods)), "availableReplicas": sum(map(self._healthy, self.pods)),
            "currentReplicas": sum(revision_of(pod) == names[0] for pod in staying),
            "updatedReplicas": sum(revision_of(pod) == names[1] for pod in staying),
            "currentRevision": names[0], "updateRevision": names[1],
        }  # fmt: skip
        rolls = (spec.get("updateStrategy") or {}).get("type") == "RollingUpdate"
        if rolls and status["updatedReplicas"] == status["replicas"] == status["readyReplicas"]:
            status["currentRevision"], status["currentReplicas"] = names[1], status["updatedReplicas"]
        return status

    def _again(self) -> Requeue | None:
        """When a Pod becomes available by waiting alone."""
        min_ready_s, now_s = self.tree["spec"].get("minReadySeconds", 0), self.clock.now()
        times = [at for pod in self.pods if (at := available_at_s(pod, min_ready_s)) is not None and at > now_s]
        return Requeue(min(times) - now_s) if times else None

    @property
    def _title(self) -> str:
        return self.owner.name


def _name(pod: Tree) -> str:
    return str(pod["metadata"]["name"])
