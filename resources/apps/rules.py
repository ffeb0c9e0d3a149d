"""Defaults and rules of Deployment, ReplicaSet, StatefulSet and DaemonSet.

Source: K/pkg/apis/apps/v1/defaults.go, K/pkg/apis/apps/validation/validation.go
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reconcile.errors import Cause, Tree
from reconcile.resources.core.names import (
    check_selector,
    forbidden,
    immutable,
    invalid,
    not_negative,
    required,
    selects,
    unsupported,
)
from reconcile.resources.core.pod_defaults import default_pod_template
from reconcile.resources.core.pod_validation import validate_template

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
_PERCENTAGE_TEXT = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', " + (
    "regex used for validation is '[0-9]+%')"
)


def default_replica_set(tree: Tree) -> None:
    """Fill in a ReplicaSet's defaults."""
    spec = tree.get("spec")
    if isinstance(spec, dict):
        if "replicas" not in spec:
            spec["replicas"] = 1
        default_pod_template(spec)


def default_deployment(tree: Tree) -> None:
    """Fill in a Deployment's defaults."""
    spec = tree.get("spec")
    if not isinstance(spec, dict):
        return
    if "replicas" not in spec:
        spec["replicas"] = 1
    if "revisionHistoryLimit" not in spec:
        spec["revisionHistoryLimit"] = 10
    if "progressDeadlineSeconds" not in spec:
        spec["progressDeadlineSeconds"] = 600
    if spec.get("strategy") is None:
        spec["strategy"] = {}
    strategy = spec["strategy"]
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        if strategy.get("rollingUpdate") is None:
            strategy["rollingUpdate"] = {}
        rolling = strategy["rollingUpdate"]
        if rolling.get("maxUnavailable") is None:
            rolling["maxUnavailable"] = "25%"
        if rolling.get("maxSurge") is None:
            rolling["maxSurge"] = "25%"
    default_pod_template(spec)


def default_stateful_set(tree: Tree) -> None:
    """Fill in a StatefulSet's defaults."""
    spec = tree.get("spec")
    if not isinstance(spec, dict):
        return
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("serviceName", "")
    if not spec.get("podManagementPolicy"):
        spec["podManagementPolicy"] = "OrderedReady"
    strategy = spec["updateStrategy"] = spec.get("updateStrategy") or {}
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy["rollingUpdate"] = strategy.get("rollingUpdate") or {}
        rolling.setdefault("partition", 0)
    retention = spec["persistentVolumeClaimRetentionPolicy"] = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for name in ("whenDeleted", "whenScaled"):
        retention[name] = retention.get(name) or "Retain"
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("kind", "PersistentVolumeClaim")
        if isinstance(claim.get("spec"), dict):
            claim["spec"].setdefault("volumeMode", "Filesystem")
        claim.setdefault("status", {"phase": "Pending"})
    default_pod_template(spec)


def prepare_daemon_set(tree: Tree, old: Tree | None) -> None:
    """Count the templates in an annotation, as clients from before ControllerRevisions read it."""
    spec, annotations = tree.get("spec") or {}, tree["metadata"].setdefault("annotations", {})
    if old is None:
        annotations[TEMPLATE_GENERATION] = annotations.get(TEMPLATE_GENERATION) or "1"
        return
    before = (old["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, "")
    count = int(before) if before.isdecimal() else 1
    changed = spec.get("template") != (old.get("spec") or {}).get("template")
    annotations[TEMPLATE_GENERATION] = str(count + changed)


def default_daemon_set(tree: Tree) -> None:
    """Fill in a DaemonSet's defaults."""
    spec = tree.get("spec")
    if not isinstance(spec, dict):
        return
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec["updateStrategy"] = spec.get("updateStrategy") or {}
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy["rollingUpdate"] = strategy.get("rollingUpdate") or {}
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    default_pod_template(spec)


def validate_replica_set(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    """Yield what is wrong with a ReplicaSet."""
    yield from _check_pods(tree, old)
    yield from _check_status(tree, ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"))


def validate_deployment(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    """Yield what is wrong with a Deployment."""
    yield from _check_pods(tree, old)
    spec = tree.get("spec") or {}
    yield from _check_strategy(spec.get("strategy") or {})
    yield from not_negative(spec.get("revisionHistoryLimit"), "spec.revisionHistoryLimit")
    deadline_s, ready_s = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds") or 0
    if deadline_s is not None:
        yield from not_negative(deadline_s, "spec.progressDeadlineSeconds")
        if deadline_s <= ready_s:
            yield invalid("spec.progressDeadlineSeconds", deadline_s, "must be greater than minReadySeconds")
    yield from _check_status(tree, ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"))


_STATEFUL = "statefulset"
_UPDATES = ("OnDelete", "RollingUpdate")
_CHANGEABLE = frozenset(
    ("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy",
     "minReadySeconds")
)  # fmt: skip


def validate_stateful_set(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    """Yield what is wrong with a StatefulSet."""
    yield from _check_pods(tree, old, _STATEFUL)
    spec = tree.get("spec") or {}
    policy, strategy = spec.get("podManagementPolicy"), spec.get("updateStrategy") or {}
    if policy not in ("OrderedReady", "Parallel"):
        yield unsupported("spec.podManagementPolicy", policy, ("OrderedReady", "Parallel"))
    if strategy.get("type") not in _UPDATES:
        yield unsupported("spec.updateStrategy.type", strategy.get("type"), _UPDATES)
    rolling = strategy.get("rollingUpdate") or {}
    for number, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
        if not (claim.get("metadata") or {}).get("name"):
            yield required(f"spec.volumeClaimTemplates[{number}].metadata.name")
    yield from not_negative(rolling.get("partition"), "spec.updateStrategy.rollingUpdate.partition")
    yield from not_negative((spec.get("ordinals") or {}).get("start"), "spec.ordinals.start")
    yield from not_negative(spec.get("revisionHistoryLimit"), "spec.revisionHistoryLimit")
    before = (old or {}).get("spec")
    if before is not None:
        changed = [name for name in spec.keys() | before.keys() if spec.get(name) != before.get(name)]
        if any(name not in _CHANGEABLE for name in changed):
            yield forbidden(
                "spec",
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
                "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
            )


def validate_daemon_set(tree: Tree, old: Tree | None) -> Iterator[Cause]:
    """Yield what is wrong with a DaemonSet."""
    yield from _check_pods(tree, old, "daemonset")
    spec = tree.get("spec") or {}
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") not in _UPDATES:
        yield unsupported("spec.updateStrategy.type", strategy.get("type"), _UPDATES)
        return
    yield from not_negative(spec.get("revisionHistoryLimit"), "spec.revisionHistoryLimit")
    if strategy["type"] == "RollingUpdate":
        rolling, at = strategy.get("rollingUpdate") or {}, "spec.updateStrategy.rollingUpdate"
        yield from _check_share(rolling.get("maxUnavailable"), f"{at}.maxUnavailable", at_most_all=True)
        yield from _check_share(rolling.get("maxSurge"), f"{at}.maxSurge", at_most_all=True)
        none = [_is_zero(rolling.get(name)) for name in ("maxUnavailable", "maxSurge")]
        if all(none):
            yield required(f"{at}.maxUnavailable", "cannot be 0 when maxSurge is 0")
        elif not any(none):
            yield invalid(f"{at}.maxSurge", rolling.get("maxSurge"), "may not be set when maxUnavailable is non-zero")


def _check_pods(tree: Tree, old: Tree | None, what: str = "deployment") -> Iterator[Cause]:
    """Replicas, selector and template, which all of them have."""
    spec = tree.get("spec") or {}
    yield from not_negative(spec.get("replicas"), "spec.replicas")
    yield from not_negative(spec.get("minReadySeconds"), "spec.minReadySeconds")
    selector, template = spec.get("selector"), spec.get("template") or {}
    if selector is None:
        yield required("spec.selector")
    elif not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield invalid("spec.selector", selector, f"empty selector is invalid for {what}")
    else:
        yield from check_selector(selector, "spec.selector")
        labels = (template.get("metadata") or {}).get("labels") or {}
        if not selects(selector, labels):
            yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    before = ((old or {}).get("spec") or {}).get("selector")
    if before is not None and selector is not None and before != selector and what != _STATEFUL:
        yield immutable("spec.selector", selector)
    if old is None or (old.get("spec") or {}).get("template") != template:
        yield from validate_template(_with_claims(spec, template), "spec.template")


def _with_claims(spec: Tree, template: Tree) -> Tree:
    """A template with the volumes that a StatefulSet's claims stand for, which its containers may mount."""
    names = [name for claim in spec.get("volumeClaimTemplates") or () if (name := (claim.get("metadata") or {}).get("name"))]
    inner = template.get("spec")
    if not names or not isinstance(inner, dict):
        return template
    others = [volume for volume in inner.get("volumes") or () if volume.get("name") not in names]
    claims = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in names]
    return {**template, "spec": {**inner, "volumes": [*others, *claims]}}


def _check_strategy(strategy: Tree) -> Iterator[Cause]:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "Recreate":
        if rolling:
            yield forbidden("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
        return
    if kind != "RollingUpdate":
        yield unsupported("spec.strategy.type", kind, ("Recreate", "RollingUpdate"))
        return
    rolling = rolling or {}
    at = "spec.strategy.rollingUpdate"
    yield from _check_share(rolling.get("maxUnavailable"), f"{at}.maxUnavailable", at_most_all=True)
    yield from _check_share(rolling.get("maxSurge"), f"{at}.maxSurge", at_most_all=False)
    if _is_zero(rolling.get("maxUnavailable")) and _is_zero(rolling.get("maxSurge")):
        yield invalid(f"{at}.maxUnavailable", rolling.get("maxUnavailable"), "may not be 0 when `maxSurge` is 0")


def _check_share(value: Any, path: str, *, at_most_all: bool) -> Iterator[Cause]:
    if isinstance(value, str):
        if not (value.endswith("%") and value[:-1].isdigit()):
            yield invalid(path, value, _PERCENTAGE_TEXT)
        elif at_most_all and int(value[:-1]) > 100:
            yield invalid(path, value, "must not be greater than 100%")
    else:
        yield from not_negative(value, path)


def _is_zero(value: Any) -> bool:
    return value == 0 or (isinstance(value, str) and value.rstrip("%") in ("0", "00"))


def _check_status(tree: Tree, names: tuple[str, ...]) -> Iterator[Cause]:
    status = tree.get("status")
    if status:
        for name in names:
            yield from not_negative(status.get(name), f"status.{name}")
