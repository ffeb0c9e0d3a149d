"""Writes Kubernetes Events: in the background, bounded, equal ones counted in one object, noisy objects held back.

Promises never to block or fail a handler: what cannot be written is dropped. Each object has a budget as upstream's spam
filter gives it: a burst of 25, then one Event in five minutes.

Source: k8s.io/client-go/tools/record (EventCorrelator, EventSourceObjectSpamFilter)
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import NamedTuple

import attrs

from reconcile.client import MERGE_PATCH, Client, Patch
from reconcile.clock import Clock, timestamp
from reconcile.errors import ApiError, NotFoundError, Tree
from reconcile.kinds import Kind, Resource

from .tasks import Tasks

log = logging.getLogger(__name__)

EVENT = Kind(group="", version="v1", kind="Event", plural="events", singular="event", has_generation=False)
KNOWN_MAX = 4096
PENDING_MAX = 1000
BURST = 25
REFILL_S = 300.0


class Same(NamedTuple):
    """What makes two Events equal."""

    source: str
    uid: str
    type: str
    reason: str
    message: str


@attrs.define
class Series:
    """An Event that was recorded: the object that counts it (once written) and the count."""

    about: Tree
    first_s: float
    last_s: float
    count: int = 0
    name: str = ""


@attrs.define
class Budget:
    """How many more Events of one source about one object are let through."""

    left: float
    at_s: float


class Recorder:
    """The writer of Events of one engine."""

    def __init__(self, client: Client, clock: Clock, tasks: Tasks) -> None:
        self._client, self._clock, self._tasks = client, clock, tasks
        self._known: OrderedDict[Same, Series] = OrderedDict()
        self._budgets: OrderedDict[tuple[str, str], Budget] = OrderedDict()
        self._pending: OrderedDict[Same, None] = OrderedDict()
        self._writing = False
        self.dropped = 0
        self.loop: asyncio.AbstractEventLoop | None = None
        """Where it runs; set once it does, so that threads can record as well."""

    @property
    def idle(self) -> bool:
        """Whether everything recorded is written."""
        return not self._writing

    def record(self, source: str, about: Tree, type_: str, reason: str, message: str) -> None:
        """Count an Event and have it written; never blocks, never raises. May be called from a thread."""
        if self.loop is not None and asyncio._get_running_loop() is not self.loop:
            self.loop.call_soon_threadsafe(self.record, source, about, type_, reason, message)
            return
        same = Same(source, str(about.get("uid") or ""), type_, reason, message)
        now = self._clock.now()
        if not self._allowed((source, same.uid), now):
            self.dropped += 1
            return
        series = self._known.get(same)
        if series is None:
            series = self._known[same] = Series(about, now, now)
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(same)
        series.count += 1
        series.last_s = now
        if same not in self._pending and len(self._pending) >= PENDING_MAX:
            self.dropped += 1
            return
        self._pending[same] = None
        if not self._writing:
            self._writing = True
            self._tasks.spawn(self._write_all(), "event recorder")

    def _allowed(self, key: tuple[str, str], now: float) -> bool:
        budget = self._budgets.get(key)
        if budget is None:
            budget = self._budgets[key] = Budget(BURST, now)
            if len(self._budgets) > KNOWN_MAX:
                self._budgets.popitem(last=False)
        budget.left = min(BURST, budget.left + max(0.0, now - budget.at_s) / REFILL_S)
        budget.at_s = now
        if budget.left < 1:
            return False
        budget.left -= 1
        return True

    async def _write_all(self) -> None:
        try:
            while self._pending:
                same, _ = self._pending.popitem(last=False)
                series = self._known.get(same)
                if series is None:
                    continue
                try:
                    await self._write(same, series)
                except ApiError as error:
                    # Events are best effort: there is nobody whom a failure could help.
                    self.dropped += 1
                    log.debug("an Event was not written: %s", error)
        finally:
            self._writing = False

    async def _write(self, same: Same, series: Series) -> None:
        namespace = series.about.get("namespace") or "default"
        if series.name:
            counted = {"count": series.count, "lastTimestamp": timestamp(series.last_s)}
            try:
                await self._client.patch(EVENT, series.name, Patch(MERGE_PATCH, counted), namespace)
            except NotFoundError:
                series.count, series.first_s, series.name = 1, series.last_s, ""
            else:
                return
        name = f"{series.about.get('name', '')[:200]}.{self._clock.uid().replace('-', '')[:16]}"
        tree: Tree = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": series.about,
            "type": same.type,
            "reason": same.reason,
            "message": same.message,
            "source": {"component": same.source},
            "reportingComponent": same.source,
            "reportingInstance": "",
            "firstTimestamp": timestamp(series.first_s),
            "lastTimestamp": timestamp(series.last_s),
            "count": series.count,
        }
        await self._client.create(EVENT, tree, namespace)
        series.name = name


class ObjectEvents:
    """Implements `reconcile.handling.EventRecorder` for one source and, as a rule, one object."""

    def __init__(self, recorder: Recorder, source: str, about: Resource | None) -> None:
        self._recorder, self._source, self._about = recorder, source, about

    def normal(self, reason: str, message: str, *, about: Resource | None = None) -> None:
        """Something worth telling happened."""
        self._record("Normal", reason, message, about)

    def warning(self, reason: str, message: str, *, about: Resource | None = None) -> None:
        """Something went wrong."""
        self._record("Warning", reason, message, about)

    def event(self, type_: str, reason: str, message: str, *, about: Resource | None = None) -> None:
        """An Event of a type of one's own."""
        self._record(type_, reason, message, about)

    def _record(self, type_: str, reason: str, message: str, about: Resource | None) -> None:
        obj = about if about is not None else self._about
        if obj is None:
            log.warning("an Event about nothing was dropped: %s: %s; give about=", reason, message)
            return
        kind = type(obj).__kind__
        reference = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "name": obj.name,
            "namespace": obj.namespace,
            "uid": obj.uid,
            "resourceVersion": obj.metadata.resource_version,
        }
        self._recorder.record(self._source, {name: value for name, value in reference.items() if value}, type_, reason, message)
