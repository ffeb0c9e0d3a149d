"""Flows of the kubernetes Python client over streams: `python_streams.py KUBECONFIG POD PORT FLOW`.

A process of their own, because the library leaves its sockets to the garbage collector.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import kubernetes
from kubernetes.config import new_client_from_config
from kubernetes.stream import portforward, stream


def run_commands(api: Any, name: str, _port: int) -> None:
    """Output, input and exit code, by v4.channel.k8s.io, in which stdin cannot be ended."""
    call = api.connect_get_namespaced_pod_exec
    said = stream(call, name, "default", command=["sh", "-c", "echo $POD_NAME"], stdout=True, stderr=True, stdin=False, tty=False)
    assert said == f"{name}\n", said
    talk = stream(
        call, name, "default", command=["sh", "-c", "read x; echo got $x; echo wrong >&2; exit 4"], stdout=True, stderr=True,
        stdin=True, tty=False, _preload_content=False,
    )  # fmt: skip
    talk.write_stdin("this\n")
    talk.run_forever(timeout=20)
    assert (talk.read_stdout(), talk.read_stderr(), talk.returncode) == ("got this\n", "wrong\n", 4)


def forward_a_port(api: Any, name: str, port: int) -> None:
    """Bytes both ways, by channels: two for each port."""
    forwarding = portforward(api.connect_get_namespaced_pod_portforward, name, "default", ports=str(port))
    socket = forwarding.socket(port)
    socket.setblocking(True)
    socket.sendall(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
    answer = b""
    while chunk := socket.recv(4096):
        answer += chunk
    assert b"Hello from " + name.encode() in answer, answer
    assert forwarding.error(port) is None


def forward_to_where_nothing_listens(api: Any, name: str, _port: int) -> None:
    """What is wrong is told in the port's other channel."""
    forwarding = portforward(api.connect_get_namespaced_pod_portforward, name, "default", ports="9")
    socket = forwarding.socket(9)
    socket.setblocking(True)
    assert socket.recv(100) == b""
    assert "Connection refused" in forwarding.error(9), forwarding.error(9)


def look_through_proxies(api: Any, name: str, _port: int) -> None:
    """Of a Service, and of the Node's kubelet."""
    assert "Hello from web-" in api.connect_get_namespaced_service_proxy("web:80", "default")
    node = api.list_node().items[0].metadata.name
    summary = json.loads(api.connect_get_node_proxy_with_path(node, "stats/summary", _preload_content=False).data)
    assert name in [pod["podRef"]["name"] for pod in summary["pods"]], summary
    assert summary["node"]["memory"]["usageBytes"] > 0


FLOWS = (run_commands, forward_a_port, forward_to_where_nothing_listens, look_through_proxies)

if __name__ == "__main__":
    with new_client_from_config(sys.argv[1]) as client:
        next(flow for flow in FLOWS if flow.__name__ == sys.argv[4])(
            kubernetes.client.CoreV1Api(client), sys.argv[2], int(sys.argv[3])
        )
