"""What `get pods` shows: READY, STATUS and RESTARTS are summaries of all containers.

Source: printPod in K/pkg/printers/internalversion/printers.go
"""

from __future__ import annotations

from typing import Any

import attrs

from reconcile.clock import parse_timestamp
from reconcile.errors import Tree
from reconcile.kinds import Column

from .age import age
from .cells import AGE, NONE, path_cell

_TERMINAL = ("Succeeded", "Failed")


@attrs.define
class PodSummary:
    """A Pod in the three words that people look at."""

    reason: str
    ready: int = 0
    total: int = 0
    restarts: int = 0
    restarted_at: str = ""

    def count_restarts(self, status: Tree) -> None:
        """Add a container's restarts, and remember the last one."""
        self.restarts += status.get("restartCount") or 0
        ended = ((status.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or ""
        self.restarted_at = max(self.restarted_at, ended)


def summary(tree: Tree) -> PodSummary:
    """Sum a Pod up as `get` shows it: reason, ready of total containers, restarts."""
    spec, status, meta = tree.get("spec") or {}, tree.get("status") or {}, tree["metadata"]
    phase = status.get("phase") or ""
    made = PodSummary(status.get("reason") or phase)
    conditions = {c.get("type"): c for c in status.get("conditions") or ()}
    if conditions.get("PodScheduled", {}).get("reason") == "SchedulingGated":
        made.reason = "SchedulingGated"
    sidecars = {c.get("name") for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    made.total = len(spec.get("containers") or ()) + len(sidecars)
    initializing = _sum_init_containers(made, spec, status, sidecars)
    if not initializing or conditions.get("Initialized", {}).get("status") == "True":
        _sum_containers(made, status, sidecars, ready=conditions.get("Ready", {}).get("status") == "True")
    if meta.get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            made.reason = "Unknown"
        elif phase not in _TERMINAL:
            made.reason = "Terminating"
    return made


def _sum_init_containers(made: PodSummary, spec: Tree, status: Tree, sidecars: set[Any]) -> bool:
    """Look for the first init container that is not through; tells whether there is one."""
    for position, container in enumerate(status.get("initContainerStatuses") or ()):
        made.count_restarts(container)
        state = container.get("state") or {}
        ended, waiting = state.get("terminated"), (state.get("waiting") or {}).get("reason")
        if ended is not None and not ended.get("exitCode"):
            continue
        if container.get("name") in sidecars and container.get("started"):
            made.ready += bool(container.get("ready"))
            continue
        if ended is not None:
            made.reason = f"Init:{_ending(ended)}"
        elif waiting and waiting != "PodInitializing":
            made.reason = f"Init:{waiting}"
        else:
            made.reason = f"Init:{position}/{len(spec.get('initContainers') or ())}"
        return True
    return False


def _sum_containers(made: PodSummary, status: Tree, sidecars: set[Any], *, ready: bool) -> None:
    made.restarts, made.restarted_at = 0, ""
    for container in status.get("initContainerStatuses") or ():
        if container.get("name") in sidecars:
            made.count_restarts(container)
    running = False
    for container in reversed(status.get("containerStatuses") or ()):
        made.count_restarts(container)
        state = container.get("state") or {}
        if (state.get("waiting") or {}).get("reason"):
            made.reason = state["waiting"]["reason"]
        elif state.get("terminated") is not None:
            made.reason = _ending(state["terminated"])
        elif container.get("ready") and state.get("running") is not None:
            running = True
            made.ready += 1
    if made.reason == "Completed" and running:
        made.reason = "Running" if ready else "NotReady"


def _ending(ended: Tree) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _ready(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    made = summary(tree)
    return f"{made.ready}/{made.total}"


def _restarts(tree: Tree, now_s: float) -> str:
    made = summary(tree)
    if made.restarts and made.restarted_at:
        return f"{made.restarts} ({age(now_s - parse_timestamp(made.restarted_at))} ago)"
    return str(made.restarts)


def _gates(tree: Tree, now_s: float) -> str:  # noqa: ARG001 - a cell's signature
    gates = (tree.get("spec") or {}).get("readinessGates") or ()
    if not gates:
        return NONE
    true = {c.get("type") for c in (tree.get("status") or {}).get("conditions") or () if c.get("status") == "True"}
    return f"{sum(gate.get('conditionType') in true for gate in gates)}/{len(gates)}"


POD_COLUMNS = (
    Column("Ready", cell=_ready, doc="Ready containers of all."),
    Column("Status", cell=lambda tree, _: summary(tree).reason, doc="How the Pod as a whole is doing."),
    Column("Restarts", cell=_restarts, doc="How often its containers were started again, and when last."),
    AGE,
    Column("IP", cell=path_cell("status", "podIP", absent=NONE), priority=1, doc="The Pod's address."),
    Column("Node", cell=path_cell("spec", "nodeName", absent=NONE), priority=1, doc="The node that runs it."),
    Column("Nominated Node", cell=path_cell("status", "nominatedNodeName", absent=NONE), priority=1, doc="Where room is made."),
    Column("Readiness Gates", cell=_gates, priority=1, doc="Further conditions that readiness waits for, true of all."),
)
