"""The ReplicaSet controller: as many Pods of one template as asked for, no more, no fewer.

It adopts matching Pods that nobody controls, releases Pods that no longer match, creates in growing batches, deletes in
the order of `deletion_ranking`, and counts. No expectations are kept: the engine does not run a handler on a cache that is
older than the handler's own writes.

Source: k8s.io/kubernetes/pkg/controller/replicaset/replica_set.go
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import attrs

from reconcile.clock import Clock
from reconcile.errors import ApiError, ConflictError, NotFoundError, Tree
from reconcile.handling import Cluster, EventRecorder, Requeue
from reconcile.kinds import typed
from reconcile.registry import Operator, Watch
from reconcile.resources.core import Pod
from reconcile.resources.core.replication import ReplicationController
from reconcile.views import tree_of

from .deletion_ranking import pods_to_delete
from .orphans import Orphans
from .ownership import claim, is_still_there, selector_of, settle
from .pod_batches import BURST_MAX, all_at_once, slow_start
from .pod_state import controller_of, is_active
from .replicaset import ReplicaSet
from .replicaset_status import Failure, counted
from .status_writing import write_status

_NAMED_EVENTS_MAX = 10  # Pods named one by one in Events; the rest of a batch is told as a number
_PAUSE_S_PER_POD, _PAUSE_S_MAX = 30e-6, 0.05
_GENERATE_NAME_MAX = 58  # the server adds five characters, and a Pod's name is at most a host name's 63
_COUNTS = frozenset(["fullyLabeledReplicas", "readyReplicas", "availableReplicas"])
Owner = ReplicaSet | ReplicationController


def replicaset_controller() -> Operator:
    """The operator that keeps every ReplicaSet at its number of Pods."""
    return _controller("replicaset-controller", ReplicaSet)


def replication_controller() -> Operator:
    """The operator that keeps every ReplicationController at its number of Pods; nothing else differs."""
    return _controller("replication-controller", ReplicationController)


def _controller(name: str, cls: type[Owner]) -> Operator:
    app = Operator(name)
    orphans = Orphans.followed(app, Pod, cls)

    @app.on.reconcile(cls, owns=(Pod,), watches=(Watch(Pod, to=orphans.adopters),), workers=5, while_deleting=True)
    async def replicas(
        replica_set: Owner, cluster: Cluster, events: EventRecorder, clock: Clock, memo: dict[str, Any]
    ) -> Requeue | None:
        await _pause(clock, memo)
        newest = await cluster.find(cls, replica_set.name, replica_set.namespace)
        if newest is None or newest.uid != replica_set.uid:
            return None
        try:
            return await _Pass(newest, cluster, events, clock, orphans, memo).run()
        except ConflictError:
            # A Pod that was to be adopted or released changed under us: the newer state is on its way to the cache.
            return Requeue(0.01)

    return app


async def _pause(clock: Clock, memo: dict[str, Any]) -> None:
    """Let the changes of a large set's Pods gather, so that a thousand of them do not cost a thousand counts."""
    wait_s = memo.get("next_s", 0.0) - clock.monotonic()
    if wait_s > 0.002:
        await clock.sleep(wait_s)


@attrs.define
class _Pass:
    """One pass over one ReplicaSet."""

    owner: Owner
    cluster: Cluster
    events: EventRecorder
    clock: Clock
    orphans: Orphans
    memo: dict[str, Any]

    async def run(self) -> Requeue | None:
        """Claim, create or delete, count.

        Raises:
            ApiError: Pods could not be created or deleted; the status says so, and the pass is repeated with back-off.
        """
        tree = tree_of(self.owner)
        pods = await self._claimed(tree)
        error: ApiError | None = None
        failure: Failure | None = None
        if not self.owner.deleting:
            active = [pod for pod in pods if is_active(pod)]
            surplus = len(active) - tree["spec"].get("replicas", 1)
            vanished = len(active) < (tree.get("status") or {}).get("replicas", 0)
            if surplus < 0 and vanished and not await is_still_there(self.cluster, self.owner):
                return None
            if surplus < 0:
                error = await self._create(tree, min(-surplus, BURST_MAX))
                failure = Failure("FailedCreate", error.message) if error else None
            elif surplus > 0:
                error = await self._delete(tree, active, min(surplus, BURST_MAX))
                failure = Failure("FailedDelete", error.message) if error else None
        done = counted(tree, pods, failure, self.clock.now())
        await write_status(self.cluster, self.owner, done.status, unless_zero=_COUNTS)
        self.memo["next_s"] = self.clock.monotonic() + min(len(pods) * _PAUSE_S_PER_POD, _PAUSE_S_MAX)
        if error is not None:
            raise error
        return Requeue(done.next_s - self.clock.now()) if done.next_s is not None else None

    async def _claimed(self, tree: Tree) -> list[Tree]:
        selector = selector_of(tree)
        owned = map(tree_of, await self.cluster.list(Pod, self.owner.namespace, owner=self.owner))
        found = claim(tree, selector, owned, self.orphans.matching(self.owner.namespace, selector))
        return await settle(self.cluster, Pod, self.owner, found)

    async def _create(self, tree: Tree, count: int) -> ApiError | None:
        template = pod_tree(tree, tree_of(self.owner.owner_reference()))

        async def create() -> str:
            # Every Pod gets a dict of its own: the server fills in the names at the top and shares what is below.
            made = await self.cluster.create(typed(Pod, {**template, "metadata": dict(template["metadata"])}))
            return made.name

        names, error = await slow_start(count, create)
        self._tell("SuccessfulCreate", "Created pod", names)
        if error is None:
            return None
        if any(cause.reason == "NamespaceTerminating" for cause in error.causes):
            return None  # nothing can be made there any more, and trying again would not change that
        self.events.warning("FailedCreate", f"Error creating: {error.message}")
        return error

    async def _delete(self, tree: Tree, active: Sequence[Tree], count: int) -> ApiError | None:
        related = await self._related(tree, active) if count < len(active) else active
        chosen = pods_to_delete(active, related, count, self.clock.now())

        async def delete(pod: Tree) -> str:
            with suppress(NotFoundError):  # then what was wanted has happened already
                await self.cluster.delete(typed(Pod, pod))
            return str(pod["metadata"]["name"])

        names, error = await all_at_once(chosen, delete)
        self._tell("SuccessfulDelete", "Deleted pod", names)
        if error is not None:
            self.events.warning("FailedDelete", f"Error deleting: {error.message}")
        return error

    async def _related(self, tree: Tree, active: Sequence[Tree]) -> list[Tree]:
        """The Pods of all ReplicaSets of the same Deployment."""
        controller = controller_of(tree)
        if controller is None:
            return list(active)
        related = list(active)
        for sibling in await self.cluster.list(ReplicaSet, self.owner.namespace):
            if sibling.uid != self.owner.uid and sibling.controller_uid() == controller["uid"]:
                related += map(tree_of, await self.cluster.list(Pod, self.owner.namespace, owner=sibling))
        return related

    def _tell(self, reason: str, what: str, names: Sequence[str]) -> None:
        for name in names[:_NAMED_EVENTS_MAX]:
            self.events.normal(reason, f"{what}: {name}")
        if len(names) > _NAMED_EVENTS_MAX:
            self.events.normal(reason, f"{what}s: {len(names) - _NAMED_EVENTS_MAX} more")


def pod_tree(replica_set: Tree, reference: Tree) -> Tree:
    """A new Pod of the ReplicaSet's template; the server completes its name.

    Source: GetPodFromTemplate in k8s.io/kubernetes/pkg/controller/controller_utils.go
    """
    meta, template = replica_set["metadata"], replica_set["spec"]["template"]
    of_template = template.get("metadata") or {}
    made = {
        "generateName": f"{meta['name'][: _GENERATE_NAME_MAX - 1]}-",
        "namespace": meta["namespace"],
        "labels": dict(of_template.get("labels") or {}),
        "ownerReferences": [reference],
    }
    if of_template.get("annotations"):
        made["annotations"] = dict(of_template["annotations"])
    if of_template.get("finalizers"):
        made["finalizers"] = list(of_template["finalizers"])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": template["spec"]}
