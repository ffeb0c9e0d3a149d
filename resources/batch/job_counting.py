"""Counts a Job's Pods exactly once, and decides when the Job is done or has failed.

A Pod's end is first noted in status.uncountedTerminatedPods (of an indexed Job: the index among the completed ones), then its
finalizer goes, then the counters grow and the note is dropped. A crash anywhere in between leaves enough to go on.

Source: k8s.io/kubernetes/pkg/controller/job/job_controller.go (trackJobStatusAndRemoveFinalizers), success_policy.go
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from reconcile.conditions import condition as of_type
from reconcile.conditions import is_true
from reconcile.errors import Tree
from reconcile.resources.apps.pod_state import instant_s, is_active

from . import indexes
from .failures import judged
from .job_pods import has_failed, has_succeeded, index_failures, index_of, is_indexed, is_tracked, restarts_of

COMPLETE, FAILED, SUSPENDED = "Complete", "Failed", "Suspended"
CRITERIA_MET, FAILURE_TARGET = "SuccessCriteriaMet", "FailureTarget"


@attrs.frozen
class Ending:
    """Why a Job ends: the condition that says so first, a reason and a message."""

    type: str
    reason: str
    message: str


@attrs.define
class Tally:
    """What a Job's Pods come to. `released`: Pods whose finalizer may go once this is written down."""

    succeeded: int
    failed: int
    uncounted_succeeded: list[str]
    uncounted_failed: list[str]
    completed: set[int]
    failed_indexes: set[int]
    released: list[Tree]
    fails_job: str = ""

    @property
    def noted(self) -> Tree:
        """The part of the status that must be written before a finalizer goes."""
        noted: Tree = {
            "uncountedTerminatedPods": {"succeeded": self.uncounted_succeeded, "failed": self.uncounted_failed},
            "completedIndexes": indexes.text_of(self.completed),
        }
        if self.failed_indexes:
            noted["failedIndexes"] = indexes.text_of(self.failed_indexes)
        return noted

    def settle(self) -> None:
        """The finalizers are gone: what was noted is counted."""
        self.succeeded += len(self.uncounted_succeeded)
        self.failed += len(self.uncounted_failed)
        self.uncounted_succeeded, self.uncounted_failed, self.released = [], [], []


def tallied(job: Tree, pods: Sequence[Tree]) -> Tally:
    """Count what ended. O(pods)."""
    spec, status = job["spec"], job.get("status") or {}
    uncounted = status.get("uncountedTerminatedPods") or {}
    indexed, completions = is_indexed(spec), spec.get("completions")
    tally = Tally(
        status.get("succeeded", 0), status.get("failed", 0), list(uncounted.get("succeeded") or ()),
        list(uncounted.get("failed") or ()), indexes.parsed(status.get("completedIndexes")),
        indexes.parsed(status.get("failedIndexes")), [],
    )  # fmt: skip
    known = {*tally.uncounted_succeeded, *tally.uncounted_failed}
    for pod in pods:
        if not is_tracked(pod):
            continue
        uid, index = pod["metadata"]["uid"], index_of(pod) if indexed else None
        if uid in known:
            tally.released.append(pod)
        elif has_succeeded(pod):
            tally.released.append(pod)
            if not indexed:
                tally.uncounted_succeeded.append(uid)
            elif index is not None and index < (completions or 0):
                tally.completed.add(index)
        elif has_failed(pod, spec):
            tally.released.append(pod)
            _note_failure(tally, spec, pod, index)
    if indexed:
        tally.completed = {index for index in tally.completed if index < (completions or 0)}
        tally.succeeded = len(tally.completed)
        tally.failed_indexes -= tally.completed
    return tally


def _note_failure(tally: Tally, spec: Tree, pod: Tree, index: int | None) -> None:
    verdict = judged(spec.get("podFailurePolicy"), pod)
    if verdict.fails_job and not tally.fails_job:
        tally.fails_job = verdict.fails_job
    if verdict.counts:
        tally.uncounted_failed.append(pod["metadata"]["uid"])
    limit = spec.get("backoffLimitPerIndex")
    if index is None or limit is None or index in tally.completed:
        return
    if verdict.fails_index or (verdict.counts and index_failures(pod) >= limit):
        tally.failed_indexes.add(index)


def ending_of(job: Tree, tally: Tally, pods: Sequence[Tree], now_s: float) -> Ending | None:
    """Why the Job is to end now; None: it goes on. The order is the reference server's."""
    spec, status = job["spec"], job.get("status") or {}
    conditions = status.get("conditions") or []
    for type_ in (CRITERIA_MET, FAILURE_TARGET):
        if is_true(conditions, type_):
            found = of_type(conditions, type_) or {}
            return Ending(type_, found.get("reason", ""), found.get("message", ""))
    succeeded = tally.succeeded + len(tally.uncounted_succeeded)
    failed = tally.failed + len(tally.uncounted_failed)
    if tally.fails_job:
        return Ending(FAILURE_TARGET, "PodFailurePolicy", tally.fails_job)
    if _past_limit(spec, failed, pods):
        return Ending(FAILURE_TARGET, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    if (deadline_s := deadline_of(job)) is not None and now_s >= deadline_s:
        return Ending(FAILURE_TARGET, "DeadlineExceeded", "Job was active longer than specified deadline")
    if (ending := _by_indexes(spec, tally)) is not None:
        return ending
    wanted = spec.get("completions")
    # Without a number, the first success ends the wait for new Pods, and the Job is done when the others are.
    if succeeded < (1 if wanted is None else wanted) or (wanted is None and any(map(is_active, pods))):
        return None
    return Ending(CRITERIA_MET, "CompletionsReached", "Reached expected number of succeeded pods")


def deadline_of(job: Tree) -> float | None:
    """The instant at which the Job has taken too long."""
    limit_s, started_s = job["spec"].get("activeDeadlineSeconds"), instant_s((job.get("status") or {}).get("startTime"))
    if limit_s is None or started_s is None or job["spec"].get("suspend"):
        return None
    return started_s + float(limit_s)


def _past_limit(spec: Tree, failed: int, pods: Sequence[Tree]) -> bool:
    limit = spec.get("backoffLimit", 6)
    if failed > limit:
        return True
    if ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy") != "OnFailure":
        return False
    restarts = restarts_of(pod for pod in pods if (pod.get("status") or {}).get("phase") in ("Running", "Pending"))
    return restarts > 0 if limit == 0 else bool(restarts >= limit)


def _by_indexes(spec: Tree, tally: Tally) -> Ending | None:
    if not is_indexed(spec):
        return None
    completions, most = spec.get("completions") or 0, spec.get("maxFailedIndexes")
    if most is not None and len(tally.failed_indexes) > most:
        return Ending(
            FAILURE_TARGET, "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
        )
    if tally.failed_indexes and len(tally.completed) + len(tally.failed_indexes) >= completions:
        return Ending(FAILURE_TARGET, "FailedIndexes", "Job has failed indexes")
    for number, rule in enumerate((spec.get("successPolicy") or {}).get("rules") or ()):
        wanted = rule.get("succeededIndexes")
        chosen = tally.completed if wanted is None else tally.completed & indexes.parsed(wanted)
        needed = rule.get("succeededCount")
        if needed is None:
            needed = len(indexes.parsed(wanted))
        if len(chosen) >= needed > 0:
            return Ending(CRITERIA_MET, "SuccessPolicy", f"Matched rules at index {number}")
    return None


def ended_at_s(status: Tree) -> float | None:
    """When a Job ended; None while it has not."""
    for entry in status.get("conditions") or ():
        if entry.get("type") in (COMPLETE, FAILED) and entry.get("status") == "True":
            return instant_s(entry.get("lastTransitionTime")) or 0.0
    return None
