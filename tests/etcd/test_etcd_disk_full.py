"""A disk that is full: the store is readable, raises the alarm, makes room by what deletes, and recovers."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from aetcd.rpc import rpc_pb2 as pb

from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import AioDatabase, Store
from reconcile.runtime.store.etcd import EtcdServer
from reconcile.runtime.store.reserve import FILE_NAME
from tests.etcd.client import put, refusal
from tests.etcd.conftest import connected

_Result = TypeVar("_Result")
_NO_SPACE = "RESOURCE_EXHAUSTED: etcdserver: mvcc: database space exceeded"


class _Full:
    """A connection to a disk without room: nothing can be written."""

    in_transaction = False

    def execute(self, sql: str, *_: Any) -> Any:
        error = sqlite3.OperationalError(f"database or disk is full: {sql[:20]}")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    executescript = execute


class FullDisk(AioDatabase):
    """A disk that fills up when it is told to: then there is room only while the reserve is given away."""

    full = False

    async def write(self, function: Callable[[sqlite3.Connection], _Result]) -> _Result:
        assert isinstance(self.place, Path)
        if self.full and self.place.with_name(FILE_NAME).exists():
            return await super().write(lambda _: function(_Full()))  # type: ignore[arg-type]  # as far as it is used
        return await super().write(function)


async def test_on_a_full_disk_keys_are_read_and_deleted_and_room_that_was_made_is_used(tmp_path: Path) -> None:
    """The alarm is there although nothing can be written; deletes and compaction have the reserve; then all is as before."""
    clock = SystemClock()
    async with await Store.open(tmp_path, clock, database=FullDisk) as store:
        disk = store._database
        assert isinstance(disk, FullDisk)
        reserve = tmp_path / FILE_NAME
        assert reserve.stat().st_size == 4 << 20
        server = await EtcdServer.serve(store, clock, "127.0.0.1:0")
        async with connected(server.address) as client:
            for number in range(9):
                await client.put(b"k%d" % number, bytes(1000))
            disk.full = True
            assert await refusal(client.put(b"k", b"1")) == _NO_SPACE
            assert reserve.exists(), "it is not for puts"
            (alarm,) = (await client.maintenance.Alarm(pb.AlarmRequest())).alarms
            assert alarm.alarm == pb.NOSPACE
            assert await refusal(client.txn(then=[put(b"k")])) == _NO_SPACE
            assert (await client.get(b"k", b"l")).count == 9
            assert (await client.delete(b"k0", b"k8")).deleted == 8
            assert not reserve.exists()
            revision = (await client.get(b"k")).header.revision
            await client.compact(revision, physical=True)
            await client.maintenance.Defragment(pb.DefragmentRequest())
            assert reserve.exists(), "it is kept for the next time"
            disk.full = False
            assert await refusal(client.put(b"k", b"1")) == _NO_SPACE, "until somebody says that there is room"
            disarm = pb.AlarmRequest(action=pb.AlarmRequest.DEACTIVATE, alarm=pb.NOSPACE, memberID=alarm.memberID)
            await client.maintenance.Alarm(disarm)
            await client.put(b"k", b"1")
            assert (await client.get(b"k", b"l")).count == 2
        await server.close()


async def test_a_compaction_without_room_says_so(tmp_path: Path) -> None:
    """Who asked for the rows to be gone must not be told that they are."""
    clock = SystemClock()
    async with await Store.open(tmp_path, clock, database=FullDisk) as store:
        disk = store._database
        assert isinstance(disk, FullDisk)
        server = await EtcdServer.serve(store, clock, "127.0.0.1:0")
        async with connected(server.address) as client:
            for number in range(9):
                await client.put(b"k", b"%d" % number)

            async def nothing_to_give() -> bool:
                return False

            store._compactor._reserve.release = nothing_to_give  # type: ignore[method-assign]  # a reserve that is gone
            there_is_room = _compaction_has_no_room(disk)
            assert await refusal(client.compact(5, physical=True)) == _NO_SPACE
            there_is_room()
            await client.compact(6, physical=True)
            assert store._compactor.done == 6
        await server.close()


def _compaction_has_no_room(disk: FullDisk) -> Callable[[], None]:
    """Let the disk take commits of clients, but no slice of a compaction; gives what ends that."""
    whole = disk.write

    async def write(function: Callable[[sqlite3.Connection], Any]) -> Any:
        if getattr(getattr(function, "func", None), "__name__", "") == "compact_slice":
            return await whole(lambda _: function(_Full()))  # type: ignore[arg-type]  # as far as it is used
        return await whole(function)

    disk.write = write  # type: ignore[method-assign]  # for this test

    def end() -> None:
        disk.write = whole  # type: ignore[method-assign]  # as it was

    return end
