"""Runs one daemon handler: beside each object of a kind, from when it matches until it goes or matches no more.

A daemon that fails is started again by the rules of all handlers; one that ends by itself is not, until the operator starts
anew. It is asked to stop first, an asynchronous one is cancelled later, and an object that it `holds` goes when it has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from reconcile.clock import Clock
from reconcile.kinds import Resource
from reconcile.registry import Handler
from reconcile.views import tree_of

from .attempt import Attempt, Call
from .filter import compiled
from .informer import Change, Informer
from .queue import Item, ObjectKey, backoff_s
from .verdict import verdict

if TYPE_CHECKING:
    from .operation import Operation

log = logging.getLogger(__name__)
THREAD_S_MAX = 10.0
"""How long the end of the operator waits for a thread, which nobody can cancel."""


class Stopper:
    """What a daemon is given as `stopped`: for threads and for coroutines alike."""

    def __init__(self, clock: Clock, *, threaded: bool) -> None:
        self._clock, self._threaded = clock, threaded
        self._flag = threading.Event()
        self._told = asyncio.Event()
        self.reason = ""

    def __bool__(self) -> bool:
        return self._flag.is_set()

    def set(self, reason: str) -> None:
        """Ask to end; the first reason stays."""
        self.reason = self.reason or reason
        self._flag.set()
        self._told.set()

    def is_set(self) -> bool:
        """As `bool`, in the words of `threading.Event`."""
        return bool(self)

    def wait(self, seconds: float | None = None) -> Any:  # Any: see `reconcile.handling.Stopped`
        """Wait until asked to end, for at most `seconds`."""
        if self._threaded:
            self._flag.wait(seconds)
            return self
        return _Waiting(self, seconds)

    async def waited(self, seconds: float | None) -> Stopper:
        """As `wait`, for coroutines."""
        if seconds is None:
            await self._told.wait()
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._told.wait()
        return self


class _Waiting:
    """What `stopped.wait()` is for a coroutine: awaited, and true or false meanwhile."""

    def __init__(self, stopper: Stopper, seconds: float | None) -> None:
        self._stopper, self._seconds = stopper, seconds

    def __await__(self) -> Generator[Any, None, Stopper]:
        return self._stopper.waited(self._seconds).__await__()

    def __bool__(self) -> bool:
        return bool(self._stopper)


class Attending:
    """The controller of one daemon handler."""

    def __init__(self, operation: Operation, handler: Handler, informer: Informer) -> None:
        self.operation, self.handler, self.informer = operation, handler, informer
        self._call = Call(handler)
        self._matches = compiled(handler)
        self._running: dict[ObjectKey, tuple[str, Stopper]] = {}
        self._over: dict[ObjectKey, str] = {}
        self._threaded = handler.threaded
        self._ended: dict[ObjectKey, list[asyncio.Future[None]]] = {}

    idle = True
    """Whether nothing is due now: a daemon that runs is not due, it is there."""

    def start(self) -> None:
        """Follow the kind."""
        self.informer.subscribe(self._changed)

    def stop(self) -> None:
        """Ask all to end, and start no more."""
        self.informer.unsubscribe(self._changed)
        for _, stopper in self._running.values():
            stopper.set("stops")

    async def ended(self) -> None:
        """Wait until all that are asked to have ended, or may be cancelled."""
        patience_s = max(self.handler.cancellation_backoff_s or 0.0, self.handler.cancellation_timeout_s or 0.0)
        if self._threaded:
            patience_s = max(patience_s, THREAD_S_MAX)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                for key in list(self._running):
                    await self.quiet(key)

    def matches(self, obj: Resource) -> bool:
        """Whether the object is held for its daemon."""
        return self.handler.holds and self._matches(obj) and self._over.get(_key(obj)) != tree_of(obj)["metadata"].get("uid")

    def holds(self, key: ObjectKey) -> bool:
        """Whether a daemon runs beside the object; one whose object goes is asked to end."""
        return key in self._running

    async def quiet(self, key: ObjectKey) -> None:
        """Wait until no daemon runs beside the object."""
        while key in self._running:
            done = asyncio.get_running_loop().create_future()
            self._ended.setdefault(key, []).append(done)
            await done

    def gained(self, key: ObjectKey, obj: Resource) -> None:
        """The object is this replica's from now on: its daemon begins, as at the start."""
        self._changed("ADDED", key, obj, None, True)

    def lost(self, key: ObjectKey) -> None:
        """The object is another replica's from now on: its daemon is asked to end."""
        self._over.pop(key, None)
        self._ask_to_end(key, "moves")

    async def handed_over(self) -> None:
        """Wait until the daemons of other replicas' objects have ended."""
        for key in [key for key in self._running if not self.operation.gate(key)]:
            await self.quiet(key)

    def _changed(self, change: Change, key: ObjectKey, obj: Resource, _old: Resource | None, _initial: bool) -> None:
        meta = tree_of(obj)["metadata"]
        uid, running = str(meta.get("uid") or ""), self._running.get(key)
        if not self.operation.gate(key):
            self._over.pop(key, None)
            self._ask_to_end(key, "moves")
        elif change == "DELETED" or "deletionTimestamp" in meta:
            if change == "DELETED":
                self._over.pop(key, None)
            self._ask_to_end(key, "deleted")
        elif not self._matches(obj):
            self._over.pop(key, None)
            self._ask_to_end(key, "no longer matches")
        elif running is None and self._over.get(key) != uid:
            stopper = Stopper(self.operation.clock, threaded=self._threaded)
            self._running[key] = (uid, stopper)
            self.operation.tasks.spawn(self._attend(key, uid, stopper), f"{self.handler.name} {'/'.join(key)}")

    def _ask_to_end(self, key: ObjectKey, reason: str) -> None:
        running = self._running.get(key)
        if running is not None and not running[1]:
            running[1].set(reason)

    async def _attend(self, key: ObjectKey, uid: str, stopper: Stopper) -> None:
        work = asyncio.ensure_future(self._work(key, uid, stopper))
        asked = asyncio.ensure_future(stopper.waited(None))
        try:
            await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await self._end(work)
        finally:
            asked.cancel()
            if not work.done() and self._threaded:
                log.warning("daemon %s of %s: its thread runs on; let it look at `stopped`", self.handler, "/".join(key))
            work.cancel()
            await asyncio.gather(work, asked, return_exceptions=True)
            self._running.pop(key, None)
            for done in self._ended.pop(key, ()):
                if not done.done():
                    done.set_result(None)
            obj = self.informer.cache.objects.get(key)
            if obj is not None and not self.operation.stopping and self._over.get(key) != uid:
                self._changed("MODIFIED", key, obj, obj, False)  # it may match again, or be another one, by now

    async def _end(self, work: asyncio.Future[None]) -> None:
        """It was asked to end: give it its time, then cancel it. A thread is waited for, because nothing else can be done."""
        if self._threaded:
            await asyncio.wait({work})
            return
        backoff_s_, timeout_s = self.handler.cancellation_backoff_s, self.handler.cancellation_timeout_s
        if backoff_s_:
            await asyncio.wait({work}, timeout=backoff_s_)
        elif backoff_s_ is None and timeout_s:
            await asyncio.wait({work}, timeout=timeout_s)
        if not work.done():
            work.cancel()
            await asyncio.wait({work}, timeout=timeout_s)

    async def _work(self, key: ObjectKey, uid: str, stopper: Stopper) -> None:
        """Run the daemon until it ends by itself, gives up, or is asked to."""
        failures, first_s = 0, 0.0
        delay_s: float | None = self._first_delay(key)
        while delay_s is not None:
            if delay_s > 0:
                await stopper.waited(delay_s)
            obj = self.informer.cache.objects.get(key)
            if stopper or obj is None or tree_of(obj)["metadata"].get("uid") != uid:
                return
            if self.handler.holds:
                await self._hold(key, obj)
            first_s = first_s or self.operation.clock.now()
            delay_s = await self._once(key, obj, stopper, failures, first_s)
            failures += 1
        if not stopper:
            self._over[key] = uid
            self.operation.look_again(self.informer, key)

    def _first_delay(self, key: ObjectKey) -> float:
        delay, obj = self.handler.initial_delay_s, self.informer.cache.objects.get(key)
        return float(delay(obj)) if callable(delay) and obj is not None else 0.0 if callable(delay) else delay

    async def _hold(self, key: ObjectKey, obj: Resource) -> None:
        """The finalizer is there before the daemon begins; where that fails, the queue of the others adds it later."""
        with contextlib.suppress(Exception):
            await self.operation.hold(Attempt(self.operation, self.handler, obj, key=key))

    async def _once(self, key: ObjectKey, obj: Resource, stopper: Stopper, failures: int, first_s: float) -> float | None:
        """One run; after how long the next one is due, or None."""
        attempt = Attempt(self.operation, self.handler, obj, key=key, failures=failures)
        attempt.stopped, attempt.first_s = stopper, first_s
        item = Item(key, obj.revision, "daemon")
        with self.operation.noted(self.handler, self.informer.kind, item) as noted:
            try:
                await self._call.run(attempt, noted.trigger)
                await attempt.finish()
            except Exception as error:  # noqa: BLE001 - whatever a handler raises is judged, and hurts nobody else
                judged = verdict(self.handler, error, failures, self.operation.clock.now() - first_s)
                delay_s = None
                if not judged.stop:
                    after_s = judged.delay_s
                    delay_s = after_s if after_s is not None else backoff_s(self.handler, failures, self.operation.clock)
                self.operation.engine.journal.failed(noted, error, delay_s)
                self.operation.failed(self.handler, error, about=obj, failures=failures, retry_s=delay_s, quiet=judged.quiet)
                await attempt.finish_after(error)
                return delay_s
        self.operation.succeeded(self.handler, self.informer.kind, key)
        return None


def _key(obj: Resource) -> ObjectKey:
    meta: dict[str, Any] = tree_of(obj)["metadata"]
    return str(meta.get("namespace") or ""), str(meta.get("name") or "")
