"""Logs in by the operators' own login handlers, where they have some."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from reconcile.errors import DeclarationError, UnauthorizedError
from reconcile.login import ConnectionInfo
from reconcile.registry import Operator

from .client.kubeconfig import Access
from .engine.activities import run_activity
from .engine.engine import Engine
from .engine.operation import Operation


class Login:
    """Calls login handlers and gives what `HttpClient` wants of them. `engine` is set once there is one."""

    def __init__(self, operators: Sequence[Operator], otherwise: Access) -> None:
        self.engine: Engine | None = None
        self._otherwise = otherwise
        self._handlers = [(op, h) for op in operators for h in op.handlers if h.trigger == "login"]

    def __bool__(self) -> bool:
        return bool(self._handlers)

    async def __call__(self) -> tuple[Access, float]:
        """The access that the most important handler gives, and until when it holds.

        Raises:
            UnauthorizedError: a handler raised for good.
        """
        assert self.engine is not None, "handlers run on an engine"
        found: list[ConnectionInfo] = []
        for operator, handler in self._handlers:
            try:
                given = await run_activity(Operation(self.engine, operator), handler)
            except Exception as error:
                raise UnauthorizedError(f"login handler {handler}: {type(error).__name__}: {error}") from error
            if isinstance(given, ConnectionInfo):
                found.append(given)
            elif given is not None:
                raise DeclarationError(
                    f"login handler {handler} returned {type(given).__name__}; return a ConnectionInfo, or nothing"
                )
        if not found:
            return self._otherwise, 0.0
        best = max(found, key=lambda info: info.priority)
        return access_of_info(best, self._otherwise), best.expires_s


def access_of_info(info: ConnectionInfo, otherwise: Access) -> Access:
    """The access that a login handler describes."""
    if info.username and not info.token:
        raise UnauthorizedError("a login handler gave a user name and a password; give a token or a client certificate")
    return Access(
        server=info.server.rstrip("/"),
        namespace=info.default_namespace or otherwise.namespace,
        ca=_content(info.ca_data, info.ca_path),
        insecure=bool(info.insecure),
        token=info.token or "",
        client_cert=_content(info.certificate_data, info.certificate_path),
        client_key=_content(info.private_key_data, info.private_key_path),
        source="a login handler",
        user="",
    )


def _content(data: str | bytes | None, path: object) -> bytes:
    if data:
        raw = data.encode() if isinstance(data, str) else data
        return raw if raw.lstrip().startswith(b"-----BEGIN") else base64.b64decode(raw)
    return Path(str(path)).read_bytes() if path else b""
