"""Who is asked about a write: policies whose constraints are for it, by bindings that are for it, once for each parameter.

Source: k8s.io/apiserver/pkg/admission/plugin/policy/generic/policy_dispatcher.go
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

import attrs

from reconcile.clock import Clock
from reconcile.errors import Tree
from reconcile.expressions.authorization import asking, authorizer_of
from reconcile.handling import AdmissionReview
from reconcile.identity import Authorizer
from reconcile.kinds import Kind
from reconcile.runtime.api.matching import EVERYTHING, Match, Served
from reconcile.runtime.api.webhooks.review import request_of

from .policy import Binding, Policy, binding_of

_P = TypeVar("_P", bound=Policy)
NO_PARAMETERS = "no params found for policy binding with `Deny` parameterNotFoundAction"


@attrs.frozen
class Surroundings:
    """What policies need of the API server that asks them."""

    clock: Clock
    served: Served
    around: Callable[[AdmissionReview], Awaitable[Tree | None]]
    """The namespace that a write is in, or is about."""
    convert: Callable[[Tree, Kind], Awaitable[Tree]]
    kind_named: Callable[[str, str], Kind | None]
    """(apiVersion, kind) -> the served kind."""
    parameters: Callable[[Kind, str, str, Tree | None], Awaitable[Sequence[Tree]]]
    """(kind, namespace, name, label selector) -> the objects."""
    schema: Callable[[Kind], Tree]
    complete: Callable[[Kind, Tree], tuple[Tree, list[str], str]]
    """The object with its defaults, the fields that its kind does not have, and why it cannot be decoded."""
    authorizer: Authorizer

    async def values(self, review: AdmissionReview, shown: Kind, around: Tree | None) -> dict[str, Any]:
        """The variables of expressions about a write that is shown in this version; `params` are none."""
        kind, meta = review.kind, review.tree.get("metadata") or {}
        new = review.options
        if review.operation not in ("DELETE", "CONNECT"):
            new = await self.convert(review.tree, shown)
        old = None if review.old is None else await self.convert(review.old, shown)
        about = (kind.group, kind.plural, review.subresource, meta.get("namespace") or "", meta.get("name") or "")
        return {
            "object": new, "oldObject": old, "request": request_of(review, shown, self.clock.uid(), None, None), "params": None,
            "namespaceObject": around if kind.namespaced else None, "authorizer": authorizer_of(*about),
        }  # fmt: skip

    def asking(self, review: AdmissionReview) -> AbstractContextManager[None]:
        """Around evaluations: `authorizer` asks on behalf of who writes."""
        return asking(review.caller, self.authorizer)


@attrs.frozen
class Invocation(Generic[_P]):
    """A policy that is asked by a binding, with one object as its parameters."""

    policy: _P
    binding: Binding
    shown: Kind
    """The version of its kind that the policy sees the object in."""
    parameters: Tree | None

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells it from others about the same write."""
        meta = (self.parameters or {}).get("metadata") or {}
        return self.policy.name, self.binding.name, meta.get("namespace") or "", meta.get("name") or ""


@attrs.frozen
class Problem(Generic[_P]):
    """Why a policy cannot be asked (by a binding, if it is its fault)."""

    policy: _P
    binding: Binding | None
    message: str


class Bound(Generic[_P]):
    """The policies that bindings put into force, in the order of their names."""

    def __init__(
        self, surroundings: Surroundings, exempt: frozenset[tuple[str, str]], policies: Iterable[_P], bindings: Iterable[Tree]
    ) -> None:  # fmt: skip
        """`exempt` names (group, plural) of the kinds that configure admission: a broken policy must not lock itself in."""
        self.surroundings = surroundings
        self._exempt = exempt
        bound: dict[str, list[Binding]] = {}
        for binding in sorted(map(binding_of, bindings), key=lambda binding: binding.name):
            bound.setdefault(binding.policy, []).append(binding)
        known = sorted(policies, key=lambda policy: policy.name)
        self._bound = [(policy, bound[policy.name]) for policy in known if policy.name in bound]

    def may_see(self, kind: Kind) -> bool:
        """Whether some policy may be for writes of this kind."""
        return bool(self._bound) and (kind.group, kind.plural) not in self._exempt

    async def asked(self, review: AdmissionReview) -> tuple[list[Invocation[_P]], list[Problem[_P]], Tree | None]:
        """All that are asked about a write, those that should be and cannot, and the namespace around it."""
        found, problems = list[Invocation[_P]](), list[Problem[_P]]()
        around: Tree | None = None
        looked = False
        for policy, bindings in self._bound:
            shown = policy.match.version_for(review.kind, review, self.surroundings.served)
            if shown is None:
                continue
            if not looked:
                around, looked = await self.surroundings.around(review), True
            labels = None if around is None else around["metadata"].get("labels") or {}
            if not policy.match.wants(review, labels):
                continue
            if why := policy.problem or self._unknown_parameters(policy):
                problems.append(Problem(policy, None, f"failed to configure policy: {why}"))
                continue
            for binding in bindings:
                if binding.match is not None and not self._meant(binding.match, review, labels):
                    continue
                given, why = await self._given(policy, binding, review)
                if why:
                    problems.append(Problem(policy, binding, f"failed to configure binding: {why}"))
                found += [Invocation(policy, binding, shown, parameters) for parameters in given]
        return found, problems, around

    def _meant(self, match: Match, review: AdmissionReview, labels: Mapping[str, str] | None) -> bool:
        if match.rules or match.excluded:
            given = match if match.rules else attrs.evolve(match, rules=EVERYTHING)
            if given.version_for(review.kind, review, self.surroundings.served) is None:
                return False
        return match.wants(review, labels)

    def _unknown_parameters(self, policy: Policy) -> str:
        named = policy.parameter_kind
        if named is None or self.surroundings.kind_named(*named) is not None:
            return ""
        return f"failed to find resource referenced by paramKind: '{named[0]}, Kind={named[1]}'"

    async def _given(self, policy: Policy, binding: Binding, review: AdmissionReview) -> tuple[Sequence[Tree | None], str]:
        """The parameters with which the policy is asked, once for each; and why they cannot be had."""
        reference = binding.parameters
        if policy.parameter_kind is None or reference is None:
            return [None], ""
        kind = self.surroundings.kind_named(*policy.parameter_kind)
        assert kind is not None, "it was looked for before"
        namespace = reference.get("namespace") or ""
        if namespace and not kind.namespaced:
            return [], "paramRef.namespace must not be provided for a cluster-scoped `paramKind`"
        if kind.namespaced and not namespace:
            namespace = review.tree["metadata"].get("namespace") or ""
            if not namespace:
                return [], "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
        found = await self.surroundings.parameters(kind, namespace, reference.get("name") or "", reference.get("selector"))
        return found, "" if found or reference.get("parameterNotFoundAction") == "Allow" else NO_PARAMETERS
