"""Watch streams say what a real etcd's say, response by response; a real one is run beside ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aetcd.rpc import rpc_pb2 as pb

from tests.etcd.client import delete, put, told

if TYPE_CHECKING:
    from tests.etcd.conftest import RealEtcd, Served

_CREATED = {"created": True}
_REFUSED = {"id": -1, "created": True, "canceled": True}


def _response(rev: int, watch_id: int = 0, **fields: Any) -> dict[str, Any]:
    return {"rev": rev, "id": watch_id, **fields}


async def test_events_come_per_revision_and_the_past_in_one_response(etcd: RealEtcd) -> None:
    """Whole revisions in order: half a txn seen is a cache that never was."""
    async with etcd() as client, client.watch() as stream:
        await stream.create(b"w/", b"w0")
        assert await stream.told() == [_response(1, **_CREATED)]
        await client.put(b"w/1")
        assert await stream.told() == [_response(2, events=[("PUT", b"w/1", 2, 2, 1, 0)])]
        await client.txn(then=[put(b"w/2"), put(b"w/1", b"2"), delete(b"w/3"), put(b"elsewhere")])
        both = [("PUT", b"w/2", 3, 3, 1, 0), ("PUT", b"w/1", 3, 2, 2, 0)]
        assert await stream.told() == [_response(3, events=both)]
        await client.delete(b"w/", b"w0")
        gone = [("DELETE", b"w/1", 4, 0, 0, 0), ("DELETE", b"w/2", 4, 0, 0, 0)]
        assert await stream.told() == [_response(4, events=gone)]

        await stream.create(b"w/", b"w0", start_revision=2, prev_kv=True)
        history = [
            ("PUT", b"w/1", 2, 2, 1, 0),
            ("PUT", b"w/2", 3, 3, 1, 0),
            ("PUT", b"w/1", 3, 2, 2, 2),
            ("DELETE", b"w/1", 4, 0, 0, 3),
            ("DELETE", b"w/2", 4, 0, 0, 3),
        ]
        assert await stream.told(2) == [_response(4, 1, **_CREATED), _response(4, 1, events=history)]
        bare = [(*event[:5], 0) for event in history]
        await stream.create(b"w/", b"w0", start_revision=2, filters=[0])
        assert await stream.told(2) == [_response(4, 2, **_CREATED), _response(4, 2, events=bare[3:])]
        await stream.create(b"w/", b"w0", start_revision=2, filters=[1])
        assert await stream.told(2) == [_response(4, 3, **_CREATED), _response(4, 3, events=bare[:3])]


async def test_ids_are_the_streams_and_refusals_leave_it_open(etcd: RealEtcd) -> None:
    """One bad watch must not end its neighbours."""
    async with etcd() as client, client.watch((("hasleader", "true"),)) as stream:
        await stream.create(b"a")
        await stream.create(b"a", watch_id=77)
        await stream.create(b"a", watch_id=77)
        await stream.create(b"b", b"a")
        assert await stream.told(4) == [
            _response(1, 0, **_CREATED),
            _response(1, 77, **_CREATED),
            {"rev": 1, **_REFUSED, "cancel_reason": "mvcc: duplicate watch ID provided on the WatchStream"},
            {"rev": 1, **_REFUSED, "cancel_reason": "mvcc: watcher range is empty"},
        ]
        await stream.cancel(77)
        assert await stream.told() == [_response(1, 77, canceled=True)]
        await stream.cancel(999)
        await stream.create(b"", b"\0")
        assert await stream.told() == [_response(1, 1, **_CREATED)]
        await client.put(b"a")
        everywhere = sorted((await stream.told(2)), key=lambda each: each["id"])
        assert everywhere == [_response(2, number, events=[("PUT", b"a", 2, 2, 1, 0)]) for number in (0, 1)]


async def test_a_negative_start_is_refused_as_compacted(served: Served) -> None:
    """Observed on 3.5.30; the etcd of the tests is older and starts such a watch at the present."""
    async with served() as client, client.watch() as stream:
        await stream.create(b"a", start_revision=-1)
        reason = "etcdserver: mvcc: required revision has been compacted"
        assert await stream.told() == [{"rev": 1, **_REFUSED, "cancel_reason": reason}]


async def test_a_watch_from_the_future_waits_for_its_revision(etcd: RealEtcd) -> None:
    """A client may resume at the revision after the newest it saw."""
    async with etcd() as client, client.watch() as stream:
        await stream.create(b"fu", start_revision=4)
        assert await stream.told() == [_response(1, **_CREATED)]
        for _ in range(4):
            await client.put(b"fu")
        assert await stream.told(2) == [
            _response(4, events=[("PUT", b"fu", 4, 2, 3, 0)]),
            _response(5, events=[("PUT", b"fu", 5, 2, 4, 0)]),
        ]


async def test_progress_is_told_when_all_watches_of_the_stream_are_synced(served: Served) -> None:
    """A bookmark that is too early makes a cache believe it has seen what it has not (as old etcds did: the tests' is one)."""
    async with served() as client, client.watch() as stream:
        await stream.create(b"a")
        await stream.progress()
        assert await stream.told(2) == [_response(1, **_CREATED), _response(1, -1)]
        await client.put(b"other")
        await stream.progress()
        assert await stream.told() == [_response(2, -1)]
        await stream.create(b"a", start_revision=9)
        assert await stream.told() == [_response(2, 1, **_CREATED)]
        await stream.progress()
        assert await stream.silent()


async def test_a_quiet_watch_is_told_how_far_it_has_come(etcd: RealEtcd) -> None:
    """kube-apiserver resumes a quiet watch from there, instead of from a compacted past."""
    async with etcd() as client, client.watch() as stream:
        await stream.create(b"pn", progress_notify=True)
        await client.put(b"other")
        assert (await stream.told())[0]["created"]
        while (progress := (await stream.told())[0]) != _response(2):
            assert progress == _response(1)


async def test_a_compacted_start_is_told_by_its_revision_alone(etcd: RealEtcd) -> None:
    """Clients tell from compact_revision, and from nothing else, that they must list again."""
    async with etcd() as client:
        for number in range(3):
            await client.put(b"fu", b"%d" % number)
        await client.compact(4, physical=True)
        async with client.watch() as stream:
            await stream.create(b"w", start_revision=2)
            cancelled = _response(0, canceled=True, compact_revision=4)
            assert await stream.told(2) == [_response(4, **_CREATED), cancelled]
            await stream.create(b"fu", start_revision=4)
            at = [("PUT", b"fu", 4, 2, 3, 0)]
            assert await stream.told(2) == [_response(4, 1, **_CREATED), _response(4, 1, events=at)]
            await stream.create(b"fu", start_revision=4, prev_kv=True)
            assert await stream.told(2) == [_response(4, 2, **_CREATED), _response(4, 2, events=at)]
            await client.put(b"fu")
            last = sorted([each async for each in _next(stream, 2)], key=lambda each: each["id"])
            assert last == [_response(5, number, events=[("PUT", b"fu", 5, 2, 4, prev)]) for number, prev in ((1, 0), (2, 4))]


async def _next(stream: Any, count: int) -> Any:
    for _ in range(count):
        yield told(await stream.next())


async def test_a_lease_that_ends_takes_its_keys_in_one_revision(etcd: RealEtcd) -> None:
    """All that a dead client owned goes at once."""
    async with etcd() as client, client.watch() as stream:
        await stream.create(b"x", b"y")
        lease = (await client.lease.LeaseGrant(pb.LeaseGrantRequest(TTL=1))).ID
        for key in (b"x3", b"x1", b"x2"):
            await client.put(key, lease=lease)
        await stream.told(4)
        gone = [("DELETE", b"x%d" % number, 5, 0, 0, 0) for number in (1, 2, 3)]
        assert await stream.told() == [_response(5, events=gone)]


async def test_a_response_may_be_large_and_is_split_only_on_request(etcd: RealEtcd) -> None:
    """Three objects of 900 kB do not fit the two megabytes that a client without the option may hold to."""
    async with etcd() as client:
        for number in range(3):
            await client.put(b"B%d" % number, bytes(900_000))
        async with client.watch() as stream:
            await stream.create(b"B", b"C", start_revision=2, fragment=True)
            events = [("PUT", b"B%d" % number, number + 2, number + 2, 1, 0) for number in range(3)]
            assert await stream.told(3) == [
                _response(4, **_CREATED),
                _response(4, fragment=True, events=events[:2]),
                _response(4, events=events[2:]),
            ]
            await stream.create(b"B", b"C", start_revision=2)
            assert await stream.told(2) == [_response(4, 1, **_CREATED), _response(4, 1, events=events)]


async def test_a_key_changed_twice_in_a_revision_has_two_events(etcd: RealEtcd) -> None:
    """Two nested txns may do that; prev_kv is what was there before the revision."""
    async with etcd() as client, client.watch() as stream:
        await client.put(b"s", b"before")
        await stream.create(b"s", prev_kv=True)
        nested = [pb.RequestOp(request_txn=pb.TxnRequest(success=[each])) for each in (put(b"s", b"x"), delete(b"s"))]
        await client.txn(then=nested)
        twice = [("PUT", b"s", 3, 2, 2, 2), ("DELETE", b"s", 3, 0, 0, 2)]
        assert await stream.told(2) == [_response(2, **_CREATED), _response(3, events=twice)]
        await stream.create(b"s", prev_kv=True, start_revision=3)
        assert await stream.told(2) == [_response(3, 1, **_CREATED), _response(3, 1, events=twice)]
