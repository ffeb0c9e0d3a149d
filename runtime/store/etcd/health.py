"""The Health service: grpc.health.v1, of the whole server.

Its messages are so small that they are read and written by hand: a service name, a number.

Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

from __future__ import annotations

import asyncio

from . import errors
from .methods import Call, Methods

_SERVING = b"\x08\x01"
_SERVICE_UNKNOWN = b"\x08\x03"


class Health:
    """Says that the server serves, for as long as it does."""

    def register(self, methods: Methods) -> None:
        """Serve it."""
        methods.unary("grpc.health.v1.Health", Check=self.check)
        methods.stream("grpc.health.v1.Health", Watch=self.watch)

    async def check(self, raw: bytes) -> bytes:
        """Check: of the whole server only."""
        if _service(raw):
            raise errors.unknown_health_service()
        return _SERVING

    async def watch(self, call: Call) -> None:
        """Watch: it serves until it is gone."""
        raw = await call.read()
        await call.write(_SERVICE_UNKNOWN if _service(raw or b"") else _SERVING)
        await asyncio.Event().wait()  # until the stream is ended


def _service(raw: bytes) -> bytes:
    """The service asked for: field 1, the only one."""
    return raw[2:] if raw[:1] == b"\x0a" else b""
