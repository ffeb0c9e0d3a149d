"""Read your own writes: a handler is not run again for an object on a cache older than what it wrote for that object.

Every write notes the revision it made (or the object it removed) under the key that was handled; before the next run the
key is parked until the informers in question have seen as much. Kinds without a running informer are read from nowhere,
so nothing waits for them.

Source: KEP-5647, k8s.io/kubernetes/pkg/controller/util/consistency
"""

from __future__ import annotations

from collections.abc import Callable

from reconcile.errors import Tree
from reconcile.kinds import Kind
from reconcile.views import tree_of

from .informer import Informer
from .queue import ObjectKey

InformerOf = Callable[[Kind], "Informer | None"]


class OwnWrites:
    """The writes of one handler that its caches may not show yet."""

    def __init__(self, informer_of: InformerOf) -> None:
        self._informer_of = informer_of
        self._reached: dict[ObjectKey, dict[Informer, int]] = {}
        self._gone: dict[ObjectKey, dict[tuple[Informer, ObjectKey], str]] = {}
        self._parked: set[ObjectKey] = set()

    def wrote(self, key: ObjectKey, kind: Kind, tree: Tree) -> None:
        """While handling `key`, an object was written and came back as `tree`."""
        informer = self._informer_of(kind)
        if informer is None:
            return
        revision = int((tree.get("metadata") or {}).get("resourceVersion") or 0)
        if revision > informer.revision:
            pending = self._reached.setdefault(key, {})
            pending[informer] = max(revision, pending.get(informer, 0))

    def deleted(self, key: ObjectKey, kind: Kind, target: ObjectKey, uid: str) -> None:
        """While handling `key`, the object `target` was deleted."""
        informer = self._informer_of(kind)
        if informer is not None and self._still_there(informer, target, uid):
            self._gone.setdefault(key, {})[informer, target] = uid

    def park(self, key: ObjectKey, then: Callable[[], None]) -> bool:
        """Whether something written for `key` is not seen yet; then `then` is called when more of it is."""
        if not self._reached and not self._gone:
            return False
        for informer, revision in list(self._reached.get(key, {}).items()):
            if informer.revision < revision and not informer.absent:
                if self._parks(key):
                    informer.when_reached(revision, lambda: self._wake(key, then))
                return True
        self._reached.pop(key, None)
        for (informer, target), uid in list(self._gone.get(key, {}).items()):
            if self._still_there(informer, target, uid):
                if self._parks(key):
                    informer.when_changed(target, lambda: self._wake(key, then))
                return True
        self._gone.pop(key, None)
        return False

    def _parks(self, key: ObjectKey) -> bool:
        """Whether the key is parked only now: further changes that want it meanwhile must not add a waiter each."""
        if key in self._parked:
            return False
        self._parked.add(key)
        return True

    def _wake(self, key: ObjectKey, then: Callable[[], None]) -> None:
        self._parked.discard(key)
        then()

    def forget(self, key: ObjectKey) -> None:
        """The handled object is gone."""
        self._reached.pop(key, None)
        self._gone.pop(key, None)

    @staticmethod
    def _still_there(informer: Informer, target: ObjectKey, uid: str) -> bool:
        """Whether the cache shows the object as if nobody had asked for its deletion."""
        cached = informer.cache.get(target)
        if cached is None or informer.absent:
            return False
        meta = tree_of(cached)["metadata"]
        return (not uid or meta.get("uid") == uid) and not meta.get("deletionTimestamp")
