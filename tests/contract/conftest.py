"""One store, three times: embedded, our own gRPC server through EtcdStore, and a real etcd through EtcdStore."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import Store, WatchStore
from reconcile.runtime.store.etcd import EtcdServer
from reconcile.runtime.store.remote import EtcdAddress, EtcdStore, RemoteSettings
from tests.etcd.conftest import real_etcd_process

Opened = Callable[[], AbstractAsyncContextManager[WatchStore]]
"""Opens the store of this test; again after it was closed, it is a restart, and what was written is there."""
Cluster = Callable[..., AbstractAsyncContextManager[EtcdAddress]]
"""Serves an etcd for this test: the address with a prefix of its own."""

# An etcd on a busy machine needs a moment to elect itself.
REMOTE = RemoteSettings(open_timeout_s=20.0, attempt_timeout_s=5.0)
_numbers = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With xdist, one worker runs all of these: they share one etcd."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("contract"))


@pytest.fixture(scope="session")
def real_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real etcd for all tests; each has a prefix of its own."""
    with real_etcd_process(tmp_path_factory.mktemp("etcd"), "--unsafe-no-fsync") as address:
        yield address


@pytest.fixture(params=["ours", "real"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Cluster:
    """Our server, or a real etcd."""
    prefix = f"/test-{next(_numbers)}"
    if request.param == "real":
        endpoint = request.getfixturevalue("real_etcd")

        @asynccontextmanager
        async def real() -> AsyncIterator[EtcdAddress]:
            yield EtcdAddress((endpoint,), prefix)

        return real

    @asynccontextmanager
    async def ours() -> AsyncIterator[EtcdAddress]:
        clock = SystemClock()
        async with await Store.open(tmp_path / "served", clock) as store:
            server = await EtcdServer.serve(store, clock, "127.0.0.1:0")
            try:
                yield EtcdAddress((server.address,), prefix)
            finally:
                await server.close()

    return ours


@pytest.fixture(params=["embedded", "ours", "real"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Every test of the contract runs over each of them."""
    prefix = f"/test-{next(_numbers)}"

    @asynccontextmanager
    async def embedded() -> AsyncIterator[WatchStore]:
        async with await Store.open(tmp_path / "data", SystemClock()) as store:
            yield store

    @asynccontextmanager
    async def real() -> AsyncIterator[WatchStore]:
        address = EtcdAddress((request.getfixturevalue("real_etcd"),), prefix)
        async with await EtcdStore.open(address, SystemClock(), settings=REMOTE) as store:
            yield store

    @asynccontextmanager
    async def ours() -> AsyncIterator[WatchStore]:
        clock = SystemClock()
        async with await Store.open(tmp_path / "data", clock) as served:
            server = await EtcdServer.serve(served, clock, "127.0.0.1:0")
            try:
                async with await EtcdStore.open(EtcdAddress((server.address,), prefix), clock, settings=REMOTE) as store:
                    yield store
            finally:
                await server.close()

    return {"embedded": embedded, "ours": ours, "real": real}[request.param]
