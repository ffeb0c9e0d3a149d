"""One pass over one Deployment: its ReplicaSets as they are now, and the writes that change them.

Source: k8s.io/kubernetes/pkg/controller/deployment/sync.go
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from reconcile.clock import Clock
from reconcile.errors import AlreadyExistsError, ApiError, ConflictError, Tree
from reconcile.handling import Cluster, EventRecorder
from reconcile.kinds import typed
from reconcile.resources.core import Pod
from reconcile.views import tree_of

from .deployment import Deployment
from .deployment_status import PROGRESSING, deadline_s, find, put
from .pod_state import controller_of, is_finished
from .replicaset import ReplicaSet
from .revisions import (
    REVISION,
    annotations_for,
    find_new,
    replica_set_tree,
    replicas_annotations,
    revision_of,
    same_template,
    size_of,
    template_hash,
)
from .rolling import Limits, Size, limits_of, new_size


@attrs.define
class Rollout:
    """What a pass works on. `status` is the working copy of the Deployment's status; `sets` its ReplicaSets."""

    deployment: Deployment
    tree: Tree
    limits: Limits
    status: Tree
    by_name: dict[str, Tree]
    cluster: Cluster
    events: EventRecorder
    clock: Clock
    new_name: str = ""

    @classmethod
    def of(cls, deployment: Deployment, sets: Iterable[Tree], cluster: Cluster, events: EventRecorder, clock: Clock) -> Rollout:
        """Start a pass over what the cache holds."""
        tree = tree_of(deployment)
        by_name = {rs["metadata"]["name"]: rs for rs in sets}
        status = {**(tree.get("status") or {})}
        made = cls(deployment, tree, limits_of(tree["spec"]), status, by_name, cluster, events, clock)
        new = find_new(tree["spec"]["template"], made.sets)
        made.new_name = new["metadata"]["name"] if new else ""
        return made

    @property
    def sets(self) -> list[Tree]:
        """All ReplicaSets of the Deployment."""
        return list(self.by_name.values())

    @property
    def new(self) -> Tree | None:
        """The ReplicaSet of the current template, once found or made."""
        return self.by_name.get(self.new_name)

    @property
    def old(self) -> list[Tree]:
        """All the others."""
        return [rs for name, rs in self.by_name.items() if name != self.new_name]

    async def find_new(self, *, create: bool) -> Tree:
        """Bring the current ReplicaSet's annotations up to date; make it where there is none and `create` says so.

        Returns it (an empty tree where there is none).

        Raises:
            ConflictError: it, or another ReplicaSet of its name, is not what the cache says; try again.
        """
        existing = self.new
        if existing is None:
            return await self._make() if create else {}
        annotations = annotations_for(self.tree, existing, self.old, self.limits)
        min_ready_s = self.tree["spec"].get("minReadySeconds", 0)
        meta = existing["metadata"]
        stale = annotations != (meta.get("annotations") or {})
        if stale or min_ready_s != existing["spec"].get("minReadySeconds", 0):
            spec = {**existing["spec"], "minReadySeconds": min_ready_s}
            existing = await self._update({**existing, "metadata": {**meta, "annotations": annotations}, "spec": spec})
        if deadline_s(self.tree["spec"]) is not None and find(self.status, PROGRESSING) is None:
            message = f'Found new replica set "{self.new_name}"'
            put(self.status, PROGRESSING, "True", "FoundNewReplicaSet", message, self.clock.now())
        await self._note_revision(existing)
        return existing

    async def resize(self, name: str, replicas: int) -> None:
        """Scale one ReplicaSet, note in it what it was scaled for, and tell."""
        rs = self.by_name[name]
        before = rs["spec"].get("replicas", 1)
        meta = rs["metadata"]
        annotations = {**(meta.get("annotations") or {}), **replicas_annotations(self.limits)}
        if before == replicas and annotations == meta.get("annotations"):
            return
        spec = {**rs["spec"], "replicas": replicas}
        await self._update({**rs, "metadata": {**meta, "annotations": annotations}, "spec": spec})
        if before != replicas:
            way = "up" if replicas > before else "down"
            self.events.normal("ScalingReplicaSet", f"Scaled {way} replica set {name} from {before} to {replicas}")

    async def drop(self, rs: Tree) -> None:
        """Delete an old ReplicaSet from the history."""
        await self.cluster.delete(typed(ReplicaSet, rs))
        self.by_name.pop(rs["metadata"]["name"], None)

    async def old_pods_run(self) -> bool:
        """Whether a Pod of an old ReplicaSet has not ended yet; terminating ones still run."""
        if any((rs.get("status") or {}).get("replicas", 0) for rs in self.old):
            return True
        for rs in self.old:
            pods = await self.cluster.list(Pod, self.deployment.namespace, owner=typed(ReplicaSet, rs))
            if any(not is_finished(tree_of(pod)) for pod in pods):
                return True
        return False

    async def _make(self) -> Tree:
        hash_ = template_hash(self.tree["spec"]["template"], self.status.get("collisionCount"))
        made = replica_set_tree(self.tree, hash_)
        name = made["metadata"]["name"]
        replicas = new_size(self.limits, Size(name, 0), [size_of(rs) for rs in self.old])
        made["spec"]["replicas"] = replicas
        made["metadata"]["annotations"] = annotations_for(self.tree, None, self.old, self.limits)
        made["metadata"]["ownerReferences"] = [tree_of(self.deployment.owner_reference())]
        try:
            stored = tree_of(await self.cluster.create(typed(ReplicaSet, made)))
        except AlreadyExistsError:
            stored = await self._existing(name)
        except ApiError as error:
            await self._tell_failure(name, error)
            raise
        else:
            if replicas:
                self.events.normal("ScalingReplicaSet", f"Scaled up replica set {name} from 0 to {replicas}")
            if deadline_s(self.tree["spec"]) is not None:
                message = f'Created new replica set "{name}"'
                put(self.status, PROGRESSING, "True", "NewReplicaSetCreated", message, self.clock.now())
        self.by_name[name] = stored
        self.new_name = name
        await self._note_revision(stored)
        return stored

    async def _existing(self, name: str) -> Tree:
        """The ReplicaSet that has the name already, if it is ours; otherwise the hash collided and gets another seed."""
        found = tree_of(await self.cluster.fresh(ReplicaSet, name, self.deployment.namespace))
        ours = (controller_of(found) or {}).get("uid") == self.deployment.uid
        if ours and same_template(found["spec"]["template"], self.tree["spec"]["template"]):
            return found
        collisions = self.status.get("collisionCount") or 0
        await self.cluster.patch(self.deployment, {"status": {"collisionCount": collisions + 1}}, subresource="status")
        raise ConflictError(f"replica set {name!r} exists already and holds another template; the next attempt uses another hash")

    async def _tell_failure(self, name: str, error: ApiError) -> None:
        if any(cause.reason == "NamespaceTerminating" for cause in error.causes):
            return
        message = f'Failed to create new replica set "{name}": {error.message}'
        if deadline_s(self.tree["spec"]) is not None:
            put(self.status, PROGRESSING, "False", "ReplicaSetCreateError", message, self.clock.now())
            conditions = self.status["conditions"]
            await self.cluster.patch(self.deployment, {"status": {"conditions": conditions}}, subresource="status")
        self.events.warning("ReplicaSetCreateError", message)

    async def _update(self, rs: Tree) -> Tree:
        stored = tree_of(await self.cluster.update(typed(ReplicaSet, rs)))
        self.by_name[stored["metadata"]["name"]] = stored
        return stored

    async def _note_revision(self, new: Tree) -> None:
        """Copy the current revision to the Deployment, where clients look for it."""
        revision = str(revision_of(new))
        if (self.tree["metadata"].get("annotations") or {}).get(REVISION) != revision:
            await self.cluster.patch(self.deployment, {"metadata": {"annotations": {REVISION: revision}}})
