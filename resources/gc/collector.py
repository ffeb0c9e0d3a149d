"""The garbage collector: follows every kind served, and deletes what has no owner left.

- Background: the owner is gone; its dependents are deleted, each when it has no other owner.
- Foreground: the owner lingers (finalizer `foregroundDeletion`) until the dependents that block it are gone.
- Orphan: the owner lingers (finalizer `orphan`) until its dependents no longer name it.

Nothing is deleted on the word of a cache: the object and its owners are read from the server first, and the deletion names
uid and resourceVersion. A kind that is not served (now) proves nothing about its objects.

Source: K/pkg/controller/garbagecollector/garbagecollector.go
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import attrs

from reconcile.causality import because
from reconcile.client import MERGE_PATCH, DeleteOptions, Patch, Propagation
from reconcile.errors import ApiError, ConflictError, NotFoundError, Tree
from reconcile.handling import Cluster, EventRecorder
from reconcile.kinds import Kind, Resource, typed
from reconcile.registry import Operator
from reconcile.views import tree_of

from .graph import FOREGROUND, ORPHAN, Graph, Node

log = logging.getLogger(__name__)

WORKERS = 32
SETTLE_S = 1.0
"""How long an owner that was never seen may take to show up before the server is asked for it."""
_REMEMBERED_MAX = 4096
_BACKOFF_S_FIRST, _BACKOFF_S_MAX = 0.05, 60.0
_UNSERVED_S = 30.0
_DOMAIN = "garbage-collector"


class OwnerUnknownError(Exception):
    """An owner's kind is not served: whether the owner is there cannot be told now."""


@attrs.frozen
class Owners:
    """An object's owner references, by what became of the owners."""

    solid: Sequence[Tree]
    dangling: Sequence[Tree]
    waiting: Sequence[Tree]


def garbage_collector() -> Operator:
    """The operator that deletes what has no owner left."""
    app = Operator(_DOMAIN)
    collector = Collector()

    @app.on.event(Resource, inline=True)
    def saw(obj: Resource, event: str) -> None:
        collector.saw(type(obj).__kind__, tree_of(obj), event)

    @app.on.startup()
    async def begin(cluster: Cluster, events: EventRecorder) -> None:
        collector.begin(cluster, events)

    return app


class Collector:
    """The graph, what is to be looked at, and the workers that do."""

    def __init__(self) -> None:
        self.graph = Graph()
        self._pending: dict[str, int] = {}  # uid -> the revision that makes it worth a look
        self._working: set[str] = set()
        self._failures: dict[str, int] = {}
        self._suspects: dict[str, None] = {}
        self._absent: dict[str, None] = {}
        self._foreign: dict[str, None] = {}
        self._kinds: dict[tuple[str, str], Kind] = {}

    def begin(self, cluster: Cluster, events: EventRecorder) -> None:
        """Start the workers."""
        self._cluster, self._client, self._events = cluster, cluster.client, events
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        cluster.spawn(self._settle(), "settle")
        for number in range(WORKERS):
            cluster.spawn(self._work(), f"collect {number}")

    # What is seen

    def saw(self, kind: Kind, tree: Tree, event: str) -> None:
        """Take in one change."""
        revision = int(tree["metadata"].get("resourceVersion") or 0)
        if event == "DELETED":
            for uid in self.graph.lost(tree["metadata"].get("uid", "")):
                self._add(uid, revision)
            return
        for uid in self.graph.saw(kind, tree):
            node = self.graph.nodes.get(uid)
            if node is not None and any(ref.get("uid", "") not in self.graph.nodes for ref in node.owners):
                self._suspects[uid] = None  # its owner may only be late
            else:
                self._add(uid, revision)

    def _add(self, uid: str, revision: int = 0) -> None:
        self._pending[uid] = max(revision, self._pending.get(uid, 0))
        if self._started:
            self._wake.set()

    @property
    def _started(self) -> bool:
        return hasattr(self, "_wake")

    # Workers

    async def _settle(self) -> None:
        """Begin when every kind has been listed once; later, give unseen owners a moment before they are asked for."""
        await self._cluster.clock.sleep(SETTLE_S)
        for kind in await self._client.kinds():
            if kind.cls is not None:
                try:
                    await self._cluster.list(kind.cls, "settled" if kind.namespaced else None)
                except ApiError as error:
                    log.debug("not waiting for %s: %s", kind, error)
        self._settled.set()
        while True:
            for uid in list(self._suspects):
                del self._suspects[uid]
                self._add(uid)
            await self._cluster.clock.sleep(SETTLE_S)

    async def _work(self) -> None:
        await self._settled.wait()
        while True:
            uid = next((uid for uid in self._pending if uid not in self._working), None)
            if uid is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            revision = self._pending.pop(uid)
            self._working.add(uid)
            try:
                with because(revision, by="collect"):
                    await self._look(uid)
            except (ApiError, OwnerUnknownError) as error:
                self._retry(uid, error, revision)
            else:
                self._failures.pop(uid, None)
            finally:
                self._working.discard(uid)
                if uid in self._pending:
                    self._wake.set()

    def _retry(self, uid: str, error: Exception, revision: int) -> None:
        failures = self._failures[uid] = self._failures.get(uid, 0) + 1
        delay_s = min(_BACKOFF_S_FIRST * 2 ** min(failures - 1, 16), _BACKOFF_S_MAX)
        if isinstance(error, OwnerUnknownError):
            delay_s = _UNSERVED_S
        elif not isinstance(error, ConflictError):
            log.warning("collecting %s failed, again in %.2f s: %s", self.graph.nodes.get(uid, uid), delay_s, error)

        async def later() -> None:
            await self._cluster.clock.sleep(delay_s)
            if uid in self.graph.nodes:
                self._add(uid, revision)
            else:
                self._failures.pop(uid, None)

        self._cluster.spawn(later(), "retry")

    # Decisions

    async def _look(self, uid: str) -> None:
        """See what an object needs: to be orphaned from, to wait for its dependents, or to go."""
        node = self.graph.nodes.get(uid)
        if node is None:
            return
        if node.orphaning:
            await self._orphan_dependents(node)
        elif node.foreground:
            await self._finish_foreground(node)
        elif not node.deleting and node.owners:
            await self._judge(node)

    async def _orphan_dependents(self, owner: Node) -> None:
        """Let every dependent forget the owner, then let the owner go."""
        dependents = self.graph.dependents(owner.uid)
        await asyncio.gather(*(self._forget_owners(node, {owner.uid}) for node in dependents))
        await self._drop_finalizer(owner, ORPHAN)

    async def _finish_foreground(self, owner: Node) -> None:
        """Let the owner go once nothing blocks it; until then see to its dependents."""
        blocking = [node for node in self.graph.dependents(owner.uid) if node.blocks(owner.uid)]
        if not blocking:
            await self._drop_finalizer(owner, FOREGROUND)
            return
        for node in blocking:
            if not node.deleting:
                self._add(node.uid)

    async def _judge(self, node: Node) -> None:
        """Delete an object that has no owner left; let it forget owners that are gone where it has others."""
        if all(self.graph.settled(node, ref.get("uid", "")) for ref in node.owners):
            return
        tree = await self._fresh(node)
        if tree is None:
            for uid in self.graph.lost(node.uid):
                self._add(uid)
            return
        owners = await self._classified(node, tree["metadata"].get("ownerReferences") or ())
        if owners.solid:
            gone = {ref["uid"] for ref in (*owners.dangling, *owners.waiting)}
            if gone:
                await self._forget_owners(node, gone)
        elif owners.waiting and self.graph.has_dependents(node.uid):
            if any(dependent.foreground for dependent in self.graph.dependents(node.uid)):
                # Two that wait for each other would wait for ever: this one blocks nobody any more.
                tree = await self._unblock(node, tree) or tree
            await self._delete(node, tree, "Foreground")
        elif owners.waiting or owners.dangling:
            finalizers = tree["metadata"].get("finalizers") or ()
            policy: Propagation = "Background"
            if ORPHAN in finalizers:
                policy = "Orphan"
            elif FOREGROUND in finalizers:
                policy = "Foreground"
            await self._delete(node, tree, policy)

    async def _classified(self, node: Node, references: Sequence[Tree]) -> Owners:
        solid, dangling, waiting = [], [], []
        for reference in references:
            uid = reference.get("uid", "")
            known = self.graph.nodes.get(uid)
            if known is not None and known.namespace not in ("", node.namespace) and uid not in self._foreign:
                _remember(self._foreign, uid)
                self._tell_of_foreign_owner(node, known)
            if uid in self._foreign:
                continue
            owner = await self._owner(node, reference)
            if owner is None:
                dangling.append(reference)
            elif "deletionTimestamp" in owner["metadata"] and FOREGROUND in (owner["metadata"].get("finalizers") or ()):
                waiting.append(reference)
            else:
                solid.append(reference)
        return Owners(solid, dangling, waiting)

    def _tell_of_foreign_owner(self, node: Node, owner: Node) -> None:
        """A reference into another namespace means nothing: it neither keeps nor kills."""
        self._events.warning(
            "OwnerRefInvalidNamespace",
            f"ownerRef [{owner.kind.api_version}/{owner.kind.kind}, namespace: {owner.namespace}, name: {owner.name}, uid: "
            f"{owner.uid}] does not exist in namespace {node.namespace!r}",
            about=_shown(node),
        )

    async def _owner(self, node: Node, reference: Tree) -> Tree | None:
        """The owner as the server has it; None where it is gone (or another object has its name)."""
        uid = reference.get("uid", "")
        if uid in self._absent:
            return None
        kind = await self._kind(reference)
        if kind.namespaced and not node.namespace:
            raise OwnerUnknownError(f"{node} is in no namespace, and names a {kind.kind}, which is in one, as its owner")
        try:
            tree = await self._client.get(kind, reference.get("name", ""), node.namespace if kind.namespaced else "")
        except NotFoundError as error:
            if not error.details.get("name"):
                raise OwnerUnknownError(str(error)) from error  # the kind itself is not served
            tree = {"metadata": {}}
        if tree["metadata"].get("uid") == uid:
            return tree
        _remember(self._absent, uid)  # uids never come back
        return None

    async def _kind(self, reference: Tree) -> Kind:
        group = str(reference.get("apiVersion", "")).rpartition("/")[0]
        key = (group, str(reference.get("kind", "")))
        if key not in self._kinds:
            self._kinds = {(kind.group, kind.kind): kind for kind in await self._client.kinds()}
        kind = self._kinds.get(key)
        if kind is None:
            raise OwnerUnknownError(f"{reference.get('kind')} of {reference.get('apiVersion')} is not served")
        return kind

    # Writes

    async def _fresh(self, node: Node) -> Tree | None:
        """The object as the server has it; None where it is gone."""
        try:
            tree = await self._client.get(node.kind, node.name, node.namespace)
        except NotFoundError:
            return None
        return tree if tree["metadata"].get("uid") == node.uid else None

    async def _delete(self, node: Node, tree: Tree, policy: Propagation) -> None:
        meta = tree["metadata"]
        options = DeleteOptions(propagation=policy, uid=node.uid, resource_version=meta.get("resourceVersion", ""))
        try:
            await self._client.delete(node.kind, node.name, node.namespace, options)
        except NotFoundError:
            return

    async def _forget_owners(self, node: Node, uids: set[str]) -> None:
        """Take owner references out of an object."""
        tree = await self._fresh(node)
        if tree is not None:
            references = [ref for ref in tree["metadata"].get("ownerReferences") or () if ref.get("uid") not in uids]
            await self._patch(node, tree, {"ownerReferences": references or None})

    async def _unblock(self, node: Node, tree: Tree) -> Tree | None:
        references = [{**ref, "blockOwnerDeletion": False} for ref in tree["metadata"].get("ownerReferences") or ()]
        return await self._patch(node, tree, {"ownerReferences": references})

    async def _drop_finalizer(self, node: Node, finalizer: str) -> None:
        tree = await self._fresh(node)
        if tree is not None:
            finalizers = [name for name in tree["metadata"].get("finalizers") or () if name != finalizer]
            await self._patch(node, tree, {"finalizers": finalizers or None})

    async def _patch(self, node: Node, tree: Tree, change: Tree) -> Tree | None:
        """Change metadata of exactly the state in `tree`."""
        meta = tree["metadata"]
        body = {"metadata": {"uid": node.uid, "resourceVersion": meta.get("resourceVersion"), **change}}
        try:
            return await self._client.patch(node.kind, node.name, Patch(MERGE_PATCH, body), node.namespace, field_manager=_DOMAIN)
        except NotFoundError:
            return None


def _remember(uids: dict[str, None], uid: str) -> None:
    """Add to a set that forgets the oldest."""
    uids[uid] = None
    if len(uids) > _REMEMBERED_MAX:
        del uids[next(iter(uids))]


def _shown(node: Node) -> Resource:
    """The object for an Event to point at."""
    cls = node.kind.cls or Resource
    return typed(cls, {"metadata": {"name": node.name, "namespace": node.namespace, "uid": node.uid}})
