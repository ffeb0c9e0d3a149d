"""End a pod's containers: preStop hook, stop signal, kill; main containers first, then sidecars in reverse order.

One clock runs for all of it: the pod's grace period. It may only get shorter while it runs.

Source: pkg/kubelet/kuberuntime/kuberuntime_container.go killContainer, kuberuntime_termination_order.go
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence

from reconcile.clock import parse_timestamp
from reconcile.errors import Tree

from .container import Container
from .errors import RuntimeFailure
from .hooks import run_hook
from .pod_state import Ending, PodState
from .runtime import ContainerStatus

log = logging.getLogger(__name__)

_SAME_S = 0.05


def own_grace_s(pod_spec: Tree) -> float:
    """What the pod asks for; zero is a wish, too."""
    asked = pod_spec.get("terminationGracePeriodSeconds")
    return 30.0 if asked is None else float(asked)


def grace_of(pod: Tree, ending: Ending, *, vanished_s: float, first_seen: bool, now: float) -> float:
    """How long the pod may take to end.

    A pod whose deletion is found after this kubelet was away has what is left of its grace. Pure.
    """
    meta, own_s = pod["metadata"], own_grace_s(pod["spec"])
    asked = meta.get("deletionGracePeriodSeconds")
    grace_s = own_s if asked is None else float(asked)
    if ending is Ending.VANISHED:
        return min(vanished_s, grace_s)
    if meta.get("deletionTimestamp"):
        left_s = parse_timestamp(meta["deletionTimestamp"]) + 1.0 - now
        return max(0.0, min(grace_s, left_s)) if first_seen else grace_s
    return own_s


class Stopper:
    """Ends the containers of one pod; `ended` hears of each end."""

    def __init__(
        self, state: PodState, ended: Callable[[ContainerStatus], None],
        rewritten: Callable[[Container, Sequence[str]], Awaitable[Sequence[str]]],
    ) -> None:  # fmt: skip
        self._state, self._host, self._ended, self._rewritten = state, state.host, ended, rewritten
        self._deadline = float("inf")
        self._hurries: set[asyncio.Timeout] = set()

    def limit(self, grace_s: float) -> bool:
        """From now, at most `grace_s` until everything is killed; more than what is left changes nothing.

        Returns whether a limit that was there got shorter.
        """
        deadline = self._host.clock.monotonic() + grace_s
        # The same limit, worked out again a moment later, differs by rounding: that is no hurry.
        if deadline > self._deadline - _SAME_S:
            return False
        shortened = self._deadline < float("inf")
        self._deadline = deadline
        when = asyncio.get_running_loop().time() + grace_s
        for hurry in self._hurries:
            hurry.reschedule(min(when, hurry.when() or when))
        return shortened

    def left_s(self) -> float:
        """What is left of the grace."""
        return max(0.0, self._deadline - self._host.clock.monotonic())

    async def linger(self) -> None:
        """Serve on for a moment: who routes to the pod must hear of its deletion before it stops to answer."""
        delay_s = min(self._host.settings.termination_delay_s, self.left_s() / 2)
        if delay_s > 0 and await self._is_served():
            await self._host.clock.sleep(delay_s)

    async def stop_all(self) -> None:
        """End every container that runs."""
        await asyncio.gather(*(self.stop(container) for container in self._state.by_role("main", "init", "ephemeral")))
        for sidecar in reversed(self._state.by_role("sidecar")):
            await self.stop(sidecar)

    async def stop(self, container: Container, *, grace_s: float | None = None, why: str = "") -> None:
        """End one container, if it runs; `grace_s` instead of the pod's own clock."""
        if not container.running or container.current is None:
            return
        state, clock = self._state, self._host.clock
        began = clock.monotonic()
        limit_s = self.left_s() if grace_s is None else grace_s
        self._host.events.normal("Killing", f"Stopping container {container.name}{why}", about=state.pod)
        if (container.spec.get("lifecycle") or {}).get("preStop") and container.hooked and limit_s > 0:
            await self._pre_stop(container, limit_s)
        left_s = self.left_s() if grace_s is None else grace_s - (clock.monotonic() - began)
        try:
            self._ended(
                await self._host.runtime.stop_container(
                    state.uid, container.current.id, max(left_s, self._host.settings.grace_s_min)
                )
            )
        except RuntimeFailure as error:
            # The sandbox is gone, or its shim is: the removal that follows, or the exit that it reports, settles it.
            log.warning("a container could not be stopped", extra={"pod": state.name, "error": str(error)})

    async def hurry(self) -> None:
        """The grace got shorter: tell the runtime, which waits for containers with the longer one."""
        running = [c.current for c in self._state.containers.values() if c.current is not None and c.current.running]
        with contextlib.suppress(RuntimeFailure):  # what is gone needs no hurry
            await asyncio.gather(
                *(self._host.runtime.stop_container(self._state.uid, status.id, self.left_s()) for status in running)
            )

    async def _pre_stop(self, container: Container, limit_s: float) -> None:
        state = self._state
        try:
            async with asyncio.timeout(limit_s) as hurry:
                self._hurries.add(hurry)
                try:
                    answer = await run_hook(
                        self._host.runtime, self._host.clock, state.uid, container.spec, "preStop",
                        functools.partial(self._rewritten, container), address=state.address, timeout_s=limit_s,
                    )  # fmt: skip  # one field a word reads better packed
                finally:
                    self._hurries.discard(hurry)
        except TimeoutError:
            return
        if not answer.ok:
            self._host.events.warning("FailedPreStopHook", f"PreStopHook failed: {answer.message}", about=state.pod)

    async def _is_served(self) -> bool:
        """Whether a ready pod is behind a Service."""
        if not any(c.ready and c.running for c in self._state.by_role("main")):
            return False
        meta = self._state.tree["metadata"]
        labels = meta.get("labels") or {}
        for service in await self._host.services(meta["namespace"]):
            selector = (service.get("spec") or {}).get("selector")
            if selector and all(labels.get(key) == value for key, value in selector.items()):
                return True
        return False
