"""The bugs that the simulation found in this project, each with the plan that found it; docs/testing.md tells of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from reconcile.runtime.testing.convergence import Convergence
from reconcile.runtime.testing.plan import read_plan
from reconcile.testing import World

from .conftest import grow_and_shrink

Make = Callable[[str, Callable[[World], Awaitable[None]]], Convergence]


async def grow_and_close(world: World) -> None:
    await grow_and_shrink(world)
    await world.delete("webapps/shop")
    await world.settled()


def test_a_child_that_vanished_is_not_made_again_for_an_owner_that_is_gone(experiment: Make) -> None:
    """Hearing late that the owner is gone, the engine made its children anew as fast as the collector deleted them: 35 for 5."""
    convergence = experiment("careful", grow_and_close)
    deleted = [e for e in convergence.reference.events if (e.type, e.key) == ("DELETED", "webapps/shop")]
    assert convergence.check(read_plan(f"delay:careful:{deleted[0].nth}")) is None


def test_a_refused_delete_of_an_object_that_is_still_there_is_tried_again(experiment: Make) -> None:
    """Any conflict was taken to mean that the object is another by now; the handler then waited for ever for its end."""
    convergence = experiment("random_names", grow_and_shrink)
    deleted = [w for w in convergence.reference.writes if w.verb == "delete"]
    assert convergence.check(read_plan(f"conflict:random-names:{deleted[0].nth}")) is None
