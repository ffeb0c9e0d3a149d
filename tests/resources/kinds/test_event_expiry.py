"""Events end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconcile.clock import timestamp
from reconcile.resources.core import Event
from reconcile.resources.core.event_expiry import LOOK_S, TTL_S, event_expiry
from reconcile.runtime.testing.virtual import VirtualClock, run_virtual

if TYPE_CHECKING:
    from tests.resources.conftest import PlaneOf


def test_an_event_goes_an_hour_after_it_last_happened(control_plane: PlaneOf) -> None:
    """Pods come and go, each with Events of its own: without an end they fill the store, in memory and on disk."""

    async def scenario(clock: VirtualClock) -> None:
        async with control_plane(clock, event_expiry()) as plane:
            about = {"apiVersion": "v1", "kind": "Pod", "name": "p", "namespace": "default"}

            async def tell(name: str) -> None:
                at = timestamp(clock.now())
                tree = {"metadata": {"name": name}, "involvedObject": about, "reason": "Started", "lastTimestamp": at}
                await plane.create(Event, {**tree, "firstTimestamp": at, "message": name, "type": "Normal"})

            async def names() -> set[str]:
                return {tree["metadata"]["name"] for tree in await plane.all(Event)}

            await tell("once")
            await tell("again")
            await clock.sleep(TTL_S - LOOK_S)
            await plane.patch(Event, "again", {"lastTimestamp": timestamp(clock.now()), "count": 2})
            assert await names() == {"once", "again"}
            await clock.sleep(2 * LOOK_S + 1)
            assert await names() == {"again"}
            await clock.sleep(TTL_S)
            assert await names() == set()

    run_virtual(scenario)
