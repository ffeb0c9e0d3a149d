"""Create, update, delete, resume, field, timer and event handlers: kopf's vocabulary on level-triggered ground."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reconcile.errors import PermanentError, TemporaryError
from reconcile.kinds import Resource, kind
from reconcile.registry import Operator
from reconcile.runtime.engine.lifecycle import Lifecycle
from reconcile.runtime.testing.memory import MemoryClient
from reconcile.runtime.testing.memory_world import MemoryWorld
from reconcile.runtime.testing.virtual import VirtualClock, virtual
from reconcile.views import field, struct, tree_of


@struct
class DbSpec:
    size: int = 0
    name: str = ""


@struct
class DbStatus:
    ready: bool = False
    ticks: int = 0


@kind("example.com", "v1")
class Db(Resource):
    spec: DbSpec = field(factory=DbSpec)
    status: DbStatus = field(factory=DbStatus)


@pytest.fixture
def app() -> Operator:
    return Operator("db.example.com")


def db(name: str = "d", **spec: Any) -> Db:
    return Db(name=name, namespace="default", spec=DbSpec(**spec))


@virtual
async def test_create_is_called_until_it_succeeds_once_and_never_again(clock: VirtualClock, app: Operator) -> None:
    """Neither a change nor a restart of the operator makes an object new."""
    calls: list[int] = []

    @app.on.create(Db)
    def made(db: Db, attempt: int) -> None:
        calls.append(attempt)
        if attempt < 2:
            raise TemporaryError("not yet", delay_s=10)

    client = MemoryClient(clock, Db)
    async with MemoryWorld(clock, app, client=client) as world:
        await world.create(db())
        await clock.sleep(100)
        await world.patch(Db, "d", {"spec": {"size": 2}})
        await clock.sleep(100)
        assert calls == [0, 1, 2]
    async with MemoryWorld(clock, app, client=client) as world:
        await clock.sleep(100)
        assert calls == [0, 1, 2]


@virtual
async def test_an_update_handler_never_misses_a_change_that_another_handlers_retry_hides(
    clock: VirtualClock, app: Operator
) -> None:
    """kopf issue 641: the diff base is the state seen by the last handler, so the first never saw size 2."""
    seen: list[str] = []

    @app.on.update(Db)
    def first(db: Db) -> None:
        seen.append(f"first {db.spec.size}")

    @app.on.update(Db)
    def second(db: Db, attempt: int) -> None:
        if db.spec.size == 1 and attempt < 3:
            raise TemporaryError("busy", delay_s=10)
        seen.append(f"second {db.spec.size}")

    async with MemoryWorld(clock, app) as world:
        await world.create(db(size=0))
        await world.settled()
        assert seen == []
        await world.patch(Db, "d", {"spec": {"size": 1}})
        await clock.sleep(5)
        await world.patch(Db, "d", {"spec": {"size": 2}})
        await clock.sleep(100)
        assert seen == ["first 1", "first 2", "second 2"]


@virtual
async def test_update_handlers_are_told_old_and_diff_from_what_they_saw_last(clock: VirtualClock, app: Operator) -> None:
    """Not from what some other handler saw."""
    told: list[Any] = []

    @app.on.update(Db)
    def changed(old: Db, new: Db, diff: Any) -> None:
        told.append((old.spec.size, new.spec.size, diff))

    async with MemoryWorld(clock, app) as world:
        await world.create(db(size=1))
        await world.settled()
        await world.patch(Db, "d", {"spec": {"size": 2}, "metadata": {"labels": {"a": "b"}}})
        await world.settled()
        assert told == [(1, 2, (("add", ("metadata", "labels", "a"), None, "b"), ("change", ("spec", "size"), 1, 2)))]


@virtual
async def test_what_nobody_compares_with_is_not_kept_in_memory(clock: VirtualClock, app: Operator) -> None:
    """Idle objects cost what the cache holds: one state of each, and no older one for the sake of handlers that are done."""

    @app.on.create(Db)
    @app.on.resume(Db)
    def there(db: Db) -> None:
        db.status.ready = True

    @app.on.update(Db)
    def changed(db: Db) -> None: ...

    async with MemoryWorld(clock, app) as world:
        await world.create(db(size=1))
        await world.settled()
        await world.patch(Db, "d", {"spec": {"size": 2}})
        await world.settled()
        await world.patch(Db, "d", {"status": {"ticks": 1}})
        await world.settled()
        (operation,) = world.engine._operations.values()
        lifecycle = next(controller for controller in operation.controllers if isinstance(controller, Lifecycle))
        cached = lifecycle.informer.cache.objects["default", "d"]
        kept = [tree for trees in lifecycle._seen.values() for tree in trees.values() if tree]
        assert kept
        assert all(tree is tree_of(cached) for tree in kept)
        progress = operation.progress_of(cached)
        text = tree_of(cached)["metadata"]["annotations"][operation.annotation]
        assert progress._kept is text
        assert (progress._marked, progress.text) == (None, text)


@virtual
async def test_update_is_not_called_for_status_or_server_owned_metadata(clock: VirtualClock, app: Operator) -> None:
    """Nor for its own annotation: then it would call itself."""
    calls: list[str] = []

    @app.on.update(Db)
    def changed(db: Db) -> None:
        calls.append("update")

    async with MemoryWorld(clock, app) as world:
        await world.create(db())
        await world.settled()
        await world.patch(Db, "d", {"status": {"ready": True}}, subresource="status")
        await world.patch(Db, "d", {"metadata": {"finalizers": ["x/y"]}})
        await world.settled()
        assert calls == []


@virtual
async def test_a_change_made_while_the_operator_was_down_is_an_update(clock: VirtualClock, app: Operator) -> None:
    """Digests on the object remember what memory forgets; only `old` is not known then."""
    told: list[Any] = []

    @app.on.update(Db)
    def changed(db: Db, old: Db | None) -> None:
        told.append((db.spec.size, old))

    client = MemoryClient(clock, Db)
    async with MemoryWorld(clock, app, client=client) as world:
        await world.create(db(size=1))
        await world.settled()
    async with MemoryWorld(clock, client=client) as world:
        await world.patch(Db, "d", {"spec": {"size": 5}})
        await world.engine.start(app)
        await world.settled()
        assert told == [(5, None)]


@virtual
async def test_progress_is_one_short_annotation_bound_to_the_object(clock: VirtualClock, app: Operator) -> None:
    """kopf keeps the whole spec there; and a copied object must not count as handled."""
    created: list[str] = []

    @app.on.create(Db)
    def made(db: Db) -> None:
        created.append(db.name)

    @app.on.update(Db)
    def changed(db: Db) -> None: ...

    @app.on.field(Db, field="spec.size")
    def resized(db: Db) -> None: ...

    async with MemoryWorld(clock, app) as world:
        await world.create(Db(name="d", spec=DbSpec(size=1, name="x" * 10_000)))
        await world.settled()
        stored = await world.get(Db, "d")
        ((name, text),) = stored.annotations.items()
        assert name.startswith("reconcile.dev/")
        assert len(text) < 100
        assert set(json.loads(text)) >= {"uid"}
        copy = db("copy")
        copy.annotations[name] = text
        await world.create(copy)
        await world.settled()
        assert created == ["d", "copy"]


@virtual
async def test_field_handlers_hear_the_first_value_and_each_change_of_their_field_alone(
    clock: VirtualClock, app: Operator
) -> None:
    """The field is the trigger, not the object."""
    told: list[Any] = []

    @app.on.field(Db, field="spec.size")
    def resized(old: Any, new: Any) -> None:
        told.append((old, new))

    async with MemoryWorld(clock, app) as world:
        await world.create(db(size=3))
        await world.settled()
        await world.patch(Db, "d", {"spec": {"name": "other"}})
        await world.settled()
        await world.patch(Db, "d", {"spec": {"size": 4}})
        await world.settled()
        await world.patch(Db, "d", {"spec": {"size": None}})
        await world.settled()
        assert told == [(None, 3), (3, 4), (4, None)]


@virtual
async def test_resume_is_called_once_for_each_object_that_was_there(clock: VirtualClock, app: Operator) -> None:
    """For what lives in memory only and must be set up again."""
    calls: list[str] = []

    @app.on.resume(Db)
    def again(db: Db) -> None:
        calls.append(db.name)

    client = MemoryClient(clock, Db)
    async with MemoryWorld(clock, client=client) as world:
        await world.create(db("old"))
        await world.engine.start(app)
        await world.create(db("new"))
        await world.patch(Db, "old", {"spec": {"size": 1}})
        await world.settled()
        assert calls == ["old"]


@virtual
async def test_delete_handlers_hold_the_object_until_they_succeed(clock: VirtualClock, app: Operator) -> None:
    """The finalizer is there before anything is done that would need undoing, and goes afterwards."""
    calls: list[tuple[str, int]] = []

    @app.on.delete(Db)
    def drop(db: Db, attempt: int) -> None:
        calls.append((db.name, attempt))
        if attempt < 2:
            raise TemporaryError("in use", delay_s=10)

    async with MemoryWorld(clock, app) as world:
        await world.create(db())
        await world.settled()
        assert (await world.get(Db, "d")).metadata.finalizers == ["db.example.com/finalizer"]
        await world.delete(Db, "d")
        await clock.sleep(5)
        assert await world.find(Db, "d") is not None
        await clock.sleep(50)
        assert await world.find(Db, "d") is None
        assert calls == [("d", 0), ("d", 1), ("d", 2)]


@virtual
async def test_a_finalizer_is_added_only_where_it_is_needed_and_only_our_own_is_touched(
    clock: VirtualClock, app: Operator
) -> None:
    """kopf operators fight over one finalizer; an object held for nothing is stuck when the operator is gone."""

    @app.on.delete(Db, labels="precious=yes")
    def drop(db: Db) -> None: ...

    async with MemoryWorld(clock, app) as world:
        await world.create(db("plain"))
        precious = db("precious")
        precious.labels["precious"] = "yes"
        precious.metadata.finalizers = ["somebody/else"]
        await world.create(precious)
        await world.settled()
        assert (await world.get(Db, "plain")).metadata.finalizers == []
        assert (await world.get(Db, "precious")).metadata.finalizers == ["somebody/else", "db.example.com/finalizer"]
        await world.patch(Db, "precious", {"metadata": {"labels": {"precious": "no"}}})
        await world.settled()
        assert (await world.get(Db, "precious")).metadata.finalizers == ["somebody/else"]


@virtual
async def test_a_finalizer_left_by_older_code_is_taken_off(clock: VirtualClock) -> None:
    """The delete handler was dropped from the code: nobody else would ever let the object go."""
    older, newer = Operator("db.example.com"), Operator("db.example.com")

    @older.on.delete(Db)
    def drop(db: Db) -> None: ...

    @newer.on.reconcile(Db)
    async def look(db: Db) -> None: ...

    client = MemoryClient(clock, Db)
    async with MemoryWorld(clock, older, client=client) as world:
        await world.create(db())
        await world.settled()
    async with MemoryWorld(clock, newer, client=client) as world:
        await world.settled()
        assert (await world.get(Db, "d")).metadata.finalizers == []


@virtual
async def test_a_delete_handler_that_gives_up_lets_the_object_go_and_says_so(clock: VirtualClock, app: Operator) -> None:
    """An object that hangs in Terminating for ever helps nobody; the report tells what was not done."""

    @app.on.delete(Db)
    def drop(db: Db) -> None:
        raise PermanentError("the bucket is gone already")

    async with MemoryWorld(clock, app) as world:
        await world.create(db())
        await world.settled()
        await world.delete(Db, "d")
        await clock.sleep(5)
        assert await world.find(Db, "d") is None
        assert "the bucket is gone already" in next(iter(world.engine.reports)).message


@virtual
async def test_cleanup_runs_after_the_reconcile_that_is_under_way_and_instead_of_further_ones(
    clock: VirtualClock, app: Operator
) -> None:
    """Both at once would build up what is being torn down."""
    trace: list[str] = []

    @app.on.reconcile(Db)
    async def ensure(db: Db) -> None:
        trace.append(f"start {db.metadata.finalizers}")
        await clock.sleep(10)
        trace.append("end")

    @ensure.cleanup
    async def drop(db: Db) -> None:
        trace.append("cleanup")

    async with MemoryWorld(clock, app) as world:
        await world.create(db())
        await clock.sleep(5)
        await world.delete(Db, "d")
        await clock.sleep(100)
        assert trace == ["start ['db.example.com/finalizer']", "end", "cleanup"]
        assert await world.find(Db, "d") is None


@virtual
async def test_timers_tick_for_each_object_while_it_lives(clock: VirtualClock, app: Operator) -> None:
    """Changes neither add ticks nor put them off; failures back off."""
    ticks: list[tuple[str, float]] = []

    @app.on.timer(Db, interval_s=60, initial_delay_s=10)
    def tick(db: Db, attempt: int) -> None:
        ticks.append((db.name, clock.monotonic()))
        db.status.ticks += 1
        if len(ticks) == 2:
            raise TemporaryError("once", delay_s=5)

    async with MemoryWorld(clock, app) as world:
        await world.create(db())
        await clock.sleep(30)
        await world.patch(Db, "d", {"spec": {"size": 1}})
        await clock.sleep(120)
        assert ticks == [("d", 10.0), ("d", 70.0), ("d", 75.0), ("d", 135.0)]
        assert (await world.get(Db, "d")).status.ticks == 4
        await world.delete(Db, "d")
        await clock.sleep(1000)
        assert len(ticks) == 4


@virtual
async def test_event_handlers_see_each_change_in_order_and_inline_ones_see_it_first(clock: VirtualClock, app: Operator) -> None:
    """For models in memory: nothing is merged, nothing repeated."""
    trace: list[str] = []

    @app.on.reconcile(Db)
    async def look(db: Db) -> None:
        trace.append(f"reconcile {db.spec.size}")

    @app.on.event(Db)
    async def later(db: Db, event: str) -> None:
        trace.append(f"event {event} {db.spec.size}")

    @app.on.event(Db, inline=True)
    def first(db: Db, event: str) -> None:
        trace.append(f"inline {event} {db.spec.size}")

    async with MemoryWorld(clock, app) as world:
        await world.create(db(size=1))
        await world.patch(Db, "d", {"spec": {"size": 2}})
        await world.delete(Db, "d")
        await world.settled()
        assert [t for t in trace if t.startswith("event")] == ["event ADDED 1", "event MODIFIED 2", "event DELETED 2"]
        assert trace[:3] == ["inline ADDED 1", "inline MODIFIED 2", "inline DELETED 2"]


@virtual
async def test_an_object_that_stops_matching_is_deleted_to_an_event_handler(clock: VirtualClock, app: Operator) -> None:
    """A model built from a filtered kind would otherwise keep it for ever."""
    told: list[str] = []

    @app.on.event(Db, inline=True, labels="tier=web")
    def seen(db: Db, event: str) -> None:
        told.append(f"{event} {db.name}")

    async with MemoryWorld(clock, app) as world:
        web = db()
        web.labels["tier"] = "web"
        await world.create(web)
        await world.patch(Db, "d", {"metadata": {"labels": {"tier": "db"}}})
        await world.patch(Db, "d", {"metadata": {"labels": {"tier": "web"}}})
        await world.settled()
        assert told == ["ADDED d", "DELETED d", "MODIFIED d"]


@virtual
async def test_patch_and_memo_work_as_in_kopf(clock: VirtualClock, app: Operator) -> None:
    """For those who come from there."""
    counts: list[int] = []

    @app.on.create(Db)
    def made(patch: dict[str, Any], memo: Any) -> None:
        memo.count = 1
        patch["metadata"] = {"labels": {"made": "yes"}}
        patch["status"] = {"ready": True}

    @app.on.update(Db)
    def changed(memo: Any) -> None:
        memo["count"] += 1
        counts.append(memo.count)

    async with MemoryWorld(clock, app) as world:
        await world.create(db())
        await world.settled()
        stored = await world.get(Db, "d")
        assert (stored.labels, stored.status.ready) == ({"made": "yes"}, True)
        await world.patch(Db, "d", {"spec": {"size": 2}})
        await world.settled()
        assert counts[-1] == len(counts) + 1


@virtual
async def test_a_handlers_parameters_are_passed_by_name(clock: VirtualClock, app: Operator) -> None:
    """All that `handling` promises, at once."""
    got: dict[str, Any] = {}

    @app.on.create(Db)
    async def made(db: Db, **everything: Any) -> None:
        got.update(everything)

    async with MemoryWorld(clock, app) as world:
        await world.create(db(size=3))
        await world.settled()
        assert (got["name"], got["namespace"], got["spec"].size, got["status"].ready) == ("d", "default", 3, False)
        assert (got["uid"], got["meta"].name, got["labels"], got["attempt"]) == (got["obj"].uid, "d", {}, 0)
        assert not len(world.engine.reports)
