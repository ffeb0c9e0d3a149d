"""What the server does at its limits: no space, too much at once, a slow client, a stop; and its smaller services."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from aetcd.rpc import rpc_pb2 as pb

from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import Settings, Store
from reconcile.runtime.store.etcd import AddressError, EtcdServer, descriptors
from tests.etcd.client import Client, delete, put, refusal

if TYPE_CHECKING:
    from tests.etcd.conftest import Served

_NO_SPACE = "RESOURCE_EXHAUSTED: etcdserver: mvcc: database space exceeded"


def _call(client: Client, method: str, request: Any) -> Any:
    answer = request.DESCRIPTOR.file.pool.FindMessageTypeByName(request.DESCRIPTOR.full_name.replace("Request", "Response"))
    from google.protobuf.message_factory import GetMessageClass

    return client.channel.unary_unary(method, type(request).SerializeToString, GetMessageClass(answer).FromString)(request)


async def test_without_space_only_what_frees_some_is_served_until_the_alarm_is_disarmed(served: Served) -> None:
    """As observed on etcd 3.5.30: an operator must find a store that still reads, deletes and compacts."""
    async with served(quota_bytes=1_500_000) as client:
        maintenance = client.maintenance
        for number in range(2):
            await client.put(b"q%d" % number, bytes(600_000))
        assert await refusal(client.put(b"q2", bytes(600_000))) == _NO_SPACE
        status = await maintenance.Status(pb.StatusRequest())
        assert list(status.errors) == [f"memberID:{status.leader} alarm:NOSPACE "]
        (alarm,) = (await maintenance.Alarm(pb.AlarmRequest())).alarms
        assert (alarm.memberID, alarm.alarm) == (status.leader, pb.NOSPACE)

        assert await refusal(client.put(b"s", b"1")) == _NO_SPACE
        assert await refusal(client.txn(then=[put(b"z")])) == _NO_SPACE
        assert await refusal(client.lease.LeaseGrant(pb.LeaseGrantRequest(TTL=10))) == _NO_SPACE
        assert (await client.get(b"q", b"r", count_only=True)).count == 2
        assert (await client.txn(then=[delete(b"q0")])).succeeded
        assert (await client.delete(b"q", b"r")).deleted == 1
        revision = (await client.get(b"q")).header.revision
        await client.compact(revision, physical=True)
        await maintenance.Defragment(pb.DefragmentRequest())
        assert await refusal(client.put(b"s", b"1")) == _NO_SPACE

        disarm = pb.AlarmRequest(action=pb.AlarmRequest.DEACTIVATE, alarm=pb.NOSPACE, memberID=status.leader)
        assert [each.alarm for each in (await maintenance.Alarm(disarm)).alarms] == [pb.NOSPACE]
        assert (await client.put(b"s", b"1")).header.revision == revision + 1
        assert (await maintenance.Status(pb.StatusRequest())).dbSize < 200_000
    async with served(quota_bytes=1_500_000) as client:
        again = await client.maintenance.Status(pb.StatusRequest())
        assert (again.leader, list(again.errors)) == (status.leader, []), "identity and alarms outlive a restart"


async def test_the_corrupt_alarm_stops_everything_but_the_alarm(served: Served) -> None:
    """Nobody may build on a store that is known to be wrong."""
    corrupt = "DATA_LOSS: etcdserver: corrupt cluster"
    async with served() as client:
        alarm = pb.AlarmRequest(action=pb.AlarmRequest.ACTIVATE, alarm=pb.CORRUPT)
        await client.maintenance.Alarm(alarm)
        for call in (client.get(b"a"), client.put(b"a"), client.delete(b"a"), client.txn(), client.compact(1)):
            assert await refusal(call) == corrupt
        alarm.action = pb.AlarmRequest.DEACTIVATE
        await client.maintenance.Alarm(alarm)
        await client.put(b"a")


async def test_more_writes_than_the_queue_holds_are_refused(served: Served) -> None:
    """Back-pressure: a client is told at once, instead of waiting for ever."""
    async with served(Settings(writes_queued_max=4)) as client:
        told = await asyncio.gather(*(refusal(client.put(b"%d" % number)) for number in range(64)))
        refused = [each for each in told if not each.startswith("answered")]
        assert refused
        assert set(refused) == {"RESOURCE_EXHAUSTED: etcdserver: too many requests"}
        assert (await client.get(b"\0", b"\0")).count == 64 - len(refused)


async def test_a_slow_watcher_gets_every_event_however_small_its_queue(served: Served) -> None:
    """It is replayed from memory or disk; only compaction may end it."""
    settings = Settings(watch_queue_bytes_max=2_000, ring_bytes_max=2_000, replay_revisions_max=7)
    async with served(settings) as client, client.watch() as stream:
        await stream.create(b"k", b"l", prev_kv=True)
        await stream.next()
        for number in range(300):
            await client.put(b"k%d" % (number % 3), b"%d" % number + bytes(900))
        seen: list[int] = []
        while len(seen) < 300:
            seen += [event.kv.mod_revision for event in (await stream.next()).events]
        assert seen == list(range(2, 302))


async def test_a_list_of_any_size_is_answered_whole(served: Served) -> None:
    """gRPC's usual limit of 4 MiB is a client's to lift; the server has none."""
    async with served() as client:
        for number in range(30):
            await client.put(b"big/%02d" % number, bytes(1_000_000))
        found = await client.get(b"big/", b"big0")
        assert [len(kv.value) for kv in found.kvs] == [1_000_000] * 30


async def test_progress_is_told_ten_times_a_second_at_most(served: Served) -> None:
    """An interval of 0 would be a server that does nothing else."""
    async with served(progress_interval_s=0.0) as client, client.watch() as stream:
        await stream.create(b"k", progress_notify=True)
        await stream.next()
        await stream.next()
        began = asyncio.get_running_loop().time()
        assert await stream.told() == [{"rev": 1, "id": 0}]
        assert asyncio.get_running_loop().time() - began > 0.05


async def test_an_event_goes_to_each_of_many_watches_once(served: Served) -> None:
    """Watches of one stream share a connection, not their events."""
    async with served() as client, client.watch() as stream:
        for _ in range(200):
            await stream.create(b"k", b"l")
        for number in range(200):
            assert (await stream.told()) == [{"rev": 1, "id": number, "created": True}]
        await client.put(b"k1")
        assert sorted([(await stream.next()).watch_id for _ in range(200)]) == list(range(200))


async def test_a_server_that_stops_says_so_to_its_streams(tmp_path: Path) -> None:
    """A client that is told turns to another endpoint at once."""
    clock = SystemClock()
    async with await Store.open(tmp_path, clock) as store:
        server = await EtcdServer.serve(store, clock, "127.0.0.1:0")
        async with Client(server.address) as client:
            watching = client.watches.Watch()
            await watching.write(pb.WatchRequest(create_request=pb.WatchCreateRequest(key=b"a")))
            keeping = client.lease.LeaseKeepAlive()
            await keeping.write(pb.LeaseKeepAliveRequest(ID=5))
            for call in (watching, keeping):
                await call.read()
            await server.close()
            for call in (watching, keeping):
                assert await refusal(_read(call)) == "UNAVAILABLE: etcdserver: server stopped"


async def _read(call: Any) -> Any:
    answer = await call.read()
    assert answer is grpc.aio.EOF
    # A stream that ended with an error says so when it is asked for its end.
    raise grpc.aio.AioRpcError(
        await call.code(), await call.initial_metadata(), await call.trailing_metadata(), await call.details()
    )


async def test_a_taken_address_is_refused_by_name(tmp_path: Path) -> None:
    """Whoever starts it twice must learn why it does not start."""
    clock = SystemClock()
    async with await Store.open(tmp_path, clock) as store:
        server = await EtcdServer.serve(store, clock, "127.0.0.1:0")
        with pytest.raises(AddressError, match=server.address):
            await EtcdServer.serve(store, clock, server.address)
        await server.close()


async def test_the_lock_service_gives_a_lock_to_one_after_the_other(served: Served) -> None:
    """The key of the oldest waiter has the lock; it goes when it is unlocked."""
    async with served() as client:
        first = await _call(client, "/v3lockpb.Lock/Lock", descriptors.LockRequest(name=b"l"))
        lease = (await client.lease.LeaseGrant(pb.LeaseGrantRequest(TTL=60))).ID
        second = _call(client, "/v3lockpb.Lock/Lock", descriptors.LockRequest(name=b"l", lease=lease))
        while (await client.get(b"l/", b"l0", count_only=True)).count < 2:
            pass
        await _call(client, "/v3lockpb.Lock/Unlock", descriptors.UnlockRequest(key=first.key))
        assert (await second).key == b"l/%x" % lease
        unknown = _call(client, "/v3lockpb.Lock/Lock", descriptors.LockRequest(name=b"l", lease=12345))
        assert await refusal(unknown) == "NOT_FOUND: etcdserver: requested lease not found"
        # Who gives up is not waited for.
        waiting = _call(client, "/v3lockpb.Lock/Lock", descriptors.LockRequest(name=b"l"))
        while (await client.get(b"l/", b"l0", count_only=True)).count < 2:
            pass
        waiting.cancel()
        while (await client.get(b"l/", b"l0", count_only=True)).count > 1:
            pass


async def test_the_election_service_elects_one_leader_at_a_time(served: Served) -> None:
    """Campaign, proclaim, observe, resign: as etcd's server-side recipes."""
    name, election = b"e", "/v3electionpb.Election/"
    async with served() as client:
        assert (
            await refusal(_call(client, election + "Leader", descriptors.LeaderRequest(name=name)))
            == "UNKNOWN: election: no leader"
        )
        first = (await _call(client, election + "Campaign", descriptors.CampaignRequest(name=name, value=b"one"))).leader
        observed = client.channel.unary_stream(
            election + "Observe", descriptors.LeaderRequest.SerializeToString, descriptors.LeaderResponse.FromString
        )(descriptors.LeaderRequest(name=name))
        assert (await observed.read()).kv.value == b"one"
        second = _call(client, election + "Campaign", descriptors.CampaignRequest(name=name, value=b"two"))
        await _call(client, election + "Proclaim", descriptors.ProclaimRequest(leader=first, value=b"more"))
        assert (await observed.read()).kv.value == b"more"
        leader = await _call(client, election + "Leader", descriptors.LeaderRequest(name=name))
        assert (leader.kv.key, leader.kv.value) == (first.key, b"more")
        await _call(client, election + "Resign", descriptors.ResignRequest(leader=first))
        assert (await second).leader.key != first.key
        assert (await observed.read()).kv.value == b"two"
        late = _call(client, election + "Proclaim", descriptors.ProclaimRequest(leader=first, value=b"late"))
        assert await refusal(late) == "UNKNOWN: election: not leader"
        nobody = _call(client, election + "Resign", descriptors.ResignRequest())
        assert await refusal(nobody) == 'INVALID_ARGUMENT: "leader" field must be provided'
        observed.cancel()


async def test_the_health_service_tells_of_the_whole_server(served: Served) -> None:
    """Load balancers and Kubernetes probes ask it."""
    async with served() as client:
        check = client.channel.unary_unary("/grpc.health.v1.Health/Check")
        assert await check(b"") == b"\x08\x01"
        assert await refusal(check(b"\x0a\x01x")) == "NOT_FOUND: unknown service"
        watch = client.channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        assert await watch.read() == b"\x08\x01"
        watch.cancel()


async def test_a_message_that_is_none_is_refused(served: Served) -> None:
    """Garbage is the sender's fault, and the server goes on."""
    async with served() as client:
        garbage = client.channel.unary_unary("/etcdserverpb.KV/Put")
        assert (await refusal(garbage(b"\xff\xff"))).startswith("INTERNAL: grpc: error unmarshalling request")
        await client.put(b"a")
