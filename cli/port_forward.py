"""`reconcile port-forward`: a port of this machine that leads to one of a pod."""

from __future__ import annotations

import asyncio
import contextlib
from typing import NamedTuple

import click

from reconcile.errors import ApiError, Tree

from .errors import CommandError
from .pods import pod_of
from .printing import examples
from .talking import CHUNK_BYTES, Channels
from .target import Target, message_of, target_options

PROTOCOL = "v4.channel.k8s.io"
_DATA, _WRONG = 0, 1


class Forward(NamedTuple):
    """A local port (0: a free one) and the pod's port that it leads to."""

    local: int
    remote: int


@click.command(
    "port-forward",
    epilog=examples(
        "reconcile port-forward deploy/web 8080:80", "reconcile port-forward svc/web :http",
        "reconcile port-forward web-7d4b9c-x2x5q 8080 9090",
    ),
)  # fmt: skip
@click.argument("what", metavar="POD | KIND/NAME")
@click.argument("ports", nargs=-1, required=True, metavar="[LOCAL:]PORT...")
@click.option("--address", default="127.0.0.1", show_default=True, help="Where to listen.")
@target_options
def command(target: Target, what: str, ports: tuple[str, ...], address: str) -> None:
    """Listen on ports of this machine and pass connections on to a pod; PORT is a number or a name.

    Of a Service, PORT is the Service's. With `:PORT` a free port is taken, and printed. Ctrl-C ends it.
    """
    pod = pod_of(target, what)
    kind, _, name = what.partition("/")
    service: Tree | None = None
    if name and target.resolve(kind).kind == "Service":
        service = target.read(target.path(target.resolve(kind), name))
    forwards = [_forward(text, pod, service) for text in ports]
    path = target.path(target.resolve("pods"), pod["metadata"]["name"], subresource="portforward")
    asyncio.run(_serve(target, path, forwards, address))


async def _serve(target: Target, path: str, forwards: list[Forward], address: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for forward in forwards:

            async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int = forward.remote) -> None:
                await _carry(target, path, port, reader, writer)

            try:
                server = await asyncio.start_server(served, address, forward.local)
            except OSError as error:
                raise CommandError(f"cannot listen on {address}:{forward.local}: {error.strerror or error}") from error
            await stack.enter_async_context(server)
            host, port = server.sockets[0].getsockname()[:2]
            click.echo(f"{host}:{port} leads to port {forward.remote}")
        await asyncio.Event().wait()


async def _carry(
    target: Target, path: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:  # fmt: skip
    """One connection: a WebSocket of its own, whose first two messages name the port."""
    try:
        channels = await Channels.open(target.http.access, path, [("ports", str(port))], (PROTOCOL,))
    except (ApiError, CommandError) as error:
        click.echo(message_of(error) if isinstance(error, ApiError) else f"error: {error}", err=True)
        writer.close()
        return
    outward = asyncio.create_task(_outward(channels, reader))
    try:
        named: set[int] = set()
        while (message := await channels.receive()) is not None:
            channel, data = message
            if channel not in named:
                named.add(channel)
                data = data[2:]
            if data and channel == _WRONG:
                click.echo(f"error: {data.decode(errors='replace')}", err=True)
            elif data and channel == _DATA:
                writer.write(data)
                await writer.drain()
    except ConnectionError:
        return  # either end is gone, and the other one is closed with it
    finally:
        outward.cancel()
        await asyncio.gather(outward, return_exceptions=True)
        await channels.close()
        writer.close()


async def _outward(channels: Channels, reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(CHUNK_BYTES):
            await channels.send(_DATA, data)
        await channels.close()


def _forward(text: str, pod: Tree, service: Tree | None) -> Forward:
    """`8080:80`, `80`, `:80`, `:http`.

    Raises:
        CommandError: that names no port.
    """
    local, colon, remote = text.rpartition(":")
    number = _remote(remote, pod, service)
    if not colon:
        return Forward(int(remote) if remote.isdecimal() else number, number)
    if local and not (local.isdecimal() and int(local) < 65536):
        raise CommandError(f"{text!r}: {local!r} is no port; give a number from 0 to 65535")
    return Forward(int(local or 0), number)


def _remote(word: str, pod: Tree, service: Tree | None) -> int:
    if service is not None:
        listed = service["spec"].get("ports") or []
        found = next((port for port in listed if word in (str(port["port"]), port.get("name"))), None)
        if found is None:
            has = ", ".join(str(port["port"]) for port in listed)
            raise CommandError(f"service {service['metadata']['name']} has no port {word!r}; it has {has}")
        word = str(found.get("targetPort", found["port"]))
    if word.isdecimal() and 0 < int(word) < 65536:
        return int(word)
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or ():
            if port.get("name") == word:
                return int(port["containerPort"])
    raise CommandError(
        f"pod {pod['metadata']['name']} has no port {word!r}; give a number, or a name that its containers declare"
    )
