"""Job: Pods that run until enough of them succeeded."""

from __future__ import annotations

from reconcile.errors import Tree
from reconcile.kinds import Column, Hooks, Resource, kind
from reconcile.resources.apps.pod_state import condition, instant_s
from reconcile.resources.core.age import age
from reconcile.resources.core.cells import AGE, template_columns
from reconcile.resources.core.pod_spec import PodTemplateSpec
from reconcile.resources.core.references import LabelSelector
from reconcile.views import field, struct

from .job_rules import default_job, prepare_job, validate_job


@struct
class PodFailurePolicyOnExitCodesRequirement:
    """Matches a container's exit code, which is never 0 here."""

    container_name: str | None = field(default=None, doc="The container; any where it is absent.")
    operator: str = field(doc="In or NotIn.")
    values: list[int] = field(list_type="set", doc="Exit codes.")


@struct
class PodFailurePolicyOnPodConditionsPattern:
    """Matches a condition of the Pod."""

    type: str
    status: str | None = None


@struct
class PodFailurePolicyRule:
    """What a failure of one sort leads to."""

    action: str = field(doc="FailJob, FailIndex, Ignore or Count.")
    on_exit_codes: PodFailurePolicyOnExitCodesRequirement | None = None
    on_pod_conditions: list[PodFailurePolicyOnPodConditionsPattern] = field(factory=list, list_type="atomic")


@struct
class PodFailurePolicy:
    """Rules for failed Pods; the first that matches decides, and without one a failure counts."""

    rules: list[PodFailurePolicyRule] = field(list_type="atomic")


@struct
class SuccessPolicyRule:
    """Indexes whose success is enough."""

    succeeded_indexes: str | None = field(default=None, doc="Which, as in 0,2-4.")
    succeeded_count: int | None = field(default=None, doc="How many of them.")


@struct
class SuccessPolicy:
    """Rules by which an indexed Job is done before all of its indexes are; one is enough."""

    rules: list[SuccessPolicyRule] = field(list_type="atomic")


@struct
class JobSpec:
    """What is to run, how often it must succeed, and when to give up."""

    parallelism: int | None = field(default=None, doc="How many Pods run at once.")
    completions: int | None = field(default=None, doc="How many must succeed; absent: one is enough, and ends the others' wait.")
    active_deadline_seconds: int | None = field(default=None, doc="The Job may take so long.")
    pod_failure_policy: PodFailurePolicy | None = None
    success_policy: SuccessPolicy | None = None
    backoff_limit: int | None = field(default=None, doc="So many Pods may fail.")
    backoff_limit_per_index: int | None = field(default=None, doc="So many Pods of one index may fail.")
    max_failed_indexes: int | None = field(default=None, doc="So many indexes may fail.")
    selector: LabelSelector | None = field(default=None, map_type="atomic", doc="Picks the Pods; the server writes it.")
    manual_selector: bool | None = field(default=None, doc="Whether the selector is the writer's own.")
    template: PodTemplateSpec = field(doc="What the Pods look like; restartPolicy is Never or OnFailure.")
    ttl_seconds_after_finished: int | None = field(default=None, doc="It is deleted so long after its end.")
    completion_mode: str | None = field(default=None, doc="NonIndexed, or Indexed: each Pod has a number.")
    suspend: bool | None = field(default=None, doc="Whether it waits, with no Pods.")
    pod_replacement_policy: str | None = field(default=None, doc="TerminatingOrFailed, or Failed: wait until a Pod is gone.")
    managed_by: str | None = field(default=None, doc="Somebody else's controller.")


@struct
class JobCondition:
    """One aspect of a Job: Complete, Failed, Suspended, SuccessCriteriaMet, FailureTarget."""

    type: str
    status: str
    last_probe_time: str = field(default="", format="date-time")
    last_transition_time: str = field(default="", format="date-time")
    reason: str = field(default="", doc="One CamelCase word for programs.")
    message: str = field(default="", doc="A sentence for people.")


@struct
class UncountedTerminatedPods:
    """Pods that ended and are in no count yet: their finalizer is being removed."""

    succeeded: list[str] = field(factory=list, list_type="set")
    failed: list[str] = field(factory=list, list_type="set")


@struct
class JobStatus:
    """How far the Job is."""

    conditions: list[JobCondition] = field(factory=list, list_type="atomic", merge_key="type", merge_strategy="merge")
    start_time: str | None = field(default=None, format="date-time")
    completion_time: str | None = field(default=None, format="date-time")
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    terminating: int | None = None
    completed_indexes: str = field(default="", doc="Indexes that succeeded, as in 0,2-4.")
    failed_indexes: str | None = field(default=None, doc="Indexes that failed for good.")
    uncounted_terminated_pods: UncountedTerminatedPods | None = None
    ready: int | None = None


def _status(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    for name in ("Complete", "Failed"):
        if _is(tree, name):
            return name
    if tree["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return next((name for name in ("Suspended", "FailureTarget", "SuccessCriteriaMet") if _is(tree, name)), "Running")


def _is(tree: Tree, name: str) -> bool:
    return (condition(tree, name) or {}).get("status") == "True"


def _completions(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    spec, succeeded = tree["spec"], (tree.get("status") or {}).get("succeeded", 0)
    if spec.get("completions") is not None:
        return f"{succeeded}/{spec['completions']}"
    parallelism = spec.get("parallelism") or 0
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _duration(tree: Tree, now_s: float) -> str:
    status = tree.get("status") or {}
    started_s, ended_s = instant_s(status.get("startTime")), instant_s(status.get("completionTime"))
    return "" if started_s is None else age((ended_s if ended_s is not None else now_s) - started_s)


_KEEPS_PODS = (
    "child pods are preserved by default when jobs are deleted; "
    "set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning"
)


@kind(
    "batch", "v1", plural="jobs", categories=("all",), builtin=True,
    selectable_as={"status.successful": ("status.succeeded", "0")},
    hooks=Hooks(
        default=default_job, prepare=prepare_job, validate=validate_job, prepares_changes=False, keeps_dependents=_KEEPS_PODS
    ),
    columns=(
        Column("Status", cell=_status, doc="Running, Complete, Failed, Suspended ..."),
        Column("Completions", cell=_completions, doc="Successes of those wanted."),
        Column("Duration", cell=_duration, doc="How long it took, or takes."),
        AGE,
        *template_columns(),
    ),
)  # fmt: skip
class Job(Resource):
    """Runs Pods until enough of them succeeded."""

    spec: JobSpec = field(factory=lambda: JobSpec(template=PodTemplateSpec()))
    status: JobStatus = field(factory=JobStatus, server_default={})
