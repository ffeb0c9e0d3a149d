"""The past over HTTP, for the commands `history`, `diff` and `get --at`: what Kubernetes' API has no path for.

GET <an object's path>/history?limit=&from=&to=   every state of the object, oldest first; works for deleted ones too
GET /history?at=<RFC 3339> | ?ago=<seconds>        where history begins and ends, and the revision of that moment
POST /history?keep=<revisions>                     forget the rest, give its space back, and tell where history begins now
"""

from __future__ import annotations

from reconcile.clock import parse_timestamp, timestamp_micro
from reconcile.errors import BadRequestError, Tree
from reconcile.kinds import Kind
from reconcile.runtime.api.history import Moment, PastState
from reconcile.runtime.api.server import ApiServer

from .exchange import Answer, Request, json_answer
from .location import Location

HISTORY = "history"
_API_VERSION = "reconcile.dev/v1alpha1"
_LIMIT = 1000


async def states(api: ApiServer, kind: Kind, location: Location, request: Request) -> Answer:
    """The states that one object was in: the newest `limit` (1000 unless told otherwise)."""
    limit = _whole(request, "limit") or _LIMIT
    found = await api.history(
        kind, location.name, location.namespace, first=_whole(request, "from"), last=_whole(request, "to"), limit=limit,
        caller=request.caller,
    )  # fmt: skip
    before = found[0].before
    return json_answer(
        {
            "kind": "History", "apiVersion": _API_VERSION, "metadata": {"resourceVersion": str(api.store.revision)},
            "before": before.tree if before is not None else None, "items": [_item(state) for state in found],
        }
    )  # fmt: skip


async def span(api: ApiServer, request: Request) -> Answer:
    """Where history begins and ends, and which revision was the newest at a moment; POST makes it begin later."""
    if request.method != "POST":
        found = await api.span(_moment(api, request))
    elif request.query.get("keep"):
        found = await api.forget(_whole(request, "keep"))
    else:
        raise BadRequestError("say how many of the newest revisions stay readable: ?keep=10000")
    tree = {"kind": "HistorySpan", "apiVersion": _API_VERSION, "oldest": _told(found.oldest), "newest": _told(found.newest)}
    return json_answer({**tree, "at": _told(found.at) if found.at is not None else None})


def _item(state: PastState) -> Tree:
    stored = state.stored
    tree = stored.tree if stored is not None else None
    return {**_told(state.moment), "type": state.type, "cause": state.cause, "object": tree}


def _told(moment: Moment) -> Tree:
    time = timestamp_micro(moment.time_s) if moment.time_s is not None else None
    return {"revision": str(moment.revision), "time": time}


def _moment(api: ApiServer, request: Request) -> float | None:
    at, ago = request.query.get("at", ""), request.query.get("ago", "")
    try:
        if ago:
            return api.clock.now() - float(ago)
        return parse_timestamp(at) if at else None
    except ValueError:
        raise BadRequestError(f"no moment: {ago or at!r}; give ?at= a time as in RFC 3339, or ?ago= seconds") from None


def _whole(request: Request, name: str) -> int:
    text = request.query.get(name, "") or "0"
    if not text.isdecimal():
        raise BadRequestError(f"?{name}= takes a whole number, not {text!r}")
    return int(text)
