"""The past on the command line: revisions as people name them, objects as they were, and what differs between two states.

A revision is a number, an age (`10m`: as it was then) or a time (`2026-11-27T03:00:00Z`; without a zone it is local time).
Times need our own server, which knows when each revision was made; numbers work on any Kubernetes, as far as it keeps them.
"""

from __future__ import annotations

from datetime import datetime

from reconcile.clock import duration_s
from reconcile.errors import ExpiredError, ForbiddenError, NotFoundError, Tree

from .errors import CommandError
from .target import Named, Target


def revision_of(target: Target, text: str) -> str:
    """The revision that `text` names: a number, an age or a time.

    Raises:
        CommandError: it is none of these, it is not there yet, or history does not reach back to it.
    """
    if text.isdecimal():
        _check_kept(_span(target), int(text))
        return str(int(text))
    span = _span(target, **_moment(text))
    if span is None:
        raise CommandError(f"{text}: this server does not know when its revisions were made; give a revision (a number)")
    if span["at"] is None:
        raise CommandError(f"{text}: {_begins(span)}")
    return str(span["at"]["revision"])


def exactly(revision: str) -> dict[str, str]:
    """The query that reads a list as it was at a revision."""
    return {"resourceVersion": revision, "resourceVersionMatch": "Exact"} if revision else {}


def object_at(target: Target, named: Named, revision: str) -> Tree:
    """An object as it was at a revision.

    Raises:
        NotFoundError: it was not there then.
        CommandError: that is forgotten.
    """
    query = {"fieldSelector": f"metadata.name={named.name}", **exactly(revision)}
    try:
        found = target.read(target.path(named.resource), **query)["items"]
    except ExpiredError as error:
        raise forgotten(revision) from error
    if not found:
        raise was_not_there(named, revision)
    return {"apiVersion": named.resource.api_version, "kind": named.resource.kind, **found[0]}


def was_not_there(named: Named, revision: str) -> NotFoundError:
    """What to say where an object was not there at a revision."""
    resource = named.resource
    qualified = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
    return NotFoundError(f'{qualified} "{named.name}" not found at revision {revision}')


def forgotten(revision: str) -> CommandError:
    """What to say where the server has compacted a revision."""
    return CommandError(f"revision {revision} is compacted: the server keeps no history that old")


def states(target: Target, named: Named, **query: str) -> Tree:
    """The states that one object was in, as our server tells them.

    Raises:
        CommandError: the server is another one.
        NotFoundError: there never was such an object, as far as history goes.
    """
    path = target.path(named.resource, named.name, subresource="history")
    try:
        return target.read(path, **query)
    except NotFoundError as error:
        if error.details.get("name"):
            raise
        raise CommandError("this server keeps no history of objects; it is a feature of `reconcile up`") from error


def _span(target: Target, **query: str) -> Tree | None:
    try:
        return target.read("/history", **query)
    except (NotFoundError, ForbiddenError):
        return None  # another server, or one that lets us read objects only: it says itself what it has


def _check_kept(span: Tree | None, revision: int) -> None:
    if span is None:
        return
    if revision > int(span["newest"]["revision"]):
        raise CommandError(f"revision {revision} is not there yet; the newest is {span['newest']['revision']}")
    if revision < int(span["oldest"]["revision"]):
        raise CommandError(f"revision {revision} is compacted: {_begins(span)}")


def _begins(span: Tree) -> str:
    oldest = span["oldest"]
    when = f", made at {oldest['time']}" if oldest["time"] else ""
    return f"history begins at revision {oldest['revision']}{when}; `reconcile up --history-keep` says how much of it is kept"


def _moment(text: str) -> dict[str, str]:
    try:
        return {"ago": str(duration_s(text))}
    except ValueError:
        pass
    try:
        return {"at": datetime.fromisoformat(text).astimezone().isoformat()}
    except ValueError:
        raise CommandError(f"{text!r} names no revision: give a number, an age (10m) or a time (2026-11-27T03:00:00Z)") from None
