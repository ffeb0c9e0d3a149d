"""What is in the store, revision by revision, as seen by nobody in particular: the witness of a simulation.

It hears of each revision when it is published, before any watch does, and calls whoever wants to check something then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Literal

import attrs

from reconcile.clock import Clock
from reconcile.errors import Tree
from reconcile.kinds import Kind
from reconcile.runtime.api import ApiServer
from reconcile.runtime.api.stored import stored_of
from reconcile.runtime.store import FROM_KEY, Event, EventKind, Store, Watch

from .names import UNCOUNTED, object_name

_REGISTRY = b"/registry/"


@attrs.frozen
class Happened:
    """One change of one object."""

    revision: int
    at_s: float
    type: Literal["ADDED", "MODIFIED", "DELETED"]
    key: str
    kind: Kind
    tree: Tree
    before: Tree | None


class Mirror:
    """All objects now, and all that happened to them."""

    def __init__(self, store: Store, api: ApiServer, clock: Clock) -> None:
        self.objects: dict[str, Tree] = {}
        self.kinds: dict[str, Kind] = {}
        """The kind of each object."""
        self.history: list[Happened] = []
        self.births: Counter[str] = Counter()
        self.deaths: Counter[str] = Counter()
        self.on_change: Callable[[Happened], None] = lambda _: None
        self._api, self._clock = api, clock
        self._times: dict[int, float] = {}
        self._watch = store.watch(FROM_KEY, FROM_KEY, prev_kv=True, on_ready=self._take)
        self.revision = store.revision

    def close(self) -> None:
        """Listen no more."""
        self._watch.cancel()

    def happened_s(self, revision: int) -> float:
        """When a revision was made (virtual seconds); 0 for one from before this mirror."""
        return self._times.get(revision, 0.0)

    def of(self, kind: Kind) -> list[tuple[str, Tree]]:
        """The objects of a kind, by name."""
        return sorted((key, tree) for key, tree in self.objects.items() if self.kinds[key].resource == kind.resource)

    def _take(self, watch: Watch) -> None:
        for batch in watch.take():
            self.revision = max(self.revision, batch.revision)
            for event in batch.events:
                self._note(event, batch.revision)

    def _note(self, event: Event, revision: int) -> None:
        kind = self._kind(event.kv.key)
        if kind is None:
            return
        self._times[revision] = self._clock.monotonic()
        gone = event.kind is EventKind.DELETE
        kept = event.prev_kv if gone else event.kv
        if kept is None:
            return
        tree = stored_of(kept, kind).tree
        meta = tree["metadata"]
        key = object_name(kind, meta.get("namespace", ""), meta["name"])
        before = self.objects.get(key)
        if gone:
            self.objects.pop(key, None)
            if kind.plural not in UNCOUNTED:
                self.deaths[kind.plural] += 1
        else:
            self.objects[key] = tree
            self.kinds[key] = kind
            if before is None and kind.plural not in UNCOUNTED:
                self.births[kind.plural] += 1
        type_: Literal["ADDED", "MODIFIED", "DELETED"] = "DELETED" if gone else "ADDED" if before is None else "MODIFIED"
        happened = Happened(revision, self._clock.monotonic(), type_, key, kind, tree, before)
        self.history.append(happened)
        self.on_change(happened)

    def _kind(self, key: bytes) -> Kind | None:
        if not key.startswith(_REGISTRY):
            return None
        resource = key[len(_REGISTRY) :].split(b"/", 1)[0].decode()
        return next((kind for kind in self._api.stored_kinds() if kind.resource == resource), None)
