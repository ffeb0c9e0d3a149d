"""The seam between the kubelet's pod workers and whatever runs their containers.

Shaped after the Container Runtime Interface: a sandbox a pod, containers in it, each start an attempt of its own. The
process runtime (`reconcile.resources.kubelet.process`) and a simulated one stand behind the same protocol.

It promises: starting the same (pod, container, attempt) twice runs one process; what runs, or has ended and is not
removed, is in `list`, also after the engine was killed; every exit is told to the listeners or found by `list`.
It leaves to the pod workers: restarts, back-off, probes' schedule, hooks, volumes, environment and log folders.

Source: CRI, k8s.io/cri-api/pkg/apis/runtime/v1/api.proto
"""

from __future__ import annotations

import enum
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import attrs

EXIT_CODE_NOT_FOUND = 127
EXIT_CODE_NOT_EXECUTABLE = 126
EXIT_CODE_CANNOT_START = 128
EXIT_CODE_LOST = 137

REASON_COMPLETED = "Completed"
REASON_ERROR = "Error"
REASON_START_ERROR = "StartError"
REASON_LOST = "ContainerStatusUnknown"


class ContainerState(enum.StrEnum):
    """Whether a container's main process runs or has ended."""

    RUNNING = "running"
    EXITED = "exited"


@attrs.frozen
class SandboxConfig:
    """What a sandbox is made of; `labels` are kept with it and come back in `SandboxStatus`."""

    uid: str
    namespace: str
    name: str
    labels: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class ContainerConfig:
    """One attempt at running a container.

    `env` is complete: nothing is inherited (a process runtime adds its own RECONCILE_CONTAINER mark). `log_path` is the
    CRI log file to write; its folder is made; empty means the output is thrown away. `labels` are kept and come back in
    `ContainerStatus`: the hash of the spec belongs there, so that re-adoption can tell an outdated container.
    `stdin` can be written by who is attached (without it there is none); `stdin_once`: it ends with the first of them.
    With `tty` all its streams are one terminal.
    """

    name: str
    attempt: int
    argv: Sequence[str]
    env: Mapping[str, str] = attrs.field(factory=dict)
    working_dir: str = "/"
    log_path: str = ""
    stop_signal: int = signal.SIGTERM
    labels: Mapping[str, str] = attrs.field(factory=dict)
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False


@attrs.frozen
class ContainerStatus:
    """What is known of one attempt of one container; times are seconds since the epoch, 0.0 where not known.

    `exit_code`, `signal` (0: none), `reason`, `message` and `finished_at` mean something once `state` is EXITED.
    """

    id: str
    pod_uid: str
    name: str
    attempt: int
    state: ContainerState
    pid: int = 0
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    message: str = ""
    log_path: str = ""
    log_lost_bytes: int = 0
    labels: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def running(self) -> bool:
        """Whether the main process runs."""
        return self.state is ContainerState.RUNNING


@attrs.frozen
class SandboxStatus:
    """A sandbox and its containers, by name and attempt; not `ready` means that nothing can be started in it any more.

    A sandbox that is not ready becomes so by `run_sandbox` with the same configuration; its containers' records stay.
    """

    uid: str
    namespace: str
    name: str
    ready: bool
    created_at: float = 0.0
    pid: int = 0
    labels: Mapping[str, str] = attrs.field(factory=dict)
    containers: Sequence[ContainerStatus] = ()


@attrs.frozen
class ExecResult:
    """What a command run in a container gave back: stdout and stderr as one, cut at the runtime's bound."""

    exit_code: int
    output: bytes


@attrs.frozen
class Stats:
    """What some processes use together: CPU time since they were started, memory now."""

    cpu_s: float = 0.0
    memory_bytes: int = 0
    processes: int = 0


@attrs.frozen
class PodStats(Stats):
    """What all processes of a pod use, and of these what belongs to each running container."""

    containers: Mapping[str, Stats] = attrs.field(factory=dict)


class Talk(Protocol):
    """A running command, or a container's first process, that somebody hears and talks to."""

    @property
    def outputs(self) -> Mapping[str, Output]:
        """What it says: `stdout`, and `stderr` where that is another stream (with a terminal it is not)."""

    async def write(self, data: bytes) -> None:
        """Write to its stdin, waiting while it does not read; where it has none, or reads no more, nothing happens."""

    async def close_stdin(self) -> None:
        """There is no more input."""

    async def resize(self, columns: int, rows: int) -> None:
        """Its terminal, if it has one, has a window of this size now."""

    async def wait(self) -> int:
        """Wait for its end; returns the exit code.

        Raises:
            ShimError: it cannot be told any more how it ended.
        """

    async def close(self) -> None:
        """Hang up. A command is ended by that; a container goes on."""


class Output(Protocol):
    """A stream of bytes to be read."""

    async def read(self, bytes_max: int) -> bytes:
        """Some bytes, as soon as there are any; none at its end."""


ExitListener = Callable[[ContainerStatus], None]
"""Called in the event loop with the status of a container that has just ended; it must not block."""


def container_id(pod_uid: str, name: str, attempt: int) -> str:
    """Name one attempt of one container, the same before and after a restart of the engine."""
    return f"{pod_uid}_{name}_{attempt}"


class Runtime(Protocol):
    """Runs the containers of pods. Every method may be called concurrently, and repeated after a failure."""

    async def start(self) -> None:
        """Get ready and re-adopt what runs; exits that happen from now on are told to the listeners."""

    async def close(self, *, stop: bool = False, grace_s: float = 5.0) -> None:
        """Let go of everything: it runs on, unless `stop`, which ends all containers and removes all sandboxes."""

    def subscribe(self, listener: ExitListener) -> None:
        """Tell `listener` of every exit from now on, at least once each."""

    async def list(self) -> Sequence[SandboxStatus]:
        """Every sandbox that is not removed, with all its containers, running and ended."""

    async def run_sandbox(self, config: SandboxConfig) -> SandboxStatus:
        """Make the pod's sandbox, or find it as it is; idempotent.

        Raises:
            InvalidNameError: the uid cannot be a file name.
            ShimError: the sandbox cannot be made.
        """

    async def start_container(self, pod_uid: str, config: ContainerConfig) -> ContainerStatus:
        """Start one attempt, or answer with what became of it; idempotent by (pod, name, attempt).

        A short command may have ended by the time this returns: look at `state`. Its exit is told to the listeners all
        the same, after this has returned.

        Raises:
            StartError: the command never ran; repeated with the same attempt it is raised again.
            SandboxNotFoundError: the pod has no sandbox that is up.
            StaleAttemptError: the attempt was removed already.
            StillRunningError: another attempt of the same container runs.
            InvalidNameError: the container's name cannot be a file name.
        """

    async def stop_container(self, pod_uid: str, container_id: str, grace_s: float) -> ContainerStatus:
        """Ask the container to end, kill its whole tree after `grace_s`, and return once it has ended; idempotent.

        The kill happens also if the engine dies meanwhile. A second call with less grace shortens it.

        Raises:
            SandboxNotFoundError, ContainerNotFoundError: there is no such thing.
        """

    async def remove_container(self, pod_uid: str, container_id: str) -> None:
        """Forget a container that has ended (one that runs is killed first); a repeat is no error."""

    async def remove_sandbox(self, pod_uid: str) -> None:
        """Kill what runs in the sandbox, and forget it; a repeat is no error. Logs stay."""

    async def exec(self, pod_uid: str, container_name: str, argv: Sequence[str], timeout_s: float) -> ExecResult:
        """Run a command beside a running container, in its environment and working directory.

        A command that cannot be started gives exit code 126 or 127 and the reason as its output.

        Raises:
            ExecTimeoutError: it took longer than `timeout_s`, and was killed.
            SandboxNotFoundError, ContainerNotFoundError, ContainerNotRunningError: there is nothing to run it in.
        """

    async def run(self, pod_uid: str, container_name: str, argv: Sequence[str], *, stdin: bool, tty: bool) -> Talk:
        """Start a command beside a running container, as `exec` does, to talk to it while it runs.

        It is ended when it is closed, or when the container ends, or the engine.

        Raises:
            ExecError: it cannot be started.
            SandboxNotFoundError, ContainerNotFoundError, ContainerNotRunningError: there is nothing to run it in.
        """

    async def attach(self, pod_uid: str, container_name: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> Talk:
        """Hear a running container's first process from now on, and write to its stdin if it has one.

        A container whose output nobody takes waits for that, for a while.

        Raises:
            SandboxNotFoundError, ContainerNotFoundError, ContainerNotRunningError: there is nothing to attach to.
        """

    async def stats(self, pod_uid: str) -> PodStats:
        """What the pod's processes use.

        Raises:
            SandboxNotFoundError: the pod has no sandbox that is up.
        """
