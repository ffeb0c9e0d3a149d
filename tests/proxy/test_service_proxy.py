"""The Service proxy with real sockets on loopback."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

from reconcile.errors import Tree

Cluster = AbstractAsyncContextManager[Any]  # Any: the conftest's Plane, which importlib mode keeps from being imported


def endpoint(address: str, *, ready: bool = True, serving: bool = True, terminating: bool = False) -> Tree:
    return {"addresses": [address], "conditions": {"ready": ready, "serving": serving, "terminating": terminating}}


async def test_a_service_spreads_connections_over_its_ready_endpoints(plane: Cluster) -> None:
    """One stable address in front of replicas that come and go; one that is not ready gets nothing."""
    async with plane as cluster:
        one, two, three = [await cluster.serve(n, f"pod{n} ".encode()) for n in (1, 2, 3)]
        await cluster.endpoints(endpoint(one), endpoint(two), endpoint(three, ready=False, serving=False))
        address = await cluster.service()
        answers = [await cluster.ask(address) for _ in range(8)]
        assert sorted(set(answers)) == [b"pod1 ", b"pod2 "]
        assert answers.count(b"pod1 ") == 4


async def test_a_half_close_and_a_megabyte_pass_both_ways(plane: Cluster) -> None:
    """The server answers after the client has finished: the usual way of one-shot protocols; and no byte is lost."""
    sent = bytes(range(256)) * 8192
    async with plane as cluster:
        await cluster.endpoints(endpoint(await cluster.serve(1, b">")))
        assert await cluster.ask(await cluster.service(), sent) == b">" + sent
        await cluster.eventually(lambda: cluster.proxy.connections == 0)


async def test_an_endpoint_that_refuses_is_passed_over(plane: Cluster) -> None:
    """A pod that died a moment ago is still in the slices: the client must not notice."""
    async with plane as cluster:
        one = await cluster.serve(1, b"here")
        await cluster.endpoints(endpoint(f"{cluster.net}.16.99"), endpoint(one), endpoint(f"{cluster.net}.16.98"))
        address = await cluster.service()
        assert [await cluster.ask(address) for _ in range(6)] == [b"here"] * 6


async def test_a_client_waits_for_the_first_endpoint(plane: Cluster) -> None:
    """Between the last old pod and the first new one lie milliseconds that nobody should see."""
    async with plane as cluster:
        address = await cluster.service()
        await cluster.endpoints()
        asking = asyncio.create_task(cluster.ask(address))
        await asyncio.sleep(0.1)
        assert not asking.done()
        await cluster.endpoints(endpoint(await cluster.serve(1, b"late")))
        assert await asking == b"late"


async def test_terminating_endpoints_serve_where_no_other_is_ready(plane: Cluster) -> None:
    """As kube-proxy: better an endpoint that drains than none."""
    async with plane as cluster:
        one = await cluster.serve(1, b"old")
        await cluster.endpoints(endpoint(one, ready=False, terminating=True))
        address = await cluster.service()
        assert await cluster.ask(address) == b"old"
        await cluster.endpoints(endpoint(one, ready=False, terminating=True), endpoint(await cluster.serve(2, b"new")))

        async def asked_new() -> bool:
            return bool(await cluster.ask(address) == b"new")

        await cluster.eventually(asked_new)
        assert {await cluster.ask(address) for _ in range(4)} == {b"new"}


async def test_an_established_connection_goes_on_when_its_endpoint_leaves(plane: Cluster) -> None:
    """Draining: only new connections go elsewhere."""
    async with plane as cluster:
        await cluster.endpoints(endpoint(await cluster.serve(1, b"")))
        address = await cluster.service()
        await cluster.ask(address)
        reader, writer = await asyncio.open_connection(address, 8080)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        await cluster.endpoints()
        await asyncio.sleep(0.05)
        writer.write(b"b")
        assert await reader.readexactly(1) == b"b"
        writer.close()
        await writer.wait_closed()


async def test_a_port_in_use_is_told_on_the_service(plane: Cluster) -> None:
    """Two programs want one port: the Service says so, with advice."""
    async with plane as cluster:
        taken = await asyncio.start_server(lambda _r, w: w.close(), f"{cluster.net}.0.13", 8080)
        try:
            await cluster.service()
            events = await cluster.eventually(cluster.events)
        finally:
            taken.close()
        assert events[0]["reason"] == "FailedToListen"
        assert "another program uses that port" in events[0]["message"]


async def test_a_node_port_answers_on_this_machine(plane: Cluster) -> None:
    """The way in for those who do not know the Service's address."""
    async with plane as cluster:
        await cluster.endpoints(endpoint(await cluster.serve(1, b"in")))
        await cluster.service(type="NodePort", ports=[{"port": 8080, "nodePort": 30987}])
        assert await cluster.ask("127.0.0.1", port=30987) == b"in"


async def test_headless_services_are_left_alone(plane: Cluster) -> None:
    """There is nothing to listen on, and nothing to complain about."""
    async with plane as cluster:
        await cluster.service("none", clusterIP="None")
        await cluster.endpoints(endpoint(await cluster.serve(1, b"ok")))
        assert await cluster.ask(await cluster.service()) == b"ok"
        assert await cluster.events() == []
