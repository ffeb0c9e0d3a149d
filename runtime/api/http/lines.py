"""Events of watches as they are sent (lines of JSON, or frames of protobuf), made once for all feeds that send them so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from reconcile.errors import Tree
from reconcile.runtime.api.stored import Stored

from .exchange import JSON, PROTOBUF

if TYPE_CHECKING:
    from .marshalling import Marshaller

LINES_MAX = 512


class Lines:
    """The newest lines. Bounded: a watch that is far behind makes its own."""

    content_type = JSON

    def __init__(self) -> None:
        self._lines: dict[tuple[Stored, str], bytes] = {}

    def of(self, type_: str, stored: Stored) -> bytes:
        """The event of an object."""
        key = (stored, type_)
        found = self._lines.get(key)
        if found is None:
            if len(self._lines) >= LINES_MAX:
                del self._lines[next(iter(self._lines))]
            found = self._lines[key] = self._made(type_, stored)
        return found

    def line(self, type_: str, tree: Tree) -> bytes:
        """The event of something that no other watch is told."""
        return event_line(type_, orjson.dumps(tree))

    def _made(self, type_: str, stored: Stored) -> bytes:
        return event_line(type_, stored.encoded)


class ProtobufLines(Lines):
    """The same in protobuf, of kinds that `marshaller` covers."""

    content_type = f"{PROTOBUF};stream=watch"

    def __init__(self, marshaller: Marshaller) -> None:
        super().__init__()
        self._marshaller = marshaller

    def line(self, type_: str, tree: Tree) -> bytes:
        """See Lines."""
        return self._marshaller.event(type_, self._marshaller.body(tree))

    def _made(self, type_: str, stored: Stored) -> bytes:
        return self._marshaller.event(type_, self._marshaller.body_of(stored))


def event_line(type_: str, encoded: bytes) -> bytes:
    """An event as it is sent."""
    return b'{"type":"%b","object":%b}\n' % (type_.encode(), encoded)
