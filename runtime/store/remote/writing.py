"""Txns on a cluster: sent, found again where the answer was lost, and shown by the mirror before they return.

A txn whose answer is lost may have been run, or be run a moment later. Its number in the journal tells whether the mirror
has seen it. If not, and running it twice does no more than once (its own compares see to that, as with every write of the
API server), it is sent again: whichever of the two comes first makes the other one fail. Any other is left alone, and its
caller is told that nobody knows (UncertainWriteError).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

import attrs

from reconcile.clock import Clock
from reconcile.runtime.store.errors import (
    CompactedError,
    FutureRevisionError,
    KeyNotFoundError,
    LeaseNotFoundError,
    StoreError,
)
from reconcile.runtime.store.index import covers
from reconcile.runtime.store.model import (
    DeleteRange,
    DeleteResponse,
    KeyValue,
    Operation,
    Put,
    PutResponse,
    Range,
    RangeResponse,
    Response,
    Txn,
    TxnResponse,
)
from reconcile.runtime.store.ring import Record

from .connection import TXN, Connection, Unclear
from .errors import UncertainWriteError, UnreachableError
from .journal import NONCE_BYTES, Entry
from .keyspace import Keyspace, Message, guarded


class Reads(Protocol):
    """What writing needs of the store that it belongs to."""

    @property
    def revision(self) -> int:
        """How far the mirror is."""

    async def catch_up(self) -> int:
        """See WatchStore."""

    async def reach(self, revision: int) -> None:
        """Wait until the mirror shows a revision."""

    async def range_at(self, request: Range) -> RangeResponse:
        """See WatchStore."""

    def record(self, revision: int) -> Record | None:
        """What happened at a recent revision."""


@attrs.define(eq=False)
class _Pending:
    """A write under way: the objects that belong to its keys, and the revision at which the mirror saw it."""

    attachments: dict[bytes, object]
    revision: int = 0
    succeeded: bool = False
    """Which branch of the txn it saw."""


class Writing:
    """Runs txns."""

    def __init__(self, reads: Reads, connection: Connection, keyspace: Keyspace, clock: Clock) -> None:
        self._reads, self._connection, self._keyspace, self._clock = reads, connection, keyspace, clock
        self._pending: dict[bytes, _Pending] = {}

    def entry(self, cause: str | None = None) -> Entry:
        """An entry of the journal for a write that is made now."""
        nonce = self._clock.random.getrandbits(8 * NONCE_BYTES).to_bytes(NONCE_BYTES)
        return Entry(_branch(nonce, succeeded=True), int(self._clock.now() * 1000), cause)

    def notice(self, revision: int, nonce: bytes) -> dict[bytes, object] | None:
        """The mirror comes to a journal entry; gives the objects of the write, where it is one of ours."""
        pending = self._pending.get(_branch(nonce, succeeded=True)) if len(nonce) == NONCE_BYTES else None
        if pending is None:
            return None
        pending.revision, pending.succeeded = revision, _branch(nonce, succeeded=True) == nonce
        return pending.attachments

    async def txn(self, request: Txn, cause: str | None) -> TxnResponse:
        """See EtcdStore.txn."""
        entry, pending = self.entry(cause), _Pending(dict(_attachments(request)))
        failed = attrs.evolve(entry, nonce=_branch(entry.nonce, succeeded=False))
        message = self._keyspace.txn(request, entry.encoded(), failed.encoded())
        self._pending[entry.nonce] = pending
        try:
            answer, repeated = await self._sent(request, message, pending)
            if answer is not None:
                await self._shown(answer.header.revision, bool(answer.succeeded or request.failure or repeated))
                # A txn that was sent twice: what made its compares fail is what it did the first time.
                if not (repeated and pending.revision and answer.header.revision != pending.revision):
                    record = self._reads.record(answer.header.revision)
                    return self._keyspace.txn_response(request, answer, record)
            return await self._rebuilt(request, pending)
        finally:
            del self._pending[entry.nonce]

    async def _sent(self, request: Txn, message: Message, pending: _Pending) -> tuple[Message | None, bool]:
        """Send a txn until it is known what became of it (None: it was run, its answer is lost), and whether it was repeated."""
        deadline, repeated = self._connection.deadline(), False
        while True:
            lost: Unclear | StoreError
            try:
                return await self._connection.once(TXN, message), repeated
            except Unclear as error:
                lost, refused = error, False
            except StoreError as error:
                if not repeated:
                    raise _typed(error, request, self._reads.revision) from error
                lost, refused = error, True  # this time: what was sent before may have been run, or be run yet
            endpoints, why = self._connection.address.endpoints, str(lost)
            try:
                await self._reads.catch_up()
            except UnreachableError as error:
                raise UncertainWriteError(endpoints, why) from error
            if pending.revision:
                return None, repeated
            if refused or not guarded(request) or self._clock.monotonic() > deadline:
                raise UncertainWriteError(endpoints, why) from lost
            repeated = True

    async def _shown(self, revision: int, wrote: bool) -> None:
        """Wait until the mirror shows what a txn did. If it never does, what was written is written all the same."""
        try:
            await self._reads.reach(revision)
        except UnreachableError as error:
            if not wrote:
                raise
            endpoints = self._connection.address.endpoints
            raise UncertainWriteError(endpoints, f"it was run by revision {revision}, whose changes do not arrive") from error

    async def _rebuilt(self, request: Txn, pending: _Pending) -> TxnResponse:
        """The answer of a txn that was run, from what the mirror saw of it."""
        revision = pending.revision
        record, branch = self._reads.record(revision), request.success if pending.succeeded else request.failure
        if record is None or any(isinstance(operation, Txn) for operation in branch):
            raise self._forgotten(revision)
        try:
            inner = await asyncio.gather(*(self._again(operation, record) for operation in branch))
        except StoreError as error:  # what it read can be read no more
            raise self._forgotten(revision) from error
        return TxnResponse(revision, pending.succeeded, tuple(inner))

    def _forgotten(self, revision: int) -> UncertainWriteError:
        why = f"it was run at revision {revision}, but what it answered is lost"
        return UncertainWriteError(self._connection.address.endpoints, why)

    async def _again(self, operation: Operation, record: Record) -> Response:
        revision = record.revision
        if isinstance(operation, Range):
            return await self._reads.range_at(attrs.evolve(operation, revision=operation.revision or revision))
        if isinstance(operation, Put):
            event = next(event for event in record.events if event.kv.key == operation.key)
            return PutResponse(revision, event.kv, event.prev_kv if operation.prev_kv else None)
        assert isinstance(operation, DeleteRange), "nested txns are not told again"
        gone: list[KeyValue] = [
            event.prev_kv
            for event in record.events
            if event.prev_kv is not None and covers(operation.key, operation.range_end, event.kv.key)
        ]
        return DeleteResponse(revision, len(gone), tuple(gone) if operation.prev_kv else ())


def _branch(nonce: bytes, *, succeeded: bool) -> bytes:
    """The number of a txn's branch: the last bit says which."""
    return nonce[:-1] + bytes((nonce[-1] & 0xFE | (not succeeded),))


def _attachments(request: Txn) -> Iterable[tuple[bytes, object]]:
    for operation in (*request.success, *request.failure):
        if isinstance(operation, Put) and operation.attachment is not None:
            yield operation.key, operation.attachment
        elif isinstance(operation, Txn):
            yield from _attachments(operation)


def _operations(request: Txn) -> Iterable[Operation]:
    for operation in (*request.success, *request.failure):
        if isinstance(operation, Txn):
            yield from _operations(operation)
        else:
            yield operation


def _typed(error: StoreError, request: Txn, revision: int) -> StoreError:
    """etcd's refusal as the embedded store raises it; etcd does not say which operation it is about."""
    for operation in _operations(request):
        if isinstance(operation, Put):
            if error.text == LeaseNotFoundError.text and operation.lease:
                return LeaseNotFoundError(operation.lease)
            if error.text == KeyNotFoundError.text and (operation.ignore_value or operation.ignore_lease):
                return KeyNotFoundError(operation.key)
        elif isinstance(operation, Range) and operation.revision > 0:
            if error.text == CompactedError.text:
                return CompactedError(operation.revision, operation.revision + 1)
            if error.text == FutureRevisionError.text:
                return FutureRevisionError(operation.revision, revision)
    return error
