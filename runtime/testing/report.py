"""A failure, told so that somebody can mend it: what is lost and gained, why, how to run it again, what else was tried."""

from __future__ import annotations

from collections.abc import Sequence

from .convergence import Explored, Failure
from .plan import Fault, plan_text
from .state import shown

_SHOWN_MAX = 4
_MEANS = {
    "crash": "{process} is killed right after its {nth} write",
    "stale": "at its {nth} event {process} restarts and sees the API as of revision {argument:g}",
    "drop": "{process} never hears its {nth} event",
    "lag": "from its {nth} event on {process} hears everything {argument:g} s late",
    "delay": "the {nth} event reaches {process} {argument:g} s late",
    "dup": "{process} hears its {nth} event twice",
    "410": "at its {nth} event the watch of {process} expires",
    "conflict": "the {nth} write of {process} is refused as a conflict",
    "500": "the {nth} write of {process} fails",
    "slow": "the answer to the {nth} write of {process} takes {argument:g} s",
}


def meaning(fault: Fault) -> str:
    """A fault in words."""
    text = _MEANS[fault.kind].format(process=fault.process, nth=_ordinal(fault.nth), argument=fault.argument)
    return f"{text}, though it is done" if fault.kind == "500" and fault.argument else text


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def report(failure: Failure, again: str, seen: Sequence[Explored]) -> str:
    """The whole report."""
    head = f"does not converge under  {plan_text(failure.plan)}"
    lines = [head, *(f"  ({meaning(fault)})" for fault in failure.plan)]
    lines.extend(_row(name, rows) for name, rows in _findings(failure) if rows)
    lines.append(_row("why", list(failure.evidence) or ["nothing more is known"]))
    lines.append(_row("again", [again]))
    lines.append(_row("seen", [tally(seen)]))
    return "\n".join(lines)


def _findings(failure: Failure) -> list[tuple[str, list[str]]]:
    rows: list[tuple[str, list[str]]] = []
    differs = failure.difference
    if differs is not None:
        rows.append(("at rest", [f"{failure.rest} of the workload"]))
        rows.append(("lost", _some([f"{key}  {shown(_gist(tree))}" for key, tree in differs.lost.items()]) or ["nothing"]))
        rows.append(("gained", _some([f"{key}  {shown(_gist(tree))}" for key, tree in differs.gained.items()]) or ["nothing"]))
        rows.append(("changed", _some([str(change) for change in differs.changed])))
    made = [f"{got} {kind} where the run without faults makes {wanted}" for kind, (wanted, got) in failure.births.items()]
    rows.append(("made", made))
    rows.append(("error", failure.error.splitlines()[:8]))
    return rows


def _gist(tree: dict[str, object]) -> object:
    """The part of an object that tells most."""
    status = tree.get("status")
    if isinstance(status, dict) and status:
        return {"phase": status["phase"]} if "phase" in status else status
    return tree.get("spec") or tree.get("data") or {}


def _some(rows: list[str]) -> list[str]:
    more = len(rows) - _SHOWN_MAX
    return [*rows[:_SHOWN_MAX], *([f"and {more} more"] if more > 0 else [])]


def findings(failure: Failure) -> dict[str, list[str]]:
    """What is wrong, by name: lost, gained, changed, made, error."""
    return {name: rows for name, rows in _findings(failure) if rows}


def _row(name: str, rows: Sequence[str]) -> str:
    return "\n".join(f"{name if not i else '':<8}{row}" for i, row in enumerate(rows))


def tally(seen: Sequence[Explored]) -> str:
    """`18 intermediate, 91 stale plans; 0 unreached`."""
    plans = ", ".join(f"{one.plans} {one.pattern}" for one in seen) or "1"
    skipped = sum(one.skipped for one in seen)
    more = f"; {skipped} more left out by the limit" if skipped else ""
    return f"{plans} plans; {sum(one.unreached for one in seen)} unreached faults{more}"
