"""Subresources that somebody else answers: requests and upgraded connections are carried to a backend, and nothing leaks."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs

from reconcile import Hooks, Resource, field, kind, struct
from reconcile.identity import Access, Caller, Decision, Identity
from reconcile.kinds import kind_of
from reconcile.subresources import ALL_VERBS, Asked, Backend, Connection, Objects

from .conftest import Serve, Site

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@struct
class PrinterSpec:
    address: str = field(default="")


async def locate_panel(objects: Objects, asked: Asked) -> Backend:
    printer = await objects.get(kind_of(Printer), asked.name, asked.namespace)
    return Backend(
        f"http://{printer['spec']['address']}", (asked.rest or "/") + (f"?{asked.raw_query}" if asked.raw_query else ""), True
    )


async def locate_talk(objects: Objects, asked: Asked) -> Backend:
    printer = await objects.get(kind_of(Printer), asked.name, asked.namespace)
    return Backend(f"lpt://{printer['spec']['address']}", "/talk")


@kind(
    "example.com", "v1",
    hooks=Hooks(
        connections=(
            Connection("panel", "PrinterPanel", locate_panel, ALL_VERBS, rest=True),
            Connection("talk", "Printer", locate_talk, upgraded=True), Connection("ink", "Printer", locate_talk),
        )
    ),
)  # fmt: skip
class Printer(Resource):
    """A printer with a panel on the web."""

    spec: PrinterSpec = field(factory=PrinterSpec)


PATH = "/apis/example.com/v1/namespaces/default/printers/p"


@asynccontextmanager
async def printer(site: Site, answer: Callable[[bytes, Streams], Awaitable[None]]) -> AsyncIterator[None]:
    """Serve a printer whose panel answers each connection by `answer(head of the request, streams)`."""

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await answer(await reader.readuntil(b"\r\n\r\n"), (reader, writer))
        writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    site.api.serve(kind_of(Printer))
    await site.api.create(kind_of(Printer), {"metadata": {"name": "p"}, "spec": {"address": f"{host}:{port}"}}, "default")
    try:
        yield
    finally:
        server.close()


async def dial(site: Site) -> Streams:
    tls = ssl.create_default_context(cadata=site.access.ca.decode()) if site.access.ca else None
    return await asyncio.open_connection(site.address.host, site.address.port, ssl=tls)


async def ask(site: Site, method: str, path: str, *headers: str, body: bytes = b"") -> tuple[bytes, bytes]:
    """Send one request; returns head and body of its answer as they came."""
    reader, writer = await dial(site)
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: here",
        f"Authorization: Bearer {site.access.token}",
        "Connection: close",
        *headers,
    ]
    writer.write("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body)
    head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head, rest


async def test_a_request_reaches_the_backend_without_the_callers_credentials(serve: Serve) -> None:
    """The token is the cluster's: a Pod that is looked at through the proxy must not get it."""
    asked: list[bytes] = []

    async def answer(head: bytes, streams: Streams) -> None:
        asked.append(head + await streams[0].readexactly(4))
        streams[1].write(b"HTTP/1.1 418 Teapot\r\nContent-Length: 5\r\nX-Panel: yes\r\n\r\nshort")

    async with serve() as site, printer(site, answer):
        masked = ("Impersonate-User: x", "Impersonate-Group: system:masters")
        head, body = await ask(site, "PUT", f"{PATH}/panel/a%20b%2Fc?d=1&d=2", "X-Mine: 1", *masked, body=b"data")
        assert head.startswith(b"HTTP/1.1 418")
        assert b"X-Panel: yes" in head
        assert b"short" in body
        assert asked[0].startswith(b"PUT /a%20b/c?d=1&d=2 HTTP/1.1\r\n")
        assert asked[0].endswith(b"\r\n\r\ndata")
        assert b"X-Mine: 1" in asked[0]
        for secret in (b"authorization", b"impersonate", site.access.token.encode().lower()):
            assert secret not in asked[0].lower()


async def test_links_and_redirects_of_a_backend_pass_through_the_proxy_again(serve: Serve) -> None:
    page = b'<a href="/next">n</a><img src=/i.png><a href="//cdn/x"><a href="rel"><form action=\'/do\'>'

    async def answer(head: bytes, streams: Streams) -> None:
        if head.startswith(b"GET /moved"):
            streams[1].write(b"HTTP/1.1 302 Found\r\nLocation: /there?x=1\r\nContent-Length: 0\r\n\r\n")
        else:
            streams[1].write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n" + page)

    async with serve(tls=False) as site, printer(site, answer):
        head, _body = await ask(site, "GET", f"{PATH}/panel")
        assert b"301" in head.splitlines()[0]
        assert f"Location: {PATH}/panel/".encode() in head
        head, _body = await ask(site, "GET", f"{PATH}/panel/moved")
        assert f"Location: {PATH}/panel/there?x=1".encode() in head
        _head, body = await ask(site, "GET", f"{PATH}/panel/")
        own = f"{PATH}/panel".encode()
        expected = b'<a href="%b/next">n</a><img src=%b/i.png><a href="//cdn/x"><a href="rel"><form action=\'%b/do\'>'
        assert expected % (own, own, own) in body


async def test_an_upgraded_connection_is_passed_on_both_ways_until_it_ends(serve: Serve) -> None:
    ended = asyncio.Event()

    async def answer(head: bytes, streams: Streams) -> None:
        assert b"upgrade: carrier/1" in head.lower()
        streams[1].write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: carrier/1\r\nConnection: Upgrade\r\n\r\nfirst")
        while data := await streams[0].read(65536):
            streams[1].write(data.upper())
            await streams[1].drain()
        ended.set()

    async with serve() as site, printer(site, answer):
        reader, writer = await dial(site)
        lines = ["Host: here", f"Authorization: Bearer {site.access.token}", "Connection: Upgrade", "Upgrade: carrier/1"]
        writer.write("\r\n".join([f"GET {PATH}/panel/talk HTTP/1.1", *lines, "", ""]).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101")
        assert await reader.readexactly(5) == b"first"
        data = b"over and out" * 100_000

        async def write() -> None:
            writer.write(data)
            await writer.drain()

        writing = asyncio.create_task(write())
        assert await reader.readexactly(len(data)) == data.upper()
        await writing
        assert site.server.streams == 1
        writer.close()
        async with asyncio.timeout(10):
            await ended.wait()
            while site.server.streams:  # noqa: ASYNC110  # the server tells nobody when it has noticed
                await asyncio.sleep(0.005)


async def test_an_upgrade_that_the_backend_refuses_is_its_own_answer(serve: Serve) -> None:
    """kubectl shows the text of the refusal."""

    async def answer(head: bytes, streams: Streams) -> None:
        streams[1].write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nno such")

    async with serve() as site, printer(site, answer):
        head, body = await ask(site, "POST", f"{PATH}/panel/x", "Upgrade: carrier/1", "Connection: Upgrade")
        assert head.startswith(b"HTTP/1.1 404")
        assert body == b"no such"


async def test_a_backend_that_is_gone_or_speaks_no_http_is_told_as_a_status(serve: Serve) -> None:
    answers = [b"", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 99999 x\r\n\r\n"]

    async def answer(head: bytes, streams: Streams) -> None:
        streams[1].write(answers.pop(0))

    async with serve() as site, printer(site, answer):
        while answers:
            bad_length = len(answers) == 2
            head, _body = await ask(site, "GET", f"{PATH}/panel/x")
            assert (b" 200 " if bad_length else b" 503 ") in head.splitlines()[0]
        await site.api.create(kind_of(Printer), {"metadata": {"name": "q"}, "spec": {"address": "127.0.0.1:1"}}, "default")
        head, body = await ask(site, "GET", f"{PATH[:-1]}q/panel/x")
        assert b" 503 " in head.splitlines()[0]
        assert b"error trying to reach service: dial http://127.0.0.1:1" in body
        head, _body = await ask(site, "GET", f"{PATH}/ink")
        assert b" 500 " in head.splitlines()[0]
        head, body = await ask(site, "GET", f"{PATH}/talk")
        assert b" 400 " in head.splitlines()[0]
        assert b"Upgrade request required" in body
        head, body = await ask(site, "GET", f"{PATH[:-1]}nosuch/panel/x")
        assert b'printers.example.com \\"nosuch\\" not found' in body


async def test_only_declared_verbs_and_paths_are_carried(serve: Serve) -> None:
    async def answer(head: bytes, streams: Streams) -> None:
        raise AssertionError(f"this should not have come here: {head!r}")

    async with serve() as site, printer(site, answer):
        assert b" 405 " in (await ask(site, "DELETE", f"{PATH}/talk"))[0].splitlines()[0]
        assert b" 404 " in (await ask(site, "GET", f"{PATH}/talk/deeper"))[0].splitlines()[0]
        assert b" 404 " in (await ask(site, "GET", f"{PATH}/nosuch"))[0].splitlines()[0]
        listed = (await ask(site, "GET", "/apis/example.com/v1"))[1]
        assert b'"name":"printers/panel","singularName":"","namespaced":true,"kind":"PrinterPanel"' in listed


async def test_a_dialer_reaches_what_only_it_knows(serve: Serve) -> None:
    """So the API server comes to kubelets without knowing what one is."""

    async def answer(head: bytes, streams: Streams) -> None:
        streams[1].write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")

    async def lpt(rest: str) -> Streams:
        host, _, port = rest.partition(":")
        return await asyncio.open_connection(host, int(port))

    async with serve() as site, printer(site, answer):
        site.api.add_dialer("lpt", lpt)
        head, body = await ask(site, "GET", f"{PATH}/ink")
        assert b" 200 " in head.splitlines()[0]
        assert b"hello" in body


async def test_an_upgrade_needs_create_as_well_as_what_its_method_needs(serve: Serve) -> None:
    """A WebSocket begins as a GET: who may only look must not get a shell by that."""
    asked: list[str] = []
    allowed = {"get talk"}

    def judge(caller: Caller, access: Access) -> Decision:
        asked.append(f"{access.verb} {access.subresource}")
        return Decision(asked[-1] in allowed)

    async def answer(head: bytes, streams: Streams) -> None:
        streams[1].write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: carrier/1\r\nConnection: Upgrade\r\n\r\n")

    async def lpt(rest: str) -> Streams:
        host, _, port = rest.partition(":")
        return await asyncio.open_connection(host, int(port))

    async with serve() as site, printer(site, answer):
        site.api.add_dialer("lpt", lpt)
        site.api.security.add_token_reader(lambda token, _audiences: Identity(Caller("bob")) if token == "bob" else None)
        site.api.security.authorize_with(judge)
        bob = attrs.evolve(site, access=site.access._replace(token="bob"))
        upgrade = ("Connection: Upgrade", "Upgrade: carrier/1")
        head, body = await ask(bob, "GET", f"{PATH}/talk", *upgrade)
        assert b" 403 " in head.splitlines()[0]
        assert b'cannot create resource \\"printers/talk\\"' in body
        assert asked == ["get talk", "create talk"]
        allowed.add("create talk")
        assert (await ask(bob, "GET", f"{PATH}/talk", *upgrade))[0].startswith(b"HTTP/1.1 101")
        assert (await ask(bob, "POST", f"{PATH}/talk", *upgrade))[0].startswith(b"HTTP/1.1 101")
        allowed.remove("create talk")
        assert b" 403 " in (await ask(bob, "POST", f"{PATH}/talk", *upgrade))[0].splitlines()[0]
