"""What a pod worker knows about its pod: containers, address, volumes, why it ends; and the status that follows from it."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import attrs

from reconcile.clock import parse_timestamp, timestamp
from reconcile.errors import Tree
from reconcile.resources.core.pod import Pod
from reconcile.views import tree_of

from .admission import Rejection
from .backoff import CrashLoopBackOff
from .conditions import conditions_of
from .container import Container, container_of, containers_of
from .host import Host
from .phase import TERMINAL, phase_of
from .runtime import SandboxStatus
from .settings import KubeletSettings
from .volumes import PodVolumes

ADDRESS_LABEL = "reconcile.dev/pod-ip"
DEADLINE_EXCEEDED = "DeadlineExceeded"
_STATUSES = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")


def _fresh(settings: KubeletSettings) -> CrashLoopBackOff:
    return CrashLoopBackOff(settings.backoff_s_first, settings.backoff_s_max, settings.backoff_reset_s)


class Stage(enum.Enum):
    """A pod worker's life; it only ever goes forward."""

    SYNC = 1
    TERMINATING = 2
    TERMINATED = 3


class Ending(enum.Enum):
    """Why a pod is terminated."""

    NONE = ""
    DELETED = "deleted"
    VANISHED = "vanished"
    FINISHED = "finished"
    DEADLINE = "deadline"
    REJECTED = "rejected"
    CLOSING = "closing"


@attrs.define(eq=False)
class PodState:
    """The memory of one pod worker. `tree` is the pod as last seen; it is shared and read-only."""

    host: Host
    pod: Pod
    volumes: PodVolumes
    containers: dict[str, Container] = attrs.field(factory=dict)
    stage: Stage = Stage.SYNC
    ending: Ending = Ending.NONE
    initialised: bool = False
    sandboxed: bool = False
    address: str = ""
    start_time: str = ""
    rejection: Rejection | None = None
    """Why this node does not take the pod."""
    tree: Tree = attrs.field(factory=dict)

    @classmethod
    def of(cls, host: Host, pod: Pod, sandbox: SandboxStatus | None) -> PodState:
        """Begin with a pod, and with what still runs of it."""
        tree = tree_of(pod)
        uid = tree["metadata"]["uid"]
        state = cls(host, pod, PodVolumes(host.pod_dir(uid), host, host.clock.uid, host.clock.now), tree=tree)
        settings = host.settings
        state.containers = containers_of(tree["spec"], _fresh(settings))
        shown = {s["name"]: s for key in _STATUSES for s in state.status.get(key) or ()}
        for container in state.containers.values():
            found = [status for status in sandbox.containers if status.name == container.name] if sandbox else []
            if found:
                container.adopt(found)
                state.initialised = state.initialised or container.role == "main"
            elif container.name in shown:
                container.remember(shown[container.name], uid)
            if container.running and container.role != "ephemeral":
                # What was believed before this kubelet came up holds until a probe says otherwise.
                container.ready = bool((shown.get(container.name) or {}).get("ready"))
                container.started = bool((shown.get(container.name) or {}).get("started"))
        state.start_time = state.status.get("startTime") or timestamp(host.clock.now())
        state.address = (sandbox.labels.get(ADDRESS_LABEL) or "") if sandbox else ""
        state.sandboxed = bool(sandbox and sandbox.ready)
        return state

    @property
    def uid(self) -> str:
        """The pod's uid."""
        return str(self.tree["metadata"]["uid"])

    @property
    def name(self) -> str:
        """The pod as messages name it: `web-1_default(uid)`."""
        meta = self.tree["metadata"]
        return f"{meta['name']}_{meta['namespace']}({meta['uid']})"

    @property
    def spec(self) -> Tree:
        """The pod's spec."""
        return self.tree["spec"]  # type: ignore[no-any-return]  # a tree's items are Any

    @property
    def status(self) -> Tree:
        """The pod's status as the API has it."""
        return self.tree.get("status") or {}

    @property
    def finished_before(self) -> bool:
        """Whether the API has a terminal phase: nothing is started any more, whatever else is true."""
        return self.status.get("phase") in TERMINAL

    @property
    def deadline_at(self) -> float | None:
        """When the pod has been active for too long."""
        limit_s = self.spec.get("activeDeadlineSeconds")
        return None if limit_s is None else parse_timestamp(self.start_time) + float(limit_s)

    def addresses(self) -> dict[str, str]:
        """The values of the downward API that the status may not show yet."""
        return {"podIP": self.address, "hostIP": self.host.settings.host_ip}

    def by_role(self, *roles: str) -> list[Container]:
        """The containers of these roles, in the order of the spec."""
        return [container for container in self.containers.values() if container.role in roles]

    def add_ephemeral(self) -> None:
        """Take up the ephemeral containers that were added to the pod."""
        for spec in self.spec.get("ephemeralContainers") or ():
            if spec["name"] not in self.containers:
                self.containers[spec["name"]] = container_of(spec, "ephemeral", _fresh(self.host.settings))

    def desired_status(self, newest: Tree) -> Tree:
        """The status that the API should show; `newest` is the pod there, whose foreign conditions are kept."""
        shown = newest.get("status") or {}
        if shown.get("phase") in TERMINAL:
            return shown  # once told, an end is never told differently
        if self.rejection is not None:
            return {**shown, **self.rejection.status(newest, self.host.clock.now())}
        over = self.stage is Stage.TERMINATED and self.ending is not Ending.CLOSING
        inits = self._statuses(self.by_role("init", "sidecar"), over)
        mains = self._statuses(self.by_role("main"), over)
        looking = self._statuses(self.by_role("ephemeral"), over)
        phase = phase_of(self.spec, [*inits, *mains], terminal=over, initialised=self.initialised)
        failed_by_deadline = self.ending is Ending.DEADLINE
        if failed_by_deadline and phase in TERMINAL:
            phase = "Failed"  # whatever the exit codes are
        generation = int(newest["metadata"].get("generation") or 0)
        status: Tree = {
            "phase": phase, "startTime": self.start_time, "hostIP": self.host.settings.host_ip,
            "hostIPs": [{"ip": self.host.settings.host_ip}], "containerStatuses": mains,
            "conditions": conditions_of(
                self.spec, phase, [*inits, *mains], old=shown.get("conditions") or [], sandboxed=self.sandboxed,
                now=timestamp(self.host.clock.now()), generation=generation,
            ),
            "reason": shown.get("reason"), "message": shown.get("message"),
        }  # fmt: skip  # one field a word reads better packed
        if generation:
            status["observedGeneration"] = generation
        if inits:
            status["initContainerStatuses"] = inits
        if looking:
            status["ephemeralContainerStatuses"] = looking
        address = self.address or shown.get("podIP")
        if address:
            status |= {"podIP": address, "podIPs": [{"ip": address}]}
        if failed_by_deadline:
            status["reason"] = DEADLINE_EXCEEDED
            status["message"] = "Pod was active on the node longer than the specified deadline"
        return status

    def _statuses(self, containers: Sequence[Container], over: bool) -> list[Tree]:
        waits_for_init = bool(self.by_role("init", "sidecar")) and not self.initialised
        made = []
        for container in containers:
            idle = ("PodInitializing" if container.role != "ephemeral" and waits_for_init else "ContainerCreating", "")
            made.append(container.tree(self.spec, self.name, idle=idle, over=over))
        return made
