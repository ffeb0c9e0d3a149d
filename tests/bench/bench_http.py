"""What HTTP costs: `python tests/bench/bench_http.py [requests]`.

The server runs in a process of its own, so that its CPU time can be read; the client is the standard library's on one
keep-alive connection. Printed for each request: the server's CPU time and the time that the client waited.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from reconcile import Resource, field, kind
from reconcile.kinds import kind_of
from reconcile.runtime.api import ApiServer
from reconcile.runtime.api.http import Credentials, HttpServer, HttpSettings
from reconcile.runtime.client.kubeconfig import Access, load, tree_of, write
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import MEMORY, Store

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


@kind("", "v1", plural="configmaps", builtin=True, has_generation=False)
class ConfigMap(Resource):
    """Configuration as text."""

    data: dict[str, str] = field(factory=dict)


async def serve(folder: Path) -> None:
    """Serve over TLS and in the open until the parent ends us."""
    clock = SystemClock()
    async with await Store.open(MEMORY, clock) as store:
        api = ApiServer(store, clock)
        api.serve(kind_of(ConfigMap))
        credentials = Credentials.load_or_make(folder / "pki", clock.now())
        secure = await HttpServer(api, HttpSettings(credentials=credentials)).start()
        plain = await HttpServer(api).start()
        write(folder / "plain", tree_of(Access(plain.url)))
        write(folder / "tls", tree_of(Access(secure.url, ca=credentials.ca_pem, token=credentials.token)))
        await asyncio.Event().wait()


def measure(name: str, server: psutil.Process, requests: int, access: Access, ask: Callable[[int], tuple[str, str, str]]) -> None:
    """Send `requests` requests on one connection and print what each cost."""
    parts, tls = urlsplit(access.server), access.tls()
    host, port = str(parts.hostname), parts.port
    connection = http.client.HTTPSConnection(host, port, context=tls) if tls else http.client.HTTPConnection(host, port)
    headers = {"Authorization": f"Bearer {access.token}", "Content-Type": "application/json"} if tls else {}
    before, began = server.cpu_times(), time.perf_counter()
    for number in range(requests):
        method, path, body = ask(number)
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        content = response.read()
        assert response.status < 300, content
    waited, after = time.perf_counter() - began, server.cpu_times()
    connection.close()
    cpu = after.user + after.system - before.user - before.system
    print(
        f"{name:<14} {cpu / requests * 1e6:6.0f} us CPU   {waited / requests * 1e6:6.0f} us waited   {requests / waited:6.0f}/s"
    )


def creation(prefix: str) -> Callable[[int], tuple[str, str, str]]:
    """POST a new object each time."""
    return lambda n: ("POST", CONFIGMAPS, json.dumps({"metadata": {"name": f"{prefix}{n}"}, "data": {"a": "b"}}))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requests", type=int, nargs="?", default=2000)
    parser.add_argument("--serve", type=Path)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
        return
    with tempfile.TemporaryDirectory() as folder:
        server = psutil.Popen([sys.executable, __file__, "--serve", folder])
        try:
            while not (Path(folder) / "tls").exists():
                time.sleep(0.05)
            for name in ("plain", "tls"):
                access = load(Path(folder) / name)
                measure(f"version {name}", server, options.requests, access, lambda _: ("GET", "/version", ""))
                measure(f"POST {name}", server, options.requests, access, creation(name))
                measure(f"GET {name}", server, options.requests, access, lambda _, n=name: ("GET", f"{CONFIGMAPS}/{n}0", ""))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
