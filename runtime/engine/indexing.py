"""Runs one index handler: what each object of a kind is found under, kept in memory and up to date.

Filled by the informer itself, before anything else sees a change, so that no worker ever waits for it. An object for which the
function raises is left out until it changes, and that is reported.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from reconcile.causality import TRIGGER, Trigger
from reconcile.errors import PermanentError
from reconcile.kinds import Resource
from reconcile.registry import Handler

from .attempt import Attempt, Call
from .filter import compiled
from .informer import Change, Informer
from .queue import ObjectKey

if TYPE_CHECKING:
    from .operation import Operation

Owner = tuple[str, ObjectKey]
"""A kind and one of its objects."""


class Values(Collection[Any]):
    """What objects have put under one key; read-only, in the order of their coming."""

    def __init__(self, by_owner: Mapping[Owner, Any]) -> None:
        self._by_owner = by_owner

    def __len__(self) -> int:
        return len(self._by_owner)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._by_owner.values())

    def __contains__(self, value: object) -> bool:
        return value in self._by_owner.values()

    def __repr__(self) -> str:
        return repr(list(self))


class Index(Mapping[Any, Values]):
    """One index: keys, and the values that objects have under them. Put and forget are O(keys of the object)."""

    def __init__(self) -> None:
        self._by_key: dict[Any, dict[Owner, Any]] = {}
        self._keys: dict[Owner, tuple[Any, ...]] = {}

    def __getitem__(self, key: Any) -> Values:
        return Values(self._by_key[key])

    def __iter__(self) -> Iterator[Any]:
        return iter(self._by_key)

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, key: object) -> bool:
        return key in self._by_key

    def put(self, owner: Owner, result: Any) -> None:
        """Take what the function returned for an object: a mapping of keys and values, or one value under None."""
        self.forget(owner)
        if result is None:
            return
        entries = result if isinstance(result, Mapping) else {None: result}
        for key, value in entries.items():
            self._by_key.setdefault(key, {})[owner] = value
        self._keys[owner] = tuple(entries)

    def forget(self, owner: Owner) -> None:
        """The object is gone, or is indexed no more."""
        for key in self._keys.pop(owner, ()):
            values = self._by_key[key]
            del values[owner]
            if not values:
                del self._by_key[key]


class Indexing:
    """The controller of one index handler for one kind; several kinds may fill one index."""

    idle = True

    def __init__(self, operation: Operation, handler: Handler, informer: Informer) -> None:
        self.operation, self.handler, self.informer = operation, handler, informer
        self.index = operation.indexes.setdefault(handler.name, Index())
        self._call = Call(handler)
        self._matches = compiled(handler)
        self._cause = Trigger(operation.trigger_name(handler), 0, "index")
        self._failing: set[ObjectKey] = set()

    def start(self) -> None:
        """Follow the kind, from inside of the informer."""
        self.informer.subscribe(self._changed, inline=True)

    def stop(self) -> None:
        """Follow nothing any more."""
        self.informer.unsubscribe(self._changed)

    def gained(self, key: ObjectKey, obj: Resource) -> None:
        """Every replica has the whole index."""

    def lost(self, key: ObjectKey) -> None:
        """As above."""

    async def handed_over(self) -> None:
        """There is nothing to wait for."""

    def _changed(self, change: Change, key: ObjectKey, obj: Resource, _old: Resource | None, _initial: bool) -> None:
        owner = (self.informer.kind.resource, key)
        if change == "DELETED" or not self._matches(obj):
            self.index.forget(owner)
            self._well(key)
            return
        token = TRIGGER.set(self._cause)
        try:
            self.index.put(owner, _result(self._call.plain(Attempt(self.operation, self.handler, obj, key=key))))
        except Exception as error:  # noqa: BLE001 - reported; the object is left out until it changes
            self.index.forget(owner)
            self._failing.add(key)
            if self.handler.errors != "ignored":
                self.operation.failed(self.handler, error, about=obj, retry_s=None)
        else:
            self._well(key)
        finally:
            TRIGGER.reset(token)

    def _well(self, key: ObjectKey) -> None:
        if key in self._failing:
            self._failing.discard(key)
            self.operation.succeeded(self.handler, self.informer.kind, key)


def _result(returned: Any) -> Any:
    """What the function gives; a coroutine is run to its end, and may not wait on its way.

    Raises:
        PermanentError: it waits.
    """
    if not inspect.iscoroutine(returned):
        return returned
    try:
        returned.send(None)
    except StopIteration as done:
        return done.value
    returned.close()
    raise PermanentError("an index function waits for something; everything else would wait for it: index what the object says")
