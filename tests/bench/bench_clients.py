"""Clients over HTTPS, as many as a busy cluster has: `python -m tests.bench clients`.

A real `up` in a process of its own; this process is all clients (TLS, a token, JSON), so that both cores are shared by the
server and its load. Printed beside the targets: creates, gets and patches by 64 clients and by one; memory of the control plane
empty, and with 10,000 Pods stored; seconds from the command to an API that answers. Watches have a bench of their own.

The targets at 64 clients are twice, those at one client just what a kube-apiserver 1.36 on etcd 3.5 did on a machine of this
size: 390 creates, 1,450 gets, 650 patches a second; 3.6 ms a create, 1.0 ms a get.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import psutil

from reconcile.runtime.client.kubeconfig import load
from tests.plane import Plane, keeping_compiled

CLIENTS, REQUESTS, ALONE = 64, 4000, 400
PODS = 10_000
MAPS = "/api/v1/namespaces/default/configmaps"
MERGE = {"Content-Type": "application/merge-patch+json"}
AT_64 = {"create": 780.0, "get": 2900.0, "patch": 1300.0}
AT_ONE = {"create": 3.6, "get": 1.0}


def say(what: str, value: float, unit: str, target: float | None = None, *, above: bool = False) -> None:
    """One figure, beside its target where there is one."""
    verdict = ""
    if target is not None:
        met = value >= target if above else value < target
        verdict = f"(target {'>=' if above else '<'} {target:g} {unit}: {'ok' if met else 'MISSED'}, ratio {value / target:.2f})"
    sys.stdout.write(f"  {what:52} {value:9.2f} {unit:3} {verdict}\n")
    sys.stdout.flush()


def session(plane: Plane, connections: int) -> aiohttp.ClientSession:
    """Clients of a plane."""
    access = load(plane.data_dir / "kubeconfig")
    connector = aiohttp.TCPConnector(limit=connections, ssl=access.tls() or False)
    headers = {"Authorization": f"Bearer {access.token}"}
    return aiohttp.ClientSession(access.server, connector=connector, headers=headers, timeout=aiohttp.ClientTimeout(total=None))


async def repeat(clients: int, requests: int, ask: Callable[[int], Awaitable[None]]) -> tuple[float, list[float]]:
    """`ask` for each number, by so many at once. Returns requests a second, and milliseconds of each, sorted."""
    took_ms: list[float] = []

    async def client(first: int) -> None:
        for number in range(first, requests, clients):
            began = time.perf_counter()
            await ask(number)
            took_ms.append((time.perf_counter() - began) * 1000)

    began = time.perf_counter()
    await asyncio.gather(*(client(first) for first in range(clients)))
    return requests / (time.perf_counter() - began), sorted(took_ms)


async def requests(plane: Plane, clients: int, count: int) -> None:
    """Create, get and patch ConfigMaps."""
    async with session(plane, clients) as http:

        async def create(number: int) -> None:
            body = {"metadata": {"name": f"c{clients}-{number}"}, "data": {"a": "x" * 100}}
            async with http.post(MAPS, json=body) as answer:
                assert answer.status == 201, await answer.text()
                await answer.read()

        async def get(number: int) -> None:
            async with http.get(f"{MAPS}/c{clients}-{number}") as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()

        async def patch(number: int) -> None:
            async with http.patch(f"{MAPS}/c{clients}-{number}", data=b'{"data":{"a":"y"}}', headers=MERGE) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()

        for name, ask in (("create", create), ("get", get), ("patch", patch)):
            per_s, took_ms = await repeat(clients, count, ask)
            middle, worst = statistics.median(took_ms), took_ms[int(len(took_ms) * 0.99)]
            if clients > 1:
                say(f"{name}, {clients} clients", per_s, "/s", AT_64[name], above=True)
                say(f"  p50, p99 {worst:.1f} ms", middle, "ms")
            else:
                say(f"{name}, one client (p50)", middle, "ms", AT_ONE.get(name))


async def store_pods(plane: Plane) -> None:
    """Pods that nobody schedules: they are there, and that is all."""
    async with session(plane, CLIENTS) as http:

        async def create(number: int) -> None:
            spec = {"schedulerName": "nobody", "containers": [{"name": "main", "image": "example.com/app:1", "env": [
                {"name": f"SETTING_{n}", "value": "a value of usual length"} for n in range(5)]}]}  # fmt: skip
            pod = {"metadata": {"name": f"p-{number}", "labels": {"app": "bench"}}, "spec": spec}
            async with http.post("/api/v1/namespaces/default/pods", json=pod) as answer:
                assert answer.status == 201, await answer.text()
                await answer.read()

        per_s, _ = await repeat(CLIENTS, PODS, create)
        say(f"create Pods, {CLIENTS} clients", per_s, "/s")


def started(root: Path) -> tuple[float, Plane]:
    """A cold `up` of an empty folder: seconds until its API answers, and the plane."""
    shutil.rmtree(root, ignore_errors=True)
    (root / "folder").mkdir(parents=True)
    plane = Plane(root / "folder", root / "state", env=keeping_compiled(root.parent / "compiled"))
    began = time.perf_counter()
    plane.start()
    return time.perf_counter() - began, plane


def main() -> None:
    """Measure everything and print."""
    root = Path(tempfile.mkdtemp(prefix="bench-clients-"))
    plane: Plane | None = None
    try:
        first_s, plane = started(root / "up")
        ready = []
        for _ in range(5):
            plane.bury()
            ready_s, plane = started(root / "up")
            ready.append(ready_s)
        say("API ready, nothing compiled yet", first_s, "s")
        say("API ready (median of 5)", statistics.median(ready), "s", 0.5)
        control = psutil.Process(plane.pid)
        time.sleep(2.0)
        say("RSS, empty", control.memory_info().rss / 2**20, "MB", 100.0)
        asyncio.run(requests(plane, CLIENTS, REQUESTS))
        asyncio.run(requests(plane, 1, ALONE))
        plane.bury()
        _, plane = started(root / "pods")
        asyncio.run(store_pods(plane))
        time.sleep(2.0)
        say(f"RSS, {PODS:,} Pods", psutil.Process(plane.pid).memory_info().rss / 2**20, "MB", 200.0)
    finally:
        if plane is not None:
            plane.bury()
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
