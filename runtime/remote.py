"""Operators of this process on an API server elsewhere: what `reconcile run` runs.

It knows no built-in kind. `start_operator` and `stop_operator` make it a host of programs, as a control plane is; with an
election operators run only while this replica leads, and are stopped (their cleanup handlers called) when it does no more. With a
membership they run while it is a member, for its share of the objects.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from reconcile.client import APPLY_PATCH, Client, Patch
from reconcile.clock import Clock
from reconcile.conversion import versions_of
from reconcile.crd import CRD, definitions_of
from reconcile.errors import ApiError, ReconcileError, Tree
from reconcile.kinds import Resource, kind_of
from reconcile.registry import Operator

from .engine.election import Election
from .engine.engine import Engine
from .engine.fencing import FencedClient
from .engine.membership import Membership

if TYPE_CHECKING:
    from .webhooks import Webhooks

log = logging.getLogger(__name__)

ESTABLISHED_S_MAX = 30.0


class RemoteOperators:
    """Runs operators on `client`. Use as an async context manager: leaving it stops all of them gracefully.

    `webhooks` is how mutate and validate handlers, and conversions, are called; without it they are left out, which is logged.
    `register` applies the CustomResourceDefinitions of an operator's kinds before it starts.
    """

    def __init__(
        self, client: Client, clock: Clock, *, election: Election | Membership | None = None, register: bool = False,
        namespace: str = "", webhooks: Webhooks | None = None,
    ) -> None:  # fmt: skip
        self.clock, self.election = clock, election
        self._direct = client
        self._register = register
        self.engine = Engine(
            client if election is None else FencedClient(client, election), clock, namespace=namespace, admission=webhooks
        )
        if isinstance(election, Membership):
            election.share(self.engine)
        self._webhooks = webhooks
        self._wanted: list[Operator] = []
        self._running: set[Operator] = set()
        self._changing = asyncio.Lock()
        self._electing: asyncio.Task[None] | None = None
        self.failed: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
        """Done with an error when an operator cannot be started on becoming the leader, or a member."""

    @property
    def leading(self) -> bool:
        """Whether operators run here; without an election they always do."""
        return self.election is None or self.election.leading

    @property
    def role(self) -> str:
        """What this replica is among the others: leader, member or standby."""
        return "standby" if not self.leading else "member" if isinstance(self.election, Membership) else "leader"

    @property
    def ready(self) -> bool:
        """Whether everything that ought to run here does, with its caches filled. A standby is ready."""
        if not self.leading:
            return True
        return self._running == set(self._wanted) and all(informer.tried for informer in self.engine.informers)

    async def start_operator(self, operator: Operator) -> None:
        """Run an operator; with an election, as soon as this replica leads. Raises what its startup handlers raise."""
        converted = [cls for cls in operator.kinds if cls is not Resource and len(versions_of(cls)) > 1]
        if self._webhooks is not None:
            self._webhooks.add_conversions(converted)
        if self._register:
            await self.register(operator)
        elif converted and self._webhooks is None:
            log.warning("%s: nobody here is asked to convert it: run with --webhooks HOST:PORT", kind_of(converted[0]).resource)
        async with self._changing:
            self._wanted.append(operator)
            try:
                await self._run_if_leading(operator)
            except BaseException:
                self._wanted.remove(operator)
                raise
        if self.election is not None and self._electing is None:
            self._electing = asyncio.create_task(self._elect(self.election), name="election")

    async def stop_operator(self, operator: Operator) -> None:
        """Stop an operator."""
        async with self._changing:
            if operator in self._wanted:
                self._wanted.remove(operator)
            await self._stop(operator)

    async def register(self, operator: Operator) -> None:
        """Apply the definitions of the operator's kinds and wait until they are served.

        Raises:
            ApiError: the server refuses one of them.
            ReconcileError: one is not served after half a minute, or its versions are converted here, and without webhooks.
        """
        names = []
        for definition in definitions_of(operator.kinds, self._webhooks.converter if self._webhooks is not None else None):
            names.append(definition["metadata"]["name"])
            await self._direct.patch(
                CRD, names[-1], Patch(APPLY_PATCH, definition), field_manager=operator.domain, force=True
            )  # fmt: skip
        deadline = self.clock.monotonic() + ESTABLISHED_S_MAX
        for name in names:
            while not _established(tree := await self._direct.get(CRD, name)):
                if self.clock.monotonic() > deadline:
                    raise ReconcileError(f"the definition {name} is not served after {ESTABLISHED_S_MAX:g} s: {_why(tree)}")
                await self.clock.sleep(0.05)

    async def close(self) -> None:
        """Stop everything; the lease is given back last, so that the next leader never meets our cleanup."""
        if self._electing is not None:
            self._electing.cancel()
            await asyncio.gather(self._electing, return_exceptions=True)
        renewing = self._keep_renewing()
        try:
            await self.engine.close()
        finally:
            if renewing is not None:
                renewing.cancel()
                await asyncio.gather(renewing, return_exceptions=True)
            if self.election is not None:
                await self.election.resign()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _keep_renewing(self) -> asyncio.Task[None] | None:
        """While handlers end, the lease must not run out: they still write."""
        if self.election is None or not self.election.leading:
            return None
        return asyncio.create_task(self.election.keep(), name="lease while stopping")

    async def _elect(self, election: Election | Membership) -> None:
        while True:
            await election.campaign()
            lead = asyncio.create_task(election.lead(), name="lease")
            try:
                await self._start_all()
                await lead
            except Exception as error:  # noqa: BLE001 - told to whoever waits for the process to end
                if not self.failed.done():
                    self.failed.set_exception(error)
                return
            finally:
                lead.cancel()
                await asyncio.gather(lead, return_exceptions=True)
            await self._stop_all()

    async def _start_all(self) -> None:
        async with self._changing:
            for operator in self._wanted:
                await self._run_if_leading(operator)

    async def _stop_all(self) -> None:
        async with self._changing:
            for operator in list(self._running):
                await self._stop(operator)

    async def _run_if_leading(self, operator: Operator) -> None:
        if self.leading and operator not in self._running:
            if self._webhooks is not None:
                await self._webhooks.publish_conversions()  # or what it lists could not be shown
            await self.engine.start(operator)
            self._running.add(operator)
            if self._webhooks is not None:
                await self._webhooks.publish()

    async def _stop(self, operator: Operator) -> None:
        self._running.discard(operator)
        await self.engine.stop(operator)
        if self._webhooks is not None:
            await self._webhooks.publish()


async def unserved(client: Client, operators: Sequence[Operator]) -> list[str]:
    """The kinds that operators handle and the server does not serve, as `websites.example.com/v1`."""
    try:
        there = {(kind.group, kind.plural) for kind in await client.kinds()}
    except ApiError as error:
        log.warning("what the server serves cannot be read: %s", error)
        return []
    kinds = [cls.__kind__ for operator in operators for cls in operator.kinds]
    return [str(kind.resource) for kind in kinds if (kind.group, kind.plural) not in there]


def _conditions(tree: Tree) -> dict[str, Tree]:
    return {str(c.get("type")): c for c in (tree.get("status") or {}).get("conditions") or ()}


def _established(tree: Tree) -> bool:
    return _conditions(tree).get("Established", {}).get("status") == "True"


def _why(tree: Tree) -> str:
    names = _conditions(tree).get("NamesAccepted", {})
    return str(names.get("message") or "it says nothing about it")
