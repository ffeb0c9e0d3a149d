"""Answers in the form that a client wants: objects and lists as they are or as a view, in JSON, YAML or protobuf."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import orjson

from reconcile.clock import Clock
from reconcile.errors import ApiError, Tree
from reconcile.kinds import Kind
from reconcile.runtime.api.stored import Stored

from .exchange import JSON, PROTOBUF, YAML, Answer, Headers, json_answer, refusal
from .lines import Lines, ProtobufLines
from .negotiation import Offer, Rendering, not_acceptable, offer_of, rendering_of_status
from .tables import Include, partial_object, table

if TYPE_CHECKING:
    from .marshalling import Marshaller
    from .protobuf import Tables

_AT_ONCE = 100
"""How many objects are marshalled before others have their turn: some milliseconds."""


class Renderer:
    """Makes the answers of one server; `tables` give what protobuf is written by."""

    def __init__(self, clock: Clock, tables: Callable[[], Tables]) -> None:
        self._clock = clock
        self._tables = tables
        self._lines = Lines()

    @cached_property
    def marshaller(self) -> Marshaller:
        """What writes protobuf; only typed clients ask for it."""
        from .marshalling import Marshaller

        return Marshaller(self._tables())

    @cached_property
    def _protobuf_lines(self) -> Lines:
        return ProtobufLines(self.marshaller)

    def lines(self, rendering: Rendering) -> Lines:
        """The lines of watches in a media type."""
        return self._protobuf_lines if rendering.media == PROTOBUF else self._lines

    def offer(self, accept: str, kind: Kind, *, views: bool = True, many: bool = False) -> Offer:
        """What objects of a kind can be answered in; kinds of users have no protobuf."""
        protobuf = PROTOBUF in accept and kind.builtin and self.marshaller.covers(kind.api_version, kind.kind)
        return offer_of(views, protobuf, many, kind.builtin)

    def one(
        self, stored: Stored, rendering: Rendering, status: int = 200, headers: Headers = (), include: Include = "Metadata"
    ) -> Answer:
        """One object.

        Raises:
            NotAcceptableError: the view is one of lists.
        """
        if not rendering.view:
            if rendering.media == JSON:
                return Answer(status, stored.encoded + b"\n", headers=headers)
            if rendering.media == PROTOBUF:
                return Answer(status, self.marshaller.body_of(stored), PROTOBUF, headers)
            tree = stored.tree
        elif rendering.view == "Table":
            metadata = {"resourceVersion": str(stored.revision)}
            now_s = self._clock.now()
            tree = table(stored.kind, (stored,), now_s, version=rendering.version, include=include, metadata=metadata)
        elif rendering.view == "PartialObjectMetadata":
            tree = partial_object(stored.tree, rendering.version)
        else:
            raise not_acceptable()
        return self.tree(tree, rendering, status, headers)

    async def many(self, kind: Kind, items: list[Stored], metadata: Tree, rendering: Rendering, include: Include) -> Answer:
        """A list.

        Raises:
            NotAcceptableError: the view is one of single objects.
        """
        if rendering.view == "Table":
            now_s = self._clock.now()
            return self.tree(table(kind, items, now_s, version=rendering.version, include=include, metadata=metadata), rendering)
        head: Tree = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata}
        if rendering.view:
            if rendering.view != "PartialObjectMetadataList":
                raise not_acceptable()
            head = {**head, "kind": "PartialObjectMetadataList", "apiVersion": f"meta.k8s.io/{rendering.version}"}
        if rendering.media == PROTOBUF:
            return await self._many_in_protobuf(head, items, view=bool(rendering.view))
        if rendering.view:
            return self.tree({**head, "items": [partial_object(each.tree, rendering.version) for each in items]}, rendering)
        if rendering.media == YAML:
            trees = [stored.tree for stored in items]
            if kind.builtin:
                trees = [{name: value for name, value in tree.items() if name not in ("apiVersion", "kind")} for tree in trees]
            return self.tree({**head, "items": trees}, rendering)
        encoded = [stored.encoded for stored in items]
        if kind.builtin:
            encoded = _unnamed(kind, encoded)
        return Answer(200, b'%b,"items":[%b]}\n' % (orjson.dumps(head)[:-1], b",".join(encoded)))

    async def _many_in_protobuf(self, head: Tree, items: list[Stored], *, view: bool) -> Answer:
        marshaller = self.marshaller
        partial = marshaller.message("meta.k8s.io/v1.PartialObjectMetadata")
        raws = []
        for count, stored in enumerate(items, 1):
            raws.append(partial(stored.tree) if view else marshaller.raw_of(stored))
            if count % _AT_ONCE == 0:
                await asyncio.sleep(0)
        return Answer(200, marshaller.listing(head["apiVersion"], head["kind"], head["metadata"], raws), PROTOBUF)

    def tree(self, tree: Tree, rendering: Rendering, status: int = 200, headers: Headers = ()) -> Answer:
        """Any object that is not stored: a Status, a view."""
        if rendering.media == PROTOBUF and self.marshaller.covers(tree.get("apiVersion", ""), tree["kind"]):
            return Answer(status, self.marshaller.body(tree), PROTOBUF, headers)
        if rendering.media == YAML:
            from .yamlbody import dump  # only for those who ask for it

            return Answer(status, dump(tree), YAML, headers)
        return json_answer(tree, status, headers)

    def refusal(self, error: ApiError, accept: str) -> Answer:
        """An error as a Status, in a form that the client takes if there is one."""
        answer, rendering = refusal(error), rendering_of_status(accept)
        if rendering.media == JSON:
            return answer
        return self.tree(orjson.loads(answer.body), rendering, answer.status, answer.headers)


def _unnamed(kind: Kind, encoded: list[bytes]) -> list[bytes]:
    """Items as the reference server has them in lists of built-in kinds, where the list alone says what they are.

    Clients in Go compare them with objects that they made, in which their decoder leaves no apiVersion and kind.
    """
    head = b'{"apiVersion":"%b","kind":"%b",' % (kind.api_version.encode(), kind.kind.encode())
    return [b"{" + each[len(head) :] if each.startswith(head) else each for each in encoded]
