"""Assembles a running control plane from parts: store, API server, engine, HTTP server, folder sync.

It knows no built-in kind: whoever composes (the CLI, a test) hands in the kinds, the operators and the objects to begin
with. `start` returns when the API works in process and the operators that it cannot do without run; HTTP listens soon after
(`listening`). `start_controllers` loads and runs the others, which may take longer than all of that.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

import attrs

from reconcile.clock import Clock
from reconcile.errors import AlreadyExistsError, NotFoundError, ReconcileError, Tree
from reconcile.identity import Caller
from reconcile.kinds import Kind, Resource, kind_of
from reconcile.registry import Operator

from .api import ApiServer
from .client import InProcessClient
from .engine.engine import Engine
from .front import PKI, Front, ListenError, ListenSettings, make_front, open_listener
from .store import HistoryKeep, Store, WatchStore, keep_history

if TYPE_CHECKING:
    from .api.http import HttpServer
    from .api.http.openapi import Texts
    from .api.http.protobuf import Tables

log = logging.getLogger(__name__)

KUBECONFIG = "kubeconfig"
STORE = "store"
KEPT = HistoryKeep()
EXPLAIN = "explain"
"""Below this path of the API stand explanations of objects."""


@attrs.frozen
class Parts:
    """What a control plane is composed of.

    `namespace` is the kind whose objects are namespaces. `operators` are started after `kinds` are served and
    `objects` exist, and before anybody is answered over HTTP: those that judge what is written. `controllers` makes the others.
    """

    kinds: Sequence[type[Resource] | Kind]
    namespace: type[Resource] | None = None
    objects: Sequence[Tree] = ()
    operators: Sequence[Operator] = ()
    controllers: Callable[[], Sequence[Operator]] = tuple
    connect: Callable[[ApiServer, Front | None], None] = lambda api, front: None  # noqa: ARG005 - connects nothing
    """Called before the operators start: adds to the API what is not stored, and tells where it will answer (None: nowhere)."""
    wire: Callable[[], Tables] = dict
    """Gives the tables by which protobuf of `kinds` is read and written; called when the first such request comes."""
    texts: Callable[[], Texts] = dict
    """Gives what OpenAPI says of fields of `kinds` that do not say it themselves; called when somebody asks for it."""
    started: Sequence[str] = ("controllers",)
    """What `controllers` starts, as readiness checks name it."""


class ControlPlane:
    """A control plane in this process. Use as an async context manager, or `start` and `stop`.

    It opens an embedded store in `data_dir`, or what `store` gives: a context manager that opens, and closes.
    """

    def __init__(
        self, data_dir: Path, clock: Clock, parts: Parts, *, http: ListenSettings | None = None,
        store: Callable[[], AbstractAsyncContextManager[WatchStore]] | None = None, history: HistoryKeep = KEPT,
    ) -> None:  # fmt: skip
        self.data_dir, self.clock = data_dir, clock
        self._parts, self._http, self._history = parts, http, history
        self._opens = store
        self._server: HttpServer | None = None
        self._listening: asyncio.Task[str] | None = None
        self._compacting: asyncio.Task[None] | None = None
        self._tokens: Mapping[str, Caller] = {}
        self._listener: socket.socket | None = None
        self._fronting: asyncio.Task[Front] | None = None
        self._store: WatchStore | None = None
        self._opened: AbstractAsyncContextManager[WatchStore] | None = None
        self._api: ApiServer | None = None
        self._engine: Engine | None = None
        self._complete = False

    @property
    def api(self) -> ApiServer:
        """The API server; there once started."""
        assert self._api is not None, "the control plane is not started"
        return self._api

    @property
    def store(self) -> WatchStore:
        """The store; there once started."""
        assert self._store is not None, "the control plane is not started"
        return self._store

    @property
    def engine(self) -> Engine:
        """What runs the operators; there once started."""
        assert self._engine is not None, "the control plane is not started"
        return self._engine

    @property
    def client(self) -> InProcessClient:
        """The API in process, as the system itself."""
        return InProcessClient(self.api)

    @property
    def kubeconfig(self) -> Path:
        """Where the kubeconfig is written once HTTP listens."""
        return self.data_dir / KUBECONFIG

    async def start(self) -> None:
        """Open the store, serve the kinds, run the operators that judge writes, and begin to listen.

        Raises:
            StoreError: the store cannot be opened (another process has it, its schema is newer, ...).
            ListenError: the API cannot have its address.
            TokenFileError: the file of tokens cannot be used.
        """
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._fronting = self._begin_front()
            opened = self._opens() if self._opens is not None else await Store.open(self.data_dir / STORE, self.clock)
            self._store = await opened.__aenter__()
            self._opened = opened
            front = await self._fronting if self._fronting is not None else None
            namespace = kind_of(self._parts.namespace) if self._parts.namespace else None
            self._api = ApiServer(self._store, self.clock, namespace_kind=namespace)
            for cls in self._parts.kinds:
                self._api.serve(kind_of(cls))
            self._engine = Engine(self.client, self.clock, admission=self._api)
            self._api.on_kinds_changed(self._engine.kinds_changed)
            self._api.add_page(EXPLAIN, self._explain)
            self._parts.connect(self._api, front)
            await self._create_objects()
            for operator in self._parts.operators:
                await self.start_operator(operator)
        except BaseException:
            await self.stop()
            raise
        self._compacting = asyncio.create_task(keep_history(self._store, self.clock, self._history), name="history")
        if self._http is not None:
            self._listening = asyncio.create_task(self._listen(self._http), name="http server")

    async def start_controllers(self) -> None:
        """Load and run the controllers, once the API listens (where it is to). Raises what their startup handlers raise."""
        if self._listening is not None:
            await asyncio.wait({self._listening})
        for operator in self._parts.controllers():
            await self.start_operator(operator)
        self._complete = True

    def _begin_front(self) -> asyncio.Task[Front] | None:
        """Take the API's address, and make what vouches for it while the store is opened; None: there is no HTTP."""
        if self._http is None:
            return None
        if self._http.token_file is not None:
            from .api.http.tokenfile import read_tokens  # few give one

            self._tokens = read_tokens(self._http.token_file)
        self._listener = open_listener(self._http, self.data_dir)
        make = functools.partial(make_front, self._http, self._listener, self.data_dir, self.clock)
        return asyncio.create_task(asyncio.to_thread(make), name="front")

    async def listening(self) -> str:
        """Wait until HTTP listens and the kubeconfig is written; returns the server's URL."""
        if self._listening is None:
            raise ReconcileError("this control plane was started without HTTP; give it ListenSettings")
        return await asyncio.shield(self._listening)

    async def start_operator(self, operator: Operator) -> None:
        """Serve the operator's kinds and run its handlers; raises what its startup handlers raise.

        Raises:
            DeclarationError: its kinds cannot be served.
        """
        operator.check()
        served = {(kind.group, kind.version, kind.plural): kind for kind in self.api.kinds()}
        for cls in operator.kinds:
            if cls is Resource:
                continue
            kind = kind_of(cls)
            known = served.get((kind.group, kind.version, kind.plural))
            if known is None or (known.cls is not cls and not known.builtin):
                self.api.serve(kind)
        await self.engine.start(operator)

    async def stop_operator(self, operator: Operator) -> None:
        """Stop the operator's handlers; its kinds stay served, because their objects are still there.

        A kind that a CustomResourceDefinition declares too is from now on what that says.
        """
        await self.engine.stop(operator)
        for cls in operator.kinds:
            if cls is not Resource:
                self.api.release(kind_of(cls))

    async def stop(self) -> None:
        """Stop everything, last started first; a part that fails to stop skips no other. Nothing acknowledged is lost."""
        async with AsyncExitStack() as steps:  # which takes them from the last to the first
            if self._opened is not None:
                steps.push_async_exit(self._opened)
            if self._engine is not None:
                steps.push_async_callback(self._engine.close)
            if self._listener is not None:
                steps.callback(self._listener.close)
            if self._server is not None:
                steps.push_async_callback(self._server.stop)
            tasks = [task for task in (self._listening, self._compacting) if task is not None]
            for task in tasks:
                task.cancel()
            front = [self._fronting] if self._fronting is not None else []  # a thread, which cannot be cancelled
            await asyncio.gather(*tasks, *front, return_exceptions=True)
            self._listening = self._compacting = self._server = self._engine = self._store = None
            self._opened = self._listener = None

    async def _explain(self, path: str, query: Mapping[str, str]) -> Tree:
        from .explain.pages import Pages  # rarely asked for

        return await Pages(self.api, self.engine).answer(path, query)

    async def _create_objects(self) -> None:
        """Create what a cluster begins with, where it is not there yet."""
        for tree in self._parts.objects:
            kind = next(k for k in self.api.kinds() if (k.api_version, k.kind) == (tree["apiVersion"], tree["kind"]))
            name, namespace = tree["metadata"]["name"], tree["metadata"].get("namespace", "")
            try:
                await self.client.get(kind, name, namespace)
            except NotFoundError:
                await _unless_there(self.client.create(kind, tree, namespace, field_manager="bootstrap"))

    async def _listen(self, settings: ListenSettings) -> str:
        """Serve HTTPS and write the kubeconfig."""
        # Loading HTTP takes long: what runs without it pays nothing for it.
        from .api.http import Credentials, HttpServer, HttpSettings
        from .client.kubeconfig import Access, tree_of, write

        assert self._listener is not None, "the socket is opened first"
        credentials = Credentials.load_or_make(self.data_dir / PKI, self.clock.now(), (settings.host, *settings.names))
        self._server = HttpServer(
            self.api, HttpSettings(credentials=credentials, wire=self._parts.wire, texts=self._parts.texts, tokens=self._tokens)
        )
        self._observe(self._server)
        address = await self._server.start_on(self._listener)
        access = Access(address.url, ca=credentials.ca_file.read_bytes(), token=credentials.token)
        write(self.kubeconfig, tree_of(access))
        return address.url

    def _observe(self, server: HttpServer) -> None:
        """Have the server tell how the store and the engine are."""
        from .observed import engine_metrics, store_metrics, trouble, unsynced

        store, engine = self.store, self.engine
        server.add_check("etcd", lambda: trouble(store))
        for part in self._parts.started:
            server.add_check(part, lambda: "" if self._complete else "still being started", ready_only=True)
        server.add_check("informer-sync", lambda: unsynced(engine), ready_only=True)
        server.add_metrics(lambda: store_metrics(store))
        server.add_metrics(lambda: engine_metrics(engine))

    async def __aenter__(self) -> Self:
        await self.start()
        await self.start_controllers()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


async def _unless_there(creation: Awaitable[Tree]) -> None:
    try:
        await creation
    except AlreadyExistsError:
        log.debug("created meanwhile by somebody else")


__all__ = ["ControlPlane", "Front", "ListenError", "ListenSettings", "Parts"]
