"""Operators on an engine: started, stopped, reloaded, side by side."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Generator
from typing import Any

import pytest

from reconcile.handling import Cluster, EventRecorder
from reconcile.kinds import Resource, kind
from reconcile.registry import Operator
from reconcile.runtime.engine.reports import REPORTS_MAX
from reconcile.runtime.testing.memory import Request
from reconcile.runtime.testing.memory_world import MemoryWorld
from reconcile.runtime.testing.virtual import VirtualClock, virtual
from reconcile.views import field, struct


@struct
class JobSpec:
    size: int = 0


@kind("example.com", "v1")
class Job(Resource):
    spec: JobSpec = field(factory=JobSpec)


@kind("", "v1", plural="events", builtin=True)
class Event(Resource):
    count: int = 0
    reason: str = ""


@pytest.fixture
def app() -> Operator:
    return Operator("jobs.example.com")


@virtual
async def test_startup_runs_first_and_its_error_keeps_the_operator_from_running(clock: VirtualClock, app: Operator) -> None:
    """An operator that cannot reach its database must not half work."""
    trace: list[str] = []

    @app.on.startup()
    async def begin(cluster: Cluster) -> None:
        trace.append("startup")
        raise RuntimeError("no database")

    @app.on.cleanup()
    async def end() -> None:
        trace.append("cleanup")

    @app.on.reconcile(Job)
    async def work(job: Job) -> None:
        trace.append("work")

    async with MemoryWorld(clock, serving=(Job,)) as world:
        await world.create(Job(name="j"))
        with pytest.raises(RuntimeError, match="no database"):
            await world.engine.start(app)
        await clock.sleep(10)
        assert trace == ["startup"]
        assert world.engine.operators == ()


@virtual
async def test_stop_cancels_handlers_calls_cleanup_and_spares_the_neighbours_informer(clock: VirtualClock, app: Operator) -> None:
    """Editing one controller file must not disturb the others."""
    trace: list[str] = []
    other = Operator("other.example.com")

    @app.on.cleanup()
    async def end() -> None:
        trace.append("cleanup")

    @app.on.reconcile(Job)
    async def hang(job: Job, cluster: Cluster) -> None:
        cluster.spawn(asyncio.Event().wait(), "forever")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            trace.append("cancelled")
            raise

    @other.on.reconcile(Job)
    async def work(job: Job) -> None:
        trace.append(f"other {job.spec.size}")

    async with MemoryWorld(clock, app, other) as world:
        await world.create(Job(name="j"))
        await clock.sleep(1)
        await world.engine.stop(app)
        assert trace == ["other 0", "cancelled", "cleanup"]
        await world.patch(Job, "j", {"spec": {"size": 1}})
        await clock.sleep(1)
        assert trace[-1] == "other 1"
        assert world.client.count("list", "Job") == 1, "two operators on one kind need one informer"
        await world.engine.stop(other)
        assert world.engine.running(Job.__kind__) is None
        assert len(asyncio.all_tasks()) < 5


_SOURCE = """
from __future__ import annotations
from reconcile.kinds import Resource, kind
from reconcile.registry import Operator
from reconcile.views import field, struct

@struct
class Spec:
    colour: int = {default}

@kind("example.com", "v1")
class Job(Resource):
    spec: Spec = field(factory=Spec)

operator = Operator("jobs.example.com")
seen = []

@operator.on.reconcile(Job, when=lambda job: isinstance(job, Job))
async def look(job: Job, cluster) -> None:
    found = await cluster.get(Job, job.name)
    seen.append((type(job) is Job, type(found) is Job, job.spec.colour))
"""


@virtual
async def test_a_reloaded_operator_sees_its_new_class(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder's Python file is edited: the kind's class is another object then, with other fields."""
    keeper = Operator("keeper.example.com")

    @keeper.on.event(Job)
    async def keep(job: Job) -> None: ...

    async with MemoryWorld(clock, keeper) as world:
        await world.create(Job(name="j"))
        for default in (1, 2):
            module: Any = types.ModuleType(f"reloaded_{default}")  # Any: its names are in the source above
            monkeypatch.setitem(sys.modules, module.__name__, module)
            exec(_SOURCE.format(default=default), module.__dict__)
            await world.engine.start(module.operator)
            await world.settled()
            await world.engine.stop(module.operator)
            assert module.seen == [(True, True, default)]


@virtual
async def test_enqueue_runs_a_handler_for_news_from_outside_the_store(clock: VirtualClock, app: Operator) -> None:
    """A process died: no watch will ever tell."""
    runs: list[float] = []

    @app.on.reconcile(Job)
    async def work(job: Job) -> None:
        runs.append(clock.monotonic())

    @app.on.event(Job, inline=True)
    def seen(job: Job, cluster: Cluster, event: str) -> None:
        if event == "ADDED":
            cluster.enqueue(work, "default", job.name, after_s=30)

    @app.on.startup()
    async def outside(cluster: Cluster) -> None:
        async def later() -> None:
            await clock.sleep(60)
            cluster.enqueue(work, "default", "j")
            cluster.enqueue(outside, "default", "j")

        cluster.spawn(later(), "outside")

    async with MemoryWorld(clock, app) as world:
        await world.create(Job(name="j"))
        await clock.sleep(100)
        assert runs == [0.0, 30.0, 60.0]
        (report,) = world.engine.reports
        assert "is no running reconcile handler of operator jobs.example.com" in report.message
        assert report.handler == "outside"


@virtual
async def test_reports_are_bounded_and_can_be_followed(clock: VirtualClock, app: Operator) -> None:
    """The live view shows them; a broken handler on ten thousand objects must not fill the memory."""
    told: list[str] = []

    @app.on.reconcile(Job, workers=50)
    async def broken(job: Job) -> None:
        raise RuntimeError(job.name)

    async with MemoryWorld(clock, app) as world:
        stop = world.engine.reports.follow(lambda report: told.append(report.message))
        for number in range(REPORTS_MAX + 100):
            await world.create(Job(name=f"j{number}"))
        await clock.sleep(0.001)
        await clock.sleep(60)
        assert len(world.engine.reports) == REPORTS_MAX
        assert len(told) > REPORTS_MAX
        stop()
        before = len(told)
        await clock.sleep(60)
        assert len(told) == before


@virtual
async def test_events_never_hold_a_handler_up_and_survive_what_the_api_does_to_them(clock: VirtualClock, app: Operator) -> None:
    """An Event is the least important write there is."""
    runs: list[float] = []

    @app.on.reconcile(Job)
    async def work(job: Job, events: EventRecorder) -> None:
        events.normal("Worked", "done")
        runs.append(clock.monotonic())

    def slow(request: Request) -> Any:
        return clock.sleep(5) if request.kind == "Event" and request.method != "list" else None

    async with MemoryWorld(clock, app, serving=(Event,)) as world:
        world.client.before = slow
        await world.create(Job(name="j"))
        await clock.sleep(1)
        assert runs == [0.0]
        await clock.sleep(10)
        (event,) = await world.list(Event)
        await world.delete(Event, event.name)
        await world.patch(Job, "j", {"spec": {"size": 1}})
        await clock.sleep(30)
        (event,) = await world.list(Event)
        assert (event.reason, event.count) == ("Worked", 1)
        world.client.withdraw(Event)
        await world.patch(Job, "j", {"spec": {"size": 2}})
        await clock.sleep(30)
        assert len(runs) == 3
        assert not len(world.engine.reports)


@virtual
async def test_models_in_memory_are_complete_before_any_reconcile_runs(clock: VirtualClock, app: Operator) -> None:
    """A scheduler that sees pods before it has seen the nodes schedules on a world that never was."""
    nodes: set[str] = set()
    seen: list[int] = []

    @app.on.reconcile(Job)
    async def place(job: Job) -> None:
        seen.append(len(nodes))

    @app.on.event(Event, inline=True)
    def model(event_: Event) -> None:
        nodes.add(event_.name)

    def slow(request: Request) -> Any:
        return clock.sleep(10) if request.kind == "Event" and request.method == "list" else None

    async with MemoryWorld(clock, serving=(Job, Event)) as world:
        await world.create(Job(name="j"))
        for number in range(3):
            await world.create(Event(name=f"e{number}"))
        world.client.before = slow
        await world.engine.start(app)
        await world.settled()
        assert seen == [3]


@virtual
async def test_statistics_tell_what_each_queue_has_done(clock: VirtualClock, app: Operator) -> None:
    """For `reconcile status` and for the curious."""

    @app.on.reconcile(Job)
    async def work(job: Job) -> None: ...

    async with MemoryWorld(clock, app) as world:
        await world.create(Job(name="j"))
        await world.settled()
        (name,) = world.engine.statistics()
        assert name == "jobs.example.com work jobs"
        assert world.engine.statistics()[name].processed == 1


@virtual
async def test_settled_waits_for_work_but_not_for_delays(clock: VirtualClock, app: Operator) -> None:
    """`up --wait` must end although a timer ticks every hour."""
    done: list[float] = []

    @app.on.timer(Job, interval_s=3600, initial_delay_s=3600)
    async def tick(job: Job) -> None: ...

    @app.on.reconcile(Job)
    async def work(job: Job) -> None:
        await clock.sleep(100)
        done.append(clock.monotonic())

    async with MemoryWorld(clock, app) as world:
        await world.create(Job(name="j"))
        await world.settled()
        assert done == [pytest.approx(100)]
        assert clock.monotonic() < 101


@virtual
async def test_an_informer_that_ends_holds_no_key_of_another_operator(clock: VirtualClock, app: Operator) -> None:
    """The kind was followed by an operator that is stopped; who waits to see his own write there waits no more."""
    follower = Operator("follower.example.com")
    runs: list[float] = []

    @follower.on.event(Event)
    async def follow(obj: Event) -> None: ...

    @app.on.reconcile(Job)
    async def work(job: Job, cluster: Cluster) -> None:
        runs.append(clock.monotonic())
        if len(runs) == 1:
            await cluster.create(Event(name="e"))

    async with MemoryWorld(clock, follower, app) as world:
        informer = world.engine.running(Event.__kind__)
        assert informer is not None
        informer.handle = lambda _: None  # type: ignore[method-assign, assignment]  # a watch that brings nothing
        await world.create(Job(name="j"))
        await clock.sleep(1)
        await world.patch(Job, "j", {"spec": {"size": 1}})
        await clock.sleep(1)
        assert len(runs) == 1
        await world.engine.stop(follower)
        await clock.sleep(1)
        assert len(runs) == 2


@virtual
async def test_what_was_spawned_and_never_began_is_closed(clock: VirtualClock) -> None:
    """An operator that is stopped at once: Python would complain of a coroutine that nobody awaited, long after."""
    app, begun, closed = Operator("example.com"), [], []

    class Work:
        """A coroutine, as far as anybody can tell."""

        def __await__(self) -> Generator[None, None, None]:
            begun.append(True)
            yield

        def close(self) -> None:
            closed.append(True)

    @app.on.startup()
    def begin(cluster: Cluster) -> None:
        cluster.spawn(Work(), "never begun")

    async with MemoryWorld(clock, app):
        pass
    assert (begun, closed) == ([], [True])
