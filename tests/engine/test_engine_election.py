"""Leader election: one replica works, and a former leader writes nothing."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from reconcile.client import MERGE_PATCH, Patch
from reconcile.errors import UnavailableError
from reconcile.kinds import Resource, kind
from reconcile.runtime.engine.election import LEASE, Election
from reconcile.runtime.engine.fencing import FencedClient, NotLeaderError
from reconcile.runtime.testing.memory import MemoryClient, Request
from reconcile.runtime.testing.virtual import VirtualClock, virtual

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="")


@kind("example.com", "v1", plural="things")
class Thing(Resource):
    pass


def candidate(client: MemoryClient, clock: VirtualClock, who: str) -> Election:
    return Election(client, clock, name="app", namespace="default", identity=who)


@asynccontextmanager
async def leading(election: Election) -> AsyncGenerator[asyncio.Task[None]]:
    await election.campaign()
    task = asyncio.create_task(election.lead())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@virtual
async def test_a_second_candidate_waits_until_the_leader_resigns(clock: VirtualClock) -> None:
    """A restart must not cost fifteen seconds: who ends well gives the lease back."""
    client = MemoryClient(clock, LEASE)
    one, two = candidate(client, clock, "one"), candidate(client, clock, "two")
    async with leading(one):
        waiting = asyncio.create_task(two.campaign())
        await clock.sleep(120)
        assert one.leading
        assert not two.leading
        assert not waiting.done()
    began = clock.monotonic()
    await one.resign()
    await waiting
    assert two.leading
    assert not one.leading
    assert clock.monotonic() - began < 4
    lease = await client.get(LEASE, "app", "default")
    assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseTransitions"]) == ("two", 1)


@virtual
async def test_a_leader_that_cannot_renew_stops_writing_before_another_may_start(clock: VirtualClock) -> None:
    """Two leaders at once is the one thing that must never be; with the network cut, nobody can tell the old one."""
    client = MemoryClient(clock, LEASE)
    cut: set[str] = set()

    async def before(request: Request) -> None:
        if WHO.get() in cut:
            raise UnavailableError("cut off")

    client.before = before
    one, two = candidate(client, clock, "one"), candidate(client, clock, "two")

    async def as_one() -> None:
        WHO.set("one")
        await one.campaign()
        await one.lead()

    leads = asyncio.create_task(as_one())
    await clock.sleep(1)
    assert one.leading
    takes = asyncio.create_task(two.campaign())
    await clock.sleep(30)
    cut.add("one")
    while not takes.done():
        assert not (one.leading and two.leading)
        await clock.sleep(0.05)
    assert two.leading
    assert not one.leading
    assert leads.done()


@virtual
async def test_a_candidate_with_a_clock_of_its_own_does_not_take_a_lease_that_is_renewed(clock: VirtualClock) -> None:
    """Only what is seen on one's own clock counts: the times in the lease may come from a machine that is wrong by hours."""
    client = MemoryClient(clock, LEASE)
    one, two = candidate(client, clock, "one"), candidate(client, clock, "two")
    await client.create(
        LEASE,
        {
            "metadata": {"name": "app", "namespace": "default"},
            "spec": {"holderIdentity": "one", "leaseDurationSeconds": 15, "renewTime": "1999-01-01T00:00:00.000000Z"},
        },
        "default",
    )
    assert not await two._try(), "renewed in 1999, but seen this very moment"
    await clock.sleep(14)
    assert not await two._try()
    await clock.sleep(1.5)
    assert await two._try()
    assert not await one._try()


@virtual
async def test_a_fenced_client_writes_only_while_the_lease_is_held(clock: VirtualClock) -> None:
    """The last line: whatever a handler still does, nothing reaches the server."""
    client = MemoryClient(clock, LEASE, Thing)
    election = candidate(client, clock, "one")
    fenced = FencedClient(client, election)
    thing = {"metadata": {"name": "t", "namespace": "default"}}
    with pytest.raises(NotLeaderError, match="nothing was written"):
        await fenced.create(Thing.__kind__, thing, "default")
    await election.campaign()
    await fenced.create(Thing.__kind__, thing, "default")
    await clock.sleep(10.5)
    for write in (
        fenced.patch(Thing.__kind__, "t", Patch(MERGE_PATCH, {"metadata": {"labels": {"a": "b"}}}), "default"),
        fenced.update(Thing.__kind__, thing, "default"),
        fenced.delete(Thing.__kind__, "t", "default"),
        fenced.act(Thing.__kind__, "t", "scale", {}, "default"),
    ):
        with pytest.raises(NotLeaderError):
            await write
    assert (await fenced.get(Thing.__kind__, "t", "default"))["metadata"]["name"] == "t", "reading is always allowed"


@virtual
async def test_a_write_under_way_is_given_up_when_the_right_to_it_ends(clock: VirtualClock) -> None:
    """A request that hangs for a minute would arrive in somebody else's term."""
    client = MemoryClient(clock, LEASE, Thing)
    election = candidate(client, clock, "one")
    await election.campaign()

    async def before(request: Request) -> None:
        if request.kind == "Thing":
            await clock.sleep(60)

    client.before = before
    began = clock.monotonic()
    with pytest.raises(NotLeaderError, match="not known"):
        await FencedClient(client, election).create(Thing.__kind__, {"metadata": {"name": "t"}}, "default")
    assert clock.monotonic() - began < 10.5


@virtual
async def test_three_replicas_under_random_faults_never_lead_together(clock: VirtualClock) -> None:
    """Errors, slowness and crashes in any order."""
    client = MemoryClient(clock, LEASE)
    chance = random.Random(7)

    async def before(request: Request) -> None:
        await clock.sleep(chance.choice((0, 0, 0.1, 3, 9)))
        if chance.random() < 0.2:
            raise UnavailableError("now and then")

    client.before = before
    elections = [candidate(client, clock, f"r{number}") for number in range(3)]

    async def replica(election: Election) -> None:
        while True:
            await election.campaign()
            await election.lead()

    tasks = [asyncio.create_task(replica(election)) for election in elections]
    led = set()
    for _ in range(20_000):
        now = [election.identity for election in elections if election.leading]
        assert len(now) <= 1, now
        led.update(now)
        if chance.random() < 0.001:
            victim = chance.randrange(3)
            tasks[victim].cancel()
            elections[victim]._may_write_until = 0
            tasks[victim] = asyncio.create_task(replica(elections[victim]))
        await clock.sleep(0.1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(led) > 1, "nobody was ever replaced: the test shows nothing"
