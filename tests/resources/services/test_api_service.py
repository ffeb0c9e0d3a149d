"""The Service by which the API is found from inside."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.errors import InvalidError, Tree
from reconcile.kinds import Kind, kind_of
from reconcile.resources.core import Service
from reconcile.resources.discovery import EndpointSlice
from reconcile.resources.services import ApiPlace, api_service, service_addresses
from reconcile.resources.stored import stored_kinds
from reconcile.runtime.testing.virtual import VirtualClock, virtual

CIDR = "10.0.0.0/24"
ENDPOINTS = next(kind for kind in stored_kinds() if kind.kind == "Endpoints")


def find() -> Kind:
    return ENDPOINTS


async def seen(plane: Any) -> tuple[Tree, Tree, Tree]:
    return (
        await plane.get(Service, "kubernetes"), await plane.get(EndpointSlice, "kubernetes"),
        await plane.client.get(ENDPOINTS, "kubernetes", "default"),
    )  # fmt: skip


@virtual
async def test_the_api_has_a_service_at_the_first_address_and_gets_it_back(clock: VirtualClock, control_plane: Any) -> None:
    """Programs in Pods, and the tools that make clusters, look for it by this name."""
    place = ApiPlace("127.0.0.1", 43211)
    async with control_plane(clock, service_addresses(CIDR), api_service(CIDR, lambda: place, find)) as plane:
        await plane.engine.settled()
        service, piece, endpoints = await seen(plane)
        assert service["spec"]["clusterIP"] == "10.0.0.1"
        assert service["spec"]["ports"] == [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 43211}]
        assert service["metadata"]["labels"] == {"component": "apiserver", "provider": "kubernetes"}
        assert piece["endpoints"][0]["addresses"] == ["127.0.0.1"]
        assert piece["ports"][0]["port"] == 43211
        assert piece["metadata"]["labels"] == {"kubernetes.io/service-name": "kubernetes"}
        assert endpoints["subsets"][0]["addresses"] == [{"ip": "127.0.0.1"}]
        await plane.delete(Service, "kubernetes")
        await plane.delete(EndpointSlice, "kubernetes")
        await plane.client.delete(ENDPOINTS, "kubernetes", "default")
        await plane.engine.settled()
        again = await seen(plane)
        assert again[0]["metadata"]["uid"] != service["metadata"]["uid"]
        assert again[0]["spec"]["clusterIP"] == "10.0.0.1"
        assert again[2]["subsets"] == endpoints["subsets"]


@virtual
async def test_what_somebody_did_to_it_is_put_right_and_what_they_added_stays(clock: VirtualClock, control_plane: Any) -> None:
    """A label is theirs; where the Service leads is not."""
    place = ApiPlace("127.0.0.1", 43211)
    async with control_plane(clock, service_addresses(CIDR), api_service(CIDR, lambda: place, find)) as plane:
        await plane.engine.settled()
        spec = {"ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 1}]}
        await plane.patch(Service, "kubernetes", {"metadata": {"labels": {"mine": "too"}}, "spec": spec})
        await plane.patch(EndpointSlice, "kubernetes", {"endpoints": [{"addresses": ["6.6.6.6"]}]})
        await plane.engine.settled()
        service, piece, _ = await seen(plane)
        assert service["spec"]["ports"][0]["targetPort"] == 43211
        assert service["metadata"]["labels"]["mine"] == "too"
        assert piece["endpoints"][0]["addresses"] == ["127.0.0.1"]
        before = await plane.get(Service, "kubernetes")
        await clock.sleep(600)
        await plane.engine.settled()
        assert await plane.get(Service, "kubernetes") == before  # what is right is not written again


@virtual
async def test_it_follows_the_api_to_another_port(clock: VirtualClock, control_plane: Any) -> None:
    """A control plane whose port was taken starts on another one."""
    places = [ApiPlace("127.0.0.1", 1111)]
    async with control_plane(clock, service_addresses(CIDR), api_service(CIDR, lambda: places[0], find)) as plane:
        await plane.engine.settled()
        places[0] = ApiPlace("127.0.0.1", 2222, 2222)
        await clock.sleep(61)
        await plane.engine.settled()
        service, piece, endpoints = await seen(plane)
        assert service["spec"]["ports"][0] == {"name": "https", "protocol": "TCP", "port": 2222, "targetPort": 2222}
        assert piece["ports"][0]["port"] == endpoints["subsets"][0]["ports"][0]["port"] == 2222


@virtual
async def test_nobody_else_gets_its_address(clock: VirtualClock, control_plane: Any) -> None:
    """Not even while it is away, nor when all others are taken."""
    async with control_plane(clock, service_addresses("10.0.0.0/29")) as plane:
        ports = [{"port": 80}]
        with pytest.raises(InvalidError, match="provided IP is already allocated"):
            await plane.create(Service, {"metadata": {"name": "thief"}, "spec": {"clusterIP": "10.0.0.1", "ports": ports}})
        given = []
        for number in range(5):
            tree = {"metadata": {"name": f"s{number}"}, "spec": {"ports": ports}}
            made = await plane.client.create(kind_of(Service), tree, "default")
            given.append(made["spec"]["clusterIP"])
        assert "10.0.0.1" not in given
        with pytest.raises(InvalidError, match="range is full"):
            await plane.create(Service, {"metadata": {"name": "last"}, "spec": {"ports": ports}})
