"""CrashLoopBackOff: how long a container that keeps ending is left alone. Pure; times are handed in.

Source: k8s.io/client-go/util/flowcontrol/backoff.go, pkg/kubelet/kuberuntime/kuberuntime_manager.go doBackOff
"""

from __future__ import annotations

import attrs


@attrs.define
class CrashLoopBackOff:
    """The back-off of one container: the first restart is at once, then the pause doubles up to a bound."""

    first_s: float
    max_s: float
    reset_s: float
    delay_s: float = 0.0

    def due_at(self, started_at: float, finished_at: float) -> float:
        """When a container that ran from `started_at` to `finished_at` may start again; the pause counts from its end."""
        if started_at and finished_at - started_at >= self.reset_s:
            self.delay_s = 0.0
        return finished_at + self.delay_s

    def restarted(self) -> None:
        """Note one more restart: the next pause is longer."""
        self.delay_s = min(self.max_s, self.delay_s * 2 if self.delay_s else self.first_s)

    def resume(self, restarts: int) -> None:
        """Take up the pause of a container that was restarted `restarts` times before this kubelet came up."""
        self.delay_s = min(self.max_s, self.first_s * 2.0 ** min(restarts - 1, 30)) if restarts > 0 else 0.0

    def forget(self) -> None:
        """Begin anew: the container is another one now (its spec changed)."""
        self.delay_s = 0.0
