"""How many changes a second pass through informer, queue and a reconcile handler that does nothing.

    python tests/bench/bench_engine.py

1,000 pods, five changes each, fed by a client that costs nothing; printed per event, and as a ratio to the budget (20 us
for the informer alone, and 1,000 pods with five changes each a second for everything).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from reconcile.client import Page, WatchEvent
from reconcile.errors import Tree
from reconcile.handling import Cluster
from reconcile.kinds import Resource, kind
from reconcile.registry import Operator
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.engine.engine import Engine
from reconcile.runtime.engine.informer import Informer
from reconcile.views import field, struct

PODS, CHANGES = 1000, 5


@struct
class PodSpec:
    node_name: str = ""
    containers: list[dict[str, Any]] = field(factory=list)


@struct
class PodStatus:
    phase: str = ""


@kind("", "v1", builtin=True)
class Pod(Resource):
    spec: PodSpec = field(factory=PodSpec)
    status: PodStatus = field(factory=PodStatus)


@kind("apps", "v1", builtin=True)
class ReplicaSet(Resource):
    spec: dict[str, Any] = field(factory=dict)


def pod(number: int, revision: int, phase: str) -> Tree:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "rs", "controller": True}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"web-{number}", "namespace": "default", "uid": f"u{number}", "resourceVersion": str(revision),
            "labels": {"app": "web", "pod-template-hash": "abc"}, "ownerReferences": [owner],
        },
        "spec": {"nodeName": f"n{number % 100}", "containers": [{"name": "web", "image": "web:1"}]},
        "status": {"phase": phase},
    }  # fmt: skip


class Feed:
    """A client whose watch brings what it is given."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[WatchEvent] = asyncio.Queue()

    async def list(self, kind: Any, *_: Any, **__: Any) -> Page:
        return Page([], 0)

    async def watch(self, kind: Any, *_: Any, **__: Any) -> AsyncIterator[WatchEvent]:
        while True:
            event = await self.events.get()
            if kind is Pod.__kind__:
                yield event


def events() -> list[WatchEvent]:
    made = []
    revision = 0
    for change in range(CHANGES):
        for number in range(PODS):
            revision += 1
            made.append(WatchEvent("MODIFIED" if change else "ADDED", pod(number, revision, f"phase {change}"), revision))
    return made


def report(what: str, count: int, took_s: float, budget_us: float) -> None:
    each_us = took_s / count * 1e6
    print(f"{what:55} {count / took_s:10,.0f} events/s {each_us:8.1f} us each  {each_us / budget_us:5.2f} of the budget")


async def informer_alone() -> None:
    informer = Informer(Feed(), Pod.__kind__, SystemClock())  # type: ignore[arg-type]  # as much of a client as is used
    informer.subscribe(lambda *_: None)
    informer.cache.where(("spec", "nodeName"), "")
    stream = events()
    start = time.perf_counter()
    for event in stream:
        informer.handle(event)
    report("informer with owner, namespace and nodeName index", len(stream), time.perf_counter() - start, 20)


async def whole(what: str, operator: Operator, count: list[int]) -> None:
    feed, clock = Feed(), SystemClock()
    engine = Engine(feed, clock)  # type: ignore[arg-type]  # as much of a client as is used
    await engine.start(operator)
    stream = events()
    start = time.perf_counter()
    for number, event in enumerate(stream):
        feed.events.put_nowait(event)
        if number % 10 == 0:
            await asyncio.sleep(0)
    while not feed.events.empty() or not engine.idle:  # noqa: ASYNC110 - a benchmark must not wait for a poll
        await asyncio.sleep(0)
    report(f"{what} ({count[0]} runs)", len(stream), time.perf_counter() - start, 200)
    await engine.close()


def noop() -> tuple[Operator, list[int]]:
    app, count = Operator("noop.example.com"), [0]

    @app.on.reconcile(Pod)
    async def nothing(pod: Pod) -> None:
        count[0] += 1

    return app, count


def reading() -> tuple[Operator, list[int]]:
    app, count = Operator("reading.example.com"), [0]

    @app.on.reconcile(Pod)
    async def reads(pod: Pod, cluster: Cluster) -> None:
        count[0] += 1
        await cluster.find(Pod, "web-0")
        await cluster.list(Pod, index=("spec.nodeName", pod.spec.node_name))

    return app, count


def inline() -> tuple[Operator, list[int]]:
    app, count = Operator("inline.example.com"), [0]

    @app.on.event(Pod, inline=True)
    def seen(pod: Pod, event: str) -> None:
        count[0] += 1

    return app, count


async def main() -> None:
    await informer_alone()
    await whole("inline event handler", *inline())
    await whole("reconcile that does nothing", *noop())
    await whole("reconcile that reads an object and an index", *reading())


if __name__ == "__main__":
    asyncio.run(main())
