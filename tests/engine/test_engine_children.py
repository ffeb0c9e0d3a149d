"""Children that a handler yields: applied when they differ, owned, watched, and pruned only when that is safe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest

from reconcile.handling import Cluster, Requeue
from reconcile.kinds import Resource, kind
from reconcile.registry import Operator
from reconcile.runtime.testing.memory import MemoryClient
from reconcile.runtime.testing.memory_world import MemoryWorld
from reconcile.runtime.testing.virtual import VirtualClock, virtual
from reconcile.views import field, struct


@struct
class ShopSpec:
    pages: list[str] = field(factory=list)
    sound: bool = True


@struct
class ShopStatus:
    ready: int = 0


@kind("example.com", "v1")
class Shop(Resource):
    spec: ShopSpec = field(factory=ShopSpec)
    status: ShopStatus = field(factory=ShopStatus)


@kind("", "v1", builtin=True)
class ConfigMap(Resource):
    data: dict[str, str] = field(factory=dict)


@kind("", "v1", builtin=True)
class Secret(Resource):
    data: dict[str, str] = field(factory=dict)


@kind("", "v1", namespaced=False, builtin=True)
class Node(Resource):
    pass


SERVED = (Shop, ConfigMap, Secret, Node)


def declared(domain: str = "shop.example.com") -> Operator:
    app = Operator(domain)

    @app.on.reconcile(Shop)
    def shop(shop: Shop) -> Iterator[Any]:
        for page in shop.spec.pages:
            yield ConfigMap(name=f"{shop.name}-{page}", data={"page": page})

    return app


def shop(*pages: str, name: str = "s") -> Shop:
    return Shop(name=name, namespace="default", spec=ShopSpec(pages=list(pages)))


async def names(world: MemoryWorld, cls: type[Resource] = ConfigMap) -> list[str]:
    return sorted(obj.name for obj in await world.list(cls))


@virtual
async def test_children_are_applied_owned_and_pruned(clock: VirtualClock) -> None:
    """The whole life of a child, without a line about it in the handler."""
    async with MemoryWorld(clock, declared(), serving=SERVED) as world:
        parent = await world.create(shop("a", "b"))
        await world.settled()
        assert await names(world) == ["s-a", "s-b"]
        child = await world.get(ConfigMap, "s-a")
        assert child.controller_uid() == parent.uid
        assert child.data == {"page": "a"}
        await world.patch(Shop, "s", {"spec": {"pages": ["b", "c"]}})
        await world.settled()
        assert await names(world) == ["s-b", "s-c"]


@virtual
async def test_a_child_that_is_as_declared_is_not_written_again(clock: VirtualClock) -> None:
    """Otherwise every reconcile costs the API a write for each child."""
    async with MemoryWorld(clock, declared(), serving=SERVED) as world:
        await world.create(shop("a", "b"))
        await world.settled()
        before = world.client.count("apply"), world.client.count("create", "ConfigMap")
        for number in range(5):
            await world.patch(Shop, "s", {"metadata": {"labels": {"x": str(number)}}})
            await world.settled()
        assert (world.client.count("apply"), world.client.count("create", "ConfigMap")) == before
        await world.patch(ConfigMap, "s-a", {"metadata": {"labels": {"somebody": "else"}}})
        await world.settled()
        assert world.client.count("apply") == before[0], "another manager's label is none of our business"


@virtual
async def test_a_child_that_somebody_changed_or_deleted_is_put_right(clock: VirtualClock) -> None:
    """Self-healing: a change of a child runs its owner."""
    async with MemoryWorld(clock, declared(), serving=SERVED) as world:
        await world.create(shop("a"))
        await world.settled()
        await world.patch(ConfigMap, "s-a", {"data": {"page": "vandal"}})
        await world.settled()
        assert (await world.get(ConfigMap, "s-a")).data == {"page": "a"}
        await world.delete(ConfigMap, "s-a")
        await world.settled()
        assert await names(world) == ["s-a"]


@virtual
async def test_a_handler_that_raised_prunes_nothing(clock: VirtualClock) -> None:
    """What it yielded before is applied; what it did not come to is not thereby unwanted."""
    app = Operator("shop.example.com")

    @app.on.reconcile(Shop)
    def shop_(shop: Shop) -> Iterator[Any]:
        for page in shop.spec.pages:
            yield ConfigMap(name=f"{shop.name}-{page}")
            if not shop.spec.sound:
                raise RuntimeError("half-way")

    async with MemoryWorld(clock, app, serving=SERVED) as world:
        await world.create(shop("a", "b"))
        await world.settled()
        await world.patch(Shop, "s", {"spec": {"pages": ["new"], "sound": False}})
        await clock.sleep(100)
        assert await names(world) == ["s-a", "s-b", "s-new"]
        await world.patch(Shop, "s", {"spec": {"sound": True}})
        await clock.sleep(10)
        assert await names(world) == ["s-new"]


@virtual
async def test_a_handler_that_was_cancelled_prunes_nothing(clock: VirtualClock) -> None:
    """A timeout in the middle, or the operator being stopped, must not take a service down."""
    app = Operator("shop.example.com")

    @app.on.reconcile(Shop, timeout_s=5)
    async def shop_(shop: Shop) -> AsyncGenerator[Any, Any]:
        for page in shop.spec.pages:
            yield ConfigMap(name=f"{shop.name}-{page}")
            if not shop.spec.sound:
                await asyncio.Event().wait()

    async with MemoryWorld(clock, app, serving=SERVED) as world:
        await world.create(shop("a", "b"))
        await world.settled()
        await world.patch(Shop, "s", {"spec": {"pages": ["new"], "sound": False}})
        await clock.sleep(100)
        assert await names(world) == ["s-a", "s-b", "s-new"]
        await world.engine.stop(app)
        assert await names(world) == ["s-a", "s-b", "s-new"]


@virtual
async def test_pruning_survives_a_restart_with_other_code(clock: VirtualClock) -> None:
    """The handler of today yields no Secrets: those of yesterday's version are found by what is noted on the owner."""
    yesterday, today = Operator("shop.example.com"), Operator("shop.example.com")

    @yesterday.on.reconcile(Shop, name="shop")
    def old(shop: Shop) -> Iterator[Any]:
        yield Secret(name="password")
        yield ConfigMap(name="page")

    @today.on.reconcile(Shop, name="shop")
    def new(shop: Shop) -> Iterator[Any]:
        yield ConfigMap(name="page")

    client = MemoryClient(clock, *SERVED)
    async with MemoryWorld(clock, yesterday, client=client) as world:
        await world.create(shop())
        await world.settled()
        assert await names(world, Secret) == ["password"]
    async with MemoryWorld(clock, today, client=client) as world:
        await world.settled()
        assert (await names(world, Secret), await names(world)) == ([], ["page"])
        (annotation,) = (await world.get(Shop, "s")).annotations.values()
        assert len(annotation) < 100


@virtual
async def test_two_handlers_never_prune_each_others_children_nor_what_a_person_made(clock: VirtualClock) -> None:
    """An owner reference alone does not say who yielded a child."""
    app = Operator("shop.example.com")

    @app.on.reconcile(Shop)
    def one(shop: Shop) -> Iterator[Any]:
        yield ConfigMap(name="one")

    @app.on.reconcile(Shop)
    def two(shop: Shop) -> Iterator[Any]:
        yield ConfigMap(name="two")

    async with MemoryWorld(clock, app, serving=SERVED) as world:
        parent = await world.create(shop())
        await world.settled()
        made = ConfigMap(name="by-hand")
        made.metadata.owner_references = [parent.owner_reference()]
        await world.create(made)
        await world.patch(Shop, "s", {"spec": {"pages": ["x"]}})
        await world.settled()
        assert await names(world) == ["by-hand", "one", "two"]


@virtual
async def test_what_a_yield_is_worth_is_the_child_as_it_is_now(clock: VirtualClock) -> None:
    """So that a status can be told from the children's."""
    app = Operator("shop.example.com")

    @app.on.reconcile(Shop)
    async def shop_(shop: Shop, cluster: Cluster) -> AsyncGenerator[Any, Any]:
        page = yield ConfigMap(name="page", data={"x": "1"})
        shop.status.ready = 1 if page.labels.get("ready") else 0
        first, second = yield [ConfigMap(name="p1"), ConfigMap(name="p2")]
        assert (first.name, second.name) == ("p1", "p2")
        assert page.uid
        yield Requeue(1000)

    async with MemoryWorld(clock, app, serving=SERVED) as world:
        await world.create(shop())
        await world.settled()
        assert (await world.get(Shop, "s")).status.ready == 0
        await world.patch(ConfigMap, "page", {"metadata": {"labels": {"ready": "yes"}}})
        await world.settled()
        assert (await world.get(Shop, "s")).status.ready == 1
        assert not len(world.engine.reports)


@virtual
@pytest.mark.parametrize(
    ("child", "said"),
    [
        (ConfigMap(), "without a name"),
        (ConfigMap(name="x", namespace="elsewhere"), "in namespace elsewhere, but an object of namespace default can own only"),
        (Node(name="n"), "of the whole cluster"),
        ([ConfigMap(name="x"), ConfigMap(name="x")], "twice"),
        ("text", "yielded str; yield resources"),
        (ConfigMap(name="taken"), "belongs to another controller"),
    ],
    ids=["no-name", "other-namespace", "cluster-scoped", "twice", "no-resource", "taken"],
)
async def test_what_cannot_be_a_child_is_refused_with_a_reason(clock: VirtualClock, child: Any, said: str) -> None:
    """And where: the traceback points at the yield."""
    app = Operator("shop.example.com")

    @app.on.reconcile(Shop)
    def shop_(shop: Shop) -> Iterator[Any]:
        yield child

    async with MemoryWorld(clock, app, serving=SERVED) as world:
        foreign = await world.create(Node(name="owner"))
        taken = ConfigMap(name="taken")
        taken.metadata.owner_references = [foreign.owner_reference()]
        await world.create(taken)
        await world.create(shop())
        await clock.sleep(10)
        (report,) = world.engine.reports
        assert said in report.message
        assert "yield child" in report.traceback


@virtual
async def test_children_of_a_recreated_parent_are_not_mistaken_for_its_own(clock: VirtualClock) -> None:
    """By uid, never by name: the old parent's child is on its way to the garbage collector."""
    async with MemoryWorld(clock, declared(), serving=SERVED) as world:
        await world.create(shop("a"))
        await world.settled()
        await world.delete(Shop, "s")
        again = await world.create(shop("a"))
        await clock.sleep(5)
        assert "belongs to another controller" in next(iter(world.engine.reports)).message
        await world.delete(ConfigMap, "s-a")  # as the garbage collector does
        await world.patch(Shop, "s", {"metadata": {"labels": {"x": "y"}}})
        await clock.sleep(5)
        assert (await world.get(ConfigMap, "s-a")).controller_uid() == again.uid
