"""What a writer is told when etcd answers, but what comes after the answer goes wrong: never that nothing was written."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import pytest
from aetcd.rpc import rpc_pb2 as pb

from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import BusyError, Compare, Put, Range, RangeResponse, StoreError, Txn
from reconcile.runtime.store.remote import EtcdAddress, UncertainWriteError, UnreachableError
from reconcile.runtime.store.remote.connection import Method, Unclear
from reconcile.runtime.store.remote.keyspace import Keyspace, Message
from reconcile.runtime.store.remote.writing import Writing
from reconcile.runtime.store.ring import Record

_ADDRESS = EtcdAddress(("127.0.0.1:1",), "/t")
_CREATE = Txn((Compare.missing(b"a"),), (Put(b"a", b"1"),))


@attrs.define
class Answers:
    """A connection that says what it was told to say."""

    script: list[Message | Exception]
    address: EtcdAddress = _ADDRESS

    def deadline(self) -> float:
        return SystemClock().monotonic() + 60

    async def once(self, method: Method, request: Message) -> Message:
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Stuck:
    """A mirror whose changes do not arrive, though etcd itself can be asked."""

    revision = 7

    async def catch_up(self) -> int:
        return self.revision

    async def reach(self, revision: int) -> None:
        raise UnreachableError(_ADDRESS.endpoints, "the watch is silent")

    async def range_at(self, request: Range) -> RangeResponse:
        raise AssertionError("nothing is read here")

    def record(self, revision: int) -> Record | None:
        return None


async def told(script: Iterable[Message | Exception]) -> StoreError:
    writing = Writing(Stuck(), Answers(list(script)), Keyspace(_ADDRESS.prefix, b""), SystemClock())  # type: ignore[arg-type]
    with pytest.raises(StoreError) as caught:
        await writing.txn(_CREATE, None)
    return caught.value


def _answer(succeeded: bool) -> Message:
    return pb.TxnResponse(succeeded=succeeded, header={"revision": 8})


async def test_a_write_that_etcd_took_is_not_called_undone_because_the_watch_is_silent() -> None:
    """Who is told "unreachable" writes again: the same increment would be made twice."""
    error = await told([_answer(succeeded=True)])
    assert isinstance(error, UncertainWriteError)
    assert "it was run by revision 8" in str(error)


async def test_a_txn_whose_compare_failed_wrote_nothing_and_says_so() -> None:
    assert isinstance(await told([_answer(succeeded=False)]), UnreachableError)


async def test_a_compare_that_fails_the_second_time_may_fail_for_what_was_written_the_first_time() -> None:
    assert isinstance(await told([Unclear("hung"), _answer(succeeded=False)]), UncertainWriteError)


async def test_a_refusal_of_the_second_try_says_nothing_of_the_first() -> None:
    """The first one may be in a member's hands still, and be run a moment later."""
    assert isinstance(await told([BusyError("too many")]), BusyError)
    assert isinstance(await told([Unclear("hung"), BusyError("too many")]), UncertainWriteError)
