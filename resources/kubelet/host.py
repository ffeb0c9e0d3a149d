"""What all pod workers of a node share: the runtime, the clock, the API as they need it, and where things lie on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from reconcile.causality import because
from reconcile.client import MERGE_PATCH, DeleteOptions, Patch
from reconcile.clock import Clock
from reconcile.errors import ConflictError, NotFoundError, Tree
from reconcile.handling import Cluster, EventRecorder
from reconcile.kinds import Resource, kind_of
from reconcile.resources.core.config import ConfigMap, Secret, ServiceAccount
from reconcile.resources.core.pod import Pod
from reconcile.resources.core.service import Service
from reconcile.resources.volumes.claims import volume_path
from reconcile.views import tree_of

from .addresses import PodAddresses
from .environment import SourceKind
from .runtime import Runtime
from .settings import KubeletSettings

_KINDS: dict[SourceKind, type[Resource]] = {"ConfigMap": ConfigMap, "Secret": Secret}
_BINDING_S = 2.0


@attrs.define(eq=False)
class Host:
    """One node's means. `cluster`, `clock` and `events` are there once its operator has started."""

    node_name: str
    runtime: Runtime
    settings: KubeletSettings
    addresses: PodAddresses
    data_dir: Path
    field_manager: str
    allocatable: dict[str, str] = attrs.field(factory=dict)
    api_address: tuple[str, int] | None = None
    """Where containers reach the API."""
    _cluster: Cluster | None = None
    _clock: Clock | None = None
    _events: EventRecorder | None = None

    def connect(self, cluster: Cluster, clock: Clock, events: EventRecorder) -> None:
        """Take what the engine gives."""
        self._cluster, self._clock, self._events = cluster, clock, events

    @property
    def cluster(self) -> Cluster:
        """The API."""
        assert self._cluster is not None, "the kubelet's operator has not been started"
        return self._cluster

    @property
    def clock(self) -> Clock:
        """The time."""
        assert self._clock is not None, "the kubelet's operator has not been started"
        return self._clock

    @property
    def events(self) -> EventRecorder:
        """Where Events go."""
        assert self._events is not None, "the kubelet's operator has not been started"
        return self._events

    def pod_dir(self, uid: str) -> Path:
        """Where a pod's volumes and its working directory lie."""
        return self.data_dir / "pods" / uid

    def log_dir(self, pod: Tree) -> Path:
        """Where a pod's logs lie, named as the reference kubelet names it."""
        meta = pod["metadata"]
        return self.data_dir / "logs" / f"{meta['namespace']}_{meta['name']}_{meta['uid']}"

    async def source(self, kind: SourceKind, namespace: str, name: str) -> Tree | None:
        """A ConfigMap or Secret; asked of the server where the cache has none, because the cache may be a moment behind."""
        found = await self.cluster.find(_KINDS[kind], name, namespace)
        if found is None:
            try:
                return await self.cluster.client.get(kind_of(_KINDS[kind]), name, namespace)
            except NotFoundError:
                return None
        return tree_of(found)

    async def claimed(self, namespace: str, name: str) -> tuple[Path | None, str]:
        """Where the data of a claim lies on this machine; or None, and what is in the way.

        A claim that was made with its Pod is bound a moment later, which is waited for.
        """
        ends_s = self.clock.monotonic() + _BINDING_S
        while True:
            path, why = await volume_path(self.cluster.client, namespace, name)
            if path is not None or self.clock.monotonic() >= ends_s:
                return path, why
            await self.clock.sleep(_BINDING_S / 40)

    async def token(self, pod: Tree, audience: str, lasts_s: int) -> tuple[str, str]:
        """A token of the pod's service account that lives with the pod, and when it expires.

        Raises:
            ApiError: there is no such account, or none for this pod.
        """
        meta = pod["metadata"]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        spec = {"expirationSeconds": lasts_s, "boundObjectRef": bound, **({"audiences": [audience]} if audience else {})}
        account = pod["spec"].get("serviceAccountName") or "default"
        answer = await self.cluster.client.act(
            kind_of(ServiceAccount), account, "token", {"spec": spec}, meta["namespace"]
        )  # fmt: skip
        return answer["status"]["token"], answer["status"]["expirationTimestamp"]

    async def services(self, namespace: str) -> Sequence[Tree]:
        """The Services of a namespace, oldest first, so that of two whose names clash the newer one wins."""
        found = [tree_of(service) for service in await self.cluster.list(Service, namespace)]
        return sorted(found, key=lambda tree: (tree["metadata"].get("creationTimestamp", ""), tree["metadata"]["name"]))

    async def patch_status(self, pod: Tree, status: Tree, revision: str) -> Tree:
        """Write part of a pod's status on condition that the pod is still at `revision`; returns the new pod.

        Raises:
            ConflictError: somebody else wrote the pod meanwhile.
            NotFoundError: it is gone.
        """
        meta = pod["metadata"]
        body: Any = {"metadata": {"uid": meta["uid"], "resourceVersion": revision}, "status": status}  # Any: a tree
        with because(pod, by="run"):
            return await self.cluster.client.patch(
                kind_of(Pod), meta["name"], Patch(MERGE_PATCH, body), meta["namespace"], subresource="status",
                field_manager=self.field_manager,
            )  # fmt: skip  # one field a word reads better packed

    async def read_pod(self, pod: Tree) -> Tree | None:
        """The pod from the server itself; None where it, or the one of this uid, is gone."""
        meta = pod["metadata"]
        try:
            tree = await self.cluster.client.get(kind_of(Pod), meta["name"], meta["namespace"])
        except NotFoundError:
            return None
        return tree if tree["metadata"]["uid"] == meta["uid"] else None

    async def delete_pod(self, pod: Tree) -> None:
        """Let the API forget a pod whose containers have ended; one that is gone, or another of that name, is fine."""
        meta = pod["metadata"]
        try:
            with because(pod, by="run"):
                await self.cluster.client.delete(
                    kind_of(Pod), meta["name"], meta["namespace"], DeleteOptions(grace_s=0, uid=meta["uid"])
                )
        except (NotFoundError, ConflictError):
            return
