"""Sharding over replicas: everything is worked on, and nothing by two at once, whatever happens to the replicas."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from reconcile.runtime.engine.election import LEASE
from reconcile.runtime.engine.membership import CLAIM
from reconcile.runtime.engine.metrics import shard_metrics_text
from reconcile.runtime.engine.sharding import Assignment, best
from reconcile.runtime.testing.virtual import VirtualClock, run_virtual, virtual
from tests.simulation.replicas import Fleet, Job, Replica

BEFALLS = ("join", "leave", "die", "pause", "cut")
KEYS = [("default", f"object-{number}") for number in range(3000)]


def test_objects_are_spread_evenly_and_only_the_share_of_the_newcomer_moves() -> None:
    """What moves is dropped from one cache of progress and read anew: moving all of it would be a restart of everything."""
    three, four = [f"replica-{n}" for n in range(3)], [f"replica-{n}" for n in range(4)]
    before, after = {key: best(three, key) for key in KEYS}, {key: best(four, key) for key in KEYS}
    assert all(900 < count < 1100 for count in Counter(before.values()).values())
    moved = {key for key in KEYS if before[key] != after[key]}
    assert {after[key] for key in moved} == {"replica-3"}
    assert 650 < len(moved) < 850
    assert best(reversed(four), KEYS[0]) == after[KEYS[0]], "the order of the members does not matter"


def test_an_assignment_leaves_out_what_a_member_from_before_may_hold() -> None:
    """The whole of safety, in one function."""
    two, one = frozenset({"a", "b"}), frozenset({"b"})
    alone = Assignment("a", two)
    blocked = Assignment("a", two, frozenset({("b", one)}))
    assert any(map(alone, KEYS))
    assert not any(map(blocked, KEYS)), "b, which knows of nobody, has everything"
    narrowed = alone.narrow(frozenset({"a", "b", "c"}))
    assert {k for k in KEYS if narrowed(k)} < {k for k in KEYS if alone(k)}
    assert not any(map(Assignment("a"), KEYS)), "who claims nothing has nothing"


@virtual
async def test_replicas_share_the_objects_and_one_that_ends_well_leaves_its_own_at_once(clock: VirtualClock) -> None:
    """The reason for having several: each does its part, and a rolling update costs seconds."""
    async with Fleet(clock) as fleet:
        first = await fleet.add()
        await fleet.until(lambda: fleet.done(0) and fleet.split(), "one does it all", 15)
        second, third = await fleet.add(), await fleet.add()
        assert await fleet.until(lambda: fleet.split() and all(map(Replica.owned, fleet.replicas)), "three share", 20) < 10
        owned = {replica.name: replica.owned() for replica in fleet.replicas}
        await clock.sleep(5)
        fleet.runs.clear()
        await fleet.turn(1)
        await fleet.until(lambda: fleet.done(1), "all is done again", 15)
        assert {(name, who) for name, who in fleet.runs} == {(key[1], who) for who, keys in owned.items() for key in keys}
        await second.leave()
        left = await fleet.until(fleet.split, "what it left is taken", 20)
        assert left < 5
        for replica in (first, third):
            assert replica.owned() > owned[replica.name], "nothing else moves"
        await fleet.turn(2)
        await fleet.until(lambda: fleet.done(2), "all is done again", 15)
        assert set(fleet.created.values()) == {1}, "moving is no reason to create again"
        text = shard_metrics_text(first.operators.engine, first.membership)
        assert f'reconcile_shard_objects{{kind="jobs.example.com"}} {len(first.owned())}\n' in text
        assert "reconcile_shard_members 2\n" in text


@virtual
async def test_the_dead_are_replaced_when_their_lease_has_run_out_and_their_leases_are_removed(clock: VirtualClock) -> None:
    """Nobody says goodbye after kill -9, and nobody may be too quick to think so."""
    async with Fleet(clock) as fleet:
        replicas = [await fleet.add() for _ in range(3)]
        await fleet.until(lambda: fleet.done(0) and fleet.split(), "three share", 30)
        lost, kept = replicas[0].owned(), replicas[1].owned()
        await replicas[0].die()
        await fleet.turn(1)
        took = await fleet.until(lambda: fleet.done(1), "the others do it", 40)
        assert 10 < took < 25
        assert replicas[1].owned() >= kept
        assert replicas[1].owned() | replicas[2].owned() >= lost
        await clock.sleep(80)
        leases = (await fleet.user.list(LEASE, "default")).items
        assert sorted(lease["metadata"]["annotations"][CLAIM] for lease in leases) == ["r2 r3", "r2 r3"]


@virtual
async def test_one_that_stood_still_comes_back_with_nothing_and_gets_its_share_again(clock: VirtualClock) -> None:
    """A pause longer than the lease: it wakes up in the middle of a handler, and others have been at it."""
    async with Fleet(clock) as fleet:
        replicas = [await fleet.add() for _ in range(3)]
        await fleet.until(lambda: fleet.done(0) and fleet.split(), "three share", 30)
        mine = replicas[0].owned()
        await fleet.turn(1)
        with replicas[0].standing_still():
            await clock.sleep(40)
            assert fleet.done(1), "the others did it"
            assert not replicas[0].owned()
        await fleet.until(lambda: fleet.split() and replicas[0].owned() == mine, "it has its own share again", 30)
        await fleet.turn(2)
        await fleet.until(lambda: fleet.done(2), "all is done again", 15)


@virtual
async def test_a_hand_over_waits_for_the_attempt_that_runs_and_for_the_daemon(clock: VirtualClock) -> None:
    """The newcomer must not begin in the middle of what the old one does, however long that takes."""
    async with Fleet(clock, jobs=12, work_s=20.0) as fleet:
        first = await fleet.add()
        await fleet.until(lambda: fleet.done(0), "one does it all", 200)
        await fleet.turn(1)
        await clock.sleep(1)
        under_way = {key for key, inside in fleet.inside.items() if inside}
        assert len(under_way) == 4, "as many as workers"
        second = await fleet.add()
        await clock.sleep(2.5)
        assert not second.owned() & under_way
        assert not second.owned(), "its share is handed over as one"
        await fleet.until(lambda: fleet.done(1) and fleet.split(), "both did it", 200)
        assert second.owned()
        assert {who for name, who in fleet.runs[12:]} == {"r1", "r2"}
        assert all(fleet.daemons[key[1]] == {"r2"} for key in second.owned())
        assert all(fleet.daemons[key[1]] == {"r1"} for key in first.owned())


@virtual
async def test_timers_tick_once_and_who_takes_over_resumes(clock: VirtualClock) -> None:
    """Handlers of all kinds follow the objects."""
    async with Fleet(clock, jobs=20) as fleet:
        await fleet.add()
        await fleet.until(lambda: fleet.done(0), "one does it all")
        second = await fleet.add()
        await fleet.until(lambda: fleet.split() and bool(second.owned()), "both share")
        await clock.sleep(6)
        assert {name for name, who in fleet.resumed if who == "r2"} == {key[1] for key in second.owned()}
        fleet.ticks.clear()
        await clock.sleep(50)
        counts = Counter(name for _, name, _ in fleet.ticks)
        assert len(counts) == 20
        assert set(counts.values()) <= {9, 10, 11}
        assert {name: who for _, name, who in fleet.ticks if who == "r2"}.keys() == {key[1] for key in second.owned()}
        for tree in fleet.jobs():
            await fleet.user.delete(Job.__kind__, tree["metadata"]["name"], "default")
        await fleet.until(lambda: not fleet.jobs(), "all are cleaned up", 20)
        assert not any(fleet.daemons.values())


@pytest.mark.parametrize("seed", range(2))
def test_with_late_watches_no_creation_is_repeated_while_replicas_come_and_go(seed: int) -> None:
    """Who takes over reads everything anew first: its cache may be seconds behind what the one before wrote."""

    async def scenario(clock: VirtualClock) -> None:
        async with Fleet(clock, jobs=20) as fleet:
            await fleet.add(lag_s=8.0)
            for _ in range(6):
                await clock.sleep(clock.random.random() * 6)
                if len(fleet.replicas) < 3:
                    await fleet.add(lag_s=8.0)
                else:
                    leaving = clock.random.choice(fleet.replicas)
                    await leaving.operators.engine.settled()  # what is cancelled at the end is repeated elsewhere
                    await leaving.leave()
            await fleet.turn(1)
            await fleet.until(lambda: fleet.done(1) and fleet.split(), "all is done")
            assert dict(fleet.created) == {f"j{number}": 1 for number in range(20)}

    run_virtual(scenario, seed=seed)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_no_two_work_on_one_object_and_in_the_end_all_is_done(seed: int) -> None:
    """Kills, pauses, cuts, slowness and errors in any order; the fleet's records refuse two at once."""

    async def scenario(clock: VirtualClock) -> None:
        async with Fleet(clock, jobs=15) as fleet:
            for _ in range(3):
                await fleet.add(lag_s=2.0, errors=0.05)
            for number in range(15):
                if number % len(BEFALLS) == 0:
                    coming = clock.random.sample(BEFALLS, len(BEFALLS))
                await clock.sleep(clock.random.choice((0.5, 3, 12, 20)))
                await fleet.turn(number)
                what = coming[number % len(BEFALLS)]
                few, many = len(fleet.replicas) < 2, len(fleet.replicas) > 4
                await _befall(fleet, "join" if few else "die" if many and what == "join" else what)
            for replica in fleet.replicas:
                replica.wire.errors = 0.0
            await fleet.turn(1000)
            await fleet.until(lambda: fleet.done(1000) and fleet.split(), "all is done", 200)
            assert not any(len(inside) > 1 for inside in fleet.inside.values())

    run_virtual(scenario, seed=seed)


async def _befall(fleet: Fleet, what: str) -> None:
    clock = fleet.clock
    if what == "join":
        await fleet.add(lag_s=2.0, errors=0.05)
        return
    victim = clock.random.choice(fleet.replicas)
    if what == "leave":
        await victim.leave()
    elif what == "die":
        await victim.die()
    else:
        with victim.standing_still() if what == "pause" else victim.cut_off():
            await asyncio.sleep(clock.random.choice((1, 8, 14, 16, 40)))
