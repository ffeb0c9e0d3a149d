"""Composes the control plane that `up` runs: the built-in kinds and controllers, one kubelet (or simulated nodes), the proxy."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import attrs

from reconcile.clock import Clock, parse_timestamp, timestamp
from reconcile.errors import ApiError, BadRequestError, NotFoundError, Tree
from reconcile.kinds import Column, Kind, kind_of
from reconcile.registry import Operator
from reconcile.resources import bootstrap_objects, builtin_kinds, controllers
from reconcile.resources.apiextensions import custom_resources
from reconcile.resources.core import Binding, Namespace, Pod, Service
from reconcile.resources.core.binding import Bindings
from reconcile.resources.core.pod_connections import container_meant
from reconcile.resources.kubelet import Kubelet, KubeletSettings, endpoint, kubelet
from reconcile.resources.kubelet.errors import NoSuchLogError
from reconcile.resources.kubelet.logs import LogQuery
from reconcile.resources.kubelet.process import ProcessRuntime
from reconcile.resources.kubelet.simulated import simulated_nodes
from reconcile.resources.policy import Eviction
from reconcile.resources.policy.eviction import Evictions
from reconcile.resources.proxy import service_proxy
from reconcile.resources.scheduler import scheduler
from reconcile.resources.services import ApiPlace, api_service, first_address
from reconcile.resources.services.api_service import PORT
from reconcile.resources.stored.components import Components, component_kind
from reconcile.resources.volumes import local_volumes
from reconcile.resources.webhooks import EXEMPT, webhook_configurations
from reconcile.resources.wire import wire_tables
from reconcile.runtime.api import ApiServer
from reconcile.runtime.api.server import Dial
from reconcile.runtime.client import InProcessClient
from reconcile.runtime.client.webhook import WebhookCaller
from reconcile.runtime.cluster import ControlPlane, Front, Parts
from reconcile.runtime.sync import Folder

from .guarding import Guards

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


@attrs.frozen
class Assembly:
    """The parts of a control plane, and the kubelet among them (None with simulated nodes)."""

    parts: Parts
    kubelet: Kubelet | None

    async def stop(self, plane: ControlPlane, *, keep: bool) -> list[str]:
        """Stop the processes, or let go of them. Returns what to tell the person."""
        if self.kubelet is None:
            return ["stopped; the state is kept"]
        try:
            count = len((await plane.client.list(kind_of(Pod), fields="status.phase=Running")).items)
            pods = f"{count} pod{'' if count == 1 else 's'}"
        except ApiError:
            pods = "the pods"  # a store that failed is no reason to leave processes behind
        await self.kubelet.close(stop_pods=not keep)
        if keep:
            return [f"stopped; {pods} keep running, and `reconcile up` takes them over again"]
        return [f"stopped, {pods} with it; the state is kept, and `reconcile up` starts them again"]


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


def assemble(
    data_dir: Path, clock: Clock, service_cidr: str, pod_cidr: str, simulated: int, images: Mapping[str, Sequence[str]]
) -> Assembly:
    """Everything that a control plane of one machine consists of."""
    serving: list[ApiServer] = []  # filled by `connect`, before any operator starts
    definitions = custom_resources(
        lambda kind: serving[0].serve_declared(kind), lambda kind: serving[0].withdraw_declared(kind)
    )  # fmt: skip
    guards = Guards(clock)

    async def locate(namespace: str, name: str) -> str:
        return await _service_address(serving[0], namespace, name)

    caller = WebhookCaller(locate)
    webhooks = webhook_configurations(lambda *found: serving[0].configure_webhooks(*found), caller.close)
    # First of all, so that what clients declared is served again, and judged, before anybody asks for it.
    places: list[ApiPlace] = []  # filled by `connect`, too
    api_access = api_service(
        service_cidr, lambda: places[0] if places else None, lambda: serving[0].find("", "v1", "endpoints")
    )  # fmt: skip
    operators: list[Operator] = [
        definitions, webhooks, *guards.operators(), *controllers(service_cidr), scheduler(), api_access
    ]  # fmt: skip
    agent: Kubelet | None = None
    name = ""
    if simulated:
        operators.append(simulated_nodes(simulated))
    else:
        runtime = ProcessRuntime(data_dir / "run", clock)
        name = node_name(data_dir)
        operators.append(local_volumes(data_dir.resolve() / "volumes"))
        agent = kubelet(name, runtime, pod_cidr=pod_cidr, data_dir=data_dir / "kubelet", settings=KubeletSettings(images=images))
        operators += [agent.operator, service_proxy()]

    def connect(api: ApiServer, front: Front | None) -> None:
        serving.append(api)
        guards.connect(api, front)
        if front is not None:
            places.append(_api_place(front, first_address(service_cidr), served=not simulated))
        evictions = Evictions(InProcessClient(api), clock, Pod)
        api.serve_answers(kind_of(Binding), Bindings(evictions.client).respond)
        api.add_answers(kind_of(Pod), "eviction", kind_of(Eviction), guards.evictions(evictions.respond))
        api.ask_webhooks(caller, EXEMPT)
        api.serve_virtual(component_kind(), Components(lambda: _trouble(api)))
        if agent is not None:
            if front is not None:
                agent.reach_api(front.host, front.port)
            _connect_kubelet(api, agent, NodeMeter(name, clock), clock)
            api.add_dialer("node", _kubelets({name: agent.folder}))

    parts = Parts([*builtin_kinds(), Folder], Namespace, bootstrap_objects(), operators, connect, wire_tables)
    return Assembly(parts, agent)


def _trouble(api: ApiServer) -> str:
    from reconcile.runtime.observed import trouble  # belongs to HTTP, which is loaded later

    return trouble(api.store)


def _api_place(front: Front, address: str, *, served: bool) -> ApiPlace:
    """Where the API is, and at which port the proxy of this machine can lead there: not everybody may listen on 443."""
    host = front.host
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - recognised, not used
        host = "127.0.0.1"
    with contextlib.suppress(OSError):
        host = str(socket.getaddrinfo(host, None)[0][4][0])
    if served:
        try:
            socket.create_server((address, PORT)).close()
        except PermissionError:
            return ApiPlace(host, front.port, front.port)
        except OSError:
            pass  # what else is wrong, the proxy tells and tries again
    return ApiPlace(host, front.port)


def _kubelets(folders: Mapping[str, Path]) -> Dial:
    """Reaches kubelets by the name of their node: those of this machine, on a socket in a folder."""

    async def dial(node: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if node not in folders:
            raise OSError(f"node {node!r} is none of this control plane's: its kubelet cannot be reached")
        return await endpoint.connect(folders[node])

    return dial


async def _service_address(api: ApiServer, namespace: str, name: str) -> str:
    """Where a Service is reached. Raises OSError where it is not."""
    try:
        address = (await api.get(kind_of(Service), name, namespace)).tree["spec"].get("clusterIP")
    except NotFoundError as error:
        raise OSError(str(error)) from error
    if not address or address == "None":
        raise OSError(f'service "{namespace}/{name}" has no address of its own')
    return str(address)


def _connect_kubelet(api: ApiServer, agent: Kubelet, meter: NodeMeter, clock: Clock) -> None:
    """Serve pods/log and metrics.k8s.io from the kubelet."""
    api.add_reader(kind_of(Pod), "log", lambda tree, options: _read_log(agent, clock, tree, options))
    api.serve_virtual(POD_METRICS, PodMeter(agent, clock))
    api.serve_virtual(NODE_METRICS, meter)


async def _read_log(agent: Kubelet, clock: Clock, tree: Tree, options: Mapping[str, str]) -> AsyncIterator[bytes]:
    """GET pods/log, with kubectl's options."""
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

    def __init__(self, agent: Kubelet, clock: Clock) -> None:
        self._agent, self._clock = agent, clock

    async def get(self, name: str, namespace: str) -> Tree | None:
        """What one pod uses now, or None if it does not run."""
        return next((tree for tree in await self.list(namespace) if tree["metadata"]["name"] == name), None)

    async def list(self, namespace: str) -> list[Tree]:
        """What each pod uses now: CPU over a quarter of a second, memory at its end."""
        await self._agent.metrics()
        await self._clock.sleep(_SAMPLE_S)
        at = timestamp(self._clock.now())
        return [
            {
                "apiVersion": POD_METRICS.api_version, "kind": POD_METRICS.kind,
                "metadata": {
                    "name": usage.name, "namespace": usage.namespace, "creationTimestamp": at,
                    **({"labels": dict(usage.labels)} if usage.labels else {}),
                },
                "timestamp": at, "window": f"{usage.window_s:.3f}s",
                "containers": [
                    {"name": each.name, "usage": _usage(each.cpu_cores, each.memory_bytes)} for each in usage.containers
                ],
            }
            for usage in await self._agent.metrics()
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
