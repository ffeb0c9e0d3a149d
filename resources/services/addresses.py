"""Gives every Service an address of its own, out of the range that this cluster has.

Addresses are kept in memory: read from the Services at the start, followed from then on. One that was given to a write
which has not shown up yet is reserved for a while, so that two Services created at once never get the same.

Source: K/pkg/registry/core/service/ipallocator, K/pkg/registry/core/service/storage/alloc.go
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from reconcile.clock import Clock
from reconcile.errors import Cause, InvalidError, ReconcileError, Tree
from reconcile.handling import AdmissionReview, Cluster
from reconcile.kinds import kind_of
from reconcile.registry import Operator
from reconcile.resources.core import Service
from reconcile.resources.core.names import quoted
from reconcile.views import tree_of

from .api_service import NAME, NAMESPACE, first_address

RESERVED_S = 30.0
"""How long an address waits for the Service it was given to."""
_STATIC_MIN, _STATIC_MAX = 16, 256


class AddressTakenError(ReconcileError):
    """The address asked for is another Service's, or not one of this cluster's; the message says which."""


class AddressesExhaustedError(ReconcileError):
    """Every address of the range is taken."""


class Addresses:
    """Which address belongs to which Service (its `namespace/name`).

    New ones are given in turn from the upper part of the range, so that one just freed is not somebody else's at once;
    the lower part is left to those who ask for a certain address, until nothing else is left.
    """

    def __init__(self, cidr: str) -> None:
        self.network = ipaddress.ip_network(cidr)
        count = self.network.num_addresses
        self._first, self._last = 1, count - 2
        self._from = min(max(_STATIC_MIN, count // 16), _STATIC_MAX, self._last) + 1
        self._next = self._from
        self._owners: dict[str, str] = {}
        self._of: dict[str, str] = {}
        self._reserved: dict[str, tuple[str, float]] = {}
        # The API's own Service has the first one, also while somebody has deleted it.
        self._kept = {first_address(cidr): f"{NAMESPACE}/{NAME}"}
        self._more: dict[str, list[ipaddress.IPv4Network]] = {}

    def hold(self, service: str, address: str) -> None:
        """Note that a Service has (or, with an empty address, has no longer) an address."""
        before = self._of.pop(service, "")
        if before and self._owners.get(before) == service:
            del self._owners[before]
        if address:
            self._owners[address] = service
            self._of[service] = address
            self._reserved.pop(address, None)

    def keep(self, address: str, by: str) -> None:
        """Note that no Service may have an address (with an empty `by`: that one may again)."""
        if by:
            self._kept.setdefault(address, by)
        elif self._kept.get(address, f"{NAMESPACE}/{NAME}") != f"{NAMESPACE}/{NAME}":
            del self._kept[address]

    def set_range(self, name: str, cidrs: Iterable[str]) -> None:
        """Note which further ranges there are under a name. Services have IPv4 addresses, so that others are passed over."""
        found = [network for network in map(ipaddress.ip_network, cidrs) if isinstance(network, ipaddress.IPv4Network)]
        if found:
            self._more[name] = found
        else:
            self._more.pop(name, None)

    def give(self, service: str, now_s: float, *, reserve: bool = True) -> str:
        """A free address.

        Raises:
            AddressesExhaustedError: there is none.
        """
        count = self._last - self._first + 1
        for step in range(count):
            at = self._next + step
            if at > self._last:
                at = self._first + (at - self._last - 1)
            address = str(self.network[at])
            if not self._holder(address, now_s):
                if reserve:
                    self._next = at + 1 if at < self._last else self._from
                    self._reserved[address] = (service, now_s + RESERVED_S)
                return address
        for network in self._further():
            for number in range(1, network.num_addresses - 1):
                address = str(network[number])
                if not self._holder(address, now_s):
                    if reserve:
                        self._reserved[address] = (service, now_s + RESERVED_S)
                    return address
        raise AddressesExhaustedError("range is full")

    def _further(self) -> list[ipaddress.IPv4Network]:
        return [network for _, found in sorted(self._more.items()) for network in found]

    def claim(self, service: str, address: str, now_s: float, *, reserve: bool = True) -> None:
        """Take a certain address.

        Raises:
            AddressTakenError: it is not free, or not of this range.
        """
        try:
            wanted = ipaddress.ip_address(address)
        except ValueError:
            return  # no address at all: validation says so
        if not any(wanted in network and wanted not in (network[0], network[-1]) for network in (self.network, *self._further())):
            raise AddressTakenError(
                f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {self.network}"
            )
        if self._holder(address, now_s) not in ("", service):
            raise AddressTakenError("provided IP is already allocated")
        if reserve:
            self._reserved[address] = (service, now_s + RESERVED_S)

    def _holder(self, address: str, now_s: float) -> str:
        owner = self._owners.get(address)
        if owner is not None:
            return owner
        if address in self._kept:
            return self._kept[address]
        reserved = self._reserved.get(address)
        if reserved is None:
            return ""
        if reserved[1] <= now_s:
            del self._reserved[address]  # the write it was for never came
            return ""
        return reserved[0]


def service_addresses(addresses: Addresses | str) -> Operator:
    """The operator that gives Services their addresses, out of a range where it is given one."""
    app = Operator("service-addresses")
    if isinstance(addresses, str):
        addresses = Addresses(addresses)

    @app.on.startup()
    async def read(cluster: Cluster) -> None:
        for tree in (await cluster.client.list(kind_of(Service))).items:
            addresses.hold(_name(tree), _address(tree))

    @app.on.event(Service, inline=True)
    def follow(service: Service, event: str) -> None:
        tree = tree_of(service)
        addresses.hold(_name(tree), "" if event == "DELETED" else _address(tree))

    @app.on.mutate(Service)
    def assign(review: AdmissionReview, clock: Clock) -> None:
        """Give an address to a Service that needs one and asks for none; check the one that it asks for."""
        if review.operation != "DELETE" and review.subresource == "":
            _assign(addresses, review, clock.monotonic())

    return app


def _assign(addresses: Addresses, review: AdmissionReview, now_s: float) -> None:
    spec = review.tree.get("spec")
    if not isinstance(spec, dict) or spec.get("type") == "ExternalName":
        return
    before = (review.old or {}).get("spec") or {}
    asked = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), "")
    had = before.get("clusterIP") if before.get("type") != "ExternalName" else ""
    if asked == "None" or had:
        return  # headless, or it has one, which never changes
    service = _name(review.tree)
    reserve = not review.dry_run
    try:
        if asked:
            addresses.claim(service, asked, now_s, reserve=reserve)
        else:
            asked = addresses.give(service, now_s, reserve=reserve)
    except (AddressTakenError, AddressesExhaustedError) as error:
        raise _refused(review.tree, asked, error) from error
    spec["clusterIP"] = asked
    spec["clusterIPs"] = [asked]


def _refused(tree: Tree, asked: str, error: ReconcileError) -> InvalidError:
    name = (tree.get("metadata") or {}).get("name", "")
    if asked:
        why = f"Invalid value: {quoted([asked])}: failed to allocate IP {asked}: {error}"
    else:
        why = f"Invalid value: []: failed to allocate a serviceIP: {error}"
    return InvalidError(
        f'Service "{name}" is invalid: spec.clusterIPs: {why}',
        details={"name": name, "kind": "Service"},
        causes=[Cause("FieldValueInvalid", why, "spec.clusterIPs")],
    )


def _name(tree: Tree) -> str:
    meta = tree["metadata"]
    return f"{meta.get('namespace', '')}/{meta.get('name', '')}"


def _address(tree: Tree) -> str:
    address = (tree.get("spec") or {}).get("clusterIP") or ""
    return "" if address == "None" else str(address)
