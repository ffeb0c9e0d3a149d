"""A small synchronous client for commands that must answer at once: standard library alone, nothing heavy imported.

`get` has 150 ms, interpreter included; attrs, asyncio and aiohttp would take most of it. One keep-alive connection; what the
server serves is remembered on disk and asked for again (by ETag) when it is old or does not hold a name.

    client = BlockingClient(kubeconfig.load())
    deployments = client.find("deploy")
    table = client.list_table(deployments, "default")
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode, urlsplit

from .errors import ClientError, RefusedError, UnreachableError, unreachable
from .kubeconfig import Access
from .resources import Catalog, Resource
from .urls import resource_path

Tree = dict[str, Any]  # Any: a decoded JSON object (named here because reconcile.errors costs an import of attrs)
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
JSON = "application/json"
_BACK_OFF_S = 0.05


class Reply(NamedTuple):
    """An answer: status code, headers (names in lower case), body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def tree(self) -> Tree:
        """The body as JSON."""
        made: Tree = json.loads(self.body)
        return made


def _names_an_object(reply: Reply) -> bool:
    """Whether it is an object that is missing, and not its kind: Kubernetes says the latter in plain text, or names nothing."""
    if not reply.headers.get("content-type", "").startswith(JSON):
        return False
    return bool((reply.tree().get("details") or {}).get("name"))


class BlockingClient:
    """Talks to one API server, one request at a time."""

    def __init__(self, access: Access, *, timeout_s: float = 10.0, user_agent: str = "reconcile-cli") -> None:
        self.access = access
        self._timeout_s = timeout_s
        self._agent = user_agent
        self._connection: http.client.HTTPConnection | None = None
        self.catalog = Catalog(access, self._discovery)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: bytes | Tree | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:  # fmt: skip
        """Send one request and read the whole answer, whatever its status code is.

        Raises:
            UnreachableError: nothing answers.
        """
        response = self._send(method, path, query, body, headers, self._timeout_s)
        try:
            raw = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise UnreachableError(unreachable(self.access.server, error, self.access.source)) from error
        if response.will_close:
            self.close()
        return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, raw)

    def ask(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: bytes | Tree | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Tree:  # fmt: skip
        """As `request`, for those who want the JSON of success.

        Raises:
            RefusedError: the server refused.
        """
        reply = self.request(method, path, query, body, headers)
        if reply.status >= 400:
            raise RefusedError(reply.status, reply.body)
        return reply.tree()

    def stream(
        self, path: str, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[bytes]:
        """The lines of an answer as they come (a watch, `logs -f`), without their ends. Uses a connection of its own.

        Raises:
            RefusedError: the server refused.
            UnreachableError: the connection broke.
        """
        own = BlockingClient(self.access, timeout_s=self._timeout_s, user_agent=self._agent)
        try:
            response = own._send("GET", path, query, None, headers, self._timeout_s)
            if response.status >= 400:
                raise RefusedError(response.status, response.read())
            if own._connection is not None and own._connection.sock is not None:
                own._connection.sock.settimeout(None)  # a quiet log is no broken one
            while line := response.readline():
                yield line.rstrip(b"\r\n")
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(unreachable(self.access.server, error, self.access.source)) from error
        finally:
            own.close()

    # Resources

    def find(self, name: str) -> Resource:
        """The resource that `name` means: plural, singular, kind or short name, with or without `.group` or `.version.group`.

        Raises:
            ClientError: there is none; the message lists what comes near.
        """
        return self.catalog.find(name)

    def resources(self) -> list[Resource]:
        """Everything the server serves."""
        return self.catalog.resources()

    def path(self, resource: Resource, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of a resource, or of an object."""
        return resource_path(
            resource.group, resource.version, resource.plural, namespace if resource.namespaced else "", name, subresource
        )

    def list_table(
        self, resource: Resource, namespace: str = "", *, name: str = "", labels: str = "", fields: str = "",
        include: str = "Metadata", limit: int = 0,
    ) -> Tree:  # fmt: skip
        """The Table that the server makes of a list, or of one object. `include`: None, Metadata or Object beside the cells.

        Raises:
            RefusedError: the server refused.
        """
        query = {
            key: value
            for key, value in (
                ("labelSelector", labels), ("fieldSelector", fields), ("includeObject", include if include != "Metadata" else ""),
                ("limit", str(limit) if limit else ""),
            )
            if value
        }  # fmt: skip
        reply = self.request("GET", self.path(resource, namespace, name), query, None, {"Accept": TABLE})
        if reply.status == 404 and not _names_an_object(reply):
            # Not even the path is served: what was remembered about the server is out of date.
            self.catalog.refresh()
            raise RefusedError(404, f'the server does not have a resource "{resource.plural}"'.encode())
        if reply.status >= 400:
            raise RefusedError(reply.status, reply.body)
        return reply.tree()

    def watch(self, path: str, query: Mapping[str, str] | None = None, *, accept: str = JSON) -> Iterator[Tree]:
        """The events of a watch, as they come on the wire.

        Raises:
            RefusedError: the server refused, or said so in an ERROR event.
        """
        for line in self.stream(path, {**(query or {}), "watch": "true"}, {"Accept": accept}):
            event: Tree = json.loads(line)
            if event.get("type") == "ERROR":
                status = event.get("object") or {}
                raise RefusedError(int(status.get("code") or 500), json.dumps(status).encode())
            yield event

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the server says that it is ready.

        Raises:
            UnreachableError: it does not within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                if self.request("GET", "/readyz").status == 200:
                    return
            except UnreachableError:
                if time.monotonic() > deadline:
                    raise
            if time.monotonic() > deadline:
                raise UnreachableError(f"{self.access.server} did not get ready within {timeout_s:g} s")
            time.sleep(_BACK_OFF_S)

    # The wire

    def _discovery(self, path: str, etag: str, accept: str) -> tuple[str, Tree | None]:
        """A discovery document and its ETag; None for the document that we have."""
        headers = {"Accept": accept, **({"If-None-Match": etag} if etag else {})}
        reply = self.request("GET", path, None, None, headers)
        if reply.status == 304:
            return etag, None
        if reply.status >= 400:
            raise RefusedError(reply.status, reply.body)
        return reply.headers.get("etag", ""), reply.tree()

    def _send(
        self, method: str, path: str, query: Mapping[str, str] | None, body: bytes | Tree | None,
        headers: Mapping[str, str] | None, timeout_s: float,
    ) -> http.client.HTTPResponse:  # fmt: skip
        target = f"{urlsplit(self.access.server).path}{path}"
        if query:
            target += "?" + urlencode(query)
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        sent = {"Accept": JSON, "User-Agent": self._agent, "Connection": "keep-alive"}
        if data is not None:
            sent["Content-Type"] = JSON
        if token := self.access.bearer():
            sent["Authorization"] = f"Bearer {token}"
        sent.update(headers or {})
        while True:
            reused = self._connection is not None
            try:
                connection = self._connect(timeout_s)
                connection.request(method, target, data, sent)
                return connection.getresponse()
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
                self.close()
                if not reused:
                    raise UnreachableError(unreachable(self.access.server, error, self.access.source)) from error
                # The server closed a connection that we kept: nothing of this request was taken, so it is sent again.
            except (OSError, http.client.HTTPException) as error:
                self.close()
                raise UnreachableError(unreachable(self.access.server, error, self.access.source)) from error

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._connection is None:
            parts = urlsplit(self.access.server)
            tls = self.access.tls()
            if parts.hostname is None:
                raise ClientError(f"{self.access.source}: {self.access.server!r} names no host")
            if tls is None:
                self._connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout_s)
            else:
                self._connection = http.client.HTTPSConnection(
                    parts.hostname, parts.port or 443, timeout=timeout_s, context=tls
                )  # fmt: skip
        return self._connection
