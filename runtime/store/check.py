"""Whether a request is well formed: what can be said without looking at the state.

Keys are given, lists are short enough, no key is changed twice, the whole is small enough. Two places are stricter
than etcd, so that a key has one event per revision at most: a put in one nested txn and a delete of its key in a later
one is a duplicate too (etcd sees only the other order), and so is a put under a delete "from key" (etcd overlooks it).

Source: etcd server/etcdserver/api/v3rpc/key.go
"""

from __future__ import annotations

from collections.abc import Sequence

from .errors import (
    DuplicateKeyError,
    KeyEmptyError,
    LeaseProvidedError,
    RequestTooLargeError,
    TooManyOpsError,
    ValueProvidedError,
)
from .index import covers
from .model import DeleteRange, Operation, Put, Range, Txn

_OPERATION_OVERHEAD_BYTES = 16
"""Tags and lengths of one operation on the wire, roughly."""


def check_txn(txn: Txn, operations_max: int, request_bytes_max: int) -> None:
    """Refuse a malformed txn.

    Raises:
        KeyEmptyError, ValueProvidedError, LeaseProvidedError, TooManyOpsError, DuplicateKeyError, RequestTooLargeError.
    """
    _check_level(txn, operations_max)
    size_bytes = _size_bytes(txn)
    if size_bytes > request_bytes_max:
        raise RequestTooLargeError(size_bytes, request_bytes_max)
    for branch in (txn.success, txn.failure):
        if len(branch) > 1 or (branch and isinstance(branch[0], Txn)):
            _changes(branch)


def _check_level(txn: Txn, operations_max: int) -> None:
    longest = max(len(txn.compare), len(txn.success), len(txn.failure))
    if longest > operations_max:
        raise TooManyOpsError(longest, operations_max)
    for compare in txn.compare:
        if not compare.key:
            raise KeyEmptyError("in a compare")
    for operation in (*txn.success, *txn.failure):
        if isinstance(operation, Txn):
            # A nested txn has what its parent's longest list leaves (100 entries leave 28: observed on etcd 3.5.30).
            _check_level(operation, operations_max - longest)
            continue
        if not operation.key:
            raise KeyEmptyError(f"in a {type(operation).__name__}")
        if isinstance(operation, Put):
            if operation.ignore_value and operation.value:
                raise ValueProvidedError(f"{operation.key!r} with ignore_value")
            if operation.ignore_lease and operation.lease:
                raise LeaseProvidedError(f"{operation.key!r} with ignore_lease")


def _size_bytes(txn: Txn) -> int:
    size = 0
    for compare in txn.compare:
        value = compare.value
        size += len(compare.key) + (len(value) if isinstance(value, bytes) else 0) + _OPERATION_OVERHEAD_BYTES
    for operation in (*txn.success, *txn.failure):
        if isinstance(operation, Put):
            size += len(operation.key) + len(operation.value) + _OPERATION_OVERHEAD_BYTES
        elif isinstance(operation, Txn):
            size += _size_bytes(operation)
        else:
            size += len(operation.key) + len(operation.range_end) + _OPERATION_OVERHEAD_BYTES
    return size


_Puts = set[bytes]
_Deletes = list[tuple[bytes, bytes]]


def _changes(operations: Sequence[Operation]) -> tuple[_Puts, _Deletes]:
    """The keys and ranges that one branch may change; raises when a key is changed twice on some path."""
    puts: _Puts = set()
    deletes: _Deletes = []
    for operation in operations:
        if isinstance(operation, Range):
            continue
        if isinstance(operation, Put):
            new_puts, new_deletes = {operation.key}, []
        elif isinstance(operation, DeleteRange):
            new_puts, new_deletes = set(), [(operation.key, operation.range_end)]
        else:
            # Either branch of the nested txn runs, never both: each is held against the rest, not against the other.
            then_puts, then_deletes = _changes(operation.success)
            else_puts, else_deletes = _changes(operation.failure)
            new_puts, new_deletes = then_puts | else_puts, then_deletes + else_deletes
        for key in new_puts:
            if key in puts or any(covers(start, end, key) for start, end in deletes):
                raise DuplicateKeyError(key)
        for start, end in new_deletes:
            for key in puts:
                if covers(start, end, key):
                    raise DuplicateKeyError(key)
        puts |= new_puts
        deletes += new_deletes
    return puts, deletes
