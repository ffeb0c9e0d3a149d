"""What a txn does: pure evaluation on the staged state, in microseconds, without I/O.

The order is etcd's: all compares of all levels first, against the state before the txn; then the operations of the
chosen branches, in order, each seeing those before it. A txn that raises has changed nothing.

Source: etcd server/etcdserver/txn/txn.go; observed on etcd 3.5.30
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from .errors import CompactedError, FutureRevisionError, KeyNotFoundError, LeaseNotFoundError, RequestError
from .model import (
    DELETE,
    PUT,
    Compare,
    CompareOp,
    CompareTarget,
    DeleteRange,
    DeleteResponse,
    Event,
    KeyValue,
    Put,
    PutResponse,
    Range,
    RangeResponse,
    Response,
    Txn,
    TxnResponse,
)
from .stage import Stage

History = Mapping[int, RangeResponse | RequestError]
"""Answers to the ranges of a txn that ask for a revision, by `id(range)`: the past does not change, so they are read
before the txn is evaluated. A refusal counts only if the txn comes to that range."""
NO_HISTORY: History = {}

_MISSING = KeyValue(b"")
# By their own names: looking a member up on its Enum costs as much as the comparison that it is for.
_VALUE, _MOD, _VERSION, _CREATE = CompareTarget.VALUE, CompareTarget.MOD, CompareTarget.VERSION, CompareTarget.CREATE
_EQUAL, _NOT_EQUAL, _GREATER = CompareOp.EQUAL, CompareOp.NOT_EQUAL, CompareOp.GREATER


def evaluate(stage: Stage, txn: Txn, cause: str | None = None, history: History = NO_HISTORY) -> TxnResponse:
    """Run `txn` on the staged state and add what it changes to the batch, as one revision or none."""
    execution = _Execution(stage, history)
    path = _Path(txn, _holds(stage, txn))
    path.choose(stage)
    path.check_puts(stage)
    try:
        response = execution.run(path)
    except BaseException:
        execution.take_back()
        raise
    if execution.events:
        stage.write(execution.events, cause)
    return response


class _Path:
    """The branch chosen at each level: the nested txns of the chosen branch, by position."""

    __slots__ = ("nested", "succeeded", "txn")

    def __init__(self, txn: Txn, succeeded: bool) -> None:
        self.txn = txn
        self.succeeded = succeeded
        self.nested: dict[int, _Path] = {}

    def choose(self, stage: Stage) -> None:
        for position, operation in enumerate(self.txn.success if self.succeeded else self.txn.failure):
            if isinstance(operation, Txn):
                self.nested[position] = path = _Path(operation, _holds(stage, operation))
                path.choose(stage)

    def check_puts(self, stage: Stage) -> None:
        """Refuse impossible puts before anything is done, and before any range is refused: as etcd does."""
        for position, operation in enumerate(self.txn.success if self.succeeded else self.txn.failure):
            if isinstance(operation, Put):
                if (operation.ignore_value or operation.ignore_lease) and stage.get(operation.key) is None:
                    raise KeyNotFoundError(operation.key)
                if operation.lease and stage.lease(operation.lease) is None:
                    raise LeaseNotFoundError(operation.lease)
            elif isinstance(operation, Txn):
                self.nested[position].check_puts(stage)


class _Execution:
    """One txn being run: what it changed so far, and what those changes hide."""

    __slots__ = ("_hidden", "_history", "_revision", "_stage", "events")

    def __init__(self, stage: Stage, history: History) -> None:
        self._stage = stage
        self._history = history
        self._revision = stage.revision + 1
        self.events: list[Event] = []
        self._hidden: list[Event | None] = []

    def run(self, path: _Path) -> TxnResponse:
        responses: list[Response] = []
        for position, operation in enumerate(path.txn.success if path.succeeded else path.txn.failure):
            if isinstance(operation, Put):
                responses.append(self._put(operation))
            elif isinstance(operation, DeleteRange):
                responses.append(self._delete(operation))
            elif isinstance(operation, Range):
                responses.append(self._range(operation))
            else:
                responses.append(self.run(path.nested[position]))
        return TxnResponse(self._now(), path.succeeded, tuple(responses))

    def take_back(self) -> None:
        for event, hidden in zip(reversed(self.events), reversed(self._hidden), strict=True):
            self._stage.take_back(event, hidden)

    def _now(self) -> int:
        # An operation before the first change of its txn reports the revision before it.
        return self._revision if self.events else self._revision - 1

    def _change(self, event: Event) -> None:
        self._hidden.append(self._stage.put_event(event))
        self.events.append(event)

    def _put(self, put: Put) -> PutResponse:
        prev = self._stage.get(put.key)
        value, lease = put.value, put.lease
        if put.ignore_value or put.ignore_lease:
            if prev is None:  # deleted by this very txn
                raise KeyNotFoundError(put.key)
            value = prev.value if put.ignore_value else value
            lease = prev.lease if put.ignore_lease else lease
        revision = self._revision
        kv = KeyValue(
            put.key,
            value,
            revision if prev is None else prev.create_revision,
            revision,
            1 if prev is None else prev.version + 1,
            lease,
            put.attachment,
            len(self.events),
        )
        self._change(Event(PUT, kv, prev))
        return PutResponse(revision, kv, prev if put.prev_kv else None)

    def _delete(self, delete: DeleteRange) -> DeleteResponse:
        gone = tuple(self._stage.scan(delete.key, delete.range_end))
        for prev in gone:
            kv = KeyValue(prev.key, b"", 0, self._revision, 0, 0, None, len(self.events))
            self._change(Event(DELETE, kv, prev))
        return DeleteResponse(self._now(), len(gone), gone if delete.prev_kv else ())

    def _range(self, request: Range) -> RangeResponse:
        if request.revision <= 0:
            # Outside a txn a negative revision reads the present; inside, etcd holds it against the compacted one.
            if request.revision < min(0, self._stage.compacted) or request.revision < 0 <= self._stage.compacted:
                raise CompactedError(request.revision, self._stage.compacted)
            return self._stage.range(request, self._now())
        past = self._history.get(id(request))
        if past is None:
            raise FutureRevisionError(request.revision, self._now())
        if isinstance(past, RequestError):
            raise past
        return attrs.evolve(past, revision=self._now())


def _holds(stage: Stage, txn: Txn) -> bool:
    for compare in txn.compare:  # noqa: SIM110 (`all` with a generator would cost more than the compare in it)
        if not _compare_holds(stage, compare):
            return False
    return True


def _compare_holds(stage: Stage, compare: Compare) -> bool:
    """Whether a compare holds for every key of its range; an empty range counts as one missing key."""
    if not compare.range_end:
        return _one_holds(compare, stage.get(compare.key))
    kvs = tuple(stage.scan(compare.key, compare.range_end))
    return all(_one_holds(compare, kv) for kv in kvs) if kvs else _one_holds(compare, None)


def _one_holds(compare: Compare, kv: KeyValue | None) -> bool:
    target, wanted = compare.target, compare.value
    if target is _VALUE:
        # A value that is not there equals nothing, and differs from nothing either.
        return kv is not None and isinstance(wanted, bytes) and _ordered(compare.op, (kv.value > wanted) - (kv.value < wanted))
    kv = kv or _MISSING
    if target is _MOD:
        found = kv.mod_revision
    elif target is _VERSION:
        found = kv.version
    elif target is _CREATE:
        found = kv.create_revision
    else:
        found = kv.lease
    return isinstance(wanted, int) and _ordered(compare.op, found - wanted)


def _ordered(op: CompareOp, difference: int) -> bool:
    if op is _EQUAL:
        return difference == 0
    if op is _NOT_EQUAL:
        return difference != 0
    return difference > 0 if op is _GREATER else difference < 0
