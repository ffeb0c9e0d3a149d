"""Commands that are run in a Pod from outside: they see what its containers see, also after the kubelet was exchanged."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.resources.core import ConfigMap
from reconcile.resources.kubelet.access import PodAccess
from reconcile.resources.kubelet.agent import Kubelet
from reconcile.resources.kubelet.endpoint.errors import EndpointError


async def said(made: Kubelet, *argv: str) -> str:
    """What a command in the Pod `p` prints."""
    talk = await PodAccess(made._host, made._workers).run("default", "p", "main", argv, stdin=False, tty=False)
    whole = b""
    while chunk := await talk.outputs["stdout"].read(65536):
        whole += chunk
    await talk.close()
    return whole.decode()


async def test_a_command_finds_what_is_mounted_where_its_container_does(plane: Any) -> None:
    """No path is mounted here; what names one is rewritten, for a command as for the container itself."""
    async with plane as cluster:
        await cluster.create({"metadata": {"name": "settings"}, "data": {"colour": "blue"}}, ConfigMap)
        volume = {"name": "settings", "configMap": {"name": "settings"}}
        container = {
            "name": "main", "command": ["sleep", "100"], "env": [{"name": "SIZE", "value": "3"}],
            "volumeMounts": [{"name": "settings", "mountPath": "/etc/app"}],
        }  # fmt: skip
        kubelet = await cluster.start_kubelet()
        spec = {"nodeName": "node-1", "volumes": [volume], "containers": [container], "terminationGracePeriodSeconds": 0}
        await cluster.create({"metadata": {"name": "p"}, "spec": spec})
        await cluster.until(lambda pod: pod["status"].get("phase") == "Running")
        for made in (kubelet, None):
            if made is None:
                await cluster.drop_kubelet(kubelet)
                made = await cluster.start_kubelet()
                await cluster.eventually(lambda made=made: [w for w in made._workers.values() if w.state.sandboxed])
            assert await said(made, "cat", "/etc/app/colour") == "blue"
            assert await said(made, "sh", "-c", "echo $SIZE; cat /etc/app/*") == "3\nblue"
            with pytest.raises(EndpointError, match="container not found"):
                await PodAccess(made._host, made._workers).run("default", "p", "other", ["true"], stdin=False, tty=False)
            with pytest.raises(EndpointError, match="pod does not exist"):
                PodAccess(made._host, made._workers).require("default", "nosuch")
