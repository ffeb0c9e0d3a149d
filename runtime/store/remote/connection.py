"""Calls to an etcd cluster: which endpoint, how long, again or not, and what its refusals mean.

One endpoint is used until it fails, then the next one. A request that changes nothing, or that does the same when it is done
twice, is asked again until it is answered or its time is over (`ask`); any other is sent once, and its sender learns when
nobody can tell what became of it (`once` raises Unclear).

Source: etcd client/v3/retry_interceptor.go, api/v3rpc/rpctypes/error.go
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import attrs
import grpc
from aetcd.rpc import rpc_pb2 as pb

from reconcile.clock import Clock
from reconcile.runtime.store.errors import (
    BusyError,
    LeaseTooLongError,
    NoSpaceError,
    StoreError,
    TooManyRequestsError,
)

from .address import EtcdAddress
from .errors import AddressFormError, EtcdRefusal, UnreachableError
from .keyspace import Message

Channel = Any
"""A grpc.aio.Channel: grpcio has no types."""
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),  # what may be sent again is decided here
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    # A member that vanished without a word is noticed; etcd allows a ping each 5 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)
_UNCLEAR = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN", "INTERNAL", "ABORTED"}
_PAUSE_S, _PAUSE_S_MAX = 0.05, 0.5
_TOKEN_GONE = ("etcdserver: invalid auth token", "etcdserver: revision of auth store is old")


@attrs.frozen
class Method:
    """A method of etcd's with the messages that it takes and gives."""

    path: str
    answer: Message


RANGE = Method("/etcdserverpb.KV/Range", pb.RangeResponse)
PUT = Method("/etcdserverpb.KV/Put", pb.PutResponse)
TXN = Method("/etcdserverpb.KV/Txn", pb.TxnResponse)
COMPACT = Method("/etcdserverpb.KV/Compact", pb.CompactionResponse)
GRANT = Method("/etcdserverpb.Lease/LeaseGrant", pb.LeaseGrantResponse)
REVOKE = Method("/etcdserverpb.Lease/LeaseRevoke", pb.LeaseRevokeResponse)
KEEP_ALIVE = Method("/etcdserverpb.Lease/LeaseKeepAlive", pb.LeaseKeepAliveResponse)
STATUS = Method("/etcdserverpb.Maintenance/Status", pb.StatusResponse)
WATCH = Method("/etcdserverpb.Watch/Watch", pb.WatchResponse)
_AUTHENTICATE = Method("/etcdserverpb.Auth/Authenticate", pb.AuthenticateResponse)


class Unclear(Exception):
    """A request was sent, and it is not known what became of it."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Connection:
    """Channels to the endpoints of a cluster."""

    def __init__(self, address: EtcdAddress, clock: Clock, request_timeout_s: float, attempt_timeout_s: float) -> None:
        self.address = address
        self._clock = clock
        self.request_timeout_s, self.attempt_timeout_s = request_timeout_s, attempt_timeout_s
        self._credentials = _credentials(address)
        self._channels: dict[str, Channel] = {}
        self._callables: dict[tuple[str, str], Any] = {}  # Any: grpcio has no types
        self._at = 0
        self._token: str | None = None
        self._login = asyncio.Lock()

    @property
    def endpoint(self) -> str:
        """The endpoint in use."""
        return self.address.endpoints[self._at]

    def deadline(self) -> float:
        """When a request that begins now is given up, on the monotonic clock."""
        return self._clock.monotonic() + self.request_timeout_s

    async def ask(self, method: Method, request: Message, *, retried: Callable[[], None] | None = None) -> Message:
        """Send a request that may be sent again, until it is answered.

        Raises:
            UnreachableError: no endpoint answered in time.
            StoreError: etcd refuses.
        """
        deadline, pause_s = self.deadline(), _PAUSE_S
        while True:
            try:
                return await self.once(method, request)
            except Unclear as error:
                if self._clock.monotonic() + pause_s > deadline:
                    raise UnreachableError(self.address.endpoints, error.why) from error
                await self._clock.sleep(pause_s)
                pause_s = min(pause_s * 2, _PAUSE_S_MAX)
                if retried is not None:
                    retried()

    async def once(self, method: Method, request: Message) -> Message:
        """Send a request once.

        Raises:
            Unclear: it is not known what became of it; the next request goes to the next endpoint.
            StoreError: etcd refuses.
        """
        endpoint = self.endpoint
        try:
            return await self._call(endpoint, method, request)
        except grpc.aio.AioRpcError as error:
            if self.address.user and error.code() is grpc.StatusCode.UNAUTHENTICATED and error.details() in _TOKEN_GONE:
                self._token = None
                try:
                    return await self._call(endpoint, method, request)
                except grpc.aio.AioRpcError as again:
                    error = again
            self._explain(endpoint, error)

    def stream(self, method: Method, endpoint: str, metadata: tuple[tuple[str, str], ...]) -> Any:  # Any: a grpc.aio call
        """Open a stream of requests and answers; `metadata` comes from `metadata()`."""
        key = (endpoint, method.path)
        made = self._callables.get(key)
        if made is None:
            made = self._callables[key] = self._channel(endpoint).stream_stream(
                method.path, request_serializer=_serialized, response_deserializer=method.answer.FromString
            )
        return made(metadata=(*metadata, ("hasleader", "true")))

    async def keep_alive(self, lease: int) -> int:
        """Renew a lease; gives its time in seconds, 0: there is none.

        Raises:
            UnreachableError, EtcdRefusal.
        """
        deadline = self.deadline()
        while True:
            endpoint = self.endpoint
            stream = self.stream(KEEP_ALIVE, endpoint, await self.metadata())
            try:
                async with asyncio.timeout(self.attempt_timeout_s):
                    await stream.write(pb.LeaseKeepAliveRequest(ID=lease))
                    answer = await stream.read()
                if answer is not grpc.aio.EOF:
                    return int(answer.TTL)
                why = f"{endpoint}: the stream ended"
            except TimeoutError:
                why = f"{endpoint}: no answer"
            except grpc.aio.AioRpcError as error:
                if error.code().name not in _UNCLEAR:
                    self._explain(endpoint, error)
                why = self.unclear(endpoint, error)
            finally:
                stream.cancel()
            self.failed(endpoint)
            if self._clock.monotonic() > deadline:
                raise UnreachableError(self.address.endpoints, why)
            await self._clock.sleep(_PAUSE_S)

    async def metadata(self) -> tuple[tuple[str, str], ...]:
        """What says who we are, to go with a request."""
        if not self.address.user:
            return ()
        async with self._login:
            if self._token is None:
                self._token = await self._authenticate()
        return (("token", self._token),)

    def failed(self, endpoint: str) -> None:
        """Use the next endpoint, unless that was done already."""
        if endpoint == self.endpoint:
            self._at = (self._at + 1) % len(self.address.endpoints)

    def unclear(self, endpoint: str, error: grpc.aio.AioRpcError) -> str:
        """Why it is not known what became of a request, for a person."""
        return f"{endpoint}: {error.details() or error.code().name}"

    async def close(self) -> None:
        """Close all channels."""
        channels = list(self._channels.values())
        self._channels.clear()
        self._callables.clear()
        await asyncio.gather(*(channel.close() for channel in channels))

    # Inside

    async def _call(self, endpoint: str, method: Method, request: Message) -> Message:
        metadata = await self.metadata()
        answer: Awaitable[Message] = self._unary(endpoint, method)(request, timeout=self.attempt_timeout_s, metadata=metadata)
        return await answer

    def _unary(self, endpoint: str, method: Method) -> Any:  # Any: grpcio has no types
        key = (endpoint, method.path)
        made = self._callables.get(key)
        if made is None:
            made = self._callables[key] = self._channel(endpoint).unary_unary(
                method.path, request_serializer=_serialized, response_deserializer=method.answer.FromString
            )
        return made

    def _channel(self, endpoint: str) -> Channel:
        channel = self._channels.get(endpoint)
        if channel is None:
            if self._credentials is not None:
                channel = grpc.aio.secure_channel(endpoint, self._credentials, options=_OPTIONS)
            else:
                channel = grpc.aio.insecure_channel(endpoint, options=_OPTIONS)
            self._channels[endpoint] = channel
        return channel

    async def _authenticate(self) -> str:
        assert self.address.password_file is not None, "a user has a password file"
        try:
            password = self.address.password_file.read_text().rstrip("\r\n")
        except OSError as error:
            raise AddressFormError(str(self.address), f"{self.address.password_file} cannot be read: {error.strerror}") from error
        request = pb.AuthenticateRequest(name=self.address.user, password=password)
        call = self._unary(self.endpoint, _AUTHENTICATE)(request, timeout=self.attempt_timeout_s)
        token: str = (await call).token
        return token

    def _explain(self, endpoint: str, error: grpc.aio.AioRpcError) -> NoReturn:
        """Raise what a failed call means."""
        code, text = error.code().name, error.details() or ""
        if code in _UNCLEAR:
            self.failed(endpoint)
            raise Unclear(self.unclear(endpoint, error)) from error
        raise _refusal(code, text, endpoint) from error


def _serialized(message: Message) -> bytes:
    raw: bytes = message.SerializeToString()
    return raw


def _credentials(address: EtcdAddress) -> Any:  # Any: grpc.ChannelCredentials has no type
    if not address.tls:
        return None

    def read(path: Any) -> bytes | None:
        try:
            return path.read_bytes() if path is not None else None
        except OSError as error:
            raise AddressFormError(str(address), f"{path} cannot be read: {error.strerror}") from error

    return grpc.ssl_channel_credentials(read(address.ca), read(address.key), read(address.cert))


def _refusal(code: str, text: str, endpoint: str) -> StoreError:
    """A refusal that does not depend on what was asked; the others are made by who asked."""
    if text == NoSpaceError.text:
        return NoSpaceError(f"etcd at {endpoint}")
    if text == TooManyRequestsError.text:
        return _Overloaded(endpoint)
    if text == LeaseTooLongError.text:
        return EtcdRefusal(code, text, endpoint, "ask for less")
    hint = ""
    if code in ("PERMISSION_DENIED", "UNAUTHENTICATED") or "user name is empty" in text or "authentication failed" in text:
        hint = "name a user that may read and write the prefix: etcd://...?user=NAME&password-file=FILE"
    return EtcdRefusal(code, text, endpoint, hint)


class _Overloaded(BusyError):
    """The cluster takes no more writes for now."""

    text = TooManyRequestsError.text

    def __init__(self, endpoint: str) -> None:
        super().__init__(f"etcd at {endpoint}; try again in a moment")
