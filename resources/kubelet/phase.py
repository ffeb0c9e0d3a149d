"""A pod's phase, from its spec and its containers' statuses. Pure: plain trees in, a word out.

Source: pkg/kubelet/kubelet_pods.go getPhase
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from reconcile.errors import Tree

Phase = Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"]
TERMINAL = frozenset(["Succeeded", "Failed"])


def is_sidecar(container: Tree) -> bool:
    """Whether an init container keeps running beside the others (restartPolicy Always)."""
    return container.get("restartPolicy") == "Always"


def restart_policy(spec: Tree, container: Tree) -> str:
    """The policy of one container: its own where it has one, else the pod's; Always by default."""
    return str(container.get("restartPolicy") or spec.get("restartPolicy") or "Always")


def restarts_after(spec: Tree, container: Tree, exit_code: int, *, init: bool = False) -> bool:
    """Whether a container that ended with `exit_code` is started again (an init container only after a failure)."""
    policy = restart_policy(spec, container)
    if init and not is_sidecar(container):
        return exit_code != 0 and policy != "Never"
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def phase_of(spec: Tree, statuses: Iterable[Tree], *, terminal: bool = False, initialised: bool = False) -> Phase:
    """The phase that container statuses (init containers' among them) add up to.

    `terminal`: nothing will be started any more. `initialised`: the main containers were reached once, so a sidecar that
    restarts does not make the pod Pending again.
    """
    by_name = {status["name"]: status for status in statuses}
    pending, failed_init, unknown, running, waiting = 0, False, 0, 0, 0
    for container in spec.get("initContainers") or ():
        state, last = _state(by_name.get(container["name"]))
        if is_sidecar(container):
            started = bool((by_name.get(container["name"]) or {}).get("started"))
            pending += not initialised and (
                (state in ("running", "unknown") and not started) or (state == "waiting" and not last)
            )
            running += state == "running"
            continue
        if state == "terminated" or (state == "waiting" and last):
            ended = (by_name[container["name"]]["state"].get("terminated")) or last
            failed_init = failed_init or bool(ended and ended.get("exitCode"))
            pending += state == "waiting" and not (ended and ended.get("exitCode"))
        else:
            pending += 1
    stopped, codes = 0, []
    for container in spec["containers"]:
        state, last = _state(by_name.get(container["name"]))
        if state == "terminated" or (state == "waiting" and last):
            stopped += 1
            code = int((by_name[container["name"]]["state"].get("terminated") or last or {}).get("exitCode", 0))
            codes.append((code, restarts_after(spec, container, code), state == "waiting"))
        running += state == "running"
        waiting += state == "waiting" and not last
        unknown += state == "unknown"
    if failed_init and (terminal or restart_policy(spec, {}) == "Never"):
        return "Failed"
    if pending or (failed_init and not initialised) or waiting:
        return "Failed" if terminal else "Pending"
    if running and not unknown:
        return "Running"
    if stopped and not unknown:
        if not terminal and any(again or still for _, again, still in codes):
            return "Running"
        return "Failed" if any(code for code, _, _ in codes) else "Succeeded"
    return "Failed" if terminal else "Pending"


def _state(status: Mapping[str, Tree] | None) -> tuple[str, Tree | None]:
    """The name of a container's state, and how its previous instance ended."""
    state = (status or {}).get("state") or {}
    last = ((status or {}).get("lastState") or {}).get("terminated")
    for name in ("running", "terminated", "waiting"):
        if name in state:
            return name, last
    return "unknown", last
