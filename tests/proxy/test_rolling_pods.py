"""Replacing the pods behind a Service while a client keeps asking: kubelet and proxy together."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AbstractAsyncContextManager
from typing import Any

import attrs
import pytest

from reconcile.client import DeleteOptions
from reconcile.errors import AlreadyExistsError, Tree
from reconcile.handling import Cluster as Api
from reconcile.kinds import kind_of
from reconcile.registry import Operator
from reconcile.resources.core import Pod
from reconcile.resources.discovery import EndpointSlice
from reconcile.resources.kubelet import KubeletSettings, kubelet
from reconcile.resources.kubelet.process.runtime import ProcessRuntime
from reconcile.views import tree_of

Cluster = AbstractAsyncContextManager[Any]  # Any: the conftest's Plane, which importlib mode keeps from being imported
LABELS = {"app": "web"}
SERVER = """
import os, socket
listener = socket.create_server((os.environ["POD_IP"], int(os.environ["PORT"])), backlog=128)
while True:
    peer, _ = listener.accept()
    peer.recv(4096)
    peer.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok")
    peer.close()
"""


def web_pod(name: str) -> Tree:
    container = {
        "name": "c", "command": [sys.executable, "-S", "-E", "-c", SERVER], "ports": [{"containerPort": 18123}],
        "readinessProbe": {"httpGet": {"port": 18123}, "periodSeconds": 5},
    }  # fmt: skip  # a pod reads better packed
    spec = {"nodeName": "node-1", "containers": [container], "terminationGracePeriodSeconds": 5}
    return {"metadata": {"name": name, "labels": LABELS}, "spec": spec}


def endpoints_operator() -> Operator:
    """The least that an endpoints controller does: ready pods into one slice."""
    operator = Operator("endpoints.test")

    @operator.on.event(Pod)
    async def tell(cluster: Api) -> None:
        endpoints = []
        for pod in await cluster.list(Pod, "default"):
            status = tree_of(pod).get("status") or {}
            ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
            if status.get("podIP"):
                conditions = {"ready": ready and not pod.deleting, "serving": ready, "terminating": pod.deleting}
                endpoints.append({"addresses": [status["podIP"]], "conditions": conditions})
        tree = {
            "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4",
            "ports": [{"name": "", "port": 18123, "protocol": "TCP"}], "endpoints": endpoints,
        }  # fmt: skip  # pairs read better packed
        try:
            await cluster.client.create(kind_of(EndpointSlice), tree, "default")
        except AlreadyExistsError:
            await cluster.client.update(kind_of(EndpointSlice), tree, "default")

    return operator


@attrs.define
class Client:
    """Asks without a pause, and counts."""

    address: str
    answered: int = 0
    done: bool = False
    failures: list[str] = attrs.field(factory=list)

    async def run(self) -> None:
        while not self.done:
            try:
                async with asyncio.timeout(5):
                    reader, writer = await asyncio.open_connection(self.address, 8080)
                    writer.write(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n")
                    answer = await reader.read()
                    writer.close()
                if answer.endswith(b"ok"):
                    self.answered += 1
                else:
                    self.failures.append(f"answer {answer!r}")
            except (OSError, TimeoutError) as error:
                self.failures.append(repr(error))
            await asyncio.sleep(0.002)


@pytest.mark.time_limit_s(60)
async def test_replacing_every_pod_fails_no_request(plane: Cluster, tmp_path: Any) -> None:
    """What a rolling update is for; also the last old pod goes while its successor takes over."""
    async with plane as cluster:
        engine_clock = cluster.engine.clock
        node = kubelet(
            "node-1", ProcessRuntime(tmp_path / "run", engine_clock), pod_cidr=f"{cluster.net}.16.0/24",
            data_dir=tmp_path / "kubelet", settings=KubeletSettings(),
        )  # fmt: skip  # one field a word reads better packed
        await cluster.engine.start(endpoints_operator())
        await cluster.engine.start(node.operator)
        pods = kind_of(Pod)

        async def ready(name: str) -> None:
            async with asyncio.timeout(10):
                while True:
                    pod = await cluster.client.get(pods, name, "default")
                    if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or ()):
                        return
                    await asyncio.sleep(0.01)

        address = await cluster.service(selector=LABELS)
        for name in ("a0", "b0"):
            await cluster.client.create(pods, web_pod(name), "default")
            await ready(name)
        client = Client(address)
        await cluster.ask(address, b"GET / HTTP/1.1\r\n\r\n")
        asking = [asyncio.create_task(client.run()) for _ in range(3)]
        for generation in (1, 2, 3):
            for series in ("a", "b"):
                await cluster.client.create(pods, web_pod(f"{series}{generation}"), "default")
                await ready(f"{series}{generation}")
                await cluster.client.delete(pods, f"{series}{generation - 1}", "default", DeleteOptions())

        async def two_left() -> bool:
            return len((await cluster.client.list(pods, "default")).items) == 2

        await cluster.eventually(two_left, 10.0)
        client.done = True
        await asyncio.gather(*asking)
        await node.close(stop_pods=True)
        assert client.failures == []
        assert client.answered > 50
