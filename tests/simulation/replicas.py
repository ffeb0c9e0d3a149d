"""Replicas that share the objects of one operator, on the real API in virtual time: slow, paused, killed, cut off."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Any, Self

from reconcile import Operator, Resource, field, kind, struct
from reconcile.client import DeleteOptions, Page, Patch, WatchEvent
from reconcile.errors import Tree, UnavailableError
from reconcile.kinds import Kind
from reconcile.runtime.api import ApiServer
from reconcile.runtime.client.inprocess import InProcessClient
from reconcile.runtime.engine.election import LEASE
from reconcile.runtime.engine.membership import Membership
from reconcile.runtime.engine.queue import ObjectKey
from reconcile.runtime.remote import RemoteOperators
from reconcile.runtime.store import InlineDatabase, Store
from reconcile.runtime.testing.mirror import Mirror
from reconcile.runtime.testing.virtual import VirtualClock


@struct
class Spec:
    turn: int = 0


@struct
class Status:
    turn: int = -1
    step: int = 0


@kind("example.com", "v1")
class Job(Resource):
    """Something to be done in steps, which two must not do at once."""

    spec: Spec = field(factory=Spec)
    status: Status = field(factory=Status)


class Wire:
    """A replica's way to the API: as slow, late and broken as it is told to be."""

    def __init__(self, replica: Replica, api: ApiServer) -> None:
        self._replica, self._inner = replica, InProcessClient(api)
        self.cut = self.dead = False
        self.lag_s = 0.0
        self.errors = 0.0
        self.running = asyncio.Event()
        self.running.set()

    async def _pass(self) -> None:
        random = self._replica.fleet.clock.random
        await self._replica.fleet.clock.sleep(random.choice((0, 0, 0.01, 0.2)) if self.lag_s else 0)
        await self.running.wait()
        if self.dead:
            await asyncio.get_running_loop().create_future()  # a dead process never hears anything
        if self.cut or random.random() < self.errors:
            raise UnavailableError("no route to the server")

    async def _write(self, call: Callable[..., Any], kind: Kind, *args: Any, **options: Any) -> Any:
        await self._pass()
        done = await call(kind, *args, **options)
        self._replica.fleet.wrote(self._replica, kind, done)
        await self._pass()
        return done

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Tree:
        await self._pass()
        return await self._inner.get(kind, name, namespace)

    async def list(self, kind: Kind, namespace: str = "", **options: Any) -> Page:
        await self._pass()
        found = await self._inner.list(kind, namespace, **options)
        await self._pass()
        return found

    async def watch(self, kind: Kind, namespace: str = "", **options: Any) -> AsyncIterator[WatchEvent]:
        async with contextlib.aclosing(self._inner.watch(kind, namespace, **options)) as events:  # type: ignore[type-var]
            async for event in events:
                await self._replica.fleet.clock.sleep(self.lag_s * self._replica.fleet.clock.random.random())
                await self._pass()
                yield event

    async def create(self, kind: Kind, tree: Tree, namespace: str = "", **options: Any) -> Tree:
        return await self._write(self._inner.create, kind, tree, namespace, **options)  # type: ignore[no-any-return]

    async def update(self, kind: Kind, tree: Tree, namespace: str = "", **options: Any) -> Tree:
        return await self._write(self._inner.update, kind, tree, namespace, **options)  # type: ignore[no-any-return]

    async def patch(self, kind: Kind, name: str, patch: Patch, namespace: str = "", **options: Any) -> Tree:
        return await self._write(self._inner.patch, kind, name, patch, namespace, **options)  # type: ignore[no-any-return]

    async def delete(self, kind: Kind, name: str, namespace: str = "", options: DeleteOptions = DeleteOptions()) -> Tree:  # noqa: B008
        return await self._write(self._inner.delete, kind, name, namespace, options)  # type: ignore[no-any-return]

    async def act(self, kind: Kind, name: str, action: str, body: Tree, namespace: str = "") -> Tree:
        return await self._write(self._inner.act, kind, name, action, body, namespace)  # type: ignore[no-any-return]

    async def kinds(self) -> Sequence[Kind]:
        await self._pass()
        return await self._inner.kinds()


class Replica:
    """One process."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self.fleet, self.name = fleet, name
        self.wire = Wire(self, fleet.api)
        self.membership = Membership(self.wire, fleet.clock, name="jobs.example.com", namespace="default", identity=name)
        self.operators = RemoteOperators(self.wire, fleet.clock, election=self.membership)

    async def start(self) -> None:
        await self.operators.start_operator(self.fleet.operator(self))

    async def leave(self) -> None:
        """End well."""
        await self.operators.close()
        self.fleet.replicas.remove(self)

    async def die(self) -> None:
        """End as by kill -9."""
        self.wire.dead = True
        self.fleet.forget(self)
        self.fleet.replicas.remove(self)
        electing = self.operators._electing
        if electing is not None:
            electing.cancel()
            await asyncio.gather(electing, return_exceptions=True)
        await self.operators.engine.kill()

    @contextlib.contextmanager
    def cut_off(self) -> Any:
        self.wire.cut = True
        try:
            yield
        finally:
            self.wire.cut = False

    @contextlib.contextmanager
    def standing_still(self) -> Any:
        self.wire.running.clear()
        try:
            yield
        finally:
            self.wire.running.set()

    def owned(self) -> set[ObjectKey]:
        keys = {(tree["metadata"]["namespace"], tree["metadata"]["name"]) for tree in self.fleet.jobs()}
        return {key for key in keys if self.operators.engine.gate(key) and self.membership.leading}


class Fleet:
    """All replicas, the API, and what is written down of who did what."""

    def __init__(self, clock: VirtualClock, *, jobs: int = 30, work_s: float = 0.3) -> None:
        self.clock, self._jobs, self.work_s = clock, jobs, work_s
        self.replicas: list[Replica] = []
        self.inside: dict[ObjectKey, set[Replica]] = defaultdict(set)
        self.created: Counter[str] = Counter()
        self.resumed: Counter[tuple[str, str]] = Counter()
        self.daemons: dict[str, set[str]] = defaultdict(set)
        self.ticks: list[tuple[float, str, str]] = []
        self.told: Counter[tuple[str, int]] = Counter()
        self.runs: list[tuple[str, str]] = []
        self._numbers = 0

    async def __aenter__(self) -> Self:
        self.store = await Store.open(":memory:", self.clock, database=InlineDatabase)
        self.api = ApiServer(self.store, self.clock)
        self.api.serve(Job.__kind__)
        self.api.serve(LEASE)
        self.mirror = Mirror(self.store, self.api, self.clock)
        self.user = InProcessClient(self.api)
        for number in range(self._jobs):
            await self.user.create(Job.__kind__, {"metadata": {"name": f"j{number}"}, "spec": {"turn": 0}}, "default")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for replica in list(self.replicas):
            replica.wire.running.set()
            await replica.die()
        self.mirror.close()
        await self.store.close()

    async def add(self, *, lag_s: float = 0.0, errors: float = 0.0) -> Replica:
        self._numbers += 1
        replica = Replica(self, f"r{self._numbers}")
        replica.wire.lag_s, replica.wire.errors = lag_s, errors
        self.replicas.append(replica)
        await replica.start()
        return replica

    def jobs(self) -> list[Tree]:
        return [tree for _, tree in self.mirror.of(Job.__kind__)]

    async def turn(self, number: int) -> None:
        for tree in self.jobs():
            name = tree["metadata"]["name"]
            await self.user.patch(
                Job.__kind__, name, Patch("application/merge-patch+json", {"spec": {"turn": number}}), "default"
            )

    def done(self, number: int) -> bool:
        return all((tree.get("status") or {}).get("turn") == number for tree in self.jobs())

    async def until(self, condition: Callable[[], bool], what: str, limit_s: float = 120.0) -> float:
        """Wait for it; how long it took."""
        began = self.clock.monotonic()
        while not condition():
            assert self.clock.monotonic() < began + limit_s, f"not within {limit_s:g} s: {what}"
            await self.clock.sleep(0.1)
        return self.clock.monotonic() - began

    def split(self) -> bool:
        """Whether every object has exactly one owner."""
        owned = [key for replica in self.replicas for key in replica.owned()]
        return len(owned) == len(set(owned)) == len(self.jobs())

    # What must hold

    def forget(self, replica: Replica) -> None:
        for inside in self.inside.values():
            inside.discard(replica)

    @contextlib.asynccontextmanager
    async def working(self, replica: Replica, job: Job) -> AsyncIterator[None]:
        key = (job.namespace, job.name)
        alive = [r.name for r in self.inside[key] if r is not replica and r.membership.leading]
        assert not (alive and replica.membership.leading), f"{key}: {replica.name} begins while {alive} work on it"
        self.inside[key].add(replica)
        self.runs.append((job.name, replica.name))
        try:
            yield
        finally:
            self.inside[key].discard(replica)

    def wrote(self, replica: Replica, kind: Kind, tree: Tree) -> None:
        if kind is not Job.__kind__:
            return
        key = (tree["metadata"]["namespace"], tree["metadata"]["name"])
        others = [r.name for r in self.inside[key] if r is not replica and r.membership.leading]
        assert not others, f"{replica.name} wrote {key} while {others} work on it"
        for other in self.replicas:
            assert other is replica or key not in other.owned(), f"{replica.name} wrote {key}, which {other.name} owns"

    def operator(self, replica: Replica) -> Operator:
        app = Operator("jobs.example.com")
        fleet, clock = self, self.clock

        @app.on.reconcile(Job)
        async def work(job: Job) -> None:
            async with fleet.working(replica, job):
                for step in range(3):
                    job.status.step = step
                    await clock.sleep(fleet.work_s * clock.random.random())
                job.status.turn = job.spec.turn

        @app.on.create(Job)
        async def begin(job: Job) -> None:
            fleet.created[job.name] += 1

        @app.on.resume(Job)
        async def resume(job: Job) -> None:
            fleet.resumed[job.name, replica.name] += 1

        @app.on.delete(Job)
        async def end(job: Job) -> None:
            async with fleet.working(replica, job):
                await clock.sleep(fleet.work_s)

        @app.on.event(Job)
        async def hear(job: Job) -> None:
            fleet.told[job.name, job.revision] += 1

        @app.on.daemon(Job)
        async def attend(job: Job, stopped: Any) -> None:
            others = [r for r in fleet.daemons[job.name] if any(x.name == r and x.membership.leading for x in fleet.replicas)]
            assert not (others and replica.membership.leading), f"{job.name}: {replica.name} attends beside {others}"
            fleet.daemons[job.name].add(replica.name)
            try:
                await stopped.wait()
            finally:
                fleet.daemons[job.name].discard(replica.name)

        @app.on.timer(Job, interval_s=5.0)
        async def tick(job: Job) -> None:
            fleet.ticks.append((clock.monotonic(), job.name, replica.name))

        return app
