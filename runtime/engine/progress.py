"""What each handler has done to an object, kept on the object in one short annotation of each operator.

It holds digests, never content: each digest once, with the handlers (9 bytes each) that saw that state last, and for reconcile
handlers the kinds that they yielded, so that what a restarted (and perhaps edited) handler no longer yields is still found. It is
bound to the object's uid: a copy made with `kubectl get -o yaml | kubectl apply` starts anew.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from reconcile.errors import Tree
from reconcile.paths import split

_NO_ESSENCE = "kubectl.kubernetes.io/last-applied-configuration"
_OWN = "reconcile.dev/"


def short_hash(text: str, size: int = 4) -> str:
    """A few hexadecimal digits that tell names apart."""
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


def annotation_of(domain: str) -> str:
    """The annotation in which an operator keeps its progress."""
    return f"{_OWN}{short_hash(domain)}"


def essence(tree: Tree) -> Tree:
    """What people and controllers want of an object: all but its status and what the server keeps in metadata."""
    meta = tree["metadata"]
    kept = {name: value for name, value in tree.items() if name not in ("status", "metadata", "apiVersion", "kind")}
    notes = meta.get("annotations")
    if notes:
        notes = {name: text for name, text in notes.items() if name != _NO_ESSENCE and not name.startswith(_OWN)}
    return {**kept, "metadata": {"labels": meta.get("labels") or {}, "annotations": notes or {}}}


def at(tree: Tree, path: str) -> Any:
    """The value of a field, or None."""
    node: Any = tree
    for key in split(path):
        if not isinstance(node, dict):
            return None
        node = node.get(key)
    return node


def digest(value: Any) -> str:
    """A short digest of JSON values; equal values have equal digests, whatever the order of their keys."""
    return hashlib.blake2b(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), digest_size=6).hexdigest()


class Progress:
    """The annotation of one operator on one object.

    One instance lives as long as the object does and is shared by all handlers of the operator: it is the only writer of
    the annotation, so what it remembers is never older than what a cache shows.
    """

    __slots__ = ("_annotation", "_kept", "_marked", "uid")

    def __init__(self, tree: Tree, annotation: str) -> None:
        self._annotation = annotation
        meta = tree["metadata"]
        self.uid = str(meta.get("uid") or "")
        self._kept = str((meta.get("annotations") or {}).get(annotation) or "")
        self._marked: dict[str, Any] | None = None

    @property
    def _marks(self) -> dict[str, Any]:
        """What stands in the text, read when it is asked for: of most objects nothing is, most of the time."""
        if self._marked is None:
            self._marked = {}
            if self._kept:
                try:
                    marks = orjson.loads(self._kept)
                except orjson.JSONDecodeError:
                    marks = {}  # somebody edited it: as if nothing had been done
                if isinstance(marks, dict) and marks.pop("uid", "") == short_hash(self.uid):
                    self._marked = _by_handler(marks)
        return self._marked

    def rest(self, tree: Tree) -> None:
        """Nothing is new for now: keep the text alone, and no copy of the one that the cached object has."""
        self._marked = None
        shown = (tree["metadata"].get("annotations") or {}).get(self._annotation)
        if shown == self._kept:
            self._kept = shown

    def seen(self, handler_id: str) -> str | None:
        """What this handler saw when it last succeeded, or None."""
        mark = self._marks.get(handler_id)
        return mark if isinstance(mark, str) else None

    def mark(self, handler_id: str, saw: str) -> None:
        """The handler has succeeded on a state with this digest."""
        self._marks[handler_id] = saw

    def restore(self, handler_id: str, saw: str | None) -> None:
        """Take a mark back: what the handler left could not be written."""
        if saw is None:
            self._marks.pop(handler_id, None)
        else:
            self._marks[handler_id] = saw

    def forget(self, prefix: str) -> None:
        """What handlers whose ids begin so have done counts no more."""
        for handler_id in [known for known in self._marks if known.startswith(prefix)]:
            del self._marks[handler_id]

    def yielded(self, handler_id: str) -> tuple[str, ...]:
        """The kinds (`apps/v1/deployments`) that this handler has ever yielded for this object."""
        kinds = self._marks.get(f"{handler_id}+")
        return tuple(map(str, kinds)) if isinstance(kinds, list) else ()

    def mark_yielded(self, handler_id: str, kinds: set[str]) -> None:
        """The handler has yielded these kinds for this object, besides those of before."""
        known = self.yielded(handler_id)
        if not kinds.issubset(known):
            self._marks[f"{handler_id}+"] = sorted(kinds.union(known))

    @property
    def text(self) -> str:
        """The annotation as it ought to be; empty if there is nothing to keep."""
        marks = self._marks
        return orjson.dumps({"uid": short_hash(self.uid), **_by_state(marks)}).decode() if marks else ""

    def patch(self) -> tuple[Tree, str] | None:
        """The merge patch that keeps the progress and the text that it writes, or None if nothing is new."""
        text = self.text
        if text == self._kept:
            return None
        return {"metadata": {"annotations": {self._annotation: text or None}}}, text

    def kept(self, text: str) -> None:
        """The text has been written."""
        self._kept = text


def _by_state(marks: dict[str, Any]) -> dict[str, Any]:
    """Each state once, with the handlers that saw it; lists (of yielded kinds) as they are."""
    states: dict[str, list[str]] = {}
    for handler_id, mark in marks.items():
        if isinstance(mark, str):
            states.setdefault(mark, []).append(handler_id)
    lists = {name: mark for name, mark in marks.items() if not isinstance(mark, str)}
    return {**{state: " ".join(ids) for state, ids in states.items()}, **lists}


def _by_handler(kept: dict[str, Any]) -> dict[str, Any]:
    marks: dict[str, Any] = {name: value for name, value in kept.items() if isinstance(value, list)}
    for state, ids in kept.items():
        if isinstance(ids, str):
            marks.update(dict.fromkeys(ids.split(), state))
    return marks
