"""WATCH: changes as frames (see `frames`), each sent at once.

Events end with the time the client asked for, or with an ERROR event (an HTTP error is too late once the stream is open).

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

from reconcile.clock import Clock
from reconcile.errors import ApiError, BadRequestError, Cause, InvalidError
from reconcile.identity import Caller
from reconcile.kinds import Kind
from reconcile.runtime.api.server import ApiServer
from reconcile.runtime.api.stored import Change
from reconcile.runtime.api.watching import Following

from . import beginning
from .exchange import Carried, Request, Stream
from .feed import PIECE_BYTES_MAX, Feed, Feeds, Member
from .frames import Frames, frames_of
from .lines import Lines
from .location import Location
from .negotiation import Rendering
from .tables import Include

TIMEOUT_S_MIN, TIMEOUT_S_MAX = 1800.0, 3600.0
_FRAMES_MAX = 200  # a bound on what one write holds up others for


async def watch(
    api: ApiServer, kind: Kind, location: Location, request: Request, rendering: Rendering, include: Include, caller: Caller,
    feeds: Feeds, lines: Lines,
) -> Stream:  # fmt: skip
    """Open a watch of what `location` names; refusals are raised here, before anything is sent."""
    frames = frames_of(kind, rendering, include, api.clock, lines)
    since, initial = _start(request)
    labels, fields = request.query.get("labelSelector", ""), request.query.get("fieldSelector", "")
    if location.name:
        fields = f"{fields},metadata.name={location.name}" if fields else f"metadata.name={location.name}"
    bookmarks = request.flag("allowWatchBookmarks")
    await api.catch_up(since)

    def follow(since: int, initial: bool = False) -> Following:
        return api.watch(
            kind, location.namespace, since=since, labels=labels, fields=fields, initial=initial, bookmarks=bookmarks,
            caller=caller,
        )  # fmt: skip

    changes = follow(since, initial=initial)
    question = (kind.group, kind.version, kind.plural, location.namespace, labels, fields, bookmarks, rendering, include)
    told = Telling(
        follow, frames, bookmarks=bookmarks,
        # The closing bookmark belongs to sendInitialEvents: to a plain watch without a revision it would be news of nothing.
        tell_end=bookmarks and request.flag("sendInitialEvents"),
        # Feeds write chunks; over a WebSocket each watch tells its own events.
        find=lambda changes: None if "Upgrade" in request.headers else feeds.find(question, changes, frames, bookmarks=bookmarks),
    )  # fmt: skip
    pieces = told.pieces(changes, _timeout_s(request, api.clock))
    if finalizers := beginning.wanted(request, location):
        pieces = beginning.while_watched(api, kind, location.namespace, finalizers, pieces)
    return Stream(pieces, frames.content_type)


class Telling:
    """One watch of a client: alone until it has come to the present, then a member of a feed, alone again when it lags."""

    def __init__(
        self, follow: Callable[[int], Following], frames: Frames, *, bookmarks: bool, tell_end: bool,
        find: Callable[[Following], Feed | None],
    ) -> None:  # fmt: skip
        self._follow, self._find = follow, find
        self._frames = frames
        self._bookmarks, self._tell_end = bookmarks, tell_end
        self._changes: Following | None = None
        """While it is alone."""
        self._member: Member | None = None
        self._first = True
        self._revision = 0
        self._ended = False
        self._left = False
        """Whether it has to go on alone."""
        self._refused = False
        """Whether the feed lags: then it goes on alone for one more step."""

    async def pieces(self, changes: Following, timeout_s: float) -> AsyncIterator[bytes | Carried]:
        """What is sent; a part of it is carried by a feed."""
        self._changes = changes
        # One timer a watch: a timeout around each event would cost as much as the event.
        timer = asyncio.get_running_loop().call_later(timeout_s, self._end)
        try:
            while self._changes is not None:
                for piece in self._framed(await self._next()):
                    yield piece
                if self._may_enter:
                    yield self
                    if self._left:
                        self._left, self._changes = False, self._follow(self._revision)
            if self._bookmarks and self._revision:
                yield self._frames.bookmark(self._revision, initial_end=False)
        except ApiError as error:
            yield self._frames.error(error)
        finally:
            timer.cancel()
            self._end()

    async def carry(self, transport: asyncio.WriteTransport) -> None:
        """Be a member of a feed, if it is where this watch is, until that ends, or the buffer is full, or the time is over."""
        assert self._changes is not None
        feed = self._find(self._changes)
        if feed is None:
            self._refused = True
            return
        self._changes = None
        member = self._member = feed.enter(transport)
        try:
            await member.left
        finally:
            self._member = None
            feed.remove(member)
        self._revision = member.revision
        self._bookmarks = self._bookmarks and not feed.failed
        self._left = not member.over and not self._ended

    @property
    def _may_enter(self) -> bool:
        changes = self._changes
        return changes is not None and changes.present is not None and not (self._first and self._frames.first_differs)

    async def _next(self) -> list[Change]:
        """What is there; it is waited for only where no feed can be entered. At the end: nothing, and no more `_changes`."""
        changes = self._changes
        assert changes is not None
        await changes.arrive()
        found = changes.taken()
        if found or (self._may_enter and not self._refused):
            return found
        self._refused = False
        try:
            return [await anext(changes), *changes.taken()]
        except StopAsyncIteration:
            self._changes = None
            return []

    def _framed(self, changes: list[Change]) -> Iterator[bytes]:
        """The frames of changes: the state at the start, or a burst, costs one write instead of many."""
        frames, size_bytes = list[bytes](), 0
        for change in changes:
            self._revision = change.revision
            if change.stored is not None:
                frames.append(self._frames.event(change.type, change.stored, first=self._first))
                self._first = False
            elif self._bookmarks and (self._tell_end or not change.initial_end):
                frames.append(self._frames.bookmark(change.revision, initial_end=change.initial_end))
            else:
                continue
            size_bytes += len(frames[-1])
            if len(frames) >= _FRAMES_MAX or size_bytes >= PIECE_BYTES_MAX:
                yield b"".join(frames)
                frames, size_bytes = [], 0
        if frames:
            yield b"".join(frames)

    def _end(self) -> None:
        self._ended = True
        if self._changes is not None:
            self._changes.end()
        if self._member is not None:
            self._member.leave()


def _start(request: Request) -> tuple[int, bool]:
    """From which revision to watch, and whether the current state comes first.

    Source: k8s.io/apimachinery/pkg/apis/meta/internalversion/validation
    """
    version = request.query.get("resourceVersion", "")
    match = request.query.get("resourceVersionMatch", "")
    if version and not version.isdecimal():
        raise BadRequestError(f'Invalid value: "{version}": resourceVersion is a number that an earlier answer named')
    if "sendInitialEvents" in request.query:
        if match != "NotOlderThan":
            why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            raise _options_invalid("resourceVersionMatch", why)
        if request.flag("sendInitialEvents"):
            return int(version or 0), True
    elif match:
        raise _options_invalid(
            "resourceVersionMatch", "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        )
    since = int(version or 0)
    return since, since == 0


def _options_invalid(field: str, why: str) -> InvalidError:
    cause = Cause("FieldValueForbidden", f"Forbidden: {why}", field)
    return InvalidError(
        f'ListOptions.meta.k8s.io "" is invalid: {field}: {cause.message}',
        details={"group": "meta.k8s.io", "kind": "ListOptions"}, causes=[cause],
    )  # fmt: skip


def _timeout_s(request: Request, clock: Clock) -> float:
    asked = request.query.get("timeoutSeconds", "")
    if asked and not asked.lstrip("-").isdecimal():
        raise BadRequestError(f'strconv.ParseInt: parsing "{asked}": invalid syntax')
    if asked and int(asked) > 0:
        return float(asked)
    # Spread, so that many clients that started together do not come back together.
    return clock.random.uniform(TIMEOUT_S_MIN, TIMEOUT_S_MAX)


def wants_watch(request: Request, location: Location) -> bool:
    """Whether a GET is a watch: by its query, or by the old path prefix."""
    return location.watch or request.flag("watch")
