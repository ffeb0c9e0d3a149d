"""The `Client` of everybody who is not in the API server's process: any Kubernetes API server, over HTTP.

It promises what `reconcile.client.Client` promises; errors are the same `ApiError` classes as in process. A watch that loses
its connection raises UnavailableError: coming back is the informer's business. At most `REQUESTS_MAX` requests are under way,
the others wait their turn; one watch holds one connection besides. A server that is too busy (429) is asked again when it says.

With `slim`, what is listed and watched comes without managedFields, and shares text that many objects have: for operators, which
keep all of it, and for which managedFields are half of an object.

Whoever is refused for its identity (401) logs in anew once: by the kubeconfig's login program, or by `log_in`.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Self, cast
from urllib.parse import quote, urlencode

import orjson

from reconcile.causality import CAUSE_HEADER, TRACEPARENT, TRIGGER, Cause, spans
from reconcile.client import (
    APPLY_PATCH,
    BATCH_HEADER,
    BATCH_MEDIA,
    BATCH_PATH,
    FINALIZERS_HEADER,
    WHOLE,
    WHOLE_HEADER,
    DeleteOptions,
    Page,
    Patch,
    WatchEvent,
)  # fmt: skip
from reconcile.clock import Clock
from reconcile.errors import (
    ApiError,
    BadRequestError,
    InvalidError,
    TooManyRequestsError,
    Tree,
    UnauthorizedError,
    UnavailableError,
)  # fmt: skip
from reconcile.kinds import Kind

from .answers import Exchanged, halves, identified, lines, pieces, refused, revision_of, slim, standing_on, watch_event
from .batching import Batching, Sent
from .connection import Answer
from .connections import Connections, Request
from .discovered import ACCEPT, kinds_of_discovery, kinds_of_resources, preferred_first
from .errors import KubeconfigError, unreachable
from .kubeconfig import FILES_S, Access
from .urls import group_path, resource_path

_JSON = "application/json"
_WATCH_S_MIN, _WATCH_S_MAX = 300, 600
_SILENCE_S_MAX = 30.0
_DEFAULT_OPTIONS = DeleteOptions()
REQUESTS_MAX = 64
_BUSY_RETRIES_MAX, _BUSY_S_MAX = 5, 10.0
_BATCH = BATCH_HEADER.lower()
_WHOLE, _WANTS_WHOLE = WHOLE_HEADER.lower(), f"{WHOLE_HEADER}: status\r\n"
Query = dict[str, str]


LogIn = Callable[[], Awaitable[tuple[Access, float]]]
"""Gives an access and until when it holds, in seconds since the epoch (0: for ever)."""


class HttpClient:
    """Implements `reconcile.client.Client` over HTTP. Close it, or use it in `async with`."""

    def __init__(
        self,
        access: Access,
        clock: Clock,
        *,
        timeout_s: float = 60.0,
        user_agent: str = "reconcile",
        log_in: LogIn | None = None,
        requests_max: int = REQUESTS_MAX,
        slim: bool = False,
    ) -> None:
        self.access = access
        self._clock = clock
        self._timeout_s = timeout_s
        self._agent = user_agent
        self._connections: Connections | None = None
        self._retired: Connections | None = None
        self._slim = slim
        self._makes_whole = False
        self._finalizers: dict[tuple[str, str], list[str]] = {}
        self._patches = Batching(self._sent_alone, self._posted)
        self._turn = asyncio.Semaphore(requests_max)
        self._log_in = log_in
        self._logged_in_until_s = -1.0 if log_in is not None else 0.0
        self._logging_in = asyncio.Lock()
        self._files_read_s = clock.monotonic()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; watches end."""
        self._patches.close()
        for connections in (self._connections, self._retired):
            if connections is not None:
                await connections.close()
        self._connections = self._retired = None

    # The Client protocol

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Tree:
        """The newest state of one object."""
        return await self.request("GET", _path(kind, namespace, name))

    async def list(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "", limit: int = 0, continue_token: str = ""
    ) -> Page:
        """The objects of a kind (of all namespaces where `namespace` is empty), at one consistent revision."""
        query = _selectors(labels, fields)
        if limit:
            query["limit"] = str(limit)
        if continue_token:
            query["continue"] = continue_token
        answer, headers = await self._exchange("GET", _path(kind, namespace), query)
        self._makes_whole, self._patches.taken = _WHOLE in headers, _BATCH in headers
        metadata = answer.get("metadata") or {}
        if not metadata.get("resourceVersion"):
            # A proxy, most likely. Taken for an empty list, it would make everything look deleted.
            raise UnavailableError(f"{self.access.server}{_path(kind, namespace)} answers with something that is no list")
        remaining = metadata.get("remainingItemCount")
        items = [identified(item, kind) for item in answer.get("items") or ()]
        if self._slim:
            for item in items:
                slim(item)
        return Page(items, int(metadata.get("resourceVersion") or 0), metadata.get("continue") or "", remaining)

    async def watch(
        self, kind: Kind, namespace: str = "", *, since: int = 0, labels: str = "", fields: str = "", initial: bool = False
    ) -> AsyncIterator[WatchEvent]:
        """Changes after revision `since`, in order, none lost; see `reconcile.client.Client.watch`."""
        query = {**_selectors(labels, fields), "watch": "true", "allowWatchBookmarks": "true"}
        if initial:
            streaming = {**query, "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
            try:
                async for event in self._events(kind, namespace, streaming):
                    yield event
                return
            except (BadRequestError, InvalidError):
                # A server from before WatchList says that it does not know it: list, then watch.
                since, page = await self._everything(kind, namespace, labels, fields)
            for tree in page:
                yield WatchEvent("ADDED", tree, revision_of(tree) or since)
            yield WatchEvent("BOOKMARK", {}, since, initial_end=True)
        elif not since:
            # Without a revision a Kubernetes server begins with the current state; here 0 means from now on.
            since = (await self.list(kind, namespace, labels=labels, fields=fields, limit=1)).revision
        async for event in self._events(kind, namespace, {**query, "resourceVersion": str(since)}):
            yield event

    def begin_with(self, kind: Kind, finalizer: str) -> Callable[[], None]:
        """Ask, with each watch of a kind from now on, that new objects be created with a finalizer; returns what ends that.

        Not every server heeds it.
        """
        wanted = self._finalizers.setdefault((kind.group, kind.plural), [])
        wanted.append(finalizer)
        return lambda: wanted.remove(finalizer)

    async def create(
        self, kind: Kind, tree: Tree, namespace: str = "", *, field_manager: str = "", dry_run: bool = False
    ) -> Tree:
        """Create; metadata.generateName is honoured."""
        namespace = namespace or str((tree.get("metadata") or {}).get("namespace") or "")
        return await self.request("POST", _path(kind, namespace), _writing(field_manager, dry_run), identified(tree, kind))

    async def update(
        self, kind: Kind, tree: Tree, namespace: str = "", *,
        subresource: str = "", field_manager: str = "", dry_run: bool = False,
    ) -> Tree:  # fmt: skip
        """Replace. A resourceVersion in the tree is a precondition."""
        metadata = tree.get("metadata") or {}
        path = _path(kind, namespace or str(metadata.get("namespace") or ""), str(metadata.get("name") or ""), subresource)
        body = tree if subresource == "scale" else identified(tree, kind)
        return await self.request("PUT", path, _writing(field_manager, dry_run), body)

    async def patch(
        self, kind: Kind, name: str, patch: Patch, namespace: str = "", *,
        subresource: str = "", field_manager: str = "", force: bool = False, dry_run: bool = False, strict: bool = False,
    ) -> Tree:  # fmt: skip
        """Change part of an object; APPLY_PATCH creates it where it is absent."""
        query = _writing(field_manager, dry_run)
        if force and patch.media_type == APPLY_PATCH:
            query["force"] = "true"
        if strict:
            query["fieldValidation"] = "Strict"
        body = patch.body
        if subresource == WHOLE:
            return await self._patch_whole(kind, name, namespace, query, patch)
        if patch.media_type == APPLY_PATCH and not subresource and isinstance(body, dict):
            body = identified(body, kind)
        path = _path(kind, namespace, name, subresource)
        return (await self._patched(path, query, body, patch.media_type)).tree

    async def _patch_whole(self, kind: Kind, name: str, namespace: str, query: Query, patch: Patch) -> Tree:
        """A merge patch of the status and the rest: one request to servers that say that they do that, else one for each."""
        path, media = _path(kind, namespace, name), patch.media_type
        if self._makes_whole or not kind.status:
            made = await self._patched(path, query, patch.body, media, whole=True)
            self._makes_whole = _WHOLE in made.headers
            if self._makes_whole or not kind.status:
                return made.tree
            # Another server than the one that said so has taken the rest, and left the status out.
            status, _ = halves(patch.body)
            return await self.request("PATCH", f"{path}/status", query, standing_on(status, made.tree), content_type=media)
        status, rest = halves(patch.body)
        tree = await self.request("PATCH", f"{path}/status", query, status, content_type=media)
        return await self.request("PATCH", path, query, standing_on(rest, tree), content_type=media)

    async def _patched(self, path: str, query: Query, body: Any, media: str, *, whole: bool = False) -> Exchanged:
        """Send a patch, which may go with others that are asked for at the same time."""
        if spans() is not None:  # a span is a request's
            further = _WANTS_WHOLE if whole else ""
            return await self._exchange("PATCH", path, query, body, content_type=media, further=further)
        trigger = TRIGGER.get()
        cause = quote(Cause.of(trigger).encode()) if trigger is not None else ""
        target = f"{path}?{urlencode(query)}" if query else path
        return await self._patches.ask(Sent(target, media, orjson.dumps(body), cause, whole))

    async def _sent_alone(self, sent: Sent) -> Exchanged:
        answer = await self._answered("PATCH", sent.target, sent.body, sent.media, _JSON, _WANTS_WHOLE if sent.whole else "")
        return self._decoded(answer, sent.target)

    async def _posted(self, batch: bytes) -> bytes:
        return (await self._answered("POST", BATCH_PATH, batch, BATCH_MEDIA, BATCH_MEDIA)).body

    async def delete(self, kind: Kind, name: str, namespace: str = "", options: DeleteOptions = _DEFAULT_OPTIONS) -> Tree:
        """Delete. Returns the object as it lingers; of one that is gone, what the server says about it: name and uid."""
        preconditions = {
            key: value for key, value in (("uid", options.uid), ("resourceVersion", options.resource_version)) if value
        }
        body: Tree = {"kind": "DeleteOptions", "apiVersion": "v1"}
        for key, value in (
            ("gracePeriodSeconds", options.grace_s), ("propagationPolicy", options.propagation),
            ("preconditions", preconditions or None), ("dryRun", ["All"] if options.dry_run else None),
            ("ignoreStoreReadErrorWithClusterBreakingPotential", options.ignores_read_error or None),
        ):  # fmt: skip
            if value is not None:
                body[key] = value
        answer = await self.request("DELETE", _path(kind, namespace, name), {}, body)
        if answer.get("kind") != "Status":
            return answer
        metadata = {"name": name, "uid": (answer.get("details") or {}).get("uid", "")}
        return identified({"metadata": {**metadata, **({"namespace": namespace} if namespace else {})}}, kind)

    async def act(self, kind: Kind, name: str, action: str, body: Tree, namespace: str = "") -> Tree:
        """Write one of the kind's further subresources. Returns what the server says: mostly a Status."""
        return await self.request("POST", _path(kind, namespace, name, action), {}, body)

    async def kinds(self) -> Sequence[Kind]:
        """What is served now and can be listed: the preferred version of each. Their schemas are open.

        From aggregated discovery (two requests), else from the plain lists (one for each group and version).
        """
        kinds: builtins.list[Kind] = []
        for root in ("/api", "/apis"):
            tree = await self.request("GET", root, accept=ACCEPT)
            if tree.get("kind") == "APIGroupDiscoveryList":
                kinds += kinds_of_discovery(tree)
                continue
            if root == "/api":
                named = [("", [str(version) for version in tree.get("versions") or ()])]
            else:
                named = [(g["name"], preferred_first(g)) for g in tree.get("groups") or ()]
            for group, versions in named:
                lists = [await self.request("GET", group_path(group, version)) for version in versions]
                kinds += kinds_of_resources(group, versions, lists)
        return kinds

    # The wire

    async def request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None, *,
        content_type: str = _JSON, accept: str = _JSON,
    ) -> Tree:  # fmt: skip
        """Send one request and read the JSON answer.

        Raises:
            ApiError: the server refused; UnavailableError: it cannot be reached.
        """
        return (await self._exchange(method, path, query, body, content_type=content_type, accept=accept)).tree

    async def _exchange(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None, *,
        content_type: str = _JSON, accept: str = _JSON, further: str = "",
    ) -> Exchanged:  # fmt: skip
        """The same with the answer's headers; `further` are more lines of headers to send."""
        told = spans()
        if told is None:
            return await self._exchanged(method, path, query, body, content_type, accept, further, "")
        attributes = {"http.request.method": method, "url.path": path, "server.address": self.access.server}
        span = told.begin(method, "client", attributes, clock=self._clock)
        status, error_text = 200, "given up"
        try:
            made = await self._exchanged(method, path, query, body, content_type, accept, further, span.traceparent)
            error_text = ""
            if method != "GET" and (revision := revision_of(made.tree)):
                told.wrote(revision, span.traceparent)
            return made
        except ApiError as error:
            status, error_text = error.code, str(error)
            raise
        finally:
            span.end({"http.response.status_code": status}, error_text)

    async def _exchanged(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Any, content_type: str, accept: str, further: str,
        trace: str,
    ) -> Exchanged:  # fmt: skip
        data = orjson.dumps(body) if body is not None else None
        target = f"{path}?{urlencode(query)}" if query else path
        return self._decoded(await self._answered(method, target, data, content_type, accept, further, trace), path)

    def _decoded(self, answer: Answer, path: str) -> Exchanged:
        try:
            return Exchanged(cast(Tree, orjson.loads(answer.body)), answer.headers)
        except ValueError:
            raise UnavailableError(f"{self.access.server}{path} answers with {answer.body[:80]!r}, which is no JSON") from None

    async def _answered(
        self, method: str, target: str, data: bytes | None, content_type: str, accept: str, further: str = "", trace: str = ""
    ) -> Answer:
        busy, identified_anew = 0, False
        async with self._turn:
            while True:
                connections = await self._ready()
                shown = self.access
                head = self._lines(accept, content_type if data else "", trace) + further
                try:
                    return await self._ask(connections, Request(method, target, head, data))
                except UnauthorizedError:
                    if identified_anew or not await self._identify_anew(shown):
                        raise
                    identified_anew = True
                except TooManyRequestsError as error:
                    # The server has done nothing, so nothing is done twice.
                    after_s = error.details.get("retryAfterSeconds")
                    busy += 1
                    if after_s is None or busy > _BUSY_RETRIES_MAX:
                        raise
                    await self._clock.sleep(min(float(after_s), _BUSY_S_MAX) * (1 + self._clock.random.random() / 4))

    async def _ask(self, connections: Connections, request: Request) -> Answer:
        try:
            answer = await connections.ask(request)
        except OSError as error:
            raise self._unavailable(error) from error
        if answer.status >= 400:
            raise refused(answer)
        return answer

    async def _ready(self) -> Connections:
        """Connections for the access of now; logs in where that is due."""
        until_s = self._logged_in_until_s
        if self._log_in is not None and until_s and until_s <= self._clock.now():
            async with self._logging_in:
                if self._logged_in_until_s == until_s:
                    access, self._logged_in_until_s = await self._log_in()
                    self._take(access)
        if self.access.of_files and self._clock.monotonic() >= self._files_read_s + FILES_S:
            self._files_read_s = self._clock.monotonic()
            self._take(self.access.reread())
        login = self.access.login
        if login is not None and login.stale:
            try:
                given = await asyncio.to_thread(login.credential)
            except KubeconfigError as error:
                raise UnauthorizedError(str(error)) from error
            if given.client_cert:
                self._retire()
        return self._open()

    async def _identify_anew(self, shown: Access) -> bool:
        """Forget who we said we are; whether there is another way to say it."""
        if self._log_in is not None:
            if self.access is shown:
                self._logged_in_until_s = -self._clock.now()  # another than before, and over
            return True
        if self.access.login is not None:
            self.access.login.forget()
            return True
        return bool(self.access.token_file)  # rotated this moment, it may be

    def _take(self, access: Access) -> None:
        before, self.access = self.access, access
        if before._replace(token="", token_file="") != access._replace(token="", token_file=""):
            self._retire()

    def _retire(self) -> None:
        """Open new connections from now on. What is under way on the old ones may end; they close at the next change."""
        if self._connections is not None:
            old, self._retired, self._connections = self._retired, self._connections, None
            if old is not None:
                asyncio.ensure_future(old.close())  # noqa: RUF006 - it ends by itself, and at once

    async def _events(self, kind: Kind, namespace: str, query: Query) -> AsyncIterator[WatchEvent]:
        """One watch, from its opening to its end."""
        # Asked for anew every few minutes, so that a connection that died in silence is noticed.
        limit_s = self._clock.random.randint(_WATCH_S_MIN, _WATCH_S_MAX)
        query = {**query, "timeoutSeconds": str(limit_s)}
        connections, shown = await self._ready(), self.access
        head = self._lines(_JSON, "")
        if finalizers := self._finalizers.get((kind.group, kind.plural)):
            head += f"{FINALIZERS_HEADER}: {','.join(finalizers)}\r\n"
        request = Request("GET", f"{_path(kind, namespace)}?{urlencode(query)}", head)
        try:
            async with connections.open(request) as (status, connection):
                if status == 401:
                    await self._identify_anew(shown)  # the informer comes back
                if status >= 400:
                    body = [line async for line in pieces(connection, self._timeout_s)]
                    raise refused(Answer(status, {}, b"".join(body)))
                async for line in lines(pieces(connection, limit_s + _SILENCE_S_MAX)):
                    event = watch_event(orjson.loads(line))
                    if self._slim and event.type != "BOOKMARK":
                        slim(event.object)
                    yield event
        except OSError as error:
            raise self._unavailable(error) from error

    async def _everything(self, kind: Kind, namespace: str, labels: str, fields: str) -> tuple[int, builtins.list[Tree]]:
        trees: builtins.list[Tree] = []
        page = await self.list(kind, namespace, labels=labels, fields=fields, limit=500)
        trees += page.items
        while page.continue_token:
            page = await self.list(
                kind, namespace, labels=labels, fields=fields, limit=500, continue_token=page.continue_token
            )  # fmt: skip
            trees += page.items
        return page.revision, trees

    def _open(self) -> Connections:
        if self._connections is None:
            self._connections = Connections(self.access, self._clock, self._timeout_s)
        return self._connections

    def _lines(self, accept: str, content_type: str, trace: str = "") -> str:
        """Header lines of a request."""
        lines = f"Accept: {accept}\r\nUser-Agent: {self._agent}\r\n"
        trigger = TRIGGER.get()
        if trigger is not None:
            lines += f"{CAUSE_HEADER}: {quote(Cause.of(trigger).encode())}\r\n"
        if trace:
            lines += f"{TRACEPARENT}: {trace}\r\n"
        for name, value in self.access.impersonated:
            lines += f"{name}: {_in_one_line(value, self.access.source)}\r\n"
        if content_type:
            lines += f"Content-Type: {content_type}\r\n"
        if token := self.access.bearer():
            lines += f"Authorization: Bearer {_in_one_line(token, self.access.source)}\r\n"
        return lines

    def _unavailable(self, error: OSError) -> UnavailableError:
        return UnavailableError(unreachable(self.access.server, error, self.access.source))


def _in_one_line(token: str, source: str) -> str:
    if not token.isprintable() or not token.isascii():
        raise UnauthorizedError(
            f"a token or a name of {source or 'this client'} holds what no header can: give it in one line of ASCII"
        )
    return token


def _path(kind: Kind, namespace: str, name: str = "", subresource: str = "") -> str:
    return resource_path(kind.group, kind.version, kind.plural, namespace if kind.namespaced else "", name, subresource)


def _selectors(labels: str, fields: str) -> Query:
    query = {}
    if labels:
        query["labelSelector"] = labels
    if fields:
        query["fieldSelector"] = fields
    return query


def _writing(field_manager: str, dry_run: bool) -> Query:
    query = {"fieldManager": field_manager} if field_manager else {}
    if dry_run:
        query["dryRun"] = "All"
    return query
