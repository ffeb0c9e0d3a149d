"""Group commit: one thread hop and one fsync for all writes that wait.

A write is evaluated when it is submitted and joins the batch that collects. While one batch is on its way to the disk
the next collects itself, so there is no timer, and a lone caller waits for one hop only. Nothing of a batch is visible
before it is committed: even a compare that failed waits, for it may tell of a write that is not durable yet.

Callers that write again as soon as they are told move in step: all of them in one batch, and while it is on the disk
nobody computes. Telling half of them a moment later, so that two groups take turns between loop and disk, was tried: no
difference that is larger than that between two runs (64 callers, 15 runs each), for both take turns with the GIL anyway.

A full disk rolls its batch back; what was evaluated on top is evaluated again. Any other error of a commit leaves the
outcome unknown: the store stops serving, and nothing is retried (a second fsync may report success for lost pages).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from .database import Database
from .errors import NoSpaceError, StoreClosedError, StoreFailedError, TooManyRequestsError
from .log import COLUMNS, checkpoint, commit, grow_log
from .reserve import Reserve
from .settings import Settings
from .stage import Batch, Stage, Write

Response = TypeVar("Response")
_PAGE_BYTES = 4096
_LOG_AHEAD_BYTES = 128 << 10
_LOG_STEP_BYTES_MAX = 4 << 20


class Writer:
    """Owns the only way to the disk for writes of clients."""

    def __init__(
        self,
        database: Database,
        reserve: Reserve,
        stage: Stage,
        settings: Settings,
        publish: Callable[[Batch], None],
        published: Callable[[], tuple[int, int]],
        fail: Callable[[str], None],
    ) -> None:
        self._database = database
        self._reserve = reserve
        self._stage = stage
        self._settings = settings
        self._publish = publish
        self._published = published
        self._fail = fail
        self._in_flight: Batch | None = None
        self._create_future = asyncio.get_running_loop().create_future
        self._closing = False
        self._wake = asyncio.Event()
        self._log_pages = 0
        self._log_bytes = 0
        self.commits = 0
        """Transactions committed so far: with how many writes there were, the size of the batches."""

    def submit(self, evaluate: Callable[[Stage], Response]) -> asyncio.Future[Response]:
        """Evaluate a write now; await what is returned for its response, once it is durable.

        Raises:
            TooManyRequestsError: too many writes wait.
            NoSpaceError: the disk is full; nothing of this write is there.
            StoreFailedError: it is not known whether this write is durable.
        """
        stage = self._stage
        batch = stage.batch
        if self._closing:
            raise StoreClosedError
        if len(batch.writes) >= self._settings.writes_queued_max:
            raise TooManyRequestsError(self._settings.writes_queued_max)
        write = Write(evaluate, self._create_future())
        self._evaluate(write)
        if self._in_flight is None and not (batch.writes or batch.parameters or batch.statements):
            # Nothing was changed, and nothing that is not durable was looked at.
            _resolve(write)
        else:
            batch.writes.append(write)
            self._wake.set()
        return write.future

    async def run(self) -> None:
        """Commit batch after batch until `close`; ends early when the store fails."""
        try:
            while await self._next():
                batch = self._in_flight = self._stage.batch
                self._stage.batch = Batch()
                if not (batch.parameters or batch.statements) or await self._commit(batch):
                    self._publish(batch)
                    self._stage.settle(batch)
                    self._in_flight = None
                    for write in batch.writes:
                        _resolve(write)
                    await self._checkpoint(batch)
        except asyncio.CancelledError:
            self._abandon("the writer was cancelled")
            raise
        except Exception as error:  # noqa: BLE001 (the outermost loop: whatever it was, what is on disk is not known)
            self._abandon(f"a commit ended with {type(error).__name__}: {error}")

    async def _next(self) -> bool:
        """Wait for a batch; False when there will be none."""
        while not self._stage.batch.writes:
            if self._closing:
                return False
            self._wake.clear()
            await self._wake.wait()
        return True

    async def _commit(self, batch: Batch) -> bool:
        """Make the batch durable; False when it was rolled back."""
        place = str(self._database.place)
        write = partial(commit, parameters=batch.parameters, statements=batch.statements, place=place)
        try:
            try:
                await self._database.write(write)
            except NoSpaceError:
                # What only deletes makes room, in time.
                if not batch.only_deletes or not await self._reserve.release():
                    raise
                await self._database.write(write)
        except NoSpaceError as error:
            self._roll_back(batch, error)
            return False
        self.commits += 1
        return True

    def close(self) -> None:
        """Take no more writes; `run` ends after those that wait."""
        self._closing = True
        self._wake.set()

    def _evaluate(self, write: Write) -> None:
        try:
            write.response, write.error = write.evaluate(self._stage), None
        except Exception as error:  # noqa: BLE001 (handed to the caller, when what it was judged on is durable)
            write.response, write.error = None, error

    def _roll_back(self, batch: Batch, error: NoSpaceError) -> None:
        self._in_flight = None
        waiting = self._stage.reset(*self._published())
        for write in batch.writes:
            write.error = error
            _resolve(write)
        for write in waiting:
            self._evaluate(write)
        self._stage.batch.writes = waiting

    def _abandon(self, reason: str) -> None:
        """Stop serving: nobody is told that a write is done, or that it is not."""
        self._closing = True
        self._fail(reason)
        in_flight = self._in_flight.writes if self._in_flight else []
        for write in (*in_flight, *self._stage.batch.writes):
            write.error = StoreFailedError(reason)
            _resolve(write)

    async def _checkpoint(self, batch: Batch) -> None:
        parameters = batch.parameters
        if not parameters:
            return
        size_bytes = sum(map(len, parameters[COLUMNS - 1 :: COLUMNS]))  # type: ignore[arg-type]  # the values are bytes
        # A row touches a page of the log and one of the index; its value may fill more.
        self._log_pages += 2 + 2 * (len(parameters) // COLUMNS) + size_bytes // _PAGE_BYTES
        await self._grow_log()
        if self._log_pages >= self._settings.checkpoint_pages:
            self._log_pages = 0
            await self._database.write(checkpoint)

    async def _grow_log(self) -> None:
        """Keep the log on disk ahead of what is written: it doubles, in steps that nobody feels."""
        wanted = self._log_pages * _PAGE_BYTES + _LOG_AHEAD_BYTES
        place = self._database.place
        if wanted <= self._log_bytes or not isinstance(place, Path):
            return
        size_bytes = wanted + min(wanted, _LOG_STEP_BYTES_MAX)
        path = place.with_name(place.name + "-wal")
        self._log_bytes = await self._database.write(partial(grow_log, path=path, size_bytes=size_bytes))


def _resolve(write: Write) -> None:
    future: asyncio.Future[Any] = write.future
    if future.done():
        return  # the caller stopped waiting; the write stands
    if write.error is not None:
        future.set_exception(write.error)
    else:
        future.set_result(write.response)
