"""Watches of one prefix, and those among them that only a certain value concerns: a thousand of them cost as much as one.

A narrowed watch says by which function of a value it chooses, and what that has to give. An event goes to those who chose what
the function gives for the new value or for the one before, so that who follows one of ten thousand objects, by a field or a
label, is not woken for the others. Only the present is narrowed: what a watch pulls from the past is its whole range, and the
function may give no answer. So whoever narrows a watch still looks at what it is told.

Source: the idea is kube-apiserver's (k8s.io/apiserver/pkg/storage/cacher, trigger functions)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING

import attrs

from .model import PUT, Event, KeyValue

if TYPE_CHECKING:
    from .watch import Watch

Of = Callable[[KeyValue], Hashable]
"""What a value is chosen by; None, or an error, where that cannot be said. One function object for all who choose alike."""


@attrs.frozen
class Narrow:
    """A choice among the events of a range: those where `of` gives, or gave before, `value`."""

    of: Of
    value: Hashable


class Group:
    """The watches of one prefix."""

    __slots__ = ("_all", "_narrow")

    def __init__(self) -> None:
        self._all: dict[Watch, None] = {}
        self._narrow: dict[Of, dict[Hashable, dict[Watch, None]]] = {}

    def __bool__(self) -> bool:
        return bool(self._all or self._narrow)

    def __iter__(self) -> Iterator[Watch]:
        yield from self._all
        for by_value in self._narrow.values():
            for watches in by_value.values():
                yield from watches

    def add(self, watch: Watch) -> None:
        """Add a watch."""
        if watch.narrow is None:
            self._all[watch] = None
        else:
            self._narrow.setdefault(watch.narrow.of, {}).setdefault(watch.narrow.value, {})[watch] = None

    def remove(self, watch: Watch) -> None:
        """Remove a watch, if it is here."""
        narrow = watch.narrow
        if narrow is None:
            self._all.pop(watch, None)
            return
        by_value = self._narrow.get(narrow.of, {})
        watches = by_value.get(narrow.value, {})
        watches.pop(watch, None)
        if not watches:
            by_value.pop(narrow.value, None)
        if not by_value:
            self._narrow.pop(narrow.of, None)

    def concerned(self, event: Event) -> Iterator[Watch]:
        """Whom an event of the prefix goes to."""
        yield from self._all
        for of, by_value in self._narrow.items():
            values = _values(of, event)
            for value in by_value if values is None else values:
                yield from by_value.get(value, ())


def _values(of: Of, event: Event) -> set[Hashable] | None:
    """What the key gives now and gave before; None if one of them cannot be told."""
    values = set[Hashable]()
    try:
        if event.kind is PUT:
            values.add(of(event.kv))
        if event.prev_kv is not None:
            values.add(of(event.prev_kv))
        elif event.kind is not PUT or event.kv.version != 1:
            return None
    except Exception:  # noqa: BLE001 - whatever somebody wrote, it must not end the store; whoever watches comes to it, and says so
        return None
    return None if None in values else values
