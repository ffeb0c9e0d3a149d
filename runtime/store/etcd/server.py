"""The gRPC server: the services of an etcd over one store."""

from __future__ import annotations

from reconcile.clock import Clock
from reconcile.runtime.store.store import Store

from .access import Access
from .accounts import Accounts
from .auth import Auth
from .cluster import Cluster
from .concurrency import Concurrency
from .errors import AddressError, TokenOptionError
from .guards import Guarded
from .health import Health
from .http2 import Http2Server
from .kv import KV
from .leases import Leases
from .maintenance import Maintenance
from .member import EtcdSettings, Member
from .methods import Methods
from .tls import check_address
from .tokens import SimpleTokens, Tokens
from .watching import Watching

_STOP_GRACE_S = 1.0


class EtcdServer:
    """An etcd of one member over `store`, which stays its owner's: close the server first, then the store."""

    def __init__(self, member: Member, address: str) -> None:
        self.member = member
        self.address = address
        """Where it listens, with the port that was taken."""
        settings = member.settings
        tokens = _tokens(settings, member.clock)
        access = Access(member.store, Accounts(member.store), tokens, by_certificate=settings.client_cert_auth)
        methods = self._methods = Methods(Guarded(access))
        for service in (
            KV(member),
            Watching(member, access),
            Leases(member),
            Cluster(member),
            Maintenance(member),
            Auth(member, access),
            Concurrency(member),
            Health(),
        ):
            service.register(methods)
        self._server: Http2Server | None = None

    @classmethod
    async def serve(cls, store: Store, clock: Clock, address: str, settings: EtcdSettings | None = None) -> EtcdServer:
        """Serve `store` on `address` ("host:port"; port 0 takes a free one).

        Raises:
            AddressError: somebody else listens there.
            OpenAddressError: it is beyond loopback, clients need not show a certificate, and nobody said that this is wanted.
            TlsFileError: a file of its TLS is missing or broken.
            TokenOptionError: its kind of tokens makes no sense.
        """
        settings = settings or EtcdSettings()
        if not settings.open_address:
            check_address(address, settings.tls)
        tls = settings.tls.contexts() if settings.tls is not None else None
        server = cls(await Member.of(store, clock, settings), address)
        host, _, port = address.rpartition(":")
        try:
            listening = await Http2Server.listen(
                host.strip("[]"), int(port), server._methods.serve, settings.message_bytes_max, tls
            )
        except (OSError, ValueError, OverflowError) as error:
            raise AddressError(address) from error
        server._server = listening
        server.address = f"{host}:{listening.port}"
        if not settings.client_urls:
            server.member.tell_urls((f"{'http' if tls is None else 'https'}://{server.address}",))
        return server

    @property
    def paths(self) -> frozenset[str]:
        """All methods that are served."""
        return self._methods.paths

    async def close(self) -> None:
        """Take no more calls, end the streams, give calls in flight a moment."""
        self._methods.close()
        if self._server is not None:
            await self._server.close(_STOP_GRACE_S)


def _tokens(settings: EtcdSettings, clock: Clock) -> Tokens:
    kind = settings.auth_token.partition(",")[0]
    if kind == "simple":
        return SimpleTokens(clock, settings.token_ttl_s)
    if kind == "jwt":
        from .jwt import JwtTokens  # 50 ms of cryptography that others do not pay

        return JwtTokens.of(settings.auth_token, clock)
    raise TokenOptionError(kind, "give simple, or jwt with its options")
