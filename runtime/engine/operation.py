"""One operator at work: its controllers, its tasks, its access to the API, and what it remembers of objects."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any

import attrs

from reconcile.causality import TRIGGER
from reconcile.client import MERGE_PATCH, Client, Patch, begun_with
from reconcile.clock import Clock
from reconcile.kinds import Kind, Resource, kind_of, typed
from reconcile.registry import Handler, Operator
from reconcile.views import tree_of

from .activities import run_activity
from .admission import install, install_finalizer
from .alarm import Alarm
from .attempt import Attempt
from .attending import Attending
from .filter import Predicate, always, compiled
from .indexing import Index, Indexing
from .informer import Change, Informer
from .journal import Attempted, end_span, span_of
from .lifecycle import Lifecycle
from .noticing import Noticing
from .progress import Progress, annotation_of
from .queue import Item, ObjectKey, Owns
from .reconciling import Reconciling
from .recorder import ObjectEvents
from .reports import Report, raised_at, spelled, title, told
from .tasks import Tasks
from .timing import Timing

if TYPE_CHECKING:
    from .engine import Engine

log = logging.getLogger(__name__)
_LIFECYCLE = frozenset({"create", "update", "delete", "resume", "field"})


class Memo(dict[str, Any]):
    """Scratch space: `memo["x"]` and `memo.x` are the same."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"memo has no {name!r} yet") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


Queued = Reconciling | Lifecycle | Timing
Controller = Queued | Noticing | Attending | Indexing


class Operation:
    """Runs the handlers of one operator on an engine."""

    def __init__(self, engine: Engine, operator: Operator) -> None:
        self.engine, self.operator, self.domain = engine, operator, operator.domain
        self.client: Client = engine.client
        self.clock: Clock = engine.clock
        self.alarm: Alarm = engine.alarm
        self.gate = engine.gate
        self.tasks = Tasks()
        self.annotation = annotation_of(operator.domain)
        self.indexes: dict[str, Index] = {}
        self.stopping = False
        self.controllers: list[Controller] = []
        self._informers: dict[type[Resource], Informer] = {}
        self._handled: dict[Informer, list[Controller]] = {}
        self._general: set[Informer] = set()
        self._deleters: dict[Informer, list[Predicate]] = {}
        self._by_function: dict[Callable[..., Any], list[Reconciling]] = {}
        # Of objects, by uid, while they live. Not in one record: most objects have no memo.
        self._progress: dict[str, Progress] = {}
        self._memos: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        self._memo: Any = operator.memo if operator.memo is not None else Memo()  # Any: the user's own, or ours
        self._uninstall: list[Callable[[], None]] = []
        self._handlers = tuple(operator.handlers)
        self.started = False

    async def start(self) -> None:
        """Call the startup handlers, fill the caches and the models in memory, then let the other handlers act.

        Raises what a startup handler raises.
        """
        for handler in self._of("startup"):
            await run_activity(self, handler)
        for handler in self._of("index"):
            self.indexes.setdefault(handler.name, Index())
        declared = self._declared()
        for kind in declared:
            self._notice(kind, self._for(kind))
        for cls in {cls for h in self._handlers for cls in (*h.owns, *(w.cls for w in h.watches))}:
            self.following(kind_of(cls))
        general = [kind for kind in self.engine.kinds if self._of_any(kind)] if self.of_all_kinds else []
        self._warn_of_unmatched(self.engine.kinds)
        for kind in general:
            self._general.add(self._notice(kind, self._of_any(kind)))
        # A handler that acts on a half-filled cache acts on a world that never was.
        for informer in self.engine.informers_of(self):
            await informer.wait_tried()
        for handler in self._of("mutate", "validate"):
            self._uninstall.extend(install(self, handler, self.engine.admission))
        for kind in declared:
            self._control(kind, self._for(kind))
        for kind in general:
            self._control(kind, self._of_any(kind))
        self.started = True

    async def stop(self) -> None:
        """Ask daemons to end and cancel everything else, then call the cleanup handlers."""
        self._leave()
        await asyncio.gather(*(c.ended() for c in self.controllers if isinstance(c, Attending)))
        await self.tasks.close()
        if self.started:
            for handler in self._of("cleanup"):
                try:
                    await run_activity(self, handler)
                except Exception as error:  # noqa: BLE001 - the operator ends all the same
                    self.failed(handler, error, retry_s=None)
        self.engine.reports.forget(self.domain)

    async def kill(self) -> None:
        """Cancel everything; nobody is told."""
        self._leave()
        await self.tasks.close()

    def _leave(self) -> None:
        """Hear of nothing any more, and begin nothing."""
        self.stopping = True
        for uninstall in self._uninstall:
            uninstall()
        for controller in self.controllers:
            controller.stop()
        for informer in self._handled:
            informer.unsubscribe(self._forget)

    @property
    def of_all_kinds(self) -> bool:
        """Whether a handler is for every kind served, or for those that it selects."""
        return any(
            h.cls is Resource and (h.selects is not None or h.trigger not in ("mutate", "validate")) for h in self._handlers
        )

    @property
    def idle(self) -> bool:
        """Whether nothing is due now."""
        return all(controller.idle for controller in self.controllers)

    @property
    def queued(self) -> list[Queued]:
        """The controllers with a work queue."""
        return [controller for controller in self.controllers if isinstance(controller, Queued)]

    async def probe(self) -> tuple[dict[str, Any], bool]:
        """What the probe handlers say, by name, and whether all of them could say it."""
        told: dict[str, Any] = {}
        well = True
        for handler in self._of("probe"):
            try:
                told[handler.name] = await run_activity(self, attrs.evolve(handler, errors="permanent", retries_max=1))
            except Exception as error:  # noqa: BLE001 - an answer as well
                told[handler.name], well = {"error": f"{type(error).__name__}: {error}"}, False
        return told, well

    def _of(self, *triggers: str) -> list[Handler]:
        return [handler for handler in self._handlers if handler.trigger in triggers]

    def _declared(self) -> list[Kind]:
        kinds: dict[Kind, None] = {}
        for handler in self._handlers:
            if handler.cls not in (None, Resource) and handler.trigger not in ("mutate", "validate"):
                kinds[kind_of(handler.cls)] = None
        return list(kinds)

    def _for(self, kind: Kind) -> list[Handler]:
        """The handlers declared for a kind by its class."""
        return [handler for handler in self._handlers if handler.cls is kind.cls and kind.cls is not None]

    def _of_any(self, kind: Kind) -> list[Handler]:
        """The handlers of all kinds, or of kinds that they select, that are for this one."""
        return [
            h for h in self._handlers
            if h.cls is Resource and h.trigger not in ("mutate", "validate") and (h.selects is None or h.selects(kind))
        ]  # fmt: skip

    def _warn_of_unmatched(self, kinds: Sequence[Kind]) -> None:
        for handler in self._handlers:
            if handler.selects is not None and not any(map(handler.selects, kinds)):
                log.warning("handler %s: nothing that is served is called %s; it waits for it", handler, handler.selects)

    def follow_kinds(self, kinds: Sequence[Kind]) -> None:
        """Start the handlers of all kinds for those that are served now, and were not before.

        A kind that is served no longer keeps its handlers: its objects are gone, and it may come back.
        """
        for kind in kinds if self.started else ():
            handlers = self._of_any(kind)
            if handlers and self.following(kind) not in self._general:
                self._general.add(self._notice(kind, handlers))
                self._control(kind, handlers)

    def _notice(self, kind: Kind, handlers: list[Handler]) -> Informer:
        """Follow a kind and start its event handlers, the inline ones first: others may rely on their models."""
        held = [h for handler in handlers for h in (handler, *handler.cleanup) if h.trigger == "delete" and not h.optional]
        if any(compiled(handler) is always for handler in held):
            # Before the first watch, which asks for it.
            self._uninstall.append(begun_with(self.client, kind, self.operator.finalizer))
        informer = self.following(kind)
        if informer not in self._handled:
            self._handled[informer] = []
            informer.subscribe(self._forget)
        self._begin(informer, [Indexing(self, handler, informer) for handler in handlers if handler.trigger == "index"])
        events = sorted((h for h in handlers if h.trigger == "event"), key=lambda h: not h.inline)
        self._begin(informer, [Noticing(self, handler, informer) for handler in events])
        return informer

    def _control(self, kind: Kind, handlers: list[Handler]) -> None:
        """Start the handlers of a kind that act."""
        informer = self.following(kind)
        made: list[Controller] = []
        lifecycle = [h for h in handlers if h.trigger in _LIFECYCLE]
        for handler in handlers:
            lifecycle.extend(handler.cleanup)
        daemons = [Attending(self, handler, informer) for handler in handlers if handler.trigger == "daemon"]
        holding = [daemon for daemon in daemons if daemon.handler.holds]
        deleters = self._deleters.setdefault(informer, [])
        deleters.extend(compiled(h) for h in lifecycle if h.trigger == "delete" and not h.optional)
        deleters.extend(daemon.matches for daemon in holding)
        if deleters:
            needed = self._needed(deleters)
            self._uninstall.extend(install_finalizer(self, kind, needed, self.engine.admission))
        if lifecycle or holding:
            made.append(Lifecycle(self, lifecycle, informer, keeper=(lifecycle or [holding[0].handler])[0]))
        made.extend(daemons)
        for handler in handlers:
            if handler.trigger == "reconcile":
                reconciling = Reconciling(self, handler, informer)
                self._by_function.setdefault(handler.fn, []).append(reconciling)
                made.append(reconciling)
            elif handler.trigger == "timer":
                made.append(Timing(self, handler, informer))
        self._begin(informer, made)

    def _begin(self, informer: Informer, made: Sequence[Controller]) -> None:
        self.controllers.extend(made)
        self._handled[informer].extend(made)
        for controller in made:
            controller.start()

    def shared(self, before: Owns) -> None:
        """Other objects are ours from now on than those of `before`: let go of what is not, and take up what is."""
        from .sharding import share

        for informer, controllers in self._handled.items():
            share(informer, controllers, before, self.gate, self._forget_object)

    async def handed_over(self) -> None:
        """Wait until nothing runs for objects of other replicas."""
        await asyncio.gather(*(controller.handed_over() for controller in self.controllers))

    def busy_with(self, informer: Informer, key: ObjectKey) -> Callable[[], Coroutine[Any, Any, None]] | None:
        """How to wait for what is under way beside an object (a reconcile, a daemon that holds it); None if nothing is."""
        for controller in self._handled.get(informer, ()):
            if isinstance(controller, Reconciling) and controller.queue.holds(key):
                return lambda queue=controller.queue: queue.quiet(key)  # type: ignore[misc]  # a default binds it now
            if isinstance(controller, Attending) and controller.handler.holds and controller.holds(key):
                return lambda daemons=controller: daemons.quiet(key)  # type: ignore[misc]  # as above
        return None

    def look_again(self, informer: Informer, key: ObjectKey) -> None:
        """Have the lifecycle of an object looked at, though it has not changed."""
        for controller in self._handled.get(informer, ()):
            if isinstance(controller, Lifecycle):
                controller.queue.add(key, reason="daemon")

    def following(self, kind: Kind) -> Informer:
        """The shared informer of a kind, started if need be; it is kept while this operator runs."""
        return self.engine.informer(kind, self)

    def running(self, kind: Kind) -> Informer | None:
        """The informer of a kind, if one runs."""
        return self.engine.running(kind)

    async def reading(self, cls: type[Resource]) -> Informer:
        """The informer of a class, synced. Raises the error for which it cannot be."""
        informer = self._informers.get(cls)
        if informer is None:
            informer = self._informers[cls] = self.following(kind_of(cls))
        if not informer.synced:
            await informer.wait_readable()
        return informer

    async def reading_text(self, text: str) -> Informer | None:
        """The informer of `apps/v1/deployments`, synced, or None if that is not served."""
        kind = await self.engine.kind_named(text)
        if kind is None:
            return None
        informer = self.following(kind)
        await informer.wait_readable()
        return informer

    def enqueue(self, handler: Callable[..., Any], key: ObjectKey, after_s: float) -> None:
        """Run a reconcile handler for a key."""
        controllers = self._by_function.get(handler)
        if controllers is None:
            name = getattr(handler, "__qualname__", repr(handler))
            raise LookupError(f"{name} is no running reconcile handler of operator {self.domain}")
        for controller in controllers:
            if after_s > 0:
                controller.queue.add_after(key, after_s, reason="enqueued")
            else:
                controller.queue.add(key, reason="enqueued")

    def spawn_reported(self, coroutine: Coroutine[Any, Any, Any], name: str) -> None:
        """Run a coroutine as part of the operator; an error in it is reported."""

        async def guarded() -> None:
            try:
                await coroutine
            except Exception as error:  # noqa: BLE001 - reported like a handler's; there is nobody to raise it to
                self._report(name, getattr(getattr(coroutine, "cr_code", None), "co_filename", ""), error)

        # One that never began would be complained of when it is collected: nobody awaited it.
        self.tasks.spawn(guarded(), name, inherit=True, ended=getattr(coroutine, "close", None))

    def memo(self, obj: Resource | None) -> Any:  # Any: the user's own, or ours
        """The scratch space of an object (begun as a copy of the operator's, if it gave one), or of the whole operator."""
        if obj is None:
            return self._memo
        uid = _uid(obj)
        memo = self._memos.get(uid)
        if memo is None:
            memo = self._memos[uid] = copy(self._memo) if self.operator.memo is not None else Memo()
        return memo

    def progress_of(self, obj: Resource) -> Progress:
        """What the handlers of this operator have done to the object."""
        uid = _uid(obj)
        progress = self._progress.get(uid)
        if progress is None:
            progress = self._progress[uid] = Progress(tree_of(obj), self.annotation)
        return progress

    def _forget(self, change: Change, _key: ObjectKey, obj: Resource, _old: Resource | None, _initial: bool) -> None:
        if change == "DELETED":
            self._forget_object(obj)

    def _forget_object(self, obj: Resource) -> None:
        uid = _uid(obj)
        self._progress.pop(uid, None)
        self._memos.pop(uid, None)

    def annotated(self, obj: Resource) -> bool:
        """Whether this operator keeps progress on the object."""
        return self.annotation in (tree_of(obj)["metadata"].get("annotations") or ())

    async def keep(self, attempt: Attempt, progress: Progress) -> None:
        """Write the progress if there is anything new."""
        change = progress.patch()
        if change is None:
            if attempt.cached is not None:
                progress.rest(tree_of(attempt.cached))
            return
        patch, text = change
        patch["metadata"]["uid"] = progress.uid
        await self._patch(attempt, patch)
        progress.kept(text)

    async def hold(self, attempt: Attempt) -> None:
        """See to the finalizer before the handler acts: there while something is to be done before the object goes."""
        obj = attempt.cached
        if obj is None:
            return
        has = self.operator.finalizer in (tree_of(obj)["metadata"].get("finalizers") or ())
        needed = self._needed(self._deleters.get(self.following(attempt.kind), ()))(obj)
        if needed and not has:
            there = tree_of(obj)["metadata"].get("finalizers") or ()
            await self._finalizers(attempt, [*there, self.operator.finalizer])
        elif has and not needed:
            # Left by an older version of the operator, or the filters no longer match: nobody else would remove it.
            await self.release(attempt)

    @staticmethod
    def _needed(predicates: Sequence[Predicate]) -> Predicate:
        """Whether something is to be done before an object goes."""
        return lambda obj: any(predicate(obj) for predicate in predicates)

    async def release(self, attempt: Attempt) -> None:
        """Let the object go, as far as this operator is concerned."""
        finalizers = attempt.obj.metadata.finalizers
        await self._finalizers(attempt, [name for name in finalizers if name != self.operator.finalizer])

    async def _finalizers(self, attempt: Attempt, finalizers: list[str]) -> None:
        assert attempt.cached is not None, "finalizers are changed on objects"
        meta = tree_of(attempt.cached)["metadata"]
        tree = await self._patch(
            attempt,
            {"metadata": {"finalizers": finalizers, "uid": meta.get("uid"), "resourceVersion": meta.get("resourceVersion")}},
        )
        # The attempt goes on with what is stored now, or its next write would stand on an old revision.
        attempt.cached = typed(type(attempt.cached), tree, frozen=True)
        attempt.obj = typed(type(attempt.obj), tree)

    async def _patch(self, attempt: Attempt, body: dict[str, Any]) -> dict[str, Any]:
        kind = attempt.kind
        tree = await self.client.patch(
            kind, attempt.key[1], Patch(MERGE_PATCH, body), attempt.key[0] if kind.namespaced else "",
            field_manager=self.domain,
        )  # fmt: skip
        attempt.wrote(kind, tree)
        return tree

    @contextmanager
    def noted(self, handler: Handler, kind: Kind, item: Item) -> Iterator[Attempted]:
        """One run of a handler, in the journal: as failed where somebody says so, as cancelled, else as done."""
        journal = self.engine.journal
        noted = journal.begin(handler, self.trigger_name(handler), kind, item)
        span = span_of(noted, self.clock)
        token = TRIGGER.set(noted.trigger)  # for what the engine writes around the handler: finalizers, progress
        try:
            yield noted
        except BaseException:
            journal.end(noted, "cancelled")
            raise
        else:
            if noted.outcome == "running":
                journal.end(noted, "done")
        finally:
            TRIGGER.reset(token)
            if span is not None:
                end_span(span, noted)

    def trigger_name(self, handler: Handler) -> str:
        """How this handler is named as the cause of a write."""
        name = self._names.get(handler.name)
        if name is None:  # kept, because the journal keeps it for each attempt
            name = self._names[handler.name] = f"{self.domain}/{handler.name}"
        return name

    def recorder_for(self, obj: Resource | None) -> ObjectEvents:
        """Writes Events about an object in this operator's name."""
        return ObjectEvents(self.engine.recorder, self.domain, obj)

    def failed(
        self,
        handler: Handler,
        error: Exception,
        *,
        about: Resource | None = None,
        failures: int = 0,
        retry_s: float | None,
        quiet: bool = False,
    ) -> None:
        """Tell everybody who should know of a handler's failure: the log, the reports, the object's Events."""
        name = title(type(about).__kind__, about.namespace, about.name) if about is not None else ""
        if quiet:
            log.info("handler %s on %s: %s; again in %s", handler, name, error, spelled(retry_s or 0.0))
            return
        report = Report(
            self.clock.now(), self.domain, handler.name, handler.where, name, type(error).__name__, str(error),
            told(error, handler), failures, retry_s, handler.file, raised_at(error, handler),
        )  # fmt: skip
        log.error("%s\n%s", report, report.traceback)
        self.engine.reports.add(report)
        if about is not None:
            text = f"handler {handler}: {type(error).__name__}: {error}"
            self.recorder_for(about).warning("HandlerFailed", text[:1024])

    def succeeded(self, handler: Handler, kind: Kind, key: ObjectKey) -> None:
        """A handler is done with an object, or the object is gone: nothing fails there any more."""
        self.engine.reports.resolve(self.domain, handler.name, title(kind, *key))

    def _report(self, name: str, file: str, error: Exception) -> None:
        self.failed(Handler("startup", _nothing, name, file=file), error, retry_s=None)


def _uid(obj: Resource) -> str:
    # Not obj.uid: a view of the cache keeps what was read of it, for as long as the object is there.
    return str(tree_of(obj)["metadata"].get("uid") or "")


def _nothing() -> None:
    """Stands in for the function of a spawned coroutine in reports."""
