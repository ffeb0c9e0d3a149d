"""How a kubelet behaves: its times, its bounds, and which images it knows how to run without a container runtime."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

_TAKEN_OVER = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def base_environment(source: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The few variables of this process that a container inherits; secrets of the user's shell are not among them."""
    taken = {name: source[name] for name in _TAKEN_OVER if source.get(name)}
    return {"PATH": _PATH, "HOME": "/", "LANG": "C.UTF-8", **taken}


@attrs.frozen
class KubeletSettings:
    """The knobs of a kubelet; the defaults are for work on one machine, `strict` has Kubernetes' own.

    - `images`: what to run for an image: its name, with or without tag, to the argv that `args` are appended to.
    - `backoff_s_first`, `backoff_s_max`: CrashLoopBackOff; `backoff_reset_s`: a container that ran so long starts anew.
    - `termination_delay_s`: how long a pod that was ready still serves after its deletion, inside its grace, so that
      those who route to it hear of the deletion first.
    - `vanished_grace_s`: the grace of a pod whose object is gone already.
    - `probe_retry_s_first`: before a container was ready once it is asked again so soon (the pause grows to its period).
    """

    images: Mapping[str, Sequence[str]] = attrs.field(factory=dict)
    environment: Mapping[str, str] = attrs.field(factory=base_environment)
    backoff_s_first: float = 1.0
    backoff_s_max: float = 60.0
    backoff_reset_s: float = 600.0
    termination_delay_s: float = 0.3
    vanished_grace_s: float = 2.0
    grace_s_min: float = 2.0
    probe_retry_s_first: float = 0.02
    exec_probe_retry_s_first: float = 0.2
    config_retry_s: float = 10.0
    heartbeat_s: float = 10.0
    lease_s: int = 40
    node_status_s: float = 300.0
    pods_max: int = 110
    host_ip: str = "127.0.0.1"
    labels: Mapping[str, str] = attrs.field(factory=dict)
    taints: Sequence[Mapping[str, str]] = ()

    @classmethod
    def strict(cls, **changes: Any) -> KubeletSettings:
        """Kubernetes' own times: CrashLoopBackOff from 10 s to 300 s, no delay before SIGTERM, no early probes."""
        return attrs.evolve(
            cls(backoff_s_first=10.0, backoff_s_max=300.0, termination_delay_s=0.0, probe_retry_s_first=0.0,
                exec_probe_retry_s_first=0.0),
            **changes,
        )  # fmt: skip

    def image_argv(self, image: str) -> Sequence[str] | None:
        """The command that stands for `image` on this node, or None: it needs a container runtime."""
        if image in self.images:
            return self.images[image]
        name, _, tag = image.rpartition(":")
        return self.images.get(name) if name and "/" not in tag else None
