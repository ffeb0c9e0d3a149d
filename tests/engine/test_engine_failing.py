"""What fails now: known until it succeeds, is gone, or its operator stops."""

from __future__ import annotations

import pytest

from reconcile.handling import Wait
from reconcile.kinds import Resource, kind
from reconcile.registry import Operator
from reconcile.runtime.engine.reports import spelled
from reconcile.runtime.testing.memory_world import MemoryWorld
from reconcile.runtime.testing.virtual import VirtualClock, virtual
from reconcile.views import field, struct


@struct
class FragileSpec:
    broken: bool = False


@kind("test.example.com", "v1")
class Fragile(Resource):
    spec: FragileSpec = field(factory=FragileSpec)


def fragile() -> Operator:
    app = Operator("fragile.example.com")

    @app.on.reconcile(Fragile)
    def hold(obj: Fragile) -> Wait | None:
        if obj.spec.broken:
            raise ValueError("it broke")
        return None

    return app


@virtual
async def test_a_failure_is_known_until_the_handler_succeeds(clock: VirtualClock) -> None:
    """A status that forgets says that all is well; one that does not forget cries wolf."""
    async with MemoryWorld(clock, fragile()) as world:
        await world.create(Fragile(name="a", namespace="default", spec=FragileSpec(broken=True)))
        await world.settled()
        (failure,) = world.engine.reports.failing
        assert (failure.object, failure.message) == ("Fragile default/a", "it broke")
        assert failure.file.endswith("test_engine_failing.py")
        assert "raise ValueError" in failure.traceback

        await world.patch(Fragile, "a", {"spec": {"broken": False}})
        await clock.sleep(5)
        assert world.engine.reports.failing == ()


@virtual
async def test_a_failure_is_forgotten_with_its_object(clock: VirtualClock) -> None:
    """What is gone cannot fail."""
    async with MemoryWorld(clock, fragile()) as world:
        await world.create(Fragile(name="a", namespace="default", spec=FragileSpec(broken=True)))
        await world.settled()
        await world.delete(Fragile, "a")
        await clock.sleep(5)

        assert world.engine.reports.failing == ()


@virtual
async def test_a_failure_is_forgotten_with_its_operator(clock: VirtualClock) -> None:
    """A file that was mended is loaded anew: its old failures are history."""
    app = fragile()
    async with MemoryWorld(clock, app) as world:
        await world.create(Fragile(name="a", namespace="default", spec=FragileSpec(broken=True)))
        await world.settled()
        await world.engine.stop(app)

        assert world.engine.reports.failing == ()


@pytest.mark.parametrize(("seconds", "text"), [(0.00464, "5 ms"), (0.9, "900 ms"), (1.5, "1.5 s"), (300.0, "300 s")])
def test_a_delay_is_told_as_people_say_it(seconds: float, text: str) -> None:
    """`again in 0.00464 s` is read twice."""
    assert spelled(seconds) == text
