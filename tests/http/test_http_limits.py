"""What one request may cost: how deep its body is, how large."""

from __future__ import annotations

import gc
import io
import logging
from asyncio import sslproto
from typing import Any

import aiohttp
import pytest

CM = "/api/v1/namespaces/default/configmaps"
SITES = "/apis/example.com/v1/namespaces/default/websites"


def nested(depth: int, shape: str) -> str:
    opening, closing = ('{"a":', "}") if shape == "object" else ("[", "]")
    return opening * depth + "1" + closing * depth


WRITES = (
    ("POST", CM, "application/json"), ("POST", CM, "application/yaml"), ("PUT", f"{CM}/x", "application/json"),
    ("PATCH", f"{CM}/x", "application/merge-patch+json"), ("PATCH", f"{CM}/x", "application/strategic-merge-patch+json"),
    ("PATCH", f"{CM}/x", "application/apply-patch+yaml"), ("PATCH", f"{CM}/x", "application/json-patch+json"),
    ("POST", SITES, "application/json"),
)  # fmt: skip


@pytest.mark.parametrize("shape", ["object", "list"])
async def test_a_body_that_is_nested_too_deeply_is_the_clients_mistake(
    serve: Any, caplog: pytest.LogCaptureFixture, shape: str
) -> None:
    """A few kilobytes of brackets must neither end the server nor be called its own mistake."""
    caplog.set_level(logging.ERROR)
    async with serve(tls=False) as site, aiohttp.ClientSession() as session:
        await site.api.create(site.kind("ConfigMap"), {"metadata": {"name": "x"}}, "default")
        for depth in (200, 300, 990, 5_000, 100_000):
            inner = nested(depth, shape)
            whole = f'{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"x"}},"data":{inner},"spec":{inner}}}'
            operations = f'[{{"op":"add","path":"/data","value":{inner}}}]'
            for method, path, media in WRITES:
                body = io.BytesIO((operations if "json-patch" in media else whole).encode())
                url, headers = f"{site.address.url}{path}?fieldManager=me", {"Content-Type": media}
                async with session.request(method, url, data=body, headers=headers) as answer:
                    assert 400 <= answer.status < 500, (method, path, media, depth, await answer.text())
        assert (await session.get(f"{site.address.url}{CM}")).status == 200
        assert not caplog.records


async def test_a_connection_over_tls_takes_little_memory(serve: Any) -> None:
    """asyncio's own buffers are 256 KB each: a thousand watches would take more than all that they watch."""
    async with serve() as site:
        await site.client.list(site.kind("ConfigMap"), "default")
        protocols: list[Any] = [each for each in gc.get_objects() if isinstance(each, sslproto.SSLProtocol)]
        buffers = [len(protocol._ssl_buffer) for protocol in protocols]
        assert buffers
        assert max(buffers) <= 64 << 10
