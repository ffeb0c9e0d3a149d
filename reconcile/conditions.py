"""Conditions: `status.conditions`, the list in which objects say how they are, one entry a type.

`Condition` is the struct for a kind's own status; `with_condition` changes a list by the rules that `kubectl wait` and
everybody else rely on: lastTransitionTime moves only when the status flips, observedGeneration says what was looked at.

Source: metav1.Condition, k8s.io/apimachinery/pkg/api/meta/conditions.go
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .clock import Clock, timestamp
from .errors import Tree
from .views import field, struct

Truth = Literal["True", "False", "Unknown"]


@struct
class Condition:
    """One thing that is true of an object, or not, or not known; with the reason in one word and the message in many."""

    type_: str
    status: str = field(default="Unknown", enum=("True", "False", "Unknown"))
    reason: str = ""
    message: str = ""
    last_transition_time: str = field(default="", format="date-time")
    observed_generation: int = 0


def condition(conditions: Sequence[Tree] | None, type_: str) -> Tree | None:
    """The condition of that type in a plain list, or None."""
    return next((c for c in conditions or () if c.get("type") == type_), None)


def is_true(conditions: Sequence[Tree] | None, type_: str) -> bool:
    """Whether the condition of that type is there and True."""
    found = condition(conditions, type_)
    return found is not None and found.get("status") == "True"


def with_condition(conditions: Sequence[Tree] | None, new: Tree, now_s: float) -> list[Tree]:
    """A copy of the list in which the condition of `new`'s type says what `new` says.

    Fields that `new` does not name (a kind's own, such as lastUpdateTime) are kept; lastTransitionTime is now where the
    status differs from before, and stays otherwise.
    """
    before = condition(conditions, new["type"])
    flipped = before is None or before.get("status") != new["status"]
    since = timestamp(now_s) if flipped or before is None else before.get("lastTransitionTime") or timestamp(now_s)
    made = {**(before or {}), **new, "lastTransitionTime": since}
    if before is None:
        return [*(conditions or ()), made]
    return [made if c is before else c for c in conditions or ()]


class PendingConditions:
    """Collects what a handler says about its object, to be merged into the status when it is done."""

    def __init__(self, clock: Clock, generation: int) -> None:
        self._clock = clock
        self._generation = generation
        self._said: dict[str, Tree] = {}

    def true(self, type_: str, reason: str = "", message: str = "") -> None:
        """Set condition `type_` to True."""
        self._say(type_, "True", reason, message)

    def false(self, type_: str, reason: str, message: str = "") -> None:
        """Set condition `type_` to False."""
        self._say(type_, "False", reason, message)

    def unknown(self, type_: str, reason: str, message: str = "") -> None:
        """Set condition `type_` to Unknown."""
        self._say(type_, "Unknown", reason, message)

    @property
    def said(self) -> bool:
        """Whether the handler said anything."""
        return bool(self._said)

    def merged(self, conditions: Sequence[Tree] | None) -> list[Tree]:
        """The list with everything said merged into it."""
        merged = list(conditions or ())
        for new in self._said.values():
            merged = with_condition(merged, new, self._clock.now())
        return merged

    def _say(self, type_: str, status: Truth, reason: str, message: str) -> None:
        # The API wants a reason in one word; a handler that gives none means the type itself.
        new: Tree = {"type": type_, "status": status, "reason": reason or type_, "message": message}
        if self._generation:
            new["observedGeneration"] = self._generation
        self._said[type_] = new
