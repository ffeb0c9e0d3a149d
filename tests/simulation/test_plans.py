"""Plans are texts that run again; patterns make them from the run without faults."""

from __future__ import annotations

import pytest

from reconcile.runtime.testing.plan import (
    SIEVE,
    Fault,
    Heard,
    PlanError,
    Wrote,
    chaos,
    plan_text,
    read_plan,
)

WRITES = [Wrote("app", 1, "create", "pods/a", 5), Wrote("app", 2, "patch", "pods/a", 0), Wrote("app", 3, "delete", "pods/a", 9)]
EVENTS = [
    Heard("app", 1, "ADDED", "pods/a", 5),
    Heard("app", 2, "ADDED", "pods/b", 6),
    Heard("app", 3, "MODIFIED", "pods/a", 7),
    Heard("app", 4, "DELETED", "pods/a", 9),
]


def test_a_plan_reads_as_it_is_written() -> None:
    """What a report prints is what `--plan` takes."""
    text = "crash:webapp:9 stale:webapp:12:41 500:webapp:3 500:webapp:4:1 lag:webapp:7 delay:webapp:7:0.5"
    plan = read_plan(text)
    assert plan_text(plan) == text
    assert read_plan(text.replace(" ", ", ")) == plan
    assert plan[0] == Fault("crash", "webapp", 9)
    assert plan[4] == Fault("lag", "webapp", 7, 2.0)
    assert read_plan("") == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("crush:webapp:9", "'crush:webapp:9' is no fault; write kind:process:number[:argument], kinds are: crash, "),
        ("crash:webapp", "is no fault; write kind:process:number"),
        ("crash:webapp:x", "crash needs numbers after the name of the process"),
        ("crash:webapp:0", "counted from 1"),
        ("stale:webapp:4", "stale needs the revision to go back to, such as stale:webapp:4:1"),
    ],
)
def test_what_is_no_plan_is_refused_with_a_reason(text: str, says: str) -> None:
    """A typing error must not pass as a plan without faults."""
    with pytest.raises(PlanError) as caught:
        read_plan(text)
    assert says in str(caught.value)


def test_sieve_crashes_after_writes_goes_back_and_hides() -> None:
    """The three patterns; a write that changed nothing is no place to die, a last state none to miss."""
    intermediate, stale, unobserved = (pattern.plans(WRITES, EVENTS) for pattern in SIEVE)
    assert [plan_text(plan) for plan in intermediate] == ["crash:app:1", "crash:app:3"]
    assert [plan_text(plan) for plan in stale] == ["stale:app:3:5", "stale:app:4:5", "stale:app:4:7"]
    assert [plan_text(plan) for plan in unobserved] == ["drop:app:1", "drop:app:3"]


def test_a_pattern_with_too_many_plans_takes_them_evenly() -> None:
    """The limit must not mean: the beginning only."""
    events = [Heard("app", n, "MODIFIED", "pods/a", n) for n in range(1, 41)]
    stale = type(SIEVE[1])("stale", limit=10)
    taken = stale.taken([], events)
    assert len(taken) == 10
    assert taken[-1][0].nth > 35
    assert taken == stale.taken([], events), "and the same ones each time"


def test_chaos_is_the_same_for_the_same_seeds() -> None:
    """A number is enough to have a failure again; asking for an unknown kind of fault is refused."""
    (pattern,) = chaos(seeds=20, faults=5)
    plans = pattern.plans(WRITES, EVENTS)
    assert plans == pattern.plans(WRITES, EVENTS)
    assert len(plans) == 20
    assert len({plan_text(plan) for plan in plans}) > 15
    assert {fault.kind for plan in plans for fault in plan} > {"crash", "stale", "drop", "500"}
    with pytest.raises(PlanError, match="'fire' is no kind of fault"):
        chaos(kinds=("fire",))
