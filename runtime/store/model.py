"""The values that go in and out of the store.

They have etcd's names and fields, so that a gRPC face is a renaming. They are frozen, and mypy holds everybody to it; the
one exception is `KeyValue.attachment`, a cache slot for whoever decodes values. Nothing here does anything.

Source: etcd api/mvccpb/kv.proto, api/etcdserverpb/rpc.proto
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import TypeAlias

import attrs

from .values import value

FROM_KEY = b"\0"
"""As a `range_end`: all keys from `key` on. With `FROM_KEY` as the key too: all keys."""


def prefix_end(prefix: bytes) -> bytes:
    """The `range_end` that makes [prefix, end) all keys with that prefix."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,)) if stripped else FROM_KEY


@attrs.define(on_setattr=attrs.setters.frozen)
class KeyValue:
    """One key at one revision.

    `attachment` is an opaque object of whoever put or read the value (its decoded form, say). It rides in memory with
    this version of the value through index, reads, events and prev_kv. It is never persisted and never compared; it is
    None after a restart and in what is replayed from disk. It is the one field that may be set.

    `sub` is the position of the change within its revision: (mod_revision, sub) names the row in the log.
    """

    key: bytes
    value: bytes = b""
    create_revision: int = 0
    mod_revision: int = 0
    version: int = 0
    lease: int = 0
    attachment: object | None = attrs.field(default=None, eq=False, repr=False, on_setattr=attrs.setters.NO_OP)
    sub: int = attrs.field(default=0, eq=False, repr=False)


class EventKind(Enum):
    """What happened to a key."""

    PUT = "PUT"
    DELETE = "DELETE"


PUT, DELETE = EventKind.PUT, EventKind.DELETE


@value
class Event:
    """One change of one key. For DELETE, `kv` holds key and mod_revision only; `prev_kv` is what was there before.

    Inside the store `prev_kv` is always there; a watch hands it out if it was asked to, and if it is not compacted.
    """

    kind: EventKind
    kv: KeyValue
    prev_kv: KeyValue | None = None


@value
class Change:
    """One change of a key as history tells it: at which revision, when, with what cause (None: none was given).

    `time_s` is since the epoch; None if it is not known. `event.prev_kv` is what was there before, unless that is
    compacted away.
    """

    revision: int
    time_s: float | None
    cause: str | None
    event: Event


class SortTarget(Enum):
    """The field that a range is sorted by."""

    KEY = 0
    VERSION = 1
    CREATE = 2
    MOD = 3
    VALUE = 4


class SortOrder(Enum):
    """The direction of a sort. NONE with a target other than KEY means ASCEND, as in etcd."""

    NONE = 0
    ASCEND = 1
    DESCEND = 2


@value
class Range:
    """Read one key, or [key, range_end). `revision` 0 (or less) is the newest; the filters apply before `limit`."""

    key: bytes
    range_end: bytes = b""
    revision: int = 0
    limit: int = 0
    count_only: bool = False
    keys_only: bool = False
    sort_target: SortTarget = SortTarget.KEY
    sort_order: SortOrder = SortOrder.NONE
    min_mod_revision: int = 0
    max_mod_revision: int = 0
    min_create_revision: int = 0
    max_create_revision: int = 0


@value
class Put:
    """Write one key. `ignore_value` and `ignore_lease` keep what is there."""

    key: bytes
    value: bytes = b""
    lease: int = 0
    prev_kv: bool = False
    ignore_value: bool = False
    ignore_lease: bool = False
    attachment: object | None = attrs.field(default=None, eq=False, repr=False)


@value
class DeleteRange:
    """Delete one key, or [key, range_end)."""

    key: bytes
    range_end: bytes = b""
    prev_kv: bool = False


class CompareTarget(Enum):
    """The field that a compare looks at."""

    VERSION = 0
    CREATE = 1
    MOD = 2
    VALUE = 3
    LEASE = 4


class CompareOp(Enum):
    """How a compare compares: the field stands left, the given value right."""

    EQUAL = 0
    GREATER = 1
    LESS = 2
    NOT_EQUAL = 3


@value
class Compare:
    """A condition on one key, or on every key of [key, range_end). A missing key has all fields zero, and no value."""

    key: bytes
    target: CompareTarget
    op: CompareOp
    value: int | bytes
    range_end: bytes = b""

    @classmethod
    def mod_is(cls, key: bytes, revision: int) -> Compare:
        """The key was last changed at `revision`; 0: it is not there."""
        return cls(key, CompareTarget.MOD, CompareOp.EQUAL, revision)

    @classmethod
    def missing(cls, key: bytes) -> Compare:
        """The key is not there."""
        return cls(key, CompareTarget.MOD, CompareOp.EQUAL, 0)


def _compares(compares: Iterable[Compare]) -> tuple[Compare, ...]:
    return tuple(compares)


def _operations(operations: Iterable[Operation]) -> tuple[Operation, ...]:
    return tuple(operations)


@value
class Txn:
    """If all of `compare` hold do `success`, else `failure`: in order, as one revision. May nest.

    The compares of all levels are evaluated against the state before the txn.
    """

    compare: tuple[Compare, ...] = attrs.field(default=(), converter=_compares)
    success: tuple[Operation, ...] = attrs.field(default=(), converter=_operations)
    failure: tuple[Operation, ...] = attrs.field(default=(), converter=_operations)


Operation: TypeAlias = Put | DeleteRange | Range | Txn


@value
class RangeResponse:
    """What a range found. `count` is the whole range's, whatever limit and filters say; `revision` is the store's."""

    revision: int
    kvs: tuple[KeyValue, ...] = ()
    count: int = 0
    more: bool = False


@value
class PutResponse:
    """What a put wrote (`kv`), and what was there if `prev_kv` was asked for."""

    revision: int
    kv: KeyValue
    prev_kv: KeyValue | None = None


@value
class DeleteResponse:
    """How many keys a delete removed, and what was there if `prev_kv` was asked for."""

    revision: int
    deleted: int = 0
    prev_kvs: tuple[KeyValue, ...] = ()


@value
class TxnResponse:
    """Which branch of a txn ran, with one response per operation of it."""

    revision: int
    succeeded: bool
    responses: tuple[Response, ...] = ()


Response: TypeAlias = PutResponse | DeleteResponse | RangeResponse | TxnResponse


class WatchFilter(Enum):
    """What a watch leaves out."""

    NOPUT = "NOPUT"
    NODELETE = "NODELETE"


@value
class WatchBatch:
    """All events of one revision that a watch asked for; without events: a promise that nothing <= revision follows."""

    revision: int
    events: tuple[Event, ...] = ()

    @property
    def progress(self) -> bool:
        """True when this batch only says how far the watch has come."""
        return not self.events


@value
class LeaseStatus:
    """A lease: how long it has to live, how long it was granted for, the keys that go with it. Unknown: `ttl_s` is -1."""

    id: int
    ttl_s: int
    granted_ttl_s: int = 0
    keys: tuple[bytes, ...] = ()
