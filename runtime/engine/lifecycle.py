"""Runs create, update, delete, resume and field handlers of one operator for the objects of one kind.

Nothing is decided from events: when a key is dequeued, each handler is judged by the cached object and by the digest of what
this very handler saw when it last succeeded (kept on the object, see `progress`). So no handler's success hides a change
from another, a change made while a handler runs is seen by its next run, and a restart repeats nothing. Handlers of one
object run one after the other, in the order of their declaration; each has its own back-off.

`old` and `diff` come from memory: after a restart `old` is None and `diff` is empty until the next change.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import attrs

from reconcile.errors import ConflictError, DeclarationError, Tree
from reconcile.filters import PRESENT, Criterion, Judging, Presence, holds
from reconcile.kinds import Resource, typed
from reconcile.registry import Handler
from reconcile.subhandling import DECLARED
from reconcile.views import tree_of

from .attempt import Attempt, Call
from .consistency import OwnWrites
from .filter import Predicate, compiled
from .gathering import Gathering, Part
from .informer import Change, Informer
from .journal import Attempted
from .progress import Progress, at, digest, essence, short_hash
from .queue import HELD_S_MAX, Item, ObjectKey, WorkQueue, backoff_s
from .status import differences
from .verdict import Verdict, verdict

if TYPE_CHECKING:
    from .operation import Operation

_DONE = "+"
_RESUMED: Tree = {}
"""Stands for what a resume handler saw: nobody compares with that."""
_REASONS = {"field": "update"}


@attrs.define
class Trouble:
    """A handler that failed on an object: how often, on which state, and when it may be tried again."""

    failures: int
    state: str
    retry_at: float
    changed_at: float  # when it may be tried again if the object has changed meanwhile
    stopped: bool
    first_s: float  # when the first of these attempts began, in seconds since the epoch


@attrs.frozen
class Due:
    """A handler that has to run: on which state (a digest), and what it is told of the change."""

    state: str
    old: Any = None  # Any: an object, or the value of a field
    new: Any = None  # Any: as `old`
    diff: tuple[Any, ...] = ()  # Any: kopf's diff items


@attrs.frozen(eq=False)
class Tried:
    """A handler that was called: whether it is `done` with (None: it succeeded, or it does not matter that it did not).

    `left` are the patches of the status and of the rest that are still to be written.
    """

    done: bool | None
    attempt: Attempt
    noted: Attempted
    left: tuple[Tree, Tree] | None = None


@attrs.frozen(eq=False)
class Compiled:
    """A handler, ready to be judged and called."""

    handler: Handler
    id: str
    call: Call
    matches: Predicate


class Lifecycle:
    """The controller of one operator's lifecycle handlers for one kind."""

    def __init__(self, operation: Operation, handlers: list[Handler], informer: Informer, *, keeper: Handler) -> None:
        self.operation, self.informer = operation, informer
        self._keeper = keeper
        made = [Compiled(h, short_hash(f"{h.trigger} {h.name} {h.field}", 3), Call(h), compiled(h)) for h in handlers]
        _told_apart(made)
        self._living = [c for c in made if c.handler.trigger != "delete"]
        self._deleting = [c for c in made if c.handler.trigger == "delete"]
        self._creates = any(c.handler.trigger == "create" for c in made)
        self.writes = OwnWrites(operation.running)
        self._resumable: set[ObjectKey] = set()
        self._trouble: dict[ObjectKey, dict[str, Trouble]] = {}
        self._seen: dict[ObjectKey, dict[str, Tree]] = {}
        self._resumes = any(c.handler.trigger == "resume" for c in made)
        self.queue = WorkQueue(
            self._process, clock=operation.clock, alarm=operation.alarm, spawn=operation.tasks.spawn,
            name=f"{operation.domain} lifecycle {informer.kind.plural}", workers=max((h.workers for h in handlers), default=4),
            gate=operation.gate, forgotten=self._forget,
        )  # fmt: skip

    @property
    def idle(self) -> bool:
        """Whether nothing is due now."""
        return self.queue.idle

    def start(self) -> None:
        """Follow the kind."""
        self.informer.subscribe(self._changed)

    def stop(self) -> None:
        """Follow nothing any more."""
        self.informer.unsubscribe(self._changed)
        self.queue.close()

    def _changed(self, _change: Change, key: ObjectKey, obj: Resource, _old: Resource | None, initial: bool) -> None:
        if not self.operation.gate(key):
            return
        if initial and self._resumes:
            self._resumable.add(key)
        revision = int(tree_of(obj)["metadata"].get("resourceVersion") or 0)
        self.queue.add(key, revision=revision, reason="restart" if initial else "change", listed=initial)

    def gained(self, key: ObjectKey, obj: Resource) -> None:
        """The object is this replica's from now on."""
        self._changed("ADDED", key, obj, None, True)

    def lost(self, key: ObjectKey) -> None:
        """The object is another replica's from now on."""
        self.queue.let_go(key)

    async def handed_over(self) -> None:
        """Wait until nothing runs for objects of other replicas."""
        await self.queue.handed_over()

    async def _process(self, item: Item) -> None:
        key = item.key
        obj = self.informer.cache.objects.get(key)
        if obj is None:
            self._forget(key)
            return
        if self.writes.park(key, lambda: self.queue.add(key, revision=item.revision, reason=item.reason)):
            return
        keeper = Attempt(self.operation, self._keeper, obj, key=key, writes=self.writes)
        progress = self.operation.progress_of(obj)
        try:
            if "deletionTimestamp" in tree_of(obj)["metadata"]:
                await self._delete_pass(item, keeper, progress)
            else:
                await self.operation.hold(keeper)
                await self._live_pass(item, keeper, progress)
            self.queue.succeeded(key)
        except ConflictError:
            self.queue.failed(key)  # its finalizers or annotations were written by somebody else meanwhile
        except Exception as error:  # noqa: BLE001 - the API refused what the engine itself wrote
            failures = self.queue.failures(key)
            self.operation.failed(self._keeper, error, about=obj, failures=failures, retry_s=self.queue.failed(key))

    async def _live_pass(self, item: Item, keeper: Attempt, progress: Progress) -> None:
        creating = (
            self._resumes and keeper.cached is not None and self._creation_pending(item.key, tree_of(keeper.cached), progress)
        )
        gathering = Gathering(self.operation, keeper, progress)
        try:
            for compiled_ in self._living:
                obj = keeper.cached
                assert obj is not None, "a live pass is over an object"
                if compiled_.matches(obj):
                    if creating and compiled_.handler.trigger == "resume":
                        # To be created is more than to be resumed: a function that does both is called once.
                        self._seen.setdefault(item.key, {})[compiled_.id] = _RESUMED
                        continue
                    due = self._due(compiled_, item.key, tree_of(obj), progress)
                    if due is not None and self._may_run(compiled_, item.key, due.state):
                        await self._run(compiled_, item, obj, due, progress, gathering)
        finally:
            await gathering.write()
            await self.operation.keep(keeper, progress)

    def _due(self, compiled_: Compiled, key: ObjectKey, tree: Tree, progress: Progress) -> Due | None:
        handler, seen = compiled_.handler, progress.seen(compiled_.id)
        if handler.trigger == "create":
            return None if seen is not None else Due(digest(essence(tree)))
        if handler.trigger == "resume":
            return Due(_DONE) if key in self._resumable and not self._resumed(key, compiled_.id) else None
        value = at(tree, handler.field) if handler.field else essence(tree)
        state = digest(value)
        if seen == state:
            # The newest of equal ones is the one that the cache has anyway.
            self._seen.setdefault(key, {})[compiled_.id] = tree
            return None
        if handler.trigger == "update" and (seen is None or self._creation_pending(key, tree, progress)):
            # What it compares with later. While the object is being created, that moves with what create handlers see.
            progress.mark(compiled_.id, state)
            self._seen.setdefault(key, {})[compiled_.id] = tree
            return None
        if handler.trigger == "field" and seen is None and value is None:
            return None
        before = self._seen.get(key, {}).get(compiled_.id)
        if handler.field and not self._asked_for(handler, seen, before, tree):
            progress.mark(compiled_.id, state)
            self._seen.setdefault(key, {})[compiled_.id] = tree
            return None
        return self._told(handler, state, before, tree)

    def _asked_for(self, handler: Handler, seen: str | None, before: Tree | None, tree: Tree) -> bool:
        """Whether this change of the field is one that the filters ask for.

        After a restart only the digest of the old value is known: a literal `old` is compared with that, and whether there was
        a value; a function cannot be asked, and the change is taken to be meant.
        """
        filters, new = handler.filters, at(tree, handler.field)
        old = at(before, handler.field) if before is not None else None
        known = before is not None or seen is None or seen == digest(None)
        obj = self._shown(handler, tree)

        def was(criterion: Criterion) -> bool:
            if known:
                return holds(criterion, old, obj)
            if isinstance(criterion, Presence):
                return criterion is PRESENT
            return callable(criterion) or isinstance(criterion, Judging) or digest(criterion) == seen

        return (
            (filters.new is None or holds(filters.new, new, obj))
            and (filters.old is None or was(filters.old))
            and (filters.value is None or holds(filters.value, new, obj) or was(filters.value))
        )

    def _shown(self, handler: Handler, tree: Tree) -> Resource:
        cls = handler.cls if handler.cls is not None and handler.cls is not Resource else self.informer.cls
        return typed(cls, tree, frozen=True)

    def _told(self, handler: Handler, state: str, before: Tree | None, tree: Tree) -> Due:
        if handler.field:
            old, new = at(before, handler.field) if before is not None else None, at(tree, handler.field)
            return Due(state, old, new, differences(old, new))
        if before is None:
            return Due(state)
        return Due(state, self._shown(handler, before), None, differences(essence(before), essence(tree)))

    def _creation_pending(self, key: ObjectKey, tree: Tree, progress: Progress) -> bool:
        if not self._creates:
            return False
        obj = self.informer.cache.objects.get(key)
        trouble = self._trouble.get(key, {})
        return obj is not None and any(
            c.handler.trigger == "create"
            and progress.seen(c.id) is None
            and c.matches(obj)
            and not ((t := trouble.get(c.id)) is not None and t.stopped and t.state == digest(essence(tree)))
            for c in self._living
        )

    def _resumed(self, key: ObjectKey, handler_id: str) -> bool:
        return handler_id in self._seen.get(key, {})

    def _may_run(self, compiled_: Compiled, key: ObjectKey, state: str) -> bool:
        trouble = self._trouble.get(key, {}).get(compiled_.id)
        if trouble is None:
            return True
        changed = trouble.state != state
        if trouble.stopped:
            return changed
        wait_s = (trouble.changed_at if changed else trouble.retry_at) - self.operation.clock.monotonic()
        if wait_s <= 0:
            return True
        self.queue.add_after(key, wait_s, reason="retry")
        return False

    async def _run(
        self, compiled_: Compiled, item: Item, obj: Resource, due: Due, progress: Progress, gathering: Gathering | None = None
    ) -> bool:
        """Run one handler; whether it is done with (it may also be done with because it never will succeed).

        What it leaves to be written is gathered where others may add to it.
        """
        key, handler = item.key, compiled_.handler
        before = self._trouble.get(key, {}).get(compiled_.id)
        failures = before.failures if before is not None and not before.stopped else 0
        shown = gathering.shown() if gathering is not None else obj
        attempt = Attempt(self.operation, handler, shown, key=key, failures=failures, writes=self.writes)
        attempt.old, attempt.new, attempt.diff = due.old, due.new, due.diff
        attempt.reason = _REASONS.get(handler.trigger, handler.trigger)
        attempt.first_s = before.first_s if before is not None and not before.stopped else self.operation.clock.now()
        declared: list[Handler] = []
        token = DECLARED.set(declared)
        try:
            tried = await self._tried(compiled_, item, attempt, due, declared, gathering)
        finally:
            DECLARED.reset(token)
        if tried.done is not None:
            return tried.done
        if declared and not await self._parts(compiled_, declared, item, obj, due, progress):
            return False
        if tried.left is None:
            self._well(compiled_, key)
            self._mark(compiled_, key, due, progress, tree_of(obj))
        else:
            assert gathering is not None, "what is left is gathered"
            await self._gather(compiled_, tried, due, progress, gathering, tree_of(obj))
        return True

    async def _tried(
        self, compiled_: Compiled, item: Item, attempt: Attempt, due: Due, declared: list[Handler], gathering: Gathering | None
    ) -> Tried:
        """Call a handler once, and write what it leaves, or tell it."""
        with self.operation.noted(compiled_.handler, self.informer.kind, item) as noted:
            try:
                async with gathering.beside() if gathering is not None else nullcontext():
                    await compiled_.call.run(attempt, noted.trigger)
                if gathering is not None and not declared:
                    left = attempt.left()
                    return Tried(None, attempt, noted, left if any(left) else None)
                if gathering is not None:
                    await gathering.write()  # what sub-handlers write is written at once, and comes after this
                await attempt.finish()
            except Exception as error:  # noqa: BLE001 - whatever a handler raises is judged, and hurts nobody else
                judged, delay_s = self._judge(compiled_, attempt, error, due.state)
                self.operation.engine.journal.failed(noted, error, None if judged.stop else delay_s)
                if gathering is None:
                    await attempt.finish_after(error)
                elif any(left := attempt.left_after(error)):
                    await gathering.add(Part(attempt, noted, *left))
                return Tried(None if judged.ignored else judged.stop, attempt, noted)
        return Tried(None, attempt, noted)

    async def _gather(
        self, compiled_: Compiled, tried: Tried, due: Due, progress: Progress, gathering: Gathering, tree: Tree
    ) -> None:
        """Leave what a handler changed to be written with what the others change; it has succeeded when that is written."""
        attempt, key, seen = tried.attempt, tried.attempt.key, progress.seen(compiled_.id)
        known = self._seen.get(key, {}).get(compiled_.id)

        def failed(error: Exception) -> None:
            judged, delay_s = self._judge(compiled_, attempt, error, due.state)
            self.operation.engine.journal.failed(tried.noted, error, None if judged.stop else delay_s)
            if judged.ignored:
                self._well(compiled_, key)
                return
            progress.restore(compiled_.id, seen)
            if known is not None:
                self._seen[key][compiled_.id] = known
            else:
                self._seen.get(key, {}).pop(compiled_.id, None)

        assert tried.left is not None, "something is left"
        await gathering.add(Part(attempt, tried.noted, *tried.left, lambda: self._well(compiled_, key), failed))
        # Only now: what is marked as done, and kept so, must not come before what it did.
        self._mark(compiled_, key, due, progress, tree)

    def _well(self, compiled_: Compiled, key: ObjectKey) -> None:
        """The handler failed on the object before, or did not; it does not now."""
        troubles = self._trouble.get(key)
        if troubles is not None:
            troubles.pop(compiled_.id, None)
            if not troubles:
                del self._trouble[key]
        self.operation.succeeded(compiled_.handler, self.informer.kind, key)

    def _mark(self, compiled_: Compiled, key: ObjectKey, due: Due, progress: Progress, tree: Tree) -> None:
        """Note what the handler has seen, so that it does not run for that again."""
        handler = compiled_.handler
        if handler.trigger == "resume":
            self._seen.setdefault(key, {})[compiled_.id] = _RESUMED
        elif handler.trigger in ("create", "delete"):
            progress.mark(compiled_.id, _DONE)  # nothing is compared with what they saw
        else:
            progress.mark(compiled_.id, due.state)
            self._seen.setdefault(key, {})[compiled_.id] = tree

    async def _parts(
        self, parent: Compiled, declared: list[Handler], item: Item, obj: Resource, due: Due, progress: Progress
    ) -> bool:
        """Run the sub-handlers that a handler has declared; whether all are through, or never will be."""
        waiting: list[Trouble] = []
        for handler in declared:
            part = attrs.evolve(
                handler, trigger=parent.handler.trigger, cls=parent.handler.cls, name=f"{parent.handler.name}/{handler.name}"
            )
            made = Compiled(part, f"{parent.id}.{short_hash(handler.name, 3)}", Call(part), compiled(part))
            if progress.seen(made.id) is not None or not made.matches(obj):
                continue
            if self._may_run(made, item.key, due.state):
                await self._run(made, item, obj, due, progress)
            trouble = self._trouble.get(item.key, {}).get(made.id)
            if trouble is not None and not trouble.stopped:
                waiting.append(trouble)
        if not waiting:
            progress.forget(f"{parent.id}.")
            troubles = self._trouble.get(item.key, {})
            for part_id in [name for name in troubles if name.startswith(f"{parent.id}.")]:
                del troubles[part_id]
            return True
        before = self._trouble.get(item.key, {}).get(parent.id)
        first_s = before.first_s if before is not None else self.operation.clock.now()
        failures = before.failures + 1 if before is not None else 1
        self._trouble.setdefault(item.key, {})[parent.id] = Trouble(
            failures, due.state, min(t.retry_at for t in waiting), min(t.changed_at for t in waiting), False, first_s
        )
        return False

    def _judge(self, compiled_: Compiled, attempt: Attempt, error: Exception, state: str) -> tuple[Verdict, float]:
        handler, now, failures = compiled_.handler, self.operation.clock.monotonic(), attempt.failures
        judged = verdict(handler, error, failures, self.operation.clock.now() - attempt.first_s)
        if judged.ignored:
            self.operation.failed(handler, error, about=attempt.cached, failures=failures, retry_s=None, quiet=True)
            return judged, 0.0
        delay_s = judged.delay_s if judged.delay_s is not None else backoff_s(handler, failures, self.operation.clock)
        self._trouble.setdefault(attempt.key, {})[compiled_.id] = Trouble(
            failures + 1, state, now + delay_s, now + min(delay_s, HELD_S_MAX), judged.stop, attempt.first_s
        )
        if not judged.stop:
            self.queue.add_after(attempt.key, delay_s, reason="retry")
        self.operation.failed(
            handler, error, about=attempt.cached, failures=failures,
            retry_s=None if judged.stop else delay_s, quiet=judged.quiet,
        )  # fmt: skip
        return judged, delay_s

    async def _delete_pass(self, item: Item, keeper: Attempt, progress: Progress) -> None:
        obj, key = keeper.cached, item.key
        assert obj is not None, "a delete pass is over an object"
        held = self.operation.operator.finalizer in obj.metadata.finalizers
        for compiled_ in self._living:
            if compiled_.handler.deleted and compiled_.matches(obj):
                resuming = self._due(compiled_, key, tree_of(obj), progress)
                if resuming is not None and self._may_run(compiled_, key, resuming.state):
                    await self._run(compiled_, item, obj, resuming, progress)
        if not held and not any(compiled_.handler.optional for compiled_ in self._deleting):
            return
        # No cleanup beside a reconcile of the same object that is still under way, or a daemon.
        quiet = self.operation.busy_with(self.informer, key)
        if quiet is not None:
            self.operation.tasks.spawn(self._after(quiet, key), "cleanup waits")
            return
        remaining = False
        for compiled_ in self._deleting if held else [c for c in self._deleting if c.handler.optional]:
            if progress.seen(compiled_.id) is not None or not compiled_.matches(obj):
                continue
            if not self._may_run(compiled_, key, _DONE):
                # One that gave up will not get better: the object is let go, as the failure's report says.
                trouble = self._trouble[key][compiled_.id]
                remaining = remaining or not trouble.stopped
            elif not await self._run(compiled_, item, obj, Due(_DONE), progress):
                remaining = True
        if not held:
            return  # somebody else holds it: what was done is remembered while the operator runs
        if remaining:
            await self.operation.keep(keeper, progress)
        else:
            await self.operation.release(keeper)

    async def _after(self, quiet: Callable[[], Coroutine[Any, Any, None]], key: ObjectKey) -> None:
        # Not in a worker: long reconciles of a few objects would keep all others from being cleaned up.
        await quiet()
        self.queue.add(key)

    def _forget(self, key: ObjectKey) -> None:
        for made in (*self._living, *self._deleting):
            self.operation.succeeded(made.handler, self.informer.kind, key)
        self.queue.forget(key)
        self.writes.forget(key)
        self._trouble.pop(key, None)
        self._seen.pop(key, None)
        self._resumable.discard(key)


def _told_apart(made: list[Compiled]) -> None:
    """What one handler has done must not count for another; the same function declared twice is one handler.

    Raises:
        DeclarationError: two functions go by one name.
    """
    known: dict[str, Handler] = {}
    for one in made:
        first = known.setdefault(one.id, one.handler)
        if inspect.unwrap(first.fn) is not inspect.unwrap(one.handler.fn):
            raise DeclarationError(f"handlers {first} and {one.handler} cannot be told apart; give one of them another name=")
