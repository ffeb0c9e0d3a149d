"""What a report quotes of a universe that failed: what the faults hit, what led there, and what came after."""

from __future__ import annotations

from reconcile.causality import Cause
from reconcile.runtime.engine.journal import Attempted

from .mirror import Happened
from .names import object_name
from .process import Process
from .state import shown
from .universe import LawBrokenError, World

_CHAIN_MAX = 6
_CHANGES_MAX = 3
_SERVER_OWNED = ("resourceVersion", "generation", "uid", "creationTimestamp", "managedFields")


async def evidence_of(world: World, error: BaseException | None) -> list[str]:
    """Lines for a report."""
    lines: list[str] = []
    if isinstance(error, LawBrokenError):
        lines.extend(await _chain(world, error.happened.revision))
        return lines
    for process in world.processes:
        for fault, revision, what in process.struck:
            if fault.kind not in ("crash", "stale"):
                lines.extend(await _chain(world, revision) if not fault.at_write else ())
                lines.append(f"then  {fault.kind} strikes {process.name} at {what}")
        for at_s, revision, last in process.crashes:
            written = [w for w in world.writes if w.process == process.name and 0 < w.made <= revision]
            if written:
                lines.extend(await _chain(world, written[-1].made))
            lines.append(f"then  {process.name} is killed, after {last}, at {at_s:.3f} s")
            lines.extend(_after(process, at_s))
    if not any(process.crashes for process in world.processes):
        lines.extend(_last_words(world))
    return lines


async def _chain(world: World, revision: int) -> list[str]:
    """From a revision back to a user, told forwards."""
    by_revision = {happened.revision: happened for happened in world.mirror.history}
    found: list[str] = []
    while revision and len(found) < _CHAIN_MAX:
        happened = by_revision.get(revision)
        cause = Cause.decode(await world.store.cause(revision))
        if happened is None or cause is None:
            break
        found.append(f"rev {revision}  {cause.handler} {_what(happened)}")
        revision = cause.revision
    return found[::-1]


def _what(happened: Happened) -> str:
    if happened.type == "ADDED":
        return f"created {happened.key}"
    if happened.type == "DELETED":
        return f"deleted {happened.key}"
    changes = changes_of(happened)
    more = f" and {len(changes) - _CHANGES_MAX} more" if len(changes) > _CHANGES_MAX else ""
    return f"changed {happened.key} {', '.join(changes[:_CHANGES_MAX])}{more}"


def changes_of(happened: Happened) -> list[str]:
    """`spec.replicas 2 -> 5`, for each value that changed."""
    found: list[str] = []

    def walk(old: object, new: object, path: str) -> None:
        if old == new:
            return
        if isinstance(old, dict) and isinstance(new, dict):
            for name in sorted({*old, *new}):
                if path != "metadata" or name not in _SERVER_OWNED:
                    walk(old.get(name), new.get(name), f"{path}.{name}" if path else name)
            return
        found.append(f"{path} {shown(old)} -> {shown(new)}")

    walk(happened.before or {}, happened.tree, "")
    return found


def _after(process: Process, crashed_s: float) -> list[str]:
    """What the next life did first on each object."""
    seen: dict[str, Attempted] = {}
    for attempt in process.attempts:
        begun_s = attempt.started_s - process.clock.now() + process.clock.monotonic()
        if begun_s > crashed_s:
            name = object_name(attempt.kind, *attempt.key)
            seen.setdefault(f"{attempt.handler.name} {name}", attempt)
    return [f"after the restart  {told(attempt)}" for attempt in list(seen.values())[:_CHAIN_MAX]]


def told(attempt: Attempted) -> str:
    """An attempt in one line."""
    name = object_name(attempt.kind, *attempt.key)
    wrote = f"wrote rev {', '.join(map(str, attempt.wrote[:5]))}" if attempt.wrote else "wrote nothing"
    why = f": {attempt.message}" if attempt.message else ""
    return f"{attempt.handler.name} ({attempt.handler.where}) ran on {name}: {attempt.outcome}{why}; {wrote}"


def _last_words(world: World) -> list[str]:
    """The last attempt on each object, of those that a plan reached."""
    last: dict[str, Attempted] = {}
    for process in world.processes:
        if process.fired:
            for attempt in process.attempts:
                last[f"{attempt.handler.name} {object_name(attempt.kind, *attempt.key)}"] = attempt
    return [f"last  {told(attempt)}" for attempt in list(last.values())[-_CHAIN_MAX:]]
