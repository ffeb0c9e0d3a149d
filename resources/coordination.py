"""Lease: who holds a role, and since when; leader election and node heartbeats live on it."""

from __future__ import annotations

from collections.abc import Iterator

from reconcile.errors import Cause, Tree
from reconcile.kinds import Column, Hooks, Resource, kind
from reconcile.views import field, struct

from .core.cells import AGE, path_cell
from .core.names import invalid


@struct
class LeaseSpec:
    """The holder and its times (with microseconds)."""

    holder_identity: str | None = field(default=None, doc="Who holds it.")
    lease_duration_seconds: int | None = field(default=None, doc="Others may take it when it was not renewed for so long.")
    acquire_time: str | None = field(default=None, format="micro-time")
    renew_time: str | None = field(default=None, format="micro-time")
    lease_transitions: int | None = field(default=None, doc="How often the holder changed.")
    strategy: str | None = None
    preferred_holder: str | None = None


def _validate(tree: Tree, old: Tree | None) -> Iterator[Cause]:  # noqa: ARG001 - a hook's signature
    spec = tree.get("spec") or {}
    duration_s, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if duration_s is not None and duration_s <= 0:
        yield invalid("spec.leaseDurationSeconds", duration_s, "must be greater than 0")
    if transitions is not None and transitions < 0:
        yield invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0")


@kind(
    "coordination.k8s.io", "v1", plural="leases", builtin=True, has_generation=False, needs_revision=True,
    hooks=Hooks(validate=_validate),
    columns=(Column("Holder", cell=path_cell("spec", "holderIdentity"), doc="Who holds it."), AGE),
)  # fmt: skip
class Lease(Resource):
    """A role that one holder has for a time, and renews."""

    spec: LeaseSpec = field(factory=LeaseSpec)
