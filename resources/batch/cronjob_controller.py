"""The CronJob controller: makes a Job when one is due, at most one for each time, and clears old ones away.

The name of a Job says for which minute it was made, so that two controllers, or one that crashed, make one Job. Of several
missed times only the last is made up for.

Source: k8s.io/kubernetes/pkg/controller/cronjob/cronjob_controllerv2.go
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import attrs

from reconcile.clock import Clock, timestamp
from reconcile.conditions import is_true
from reconcile.errors import AlreadyExistsError, ApiError, Tree
from reconcile.handling import Cluster, EventRecorder, Requeue
from reconcile.kinds import typed
from reconcile.registry import Operator
from reconcile.resources.apps.pod_state import instant_s
from reconcile.views import tree_of

from . import cron
from .cronjob import CronJob
from .cronjob_rules import zone_of
from .job import Job
from .job_counting import COMPLETE, FAILED

SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_MISSED_MAX = 100
_LATE_S = 0.1
"""It looks a little after the time, so that a clock that is read early does not see it as not due."""


def cronjob_controller() -> Operator:
    """The operator that makes the Jobs of every CronJob."""
    app = Operator("cronjob-controller")

    @app.on.reconcile(CronJob, owns=(Job,), workers=5)
    async def cron_job(cron_job: CronJob, cluster: Cluster, events: EventRecorder, clock: Clock) -> Requeue | None:
        jobs = [tree_of(job) for job in await cluster.list(Job, cron_job.namespace, owner=cron_job)]
        return await _Pass(cron_job, tree_of(cron_job), jobs, cluster, events, clock).run()

    return app


def most_recent_s(schedule: cron.Schedule, after_s: float, now_s: float) -> tuple[float | None, int]:
    """The last time in (after, now], and how many there are (counted up to a little more than a hundred)."""
    count, last_s, at_s = 0, None, schedule.next_s(after_s)
    while at_s is not None and at_s <= now_s:
        count, last_s = count + 1, at_s
        if count > _MISSED_MAX:
            return _last_before(schedule, last_s, now_s), count
        at_s = schedule.next_s(at_s)
    return last_s, count


def _last_before(schedule: cron.Schedule, known_s: float, now_s: float) -> float:
    """The last time up to now, found by looking back ever further, from one that is known to be before it."""
    back_s = 60.0
    while now_s - back_s > known_s:
        at_s = schedule.next_s(now_s - back_s)
        if at_s is not None and at_s <= now_s:
            known_s = at_s
            break
        back_s *= 2
    while (at_s := schedule.next_s(known_s)) is not None and at_s <= now_s:
        known_s = at_s
    return known_s


@attrs.define
class _Pass:
    """One pass over one CronJob."""

    cron_job: CronJob
    tree: Tree
    jobs: list[Tree]
    cluster: Cluster
    events: EventRecorder
    clock: Clock

    async def run(self) -> Requeue | None:
        """Look after the Jobs there are, and make the one that is due."""
        now_s = self.clock.now()
        spec, before = self.tree["spec"], self.tree.get("status") or {}
        status = self._looked_after(before)
        await self._forget()
        try:
            schedule = cron.parsed(spec["schedule"], zone_of(spec))
        except (ValueError, OSError, KeyError) as error:
            self.events.warning("UnparseableSchedule", f"unparseable schedule: {spec['schedule']}: {error}")
            await self._write(before, status)
            return None
        failure = None if spec.get("suspend") else await self._start(schedule, status, now_s)
        await self._write(before, status)
        if failure is not None:
            raise failure
        next_s = None if spec.get("suspend") else schedule.next_s(now_s)
        return None if next_s is None else Requeue(next_s + _LATE_S - now_s)

    def _looked_after(self, before: Tree) -> Tree:
        """The status with the Jobs that run now, and the last success."""
        by_uid = {job["metadata"]["uid"]: job for job in self.jobs}
        status = {name: value for name, value in before.items() if value is not None}
        active = []
        for reference in before.get("active") or ():
            job = by_uid.get(reference.get("uid"))
            if job is None:
                self.events.normal("MissingJob", f"Active job went missing: {reference.get('name')}")
            elif (ended := _ended(job)) is not None:
                self.events.normal("SawCompletedJob", f"Saw completed job: {reference['name']}, condition: {ended}")
            else:
                active.append(reference)
        known = {reference.get("uid") for reference in active}
        active += [_reference(job) for job in self.jobs if _ended(job) is None and job["metadata"]["uid"] not in known]
        status["active"] = active
        successes = [at for job in self.jobs if (at := (job.get("status") or {}).get("completionTime"))]
        last = max((*successes, *((status["lastSuccessfulTime"],) if status.get("lastSuccessfulTime") else ())), default=None)
        if last is not None:
            status["lastSuccessfulTime"] = last
        return status

    async def _start(self, schedule: cron.Schedule, status: Tree, now_s: float) -> ApiError | None:
        """Make the Job that is due, if one is. Changes the status; returns what went wrong, when all else is done."""
        spec, meta = self.tree["spec"], self.tree["metadata"]
        deadline_s = spec.get("startingDeadlineSeconds")
        since_s = instant_s(status.get("lastScheduleTime")) or instant_s(meta.get("creationTimestamp")) or now_s
        if deadline_s is not None:
            since_s = max(since_s, now_s - deadline_s)
        due_s, missed = most_recent_s(schedule, since_s, now_s)
        if due_s is None:
            return None
        if missed > _MISSED_MAX:
            why = "Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            self.events.warning("TooManyMissedTimes", f"too many missed start times. {why}")
        if spec.get("concurrencyPolicy") == "Forbid" and status["active"]:
            why = "prior execution is running and concurrency policy is Forbid"
            self.events.normal("JobAlreadyActive", f"Not starting job because {why}")
            return None
        try:
            if spec.get("concurrencyPolicy") == "Replace":
                await self._end_all(status["active"])
                status["active"] = []
            job = await self._make(due_s)
        except ApiError as error:
            self.events.warning("FailedCreate", f"Error creating job: {error.message}")
            return error
        status["lastScheduleTime"] = timestamp(due_s)
        if job is not None and all(known.get("uid") != job["metadata"]["uid"] for known in status["active"]):
            status["active"] = [*status["active"], _reference(job)]
        return None

    async def _make(self, due_s: float) -> Tree | None:
        """Create the Job of a time; None where it was made before and is over."""
        meta, spec = self.tree["metadata"], self.tree["spec"]
        template = spec["jobTemplate"]
        of_template = template.get("metadata") or {}
        at = datetime.fromtimestamp(due_s, zone_of(spec)).isoformat().replace("+00:00", "Z")
        made = {
            "name": f"{meta['name']}-{int(due_s) // 60}",
            "namespace": meta["namespace"],
            "labels": dict(of_template.get("labels") or {}),
            "annotations": {**(of_template.get("annotations") or {}), SCHEDULED: at},
            "creationTimestamp": timestamp(due_s),
            "ownerReferences": [tree_of(self.cron_job.owner_reference())],
        }
        try:
            job = tree_of(await self.cluster.create(typed(Job, {"metadata": made, "spec": dict(template["spec"])})))
        except AlreadyExistsError:
            found = tree_of(await self.cluster.fresh(Job, str(made["name"]), meta["namespace"]))
            owned = any(ref.get("uid") == meta["uid"] for ref in found["metadata"].get("ownerReferences") or ())
            return found if owned and _ended(found) is None else None
        self.events.normal("SuccessfulCreate", f"Created job {job['metadata']['name']}")
        return job

    async def _end_all(self, references: Sequence[Tree]) -> None:
        by_uid = {job["metadata"]["uid"]: job for job in self.jobs}
        for reference in references:
            if (job := by_uid.get(reference.get("uid"))) is not None:
                await self._delete(job)

    async def _delete(self, job: Tree) -> None:
        await self.cluster.delete(typed(Job, job), propagation="Background")
        self.events.normal("SuccessfulDelete", f"Deleted job {job['metadata']['name']}")

    async def _forget(self) -> None:
        """Delete finished Jobs beyond those that are kept, the oldest first."""
        for condition, name in ((COMPLETE, "successfulJobsHistoryLimit"), (FAILED, "failedJobsHistoryLimit")):
            limit = self.tree["spec"].get(name)
            if limit is None:
                continue
            over = [job for job in self.jobs if _ended(job) == condition and not job["metadata"].get("deletionTimestamp")]
            over.sort(key=lambda job: ((job.get("status") or {}).get("startTime") or "", job["metadata"]["name"]))
            for job in over[: max(len(over) - limit, 0)]:
                await self._delete(job)

    async def _write(self, before: Tree, status: Tree) -> None:
        if {**before, "active": before.get("active") or []} != status:
            await self.cluster.patch(self.cron_job, {"status": status}, subresource="status")


def _ended(job: Tree) -> str | None:
    """Complete or Failed; None while the Job runs."""
    conditions = (job.get("status") or {}).get("conditions")
    return next((name for name in (COMPLETE, FAILED) if is_true(conditions, name)), None)


def _reference(job: Tree) -> Tree:
    meta = job["metadata"]
    return {
        "kind": "Job", "apiVersion": "batch/v1", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"],
        "resourceVersion": meta.get("resourceVersion", ""),
    }  # fmt: skip
