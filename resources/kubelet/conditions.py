"""A pod's conditions: ready to start, initialised, containers ready, ready. Pure: trees in, trees out.

Source: pkg/kubelet/status/generate.go
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from reconcile.errors import Tree

from .phase import is_sidecar

_ORDER = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
_Verdict = tuple[bool, str, str]
_TRUE: _Verdict = (True, "", "")


def conditions_of(
    spec: Tree, phase: str, statuses: Sequence[Tree], *, old: Sequence[Tree], sandboxed: bool, now: str, generation: int
) -> list[Tree]:
    """All conditions of a pod; those of others (and of readiness gates) are kept as they stand in `old`.

    A condition whose status stays keeps its lastTransitionTime.
    """
    by_name = {status["name"]: status for status in statuses}
    before = {condition["type"]: condition for condition in old}
    containers = _containers_ready(spec, phase, by_name)
    verdicts: dict[str, _Verdict] = {
        "PodReadyToStartContainers": _TRUE if sandboxed else (False, "", ""),
        "Initialized": _initialised(spec, phase, by_name),
        "ContainersReady": containers,
        "Ready": _ready(spec, containers, before),
    }
    made = [_condition(type_, verdicts[type_], before.get(type_), now, generation) for type_ in _ORDER if type_ in verdicts]
    scheduled = {
        "lastTransitionTime": now,
        **(before.get("PodScheduled") or _condition("PodScheduled", _TRUE, None, now, generation)),
        **({"observedGeneration": generation} if generation else {}),
    }
    return [*made, scheduled, *(condition for condition in old if condition["type"] not in _ORDER)]


def is_true(conditions: Iterable[Tree], type_: str) -> bool:
    """Whether condition `type_` is there and True."""
    return any(condition["type"] == type_ and condition.get("status") == "True" for condition in conditions)


def _condition(type_: str, verdict: _Verdict, old: Tree | None, now: str, generation: int) -> Tree:
    holds, reason, message = verdict
    status = "True" if holds else "False"
    since = old["lastTransitionTime"] if old and old.get("status") == status and old.get("lastTransitionTime") else now
    made: Tree = {"type": type_, "status": status, "lastTransitionTime": since}
    if generation:
        made["observedGeneration"] = generation
    if reason:
        made["reason"] = reason
    if message:
        made["message"] = message
    return made


def _initialised(spec: Tree, phase: str, by_name: Mapping[str, Tree]) -> _Verdict:
    if phase == "Succeeded":
        return True, "PodCompleted", ""
    unknown, incomplete = [], []
    for container in spec.get("initContainers") or ():
        status = by_name.get(container["name"])
        if status is None:
            unknown.append(container["name"])
        elif is_sidecar(container):
            if not status.get("started"):
                incomplete.append(container["name"])
        elif not status.get("ready"):
            incomplete.append(container["name"])
    if unknown or incomplete:
        # A pod that runs was initialised once: a sidecar that restarts does not undo that.
        if any("running" in by_name[c["name"]].get("state", {}) for c in spec["containers"] if c["name"] in by_name):
            return _TRUE
        return False, "ContainersNotInitialized", _unready("incomplete", unknown, incomplete)
    return _TRUE


def _containers_ready(spec: Tree, phase: str, by_name: Mapping[str, Tree]) -> _Verdict:
    if phase == "Succeeded":
        return False, "PodCompleted", ""
    if phase == "Failed":
        return False, "PodFailed", ""
    sidecars = [container for container in spec.get("initContainers") or () if is_sidecar(container)]
    names = [container["name"] for container in (*sidecars, *spec["containers"])]
    unknown = [name for name in names if name not in by_name]
    unready = [name for name in names if name in by_name and not by_name[name].get("ready")]
    if unknown or unready:
        return False, "ContainersNotReady", _unready("unready", unknown, unready)
    return _TRUE


def _ready(spec: Tree, containers: _Verdict, conditions: Mapping[str, Tree]) -> _Verdict:
    if not containers[0]:
        return containers
    complaints = []
    for gate in spec.get("readinessGates") or ():
        type_ = gate["conditionType"]
        condition = conditions.get(type_)
        if condition is None:
            complaints.append(f'corresponding condition of pod readiness gate "{type_}" does not exist.')
        elif condition.get("status") != "True":
            complaints.append(f'the status of pod readiness gate "{type_}" is not "True", but {condition.get("status")}')
    return (False, "ReadinessGatesNotReady", ", ".join(complaints)) if complaints else _TRUE


def _unready(word: str, unknown: Sequence[str], unready: Sequence[str]) -> str:
    parts = [f"containers with unknown status: [{' '.join(unknown)}]"] if unknown else []
    if unready:
        parts.append(f"containers with {word} status: [{' '.join(unready)}]")
    return ", ".join(parts)
