"""The arithmetic of rollouts: bounds at every step, fenceposts, proportional scaling."""

from __future__ import annotations

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from reconcile.resources.apps.rolling import (
    Limits,
    Size,
    active_or_latest,
    fenceposts,
    limits_of,
    new_size,
    proportional,
    rolling_step,
)


def test_surge_rounds_up_unavailable_down_and_both_are_never_zero() -> None:
    """With neither, a rollout could not take its first step."""
    assert fenceposts("25%", "25%", 10) == (3, 2)
    assert fenceposts("25%", "25%", 1) == (1, 0)
    assert fenceposts(0, 0, 5) == (0, 1)
    assert fenceposts("0%", "10%", 5) == (0, 1)
    assert fenceposts(2, "1%", 5) == (2, 0)


def test_max_unavailable_is_at_most_the_replicas() -> None:
    """`available_min` must not become negative."""
    spec = {"replicas": 2, "strategy": {"rollingUpdate": {"maxUnavailable": 9, "maxSurge": 0}}}
    assert limits_of(spec) == Limits(2, 0, 2)
    assert limits_of({**spec, "replicas": 0}) == Limits(0, 0, 0)
    assert limits_of({"replicas": 3, "strategy": {"type": "Recreate"}}) == Limits(3, 0, 0)


def test_the_new_set_grows_before_the_old_one_shrinks() -> None:
    """One direction at a time: growing uses the surge, and shrinking waits for the result."""
    limits = Limits(10, 3, 2)
    assert rolling_step(limits, Size("new", 0), [Size("old", 10, 10)]) == {"new": 3}
    assert rolling_step(limits, Size("new", 3), [Size("old", 10, 10)]) == {"old": 8}
    assert rolling_step(limits, Size("new", 5), [Size("old", 8, 8)]) == {}


def test_unhealthy_old_pods_go_first_and_cost_no_availability() -> None:
    """They would block the rollout until its deadline."""
    limits = Limits(10, 3, 2)
    old = [Size("a", 4, 4, created_s=1), Size("b", 6, 2, created_s=2)]
    assert rolling_step(limits, Size("new", 3, 0), old) == {"b": 4}


def test_a_rollback_removes_crashing_pods_of_the_bad_revision() -> None:
    """The reference's own example: 13 Pods, 5 crashing, one good one missing."""
    assert rolling_step(Limits(10, 3, 2), Size("good", 8, 7), [Size("bad", 5, 0)]) == {"bad": 1}


def test_the_oldest_set_shrinks_first() -> None:
    """Of two old revisions, the one that is nearer to the wanted state stays longer."""
    old = [Size("young", 3, 3, created_s=9), Size("aged", 3, 3, created_s=1)]
    assert rolling_step(Limits(6, 0, 2), Size("new", 0), old) == {"aged": 1}


@attrs.define
class World:
    """Pods of each revision, as the ReplicaSet controller would keep them; available ones apart."""

    wanted: dict[str, int]
    available: dict[str, int]

    def obey(self) -> None:
        for name, size in self.wanted.items():
            self.available[name] = min(self.available.get(name, 0), size)


@settings(max_examples=150, deadline=None)
@given(
    replicas=st.integers(0, 30),
    surge=st.one_of(st.integers(0, 10), st.integers(0, 100).map(lambda n: f"{n}%")),
    unavailable=st.one_of(st.integers(0, 10), st.integers(0, 100).map(lambda n: f"{n}%")),
    olds=st.lists(st.integers(0, 30), min_size=1, max_size=3),
    data=st.data(),
)
def test_no_step_breaks_the_bounds_and_every_rollout_ends(
    replicas: int, surge: int | str, unavailable: int | str, olds: list[int], data: st.DataObject
) -> None:
    """Available Pods never fall below the minimum by the controller's doing, the total never passes the surge limit."""
    limits = limits_of({"replicas": replicas, "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}})
    # The old revision is at full size; further old ones are what an interrupted rollout left within the limits.
    sizes = {"old-0": replicas}
    room = limits.max_surge
    for number, size in enumerate(olds[1:], 1):
        sizes[f"old-{number}"] = min(size, room)
        room -= sizes[f"old-{number}"]
    world = World({**sizes, "new": 0}, {**sizes, "new": 0})
    for _ in range(400):
        old = [Size(n, s, world.available[n], created_s=i) for i, (n, s) in enumerate(world.wanted.items()) if n != "new"]
        step = rolling_step(limits, Size("new", world.wanted["new"], world.available["new"]), old)
        before = sum(world.available.values())
        world.wanted.update(step)
        world.obey()
        assert sum(world.available.values()) >= min(before, limits.available_min)
        assert sum(world.wanted.values()) <= max(limits.total_max, 0)
        if world.wanted == {**dict.fromkeys(sizes, 0), "new": replicas} and not step:
            break
        if not step:
            late = [n for n in world.wanted if world.available[n] < world.wanted[n]]
            assert late, f"stuck at {world} with {limits}"
            name = data.draw(st.sampled_from(late))
            world.available[name] += data.draw(st.integers(1, world.wanted[name] - world.available[name]))
    else:
        raise AssertionError(f"the rollout did not end: {world}, {limits}")


def test_proportional_scaling_follows_the_reference() -> None:
    """The table of the reference's own tests, in essence."""

    def shares(replicas: int, surge: int, sizes: list[tuple[str, int, float, int]], observed: int = 0) -> dict[str, int]:
        given = [Size(n, s, created_s=c, max_replicas=m) for n, s, c, m in sizes]
        return proportional(Limits(replicas, surge, 0), given, observed)

    assert shares(15, 0, [("new", 6, 3, 10), ("old", 4, 2, 10)]) == {"new": 9, "old": 6}
    assert shares(6, 0, [("new", 6, 3, 10), ("old", 4, 2, 10)]) == {"new": 4, "old": 2}
    assert shares(5, 0, [("new", 5, 3, 10), ("old", 5, 2, 10)]) == {"new": 3, "old": 2}
    assert shares(0, 3, [("new", 5, 3, 13), ("old", 8, 2, 13)]) == {"new": 0, "old": 0}
    # Leftovers of rounding go to the largest; of equals, to the newer one when growing.
    assert shares(20, 0, [("new", 3, 3, 10), ("a", 3, 2, 10), ("b", 4, 1, 10)]) == {"new": 6, "a": 6, "b": 8}
    assert shares(11, 0, [("new", 5, 3, 10), ("old", 5, 2, 10)]) == {"new": 6, "old": 5}
    # Without the annotation, what the Deployment last saw stands in.
    assert shares(20, 0, [("new", 5, 3, 0), ("old", 5, 2, 0)], observed=10) == {"new": 10, "old": 10}


@given(
    replicas=st.integers(0, 60), surge=st.integers(0, 10), sizes=st.lists(st.integers(1, 30), min_size=2, max_size=4),
)  # fmt: skip
def test_proportional_scaling_adds_up(replicas: int, surge: int, sizes: list[int]) -> None:
    """However the shares round, the sum is what is allowed, and nobody gets less than nothing."""
    given_sizes = [Size(f"s{n}", s, created_s=n, max_replicas=sum(sizes)) for n, s in enumerate(sizes)]
    answer = proportional(Limits(replicas, surge, 0), given_sizes, 0)
    assert all(size >= 0 for size in answer.values())
    assert sum(answer.values()) == (replicas + surge if replicas else 0)


def test_a_single_active_set_takes_the_whole_scale() -> None:
    """Outside a rollout there is nothing to share; without any Pods the newest set is meant."""
    assert active_or_latest(Size("new", 0), [Size("old", 3)]) == Size("old", 3)
    assert active_or_latest(Size("new", 0), [Size("old", 0)]) == Size("new", 0)
    assert active_or_latest(None, [Size("a", 0, created_s=1), Size("b", 0, created_s=2)]) == Size("b", 0, created_s=2)
    assert active_or_latest(Size("new", 1), [Size("old", 3)]) is None
    assert new_size(Limits(3, 1, 0), Size("new", 5), []) == 3
