"""Which objects were so, and when: a search through the history of one kind.

An answer is a list of spells: an object, the revision from which it matched, who made it so, and the revision at which it did no
longer. What matched already where the search begins has no beginning that is known.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from reconcile.clock import timestamp_micro
from reconcile.errors import BadRequestError, Tree
from reconcile.kinds import Kind
from reconcile.runtime.api import ApiServer
from reconcile.selectors import parse_fields, parse_labels

from .chronicle import Chronicle, Step

SPELLS_MAX = 1000
_AT_ONCE = 2000
"""How many revisions are in memory at once."""
Home = tuple[str, str, str]
Matches = Callable[[Tree], bool]


@attrs.define
class Spell:
    """A time in which an object matched. Revision 0: before the search, or still."""

    home: Home
    began: Step | None
    ended: Step | None = None

    def told(self) -> Tree:
        """As JSON."""
        namespace, name, uid = self.home
        return {"namespace": namespace, "name": name, "uid": uid, "from": _moment(self.began), "to": _moment(self.ended)}


class Search:
    """One search under way."""

    def __init__(self, matches: Matches) -> None:
        self._matches = matches
        self._open: dict[Home, Spell] = {}
        self._spells: list[Spell] = []
        self.more = False

    def was_there(self, tree: Tree) -> None:
        """An object as it was where the search begins."""
        if self._matches(tree):
            self._begin(_home(tree), None)

    def happened(self, step: Step) -> None:
        """A change, in the order of revisions."""
        home = _home(step.tree)
        spell = self._open.get(home)
        if step.type != "DELETED" and self._matches(step.tree):
            if spell is None:
                self._begin(home, step)
        elif spell is not None:
            spell.ended = step
            del self._open[home]

    def _begin(self, home: Home, step: Step | None) -> None:
        if len(self._spells) >= SPELLS_MAX:
            self.more = True
            return
        spell = self._open[home] = Spell(home, step)
        self._spells.append(spell)

    def told(self) -> list[Tree]:
        """What was found, in the order of beginnings."""
        return [spell.told() for spell in self._spells]


async def find(api: ApiServer, kind: Kind, namespace: str, labels: str, fields: str, first: int, last: int) -> Tree:
    """Search the revisions first..last (0: as far as history goes, either way). Reads O(revisions in between).

    Raises:
        BadRequestError: a selector cannot be read, or a revision is not kept, or not there yet.
    """
    store = api.store
    oldest, newest = max(1, store.compacted), store.revision
    first, last = first or oldest, last or newest
    if not oldest <= first <= last <= newest:
        raise BadRequestError(f"revisions {first} to {last} cannot be searched: history goes from {oldest} to {newest}")
    by_label, by_field = parse_labels(labels), parse_fields(fields)

    def matches(tree: Tree) -> bool:
        meta = tree["metadata"]
        return (
            (not namespace or meta.get("namespace") == namespace)
            and by_label.matches(meta.get("labels"))
            and by_field.matches(tree)
        )

    search = Search(matches)
    for stored in (await api.list(kind, resource_version=str(first), match="Exact")).items:
        search.was_there(stored.tree)
    chronicle = Chronicle(api)
    for start in range(first + 1, last + 1, _AT_ONCE):
        for step in await chronicle.between(start, min(start + _AT_ONCE - 1, last)):
            if step.kind.resource == kind.resource:
                search.happened(step)
    return {"kind": "Found", "first": str(first), "last": str(last), "items": search.told(), "more": search.more}


def _home(tree: Tree) -> Home:
    meta = tree["metadata"]
    return str(meta.get("namespace") or ""), meta["name"], str(meta.get("uid") or "")


def _moment(step: Step | None) -> Tree | None:
    if step is None:
        return None
    time = timestamp_micro(step.time_s) if step.time_s is not None else None
    return {
        "revision": str(step.revision), "time": time, "by": step.cause.handler if step.cause is not None else None,
        "type": step.type,
    }  # fmt: skip
