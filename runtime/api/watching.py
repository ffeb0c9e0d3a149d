"""Watch: the store's events as changes of objects, seen through selectors.

An object that stops matching is DELETED, one that starts is ADDED, so that a client's set of objects is right at any
revision. Events are shared: an object is decoded once for all watchers, a deletion's last state is made once.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from reconcile.clock import Clock
from reconcile.kinds import Kind
from reconcile.runtime.store import PUT, CompactedError, Event, Range, StoreError, Watch, WatchStore
from reconcile.selectors import FieldSelector, LabelSelector, parse_labels

from . import refusals
from .catalog import Catalog, Served
from .errors import FutureRevisionError
from .stored import Change, Stored, stored_of


class Watching:
    """Makes watches."""

    def __init__(self, store: WatchStore, clock: Clock, catalog: Catalog, bookmark_s: float) -> None:
        self._store = store
        self._clock = clock
        self._catalog = catalog
        self._bookmark_s = bookmark_s

    def watch(
        self, kind: Kind, namespace: str, since: int, labels: str, fields: str, initial: bool, bookmarks: bool
    ) -> Following:
        """See ApiServer.watch."""
        served = self._catalog.stored(kind)
        label_selector, field_selector = parse_labels(labels), served.fields(fields)
        if since > self._store.revision:
            raise FutureRevisionError(since, self._store.revision)
        name = field_selector.exact("metadata.name")
        start, end = served.range(namespace or field_selector.exact("metadata.namespace") or "")
        if name and "/" not in name and (namespace or not served.kind.namespaced):
            start, end = served.key(namespace, name), b""
        # "Now" is when the watch is asked for, not when its first event is: nothing between the two may be missed.
        revision = since if since and not initial else self._store.revision
        return Following(
            self._store, self._catalog, served, start, end, revision, label_selector, field_selector, initial,
            self._bookmark_s if bookmarks else None,
        )  # fmt: skip


class Following:
    """One watch. Iterate over it; `aclose` it when done (leaving the loop by cancellation closes it too)."""

    def __init__(
        self, store: WatchStore, catalog: Catalog, served: Served, start: bytes, end: bytes, revision: int, labels: LabelSelector,
        fields: FieldSelector, initial: bool, bookmark_s: float | None,
    ) -> None:  # fmt: skip
        self._store = store
        self._catalog = catalog
        self._served = served
        self._start, self._end = start, end
        self._revision = revision
        self._labels, self._fields = labels, fields
        self._everything = labels.empty and fields.empty
        self._initial = initial
        self._bookmark_s = bookmark_s
        self._watch: Watch | None = None
        self._ready: deque[Change] = deque()
        self._closed = False

    def __aiter__(self) -> Following:
        return self

    def __del__(self) -> None:
        # Somebody left the loop and forgot `aclose`: the store must not go on filling a queue that nobody reads.
        if self._watch is not None:
            self._watch.cancel()

    async def __anext__(self) -> Change:
        ready = self._ready
        while not ready:
            if self._closed:
                raise StopAsyncIteration
            try:
                await self._more()
            except CompactedError as error:
                await self.aclose()
                raise refusals.expired_watch(self._revision, self._store.compacted) from error
            except StoreError as error:
                await self.aclose()
                raise refusals.of_store(error) from error
            except BaseException:
                # Cancelled, or ended: the store must not go on filling a queue that nobody reads.
                await self.aclose()
                raise
        return ready.popleft()

    def taken(self) -> list[Change]:
        """Changes that are there already, taken without waiting: a slow consumer catches up in one go."""
        changes = list(self._ready)
        self._ready.clear()
        return changes

    def end(self) -> None:
        """End the watch: what is there is still given, then the loop ends."""
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    async def aclose(self) -> None:
        """The same as `end`."""
        self.end()

    async def _more(self) -> None:
        """Wait for the next batch of the store."""
        watch = self._watch
        if watch is None:
            if self._initial:
                await self._store.catch_up()
            watch = self._watch = await self._begin()
            if self._ready:
                return
        batch = await watch.__anext__()
        self._revision = batch.revision
        newest = self._catalog.newest(self._served)
        # A kind that changed meanwhile, as a CustomResourceDefinition may, is shown as it is now.
        self._served = newest or self._served
        if batch.events:
            shows = await self._shows(batch.events, batch.revision)
            for event in batch.events:
                change = self._change(event, batch.revision, shows)
                if change is not None:
                    self._ready.append(change)
        else:
            self._ready.append(Change("BOOKMARK", None, batch.revision))
        if newest is None:
            await self.aclose()  # it is served no longer: this was the last of it

    async def _begin(self) -> Watch:
        """Open the store's watch; with `initial`, read the present in the same step, so that nothing falls in between."""
        found = self._store.range(Range(self._start, self._end)) if self._initial else None
        if found is not None:
            self._revision = found.revision
        self._watch = self._store.watch(
            self._start, self._end, self._revision + 1, prev_kv=True, progress_interval_s=self._bookmark_s
        )
        if found is not None:
            for stored in await self._served.all_shown([stored_of(kv, self._served.kind) for kv in found.kvs]):
                if self._matches(stored):
                    self._ready.append(Change("ADDED", stored, stored.revision))
            self._ready.append(Change("BOOKMARK", None, found.revision, initial_end=True))
        return self._watch

    async def _shows(self, events: Sequence[Event], revision: int) -> Callable[[Stored], Stored]:
        """How the states in these events are shown: all that have to be converted are, together."""
        if not self._served.versions.converts:
            return cast(Callable[[Stored], Stored], self._served.shows)  # which gives None for what is to be converted only
        states = [state for event in events for state in self._states(event, revision)]
        shown = dict(zip(states, await self._served.all_shown(states), strict=True))
        return shown.__getitem__

    def _states(self, event: Event, revision: int) -> Iterator[Stored]:
        """What a change is made of: what the object is, and, for those who select, what it was."""
        kind, previous = self._served.kind, event.prev_kv
        if event.kind is not PUT:
            yield self._last_state(event, revision)
            return
        yield stored_of(event.kv, kind)
        if previous is not None and not self._everything:
            yield stored_of(previous, kind)

    def _matches(self, stored: Stored) -> bool:
        if self._everything:
            return True
        tree = stored.tree
        return self._labels.matches(tree["metadata"].get("labels")) and self._fields.matches(tree)

    def _change(self, event: Event, revision: int, shows: Callable[[Stored], Stored]) -> Change | None:
        kind, previous = self._served.kind, event.prev_kv
        if event.kind is PUT:
            stored = shows(stored_of(event.kv, kind))
            created = event.kv.version == 1
            if self._everything:
                return Change("ADDED" if created else "MODIFIED", stored, revision)
            # Where what was there before is compacted away, a client may have had it: tell it so or so.
            before = not created and (previous is None or self._matches(shows(stored_of(previous, kind))))
            if self._matches(stored):
                return Change("MODIFIED" if before else "ADDED", stored, revision)
            return Change("DELETED", stored, revision) if before else None
        last = shows(self._last_state(event, revision))
        return Change("DELETED", last, revision) if previous is None or self._matches(last) else None

    def _last_state(self, event: Event, revision: int) -> Stored:
        """What a deletion shows: the object as it last was, at the revision of its deletion. Made once for all watches."""
        last = event.kv.attachment
        if type(last) is not Stored:
            last = event.kv.attachment = self._last_known(event, revision)
        return last

    def _last_known(self, event: Event, revision: int) -> Stored:
        kind = self._served.kind
        if event.prev_kv is not None:
            return stored_of(event.prev_kv, kind).at(revision)
        namespace, _, name = event.kv.key[len(self._served.prefix) :].decode().rpartition("/")
        metadata = {"name": name, **({"namespace": namespace} if namespace else {}), "resourceVersion": str(revision)}
        return Stored(kind, {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}, b"", revision)
