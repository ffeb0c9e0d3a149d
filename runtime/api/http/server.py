"""Starts and stops the HTTP face of an `ApiServer`.

    credentials = Credentials.load_or_make(data_dir / "pki", clock.now())
    server = HttpServer(api, HttpSettings(credentials=credentials))
    address = await server.start("127.0.0.1", 0)      # https://127.0.0.1:43211
    ...
    await server.stop()

The HTTP library is imported by `start`, not before: a simulated cluster in a test pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import attrs

from reconcile.identity import Caller
from reconcile.runtime.api.security import Security
from reconcile.runtime.api.server import REQUEST_BYTES_MAX, ApiServer

from .certificates import Credentials
from .face import Face
from .health import Check
from .identity import ADMIN, Authenticate, Authenticator, StaticTokens, everybody
from .inflight import InFlight
from .metrics import Source

if TYPE_CHECKING:
    import socket

    from .openapi import Texts
    from .protobuf import Tables
    from .transport import Transport

KUBERNETES_MINOR = 36


@attrs.frozen
class HttpSettings:
    """How to serve. Without `credentials`: plain HTTP, open to whoever reaches the port (tests, or behind a proxy)."""

    credentials: Credentials | None = None
    authenticate: Authenticate | None = None
    tokens: Mapping[str, Caller] = attrs.field(factory=dict, repr=False)
    """Further tokens that never change, and whom they stand for."""
    anonymous: bool = False
    """Whether requests without credentials are judged by the policy, as system:anonymous, instead of refused."""
    reads_max: int = 400
    writes_max: int = 200
    """How many requests are answered at once; 0 stands for no bound. Streams are not counted."""
    body_bytes_max: int = REQUEST_BYTES_MAX
    gzip_bytes_min: int = 128 << 10
    connections_max: int = 4096
    """Beyond these (or what the operating system allows), whoever was quiet for longest has to go."""
    greeting_timeout_s: float = 32.0
    """From a connection's beginning to the end of its first request's head, TLS included."""
    read_timeout_s: float = 60.0
    """From the beginning of a request's body to its end."""
    write_timeout_s: float = 60.0
    """A client that takes nothing of a stream, or not all of an answer, for so long is cut off."""
    keepalive_s: float = 90.0
    """From an answer to the end of the next request's head."""
    git_version: str = f"v1.{KUBERNETES_MINOR}.0+reconcile"
    wire: Callable[[], Tables] = dict
    """Gives the tables by which protobuf is read and written (see `protobuf`); by default no kind has any."""
    texts: Callable[[], Texts] = dict
    """Gives what OpenAPI documents say of built-in kinds' fields that do not say it themselves (see `openapi`)."""

    def authenticator(self, security: Security) -> Authenticate:
        """Who tells callers apart: the given one, else the admin's token and what else `security` knows, else nobody."""
        if self.authenticate is not None:
            return self.authenticate
        if self.credentials is None:
            return everybody
        security.add_token_reader(StaticTokens({**self.tokens, self.credentials.token: ADMIN}))
        return Authenticator(security, anonymous=self.anonymous)


@attrs.frozen
class Address:
    """Where a server listens."""

    scheme: str
    host: str
    port: int

    @property
    def netloc(self) -> str:
        """`127.0.0.1:6443`, with brackets around IPv6."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """`https://127.0.0.1:6443`."""
        return f"{self.scheme}://{self.netloc}"


class HttpServer:
    """Serves an API server over HTTP; one start, one stop."""

    def __init__(self, api: ApiServer, settings: HttpSettings = HttpSettings()) -> None:
        self._settings = settings
        self._clock = api.clock
        self._face = Face(
            api, settings.authenticator(api.security), InFlight(settings.reads_max, settings.writes_max), _version(settings),
            lambda: self._netloc, settings.wire, settings.texts,
        )  # fmt: skip
        self._transport: Transport | None = None
        self._netloc = ""

    def add_check(self, name: str, check: Check, *, ready_only: bool = False) -> None:
        """Add a health check to /healthz, /livez and /readyz (or to the last alone): an empty string, or what is wrong."""
        (self._face.ready_checks if ready_only else self._face.checks)[name] = check

    def add_metrics(self, source: Source) -> None:
        """Have more told at /metrics: `source` gives Prometheus text."""
        self._face.metrics.sources.append(source)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> Address:
        """Listen, and say where (port 0 takes a free one).

        Raises:
            OSError: the address cannot be had; `strerror` says why.
        """
        import socket

        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return await self.start_on(socket.create_server((host, port), family=family))

    async def start_on(self, listener: socket.socket) -> Address:
        """Listen on a socket that is bound already, and say where that is; it is closed with the server."""
        from .transport import Transport  # imports aiohttp, 150 ms

        credentials = self._settings.credentials
        tls = credentials.server_tls() if credentials is not None else None
        transport = Transport(self._face, self._settings, tls, self._clock)
        host, port = listener.getsockname()[:2]
        await transport.start(listener)
        self._transport = transport
        address = Address("https" if credentials is not None else "http", host, port)
        self._netloc = address.netloc
        return address

    @property
    def streams(self) -> int:
        """How many watches and other streams are open."""
        return self._transport.streams if self._transport is not None else 0

    @property
    def connections(self) -> int:
        """How many connections are open, of streams and of others."""
        return self._transport.connections if self._transport is not None else 0

    async def stop(self, grace_s: float = 2.0) -> None:
        """Stop: watches end at once, writes that began are finished, everything else gets `grace_s`."""
        self._face.close()
        if self._transport is not None:
            await self._transport.stop(grace_s)
            self._transport = None


def _version(settings: HttpSettings) -> dict[str, str]:
    import platform

    return {
        "major": "1", "minor": str(KUBERNETES_MINOR), "gitVersion": settings.git_version, "gitCommit": "",
        "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation(), "platform": f"linux/{platform.machine()}",
    }  # fmt: skip
