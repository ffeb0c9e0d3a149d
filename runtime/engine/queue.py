"""A level-triggered work queue: keys, not events.

Promises: a key waits at most once however often it is added; a key added while it is processed is processed once more
afterwards; no two workers ever hold one key; fresh changes go before what an initial list brought; of several delays the
earliest wins; a failing key is retried with exponential back-off, and changes to it (its own writes, most often) cannot
make it run more than once in `HELD_S_MAX` seconds meanwhile. Workers are tasks, started on demand, at most `workers`. Keys that
the `gate` holds back are not taken, and `forgotten` is told when the last worker is through with one.

Source: k8s.io/client-go/util/workqueue, sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import attrs

from reconcile.clock import Clock
from reconcile.registry import Handler

from .alarm import Alarm

log = logging.getLogger(__name__)

ObjectKey = tuple[str, str]
"""Namespace and name."""
Owns = Callable[[ObjectKey], bool]
"""Whether an object is this replica's; see `sharding`."""

HELD_S_MAX = 1.0
_SLICE = 32  # items that a worker processes before it lets other tasks run, when nothing it does awaits
_JITTER = 0.1


def backoff_s(handler: Handler, failures: int, clock: Clock) -> float:
    """How long a handler waits after its failure number `failures` + 1 in a row: exponential, with jitter."""
    # The exponent is bounded: a key may fail for years.
    delay_s = min(handler.backoff_s_first * 2.0 ** min(failures, 60), handler.backoff_s_max)
    return delay_s * (1 + _JITTER * (2 * clock.random.random() - 1))


class Gate:
    """What everything in an engine asks before it works on an object; open to all objects where there are no shards."""

    __slots__ = ("owns",)

    def __init__(self) -> None:
        self.owns: Owns | None = None

    def __call__(self, key: ObjectKey) -> bool:
        """Whether the object is ours."""
        return self.owns is None or self.owns(key)


@attrs.define
class Item:
    """A key that waits for work, and why: the newest revision that asked for it, and how many changes were merged."""

    key: ObjectKey
    revision: int = 0
    reason: str = "change"
    merged: int = 1
    listed: bool = False


@attrs.frozen
class QueueStatistics:
    """What a queue has done and has to do."""

    waiting: int
    processing: int
    delayed: int
    failing: int
    added: int
    processed: int
    retried: int


class WorkQueue:
    """Keys to process. `process` is called with one `Item` at a time for each key; an error in it is logged, not retried."""

    def __init__(
        self,
        process: Callable[[Item], Awaitable[None]],
        *,
        clock: Clock,
        alarm: Alarm,
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
        name: str,
        workers: int = 4,
        backoff_s_first: float = 0.005,
        backoff_s_max: float = 1000.0,
        gate: Callable[[ObjectKey], bool] | None = None,
        forgotten: Callable[[ObjectKey], None] = lambda _: None,
    ) -> None:
        self.name = name
        self._process, self._clock, self._alarm, self._spawn = process, clock, alarm, spawn
        self._workers_max = workers
        self._gate, self._forgotten = gate, forgotten
        self._backoff_s_first, self._backoff_s_max = backoff_s_first, backoff_s_max
        self._fresh: deque[Item] = deque()
        self._listed: deque[Item] = deque()
        self._waiting: dict[ObjectKey, Item] = {}
        self._processing: dict[ObjectKey, Item | None] = {}  # the value is what to do again afterwards
        self._delayed: dict[ObjectKey, tuple[float, str, int]] = {}
        self._handled: dict[ObjectKey, int] = {}  # the revision for which a key is processed: what is put off is put off for it
        self._failures: dict[ObjectKey, int] = {}
        self._failing_since: dict[ObjectKey, float] = {}
        self._held: dict[ObjectKey, float] = {}
        self._quiet: dict[ObjectKey, list[asyncio.Future[None]]] = {}
        self._workers = 0
        self._closed = False
        self._added = self._processed = self._retried = 0

    def add(self, key: ObjectKey, *, revision: int = 0, reason: str = "change", listed: bool = False) -> None:
        """Process `key` as soon as a worker is free; `listed` puts it behind all fresh changes."""
        if self._closed or (self._gate is not None and not self._gate(key)):
            return
        self._added += 1
        if key in self._processing:
            again = self._processing[key]
            if again is None:
                self._processing[key] = Item(key, revision, reason, 1, listed)
            else:
                _merge(again, revision, reason)
            return
        item = self._waiting.get(key)
        if item is not None:
            _merge(item, revision, reason)
            if item.listed and not listed:
                item.listed = False  # its place in the other lane is skipped when its turn comes
                self._fresh.append(item)
            return
        if self._held and (held := self._held.get(key)) is not None:
            wait_s = held - self._clock.monotonic()
            if wait_s > 0:
                self.add_after(key, wait_s, reason=reason, revision=revision)
                return
        item = self._waiting[key] = Item(key, revision, reason, 1, listed)
        (self._listed if listed else self._fresh).append(item)
        if self._workers < self._workers_max:
            self._workers += 1
            self._spawn(self._work(), self.name)

    def add_after(self, key: ObjectKey, after_s: float, *, reason: str = "requeue", revision: int = 0) -> None:
        """Process `key` after `after_s` seconds; of several delays the earliest wins."""
        revision = revision or self._handled.get(key, 0)
        if after_s <= 0:
            self.add(key, reason=reason, revision=revision)
            return
        at = self._clock.monotonic() + after_s
        known = self._delayed.get(key)
        if self._closed or (known is not None and known[0] <= at):
            return
        self._delayed[key] = (at, reason, revision)
        self._alarm.after(after_s, lambda: self._due(key, at))

    def failed(self, key: ObjectKey, delay_s: float | None = None) -> float:
        """Count a failure of `key` and retry it after the back-off (or after `delay_s`); returns that delay."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        self._failing_since.setdefault(key, self._clock.now())
        if delay_s is None:
            # The exponent is bounded: a key may fail for years.
            delay_s = min(self._backoff_s_first * 2.0 ** min(count, 60), self._backoff_s_max)
            delay_s *= 1 + _JITTER * (2 * self._clock.random.random() - 1)
        self._held[key] = self._clock.monotonic() + min(delay_s, HELD_S_MAX)
        self._retried += 1
        self.add_after(key, delay_s, reason="retry")
        return delay_s

    def failures(self, key: ObjectKey) -> int:
        """How often in a row `key` has failed."""
        return self._failures.get(key, 0)

    def failing_since(self, key: ObjectKey) -> float:
        """When the failures of `key` began, in seconds since the epoch; now if it has not failed."""
        return self._failing_since.get(key) or self._clock.now()

    def succeeded(self, key: ObjectKey) -> None:
        """Forget failures of `key`."""
        if self._failures:
            self._failures.pop(key, None)
            self._failing_since.pop(key, None)
            self._held.pop(key, None)

    def forget(self, key: ObjectKey) -> None:
        """Forget failures and delays of `key`: its object is gone."""
        self.succeeded(key)
        self._delayed.pop(key, None)

    def let_go(self, key: ObjectKey) -> None:
        """Keys that the gate holds back now: forget this one at once, or when its worker is through with it."""
        self._waiting.pop(key, None)
        if key in self._processing:
            self._processing[key] = None
        else:
            self._forgotten(key)

    async def handed_over(self) -> None:
        """Wait until no worker holds a key that the gate holds back."""
        for key in [key for key in self._processing if self._gate is not None and not self._gate(key)]:
            await self.quiet(key)

    def holds(self, key: ObjectKey) -> bool:
        """Whether a worker processes `key` now."""
        return key in self._processing

    async def quiet(self, key: ObjectKey) -> None:
        """Wait until no worker holds `key`."""
        while key in self._processing and not self._closed:
            done = asyncio.get_running_loop().create_future()
            self._quiet.setdefault(key, []).append(done)
            await done

    @property
    def idle(self) -> bool:
        """Whether nothing is due now (delays that are not over do not count)."""
        return not self._waiting and not self._processing

    def statistics(self) -> QueueStatistics:
        """Numbers for people."""
        return QueueStatistics(
            len(self._waiting), len(self._processing), len(self._delayed), len(self._failures), self._added,
            self._processed, self._retried,
        )  # fmt: skip

    def close(self) -> None:
        """Take no more work; whoever spawned the workers cancels them."""
        self._closed = True
        for lane in (self._fresh, self._listed, self._waiting, self._delayed, self._failures, self._held):
            lane.clear()
        for waiters in self._quiet.values():
            for done in waiters:
                if not done.done():
                    done.set_result(None)
        self._quiet.clear()

    def _due(self, key: ObjectKey, at: float) -> None:
        known = self._delayed.get(key)
        if known is not None and known[0] == at:
            del self._delayed[key]
            self._held.pop(key, None)
            self.add(key, reason=known[1], revision=known[2])

    def _next(self) -> Item | None:
        waiting = self._waiting
        for lane, listed in ((self._fresh, False), (self._listed, True)):
            while lane:
                item = lane.popleft()
                if item.listed is listed and waiting.get(item.key) is item:
                    del waiting[item.key]
                    return item
        return None

    async def _work(self) -> None:
        count = 0
        try:
            while (item := self._next()) is not None:
                key = item.key
                self._processing[key] = None
                if item.revision:
                    self._handled[key] = item.revision
                try:
                    await self._process(item)
                except Exception:  # the outermost loop: the worker must live
                    log.exception("work on %s failed in %s", key, self.name)
                finally:
                    self._finish(key)
                count += 1
                if count % _SLICE == 0:
                    await self._clock.sleep(0)
        finally:
            self._workers -= 1

    def _finish(self, key: ObjectKey) -> None:
        self._processed += 1
        again = self._processing.pop(key, None)
        self._handled.pop(key, None)
        if self._gate is not None and not self._gate(key):
            self._forgotten(key)
        elif again is not None:
            self.add(key, revision=again.revision, reason=again.reason, listed=again.listed)
        if self._quiet and (waiters := self._quiet.pop(key, None)):
            for done in waiters:
                if not done.done():
                    done.set_result(None)


def _merge(item: Item, revision: int, reason: str) -> None:
    item.merged += 1
    if revision >= item.revision:
        item.revision, item.reason = revision, reason
