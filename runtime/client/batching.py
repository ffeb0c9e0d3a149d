"""Patches that are asked for while others are under way, sent together to servers that take batches.

Nobody waits for company: a patch goes out at once while fewer than `UNDER_WAY_MAX` requests are under way. Those that come
meanwhile go together when one of these is answered, as writes do in the store's group commit. So one write alone takes no
longer than before, and each of many costs half as much. Each is answered by itself: what is refused, or given up, hurts no other.

A batch whose answer never came says no more than a single patch of which that is so: all of it may have been done.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable
from typing import cast

import attrs
import orjson

from reconcile.client import WHOLE_HEADER
from reconcile.errors import ApiError, Tree, UnavailableError

from .answers import Exchanged, refused
from .connection import Answer

UNDER_WAY_MAX = 3
PATCHES_MAX = 16
"""How many go together at most: a server's other clients wait while it works on them."""
BYTES_MAX = 256 << 10
_BUSY = 429


@attrs.define(eq=False)
class Sent:
    """One patch: what is sent, and who waits for it. `cause` and `whole` are what headers say of a single one."""

    target: str
    media: str
    body: bytes
    cause: str
    whole: bool
    context: contextvars.Context = attrs.field(factory=contextvars.copy_context)
    answer: asyncio.Future[Exchanged] | None = None


class Batching:
    """`alone` sends one patch, `post` a batch (its body in, the answer's out); both raise ApiError."""

    def __init__(self, alone: Callable[[Sent], Awaitable[Exchanged]], post: Callable[[bytes], Awaitable[bytes]]) -> None:
        self._alone, self._post = alone, post
        self._waiting: deque[Sent] = deque()
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.taken = False
        """Whether the server takes batches."""

    async def ask(self, sent: Sent) -> Exchanged:
        """Send a patch, alone or with others. Raises ApiError."""
        if not self.taken or self._under_way < UNDER_WAY_MAX:
            self._under_way += 1
            try:
                return await self._alone(sent)
            finally:
                self._ended()
        sent.answer = asyncio.get_running_loop().create_future()
        self._waiting.append(sent)
        return await sent.answer

    def close(self) -> None:
        """Send nothing more of what waits: its callers are told so."""
        while self._waiting:
            _fail(self._waiting.popleft(), UnavailableError("the client was closed before this patch was sent"))

    def _ended(self) -> None:
        self._under_way -= 1
        while self._under_way < UNDER_WAY_MAX and (batch := self._next()):
            self._under_way += 1
            # In a context of nobody: what is the cause of each goes with it.
            task = asyncio.get_running_loop().create_task(self._sent(batch), context=contextvars.Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _next(self) -> list[Sent]:
        batch: list[Sent] = []
        size = 0
        while self._waiting and len(batch) < PATCHES_MAX:
            size += len(self._waiting[0].body)
            if batch and size > BYTES_MAX:
                break
            sent = self._waiting.popleft()
            if sent.answer is not None and not sent.answer.done():  # else its caller has given up
                batch.append(sent)
        return batch

    async def _sent(self, batch: list[Sent]) -> None:
        try:
            if len(batch) == 1 or not self.taken:
                await self._each_alone(batch)
                return
            try:
                answers = _read(await self._post(_written(batch)), len(batch))
            except UnavailableError as error:
                for sent in batch:
                    _fail(sent, error)
            except ApiError:
                self.taken = False  # another server by now, or one that has other bounds: nothing of it was done
                await self._each_alone(batch)
            else:
                await self._told(batch, answers)
        except BaseException as error:
            for sent in batch:
                _fail(sent, UnavailableError(f"a batch of patches was given up: {error!r}"))
            raise
        finally:
            self._ended()

    async def _told(self, batch: list[Sent], answers: list[Answer]) -> None:
        busy: list[Sent] = []
        for sent, answer in zip(batch, answers, strict=True):
            if answer.status == _BUSY:
                busy.append(sent)  # alone it waits for as long as the server says
            elif answer.status >= 400:
                _fail(sent, refused(answer))
            elif sent.answer is not None and not sent.answer.done():
                sent.answer.set_result(Exchanged(cast(Tree, orjson.loads(answer.body)), answer.headers))
        if busy:
            await self._each_alone(busy)

    async def _each_alone(self, batch: list[Sent]) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.create_task(self._one(sent), context=sent.context) for sent in batch))

    async def _one(self, sent: Sent) -> None:
        try:
            made = await self._alone(sent)
        except ApiError as error:
            _fail(sent, error)
        else:
            if sent.answer is not None and not sent.answer.done():
                sent.answer.set_result(made)


def _fail(sent: Sent, error: ApiError) -> None:
    if sent.answer is not None and not sent.answer.done():
        sent.answer.set_exception(error)


def _written(batch: list[Sent]) -> bytes:
    heads = [[sent.target, sent.media, sent.cause, sent.whole, len(sent.body)] for sent in batch]
    return b"%b\n%b" % (orjson.dumps(heads), b"".join([sent.body for sent in batch]))


def _read(raw: bytes, count: int) -> list[Answer]:
    """The answers to a batch. Raises UnavailableError where this is none."""
    first, _, bodies = raw.partition(b"\n")
    found: list[Answer] = []
    at = 0
    try:
        for code, whole, size in orjson.loads(first):
            found.append(Answer(code, {WHOLE_HEADER.lower(): "status"} if whole else {}, bodies[at : at + size]))
            at += size
    except (ValueError, TypeError):
        found = []
    if len(found) != count:
        raise UnavailableError(f"a batch of {count} patches was answered with {raw[:80]!r}")
    return found
