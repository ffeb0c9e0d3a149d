"""What to start next in a pod, from what its containers do now. Pure: the pod worker carries it out.

Source: pkg/kubelet/kuberuntime/kuberuntime_manager.go computePodActions
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs

Role = Literal["init", "sidecar", "main", "ephemeral"]
Doing = Literal["nothing", "starting", "running", "exited"]


@attrs.frozen
class Seen:
    """One container as the plan sees it; `due_at` is when it may be started (again)."""

    name: str
    role: Role
    doing: Doing = "nothing"
    started: bool = False
    exit_code: int = 0
    restarts: bool = False
    due_at: float = 0.0


@attrs.frozen
class Plan:
    """`start` these now; look again at `due_at`; `done`: nothing of this pod will run any more."""

    start: tuple[str, ...] = ()
    due_at: float | None = None
    done: bool = False
    initialised: bool = False


def plan(containers: Sequence[Seen], *, initialised: bool, now: float) -> Plan:
    """Decide; `containers` are in the order of the spec, init containers and sidecars first.

    Ephemeral ones are started once and at once, whatever the others do, and count for nothing.
    """
    looking = [each for each in containers if each.role == "ephemeral" and each.doing == "nothing"]
    decided = _plan([each for each in containers if each.role != "ephemeral"], initialised=initialised, now=now)
    if not looking or decided.done:
        return decided
    due = [each.due_at for each in looking if each.due_at > now]
    if decided.due_at is not None:
        due.append(decided.due_at)
    start = (*decided.start, *(each.name for each in looking if each.due_at <= now))
    return Plan(start, min(due, default=None), initialised=decided.initialised)


def _plan(containers: Sequence[Seen], *, initialised: bool, now: float) -> Plan:
    if not initialised:
        for container in containers:
            if container.role == "main":
                break
            blocked = _initialising(container, now)
            if blocked is not None:
                return blocked
    mains = [container for container in containers if container.role == "main"]
    if all(container.doing == "exited" and not container.restarts for container in mains):
        return Plan(done=True, initialised=True)
    due: list[float] = []
    start: list[str] = []
    for container in containers:
        wanted = container.role == "sidecar" or container.role == "main"
        if not wanted or container.doing in ("starting", "running") or (container.doing == "exited" and not container.restarts):
            continue
        if container.due_at <= now:
            start.append(container.name)
        else:
            due.append(container.due_at)
    return Plan(tuple(start), min(due, default=None), initialised=True)


def _initialising(container: Seen, now: float) -> Plan | None:
    """What an init container or sidecar asks for; None: the next one may go."""
    if container.role == "sidecar" and container.doing == "running" and container.started:
        return None
    if container.role == "init" and container.doing == "exited" and container.exit_code == 0:
        return None
    if container.doing in ("starting", "running"):
        return Plan()
    if container.doing == "exited" and not container.restarts:
        return Plan(done=True)
    return Plan((container.name,)) if container.due_at <= now else Plan(due_at=container.due_at)
