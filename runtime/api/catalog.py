"""Which kinds are served, and what was compiled for each of them.

A kind may be served in several versions: they share their objects, which differ in apiVersion alone. Kinds come and go at
run time; who wants to know registers a callback. Schemas are compiled when first needed, so that serving costs nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from typing import Protocol

from reconcile.errors import BadRequestError, Tree
from reconcile.kinds import Kind
from reconcile.runtime.store import prefix_end
from reconcile.selectors import FieldSelector, parse_fields

from . import refusals
from .completion import Complete, compile_completion
from .validation import Check, compile_validation

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

    def __init__(self, kind: Kind, provider: Virtual | None) -> None:
        self.kind = kind
        self.provider = provider
        self.api_version = kind.api_version
        self.readers: dict[str, Read] = {}
        self.prefix = f"/registry/{kind.resource}/".encode()
        self.selectable = frozenset((*ALWAYS_SELECTABLE, *kind.selectable))

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
        return self.kind.cls is not None

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
        selector = parse_fields(text)
        for term in selector.terms:
            if term.path not in self.selectable:
                raise BadRequestError(f"field label not supported: {term.path}")
        return selector


class Catalog:
    """All served kinds."""

    def __init__(self) -> None:
        self._served: dict[tuple[str, str, str], Served] = {}
        self._by_kind: dict[Kind, Served] = {}
        self._readers: dict[tuple[str, str], dict[str, Read]] = {}
        self._callbacks: list[Callable[[], None]] = []

    def serve(self, kind: Kind, provider: Virtual | None = None) -> None:
        """Start serving `kind`, or replace it."""
        name = (kind.group, kind.version, kind.plural)
        before = self._served.get(name)
        if before is not None and before.kind is kind and before.provider is provider:
            return
        served = Served(kind, provider)
        # Streaming subresources outlive a new declaration of the kind: they belong to the resource.
        served.readers = self._readers.setdefault((kind.group, kind.plural), {})
        self._served[name] = served
        self._by_kind.clear()
        self._changed()

    def withdraw(self, kind: Kind) -> None:
        """Stop serving `kind`."""
        if self._served.pop((kind.group, kind.version, kind.plural), None) is not None:
            self._by_kind.clear()
            self._changed()

    def kinds(self) -> tuple[Kind, ...]:
        """Everything served, in the order it was registered."""
        return tuple(served.kind for served in self._served.values())

    def stored_kinds(self) -> tuple[Kind, ...]:
        """Those whose objects are stored, so that they can be watched; the others are computed when asked for."""
        return tuple(served.kind for served in self._served.values() if served.provider is None)

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

    def stored(self, kind: Kind) -> Served:
        """As `of`, for requests that a computed kind cannot answer.

        Raises:
            MethodNotAllowedError: the kind is computed.
        """
        served = self.of(kind)
        if served.provider is not None:
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
        self._changed()

        def remove() -> None:
            if readers.get(subresource) is read:
                del readers[subresource]
                self._changed()

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

    def _changed(self) -> None:
        for callback in tuple(self._callbacks):
            callback()
