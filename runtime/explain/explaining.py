"""Why an object is as it is (`why`), what a write led to (`trace`), and why something has not happened (`why_not`).

Answers are JSON trees, for commands and other programs. What is not known is said: `compacted`, `unknown`, `restarted`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reconcile.causality import Cause
from reconcile.clock import timestamp_micro
from reconcile.errors import BadRequestError, NotFoundError, Tree
from reconcile.kinds import Kind
from reconcile.paths import split
from reconcile.runtime.api import ApiServer
from reconcile.runtime.api.history import PastState
from reconcile.runtime.engine.engine import Engine
from reconcile.runtime.engine.journal import Attempted

from .chronicle import Chronicle, Step

CHAIN_MAX = 100
NODES_MAX = 500
SPAN_MAX = 20_000
"""How many revisions a trace looks at, from its root on."""
_EVENTS_SHOWN = 5


class Explaining:
    """Explains the objects of one API server, and the attempts of one engine."""

    def __init__(self, api: ApiServer, engine: Engine) -> None:
        self.api, self.engine = api, engine
        self._chronicle = Chronicle(api)

    async def why(self, kind: Kind, name: str, namespace: str, field: str = "") -> Tree:
        """From an object's last change (or the last of one field) back to a person, a file, or where knowledge ends."""
        states = await self.api.history(kind, name, namespace)
        state = _last_change(states, field)
        if state is None:
            raise NotFoundError(f"{kind.resource} {name} has never had {field}, as far back as history is kept")
        revision, steps = state.moment.revision, list[Step]()
        end = ""
        while revision and len(steps) < CHAIN_MAX:
            found = await self._at(revision)
            if not found:
                end = f"revision {revision} is compacted: history begins at {max(1, self.api.store.compacted)}"
                break
            step = found[0]
            steps.append(step)
            if step.cause is None:
                end = f"nobody noted why revision {revision} was made"
                break
            if step.cause.revision >= revision:
                break
            revision = step.cause.revision
        return {"kind": "Why", "field": field, "steps": [step.told() for step in reversed(steps)], "end": end}

    async def _at(self, revision: int) -> list[Step]:
        if revision < max(1, self.api.store.compacted):
            return []
        return await self._chronicle.at(revision)

    async def root_of(self, kind: Kind, name: str, namespace: str) -> int:
        """The last change of an object that no handler made; its oldest known one, where handlers made all."""
        states = await self.api.history(kind, name, namespace)
        for state in reversed(states):
            cause = Cause.decode(state.cause)
            if cause is None or (not cause.revision and not cause.attempt):
                return state.moment.revision
        return states[0].moment.revision

    async def trace(self, root: int) -> Tree:
        """All that one revision led to, as a tree; with times, and how many attempts wrote nothing.

        Raises:
            BadRequestError: the revision is compacted, or not there yet.
        """
        store = self.api.store
        if root > store.revision:
            raise BadRequestError(f"revision {root} is not there yet; the newest is {store.revision}")
        if root < max(1, store.compacted):
            raise BadRequestError(f"revision {root} is compacted: history begins at {max(1, store.compacted)}")
        last = min(store.revision, root + SPAN_MAX)
        children: dict[int, list[int]] = {}
        for revision, _, text in await store.causes(root, last):
            cause = Cause.decode(text)
            if cause is not None and 0 < cause.revision < revision:
                children.setdefault(cause.revision, []).append(revision)
        wanted = _descendants(root, children)
        shown = frozenset(wanted[:NODES_MAX])
        steps: dict[int, list[Step]] = {}
        for step in await self._chronicle.between(root, max(shown), shown):
            steps.setdefault(step.revision, []).append(step)
        idle = [a for a in self.engine.journal if a.trigger.revision in shown and not a.wrote and a.outcome != "running"]
        return {
            "kind": "Trace", "root": str(root), "tree": _nested(root, children, steps), "writes": len(shown) - 1,
            "leftOut": len(wanted) - len(shown), "wroteNothing": len(idle),
            "end": "" if last == store.revision else f"looked at revisions up to {last} only",
        }  # fmt: skip

    async def why_not(self, kind: Kind, name: str, namespace: str, field: str = "") -> Tree:
        """Every handler that watches an object, with its last attempt; what the object and its Events say themselves."""
        tree = (await self.api.get(kind, name, namespace)).tree
        attempts = self.engine.journal.of(kind, (namespace, name))
        handlers = []
        for domain, handler in self.engine.handlers_of(kind):
            named = f"{domain}/{handler.name}"
            last = next((a for a in reversed(attempts) if a.trigger.handler == named), None)
            told = _told(last) if last is not None else None
            handlers.append({"by": named, "where": handler.where, "trigger": handler.trigger, "last": told})
        conditions = (tree.get("status") or {}).get("conditions") or []
        return {
            "kind": "WhyNot", "resource": kind.resource, "name": name, "namespace": namespace, "field": field,
            "value": _value(tree, field) if field else None, "revision": tree["metadata"].get("resourceVersion", ""),
            "handlers": handlers, "conditions": [c for c in conditions if c.get("status") == "False"],
            "events": await self._events_about(tree),
        }  # fmt: skip

    async def attempts(self, kind: Kind, name: str, namespace: str) -> Tree:
        """The attempts on an object that are remembered, the oldest first."""
        found = self.engine.journal.of(kind, (namespace, name))
        return {"kind": "Attempts", "items": [_told(attempt) for attempt in found]}

    async def _events_about(self, tree: Tree) -> list[Tree]:
        kind = next((kind for kind in self.api.stored_kinds() if kind.resource == "events"), None)
        if kind is None:
            return []
        uid, namespace = tree["metadata"].get("uid", ""), tree["metadata"].get("namespace", "")
        listed = await self.api.list(kind, namespace)
        found = [item.tree for item in listed.items if (item.tree.get("involvedObject") or {}).get("uid") == uid]
        found.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
        return [
            {
                "type": event.get("type", ""), "reason": event.get("reason", ""), "message": event.get("message", ""),
                "time": event.get("lastTimestamp"), "count": event.get("count", 1),
            }
            for event in found[-_EVENTS_SHOWN:]
        ]  # fmt: skip


def _last_change(states: Sequence[PastState], field: str) -> PastState | None:
    if not field:
        return states[-1]
    for state in reversed(states):
        now = _value(state.stored.tree, field) if state.stored is not None and state.type != "DELETED" else None
        before = _value(state.before.tree, field) if state.before is not None else None
        if now != before:
            return state
    # What was there at the oldest state that is known, and has not changed since.
    oldest = states[0]
    return oldest if oldest.stored is not None and _value(oldest.stored.tree, field) is not None else None


def _value(tree: Tree, field: str) -> Any:
    value: Any = tree
    for name in split(field):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _descendants(root: int, children: dict[int, list[int]]) -> list[int]:
    found, waiting = [root], [root]
    while waiting:
        below = [child for revision in waiting for child in children.get(revision, ())]
        found.extend(below)
        waiting = below
    return found


def _nested(root: int, children: dict[int, list[int]], steps: dict[int, list[Step]]) -> Tree:
    """Nodes with their children, built from the leaves up: a chain may be longer than Python's stack."""
    order = _descendants(root, children)
    made: dict[int, Tree] = {}
    for revision in reversed(order):
        known = steps.get(revision)
        node: Tree = known[0].told() if known else {"revision": str(revision), "time": None, "type": "UNKNOWN"}
        node["also"] = [step.told() for step in known[1:]] if known else []
        node["led to"] = [made[child] for child in children.get(revision, ()) if child in made and child in steps]
        made[revision] = node
    return made[root]


def _told(attempt: Attempted) -> Tree:
    trigger = attempt.trigger
    return {
        "number": attempt.number, "by": trigger.handler, "where": attempt.handler.where, "reason": trigger.reason,
        "because": str(trigger.revision) if trigger.revision else "", "merged": trigger.merged,
        "started": timestamp_micro(attempt.started_s), "ended": timestamp_micro(attempt.ended_s) if attempt.ended_s else None,
        "outcome": attempt.outcome, "message": attempt.message,
        "retryAt": timestamp_micro(attempt.ended_s + attempt.retry_s) if attempt.retry_s is not None else None,
        "wrote": [str(revision) for revision in attempt.wrote],
    }  # fmt: skip
