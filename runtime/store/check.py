"""Whether a request is well formed: what can be said without looking at the state.

Keys are given, lists are short enough, no key is changed twice, the whole is small enough. "Twice" is etcd's notion, gaps
included: a put in one nested txn and a delete of its key in a later one pass (only the other order is seen), and so does
a put under a delete "from key". Such a txn gives a key two events in one revision, in their order.

Source: etcd server/etcdserver/api/v3rpc/key.go; checked against a real etcd in tests/etcd
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .errors import (
    DuplicateKeyError,
    KeyEmptyError,
    LeaseProvidedError,
    RequestTooLargeError,
    TooManyOpsError,
    ValueProvidedError,
)
from .index import covers
from .model import FROM_KEY, DeleteRange, Operation, Put, Txn

_OPERATION_OVERHEAD_BYTES = 16
"""Tags and lengths of one operation on the wire, roughly."""


def check_txn(txn: Txn, operations_max: int, request_bytes_max: int) -> None:
    """Refuse a malformed txn.

    Raises:
        KeyEmptyError, ValueProvidedError, LeaseProvidedError, TooManyOpsError, DuplicateKeyError, RequestTooLargeError.
    """
    size_bytes = _check_level(txn, operations_max)
    if size_bytes > request_bytes_max:
        raise RequestTooLargeError(size_bytes, request_bytes_max)
    for branch in (txn.success, txn.failure):
        if len(branch) > 1 or (branch and isinstance(branch[0], Txn)):
            _changes(branch)


def _check_level(txn: Txn, operations_max: int) -> int:
    """Check a txn and what is nested in it; returns its size in bytes."""
    size = 0
    longest = max(len(txn.compare), len(txn.success), len(txn.failure))
    if longest > operations_max:
        raise TooManyOpsError(longest, operations_max)
    for compare in txn.compare:
        if not compare.key:
            raise KeyEmptyError("in a compare")
        value = compare.value
        size += len(compare.key) + (len(value) if isinstance(value, bytes) else 0) + _OPERATION_OVERHEAD_BYTES
    for branch in (txn.success, txn.failure):
        for operation in branch:
            if isinstance(operation, Txn):
                # A nested txn has what its parent's longest list leaves (100 entries leave 28: observed on etcd 3.5.30).
                size += _check_level(operation, operations_max - longest)
                continue
            if not operation.key:
                raise KeyEmptyError(f"in a {type(operation).__name__}")
            if not isinstance(operation, Put):
                size += len(operation.key) + len(operation.range_end) + _OPERATION_OVERHEAD_BYTES
                continue
            size += len(operation.key) + len(operation.value) + _OPERATION_OVERHEAD_BYTES
            if operation.ignore_value and operation.value:
                raise ValueProvidedError(f"{operation.key!r} with ignore_value")
            if operation.ignore_lease and operation.lease:
                raise LeaseProvidedError(f"{operation.key!r} with ignore_lease")
    return size


_Puts = set[bytes]
_Deletes = list[tuple[bytes, bytes]]


def _changes(operations: Sequence[Operation]) -> tuple[_Puts, _Deletes]:
    """The keys and ranges that one branch may change; raises when etcd sees a key changed twice.

    The order is etcd's: this level's deletes, then the nested txns one after the other, then this level's puts.
    """
    puts: _Puts = set()
    deletes = [(operation.key, operation.range_end) for operation in operations if isinstance(operation, DeleteRange)]
    for operation in operations:
        if isinstance(operation, Txn):
            # Either branch of the nested txn runs, never both: each is held against the rest, not against the other.
            then_puts, then_deletes = _changes(operation.success)
            else_puts, else_deletes = _changes(operation.failure)
            _refuse_twice(then_puts | else_puts, puts, deletes)
            puts |= then_puts | else_puts
            deletes += then_deletes + else_deletes
    for operation in operations:
        if isinstance(operation, Put):
            _refuse_twice((operation.key,), puts, deletes)
            puts.add(operation.key)
    return puts, deletes


def _refuse_twice(keys: Iterable[bytes], puts: _Puts, deletes: _Deletes) -> None:
    for key in keys:
        if key in puts or any(end != FROM_KEY and covers(start, end, key) for start, end in deletes):
            raise DuplicateKeyError(key)
