"""The law of conversion, as a user of the plugin checks it, and what it says where it is broken."""

from __future__ import annotations

import re
from typing import Any

import pytest

from reconcile.conversion import convert
from reconcile.errors import DeclarationError
from reconcile.kinds import Resource, kind
from reconcile.runtime.testing.round_trips import RoundTripError, Trip, check, trips_of
from reconcile.testing import round_trips
from reconcile.views import field, struct
from tests.toolkit.carts import AlphaCart, AlphaSpec, BetaCart, Cart

test_carts = round_trips(
    Cart,
    loses={
        "v1": ["spec.wanted", "spec.count"],  # `apples` is `apples:1`, and nothing is wanted zero times
        "v1beta1": ["spec.wanted", "spec.lines", "status.state"],
        "v1alpha1": ["spec", "status"],
    },
    walks=5,
    examples=[AlphaCart(spec=AlphaSpec(wanted="pears:3"))],
)


@struct
class Spec:
    host: str = ""
    port: int = 0
    tags: list[str] = field(factory=list)


@struct
class Joined:
    address: str = field(default="", pattern="^([a-z]+:[0-9]+)?$")
    tags: list[str] = field(factory=list)


def pair(*, keeps_tags: bool = True, **faults: Any) -> tuple[type[Any], type[Any]]:
    """Fresh classes with conversions that have the faults that are asked for."""

    @kind("example.com", "v1", name="Site")
    class Old(Resource):
        spec: Joined = field(factory=Joined)

    @kind("example.com", "v2", name="Site")
    class New(Resource):
        spec: Spec = field(factory=Spec)

    @convert(Old, New)
    def up(old: Any) -> Any:
        if "calls" in faults:
            faults["calls"].append(1)
            return New(spec=Spec(port=len(faults["calls"])))
        if not old.spec.address:
            return New(spec=Spec(tags=old.spec.tags))
        host, _, port = old.spec.address.partition(":")
        return New(spec=Spec(host=host, port=int(port), tags=old.spec.tags))

    @convert(New, Old)
    def down(new: Any) -> Any:
        tags = new.spec.tags if keeps_tags else []
        return Old(spec=Joined(address=f"{new.spec.host}:{new.spec.port}" if new.spec.host else "", tags=tags))

    return Old, New


def complaint(trip: Trip, **options: Any) -> str:
    with pytest.raises(RoundTripError) as caught:
        check(trip, loses=options.pop("loses", {}), **options)
    return str(caught.value)


def test_what_is_lost_is_told_with_the_smallest_object_that_shows_it() -> None:
    """A list of everything that was drawn would tell nobody anything."""
    old, new = pair(keeps_tags=False)
    said = complaint(Trip(new, old), loses={"v1": ["spec.port"]})
    assert re.fullmatch(
        r"Site loses something on the way v2 -> v1 -> v2\n"
        r"  by down \(test_round_trips\.py:\d+\), up \(test_round_trips\.py:\d+\)\n"
        r"(  spec\.tags\[\d\]: \"[-\w]+\" becomes nothing\n)+"
        r"the smallest object found that shows it:\n"
        r"  \{\"spec\": \{\"port\": 0, \"tags\": \[\"[-\w]+\"\]\}\}\n"
        r"keep it in an annotation, or declare it as lost: round_trips\(New, loses=\{\"v1\": \[\"spec\.tags\"\]\}\)",
        said,
    ), said
    check(Trip(new, old), loses={"v1": ["spec.port", "spec.tags"]})


def test_a_port_without_a_host_does_not_fit_into_a_text() -> None:
    """The kind of thing that nobody thinks of."""
    old, new = pair()
    said = complaint(Trip(new, old))
    assert "spec.port: " in said
    smallest = said.splitlines()[said.splitlines().index("the smallest object found that shows it:") + 1]
    assert "tags" not in smallest
    assert "host" not in smallest


def test_objects_that_break_the_versions_own_rules_are_passed_over() -> None:
    """The drawn words match no pattern: what cannot be there need not be converted, and examples make up for it."""
    old, new = pair()
    check(Trip(old, new), loses={}, examples=[old(spec=Joined(address="a:1"))])
    assert [trip.name for trip in trips_of([old, new])] == ["v1-v2-v1", "v2-v1-v2"]


def test_where_nothing_valid_can_be_drawn_examples_are_asked_for() -> None:
    """A test that looks at nothing must not pass."""

    _, new = pair()

    @kind("example.com", "v3", name="Site")
    class Tight(Resource):
        spec: dict[str, Any] = field(factory=dict, rules=["false"])

    convert(Tight, new)(lambda _: new())
    convert(new, Tight)(lambda _: Tight())
    said = complaint(Trip(Tight, new))
    assert "no object that was drawn meets the rules of Site.example.com/v3; give some: examples=[...]" in said


def test_a_conversion_that_fails_is_told_as_such() -> None:
    """With the object that it fails for."""
    said = complaint(Trip(AlphaCart, BetaCart), examples=[AlphaCart(spec=AlphaSpec(wanted="x:y"))])
    assert "alpha_up (carts.py:" in said
    assert "ValueError: invalid literal for int() with base 10: 'y'" in said


def test_a_conversion_that_is_not_the_same_twice_is_told() -> None:
    """It would make every read another object."""
    old, new = pair(calls=[])
    assert "another call gives something else" in complaint(Trip(old, new))


def test_what_cannot_be_checked_is_refused_when_it_is_declared() -> None:
    """Not when the tests run, in which nobody would miss it."""

    @kind("example.com", "v1")
    class Lonely(Resource):
        pass

    with pytest.raises(DeclarationError, match="no conversion leads from it or to it"):
        round_trips(Lonely)
    with pytest.raises(DeclarationError, match="loses names 'v7'; its versions are v1, v1beta1, v1alpha1"):
        round_trips(Cart, loses={"v7": ["spec"]})
