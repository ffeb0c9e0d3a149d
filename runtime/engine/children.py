"""Children: what a reconcile handler yields is applied, owned, and pruned when it is yielded no longer.

A child is applied (server-side, with the operator as field manager) when the desired state is new to us or the cached child
no longer carries it. It is known as a child by its controlling owner reference and by an annotation that names the handler:
two handlers on one object never prune each other's children, nor what somebody created by hand. A handler that raised or
was cancelled has declared nothing, so nothing is pruned then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconcile.errors import PermanentError, TemporaryError, Tree
from reconcile.handling import Requeue, Wait
from reconcile.kinds import Kind, Resource, typed
from reconcile.views import tree_of

from .access import apply_tree
from .attempt import Attempt
from .cache import controller_uid
from .informer import Informer
from .progress import digest
from .queue import ObjectKey
from .status import carries

if TYPE_CHECKING:
    from .reconciling import Reconciling

YIELDED_BY = "reconcile.dev/yielded-by"
ChildKey = tuple[Informer, ObjectKey]


def kind_text(kind: Kind) -> str:
    """`apps/v1/deployments`: a kind in few letters, for the annotation that outlives the process."""
    return f"{kind.api_version}/{kind.plural}"


class Applied:
    """What was last applied for the objects of one handler, in memory: digest and the revision it ended as."""

    def __init__(self) -> None:
        self._by_parent: dict[ObjectKey, dict[ChildKey, tuple[str, str]]] = {}

    def of(self, parent: ObjectKey) -> dict[ChildKey, tuple[str, str]]:
        """The children of one object."""
        return self._by_parent.setdefault(parent, {})

    def forget(self, parent: ObjectKey) -> None:
        """The object is gone."""
        self._by_parent.pop(parent, None)


class Children:
    """The children that one run of a handler declares."""

    def __init__(self, controller: Reconciling, attempt: Attempt) -> None:
        self._controller, self._attempt = controller, attempt
        self._parent: Resource = attempt.obj
        self._mark = f"{controller.operation.domain}/{controller.handler.name}"
        self._declared: dict[ChildKey, None] = {}
        self._kinds: set[str] = set()
        self.result: Requeue | Wait | None = None

    async def take(self, item: Any) -> Any:
        """Apply what was yielded: a child, several, or (where a generator cannot return) a Requeue or Wait."""
        if isinstance(item, Resource):
            return await self._child(item)
        if isinstance(item, Requeue | Wait):
            self.result = item
            return None
        if item is None:
            return None
        if isinstance(item, list | tuple):
            return [await self.take(one) for one in item]
        raise PermanentError(
            f"yielded {type(item).__name__}; yield resources, or Requeue(after_s=...) or Wait(for_=...) to be run again"
        )

    async def _child(self, child: Resource) -> Resource:
        kind = type(child).__kind__
        tree = self._desired(child, kind)
        meta = tree["metadata"]
        key: ObjectKey = (meta.get("namespace", ""), meta["name"])
        informer = await self._controller.child_informer(type(child))
        if (informer, key) in self._declared:
            raise PermanentError(f"yielded {kind.kind} {meta['name']} twice; one run declares a child once")
        cached = informer.cache.get(key)
        self._check_owner(kind, key, cached)
        self._declared[informer, key] = None
        self._kinds.add(kind_text(kind))
        wanted = digest(tree)
        applied = self._controller.applied.of(self._attempt.key)
        if cached is not None and (known := applied.get((informer, key))) is not None and known[0] == wanted:
            now = tree_of(cached)
            if now["metadata"].get("resourceVersion") == known[1] or carries(now, tree):
                return cached
        cluster = self._attempt.cluster
        if cached is None and (informer, key) in applied:
            await self._check_parent()
        result = await cluster.apply_plain(kind, tree, key[0])
        self._attempt.wrote(kind, result)
        applied[informer, key] = (wanted, str(result["metadata"].get("resourceVersion", "")))
        return cluster_view(informer, result)

    def _desired(self, child: Resource, kind: Kind) -> Tree:
        parent = self._parent
        tree = apply_tree(child)
        meta = tree["metadata"]
        if not meta.get("name"):
            raise PermanentError(f"yielded a {kind.kind} without a name; children need names that the object determines")
        parent_namespaced = type(parent).__kind__.namespaced
        if kind.namespaced:
            meta["namespace"] = meta.get("namespace") or parent.namespace
            if not meta["namespace"]:
                raise PermanentError(f"yielded {kind.kind} {meta['name']} without a namespace; its owner has none to lend")
        if parent_namespaced and meta.get("namespace", "") != parent.namespace:
            where = f"in namespace {meta['namespace']}" if kind.namespaced else "of the whole cluster"
            raise PermanentError(
                f"yielded {kind.kind} {meta['name']} {where}, but an object of namespace {parent.namespace} can own only "
                f"what lives there; write it with cluster.apply and clean it up in a .cleanup handler"
            )
        meta["annotations"] = {**(meta.get("annotations") or {}), YIELDED_BY: self._mark}
        ours = tree_of(parent.owner_reference())
        others = [r for r in meta.get("ownerReferences") or () if r.get("uid") != ours["uid"]]
        meta["ownerReferences"] = [*others, ours]
        return tree

    def _check_owner(self, kind: Kind, key: ObjectKey, cached: Resource | None) -> None:
        owner = controller_uid(tree_of(cached)) if cached is not None else ""
        if owner and owner != self._parent.uid:
            raise PermanentError(f"{kind.kind} {key[1]} is there already and belongs to another controller; choose another name")

    async def _check_parent(self) -> None:
        """Before a child that vanished is made again: ask the server whether its owner is still there.

        News of the owner's end may come later than news of the child's, which the garbage collector has deleted for just that
        reason; without this question the two would make and delete the child until it comes.
        """
        parent, kind = self._parent, type(self._parent).__kind__
        if not await self._attempt.cluster.is_there(kind, parent.namespace, parent.name, parent.uid):
            raise TemporaryError(f"{kind.kind} {parent.name} is gone, though the cache does not show it yet")

    async def prune(self) -> None:
        """Delete what earlier runs of this handler made for this object and this run did not declare."""
        parent = self._attempt.key
        progress = self._controller.operation.progress_of(self._parent)
        controller = self._controller
        progress.mark_yielded(controller.id, self._kinds)
        for informer in await controller.child_informers(progress.yielded(controller.id)):
            for key, child in list(informer.cache.owned(self._parent.uid).items()):
                if (informer, key) in self._declared or child.deleting:
                    continue
                if (tree_of(child)["metadata"].get("annotations") or {}).get(YIELDED_BY) == self._mark:
                    await self._attempt.cluster.delete(child, propagation="Background")
        applied = controller.applied.of(parent)
        for gone in [child for child in applied if child not in self._declared]:
            del applied[gone]

    async def keep(self) -> None:
        """Note the kinds on the object, so that pruning survives a restart with other code; writes only what is new."""
        progress = self._controller.operation.progress_of(self._parent)
        progress.mark_yielded(self._controller.id, self._kinds)
        await self._controller.operation.keep(self._attempt, progress)


def cluster_view(informer: Informer, tree: Tree) -> Resource:
    """What a write returned, as the informer would show it."""
    return typed(informer.cls, tree, frozen=True)
