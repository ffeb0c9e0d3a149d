"""Today's handlers on the past: the state of a revision in a store of its own, the handler run on it, and what it wrote there.

Nothing of it reaches the real store. What a handler does outside of the API (a call to another service, say) it does, though.

Source: the idea is Temporal's Replayer, for level-triggered code.
"""

from __future__ import annotations

import asyncio
from typing import Any

import attrs

from reconcile.clock import Clock
from reconcile.errors import BadRequestError, NotFoundError, Tree
from reconcile.kinds import Kind, Resource
from reconcile.registry import Handler, Operator
from reconcile.runtime.api import ApiServer
from reconcile.runtime.client import InProcessClient
from reconcile.runtime.engine.engine import Engine
from reconcile.runtime.store import FROM_KEY, CompactedError, InlineDatabase, Put, Range, Store, Txn

RUN_S_MAX = 2.0
_PUTS_A_TXN = 100


async def replay(
    api: ApiServer, engine: Engine, clock: Clock, revision: int, handler: str, kind: Kind, name: str, namespace: str
) -> Tree:
    """Run a handler on an object as it was at `revision`, and tell what it would write.

    Raises:
        NotFoundError: no handler is called that, or the object was not there.
        BadRequestError: the revision is compacted, or not there yet.
    """
    operator, chosen = _find(engine, kind, handler)
    if not 0 < revision <= api.store.revision:
        raise BadRequestError(f"revision {revision} is not there yet; the newest is {api.store.revision}")
    try:
        past = await api.store.range_at(Range(FROM_KEY, FROM_KEY, revision=revision))
    except CompactedError as error:
        raise BadRequestError(f"revision {revision} is compacted: {error}") from error
    async with await Store.open(":memory:", clock, database=InlineDatabase) as scratch:
        for start in range(0, len(past.kvs), _PUTS_A_TXN):
            puts = tuple(Put(kv.key, kv.value) for kv in past.kvs[start : start + _PUTS_A_TXN])
            await scratch.txn(Txn(success=puts))
        return await _run(api, scratch, clock, operator, chosen, kind, name, namespace, revision)


async def _run(
    api: ApiServer, scratch: Store, clock: Clock, operator: Operator, handler: Handler, kind: Kind, name: str, namespace: str,
    revision: int,
) -> Tree:  # fmt: skip
    copy = ApiServer(scratch, clock)
    for served in api.stored_kinds():
        copy.serve(served)
    await copy.get(kind, name, namespace)  # NotFoundError, where it was not there
    loaded = scratch.revision
    engine = Engine(InProcessClient(copy), clock)
    alone = Operator(operator.domain)
    alone.add(attrs.evolve(handler, filters=attrs.evolve(handler.filters, when=_only(handler, name, namespace)), resync_s=0.0))
    try:
        await engine.start(alone)
        ended = await _settled(engine)
    finally:
        await engine.kill()
    wrote = await _writes(copy, scratch, loaded)
    attempts = [a for a in engine.journal if a.key == (namespace, name)]
    return {
        "kind": "Replay", "revision": str(revision), "by": f"{operator.domain}/{handler.name}", "where": handler.where,
        "attempts": [{"outcome": a.outcome, "message": a.message} for a in attempts], "writes": wrote,
        "end": "" if ended else f"stopped after {RUN_S_MAX:g} s: it goes on when time passes",
    }  # fmt: skip


async def _settled(engine: Engine) -> bool:
    try:
        async with asyncio.timeout(RUN_S_MAX):
            await engine.settled()
    except TimeoutError:
        return False
    return True


def _find(engine: Engine, kind: Kind, name: str) -> tuple[Operator, Handler]:
    known: list[str] = []
    for operator in engine.operators:
        for handler in operator.handlers:
            named = f"{operator.domain}/{handler.name}"
            if handler.cls in (None, Resource) or handler.cls.__kind__.resource != kind.resource or handler.trigger == "event":
                continue
            known.append(named)
            if name in (named, handler.name, operator.domain, operator.domain.partition(".")[0]):
                return operator, handler
    there = f"; there are: {', '.join(known)}" if known else ""
    raise NotFoundError(f"no handler called {name!r} is for {kind.resource}{there}")


def _only(handler: Handler, name: str, namespace: str) -> Any:
    before = handler.filters.when

    def when(obj: Any) -> bool:
        return obj.name == name and obj.namespace == namespace and (before is None or bool(before(obj)))

    return when


async def _writes(copy: ApiServer, scratch: Store, loaded: int) -> list[Tree]:
    from .chronicle import Chronicle

    found = []
    for step in await Chronicle(copy).between(loaded + 1, scratch.revision):
        if step.kind.resource == "events":
            continue
        told = step.told()
        found.append({key: told[key] for key in ("type", "resource", "kind", "namespace", "name", "changes")})
    return found
