"""HorizontalPodAutoscaler, in v2 and in the older v1, which shows the same objects. Nothing here scales.

What v1 cannot say of v2 (other metrics, behaviour, conditions) stands in annotations there, as on the reference server.

Source: k8s.io/kubernetes/pkg/apis/autoscaling/v1/conversion.go, k8s.io/kubernetes/pkg/printers/internalversion
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from reconcile.errors import Cause, Tree
from reconcile.kinds import Column, Face, Hooks, Kind
from reconcile.resources.core.cells import AGE, path_cell
from reconcile.resources.core.names import invalid, required, unsupported

from .declaration import at, declared

_METRICS = "autoscaling.alpha.kubernetes.io/metrics"
_BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
_CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"
_CURRENT = "autoscaling.alpha.kubernetes.io/current-metrics"
_KEPT = ((_METRICS, "spec", "metrics"), (_BEHAVIOR, "spec", "behavior"), (_CONDITIONS, "status", "conditions"),
         (_CURRENT, "status", "currentMetrics"))  # fmt: skip
_SHOWN_MAX = 2
_CPU_PERCENT = 80
_WINDOW_S_MAX = 3600
_SOURCES = ("ContainerResource", "External", "Object", "Pods", "Resource")


def scaling_kinds() -> list[Kind]:
    """The autoscaler in both versions."""
    common: dict[str, Any] = {
        "short_names": ("hpa",), "categories": ("all",), "status": True, "has_generation": False,
        "defaults": {"spec.minReplicas": 1, "status": {"desiredReplicas": 0}},
    }  # fmt: skip
    newest = declared(
        "autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "How many Pods a workload has, by what they do.",
        columns=_columns(), hooks=Hooks(default=_default, validate=_validate), **common,
    )  # fmt: skip
    older = declared(
        "autoscaling/v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "How many Pods a workload has, by their CPU.",
        columns=tuple(_through_v2(column) for column in _columns()), hooks=Hooks(validate=_validate),
        face=Face(newest, _shown, _stored), **common,
    )  # fmt: skip
    return [newest, older]


def _columns() -> tuple[Column, ...]:
    return (
        Column("Reference", cell=_reference, doc="The workload."),
        Column("Targets", cell=_targets, doc="What is measured, and what it shall be."),
        Column("MinPods", cell=path_cell("spec", "minReplicas", absent="<unset>"), doc="At least so many."),
        Column("MaxPods", cell=path_cell("spec", "maxReplicas"), doc="At most so many."),
        Column("Replicas", cell=path_cell("status", "currentReplicas", absent=0), doc="How many there are."),
        AGE,
    )


def _through_v2(column: Column) -> Column:
    """The column as v2 has it, which both versions show."""
    cell = column.cell
    assert cell is not None
    return Column(column.name, cell=lambda tree, now_s: cell(_stored(tree), now_s), doc=column.doc)


def _default(tree: Tree) -> None:
    spec = tree.get("spec")
    if spec is not None and not spec.get("metrics"):
        spec["metrics"] = [_cpu(_CPU_PERCENT)]


def _validate(tree: Tree, old: Tree | None) -> Iterator[Cause]:  # noqa: ARG001 - a hook's signature
    spec = tree.get("spec") or {}
    low, high = spec.get("minReplicas", 1), spec.get("maxReplicas", 0)
    if low < 1:
        yield invalid("spec.minReplicas", low, "must be greater than or equal to 1")
    if high < 1:
        yield invalid("spec.maxReplicas", high, "must be greater than 0")
    elif high < low:
        yield invalid("spec.maxReplicas", high, "must be greater than or equal to `minReplicas`")
    for number, metric in enumerate(spec.get("metrics") or ()):
        if metric.get("type") and metric["type"] not in _SOURCES:
            yield unsupported(f"spec.metrics[{number}].type", metric["type"], _SOURCES)
    for way in ("scaleUp", "scaleDown"):
        if at(spec, "behavior", way):
            yield from _check_behavior(spec["behavior"][way], f"spec.behavior.{way}")
    target = spec.get("scaleTargetRef") or {}
    for name in ("kind", "name"):
        if not target.get(name):
            yield required(f"spec.scaleTargetRef.{name}")


def _check_behavior(rules: Tree, path: str) -> Iterator[Cause]:
    wait_s, select = rules.get("stabilizationWindowSeconds"), rules.get("selectPolicy")
    if wait_s is not None and wait_s < 0:
        yield invalid(f"{path}.stabilizationWindowSeconds", wait_s, "must be greater than or equal to zero")
    elif wait_s is not None and wait_s > _WINDOW_S_MAX:
        yield invalid(f"{path}.stabilizationWindowSeconds", wait_s, f"must be less than or equal to {_WINDOW_S_MAX}")
    if select is not None and select not in ("Max", "Min", "Disabled"):
        yield unsupported(f"{path}.selectPolicy", select, ("Max", "Min", "Disabled"))
    for number, policy in enumerate(rules.get("policies") or ()):
        where = f"{path}.policies[{number}]"
        if policy.get("type") not in ("Pods", "Percent"):
            yield unsupported(f"{where}.type", policy.get("type") or "", ("Pods", "Percent"))
        for name in ("value", "periodSeconds"):
            if (policy.get(name) or 0) <= 0:
                yield invalid(f"{where}.{name}", policy.get(name) or 0, "must be greater than zero")


def _cpu(percent: int) -> Tree:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def _is_cpu(metric: Tree) -> bool:
    resource = metric.get("resource") or {}
    return bool(resource.get("name") == "cpu" and at(resource, "target", "type") == "Utilization")


def _shown(tree: Tree) -> Tree:
    """A v2 object as v1."""
    spec, status = dict(tree.get("spec") or {}), dict(tree.get("status") or {})
    annotations = dict(tree["metadata"].get("annotations") or {})
    metrics = spec.pop("metrics", None) or []
    if (metric := next(filter(_is_cpu, metrics), None)) is not None:
        spec["targetCPUUtilizationPercentage"] = metric["resource"]["target"]["averageUtilization"]
        metrics = [other for other in metrics if other is not metric]
    current = status.pop("currentMetrics", None) or []
    for measured in current:
        used = at(measured, "resource", "current", "averageUtilization")
        if at(measured, "resource", "name") == "cpu" and used is not None:
            status["currentCPUUtilizationPercentage"] = used
            current = [other for other in current if other is not measured]
    parts = {"metrics": metrics, "behavior": spec.pop("behavior", None), "conditions": status.pop("conditions", None),
             "currentMetrics": current}  # fmt: skip
    for name, _, part in _KEPT:
        if parts[part]:
            annotations[name] = orjson.dumps(parts[part]).decode()
    return _made(tree, spec, status, annotations)


def _stored(tree: Tree) -> Tree:
    """A v1 object as v2."""
    spec, status = dict(tree.get("spec") or {}), dict(tree.get("status") or {})
    annotations = dict(tree["metadata"].get("annotations") or {})
    parts: Tree = {"spec": spec, "status": status}
    for name, part, field in _KEPT:
        if (text := annotations.pop(name, None)) is not None:
            try:
                parts[part][field] = orjson.loads(text)
            except orjson.JSONDecodeError:
                annotations[name] = text  # it is somebody's own text, and stays where it is
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    if percent is not None or not spec.get("metrics"):
        spec["metrics"] = [_cpu(percent if percent is not None else _CPU_PERCENT), *(spec.get("metrics") or ())]
    used = status.pop("currentCPUUtilizationPercentage", None)
    if used is not None:
        measured = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": used}}}
        status["currentMetrics"] = [measured, *(status.get("currentMetrics") or ())]
    return _made(tree, spec, status, annotations)


def _made(tree: Tree, spec: Tree, status: Tree, annotations: dict[str, str]) -> Tree:
    metadata = {**tree["metadata"], "annotations": annotations}
    if not annotations:
        del metadata["annotations"]
    made = {**tree, "metadata": metadata, "spec": spec}
    return {**made, "status": status} if "status" in tree else made


def _reference(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    target = at(tree, "spec", "scaleTargetRef") or {}
    return f"{target.get('kind')}/{target.get('name')}"


def _targets(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    metrics = at(tree, "spec", "metrics") or []
    current = at(tree, "status", "currentMetrics") or []
    shown = [_target(metric, current[at_] if at_ < len(current) else {}) for at_, metric in enumerate(metrics)]
    if len(shown) > _SHOWN_MAX:
        return ", ".join(shown[:_SHOWN_MAX]) + f" + {len(shown) - _SHOWN_MAX} more..."
    return ", ".join(shown) or "<none>"


def _target(metric: Tree, measured: Tree) -> str:
    """`cpu: 12%/80%` for utilisation of a resource; `now/wanted` for the rest."""
    part = {"ContainerResource": "containerResource"}.get(metric.get("type", ""), str(metric.get("type", "")).lower())
    wanted = at(metric, part, "target") or {}
    name = at(metric, part, "name")
    used = at(measured, part, "current") or {}
    if (percent := wanted.get("averageUtilization")) is not None:
        now = f"{used['averageUtilization']}%" if used.get("averageUtilization") is not None else "<unknown>"
        text = f"{now}/{percent}%"
    else:
        average = " (avg)" if wanted.get("averageValue") is not None and part in ("external", "object") else ""
        value = wanted.get("averageValue", wanted.get("value"))
        now = used.get("averageValue", used.get("value", "<unknown>"))
        text = f"{now}/{value}{average}"
    return f"{name}: {text}" if name and part in ("resource", "containerResource") else text
