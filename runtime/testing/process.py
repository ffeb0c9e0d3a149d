"""One process of a simulation: operators on an engine of their own, that can be killed and started again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs

from reconcile.kinds import Resource, kind_of
from reconcile.permissions import Permissions
from reconcile.registry import Operator
from reconcile.runtime.engine.engine import Engine
from reconcile.runtime.engine.journal import Attempted
from reconcile.runtime.engine.recording import RecordingClient

from .faulty import FaultyClient
from .plan import Fault, Heard, Plan, Wrote

if TYPE_CHECKING:
    from .universe import World

log = logging.getLogger(__name__)

RESTART_S = 1.0
RESTART_S_MAX = 30.0
STALE_S = 20.0


@attrs.frozen
class App:
    """What runs in a process: a name, and a function that makes its operators anew for each start."""

    name: str
    make: Callable[[], Sequence[Operator]]


class Process:
    """An app at work, over all its lives."""

    rights: ClassVar[Permissions | None] = None
    """Where the rights are noted that tested apps use; None: nowhere."""

    def __init__(self, world: World, app: App, plan: Plan = (), *, tested: bool = True) -> None:
        self.world, self.app, self.name, self.clock = world, app, app.name, world.clock
        self.engine: Engine | None = None
        self.client: FaultyClient | None = None
        self.tested = tested
        self.crashes: list[tuple[float, int, str]] = []
        """When it was killed, the revision then, and after what."""
        self.attempts: list[Attempted] = []
        """The attempts of all its lives."""
        self.fired: list[Fault] = []
        self.struck: list[tuple[Fault, int, str]] = []
        """The faults that were due, the revision of the event or the write before, and what they hit, in words."""
        self._plan = [fault for fault in plan if fault.process == app.name]
        self._writes = self._events = 0
        self._lag_s = self._lags_until = 0.0
        self._last = "it started"
        self._restarting: asyncio.Task[None] | None = None
        self._operators: Sequence[Operator] = ()
        self._unhook: Callable[[], None] = lambda: None

    def prepare(self) -> Sequence[Operator]:
        """Make the operators of the next life, and have their kinds served."""
        if not self._operators:
            self._operators = self.app.make()
        api = self.world.api
        for kind in (kind_of(cls) for operator in self._operators for cls in operator.kinds if cls is not Resource):
            if api.find(kind.group, kind.version, kind.plural) is None:
                api.serve(kind)
        return self._operators

    async def start(self, past: int = 0) -> None:
        """Begin a life; `past` is the revision at which it sees the API for its first seconds."""
        world = self.world
        thaws_at = self.clock.monotonic() + STALE_S
        self.client = FaultyClient(self, world.api, past=past, thaws_at=thaws_at)
        seen = Process.rights
        given = RecordingClient(self.client, seen) if seen is not None and self.tested else self.client
        self.engine = Engine(given, self.clock, admission=world.api)
        self.engine.journal.on_begin = self.attempts.append
        self._unhook = world.api.on_kinds_changed(self.engine.kinds_changed)
        for operator in self.prepare():
            await self.engine.start(operator)
        self._operators = ()

    @property
    def idle(self) -> bool:
        """Whether it runs, sees the present, and has nothing to do now."""
        client, engine = self.client, self.engine
        return (
            self._restarting is None
            and client is not None
            and engine is not None
            and not client.past
            and self.clock.monotonic() >= self._lags_until
            and engine.idle
        )

    @property
    def failing(self) -> bool:
        """Whether a key waits to be tried again."""
        return self.engine is not None and any(queue.failing for queue in self.engine.statistics().values())

    # What happens to it

    def next_write(self) -> int:
        """It is about to write: the how-manieth time."""
        self._writes += 1
        return self._writes

    def wrote(self, nth: int, verb: str, key: str, made: int) -> None:
        """A write was done."""
        self._last = f"{verb} {key}"
        if self.tested:
            self.world.writes.append(Wrote(self.name, nth, verb, key, made))

    def heard(self, type_: str, key: str, revision: int) -> int:
        """It is about to hear an event: the how-manieth."""
        self._events += 1
        if self.tested:
            self.world.events.append(Heard(self.name, self._events, type_, key, revision))
        return self._events

    def faults_at(self, nth: int, *, writing: bool) -> Iterator[Fault]:
        """The faults of the plan that are due now."""
        for fault in self._plan:
            if fault.nth == nth and fault.at_write is writing and fault not in self.fired:
                self.fired.append(fault)
                yield fault

    def suffer(self, kind: str, nth_from_now: int, argument: float) -> None:
        """Add a fault to the plan, counted from now on."""
        fault = Fault(kind, self.name, nth_from_now, argument)
        self._plan.append(attrs.evolve(fault, nth=nth_from_now + (self._writes if fault.at_write else self._events)))

    @property
    def writes(self) -> int:
        """How often it wrote so far."""
        return self._writes

    def unreached(self) -> list[Fault]:
        """The faults of the plan that never were due."""
        return [fault for fault in self._plan if fault not in self.fired]

    def lags(self, lag_s: float, for_s: float) -> None:
        """From now on, for a while, everything is heard late."""
        self._lag_s, self._lags_until = lag_s, self.clock.monotonic() + for_s

    async def caught_up(self, revision: int) -> None:
        """Wait until an event of that revision may be heard."""
        if self.clock.monotonic() < self._lags_until:
            late_s = self.world.mirror.happened_s(revision) + self._lag_s - self.clock.monotonic()
            if late_s > 0:
                await self.clock.sleep(late_s)

    def crash(self, past: int = 0) -> None:
        """Be killed now, and start again a second later."""
        if self.client is None or self.client.dead or self.world.closed:
            return
        self.client.dead = True
        self.crashes.append((self.clock.monotonic(), self.world.mirror.revision, self._last))
        task = asyncio.get_running_loop().create_task(self._restart(self.engine, past), name=f"restart {self.name}")
        self._restarting = task

    async def _restart(self, old: Engine | None, past: int) -> None:
        self._unhook()
        if old is not None:
            await old.kill()
        delay_s = RESTART_S
        while True:
            await self.clock.sleep(delay_s)
            try:
                await self.start(past)
                break
            except Exception as error:  # noqa: BLE001 - what runs processes in real life starts them again, too
                log.warning("process %s did not start, again in %g s: %r", self.name, delay_s, error)
                delay_s = min(delay_s * 2, RESTART_S_MAX)
                if self.engine is not None:
                    await self.engine.kill()
        self._restarting = None

    async def stop(self) -> None:
        """End it; cleanup handlers run if it is alive."""
        self._unhook()
        if self._restarting is not None:
            self._restarting.cancel()
            await asyncio.gather(self._restarting, return_exceptions=True)
        if self.engine is not None:
            if self.client is not None and self.client.dead:
                await self.engine.kill()
            else:
                await self.engine.close()
