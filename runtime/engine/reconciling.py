"""Runs one reconcile handler for the objects of one kind: level-triggered, by key.

A key is queued when its object changes, when something it owns or has read changes, when a mapped object changes, after the
delay that the handler asked for, and after a failure. It runs on a cache that shows its own last writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from reconcile.errors import PermanentError, Tree
from reconcile.handling import Requeue, Wait
from reconcile.kinds import Resource, kind_of
from reconcile.registry import Handler, Watch
from reconcile.views import tree_of

from .attempt import Attempt, Call
from .children import Applied, Children
from .consistency import OwnWrites
from .dependencies import Dependencies, Read
from .filter import compiled
from .informer import Change, Informer
from .journal import Attempted
from .progress import digest, essence, short_hash
from .queue import Item, ObjectKey, WorkQueue
from .verdict import verdict

if TYPE_CHECKING:
    from .operation import Operation


class Relation:
    """Another kind whose changes run the handler: children, mapped objects, and whatever was read."""

    def __init__(self, controller: Reconciling) -> None:
        self.dependencies = Dependencies()
        self.owned = False
        self.watches: list[Watch] = []
        self._controller = controller
        self._kind = controller.informer.kind

    def changed(self, _change: Change, key: ObjectKey, obj: Resource, old: Resource | None, initial: bool) -> None:
        """Queue whom it concerns."""
        new, before = tree_of(obj), tree_of(old) if old is not None and old is not obj else None
        queue = self._controller.queue
        revision = int(new["metadata"].get("resourceVersion") or 0)
        if self.owned:
            for owner in self._owners(new, before):
                queue.add(owner, revision=revision, reason="related", listed=initial)
        for reader in self.dependencies.readers(key, new, before):
            queue.add(reader, revision=revision, reason="related", listed=initial)
        for watch in self.watches:
            for mapped in self._mapped(watch, obj, old):
                queue.add(mapped, revision=revision, reason="related", listed=initial)

    def _owners(self, *trees: Tree | None) -> set[ObjectKey]:
        kind = self._kind
        found: set[ObjectKey] = set()
        for tree in trees:
            for reference in tree["metadata"].get("ownerReferences") or () if tree is not None else ():
                if (
                    reference.get("controller")
                    and reference.get("kind") == kind.kind
                    and str(reference.get("apiVersion")).rpartition("/")[0] == kind.group
                ):
                    space = tree["metadata"].get("namespace", "") if kind.namespaced and tree is not None else ""
                    found.add((space, reference["name"]))
        return found

    def _mapped(self, watch: Watch, obj: Resource, old: Resource | None) -> Iterable[ObjectKey]:
        found: set[ObjectKey] = set()
        for seen in (obj, old):
            if seen is not None:
                try:
                    found.update((key.namespace, key.name) for key in watch.to(seen))
                except Exception as error:  # noqa: BLE001 - the user's mapping function: reported, and the other news goes on
                    self._controller.operation.failed(self._controller.handler, error, about=seen, retry_s=None)
        return found


class Reconciling:
    """The controller of one reconcile handler."""

    def __init__(self, operation: Operation, handler: Handler, informer: Informer) -> None:
        self.operation, self.handler, self.informer = operation, handler, informer
        self.id = short_hash(handler.name)
        self.applied = Applied()
        self.writes = OwnWrites(operation.running)
        self.waits: dict[ObjectKey, str] = {}
        self._call = Call(handler)
        self._matches = compiled(handler)
        self._relations: dict[Informer, Relation] = {}
        self._reads: dict[ObjectKey, set[tuple[Informer, Read]]] = {}
        self._given_up: dict[ObjectKey, str] = {}
        self.queue = WorkQueue(
            self._process, clock=operation.clock, alarm=operation.alarm, spawn=operation.tasks.spawn,
            name=f"{operation.domain} {handler.name} {informer.kind.plural}", workers=handler.workers,
            backoff_s_first=handler.backoff_s_first, backoff_s_max=handler.backoff_s_max,
            gate=operation.gate, forgotten=self._forget,
        )  # fmt: skip

    @property
    def idle(self) -> bool:
        """Whether nothing is due now."""
        return self.queue.idle

    def start(self) -> None:
        """Follow the kind, what it owns, and what is mapped to it."""
        for cls in self.handler.owns:
            self._relation(self.operation.following(kind_of(cls))).owned = True
        for watch in self.handler.watches:
            informer = self.operation.following(kind_of(watch.cls))
            relation = self._relation(informer)
            relation.watches.append(watch)
            for key, obj in list(informer.cache.objects.items()):
                relation.changed("ADDED", key, obj, None, True)
        self.informer.subscribe(self._changed)

    def stop(self) -> None:
        """Follow nothing any more."""
        self.informer.unsubscribe(self._changed)
        for informer, relation in self._relations.items():
            informer.unsubscribe(relation.changed)
        self.queue.close()

    def gained(self, key: ObjectKey, obj: Resource) -> None:
        """The object is this replica's from now on."""
        self._changed("ADDED", key, obj, None, True)

    def lost(self, key: ObjectKey) -> None:
        """The object is another replica's from now on."""
        self.queue.let_go(key)

    async def handed_over(self) -> None:
        """Wait until nothing runs for objects of other replicas."""
        await self.queue.handed_over()

    async def child_informer(self, cls: type[Resource]) -> Informer:
        """The informer of a yielded kind, synced; its changes run the owner from now on."""
        informer = await self.operation.reading(cls)
        self._relation(informer).owned = True
        return informer

    async def child_informers(self, kinds: Iterable[str]) -> list[Informer]:
        """The informers of kinds known by text only (from the annotation); those not served any more are left out."""
        found = []
        for text in kinds:
            informer = await self.operation.reading_text(text)
            if informer is not None:
                self._relation(informer).owned = True
                found.append(informer)
        return found

    def _relation(self, informer: Informer) -> Relation:
        relation = self._relations.get(informer)
        if relation is None:
            relation = self._relations[informer] = Relation(self)
            informer.subscribe(relation.changed)
        return relation

    def _changed(self, _change: Change, key: ObjectKey, obj: Resource, old: Resource | None, initial: bool) -> None:
        if old is None or self._matches(obj) or self._matches(old):
            revision = int(tree_of(obj)["metadata"].get("resourceVersion") or 0)
            self.queue.add(key, revision=revision, reason="restart" if initial else "change", listed=initial)

    async def _process(self, item: Item) -> None:
        key = item.key
        obj = self.informer.cache.objects.get(key)
        if obj is None:
            self._forget(key)
            return
        if self.writes.park(key, lambda: self.queue.add(key, revision=item.revision, reason=item.reason)):
            return
        if not self._matches(obj):
            return
        deleting = "deletionTimestamp" in tree_of(obj)["metadata"]
        if deleting and not self.handler.while_deleting:
            self._forget_reads(key)
            return
        if self._given_up and (state := self._given_up.get(key)) is not None:
            if state == self._state(obj):
                return
            del self._given_up[key]
        await self._attempt(item, obj, deleting)

    async def _attempt(self, item: Item, obj: Resource, deleting: bool) -> None:
        key = item.key
        reads: set[tuple[Informer, Read]] = set()
        failures = self.queue.failures(key)

        def track(informer: Informer, read: Read) -> None:
            # At once: what changes while the handler still runs must run it again.
            if (informer, read) not in reads:
                reads.add((informer, read))
                self._relation(informer).dependencies.add(read, key)

        attempt = Attempt(self.operation, self.handler, obj, key=key, failures=failures, writes=self.writes, track=track)
        attempt.first_s = self.queue.failing_since(key)
        children = None
        if self._call.yields or self.operation.annotated(obj):
            children = Children(self, attempt)
        self.waits.pop(key, None)
        with self.operation.noted(self.handler, self.informer.kind, item) as noted:
            try:
                if not deleting:
                    await self.operation.hold(attempt)
                result = await self._call.run(attempt, noted.trigger, children.take if children is not None else None)
                if children is not None:
                    await children.prune()
                    result = result if result is not None else children.result
                await attempt.finish(self.operation.progress_of(obj) if children is not None else None)
                self._arrange(noted, result)
            except Exception as error:  # noqa: BLE001 - whatever a handler raises is judged, and hurts nobody else
                self._keep_reads(key, reads, also_before=True)
                await self._failed(noted, attempt, error, failures)
            else:
                self._keep_reads(key, reads, also_before=False)
                self.queue.succeeded(key)
                self.operation.succeeded(self.handler, self.informer.kind, key)
            if children is not None:
                await children.keep()

    def _arrange(self, noted: Attempted, result: Any) -> None:
        """Do as the handler asks."""
        key, journal = noted.key, self.operation.engine.journal
        if isinstance(result, Requeue):
            self.queue.add_after(key, result.after_s)
            journal.end(noted, "again", "", result.after_s)
        elif isinstance(result, Wait):
            self.waits[key] = result.for_
            self.queue.add_after(key, result.at_most_s, reason="wait")
            journal.end(noted, "waits", result.for_, result.at_most_s)
        elif result is not None:
            raise PermanentError(
                f"returned {type(result).__name__}; return nothing, Requeue(after_s=...) or Wait(for_=...), and yield children"
            )
        if self.handler.resync_s > 0:
            spread = 0.9 + 0.2 * self.operation.clock.random.random()
            self.queue.add_after(key, self.handler.resync_s * spread, reason="resync")

    async def _failed(self, noted: Attempted, attempt: Attempt, error: Exception, failures: int) -> None:
        key = attempt.key
        judged = verdict(self.handler, error, failures, self.operation.clock.now() - attempt.first_s)
        if judged.stop:
            self._given_up[key] = self._state(attempt.cached)
            self.queue.succeeded(key)
            retry_s = None
        else:
            retry_s = self.queue.failed(key, judged.delay_s)
        self.operation.engine.journal.failed(noted, error, retry_s)
        self.operation.failed(self.handler, error, about=attempt.cached, failures=failures, retry_s=retry_s, quiet=judged.quiet)
        await attempt.finish_after(error)

    def _state(self, obj: Resource | None) -> str:
        if obj is None:
            return ""
        meta = tree_of(obj)["metadata"]
        return f"{meta.get('uid')} {'deletionTimestamp' in meta} {digest(essence(tree_of(obj)))}"

    def _keep_reads(self, key: ObjectKey, reads: set[tuple[Informer, Read]], *, also_before: bool) -> None:
        before = self._reads.get(key)
        if before:
            if also_before:
                reads |= before
            else:
                for informer, read in before - reads:
                    self._relation(informer).dependencies.remove(read, key)
        if reads:
            self._reads[key] = reads
        elif before:
            del self._reads[key]

    def _forget_reads(self, key: ObjectKey) -> None:
        self._keep_reads(key, set(), also_before=False)

    def _forget(self, key: ObjectKey) -> None:
        self._forget_reads(key)
        self.operation.succeeded(self.handler, self.informer.kind, key)
        self.queue.forget(key)
        self.writes.forget(key)
        self.applied.forget(key)
        self.waits.pop(key, None)
        self._given_up.pop(key, None)
