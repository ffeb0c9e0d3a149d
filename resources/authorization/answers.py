"""Answers access reviews from an authorizer, and rules reviews from the policy behind it.

Source: K/pkg/registry/authorization
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import attrs

from reconcile.errors import BadRequestError, Tree
from reconcile.identity import Access, Authorizer, Caller
from reconcile.kinds import Kind, kind_of

from .reviews import LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview

RulesOf = Callable[[Caller, str], tuple[Sequence[Tree], Sequence[str]]]
"""(caller, namespace) -> the rules that hold for them there, and what could not be found out."""
Respond = Callable[[Tree, Caller], Tree]


@attrs.frozen
class AccessReviews:
    """What answers the reviews: an authorizer, and what knows the rules behind it."""

    authorize: Authorizer
    rules_of: RulesOf

    def answers(self) -> Iterator[tuple[Kind, Respond]]:
        """Each kind of review with what answers it."""
        yield kind_of(SelfSubjectAccessReview), self.own
        yield kind_of(SubjectAccessReview), self.anybodys
        yield kind_of(LocalSubjectAccessReview), self.anybodys
        yield kind_of(SelfSubjectRulesReview), self.rules

    def own(self, review: Tree, caller: Caller) -> Tree:
        """May the caller?"""
        return self._decided(review, caller)

    def anybodys(self, review: Tree, _caller: Caller) -> Tree:
        """May the user or group in the review? They are taken at the word of who asks."""
        spec = review["spec"]
        extra = {key: list(values) for key, values in (spec.get("extra") or {}).items()}
        return self._decided(
            review, Caller(spec.get("user") or "", tuple(spec.get("groups") or ()), spec.get("uid") or "", extra)
        )

    def rules(self, review: Tree, caller: Caller) -> Tree:
        """What may the caller in a namespace?"""
        namespace = (review.get("spec") or {}).get("namespace") or ""
        if not namespace:
            raise BadRequestError("no namespace on request")
        rules, missing = self.rules_of(caller, namespace)
        status: Tree = {
            "resourceRules": [_without_urls(rule) for rule in rules if rule.get("resources")],
            "nonResourceRules": [
                {"verbs": list(rule["verbs"]), "nonResourceURLs": list(rule["nonResourceURLs"])}
                for rule in rules if rule.get("nonResourceURLs")
            ],
            "incomplete": bool(missing),
        }  # fmt: skip
        if missing:
            status["evaluationError"] = ", ".join(missing)
        return {**review, "status": status}

    def _decided(self, review: Tree, caller: Caller) -> Tree:
        decision = self.authorize(caller, _access(review["spec"]))
        status: Tree = {"allowed": decision.allowed}
        if decision.reason:
            status["reason"] = decision.reason
        return {**review, "status": status}


def _access(spec: Tree) -> Access:
    wanted = spec.get("resourceAttributes")
    if wanted is None:
        path = spec["nonResourceAttributes"]
        return Access(path.get("verb") or "", path=path.get("path") or "")
    return Access(
        wanted.get("verb") or "", wanted.get("group") or "", wanted.get("resource") or "", wanted.get("subresource") or "",
        wanted.get("namespace") or "", wanted.get("name") or "", wanted.get("version") or "",
    )  # fmt: skip


def _without_urls(rule: Tree) -> Tree:
    return {part: list(rule[part]) for part in ("verbs", "apiGroups", "resources", "resourceNames") if rule.get(part)}
