"""Requests as the store's values: from generated messages, with etcd's reading of what is missing or out of range."""

from __future__ import annotations

from typing import Any

from reconcile.runtime.store.model import (
    Compare,
    CompareOp,
    CompareTarget,
    DeleteRange,
    Operation,
    Put,
    Range,
    SortOrder,
    SortTarget,
    Txn,
)

from . import errors

Message = Any
"""A generated message: aetcd's stubs have no types."""

_TARGETS = tuple(SortTarget)
_ORDERS = tuple(SortOrder)
_COMPARE_OPS = (CompareOp.EQUAL, CompareOp.GREATER, CompareOp.LESS, CompareOp.NOT_EQUAL)
_COMPARE_FIELDS = (
    (CompareTarget.VERSION, "version"),
    (CompareTarget.CREATE, "create_revision"),
    (CompareTarget.MOD, "mod_revision"),
    (CompareTarget.VALUE, "value"),
    (CompareTarget.LEASE, "lease"),
)


def range_of(request: Message) -> Range:
    """A RangeRequest. A sort that is not in the enumeration sorts nothing."""
    target, order = request.sort_target, request.sort_order
    known = 0 <= target < len(_TARGETS) and 0 <= order < len(_ORDERS)
    return Range(
        request.key,
        request.range_end,
        request.revision,
        request.limit,
        request.count_only,
        request.keys_only,
        _TARGETS[target] if known else SortTarget.KEY,
        _ORDERS[order] if known else SortOrder.NONE,
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    )


def put_of(request: Message) -> Put:
    """A PutRequest."""
    return Put(request.key, request.value, request.lease, request.prev_kv, request.ignore_value, request.ignore_lease)


def delete_of(request: Message) -> DeleteRange:
    """A DeleteRangeRequest."""
    return DeleteRange(request.key, request.range_end, request.prev_kv)


def txn_of(request: Message) -> Txn:
    """A TxnRequest.

    Raises:
        Refusal: an operation names no request.
    """
    return Txn(
        [_compare_of(compare) for compare in request.compare],
        [_operation_of(operation) for operation in request.success],
        [_operation_of(operation) for operation in request.failure],
    )


def _compare_of(compare: Message) -> Compare:
    key, end = compare.key, compare.range_end
    if not (0 <= compare.result < len(_COMPARE_OPS) and 0 <= compare.target < len(_COMPARE_FIELDS)):
        # An unknown result always holds, and so does an unknown target that is to be equal: nothing was compared.
        holds = not 0 <= compare.result < len(_COMPARE_OPS) or _COMPARE_OPS[compare.result] is CompareOp.EQUAL
        return Compare(key, CompareTarget.VERSION, CompareOp.GREATER if holds else CompareOp.LESS, -1 if holds else 0, end)
    target, name = _COMPARE_FIELDS[compare.target]
    return Compare(key, target, _COMPARE_OPS[compare.result], getattr(compare, name), end)


def _operation_of(operation: Message) -> Operation:
    kind = operation.WhichOneof("request")
    if kind == "request_put":
        return put_of(operation.request_put)
    if kind == "request_range":
        return range_of(operation.request_range)
    if kind == "request_delete_range":
        return delete_of(operation.request_delete_range)
    if kind == "request_txn":
        return txn_of(operation.request_txn)
    raise errors.empty_operation()


def puts_bytes(txn: Txn) -> int:
    """What the puts of a txn could add to the file; 0: it puts nothing, and frees space at most."""
    size = 0
    for branch in (txn.success, txn.failure):
        for operation in branch:
            if isinstance(operation, Put):
                size += len(operation.key) + len(operation.value) + 256
            elif isinstance(operation, Txn):
                size += puts_bytes(operation)
    return size
