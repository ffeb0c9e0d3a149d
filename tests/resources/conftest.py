"""A whole control plane in virtual time: the real store (in memory), API server and engine, and the operators of a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
import pytest

from reconcile.client import MERGE_PATCH, DeleteOptions, Patch
from reconcile.errors import NotFoundError, Tree
from reconcile.kinds import Resource, kind_of
from reconcile.registry import Operator
from reconcile.resources import bootstrap_objects, builtin_kinds
from reconcile.resources.apps import Deployment
from reconcile.resources.core import Event, Namespace
from reconcile.runtime.api import ApiServer
from reconcile.runtime.client import InProcessClient
from reconcile.runtime.engine.engine import Engine
from reconcile.runtime.store import Store
from reconcile.runtime.store.database import InlineDatabase
from reconcile.runtime.testing.virtual import VirtualClock


@attrs.define
class Plane:
    """The control plane of one test, and short ways to use it. Everything is in the namespace `default`."""

    clock: VirtualClock
    client: InProcessClient
    engine: Engine

    async def create(self, cls: type[Resource], tree: Tree) -> Tree:
        """Create an object."""
        return await self.client.create(kind_of(cls), tree, "default" if kind_of(cls).namespaced else "")

    async def get(self, cls: type[Resource], name: str) -> Tree:
        """The newest state of an object."""
        return await self.client.get(kind_of(cls), name, "default" if kind_of(cls).namespaced else "")

    async def all(self, cls: type[Resource], labels: str = "") -> Sequence[Tree]:
        """All objects of a kind."""
        return (await self.client.list(kind_of(cls), labels=labels)).items

    async def patch(self, cls: type[Resource], name: str, body: Tree, subresource: str = "") -> Tree:
        """Merge-patch an object."""
        namespace = "default" if kind_of(cls).namespaced else ""
        return await self.client.patch(kind_of(cls), name, Patch(MERGE_PATCH, body), namespace, subresource=subresource)

    async def delete(self, cls: type[Resource], name: str, grace_s: int | None = None) -> None:
        """Delete an object; one that is gone is fine."""
        try:
            namespace = "default" if kind_of(cls).namespaced else ""
            await self.client.delete(kind_of(cls), name, namespace, DeleteOptions(grace_s=grace_s))
        except NotFoundError:
            return

    async def until(self, fact: Callable[[], Awaitable[Any]], what: str, limit_s: float = 60.0) -> Any:
        """Wait, in virtual time, until `fact` gives something true; returns it."""
        ends_s = self.clock.monotonic() + limit_s
        while self.clock.monotonic() < ends_s:
            found = await fact()
            if found:
                return found
            await self.clock.sleep(0.02)
        raise AssertionError(f"after {limit_s} virtual seconds, still not: {what}")

    async def events(self, name: str) -> list[tuple[str, str]]:
        """Reason and message of all Events about objects of that name (or name prefix, ending in `*`)."""
        await self.engine.settled()
        found = [(e["involvedObject"]["name"], e["reason"], e["message"]) for e in await self.all(Event)]
        return [(r, m) for n, r, m in found if n == name or (name.endswith("*") and n.startswith(name[:-1]))]

    async def complete(self, name: str, limit_s: float = 60.0) -> Tree:
        """Wait until a Deployment is rolled out; returns it."""

        async def done() -> Tree | None:
            tree = await self.get(Deployment, name)
            status, replicas = tree.get("status") or {}, tree["spec"]["replicas"]
            counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")]
            current = status.get("observedGeneration") == tree["metadata"]["generation"]
            return tree if current and counts == [replicas] * 3 else None

        found: Tree = await self.until(done, f"deployment {name} complete", limit_s)
        return found


PlaneOf = Callable[..., AbstractAsyncContextManager[Plane]]


@pytest.fixture
def control_plane() -> PlaneOf:
    """A function of a clock and operators: `async with control_plane(clock, operator, ...) as plane`."""

    @asynccontextmanager
    async def run(clock: VirtualClock, *operators: Operator) -> AsyncIterator[Plane]:
        store = await Store.open(":memory:", clock, database=InlineDatabase)
        api = ApiServer(store, clock, namespace_kind=kind_of(Namespace))
        for cls in builtin_kinds():
            api.serve(kind_of(cls))
        client = InProcessClient(api)
        for tree in bootstrap_objects():
            await client.create(kind_of(Namespace), tree)
        engine = Engine(client, clock, admission=api)
        try:
            for operator in operators:
                await engine.start(operator)
            yield Plane(clock, client, engine)
        finally:
            await engine.close()
            await store.close()

    return run


@pytest.fixture
def deployment_tree() -> Callable[..., Tree]:
    """A function that makes a Deployment `web`; keyword arguments go to its spec, `image` and `annotations` to the Pods."""

    def make(replicas: int = 3, image: str = "web:1", annotations: dict[str, str] | None = None, **spec: Any) -> Tree:
        template = {
            "metadata": {"labels": {"app": "web"}, "annotations": annotations or {}},
            "spec": {"containers": [{"name": "web", "image": image}]},
        }
        wanted = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template}
        return {"metadata": {"name": "web"}, "spec": {**wanted, **spec}}

    return make
