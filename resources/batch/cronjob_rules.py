"""Defaults and rules of CronJob.

Source: K/pkg/apis/batch/v1/defaults.go, K/pkg/apis/batch/validation/validation.go
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, tzinfo

from reconcile.errors import Cause, Tree
from reconcile.resources.core.names import invalid, not_negative, required, unsupported
from reconcile.resources.core.pod_defaults import default_pod_template

from . import cron
from .job_rules import check_job_spec

_POLICIES = ("Allow", "Forbid", "Replace")
_NAME_LENGTH_MAX = 52


def zone_of(spec: Tree) -> tzinfo:
    """The zone of a schedule.

    Raises:
        zoneinfo.ZoneInfoNotFoundError: there is none of that name.
    """
    name = spec.get("timeZone")
    return UTC if name is None else zoneinfo.ZoneInfo(name)


def default_cron_job(tree: Tree) -> None:
    """Fill in a CronJob's defaults."""
    spec = tree.get("spec")
    if not isinstance(spec, dict):
        return
    if not spec.get("concurrencyPolicy"):
        spec["concurrencyPolicy"] = "Allow"
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    template = spec.get("jobTemplate")
    if isinstance(template, dict) and isinstance(template.get("spec"), dict):
        # The Pods' defaults; those of a Job come when one is made.
        default_pod_template(template["spec"])
        template.setdefault("metadata", {})


def validate_cron_job(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    """Yield what is wrong with a CronJob."""
    spec = tree.get("spec") or {}
    name = tree["metadata"].get("name") or ""
    if old is None and len(name) > _NAME_LENGTH_MAX:
        yield invalid("metadata.name", name, f"must be no more than {_NAME_LENGTH_MAX} characters")
    yield from _check_schedule(spec)
    for field in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        yield from not_negative(spec.get(field), f"spec.{field}")
    if spec.get("concurrencyPolicy") not in _POLICIES:
        yield unsupported("spec.concurrencyPolicy", spec.get("concurrencyPolicy"), _POLICIES)
    job = dict((spec.get("jobTemplate") or {}).get("spec") or {})
    if job.get("manualSelector"):
        yield unsupported("spec.jobTemplate.spec.manualSelector", True, ("false",))
    before = (((old or {}).get("spec") or {}).get("jobTemplate") or {}).get("spec")
    complete = {**job, "completionMode": job.get("completionMode") or "NonIndexed"}
    complete.setdefault("podReplacementPolicy", "Failed" if job.get("podFailurePolicy") else "TerminatingOrFailed")
    yield from check_job_spec(complete, "spec.jobTemplate.spec", before)


def _check_schedule(spec: Tree) -> Iterator[Cause]:
    schedule, zone = spec.get("schedule") or "", spec.get("timeZone")
    if not schedule:
        yield required("spec.schedule")
    elif "TZ" in schedule:
        yield invalid("spec.schedule", schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
    else:
        try:
            cron.parsed(schedule)
        except ValueError as error:
            yield invalid("spec.schedule", schedule, str(error))
    if zone is not None:
        try:
            zone_of(spec)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            yield invalid("spec.timeZone", zone, f"unknown time zone {zone}")
