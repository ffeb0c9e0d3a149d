"""JSON trees as Kubernetes' protobuf bodies: what client-go and kubectl ask for first, of built-in kinds.

Works from the same tables as the reader (`protobuf`, which describes them). For each message a writer is put together when it
is first met: one function a field, chosen by the field's type, so that an object costs a look-up and a call for each value that
it has. Fields stand in the order of the tree, which protobuf leaves open; what is absent, null or an empty list is not written,
as in Go. What the tables do not know, and a value that its field's type cannot hold, is left out.

Source: https://protobuf.dev/programming-guides/encoding/, k8s.io/apimachinery/pkg/runtime/serializer/protobuf
"""

from __future__ import annotations

import logging
import struct
from base64 import b64decode
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import orjson

from reconcile.errors import Tree
from reconcile.runtime.api.stored import Stored

from .protobuf import MAGIC, Tables
from .wireformat import FIXED64, LENGTH, VARINT

Write = Callable[[Any], bytes]
"""A JSON value as bytes: of a field with its tag, or of a bare value. Any: a value of the field's own type, here and below."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ZERO_TIME = datetime(1, 1, 1, tzinfo=UTC)
_META = "meta.k8s.io/v1"
_UNFIT = (AttributeError, LookupError, OverflowError, TypeError, ValueError, struct.error)
_U64 = (1 << 64) - 1
log = logging.getLogger(__name__)


def varint(number: int) -> bytes:
    """A number as it stands in a message; a negative one takes ten bytes."""
    if -1 < number < 128:
        return _BYTES[number]
    number &= _U64
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    made.append(number)
    return bytes(made)


_BYTES = [bytes((number,)) for number in range(256)]
_SIZES = [*_BYTES[:128], *(bytes((number & 127 | 128, number >> 7)) for number in range(128, 4096))]


def chunk(tag: bytes, raw: bytes) -> bytes:
    """A length-delimited field."""
    size = len(raw)
    return tag + (_SIZES[size] if size < 4096 else varint(size)) + raw


class Marshaller:
    """Writes the messages that `tables` describe."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._messages: dict[str, Write] = {}

    def covers(self, api_version: str, kind: str) -> bool:
        """Whether objects of a kind can be written."""
        return self._name(api_version, kind) in self._tables

    def body(self, tree: Tree) -> bytes:
        """A whole object as a body."""
        api_version, kind = tree.get("apiVersion", ""), tree["kind"]
        return enveloped(api_version, kind, self.message(self._name(api_version, kind))(tree))

    def body_of(self, stored: Stored) -> bytes:
        """A stored object as a body."""
        return enveloped(stored.tree["apiVersion"], stored.tree["kind"], self.raw_of(stored))

    def event(self, type_: str, body: bytes) -> bytes:
        """An event of a watch: its length in four bytes, then meta.k8s.io/v1 WatchEvent around the body of its object."""
        event = chunk(b"\x0a", type_.encode()) + chunk(b"\x12", chunk(b"\x0a", body))
        return len(event).to_bytes(4, "big") + event

    def raw_of(self, stored: Stored) -> bytes:
        """A stored object's message alone, which is made once for each revision."""
        if not stored.marshalled:
            tree = stored.tree
            stored.marshalled = self.message(self._name(tree["apiVersion"], tree["kind"]))(tree)
        return stored.marshalled

    def listing(self, api_version: str, kind: str, metadata: Tree, items: Iterable[bytes]) -> bytes:
        """A list as a body, from the messages of its items."""
        head = self.message(f"{_META}.ListMeta")(metadata)
        # The first form of this list had its fields the other way round.
        head_tag, item_tag = (b"\x12", b"\x0a") if api_version == "meta.k8s.io/v1beta1" else (b"\x0a", b"\x12")
        pieces = [chunk(head_tag, head)]
        for raw in items:
            size = len(raw)
            pieces += (item_tag, _SIZES[size] if size < 4096 else varint(size), raw)
        return enveloped(api_version, kind, b"".join(pieces))

    def message(self, name: str) -> Write:
        """What writes a message."""
        return self._messages.get(name) or self._compiled(name)

    def _name(self, api_version: str, kind: str) -> str:
        """A kind's message. A few are of no group: they are named in v1, in an older version of meta.k8s.io, or in none."""
        name = f"{api_version}.{kind}"
        if name not in self._tables and api_version in ("v1", "meta.k8s.io/v1beta1", ""):
            return f"{_META}.{kind}"
        return name

    def _compiled(self, name: str) -> Write:
        fields: dict[str, Write] = {}
        inlined: list[tuple[bytes, Write]] = []
        find = fields.get

        def write(tree: Tree) -> bytes:
            try:
                raw = b"".join([find(key, _nothing)(value) for key, value in tree.items()])
            except _UNFIT:
                raw = _what_fits(name, fields, tree)
            for tag, inner in inlined:
                if found := inner(tree):
                    raw += chunk(tag, found)
            return raw

        # Kept before its fields are looked at, for messages that hold themselves.
        self._messages[name] = write
        for number, (key, type_) in self._tables[name].items():
            if type_.startswith(">"):
                inlined.append((varint(int(number) << 3 | LENGTH), self.message(type_[1:])))
            else:
                fields[key] = self._field(int(number) << 3, type_.rstrip("?"))
        return write

    def _field(self, tag: int, type_: str) -> Write:
        if type_.startswith("{}"):
            return _mapped(varint(tag | LENGTH), self._value(type_[2:]))
        bare = type_.removeprefix("[]")
        field = _SCALARS[bare](tag) if bare in _SCALARS else _counted(varint(tag | LENGTH), self._value(bare))
        return field if bare == type_ else _repeated(field)

    def _value(self, type_: str) -> Write:
        """What makes the bytes that are counted on the wire."""
        if type_ in _VALUES:
            return _VALUES[type_]
        return self._one_of(type_[1:]) if type_.startswith("|") else self.message(type_)

    def _one_of(self, message: str) -> Write:
        """A value in whose place one of a message's fields stands: true or false, a list, or an object."""
        inner = self.message(message)
        names = {type_: name for name, type_ in self._tables[message].values()}
        truth = names.get("bool")
        many = next((name for type_, name in names.items() if type_.startswith("[]")), "")
        one = next(name for type_, name in names.items() if type_ not in ("bool",) and not type_.startswith("[]"))

        def write(value: Any) -> bytes:
            if isinstance(value, bool):
                return inner({truth: value})
            if isinstance(value, list):
                return inner({many: value})
            return inner({one: value, truth: True} if truth else {one: value})

        return write


def enveloped(api_version: str, kind: str, raw: bytes) -> bytes:
    """An object's message as a body: the magic bytes, then runtime.Unknown with the kind, the message and no encodings."""
    about = chunk(b"\x0a", api_version.encode()) + chunk(b"\x12", kind.encode())
    return b"%b%b%b%b%b\x1a\x00\x22\x00" % (MAGIC, chunk(b"\x0a", about), b"\x12", varint(len(raw)), raw)


def _what_fits(message: str, fields: dict[str, Write], tree: Any) -> bytes:
    """A message of which some value is of another type than its field: the other values."""
    if not isinstance(tree, dict):
        raise TypeError("no object")  # told of by the message that it stands in
    made = []
    for key, value in tree.items():
        if value is not None and key in fields:
            try:
                made.append(fields[key](value))
            except _UNFIT:
                log.warning("left out of protobuf", extra={"type": message, "field": key})
    return b"".join(made)


def _nothing(value: Any) -> bytes:  # noqa: ARG001 - a writer's signature
    return b""


def _counted(tag: bytes, write: Write) -> Write:
    def counted(value: Any) -> bytes:
        raw = write(value)
        size = len(raw)
        return tag + (_SIZES[size] if size < 4096 else varint(size)) + raw

    return counted


def _text(tag: int) -> Write:
    head = varint(tag | LENGTH)

    def text(value: str) -> bytes:
        raw = value.encode()
        size = len(raw)
        return head + (_SIZES[size] if size < 4096 else varint(size)) + raw

    return text


def _truth(tag: int) -> Write:
    no, yes = varint(tag | VARINT) + b"\x00", varint(tag | VARINT) + b"\x01"
    return lambda value: yes if value else no


def _number(tag: int) -> Write:
    head = varint(tag | VARINT)

    def number(value: Any) -> bytes:
        if type(value) is not int:
            if value != int(value):
                raise ValueError("no whole number")
            value = int(value)
        return head + (_BYTES[value] if -1 < value < 128 else varint(value))

    return number


def _double(tag: int) -> Write:
    head = varint(tag | FIXED64)
    return lambda value: head + struct.pack("<d", value)


def _repeated(field: Write) -> Write:
    return lambda values: b"".join([field(value) for value in values])


def _mapped(tag: bytes, write: Write) -> Write:
    """Entries {1: key, 2: value}."""

    def mapped(values: Tree) -> bytes:
        made = []
        for key, value in values.items():
            entry = chunk(b"\x0a", key.encode()) + (b"" if value is None else chunk(b"\x12", write(value)))
            made.append(chunk(tag, entry))
        return b"".join(made)

    return mapped


@lru_cache(maxsize=4096)
def _time(value: str) -> bytes:
    """{1: seconds}; Go's zero time has no bytes."""
    return _moment(value, micro=False)


def _micro_time(value: str) -> bytes:
    """{1: seconds, 2: nanoseconds}."""
    return _moment(value, micro=True)


def _moment(value: str, *, micro: bool) -> bytes:
    at = datetime.fromisoformat(value)
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    if at == _ZERO_TIME:
        return b""
    seconds = b"\x08" + varint((at - _EPOCH) // timedelta(seconds=1))
    return seconds + b"\x10" + varint(at.microsecond * 1000) if micro else seconds


def _int_or_string(value: int | str) -> bytes:
    """{1: which, 2: the number, 3: the text}."""
    return b"\x08\x01" + chunk(b"\x1a", value.encode()) if isinstance(value, str) else b"\x08\x00\x10" + varint(value)


def _quantity(value: Any) -> bytes:
    """{1: text}; in JSON it may be a number, too."""
    return chunk(b"\x0a", str(value).encode())


def _json(value: Any) -> bytes:
    """{1: JSON}: what an object carries unread."""
    return chunk(b"\x0a", orjson.dumps(value))


def _texts(values: list[str]) -> bytes:
    return b"".join([chunk(b"\x0a", value.encode()) for value in values])


_SCALARS: dict[str, Callable[[int], Write]] = {
    "string": _text,
    "bool": _truth,
    "int32": _number,
    "int64": _number,
    "double": _double,
}
_VALUES: dict[str, Write] = {
    "string": str.encode, "bytes": b64decode, "Time": _time, "MicroTime": _micro_time, "IntOrString": _int_or_string,
    "Quantity": _quantity, "FieldsV1": _json, "RawExtension": _json, "Texts": _texts,
}  # fmt: skip
