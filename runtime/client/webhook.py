"""Posts reviews (of admission, of conversion) to webhooks, by URL or to a Service of the cluster.

Source: k8s.io/apiserver/pkg/util/webhook/client.go
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import ssl
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import orjson

from reconcile.errors import Tree

if TYPE_CHECKING:
    import aiohttp

ANSWER_BYTES_MAX = 16 << 20
_CONTEXTS_MAX = 64
Locate = Callable[[str, str], Awaitable[str]]
"""(namespace, name) -> the address of a Service. Raises OSError where it has none."""


class WebhookCaller:
    """Implements `reconcile.runtime.api.webhooks.Call` over HTTPS, with connections that are kept. Close it when done."""

    def __init__(self, locate: Locate) -> None:
        self._locate = locate
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def __call__(self, client: Tree, body: Tree, timeout_s: float) -> bytes:
        """Post a review. Raises OSError and TimeoutError, as `Call` says."""
        import aiohttp  # most control planes have no webhooks

        shown = client.get("url") or _service_url(client["service"])
        url = f"{shown}?timeout={timeout_s:g}s"
        if self._closed:
            raise OSError(f'Post "{url}": the control plane stops')
        if self._session is None:
            self._session = aiohttp.ClientSession(headers={"User-Agent": "reconcile-admission", "Accept": "application/json"})
        try:
            async with asyncio.timeout(timeout_s):
                target, server_name = url, None
                if not client.get("url"):
                    service = client["service"]
                    server_name = f"{service['name']}.{service['namespace']}.svc"
                    target = url.replace(server_name, await self._locate(service["namespace"], service["name"]), 1)
                async with self._session.post(
                    target, data=orjson.dumps(body), ssl=_context(client.get("caBundle") or ""), server_hostname=server_name,
                    headers={"Content-Type": "application/json"}, allow_redirects=False,
                ) as answer:  # fmt: skip
                    content = await _whole(answer.content, url)
                    if answer.status >= 300:
                        raise OSError(f'the server answered {answer.status} to Post "{url}": {_short(content)}')
                    return content
        except TimeoutError as error:
            raise TimeoutError(f'Post "{url}": context deadline exceeded') from error
        except aiohttp.ClientError as error:
            raise OSError(f'Post "{url}": {_told(error)}') from error

    async def close(self) -> None:
        """Close the connections. Later calls raise OSError."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _whole(content: aiohttp.StreamReader, url: str) -> bytes:
    """The whole body: what has arrived so far may end anywhere."""
    pieces, size = [], 0
    while piece := await content.readany():
        pieces.append(piece)
        size += len(piece)
        if size > ANSWER_BYTES_MAX:
            raise OSError(f'the answer to Post "{url}" is larger than {ANSWER_BYTES_MAX} bytes')
    return b"".join(pieces)


def _service_url(service: Tree) -> str:
    path = str(service.get("path") or "").strip("/")
    return f"https://{service['name']}.{service['namespace']}.svc:{service.get('port') or 443}/{path}"


@lru_cache(maxsize=_CONTEXTS_MAX)
def _context(bundle: str) -> ssl.SSLContext:
    """Trust of the authorities in a caBundle; of the machine's where there is none.

    Raises:
        OSError: it holds no certificates.
    """
    if not bundle:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cadata=base64.b64decode(bundle).decode())
    except (binascii.Error, ValueError, ssl.SSLError) as error:
        raise OSError(f"unable to load root certificates: the caBundle holds no certificate in PEM: {error}") from error


def _told(error: aiohttp.ClientError) -> str:
    """What went wrong, without the library's own objects in the text."""
    certificate = getattr(error, "certificate_error", None)
    if certificate is not None:
        return f"tls: failed to verify certificate: {certificate}"
    system = getattr(error, "os_error", None)
    if system is not None:
        # asyncio words a refusal in its own way; the kernel's is what people know.
        why = os.strerror(system.errno).lower() if system.errno else system.strerror or system
        return f"dial tcp {getattr(error, 'host', '')}:{getattr(error, 'port', '')}: connect: {why}"
    return str(error) or type(error).__name__


def _short(content: bytes) -> str:
    text = content.decode(errors="replace").strip()
    return text if len(text) <= 200 else f"{text[:200]}..."
