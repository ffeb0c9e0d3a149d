"""The node that this machine is: its kubelet, and what the API serves of it (logs, figures, streams).

The kubelet is loaded and started after the API answers; who asks for a log before that waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reconcile.clock import Clock, parse_timestamp, timestamp
from reconcile.errors import BadRequestError, Tree
from reconcile.kinds import Column, Kind, kind_of
from reconcile.registry import Operator
from reconcile.resources.core import Pod
from reconcile.resources.core.pod_connections import container_meant
from reconcile.runtime.api import ApiServer
from reconcile.runtime.cluster import Front

if TYPE_CHECKING:
    from reconcile.resources.kubelet import Kubelet

_SAMPLE_S = 0.25
_FIRST_PIECE_S = 0.2
_STREAMS = {"Stdout": "stdout", "Stderr": "stderr"}
POD_METRICS = Kind(
    "metrics.k8s.io", "v1beta1", "PodMetrics", "pods", singular="pod", builtin=True,
    columns=(
        Column("Name", ".metadata.name"), Column("CPU", ".containers[0].usage.cpu"),
        Column("Memory", ".containers[0].usage.memory"),
    ),
)  # fmt: skip
NODE_METRICS = Kind(
    "metrics.k8s.io", "v1beta1", "NodeMetrics", "nodes", namespaced=False, singular="node", builtin=True,
    columns=(Column("Name", ".metadata.name"), Column("CPU", ".usage.cpu"), Column("Memory", ".usage.memory")),
)  # fmt: skip


class LocalNode:
    """This machine as a node. `operators` makes its kubelet, `connect` lets the API ask it."""

    def __init__(self, data_dir: Path, clock: Clock, pod_cidr: str, images: Mapping[str, Sequence[str]]) -> None:
        self.name = node_name(data_dir)
        self._data_dir, self._clock, self._pod_cidr, self._images = data_dir, clock, pod_cidr, images
        self._front: Front | None = None
        self._kubelet: Kubelet | None = None
        self._made = asyncio.Event()

    def operators(self, *, volumes: bool = True) -> list[Operator]:
        """The kubelet, the proxy of Services, and what makes volumes; it binds them, too, unless somebody else does.

        Loads them, which takes a tenth of a second.
        """
        from reconcile.resources.kubelet import KubeletSettings, kubelet
        from reconcile.resources.kubelet.process import ProcessRuntime
        from reconcile.resources.proxy import service_proxy
        from reconcile.resources.volumes import local_provisioner, local_volumes

        runtime = ProcessRuntime(self._data_dir / "run", self._clock)
        made = self._kubelet = kubelet(
            self.name, runtime, pod_cidr=self._pod_cidr, data_dir=self._folder, settings=KubeletSettings(images=self._images)
        )
        if self._front is not None:
            made.reach_api(self._front.host, self._front.port)
        self._made.set()
        makes = local_volumes if volumes else local_provisioner
        return [makes(self._data_dir.resolve() / "volumes"), made.operator, service_proxy()]

    def connect(self, api: ApiServer, front: Front | None) -> None:
        """Serve pods/log and metrics.k8s.io from the kubelet, and let it be dialled."""
        self._front = front
        api.add_reader(kind_of(Pod), "log", self._log)
        api.serve_virtual(POD_METRICS, PodMeter(self, self._clock))
        api.serve_virtual(NODE_METRICS, NodeMeter(self.name, self._clock))
        api.add_dialer("node", self._dial)

    async def kubelet(self) -> Kubelet:
        """The kubelet, as soon as there is one."""
        await self._made.wait()
        assert self._kubelet is not None, "made, so it is there"
        return self._kubelet

    async def close(self, *, stop_pods: bool) -> None:
        """Stop the kubelet, if it was ever made: and the processes with it, or let go of them."""
        if self._kubelet is not None:
            await self._kubelet.close(stop_pods=stop_pods)

    @property
    def _folder(self) -> Path:
        return self._data_dir / "kubelet"

    async def _log(self, tree: Tree, options: Mapping[str, str]) -> AsyncIterator[bytes]:
        return await read_log(await self.kubelet(), self._clock, tree, options)

    async def _dial(self, node: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Reach a kubelet by the name of its node: this machine's, on a socket in a folder."""
        if node != self.name:
            raise OSError(f"node {node!r} is none of this control plane's: its kubelet cannot be reached")
        from reconcile.resources.kubelet import endpoint

        return await endpoint.connect(self._folder)


def node_name(data_dir: Path) -> str:
    """This machine's name as a Node may have it, as it was when this state began.

    A laptop in another network, a container that was started anew, and a folder that moved have another host name; under a
    new name the node would find none of its Pods, and they no node.
    """
    note = data_dir / "node"
    with contextlib.suppress(OSError):
        before = note.read_text().strip()
        if before:
            return before
    name = re.sub(r"[^a-z0-9]+", "-", socket.gethostname().lower())[:63].strip("-") or "local"
    note.write_text(f"{name}\n")
    return name


async def read_log(agent: Kubelet, clock: Clock, tree: Tree, options: Mapping[str, str]) -> AsyncIterator[bytes]:
    """GET pods/log, with kubectl's options."""
    from reconcile.resources.kubelet.errors import NoSuchLogError
    from reconcile.resources.kubelet.logs import LogQuery

    metadata = tree["metadata"]
    container = container_meant(tree, options.get("container", ""))
    if not tree["spec"].get("nodeName"):
        return _nothing()
    since = options.get("sinceTime", "")
    since_s = _number(options, "sinceSeconds")
    query = LogQuery(
        tail_lines=_number(options, "tailLines"), limit_bytes=_number(options, "limitBytes"),
        since=parse_timestamp(since) if since else None if since_s is None else clock.now() - since_s,
        timestamps=_true(options, "timestamps"), stream=_STREAMS.get(options.get("stream", ""), ""),
    )  # fmt: skip
    pieces = agent.logs(
        metadata["namespace"], metadata["name"], container, previous=_true(options, "previous"),
        follow=_true(options, "follow"), query=query,
    )  # fmt: skip
    # Whether there is such a log is known at once; a log that is followed may stay silent for long.
    first = asyncio.ensure_future(anext(pieces, b""))
    await asyncio.wait({first}, timeout=_FIRST_PIECE_S)
    if first.done() and isinstance(error := first.exception(), NoSuchLogError):
        raise BadRequestError(error.why) from error
    return _from(first, pieces)


async def _nothing() -> AsyncIterator[bytes]:
    """The log of a Pod that runs nowhere yet."""
    return
    yield b""  # which makes it a generator


async def _from(first: asyncio.Future[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        yield await first
        async for piece in rest:
            yield piece
    finally:
        first.cancel()


def _true(options: Mapping[str, str], name: str) -> bool:
    return options.get(name, "") in ("true", "1")


def _number(options: Mapping[str, str], name: str) -> int | None:
    text = options.get(name, "")
    if not text:
        return None
    if not text.isdecimal():
        raise BadRequestError(f"{name} is {text!r}; give a whole number, 0 or more")
    return int(text)


class PodMeter:
    """PodMetrics, measured when somebody asks."""

    def __init__(self, node: LocalNode, clock: Clock) -> None:
        self._node, self._clock = node, clock

    async def get(self, name: str, namespace: str) -> Tree | None:
        """What one pod uses now, or None if it does not run."""
        return next((tree for tree in await self.list(namespace) if tree["metadata"]["name"] == name), None)

    async def list(self, namespace: str) -> list[Tree]:
        """What each pod uses now: CPU over a quarter of a second, memory at its end."""
        agent = await self._node.kubelet()
        await agent.metrics()
        await self._clock.sleep(_SAMPLE_S)
        at = timestamp(self._clock.now())
        return [
            {
                "apiVersion": POD_METRICS.api_version, "kind": POD_METRICS.kind,
                "metadata": {"name": usage.name, "namespace": usage.namespace, "creationTimestamp": at},
                "timestamp": at, "window": f"{usage.window_s:.3f}s",
                "containers": [
                    {"name": each.name, "usage": _usage(each.cpu_cores, each.memory_bytes)} for each in usage.containers
                ],
            }
            for usage in await agent.metrics()
            if not namespace or usage.namespace == namespace
        ]  # fmt: skip


class NodeMeter:
    """NodeMetrics of this machine, measured when somebody asks."""

    def __init__(self, node: str, clock: Clock) -> None:
        self._node, self._clock = node, clock

    async def get(self, name: str, namespace: str) -> Tree | None:
        """What this machine uses, if it is the one meant."""
        return next((tree for tree in await self.list(namespace) if tree["metadata"]["name"] == name), None)

    async def list(self, namespace: str) -> list[Tree]:
        """What this machine uses, all its processes together."""
        import psutil  # 30 ms that only this path pays

        psutil.cpu_percent()
        await self._clock.sleep(_SAMPLE_S)
        cores = psutil.cpu_percent() / 100 * (psutil.cpu_count() or 1)
        at = timestamp(self._clock.now())
        tree: Tree = {
            "apiVersion": NODE_METRICS.api_version, "kind": NODE_METRICS.kind,
            "metadata": {"name": self._node, "creationTimestamp": at}, "timestamp": at, "window": f"{_SAMPLE_S}s",
            "usage": _usage(cores, psutil.virtual_memory().used),
        }  # fmt: skip
        return [tree]


def _usage(cores: float, memory_bytes: int) -> Tree:
    return {"cpu": f"{round(cores * 1e9)}n", "memory": f"{memory_bytes // 1024}Ki"}
