"""How parts of the control plane are that other programs run, as the reference server finds out for `kubectl get cs`.

Source: K/pkg/registry/core/rest/storage_core.go (componentStatusStorage), K/pkg/probe/http
"""

from __future__ import annotations

from reconcile.clock import Clock

PORTS = {"scheduler": 10259, "controller-manager": 10257}
"""Where kube-scheduler and kube-controller-manager tell how they are, on the loopback address, unless told otherwise."""
_TIMEOUT_S = 2.0


async def trouble_at(port: int, clock: Clock) -> str:
    """Why the program that listens there is not healthy; empty: it is. Whose certificate it has is not asked."""
    from reconcile.runtime.client.connections import Connections, Request  # few ask
    from reconcile.runtime.client.kubeconfig import Access

    url = f"https://127.0.0.1:{port}"
    connections = Connections(Access(url, insecure=True), clock, _TIMEOUT_S)
    try:
        answer = await connections.ask(Request("GET", "/healthz", ""))
    except OSError as error:
        return f'Get "{url}/healthz": {error.strerror or error}'
    finally:
        await connections.close()
    return "" if 200 <= answer.status < 400 else answer.body.decode(errors="replace").strip() or f"HTTP {answer.status}"
