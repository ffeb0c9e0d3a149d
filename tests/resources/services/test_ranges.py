"""ServiceCIDRs and IPAddresses: the ranges of Services, and what is taken of them, as objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reconcile.errors import InvalidError, NotFoundError, Tree
from reconcile.resources.core import Service
from reconcile.resources.services import Addresses, service_addresses
from reconcile.resources.services.range_controller import FINALIZER, may_go, service_cidr_controller
from reconcile.resources.services.ranges import IPAddress, ServiceCIDR, service_ranges
from reconcile.runtime.testing.virtual import VirtualClock, virtual

PlaneOf = Callable[..., Any]
CIDR = "127.9.0.0/28"


def parts() -> tuple[Any, ...]:
    addresses = Addresses(CIDR)
    return service_addresses(addresses), service_ranges(CIDR, addresses), service_cidr_controller()


def service(name: str, **spec: Any) -> Tree:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


def cidr(name: str, *cidrs: str) -> Tree:
    return {"metadata": {"name": name}, "spec": {"cidrs": list(cidrs)}}


def told(tree: Tree) -> tuple[str, str, str]:
    """What the Ready condition says."""
    (found,) = tree["status"]["conditions"]
    return found["status"], found["reason"], found["message"]


async def names(plane: Any) -> dict[str, str]:
    """Address -> whose it is."""
    return {tree["metadata"]["name"]: tree["spec"]["parentRef"]["name"] for tree in await plane.all(IPAddress)}


@virtual
async def test_the_range_of_the_cluster_is_an_object_and_comes_back(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Clients look it up to learn which addresses Services can have."""
    async with control_plane(clock, *parts()) as plane:
        await clock.sleep(1)
        tree = await plane.get(ServiceCIDR, "kubernetes")
        assert tree["spec"]["cidrs"] == [CIDR]
        assert told(tree) == ("True", "", "Kubernetes Service CIDR is ready")
        assert tree["metadata"]["finalizers"] == [FINALIZER]
        await plane.delete(ServiceCIDR, "kubernetes")
        await clock.sleep(15)
        again = await plane.get(ServiceCIDR, "kubernetes")
        assert again["metadata"]["uid"] != tree["metadata"]["uid"]
        assert told(again)[0] == "True"


@virtual
async def test_without_the_controller_the_range_is_ready_all_the_same(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """The API server says so itself, as the reference's does."""
    async with control_plane(clock, *parts()[:2]) as plane:
        await clock.sleep(1)
        assert told(await plane.get(ServiceCIDR, "kubernetes")) == ("True", "", "Kubernetes default Service CIDR is ready")


@virtual
async def test_each_address_of_a_service_is_an_object(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """It comes with the Service, follows it, comes back where somebody deletes it, and goes with it."""
    async with control_plane(clock, *parts()) as plane:
        address = (await plane.create(Service, service("web")))["spec"]["clusterIP"]
        await plane.create(Service, service("headless", clusterIP="None"))
        await clock.sleep(1)
        (tree,) = await plane.all(IPAddress)
        assert tree["metadata"]["name"] == address
        assert tree["metadata"]["labels"] == {
            "ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
        }  # fmt: skip  # one field a word reads better packed
        assert tree["spec"]["parentRef"] == {"resource": "services", "namespace": "default", "name": "web"}
        await plane.delete(IPAddress, address)
        await clock.sleep(1)
        assert await names(plane) == {address: "web"}
        await plane.patch(Service, "web", {"spec": {"type": "ExternalName", "externalName": "example.com"}})
        await clock.sleep(1)
        assert await names(plane) == {}
        await plane.patch(Service, "web", {"spec": {"type": "ClusterIP", "externalName": None}})
        await clock.sleep(1)
        assert list((await names(plane)).values()) == ["web"]
        await plane.delete(Service, "web")
        await clock.sleep(1)
        assert await names(plane) == {}


@virtual
async def test_an_address_that_another_service_takes_at_once_becomes_its_own(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Deleted and made anew under another name, before anybody looked."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(Service, service("a", clusterIP="127.9.0.5"))
        await clock.sleep(1)
        await plane.delete(Service, "a")
        await clock.sleep(0.001)
        await plane.create(Service, service("b", clusterIP="127.9.0.5"))
        await clock.sleep(1)
        assert await names(plane) == {"127.9.0.5": "b"}


@virtual
async def test_an_address_that_somebody_else_keeps_is_given_to_nobody(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """It is how an address is set aside."""
    async with control_plane(clock, *parts()) as plane:
        kept = {"metadata": {"name": "127.9.0.5"}, "spec": {"parentRef": {"resource": "routers", "name": "r"}}}
        await plane.create(IPAddress, kept)
        await clock.sleep(1)
        with pytest.raises(InvalidError, match="provided IP is already allocated"):
            await plane.create(Service, service("a", clusterIP="127.9.0.5"))
        await plane.delete(IPAddress, "127.9.0.5")
        await clock.sleep(1)
        await plane.create(Service, service("a", clusterIP="127.9.0.5"))


@virtual
async def test_services_have_addresses_of_further_ranges(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """By wish, or where the cluster's own range is used up; not from a range that is going away."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(ServiceCIDR, cidr("more", "127.8.0.0/29"))
        await clock.sleep(1)
        await plane.create(Service, service("asked", clusterIP="127.8.0.3"))
        made = [(await plane.create(Service, service(f"s{number}")))["spec"]["clusterIP"] for number in range(15)]
        assert [address for address in made if address.startswith("127.8.")] == ["127.8.0.1", "127.8.0.2"]
        await plane.delete(ServiceCIDR, "more")
        await clock.sleep(1)
        with pytest.raises(InvalidError, match="range is full"):
            await plane.create(Service, service("late"))


@virtual
async def test_a_range_stays_while_it_has_addresses(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Without it nobody would know what the Services' addresses are."""
    async with control_plane(clock, *parts()) as plane:
        await plane.create(ServiceCIDR, cidr("more", "127.8.0.0/29"))
        await clock.sleep(1)
        await plane.create(Service, service("web", clusterIP="127.8.0.3"))
        await clock.sleep(1)
        await plane.delete(ServiceCIDR, "more")
        await clock.sleep(60)
        held = await plane.get(ServiceCIDR, "more")
        assert told(held)[:2] == ("False", "Terminating")
        assert told(held)[2].startswith("There are still IPAddresses referencing the ServiceCIDR")
        await plane.delete(Service, "web")
        await clock.sleep(1)
        with pytest.raises(NotFoundError):
            await plane.get(ServiceCIDR, "more")
        await plane.create(ServiceCIDR, cidr("fresh", "127.8.0.0/29"))
        await clock.sleep(1)
        await plane.delete(ServiceCIDR, "fresh")
        await clock.sleep(5)
        assert (await plane.get(ServiceCIDR, "fresh"))["metadata"]["deletionTimestamp"], (
            "who gives addresses must hear of it first"
        )
        await clock.sleep(6)
        with pytest.raises(NotFoundError):
            await plane.get(ServiceCIDR, "fresh")


@pytest.mark.parametrize(
    ("others", "taken", "goes"),
    [
        ([], [], True),
        ([], ["10.0.0.5"], False),
        ([], ["10.1.0.5"], True),
        ([cidr("b", "10.0.0.0/16")], ["10.0.0.5"], True),
        ([cidr("b", "10.0.0.0/28")], ["10.0.0.5"], True),
        ([cidr("b", "10.0.0.0/28")], ["10.0.0.99"], False),
        ([cidr("b", "2001:db8::/64")], ["10.0.0.5"], False),
        ([cidr("a", "10.0.0.0/24")], ["10.0.0.5"], False),
    ],
)
def test_a_range_goes_where_no_address_would_be_without_one(others: list[Tree], taken: list[str], goes: bool) -> None:
    """A larger range may take its place, or another one for all that is taken."""
    assert may_go(cidr("a", "10.0.0.0/24"), others, taken) is goes
