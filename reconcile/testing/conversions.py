"""`round_trips`: tests that nothing is lost between the versions of a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from reconcile.conversion import all_versions, versions_of
from reconcile.errors import DeclarationError
from reconcile.kinds import Resource
from reconcile.runtime.testing.round_trips import WALKS, Trip, check, trips_of

_NONE: Mapping[str, Sequence[str]] = {}


def round_trips(
    cls: type[Resource], *, loses: Mapping[str, Sequence[str]] = _NONE, walks: int = WALKS, examples: Sequence[Resource] = ()
) -> Callable[..., None]:
    """A test for each way from one version of a kind to another and back: `test_carts = round_trips(Cart)`.

    Objects are drawn from the schema of the version, `walks` times ten of them, and `examples` are tried besides: objects of any
    of the versions, for what a schema cannot say. `loses` declares what cannot be helped: paths by the version that cannot hold
    them, such as `{"v1beta1": ["spec.note"]}`.

    Raises:
        DeclarationError: the class has no other versions, a conversion is missing, or `loses` names none of them.
    """
    import pytest

    versions = versions_of(cls)
    all_versions(versions)
    if len(versions) < 2:
        raise DeclarationError(f"round_trips({cls.__name__}): no conversion leads from it or to it; declare some with @convert")
    known = [one.__kind__.version for one in versions]
    if unknown := sorted(set(loses) - set(known)):
        raise DeclarationError(f"round_trips({cls.__name__}): loses names {unknown[0]!r}; its versions are {', '.join(known)}")
    trips = trips_of(versions)

    @pytest.mark.parametrize("trip", trips, ids=[trip.name for trip in trips])
    def run(trip: Trip) -> None:
        __tracebackhide__ = True
        check(trip, loses=loses, walks=walks, examples=examples)

    return run
