"""Composes who may do what in the control plane that `up` runs.

The policy and the API's authorizer, the tokens of service accounts and what every namespace needs for them, and the reviews
that ask about all of it.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from reconcile.clock import Clock
from reconcile.kinds import kind_of
from reconcile.registry import Operator
from reconcile.resources.authentication import IdentityReviews
from reconcile.resources.authentication.accounts import AccountTokens
from reconcile.resources.authentication.signing import SigningKey
from reconcile.resources.authentication.token_request import TokenRequest
from reconcile.resources.authorization import AccessReviews
from reconcile.resources.core import Pod, ServiceAccount
from reconcile.resources.rbac.operator import rbac
from reconcile.resources.rbac.policy import Policy
from reconcile.resources.serviceaccounts.admission import PodAccounts
from reconcile.resources.serviceaccounts.controller import service_accounts
from reconcile.runtime.api import ApiServer
from reconcile.runtime.api.http.certificates import write_private
from reconcile.runtime.cluster import Front

SIGNING_KEY = "sa.key"


@attrs.define
class Guards:
    """The parts that guard one API server."""

    clock: Clock
    policy: Policy = attrs.field(factory=Policy)
    _front: Front | None = attrs.field(default=None, init=False)

    def operators(self) -> list[Operator]:
        """What keeps the policy informed, and namespaces equipped; started before everything that needs it."""
        return [rbac(self.policy), service_accounts(lambda: self._front.ca.decode() if self._front is not None else "")]

    def connect(self, api: ApiServer, front: Front | None) -> None:
        """Let the policy decide what callers may; serve the reviews, and (where there is a front) tokens."""
        self._front = front
        security = api.security
        security.authorize_with(self.policy)
        for kind, respond in AccessReviews(security.authorize, self.policy.rules_of).answers():
            api.serve_answers(kind, respond)
        for kind, respond in IdentityReviews(security.identify).answers():
            api.serve_answers(kind, respond)
        if front is None:
            return
        tokens = AccountTokens(SigningKey(lambda: signing_key(front.pki / SIGNING_KEY)), self.clock, api.peek)
        security.add_token_reader(tokens.read)
        api.add_answers(kind_of(ServiceAccount), "token", kind_of(TokenRequest), tokens.respond)
        api.add_initializer(kind_of(Pod), PodAccounts(api.peek, self.clock).admit)
        api.add_document("/.well-known/openid-configuration", tokens.discovery)
        api.add_document("/openid/v1/jwks", tokens.key_set, "application/jwk-set+json")


def signing_key(path: Path) -> bytes:
    """The key that signs the tokens of service accounts; made when it is first needed."""
    if not path.exists():
        write_private(path, SigningKey.generate())
    return path.read_bytes()
