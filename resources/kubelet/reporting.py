"""A pod's status: what its worker knows, as the API shows it, written only when it changed and never two at a time.

Source: pkg/kubelet/status/status_manager.go, pkg/kubelet/kubelet_pods.go generateAPIPodStatus
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from reconcile.errors import ApiError, ConflictError, Tree

from .host import Host

log = logging.getLogger(__name__)

_RETRY_S_FIRST, _RETRY_S_MAX = 0.1, 10.0
_OWNED = (
    "phase", "reason", "message", "conditions", "containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses",
    "podIP", "podIPs", "hostIP", "hostIPs", "startTime", "observedGeneration",
)  # fmt: skip  # words


class StatusWriter:
    """Keeps the API's status of one pod equal to `desired(newest pod)`; changes that come together are one write."""

    def __init__(self, host: Host, pod: Tree, desired: Callable[[Tree], Tree]) -> None:
        self._host, self._desired = host, desired
        self.newest = pod
        self._dirty = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._not_before = 0.0
        self._stored: dict[str, tuple[object, object]] = {}
        self._closed = False

    def seen(self, pod: Tree) -> None:
        """Take over what a watch brought, unless our own writes are newer."""
        if _revision(pod) >= _revision(self.newest):
            self.newest = pod

    def mark(self, delay_s: float = 0.0) -> None:
        """The status may have changed: write it, at the latest `delay_s` from now."""
        due = self._host.clock.monotonic() + delay_s
        self._not_before = due if self._idle.is_set() else min(self._not_before, due)
        self._idle.clear()
        self._dirty.set()

    async def flush(self) -> None:
        """Wait until the API has the newest status."""
        if not self._closed:
            self.mark()
            await self._idle.wait()

    def close(self) -> None:
        """The pod is gone: write nothing more."""
        self._closed = True
        self._idle.set()
        self._dirty.set()

    async def run(self) -> None:
        """Write until closed."""
        retry_s = _RETRY_S_FIRST
        while not self._closed:
            await self._dirty.wait()
            await self._wait_due()
            self._dirty.clear()
            if self._closed:
                return
            try:
                await self._write()
            except ConflictError:
                await self._refresh()
                self._dirty.set()
            except ApiError as error:
                if error.code in (400, 403, 404, 422):
                    await self._rejected(error)
                    continue
                await self._host.clock.sleep(retry_s)
                retry_s = min(_RETRY_S_MAX, retry_s * 2)
                self._dirty.set()
            else:
                retry_s = _RETRY_S_FIRST
                if not self._dirty.is_set():
                    self._idle.set()

    async def _wait_due(self) -> None:
        """Let changes gather until the earliest that anybody asked for; a more urgent mark wakes us."""
        while not self._closed and (left_s := self._not_before - self._host.clock.monotonic()) > 0:
            self._dirty.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._dirty.wait()
            except TimeoutError:
                return

    async def _write(self) -> None:
        changes = self._changes()
        if not changes:
            return
        meta = self.newest["metadata"]
        tree = await self._host.patch_status(self.newest, changes, str(meta.get("resourceVersion", "")))
        status = tree.get("status") or {}
        # What the server makes of a value (it may drop nulls) is remembered, or it would look changed for ever.
        self._stored |= {key: (value, status.get(key)) for key, value in changes.items()}
        self.seen(tree)

    def _changes(self) -> Tree:
        """What must be written: only fields that differ from what the API has; None removes one."""
        desired, shown = self._desired(self.newest), self.newest.get("status") or {}
        changes: Tree = {}
        for key in _OWNED:
            wanted, there = desired.get(key), shown.get(key)
            if wanted == there or self._stored.get(key, (None, None)) == (wanted, there) or (not wanted and not there):
                continue
            changes[key] = wanted
        return changes

    async def _refresh(self) -> None:
        try:
            newest = await self._host.read_pod(self.newest)
        except ApiError:
            await self._host.clock.sleep(_RETRY_S_FIRST)
            return
        if newest is None:
            self.close()
        else:
            self.newest = newest

    async def _rejected(self, error: ApiError) -> None:
        """Trying the same again would not help: the pod is gone, or the server refuses what we say."""
        self._idle.set()
        if error.code == 404:
            self.close()
            return
        meta = self.newest["metadata"]
        log.error("a pod's status was refused", extra={"object": f"{meta['namespace']}/{meta['name']}", "error": str(error)})


def _revision(pod: Tree) -> int:
    return int(pod["metadata"].get("resourceVersion") or 0)
