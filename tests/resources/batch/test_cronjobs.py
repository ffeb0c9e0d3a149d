"""CronJobs at work, on the real API and engine in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reconcile.clock import parse_timestamp
from reconcile.errors import InvalidError, Tree
from reconcile.resources.batch import CronJob, Job
from reconcile.resources.batch.cronjob_controller import cronjob_controller
from reconcile.resources.batch.job_controller import job_controller
from reconcile.resources.gc import garbage_collector
from reconcile.resources.kubelet.simulated import simulated_nodes
from reconcile.resources.scheduler import scheduler
from reconcile.runtime.testing.virtual import VirtualClock, virtual

PlaneOf = Callable[..., Any]
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"


def cron_job(run_s: float = 1, code: int = 0, **spec: Any) -> Tree:
    """A CronJob `tick` of every minute, whose Pods run so long."""
    told = {"reconcile.dev/sim-run-s": str(run_s), "reconcile.dev/sim-exit-code": str(code)}
    inner = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x:1"}]}
    job = {"backoffLimit": 0, "template": {"metadata": {"annotations": told}, "spec": inner}}
    return {"metadata": {"name": "tick"}, "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": job}, **spec}}


def parts() -> tuple[Any, ...]:
    return cronjob_controller(), job_controller(), scheduler(), simulated_nodes(2), garbage_collector()


def state(job: Tree) -> str:
    return next((c["type"] for c in job["status"].get("conditions") or () if c["type"] in ("Complete", "Failed")), "Running")


@virtual
async def test_a_job_is_made_each_time_and_old_ones_are_cleared_away(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Named after its minute, so that there is one at most."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(CronJob, cron_job())
        await clock.sleep(200)
        jobs = await plane.all(Job)
        assert len(jobs) == 3
        for job in jobs:
            at_s = parse_timestamp(job["metadata"]["annotations"][SCHEDULED])
            assert at_s % 60 == 0
            assert job["metadata"]["name"] == f"tick-{int(at_s) // 60}"
        assert {state(job) for job in jobs} == {"Complete"}
        await clock.sleep(300)
        assert len([job for job in await plane.all(Job) if state(job) == "Complete"]) == 3
        tree = await plane.get(CronJob, "tick")
        assert clock.now() - parse_timestamp(tree["status"]["lastScheduleTime"]) < 61
        assert tree["status"]["lastSuccessfulTime"]
        assert not tree["status"].get("active")
        assert {"SuccessfulCreate", "SawCompletedJob", "SuccessfulDelete"} <= {r for r, _ in await plane.events("tick")}


@virtual
async def test_failed_jobs_have_a_history_of_their_own(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """The last failure is what somebody will look at."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(CronJob, cron_job(1, 1))
        await clock.sleep(320)
        assert [state(job) for job in await plane.all(Job)] == ["Failed"]


@pytest.mark.parametrize(("policy", "running", "made"), [("Allow", 3, 3), ("Forbid", 1, 1), ("Replace", 1, 3)])
@virtual
async def test_what_happens_when_the_last_one_still_runs(
    policy: str, running: int, made: int, clock: VirtualClock, control_plane: PlaneOf
) -> None:
    """Backups must not run twice at once; reports may."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(CronJob, cron_job(1000, concurrencyPolicy=policy))
        await clock.sleep(185)
        assert len(await plane.all(Job)) == running
        assert len((await plane.get(CronJob, "tick"))["status"]["active"]) == running
        told = await plane.events("tick")
        assert len({message for reason, message in told if reason == "SuccessfulCreate"}) == made
        assert (policy == "Forbid") == any(reason == "JobAlreadyActive" for reason, _ in told)


@virtual
async def test_a_run_that_was_forbidden_is_made_up_for_when_the_last_one_ends(
    clock: VirtualClock, control_plane: PlaneOf
) -> None:
    """Its time is not used up."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(CronJob, cron_job(90, concurrencyPolicy="Forbid"))
        await clock.sleep(170)
        jobs = await plane.all(Job)
        assert [state(job) for job in jobs] == ["Complete", "Running"]


@virtual
async def test_a_suspended_one_makes_nothing_and_only_the_last_missed_run_is_made_up_for(
    clock: VirtualClock, control_plane: PlaneOf
) -> None:
    """After a holiday nobody wants a thousand backups."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(CronJob, cron_job(suspend=True))
        await clock.sleep(600)
        assert await plane.all(Job) == []
        await plane.patch(CronJob, "tick", {"spec": {"suspend": False}})
        await clock.sleep(2)
        assert len(await plane.all(Job)) == 1


@virtual
async def test_a_run_that_is_too_late_is_left_out(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """A nightly job at noon disturbs everybody."""
    async with control_plane(clock, *parts()) as plane:
        hourly = cron_job(suspend=True, schedule="0 * * * *", startingDeadlineSeconds=60)
        await plane.create(CronJob, hourly)
        await clock.sleep(3600 + 1800)
        minute = int(clock.now()) // 60 % 60
        assert 5 < minute < 58
        await plane.patch(CronJob, "tick", {"spec": {"suspend": False}})
        await clock.sleep(5)
        assert await plane.all(Job) == []


@virtual
async def test_two_controllers_make_one_job(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """One that was thought dead and is not."""
    async with control_plane(clock, *parts(), cronjob_controller()) as plane:
        await plane.create(CronJob, cron_job(1000))
        await clock.sleep(65)
        assert len(await plane.all(Job)) == 1
        assert len((await plane.get(CronJob, "tick"))["status"]["active"]) == 1


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"schedule": "60 * * * *"}, 'spec.schedule: Invalid value: "60 * * * *": end of range (60) above maximum (59): 60'),
        ({"schedule": "TZ=UTC * * * * *"}, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
        ({"timeZone": "Mars/Olympus"}, 'spec.timeZone: Invalid value: "Mars/Olympus": unknown time zone Mars/Olympus'),
        ({"concurrencyPolicy": "Maybe"}, 'supported values: "Allow", "Forbid", "Replace"'),
        ({"jobTemplate": {"spec": {"template": {"spec": {"containers": []}}}}}, "spec.jobTemplate.spec.template.spec"),
    ],
)  # fmt: skip
@virtual
async def test_what_would_never_run_is_refused(spec: Tree, text: str, clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Somebody would wait for it for a month."""
    async with control_plane(clock) as plane:
        with pytest.raises(InvalidError) as refused:
            await plane.create(CronJob, cron_job(**spec))
        assert text in str(refused.value)
