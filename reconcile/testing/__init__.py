"""Tests for controllers: a whole control plane in a fixture, in virtual time, and every fault that can happen to it.

    from reconcile.testing import SIEVE, World, converges
    from webapp import webapp                                    # your own handlers

    @converges(webapp, patterns=SIEVE)                           # one test each: crashes, stale reads, unobserved events
    async def test_grow_then_shrink(world: World) -> None:
        await world.apply("samples/web.yaml")
        await world.settled()
        await world.patch("webapps/shop", spec={"replicas": 5})
        await world.settled()

The pytest plugin comes with the package; `reconcile sim app.py` needs no tests at all. docs/testing.md tells the whole story.
Names are loaded when first used: importing this costs a test run nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconcile.runtime.testing.plan import SIEVE, Pattern, chaos, sieve
    from reconcile.runtime.testing.universe import World
    from reconcile.runtime.testing.virtual import VirtualClock, run_virtual, virtual

    from .converging import converges, law
    from .conversions import round_trips
    from .ground import surroundings

_HOME = {
    "SIEVE": "reconcile.runtime.testing.plan",
    "Pattern": "reconcile.runtime.testing.plan",
    "VirtualClock": "reconcile.runtime.testing.virtual",
    "World": "reconcile.runtime.testing.universe",
    "chaos": "reconcile.runtime.testing.plan",
    "converges": "reconcile.testing.converging",
    "law": "reconcile.testing.converging",
    "round_trips": "reconcile.testing.conversions",
    "sieve": "reconcile.runtime.testing.plan",
    "run_virtual": "reconcile.runtime.testing.virtual",
    "surroundings": "reconcile.testing.ground",
    "virtual": "reconcile.runtime.testing.virtual",
}
__all__ = [
    "SIEVE", "Pattern", "VirtualClock", "World", "chaos", "converges", "law", "round_trips", "run_virtual", "sieve",
    "surroundings", "virtual",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
