"""A control plane in this process with the Service proxy, and small servers to stand for pods."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from reconcile.errors import Tree
from reconcile.kinds import kind_of
from reconcile.resources import bootstrap_objects, builtin_kinds
from reconcile.resources.core import Event, Namespace, Service
from reconcile.resources.discovery import EndpointSlice
from reconcile.resources.proxy import ServiceProxy
from reconcile.runtime.api import ApiServer
from reconcile.runtime.client import InProcessClient
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.engine.engine import Engine
from reconcile.runtime.network import claim_network
from reconcile.runtime.store import Store

BACKEND_PORT = 18123


@attrs.define
class Plane:
    """An API, an engine and a proxy."""

    client: InProcessClient
    proxy: ServiceProxy
    engine: Engine
    net: str
    servers: list[asyncio.Server] = attrs.field(factory=list)

    async def serve(self, number: int, reply: bytes) -> str:
        """A backend at an address of its own: it sends `reply`, echoes what it gets, and ends when the client ends."""
        address = f"{self.net}.16.{number}"

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(reply)
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()

        self.servers.append(await asyncio.start_server(handle, address, BACKEND_PORT))
        return address

    async def service(self, name: str = "web", **spec: object) -> str:
        address = f"{self.net}.0.{10 + len(name)}"
        whole = {"clusterIP": address, "ports": [{"port": 8080}], **spec}
        await self.client.create(kind_of(Service), {"metadata": {"name": name}, "spec": whole}, "default")
        return address

    async def endpoints(self, *endpoints: Tree, name: str = "web") -> None:
        tree = {
            "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}}, "addressType": "IPv4",
            "ports": [{"name": "", "port": BACKEND_PORT, "protocol": "TCP"}], "endpoints": list(endpoints),
        }  # fmt: skip  # pairs read better packed
        kind = kind_of(EndpointSlice)
        page = await self.client.list(kind, "default")
        if any(item["metadata"]["name"] == f"{name}-1" for item in page.items):
            await self.client.update(kind, tree, "default")
        else:
            await self.client.create(kind, tree, "default")

    async def ask(self, address: str, sent: bytes = b"", port: int = 8080, limit_s: float = 5.0) -> bytes:
        """What a client gets that sends `sent` and its end; tried until somebody listens."""
        async with asyncio.timeout(limit_s):
            while True:
                try:
                    reader, writer = await asyncio.open_connection(address, port)
                    break
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)
            writer.write(sent)
            writer.write_eof()
            try:
                return await reader.read()
            finally:
                writer.close()

    async def eventually(self, holds: Callable[[], Any], limit_s: float = 5.0) -> Any:
        """Wait until `holds()` (which may be awaitable) is true, and give what it gave."""
        async with asyncio.timeout(limit_s):
            while True:
                found = holds()
                if inspect.isawaitable(found):
                    found = await found
                if found:
                    return found
                await asyncio.sleep(0.005)

    async def events(self) -> list[Tree]:
        return list((await self.client.list(kind_of(Event), "default")).items)


@asynccontextmanager
async def _control_plane(folder: Path) -> AsyncIterator[Plane]:
    clock = SystemClock()
    store = await Store.open(folder / "store", clock)
    api = ApiServer(store, clock, namespace_kind=kind_of(Namespace))
    for cls in builtin_kinds():
        api.serve(kind_of(cls))
    client = InProcessClient(api)
    for tree in bootstrap_objects():
        await client.create(kind_of(Namespace), tree)
    engine = Engine(client, clock, admission=api)
    proxy = ServiceProxy()
    await engine.start(proxy.operator)
    network = claim_network(folder)
    made = Plane(client, proxy, engine, f"127.{network.number}")
    try:
        yield made
    finally:
        for server in made.servers:
            server.close()
        await engine.close()
        await store.close()
        network.release()
        await asyncio.sleep(0)


@pytest.fixture
def plane(tmp_path: Path) -> AbstractAsyncContextManager[Plane]:
    """Use as `async with plane as cluster`."""
    return _control_plane(tmp_path)
