"""Which kinds are served, and what was compiled for each of them.

A kind may be served in several versions: they share their objects (see `conversion`). Kinds come and go at run time; who wants to
know registers a callback. Schemas are compiled when first needed, so that serving costs nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, cast

import attrs

from reconcile.errors import BadRequestError, Tree
from reconcile.kinds import Kind
from reconcile.runtime.store import prefix_end
from reconcile.selectors import FieldSelector, FieldTerm, parse_fields

from . import refusals
from .completion import Complete, compile_completion
from .conversion import Asking, Versions
from .flights import Flights
from .stored import Stored
from .validation import Check, compile_validation

if TYPE_CHECKING:
    from .answering import Respond

Read = Callable[[Tree, Mapping[str, str]], Awaitable[AsyncIterator[bytes]]]
"""(the object, options of the query) -> chunks. For subresources that stream, such as pods/log."""
ALWAYS_SELECTABLE = ("metadata.name", "metadata.namespace")


class Virtual(Protocol):
    """Computes the objects of a kind that is not stored."""

    async def get(self, name: str, namespace: str) -> Tree | None:
        """One object, or None."""

    async def list(self, namespace: str) -> Sequence[Tree]:
        """The objects of a namespace, or of all where it is empty."""


class Served:
    """A served kind with what is compiled for it."""

    def __init__(
        self, kind: Kind, provider: Virtual | None, respond: Respond | None = None, versions: Versions | None = None
    ) -> None:
        self.kind = kind
        self.provider = provider
        self.respond = respond
        self.api_version = kind.api_version
        self.readers: dict[str, Read] = {}
        self._home = kind.face.kind if kind.face is not None else kind
        if versions is None:
            versions = Versions(Asking())
            versions.add(self._home)
        self.versions = versions
        self._flights: Flights[Stored, Stored] = Flights(self._converted)
        self.prefix = f"/registry/{self._home.resource}/".encode()
        self.selectable = frozenset((*ALWAYS_SELECTABLE, *kind.selectable))

    @property
    def stores_objects(self) -> bool:
        """Whether objects of the kind are in the store, and neither computed nor answered."""
        return self.provider is None and self.respond is None

    @cached_property
    def schema(self) -> Tree:
        """The schema of the whole object."""
        return self.kind.schema

    @cached_property
    def complete(self) -> Complete:
        """Writes defaults in and takes unknown fields out."""
        return compile_completion(self.schema, drop_null=self.kind.builtin)

    @cached_property
    def check(self) -> Check:
        """Tells what is wrong with an object."""
        return compile_validation(self.schema)

    @cached_property
    def strategic(self) -> bool:
        """Whether strategic merge patches are taken: not for kinds declared by a CustomResourceDefinition."""
        return self.kind.cls is not None or self.kind.builtin

    def shows(self, stored: Stored) -> Stored | None:
        """A stored object as this version of its kind has it; None: it has to be converted first (`shown`)."""
        kind = self.kind
        if stored.kind is kind:
            return stored
        if kind.face is not None:
            return stored.as_kind(kind, kind.face.shown)
        if stored.kind.version == kind.version:
            return stored.as_kind(kind, self._completed if kind.cls is None else None)
        if self.versions.converts:
            return stored.shown_as(kind)
        return stored.as_kind(kind, lambda tree: self.versions.adopted(tree, stored.kind.version, kind))

    async def shown(self, stored: Stored) -> Stored:
        """A stored object as this version of its kind has it.

        Raises:
            ConversionError: it cannot be brought into this version.
        """
        return self.shows(stored) or (await self._flights.of([stored]))[0]

    async def all_shown(self, items: list[Stored]) -> list[Stored]:
        """As `shown`, for many at once."""
        shown = [self.shows(item) for item in items]
        if not self.versions.converts:
            return cast(list[Stored], shown)  # none of them is None
        missing = [item for item, found in zip(items, shown, strict=True) if found is None]
        made = iter(await self._flights.of(missing) if missing else ())
        return [found or next(made) for found in shown]

    async def _converted(self, items: Sequence[Stored]) -> list[Stored]:
        versions = self.versions
        trees = await versions.converted([versions.completed(item.tree, item.kind.version) for item in items], self.kind)
        return [item.show(self.kind, tree) for item, tree in zip(items, trees, strict=True)]

    async def made(self, tree: Tree, encode: Callable[[Tree], bytes]) -> Stored:
        """An object as it shall be stored: in the storage version, and without its resourceVersion.

        What could not be shown again is not stored: it is brought back into this version first.

        Raises:
            ConversionError: it cannot be brought into the storage version, or not back.
        """
        stored_as = self.stored_as
        face = self.kind.face
        if face is not None:
            tree = {**face.stored(tree), "apiVersion": stored_as.api_version, "kind": stored_as.kind}
        elif stored_as is not self.kind:
            (tree,) = await self.versions.converted([tree], stored_as)
        tree = {**tree, "metadata": {name: value for name, value in tree["metadata"].items() if name != "resourceVersion"}}
        made = Stored(stored_as, tree, encode(tree))
        await self.shown(made)
        return made

    @property
    def stored_as(self) -> Kind:
        """The kind in the version that its objects are stored in."""
        return self.versions.stored_as(self._home)

    def is_stored_as(self, stored: Stored) -> bool:
        """Whether an object is in the storage version already."""
        return stored.kind.version == self.stored_as.version

    def _completed(self, tree: Tree) -> Tree:
        made: Tree = self.complete(tree, None, [])
        return made

    def key(self, namespace: str, name: str) -> bytes:
        """Where an object is stored."""
        if not name or "/" in name or "/" in namespace:
            raise refusals.not_found(self.kind, name)
        if not self.kind.namespaced:
            return self.prefix + name.encode()
        if not namespace:
            raise BadRequestError(f"{self.kind.resource} {name!r}: name the namespace; this kind is namespaced")
        return self.prefix + f"{namespace}/{name}".encode()

    def range(self, namespace: str) -> tuple[bytes, bytes]:
        """Where the objects of a namespace (or of all, where it is empty) are stored."""
        prefix = self.prefix + f"{namespace}/".encode() if namespace and self.kind.namespaced else self.prefix
        return prefix, prefix_end(prefix)

    def fields(self, text: str) -> FieldSelector:
        """A field selector over what this kind allows to select by.

        Raises:
            BadRequestError: it cannot be read, or names another field.
        """
        selector, others = parse_fields(text), self.kind.selectable_as
        for term in selector.terms:
            if term.path not in self.selectable and term.path not in others:
                raise BadRequestError(f"field label not supported: {term.path}")
        if others:
            return FieldSelector(tuple(_meant(term, *others.get(term.path, (term.path, ""))) for term in selector.terms))
        return selector


def _meant(term: FieldTerm, path: str, absent: str, otherwise: str = "") -> FieldTerm:
    return attrs.evolve(term, path=path, absent=absent, otherwise=otherwise)


class Catalog:
    """All served kinds."""

    def __init__(self) -> None:
        self.asking = Asking()
        self._served: dict[tuple[str, str, str], Served] = {}
        self._versions: dict[tuple[str, str], Versions] = {}
        self._by_kind: dict[Kind, Served] = {}
        self._declared: dict[tuple[str, str, str], Kind] = {}
        self._readers: dict[tuple[str, str], dict[str, Read]] = {}
        self._callbacks: list[Callable[[], None]] = []

    def serve(self, kind: Kind, provider: Virtual | None = None, respond: Respond | None = None) -> None:
        """Start serving `kind`, or replace it."""
        name = (kind.group, kind.version, kind.plural)
        before = self._served.get(name)
        if before is not None and before.kind is kind and before.provider is provider and before.respond is respond:
            return
        served = Served(kind, provider, respond, self._joined(kind) if kind.face is None else None)
        # Streaming subresources outlive a new declaration of the kind: they belong to the resource.
        served.readers = self._readers.setdefault((kind.group, kind.plural), {})
        self._served[name] = served
        self._by_kind.clear()
        self.changed()

    def _joined(self, kind: Kind) -> Versions:
        """The versions that `kind` is now one of."""
        versions = self._versions.setdefault((kind.group, kind.plural), Versions(self.asking))
        versions.add(kind)
        return versions

    def withdraw(self, kind: Kind) -> None:
        """Stop serving `kind`."""
        gone = self._served.pop((kind.group, kind.version, kind.plural), None)
        if gone is not None:
            gone.versions.remove(gone.kind)
            self._by_kind.clear()
            self.changed()

    def serve_declared(self, kind: Kind) -> bool:
        """Serve a kind that data declares, unless a class declares the same. Returns whether it is served."""
        name = (kind.group, kind.version, kind.plural)
        self._declared[name] = kind
        before = self._served.get(name)
        if before is not None and before.kind.cls is not None:
            return False
        self.serve(kind)
        return True

    def withdraw_declared(self, kind: Kind) -> None:
        """Data declares `kind` no longer; one that a class declares too stays."""
        name = (kind.group, kind.version, kind.plural)
        self._declared.pop(name, None)
        before = self._served.get(name)
        if before is not None and before.kind.cls is None:
            self.withdraw(before.kind)

    def release(self, kind: Kind) -> None:
        """The class behind `kind` is gone: where data declares the kind as well, that holds from now on."""
        declared = self._declared.get((kind.group, kind.version, kind.plural))
        if declared is not None:
            self.serve(declared)

    def kinds(self) -> tuple[Kind, ...]:
        """Everything served, in the order it was registered."""
        return tuple(served.kind for served in self._served.values())

    def stored_kinds(self) -> tuple[Kind, ...]:
        """Those whose objects are stored, so that they can be watched; the others are computed, answered, or faces of these."""
        return tuple(s.kind for s in self._served.values() if s.stores_objects and s.kind.face is None)

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind of that name."""
        served = self._served.get((group, version, plural))
        return served.kind if served is not None else None

    def of(self, kind: Kind) -> Served:
        """What is compiled for `kind` (any Kind value of its group, version and plural).

        Raises:
            NotFoundError: it is not served.
        """
        served = self._by_kind.get(kind)
        if served is None:
            served = self._served.get((kind.group, kind.version, kind.plural))
            if served is None:
                raise refusals.no_such_resource()
            self._by_kind[kind] = served
        return served

    def newest(self, served: Served) -> Served | None:
        """What is compiled now for a kind that was served once, or None."""
        kind = served.kind
        return self._served.get((kind.group, kind.version, kind.plural))

    def stored(self, kind: Kind) -> Served:
        """As `of`, for requests that a computed kind cannot answer.

        Raises:
            MethodNotAllowedError: the kind is computed.
        """
        served = self.of(kind)
        if not served.stores_objects:
            raise refusals.method_not_allowed()
        return served

    def on_changed(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after each change; returns a function that ends this."""
        self._callbacks.append(callback)

        def remove() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return remove

    def add_reader(self, kind: Kind, subresource: str, read: Read) -> Callable[[], None]:
        """Serve a streaming subresource; returns a function that ends this."""
        readers = self._readers.setdefault((kind.group, kind.plural), {})
        readers[subresource] = read
        self.changed()

        def remove() -> None:
            if readers.get(subresource) is read:
                del readers[subresource]
                self.changed()

        return remove

    def readers(self, kind: Kind) -> Mapping[str, Read]:
        """The streaming subresources of a kind."""
        return self._readers.get((kind.group, kind.plural), {})

    def reader(self, kind: Kind, subresource: str) -> Read:
        """One streaming subresource. Raises NotFoundError."""
        read = self.readers(kind).get(subresource)
        if read is None:
            raise refusals.no_such_resource()
        return read

    def changed(self) -> None:
        """Tell those who follow that what is served changed."""
        for callback in tuple(self._callbacks):
            callback()
