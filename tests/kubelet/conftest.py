"""A control plane in this process with the kubelet on real processes, for tests that need both."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from reconcile.client import DeleteOptions, Patch
from reconcile.errors import NotFoundError, Tree
from reconcile.kinds import Kind, kind_of
from reconcile.resources import bootstrap_objects, builtin_kinds
from reconcile.resources.core import ConfigMap, Namespace, Pod
from reconcile.resources.kubelet import Kubelet, KubeletSettings, kubelet
from reconcile.resources.kubelet.process.runtime import ProcessRuntime
from reconcile.runtime.api import ApiServer
from reconcile.runtime.client import InProcessClient
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.engine.engine import Engine
from reconcile.runtime.network import claim_network
from reconcile.runtime.store import Store

NODE = "node-1"
SETTINGS = KubeletSettings(
    backoff_s_first=0.1, backoff_s_max=0.4, termination_delay_s=0.0, vanished_grace_s=0.2, config_retry_s=5.0, grace_s_min=0.1
)


@attrs.define
class Plane:
    """An API and an engine; `start_kubelet` puts a kubelet on it, as often as a test wants a new one."""

    client: InProcessClient
    engine: Engine
    clock: SystemClock
    folder: Path
    net: str
    kubelets: list[Kubelet] = attrs.field(factory=list)

    async def start_kubelet(self, settings: KubeletSettings = SETTINGS) -> Kubelet:
        runtime = ProcessRuntime(self.folder / "run", self.clock)
        made = kubelet(NODE, runtime, pod_cidr=f"{self.net}.16.0/24", data_dir=self.folder / "kubelet", settings=settings)
        await self.engine.start(made.operator)
        self.kubelets.append(made)
        return made

    async def drop_kubelet(self, made: Kubelet, *, stop_pods: bool = False) -> None:
        self.kubelets.remove(made)
        await made.close(stop_pods=stop_pods)
        await self.engine.stop(made.operator)

    async def create(self, tree: Tree, cls: type[Any] = Pod) -> Tree:
        return await self.client.create(kind_of(cls), tree, "default")

    async def pod(self, name: str = "p") -> Tree | None:
        try:
            return await self.client.get(kind_of(Pod), name, "default")
        except NotFoundError:
            return None

    async def until(self, wanted: Callable[[Tree], object], name: str = "p", limit_s: float = 8.0) -> Tree:
        """The pod, once `wanted` holds for it."""
        tree: Tree | None = None
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    tree = await self.pod(name)
                    if tree is not None and wanted(tree):
                        return tree
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"pod {name} never came to be as wanted; it is {tree and tree.get('status')}") from None

    async def until_gone(self, name: str = "p", limit_s: float = 8.0) -> None:
        async def gone() -> bool:
            return await self.pod(name) is None

        await self.eventually(gone, limit_s)

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

    async def patch(self, name: str, merge: Tree, cls: type[Any] = ConfigMap) -> None:
        kind: Kind = kind_of(cls)
        await self.client.patch(kind, name, Patch("application/merge-patch+json", merge), "default")

    async def delete(self, name: str = "p", grace_s: int | None = None) -> None:
        await self.client.delete(kind_of(Pod), name, "default", DeleteOptions(grace_s=grace_s))


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
    network = claim_network(folder)
    made = Plane(client, engine, clock, folder, f"127.{network.number}")
    try:
        yield made
    finally:
        for node in list(made.kubelets):
            await made.drop_kubelet(node, stop_pods=True)
        await engine.close()
        await store.close()
        network.release()


@pytest.fixture
def plane(tmp_path: Path) -> AbstractAsyncContextManager[Plane]:
    """Use as `async with plane as cluster`."""
    return _control_plane(tmp_path)


@pytest.fixture
def make_pod() -> Callable[..., Tree]:
    """Builds a Pod on the test's node: `make_pod(["sleep", "1"], probe=...)`; keyword arguments go into the container."""

    def make(
        command: list[str] | None, name: str = "p", *, spec: Tree | None = None, meta: Tree | None = None, **more: Any
    ) -> Tree:
        container = {"name": "c", **({"command": command} if command else {}), **more}
        whole = {"nodeName": NODE, "terminationGracePeriodSeconds": 2, "containers": [container], **(spec or {})}
        metadata = {"name": name, "namespace": "default", **(meta or {})}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": whole}

    return make
