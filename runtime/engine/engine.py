"""The engine: runs operators on one API, sharing informers, delays, the recorder of Events and the list of failures."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from typing import Any

from reconcile.client import Client
from reconcile.clock import Clock
from reconcile.errors import ApiError
from reconcile.kinds import Kind, Resource, kind_of
from reconcile.registry import Handler, Operator

from .admission import AdmissionHooks
from .alarm import Alarm
from .informer import Informer
from .journal import Journal
from .operation import Operation
from .queue import Gate, Owns, QueueStatistics
from .recorder import Recorder
from .reports import Reports
from .tasks import Tasks

log = logging.getLogger(__name__)

KINDS_POLL_S = 5.0
Identity = tuple[str, str, str]


def identity(kind: Kind) -> Identity:
    """What makes two declarations the same kind to an API server."""
    return kind.group, kind.version, kind.plural


class Engine:
    """Operators at work.

    `admission` is where mutate and validate handlers are installed: the API server's, where it is in the same process.
    `namespace` is the one whose objects are followed, where it is not all of them.
    `reports` holds the newest failures of handlers; `reports.follow(fn)` hears of each.
    """

    def __init__(self, client: Client, clock: Clock, *, admission: AdmissionHooks | None = None, namespace: str = "") -> None:
        self.client, self.clock, self.admission = client, clock, admission
        self.namespace = namespace
        self.gate = Gate()
        self.reports = Reports()
        self.journal = Journal(clock)
        self.alarm = Alarm(clock)
        self.kinds: Sequence[Kind] = ()
        self._tasks = Tasks()
        self.recorder = Recorder(client, clock, self._tasks)
        self._operations: dict[Operator, Operation] = {}
        self._informers: dict[Identity, Informer] = {}
        self._running: dict[Identity, Tasks] = {}
        self._users: dict[Informer, set[Operation]] = {}
        self._kinds_changed = asyncio.Event()
        self._following_kinds = False
        self._closed = False

    async def start(self, operator: Operator) -> None:
        """Run an operator; returns when its startup handlers are through and its kinds were listed (or are absent).

        Raises:
            Exception: what a startup handler raised; then the operator does not run.
        """
        if operator in self._operations:
            raise RuntimeError(f"operator {operator.domain} is running already; stop it first")
        if "opentelemetry.trace" in sys.modules:
            from reconcile.runtime.tracing import adopt

            adopt()
        operation = self._operations[operator] = Operation(self, operator)
        self.recorder.loop = asyncio.get_running_loop()
        try:
            if operation.of_all_kinds:
                await self._refresh_kinds()
            await operation.start()
        except BaseException:
            await self.stop(operator)
            raise
        if not self._following_kinds:
            self._following_kinds = True
            self._tasks.spawn(self._follow_kinds(), "engine kinds")

    async def stop(self, operator: Operator) -> None:
        """Cancel an operator's handlers, call its cleanup handlers, and end the informers that nobody else uses."""
        operation = self._operations.pop(operator, None)
        if operation is None:
            return
        await operation.stop()
        for informer, users in list(self._users.items()):
            users.discard(operation)
            if not users:
                await self._end(informer)

    async def close(self) -> None:
        """Stop all operators, the newest first, and everything else."""
        self._closed = True
        for operator in reversed(list(self._operations)):
            await self.stop(operator)
        for informer in list(self._users):
            await self._end(informer)
        self.alarm.close()
        await self._tasks.close()

    async def kill(self) -> None:
        """End as a killed process does: no cleanup handler runs, and what a handler was about to do stays undone."""
        self._closed = True
        for operation in reversed(list(self._operations.values())):
            await operation.kill()
        self._operations.clear()
        for informer in list(self._users):
            await self._end(informer)
        self.alarm.close()
        await self._tasks.close()

    @property
    def operators(self) -> tuple[Operator, ...]:
        """What runs."""
        return tuple(self._operations)

    def handlers_of(self, kind: Kind) -> list[tuple[str, Handler]]:
        """The handlers of a kind, those of every kind not among them, each with its operator's domain."""
        home = (kind.group, kind.plural)
        return [
            (operator.domain, handler)
            for operator in self._operations
            for handler in operator.handlers
            if handler.cls not in (None, Resource) and (kind_of(handler.cls).group, kind_of(handler.cls).plural) == home
        ]

    @property
    def idle(self) -> bool:
        """Whether nothing is due now: no key waits or is processed, no cache lags behind a write that somebody awaits."""
        return (
            all(operation.idle for operation in self._operations.values())
            and all(informer.tried and not informer.parked for informer in self._informers.values())
            and self.recorder.idle
        )

    async def settled(self, quiet_s: float = 0.05) -> None:
        """Wait until the engine has been idle for `quiet_s` without a break. Delays that are not over do not count."""
        step_s = quiet_s / 5
        quiet = 0
        while quiet <= 5:
            await self.clock.sleep(step_s)
            quiet = quiet + 1 if self.idle else 0

    def assign(self, owns: Owns) -> None:
        """Work on these objects alone, from now on: what is new among them is taken up, what is not is let go of."""
        if self.gate.owns == owns:
            return
        before, self.gate.owns = self.gate.owns or (lambda _: True), owns
        for operation in self._operations.values():
            operation.shared(before)

    async def handed_over(self) -> None:
        """Wait until nothing runs for objects of other replicas."""
        await asyncio.gather(*(operation.handed_over() for operation in self._operations.values()))

    async def refresh(self) -> None:
        """Wait until every cache holds all that was written before this call."""
        await asyncio.gather(*(informer.refresh() for informer in self._informers.values()))

    def kinds_changed(self) -> None:
        """The API serves other kinds now: look at once, not at the next poll."""
        self._kinds_changed.set()
        for informer in self._informers.values():
            informer.poke()

    async def probe(self) -> tuple[dict[str, Any], bool]:
        """What the probe handlers of all operators say, and whether all of them could say it."""
        told: dict[str, Any] = {}
        well = not self._closed
        for operation in list(self._operations.values()):
            said, fine = await operation.probe()
            told |= said
            well = well and fine
        return told, well

    def statistics(self) -> dict[str, QueueStatistics]:
        """The queues, by name."""
        return {
            controller.queue.name: controller.queue.statistics()
            for operation in self._operations.values()
            for controller in operation.queued
        }

    def informer(self, kind: Kind, user: Operation) -> Informer:
        """The shared informer of a kind, started if need be."""
        informer = self._informers.get(identity(kind))
        if informer is None:
            informer = self._informers[identity(kind)] = Informer(self.client, kind, self.clock, namespace=self.namespace)
            tasks = self._running[identity(kind)] = Tasks()
            tasks.spawn(informer.run(), f"informer {kind}")
            self._users[informer] = set()
        self._users[informer].add(user)
        return informer

    def informers_of(self, user: Operation) -> list[Informer]:
        """The informers that an operator uses."""
        return [informer for informer, users in self._users.items() if user in users]

    @property
    def informers(self) -> tuple[Informer, ...]:
        """The informers that run."""
        return tuple(self._informers.values())

    def running(self, kind: Kind) -> Informer | None:
        """The informer of a kind, if one runs."""
        return self._informers.get(identity(kind))

    async def kind_named(self, text: str) -> Kind | None:
        """The kind behind `apps/v1/deployments`, or None if it is neither known nor served."""
        api_version, _, plural = text.rpartition("/")
        group, _, version = api_version.rpartition("/")
        informer = self._informers.get((group, version, plural))
        if informer is not None:
            return informer.kind
        served = await self.client.kinds()
        return next((kind for kind in served if identity(kind) == (group, version, plural)), None)

    async def _end(self, informer: Informer) -> None:
        del self._users[informer]
        name = identity(informer.kind)
        del self._informers[name]
        await self._running.pop(name).close()
        informer.release()

    async def _follow_kinds(self) -> None:
        while True:
            try:
                async with asyncio.timeout(KINDS_POLL_S):
                    await self._kinds_changed.wait()
            except TimeoutError:
                pass
            self._kinds_changed.clear()
            general = [operation for operation in self._operations.values() if operation.of_all_kinds]
            if not general:
                continue
            try:
                await self._refresh_kinds()
            except ApiError as error:
                log.warning("the served kinds cannot be read, again in %g s: %s", KINDS_POLL_S, error)
                continue
            for operation in general:
                operation.follow_kinds(self.kinds)

    async def _refresh_kinds(self) -> None:
        self.kinds = tuple(await self.client.kinds())
