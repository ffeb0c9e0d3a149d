"""Every error that the kubelet and its runtimes raise.

ReconcileError
├── PodConfigError              a container cannot be started as its pod asks; `reason` is shown on the pod
├── AddressesExhaustedError     no address is left for a pod on this node
├── NoSuchLogError              no log to show: no such pod or container here, or it has not run yet
├── UnsafePathError             a volume's file would lie outside the volume
└── RuntimeFailure                  a container runtime could not do what it was asked
    ├── StartError                  the command never ran: not found, not executable, no working directory
    ├── SandboxNotFoundError        no such sandbox, or its shim is gone: run_sandbox again
    ├── ContainerNotFoundError      no such container in the sandbox
    ├── ContainerNotRunningError    exec into a container that does not run
    ├── ExecError                   a command cannot be started in a container
    ├── ExecTimeoutError            a command run by exec took longer than it was given
    ├── StaleAttemptError           an attempt that was removed is asked to start again
    ├── InvalidNameError            a pod uid or container name that cannot be a file name
    └── ShimError                   the runtime itself failed: no zygote, no answer, a broken reply
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconcile.errors import ReconcileError

if TYPE_CHECKING:
    from reconcile.resources.kubelet.runtime import ContainerStatus


class RuntimeFailure(ReconcileError):
    """A container runtime could not do what it was asked."""


class StartError(RuntimeFailure):
    """The container's command never ran; `status` is the record that stays: exited, with the code a shell would give.

    The exit code is 127 where the command was not found, 126 where it cannot be executed, 128 for all else.
    """

    def __init__(self, status: ContainerStatus) -> None:
        super().__init__(f"container {status.name}: {status.message}")
        self.status = status


class SandboxNotFoundError(RuntimeFailure):
    """There is no sandbox for the pod, or its shim is gone."""

    def __init__(self, pod_uid: str) -> None:
        super().__init__(f"pod {pod_uid}: no sandbox is up; run_sandbox makes one")
        self.pod_uid = pod_uid


class ContainerNotFoundError(RuntimeFailure):
    """The sandbox has no such container."""

    def __init__(self, pod_uid: str, container: str) -> None:
        super().__init__(f"pod {pod_uid}: no container {container!r} in its sandbox; start_container makes one")
        self.pod_uid, self.container = pod_uid, container


class ContainerNotRunningError(RuntimeFailure):
    """The container is there and has ended."""

    def __init__(self, pod_uid: str, container: str) -> None:
        super().__init__(f"pod {pod_uid}: container {container!r} does not run; nothing can be executed in it")
        self.pod_uid, self.container = pod_uid, container


class ExecError(RuntimeFailure):
    """A command cannot be started in a container; `exit_code` is what a shell would give."""

    def __init__(self, container: str, exit_code: int, why: str) -> None:
        super().__init__(f"failed to exec in container {container!r}: {why}")
        self.container, self.exit_code = container, exit_code


class ExecTimeoutError(RuntimeFailure):
    """A command run by exec took longer than it was given, and was killed."""

    def __init__(self, pod_uid: str, container: str, command: str, timeout_s: float) -> None:
        super().__init__(f"command {command!r} timed out after {timeout_s:g}s in container {container!r} of pod {pod_uid}")
        self.pod_uid, self.container, self.timeout_s = pod_uid, container, timeout_s


class StaleAttemptError(RuntimeFailure):
    """The attempt, or a later one, was removed already: it may not run a second time."""

    def __init__(self, pod_uid: str, container: str, attempt: int) -> None:
        super().__init__(
            f"pod {pod_uid}: attempt {attempt} of container {container!r} ran and was removed; start the next attempt instead"
        )
        self.pod_uid, self.container, self.attempt = pod_uid, container, attempt


class StillRunningError(RuntimeFailure):
    """Another attempt of the same container runs."""

    def __init__(self, pod_uid: str, container: str, attempt: int) -> None:
        super().__init__(
            f"pod {pod_uid}: attempt {attempt} of container {container!r} cannot start while another runs; stop that first"
        )
        self.pod_uid, self.container, self.attempt = pod_uid, container, attempt


class InvalidNameError(RuntimeFailure):
    """A pod uid or container name holds characters that cannot stand in a file name."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"{what} {name!r} cannot be used; give letters, digits, '-', '_' and '.', 1 to 128 of them")
        self.what, self.name = what, name


class ShimError(RuntimeFailure):
    """The runtime itself failed; `doing` says at what."""

    def __init__(self, doing: str, detail: str) -> None:
        super().__init__(f"process runtime: {doing}: {detail}")
        self.doing, self.detail = doing, detail


class PodConfigError(ReconcileError):
    """A container cannot be started as its pod asks: it waits with `reason` until that changes."""

    def __init__(self, reason: str, message: str, event: str = "Failed") -> None:
        super().__init__(message)
        self.reason, self.message, self.event = reason, message, event


class AddressesExhaustedError(ReconcileError):
    """Every address of the node's range is taken."""

    def __init__(self, cidr: str) -> None:
        super().__init__(f"pod range {cidr}: every address is taken; delete pods, or give the node a larger range")
        self.cidr = cidr


class UnsafePathError(ReconcileError):
    """A volume's file would lie outside the volume."""

    def __init__(self, path: str) -> None:
        super().__init__(f"volume file {path!r}: give a relative path that has no '..' in it")
        self.path = path


class NoSuchLogError(ReconcileError):
    """There is no log to show: no such pod or container here, or it has not run yet."""

    def __init__(self, pod: str, why: str) -> None:
        super().__init__(f"logs of {pod}: {why}")
        self.pod, self.why = pod, why
