"""The Service proxy of one machine: listens on each Service's address and joins clients to the Service's Pods.

Works in user space, on loopback addresses, without any right that a plain user lacks. Established connections go on while
endpoints come and go, and after the Service is deleted; only new ones see the change. TCP only.

Source: pkg/proxy/userspace (until 1.25), pkg/proxy/topology.go
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Iterable

import attrs

from reconcile.clock import Clock
from reconcile.errors import Tree
from reconcile.handling import Cluster, EventRecorder, Key, Requeue
from reconcile.registry import Operator
from reconcile.resources.core.service import Service
from reconcile.resources.discovery import EndpointSlice
from reconcile.views import tree_of

from .backends import ServiceBackends, service_of
from .connection import Side, connect

log = logging.getLogger(__name__)

NODE_PORT_ADDRESS = "127.0.0.1"
_RETRY_S = 2.0
_BACKLOG = 512


@attrs.frozen
class Address:
    """What a Service listens on, and the name of the port that it leads to."""

    host: str
    port: int
    port_name: str


class ServiceProxy:
    """The proxy; `operator` is what the engine runs."""

    def __init__(self, domain: str = "proxy.reconcile.dev") -> None:
        self.operator = Operator(domain)
        self._cluster: Cluster | None = None
        self._clock: Clock | None = None
        self._backends: dict[Key, ServiceBackends] = {}
        self._listeners: dict[Key, dict[Address, asyncio.Server]] = {}
        self._sides: set[Side] = set()
        self._declare()

    def _declare(self) -> None:
        on = self.operator.on

        @on.startup()
        def start_proxy(cluster: Cluster, clock: Clock) -> None:
            self._cluster, self._clock = cluster, clock

        @on.event(EndpointSlice, inline=True)
        def endpoints_seen(piece: EndpointSlice, event: str) -> None:
            tree = tree_of(piece)
            key = service_of(tree)
            if key is not None:
                backends = self.backends(key)
                backends.put(piece.name, None if event == "DELETED" else tree)
                if backends.empty and key not in self._listeners:
                    del self._backends[key]

        @on.event(Service, inline=True)
        def service_seen(service: Service, event: str) -> None:
            if event == "DELETED":
                self._withdraw(Key(service.namespace, service.name))

        @on.reconcile(Service)
        async def listen(service: Service, events: EventRecorder) -> Requeue | None:
            return await self._listen(service, events)

        @on.cleanup()
        def stop_proxy() -> None:
            self.close()

    def backends(self, key: Key) -> ServiceBackends:
        """The endpoints of a Service."""
        found = self._backends.get(key)
        if found is None:
            found = self._backends[key] = ServiceBackends()
        return found

    @property
    def connections(self) -> int:
        """How many connections (both sides counted) are open."""
        return len(self._sides)

    def close(self) -> None:
        """Stop listening and hang up on everybody."""
        for key in list(self._listeners):
            self._withdraw(key)
        for side in list(self._sides):
            side.abort()

    def _withdraw(self, key: Key) -> None:
        for server in self._listeners.pop(key, {}).values():
            server.close()
        backends = self._backends.get(key)
        if backends is not None and backends.empty:
            del self._backends[key]

    async def _listen(self, service: Service, events: EventRecorder) -> Requeue | None:
        """Listen on exactly the Service's addresses; one that cannot be had is reported and tried again."""
        key = Key(service.namespace, service.name)
        wanted = set(addresses_of(tree_of(service)))
        listeners = self._listeners.setdefault(key, {})
        for address in [known for known in listeners if known not in wanted]:
            listeners.pop(address).close()
        failed = False
        for address in sorted(wanted - set(listeners), key=str):
            try:
                server = await self._serve(key, address)
            except OSError as error:
                failed = True
                events.warning("FailedToListen", _why(address, error))
                continue
            if self._listeners.get(key) is not listeners:
                server.close()  # the Service was deleted while we asked for the port
                return None
            listeners[address] = server
        return Requeue(_RETRY_S) if failed else None

    async def _serve(self, key: Key, address: Address) -> asyncio.Server:
        backends = self.backends(key)

        def accepted() -> Side:
            assert self._cluster is not None, "the proxy's operator has been started"
            client = Side(self._sides.discard)
            self._sides.add(client)
            self._cluster.spawn(self._join(client, backends, address.port_name), f"connection to {key}")
            return client

        loop = asyncio.get_running_loop()
        return await loop.create_server(accepted, address.host, address.port, backlog=_BACKLOG)

    async def _join(self, client: Side, backends: ServiceBackends, port_name: str) -> None:
        assert self._clock is not None, "the proxy's operator has been started"
        try:
            if await connect(client, backends, port_name, self._clock, self._sides.discard) and client.other is not None:
                self._sides.add(client.other)
        except BaseException:
            client.abort()
            raise


def addresses_of(tree: Tree) -> Iterable[Address]:
    """What a Service listens on: its address and, of type NodePort, a port of this machine's own; TCP ports only."""
    spec = tree.get("spec") or {}
    address = spec.get("clusterIP")
    for port in spec.get("ports") or ():
        if (port.get("protocol") or "TCP") != "TCP":
            continue
        name = port.get("name") or ""
        if address and address != "None":
            yield Address(address, int(port["port"]), name)
        if spec.get("type") in ("NodePort", "LoadBalancer") and port.get("nodePort"):
            yield Address(NODE_PORT_ADDRESS, int(port["nodePort"]), name)


def _why(address: Address, error: OSError) -> str:
    where = f"{address.host}:{address.port}"
    if error.errno == errno.EADDRINUSE:
        return f"cannot listen on {where}: another program uses that port; stop it, or give the Service another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {where}: this machine does not have that address; leave clusterIP to the server"
    if error.errno == errno.EACCES:
        return f"cannot listen on {where}: ports below 1024 need more rights here; give the Service a port of 1024 or more"
    return f"cannot listen on {where}: {os.strerror(error.errno) if error.errno else error}"


def service_proxy() -> Operator:
    """The Service proxy of this machine."""
    return ServiceProxy().operator
