"""The kubelet of one node: hands each Pod bound to it to a worker, and answers for logs and figures.

Everything it needs to know survives it: the API has the Pods, the runtime has what runs. When it starts it takes over what
the runtime still has; a sandbox without a Pod is removed, but only after the API has given the complete list of this node's
Pods: an empty cache is no proof.

Source: pkg/kubelet/kubelet.go
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import attrs

from reconcile.clock import Clock
from reconcile.errors import ApiError, Tree
from reconcile.handling import Cluster, EventRecorder
from reconcile.kinds import kind_of
from reconcile.registry import Operator
from reconcile.resources.core.config import ConfigMap, Secret
from reconcile.resources.core.node import Node
from reconcile.resources.core.pod import Pod
from reconcile.views import tree_of

from .access import PodAccess
from .addresses import PodAddresses
from .admission import NodeAdmission, Rejection
from .endpoint import Endpoint
from .errors import NoSuchLogError, RuntimeFailure
from .host import Host
from .logs import LogQuery, read
from .logs import follow as follow_log
from .metering import Meter, PodUsage
from .node import NodeHeart
from .pod_state import ADDRESS_LABEL
from .runtime import ContainerStatus, Runtime, SandboxStatus
from .settings import KubeletSettings
from .volumes import sources_of
from .worker import PodWorker

log = logging.getLogger(__name__)

_RETRY_S = 1.0
_UNCLAIMED_MAX = 10_000
_WHOLE_LOG = LogQuery()
_SourceKey = tuple[str, str, str]


class Kubelet:
    """One node's kubelet. `operator` is what the engine runs; the rest is for those who compose a cluster."""

    def __init__(
        self, node_name: str, runtime: Runtime, *, pod_cidr: str, data_dir: Path, settings: KubeletSettings | None = None
    ) -> None:
        self.operator = Operator(f"{node_name}.kubelet.reconcile.dev")
        self._settings = settings or KubeletSettings()
        self._pod_cidr = pod_cidr
        self._host = Host(
            node_name, runtime, self._settings, PodAddresses(pod_cidr), data_dir.resolve(), field_manager=self.operator.domain
        )
        self._workers: dict[str, PodWorker] = {}
        self._endpoint = Endpoint(PodAccess(self._host, self._workers))
        self._admission = NodeAdmission()
        self._adopted: dict[str, SandboxStatus] = {}
        self._users: dict[_SourceKey, set[str]] = {}
        self._uses: dict[str, set[_SourceKey]] = {}
        self._unclaimed: dict[str, ContainerStatus] = {}
        self._meter = Meter(self._host, self._workers)
        self._closing = False
        self._declare()

    def reach_api(self, host: str, port: int) -> None:
        """Tell containers that start from now on that the API answers there."""
        self._host.api_address = (host, port)

    def _declare(self) -> None:
        on, node = self.operator.on, self._host.node_name

        @on.startup()
        async def start_kubelet(cluster: Cluster, clock: Clock, events: EventRecorder) -> None:
            await self._start(cluster, clock, events)

        @on.event(Pod, inline=True, fields=f"spec.nodeName={node}")
        def pod_seen(pod: Pod, event: str) -> None:
            self._pod_seen(pod, event)

        @on.event(Node, inline=True, fields=f"metadata.name={node}")
        def node_seen(node: Node, event: str) -> None:
            if event != "DELETED":
                self._admission.describe(tree_of(node))

        @on.event(ConfigMap, inline=True)
        def config_map_seen(config_map: ConfigMap) -> None:
            self._source_seen("ConfigMap", config_map.namespace, config_map.name)

        @on.event(Secret, inline=True)
        def secret_seen(secret: Secret) -> None:
            self._source_seen("Secret", secret.namespace, secret.name)

    async def _start(self, cluster: Cluster, clock: Clock, events: EventRecorder) -> None:
        host = self._host
        host.connect(cluster, clock, events)
        # Volumes hold secrets, and logs what programs say: the folder above may be one that everybody may read.
        host.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        await host.runtime.start()
        await self._endpoint.start(host.data_dir)
        host.runtime.subscribe(self._exited)
        self._adopted = {sandbox.uid: sandbox for sandbox in await host.runtime.list()}
        for sandbox in self._adopted.values():
            host.addresses.reserve(sandbox.uid, sandbox.labels.get(ADDRESS_LABEL, ""))
        heart = NodeHeart(host.node_name, self._settings, self._pod_cidr, cluster.client, clock, self.operator.domain)
        host.allocatable = heart.resources
        self._admission.describe(heart.first())
        cluster.spawn(heart.run(), f"heartbeat of {host.node_name}")
        cluster.spawn(self._sweep(frozenset(self._adopted)), f"sweep of {host.node_name}")

    # What comes in.

    def _pod_seen(self, pod: Pod, event: str) -> None:
        uid = pod.uid
        worker = self._workers.get(uid)
        if event == "DELETED":
            if worker is not None:
                worker.vanish()
                del self._workers[uid]
            self._admission.release(uid)
            self._note_sources(uid, set())
            return
        keys: set[_SourceKey] = {(kind, pod.namespace, name) for kind, name in sources_of(tree_of(pod)["spec"])}
        self._note_sources(uid, keys)
        if worker is not None:
            self._admission.count(tree_of(pod))
            worker.update(pod)
        elif not self._closing:
            sandbox = self._adopted.pop(uid, None)
            if sandbox is not None:
                self._admission.count(tree_of(pod))  # it runs: there is nothing to ask any more
                self._employ(pod, sandbox)
            elif self._admission.admit(tree_of(pod)) is None:
                self._employ(pod, None)
            else:
                self._employ(pod, None, doubted=True)

    async def _judge_again(self, pod: Tree) -> Rejection | None:
        """Whether the server says so, too; where it cannot be asked, what is known has to do."""
        try:
            return await self._admission.judge_again(pod, self._host.cluster.client)
        except ApiError as error:
            log.warning("a pod is refused by what is known: the server cannot be asked", extra={"error": str(error)})
            return self._admission.admit(pod)

    def _employ(self, pod: Pod, sandbox: SandboxStatus | None, *, doubted: bool = False) -> None:
        if sandbox is not None and self._unclaimed:
            newest = tuple(self._unclaimed.pop(container.id, container) for container in sandbox.containers)
            sandbox = attrs.evolve(sandbox, containers=newest)
        worker = self._workers[pod.uid] = PodWorker(self._host, pod, sandbox, self._judge_again if doubted else None)
        self._host.cluster.spawn(self._supervise(worker), f"worker of {pod.namespace}/{pod.name}")

    async def _supervise(self, worker: PodWorker) -> None:
        """Run a worker; one that failed by a mistake of ours is replaced by a new one, which takes over what runs."""
        uid = worker.state.uid
        try:
            await worker.run()
            return
        except Exception as error:
            log.exception("a pod worker failed", extra={"pod": worker.state.name})
            self._host.events.warning("FailedSync", f"the pod's worker failed and is restarted: {error}", about=worker.state.pod)
        while not self._closing:
            await self._host.clock.sleep(_RETRY_S)
            if uid not in self._workers:
                await self._remove_orphan(uid)  # its Pod went meanwhile, and there was nobody to end what it ran
                return
            try:
                found = {sandbox.uid: sandbox for sandbox in await self._host.runtime.list()}
            except (RuntimeFailure, OSError):
                log.exception("the runtime cannot say what runs", extra={"pod": worker.state.name})
                continue
            if self._workers.get(uid) is worker and not self._closing:
                self._employ(worker.state.pod, found.get(uid))
                return

    def _exited(self, status: ContainerStatus) -> None:
        worker = self._workers.get(status.pod_uid)
        if worker is not None and not worker.over:
            worker.exited(status)
            return
        # Its worker comes once its Pod was seen (or comes back): the sandbox that it will be given may be older than this.
        self._unclaimed[status.id] = status
        if len(self._unclaimed) > _UNCLAIMED_MAX:
            del self._unclaimed[next(iter(self._unclaimed))]

    def _note_sources(self, uid: str, keys: set[_SourceKey]) -> None:
        old = self._uses.get(uid, set())
        for key in old - keys:
            self._users[key].discard(uid)
            if not self._users[key]:
                del self._users[key]
        for key in keys - old:
            self._users.setdefault(key, set()).add(uid)
        if keys:
            self._uses[uid] = keys
        else:
            self._uses.pop(uid, None)

    def _source_seen(self, kind: str, namespace: str, name: str) -> None:
        for uid in self._users.get((kind, namespace, name), ()):
            worker = self._workers.get(uid)
            if worker is not None:
                worker.sources_changed()

    # What it cleans up.

    async def _sweep(self, before: frozenset[str]) -> None:
        """Remove the sandboxes and folders from before whose Pods are gone."""
        while True:
            try:
                page = await self._host.cluster.client.list(kind_of(Pod), fields=f"spec.nodeName={self._host.node_name}")
                break
            except ApiError:
                await self._host.clock.sleep(_RETRY_S)
        alive = {tree["metadata"]["uid"] for tree in page.items}
        for uid in before - alive:
            await self._remove_orphan(uid)
        folders = self._host.data_dir / "pods"
        for folder in folders.iterdir() if folders.is_dir() else ():
            if folder.name not in alive and folder.name not in self._workers:
                shutil.rmtree(folder, ignore_errors=True)
        logs = self._host.data_dir / "logs"
        for folder in logs.iterdir() if logs.is_dir() else ():
            uid = folder.name.rsplit("_", 1)[-1]
            if uid not in alive and uid not in self._workers:
                shutil.rmtree(folder, ignore_errors=True)

    async def _remove_orphan(self, uid: str) -> None:
        runtime = self._host.runtime
        sandbox = self._adopted.pop(uid, None)
        try:
            if sandbox is None:
                sandbox = next((found for found in await runtime.list() if found.uid == uid), None)
            running = [container for container in sandbox.containers if container.running] if sandbox else []
            await asyncio.gather(
                *(runtime.stop_container(uid, c.id, self._settings.vanished_grace_s) for c in running), return_exceptions=True
            )
            await runtime.remove_sandbox(uid)
        except (RuntimeFailure, OSError) as error:
            log.warning("an orphan could not be removed", extra={"pod": uid, "error": str(error)})
        self._host.addresses.release(uid)

    async def close(self, *, stop_pods: bool) -> None:
        """Let go of the pods; call it before the engine stops the operator.

        With `stop_pods` they are ended gracefully (each within its own grace) and their statuses say so; the Pods stay in
        the API and are started again by the next kubelet. Without it, everything runs on.
        """
        self._closing = True
        await self._endpoint.close()
        # Also where nothing is stopped: a probe that finds the runtime gone must not be taken for a sick container.
        ends = [worker.close() if stop_pods else worker.leave() for worker in self._workers.values()]
        await asyncio.gather(*ends)
        await self._host.runtime.close(stop=stop_pods)

    # What it answers.

    @property
    def folder(self) -> Path:
        """Where its endpoint listens (`reconcile.resources.kubelet.endpoint`)."""
        return self._host.data_dir

    async def logs(
        self, namespace: str, name: str, container: str = "", *, previous: bool = False, follow: bool = False,
        query: LogQuery = _WHOLE_LOG,
    ) -> AsyncIterator[bytes]:  # fmt: skip
        """What a container wrote; with `follow` also what it will write, until it ends.

        Raises:
            NoSuchLogError: there is no such pod or container here, or it has not run (so often) yet.
        """
        worker = self._worker_named(namespace, name)
        found = worker.state.containers.get(container or next(iter(c.name for c in worker.state.by_role("main"))))
        if found is None:
            raise NoSuchLogError(f"{namespace}/{name}", f"container {container!r} is not one of its containers")
        attempt = found.attempt - 1 if previous else found.attempt
        if attempt < 0:
            why = f'container "{found.name}" in pod "{name}" is waiting to start: {found.waiting[0] or "ContainerCreating"}'
            if previous:
                why = f'previous terminated container "{found.name}" in pod "{name}" not found'
            raise NoSuchLogError(f"{namespace}/{name}", why)
        path = str(self._host.log_dir(worker.state.tree) / found.name / f"{attempt}.log")
        if not follow or previous:
            yield await asyncio.to_thread(read, path, query)
            return

        def ended() -> bool:
            return found.attempt != attempt or not (found.running or found.starting)

        async for piece in follow_log(path, query, self._host.clock, ended):
            yield piece

    async def metrics(self) -> list[PodUsage]:
        """What each running pod uses; the CPU rate is since the previous call."""
        return await self._meter.usages()

    def _worker_named(self, namespace: str, name: str) -> PodWorker:
        for worker in self._workers.values():
            meta = worker.state.tree["metadata"]
            if meta["name"] == name and meta["namespace"] == namespace:
                return worker
        raise NoSuchLogError(f"{namespace}/{name}", f"node {self._host.node_name} runs no such pod")


def kubelet(
    node_name: str, runtime: Runtime, *, pod_cidr: str, data_dir: Path, settings: KubeletSettings | None = None
) -> Kubelet:
    """The kubelet of node `node_name`: start its `.operator` on an engine, and `.close` it before the engine stops.

    `pod_cidr` is the range of its pods' addresses (loopback), `data_dir` a folder of its own for volumes and logs.
    """
    return Kubelet(node_name, runtime, pod_cidr=pod_cidr, data_dir=data_dir, settings=settings)
