"""Service addresses: unique, kept, and given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from reconcile.errors import InvalidError
from reconcile.kinds import kind_of
from reconcile.resources.core import Service
from reconcile.resources.services import service_addresses
from reconcile.resources.services.addresses import Addresses, AddressesExhaustedError, AddressTakenError
from reconcile.runtime.testing.virtual import VirtualClock, virtual

PlaneOf = Callable[..., Any]
CIDR = "127.9.0.0/24"


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


@virtual
async def test_every_service_gets_an_address_of_its_own_also_all_at_once(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Two Services with one address would get each other's traffic."""
    async with control_plane(clock, service_addresses(CIDR)) as plane:
        made = await asyncio.gather(*(plane.create(Service, service(f"s{n}")) for n in range(60)))
        addresses = [tree["spec"]["clusterIP"] for tree in made]
        assert len(set(addresses)) == 60
        assert all(address.startswith("127.9.0.") for address in addresses)
        assert made[0]["spec"]["clusterIPs"] == addresses[:1]


@virtual
async def test_headless_and_external_services_have_none(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """`None` is a choice: clients look up the Pods themselves."""
    async with control_plane(clock, service_addresses(CIDR)) as plane:
        assert (await plane.create(Service, service("headless", clusterIP="None")))["spec"]["clusterIP"] == "None"
        external = await plane.create(Service, service("ext", type="ExternalName", externalName="example.com"))
        assert "clusterIP" not in external["spec"]
        changed = await plane.patch(Service, "ext", {"spec": {"type": "ClusterIP", "externalName": None}})
        assert changed["spec"]["clusterIP"].startswith("127.9.0.")


@virtual
async def test_an_address_asked_for_is_given_once_and_free_again_after_deletion(
    clock: VirtualClock, control_plane: PlaneOf
) -> None:
    """The refusal is the reference server's, because people look it up."""
    async with control_plane(clock, service_addresses(CIDR)) as plane:
        await plane.create(Service, service("a", clusterIP="127.9.0.5"))
        with pytest.raises(InvalidError) as refused:
            await plane.create(Service, service("b", clusterIP="127.9.0.5"))
        assert refused.value.message == (
            'Service "b" is invalid: spec.clusterIPs: Invalid value: ["127.9.0.5"]: failed to allocate IP 127.9.0.5: '
            "provided IP is already allocated"
        )
        with pytest.raises(InvalidError, match="is not in the valid range"):
            await plane.create(Service, service("c", clusterIP="127.8.0.5"))
        await plane.delete(Service, "a")
        await clock.sleep(1)
        assert (await plane.create(Service, service("b", clusterIP="127.9.0.5")))["spec"]["clusterIP"] == "127.9.0.5"


@virtual
async def test_a_new_allocator_knows_what_was_given_before(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """A control plane that restarts must not hand out addresses that are in use."""
    async with control_plane(clock) as plane:
        first = service_addresses(CIDR)
        await plane.engine.start(first)
        before = {(await plane.create(Service, service(f"s{n}")))["spec"]["clusterIP"] for n in range(5)}
        await plane.engine.stop(first)
        await plane.engine.start(service_addresses(CIDR))
        after = {(await plane.create(Service, service(f"t{n}")))["spec"]["clusterIP"] for n in range(5)}
        assert not before & after


@virtual
async def test_an_update_without_the_address_keeps_it(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Manifests do not name the address."""
    async with control_plane(clock, service_addresses(CIDR)) as plane:
        address = (await plane.create(Service, service("a")))["spec"]["clusterIP"]
        again = await plane.client.update(kind_of(Service), service("a", ports=[{"port": 81}]), "default")
        assert again["spec"]["clusterIP"] == address


def test_a_full_range_says_so_and_a_reservation_that_was_not_used_lapses() -> None:
    """A refused Service must not cost an address for ever."""
    addresses = Addresses("127.9.0.0/29")
    given = {addresses.give(f"s{n}", 0.0) for n in range(5)}
    assert len(given) == 5  # of eight, two belong to the network, and one to the API
    with pytest.raises(AddressesExhaustedError):
        addresses.give("more", 1.0)
    assert addresses.give("more", 31.0) in given
    addresses.hold("kept", "127.9.0.3")
    with pytest.raises(AddressTakenError):
        addresses.claim("thief", "127.9.0.3", 100.0)
    addresses.hold("kept", "")
    addresses.claim("heir", "127.9.0.3", 100.0)
