"""Several handlers of one pass over an object: their work is written together, and hurts nobody else where it is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from reconcile.client import MERGE_PATCH, Patch
from reconcile.clock import Clock
from reconcile.conditions import Condition
from reconcile.errors import TemporaryError
from reconcile.handling import Cluster, Conditions
from reconcile.kinds import Resource, kind
from reconcile.registry import Operator
from reconcile.runtime.api import ApiServer
from reconcile.runtime.client import InProcessClient
from reconcile.runtime.engine.engine import Engine
from reconcile.runtime.engine.gathering import FLUSH_S
from reconcile.runtime.engine.recorder import EVENT
from reconcile.runtime.store import MEMORY, InlineDatabase, Store
from reconcile.runtime.testing.virtual import VirtualClock, virtual
from reconcile.subhandling import subhandler
from reconcile.views import field, struct


@struct
class ShopStatus:
    pages: int = 0
    text: str = ""
    conditions: list[Condition] = field(factory=list, list_type="map", list_map_keys=("type",))


@kind("example.com", "v1")
class Shop(Resource):
    spec: dict[str, Any] = field(factory=dict)
    status: ShopStatus = field(factory=ShopStatus)


KIND = Shop.__kind__


class Place:
    """A store, and operators that are started on it."""

    def __init__(self, clock: VirtualClock, store: Store) -> None:
        self.clock, self.store = clock, store
        self.api = ApiServer(store, clock)
        for served in (EVENT, KIND):
            self.api.serve(served)
        self.client = InProcessClient(self.api)

    @asynccontextmanager
    async def running(self, app: Operator) -> AsyncIterator[Engine]:
        engine = Engine(self.client, self.clock, admission=self.api)
        try:
            await engine.start(app)
            yield engine
        finally:
            await engine.close()

    async def create(self) -> None:
        await self.client.create(KIND, {"metadata": {"name": "a"}}, "default")

    async def shop(self) -> dict[str, Any]:
        return await self.client.get(KIND, "a", "default")

    async def status(self) -> dict[str, Any]:
        return (await self.shop()).get("status") or {}


@asynccontextmanager
async def place(clock: VirtualClock) -> AsyncIterator[Place]:
    async with await Store.open(MEMORY, clock, database=InlineDatabase) as store:
        yield Place(clock, store)


@pytest.fixture
def app() -> Operator:
    return Operator("shop.example.com")


@virtual
async def test_a_status_that_is_refused_is_that_handlers_alone(clock: VirtualClock, app: Operator) -> None:
    """The other's is stored, and it is not called again with the one that tries anew."""
    calls: list[str] = []

    @app.on.create(Shop)
    async def good(shop: Shop) -> None:
        calls.append("good")
        shop.status.text = "well"

    @app.on.create(Shop, backoff_s_first=10)
    async def bad(patch: dict[str, Any], attempt: int) -> None:
        calls.append("bad")
        patch["status"] = {"pages": "many" if attempt == 0 else 3}

    async with place(clock) as p, p.running(app) as engine:
        await p.create()
        await engine.settled()
        assert (await p.status())["pages"] == 0
        assert [report.handler for report in engine.reports.failing] == ["bad"]
        await clock.sleep(60)
        assert await p.status() == {"text": "well", "pages": 3}, "nothing of it is lost"
        assert calls == ["good", "bad", "bad"]
        assert not engine.reports.failing, "it is well now"


@virtual
async def test_only_who_stood_on_an_old_list_runs_again(clock: VirtualClock, app: Operator) -> None:
    """Somebody changes the object while handlers run: a list that was made of the old one must not replace the new one."""
    calls: list[str] = []

    @app.on.create(Shop)
    async def counts(shop: Shop) -> None:
        calls.append("counts")
        shop.status.pages = 1

    @app.on.create(Shop)
    async def says(conditions: Conditions, cluster: Cluster) -> None:
        calls.append("says")
        if calls.count("says") == 1:
            other = {"type": "Other", "status": "True", "reason": "", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
            body = {"status": {"conditions": [other]}}
            await cluster.client.patch(KIND, "a", Patch(MERGE_PATCH, body), "default", subresource="status")
        conditions.true("Ours")

    async with place(clock) as p, p.running(app) as engine:
        await p.create()
        await engine.settled()
        await clock.sleep(60)
        status = await p.status()
        assert status["pages"] == 1
        assert sorted(c["type"] for c in status["conditions"]) == ["Other", "Ours"]
        assert calls == ["counts", "says", "says"]


@virtual
async def test_a_slow_handler_keeps_nothing_back(clock: VirtualClock, app: Operator) -> None:
    """What was done before it is to be seen meanwhile, and is not done again if it never ends."""
    calls: list[str] = []

    @app.on.create(Shop)
    async def quick(shop: Shop, conditions: Conditions) -> None:
        calls.append("quick")
        shop.status.text = "begun"
        conditions.true("Begun")

    @app.on.create(Shop)
    async def slow(shop: Shop, conditions: Conditions, clock: Clock) -> None:
        calls.append("slow")
        await clock.sleep(3600)
        conditions.true("Ended")

    async with place(clock) as p:
        async with p.running(app):
            await p.create()
            await clock.sleep(FLUSH_S * 3)
            assert (await p.status())["text"] == "begun"
        async with p.running(app):
            await clock.sleep(3 * 3600)
            assert calls[:3] == ["quick", "slow", "slow"]
            assert calls.count("quick") == 1
            assert [c["type"] for c in (await p.status())["conditions"]] == ["Begun", "Ended"]


@virtual
async def test_patches_that_are_none_together_are_written_one_after_the_other(clock: VirtualClock, app: Operator) -> None:
    """All annotations go, then one comes: no single merge patch says that."""

    @app.on.create(Shop)
    async def cleans(patch: dict[str, Any]) -> None:
        patch["metadata"] = {"annotations": None, "labels": {"a": "1", "b": "1"}}

    @app.on.create(Shop)
    async def notes(patch: dict[str, Any]) -> None:
        patch["metadata"] = {"annotations": {"note": "kept"}, "labels": {"b": "2"}}

    async with place(clock) as p, p.running(app) as engine:
        await p.client.create(KIND, {"metadata": {"name": "a", "annotations": {"old": "x"}}}, "default")
        await engine.settled()
        meta = (await p.shop())["metadata"]
        assert "old" not in meta["annotations"]
        assert meta["annotations"]["note"] == "kept"
        assert meta["labels"] == {"a": "1", "b": "2"}
        progress = [name for name in meta["annotations"] if name.startswith("reconcile.dev/")]
        assert progress, "that both are done is known"
        settled = p.store.revision
        await clock.sleep(60)
        assert p.store.revision == settled


@virtual
async def test_what_a_handler_said_before_it_failed_is_written_with_the_rest(clock: VirtualClock, app: Operator) -> None:
    """It is worth knowing, and costs no write of its own."""

    @app.on.create(Shop)
    async def fails(conditions: Conditions, attempt: int) -> None:
        conditions.false("Ready", "Waits", "for the third attempt")
        if attempt < 2:
            raise TemporaryError("not yet", delay_s=10)
        conditions.true("Ready")

    @app.on.create(Shop)
    async def counts(shop: Shop) -> None:
        shop.status.pages = 1

    async with place(clock) as p, p.running(app) as engine:
        await p.create()
        before = p.store.revision
        await engine.settled()
        assert p.store.revision - before == 1
        status = await p.status()
        assert (status["pages"], status["conditions"][0]["reason"]) == (1, "Waits")
        await clock.sleep(60)
        assert (await p.status())["conditions"][0]["status"] == "True"


@virtual
async def test_all_whose_work_a_write_is_are_known_to_have_made_it(clock: VirtualClock, app: Operator) -> None:
    """The journal tells of each handler what it wrote."""

    @app.on.create(Shop)
    async def one(shop: Shop) -> None:
        shop.status.pages = 1

    @app.on.create(Shop)
    async def two(shop: Shop) -> None:
        shop.status.text = "two"

    async with place(clock) as p, p.running(app) as engine:
        await p.create()
        created = p.store.revision
        await engine.settled()
        assert [(a.handler.name, a.wrote) for a in engine.journal] == [("one", (created + 1,)), ("two", (created + 1,))]


@virtual
async def test_sub_handlers_are_tracked_each_by_itself_between_others(clock: VirtualClock, app: Operator) -> None:
    """What came before a handler with parts is written before the parts run, and nothing of it is lost."""
    calls: list[str] = []

    @app.on.create(Shop)
    async def first(shop: Shop) -> None:
        shop.status.pages = 7

    @app.on.create(Shop)
    async def parent(shop: Shop, conditions: Conditions) -> None:
        conditions.true("Parent")

        @subhandler()
        async def part(obj: Shop, attempt: int) -> None:
            calls.append("part")
            if attempt == 0:
                raise TemporaryError("not yet", delay_s=1)
            obj.status.text = "parted"

    async with place(clock) as p, p.running(app):
        await p.create()
        await clock.sleep(60)
        status = await p.status()
        assert (status["pages"], status["text"], status["conditions"][0]["type"]) == (7, "parted", "Parent")
        assert calls == ["part", "part"]
