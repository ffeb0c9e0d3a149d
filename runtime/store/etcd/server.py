"""The gRPC server: the services of an etcd over one store."""

from __future__ import annotations

from typing import Any

import grpc

from reconcile.clock import Clock
from reconcile.runtime.store.store import Store

from .access import Access
from .accounts import Accounts
from .auth import Auth
from .cluster import Cluster
from .concurrency import Concurrency
from .errors import AddressError
from .guards import Guarded
from .health import Health
from .kv import KV
from .leases import Leases
from .maintenance import Maintenance
from .member import EtcdSettings, Member
from .methods import Methods
from .tls import check_address
from .tokens import SimpleTokens
from .watching import Watching

_RECEIVE_BYTES_MAX = 64 << 20
"""Beyond it grpcio refuses by itself, in its own words; below, we refuse in etcd's."""
_STOP_GRACE_S = 1.0

_OPTIONS = (
    ("grpc.max_receive_message_length", _RECEIVE_BYTES_MAX),
    # A list of many keys must pass whatever its size.
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
    # etcd's clients ping every few seconds, calls or not.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class EtcdServer:
    """An etcd of one member over `store`, which stays its owner's: close the server first, then the store."""

    def __init__(self, member: Member, address: str) -> None:
        self.member = member
        self.address = address
        """Where it listens, with the port that was taken."""
        settings = member.settings
        tokens = SimpleTokens(member.clock, settings.token_ttl_s)
        access = Access(member.store, Accounts(member.store), tokens, by_certificate=settings.client_cert_auth)
        methods = self._methods = Methods(settings.message_bytes_max, Guarded(access))
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
        self._server: Any = grpc.aio.server(options=_OPTIONS)  # Any: grpcio has no types
        self._server.add_generic_rpc_handlers((methods,))

    @classmethod
    async def serve(cls, store: Store, clock: Clock, address: str, settings: EtcdSettings | None = None) -> EtcdServer:
        """Serve `store` on `address` ("host:port"; port 0 takes a free one).

        Raises:
            AddressError: somebody else listens there.
            OpenAddressError: it is beyond loopback, clients need not show a certificate, and nobody said that this is wanted.
            TlsFileError: a file of its TLS is missing or broken.
        """
        settings = settings or EtcdSettings()
        if not settings.open_address:
            check_address(address, settings.tls)
        credentials = settings.tls.credentials() if settings.tls is not None else None
        server = cls(await Member.of(store, clock, settings), address)
        host = address.rpartition(":")[0]
        try:
            port = (
                server._server.add_insecure_port(address)
                if credentials is None
                else server._server.add_secure_port(address, credentials)
            )
        except RuntimeError as error:
            raise AddressError(address) from error
        if not port:
            raise AddressError(address)
        server.address = f"{host}:{port}"
        if not settings.client_urls:
            server.member.tell_urls((f"{'http' if credentials is None else 'https'}://{server.address}",))
        await server._server.start()
        return server

    @property
    def paths(self) -> frozenset[str]:
        """All methods that are served."""
        return self._methods.paths

    async def close(self) -> None:
        """Take no more calls, end the streams, give calls in flight a moment."""
        self._methods.close()
        await self._server.stop(_STOP_GRACE_S)
