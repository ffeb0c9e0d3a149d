"""Operators of kinds in several versions, on the real store and API server: each handler sees its own version, typed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import orjson

from reconcile.client import APPLY_PATCH, MERGE_PATCH, Patch
from reconcile.errors import ConversionError, ForbiddenError, InvalidError, PermanentError, Tree
from reconcile.handling import AdmissionReview, Cluster
from reconcile.kinds import Resource, kind_of, typed
from reconcile.registry import Operator
from reconcile.runtime.api import ApiServer
from reconcile.runtime.client import InProcessClient
from reconcile.runtime.engine.engine import Engine
from reconcile.runtime.store import Store
from reconcile.runtime.store.database import InlineDatabase
from reconcile.runtime.testing.virtual import VirtualClock, virtual
from tests.toolkit.carts import AlphaCart, BetaCart, BetaSpec, Cart, CartSpec, Line

ALPHA, BETA, CART = kind_of(AlphaCart), kind_of(BetaCart), kind_of(Cart)


@asynccontextmanager
async def plane(clock: VirtualClock, *operators: Operator) -> AsyncIterator[tuple[InProcessClient, Engine]]:
    store = await Store.open(":memory:", clock, database=InlineDatabase)
    api = ApiServer(store, clock)
    engine = Engine(InProcessClient(api), clock, admission=api)
    try:
        for operator in operators:
            for cls in operator.kinds:
                api.serve(kind_of(cls))
            await engine.start(operator)
        yield InProcessClient(api), engine
    finally:
        await engine.close()
        await store.close()


def in_store(client: InProcessClient, name: str = "a") -> Tree:
    found = client.api.store.get(f"/registry/carts.shop.example.com/default/{name}".encode())
    assert found is not None
    tree: Tree = orjson.loads(found.value)
    return tree


async def refused(writing: Any, error: type[Exception]) -> str:
    try:
        await writing
    except error as caught:
        return str(caught)
    raise AssertionError("it was let pass")


@virtual
async def test_handlers_of_each_version_get_their_own_objects(clock: VirtualClock) -> None:
    """An operator of the old version works on beside the new one, on the same objects."""
    old, new = Operator("old.example.com"), Operator("new.example.com")
    seen: list[Any] = []

    @old.on.reconcile(BetaCart)
    async def pay(cart: BetaCart, cluster: Cluster) -> None:
        seen.append(("beta", cart.spec.item, cart.spec.count))
        found = await cluster.get(BetaCart, "a", namespace="default")
        assert found is not None
        cart.status.paid = cart.spec.count < 5

    @new.on.reconcile(Cart)
    def watch(cart: Cart) -> None:
        seen.append(("v1", [(line.item, line.count) for line in cart.spec.lines], cart.status.state))

    async with plane(clock, old, new) as (client, engine):
        made = await client.create(ALPHA, AlphaCart.of(name="a", spec={"wanted": "pears:2"}).tree, "default")
        assert (made["apiVersion"], made["spec"]) == ("shop.example.com/v1alpha1", {"wanted": "pears:2"})
        await engine.settled()
        assert in_store(client)["spec"] == {"lines": [{"item": "pears", "count": 2}], "currency": "EUR"}
        assert in_store(client)["status"] == {"state": "paid"}
        assert ("beta", "pears", 2) in seen
        assert seen[-1] == ("v1", [("pears", 2)], "paid") or ("v1", [("pears", 2)], "paid") in seen
        del seen[:]
        await client.patch(CART, "a", Patch(MERGE_PATCH, {"spec": {"lines": [{"item": "figs", "count": 9}]}}), "default")
        await engine.settled()
        assert ("beta", "figs", 9) in seen
        cart = typed(Cart, await client.get(CART, "a", "default"))
        assert (cart.spec.lines[0].item, cart.status.state) == ("figs", "")
        before = client.api.store.revision
        await clock.sleep(600)
        assert client.api.store.revision == before, "nobody writes what the other one wrote"


@virtual
async def test_all_verbs_work_in_all_versions(clock: VirtualClock) -> None:
    """In process, with no webhook and no certificate."""
    app = Operator("app.example.com")
    app.serve(Cart)
    async with plane(clock, app) as (client, _):
        watched = client.watch(ALPHA)
        await client.create(BETA, BetaCart(name="a", spec=BetaSpec(item="x", count=3)).tree, "default")
        await client.create(CART, Cart(name="b", spec=CartSpec(lines=[Line(item="y")])).tree, "default")
        assert [tree["spec"]["wanted"] for tree in (await client.list(ALPHA)).items] == ["x:3", "y:1"]
        applied = {"apiVersion": BETA.api_version, "kind": "Cart", "metadata": {"name": "a"}, "spec": {"count": 4}}
        made = await client.patch(BETA, "a", Patch(APPLY_PATCH, applied), "default", field_manager="me", force=True)
        assert made["spec"] == {"item": "x", "count": 4}
        await client.patch(BETA, "a", Patch(MERGE_PATCH, {"status": {"paid": True}}), "default", subresource="status")
        assert (await client.get(CART, "a", "default"))["status"] == {"state": "paid"}
        update = await client.get(ALPHA, "a", "default")
        await client.update(ALPHA, {**update, "spec": {"wanted": "z:1"}}, "default")
        await client.delete(ALPHA, "a", "default")
        async with aclosing(watched) as events:  # type: ignore[type-var]
            seen = [await anext(events) for _ in range(6)]
        assert [(e.type, e.object["spec"].get("wanted")) for e in seen] == [
            ("ADDED", "x:3"), ("ADDED", "y:1"), ("MODIFIED", "x:4"), ("MODIFIED", "x:4"), ("MODIFIED", "z:1"), ("DELETED", "z:1"),
        ]  # fmt: skip


@virtual
async def test_admission_handlers_see_every_write_in_their_version(clock: VirtualClock) -> None:
    """A rule that held only for those who speak the newest version would be none."""
    app = Operator("app.example.com")

    @app.on.mutate(Cart)
    def tag(cart: Cart, review: AdmissionReview) -> None:
        assert review.kind.version == "v1"
        cart.labels["lines"] = str(len(cart.spec.lines))
        if cart.spec.note == "change":
            cart.spec.note = "changed"
            review.warnings.append("changed it")

    @app.on.validate(Cart)
    def check(cart: Cart, review: AdmissionReview) -> None:
        if sum(line.count for line in cart.spec.lines) > 10:
            raise PermanentError("too much")
        if review.old is not None and review.old["spec"].get("note") == "last":
            raise PermanentError("it was the last")

    async with plane(clock, app) as (client, _):
        made = await client.create(BETA, BetaCart(name="a", spec=BetaSpec(item="x", count=3, note="change")).tree, "default")
        assert (made["metadata"]["labels"], made["spec"]["note"]) == ({"lines": "1"}, "changed")
        alpha = AlphaCart.of(name="b", spec={"wanted": "x:11"}).tree
        assert "too much" in await refused(client.create(ALPHA, alpha, "default"), ForbiddenError)
        last = Patch(MERGE_PATCH, {"spec": {"note": "last"}})
        await client.patch(BETA, "a", last, "default")
        more = Patch(MERGE_PATCH, {"spec": {"count": 4}})
        assert "it was the last" in await refused(client.patch(BETA, "a", more, "default"), ForbiddenError)


@virtual
async def test_each_version_is_judged_by_its_own_schema(clock: VirtualClock) -> None:
    """A client of the old version is told of its own fields."""
    app = Operator("app.example.com")
    app.serve(Cart)
    async with plane(clock, app) as (client, _):
        wrong: Tree = {"apiVersion": BETA.api_version, "kind": "Cart", "metadata": {"name": "a"}, "spec": {"count": -1}}
        assert "spec.count: Invalid value: -1" in await refused(client.create(BETA, wrong, "default"), InvalidError)
        broken = AlphaCart.of(name="b", spec={"wanted": "x:many"}).tree
        said = await refused(client.create(ALPHA, broken, "default"), ConversionError)
        assert said.startswith("conversion of shop.example.com/v1alpha1, Kind=Cart to v1 failed: alpha_up (carts.py:")
        assert "ValueError: invalid literal for int()" in said
        assert client.api.store.get(b"/registry/carts.shop.example.com/default/b") is None


@virtual
async def test_handlers_for_every_kind_see_an_object_once(clock: VirtualClock) -> None:
    """Garbage collection and the like work on the preferred version, not on all."""
    app, all_ = Operator("app.example.com"), Operator("all.example.com")
    app.serve(Cart)
    seen: list[str] = []

    @all_.on.event(Resource)
    def told(obj: Resource, body: Any) -> None:
        seen.append(body["apiVersion"])

    async with plane(clock, app, all_) as (client, engine):
        await client.create(ALPHA, AlphaCart.of(name="a", spec={"wanted": "x"}).tree, "default")
        await engine.settled()
        assert seen == ["shop.example.com/v1"]
