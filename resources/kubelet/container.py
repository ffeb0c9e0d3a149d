"""One container of a pod as its worker sees it: the instance that runs, the one before, and what it waits for."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import Sequence

import attrs

from reconcile.clock import parse_timestamp, timestamp
from reconcile.errors import Tree

from .backoff import CrashLoopBackOff
from .phase import is_sidecar, restarts_after
from .plan import Doing, Role, Seen
from .runtime import EXIT_CODE_LOST, REASON_LOST, REASON_START_ERROR, ContainerState, ContainerStatus, container_id

HASH_LABEL = "reconcile.dev/spec-hash"
_HASHED = ("name", "image", "command", "args", "env", "envFrom", "workingDir", "ports", "volumeMounts")
_LOST_MESSAGE = "The container could not be located when the kubelet started"


def spec_hash(spec: Tree) -> str:
    """A digest of what a running container cannot take over without a restart."""
    kept = {key: spec[key] for key in _HASHED if key in spec}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


@attrs.define(eq=False)
class Container:
    """A container's state; `attempt` is -1 before the first start, and its restart count afterwards."""

    spec: Tree
    role: Role
    backoff: CrashLoopBackOff
    hash: str = ""
    attempt: int = -1
    current: ContainerStatus | None = None
    previous: ContainerStatus | None = None
    messages: dict[int, str] = attrs.field(factory=dict)
    waiting: tuple[str, str] = ("", "")
    retry_at: float = 0.0
    starter: asyncio.Task[None] | None = None
    stopper: asyncio.Task[None] | None = None
    probes: list[asyncio.Task[None]] = attrs.field(factory=list)
    hooked: bool = False
    started: bool = False
    ready: bool = False
    outdated: bool = False

    @property
    def name(self) -> str:
        """Its name in the pod."""
        return str(self.spec["name"])

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self.current is not None and self.current.running

    @property
    def starting(self) -> bool:
        """Whether it is being started just now (its postStart hook included)."""
        return self.starter is not None and not self.starter.done()

    def seen(self, pod_spec: Tree) -> Seen:
        """What the plan needs to know."""
        doing: Doing = "nothing"
        if self.starting:
            doing = "starting"
        elif self.current is not None:
            doing = "running" if self.running else "exited"
        return Seen(
            self.name, self.role, doing, started=self.started, exit_code=self.current.exit_code if self.current else 0,
            restarts=self.restarts(pod_spec), due_at=self.due_at(),
        )  # fmt: skip  # one field a word reads better packed

    def restarts(self, pod_spec: Tree) -> bool:
        """Whether its end is followed by another start."""
        if self.current is None or self.running:
            return True
        if self.role == "ephemeral":
            return False
        return self.outdated or restarts_after(pod_spec, self.spec, self.current.exit_code, init=self.role != "main")

    def due_at(self) -> float:
        """When it may be started: after its back-off, or when what it misses is looked for again."""
        if self.current is None or self.running or self.outdated:
            return self.retry_at
        return max(self.retry_at, self.backoff.due_at(self.current.started_at, self.current.finished_at))

    def began(self, status: ContainerStatus) -> None:
        """Take over a new instance."""
        if self.current is not None and self.current.attempt != status.attempt:
            self.previous = self.current
            self.backoff.restarted()
        self.messages = {attempt: text for attempt, text in self.messages.items() if attempt >= status.attempt - 1}
        self.attempt, self.current = status.attempt, status
        self.waiting, self.retry_at = ("", ""), 0.0
        self.hooked = self.started = self.ready = self.outdated = False

    def ended(self, status: ContainerStatus, message: str) -> bool:
        """Note how an instance ended; returns whether that is news."""
        if self.current is None or status.attempt != self.current.attempt or not self.current.running:
            return False
        self.current = status
        if message:
            self.messages[status.attempt] = message
        self.started = self.ready = self.hooked = False
        self.silence()
        return True

    def silence(self) -> None:
        """End its probes."""
        for task in self.probes:
            task.cancel()
        self.probes.clear()

    def adopt(self, found: Sequence[ContainerStatus]) -> None:
        """Take over what the runtime still has of it, from before this kubelet came up."""
        ordered = sorted(found, key=lambda status: status.attempt)
        if not ordered:
            return
        self.current, self.attempt = ordered[-1], ordered[-1].attempt
        self.previous = ordered[-2] if len(ordered) > 1 else self.previous
        self.backoff.resume(self.attempt)
        self.hooked = self.running
        self.outdated = self.current.labels.get(HASH_LABEL, self.hash) != self.hash

    def remember(self, status: Tree, pod_uid: str) -> None:
        """Take up what the API says of a container that the runtime knows nothing of any more."""
        if not status.get("containerID") and not status.get("lastState"):
            return
        self.attempt = int(status.get("restartCount") or 0)
        if self.role in ("main", "ephemeral"):
            self.current = _lost(status, pod_uid, self.name, self.attempt)

    def tree(self, pod_spec: Tree, pod: str, *, idle: tuple[str, str], over: bool) -> Tree:
        """Its ContainerStatus. `idle` is what a container that never started waits for; `over`: no more starts."""
        status: Tree = {
            "name": self.name, "ready": self._shown_ready(), "started": self.running and self.started,
            "restartCount": max(0, self.attempt), "image": self.spec.get("image") or "", "imageID": "",
            "state": {}, "lastState": {},
        }  # fmt: skip  # one field a word reads better packed
        current, last = self.current, self.previous
        if self.running and self.spec.get("resources"):
            # Nothing is bounded here, so that what is asked for is at once what there is.
            status["resources"] = self.spec["resources"]
            status["allocatedResources"] = self.spec["resources"].get("requests") or {}
        if current is not None:
            status["containerID"] = f"process://{current.id}"
        if current is None:
            reason, message = self.waiting if self.waiting[0] else idle
            status["state"] = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
        elif current.running and self.hooked:
            status["state"] = {"running": {"startedAt": timestamp(current.started_at)}}
        elif current.running:
            status["state"] = {"waiting": {"reason": idle[0]}}
        elif over or not self.restarts(pod_spec) or (self.role == "init" and current.exit_code == 0):
            status["state"] = {"terminated": self._terminated(current)}
        elif not self.waiting[0] and (self.starting or not self.backoff.delay_s):
            status["state"] = {"terminated": self._terminated(current)}  # it is started again at once
        else:
            last = current
            status["state"] = {"waiting": self._why_waiting(current, pod)}
        if last is not None and not last.running:
            status["lastState"] = {"terminated": self._terminated(last)}
        return status

    def _shown_ready(self) -> bool:
        if self.role == "ephemeral":
            return False  # nobody waits for it
        if self.role == "init":
            return self.current is not None and not self.running and self.current.exit_code == 0
        return self.running and self.hooked and self.started and self.ready

    def _why_waiting(self, current: ContainerStatus, pod: str) -> Tree:
        if self.waiting[0]:
            reason, message = self.waiting
            return {"reason": reason, "message": message}
        message = f"back-off {_seconds(self.backoff.delay_s)} restarting failed container={self.name} pod={pod}"
        if current.reason == REASON_START_ERROR:
            message += f": {current.message}"
        return {"reason": "CrashLoopBackOff", "message": message}

    def _terminated(self, status: ContainerStatus) -> Tree:
        tree: Tree = {
            "exitCode": status.exit_code, "reason": status.reason or ("Error" if status.exit_code else "Completed"),
            "containerID": f"process://{status.id}",
        }  # fmt: skip  # one field a word reads better packed
        times = (("startedAt", status.started_at), ("finishedAt", status.finished_at))
        tree |= {key: timestamp(at) for key, at in times if at}
        message = self.messages.get(status.attempt) or status.message
        if message:
            tree["message"] = message
        if status.signal:
            tree["signal"] = status.signal
        return tree


def containers_of(pod_spec: Tree, make_backoff: CrashLoopBackOff) -> dict[str, Container]:
    """Fresh state for every container of a pod, in the order in which they start; `make_backoff` is copied for each."""
    made: dict[str, Container] = {}
    for spec in pod_spec.get("initContainers") or ():
        made[spec["name"]] = container_of(spec, "sidecar" if is_sidecar(spec) else "init", make_backoff)
    for spec in pod_spec["containers"]:
        made[spec["name"]] = container_of(spec, "main", make_backoff)
    for spec in pod_spec.get("ephemeralContainers") or ():
        made[spec["name"]] = container_of(spec, "ephemeral", make_backoff)
    return made


def container_of(spec: Tree, role: Role, make_backoff: CrashLoopBackOff) -> Container:
    """Fresh state for one container."""
    return Container(spec, role, attrs.evolve(make_backoff), spec_hash(spec))


def _lost(status: Tree, pod_uid: str, name: str, attempt: int) -> ContainerStatus:
    """The end of an instance that nobody saw: as the API last told it, or unknown."""
    ended = (status.get("state") or {}).get("terminated") or {}
    if not ended and "running" not in (status.get("state") or {}):
        ended = (status.get("lastState") or {}).get("terminated") or {}
    return ContainerStatus(
        id=container_id(pod_uid, name, attempt), pod_uid=pod_uid, name=name, attempt=attempt, state=ContainerState.EXITED,
        exit_code=int(ended.get("exitCode", EXIT_CODE_LOST)), reason=str(ended.get("reason") or REASON_LOST),
        message=str(ended.get("message") or ("" if ended else _LOST_MESSAGE)),
        started_at=_time(ended.get("startedAt") or ((status.get("state") or {}).get("running") or {}).get("startedAt")),
        finished_at=_time(ended.get("finishedAt")),
    )  # fmt: skip  # one field a word reads better packed


def _time(text: str | None) -> float:
    return parse_timestamp(text) if text else 0.0


def _seconds(delay_s: float) -> str:
    whole = math.ceil(delay_s)
    minutes, seconds = divmod(whole, 60)
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
