"""CronJob: Jobs that are made by the clock."""

from __future__ import annotations

from typing import Any

from reconcile.errors import Tree
from reconcile.kinds import Column, Hooks, ObjectMeta, Resource, kind
from reconcile.resources.core.age import since
from reconcile.resources.core.cells import AGE, NONE, path_cell, selector_text
from reconcile.resources.core.pod_spec import PodTemplateSpec
from reconcile.resources.core.references import ObjectReference
from reconcile.views import field, struct

from .cronjob_rules import default_cron_job, validate_cron_job
from .job import JobSpec


@struct
class JobTemplateSpec:
    """The Jobs that are made: their labels and annotations, and what they are."""

    metadata: ObjectMeta = field(factory=ObjectMeta)
    spec: JobSpec = field(factory=lambda: JobSpec(template=PodTemplateSpec()))


@struct
class CronJobSpec:
    """When Jobs are made, what they are, and what happens when one is still running."""

    schedule: str = field(doc="Five fields as of cron, or @hourly, @daily, @weekly, @monthly, @yearly, @every 90s.")
    time_zone: str | None = field(default=None, doc="The zone of the schedule, such as Europe/Berlin; absent: UTC.")
    starting_deadline_seconds: int | None = field(default=None, doc="A run that is later than this is left out.")
    concurrency_policy: str = field(default="Allow", doc="Allow, Forbid (leave the new one out) or Replace (end the old one).")
    suspend: bool | None = field(default=None, doc="Whether no Jobs are made now.")
    job_template: JobTemplateSpec = field(doc="What the Jobs look like.")
    successful_jobs_history_limit: int | None = field(default=None, doc="So many Jobs that succeeded are kept.")
    failed_jobs_history_limit: int | None = field(default=None, doc="So many Jobs that failed are kept.")


@struct
class CronJobStatus:
    """What runs, and when the last runs were."""

    active: list[ObjectReference] = field(factory=list, list_type="atomic")
    last_schedule_time: str | None = field(default=None, format="date-time")
    last_successful_time: str | None = field(default=None, format="date-time")


def _last(tree: Tree, now_s: float) -> str:
    last = (tree.get("status") or {}).get("lastScheduleTime")
    return since(last, now_s) if last else NONE


def _pod_spec(tree: Tree) -> Tree:
    job: Tree = tree["spec"]["jobTemplate"].get("spec") or {}
    return job


def _containers(attribute: str) -> Any:
    def cell(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
        spec = (_pod_spec(tree).get("template") or {}).get("spec") or {}
        return ",".join(str(container.get(attribute, "")) for container in spec.get("containers") or ())

    return cell


@kind(
    "batch", "v1", plural="cronjobs", short_names=("cj",), categories=("all",), builtin=True,
    hooks=Hooks(default=default_cron_job, validate=validate_cron_job),
    columns=(
        Column("Schedule", cell=path_cell("spec", "schedule"), doc="When."),
        Column("Timezone", cell=path_cell("spec", "timeZone", absent=NONE), doc="By which clock."),
        Column("Suspend", type="boolean", cell=lambda tree, _: str(bool(tree["spec"].get("suspend"))), doc="Whether it waits."),
        Column("Active", type="integer", cell=lambda t, _: len((t.get("status") or {}).get("active") or ()), doc="Running Jobs."),
        Column("Last Schedule", cell=_last, doc="When a Job was due last."),
        AGE,
        Column("Containers", cell=_containers("name"), priority=1, doc="Names of the template's containers."),
        Column("Images", cell=_containers("image"), priority=1, doc="Images of the template's containers."),
        Column("Selector", cell=lambda t, _: selector_text(_pod_spec(t).get("selector")), priority=1, doc="Picks the Pods."),
    ),
)  # fmt: skip
class CronJob(Resource):
    """Makes Jobs by the clock."""

    spec: CronJobSpec = field(
        factory=lambda: CronJobSpec(schedule="", job_template=JobTemplateSpec(spec=JobSpec(template=PodTemplateSpec())))
    )
    status: CronJobStatus = field(factory=CronJobStatus, server_default={})
