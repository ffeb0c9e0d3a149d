"""Reconcile handlers: when they run, on what they run, and what becomes of what they raise."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise
from typing import Any

import pytest

from reconcile.causality import TRIGGER
from reconcile.conditions import Condition
from reconcile.errors import ConflictError, NotFoundError, PermanentError, TemporaryError
from reconcile.handling import Cluster, Conditions, Key, Requeue, Wait
from reconcile.kinds import Resource, kind
from reconcile.registry import Operator, Watch
from reconcile.runtime.testing.memory import Request
from reconcile.runtime.testing.memory_world import MemoryWorld
from reconcile.runtime.testing.virtual import VirtualClock, virtual
from reconcile.views import field, struct


@struct
class SiteSpec:
    html: str = ""
    theme: str = ""


@struct
class SiteStatus:
    url: str = ""
    seen: int = 0
    conditions: list[Condition] = field(factory=list)


@kind("example.com", "v1")
class Site(Resource):
    spec: SiteSpec = field(factory=SiteSpec)
    status: SiteStatus = field(factory=SiteStatus)


@kind("example.com", "v1")
class Theme(Resource):
    spec: dict[str, Any] = field(factory=dict)


@pytest.fixture
def app() -> Operator:
    return Operator("shop.example.com")


def site(name: str = "a", **spec: str) -> Site:
    return Site(name=name, namespace="default", spec=SiteSpec(**spec))


@virtual
async def test_a_handler_runs_for_each_change_with_the_newest_state(clock: VirtualClock, app: Operator) -> None:
    """The first promise of all."""
    seen: list[str] = []

    @app.on.reconcile(Site)
    def look(site: Site) -> None:
        seen.append(site.spec.html)

    async with MemoryWorld(clock, app) as world:
        await world.create(site(html="1"))
        await world.settled()
        await world.patch(Site, "a", {"spec": {"html": "2"}})
        await world.patch(Site, "a", {"spec": {"html": "3"}})
        await world.settled()
        assert seen == ["1", "3"]


@virtual
async def test_what_was_there_before_the_operator_is_handled_too(clock: VirtualClock, app: Operator) -> None:
    """Level-triggered: nobody asks when a change happened."""
    seen: list[str] = []

    @app.on.reconcile(Site)
    async def look(site: Site) -> None:
        seen.append(site.name)

    world = MemoryWorld(clock, serving=(Site,))
    async with world:
        await world.create(site("a"))
        await world.engine.start(app)
        await world.settled()
        assert seen == ["a"]


@virtual
async def test_a_status_that_changed_is_written_once_and_one_that_did_not_is_not(clock: VirtualClock, app: Operator) -> None:
    """Zero writes when nothing changed: otherwise handlers wake themselves for ever (kopf 729, 838, 1294)."""

    @app.on.reconcile(Site)
    async def look(site: Site, conditions: Conditions) -> None:
        site.status.url = f"http://{site.name}"
        conditions.true("Ready", "Served", "all is well")

    async with MemoryWorld(clock, app) as world:
        await world.create(site())
        await world.settled()
        assert world.client.count("patch") == 1
        stored = await world.get(Site, "a")
        assert stored.status.url == "http://a"
        (ready,) = stored.status.conditions
        assert (ready.type_, ready.status, ready.reason, ready.observed_generation) == ("Ready", "True", "Served", 1)
        since = ready.last_transition_time
        await clock.sleep(100)
        await world.patch(Site, "a", {"spec": {"html": "x"}})
        await world.settled()
        (ready,) = (await world.get(Site, "a")).status.conditions
        assert (ready.observed_generation, ready.last_transition_time) == (2, since)
        assert world.client.count("patch") == 3  # one of them is ours above


@virtual
async def test_a_list_in_the_status_is_not_written_over_a_newer_one(clock: VirtualClock, app: Operator) -> None:
    """Two operators on one kind both write conditions; a merge patch replaces the whole list."""
    other = Operator("other.example.com")
    for operator, type_ in ((app, "Ready"), (other, "Backed")):

        @operator.on.reconcile(Site, name=type_)
        async def look(site: Site, conditions: Conditions, clock: VirtualClock, type_: str = type_) -> None:
            await clock.sleep(1)
            conditions.true(type_, "Done")

    async with MemoryWorld(clock, app, other) as world:
        await world.create(site())
        await clock.sleep(30)
        stored = await world.get(Site, "a")
        assert sorted(c.type_ for c in stored.status.conditions) == ["Backed", "Ready"]
        assert not len(world.engine.reports)


@virtual
async def test_what_a_handler_read_runs_it_again_when_it_changes(clock: VirtualClock, app: Operator) -> None:
    """No Watches(): a read through the cluster is the declaration. Absent objects count as well."""
    runs: list[str] = []

    @app.on.reconcile(Site)
    async def look(site: Site, cluster: Cluster) -> None:
        theme = await cluster.find(Theme, site.spec.theme)
        runs.append(str(theme.spec.get("colour")) if theme else "none")

    async with MemoryWorld(clock, app, serving=(Theme,)) as world:
        await world.create(site(theme="dark"))
        await world.settled()
        await world.create(Theme(name="dark", spec={"colour": "black"}))
        await world.settled()
        await world.create(Theme(name="unrelated", spec={}))
        await world.settled()
        await world.patch(Theme, "dark", {"spec": {"colour": "grey"}})
        await world.settled()
        assert runs == ["none", "black", "grey"]
        await world.patch(Site, "a", {"spec": {"theme": "light"}})
        await world.settled()
        await world.patch(Theme, "dark", {"spec": {"colour": "brown"}})
        await world.settled()
        assert runs == ["none", "black", "grey", "none"], "a dependency that is read no longer still runs the handler"


@virtual
@pytest.mark.parametrize(
    "how",
    [{"labels": "set=x"}, {"labels": {"set": "x"}}, {"labels": "set in (x)"}, {"index": ("spec.set", "x")}, {}],
    ids=["labels", "mapping", "set-based", "index", "all"],
)
async def test_a_list_is_a_dependency_on_all_that_matches_before_or_after(
    clock: VirtualClock, app: Operator, how: dict[str, Any]
) -> None:
    """An object that joins the selection, leaves it, or changes in it: each changes what the list said."""
    runs: list[int] = []

    @app.on.reconcile(Site)
    async def look(site: Site, cluster: Cluster) -> None:
        runs.append(len(await cluster.list(Theme, "default", **how)))

    async with MemoryWorld(clock, app, serving=(Theme,)) as world:
        await world.create(site())
        await world.settled()
        await world.create(Theme(name="t", labels={"set": "x"}, spec={"set": "x"}))
        await world.settled()
        await world.create(Theme(name="far", namespace="far", labels={"set": "x"}, spec={"set": "x"}))
        await world.settled()
        await world.delete(Theme, "t")
        await world.settled()
        assert runs == [0, 1, 0]


@virtual
async def test_a_dependency_that_changes_while_the_handler_runs_runs_it_again(clock: VirtualClock, app: Operator) -> None:
    """Between the read and the end of the run lies the window in which updates get lost."""
    seen: list[str] = []

    @app.on.reconcile(Site)
    async def look(site: Site, cluster: Cluster, clock: VirtualClock) -> None:
        theme = await cluster.find(Theme, "dark")
        await clock.sleep(10)
        seen.append(str(theme.spec["colour"]) if theme else "none")

    async with MemoryWorld(clock, app, serving=(Theme,)) as world:
        await world.create(site())
        await clock.sleep(5)
        await world.create(Theme(name="dark", spec={"colour": "black"}))
        await clock.sleep(30)
        assert seen == ["none", "black"]


@virtual
async def test_a_handler_sees_its_own_writes_however_slow_the_watch_is(clock: VirtualClock, app: Operator) -> None:
    """On an older cache it would create its children twice; this is what expectations were for."""
    created: list[str] = []

    @app.on.reconcile(Site)
    async def look(site: Site, cluster: Cluster) -> None:
        have = await cluster.list(Theme, "default")
        if len(have) < 3:
            made = await cluster.create(Theme(name=f"t{len(created)}", namespace="default"))
            created.append(made.name)

    async with MemoryWorld(clock, app, serving=(Theme,)) as world:
        await world.create(site())
        await world.settled()
        informer = world.engine.running(Theme.__kind__)
        assert informer is not None
        assert created == ["t0", "t1", "t2"]
        # From now on the cache of Theme lags: its events come five seconds late.
        prompt = informer.handle

        def late(event: Any) -> None:
            asyncio.get_running_loop().call_later(5, prompt, event)

        informer.handle = late  # type: ignore[method-assign]  # a slow watch
        for theme in ("t0", "t1", "t2"):
            await world.delete(Theme, theme)
        await clock.sleep(60)
        assert created == ["t0", "t1", "t2", "t3", "t4", "t5"]
        assert len(await world.list(Theme)) == 3


@virtual
async def test_an_own_delete_is_seen_before_the_next_run(clock: VirtualClock, app: Operator) -> None:
    """Or the handler deletes one more, because the first is still in its cache."""

    @app.on.reconcile(Site)
    async def look(site: Site, cluster: Cluster) -> None:
        have = await cluster.list(Theme, "default")
        if len(have) > 3:
            await cluster.delete(have[0])
            cluster.enqueue(look, "default", site.name)

    world = MemoryWorld(clock, serving=(Theme, Site))
    async with world:
        for number in range(10):
            await world.create(Theme(name=f"t{number}"))
        await world.engine.start(app)
        await world.create(site())
        await world.settled()
        assert len(await world.list(Theme)) == 3
        assert world.client.count("delete") == 7


@virtual
async def test_a_failing_handler_backs_off_is_reported_and_recovers(clock: VirtualClock, app: Operator) -> None:
    """The report names handler, file, line and object: an error that nobody can place helps nobody."""
    attempts: list[tuple[float, int]] = []

    @app.on.reconcile(Site, backoff_s_first=1, backoff_s_max=8)
    def look(site: Site, attempt: int) -> None:
        attempts.append((clock.monotonic(), attempt))
        if site.spec.html != "good":
            raise ValueError("bad html")

    async with MemoryWorld(clock, app) as world:
        await world.create(site())
        await clock.sleep(60)
        gaps = [b[0] - a[0] for a, b in pairwise(attempts)]
        assert gaps[:5] == [pytest.approx(wait, rel=0.11) for wait in (1, 2, 4, 8, 8)]
        assert [number for _, number in attempts[:4]] == [0, 1, 2, 3]
        report = next(iter(world.engine.reports))
        assert (report.handler, report.object, report.error, report.message) == (
            "look", "Site default/a", "ValueError", "bad html",
        )  # fmt: skip
        assert report.where.startswith("test_engine_reconcile.py:")
        assert 'raise ValueError("bad html")' in report.traceback
        assert "engine/attempt.py" not in report.traceback
        await world.patch(Site, "a", {"spec": {"html": "good"}})
        await world.settled()
        count = len(attempts)
        await clock.sleep(1000)
        assert len(attempts) <= count + 1


@virtual
async def test_one_objects_failure_hurts_no_other_object_and_no_other_handler(clock: VirtualClock, app: Operator) -> None:
    """Each handler has a queue of its own, each key a back-off of its own."""
    good: list[str] = []

    @app.on.reconcile(Site)
    async def picky(site: Site) -> None:
        if site.name == "bad":
            raise RuntimeError("no")
        good.append(f"picky {site.name}")

    @app.on.reconcile(Site)
    async def easy(site: Site) -> None:
        good.append(f"easy {site.name}")

    async with MemoryWorld(clock, app) as world:
        await world.create(site("bad"))
        await world.create(site("fine"))
        await clock.sleep(20)
        assert sorted(good) == ["easy bad", "easy fine", "picky fine"]


@virtual
async def test_a_handler_that_writes_and_then_fails_does_not_storm(clock: VirtualClock, app: Operator) -> None:
    """Its own status write is a change of its object: without a bound that is a hot loop."""
    runs: list[float] = []

    @app.on.reconcile(Site)
    async def look(site: Site) -> None:
        runs.append(clock.monotonic())
        site.status.seen = len(runs)
        raise RuntimeError("no")

    async with MemoryWorld(clock, app) as world:
        await world.create(site())
        await clock.sleep(100)
        assert len(runs) < 120
        assert (await world.get(Site, "a")).status.seen == len(runs), "what was said before the failure is not kept"


@virtual
async def test_temporary_errors_say_when_and_are_no_alarm(clock: VirtualClock, app: Operator) -> None:
    """`later` is an answer, not a failure."""
    runs: list[float] = []

    @app.on.reconcile(Site)
    async def look(site: Site) -> None:
        runs.append(clock.monotonic())
        raise TemporaryError("not yet", delay_s=30)

    async with MemoryWorld(clock, app) as world:
        await world.create(site())
        await clock.sleep(100)
        assert runs == [0.0, 30.0, 60.0, 90.0]
        assert not len(world.engine.reports)


@virtual
async def test_a_permanent_error_waits_for_the_object_to_change(clock: VirtualClock, app: Operator) -> None:
    """Neither time nor its own status write is a reason to try again; a change of the spec is."""
    runs: list[str] = []

    @app.on.reconcile(Site)
    async def look(site: Site, conditions: Conditions) -> None:
        runs.append(site.spec.html)
        conditions.false("Ready", "Hopeless", "no")
        raise PermanentError("no")

    async with MemoryWorld(clock, app) as world:
        await world.create(site(html="1"))
        await clock.sleep(10_000)
        assert runs == ["1"]
        assert next(iter(world.engine.reports)).retry_s is None
        await world.patch(Site, "a", {"spec": {"html": "2"}})
        await clock.sleep(10_000)
        assert runs == ["1", "2"]


@virtual
async def test_retries_max_gives_up_until_the_object_changes(clock: VirtualClock, app: Operator) -> None:
    """For handlers whose failures cost money."""
    runs: list[str] = []

    @app.on.reconcile(Site, retries_max=3)
    async def look(site: Site) -> None:
        runs.append(site.spec.html)
        raise RuntimeError("no")

    async with MemoryWorld(clock, app) as world:
        await world.create(site(html="1"))
        await clock.sleep(10_000)
        await world.patch(Site, "a", {"spec": {"html": "2"}})
        await clock.sleep(10_000)
        assert runs == ["1"] * 3 + ["2"] * 3


@virtual
async def test_a_conflict_is_tried_again_without_alarm(clock: VirtualClock, app: Operator) -> None:
    """Somebody else wrote first: part of life."""
    runs: list[int] = []

    @app.on.reconcile(Site)
    async def look(site: Site, attempt: int) -> None:
        runs.append(attempt)
        if attempt < 3:
            raise ConflictError("the object has been modified")

    async with MemoryWorld(clock, app) as world:
        await world.create(site())
        await clock.sleep(10)
        assert runs == [0, 1, 2, 3]
        assert not len(world.engine.reports)


@virtual
async def test_a_timeout_cancels_the_attempt_for_real(clock: VirtualClock, app: Operator) -> None:
    """kopf measures between attempts only: one await that hangs blocks the object for good."""
    ended: list[str] = []

    @app.on.reconcile(Site, timeout_s=5, backoff_s_first=1)
    async def look(site: Site, attempt: int) -> None:
        try:
            if attempt == 0:
                await asyncio.Event().wait()
            ended.append("done")
        except asyncio.CancelledError:
            ended.append(f"cancelled at {clock.monotonic()}")
            raise

    async with MemoryWorld(clock, app) as world:
        await world.create(site())
        await clock.sleep(20)
        assert ended == ["cancelled at 5.0", "done"]
        assert "timeout_s=5" in next(iter(world.engine.reports)).message


@virtual
async def test_requeue_wait_and_resync_run_again_when_they_say(clock: VirtualClock, app: Operator) -> None:
    """For news that no watch brings."""
    runs: dict[str, list[float]] = {"requeue": [], "wait": [], "resync": []}

    @app.on.reconcile(Site)
    async def requeue(site: Site) -> Requeue | None:
        runs["requeue"].append(clock.monotonic())
        return Requeue(60) if len(runs["requeue"]) < 3 else None

    @app.on.reconcile(Site)
    async def wait(site: Site) -> Wait:
        runs["wait"].append(clock.monotonic())
        return Wait("a theme", at_most_s=100)

    @app.on.reconcile(Site, resync_s=100)
    async def resync(site: Site) -> None:
        runs["resync"].append(clock.monotonic())

    async with MemoryWorld(clock, app) as world:
        await world.create(site())
        await clock.sleep(350)
        assert runs["requeue"] == [0, 60, 120]
        assert runs["wait"] == [0, 100, 200, 300]
        assert 3 <= len(runs["resync"]) <= 4


@virtual
async def test_filters_choose_the_objects(clock: VirtualClock, app: Operator) -> None:
    """All given filters must hold; and one that stops holding stops the runs."""
    seen: list[str] = []

    @app.on.reconcile(
        Site, labels="tier=web", fields="spec.theme!=none", annotations={"x": "1"}, when=lambda site: site.spec.html != "skip"
    )
    async def look(site: Site) -> None:
        seen.append(site.name)

    async with MemoryWorld(clock, app) as world:
        good: dict[str, Any] = {"labels": {"tier": "web"}, "annotations": {"x": "1"}}
        await world.create(Site(name="good", **good))
        await world.create(Site(name="label", annotations={"x": "1"}))
        await world.create(Site(name="field", **good, spec=SiteSpec(theme="none")))
        await world.create(Site(name="note", labels={"tier": "web"}, annotations={"x": "2"}))
        await world.create(Site(name="when", **good, spec=SiteSpec(html="skip")))
        await world.settled()
        assert seen == ["good"]
        await world.patch(Site, "when", {"spec": {"html": "go"}})
        await world.settled()
        assert seen == ["good", "when"]


@virtual
async def test_owns_and_watches_map_changes_to_keys(clock: VirtualClock, app: Operator) -> None:
    """For children that the handler creates by hand, and for kinds that name their site themselves."""
    runs: list[str] = []

    @app.on.reconcile(
        Site, owns=(Theme,), watches=(Watch(Theme, to=lambda theme: [Key(theme.namespace, theme.labels.get("site", ""))]),)
    )
    async def look(site: Site) -> None:
        runs.append(site.name)

    async with MemoryWorld(clock, app) as world:
        parent = await world.create(site("owner"))
        await world.create(site("mapped"))
        await world.settled()
        child = Theme(name="child")
        child.metadata.owner_references = [parent.owner_reference()]
        await world.create(child)
        await world.create(Theme(name="friend", labels={"site": "mapped"}))
        await world.settled()
        assert sorted(runs) == ["mapped", "mapped", "owner", "owner"]


@virtual
async def test_objects_that_are_going_away_are_left_alone_unless_asked_for(clock: VirtualClock, app: Operator) -> None:
    """A reconcile that brings back what is being torn down is the classic mistake."""
    seen: list[str] = []

    @app.on.reconcile(Site)
    async def living(site: Site) -> None:
        seen.append(f"living {site.deleting}")

    @app.on.reconcile(Site, while_deleting=True)
    async def always(site: Site) -> None:
        seen.append(f"always {site.deleting}")

    async with MemoryWorld(clock, app) as world:
        held = site()
        held.metadata.finalizers = ["somebody/else"]
        await world.create(held)
        await world.settled()
        await world.delete(Site, "a")
        await world.settled()
        assert sorted(seen) == ["always False", "always True", "living False"]


@virtual
async def test_the_cause_of_each_write_is_known_while_a_handler_runs(clock: VirtualClock, app: Operator) -> None:
    """`reconcile why` is told from this; it must survive tasks and not leak into other handlers."""
    causes: list[tuple[str, str]] = []

    @app.on.reconcile(Site)
    async def look(site: Site, cluster: Cluster) -> None:
        async def later() -> None:
            await cluster.create(Theme(name=f"{site.name}-later"))

        await cluster.create(Theme(name=f"{site.name}-now"))
        cluster.spawn(later(), "later")

    def note(request: Request) -> None:
        if request.method == "create":
            causes.append((request.name, str(TRIGGER.get())))

    async with MemoryWorld(clock, app, serving=(Theme,)) as world:
        world.client.before = note
        await world.create(site("a"))
        await world.settled()
        await world.create(site("b"))
        await world.settled()
        assert causes == [
            ("a", "None"), ("a-now", "shop.example.com/look 1 change"), ("a-later", "shop.example.com/look 1 change"),
            ("b", "None"), ("b-now", "shop.example.com/look 4 change"), ("b-later", "shop.example.com/look 4 change"),
        ]  # fmt: skip


@virtual
async def test_a_copy_of_the_object_is_the_handlers_own(clock: VirtualClock, app: Operator) -> None:
    """Caches are shared: a handler that scribbles on its object must scribble on its own."""

    @app.on.reconcile(Site)
    async def scribble(site: Site, cluster: Cluster) -> None:
        site.spec.html = "scribbled"
        site.labels["x"] = "y"
        assert (await cluster.get(Site, site.name)).spec.html == "clean"
        with pytest.raises(NotFoundError, match=r'themes\.example\.com "no" not found$'):
            await cluster.get(Theme, "no")

    async with MemoryWorld(clock, app, serving=(Theme,)) as world:
        await world.create(site(html="clean"))
        await world.settled()
        stored = await world.get(Site, "a")
        assert (stored.spec.html, stored.labels) == ("clean", {})
        assert not len(world.engine.reports)


@virtual
async def test_what_a_handler_may_not_return_is_said(clock: VirtualClock, app: Operator) -> None:
    """A result that is silently ignored is a bug that is silently kept."""

    @app.on.reconcile(Site)
    async def look(site: Site) -> Any:
        return "done"

    async with MemoryWorld(clock, app) as world:
        await world.create(site())
        await world.settled()
        assert "returned str; return nothing, Requeue" in next(iter(world.engine.reports)).message


@virtual
async def test_a_thousand_objects_need_no_more_than_the_declared_workers(clock: VirtualClock, app: Operator) -> None:
    """kopf opened a thousand connections here; and each object must have its turn (fairness)."""
    busy, most, done = 0, 0, set()

    @app.on.reconcile(Site, workers=8)
    async def look(site: Site) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await clock.sleep(0.05)
        busy -= 1
        done.add(site.name)

    async with MemoryWorld(clock, app) as world:
        for number in range(1000):
            await world.create(site(f"s{number}"))
        await clock.sleep(7)
        assert (most, len(done)) == (8, 1000)


async def test_plain_handlers_run_in_a_thread_only_where_declared(app: Operator) -> None:
    """On the real loop, because a thread is invisible to a virtual clock."""
    import threading

    from reconcile.runtime.clock import SystemClock

    where: dict[str, bool] = {}
    causes: list[str] = []

    @app.on.reconcile(Site, threaded=True)
    def apart(site: Site) -> None:
        where["apart"] = threading.current_thread() is threading.main_thread()
        causes.append(str(TRIGGER.get()))

    @app.on.reconcile(Site)
    def inline(site: Site) -> None:
        where["inline"] = threading.current_thread() is threading.main_thread()

    async with MemoryWorld(SystemClock(), app) as world:
        await world.create(site())
        await world.settled()
        assert where == {"apart": False, "inline": True}
        assert causes == ["shop.example.com/apart 1 change"]


@virtual
async def test_the_log_names_object_and_handler(clock: VirtualClock, app: Operator, caplog: pytest.LogCaptureFixture) -> None:
    """Two hundred objects log at once; a line must say whose it is."""
    caplog.set_level(logging.INFO)

    @app.on.reconcile(Site)
    async def look(log: logging.LoggerAdapter[logging.Logger]) -> None:
        log.info("looked")

    async with MemoryWorld(clock, app) as world:
        await world.create(site())
        await world.settled()
        (record,) = [record for record in caplog.records if record.message == "looked"]
        assert (record.object, record.handler) == ("default/a", "look")  # type: ignore[attr-defined]  # extra fields
