"""The pods of a node for those who ask the kubelet about one: by name, with the refusals of the reference kubelet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconcile.errors import Tree

from .container import Container
from .endpoint.errors import EndpointError
from .host import Host
from .metering import Meter
from .pod_state import PodState
from .runtime import Talk
from .worker import PodWorker


class PodAccess:
    """What an endpoint may do with the pods of these workers."""

    def __init__(self, host: Host, workers: Mapping[str, PodWorker]) -> None:
        self._host, self._workers = host, workers
        self._meter = Meter(host, workers)

    def require(self, namespace: str, name: str, container: str = "") -> None:
        """Refuse unless there is such a pod, and it runs such a container."""
        state = self._state(namespace, name)
        if container:
            self._running(state, container)

    async def run(self, namespace: str, name: str, container: str, argv: Sequence[str], *, stdin: bool, tty: bool) -> Talk:
        """Start a command in a container."""
        worker = self._worker(namespace, name)
        argv = await worker.rewritten(self._running(worker.state, container), argv)
        return await self._host.runtime.run(worker.state.uid, container, argv, stdin=stdin, tty=tty)

    async def attach(self, namespace: str, name: str, container: str, *, stdin: bool, stdout: bool, stderr: bool) -> Talk:
        """Attach to a container."""
        state = self._state(namespace, name)
        tty = bool(self._running(state, container).spec.get("tty"))
        return await self._host.runtime.attach(state.uid, container, stdin=stdin, stdout=stdout, stderr=stderr, tty=tty)

    def listed(self) -> list[Tree]:
        """Every pod of the node, as it was last seen."""
        return [worker.state.tree for worker in self._workers.values()]

    async def summary(self) -> Tree:
        """What the node and its pods use."""
        return await self._meter.summary()

    def address(self, namespace: str, name: str) -> str:
        """The pod's address."""
        state = self._state(namespace, name)
        if not state.address:
            raise EndpointError(500, f"pod {name} has no address yet")
        return state.address

    def _state(self, namespace: str, name: str) -> PodState:
        return self._worker(namespace, name).state

    def _worker(self, namespace: str, name: str) -> PodWorker:
        for worker in self._workers.values():
            meta = worker.state.tree["metadata"]
            if meta["name"] == name and meta["namespace"] == namespace:
                return worker
        raise EndpointError(404, "pod does not exist")

    def _running(self, state: PodState, name: str) -> Container:
        container = state.containers.get(name)
        if container is None or not container.running:
            raise EndpointError(500, f'container not found ("{name}")')
        return container
