"""The engine on the real store and API server: what the API in memory only plays."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from reconcile.client import MERGE_PATCH, Patch
from reconcile.conditions import Condition
from reconcile.errors import ForbiddenError, NotFoundError, PermanentError
from reconcile.handling import AdmissionReview, Cluster, Conditions, EventRecorder
from reconcile.kinds import Kind, Resource, kind, kind_of, typed
from reconcile.registry import Operator
from reconcile.runtime.api import ApiServer
from reconcile.runtime.client import InProcessClient
from reconcile.runtime.engine.engine import Engine
from reconcile.runtime.engine.recorder import EVENT
from reconcile.runtime.store import Store
from reconcile.runtime.store.database import InlineDatabase
from reconcile.runtime.testing.virtual import VirtualClock, virtual
from reconcile.views import field, struct


@struct
class AppSpec:
    pages: list[str] = field(factory=list)
    size: int = field(default=1, minimum=0)


@struct
class AppStatus:
    pages: int = 0
    conditions: list[Condition] = field(factory=list, list_type="map", list_map_keys=("type",))


@kind("example.com", "v1")
class App(Resource):
    spec: AppSpec = field(factory=AppSpec)
    status: AppStatus = field(factory=AppStatus)


@kind("example.com", "v1")
class Page(Resource):
    spec: dict[str, Any] = field(factory=dict)


class Plane:
    def __init__(self, clock: VirtualClock, api: ApiServer, engine: Engine) -> None:
        self.clock, self.api, self.engine = clock, api, engine
        self.client = InProcessClient(api)

    async def create(self, obj: Resource) -> None:
        await self.client.create(type(obj).__kind__, obj.tree, "default")

    async def app(self) -> App:
        return typed(App, await self.client.get(App.__kind__, "a", "default"))

    async def patch(self, body: dict[str, Any], subresource: str = "") -> None:
        await self.client.patch(App.__kind__, "a", Patch(MERGE_PATCH, body), "default", subresource=subresource)

    async def pages(self) -> list[str]:
        return sorted(tree["metadata"]["name"] for tree in (await self.client.list(Page.__kind__)).items)


@virtual
async def test_two_operators_keep_their_own_conditions_of_one_object_and_then_are_quiet(clock: VirtualClock) -> None:
    """Each waits for the other's write at most: nobody's condition is lost, put back or written for ever."""

    def operator(domain: str, said: str) -> Operator:
        app = Operator(domain)

        @app.on.reconcile(App)
        async def look(app_: App, conditions: Conditions, clock: VirtualClock) -> None:
            await clock.sleep(0.01)  # both have read the same revision by now
            conditions.true(said, "Looked", f"size {app_.spec.size}")

        return app

    async with plane(clock, operator("one.example.com", "Painted"), operator("two.example.com", "Dried")) as p:
        await p.create(App(name="a"))
        for size in (1, 2, 3):
            await p.client.patch(App.__kind__, "a", Patch(MERGE_PATCH, {"spec": {"size": size}}), "default")
            before = p.api.store.revision
            await p.engine.settled()
            await clock.sleep(30)
            found = (await p.app()).status.conditions
            assert {(c.type_, c.status, c.message) for c in found} == {(n, "True", f"size {size}") for n in ("Painted", "Dried")}
            assert p.api.store.revision - before <= 2, "one write of each"
            settled = p.api.store.revision
            await clock.sleep(3600)
            assert p.api.store.revision == settled, "nobody writes what is so already"


@asynccontextmanager
async def plane(
    clock: VirtualClock, *operators: Operator, serving: tuple[type[Resource] | Kind, ...] = (App, Page)
) -> AsyncIterator[Plane]:
    store = await Store.open(":memory:", clock, database=InlineDatabase)
    api = ApiServer(store, clock)
    api.serve(EVENT)
    for cls in serving:
        api.serve(kind_of(cls))
    engine = Engine(InProcessClient(api), clock, admission=api)
    api.on_kinds_changed(engine.kinds_changed)
    try:
        for operator in operators:
            await engine.start(operator)
        yield Plane(clock, api, engine)
    finally:
        await engine.close()
        await store.close()


@pytest.fixture
def app() -> Operator:
    return Operator("app.example.com")


@virtual
async def test_the_whole_life_of_an_object_with_children_status_and_cleanup(clock: VirtualClock, app: Operator) -> None:
    """Server-side apply, status, conditions, pruning and finalizers as the real server does them."""
    cleaned: list[str] = []

    @app.on.reconcile(App)
    def serve(app: App, conditions: Conditions) -> Iterator[Any]:
        for name in app.spec.pages:
            yield Page(name=f"{app.name}-{name}", spec={"text": name})
        app.status.pages = len(app.spec.pages)
        conditions.true("Ready")

    @serve.cleanup
    def clean(app: App) -> None:
        cleaned.append(app.name)

    async with plane(clock, app) as p:
        await p.create(App(name="a", spec=AppSpec(pages=["x", "y"])))
        await p.engine.settled()
        stored = await p.app()
        assert await p.pages() == ["a-x", "a-y"]
        assert (stored.status.pages, stored.status.conditions[0].status) == (2, "True")
        assert stored.metadata.finalizers == ["app.example.com/finalizer"]
        await p.patch({"spec": {"pages": ["y"]}})
        await p.engine.settled()
        assert await p.pages() == ["a-y"]
        before = p.api.store.revision
        await clock.sleep(600)
        assert p.api.store.revision == before, "something writes although nothing changes"
        await p.client.delete(App.__kind__, "a", "default")
        await p.engine.settled()
        with pytest.raises(NotFoundError):
            await p.app()
        assert cleaned == ["a"]
        assert not list(p.engine.reports)


@virtual
async def test_two_operators_write_conditions_of_one_object_without_loss(clock: VirtualClock, app: Operator) -> None:
    """The revision in the patch is a precondition; who comes second runs again on what the first wrote."""
    other = Operator("other.example.com")
    for operator, type_ in ((app, "Ready"), (other, "Backed")):

        @operator.on.reconcile(App, name=type_)
        async def look(app: App, conditions: Conditions, clock: VirtualClock, type_: str = type_) -> None:
            await clock.sleep(1)
            conditions.true(type_, "Done")

    async with plane(clock, app, other) as p:
        await p.create(App(name="a"))
        await clock.sleep(30)
        assert sorted(c.type_ for c in (await p.app()).status.conditions) == ["Backed", "Ready"]
        assert not list(p.engine.reports)


@virtual
async def test_progress_and_updates_survive_a_restart(clock: VirtualClock) -> None:
    """Create once, and the change that was made while nobody looked."""
    trace: list[str] = []

    def declared() -> Operator:
        operator = Operator("app.example.com")

        @operator.on.create(App)
        def made(app: App) -> None:
            trace.append("create")

        @operator.on.update(App)
        def changed(app: App) -> None:
            trace.append(f"update {app.spec.size}")

        return operator

    async with plane(clock) as p:
        first, second = declared(), declared()
        await p.engine.start(first)
        await p.create(App(name="a"))
        await p.engine.settled()
        await p.engine.stop(first)
        await p.patch({"spec": {"size": 7}})
        await p.engine.start(second)
        await p.engine.settled()
        assert trace == ["create", "update 7"]


@virtual
async def test_own_deletes_and_creates_are_read_back_before_the_next_run(clock: VirtualClock, app: Operator) -> None:
    """On the real server too: the revisions that writes return are the ones that watches tell."""
    wanted = 20

    @app.on.reconcile(App, workers=1)
    async def keep(app: App, cluster: Cluster) -> None:
        have = await cluster.list(Page, "default")
        for number in range(len(have), app.spec.size):
            page = Page(namespace="default")
            page.metadata.generate_name = f"{app.name}-{number}-"
            page.metadata.owner_references = [app.owner_reference()]
            await cluster.create(page)
        for page in have[app.spec.size :]:
            await cluster.delete(page)

    async with plane(clock, app) as p:
        await p.create(App(name="a", spec=AppSpec(size=wanted)))
        await p.engine.settled()
        assert len(await p.pages()) == wanted
        first = p.api.store.revision
        assert first <= 1 + wanted + 2, "pages were created that nobody wanted"
        await p.patch({"spec": {"size": 5}})
        await p.engine.settled()
        assert len(await p.pages()) == 5


@virtual
async def test_handlers_of_every_kind_follow_the_kinds_that_are_served(clock: VirtualClock, app: Operator) -> None:
    """Garbage collection stands on this: a kind that comes later counts, and one that nobody has a class for."""
    seen: list[str] = []

    @app.on.event(Resource, inline=True)
    def look(obj: Resource, event: str) -> None:
        seen.append(f"{event} {type(obj).__kind__.kind} {obj.name}")

    late = Kind(group="late.example.com", version="v1", kind="Late", plural="lates")
    async with plane(clock, app, serving=(App,)) as p:
        await p.create(App(name="a"))
        p.api.serve(late)
        await clock.sleep(0.1)
        await p.client.create(late, {"apiVersion": "late.example.com/v1", "kind": "Late", "metadata": {"name": "l"}}, "default")
        await p.engine.settled()
        assert seen == ["ADDED App a", "ADDED Late l"]


@virtual
async def test_mutate_and_validate_handlers_stand_in_the_write_path_while_their_operator_runs(
    clock: VirtualClock, app: Operator
) -> None:
    """In process, without webhooks or certificates."""

    @app.on.mutate(App)
    def default(app: App, review: AdmissionReview) -> None:
        app.labels["size"] = "big" if app.spec.size > 5 else "small"
        known = set(app.spec.pages)  # what is only read takes nothing from the tree
        review.tree["spec"]["pages"] = sorted({"added", *known})

    @app.on.validate(App)
    async def check(app: App) -> None:
        if app.spec.size > 10:
            raise PermanentError("too big")

    async with plane(clock, app) as p:
        await p.create(App(name="a", spec=AppSpec(size=7)))
        stored = await p.app()
        assert (stored.labels, stored.spec.pages) == ({"size": "big"}, ["added"])
        with pytest.raises(ForbiddenError, match="too big"):
            await p.patch({"spec": {"size": 11}})
        await p.engine.stop(app)
        await p.patch({"spec": {"size": 11}})


@virtual
async def test_events_are_counted_not_repeated_and_a_noisy_object_is_held_back(clock: VirtualClock, app: Operator) -> None:
    """kopf writes one object an Event; etcd full of Events is a classic outage."""

    @app.on.reconcile(App)
    async def tell(app: App, events: EventRecorder) -> None:
        for _ in range(3):
            events.normal("Looked", "had a look")
        for number in range(app.spec.size):
            events.warning("Noise", f"number {number}")

    async with plane(clock, app) as p:
        await p.create(App(name="a"))
        await p.engine.settled()
        stored = {tree["reason"]: tree for tree in (await p.client.list(EVENT)).items}
        assert stored["Looked"]["count"] == 3
        assert stored["Looked"]["involvedObject"]["name"] == "a"
        assert stored["Looked"]["source"] == {"component": "app.example.com"}
        await p.patch({"spec": {"size": 100}})
        await p.engine.settled()
        assert len((await p.client.list(EVENT)).items) <= 25
        await clock.sleep(3600)
        await p.patch({"spec": {"size": 1}})
        await p.engine.settled()
        (looked,) = [t for t in (await p.client.list(EVENT)).items if t["reason"] == "Looked"]
        assert looked["count"] > 3


@virtual
async def test_a_failing_handler_is_told_of_in_an_event_of_its_object(clock: VirtualClock, app: Operator) -> None:
    """`kubectl describe` is where people look first."""

    @app.on.reconcile(App)
    async def broken(app: App) -> None:
        raise ValueError("no pages")

    async with plane(clock, app) as p:
        await p.create(App(name="a"))
        await clock.sleep(10)
        (event,) = (await p.client.list(EVENT)).items
        assert (event["type"], event["reason"]) == ("Warning", "HandlerFailed")
        assert "broken (test_engine_over_api.py:" in event["message"]
        assert event["count"] > 1
