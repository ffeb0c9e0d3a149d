"""The small HTTP server by which others look at a running operator: `/livez`, `/readyz`, `/metrics`.

`/livez` (also `/healthz`) answers with what the operators' probes say, as JSON, and fails when one of them does or the engine
cannot run; `/readyz` fails until startup handlers are through and caches are filled; `/metrics` is Prometheus text.
"""

from __future__ import annotations

import json
import logging
from typing import Self

from aiohttp import web

from reconcile.errors import ReconcileError

from .engine.membership import Membership
from .engine.metrics import metrics_text, shard_metrics_text
from .remote import RemoteOperators

log = logging.getLogger(__name__)


class Observing:
    """Serves on `address` (`host:port`, `:port`) while it is open."""

    def __init__(self, operators: RemoteOperators, address: str) -> None:
        self._operators = operators
        host, _, port = address.removeprefix("http://").partition("/")[0].rpartition(":")
        if not port.isdigit():
            raise ReconcileError(f"--listen {address!r}: give host:port, such as 0.0.0.0:8080 or :8080")
        self._host, self._port = host or "0.0.0.0", int(port)  # noqa: S104 - an address without a host means all, as everywhere
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        for path in ("/livez", "/healthz"):
            app.router.add_get(path, self._live)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/metrics", self._metrics)
        runner = self._runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, self._host.strip("[]"), self._port)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise ReconcileError(
                f"--listen {self._host}:{self._port}: {error.strerror or error}; give another address"
            ) from error
        host, port = runner.addresses[0][:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _live(self, _: web.Request) -> web.Response:
        told, well = await self._operators.engine.probe()
        return web.json_response(told, status=200 if well else 500, dumps=_json)

    async def _ready(self, _: web.Request) -> web.Response:
        ready = self._operators.ready
        return web.json_response({"ready": ready, "role": self._operators.role}, status=200 if ready else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        election = self._operators.election
        if isinstance(election, Membership):
            text = metrics_text(self._operators.engine) + shard_metrics_text(self._operators.engine, election)
        else:
            text = metrics_text(self._operators.engine, None if election is None else self._operators.leading)
        return web.Response(text=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _json(value: object) -> str:
    return json.dumps(value, default=str)
