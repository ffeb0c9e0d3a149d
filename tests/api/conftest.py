"""A server over a store in memory, and kinds of the tests' own: the runtime must not need the built-in ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
import pytest

from reconcile import Column, Hooks, Resource, Scale, field, kind, struct
from reconcile.errors import Cause, Tree
from reconcile.quantities import IntOrString, Quantity
from reconcile.runtime.api import ApiServer
from reconcile.runtime.client import InProcessClient
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import MEMORY, InlineDatabase, Store


@struct
class Port:
    port: int = field(minimum=1, maximum=65535)
    protocol: str = field(default="TCP", server_default="TCP", enum=("TCP", "UDP"))
    name: str = ""


@struct
class Item:
    name: str
    image: str = ""
    limit: Quantity | None = None
    ports: list[Port] = field(
        factory=list, list_type="map", list_map_keys=("port", "protocol"), merge_key="port", merge_strategy="merge"
    )


@struct
class SiteSpec:
    replicas: int = field(default=1, minimum=0, server_default=1)
    host: str = field(default="", pattern="^[a-z.]*$", max_length=20)
    zone: str = field(default="", immutable=True)
    surge: IntOrString | None = None
    node_name: str = ""
    tags: list[str] = field(factory=list, list_type="set", merge_strategy="merge")
    items: list[Item] = field(factory=list, list_type="map", list_map_keys=("name",), merge_key="name", merge_strategy="merge")
    args: list[str] = field(factory=list)
    data: dict[str, str] = field(factory=dict)
    selector: dict[str, Any] = field(factory=dict, map_type="atomic")


@struct
class SiteStatus:
    replicas: int = 0
    phase: str = ""


def grace(tree: Tree, asked_s: int | None) -> int:
    return int(tree["spec"].get("data", {}).get("grace", "0")) if asked_s is None else asked_s


def prepared(tree: Tree, old: Tree | None) -> None:
    if old is None and "prepare" in tree["spec"].get("data", {}):
        tree["spec"]["data"]["prepared"] = "yes"


def rules(tree: Tree, old: Tree | None) -> list[Cause]:
    if "bad" in tree["spec"].get("data", {}):
        return [Cause("FieldValueForbidden", "Forbidden: no bad data", "spec.data.bad")]
    return []


def placed(tree: Tree, body: Tree) -> Tree:
    tree["spec"]["nodeName"] = body["target"]
    return tree


@kind(
    "example.com", "v1", short_names=("si",), selectable=("spec.nodeName", "status.phase"), scale=Scale(),
    columns=(Column("Replicas", ".spec.replicas", "integer"),),
    hooks=Hooks(grace_s=grace, prepare=prepared, validate=rules, actions={"place": placed}),
)  # fmt: skip
class Site(Resource):
    """A site."""

    spec: SiteSpec
    status: SiteStatus = field(factory=SiteStatus)


@kind("example.com", "v1", plural="rooms", namespaced=False)
class Room(Resource):
    """What namespaces are in these tests."""


@kind("", "v1", plural="configmaps", builtin=True, has_generation=False)
class ConfigMap(Resource):
    """The kind that the recorded error texts are about."""

    data: dict[str, str] = field(factory=dict)


@attrs.frozen
class Serving:
    """What a test works with."""

    store: Store
    api: ApiServer
    client: InProcessClient
    site: Any = Site.__kind__
    room: Any = Room.__kind__
    config: Any = ConfigMap.__kind__

    async def make(self, name: str = "a", *, labels: dict[str, str] | None = None, **spec: Any) -> Tree:
        """Create a Site in namespace "n"."""
        tree: Tree = {"metadata": {"name": name, **({"labels": labels} if labels else {})}, "spec": spec}
        return await self.client.create(self.site, tree, "n")

    async def get(self, name: str = "a") -> Tree:
        return await self.client.get(self.site, name, "n")


Open = Callable[..., AbstractAsyncContextManager[Serving]]


@pytest.fixture
def serving() -> Open:
    """Opens a server: `async with serving() as s`."""

    @asynccontextmanager
    async def opened(*, namespaces: bool = False, **options: Any) -> AsyncIterator[Serving]:
        clock = SystemClock()
        async with await Store.open(MEMORY, clock, database=InlineDatabase) as store:
            api = ApiServer(store, clock, namespace_kind=Room.__kind__ if namespaces else None, **options)
            for declared in (Site, ConfigMap):
                api.serve(declared.__kind__)
            yield Serving(store, api, InProcessClient(api))

    return opened
