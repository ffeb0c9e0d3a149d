"""Keeps a copy of all objects of one kind, and tells everybody what changes: list, then watch, for ever.

Promises: it never dies (every failure ends in another try, with back-off and jitter); nothing is lost or made up (after a
break it lists again and announces exactly the difference; an object replaced by one of the same name is DELETED and then
ADDED); subscribers are called in the order of revisions, inline ones before all others. An object is made into a view
once per revision.

Source: k8s.io/client-go/tools/cache (Reflector, SharedInformer)
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, Literal, cast

from reconcile.client import Client, WatchEvent
from reconcile.clock import Clock
from reconcile.errors import (
    ExpiredError,
    ForbiddenError,
    MethodNotAllowedError,
    NotFoundError,
    Tree,
    UnauthorizedError,
    UnavailableError,
)
from reconcile.kinds import Kind, Resource, typed
from reconcile.views import tree_of

from .cache import Cache, key_of
from .queue import ObjectKey

log = logging.getLogger(__name__)

Change = Literal["ADDED", "MODIFIED", "DELETED"]
Subscriber = Callable[[Change, ObjectKey, Resource, Resource | None, bool], None]
"""(type, key, object, what was cached before, whether it came with the first list); DELETED brings the last state."""

BACKOFF_S_FIRST = 0.2
BACKOFF_S_MAX = 30.0
ABSENT_S = 5.0  # how often a kind that is not served, or not ours to see, is asked for
WATCH_S_MAX = 290.0  # a watch is renewed after this time: one that went silent unnoticed is then noticed
PAGE = 500


def class_of(kind: Kind) -> type[Resource]:
    """The class that views of this kind are made of; one is made up for a kind known only from discovery."""
    if kind.cls is not None:
        return kind.cls
    return cast(type[Resource], type(kind.kind, (Resource,), {"__kind__": kind, "__doc__": f"A {kind.kind}, from discovery."}))


class Informer:
    """The cache of one kind (in one namespace, if one is named) and its feed."""

    def __init__(self, client: Client, kind: Kind, clock: Clock, *, namespace: str = "") -> None:
        self.kind = kind
        self.namespace = namespace if kind.namespaced else ""
        self.cls = class_of(kind)
        self.cache = Cache()
        self.revision = 0
        self.absent = False
        self.last_heard_s = 0.0
        self._client, self._clock = client, clock
        self._inline: list[Subscriber] = []
        self._queued: list[Subscriber] = []
        self._synced = asyncio.Event()
        self._tried = asyncio.Event()
        self._poked = asyncio.Event()
        self._relist = True
        self._asking: list[asyncio.Future[None]] = []
        self._watching: asyncio.Timeout | None = None
        self._error: Exception | None = None
        self._waiters: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._gone: dict[ObjectKey, list[Callable[[], None]]] = {}

    @property
    def synced(self) -> bool:
        """Whether the cache has held the whole state once (of a kind that is not served: nothing)."""
        return self._synced.is_set()

    @property
    def parked(self) -> bool:
        """Whether somebody waits for a revision, or for an object to go."""
        return bool(self._waiters or self._gone)

    @property
    def tried(self) -> bool:
        """Whether the first list has ended, well or not."""
        return self._tried.is_set()

    async def wait_readable(self) -> None:
        """Wait until `synced`. Raises UnavailableError if the kind cannot be listed now: whoever reads tries again later."""
        await self._tried.wait()
        if not self._synced.is_set():
            raise UnavailableError(f"{self.kind.resource} cannot be read yet: {self._error}")

    async def wait_tried(self) -> None:
        """Wait until the first list has ended, well or not."""
        await self._tried.wait()

    async def wait_for(self, revision: int) -> None:
        """Wait until everything up to `revision` has been seen."""
        if self.revision < revision:
            reached = asyncio.Event()
            self.when_reached(revision, reached.set)
            await reached.wait()

    def when_reached(self, revision: int, call: Callable[[], None]) -> None:
        """Call once everything up to `revision` has been seen."""
        heapq.heappush(self._waiters, (revision, next(self._numbers), call))

    def when_changed(self, key: ObjectKey, call: Callable[[], None]) -> None:
        """Call at the next change of one object."""
        self._gone.setdefault(key, []).append(call)

    def subscribe(self, subscriber: Subscriber, *, inline: bool = False) -> None:
        """Tell `subscriber` of every change from now on, and of everything cached already (as ADDED, of the first list)."""
        (self._inline if inline else self._queued).append(subscriber)
        for key, obj in list(self.cache.objects.items()):
            _tell((subscriber,), "ADDED", key, obj, None, True)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Tell it no more."""
        for subscribers in (self._inline, self._queued):
            if subscriber in subscribers:
                subscribers.remove(subscriber)

    def poke(self) -> None:
        """The set of kinds has changed: do not wait to try again."""
        if self.absent:
            self._poked.set()

    async def run(self) -> None:
        """List and watch until cancelled."""
        failures = 0
        while True:
            delay_s = 0.0
            try:
                while self._relist:
                    await self._list()
                started = self._clock.monotonic()
                await self._watch()
                # A server that ends watches at once must not be asked in a tight loop.
                failures = 0 if self._clock.monotonic() - started > 1 else min(failures + 1, 5)
                delay_s = BACKOFF_S_FIRST * failures if failures > 1 else 0.0
            except ExpiredError:
                self._relist = True
                failures += 1
                delay_s = 0.0 if failures == 1 else self._backoff_s(failures)
            except (NotFoundError, MethodNotAllowedError) as error:
                log.debug("%s is not served: %s", self.kind, error)
                self._vanish()
                delay_s = ABSENT_S
            except (ForbiddenError, UnauthorizedError) as error:
                log.warning("%s cannot be watched, asking again every %g s: %s", self.kind, ABSENT_S, error)
                self._relist = self.absent = True
                self._error = error
                delay_s = ABSENT_S
            except Exception as error:  # noqa: BLE001 - the outermost loop of this task: it must never die
                failures += 1
                # Not from where it was: the server may have been put back to an older state, and would say nothing for long.
                self._relist = True
                self._error = error
                delay_s = self._backoff_s(failures)
                log.warning("watching %s failed (%d in a row), again in %.1f s: %r", self.kind, failures, delay_s, error)
            self._tried.set()
            if self.absent:
                self._refreshed(self._asking)
            if delay_s > 0:
                await self._pause(delay_s)

    async def refresh(self) -> None:
        """List anew, and wait for it: then the cache shows all that was written before this call.

        Also returns when there is nothing to be seen (the kind is not served, or not ours to see), and when the informer ends.
        """
        listed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asking.append(listed)
        self._relist = True
        if self._watching is not None:
            watching, self._watching = self._watching, None
            watching.reschedule(asyncio.get_running_loop().time())
        await listed

    def _refreshed(self, asking: Sequence[asyncio.Future[None]]) -> None:
        self._asking = [listed for listed in self._asking if listed not in asking]
        for listed in asking:
            if not listed.done():
                listed.set_result(None)

    def release(self) -> None:
        """It ends, because nobody reads it any more: whoever waits for what it would have told waits no longer."""
        self.absent = True
        self._reached(self.revision, flush=True)
        self._refreshed(self._asking)
        waiting, self._gone = self._gone, {}
        for calls in waiting.values():
            for call in calls:
                call()

    def _backoff_s(self, failures: int) -> float:
        delay_s = min(BACKOFF_S_FIRST * 2.0 ** min(failures - 1, 30), BACKOFF_S_MAX)
        return delay_s * (0.75 + 0.5 * self._clock.random.random())

    async def _pause(self, delay_s: float) -> None:
        self._poked.clear()
        try:
            async with asyncio.timeout(delay_s):
                await self._poked.wait()
        except TimeoutError:
            return

    async def _list(self) -> None:
        """Read everything, and announce what is different from the cache."""
        trees: list[Tree] = []
        asking = list(self._asking)
        token = ""
        while True:
            page = await self._client.list(self.kind, self.namespace, limit=PAGE, continue_token=token)
            trees.extend(page.items)
            token = page.continue_token
            if not token:
                break
        self._replace(trees, page.revision)
        self.absent = False
        self._refreshed(asking)
        self._relist = bool(self._asking)  # who asked while it was read must see what was written while it was read
        self._synced.set()
        self._tried.set()

    def _replace(self, trees: list[Tree], revision: int) -> None:
        first = not self._synced.is_set()
        seen = {key_of(tree): tree for tree in trees}
        for key, old in list(self.cache.objects.items()):
            if key not in seen:
                self._deleted(key, old, old)
        # In the order they were written, as a watch would have told.
        for tree in sorted(trees, key=_revision):
            old_or_none = self.cache.objects.get(key_of(tree))
            if old_or_none is None or _revision(tree_of(old_or_none)) != _revision(tree):
                self._put(tree, initial=first)
        self._reached(revision, listed=True)

    def _vanish(self) -> None:
        self._relist = self.absent = True
        for key, old in list(self.cache.objects.items()):
            self._deleted(key, old, old)
        # Whoever waits for what this kind would have told waits no more.
        self._reached(self.revision, flush=True)
        self._synced.set()

    async def _watch(self) -> None:
        limit_s = WATCH_S_MAX * (0.9 + 0.2 * self._clock.random.random())
        stream = cast(
            Any, self._client.watch(self.kind, self.namespace, since=self.revision)
        )  # Any: in practice an async generator
        renewed = asyncio.timeout(limit_s)
        try:
            async with renewed, aclosing(stream):
                self._watching = renewed
                async for event in stream:
                    self.handle(event)
        except TimeoutError:
            if not renewed.expired():
                raise
        finally:
            self._watching = None

    def handle(self, event: WatchEvent) -> None:
        """Take in one event: the cache first, then inline subscribers, then the others, then whoever waits."""
        self.last_heard_s = self._clock.monotonic()
        if event.type == "BOOKMARK":
            self._reached(event.revision)
            return
        tree = event.object
        if event.type == "DELETED":
            key = key_of(tree)
            old = self.cache.objects.get(key)
            if old is not None and _revision(tree_of(old)) <= event.revision:
                self._deleted(key, typed(self.cls, tree, frozen=True), old)
        else:
            self._put(tree)
        self._reached(event.revision)

    def _put(self, tree: Tree, *, initial: bool = False) -> None:
        key = key_of(tree)
        old = self.cache.objects.get(key)
        if old is not None:
            before = tree_of(old)
            if before["metadata"].get("uid") != tree["metadata"].get("uid"):
                self._deleted(key, old, old)
                old = None
            elif not self._relist and _revision(before) >= _revision(tree):
                return  # seen already
        obj = typed(self.cls, tree, frozen=True)
        self.cache.put(key, obj, old)
        self._announce("ADDED" if old is None else "MODIFIED", obj, old, initial, key)

    def _deleted(self, key: ObjectKey, last: Resource, old: Resource) -> None:
        self.cache.drop(key, old)
        self._announce("DELETED", last, old, False, key)

    def _announce(self, change: Change, obj: Resource, old: Resource | None, initial: bool, key: ObjectKey) -> None:
        if self._inline:
            _tell(self._inline, change, key, obj, old, initial)
        _tell(self._queued, change, key, obj, old, initial)
        if self._gone and (calls := self._gone.pop(key, None)):
            for call in calls:
                call()

    def _reached(self, revision: int, *, listed: bool = False, flush: bool = False) -> None:
        # After a list the revision may also go back: the server was put back to an older state, or is another one.
        back = listed and revision < self.revision
        if revision > self.revision or back:
            self.revision = revision
        waiters = self._waiters
        while waiters and (back or flush or waiters[0][0] <= revision):
            heapq.heappop(waiters)[2]()


def _revision(tree: Tree) -> int:
    return int(tree["metadata"].get("resourceVersion") or 0)


def _tell(
    subscribers: Sequence[Subscriber], change: Change, key: ObjectKey, obj: Resource, old: Resource | None, initial: bool
) -> None:
    for subscriber in subscribers:
        try:
            subscriber(change, key, obj, old, initial)
        except Exception:  # one subscriber's error must not keep the news from the others
            log.exception("a subscriber of %s failed on %s", type(obj).__kind__, change)
