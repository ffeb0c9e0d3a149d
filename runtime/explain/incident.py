"""An incident, cut out of history: what people did to an object and what led to it, and where an operator was started anew.

What is exported is what the simulation needs to live through it again: the objects that were there, the writes that no handler
made, with the time between them, and a plan of faults. A restart is seen where the number of an attempt comes again for another
run; it becomes a crash after the operator's last write before. What was not written down (a slow network, say) is in no plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from reconcile.errors import BadRequestError, NotFoundError, Tree
from reconcile.kinds import Kind
from reconcile.runtime.api import ApiServer

from .chronicle import Chronicle, Step

REVISIONS_MAX = 20_000
_KEPT = ("name", "namespace", "labels", "annotations", "finalizers")
Home = tuple[str, str, str]


async def incident(api: ApiServer, kind: Kind, name: str, namespace: str, first: int, last: int) -> Tree:
    """What happened around one object in the revisions first..last (0: the newest 20,000 that are kept).

    Raises:
        BadRequestError: these revisions are not kept, or are too many.
        NotFoundError: the object was not there in that time.
    """
    oldest, newest = max(1, api.store.compacted), api.store.revision
    last = last or newest
    first = first or max(oldest, last - REVISIONS_MAX)
    if not oldest <= first <= last <= newest:
        raise BadRequestError(f"revisions {first} to {last} cannot be exported: history goes from {oldest} to {newest}")
    if last - first > REVISIONS_MAX:
        raise BadRequestError(f"{last - first} revisions are too many; at most {REVISIONS_MAX} are exported at once: give --from")
    steps = await Chronicle(api).between(first + 1, last)
    target = (kind.resource, namespace, name)
    concerned = _concerned(steps, target)
    there = [tree for home in sorted(concerned) if (tree := await _at(api, home, first)) is not None]
    if not there and not any(_home(step) == target for step in steps):
        raise NotFoundError(f"{kind.resource} {name} was not there between revisions {first} and {last}")
    made = [step for step in steps if _home(step) in concerned and by_hand(step)]
    return {
        "kind": "Incident", "about": {"resource": kind.resource, "namespace": namespace, "name": name},
        "from": str(first), "to": str(last), "plan": " ".join(restarts(_related(steps, concerned))),
        "objects": [plain(tree) for tree in there if not _controlled(tree)],
        "steps": list(_told(made)),
    }  # fmt: skip


def by_hand(step: Step) -> bool:
    """Whether no handler wrote this: handlers are named `operator/handler`."""
    return step.cause is None or ("/" not in step.cause.handler and not step.cause.attempt)


def plain(tree: Tree) -> Tree:
    """An object as somebody would apply it."""
    meta = {name: tree["metadata"][name] for name in _KEPT if tree["metadata"].get(name)}
    # What operators keep on objects they will keep there again.
    if "annotations" in meta:
        meta["annotations"] = {key: text for key, text in meta["annotations"].items() if not key.startswith("reconcile.dev/")}
    if "finalizers" in meta:
        meta["finalizers"] = [name for name in meta["finalizers"] if not name.endswith("/finalizer")]
    meta = {name: value for name, value in meta.items() if value}
    return {**{name: value for name, value in tree.items() if name != "status"}, "metadata": meta}


def restarts(steps: Iterable[Step]) -> list[str]:
    """The crashes that account for attempts which were numbered anew: `crash:<operator>:<writes before it>`."""
    faults: list[str] = []
    by_operator: dict[str, _Lives] = {}
    for step in steps:
        cause = step.cause
        if cause is None or not cause.attempt:
            continue
        operator = cause.handler.partition("/")[0].partition(".")[0]
        lives = by_operator.setdefault(operator, _Lives())
        crashed_after = lives.wrote(cause.attempt, (cause.handler, cause.revision, cause.reason))
        if crashed_after:
            faults.append(f"crash:{operator}:{crashed_after}")
    return faults


@attrs.define
class _Lives:
    """The writes of one operator, and which of them are of its present life."""

    numbers: list[int] = attrs.field(factory=list)
    known: dict[int, tuple[str, int, str]] = attrs.field(factory=dict)
    begun: int = 0  # the writes before the present life

    def wrote(self, number: int, run: tuple[str, int, str]) -> int:
        """Take in a write; after how many writes the operator was started anew, if this shows that it was."""
        self.numbers.append(number)
        crashed_after = 0
        if self.known.setdefault(number, run) != run:
            start = len(self.numbers) - 1
            while start - 1 > self.begun and self.numbers[start - 1] < self.numbers[start]:
                start -= 1  # the new life's writes before this one: their numbers only rose
            self.begun = crashed_after = start
            self.known = {number: run}
        return crashed_after


def _concerned(steps: Sequence[Step], target: Home) -> set[Home]:
    """The object, and those whose writes led to its own."""
    by_revision: dict[int, list[Step]] = {}
    for step in steps:
        by_revision.setdefault(step.revision, []).append(step)
    found = {target}
    seen: set[int] = set()
    waiting = [step.revision for step in steps if _home(step) == target]
    while waiting:
        revision = waiting.pop()
        if revision in seen:
            continue
        seen.add(revision)
        for step in by_revision.get(revision, ()):
            found.add(_home(step))
            if step.cause is not None and 0 < step.cause.revision < revision:
                waiting.append(step.cause.revision)
    return found


def _related(steps: Sequence[Step], concerned: set[Home]) -> list[Step]:
    """What happened to these objects, and all that it led to."""
    revisions: set[int] = set()
    found = []
    for step in steps:
        if _home(step) in concerned or (step.cause is not None and step.cause.revision in revisions):
            revisions.add(step.revision)
            found.append(step)
    return found


async def _at(api: ApiServer, home: Home, revision: int) -> Tree | None:
    resource, namespace, name = home
    kind = next((kind for kind in api.stored_kinds() if kind.resource == resource), None)
    if kind is None:
        return None
    page = await api.list(
        kind, namespace, fields=f"metadata.name={name}", resource_version=str(revision), match="Exact"
    )  # fmt: skip
    return page.items[0].tree if page.items else None


def _told(steps: Sequence[Step]) -> Iterable[Tree]:
    before_s: float | None = None
    for step in steps:
        done = _done(step)
        if not done:
            continue
        after_s = round(step.time_s - before_s, 3) if step.time_s is not None and before_s is not None else 0.0
        before_s = step.time_s if step.time_s is not None else before_s
        by = step.cause.handler if step.cause is not None else ""
        yield {"revision": str(step.revision), "after_s": max(after_s, 0.0), "by": by, **done}


def _done(step: Step) -> Tree:
    """What somebody did: made it as it then was, changed its status, or deleted it; nothing where that cannot be told."""
    tree, before = step.tree, step.before
    ends = "deletionTimestamp" in tree["metadata"]
    if step.type == "DELETED" or (ends and before is not None and "deletionTimestamp" not in before["metadata"]):
        done: Tree = {} if step.type == "DELETED" and ends else {"do": "delete", "object": plain(tree)}
        return done
    if before is not None and plain(tree) == plain(before):
        return {"do": "status", "object": {**plain(tree), "status": tree.get("status")}} if _status_changed(step) else {}
    return {"do": "apply", "object": plain(tree)}


def _status_changed(step: Step) -> bool:
    return step.before is not None and step.before.get("status") != step.tree.get("status")


def _controlled(tree: Tree) -> bool:
    references: list[Any] = tree["metadata"].get("ownerReferences") or []
    return any(reference.get("controller") for reference in references)


def _home(step: Step) -> Home:
    meta = step.tree["metadata"]
    return step.kind.resource, str(meta.get("namespace") or ""), meta["name"]
