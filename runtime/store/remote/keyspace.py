"""Our values as etcd's messages and back, with every key below one prefix.

Below the prefix /team, keys begin with /team/, so that /team-b is no part of it. Where all of our keys begin with `below` (the
API server's do with a slash), that is left out: /registry/x becomes /team/registry/x.

The key that is /team/ itself is the journal (see the package): it is no key of ours, for ours are longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aetcd.rpc import kv_pb2
from aetcd.rpc import rpc_pb2 as pb

from reconcile.runtime.store.model import (
    DELETE,
    FROM_KEY,
    PUT,
    Compare,
    CompareTarget,
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
    prefix_end,
)
from reconcile.runtime.store.ring import Record

from .mirror import Told

Message = Any
"""A generated message: aetcd's stubs have no types."""
_OPERATIONS_MAX = 128
"""etcd's own limit: a longer branch has no room for the journal."""
_FIELDS = {
    CompareTarget.VERSION: "version", CompareTarget.CREATE: "create_revision", CompareTarget.MOD: "mod_revision",
    CompareTarget.VALUE: "value", CompareTarget.LEASE: "lease",
}  # fmt: skip
_DELETED = kv_pb2.Event.DELETE


class Keyspace:
    """All keys that begin with `root`."""

    def __init__(self, prefix: str, below: bytes) -> None:
        self.root = prefix.encode() + b"/"
        self.end = prefix_end(self.root)
        self._below = below
        self._skip = len(self.root)

    # Out

    def bounds(self, key: bytes, range_end: bytes) -> tuple[bytes, bytes]:
        """A range of ours as a range of the cluster's."""
        if not range_end:
            return self._there(key), b""
        if range_end == FROM_KEY or (range_end > self._below and not range_end.startswith(self._below)):
            return self._there(key), self.end
        return self._there(key), self._there(range_end)

    def _there(self, key: bytes) -> bytes:
        if not key.startswith(self._below):
            raise ValueError(f"{key!r} does not begin with {self._below!r}, as all keys of this store do")
        return self.root + key[len(self._below) :]

    def range(self, request: Range) -> Message:
        """A RangeRequest."""
        key, range_end = self.bounds(request.key, request.range_end)
        return pb.RangeRequest(
            key=key, range_end=range_end, limit=request.limit, revision=max(0, request.revision),
            sort_order=request.sort_order.value, sort_target=request.sort_target.value, count_only=request.count_only,
            keys_only=request.keys_only, min_mod_revision=request.min_mod_revision, max_mod_revision=request.max_mod_revision,
            min_create_revision=request.min_create_revision, max_create_revision=request.max_create_revision,
        )  # fmt: skip

    def txn(self, request: Txn, succeeded: bytes, failed: bytes) -> Message:
        """A TxnRequest; a branch that is sure to make a revision also puts the journal, which tells the branches apart."""
        made = self._txn(request)
        if writes(request.success, request.compare) and len(request.success) < _OPERATIONS_MAX:
            made.success.add().request_put.CopyFrom(self.journal(succeeded))
        if writes(request.failure, ()) and len(request.failure) < _OPERATIONS_MAX:
            made.failure.add().request_put.CopyFrom(self.journal(failed))
        return made

    def journal(self, value: bytes) -> Message:
        """A PutRequest of the journal."""
        return pb.PutRequest(key=self.root, value=value)

    def _txn(self, request: Txn) -> Message:
        return pb.TxnRequest(
            compare=[self._compare(compare) for compare in request.compare],
            success=[self._operation(operation) for operation in request.success],
            failure=[self._operation(operation) for operation in request.failure],
        )

    def _compare(self, compare: Compare) -> Message:
        key, range_end = self.bounds(compare.key, compare.range_end)
        return pb.Compare(
            key=key, range_end=range_end, target=compare.target.value, result=compare.op.value,
            **{_FIELDS[compare.target]: compare.value},
        )  # fmt: skip

    def _operation(self, operation: Operation) -> Message:
        if isinstance(operation, Put):
            put = pb.PutRequest(
                key=self._there(operation.key), value=operation.value, lease=operation.lease, prev_kv=operation.prev_kv,
                ignore_value=operation.ignore_value, ignore_lease=operation.ignore_lease,
            )  # fmt: skip
            return pb.RequestOp(request_put=put)
        if isinstance(operation, Range):
            return pb.RequestOp(request_range=self.range(operation))
        if isinstance(operation, DeleteRange):
            key, range_end = self.bounds(operation.key, operation.range_end)
            delete = pb.DeleteRangeRequest(key=key, range_end=range_end, prev_kv=operation.prev_kv)
            return pb.RequestOp(request_delete_range=delete)
        return pb.RequestOp(request_txn=self._txn(operation))

    # In

    def key_value(self, kv: Message, sub: int = 0) -> KeyValue:
        """One of our keys."""
        return KeyValue(
            self._below + kv.key[self._skip :], kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease, None, sub
        )  # fmt: skip

    def key_values(self, kvs: Iterable[Message]) -> tuple[KeyValue, ...]:
        """Our keys, without the journal."""
        return tuple(self.key_value(kv) for kv in kvs if kv.key != self.root)

    def change(self, event: Message, sub: int) -> Told:
        """What happened to one of our keys."""
        return (DELETE if event.type == _DELETED else PUT), self.key_value(event.kv, sub)

    def range_response(self, answer: Message) -> RangeResponse:
        """What a range found."""
        return RangeResponse(answer.header.revision, self.key_values(answer.kvs), answer.count, answer.more)

    def txn_response(self, request: Txn, answer: Message, record: Record | None) -> TxnResponse:
        """What a txn did; `record` is the revision that it made, where it made one."""
        operations = request.success if answer.succeeded else request.failure
        revision = answer.header.revision
        written = {event.kv.key: event.kv for event in record.events} if record is not None else {}
        # The journal's answer comes last, and is nobody's: zip leaves it out.
        inner = [
            self._response(operation, each, revision, written)
            for operation, each in zip(operations, answer.responses, strict=False)
        ]
        return TxnResponse(revision, answer.succeeded, tuple(inner))

    def _response(self, operation: Operation, answer: Message, revision: int, written: Mapping[bytes, KeyValue]) -> Response:
        if isinstance(operation, Put):
            put = answer.response_put
            kv = written.get(operation.key) or KeyValue(operation.key, operation.value, mod_revision=revision)
            return PutResponse(put.header.revision, kv, self.key_value(put.prev_kv) if put.HasField("prev_kv") else None)
        if isinstance(operation, Range):
            return self.range_response(answer.response_range)
        if isinstance(operation, DeleteRange):
            delete = answer.response_delete_range
            return DeleteResponse(delete.header.revision, delete.deleted, self.key_values(delete.prev_kvs))
        nested = answer.response_txn
        branch = operation.success if nested.succeeded else operation.failure
        inner = [self._response(each, made, revision, written) for each, made in zip(branch, nested.responses, strict=True)]
        return TxnResponse(revision, nested.succeeded, tuple(inner))


def writes(operations: Iterable[Operation], compares: Iterable[Compare]) -> bool:
    """Whether a branch is sure to make a revision: it puts a key, or deletes one that a compare says is there."""
    return any(isinstance(each, Put) or (isinstance(each, DeleteRange) and _there(each, compares)) for each in operations)


def guarded(request: Txn) -> bool:
    """Whether running a txn twice does no more than once: what it does makes one of its own compares fail."""
    if any(not isinstance(operation, Range) for operation in request.failure):
        return False
    if all(isinstance(operation, Range) for operation in request.success):
        return True
    for operation in request.success:
        if isinstance(operation, Put) and any(_pinned(compare, operation.key) for compare in request.compare):
            return True
        if isinstance(operation, DeleteRange) and _there(operation, request.compare):
            return True
    return False


def _pinned(compare: Compare, key: bytes) -> bool:
    if compare.key != key or compare.range_end or compare.op.name != "EQUAL":
        return False
    if compare.target is CompareTarget.MOD:
        return True
    return compare.target in (CompareTarget.CREATE, CompareTarget.VERSION) and compare.value == 0


def _there(delete: DeleteRange, compares: Iterable[Compare]) -> bool:
    return not delete.range_end and any(
        compare.target is CompareTarget.MOD and compare.value != 0 and _pinned(compare, delete.key) for compare in compares
    )
