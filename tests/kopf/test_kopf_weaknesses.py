"""Five weaknesses that were reproduced on kopf 1.45, each with the operator that shows it, and what happens here instead.

Written with kopf's own vocabulary (`reconcile.kopf`), on the real store and API server, in virtual time. The first, watches that
silently stop, has a list of its own: tests/running/test_reflector.py.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from reconcile import kopf
from reconcile.client import MERGE_PATCH, Patch
from reconcile.errors import ForbiddenError
from reconcile.kinds import Kind
from reconcile.registry import Operator
from reconcile.runtime.api import ApiServer
from reconcile.runtime.client import InProcessClient
from reconcile.runtime.client.http import REQUESTS_MAX, HttpClient
from reconcile.runtime.client.kubeconfig import Access
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.engine.engine import Engine
from reconcile.runtime.engine.recorder import EVENT
from reconcile.runtime.store import Store
from reconcile.runtime.store.database import InlineDatabase
from reconcile.runtime.testing.memory import MemoryClient, Request
from reconcile.runtime.testing.virtual import VirtualClock, virtual
from tests.running.hostile import hostile

KEX = Kind("kopf.dev", "v1", "KopfExample", "kopfexamples", short_names=("kex",), status=True)


class Plane:
    """A real API server, and operators on it."""

    def __init__(self, clock: VirtualClock, api: ApiServer, engine: Engine) -> None:
        self.clock, self.engine = clock, engine
        self.client = InProcessClient(api)

    async def create(self, name: str, **spec: Any) -> None:
        await self.client.create(KEX, {"metadata": {"name": name}, "spec": spec}, "default")

    async def patch(self, name: str, **spec: Any) -> None:
        await self.client.patch(KEX, name, Patch(MERGE_PATCH, {"spec": spec}), "default")

    async def get(self, name: str) -> dict[str, Any]:
        return await self.client.get(KEX, name, "default")


@asynccontextmanager
async def plane(clock: VirtualClock, operator: Operator) -> AsyncIterator[Plane]:
    store = await Store.open(":memory:", clock, database=InlineDatabase)
    api = ApiServer(store, clock)
    api.serve(EVENT)
    api.serve(KEX)
    engine = Engine(InProcessClient(api), clock)
    try:
        await engine.start(operator)
        yield Plane(clock, api, engine)
    finally:
        await engine.close()
        await store.close()


@virtual
async def test_no_handler_misses_an_update_that_came_while_another_was_retried(clock: VirtualClock) -> None:
    """kopf: `h1 saw n=1; h2 saw n=1; h2 saw n=2`, and h1 never sees n=2 (its issue 641): one state is kept for all handlers."""
    registry, told = kopf.OperatorRegistry(), []

    @kopf.on.create("kopfexamples", registry=registry)
    async def c(**_: Any) -> None:
        pass

    @kopf.on.update("kopfexamples", field="spec", registry=registry)
    async def h1(new: Any, **_: Any) -> None:
        told.append(f"h1 saw n={new['n']}")

    @kopf.on.update("kopfexamples", field="spec", registry=registry)
    async def h2(new: Any, retry: int, **_: Any) -> None:
        told.append(f"h2 saw n={new['n']} retry={retry}")
        if retry < 1:
            raise kopf.TemporaryError("wait", delay=3)

    async with plane(clock, registry) as p:
        await p.create("a", n=0)
        await clock.sleep(1)
        await p.patch("a", n=1)
        await clock.sleep(1)
        await p.patch("a", n=2)
        await clock.sleep(20)
    assert "h1 saw n=2" in told
    assert told[-1].startswith("h2 saw n=2")


@virtual
async def test_an_update_after_a_patch_that_changes_nothing_is_handled_at_once(clock: VirtualClock) -> None:
    """kopf waits five seconds for the echo of a patch that made no event, and an update meanwhile is not handled at all."""
    registry, told = kopf.OperatorRegistry(), []

    @kopf.on.event("kopfexamples", registry=registry)
    async def ev(patch: kopf.Patch, **_: Any) -> None:
        patch.status["x"] = "const"

    @kopf.on.update("kopfexamples", registry=registry)
    async def up(new: Any, **_: Any) -> None:
        told.append((new["spec"]["n"], clock.monotonic()))

    async with plane(clock, registry) as p:
        await p.create("a", n=0)
        await clock.sleep(2)
        revision = (await p.get("a"))["metadata"]["resourceVersion"]
        await clock.sleep(60)
        assert (await p.get("a"))["metadata"]["resourceVersion"] == revision, "it writes though there is nothing new"
        for n in range(1, 6):
            at = clock.monotonic()
            await p.patch("a", n=n)
            await clock.sleep(0.5)
            assert told[-1][0] == n
            assert told[-1][1] - at < 0.1, "it waited for its own echo"


@virtual
async def test_an_index_does_not_wait_for_workers_that_wait_for_the_index(clock: VirtualClock) -> None:
    """kopf with `worker_limit = 5` and twenty objects: nothing is ever handled. Here four workers do for thousands."""
    registry, told = kopf.OperatorRegistry(), []
    client = MemoryClient(clock, KEX)
    for number in range(500):
        await client.create(KEX, {"metadata": {"name": f"k{number}"}, "spec": {}}, "default")

    @kopf.index("kopfexamples", registry=registry)
    def idx(name: str, **_: Any) -> Any:
        return {name: 1}

    @kopf.on.create("kopfexamples", registry=registry)
    async def cr(name: str, idx: Any, **_: Any) -> None:
        told.append((name, len(idx)))

    engine = Engine(client, clock)
    await engine.start(registry)
    await engine.settled()
    await engine.close()
    assert len(told) == 500
    assert {size for _, size in told} == {500}, "somebody ran before the index was full"


@virtual
async def test_the_state_on_an_object_is_small_and_holds_nothing_of_the_object(clock: VirtualClock) -> None:
    """kopf copies the whole object into an annotation: secrets too, and one of more than 256 KiB can never be handled."""
    registry = kopf.OperatorRegistry()
    huge = "secret" * 60_000

    @kopf.on.create("kopfexamples", registry=registry)
    async def made(**_: Any) -> None: ...

    @kopf.on.update("kopfexamples", registry=registry)
    async def changed(**_: Any) -> None: ...

    async with plane(clock, registry) as p:
        await p.create("a", data=huge)
        await clock.sleep(1)
        await p.patch("a", n=1)
        await clock.sleep(1)
        notes = (await p.get("a"))["metadata"]["annotations"]
    assert len(notes) == 1
    assert 0 < len(json.dumps(notes)) <= 130, "the annotation with its name and the quotes"
    assert len(next(iter(notes.values()))) <= 100
    assert "secret" not in json.dumps(notes)


async def test_a_thousand_objects_do_not_open_a_thousand_connections() -> None:
    """kopf opens one for each object that it patches at the same time: 1,003 for a thousand, seen."""
    registry = kopf.OperatorRegistry()

    @kopf.on.create("boxes", registry=registry)
    async def made(patch: kopf.Patch, **_: Any) -> None:
        patch.status["done"] = True

    async with hostile() as (server, url), HttpClient(Access(url), SystemClock()) as client:
        for number in range(1000):
            server.put(f"b{number}")
        engine = Engine(_Discovered(client), SystemClock())
        await engine.start(registry)
        await engine.settled()
        await engine.close()
        assert 1 < server.under_way_max <= REQUESTS_MAX
        assert server.patched >= 1000


class _Discovered:
    """The client of a server that has no discovery."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def kinds(self) -> list[Kind]:
        return [Kind("example.com", "v1", "Box", "boxes", status=True)]


@virtual
async def test_a_kind_that_may_not_be_seen_holds_nobody_up(clock: VirtualClock) -> None:
    """kopf retries a 403 for 54 s before the first handler runs."""
    registry, told = kopf.OperatorRegistry(), []
    other = Kind("kopf.dev", "v1", "Other", "others")
    client = MemoryClient(clock, KEX, other)

    def before(request: Request) -> None:
        if request.kind == "Other":
            raise ForbiddenError("no")

    client.before = before

    @kopf.on.event("others", registry=registry)
    async def never(**_: Any) -> None: ...

    @kopf.on.create("kopfexamples", registry=registry)
    async def cr(**_: Any) -> None:
        told.append(clock.monotonic())

    engine = Engine(client, clock)
    began = clock.monotonic()
    await client.create(KEX, {"metadata": {"name": "a"}, "spec": {}}, "default")
    await engine.start(registry)
    await engine.settled()
    await engine.close()
    assert told
    assert told[0] - began < 1
