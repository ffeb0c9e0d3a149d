"""Streams over WebSockets, and tokens in a subprotocol: what programs in browsers have."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

CM = "/api/v1/namespaces/default/configmaps"
BEARER = "base64url.bearer.authorization.k8s.io."


async def make(site: Any, name: str) -> int:
    return (await site.api.create(site.kind("ConfigMap"), {"metadata": {"name": name}}, "default")).revision  # type: ignore[no-any-return]  # Site is Any here


async def names(socket: aiohttp.ClientWebSocketResponse, count: int) -> list[tuple[str, str]]:
    found = []
    for _ in range(count):
        event = await socket.receive_json()
        found.append((event["type"], event["object"]["metadata"].get("name", "")))
    return found


async def test_a_watch_tells_each_event_in_a_message(serve: Any) -> None:
    """A burst comes as many messages, too: who reads them parses each by itself."""
    async with serve(tls=False) as site, aiohttp.ClientSession() as session:
        for name in "abc":
            await make(site, name)
        async with session.ws_connect(f"{site.address.url}{CM}?watch=true", protocols=("any.thing",)) as socket:
            assert socket.protocol == "any.thing"
            assert await names(socket, 3) == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]
            await make(site, "d")
            assert await names(socket, 1) == [("ADDED", "d")]
            await socket.ping(b"there?")
            await site.api.delete(site.kind("ConfigMap"), "d", "default")
            assert await names(socket, 1) == [("DELETED", "d")]


async def test_a_watch_ends_with_a_closing_message(serve: Any) -> None:
    """The client then watches again, as it does after chunks."""
    async with (
        serve(tls=False) as site,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{site.address.url}{CM}?watch=true&resourceVersion=1&timeoutSeconds=1") as socket,
    ):
        message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1000)


async def test_a_refusal_comes_before_the_socket_is_open(serve: Any) -> None:
    """With the status that the same question has without a socket."""
    async with serve(tls=False) as site, aiohttp.ClientSession() as session:
        for path, code in ((f"{CM}?watch=true&resourceVersion=x", 400), ("/apis/no/v1/things?watch=true", 404)):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(site.address.url + path)
            assert refused.value.status == code


@pytest.mark.parametrize(
    ("protocol", "text"), [("", b"one\ntwo\n"), ("binary.k8s.io", b"one\ntwo\n"), ("base64.binary.k8s.io", None)]
)
async def test_a_log_comes_as_bytes_or_as_base64(serve: Any, protocol: str, text: bytes | None) -> None:
    """As the subprotocol has it."""

    async def log(*_: Any) -> AsyncIterator[bytes]:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"one\n"
            yield b"two\n"

        return pieces()

    async with serve(tls=False) as site, aiohttp.ClientSession() as session:
        await make(site, "a")
        site.api.add_reader(site.kind("ConfigMap"), "log", log)
        url = f"{site.address.url}{CM}/a/log"
        async with session.ws_connect(url, protocols=(protocol,) if protocol else ()) as socket:
            got = [(await socket.receive()).data for _ in range(2)]
            assert (await socket.receive()).type == aiohttp.WSMsgType.CLOSE
        found = b"".join(base64.b64decode(data) for data in got) if text is None else b"".join(got)
        assert found == b"one\ntwo\n"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(url, protocols=("nobody.knows",))
        assert refused.value.status == 400


async def test_a_token_may_come_as_a_subprotocol(serve: Any) -> None:
    """A browser sets no header of a WebSocket but this one; what is agreed on is another one, so that no token is sent back."""
    async with serve() as site, aiohttp.ClientSession() as session:
        url = f"{site.address.url}{CM}?watch=true"
        token = base64.urlsafe_b64encode(site.access.token.encode()).decode().rstrip("=")
        await make(site, "a")
        async with session.ws_connect(url, protocols=(f"{BEARER}{token}", "some.thing"), ssl=False) as socket:
            assert socket.protocol == "some.thing"
            assert await names(socket, 1) == [("ADDED", "a")]
        for protocols in ((f"{BEARER}{token}",), (f"{BEARER}bm8=", "some.thing"), (f"{BEARER}!", "some.thing"), ()):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(url, protocols=protocols, ssl=False)
            assert refused.value.status == 401
