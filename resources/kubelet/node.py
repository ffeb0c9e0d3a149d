"""The node: registers itself, says what it has and that it lives.

A Lease is renewed every 10 s and is the sign of life; the Node's status is written only when it changed or is five minutes
old, because it is large and everybody watches it.

Source: pkg/kubelet/kubelet_node_status.go, k8s.io/component-helpers/apimachinery/lease
"""

from __future__ import annotations

import logging
import os
import platform

import psutil

from reconcile.client import MERGE_PATCH, Client, Patch
from reconcile.clock import Clock, timestamp, timestamp_micro
from reconcile.errors import AlreadyExistsError, ApiError, NotFoundError, Tree
from reconcile.kinds import kind_of
from reconcile.resources.coordination import Lease
from reconcile.resources.core.namespace import Namespace
from reconcile.resources.core.node import Node

from .settings import KubeletSettings

log = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
KUBELET_VERSION = "v1.36.0"
_RETRY_S_FIRST, _RETRY_S_MAX = 0.05, 5.0
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


def capacity(pods_max: int) -> dict[str, str]:
    """What this machine has, as a Node tells it."""
    return {
        "cpu": str(os.cpu_count() or 1), "memory": f"{psutil.virtual_memory().total // 1024}Ki",
        "ephemeral-storage": f"{psutil.disk_usage('/').total // 1024}Ki", "pods": str(pods_max),
    }  # fmt: skip  # pairs read better packed


def node_tree(name: str, settings: KubeletSettings, pod_cidr: str) -> Tree:
    """The Node as it registers itself: labels, range of pod addresses, taints."""
    labels = {
        "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": _architecture(), **settings.labels,
    }  # fmt: skip  # pairs read better packed
    spec: Tree = {"podCIDR": pod_cidr, "podCIDRs": [pod_cidr]}
    if settings.taints:
        spec["taints"] = [dict(taint) for taint in settings.taints]
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": spec}


def node_status(name: str, settings: KubeletSettings, resources: dict[str, str], now: str, old: Tree) -> Tree:
    """The Node's status; a condition that stays keeps its lastTransitionTime."""
    before = {condition["type"]: condition for condition in old.get("conditions") or ()}
    conditions = []
    for type_, status, reason, message in _CONDITIONS:
        was = before.pop(type_, None)
        since = was.get("lastTransitionTime", now) if was and was.get("status") == status else now
        conditions.append(
            {
                "type": type_, "status": status, "reason": reason, "message": message, "lastHeartbeatTime": now,
                "lastTransitionTime": since,
            }
        )  # fmt: skip  # pairs read better packed
    return {
        "capacity": resources, "allocatable": resources, "conditions": [*before.values(), *conditions],
        "addresses": [{"type": "InternalIP", "address": settings.host_ip}, {"type": "Hostname", "address": name}],
        "nodeInfo": {
            "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": platform.release(),
            "osImage": platform.platform(terse=True), "containerRuntimeVersion": "process://0.1",
            "kubeletVersion": KUBELET_VERSION, "kubeProxyVersion": "", "operatingSystem": "linux",
            "architecture": _architecture(),
        },
    }  # fmt: skip  # pairs read better packed


class NodeHeart:
    """Keeps one Node registered and its Lease renewed."""

    def __init__(self, name: str, settings: KubeletSettings, pod_cidr: str, client: Client, clock: Clock, manager: str) -> None:
        self._name, self._settings, self._pod_cidr = name, settings, pod_cidr
        self._client, self._clock, self._manager = client, clock, manager
        self.resources = capacity(settings.pods_max)
        self._told_at = float("-inf")

    def first(self) -> Tree:
        """The Node as it is registered where there is none."""
        node = node_tree(self._name, self._settings, self._pod_cidr)
        return {**node, "status": node_status(self._name, self._settings, self.resources, timestamp(self._clock.now()), {})}

    async def run(self) -> None:
        """Register, then beat for ever; an API that cannot be reached is tried again soon."""
        retry_s = _RETRY_S_FIRST
        while True:
            try:
                if self._clock.monotonic() - self._told_at >= self._settings.node_status_s:
                    await self._tell()
                    self._told_at = self._clock.monotonic()
                await self._renew()
            except NotFoundError:
                self._told_at = float("-inf")  # somebody deleted the Node or the Lease: register again
                await self._clock.sleep(retry_s)
            except ApiError as error:
                log.warning("the node's heartbeat failed", extra={"node": self._name, "error": str(error)})
                await self._clock.sleep(retry_s)
                retry_s = min(_RETRY_S_MAX, retry_s * 2)
            else:
                retry_s = _RETRY_S_FIRST
                await self._clock.sleep(self._settings.heartbeat_s)

    async def _tell(self) -> None:
        """Write the Node: what it is on the first time, its status always."""
        kind, wanted = kind_of(Node), node_tree(self._name, self._settings, self._pod_cidr)
        now = timestamp(self._clock.now())
        try:
            node = await self._client.get(kind, self._name)
            labels = wanted["metadata"]["labels"]
            shown = node["metadata"].get("labels") or {}
            if any(shown.get(key) != value for key, value in labels.items()):
                await self._client.patch(
                    kind, self._name, Patch(MERGE_PATCH, {"metadata": {"labels": labels}}), field_manager=self._manager
                )
        except NotFoundError:
            # At once with its status: a scheduler that saw a node without resources would warn that no pod fits.
            await self._client.create(kind, self.first(), field_manager=self._manager)
            return
        status = node_status(self._name, self._settings, self.resources, now, node.get("status") or {})
        await self._client.patch(
            kind, self._name, Patch(MERGE_PATCH, {"status": status}), subresource="status", field_manager=self._manager
        )

    async def _renew(self) -> None:
        kind, now = kind_of(Lease), timestamp_micro(self._clock.now())
        spec = {"holderIdentity": self._name, "leaseDurationSeconds": self._settings.lease_s, "renewTime": now}
        try:
            await self._client.patch(
                kind, self._name, Patch(MERGE_PATCH, {"spec": spec}), LEASE_NAMESPACE, field_manager=self._manager
            )
        except NotFoundError:
            # With its Node as its owner, so that the collector takes it when the Node is deleted; without one, there is none.
            node = await self._client.get(kind_of(Node), self._name)
            owner = {"apiVersion": "v1", "kind": "Node", "name": self._name, "uid": node["metadata"]["uid"]}
            meta = {"name": self._name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]}
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
            try:
                await self._client.create(kind, lease, LEASE_NAMESPACE, field_manager=self._manager)
            except NotFoundError:
                await self._make_namespace()
                await self._client.create(kind, lease, LEASE_NAMESPACE, field_manager=self._manager)

    async def _make_namespace(self) -> None:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": LEASE_NAMESPACE}}
        try:
            await self._client.create(kind_of(Namespace), namespace, field_manager=self._manager)
        except AlreadyExistsError:
            return


def _architecture() -> str:
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)
