"""Reaching webhooks: trust, time, redirects and Services."""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from reconcile.errors import Tree
from reconcile.runtime.api.http import Credentials
from reconcile.runtime.client.webhook import WebhookCaller

Serve = Callable[..., AbstractAsyncContextManager[tuple[int, str, list[str]]]]


@pytest.fixture
def webhook(tmp_path: Path) -> Serve:
    """A webhook's server: its port, its caBundle, and what was asked."""

    @asynccontextmanager
    async def serving(
        status: int = 200, *, silent: bool = False, text: str = "the answer"
    ) -> AsyncIterator[tuple[int, str, list[str]]]:
        credentials = Credentials.load_or_make(tmp_path / "pki", time.time(), ("hook.shop.svc",))
        asked: list[str] = []
        ended = asyncio.Event()

        async def answer(request: web.BaseRequest) -> web.Response:
            asked.append(f"{request.method} {request.path_qs} {await request.text()}")
            if silent:
                await ended.wait()
            return web.Response(status=status, text=text, headers={"Location": "/elsewhere"} if status == 302 else None)

        runner = web.ServerRunner(web.Server(answer))
        await runner.setup()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(credentials.cert_file, credentials.key_file)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        try:
            yield runner.addresses[0][1], base64.b64encode(credentials.ca_pem).decode(), asked
        finally:
            ended.set()
            await runner.cleanup()

    return serving


async def located(namespace: str, name: str) -> str:
    if (namespace, name) != ("shop", "hook"):
        raise OSError(f'services "{name}" not found')
    return "127.0.0.1"


@asynccontextmanager
async def calling() -> AsyncIterator[WebhookCaller]:
    caller = WebhookCaller(located)
    try:
        yield caller
    finally:
        await caller.close()


async def test_a_webhook_is_reached_by_url_and_as_a_service(webhook: Serve) -> None:
    """A Service's certificate names the Service, not the address behind it."""
    async with webhook() as (port, bundle, asked), calling() as call:
        by_url: Tree = {"url": f"https://127.0.0.1:{port}/check", "caBundle": bundle}
        assert await call(by_url, {"a": 1}, 5.0) == b"the answer"
        service = {"namespace": "shop", "name": "hook", "port": port, "path": "/check"}
        assert await call({"service": service, "caBundle": bundle}, {"b": 2}, 7.0) == b"the answer"
        assert asked == ['POST /check?timeout=5s {"a":1}', 'POST /check?timeout=7s {"b":2}']
        with pytest.raises(OSError, match='services "other" not found'):
            await call({"service": {**service, "name": "other"}, "caBundle": bundle}, {}, 5.0)


async def test_an_answer_that_comes_in_pieces_is_read_to_its_end(webhook: Serve) -> None:
    """A part of it would be no JSON: large objects could not be changed or converted. And none may fill the memory."""
    long = "x" * (3 << 20)
    async with webhook(text=long) as (port, bundle, _), calling() as call:
        assert await call({"url": f"https://127.0.0.1:{port}/", "caBundle": bundle}, {}, 5.0) == long.encode()
    async with webhook(text=long * 6) as (port, bundle, _), calling() as call:
        with pytest.raises(OSError, match="is larger than 16777216 bytes"):
            await call({"url": f"https://127.0.0.1:{port}/", "caBundle": bundle}, {}, 5.0)


async def test_a_webhook_that_is_not_trusted_is_not_told_anything(webhook: Serve) -> None:
    """Reviews hold whole Secrets."""
    async with webhook() as (port, _bundle, asked), calling() as call:
        with pytest.raises(OSError, match=r'Post "https://127\.0\.0\.1:.*[cC]ertificate'):
            await call({"url": f"https://127.0.0.1:{port}/check"}, {}, 5.0)
        with pytest.raises(OSError, match="the caBundle holds no certificate in PEM"):
            await call({"url": f"https://127.0.0.1:{port}/check", "caBundle": "bm90aGluZw=="}, {}, 5.0)
        assert asked == []


async def test_every_answer_but_success_is_an_error_and_redirects_are_not_followed(webhook: Serve) -> None:
    """A redirect would send the review to who was never configured."""
    for status in (302, 404, 500):
        async with webhook(status) as (port, bundle, asked), calling() as call:
            with pytest.raises(OSError, match=f"the server answered {status} to Post .*the answer"):
                await call({"url": f"https://127.0.0.1:{port}/", "caBundle": bundle}, {}, 5.0)
            assert len(asked) == 1


async def test_who_does_not_answer_in_time_is_left(webhook: Serve) -> None:
    """Every write waits behind it."""
    async with webhook(silent=True) as (port, bundle, asked), calling() as call:
        with pytest.raises(TimeoutError):
            await call({"url": f"https://127.0.0.1:{port}/", "caBundle": bundle}, {}, 0.2)
        assert len(asked) == 1


async def test_nobody_listens(webhook: Serve) -> None:
    """The most frequent failure says where it knocked."""
    async with webhook() as (port, bundle, _):
        client = {"url": f"https://127.0.0.1:{port}/check", "caBundle": bundle}
    async with calling() as call:
        with pytest.raises(OSError, match=rf'Post "https://127\.0\.0\.1:{port}/check\?timeout=3s": '):
            await call(client, {}, 3.0)
    with pytest.raises(OSError, match="the control plane stops"):  # closed above
        await call(client, {}, 3.0)
