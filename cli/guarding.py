"""Composes who may do what in the control plane that `up` runs.

The policy and the API's authorizer, what nodes may do, the reviews that ask them, the tokens of service accounts and what
every namespace needs for them, certificates on request, and the admission of Pods: accounts, priorities, limits, quotas. What of
it is a controller, and not admission, runs where it is `enabled`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from reconcile.clock import Clock
from reconcile.errors import Tree
from reconcile.handling import AdmissionReview
from reconcile.identity import Access, Caller, Decision
from reconcile.kinds import Kind, kind_of
from reconcile.registry import Operator
from reconcile.resources.authentication import IdentityReviews
from reconcile.resources.authentication.accounts import AccountTokens
from reconcile.resources.authentication.signing import SigningKey
from reconcile.resources.authentication.token_request import TokenRequest
from reconcile.resources.authorization import AccessReviews
from reconcile.resources.certificates.authority import Authority
from reconcile.resources.certificates.operator import certificates
from reconcile.resources.controllers import (
    ACCOUNT_TOKENS,
    ACCOUNTS,
    AGGREGATION,
    CLEARING,
    POLICY_STATUS,
    QUOTAS,
    ROOT_CA,
    SIGNING,
    Enabled,
    everything,
)
from reconcile.resources.core import Namespace, Node, Pod, ServiceAccount
from reconcile.resources.core.namespace_controller import keep_for_good
from reconcile.resources.core.node_lifecycle import taint_until_ready
from reconcile.resources.nodes import NodeAuthorizer, NodeGraph, NodeRestriction, node_graph
from reconcile.resources.nodes.identity import node_of
from reconcile.resources.quota.limiting import LimitedPods, Limits, check_claim, limit_ranger
from reconcile.resources.quota.quotas import quotas
from reconcile.resources.rbac.bootstrap import node_rules
from reconcile.resources.rbac.operator import controller_roles, rbac
from reconcile.resources.rbac.policy import Policy
from reconcile.resources.scheduling.admission import Classes, PodPriorities, priorities
from reconcile.resources.scheduling.runtime_classes import PodRuntimes
from reconcile.resources.serviceaccounts.admission import PodAccounts
from reconcile.resources.serviceaccounts.controller import service_accounts
from reconcile.resources.serviceaccounts.secrets import account_secrets
from reconcile.runtime.api import ApiServer
from reconcile.runtime.api.answering import RespondAbout
from reconcile.runtime.api.http.certificates import write_private
from reconcile.runtime.cluster import Front

SIGNING_KEY = "sa.key"
_WRITTEN_BY_NODES = (
    ("", "pods"), ("", "nodes"), ("", "persistentvolumeclaims"), ("coordination.k8s.io", "leases"),
    ("storage.k8s.io", "csinodes"),
)  # fmt: skip


@attrs.define
class Guards:
    """The parts that guard one API server."""

    clock: Clock
    enabled: Enabled = everything
    policy: Policy = attrs.field(factory=Policy)
    _classes: Classes = attrs.field(factory=Classes, init=False)
    _limits: Limits = attrs.field(factory=Limits, init=False)
    _nodes: NodeGraph = attrs.field(init=False)
    _restriction: NodeRestriction = attrs.field(init=False)
    _serving: list[tuple[ApiServer, Front | None]] = attrs.field(factory=list, init=False)
    """The API server and where it answers, once it is there: before any of the operators starts."""

    def __attrs_post_init__(self) -> None:
        self._nodes = NodeGraph(self._look)
        self._restriction = NodeRestriction(self._look)

    def operators(self) -> list[Operator]:
        """What keeps the guards informed, and namespaces equipped; started before everything that needs it."""
        on = self.enabled
        judging = [
            rbac(self.policy, aggregates=on(AGGREGATION)), node_graph(self._nodes), priorities(self._classes),
            limit_ranger(self._limits), quotas(self._find, self._gate, recounts=on(QUOTAS)),
            certificates(Authority(self._authority), self._authorize, signs=on(SIGNING), clears=on(CLEARING)),
        ]  # fmt: skip
        equipping = []
        if on(ACCOUNTS) or on(ROOT_CA):
            equipping.append(service_accounts(self._ca if on(ROOT_CA) else str, accounts=on(ACCOUNTS)))
        if on(ACCOUNT_TOKENS):
            equipping.append(account_secrets(self._ca))
        return [*judging, *equipping]

    def controllers(self) -> list[Operator]:
        """What nobody waits for: started with the controllers."""
        from reconcile.resources.authentication.published import published_authority
        from reconcile.resources.policy_status import policy_status

        status = [policy_status(lambda: self._api.kinds())] if self.enabled(POLICY_STATUS) else []
        return [controller_roles(self.policy), published_authority(self._ca), *status]

    def connect(self, api: ApiServer, front: Front | None) -> None:
        """Let the policy decide what callers may; admit new objects; serve the reviews, and (where there is a front) tokens."""
        self._serving.append((api, front))
        security = api.security
        security.authorize_with(NodeAuthorizer(self._nodes, self._look, node_rules(), self.policy))
        for resource in _WRITTEN_BY_NODES:
            if (written := self._find(*resource)) is not None:
                api.add_validator(written, self._restriction.admit)
        reviews = (*AccessReviews(security.authorize, self._rules_of).answers(), *IdentityReviews(security.identify).answers())
        for kind, answer in reviews:
            api.serve_answers(kind, answer)
        if front is not None:
            if not self.enabled(ACCOUNT_TOKENS):
                signing_key(front.pki / SIGNING_KEY)  # whoever makes tokens instead is given the file
            tokens = AccountTokens(SigningKey(lambda: signing_key(front.pki / SIGNING_KEY)), self.clock, api.peek)
            security.add_token_reader(tokens.read)
            respond = _checked(self._restriction.check_token, tokens.respond)
            api.add_answers(kind_of(ServiceAccount), "token", kind_of(TokenRequest), respond)
            api.add_document("/.well-known/openid-configuration", tokens.discovery)
            api.add_document("/openid/v1/jwks", tokens.key_set, "application/jwk-set+json")
        # In the reference server's order: what a later one judges, an earlier one has written.
        pods = kind_of(Pod)
        api.add_initializer(pods, LimitedPods(self._limits).admit)
        if front is not None:
            api.add_initializer(pods, PodAccounts(api.peek, self.clock).admit)
        api.add_initializer(pods, PodPriorities(self._classes, api.peek).admit)
        runtimes = self._find("node.k8s.io", "runtimeclasses")
        if runtimes is not None:
            api.add_initializer(pods, PodRuntimes(runtimes, api.peek).admit)
        api.add_initializer(kind_of(Node), taint_until_ready)
        api.add_validator(kind_of(Namespace), keep_for_good)
        claims = self._find("", "persistentvolumeclaims")
        if claims is not None:
            api.add_validator(claims, lambda review: check_claim(self._limits, review))

    def evictions(self, respond: RespondAbout) -> RespondAbout:
        """Evictions, as nodes may ask for them."""
        return _checked(self._restriction.check_eviction, respond)

    # What operators ask of the server that is not there yet when they are made

    @property
    def _api(self) -> ApiServer:
        return self._serving[0][0]

    def _ca(self) -> str:
        front = self._serving[0][1]
        return front.ca.decode() if front is not None else ""

    def _authority(self) -> tuple[bytes, bytes]:
        front = self._serving[0][1]
        assert front is not None, "a control plane without HTTP has no authority"
        return front.ca, (front.pki / "ca.key").read_bytes()

    def _authorize(self, caller: Caller, access: Access) -> Decision:
        return self._api.security.authorize(caller, access)

    def _gate(self, kind: Kind, see: Callable[[AdmissionReview], Any]) -> Callable[[], None]:
        return self._api.add_validator(kind, see)

    def _look(self, group: str, plural: str, namespace: str, name: str) -> Tree | None:
        kind = self._find(group, plural)
        return self._api.peek(kind, name, namespace) if kind is not None else None

    def _rules_of(self, caller: Caller, namespace: str) -> tuple[list[Tree], list[str]]:
        rules, faults = self.policy.rules_of(caller, namespace)
        return rules, faults if node_of(caller) is None else [*faults, "node authorizer does not support user rule resolution"]

    def _find(self, group: str, plural: str) -> Kind | None:
        return next((k for k in self._api.stored_kinds() if (k.group, k.plural) == (group, plural)), None)


def _checked(check: Callable[[Tree, Tree, Caller], None], respond: RespondAbout) -> RespondAbout:
    """Let `check` see who asks for what before it is answered."""

    def checked(about: Tree, question: Tree, caller: Caller) -> Any:  # Any: an answer, or one to be awaited
        check(about, question, caller)
        return respond(about, question, caller)

    return checked


def signing_key(path: Path) -> bytes:
    """The key that signs the tokens of service accounts; made when it is first needed."""
    if not path.exists():
        write_private(path, SigningKey.generate())
    return path.read_bytes()
