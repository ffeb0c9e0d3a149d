"""Gives new Pods what their RuntimeClass says: the overhead of running them, and where they can run.

Source: K/plugin/pkg/admission/runtimeclass/admission.go, https://kubernetes.io/docs/concepts/containers/runtime-class/
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from reconcile.errors import ForbiddenError, Tree
from reconcile.handling import AdmissionReview
from reconcile.kinds import Kind
from reconcile.quantities import parse_quantity


@attrs.frozen
class PodRuntimes:
    """Admits new Pods; `find` reads an object, `kind` is RuntimeClass."""

    kind: Kind
    find: Callable[[Kind, str, str], Tree | None]

    def admit(self, review: AdmissionReview) -> None:
        """Add what the class of a Pod that is about to be created says.

        Raises:
            ForbiddenError: there is no such class, or the Pod says otherwise than it.
        """
        spec = review.tree.get("spec")
        if not isinstance(spec, dict):
            return  # the schema's rules say so
        name = spec.get("runtimeClassName")
        if not name:
            if spec.get("overhead"):
                raise _refusal(review, "Pod Overhead set without corresponding RuntimeClass defined Overhead")
            return
        found = self.find(self.kind, name, "")
        if found is None:
            raise _refusal(review, f'RuntimeClass "{name}" not found')
        overhead = (found.get("overhead") or {}).get("podFixed") or {}
        if spec.get("overhead") and not _same(spec["overhead"], overhead):
            raise _refusal(review, "Pod's Overhead doesn't match RuntimeClass's defined Overhead")
        if overhead:
            spec["overhead"] = dict(overhead)
        _place(review, spec, found.get("scheduling") or {})


def _place(review: AdmissionReview, spec: Tree, scheduling: Tree) -> None:
    """Merge where Pods of the class can run into where the Pod wants to."""
    wanted = scheduling.get("nodeSelector") or {}
    if wanted:
        given = spec.get("nodeSelector") or {}
        for label, value in wanted.items():
            if given.get(label, value) != value:
                raise _refusal(
                    review,
                    f"conflict: runtimeClass.scheduling.nodeSelector[{label}] = {value}; "
                    f"pod.spec.nodeSelector[{label}] = {given[label]}",
                )
        spec["nodeSelector"] = {**given, **wanted}
    tolerated = spec.get("tolerations") or []
    more = [toleration for toleration in scheduling.get("tolerations") or () if toleration not in tolerated]
    if more:
        spec["tolerations"] = [*tolerated, *more]


def _same(one: Tree, other: Tree) -> bool:
    return one.keys() == other.keys() and all(parse_quantity(one[name]) == parse_quantity(other[name]) for name in one)


def _refusal(review: AdmissionReview, why: str) -> ForbiddenError:
    name = review.tree["metadata"].get("name") or ""
    return ForbiddenError(f'pods "{name}" is forbidden: pod rejected: {why}', details={"name": name, "kind": "pods"})
