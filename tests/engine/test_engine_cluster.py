"""What handlers do through their `cluster`, and handlers that stand in odd places: writes, mistakes, floods."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from reconcile.errors import ApiError, ConflictError, ForbiddenError, InternalError, PermanentError
from reconcile.handling import AdmissionReview, Cluster, Key
from reconcile.identity import Caller
from reconcile.kinds import Hooks, Kind, Resource, kind, kind_of
from reconcile.registry import Operator, Watch
from reconcile.runtime.engine import noticing
from reconcile.runtime.engine.admission import Admit
from reconcile.runtime.testing.memory import Request
from reconcile.runtime.testing.memory_world import MemoryWorld
from reconcile.runtime.testing.virtual import VirtualClock, virtual
from reconcile.views import field, struct, thawed


@struct
class TaskSpec:
    size: int = 0


@struct
class TaskStatus:
    done: int = 0


def _bind(tree: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    return {**tree, "spec": {**tree.get("spec", {}), **body}}


@kind("example.com", "v1", hooks=Hooks(actions={"binding": _bind}))
class Task(Resource):
    spec: TaskSpec = field(factory=TaskSpec)
    status: TaskStatus = field(factory=TaskStatus)


@kind("example.com", "v1", namespaced=False)
class Zone(Resource):
    spec: dict[str, Any] = field(factory=dict)


@pytest.fixture
def app() -> Operator:
    return Operator("tasks.example.com")


@virtual
async def test_every_write_goes_to_the_api_as_what_it_is(clock: VirtualClock, app: Operator) -> None:
    """Each has its own preconditions: a stale update is refused, a delete hits this very object or none."""
    checked: list[str] = []

    @app.on.reconcile(Task, fields="metadata.name=main")
    async def work(task: Task, cluster: Cluster) -> None:
        made = await cluster.create(Task(name="other", spec=TaskSpec(size=1)))
        assert made.namespace == "default"
        mine = thawed(made)
        mine.spec.size = 2
        made = await cluster.update(mine)
        mine.spec.size = 3
        with pytest.raises(ConflictError):
            await cluster.update(mine)
        mine = thawed(made)
        mine.status.done = 5
        made = await cluster.update_status(mine)
        await cluster.patch(made, {"metadata": {"labels": {"a": "b"}}})
        await cluster.act(made, "binding", {"size": 9})
        newest = await cluster.fresh(Task, "other")
        assert (newest.spec.size, newest.status.done, newest.labels) == (9, 5, {"a": "b"})
        applied = await cluster.apply(Task(name="applied", spec=TaskSpec(size=1)))
        assert applied.uid
        await cluster.delete(newest)
        await cluster.delete(newest)  # gone already is fine
        again = await cluster.create(Task(name="other"))
        await cluster.delete(newest)  # another object has the name: not ours to delete
        assert (await cluster.fresh(Task, "other")).uid == again.uid
        zone = await cluster.create(Zone(name="z"))
        assert await cluster.find(Zone, "none") is None
        assert (zone.namespace, await cluster.list(Task, owner=Task(name="new"))) == ("", [])
        checked.append(task.name)

    async with MemoryWorld(clock, app, serving=(Zone,)) as world:
        await world.create(Task(name="main"))
        await world.settled()
        assert checked == ["main"], [str(report) for report in world.engine.reports]


@virtual
async def test_a_mistake_in_a_mapping_function_is_reported_and_the_rest_goes_on(clock: VirtualClock, app: Operator) -> None:
    """One object with an odd label must not blind the handler for all others."""
    runs: list[str] = []

    def to(zone: Zone) -> list[Key]:
        return [Key("default", zone.spec["task"])]

    @app.on.reconcile(Task, watches=(Watch(Zone, to=to),))
    async def work(task: Task) -> None:
        runs.append(task.name)

    async with MemoryWorld(clock, app) as world:
        await world.create(Task(name="t"))
        await world.settled()
        await world.create(Zone(name="odd"))
        await world.create(Zone(name="fine", spec={"task": "t"}))
        await world.settled()
        assert len(runs) == 2
        assert "KeyError" in next(iter(world.engine.reports)).error


@virtual
async def test_an_event_handler_that_falls_behind_is_told_what_it_lost(
    clock: VirtualClock, app: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every queue has a bound; a silent one would be worse than none."""
    monkeypatch.setattr(noticing, "EVENTS_MAX", 10)
    seen: list[str] = []

    @app.on.event(Task)
    async def slow(task: Task) -> None:
        await clock.sleep(1)
        seen.append(task.name)

    async with MemoryWorld(clock, app) as world:
        for number in range(50):
            await world.create(Task(name=f"t{number}"))
        await clock.sleep(100)
        assert len(seen) == 10
        assert seen[-1] == "t49"
        assert "changes were dropped; use @on.reconcile instead" in next(iter(world.engine.reports)).message


@virtual
async def test_what_the_api_refuses_to_the_engine_itself_is_retried_and_reported(clock: VirtualClock, app: Operator) -> None:
    """An operator without the right to write annotations must not fail in silence."""
    created: list[str] = []

    @app.on.create(Task)
    def made(task: Task) -> None:
        created.append(task.name)

    def forbid(request: Request) -> None:
        if request.method == "patch":
            raise ForbiddenError("tasks is forbidden: cannot patch")

    async with MemoryWorld(clock, app) as world:
        world.client.before = forbid
        await world.create(Task(name="t"))
        await clock.sleep(10)
        assert "cannot patch" in next(iter(world.engine.reports)).message
        world.client.before = lambda _: None
        await clock.sleep(100)
        assert created == ["t"], "success is remembered in memory even while it cannot be written down"
        assert (await world.get(Task, "t")).annotations


@virtual
async def test_a_timer_that_gives_up_stops_until_the_object_changes(clock: VirtualClock, app: Operator) -> None:
    """A permanent error in a tick is still permanent."""
    ticks: list[float] = []

    @app.on.timer(Task, interval_s=10)
    def tick(task: Task) -> None:
        ticks.append(clock.monotonic())
        if task.spec.size == 0:
            raise PermanentError("no size")

    async with MemoryWorld(clock, app) as world:
        await world.create(Task(name="t"))
        await clock.sleep(100)
        assert len(ticks) == 1
        await world.patch(Task, "t", {"spec": {"size": 1}})
        await clock.sleep(25)
        assert len(ticks) == 4


class Gate:
    """Admission hooks that keep what they are given."""

    def __init__(self) -> None:
        self.mutators: list[Admit] = []
        self.validators: list[Admit] = []

    def add_mutator(self, kind: Kind | None, fn: Admit) -> Any:
        self.mutators.append(fn)
        return lambda: self.mutators.remove(fn)

    def add_validator(self, kind: Kind | None, fn: Admit) -> Any:
        self.validators.append(fn)
        return lambda: self.validators.remove(fn)


@virtual
async def test_an_admission_handlers_own_mistake_is_told_apart_from_a_refusal(clock: VirtualClock, app: Operator) -> None:
    """The writer gets 403 and the reason for the one, 500 and the place for the other."""

    @app.on.validate(Resource)
    def check(obj: Resource, review: AdmissionReview) -> None:
        if review.operation == "CREATE":
            raise ValueError("not today")
        raise ZeroDivisionError("division by zero")

    @app.on.mutate(Task)
    def label(patch: dict[str, Any]) -> None:
        patch["metadata"] = {"labels": {"a": "b"}}

    async def ask(fn: Admit, review: AdmissionReview) -> None:
        answer = fn(review)
        if answer is not None:
            await answer

    gate = Gate()
    async with MemoryWorld(clock, app, admission=gate) as world:
        tree = Task(name="t").tree
        review = AdmissionReview("CREATE", tree, None, "", False, Caller("me"), kind=kind_of(Task))
        await ask(gate.mutators[0], review)
        assert review.tree["metadata"] == {"name": "t", "labels": {"a": "b"}}
        with pytest.raises(ForbiddenError, match="denied the request: not today"):
            await ask(gate.validators[0], review)
        with pytest.raises(InternalError, match=r"handler check \(test_engine_cluster\.py:\d+\) failed on this write"):
            await ask(gate.validators[0], AdmissionReview("UPDATE", tree, tree, "", False, Caller("me"), kind=kind_of(Task)))
        assert isinstance(ForbiddenError("x"), ApiError)
        assert [report.error for report in world.engine.reports] == ["ZeroDivisionError"]
    assert (gate.mutators, gate.validators) == ([], [])


@virtual
async def test_admission_handlers_without_hooks_are_left_out_aloud(
    clock: VirtualClock, app: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    """Against a remote API server they would need a webhook."""

    @app.on.validate(Task)
    def check(task: Task) -> None: ...

    async with MemoryWorld(clock, app):
        assert "is not called: this API server takes no validate handlers" in caplog.text


@virtual(seed=3)
async def test_virtual_uids_are_proper_uuids(clock: VirtualClock) -> None:
    """Clients parse them."""
    for _ in range(100):
        text = clock.uid()
        assert str(uuid.UUID(text)) == text
        assert uuid.UUID(text).version == 4
