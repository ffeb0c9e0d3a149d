"""WATCH: changes as frames (see `frames`), each sent at once.

Events end with the time the client asked for, or with an ERROR event (an HTTP error is too late once the stream is open).

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from reconcile.clock import Clock
from reconcile.errors import ApiError, BadRequestError, Cause, InvalidError
from reconcile.identity import Caller
from reconcile.kinds import Kind
from reconcile.runtime.api.server import ApiServer
from reconcile.runtime.api.watching import Following

from .exchange import Request, Stream
from .frames import Frames, frames_of
from .lines import Lines
from .location import Location
from .negotiation import Rendering
from .tables import Include

TIMEOUT_S_MIN, TIMEOUT_S_MAX = 1800.0, 3600.0
_FRAMES_MAX = 200  # a bound on what one write holds up others for


async def watch(
    api: ApiServer, kind: Kind, location: Location, request: Request, rendering: Rendering, include: Include, caller: Caller,
    lines: Lines,
) -> Stream:  # fmt: skip
    """Open a watch of what `location` names; refusals are raised here, before anything is sent."""
    frames = frames_of(kind, rendering, include, api.clock, lines)
    since, initial = _start(request)
    fields = request.query.get("fieldSelector", "")
    if location.name:
        fields = f"{fields},metadata.name={location.name}" if fields else f"metadata.name={location.name}"
    bookmarks = request.flag("allowWatchBookmarks")
    await api.catch_up(since)
    changes = api.watch(
        kind, location.namespace, since=since, labels=request.query.get("labelSelector", ""), fields=fields, initial=initial,
        bookmarks=bookmarks, caller=caller,
    )  # fmt: skip
    timeout_s = _timeout_s(request, api.clock)
    # The closing bookmark belongs to sendInitialEvents: to a plain watch without a revision it would be news of nothing.
    tell_end = bookmarks and request.flag("sendInitialEvents")
    return Stream(_pieces(changes, timeout_s, frames, bookmarks=bookmarks, tell_end=tell_end), frames.content_type)


async def _pieces(
    changes: Following, timeout_s: float, frames: Frames, *, bookmarks: bool, tell_end: bool
) -> AsyncIterator[bytes]:
    # One timer a watch: a timeout around each event would cost as much as the event.
    timer = asyncio.get_running_loop().call_later(timeout_s, changes.end)
    first, revision = True, 0
    try:
        async for newest in changes:
            pieces = []
            # What is there already goes out with it: the state at the start, or a burst, costs one write instead of many.
            for change in (newest, *changes.taken()):
                revision = change.revision
                if change.stored is not None:
                    pieces.append(frames.event(change.type, change.stored, first=first))
                    first = False
                elif bookmarks and (tell_end or not change.initial_end):
                    pieces.append(frames.bookmark(revision, initial_end=change.initial_end))
                if len(pieces) >= _FRAMES_MAX:
                    yield b"".join(pieces)
                    pieces = []
            if pieces:
                yield b"".join(pieces)
        if bookmarks and revision:
            yield frames.bookmark(revision, initial_end=False)
    except ApiError as error:
        yield frames.error(error)
    finally:
        timer.cancel()
        changes.end()


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
