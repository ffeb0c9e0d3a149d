"""The probes of one running container: started with it, ended with it, and what their results do.

Source: pkg/kubelet/prober/prober_manager.go
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from .asking import ask
from .container import Container
from .pod_state import PodState
from .probes import Answer, ProbeSpec, ProbeType, probe_forever

Spawn = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]
_KEYS: dict[ProbeType, str] = {"startup": "startupProbe", "liveness": "livenessProbe", "readiness": "readinessProbe"}


class Prober:
    """Runs a pod's probes. `changed` hears of each change; `kill(container, why, grace_s)` of a failed liveness."""

    def __init__(
        self, state: PodState, spawn: Spawn, changed: Callable[[], None], kill: Callable[[Container, str, int | None], None],
        rewritten: Callable[[Container, Sequence[str]], Awaitable[Sequence[str]]],
    ) -> None:  # fmt: skip
        self._state, self._host, self._spawn, self._changed, self._kill = state, state.host, spawn, changed, kill
        self._rewritten = rewritten

    def begin(self, container: Container, *, adopted: bool = False) -> None:
        """Start the probes of a container that runs now; without a startup probe it counts as started at once."""
        if container.role == "init":
            container.started = True
            return
        if container.spec.get("startupProbe") and not (adopted and container.started):
            container.started = False
            self._run(container, "startup", adopted)
            return
        self._after_start(container, adopted)

    def _after_start(self, container: Container, adopted: bool) -> None:
        container.started = True
        if container.spec.get("readinessProbe"):
            self._run(container, "readiness", adopted)
        else:
            container.ready = True
        if container.spec.get("livenessProbe"):
            self._run(container, "liveness", adopted)

    def _run(self, container: Container, type_: ProbeType, adopted: bool) -> None:
        spec = ProbeSpec.of(container.spec[_KEYS[type_]])
        settings, clock = self._host.settings, self._host.clock
        believed = True if type_ == "liveness" else container.ready if adopted and type_ == "readiness" else None
        early_s = settings.exec_probe_retry_s_first if spec.action.get("exec") else settings.probe_retry_s_first
        # Probes of pods that were all adopted at once are spread, or they would be made all at once for ever.
        first_s = clock.random.random() * spec.period_s if adopted and believed else 0.0

        rewritten = functools.partial(self._rewritten, container)

        async def asking() -> Answer:
            return await ask(
                self._host.runtime, self._state.uid, container.spec, spec.action, rewritten, address=self._state.address,
                timeout_s=spec.timeout_s,
            )  # fmt: skip  # one field a word reads better packed

        def fell(message: str) -> None:
            self._host.events.warning("Unhealthy", f"{type_.capitalize()} probe failed: {message}", about=self._state.pod)

        def report(ok: bool, message: str) -> bool:
            return self._report(container, type_, spec, ok, message)

        coroutine = probe_forever(
            type_, spec, asking, report, fell, clock=clock, early_s=early_s,
            first_delay_s=first_s, result=believed,
        )  # fmt: skip  # one field a word reads better packed
        container.probes.append(self._spawn(coroutine, f"{type_} probe of {container.name} in {self._state.name}"))

    def _report(self, container: Container, type_: ProbeType, spec: ProbeSpec, ok: bool, message: str) -> bool:
        """Act on a changed result; returns whether the probe goes on."""
        if type_ == "readiness":
            container.ready = ok
            self._changed()
            return True
        if type_ == "startup" and ok:
            self._after_start(container, adopted=False)
            self._changed()
            return False
        if ok:
            return True
        self._kill(container, f": {type_} probe failed, {message}".rstrip(", "), spec.grace_s)
        return False
