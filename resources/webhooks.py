"""Keeps the API server's webhooks and admission policies as the kinds that configure them have them.

Who asks webhooks, and who evaluates policies, is no handler: the composer hands in `configure`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

import attrs

from reconcile.errors import Tree
from reconcile.handling import Cluster
from reconcile.kinds import Kind, Resource
from reconcile.registry import Operator

from .stored.policies import mutating_policy_kinds, validating_policy_kinds, webhook_kinds

Configure = Callable[[Iterable[Tree], Iterable[Tree]], None]
EXEMPT = frozenset(
    ("admissionregistration.k8s.io", plural) for plural in (
        "mutatingwebhookconfigurations", "validatingwebhookconfigurations", "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings", "validatingadmissionpolicies", "validatingadmissionpolicybindings",
    )
)  # fmt: skip
"""(group, plural) of what webhooks and policies never see, so that a broken one can be mended.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#matching-requests-rules
"""


def webhook_configurations(configure: Configure, close: Callable[[], Awaitable[None]]) -> Operator:
    """The operator that calls `configure(mutating, validating)` with what is there; `close` when it stops."""
    app = Operator("webhook-configurations")
    _follow(app, webhook_kinds(), configure)

    @app.on.cleanup()
    async def end() -> None:
        await close()

    return app


def admission_policies(mutating: Configure, validating: Configure) -> Operator:
    """The operator that calls each of both with (policies, bindings) as they are."""
    app = Operator("admission-policies")
    _follow(app, mutating_policy_kinds(), mutating)
    _follow(app, validating_policy_kinds(), validating)
    return app


def _follow(app: Operator, kinds: Sequence[Kind], configure: Configure) -> None:
    """Configure with all objects of both kinds, at the start and whenever one of them changed."""

    async def read(cluster: Cluster) -> None:
        configure(*[(await cluster.client.list(kind)).items for kind in kinds])

    @app.on.startup()
    async def begin(cluster: Cluster) -> None:
        await read(cluster)

    def follow(kind: Kind) -> None:
        # All of them, from the server itself: what counts is what is there now, whatever the event says.
        @app.on.event(_class_of(kind), name=kind.plural)
        async def changed(cluster: Cluster) -> None:
            await read(cluster)

    for kind in kinds:
        follow(kind)


def _class_of(kind: Kind) -> type[Resource]:
    """A class to declare handlers by, for a kind that is declared from data."""
    made: type[Resource] = type(kind.kind, (Resource,), {"__doc__": f"A {kind.kind}."})
    made.__kind__ = attrs.evolve(kind, cls=made)
    return made
