"""WebSocket frames: what is sent arrives however it is cut up, and no bytes do more harm than their connection's end."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcile import websocket
from reconcile.websocket import (
    BINARY,
    CONTINUATION,
    PING,
    TEXT,
    Decoder,
    Message,
    WebSocketError,
    frame,
)

MASK = b"\x37\xfa\x21\x3d"
CUTS = st.lists(st.integers(0, 200_000), max_size=8)


def fed(data: bytes, cuts: list[int], *, masked: bool = True) -> list[Message]:
    """What a decoder makes of `data` in pieces."""
    decoder, found, start = Decoder(masked=masked), [], 0
    for end in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        found += decoder.feed(data[start:end])
        start = end
    return found


def test_the_examples_of_the_specification_are_read_and_written() -> None:
    """RFC 6455, section 5.7: a masked and an unmasked "Hello", and a fragmented one."""
    assert frame(TEXT, b"Hello") == bytes.fromhex("810548656c6c6f")
    assert frame(TEXT, b"Hello", MASK) == bytes.fromhex("818537fa213d7f9f4d5158")
    assert Decoder(masked=True).feed(bytes.fromhex("818537fa213d7f9f4d5158")) == [Message(TEXT, b"Hello")]
    assert Decoder(masked=False).feed(bytes.fromhex("010348656c80026c6f")) == [Message(TEXT, b"Hello")]
    assert websocket.accept_of("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@given(
    st.lists(st.binary(max_size=70_000), max_size=4),
    st.lists(st.integers(0, 200_000), max_size=8),
    st.binary(min_size=4, max_size=4),
)
def test_messages_arrive_whole_however_their_bytes_are_cut(messages: list[bytes], cuts: list[int], mask: bytes) -> None:
    data = b"".join(frame(BINARY, message, mask) for message in messages)
    assert fed(data, cuts) == [Message(BINARY, message) for message in messages]


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=6), st.lists(st.integers(0, 500), max_size=8))
def test_a_message_in_pieces_with_pings_in_between_is_one_message(pieces: list[bytes], cuts: list[int]) -> None:
    """A client may ping at any time, inside of a message too."""
    data = b""
    for number, piece in enumerate(pieces):
        head = (0x80 if number == len(pieces) - 1 else 0) | (BINARY if number == 0 else CONTINUATION)
        data += bytes([head]) + frame(0, piece, MASK)[1:] + frame(PING, b"?", MASK)
    found = fed(data, cuts)
    assert [m for m in found if m.opcode == BINARY] == [Message(BINARY, b"".join(pieces))]
    assert sum(m.opcode == PING for m in found) == len(pieces)


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=5))
def test_any_bytes_are_messages_or_a_breach_of_the_protocol(data: bytes, cuts: list[int]) -> None:
    """Nothing else may be raised: it would be a 500, or a connection that hangs."""
    try:
        fed(data, cuts)
    except WebSocketError:
        return


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(BINARY, b"not masked"), websocket.PROTOCOL_ERROR),
        (b"\xc2\x80" + MASK, websocket.PROTOCOL_ERROR),  # compressed, which was not agreed on
        (frame(CONTINUATION, b"of nothing", MASK), websocket.PROTOCOL_ERROR),
        (frame(3, b"no such opcode", MASK), websocket.PROTOCOL_ERROR),
        (frame(11, b"no such opcode", MASK), websocket.PROTOCOL_ERROR),
        (bytes([0x89, 0xFE]) + struct.pack("!H", 126) + MASK + bytes(126), websocket.PROTOCOL_ERROR),
        (bytes([0x02, 0x80]) + MASK + bytes([0x02, 0x80]) + MASK, websocket.PROTOCOL_ERROR),
        (bytes([0x82, 0xFF]) + struct.pack("!Q", 1 << 60), websocket.TOO_BIG),
    ],
)  # fmt: skip
def test_a_breach_of_the_protocol_is_told_by_its_code(data: bytes, code: int) -> None:
    with pytest.raises(WebSocketError) as caught:
        Decoder(masked=True).feed(data)
    assert caught.value.code == code


def test_what_a_client_never_ends_has_a_bound() -> None:
    """One message in endless pieces, even empty ones, must not fill the memory."""
    decoder = Decoder(masked=True, bytes_max=10_000)
    decoder.feed(bytes([BINARY, 0x80]) + MASK)
    with pytest.raises(WebSocketError):  # noqa: PT012  # the point is that it happens at some time
        for _ in range(10_001):
            decoder.feed(bytes([CONTINUATION, 0x80]) + MASK)
