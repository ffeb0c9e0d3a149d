"""Watch: the store's events as changes of objects, seen through selectors.

An object that stops matching is DELETED, one that starts is ADDED, so that a client's set of objects is right at any
revision. Events are shared: an object is decoded once for all watchers, a deletion's last state is made once.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar, cast

from reconcile.clock import Clock
from reconcile.errors import Tree
from reconcile.kinds import Kind
from reconcile.runtime.store import PUT, CompactedError, Event, KeyValue, Narrow, Range, StoreError, Watch, WatchBatch, WatchStore
from reconcile.runtime.store.narrow import Of
from reconcile.selectors import FieldSelector, LabelSelector, parse_labels

from . import refusals
from .catalog import ALWAYS_SELECTABLE, Catalog, Served
from .errors import FutureRevisionError
from .stored import Change, Stored, all_of, readable, stored_of

_CHOOSERS_MAX = 1000
_What = TypeVar("_What", bound=Hashable)


class Watching:
    """Makes watches."""

    def __init__(self, store: WatchStore, clock: Clock, catalog: Catalog, bookmark_s: float) -> None:
        self._choosers: dict[tuple[Kind, Hashable], Of] = {}
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
            self._bookmark_s if bookmarks else None, self._narrow(served.kind, label_selector, field_selector),
        )  # fmt: skip

    def _narrow(self, kind: Kind, labels: LabelSelector, fields: FieldSelector) -> Narrow | None:
        """What an object has to have to concern a watch: the first field, else the first label, that the selectors pin down."""
        for term in fields.terms:
            if term.equal and term.path not in ALWAYS_SELECTABLE:
                return Narrow(self._chooser(kind, term.text, _of_field), term.value)
        for requirement in labels.requirements:
            if requirement.operator == "=":
                return Narrow(self._chooser(kind, requirement.key, _of_label), requirement.values[0])
        return None

    def _chooser(self, kind: Kind, what: _What, make: Callable[[Kind, _What], Of]) -> Of:
        found = self._choosers.get((kind, what))
        if found is None:
            if len(self._choosers) >= _CHOOSERS_MAX:
                self._choosers.clear()  # watches keep theirs; new ones do not share them
            found = self._choosers[kind, what] = make(kind, what)
        return found


class Following:
    """One watch. Iterate over it; `aclose` it when done (leaving the loop by cancellation closes it too)."""

    def __init__(
        self, store: WatchStore, catalog: Catalog, served: Served, start: bytes, end: bytes, revision: int, labels: LabelSelector,
        fields: FieldSelector, initial: bool, bookmark_s: float | None, narrow: Narrow | None,
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
        self._narrow = narrow
        self._watch: Watch | None = None
        self._ready: deque[Change] = deque()
        self._converting = False
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
            await self._more(wait=True)
        return ready.popleft()

    async def arrive(self) -> None:
        """Go through the past until something of it is `taken`, or the present is reached. Raises as the iteration does."""
        if not self._closed and not self._ready:
            await self._more(wait=False)

    def taken(self) -> list[Change]:
        """Changes that are there already, taken without waiting: a slow consumer catches up in one go."""
        watch = self._watch
        # What has to be converted is waited for, and nothing may overtake it.
        if watch is not None and not self._converting:
            served = self._renewed()
            if not self._served.versions.converts:
                for batch in watch.take():
                    self._tell(batch, self._plain)
                    if not served:
                        self.end()
                        break
        changes = list(self._ready)
        self._ready.clear()
        return changes

    @property
    def present(self) -> int | None:
        """The store's revision, where all changes up to it were given; None where some are still to come, or it ended."""
        return None if self._watch is None or self._ready or self._converting else self._watch.present

    def end(self) -> None:
        """End the watch: what is there is still given, then the loop ends."""
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    async def aclose(self) -> None:
        """The same as `end`."""
        self.end()

    async def _more(self, *, wait: bool) -> None:
        """Begin, or take the store's next batch; without `wait`, only go through the past."""
        try:
            watch = self._watch
            if watch is None:
                if self._initial:
                    await self._store.catch_up()
                watch = await self._begin()
                if self._ready:
                    return
            if wait:
                await self._accept(await watch.__anext__())
            else:
                await watch.arrive()
        except CompactedError as error:
            self.end()
            raise refusals.expired_watch(self._revision, self._store.compacted) from error
        except StoreError as error:
            self.end()
            raise refusals.of_store(error) from error
        except BaseException:
            # Cancelled, or ended: the store must not go on filling a queue that nobody reads.
            self.end()
            raise

    async def _accept(self, batch: WatchBatch) -> None:
        """Make changes of a batch; what has to be converted is converted first."""
        served, shows = self._renewed(), self._plain
        if batch.events and self._served.versions.converts:
            self._converting = True
            try:
                shows = await self._converted(batch.events, batch.revision)
            finally:
                self._converting = False
        self._tell(batch, shows)
        if not served:
            self.end()  # this was the last of it

    def _renewed(self) -> bool:
        """Whether the kind is served still; one that changed, as a CustomResourceDefinition may, is shown as it is now."""
        newest = self._catalog.newest(self._served)
        self._served = newest or self._served
        return newest is not None

    def _tell(self, batch: WatchBatch, shows: Callable[[Stored], Stored]) -> None:
        self._revision = batch.revision
        if not batch.events:
            self._ready.append(Change("BOOKMARK", None, batch.revision))
        for event in batch.events:
            change = self._change(event, batch.revision, shows)
            if change is not None:
                self._ready.append(change)

    async def _begin(self) -> Watch:
        """Open the store's watch; with `initial`, read the present in the same step, so that nothing falls in between."""
        found = self._store.range(Range(self._start, self._end)) if self._initial else None
        if found is not None:
            self._revision = found.revision
        watch = self._watch = self._store.watch(
            self._start, self._end, self._revision + 1, prev_kv=True, progress_interval_s=self._bookmark_s, narrow=self._narrow
        )
        if found is not None:
            for stored in await self._served.all_shown(all_of(found.kvs, self._served.kind, self._served.prefix)):
                if self._matches(stored):
                    self._ready.append(Change("ADDED", stored, stored.revision))
            self._ready.append(Change("BOOKMARK", None, found.revision, initial_end=True))
        return watch

    @property
    def _plain(self) -> Callable[[Stored], Stored]:
        return cast(Callable[[Stored], Stored], self._served.shows)  # which gives None for what is to be converted only

    async def _converted(self, events: Sequence[Event], revision: int) -> Callable[[Stored], Stored]:
        """How the states in these events are shown: all are converted together."""
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
        if previous is not None and not self._everything and (before := readable(previous, kind)) is not None:
            yield before

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
            # Where what was there before is compacted away, or no object, a client may have had it: tell it so or so.
            earlier = readable(previous, kind) if previous is not None else None
            before = not created and (earlier is None or self._matches(shows(earlier)))
            if self._matches(stored):
                return Change("MODIFIED" if before else "ADDED", stored, revision)
            return Change("DELETED", stored, revision) if before else None
        state = self._last_state(event, revision)
        last = shows(state)
        # One without bytes was made up, because nobody can tell any more what the object was.
        return Change("DELETED", last, revision) if not state.value or self._matches(last) else None

    def _last_state(self, event: Event, revision: int) -> Stored:
        """What a deletion shows: the object as it last was, at the revision of its deletion. Made once for all watches."""
        last = event.kv.attachment
        if type(last) is not Stored:
            last = event.kv.attachment = self._last_known(event, revision)
        return last

    def _last_known(self, event: Event, revision: int) -> Stored:
        kind = self._served.kind
        before = readable(event.prev_kv, kind) if event.prev_kv is not None else None
        if before is not None:
            return before.at(revision)
        namespace, _, name = event.kv.key[len(self._served.prefix) :].decode().rpartition("/")
        metadata = {"name": name, **({"namespace": namespace} if namespace else {}), "resourceVersion": str(revision)}
        return Stored(kind, {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}, b"", revision)


def _of_field(kind: Kind, text: Callable[[Tree], str]) -> Of:
    """What a stored object has in a field; None where its readers may see it otherwise than it is stored."""

    def chosen(kv: KeyValue) -> Hashable:
        stored = stored_of(kv, kind)
        return text(stored.tree) if stored.kind is kind else None

    return chosen


def _of_label(kind: Kind, name: str) -> Of:
    """What a stored object has as a label; None as for fields."""

    def chosen(kv: KeyValue) -> Hashable:
        stored = stored_of(kv, kind)
        if stored.kind is not kind:
            return None
        label: str | None = (stored.tree["metadata"].get("labels") or {}).get(name)
        return False if label is None else label  # False, which no selector asks for: it has no such label

    return chosen
