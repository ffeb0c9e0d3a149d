"""Runs one event handler: each change as it is seen, in the order of revisions, never repeated.

Inline handlers are called by the informer itself, before anything else sees the change. The others have a queue of their
own and one worker, and hear of this replica's objects alone; a handler that falls `EVENTS_MAX` changes behind loses the oldest,
and that is reported: such a handler wants to be a reconcile handler.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from reconcile.causality import TRIGGER, Trigger
from reconcile.kinds import Resource
from reconcile.registry import Handler
from reconcile.views import tree_of

from .access import as_class
from .attempt import Attempt, Call
from .filter import compiled
from .informer import Change, Informer
from .queue import ObjectKey

if TYPE_CHECKING:
    from .operation import Operation

EVENTS_MAX = 10_000


class Noticing:
    """The controller of one event handler."""

    def __init__(self, operation: Operation, handler: Handler, informer: Informer) -> None:
        self.operation, self.handler, self.informer = operation, handler, informer
        self._call = Call(handler)
        self._matches = compiled(handler)
        self._name = operation.trigger_name(handler)
        self._backlog: deque[tuple[Change, ObjectKey, Resource]] = deque()
        self._working = False
        self._lost = 0
        self._telling: ObjectKey | None = None
        self._told: list[asyncio.Future[None]] = []
        # Most inline handlers take the object and what happened to it: then no attempt is made. A thousand pods bring some
        # ten thousand calls.
        self._lean = not handler.takes_all and bool(handler.object_parameter) and set(handler.parameters) <= {"event"}
        self._takes_event = "event" in handler.parameters

    @property
    def idle(self) -> bool:
        """Whether nothing is due now."""
        return not self._working

    def start(self) -> None:
        """Follow the kind."""
        self.informer.subscribe(self._at_once if self.handler.inline else self._later, inline=self.handler.inline)

    def stop(self) -> None:
        """Follow nothing any more."""
        self.informer.unsubscribe(self._at_once if self.handler.inline else self._later)
        self._backlog.clear()
        self._tell()

    def gained(self, key: ObjectKey, obj: Resource) -> None:
        """Tell of the object as of one that was there at the start."""
        if not self.handler.inline:
            self._later("ADDED", key, obj, None, True)

    def lost(self, key: ObjectKey) -> None:
        """What was seen of it is still told."""

    async def handed_over(self) -> None:
        """Wait until everything that was seen of other replicas' objects is told."""
        gate = self.operation.gate
        while (self._telling is not None and not gate(self._telling)) or any(not gate(key) for _, key, _ in self._backlog):
            told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._told.append(told)
            await told

    def _tell(self) -> None:
        told, self._told = self._told, []
        for one in told:
            if not one.done():
                one.set_result(None)

    def _at_once(self, change: Change, key: ObjectKey, obj: Resource, old: Resource | None, _initial: bool) -> None:
        if not self._matches(obj):
            # What stops matching is news as well: a model in memory must let go of it.
            if old is None or not self._matches(old):
                return
            change = "DELETED"
        token = TRIGGER.set(Trigger(self._name, _revision(obj)))
        try:
            if self._lean:
                shown = self._shown(obj)
                if self._takes_event:
                    self.handler.fn(shown, event=change)
                else:
                    self.handler.fn(shown)
            else:
                self._call.plain(self._made(change, key, obj))
        except Exception as error:  # noqa: BLE001 - reported; the informer and its other subscribers go on
            self.operation.failed(self.handler, error, about=obj, retry_s=None)
        finally:
            TRIGGER.reset(token)

    def _later(self, change: Change, key: ObjectKey, obj: Resource, old: Resource | None, _initial: bool) -> None:
        if not self.operation.gate(key):
            return
        if not self._matches(obj):
            if old is None or not self._matches(old):
                return
            change = "DELETED"
        if len(self._backlog) >= EVENTS_MAX:
            self._backlog.popleft()
            self._lost += 1
        self._backlog.append((change, key, obj))
        if not self._working:
            self._working = True
            self.operation.tasks.spawn(self._work(), self._name)

    def _made(self, change: Change, key: ObjectKey, obj: Resource) -> Attempt:
        attempt = Attempt(self.operation, self.handler, obj, key=key)
        if self.handler.inline:
            attempt.obj = self._shown(obj)
        attempt.event = change
        return attempt

    def _shown(self, obj: Resource) -> Resource:
        """Shared and read-only: this is the fast path, and a model in memory has no business changing objects."""
        cls = self.handler.cls
        return obj if cls is None or cls is Resource else as_class(obj, cls)

    async def _work(self) -> None:
        try:
            while self._backlog:
                change, key, obj = self._backlog.popleft()
                self._telling = key
                attempt = self._made(change, key, obj)
                if self._lost:
                    lost, self._lost = self._lost, 0
                    behind = RuntimeError(f"fell behind: the oldest {lost} changes were dropped; use @on.reconcile instead")
                    self.operation.failed(self.handler, behind, about=obj, retry_s=None)
                try:
                    await self._call.run(attempt, Trigger(self._name, _revision(obj)))
                    if change != "DELETED":
                        await attempt.finish()
                except Exception as error:  # noqa: BLE001 - reported; an event is not repeated
                    self.operation.failed(self.handler, error, about=obj, retry_s=None)
                self._telling = None
                self._tell()
                await asyncio.sleep(0)
        finally:
            self._telling, self._working = None, False
            self._tell()


def _revision(obj: Resource) -> int:
    return int(tree_of(obj)["metadata"].get("resourceVersion") or 0)
