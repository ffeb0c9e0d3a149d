"""Protobuf's wire format: the fields of a message as they stand in its bytes, whatever they mean.

Everything raises ValueError where the bytes are malformed, and IndexError where they end in the middle of a number.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
Flat = Mapping[int, int | bytes]
"""A message that has one of each field at most: numbers as they are, everything else as bytes."""


def walk(data: bytes, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields between two positions: tag, then a varint and 0, or where the field's bytes start and stop."""
    while position < end:
        tag = data[position]
        position += 1
        if tag > 127:
            tag, position = varint(data, position - 1)
        if tag < 8:
            raise ValueError("a field has the number 0")
        wire = tag & 7
        if wire == VARINT:
            value, position = varint(data, position)
            yield tag, value, 0
            continue
        if wire == LENGTH:
            size = data[position]
            position += 1
            if size > 127:
                size, position = varint(data, position - 1)
        elif wire in _FIXED_BYTES:
            size = _FIXED_BYTES[wire]
        else:
            raise ValueError(f"wire type {wire} is not in use any more")
        start, position = position, position + size
        if position > end:
            break
        yield tag, start, position
    if position != end:
        raise ValueError("unexpected end of the protobuf message")


def varint(data: bytes, position: int) -> tuple[int, int]:
    """The number that begins at a position, unsigned, and the position behind it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7
        if shift > 63:
            raise ValueError("a number is longer than ten bytes")


def flat(data: bytes, start: int = 0, stop: int | None = None) -> Flat:
    """The fields of a small message; of a field that is there twice, the last. Raises ValueError only."""
    try:
        return {
            tag >> 3: first if tag & 7 == VARINT else data[first:last]
            for tag, first, last in walk(data, start, len(data) if stop is None else stop)
        }
    except IndexError:
        raise ValueError("unexpected end of the protobuf message") from None


def bytes_in(fields: Flat, number: int) -> bytes:
    """A field as bytes, empty where it is absent."""
    value = fields.get(number, b"")
    if isinstance(value, int):
        raise ValueError(f"wrong wire type 0 for field {number}")  # noqa: TRY004 - the sender's mistake, not the caller's
    return value


def text_in(fields: Flat, number: int) -> str:
    """A field as text."""
    return bytes_in(fields, number).decode()


def int_in(fields: Flat, number: int, convert: Callable[[int], int]) -> int:
    """A field as a number, 0 where it is absent; `convert` is `int32` or `int64`."""
    value = fields.get(number, 0)
    if isinstance(value, bytes):
        raise ValueError(f"wrong wire type 2 for field {number}")  # noqa: TRY004 - the sender's mistake, not the caller's
    return convert(value)


def int32(number: int) -> int:
    """A varint as a signed number of 32 bits."""
    low = number & 0xFFFF_FFFF
    return low - (1 << 32) if low >> 31 else low


def int64(number: int) -> int:
    """A varint as a signed number of 64 bits."""
    return number - (1 << 64) if number >> 63 else number
