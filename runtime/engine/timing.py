"""Runs one timer handler: for each object of a kind, every `interval_s` seconds while it lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconcile.handling import Requeue
from reconcile.kinds import Resource
from reconcile.registry import Handler
from reconcile.views import tree_of

from .access import as_class
from .attempt import Attempt, Call
from .consistency import OwnWrites
from .filter import compiled
from .informer import Change, Informer
from .progress import digest, essence
from .queue import Item, ObjectKey, WorkQueue
from .verdict import verdict

if TYPE_CHECKING:
    from .operation import Operation


class Timing:
    """The controller of one timer handler. Changes do not run it; a PermanentError ends it for an object until it changes."""

    def __init__(self, operation: Operation, handler: Handler, informer: Informer) -> None:
        self.operation, self.handler, self.informer = operation, handler, informer
        self.writes = OwnWrites(operation.running)
        self._call = Call(handler)
        self._matches = compiled(handler)
        self._ticking: set[ObjectKey] = set()
        self._touched: dict[ObjectKey, tuple[str, float]] = {}
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
        """Follow the kind."""
        self.informer.subscribe(self._changed)

    def stop(self) -> None:
        """Follow nothing any more."""
        self.informer.unsubscribe(self._changed)
        self.queue.close()

    def _changed(self, change: Change, key: ObjectKey, obj: Resource, _old: Resource | None, initial: bool) -> None:
        if change == "DELETED" or not self.operation.gate(key):
            self._forget(key)
            return
        if self.handler.idle_s:
            self._touch(key, obj)
        if key not in self._ticking and self._lives(obj):
            self._ticking.add(key)
            delay = self.handler.initial_delay_s
            delay_s = delay(as_class(obj, self.handler.cls or Resource)) if callable(delay) else delay
            if delay_s > 0:
                self.queue.add_after(key, delay_s, reason="timer")
            else:
                self.queue.add(key, reason="timer", listed=initial)

    def gained(self, key: ObjectKey, obj: Resource) -> None:
        """The object is this replica's from now on."""
        self._changed("ADDED", key, obj, None, True)

    def lost(self, key: ObjectKey) -> None:
        """The object is another replica's from now on."""
        self.queue.let_go(key)

    async def handed_over(self) -> None:
        """Wait until nothing runs for objects of other replicas."""
        await self.queue.handed_over()

    def _touch(self, key: ObjectKey, obj: Resource) -> None:
        state, known = digest(essence(tree_of(obj))), self._touched.get(key)
        if known is None or known[0] != state:
            self._touched[key] = (state, self.operation.clock.monotonic())

    def _busy_s(self, key: ObjectKey) -> float:
        """For how long the object has still to be left alone before it counts as idle."""
        touched = self._touched.get(key)
        return touched[1] + self.handler.idle_s - self.operation.clock.monotonic() if touched is not None else 0.0

    def _lives(self, obj: Resource) -> bool:
        return "deletionTimestamp" not in tree_of(obj)["metadata"] and self._matches(obj)

    def _forget(self, key: ObjectKey) -> None:
        self._ticking.discard(key)
        self._touched.pop(key, None)
        self.queue.forget(key)
        self.writes.forget(key)

    async def _process(self, item: Item) -> None:
        key = item.key
        obj = self.informer.cache.objects.get(key)
        if key not in self._ticking:
            return
        if obj is None or not self._lives(obj):
            self._forget(key)
            return
        if self.writes.park(key, lambda: self.queue.add(key, reason=item.reason)):
            return
        if (busy_s := self._busy_s(key)) > 0:
            self.queue.add_after(key, busy_s, reason="timer")
            return
        failures, began_s = self.queue.failures(key), self.operation.clock.monotonic()
        attempt = Attempt(self.operation, self.handler, obj, key=key, failures=failures, writes=self.writes)
        attempt.first_s = self.queue.failing_since(key)
        with self.operation.noted(self.handler, self.informer.kind, item) as noted:
            try:
                result = await self._call.run(attempt, noted.trigger)
                await attempt.finish()
            except Exception as error:  # noqa: BLE001 - whatever a handler raises is judged, and hurts nobody else
                judged = verdict(self.handler, error, failures, self.operation.clock.now() - attempt.first_s)
                retry_s = None
                if judged.ignored:
                    self._again(key, began_s, None)
                elif judged.stop:
                    self._forget(key)
                else:
                    retry_s = self.queue.failed(key, judged.delay_s)
                self.operation.engine.journal.failed(noted, error, retry_s)
                self.operation.failed(self.handler, error, about=obj, failures=failures, retry_s=retry_s, quiet=judged.quiet)
                await attempt.finish_after(error)
            else:
                self._again(key, began_s, result)

    def _again(self, key: ObjectKey, began_s: float, result: object) -> None:
        """Arrange the next call."""
        self.queue.succeeded(key)
        wait_s = result.after_s if isinstance(result, Requeue) else self.handler.interval_s
        if self.handler.sharp and not isinstance(result, Requeue):
            wait_s -= (self.operation.clock.monotonic() - began_s) % self.handler.interval_s
        self.queue.add_after(key, wait_s, reason="timer")
