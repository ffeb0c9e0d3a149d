"""Answers identity reviews from whoever knows tokens.

Source: K/pkg/registry/authentication
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import attrs

from reconcile.errors import Tree, UnauthorizedError
from reconcile.identity import AUTHENTICATED, Caller, Identity
from reconcile.kinds import Kind, kind_of

from .reviews import SelfSubjectReview, TokenReview

Respond = Callable[[Tree, Caller], Tree]


class Identify(Protocol):
    """Knows tokens."""

    def __call__(self, token: str, audiences: Sequence[str] = ()) -> Identity | None:
        """Who a token stands for, or None. Raises UnauthorizedError where it is known and not valid."""


@attrs.frozen
class IdentityReviews:
    """What answers the reviews."""

    identify: Identify

    def answers(self) -> Iterator[tuple[Kind, Respond]]:
        """Each kind of review with what answers it."""
        yield kind_of(TokenReview), self.token
        yield kind_of(SelfSubjectReview), self.own

    def token(self, review: Tree, _caller: Caller) -> Tree:
        """Whose token is it? Other audiences than the API server must be told by the token itself."""
        spec = review["spec"]
        audiences = tuple(spec.get("audiences") or ())
        try:
            found = self.identify(spec["token"], audiences)
        except UnauthorizedError as error:
            return {**review, "status": {"error": str(error), "user": {}}}
        if found is None:
            return {**review, "status": {"user": {}}}
        user = found.caller.tree()
        if AUTHENTICATED not in found.caller.groups:
            user["groups"] = [*found.caller.groups, AUTHENTICATED]
        status: Tree = {"authenticated": True, "user": user}
        if found.audiences:
            status["audiences"] = list(found.audiences)
        return {**review, "status": status}

    def own(self, review: Tree, caller: Caller) -> Tree:
        """Who asks?"""
        return {**review, "status": {"userInfo": caller.tree()}}
