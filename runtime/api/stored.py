"""What the API server answers with: objects that know their revision and their bytes.

A `Stored` rides in the store as the attachment of its value, so an object is decoded once per revision and gets its
resourceVersion once. Its wire bytes are a splice of the stored ones: cheap enough to be made for each reader, where keeping
them would double what an object takes.

Trees are immutable by agreement everywhere: a change makes new dicts along the changed path and shares the rest. That is
what makes it safe to hand the same tree to every reader, and cheap to compare two versions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Literal, cast

import attrs
import orjson

from reconcile.errors import Tree
from reconcile.kinds import Kind
from reconcile.runtime.store import KeyValue

from .errors import CorruptObjectError, StoreReadError

_METADATA = b'"metadata":{'
_SHOWN_MAX = 3


class Stored:
    """An object of a kind at a revision. `tree` is read-only and shared."""

    __slots__ = ("_shown", "kind", "marshalled", "revision", "tree", "value")

    def __init__(self, kind: Kind, tree: Tree, value: bytes = b"", revision: int = 0) -> None:
        self.kind = kind
        """Always of the tree's own apiVersion."""
        self.tree = tree
        self.value = value
        """The JSON text in the store: the tree without metadata.resourceVersion. Empty for what is not stored."""
        self.revision = revision
        self.marshalled = b""
        """The object in another media type, kept by whoever made it for a reader; empty until then."""
        self._shown: tuple[Stored, ...] = ()

    @property
    def encoded(self) -> bytes:
        """The object as JSON text."""
        return self._spliced() if self.value else orjson.dumps(self.tree)

    @property
    def name(self) -> str:
        """metadata.name."""
        return cast(str, self.tree["metadata"].get("name", ""))

    @property
    def namespace(self) -> str:
        """metadata.namespace, or an empty string."""
        return cast(str, self.tree["metadata"].get("namespace", ""))

    def settle(self, revision: int) -> Stored:
        """Take on the revision of the write that made it, once; before this nobody else has seen it."""
        self.revision = revision
        self.tree["metadata"]["resourceVersion"] = str(revision)
        for shown in self._shown:
            shown.settle(revision)
        return self

    def at(self, revision: int) -> Stored:
        """The same object as of another revision: what a deletion event shows."""
        metadata = {**self.tree["metadata"], "resourceVersion": str(revision)}
        return Stored(self.kind, {**self.tree, "metadata": metadata}, self.value, revision)

    def as_kind(self, kind: Kind, complete: Callable[[Tree], Tree] | None = None) -> Stored:
        """The same object as another version of its kind, of which nothing but apiVersion differs, or as a `Face`.

        `complete` brings what another schema left to the form that this kind's schema asks for. What comes out is kept for
        the next reader.
        """
        if self.kind is kind:
            return self
        shown = self.shown_as(kind)
        if shown is not None:
            return shown
        tree = self.tree
        if tree.get("apiVersion") != kind.api_version:
            tree = {**tree, "apiVersion": kind.api_version, "kind": kind.kind}
        elif complete is None:
            return self
        if complete is not None:
            tree = complete(tree)
        return self.show(kind, tree)

    def shown_as(self, kind: Kind) -> Stored | None:
        """What was kept for readers of this version, if anything."""
        for shown in self._shown:
            if shown.kind is kind and shown.revision == self.revision:
                return shown
        return None

    def show(self, kind: Kind, tree: Tree) -> Stored:
        """Keep what the object is in another version for the next reader."""
        shown = Stored(kind, tree, self.value if tree is self.tree else b"", self.revision)
        self._shown = (shown, *[other for other in self._shown if other.kind is not kind][: _SHOWN_MAX - 1])
        return shown

    def _spliced(self) -> bytes:
        """Put the resourceVersion into the stored text, which costs a copy instead of an encoding."""
        at = self.value.find(_METADATA, 0, 400)
        if at < 0:
            return orjson.dumps(self.tree)
        at += len(_METADATA)
        comma = b"" if self.value[at : at + 1] == b"}" else b","
        return b'%b"resourceVersion":"%d"%b%b' % (self.value[:at], self.revision, comma, self.value[at:])

    def __repr__(self) -> str:
        return f"Stored({self.kind}, {self.namespace}/{self.name}, revision {self.revision})"


def is_going(kv: KeyValue | None, kind: Kind) -> bool:
    """Whether it is an object whose deletion has begun."""
    return kv is not None and "deletionTimestamp" in stored_of(kv, kind).tree["metadata"]


def stored_of(kv: KeyValue, kind: Kind) -> Stored:
    """The object behind a value of the store: decoded if nobody did so yet.

    Raises:
        CorruptObjectError: it is none. Others may write to the store.
    """
    found = kv.attachment
    if type(found) is not Stored:
        tree = _decoded(kv)
        kind = kind.face.kind if kind.face is not None else kind
        found = kv.attachment = Stored(_written_as(kind, tree["apiVersion"]), tree, kv.value)
    if not found.revision:
        found.settle(kv.mod_revision)
    return found


def all_of(kvs: Sequence[KeyValue], kind: Kind, prefix: bytes) -> list[Stored]:
    """The objects behind values under `prefix`.

    Raises:
        StoreReadError: some are none; it names them all.
    """
    try:
        return [stored_of(kv, kind) for kv in kvs]
    except CorruptObjectError:
        raise StoreReadError(kind, prefix.decode(), list(_corrupt(kvs, kind))) from None


def readable(kv: KeyValue, kind: Kind) -> Stored | None:
    """What an object was; None where that cannot be told."""
    try:
        return stored_of(kv, kind)
    except CorruptObjectError:
        return None


def _corrupt(kvs: Sequence[KeyValue], kind: Kind) -> Iterator[CorruptObjectError]:
    for kv in kvs:
        try:
            stored_of(kv, kind)
        except CorruptObjectError as error:
            yield error


def _decoded(kv: KeyValue) -> Tree:
    try:
        tree = orjson.loads(kv.value)
    except ValueError as error:
        raise CorruptObjectError(kv.key, kv.mod_revision, f"json parse error: {error}") from None
    meta = tree.get("metadata") if type(tree) is dict else None
    if type(meta) is not dict or type(meta.get("name")) is not str or type(tree.get("apiVersion")) is not str:
        raise CorruptObjectError(kv.key, kv.mod_revision, "it has no apiVersion, or no metadata.name")
    return cast(Tree, tree)


@lru_cache(maxsize=1024)
def _written_as(kind: Kind, api_version: str) -> Kind:
    """The kind in the version that an object was written in, maybe long ago.

    Of a kind declared by data it is never the kind that is served now: its schema may have changed since, so that each
    object has to be completed again when it is first read (see `Stored.as_kind`).
    """
    if (kind.cls is not None or kind.builtin) and api_version == kind.api_version:
        return kind
    return attrs.evolve(kind, version=api_version.rpartition("/")[2])


@attrs.frozen
class Listing:
    """One page of a list, at one revision. `remaining` is known only without selectors."""

    items: list[Stored]
    revision: int
    continue_token: str = ""
    remaining: int | None = None


@attrs.frozen(slots=True)
class Change:
    """One event of a watch. A BOOKMARK has no object; `initial_end` marks the one that closes the initial events."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    stored: Stored | None
    revision: int
    initial_end: bool = False


@attrs.frozen
class Deleted:
    """What a deletion did: the object as it lingers, or (`gone`) as it last was."""

    stored: Stored
    gone: bool


@attrs.define
class Notes:
    """Filled by a write for those who want to know: warnings for the client, and whether it created the object."""

    warnings: list[str] = attrs.field(factory=list)
    created: bool = False
