"""The rest of kopf's vocabulary on level-triggered ground: filters, daemons, indexes, sub-handlers, and what failures mean."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconcile.errors import DeclarationError, PermanentError, TemporaryError
from reconcile.filters import ABSENT, PRESENT
from reconcile.handling import AdmissionReview, Stopped
from reconcile.identity import Caller
from reconcile.kinds import Kind, Resource, kind, kind_of
from reconcile.registry import Operator
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.testing.memory import MemoryClient
from reconcile.runtime.testing.memory_world import MemoryWorld
from reconcile.runtime.testing.virtual import VirtualClock, virtual
from reconcile.subhandling import register
from reconcile.views import field, struct


@struct
class DbSpec:
    size: int = 0
    name: str = ""
    tables: list[str] = field(factory=list)


@struct
class DbStatus:
    ready: bool = False


@kind("example.com", "v1")
class Db(Resource):
    spec: DbSpec = field(factory=DbSpec)
    status: DbStatus = field(factory=DbStatus)


@pytest.fixture
def app() -> Operator:
    return Operator("db.example.com")


def db(name: str = "d", labels: dict[str, str] | None = None, **spec: Any) -> Db:
    return Db(name=name, namespace="default", labels=labels or {}, spec=DbSpec(**spec))


@virtual
async def test_the_state_of_several_handlers_takes_at_most_a_hundred_bytes(clock: VirtualClock, app: Operator) -> None:
    """Handlers that saw the same share its digest."""

    def nothing() -> None: ...

    for name in ("a", "b"):
        app.on.create(Db, name=name)(nothing)
        app.on.update(Db, name=name)(nothing)
    app.on.field(Db, name="f", field="spec.size")(nothing)
    client = MemoryClient(clock, Db)
    async with MemoryWorld(clock, app, client=client) as world:
        await world.create(db(size=1))
        await world.settled()
        (note,) = (await world.get(Db, "d")).annotations.values()
        assert len(note) <= 100, note
    client.requests.clear()
    async with MemoryWorld(clock, app, client=client) as world:
        await world.settled()
        assert client.count("patch", "Db") == 0, "what is kept is read back"


# Filters


@virtual
async def test_labels_and_annotations_are_asked_for_by_value_presence_absence_and_function(
    clock: VirtualClock, app: Operator
) -> None:
    """A selector says most of it; a function says the rest."""
    called: list[str] = []

    @app.on.create(Db, labels={"tier": "web"})
    def by_value(name: str) -> None:
        called.append(f"value {name}")

    @app.on.create(Db, labels={"tier": PRESENT, "draft": ABSENT})
    def by_presence(name: str) -> None:
        called.append(f"presence {name}")

    @app.on.create(Db, labels={"tier": lambda tier: tier is not None and tier.startswith("w")})
    def by_function(name: str) -> None:
        called.append(f"function {name}")

    @app.on.create(Db, annotations={"owner": ABSENT})
    def by_annotation(name: str) -> None:
        called.append(f"annotation {name}")

    async with MemoryWorld(clock, app) as world:
        await world.create(db("a", {"tier": "web"}))
        await world.create(db("b", {"tier": "db", "draft": "yes"}))
        await world.create(db("c", {"tier": "wide"}))
        await world.settled()
    assert sorted(called) == [
        "annotation a", "annotation b", "annotation c", "function a", "function c", "presence a", "presence c", "value a",
    ]  # fmt: skip


@virtual
async def test_a_value_filter_holds_a_creation_back_until_the_field_is_so(clock: VirtualClock, app: Operator) -> None:
    """An object that matches later is new to the handler then."""
    called: list[int] = []

    @app.on.create(Db, field="spec.size", value=lambda size: (size or 0) > 2)
    def big(db: Db) -> None:
        called.append(db.spec.size)

    async with MemoryWorld(clock, app) as world:
        await world.create(db(size=1))
        await world.settled()
        assert called == []
        await world.patch(Db, "d", {"spec": {"size": 3}})
        await world.settled()
        await world.patch(Db, "d", {"spec": {"size": 4}})
        await world.settled()
    assert called == [3]


@virtual
async def test_update_filters_ask_for_the_old_and_the_new_value(clock: VirtualClock, app: Operator) -> None:
    """Changes that are not asked for count as seen."""
    called: list[str] = []

    @app.on.update(Db, field="spec.size", old=1, new=2)
    def from_one_to_two(old: int, new: int) -> None:
        called.append(f"{old}->{new}")

    @app.on.update(Db, field="spec.size", value=5)
    def to_or_from_five(old: int, new: int) -> None:
        called.append(f"5: {old}->{new}")

    @app.on.field(Db, field="spec.name", new=PRESENT)
    def named(old: str | None, new: str) -> None:
        called.append(f"{old}=>{new}")

    async with MemoryWorld(clock, app) as world:
        await world.create(db(size=1))
        await world.settled()
        for spec in ({"size": 2}, {"size": 5}, {"size": 1}, {"size": 3}, {"size": 2, "name": "n"}, {"name": None}):
            await world.patch(Db, "d", {"spec": spec})
            await world.settled()
    assert called == ["1->2", "5: 2->5", "5: 5->1", "None=>n"]


@virtual
async def test_a_literal_old_value_is_recognised_after_a_restart_by_its_digest(clock: VirtualClock, app: Operator) -> None:
    """The value itself is not kept on the object, so that nothing is copied there; its digest tells it all the same."""
    called: list[str] = []

    @app.on.update(Db, field="spec.size", old=1)
    def from_one(new: int) -> None:
        called.append(f"from one to {new}")

    @app.on.update(Db, field="spec.size", old=7)
    def from_seven(new: int) -> None:
        called.append("from seven")

    client = MemoryClient(clock, Db)
    async with MemoryWorld(clock, app, client=client) as world:
        await world.create(db(size=1))
        await world.settled()
    tree = await client.get(Db.__kind__, "d", "default")
    await client.update(Db.__kind__, {**tree, "spec": {"size": 2}}, "default")
    async with MemoryWorld(clock, app, client=client) as world:
        await world.settled()
    assert called == ["from one to 2"]


# What failures mean


@virtual
async def test_errors_permanent_gives_up_at_the_first_and_ignored_goes_on(clock: VirtualClock, app: Operator) -> None:
    """Some work must not be repeated, and some does not matter."""
    called: list[str] = []

    @app.on.create(Db, errors="permanent")
    def once(db: Db) -> None:
        called.append("once")
        raise ValueError("no")

    @app.on.create(Db, errors="ignored")
    def whatever(db: Db) -> None:
        called.append("whatever")
        raise ValueError("no")

    async with MemoryWorld(clock, app) as world:
        await world.create(db())
        await clock.sleep(1000)
        assert sorted(called) == ["once", "whatever"]
        assert [report.handler for report in world.engine.reports] == ["once"]


@virtual
async def test_a_deadline_ends_the_attempts_whatever_their_number(clock: VirtualClock, app: Operator) -> None:
    """`timeout_s` is for one attempt, `deadline_s` for all of them; what is told of the time is right."""
    told: list[tuple[int, datetime, timedelta]] = []

    @app.on.create(Db, deadline_s=25)
    def never(db: Db, retry: int, started: datetime, runtime: timedelta) -> None:
        told.append((retry, started, runtime))
        raise TemporaryError("not yet", delay_s=10)

    async with MemoryWorld(clock, app) as world:
        began = datetime.fromtimestamp(clock.now(), UTC)
        await world.create(db())
        await clock.sleep(1000)
    assert [retry for retry, _, _ in told] == [0, 1, 2, 3]
    assert all(started - began < timedelta(seconds=1) for _, started, _ in told)
    assert [round(runtime.total_seconds()) for _, _, runtime in told] == [0, 10, 20, 30]


@virtual
async def test_one_function_declared_twice_is_told_which_it_is(clock: VirtualClock, app: Operator) -> None:
    """`param` and `name`; and partials and methods are handlers as well."""
    called: list[Any] = []

    def grow(prefix: str, db: Db, param: Any, reason: str) -> None:
        called.append((prefix, param, reason))

    class Kept:
        def method(self, db: Db, param: Any) -> None:
            called.append(("method", param))

    app.on.create(Db, name="small", param=1)(functools.partial(grow, "p"))
    app.on.create(Db, name="big", param=2)(functools.partial(grow, "p"))
    app.on.create(Db, param=3)(Kept().method)
    async with MemoryWorld(clock, app) as world:
        await world.create(db())
        await world.settled()
    assert called == [("p", 1, "create"), ("p", 2, "create"), ("method", 3)]


@virtual
async def test_two_functions_by_one_name_are_refused(clock: VirtualClock, app: Operator) -> None:
    """What one has done would count for the other, which would never run."""
    app.on.create(Db)(lambda name: None)
    app.on.create(Db)(lambda uid: None)
    with pytest.raises(DeclarationError, match="cannot be told apart; give one of them another name="):
        async with MemoryWorld(clock, app):
            pass


# Deletion and resumption


@virtual
async def test_an_optional_deletion_handler_adds_no_finalizer(clock: VirtualClock, app: Operator) -> None:
    """It is told where something else holds the object; it holds nothing itself."""
    called: list[str] = []

    @app.on.delete(Db, optional=True)
    def bye(name: str) -> None:
        called.append(name)

    async with MemoryWorld(clock, app) as world:
        await world.create(db("free"))
        await world.create(Db.of(name="held", namespace="default", spec={}))
        await world.patch(Db, "held", {"metadata": {"finalizers": ["other.example.com/f"]}})
        await world.settled()
        assert (await world.get(Db, "free")).metadata.finalizers == []
        await world.delete(Db, "free")
        await world.delete(Db, "held")
        await world.settled()
        assert called == ["held"]
        assert await world.find(Db, "free") is None
        await world.patch(Db, "held", {"metadata": {"finalizers": []}})
        await world.settled()
        assert called == ["held"], "once"


@virtual
async def test_objects_that_are_going_are_resumed_only_where_that_is_wanted(clock: VirtualClock, app: Operator) -> None:
    """And an object that is created is not resumed besides."""
    called: list[str] = []
    client = MemoryClient(clock, Db)
    for name in ("stays", "goes"):
        tree = {**db(name).tree, "metadata": {"name": name, "namespace": "default", "finalizers": ["other.example.com/f"]}}
        await client.create(Db.__kind__, tree, "default")
    await client.delete(Db.__kind__, "goes", "default")

    @app.on.resume(Db)
    def back(name: str) -> None:
        called.append(f"back {name}")

    @app.on.resume(Db, deleted=True)
    def back_at_last(name: str) -> None:
        called.append(f"back at last {name}")

    async with MemoryWorld(clock, app, client=client) as world:
        await world.settled()
        await world.create(db("new"))
        await world.settled()
    assert sorted(called) == ["back at last goes", "back at last stays", "back stays"]


@virtual
async def test_a_function_for_creation_and_resumption_is_called_once(clock: VirtualClock, app: Operator) -> None:
    """Whether the object came before the operator or after it."""
    called: list[str] = []
    client = MemoryClient(clock, Db)
    await client.create(Db.__kind__, db("before").tree, "default")

    @app.on.create(Db)
    @app.on.resume(Db)
    def see(name: str, reason: str) -> None:
        called.append(f"{reason} {name}")

    async with MemoryWorld(clock, app, client=client) as world:
        await world.create(db("after"))
        await world.settled()
    assert sorted(called) == ["create after", "create before"]
    async with MemoryWorld(clock, app, client=client) as world:
        await world.settled()
    assert sorted(called[2:]) == ["resume after", "resume before"]


# Sub-handlers


@virtual
async def test_sub_handlers_are_tracked_each_by_itself(clock: VirtualClock, app: Operator) -> None:
    """What is through is not repeated because something else is not; and the parent is done when all are."""
    called: list[str] = []

    @app.on.create(Db)
    def build(db: Db) -> None:
        called.append("build")
        for table in db.spec.tables:

            @app.on.subhandler(name=table)
            async def make(table: str = table, retry: int = 0) -> None:
                called.append(f"{table} {retry}")
                if table == "slow" and retry < 2:
                    raise TemporaryError("not yet", delay_s=10)
                if table == "broken":
                    raise PermanentError("never")

    client = MemoryClient(clock, Db)
    async with MemoryWorld(clock, app, client=client) as world:
        await world.create(db(tables=["quick", "slow", "broken"]))
        await clock.sleep(5)
        assert called == ["build", "quick 0", "slow 0", "broken 0"]
        await clock.sleep(100)
        assert called.count("quick 0") == called.count("broken 0") == 1
        assert called[-1] == "slow 2"
        note = (await world.get(Db, "d")).annotations
        assert all(len(text) <= 100 for text in note.values()), note
    async with MemoryWorld(clock, app, client=client) as world:
        await clock.sleep(100)
        assert called[-1] == "slow 2", "the parent is done with"


@virtual
async def test_sub_handlers_that_were_through_before_a_restart_are_not_repeated(clock: VirtualClock, app: Operator) -> None:
    """Their progress is on the object, as everybody's is."""
    called: list[str] = []
    broken = True

    @app.on.create(Db)
    async def build(db: Db) -> None:
        async def part(which: str) -> None:
            called.append(which)
            if which == "two" and broken:
                raise TemporaryError("down", delay_s=3600)

        for which in ("one", "two"):
            register(functools.partial(part, which), name=which)

    client = MemoryClient(clock, Db)
    async with MemoryWorld(clock, app, client=client) as world:
        await world.create(db())
        await clock.sleep(5)
    broken = False
    async with MemoryWorld(clock, app, client=client) as world:
        await clock.sleep(5)
    assert called == ["one", "two", "two"]


def test_a_sub_handler_outside_of_a_handler_is_refused(app: Operator) -> None:
    """It would never run."""
    with pytest.raises(DeclarationError, match="only create, update, delete, resume and field handlers have some"):

        @app.on.subhandler(name="x")
        def lost() -> None: ...


# Daemons


@virtual
async def test_a_daemon_lives_as_long_as_its_object_matches(clock: VirtualClock, app: Operator) -> None:
    """Started, asked to stop, started again: one for each object, and never two."""
    told: list[str] = []

    @app.on.daemon(Db, labels={"on": PRESENT})
    async def watch(name: str, stopped: Stopped) -> None:
        told.append(f"{name} begins")
        while not await stopped.wait(1):
            pass
        told.append(f"{name} ends: {stopped.reason}")

    async with MemoryWorld(clock, app) as world:
        await world.create(db("a", {"on": "1"}))
        await world.create(db("b"))
        await clock.sleep(10)
        assert told == ["a begins"]
        await world.patch(Db, "a", {"metadata": {"labels": {"on": None}}})
        await clock.sleep(10)
        assert told == ["a begins", "a ends: no longer matches"]
        await world.patch(Db, "a", {"metadata": {"labels": {"on": "2"}}})
        await clock.sleep(10)
        await world.delete(Db, "a")
        await clock.sleep(10)
        assert told[2:] == ["a begins", "a ends: deleted"]
        await world.create(db("c", {"on": "1"}))
        await clock.sleep(3)
    assert told[4:] == ["c begins", "c ends: stops"]


@virtual
async def test_a_daemon_that_does_not_listen_is_cancelled(clock: VirtualClock, app: Operator) -> None:
    """After its back-off; at once where it has none."""
    told: list[str] = []

    async def deaf(which: str, clock: VirtualClock) -> None:
        began = clock.monotonic()
        try:
            await asyncio.Event().wait()
        finally:
            told.append(f"{which} after {clock.monotonic() - began:.0f}")

    app.on.daemon(Db, name="patient", cancellation_backoff_s=20)(functools.partial(deaf, "patient"))
    app.on.daemon(Db, name="brisk")(functools.partial(deaf, "brisk"))
    async with MemoryWorld(clock, app) as world:
        await world.create(db())
        await clock.sleep(5)
        await world.delete(Db, "d")
        await clock.sleep(100)
    assert told == ["brisk after 5", "patient after 25"]


@virtual
async def test_an_object_goes_when_the_daemon_that_holds_it_has_ended(clock: VirtualClock, app: Operator) -> None:
    """So that it can give back what it has; and then nothing holds the object any more."""
    told: list[str] = []

    @app.on.daemon(Db, holds=True, cancellation_backoff_s=60)
    async def serve(name: str, stopped: Stopped, clock: VirtualClock) -> None:
        await stopped.wait()
        await clock.sleep(30)
        told.append("ended")

    async with MemoryWorld(clock, app) as world:
        await world.create(db())
        await clock.sleep(1)
        assert (await world.get(Db, "d")).metadata.finalizers == ["db.example.com/finalizer"]
        await world.delete(Db, "d")
        await clock.sleep(20)
        assert (await world.get(Db, "d")).deleting
        await clock.sleep(20)
        assert told == ["ended"]
        assert await world.find(Db, "d") is None


@virtual
async def test_a_daemon_that_fails_is_started_again_and_one_that_ends_is_not(clock: VirtualClock, app: Operator) -> None:
    """By the rules that hold for all handlers."""
    told: list[str] = []

    @app.on.daemon(Db)
    async def flaky(db: Db, retry: int) -> None:
        told.append(f"try {retry}")
        if retry < 2:
            raise TemporaryError("not yet", delay_s=10)

    @app.on.daemon(Db, retries_max=3)
    async def hopeless(retry: int) -> None:
        told.append(f"hopeless {retry}")
        raise ValueError("no")

    async with MemoryWorld(clock, app) as world:
        await world.create(db())
        await clock.sleep(1000)
        await world.patch(Db, "d", {"spec": {"size": 9}})
        await clock.sleep(1000)
    assert [t for t in told if t.startswith("try")] == ["try 0", "try 1", "try 2"]
    assert [t for t in told if t.startswith("hopeless")] == ["hopeless 0", "hopeless 1", "hopeless 2"]


async def test_a_daemon_in_a_thread_waits_and_ends_when_asked(app: Operator) -> None:
    """Plain code, in real time."""
    told: list[str] = []
    begun, ended, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()

    @app.on.daemon(Db, threaded=True)
    def serve(name: str, stopped: Stopped) -> None:
        told.append("begins")
        loop.call_soon_threadsafe(begun.set)
        stopped.wait(30)
        told.append(f"ends: {stopped.reason}")
        loop.call_soon_threadsafe(ended.set)

    clock: Any = SystemClock()
    async with MemoryWorld(clock, app) as world:
        await world.create(db())
        await begun.wait()
        await world.delete(Db, "d")
        await ended.wait()
    assert told == ["begins", "ends: deleted"]


async def test_daemons_in_threads_starve_nobody(app: Operator) -> None:
    """kopf's share a pool of a few threads: the others, and every plain handler, silently never start."""
    many = 60
    begun, made, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()
    running: set[str] = set()
    named: set[str] = set()

    @app.on.daemon(Db, threaded=True)
    def serve(name: str, stopped: Stopped) -> None:
        running.add(name)
        if len(running) == many:
            loop.call_soon_threadsafe(begun.set)
        stopped.wait(30)

    @app.on.create(Db, threaded=True)
    def create(name: str) -> None:
        named.add(name)
        if len(named) == many:
            loop.call_soon_threadsafe(made.set)

    clock: Any = SystemClock()
    async with MemoryWorld(clock, app) as world:
        for number in range(many):
            await world.create(db(f"d{number}"))
        await begun.wait()
        await made.wait()


# Timers


@virtual
async def test_an_idle_timer_waits_until_the_object_is_left_alone(clock: VirtualClock, app: Operator) -> None:
    """Its status does not count: the timer may write that itself."""
    ticks: list[float] = []

    @app.on.timer(Db, interval_s=5, idle_s=30)
    def tick(db: Db, clock: VirtualClock) -> None:
        ticks.append(clock.monotonic() - began)
        db.status.ready = not db.status.ready

    async with MemoryWorld(clock, app) as world:
        began = clock.monotonic()
        await world.create(db())
        await clock.sleep(20)
        await world.patch(Db, "d", {"spec": {"size": 1}})
        await clock.sleep(42)
    assert [round(tick) for tick in ticks] == [50, 55, 60]


@virtual
async def test_a_sharp_timer_keeps_its_grid(clock: VirtualClock, app: Operator) -> None:
    """A slow call does not shift the later ones; `initial_delay_s` may be a function."""
    ticks: dict[str, list[float]] = {"sharp": [], "plain": []}

    async def tick(which: str, clock: VirtualClock) -> None:
        ticks[which].append(clock.monotonic() - began)
        await clock.sleep(3)

    app.on.timer(Db, name="sharp", interval_s=10, sharp=True, initial_delay_s=lambda db: db.spec.size)(
        functools.partial(tick, "sharp")
    )
    app.on.timer(Db, name="plain", interval_s=10)(functools.partial(tick, "plain"))
    async with MemoryWorld(clock, app) as world:
        began = clock.monotonic()
        await world.create(db(size=2))
        await clock.sleep(35)
    assert [round(t) for t in ticks["sharp"]] == [2, 12, 22, 32]
    assert [round(t) for t in ticks["plain"]] == [0, 13, 26]


# Indexes


@virtual
async def test_an_index_is_full_before_any_handler_runs_and_follows_every_change(clock: VirtualClock, app: Operator) -> None:
    """By its own name, as a mapping of keys to the values that objects have there."""
    told: list[Any] = []
    client = MemoryClient(clock, Db)
    for name in ("a", "b"):
        await client.create(Db.__kind__, db(name, size=1).tree, "default")

    @app.on.index(Db)
    def by_size(db: Db) -> dict[int, str]:
        if db.spec.size == 13:
            raise ValueError("unlucky")
        return {db.spec.size: db.name}

    @app.on.index(Db)
    def everything(name: str) -> str:
        return name

    @app.on.resume(Db)
    def see(name: str, by_size: Mapping[int, Any], everything: Mapping[None, Any]) -> None:
        told.append((name, {size: sorted(names) for size, names in by_size.items()}, len(everything[None])))

    @app.on.probe()
    def sizes(indexes: Mapping[str, Mapping[int, Any]]) -> dict[int, int]:
        return {size: len(names) for size, names in indexes["by_size"].items()}

    async with MemoryWorld(clock, app, client=client) as world:
        await world.settled()
        assert told == [("a", {1: ["a", "b"]}, 2), ("b", {1: ["a", "b"]}, 2)]
        await world.patch(Db, "a", {"spec": {"size": 2}})
        await world.create(db("c", size=1))
        await world.settled()
        assert await world.engine.probe() == ({"sizes": {1: 2, 2: 1}}, True)
        await world.delete(Db, "b")
        await world.patch(Db, "a", {"spec": {"size": 13}})
        await world.settled()
        assert await world.engine.probe() == ({"sizes": {1: 1}}, True)
        assert [report.handler for report in world.engine.reports.failing] == ["by_size"]
        await world.patch(Db, "a", {"spec": {"size": 4}})
        await world.settled()
        assert await world.engine.probe() == ({"sizes": {1: 1, 4: 1}}, True)
        assert not world.engine.reports.failing


@virtual
async def test_an_index_function_may_be_a_coroutine_that_does_not_wait(clock: VirtualClock, app: Operator) -> None:
    """It is called where a change is seen, in the order of revisions: there nothing waits."""

    @app.on.index(Db)
    async def swift(name: str) -> dict[str, int]:
        return {name: 1}

    @app.on.index(Db)
    async def slow(name: str, clock: VirtualClock) -> dict[str, int]:
        await clock.sleep(1)
        return {name: 1}

    @app.on.probe()
    def names(indexes: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        return list(indexes["swift"]), list(indexes["slow"])

    async with MemoryWorld(clock, app) as world:
        await world.create(db("a"))
        await world.settled()
        assert await world.engine.probe() == ({"names": (["a"], [])}, True)
        assert "an index function waits" in next(iter(world.engine.reports)).message


def test_an_index_that_is_not_declared_is_refused_with_what_there_is(app: Operator) -> None:
    """At import."""

    @app.on.index(Db)
    def by_size(db: Db) -> dict[int, str]:
        return {}

    with pytest.raises(DeclarationError, match=r"takes 'by_name', .* by_size, .*names of indexes that are declared before it"):

        @app.on.create(Db)
        def see(db: Db, by_name: Any) -> None: ...


# Activities


@virtual
async def test_startup_is_repeated_after_a_temporary_error_and_a_probe_that_fails_is_told(
    clock: VirtualClock, app: Operator
) -> None:
    """Databases come up later than operators."""
    tries: list[int] = []

    @app.on.startup()
    async def connect(retry: int) -> None:
        tries.append(retry)
        if retry < 3:
            raise TemporaryError("not up", delay_s=1)

    @app.on.probe()
    async def pulse() -> str:
        raise ValueError("flat")

    async with MemoryWorld(clock, app) as world:
        assert tries == [0, 1, 2, 3]
        assert await world.engine.probe() == ({"pulse": {"error": "ValueError: flat"}}, False)


# Handlers of kinds that are named, not imported


@virtual
async def test_handlers_for_selected_kinds_follow_them_when_they_come(clock: VirtualClock, app: Operator) -> None:
    """Kinds that nobody has a class for, and that may be declared an hour later."""
    told: list[str] = []
    toy = Kind("toys.example.com", "v1", "Toy", "toys", status=True)

    def toys(kind: Kind) -> bool:
        return kind.plural == "toys"

    app.on.create(Resource, selects=toys)(lambda name, body, resource: told.append(f"{resource.kind} {name} {body['spec']['n']}"))
    client = MemoryClient(clock, Db)
    async with MemoryWorld(clock, app, client=client) as world:
        await world.create(db("not-a-toy"))
        await clock.sleep(60)
        assert world.engine.running(Db.__kind__) is None, "what nobody handles is not followed"
        client.serve(toy)
        await client.create(toy, {"metadata": {"name": "t", "namespace": "default"}, "spec": {"n": 1}}, "default")
        await clock.sleep(60)
    assert told == ["Toy t 1"]


# Admission


class Hooks:
    """Where admission handlers are installed."""

    def __init__(self) -> None:
        self.admits: list[Any] = []

    def add_mutator(self, kind: Kind | None, fn: Any) -> Any:
        self.admits.append(fn)
        return lambda: None

    add_validator = add_mutator


@virtual
async def test_admission_handlers_are_for_the_operations_and_subresources_they_name(clock: VirtualClock, app: Operator) -> None:
    """And are given the parts of the review by name."""
    told: list[str] = []

    @app.on.validate(Db, operations=("CREATE",))
    def created(operation: str, dryrun: bool, userinfo: dict[str, str], warnings: list[str]) -> None:
        told.append(f"{operation} {dryrun} {userinfo['username']}")
        warnings.append("careful")

    @app.on.validate(Db, subresource="status")
    def status(subresource: str) -> None:
        told.append(subresource)

    @app.on.validate(Db, subresource="*", field="spec.size", value=lambda size: (size or 0) > 3)
    def too_big(subresource: str) -> None:
        told.append(f"big {subresource or 'object'}")

    hooks = Hooks()
    async with MemoryWorld(clock, app, admission=hooks):

        async def write(operation: Any, subresource: str = "", size: int = 0) -> list[str]:
            review = AdmissionReview(operation, db(size=size).tree, None, subresource, True, Caller("eve"), kind=kind_of(Db))
            for admit in hooks.admits:
                await admit(review)
            return review.warnings

        assert await write("CREATE") == ["careful"]
        assert await write("UPDATE", size=4) == []
        assert await write("UPDATE", "status", size=4) == []
    assert told == ["CREATE True eve", "big object", "status", "big status"]
