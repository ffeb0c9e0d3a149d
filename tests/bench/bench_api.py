"""How fast the API core is, in process: `python tests/bench/bench_api.py [objects]`.

Pod-sized objects, 64 concurrent callers, a store in memory (`--disk` for one in a temporary folder). CPU time is what
counts: it is printed per operation, together with the rate.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from reconcile import Resource, field, kind, struct
from reconcile.client import MERGE_PATCH, Patch
from reconcile.errors import Tree
from reconcile.runtime.api import ApiServer
from reconcile.runtime.client import InProcessClient
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import MEMORY, AioDatabase, InlineDatabase, Store

CALLERS = 64


@struct
class Port:
    container_port: int
    protocol: str = field(default="TCP", server_default="TCP", enum=("TCP", "UDP"))


@struct
class Env:
    name: str
    value: str = ""


@struct
class Container:
    name: str
    image: str = ""
    command: list[str] = field(factory=list)
    ports: list[Port] = field(factory=list, list_type="map", list_map_keys=("containerPort", "protocol"))
    env: list[Env] = field(factory=list, list_type="map", list_map_keys=("name",))
    resources: dict[str, Any] = field(factory=dict)


@struct
class Toleration:
    key: str = ""
    operator: str = field(default="", server_default="Equal")
    effect: str = ""


@struct
class BenchSpec:
    containers: list[Container] = field(list_type="map", list_map_keys=("name",), min_items=1)
    node_name: str = ""
    restart_policy: str = field(default="Always", server_default="Always", enum=("Always", "Never"))
    termination_grace_period_seconds: int = field(default=30, server_default=30, minimum=0)
    tolerations: list[Toleration] = field(factory=list)


@struct
class BenchStatus:
    phase: str = ""
    conditions: list[dict[str, Any]] = field(factory=list)


@kind("bench.example.com", "v1", selectable=("spec.nodeName",))
class Bench(Resource):
    """About the size of a Pod."""

    spec: BenchSpec
    status: BenchStatus = field(factory=BenchStatus)


KIND = Bench.__kind__


def tree(number: int) -> Tree:
    """One object."""
    return {
        "apiVersion": KIND.api_version,
        "kind": KIND.kind,
        "metadata": {
            "name": f"web-6b7c9d5f4-{number:05d}", "labels": {"app": "web", "pod-template-hash": "6b7c9d5f4"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6b7c9d5f4", "controller": True,
                "uid": "549a9da0-af47-4e87-99c7-71cb05b9de0d", "blockOwnerDeletion": True,
            }],
        },
        "spec": {
            "containers": [{
                "name": "web", "image": "web:1", "command": ["python", "-m", "http.server"], "ports": [{"containerPort": 8080}],
                "env": [{"name": "A", "value": "b"}, {"name": "C", "value": "d"}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
            }],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}],
        },
    }  # fmt: skip


async def spread(count: int, work: Callable[[int], Awaitable[Any]]) -> None:
    """Run `work` for each number, as CALLERS callers."""
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            await work(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(caller())


async def timed(name: str, count: int, run: Awaitable[Any]) -> None:
    """Print the rate and the CPU time of each operation."""
    started, cpu = time.perf_counter(), time.process_time()
    await run
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(f"{name:<28}{count / took:>10,.0f}/s{cpu / count * 1e6:>10.0f} us CPU each")


async def measure(count: int, disk: bool) -> None:
    """All figures."""
    with tempfile.TemporaryDirectory() as folder:
        place, database = (Path(folder), AioDatabase) if disk else (MEMORY, InlineDatabase)
        clock = SystemClock()
        async with await Store.open(place, clock, database=database) as store:
            api = ApiServer(store, clock)
            api.serve(KIND)
            client = InProcessClient(api)

            async def follow(total: int, **options: Any) -> None:
                seen = 0
                async for event in client.watch(KIND, **options):
                    seen += event.type != "BOOKMARK"
                    if seen == total:
                        return

            def status(phase: str) -> Patch:
                conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-23T01:11:47Z"}]
                return Patch(MERGE_PATCH, {"status": {"phase": phase, "conditions": conditions}})

            await timed("create", count, spread(count, lambda n: client.create(KIND, tree(n), "default")))
            await timed("get", count, spread(count, lambda n: client.get(KIND, tree_name(n), "default")))
            running = status("Running")
            await timed(
                "patch status", count,
                spread(count, lambda n: client.patch(KIND, tree_name(n), running, "default", subresource="status")),
            )  # fmt: skip
            node = Patch(MERGE_PATCH, {"spec": {"nodeName": "n1"}})
            await timed("patch spec", count, spread(count, lambda n: client.patch(KIND, tree_name(n), node, "default")))
            await timed(f"list of {count:,}", 1, client.list(KIND))
            await timed(f"list of {count:,}, by field", 1, client.list(KIND, fields="spec.nodeName=n2"))
            await timed("watch from the ring, each", count, follow(count, since=store.revision - count))
            failed = status("Failed")

            async def watched() -> None:
                async with asyncio.TaskGroup() as group:
                    for _ in range(4):
                        group.create_task(follow(count, since=store.revision))
                    await spread(count, lambda n: client.patch(KIND, tree_name(n), failed, "default", subresource="status"))

            await timed("patch seen by 4 watchers", count, watched())
            await timed("delete", count, spread(count, lambda n: client.delete(KIND, tree_name(n), "default")))


def tree_name(number: int) -> str:
    """The name of one object."""
    return f"web-6b7c9d5f4-{number:05d}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("objects", type=int, nargs="?", default=10_000)
    parser.add_argument("--disk", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    if options.profile:
        profile = cProfile.Profile()
        profile.runcall(asyncio.run, measure(options.objects, options.disk))
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
    else:
        asyncio.run(measure(options.objects, options.disk))
