"""A Job's Pods: how they are made, which have ended, and which one of an index is meant.

Every Pod carries a finalizer until its end is counted, so that none is counted twice and none is lost, whoever deletes it.

Source: k8s.io/kubernetes/pkg/controller/job/{job_controller,indexed_job_utils}.go
"""

from __future__ import annotations

from collections.abc import Iterable

from reconcile.errors import Tree
from reconcile.resources.apps.pod_state import is_finished, is_terminating

TRACKING = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
INDEX_FAILURES = "batch.kubernetes.io/job-index-failure-count"
_INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
_GENERATE_NAME_MAX, _HOSTNAME_MAX = 58, 63


def is_tracked(pod: Tree) -> bool:
    """Whether its end is not counted yet."""
    return TRACKING in (pod["metadata"].get("finalizers") or ())


def has_succeeded(pod: Tree) -> bool:
    """Whether all its containers ended well."""
    return bool((pod.get("status") or {}).get("phase") == "Succeeded")


def has_failed(pod: Tree, spec: Tree) -> bool:
    """Whether it failed; one that is being deleted counts as such at once, unless the Job wants to see its end first."""
    if (pod.get("status") or {}).get("phase") == "Failed":
        return True
    return spec.get("podReplacementPolicy") != "Failed" and is_terminating(pod)


def is_indexed(spec: Tree) -> bool:
    """Whether each Pod has a number."""
    return bool(spec.get("completionMode") == "Indexed")


def index_of(pod: Tree) -> int | None:
    """The number of a Pod, or None."""
    text = (pod["metadata"].get("annotations") or {}).get(INDEX, "")
    return int(text) if text.isdigit() else None


def index_failures(pod: Tree) -> int:
    """How many Pods of its index failed before this one."""
    text = (pod["metadata"].get("annotations") or {}).get(INDEX_FAILURES, "0")
    return int(text) if text.isdigit() else 0


def restarts_of(pods: Iterable[Tree]) -> int:
    """How often the containers of these Pods were started again."""
    total = 0
    for pod in pods:
        status = pod.get("status") or {}
        for entry in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
            total += entry.get("restartCount", 0)
    return total


def unfinished(pods: Iterable[Tree]) -> list[Tree]:
    """Those that are on their way out and have not ended."""
    return [pod for pod in pods if is_terminating(pod) and not is_finished(pod)]


def pod_tree(job: Tree, reference: Tree, index: int | None, failures: int) -> Tree:
    """A new Pod of the Job's template; the server completes its name."""
    meta, spec = job["metadata"], job["spec"]
    template = spec["template"]
    of_template = template.get("metadata") or {}
    prefix = meta["name"] if index is None else f"{meta['name'][: _GENERATE_NAME_MAX - len(str(index)) - 2]}-{index}"
    made = {
        "generateName": f"{prefix[: _GENERATE_NAME_MAX - 1]}-",
        "namespace": meta["namespace"],
        "labels": dict(of_template.get("labels") or {}),
        "annotations": dict(of_template.get("annotations") or {}),
        "ownerReferences": [reference],
        "finalizers": [*(of_template.get("finalizers") or ()), TRACKING],
    }
    inner = template["spec"]
    if index is not None:
        made["labels"][INDEX] = made["annotations"][INDEX] = str(index)
        if spec.get("backoffLimitPerIndex") is not None:
            made["annotations"][INDEX_FAILURES] = str(failures)
        inner = _with_index(inner, meta["name"], index)
    if not made["annotations"]:
        del made["annotations"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": inner}


def _with_index(spec: Tree, job: str, index: int) -> Tree:
    """The Pod's spec with its host name, and its number in every container's environment."""
    variable = {
        "name": _INDEX_VARIABLE,
        "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}},
    }
    made = dict(spec)
    for role in ("containers", "initContainers"):
        if made.get(role):
            made[role] = [_with_variable(container, variable) for container in made[role]]
    if not made.get("hostname"):
        made["hostname"] = f"{job[: _HOSTNAME_MAX - len(str(index)) - 1]}-{index}"
    return made


def _with_variable(container: Tree, variable: Tree) -> Tree:
    env = container.get("env") or []
    if any(entry.get("name") == _INDEX_VARIABLE for entry in env):
        return container
    return {**container, "env": [*env, variable]}
