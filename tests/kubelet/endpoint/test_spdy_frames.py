"""SPDY/3.1 frames: what one end writes the other reads, and no bytes do more harm than their connection's end."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcile.resources.kubelet.endpoint import spdy
from reconcile.resources.kubelet.endpoint.spdy import Control, Data, Decoder, Encoder, SpdyError

Frame = Control | Data
NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20).map(str.lower)
HEADERS = st.dictionaries(NAMES, st.text(max_size=40), max_size=5)
IDS = st.integers(1, (1 << 31) - 1)
FRAMES = st.one_of(
    st.builds(Control, st.sampled_from([spdy.SYN_STREAM, spdy.SYN_REPLY, spdy.HEADERS]), IDS, HEADERS, st.booleans()),
    st.builds(lambda i, status: Control(spdy.RST_STREAM, i, status=status), IDS, st.integers(0, 11)),
    st.builds(lambda status: Control(spdy.PING, status=status), st.integers(0, (1 << 32) - 1)),
    st.builds(Data, IDS, st.binary(max_size=3000), st.booleans()),
)


def encoded(frames: list[Frame]) -> bytes:
    encoder = Encoder()
    return b"".join(encoder.data(f) if isinstance(f, Data) else encoder.control(f) for f in frames)


def fed(data: bytes, cuts: list[int]) -> list[Frame]:
    """What a decoder makes of `data` in pieces; pieces of one data frame are put together again."""
    decoder, found, start = Decoder(), list[Frame](), 0
    for end in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        found += decoder.feed(data[start:end])
        start = end
    return found


def joined(frames: list[Frame]) -> list[object]:
    """Frames with the bytes of each stream in one, so that pieces do not matter."""
    whole: list[object] = []
    for each in frames:
        last = whole[-1] if whole else None
        if isinstance(each, Data) and isinstance(last, Data) and last.stream_id == each.stream_id and not last.fin:
            whole[-1] = Data(each.stream_id, last.data + each.data, each.fin)
        elif not isinstance(each, Data) or each.data or each.fin:
            whole.append(each)
    return whole


def test_the_dictionary_is_the_one_that_the_protocol_names() -> None:
    """A wrong byte in it, and no header of a real client can be read. zlib's streams name it by its checksum."""
    assert len(spdy.DICTIONARY) == 1423
    assert zlib.adler32(spdy.DICTIONARY) == 0xE3C6A7C2


@given(st.lists(FRAMES, max_size=6), st.lists(st.integers(0, 20_000), max_size=8))
def test_frames_arrive_however_their_bytes_are_cut(frames: list[Frame], cuts: list[int]) -> None:
    assert joined(fed(encoded(frames), cuts)) == joined(frames)


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=5), st.booleans())
def test_any_bytes_are_frames_or_a_breach_of_the_protocol(data: bytes, cuts: list[int], framed: bool) -> None:
    """Nothing else may be raised: it would be a 500, or a connection that hangs. Half of them begin as a real frame would."""
    if framed:
        data = struct.pack("!II", 0x80030000 | data[0] % 10 if data else 0x80030001, len(data)) + data
    try:
        fed(data, cuts)
    except SpdyError:
        return


@given(st.lists(FRAMES, min_size=1, max_size=4), st.integers(0, 10_000), st.integers(0, 255))
def test_a_flipped_byte_is_read_as_something_or_refused(frames: list[Frame], at: int, value: int) -> None:
    data = bytearray(encoded(frames))
    data[at % len(data)] = value
    try:
        fed(bytes(data), [])
    except SpdyError:
        return


def test_headers_that_unfold_to_gigabytes_are_refused() -> None:
    """A kilobyte of zeros' compression is a bomb."""
    deflater = zlib.compressobj(9, zdict=spdy.DICTIONARY)
    block = deflater.compress(bytes(50_000_000)) + deflater.flush(zlib.Z_SYNC_FLUSH)
    assert len(block) < spdy.CONTROL_BYTES_MAX
    head = struct.pack("!II", 0x80030001, 10 + len(block)) + struct.pack("!II", 1, 0) + bytes(2)
    with pytest.raises(SpdyError, match="headers are longer"):
        Decoder().feed(head + block)


def test_a_long_frame_is_passed_on_as_it_comes() -> None:
    """16 MiB, the longest there is, must not wait in memory until it is whole."""
    decoder = Decoder()
    decoder.feed(struct.pack("!II", 1, 0x01FFFFFF))
    assert decoder.feed(b"x" * 1000) == [Data(1, b"x" * 1000)]
    assert decoder.feed(b"y" * (0xFFFFFF - 1001)) == [Data(1, b"y" * (0xFFFFFF - 1001))]
    assert decoder.feed(b"z") == [Data(1, b"z", fin=True)]
