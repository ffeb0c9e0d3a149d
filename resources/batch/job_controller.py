"""The Job controller: runs Pods until enough succeeded, or too many failed.

A pass counts what ended, decides whether the Job ends, and otherwise brings the number of Pods to what is wanted: deletions
before creations, never both. The end is told in two steps: SuccessCriteriaMet or FailureTarget first, then, when no Pod is
left running, Complete or Failed. Time limits are requeues, not timers.

Source: k8s.io/kubernetes/pkg/controller/job/job_controller.go
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from reconcile.clock import Clock, timestamp
from reconcile.conditions import is_true, with_condition
from reconcile.errors import ConflictError, NotFoundError, Tree
from reconcile.handling import Cluster, EventRecorder, Requeue
from reconcile.kinds import typed
from reconcile.registry import Operator, Watch
from reconcile.resources.apps.deletion_ranking import pods_to_delete
from reconcile.resources.apps.orphans import Orphans
from reconcile.resources.apps.ownership import claim, ensure_there, selector_of, settle
from reconcile.resources.apps.pod_batches import BURST_MAX, all_at_once, slow_start
from reconcile.resources.apps.pod_state import controller_of, is_active, is_ready
from reconcile.resources.core import Pod
from reconcile.views import tree_of

from .failures import wait_until_s
from .job import Job
from .job_counting import (
    COMPLETE,
    CRITERIA_MET,
    FAILED,
    SUSPENDED,
    Ending,
    Tally,
    deadline_of,
    ended_at_s,
    ending_of,
    tallied,
)
from .job_pods import TRACKING, has_succeeded, index_failures, index_of, is_indexed, is_tracked, pod_tree, unfinished

CONTROLLER = "kubernetes.io/job-controller"
_SHOWN_MAX = 10
_CONFLICT_DELAY_S = 0.01


def job_controller() -> Operator:
    """The operator that runs every Job."""
    app = Operator("job-controller")
    orphans = Orphans.followed(app, Pod, Job)

    @app.on.reconcile(Job, owns=(Pod,), watches=(Watch(Pod, to=orphans.adopters),), workers=5, while_deleting=True)
    async def job(job: Job, cluster: Cluster, events: EventRecorder, clock: Clock) -> Requeue | None:
        tree = tree_of(job)
        if tree["spec"].get("managedBy") not in (None, CONTROLLER):
            return None
        pods = [tree_of(pod) for pod in await cluster.list(Pod, job.namespace, owner=job)]
        if ended_at_s(tree.get("status") or {}) is None:
            selector = selector_of(tree)
            found = claim(tree, selector, pods, orphans.matching(job.namespace, selector))
            try:
                pods = await settle(cluster, Pod, job, found, TRACKING)
            except ConflictError:
                return Requeue(_CONFLICT_DELAY_S)  # a Pod changed under us: the newer state is on its way to the cache
        return await _Pass(job, tree, pods, cluster, events, clock).run()

    @app.on.reconcile(Pod, when=lambda pod: is_tracked(tree_of(pod)), while_deleting=True, workers=2)
    async def tracked_pod(pod: Pod, cluster: Cluster) -> None:
        """A Pod whose Job is gone is counted by nobody: let go of it."""
        owner = controller_of(tree_of(pod))
        if owner is not None and owner.get("kind") == "Job":
            found = await cluster.find(Job, str(owner["name"]), pod.namespace)
            if found is not None and found.uid == owner["uid"]:
                return
            try:
                if (await cluster.fresh(Job, str(owner["name"]), pod.namespace)).uid == owner["uid"]:
                    return
            except NotFoundError:
                pass  # which is what was to be found out
        await release(cluster, tree_of(pod))

    return app


async def release(cluster: Cluster, pod: Tree) -> None:
    """Take the finalizer off a Pod; one that is gone is fine."""
    left = [name for name in pod["metadata"].get("finalizers") or () if name != TRACKING]
    try:
        await cluster.patch(typed(Pod, pod), {"metadata": {"uid": pod["metadata"]["uid"], "finalizers": left or None}})
    except NotFoundError:
        return


@attrs.define
class _Pass:
    """One pass over one Job."""

    job: Job
    tree: Tree
    pods: list[Tree]
    cluster: Cluster
    events: EventRecorder
    clock: Clock
    status: Tree = attrs.field(factory=dict)
    waits_s: float | None = None
    """When the first of the indexes that wait after a failure may run again."""

    async def run(self) -> Requeue | None:
        """Count, decide, create or delete, tell.

        Raises:
            ApiError: a write failed; what was written stands, and the pass is repeated with back-off.
        """
        now_s = self.clock.now()
        self.status = dict(self.tree.get("status") or {})
        if ended_at_s(self.status) is not None:
            await self._release(self.pods)
            return None
        if self.job.deleting:
            await self._release(self.pods)
            return None
        self._begin(now_s)
        tally = tallied({**self.tree, "status": self.status}, self.pods)
        ending = ending_of({**self.tree, "status": self.status}, tally, self.pods, now_s)
        if ending is not None:
            self._put(ending.type, ending.reason, ending.message, now_s)
        await self._note(tally)
        active = [pod for pod in self.pods if is_active(pod)]
        next_s: float | None = None
        if ending is not None:
            active = await self._end(ending, active, now_s)
        elif self.tree["spec"].get("suspend"):
            active = await self._remove(active)
        else:
            active, next_s = await self._size(tally, active, now_s)
        await self._write(tally, active)
        return self._again(next_s, now_s)

    def _begin(self, now_s: float) -> None:
        """Note that the Job started, waits, or goes on."""
        suspended = bool(self.tree["spec"].get("suspend"))
        stands = is_true(self.status.get("conditions"), SUSPENDED)
        if suspended and not stands:
            self._put(SUSPENDED, "JobSuspended", "Job suspended", now_s)
            self.events.normal("Suspended", "Job suspended")
        elif not suspended and stands:
            self._put(SUSPENDED, "JobResumed", "Job resumed", now_s, status="False")
            self.status["startTime"] = timestamp(now_s)
            self.events.normal("Resumed", "Job resumed")
        if not suspended and not self.status.get("startTime"):
            self.status["startTime"] = timestamp(now_s)

    def _put(self, type_: str, reason: str, message: str, now_s: float, *, status: str = "True") -> None:
        new = {"type": type_, "status": status, "reason": reason, "message": message, "lastProbeTime": timestamp(now_s)}
        before = self.status.get("conditions") or []
        if not any(c["type"] == type_ and c["status"] == status for c in before):
            self.status["conditions"] = with_condition(before, new, now_s)

    async def _note(self, tally: Tally) -> None:
        """Write down what ended, take the finalizers off, and count."""
        if tally.released:
            self.status.update(tally.noted)
            await self._patch()
            await self._release(tally.released)
        tally.settle()
        self.status.update({**tally.noted, "uncountedTerminatedPods": {"succeeded": [], "failed": []}})

    async def _end(self, ending: Ending, active: list[Tree], now_s: float) -> list[Tree]:
        """Stop what still runs; when nothing does, say how the Job ended."""
        if active:
            # Those that are no longer needed are no failures.
            return await self._remove(active, counted=ending.type != CRITERIA_MET)
        if unfinished(self.pods):
            return []
        if ending.type == CRITERIA_MET:
            self._put(COMPLETE, ending.reason, ending.message, now_s)
            self.status["completionTime"] = timestamp(now_s)
            self.events.normal("Completed", "Job completed")
        else:
            self._put(FAILED, ending.reason, ending.message, now_s)
            self.events.warning(ending.reason, ending.message)
        return []

    async def _size(self, tally: Tally, active: list[Tree], now_s: float) -> tuple[list[Tree], float | None]:
        """Make the number of Pods what is wanted. Returns the active ones, and when to look again."""
        spec = self.tree["spec"]
        parallelism, completions = spec.get("parallelism", 1), spec.get("completions")
        surplus = _surplus(spec, active)
        if completions is None:
            wanted = len(active) if tally.succeeded else parallelism
        else:
            wanted = min(parallelism, completions - tally.succeeded - len(tally.failed_indexes))
        kept = [pod for pod in active if pod not in surplus]
        if len(kept) > wanted:
            surplus += pods_to_delete(kept, kept, len(kept) - max(wanted, 0), now_s)
        if surplus:
            await self._remove(surplus)
            return [pod for pod in active if pod not in surplus], None
        occupied = len(active)
        if spec.get("podReplacementPolicy") == "Failed":
            occupied += len(unfinished(self.pods))
        missing = min(wanted - occupied, BURST_MAX)
        if missing <= 0:
            return active, None
        if occupied < self.status.get("active", 0):
            await ensure_there(self.cluster, self.job)
        until_s = self._backoff(now_s)
        if until_s > now_s:
            return active, until_s
        return [*active, *await self._create(missing, tally, active)], self.waits_s

    def _backoff(self, now_s: float) -> float:
        spec = self.tree["spec"]
        if spec.get("backoffLimitPerIndex") is not None:
            return 0.0  # each index waits for itself: see `_numbers`
        failed = [pod for pod in self.pods if (pod.get("status") or {}).get("phase") == "Failed"]
        return wait_until_s(failed, [pod for pod in self.pods if has_succeeded(pod)])

    async def _create(self, count: int, tally: Tally, active: Sequence[Tree]) -> list[Tree]:
        reference = tree_of(self.job.owner_reference())
        numbers: list[tuple[int | None, int]] = [(None, 0)] * count
        if is_indexed(self.tree["spec"]):
            numbers = self._numbers(count, tally, active)
        waiting = iter(numbers)

        async def create() -> Tree:
            index, failures = next(waiting)
            return tree_of(await self.cluster.create(typed(Pod, pod_tree(self.tree, reference, index, failures))))

        made, error = await slow_start(len(numbers), create)
        self._tell("SuccessfulCreate", "Created pod", made)
        if error is not None and not any(cause.reason == "NamespaceTerminating" for cause in error.causes):
            self.events.warning("FailedCreate", f"Error creating: {error.message}")
            await self._write(tally, [*active, *made])
            raise error
        return made

    def _numbers(self, count: int, tally: Tally, active: Sequence[Tree]) -> list[tuple[int | None, int]]:
        """The lowest indexes that have no Pod, are not done and need not wait, each with the failures before."""
        taken = {index_of(pod) for pod in (*active, *self._still_going())} | tally.completed | tally.failed_indexes
        failed: dict[int | None, list[Tree]] = {}
        for pod in self.pods:
            if not is_active(pod) and not has_succeeded(pod):
                failed.setdefault(index_of(pod), []).append(pod)
        numbers: list[tuple[int | None, int]] = []
        for index in range(self.tree["spec"]["completions"]):
            if index in taken:
                continue
            before = failed.get(index, [])
            if self.tree["spec"].get("backoffLimitPerIndex") is not None:
                until_s = wait_until_s(before, ())
                if until_s > self.clock.now():
                    self.waits_s = min(until_s, self.waits_s or until_s)
                    continue
            numbers.append((index, max((index_failures(pod) + 1 for pod in before), default=0)))
            if len(numbers) == count:
                break
        return numbers

    def _still_going(self) -> list[Tree]:
        return unfinished(self.pods) if self.tree["spec"].get("podReplacementPolicy") == "Failed" else []

    async def _remove(self, pods: Sequence[Tree], *, counted: bool = False) -> list[Tree]:
        """Delete Pods; unless `counted`, their end is nobody's failure. Returns what is active then: none of them."""

        async def remove(pod: Tree) -> Tree:
            if not counted and is_tracked(pod):
                await release(self.cluster, pod)
            try:
                await self.cluster.delete(typed(Pod, pod))
            except NotFoundError:
                return pod
            return pod

        removed, error = await all_at_once(pods[:BURST_MAX], remove)
        self._tell("SuccessfulDelete", "Deleted pod", removed)
        if error is not None:
            raise error
        return []

    async def _release(self, pods: Sequence[Tree]) -> None:
        async def one(pod: Tree) -> None:
            await release(self.cluster, pod)

        _, error = await all_at_once([pod for pod in pods if is_tracked(pod)], one)
        if error is not None:
            raise error

    def _tell(self, reason: str, what: str, pods: Sequence[Tree]) -> None:
        for pod in pods[:_SHOWN_MAX]:
            self.events.normal(reason, f"{what}: {pod['metadata']['name']}")
        if len(pods) > _SHOWN_MAX:
            self.events.normal(reason, f"{what}s: {len(pods) - _SHOWN_MAX} more")

    async def _write(self, tally: Tally, active: Sequence[Tree]) -> None:
        going = unfinished(self.pods)
        self.status.update(
            active=len(active), ready=sum(map(is_ready, active)), terminating=len(going), succeeded=tally.succeeded,
            failed=tally.failed,
        )  # fmt: skip
        if ended_at_s(self.status) is not None:
            self.status.update(active=0, ready=0, terminating=0)
        await self._patch()

    async def _patch(self) -> None:
        """Write the status, if it says anything new."""
        before = self.tree.get("status") or {}
        change: dict[str, Any] = {name: value for name, value in self.status.items() if before.get(name) != value}
        if change:
            await self.cluster.patch(self.job, {"metadata": {"uid": self.job.uid}, "status": change}, subresource="status")
            self.tree = {**self.tree, "status": dict(self.status)}

    def _again(self, next_s: float | None, now_s: float) -> Requeue | None:
        if ended_at_s(self.status) is not None:
            return None
        deadline_s = deadline_of({**self.tree, "status": self.status})
        times = [time for time in (next_s, deadline_s) if time is not None and time > now_s]
        return Requeue(min(times) - now_s) if times else None


def _surplus(spec: Tree, active: Sequence[Tree]) -> list[Tree]:
    """Pods of an indexed Job whose number is none, too high, or another's."""
    if not is_indexed(spec):
        return []
    seen: set[int] = set()
    surplus = []
    for pod in active:
        index = index_of(pod)
        if index is None or index >= spec["completions"] or index in seen:
            surplus.append(pod)
        else:
            seen.add(index)
    return surplus
