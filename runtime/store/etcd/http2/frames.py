"""The layout of frames, and the few header blocks that a gRPC server ever sends."""

from __future__ import annotations

from urllib.parse import quote

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9
FRAME_BYTES_MAX = 16_384
"""What both sides may send in a frame unless they say otherwise; we never do."""
WINDOW_BYTES = 65_535
"""What may be sent before the other side has said how much it takes."""
WINDOW_BYTES_MAX = (1 << 31) - 1

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, HAS_PRIORITY = 0x4, 0x8, 0x20
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, _, STREAM_CLOSED, FRAME_SIZE_ERROR = range(7)
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 0x7, 0x8, 0x9, 0xB
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 0x3, 0x4, 0x5, 0x6

CODES = {
    name: number
    for number, name in enumerate(
        (
            "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
            "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
            "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
        )
    )
}  # fmt: skip
"""gRPC's status codes."""
_UNQUOTED = "".join(chr(code) for code in range(0x20, 0x7F) if code != ord("%"))


class ConnectionFault(Exception):
    """What the peer did ends the connection."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code, self.why = code, why


class StreamFault(Exception):
    """What the peer did ends one stream."""

    def __init__(self, stream: int, code: int) -> None:
        super().__init__()
        self.stream, self.code = stream, code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame."""
    return b"".join((len(payload).to_bytes(3), bytes((kind, flags)), stream.to_bytes(4), payload))


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(name.to_bytes(2) + value.to_bytes(4) for name, value in values.items()))


def goaway(last: int, code: int, why: str = "") -> bytes:
    """A GOAWAY frame."""
    return frame(GOAWAY, 0, 0, last.to_bytes(4) + code.to_bytes(4) + why.encode())


def window_update(stream: int, size: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream, size.to_bytes(4))


def reset(stream: int, code: int) -> bytes:
    """A RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4))


def _literal(name: str, value: str) -> bytes:
    """A header that goes into no table."""
    parts = [b"\x00"]
    for text in (name.encode(), value.encode()):
        parts += (_length(len(text)), text)
    return b"".join(parts)


def _length(size: int) -> bytes:
    if size < 0x7F:
        return bytes((size,))
    parts, size = [0x7F], size - 0x7F
    while size >= 0x80:
        parts.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes((*parts, size))


_HEADERS = b"\x88" + _literal("content-type", "application/grpc")
_OK = _literal("grpc-status", "0")
_HEADERS_HEAD = len(_HEADERS).to_bytes(3) + bytes((HEADERS, END_HEADERS))
_OK_HEAD = len(_OK).to_bytes(3) + bytes((HEADERS, END_HEADERS | END_STREAM))


def answer_headers(stream: int) -> bytes:
    """The HEADERS of an answer."""
    return b"".join((_HEADERS_HEAD, stream.to_bytes(4), _HEADERS))


def small_answer(stream: int, message: bytes) -> bytes:
    """A whole answer of one message that fits into a frame: headers, data and trailers."""
    number = stream.to_bytes(4)
    size = len(message)
    return b"".join(
        (
            _HEADERS_HEAD, number, _HEADERS, (size + 5).to_bytes(3), b"\0\0", number, b"\0", size.to_bytes(4), message,
            _OK_HEAD, number, _OK,
        )
    )  # fmt: skip


def trailers(stream: int, code: str, text: str, *, begun: bool) -> bytes:
    """How an answer ends; one that has not begun is told in one frame."""
    status = _OK if code == "OK" else _literal("grpc-status", str(CODES[code]))
    message = _literal("grpc-message", quote(text, safe=_UNQUOTED)) if text else b""
    block = b"".join((b"" if begun else _HEADERS, status, message))
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, block)


def refusal(stream: int, status: str) -> bytes:
    """The answer to what is no gRPC: an HTTP status alone."""
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, _literal(":status", status))
