"""Asks policies that validate about a write.

Source: k8s.io/apiserver/pkg/admission/plugin/policy/validating/dispatcher.go
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reconcile.errors import Tree, error_from_status
from reconcile.handling import AdmissionReview
from reconcile.kinds import Kind

from .policy import Broken, ValidatingPolicy, validating_policy_of
from .selection import Bound, Invocation, Surroundings

_CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413, "Invalid": 422}


class ValidatingPolicies:
    """All ValidatingAdmissionPolicies that bindings put into force."""

    def __init__(
        self, surroundings: Surroundings, exempt: frozenset[tuple[str, str]], policies: Iterable[Tree], bindings: Iterable[Tree]
    ) -> None:  # fmt: skip
        """`exempt` names (group, plural) of the kinds that configure admission: a broken policy must not lock itself in."""
        self._surroundings = surroundings
        self._bound = Bound(surroundings, exempt, map(validating_policy_of, policies), bindings)

    def validates(self, kind: Kind) -> bool:
        """Whether some policy may be for writes of this kind."""
        return self._bound.may_see(kind)

    async def validate(self, review: AdmissionReview) -> None:
        """Ask all that are for this write. Raises what refuses; what only warns goes into `review.warnings`."""
        asked, problems, around = await self._bound.asked(review)
        denied = [
            (_title(each.policy, each.binding.name if each.binding else ""), Broken(each.message, "Invalid"))
            for each in problems if not each.policy.ignores_failure
        ]  # fmt: skip
        seen: dict[str, dict[str, Any]] = {}
        for each in asked:
            if each.shown.version not in seen:
                seen[each.shown.version] = await self._surroundings.values(review, each.shown, around)
            values = {**seen[each.shown.version], "params": each.parameters}
            with self._surroundings.asking(review):
                denied += _judged(each, review, values)
        if denied:
            raise _refusal(review, *denied[0])


def _judged(asked: Invocation[ValidatingPolicy], review: AdmissionReview, values: dict[str, Any]) -> list[tuple[str, Broken]]:
    """What a policy has against the write, where that denies it; warnings are noted."""
    title, denied = _title(asked.policy, asked.binding.name), []
    for broken in asked.policy.broken(values):
        if "Warn" in asked.binding.actions:
            warning = f"Validation failed for {title}: {broken.message}"
            if warning not in review.warnings:
                review.warnings.append(warning)
        if "Deny" in asked.binding.actions:
            denied.append((title, broken))
    return denied + [(title, broken) for broken in asked.policy.unannotated(values)]


def _title(policy: ValidatingPolicy, binding: str) -> str:
    return f"ValidatingAdmissionPolicy '{policy.name}'" + (f" with binding '{binding}'" if binding else "")


def _refusal(review: AdmissionReview, title: str, broken: Broken) -> Exception:
    kind, name = review.kind, review.tree["metadata"].get("name") or ""
    reason = broken.reason if broken.reason in _CODES else "Invalid"
    why = f"{title} denied request: {broken.message}"
    details = {
        "name": name, **({"group": kind.group} if kind.group else {}), "kind": kind.plural,
        "causes": [{"message": why}],
    }  # fmt: skip
    return error_from_status(
        {
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": _CODES[reason],
            "message": f'{kind.resource} "{name}" is forbidden: {why}', "details": details,
        }
    )  # fmt: skip
