"""What was acknowledged survives, what was not is told, and nothing that is not durable is seen."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconcile.runtime.store import (
    Compare,
    DamagedError,
    InlineDatabase,
    NoSpaceError,
    Put,
    Range,
    SchemaVersionError,
    Settings,
    Store,
    StoreClosedError,
    StoreFailedError,
    StoreLockedError,
    TooManyRequestsError,
    Txn,
)

if TYPE_CHECKING:
    from tests.store.conftest import Opened, Until, VirtualClock

_WRITER = Path(__file__).parent / "crash_writer.py"


async def test_many_writers_share_few_commits(opened: Opened) -> None:
    """One fsync per batch is what makes many writers fast; each still gets its own dense revision."""
    async with await opened() as store:
        responses = await asyncio.gather(*(store.put(b"k%d" % number, b"v") for number in range(500)))
        assert [response.revision for response in responses] == list(range(2, 502))
        assert store.commits <= 3


async def test_each_write_that_was_accepted_is_told_whenever_the_store_is_closed(opened: Opened, until: Until) -> None:
    """Callers that write again as soon as they are told: closing falls between any two steps of theirs."""
    store = await opened()

    async def caller(number: int) -> list[int]:
        return [(await store.put(b"k%d" % number, b"%d" % count)).revision for count in range(6)]

    told = await asyncio.gather(*(caller(number) for number in range(32)))
    assert sorted(revision for each in told for revision in each) == list(range(2, 2 + 32 * 6))
    assert 6 <= store.commits < 20
    endless = [asyncio.ensure_future(_until_closed(store, b"e%d" % number)) for number in range(16)]
    await until(lambda: store.revision >= 400)
    await store.close()
    revisions = [revision for told in await asyncio.gather(*endless) for revision in told]
    assert sorted(revisions) == list(range(194, 194 + len(revisions)))


async def _until_closed(store: Store, key: bytes) -> list[int]:
    told: list[int] = []
    while True:
        try:
            told.append((await store.put(key, b"v")).revision)
        except StoreClosedError:
            return told


async def test_txns_of_one_batch_see_each_other_and_nobody_else_sees_them(opened: Opened) -> None:
    """Of many `create if absent` one wins; reads and watches know nothing before it is durable."""
    async with await opened() as store:
        watch = store.watch(b"k")
        create = Txn([Compare.missing(b"k")], [Put(b"k", b"mine")], [Range(b"k")])
        creates = [asyncio.ensure_future(store.txn(create)) for _ in range(10)]
        rounds = 0
        while not any(task.done() for task in creates):
            assert store.revision == 1 or store.get(b"k") is not None
            rounds += 1
            await asyncio.sleep(0)
        responses = await asyncio.gather(*creates)
        assert [response.succeeded for response in responses] == [True] + [False] * 9
        assert {response.revision for response in responses} == {2}
        assert (await anext(watch)).revision == 2
        assert rounds


async def test_the_queue_of_the_writer_is_bounded(opened: Opened) -> None:
    """Memory is bounded, and the words are etcd's."""
    async with await opened(Settings(writes_queued_max=10)) as store:
        results = await asyncio.gather(*(store.put(b"k", b"v") for _ in range(30)), return_exceptions=True)
        refused = [result for result in results if isinstance(result, TooManyRequestsError)]
        assert str(refused[0]).startswith("etcdserver: too many requests")
        assert store.revision == 1 + len(results) - len(refused)


async def test_a_cancelled_caller_leaves_its_write_whole(opened: Opened) -> None:
    """Giving up waiting is not a rollback; the next caller and the next revision are not disturbed."""
    async with await opened() as store:
        given_up = asyncio.ensure_future(store.put(b"a", b"1"))
        await asyncio.sleep(0)
        given_up.cancel()
        assert (await store.put(b"b", b"1")).revision == 3
        assert store.get(b"a") is not None


def _limit_pages(connection: sqlite3.Connection) -> None:
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages + 4}")


def _free_pages(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA max_page_count=1000000")


async def test_a_full_disk_fails_the_batch_and_leaves_the_store_readable(opened: Opened) -> None:
    """The writes are told that nothing of them is there; what follows is judged without them."""
    async with await opened() as store:
        await store.put(b"k", b"1")
        await store._database.write(_limit_pages)
        big = asyncio.ensure_future(store.put(b"k", bytes(200_000)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        # Evaluated on top of the big one while that is on its way; small enough to fit by itself.
        small = asyncio.ensure_future(store.txn(Txn([Compare.mod_is(b"k", 2)], [Put(b"k", b"2")])))
        with pytest.raises(NoSpaceError, match=r"^etcdserver: mvcc: database space exceeded"):
            await big
        try:
            assert (await small).revision == 3
        except NoSpaceError:  # both fell into one batch
            assert store.revision == 2
        found = store.get(b"k")
        assert found is not None
        assert found.value in (b"1", b"2")
        with pytest.raises(NoSpaceError):
            await store.put(b"j", bytes(200_000))
        await store._database.write(_free_pages)
        revision = store.revision
        assert (await store.put(b"j", bytes(200_000))).revision == revision + 1
    async with await opened() as store:
        assert store.revision == revision + 1


async def test_an_unknown_outcome_stops_the_store_for_good(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed fsync the kernel may report success for lost pages: nothing is retried, everything says so."""

    def broken(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    store = await opened()
    await store.put(b"k", b"1")
    watch = store.watch(b"k")
    monkeypatch.setattr("reconcile.runtime.store.writer.commit", broken)
    writes = [asyncio.ensure_future(store.put(b"k", b"%d" % number)) for number in range(3)]
    for result in await asyncio.gather(*writes, return_exceptions=True):
        assert isinstance(result, StoreFailedError)
        assert "disk I/O error" in str(result)
    monkeypatch.undo()
    calls: list[Callable[[], object]] = [lambda: store.get(b"k"), lambda: store.range(Range(b"k")), lambda: store.watch(b"k")]
    for call in calls:
        with pytest.raises(StoreFailedError):
            call()
    with pytest.raises(StoreFailedError):
        await store.put(b"k", b"2")
    with pytest.raises(StoreFailedError):
        await anext(watch)
    await store.close()
    async with await opened() as store:
        assert store.get(b"k") is not None


async def test_a_closed_store_finishes_what_was_submitted_and_refuses_the_rest(opened: Opened, until: Until) -> None:
    """Closing is not a crash: nothing that was accepted is dropped, and no thread stays."""
    threads = set(threading.enumerate())
    store = await opened()
    waiting = [asyncio.ensure_future(store.put(b"k%d" % number, b"v")) for number in range(20)]
    await asyncio.sleep(0)
    await store.close()
    await store.close()
    assert [(await write).revision for write in waiting] == list(range(2, 22))
    with pytest.raises(StoreClosedError, match="etcdserver: server stopped"):
        await store.put(b"k", b"v")
    # A database's thread may still be on its way out of its last function.
    await until(lambda: set(threading.enumerate()) <= threads)
    async with await opened() as store:
        assert len(store) == 20


async def test_a_folder_has_one_store_at_a_time(opened: Opened, clock: VirtualClock, tmp_path: Path) -> None:
    """Two writers would each assign the same revisions; the second must say who is in the way."""
    async with await opened():
        with pytest.raises(StoreLockedError, match=rf"data is in use by process {os.getpid()}; stop it"):
            await opened()
        done = await asyncio.create_subprocess_exec(
            sys.executable, _WRITER, tmp_path / "data", stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        _, complaint = await done.communicate()
        assert b"StoreLockedError" in complaint
        assert done.returncode
    await (await opened()).close()
    memory = await Store.open(":memory:", clock, database=InlineDatabase)
    assert (await memory.put(b"k", b"v")).revision == 2
    await memory.close()


_FOREIGN = [
    ("UPDATE meta SET value = 99 WHERE name = 'schema_version'", "found schema version 99"),
    ("DROP INDEX log_key", "log_key missing"),
    ("ALTER TABLE lease ADD COLUMN more TEXT", "lease missing or changed"),
    ("DROP TABLE meta", "a database with lease, log, log_key"),
]


@pytest.mark.parametrize(("damage", "words"), _FOREIGN, ids=[words for _, words in _FOREIGN])
async def test_a_file_of_another_version_is_refused_with_its_name(
    opened: Opened, tmp_path: Path, damage: str, words: str
) -> None:
    """Guessing would resurrect deleted keys or lose some; the folder is free again afterwards."""
    await (await opened()).close()
    connection = sqlite3.connect(tmp_path / "data" / "member.db")
    connection.execute(damage)
    connection.commit()
    connection.close()
    for _ in range(2):
        with pytest.raises(SchemaVersionError, match=rf"member\.db: .*{words}"):
            await opened()


async def test_a_damaged_file_is_refused_before_anything_of_it_is_served(opened: Opened, tmp_path: Path) -> None:
    """A disk that lies, or somebody's editor: wrong answers would be worse than none. Larger files are not read whole."""
    async with await opened() as store:
        await asyncio.gather(*(store.put(b"k%d" % number, bytes(900)) for number in range(200)))
    place = tmp_path / "data" / "member.db"
    whole = place.read_bytes()
    refused, words = 0, set[str]()
    for page in range(1, len(whole) // 4096, 7):
        place.write_bytes(whole[: page * 4096] + b"\x5a" * 4096 + whole[(page + 1) * 4096 :])
        try:
            await (await opened()).close()
        except DamagedError as error:
            words.add(str(error))
            refused += 1
        except StoreFailedError:  # SQLite itself will not read it
            refused += 1
    assert refused > 5
    assert words
    assert all("member.db is damaged: " in text and "`reconcile store restore`" in text for text in words)
    place.write_bytes(whole)
    async with await opened() as store:
        assert len(store) == 200


async def test_a_file_that_is_no_database_is_refused(opened: Opened, tmp_path: Path) -> None:
    """It may be somebody's data: it is named, and left as it is."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "member.db").write_bytes(b"precious words, not a database\n" * 100)
    with pytest.raises(StoreFailedError, match=r"member\.db cannot be opened: DatabaseError: file is not a database"):
        await opened()
    assert (tmp_path / "data" / "member.db").read_bytes().startswith(b"precious")


@pytest.mark.time_limit_s(60)
async def test_kill_minus_9_loses_no_acknowledged_write(opened: Opened, tmp_path: Path) -> None:
    """The promise of the store: every acknowledged write is there, and the revision never goes back."""
    chance = random.Random(5)
    told_revision, told = 1, dict[bytes, int]()
    for _ in range(5):
        writer = subprocess.Popen(  # noqa: ASYNC220 (killed and read to its end here: nothing else runs)
            [sys.executable, _WRITER, tmp_path / "data"], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(chance.randrange(1, 400))]
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
        writer.wait()
        writer.stdout.close()
        for line in lines:
            if line.endswith(b"\n"):
                name, count, revision = line.split()
                told[name], told_revision = int(count), max(told_revision, int(revision))
        async with await opened() as store:
            assert store.revision >= told_revision
            for key, number in told.items():
                kv = store.get(key)
                assert kv is not None, key
                assert int(kv.value) >= number, key
            assert await store.hash_kv()
