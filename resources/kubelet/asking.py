"""One question to a container: an HTTP GET, a TCP connection, or a command. Used by probes and lifecycle hooks.

HTTP is spoken on plain asyncio streams: a probe needs a status line and the first bytes of a body, and the HTTP client
library would cost 200 ms of start-up.

Source: pkg/probe/{http,tcp,exec}
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import quote

from reconcile.errors import Tree

from .errors import ExecTimeoutError, RuntimeFailure
from .probes import Answer
from .runtime import Runtime

Rewritten = Callable[[Sequence[str]], Awaitable[Sequence[str]]]
"""Gives a container's command with the mounted paths that it names as they are on this node."""
BODY_BYTES_MAX = 10 * 1024
_HEAD_BYTES_MAX = 64 * 1024
_MESSAGE_CHARS_MAX = 1024


async def ask(
    runtime: Runtime, pod_uid: str, container: Tree, action: Tree, rewritten: Rewritten, *, address: str, timeout_s: float
) -> Answer:
    """Do what `action` (a probe or a hook) says and judge the outcome; nothing that goes wrong with it is raised."""
    try:
        if action.get("exec"):
            argv = await rewritten(action["exec"].get("command") or ())
            return await _ask_command(runtime, pod_uid, container["name"], argv, timeout_s)
        if action.get("httpGet"):
            return await _within(_ask_http(container, action["httpGet"], address), timeout_s)
        if action.get("tcpSocket"):
            return await _within(_ask_tcp(container, action["tcpSocket"], address), timeout_s)
    except OSError as error:
        # asyncio words this by its own calls; people and tools know the kernel's words.
        why = os.strerror(error.errno).lower() if error.errno else str(error)
        return Answer(False, f"{_target(container, action, address)}: {why}")
    except (ValueError, EOFError) as error:
        return Answer(False, str(error))
    known = ", ".join(key for key in action if isinstance(action[key], Mapping)) or "nothing"
    return Answer(False, f"the probe asks by {known}; this node asks by exec, httpGet or tcpSocket")


def port_number(container: Tree, port: int | str) -> int:
    """A port by its number or by the name that the container gives it.

    Raises:
        ValueError: the container has no port of that name.
    """
    if isinstance(port, int) or str(port).isdigit():
        return int(port)
    for declared in container.get("ports") or ():
        if declared.get("name") == port:
            return int(declared["containerPort"])
    names = ", ".join(d["name"] for d in container.get("ports") or () if d.get("name")) or "none"
    raise ValueError(f"couldn't find port: {port!r} in container {container['name']!r}; its named ports: {names}")


def _target(container: Tree, action: Tree, address: str) -> str:
    asked = action.get("httpGet") or action.get("tcpSocket") or {}
    where = f"{asked.get('host') or address}:{port_number(container, asked['port'])}"
    if action.get("httpGet"):
        return f'Get "{(asked.get("scheme") or "HTTP").lower()}://{where}{asked.get("path") or "/"}": dial tcp {where}: connect'
    return f"dial tcp {where}: connect"


async def _within(question: Awaitable[Answer], timeout_s: float) -> Answer:
    try:
        async with asyncio.timeout(timeout_s):
            return await question
    except TimeoutError:
        return Answer(False, f"no answer within {timeout_s:g}s")


async def _ask_command(runtime: Runtime, pod_uid: str, name: str, argv: Sequence[str], timeout_s: float) -> Answer:
    try:
        result = await runtime.exec(pod_uid, name, argv, timeout_s)
    except ExecTimeoutError as error:
        return Answer(False, str(error))
    except RuntimeFailure as error:
        return Answer(False, f"the command could not be run: {error}")
    return Answer(result.exit_code == 0, result.output[:BODY_BYTES_MAX].decode(errors="replace"))


async def _ask_tcp(container: Tree, action: Tree, address: str) -> Answer:
    _, writer = await asyncio.open_connection(action.get("host") or address, port_number(container, action["port"]))
    await _close(writer)
    return Answer(True)


async def _ask_http(container: Tree, action: Tree, address: str) -> Answer:
    host, port = action.get("host") or address, port_number(container, action["port"])
    secure = (action.get("scheme") or "HTTP").upper() == "HTTPS"
    reader, writer = await asyncio.open_connection(host, port, ssl=_unverified() if secure else None, limit=_HEAD_BYTES_MAX)
    try:
        writer.write(_request(action, host, port))
        await writer.drain()
        status = await _status(reader)
        body = await _body(reader) if not 200 <= status < 400 else b""
    finally:
        await _close(writer)
    if 200 <= status < 400:
        return Answer(True)
    text = body.decode(errors="replace").strip()[:_MESSAGE_CHARS_MAX]
    return Answer(False, f"HTTP probe failed with statuscode: {status}" + (f": {text}" if text else ""))


def _request(action: Tree, host: str, port: int) -> bytes:
    path = quote(action.get("path") or "/", safe="/?&=%:;,@!$'()*+~#[]-._")
    headers = {"host": f"{host}:{port}", "user-agent": "kube-probe/1.36", "accept": "*/*", "connection": "close"}
    headers |= {str(header["name"]).lower(): str(header.get("value", "")) for header in action.get("httpHeaders") or ()}
    lines = [f"GET {path if path.startswith('/') else '/' + path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("the probe's path or a header holds a line break")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _status(reader: asyncio.StreamReader) -> int:
    line = (await reader.readline()).decode("latin-1")
    parts = line.split(None, 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/") or not parts[1].isdigit():
        raise ValueError(f"the answer is not HTTP: it begins with {line[:60]!r}")
    while (await reader.readline()).strip():
        pass
    return int(parts[1])


async def _body(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while len(body) < BODY_BYTES_MAX:
        chunk = await reader.read(BODY_BYTES_MAX - len(body))
        if not chunk:
            break
        body += chunk
    return body


async def _close(writer: asyncio.StreamWriter) -> None:
    # Abort, not close: the answer is known, and a probe must not wait for the other side's goodbye.
    writer.transport.abort()
    with contextlib.suppress(OSError, ssl.SSLError):
        await writer.wait_closed()


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
