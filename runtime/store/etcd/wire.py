"""Answers as bytes: what protobuf would write, without making messages.

Every answer of the hot paths is assembled once, from the store's own values. Fields come in the order of their numbers
and zeros are left out, so the bytes are those of a real etcd. What is asked rarely is made with the generated messages.

Source: etcd api/etcdserverpb/rpc.proto, api/mvccpb/kv.proto
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconcile.runtime.store.hashkv import encode_key_value, varint
from reconcile.runtime.store.model import (
    DELETE,
    DeleteResponse,
    Event,
    KeyValue,
    PutResponse,
    RangeResponse,
    Response,
    TxnResponse,
)

_EMPTY_HEADER = b"\x0a\x00"
_EVENTS_CACHED_BYTES_MAX = 8 << 20
RAFT_TERM = 2
"""What a real one-member etcd says after its first start."""


def field(tag: bytes, body: bytes) -> bytes:
    """A field of bytes, or an embedded message."""
    return tag + varint(len(body)) + body


def key_value(kv: KeyValue) -> bytes:
    """A mvccpb.KeyValue."""
    return encode_key_value(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease)


class Header:
    """Makes the ResponseHeader, as field 1 of an answer."""

    def __init__(self, cluster_id: int, member_id: int) -> None:
        self._front = b"\x08" + varint(cluster_id) + b"\x10" + varint(member_id)
        self._back = b"\x20" + varint(RAFT_TERM)
        self._last = (0, field(b"\x0a", self._front + self._back))

    def __call__(self, revision: int) -> bytes:
        """The header at `revision`; many answers share one."""
        last = self._last
        if last[0] != revision:
            body = b"".join((self._front, b"\x18", varint(revision), self._back)) if revision else self._front + self._back
            last = self._last = (revision, field(b"\x0a", body))
        return last[1]


def _inner_header(revision: int) -> bytes:
    # Inside a txn, answers carry the revision only.
    number = varint(revision)
    return b"".join((b"\x0a", varint(len(number) + 1), b"\x18", number))


def range_end_parts(response: RangeResponse) -> bytes:
    """The fields after the keys of a RangeResponse."""
    tail = b"\x18\x01" if response.more else b""
    return tail + b"\x20" + varint(response.count) if response.count else tail


def key_values(kvs: Iterable[KeyValue]) -> list[bytes]:
    """The keys of a RangeResponse, as parts to join."""
    parts: list[bytes] = []
    for kv in kvs:
        encoded = key_value(kv)
        parts += (b"\x12", varint(len(encoded)), encoded)
    return parts


def range_response(header: bytes, response: RangeResponse) -> bytes:
    """A RangeResponse."""
    return b"".join((header, *key_values(response.kvs), range_end_parts(response)))


def put_response(header: bytes, response: PutResponse) -> bytes:
    """A PutResponse."""
    prev = response.prev_kv
    return header if prev is None else header + field(b"\x12", key_value(prev))


def delete_response(header: bytes, response: DeleteResponse) -> bytes:
    """A DeleteRangeResponse."""
    if not response.deleted:
        return header
    parts = [header, b"\x10", varint(response.deleted)]
    for kv in response.prev_kvs:
        encoded = key_value(kv)
        parts += (b"\x1a", varint(len(encoded)), encoded)
    return b"".join(parts)


def txn_response(header: bytes, response: TxnResponse) -> bytes:
    """A TxnResponse. The header of a nested one is there and empty, as in etcd."""
    parts = [header]
    if response.succeeded:
        parts.append(b"\x10\x01")
    for inner in response.responses:
        encoded = _operation_response(inner)
        parts += (b"\x1a", varint(len(encoded)), encoded)
    return b"".join(parts)


def _operation_response(response: Response) -> bytes:
    if isinstance(response, PutResponse):
        return field(b"\x12", put_response(_inner_header(response.revision), response))
    if isinstance(response, RangeResponse):
        return field(b"\x0a", range_response(_inner_header(response.revision), response))
    if isinstance(response, DeleteResponse):
        return field(b"\x1a", delete_response(_inner_header(response.revision), response))
    return field(b"\x22", txn_response(_EMPTY_HEADER, response))


class EventEncoder:
    """Encodes each event once for all watches; forgets the oldest when there are too many."""

    def __init__(self) -> None:
        self._encoded: dict[tuple[int, int, bool], bytes] = {}
        self._bytes = 0

    def __call__(self, event: Event) -> bytes:
        """An event as a field of a WatchResponse."""
        kv = event.kv
        key = (kv.mod_revision, kv.sub, event.prev_kv is not None)
        encoded = self._encoded.get(key)
        if encoded is None:
            encoded = self._encoded[key] = _event(event)
            self._bytes += len(encoded)
            while self._bytes > _EVENTS_CACHED_BYTES_MAX:
                self._bytes -= len(self._encoded.pop(next(iter(self._encoded))))
        return encoded


def _event(event: Event) -> bytes:
    parts = [b"\x08\x01"] if event.kind is DELETE else []
    parts.append(field(b"\x12", key_value(event.kv)))
    if event.prev_kv is not None:
        parts.append(field(b"\x1a", key_value(event.prev_kv)))
    return field(b"\x5a", b"".join(parts))


def watch_response(
    header: bytes,
    watch_id: int,
    *,
    created: bool = False,
    canceled: bool = False,
    compact_revision: int = 0,
    reason: str = "",
) -> bytes:
    """A WatchResponse without events."""
    parts = [header]
    if watch_id:
        parts += (b"\x10", varint(watch_id))
    if created:
        parts.append(b"\x18\x01")
    if canceled:
        parts.append(b"\x20\x01")
    if compact_revision:
        parts += (b"\x28", varint(compact_revision))
    if reason:
        parts.append(field(b"\x32", reason.encode()))
    return b"".join(parts)


def watch_events(header: bytes, watch_id: int, events: Sequence[bytes], fragment_bytes_max: int | None) -> list[bytes]:
    """WatchResponses with encoded events: one, unless it may be split where it grows beyond `fragment_bytes_max`."""
    front = header + b"\x10" + varint(watch_id) if watch_id else header
    if fragment_bytes_max is None or len(events) < 2 or len(front) + sum(map(len, events)) < fragment_bytes_max:
        return [b"".join((front, *events))]
    pieces: list[list[bytes]] = [[]]
    size = 0
    for event in events:
        if pieces[-1] and len(front) + 2 + size + len(event) >= fragment_bytes_max:
            pieces.append([])
            size = 0
        pieces[-1].append(event)
        size += len(event)
    last = len(pieces) - 1
    return [b"".join((front, b"" if number == last else b"\x38\x01", *piece)) for number, piece in enumerate(pieces)]
