"""Kubernetes' protobuf bodies as JSON trees: what client-go's typed clients, and so `kubectl create`, send for built-in kinds.

The reader works from tables that the kinds' owner hands in, and knows no kind itself. A table names, for each message, the
fields by their numbers, each with its JSON name and its type:

    {"v1.Toleration": {"1": ["key", "string?"], "5": ["tolerationSeconds", "int64"], ...}, ...}

A type is a scalar (string, bytes, bool, int32, int64, double), a value with a JSON form of its own (`_VALUES`) or another
message. `[]T` is a list and `{}T` a map from text; the fields of `>T` stand in the object itself; of `|T` only the value of
the highest number stands there; `T?` is left out where it is empty, as Go's omitempty does (typed clients send every field
that is no pointer). So the tree is the very JSON that the client would have sent. Unknown fields are skipped.

Source: https://protobuf.dev/programming-guides/encoding/, https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from reconcile.errors import Tree

from .wireformat import FIXED64, LENGTH, VARINT, bytes_in, flat, int32, int64, int_in, text_in, varint, walk

Tables = Mapping[str, Mapping[str, Sequence[str]]]
"""Message -> field number -> (JSON name, type)."""

MAGIC = b"k8s\0"
DEPTH_MAX = 100
MESSAGES_MAX = 100_000
"""In one body. An object at the size limit has a few thousand; empty ones cost two bytes on the wire and a hundred here."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Envelope(NamedTuple):
    """What stands around an object: the kind that it says it is (may be empty), and its bytes."""

    api_version: str
    kind: str
    raw: bytes


class _Bounds:
    """How deep a reading is, and how many messages it met."""

    __slots__ = ("depth", "messages")

    def __init__(self) -> None:
        self.depth = self.messages = 0


# Puts one field into a tree: (tree, data, start or varint, stop, bounds).
_Put = Callable[[Tree, bytes, int, int, _Bounds], None]
# Any: a JSON value of the field's own type, here and below.
_Read = Callable[[bytes, int, int, _Bounds], Any]
_Value = Callable[[bytes], Any]


def envelope(body: bytes) -> Envelope:
    """Open a body: the magic bytes, then runtime.Unknown.

    Raises:
        ValueError: it is none, or what is in it is encoded further.
    """
    if body[:4] != MAGIC:
        raise ValueError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    outer = flat(body, 4)
    about = flat(bytes_in(outer, 1))
    encoding, content_type = text_in(outer, 3), text_in(outer, 4)
    if encoding or content_type not in ("", "application/vnd.kubernetes.protobuf"):
        raise ValueError(f"the object in it is encoded as {content_type or 'protobuf'} {encoding}; send it as plain protobuf")
    return Envelope(text_in(about, 1), text_in(about, 2), bytes_in(outer, 2))


class Messages:
    """Reads the messages that `tables` describe; each is compiled when it is first met."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._fields: dict[str, dict[int, _Put]] = {}

    def __contains__(self, message: str) -> bool:
        return message in self._tables

    def tree(self, message: str, raw: bytes) -> Tree:
        """The JSON object that the bytes of `message` stand for; O(bytes).

        Raises:
            ValueError: malformed, nested too deeply, or too many messages in it.
        """
        out: Tree = {}
        try:
            self._read(message, out, raw, 0, len(raw), _Bounds())
        except IndexError:
            raise ValueError("unexpected end of the protobuf message") from None
        return out

    def _read(self, message: str, out: Tree, data: bytes, start: int, stop: int, bounds: _Bounds) -> None:
        fields = self._fields.get(message) or self._compiled(message)
        bounds.depth += 1
        bounds.messages += 1
        if bounds.depth > DEPTH_MAX or bounds.messages > MESSAGES_MAX:
            raise ValueError(f"more than {DEPTH_MAX} levels or {MESSAGES_MAX} messages in one body")
        for tag, first, last in walk(data, start, stop):
            put = fields.get(tag)
            if put is not None:
                put(out, data, first, last, bounds)
            elif str(tag >> 3) in self._tables[message]:
                raise ValueError(f"wrong wire type {tag & 7} for field {self._tables[message][str(tag >> 3)][0]} of {message}")
        bounds.depth -= 1

    def _compiled(self, message: str) -> dict[int, _Put]:
        fields = self._fields[message] = {}
        for number, (name, type_) in self._tables[message].items():
            tag = int(number) << 3
            bare = type_.rstrip("?").removeprefix("[]")
            if bare in _NUMBERS:
                fields[tag | VARINT] = _number(name, type_, _NUMBERS[bare])
                if type_.startswith("[]"):
                    fields[tag | LENGTH] = _packed(name, _NUMBERS[bare])
            elif bare == "double":
                fields[tag | FIXED64] = _single(name, _double, omit=type_.endswith("?"))
            else:
                fields[tag | LENGTH] = self._delimited(name, type_)
        return fields

    def _delimited(self, name: str, type_: str) -> _Put:
        """A field whose bytes are counted: text, a value, a message; one, a list or a map of them."""
        bare = type_.rstrip("?")
        if bare.startswith("[]"):
            return _listed(name, self._reader(bare[2:]))
        if bare.startswith("{}"):
            return _mapped(name, self._reader(bare[2:]))
        if bare in self._tables or bare.startswith(">"):
            return self._message("" if bare[0] == ">" else name, bare.lstrip(">"))
        return _single(name, self._reader(bare), omit=type_.endswith("?"))

    def _message(self, name: str, message: str) -> _Put:
        """One message; met twice, the two are one, as protobuf wants it. Without a name its fields go into the parent."""

        def put(out: Tree, data: bytes, start: int, stop: int, bounds: _Bounds) -> None:
            into = out.setdefault(name, {}) if name else out
            self._read(message, into, data, start, stop, bounds)

        return put

    def _reader(self, type_: str) -> _Read:
        """What makes a JSON value of counted bytes."""
        value = _VALUES.get(type_)
        if value is not None:
            return lambda data, start, stop, _bounds: value(data[start:stop])
        message = type_.lstrip("|")

        def tree(data: bytes, start: int, stop: int, bounds: _Bounds) -> Tree:
            out: Tree = {}
            self._read(message, out, data, start, stop, bounds)
            return out

        if type_ == message:
            return tree
        names = [name for name, _ in self._tables[message].values()]

        def highest(data: bytes, start: int, stop: int, bounds: _Bounds) -> Any:
            found = tree(data, start, stop, bounds)
            return next((found[name] for name in reversed(names) if name in found), None)

        return highest


def _number(name: str, type_: str, convert: Callable[[int], Any]) -> _Put:
    def put(out: Tree, _data: bytes, number: int, _stop: int, _bounds: _Bounds) -> None:
        out[name] = convert(number)

    def put_unless_zero(out: Tree, _data: bytes, number: int, _stop: int, _bounds: _Bounds) -> None:
        if number:
            out[name] = convert(number)
        else:
            out.pop(name, None)

    def append(out: Tree, _data: bytes, number: int, _stop: int, _bounds: _Bounds) -> None:
        out.setdefault(name, []).append(convert(number))

    return append if type_.startswith("[]") else put_unless_zero if type_.endswith("?") else put


def _packed(name: str, convert: Callable[[int], Any]) -> _Put:
    def put(out: Tree, data: bytes, start: int, stop: int, _bounds: _Bounds) -> None:
        numbers = out.setdefault(name, [])
        while start < stop:
            number, start = varint(data, start)
            numbers.append(convert(number))
        if start != stop:
            raise ValueError("unexpected end of the protobuf message")

    return put


def _single(name: str, read: _Read, *, omit: bool) -> _Put:
    def put(out: Tree, data: bytes, start: int, stop: int, bounds: _Bounds) -> None:
        value = read(data, start, stop, bounds)
        if value is None or (omit and not value):
            out.pop(name, None)
        else:
            out[name] = value

    return put


def _listed(name: str, read: _Read) -> _Put:
    def put(out: Tree, data: bytes, start: int, stop: int, bounds: _Bounds) -> None:
        out.setdefault(name, []).append(read(data, start, stop, bounds))

    return put


def _mapped(name: str, read: _Read) -> _Put:
    """Entries {1: key, 2: value}; an absent value is the type's empty one."""

    def put(out: Tree, data: bytes, start: int, stop: int, bounds: _Bounds) -> None:
        entry = flat(data, start, stop)
        value = bytes_in(entry, 2)
        out.setdefault(name, {})[text_in(entry, 1)] = read(value, 0, len(value), bounds)

    return put


def _double(data: bytes, start: int, stop: int, _bounds: _Bounds) -> float:
    """A number, whole where it is exactly so, as Go writes it; JSON's encoders take no larger ones."""
    (number,) = struct.unpack("<d", data[start:stop])
    if not math.isfinite(number):
        raise ValueError(f"{number} is no number in JSON")
    return int(number) if number.is_integer() and abs(number) <= 2**53 else float(number)


def _moment(raw: bytes) -> tuple[datetime, int] | None:
    """{1: seconds, 2: nanoseconds}; no bytes at all are Go's zero time, which is null."""
    if not raw:
        return None
    fields = flat(raw)
    try:
        return _EPOCH + timedelta(seconds=int_in(fields, 1, int64)), int_in(fields, 2, int32)
    except OverflowError:
        raise ValueError("a time is beyond the year 9999") from None


def _time(raw: bytes) -> str | None:
    moment = _moment(raw)
    return None if moment is None else moment[0].isoformat().removesuffix("+00:00") + "Z"


def _micro_time(raw: bytes) -> str | None:
    moment = _moment(raw)
    if moment is None:
        return None
    return f"{moment[0].isoformat().removesuffix('+00:00')}.{moment[1] // 1000 % 1_000_000:06d}Z"


def _int_or_string(raw: bytes) -> int | str:
    """{1: which, 2: the number, 3: the text}."""
    fields = flat(raw)
    return text_in(fields, 3) if int_in(fields, 1, int64) else int_in(fields, 2, int32)


def _json(raw: bytes) -> Any:
    """{1: JSON}, from the JSON that an object carries unread; none is null."""
    inner = bytes_in(flat(raw), 1)
    return orjson.loads(inner) if inner else None


def _texts(raw: bytes) -> list[str]:
    """{1: text, 1: text, ...}: a list that has a message of its own, because maps hold no lists."""
    return [raw[start:stop].decode() for tag, start, stop in walk(raw, 0, len(raw)) if tag >> 3 == 1]


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


_NUMBERS: dict[str, Callable[[int], Any]] = {"bool": bool, "int32": int32, "int64": int64}
_VALUES: dict[str, _Value] = {
    "string": bytes.decode, "bytes": _base64, "Time": _time, "MicroTime": _micro_time, "IntOrString": _int_or_string,
    "Quantity": lambda raw: text_in(flat(raw), 1), "FieldsV1": _json, "RawExtension": _json,
    "Texts": _texts,
}  # fmt: skip
