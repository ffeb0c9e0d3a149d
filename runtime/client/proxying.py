"""Through a proxy: which one leads to a server, and a tunnel through it (CONNECT).

A kubeconfig's `proxy-url` goes before the environment: `HTTPS_PROXY` and `HTTP_PROXY`, but for what `NO_PROXY` names, and for
this machine itself.

Source: golang.org/x/net/http/httpproxy, RFC 9110 section 9.3.6
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import ssl
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from .connection import Connection
from .errors import KubeconfigError

_HEAD_BYTES_MAX = 64 << 10
_OK = 200


class Proxy(NamedTuple):
    """Where a proxy is, and what it wants to hear."""

    host: str
    port: int
    encrypted: bool = False
    authorization: str = ""


def proxy_for(server: str, given: str, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy that leads to a server (a URL), or None; `given` is what the kubeconfig says.

    Raises:
        KubeconfigError: it is of a kind that is not understood.
    """
    parts = urlsplit(server)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if given:
        return _proxy(given, "proxy-url")
    name = f"{parts.scheme}_proxy"
    found = environ.get(name.upper()) or environ.get(name) or ""
    if not found or _near(host) or _excluded(host, port, environ.get("NO_PROXY") or environ.get("no_proxy") or ""):
        return None
    return _proxy(found if "://" in found else f"http://{found}", name.upper())


def _proxy(url: str, source: str) -> Proxy:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise KubeconfigError(
            f"{source}: {parts.scheme}://{parts.hostname or ''} is no proxy that is understood; give http://HOST:PORT"
        )
    authorization = ""
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
    encrypted = parts.scheme == "https"
    return Proxy(parts.hostname, parts.port or (443 if encrypted else 80), encrypted, authorization)


def _near(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _excluded(host: str, port: int, rules: str) -> bool:
    """Whether NO_PROXY names the host: a name with all below it, `.name` for what is below alone, an address, a CIDR, `*`."""
    for rule in (word.strip().lower() for word in rules.split(",")):
        bare, _, at = rule.rpartition(":") if rule.count(":") == 1 else (rule, "", "")
        if not bare or (at and at != str(port)):
            continue
        if bare == "*" or bare.strip("[]") == host:
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(bare, strict=False):
                return True
        except ValueError:
            if host.endswith(bare.removeprefix("*") if bare.startswith(("*.", ".")) else f".{bare}"):
                return True
    return False


async def through(proxy: Proxy, host: str, port: int, tls: ssl.SSLContext | None, server_name: str | None) -> Connection:
    """A connection to a server, through a proxy. Raises OSError."""
    loop = asyncio.get_running_loop()
    outer = ssl.create_default_context() if proxy.encrypted else None
    transport, reply = await loop.create_connection(_Reply, proxy.host, proxy.port, ssl=outer)
    try:
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        authorization = f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
        transport.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n".encode())
        status = _status(await reply.head, proxy)
        if status != _OK:
            raise ConnectionError(f"the proxy {proxy.host}:{proxy.port} does not lead to {target}: it answers {status}")
        connection = Connection()
        within: asyncio.BaseTransport | None = transport
        if tls is None:
            transport.set_protocol(connection)
        else:
            within = await loop.start_tls(transport, connection, tls, server_hostname=server_name)
        assert within is not None, "start_tls gives a transport, or raises"
        connection.connection_made(within)
    except BaseException:
        transport.abort()
        raise
    return connection


class _Reply(asyncio.Protocol):
    """What a proxy answers to CONNECT: a head, and nothing behind it before we speak."""

    def __init__(self) -> None:
        self.head: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._got = b""

    def data_received(self, data: bytes) -> None:
        """Wait for the end of the head."""
        self._got += data
        if self.head.done():
            return
        if b"\r\n\r\n" in self._got:
            self.head.set_result(self._got)
        elif len(self._got) > _HEAD_BYTES_MAX:
            self.head.set_exception(ConnectionError("the proxy answers without an end"))

    def connection_lost(self, exc: Exception | None) -> None:
        """It hung up, perhaps before it answered."""
        if not self.head.done():
            self.head.set_exception(ConnectionError("the proxy hung up"))
            self.head.exception()  # nobody may be waiting any more


def _status(head: bytes, proxy: Proxy) -> int:
    words = head.partition(b"\r\n")[0].split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise ConnectionError(f"the proxy {proxy.host}:{proxy.port} speaks no HTTP")
    return int(words[1])
