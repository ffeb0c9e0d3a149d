"""How many writes handlers cost: none where nothing changes, one for each change of the status, in process and over HTTP.

Counted are revisions of the store. "Elsewhere" is an API server that makes no writes of a status and the rest at once, as
Kubernetes' own does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from reconcile.client import MERGE_PATCH, Client, Patch
from reconcile.handling import Conditions
from reconcile.kinds import Resource, kind, kind_of
from reconcile.registry import Operator
from reconcile.runtime.api import ApiServer
from reconcile.runtime.api.http import HttpServer, HttpSettings, beginning, objects
from reconcile.runtime.client import InProcessClient
from reconcile.runtime.client.http import HttpClient
from reconcile.runtime.client.kubeconfig import Access
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.engine.engine import Engine
from reconcile.runtime.engine.recorder import EVENT
from reconcile.runtime.store import MEMORY, Store
from reconcile.views import field


@kind("example.com", "v1")
class Shop(Resource):
    spec: dict[str, Any] = field(factory=dict)
    status: dict[str, Any] = field(factory=dict)


@kind("example.com", "v1")
class Plain(Resource):
    """A kind without a status of its own."""

    spec: dict[str, Any] = field(factory=dict)


@kind("example.com", "v1")
class Shelf(Resource):
    spec: dict[str, Any] = field(factory=dict)


class Place(NamedTuple):
    """A store, an operator on it, and somebody who writes."""

    store: Store
    engine: Engine
    user: Client

    async def rests(self) -> int:
        """The revision at which there is nothing to do any more, and everybody has seen it."""
        while True:
            revision = self.store.revision
            await self.engine.settled()
            newest = {cls: max((int(t["metadata"]["resourceVersion"]) for t in await self._all(cls)), default=0) for cls in KINDS}
            behind = any(
                informer.revision < newest[cls]
                for cls in KINDS if (informer := self.engine.running(kind_of(cls))) is not None
            )  # fmt: skip
            if not behind and self.store.revision == revision and self.engine.idle:
                return revision
            await asyncio.sleep(0)

    async def _all(self, cls: type[Resource]) -> Any:
        return (await self.user.list(kind_of(cls))).items

    async def costs(self, wanted: int, cls: type[Resource] = Shop, body: dict[str, Any] | None = None, part: str = "") -> None:
        """A user's write (a creation without a body) is followed by as many writes of the operator."""
        before = await self.rests()
        if body is None:
            await self.user.create(kind_of(cls), {"metadata": {"name": "a"}, "spec": {"size": 1}}, "default")
        else:
            await self.user.patch(kind_of(cls), "a", Patch(MERGE_PATCH, body), "default", subresource=part)
        assert await self.rests() - before - 1 == wanted


KINDS = (Shop, Plain, Shelf)
WAYS = ("in process", "over HTTP", "elsewhere")


@asynccontextmanager
async def place(way: str, app: Operator, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    clock = SystemClock()
    async with await Store.open(MEMORY, clock) as store:
        api = ApiServer(store, clock)
        for known in (EVENT, *map(kind_of, KINDS)):
            api.serve(known)
        if way == "elsewhere":
            monkeypatch.setattr(beginning, "FINALIZERS_HEADER", "X-Nobody-Knows")
            monkeypatch.setattr(objects, "WHOLE_HEADER", "X-Nobody-Knows")
            monkeypatch.setattr(objects, "_MAKES_WHOLE", ())
        server = HttpServer(api, HttpSettings())
        address = await server.start()
        client: Client = InProcessClient(api) if way == "in process" else HttpClient(Access(address.url), clock)
        engine = Engine(client, clock, admission=api if way == "in process" else None)
        try:
            await engine.start(app)
            yield Place(store, engine, InProcessClient(api))
        finally:
            await engine.close()
            if isinstance(client, HttpClient):
                await client.close()
            await server.stop()


@pytest.fixture
def app() -> Operator:
    return Operator("shop.example.com")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def by_way(way: str, *counts: int) -> int:
    """What is expected in process, over HTTP, and elsewhere."""
    return counts[WAYS.index(way)]


async def test_event_handlers_write_nothing(way: str, app: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only looks leaves no trace."""
    seen: list[str] = []

    @app.on.event(Shop)
    async def look(event: str) -> None:
        seen.append(event)

    async with place(way, app, monkeypatch) as p:
        await p.costs(0)
        await p.costs(0, body={"spec": {"size": 2}})
        assert seen == ["ADDED", "MODIFIED"]


async def test_an_event_handler_writes_once_what_it_says(way: str, app: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own write is an event as well, for which it has nothing new to say."""

    @app.on.event(Shop)
    async def look(shop: Shop) -> None:
        shop.status["size"] = shop.spec["size"]

    async with place(way, app, monkeypatch) as p:
        await p.costs(1)
        await p.costs(1, body={"spec": {"size": 2}})
        await p.costs(0, body={"metadata": {"labels": {"a": "b"}}})


async def test_a_create_handler_costs_one_write(way: str, app: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """That it is done has to be kept somewhere; afterwards nothing is written any more."""

    @app.on.create(Shop)
    async def made() -> None: ...

    async with place(way, app, monkeypatch) as p:
        await p.costs(1)
        await p.costs(0, body={"spec": {"size": 2}})


async def test_a_create_handler_with_a_result_costs_no_more(way: str, app: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere the status is written by itself."""

    @app.on.create(Shop)
    async def made(shop: Shop) -> None:
        shop.status["ok"] = True

    async with place(way, app, monkeypatch) as p:
        await p.costs(by_way(way, 1, 1, 2))
        await p.costs(0, body={"status": {"other": 1}}, part="status")


async def test_a_kind_without_status_takes_one_write_everywhere(way: str, app: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A patch, and that it was made."""

    @app.on.create(Plain)
    async def made(patch: dict[str, Any]) -> None:
        patch["metadata"] = {"labels": {"made": "yes"}}

    async with place(way, app, monkeypatch) as p:
        await p.costs(1, Plain)
        await p.costs(0, Plain, {"spec": {"size": 2}})


async def test_an_update_handler_costs_one_write_for_each_change(
    way: str, app: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it compares with is kept from the first time on."""
    seen: list[int] = []

    @app.on.update(Shop)
    async def changed(shop: Shop) -> None:
        seen.append(shop.spec["size"])
        shop.status["size"] = shop.spec["size"]

    async with place(way, app, monkeypatch) as p:
        await p.costs(1)
        await p.costs(by_way(way, 1, 1, 2), body={"spec": {"size": 2}})
        await p.costs(0, body={"status": {"other": 1}}, part="status")
        assert seen == [2]


async def test_a_field_handler_costs_one_write_for_each_change_of_the_field(
    way: str, app: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other fields are none of its business."""

    @app.on.field(Shop, field="spec.size")
    async def sized(shop: Shop, new: int) -> None:
        shop.status["size"] = new

    async with place(way, app, monkeypatch) as p:
        await p.costs(by_way(way, 1, 1, 2))
        await p.costs(by_way(way, 1, 1, 2), body={"spec": {"size": 2}})
        await p.costs(0, body={"spec": {"colour": "red"}})


async def test_a_reconcile_handler_costs_its_children_and_one_write(
    way: str, app: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kinds of its children are noted along with the first status; a status that stays the same is not written."""

    @app.on.reconcile(Shop)
    def shelves(shop: Shop) -> Iterator[Resource]:
        for number in range(shop.spec["size"]):
            yield Shelf(name=f"{shop.name}-{number}", spec={"of": shop.name})
        shop.status["shelves"] = shop.spec["size"]

    async with place(way, app, monkeypatch) as p:
        await p.costs(1 + by_way(way, 1, 1, 2))
        await p.costs(1 + 1, body={"spec": {"size": 2}})
        await p.costs(0, body={"spec": {"colour": "red"}})
        await p.costs(1 + 1, body={"spec": {"size": 1}})


async def test_create_update_and_delete_cost_one_write(way: str, app: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The object is born with the finalizer; elsewhere it is put there before anything else is done."""
    held: list[bool] = []

    @app.on.create(Shop)
    async def made(shop: Shop) -> None:
        held.append("shop.example.com/finalizer" in shop.metadata.finalizers)
        shop.status["ok"] = True

    @app.on.update(Shop)
    async def changed(shop: Shop) -> None:
        shop.status["size"] = shop.spec["size"]

    @app.on.delete(Shop)
    async def ended() -> None: ...

    async with place(way, app, monkeypatch) as p:
        await p.costs(by_way(way, 1, 1, 3))
        assert held == [True]
        await p.costs(by_way(way, 1, 1, 2), body={"spec": {"size": 2}})
        await p.costs(0, body={"status": {"other": 1}}, part="status")
        before = await p.rests()
        await p.user.delete(kind_of(Shop), "a", "default")
        assert await p.rests() - before == 2, "the deletion, and the finalizer's end, with which the object goes"


async def test_three_handlers_cost_what_one_costs(way: str, app: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is shown what those before it said, so that even one list of conditions takes no second write."""
    said: list[dict[str, Any]] = []

    @app.on.create(Shop)
    async def one(shop: Shop, conditions: Conditions) -> None:
        shop.status["one"] = 1
        conditions.true("One")

    @app.on.create(Shop)
    async def two(shop: Shop, conditions: Conditions) -> None:
        shop.status["two"] = shop.status["one"] + 1
        conditions.true("Two")

    @app.on.create(Shop)
    async def three(shop: Shop) -> None:
        said.append(dict(shop.status))

    @app.on.delete(Shop)
    async def ended() -> None: ...

    async with place(way, app, monkeypatch) as p:
        await p.costs(by_way(way, 1, 1, 3))
        status = (await p.user.get(kind_of(Shop), "a", "default"))["status"]
        assert (status["one"], status["two"], [c["type"] for c in status["conditions"]]) == (1, 2, ["One", "Two"])
        assert said == [status]
        await p.costs(0, body={"spec": {"size": 2}})
