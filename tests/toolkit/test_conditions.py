"""Conditions: the rules that `kubectl wait --for=condition` relies on."""

from __future__ import annotations

from reconcile.conditions import Condition, PendingConditions, condition, is_true, with_condition
from reconcile.errors import Tree
from reconcile.runtime.testing.virtual import VirtualClock, virtual
from reconcile.views import tree_of, view

NOON = 1_767_268_800.0


def test_the_transition_time_moves_only_when_the_status_flips() -> None:
    """A new message is no transition: `ready for 5 minutes` must stay true."""
    first = with_condition(None, {"type": "Ready", "status": "True", "reason": "A", "message": ""}, NOON)
    assert first[0]["lastTransitionTime"] == "2026-01-01T12:00:00Z"
    same = with_condition(first, {"type": "Ready", "status": "True", "reason": "B", "message": "m"}, NOON + 60)
    assert (same[0]["reason"], same[0]["lastTransitionTime"]) == ("B", "2026-01-01T12:00:00Z")
    flipped = with_condition(same, {"type": "Ready", "status": "False", "reason": "C", "message": ""}, NOON + 120)
    assert flipped[0]["lastTransitionTime"] == "2026-01-01T12:02:00Z"
    assert first[0]["reason"] == "A", "the list that was handed in is shared and must not change"


def test_other_conditions_and_unknown_fields_are_kept_in_their_order() -> None:
    """A list is not ours alone."""
    before: list[Tree] = [{"type": "A", "status": "True", "extra": 1}, {"type": "B", "status": "True"}]
    after = with_condition(before, {"type": "A", "status": "False", "reason": "R"}, NOON)
    assert [c["type"] for c in after] == ["A", "B"]
    assert after[0]["extra"] == 1
    assert (is_true(after, "A"), is_true(after, "B"), is_true(after, "C"), condition(None, "A")) == (False, True, False, None)


@virtual
async def test_what_a_handler_says_is_merged_with_its_generation(clock: VirtualClock) -> None:
    """observedGeneration tells which spec the condition speaks of."""
    said = PendingConditions(clock, 3)
    assert not said.said
    said.true("Ready")
    said.false("Stalled", "Slow", "takes long")
    said.unknown("Known", "Starting")
    merged = said.merged([{"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}])
    assert [(c["type"], c["status"], c["reason"], c["observedGeneration"]) for c in merged] == [
        ("Ready", "True", "Ready", 3), ("Stalled", "False", "Slow", 3), ("Known", "Unknown", "Starting", 3),
    ]  # fmt: skip
    assert merged[0]["lastTransitionTime"] == "2020-01-01T00:00:00Z"
    typed = view(Condition, merged[1])
    assert (typed.type_, typed.message, tree_of(typed)) == ("Stalled", "takes long", merged[1])
