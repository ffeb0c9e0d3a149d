"""Asks admission policies about a write: those whose bindings are for it, in the order of their names.

Source: k8s.io/apiserver/pkg/admission/plugin/policy/validating/dispatcher.go
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from reconcile.clock import Clock
from reconcile.errors import Tree, error_from_status
from reconcile.handling import AdmissionReview
from reconcile.kinds import Kind
from reconcile.runtime.api.matching import EVERYTHING, Match, Served
from reconcile.runtime.api.webhooks.review import request_of

from .policy import Binding, Broken, Policy, binding_of, policy_of

Around = Callable[[AdmissionReview], Awaitable[Tree | None]]
"""The namespace that a write is in, or is about."""
Convert = Callable[[Tree, Kind], Awaitable[Tree]]
Parameters = Callable[[tuple[str, str], str, str, Tree | None], Awaitable[Sequence[Tree]]]
"""((apiVersion, kind), namespace, name, label selector) -> the objects. Raises LookupError where there is no such kind."""
_CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413, "Invalid": 422}


class ConfigurationError(Exception):
    """A binding cannot be followed; the message says why."""


class Policies:
    """All policies that bindings put into force."""

    def __init__(
        self, clock: Clock, served: Served, around: Around, convert: Convert, parameters: Parameters,
        exempt: frozenset[tuple[str, str]], policies: Iterable[Tree], bindings: Iterable[Tree],
    ) -> None:  # fmt: skip
        """`exempt` names (group, plural) of the kinds that configure admission: a broken policy must not lock itself in."""
        self._clock = clock
        self._served = served
        self._around = around
        self._convert = convert
        self._parameters = parameters
        self._exempt = exempt
        bound: dict[str, list[Binding]] = {}
        for binding in sorted(map(binding_of, bindings), key=lambda binding: binding.name):
            bound.setdefault(binding.policy, []).append(binding)
        known = sorted(map(policy_of, policies), key=lambda policy: policy.name)
        self._bound = [(policy, bound[policy.name]) for policy in known if policy.name in bound]

    def validates(self, kind: Kind) -> bool:
        """Whether some policy may be for writes of this kind."""
        return bool(self._bound) and (kind.group, kind.plural) not in self._exempt

    async def validate(self, review: AdmissionReview) -> None:
        """Ask all that are for this write. Raises what refuses; what only warns goes into `review.warnings`."""
        around: Tree | None = None
        asked = False
        denied: list[tuple[str, Broken]] = []
        for policy, bindings in self._bound:
            shown = policy.match.version_for(review.kind, review, self._served)
            if shown is None:
                continue
            if not asked:
                around, asked = await self._around(review), True
            labels = None if around is None else around["metadata"].get("labels") or {}
            if not policy.match.wants(review, labels):
                continue
            values = await self._values(review, shown, around)
            for binding in bindings:
                if binding.match is None or self._meant(binding.match, review, labels):
                    denied += await self._judged(policy, binding, review, values)
        if denied:
            raise _refusal(review, *denied[0])

    def _meant(self, match: Match, review: AdmissionReview, labels: Mapping[str, str] | None) -> bool:
        if match.rules or match.excluded:
            given = match if match.rules else attrs.evolve(match, rules=EVERYTHING)
            if given.version_for(review.kind, review, self._served) is None:
                return False
        return match.wants(review, labels)

    async def _values(self, review: AdmissionReview, shown: Kind, around: Tree | None) -> dict[str, Any]:
        new = None if review.operation == "DELETE" else await self._convert(review.tree, shown)
        old = None if review.old is None else await self._convert(review.old, shown)
        request = request_of(review, shown, self._clock.uid(), None, None)
        namespace = around if review.kind.namespaced else None
        return {"object": new, "oldObject": old, "request": request, "params": None, "namespaceObject": namespace}

    async def _judged(
        self, policy: Policy, binding: Binding, review: AdmissionReview, values: dict[str, Any]
    ) -> list[tuple[str, Broken]]:  # fmt: skip
        """What a binding has against the write, where it denies; its warnings are noted."""
        title = f"ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}'"
        try:
            if policy.problem:
                raise ConfigurationError(f"failed to configure policy: {policy.problem}")
            given = await self._given(policy, binding, review)
        except ConfigurationError as error:
            return [] if policy.ignores_failure else [(title, Broken(str(error), "Invalid"))]
        denied = []
        for parameters in given:
            for broken in policy.broken({**values, "params": parameters}):
                if "Warn" in binding.actions:
                    warning = f"Validation failed for {title}: {broken.message}"
                    if warning not in review.warnings:
                        review.warnings.append(warning)
                if "Deny" in binding.actions:
                    denied.append((title, broken))
        return denied

    async def _given(self, policy: Policy, binding: Binding, review: AdmissionReview) -> Sequence[Tree | None]:
        """The parameters with which the policy is asked, once for each.

        Raises:
            ConfigurationError: they cannot be had.
        """
        reference = binding.parameters
        if policy.parameter_kind is None or reference is None:
            return [None]
        own = review.tree["metadata"].get("namespace") or ""
        try:
            found = await self._parameters(
                policy.parameter_kind, reference.get("namespace") or own, reference.get("name") or "", reference.get("selector")
            )
        except LookupError as error:
            raise ConfigurationError(f"failed to configure binding: {error}") from error
        if found:
            return found
        if reference.get("parameterNotFoundAction") == "Allow":
            return []
        raise ConfigurationError(
            "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
        )


def _refusal(review: AdmissionReview, title: str, broken: Broken) -> Exception:
    kind, name = review.kind, review.tree["metadata"].get("name") or ""
    reason = broken.reason if broken.reason in _CODES else "Invalid"
    why = f"{title} denied request: {broken.message}"
    details = {
        "name": name, **({"group": kind.group} if kind.group else {}), "kind": kind.plural,
        "causes": [{"reason": "", "message": why}],
    }  # fmt: skip
    return error_from_status(
        {
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": _CODES[reason],
            "message": f'{kind.resource} "{name}" is forbidden: {why}', "details": details,
        }
    )  # fmt: skip
