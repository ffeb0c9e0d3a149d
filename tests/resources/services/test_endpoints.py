"""Endpoints: all addresses of a Service in one object, and slices for those that somebody wrote by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reconcile.errors import Tree
from reconcile.kinds import kind_of
from reconcile.resources.core import Pod, Service
from reconcile.resources.discovery import EndpointSlice
from reconcile.resources.services import endpoint_slice_mirroring, endpoints_controller
from reconcile.resources.services.endpoints import ADDRESSES_MAX, OVER_CAPACITY, endpoints_of
from reconcile.resources.services.endpoints_controller import Endpoints
from reconcile.resources.services.mirroring import planned
from reconcile.runtime.testing.virtual import VirtualClock, virtual
from tests.resources.services.test_endpoint_slices import SERVICE, pod

PlaneOf = Callable[..., Any]
HAND_MADE: Tree = {
    "metadata": {"name": "db", "namespace": "default", "uid": "ep", "labels": {"team": "a"}},
    "subsets": [
        {"addresses": [{"ip": "10.1.2.3"}, {"ip": "fd00::1"}], "notReadyAddresses": [{"ip": "10.1.2.4"}], "ports": [{"port": 80}]}
    ],
}


def of(pods: list[Tree], old: Tree | None = None, **spec: Any) -> Tree:
    return endpoints_of({**SERVICE, "spec": {**SERVICE["spec"], **spec}}, pods, old)


def test_addresses_stand_by_their_ports_ready_ones_apart() -> None:
    made = of([pod(2), pod(1, ready=False), pod(0), pod(3, port=9090), pod(4, phase="Succeeded")])
    first, second = made["subsets"]
    assert [address["ip"] for address in first["addresses"]] == ["127.9.0.0", "127.9.0.2"]
    assert [address["ip"] for address in first["notReadyAddresses"]] == ["127.9.0.1"]
    assert first["addresses"][0]["targetRef"] == {"kind": "Pod", "namespace": "default", "name": "p0", "uid": "u0"}
    assert first["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert [address["ip"] for address in second["addresses"]] == ["127.9.0.3"]
    assert made["metadata"]["labels"] == {"team": "a", "endpoints.kubernetes.io/managed-by": "endpoint-controller"}


def test_what_is_right_already_is_not_written() -> None:
    made = of([pod(0), pod(1)])
    assert of([pod(1), pod(0)], made) is made
    assert of([pod(0)], made) is not made


def test_a_pod_that_goes_away_is_left_out_unless_not_ready_ones_are_wanted_too() -> None:
    going = pod(0)
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert of([going])["subsets"] == []
    (subset,) = of([going], publishNotReadyAddresses=True)["subsets"]
    assert len(subset["addresses"]) == 1


def test_a_service_without_ports_has_addresses_all_the_same() -> None:
    """Headless ones need none."""
    (subset,) = of([pod(0)], ports=[], clusterIP="None")["subsets"]
    assert "ports" not in subset
    assert of([pod(0)], ports=[], clusterIP="None")["metadata"]["labels"]["service.kubernetes.io/headless"] == ""


def test_of_too_many_addresses_the_ready_ones_stay_and_the_object_says_so() -> None:
    pods = [pod(number, ready=number % 2 == 0) for number in range(ADDRESSES_MAX + 200)]
    made = of(pods)
    (subset,) = made["subsets"]
    assert len(subset["addresses"]) == 600
    assert len(subset["addresses"]) + len(subset["notReadyAddresses"]) == ADDRESSES_MAX
    assert made["metadata"]["annotations"] == {OVER_CAPACITY: "truncated"}
    assert "annotations" not in of(pods[:3], made)["metadata"]


def test_hand_made_endpoints_become_a_slice_for_each_family_of_addresses() -> None:
    plan = planned(HAND_MADE, [])
    four, six = plan.create
    assert (four["addressType"], six["addressType"]) == ("IPv4", "IPv6")
    assert [(e["addresses"], e["conditions"]["ready"]) for e in four["endpoints"]] == [
        (["10.1.2.3"], True),
        (["10.1.2.4"], False),
    ]
    written = [{**made, "metadata": {**made["metadata"], "name": f"s{at}"}} for at, made in enumerate(plan.create)]
    assert planned(HAND_MADE, written).writes == 0
    fewer = {**HAND_MADE, "subsets": [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 80}]}]}
    plan = planned(fewer, written)
    assert [tree["metadata"]["name"] for tree in plan.update] == ["s0"]
    assert [tree["metadata"]["name"] for tree in plan.delete] == ["s1"]
    assert [tree["metadata"]["name"] for tree in planned({**HAND_MADE, "subsets": []}, written).delete] == ["s0", "s1"]


@virtual
async def test_endpoints_follow_the_pods_of_a_service(clock: VirtualClock, control_plane: PlaneOf) -> None:
    async with control_plane(clock, endpoints_controller()) as plane:
        spec = {
            "clusterIP": "127.9.0.9",
            "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "web"}],
        }
        await plane.create(Service, {"metadata": {"name": "web"}, "spec": spec})
        await plane.engine.settled()
        (made,) = await plane.all(Endpoints)
        assert (made["metadata"]["name"], made.get("subsets") or []) == ("web", [])
        tree = pod(1)
        await plane.create(Pod, {"metadata": {"name": "p1", "labels": {"app": "web"}}, "spec": tree["spec"]})
        await plane.patch(Pod, "p1", {"status": tree["status"]}, subresource="status")

        async def there() -> bool:
            (found,) = await plane.all(Endpoints)
            return [a["ip"] for s in found.get("subsets") or () for a in s.get("addresses") or ()] == ["127.9.0.1"]

        await plane.until(there, "the pod is an address")
        (made,) = await plane.all(Endpoints)
        assert made["metadata"]["ownerReferences"][0]["name"] == "web"


@virtual
async def test_mirrors_come_and_go_with_what_they_show(clock: VirtualClock, control_plane: PlaneOf) -> None:
    """Also when the Service gets a selector, and its Endpoints are no longer anybody's own."""
    async with control_plane(clock, endpoint_slice_mirroring()) as plane:
        await plane.create(Service, {"metadata": {"name": "db"}, "spec": {"clusterIP": "127.9.0.8", "ports": [{"port": 80}]}})
        meta = {"name": "db", "namespace": "default"}
        await plane.client.create(kind_of(Endpoints), {**HAND_MADE, "metadata": meta})
        await plane.engine.settled()
        slices = await plane.all(EndpointSlice)
        assert sorted(tree["addressType"] for tree in slices) == ["IPv4", "IPv6"]
        assert {tree["metadata"]["labels"]["kubernetes.io/service-name"] for tree in slices} == {"db"}
        await plane.patch(Service, "db", {"spec": {"selector": {"app": "db"}}})
        await plane.engine.settled()
        assert await plane.all(EndpointSlice) == []
        await plane.patch(Service, "db", {"spec": {"selector": None}})
        await plane.engine.settled()
        assert len(await plane.all(EndpointSlice)) == 2
        await plane.patch(Endpoints, "db", {"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}})
        await plane.engine.settled()
        assert await plane.all(EndpointSlice) == []
