"""Composes who may do what in the control plane that `up` runs: the policy, the reviews that ask it, and the API's authorizer."""

from __future__ import annotations

import attrs

from reconcile.registry import Operator
from reconcile.resources.authentication import IdentityReviews
from reconcile.resources.authorization import AccessReviews
from reconcile.resources.rbac.operator import rbac
from reconcile.resources.rbac.policy import Policy
from reconcile.runtime.api import ApiServer


@attrs.define
class Guards:
    """The parts that guard one API server."""

    policy: Policy = attrs.field(factory=Policy)

    def operators(self) -> list[Operator]:
        """What keeps the guards informed; started before everything that they let in."""
        return [rbac(self.policy)]

    def connect(self, api: ApiServer) -> None:
        """Let the policy decide what callers may, and serve the reviews."""
        security = api.security
        security.authorize_with(self.policy)
        for kind, respond in AccessReviews(security.authorize, self.policy.rules_of).answers():
            api.serve_answers(kind, respond)
        for kind, respond in IdentityReviews(security.identify).answers():
            api.serve_answers(kind, respond)
