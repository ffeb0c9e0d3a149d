"""Errors of reaching a server, light enough for commands that must answer at once (no attrs, no aiohttp).

    ClientError
    ├── KubeconfigError     there is no usable kubeconfig
    ├── UnreachableError    nothing answers there, or it is not whom we trust
    └── RefusedError        the server answered with a Status of failure

`HttpClient` raises `reconcile.errors.ApiError` subclasses instead, as every `Client` does.
"""

from __future__ import annotations

import json
from typing import Any


class ClientError(Exception):
    """Root of the errors here; the text is for people."""


class KubeconfigError(ClientError):
    """A kubeconfig is absent, unreadable, or uses what is not understood; the message says where and what to do."""


class UnreachableError(ClientError):
    """Nothing answers at the server's address, or what answers is not trusted."""


class RefusedError(ClientError):
    """The server refused: `code`, `reason`, `message` and the whole `status` say why."""

    def __init__(self, code: int, body: bytes) -> None:
        try:
            status = json.loads(body)
        except ValueError:
            status = None
        if not isinstance(status, dict) or status.get("kind") != "Status":
            text = body.decode("utf-8", "replace").strip()[:500]
            status = {"kind": "Status", "status": "Failure", "message": text or f"HTTP {code}", "reason": "", "code": code}
        self.status: dict[str, Any] = status  # Any: a Status of the wire
        self.code = code
        self.reason = str(status.get("reason") or "")
        self.message = str(status.get("message") or "")
        super().__init__(self.message)


def unreachable(server: str, error: Exception, source: str = "") -> str:
    """What to tell people when a connection fails: what happened, where, and what to do."""
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message or "unknown authority"
        return (
            f"{server} shows a certificate that {source or 'the kubeconfig'} does not vouch for ({why}); is the kubeconfig "
            "of another or an older control plane?"
        )
    if isinstance(error, ConnectionRefusedError):
        return (
            f"nothing answers at {server} (connection refused); start the control plane with `reconcile up FOLDER`, or set "
            f"KUBECONFIG to the cluster you mean{f' (this one is from {source})' if source else ''}"
        )
    if isinstance(error, TimeoutError):
        return f"{server} does not answer in time; is it overloaded, or is a firewall between?"
    return f"{server} cannot be reached: {error or type(error).__name__}; is the control plane running (`reconcile up FOLDER`)?"
