"""What a server's answers mean: errors, watch events, objects made ready for who keeps them."""

from __future__ import annotations

import http
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Literal, NamedTuple, cast

import orjson

from reconcile.client import WatchEvent
from reconcile.errors import ApiError, Tree, error_from_status
from reconcile.kinds import Kind

from .connection import Answer, Connection

_END_OF_INITIAL = "k8s.io/initial-events-end"
_GUARDS = ("uid", "resourceVersion")
_SHARED, _SHARED_METADATA = ("apiVersion", "kind"), ("namespace", "creationTimestamp")


class Exchanged(NamedTuple):
    """The object that a server answered with, and the answer's headers, whose names are in lower case."""

    tree: Tree
    headers: Mapping[str, str]


def watch_event(line: Tree) -> WatchEvent:
    """One line of a watch. Raises the ApiError that it tells."""
    type_, tree = line["type"], line["object"]
    if type_ == "ERROR":
        raise error_from_status(tree)
    if type_ == "BOOKMARK":
        annotations = (tree.get("metadata") or {}).get("annotations") or {}
        return WatchEvent("BOOKMARK", {}, revision_of(tree), annotations.get(_END_OF_INITIAL) == "true")
    return WatchEvent(cast(Literal["ADDED", "MODIFIED", "DELETED"], type_), tree, revision_of(tree))


def refused(answer: Answer) -> ApiError:
    """The error that an answer of 400 and above stands for."""
    status, raw, retry_after = answer.status, answer.body, answer.headers.get("retry-after", "")
    try:
        tree = orjson.loads(raw)
    except ValueError:
        tree = None
    told = {"retryAfterSeconds": int(retry_after)} if retry_after.isdigit() else {}
    if isinstance(tree, dict) and tree.get("kind") == "Status":
        return error_from_status({"code": status, **tree, "details": {**told, **(tree.get("details") or {})}})
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = "failed"
    text = raw.decode("utf-8", "replace").strip()[:500]
    message = "the server could not find the requested resource" if status == 404 else text or phrase
    return error_from_status({"message": message, "code": status, "details": told})


def identified(tree: Tree, kind: Kind) -> Tree:
    """Items of a real server's lists do not say what they are."""
    if "kind" in tree and "apiVersion" in tree:
        return tree
    return {"apiVersion": kind.api_version, "kind": kind.kind, **tree}


def slim(tree: Tree) -> None:
    """Drop what no handler reads, and share what many objects say alike; a string takes 50 bytes and more."""
    for name in _SHARED:
        if type(text := tree.get(name)) is str:
            tree[name] = sys.intern(text)
    meta = tree.get("metadata")
    if isinstance(meta, dict):
        meta.pop("managedFields", None)
        for name in _SHARED_METADATA:
            if type(text := meta.get(name)) is str:
                meta[name] = sys.intern(text)


def revision_of(tree: Tree) -> int:
    """The revision of an object, or of a list; 0: it says none."""
    return int((tree.get("metadata") or {}).get("resourceVersion") or 0)


def halves(body: Tree) -> tuple[Tree, Tree]:
    """A merge patch of a whole object: that of its status, which names what it stands on, and that of the rest."""
    guard = {name: body["metadata"][name] for name in _GUARDS if name in (body.get("metadata") or {})}
    return {"metadata": guard, "status": body.get("status")}, {name: part for name, part in body.items() if name != "status"}


def standing_on(patch: Tree, tree: Tree) -> Tree:
    """The second half of a patch: where the first one named a revision, and has made a new one, this one names that."""
    meta = patch.get("metadata") or {}
    if "resourceVersion" not in meta:
        return patch
    return {**patch, "metadata": {**meta, "resourceVersion": tree["metadata"].get("resourceVersion", "")}}


async def pieces(connection: Connection, silence_s: float) -> AsyncIterator[bytes]:
    """What comes on a connection, to its end. Raises OSError, also where nothing comes for `silence_s`."""
    while piece := await connection.more(silence_s):
        yield piece


async def lines(source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines of any length."""
    rest = b""
    async for piece in source:
        *whole, rest = (rest + piece).split(b"\n") if rest else piece.split(b"\n")
        for line in whole:
            if line:
                yield line
    if rest.strip():
        yield rest
