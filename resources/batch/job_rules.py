"""Defaults and rules of Job, and the selector that the server writes into it.

Source: K/pkg/apis/batch/v1/defaults.go, K/pkg/apis/batch/validation, K/pkg/registry/batch/job/strategy.go
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reconcile.errors import Cause, Tree
from reconcile.resources.core.names import check_selector, immutable, invalid, not_negative, required, unsupported
from reconcile.resources.core.pod_defaults import default_pod_template
from reconcile.resources.core.pod_validation import validate_ending_template

from .indexes import parsed

LABEL = "batch.kubernetes.io/"
UID_LABELS = (f"{LABEL}controller-uid", "controller-uid")
NAME_LABELS = (f"{LABEL}job-name", "job-name")
_BACKOFF_LIMIT, _UNLIMITED = 6, 2**31 - 1
_INDEXED_PARALLELISM_MAX = 100_000
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_FIXED = ("selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")


def default_job(tree: Tree) -> None:
    """Fill in a Job's defaults."""
    if isinstance(tree.get("spec"), dict):
        default_job_spec(tree["spec"])


def default_job_spec(spec: Tree) -> None:
    """Fill in the defaults of a Job's spec, wherever it stands."""
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", _BACKOFF_LIMIT if spec.get("backoffLimitPerIndex") is None else _UNLIMITED)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("podReplacementPolicy", "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed")
    spec.setdefault("manualSelector", False)
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            pattern.setdefault("status", "True")
    default_pod_template(spec)


def prepare_job(tree: Tree, old: Tree | None) -> None:
    """Write the selector and the labels that tie Pods to this very Job."""
    spec = tree.get("spec")
    if old is not None or not isinstance(spec, dict) or not isinstance(spec.get("template"), dict):
        return
    if "name" not in tree["metadata"]:
        return  # it is refused for that
    template = spec["template"]
    meta = template.setdefault("metadata", {})
    labels = meta.setdefault("labels", {})
    labels.update(dict.fromkeys(NAME_LABELS, tree["metadata"]["name"]))
    if not spec.get("manualSelector"):
        labels.update(dict.fromkeys(UID_LABELS, tree["metadata"]["uid"]))
        spec.setdefault("selector", {"matchLabels": {UID_LABELS[0]: tree["metadata"]["uid"]}})
    if not tree["metadata"].get("labels"):
        tree["metadata"]["labels"] = dict(labels)


def validate_job(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    """Yield what is wrong with a Job."""
    spec = tree.get("spec") or {}
    before = (old or {}).get("spec")
    if spec.get("selector") is None:
        yield required("spec.selector")
    else:
        yield from check_selector(spec["selector"], "spec.selector")
    yield from check_job_spec(spec, "spec", before)
    if before is not None:
        yield from _check_update(spec, before, _rests(before, (old or {}).get("status") or {}))


def check_job_spec(spec: Tree, path: str, before: Tree | None) -> Iterator[Cause]:
    """Yield what is wrong with a Job's spec, wherever it stands."""
    for name in ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "backoffLimitPerIndex",
                 "maxFailedIndexes", "ttlSecondsAfterFinished"):  # fmt: skip
        yield from not_negative(spec.get(name), f"{path}.{name}")
    mode, policy = spec.get("completionMode"), spec.get("podReplacementPolicy")
    if mode not in ("NonIndexed", "Indexed"):
        yield unsupported(f"{path}.completionMode", mode, ("NonIndexed", "Indexed"))
    elif mode == "Indexed":
        if spec.get("completions") is None:
            yield required(f"{path}.completions", 'when completion mode is "Indexed"')
        if (spec.get("parallelism") or 0) > _INDEXED_PARALLELISM_MAX:
            yield invalid(f"{path}.parallelism", spec["parallelism"], f"must be less than or equal to {_INDEXED_PARALLELISM_MAX}")
    else:
        for name in ("backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"):
            if spec.get(name) is not None:
                yield invalid(f"{path}.{name}", spec[name], "requires indexed completion mode")
    if policy not in ("TerminatingOrFailed", "Failed"):
        yield unsupported(f"{path}.podReplacementPolicy", policy, ("Failed", "TerminatingOrFailed"))
    yield from _check_failure_policy(spec, path)
    yield from _check_success_policy(spec, path)
    template = spec.get("template") or {}
    restarts = (template.get("spec") or {}).get("restartPolicy")
    if restarts == "Always":
        yield required(f"{path}.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')
    if before is None or before.get("template") != template:
        yield from validate_ending_template(template, f"{path}.template")


def _check_failure_policy(spec: Tree, path: str) -> Iterator[Cause]:
    policy = spec.get("podFailurePolicy")
    if not policy:
        return
    restarts = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
    if restarts != "Never":
        why = 'only "Never" is supported when podFailurePolicy is specified'
        yield invalid(f"{path}.template.spec.restartPolicy", restarts, why)
    for number, rule in enumerate(policy.get("rules") or ()):
        at = f"{path}.podFailurePolicy.rules[{number}]"
        if rule.get("action") not in _ACTIONS:
            yield unsupported(f"{at}.action", rule.get("action"), _ACTIONS)
        if rule.get("action") == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            yield invalid(f"{at}.action", "FailIndex", "requires the backoffLimitPerIndex to be set")
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
        if bool(codes) == bool(conditions):
            why = "specifying one of OnExitCodes and OnPodConditions is required"
            yield invalid(at, rule, why if not codes else "specifying both OnExitCodes and OnPodConditions is not supported")
        if codes:
            if codes.get("operator") not in ("In", "NotIn"):
                yield unsupported(f"{at}.onExitCodes.operator", codes.get("operator"), ("In", "NotIn"))
            if codes.get("operator") == "In" and 0 in (codes.get("values") or ()):
                yield invalid(f"{at}.onExitCodes.values[{codes['values'].index(0)}]", 0, "must not be 0 for the In operator")


def _check_success_policy(spec: Tree, path: str) -> Iterator[Cause]:
    for number, rule in enumerate((spec.get("successPolicy") or {}).get("rules") or ()):
        at = f"{path}.successPolicy.rules[{number}]"
        if rule.get("succeededIndexes") is None and rule.get("succeededCount") is None:
            yield required(at, "at least one of succeededCount or succeededIndexes must be specified")
        try:
            parsed(rule.get("succeededIndexes"))
        except ValueError as error:
            yield invalid(f"{at}.succeededIndexes", rule["succeededIndexes"], f"error parsing succeededIndexes: {error}")


def _rests(spec: Tree, status: Tree) -> bool:
    """Whether a Job is suspended and has come to rest: none of its Pods is there, whether it ever began or not."""
    told = any(c.get("type") == "Suspended" and c.get("status") == "True" for c in status.get("conditions") or ())
    return bool(spec.get("suspend")) and (told or not status.get("startTime")) and not status.get("active")


def _check_update(spec: Tree, before: Tree, rests: bool) -> Iterator[Cause]:
    for name in _FIXED:
        if spec.get(name) != before.get(name):
            yield immutable(f"{_PATH}.{name}", spec.get(name))
    # An indexed Job may grow and shrink, both numbers together.
    elastic = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
    if spec.get("completions") != before.get("completions") and not elastic:
        yield immutable(f"{_PATH}.completions", spec.get("completions"))
    if _without_directives(spec, rests) != _without_directives(before, rests):
        yield immutable(f"{_PATH}.template", spec.get("template"))


_PATH = "spec"


def _without_directives(spec: Tree, rests: bool) -> Any:
    """The template without what may change while the Job rests: where its Pods may run, and what their containers may take."""
    template = spec.get("template") or {}
    if not rests:
        return template
    inner = {k: v for k, v in (template.get("spec") or {}).items() if k not in ("nodeSelector", "tolerations", "affinity")}
    for part in ("containers", "initContainers"):
        if part in inner:
            inner[part] = [{**container, "resources": None} for container in inner[part]]
    meta = {k: v for k, v in (template.get("metadata") or {}).items() if k not in ("labels", "annotations")}
    return {"metadata": meta, "spec": {**inner, "schedulingGates": None}}
