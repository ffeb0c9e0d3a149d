"""One request to two servers, and the difference between what they answer.

What two servers can never have alike (uids, revisions, times, addresses that were handed out) is put into one form first; the
`.` of managedFields, which the reference leaves out of fields that are structures in its own language, is not looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from reconcile.runtime.client.blocking import BlockingClient, Reply

Tree = dict[str, Any]  # Any: a decoded JSON object
_OWN = {
    "uid": "UID", "resourceVersion": "REVISION", "creationTimestamp": "TIME", "deletionTimestamp": "TIME", "time": "TIME",
    "lastTransitionTime": "TIME", "lastProbeTime": "TIME", "lastUpdateTime": "TIME", "clusterIP": "ADDRESS",
    "expirationTimestamp": "TIME", "token": "TOKEN",
}  # fmt: skip
_IN_TEXT = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "UID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "TIME"),
    (re.compile(r"\b(10|127)\.\d+\.\d+\.\d+\b"), "ADDRESS"),
    (re.compile(r"\bkube-api-access-[a-z0-9]{5}\b"), "ACCESS"),
    (re.compile(r"\bcmp-[0-9a-f]{6}\b"), "NAMESPACE"),
)
_AGE = re.compile(r"^(\d+s|<unknown>|\d+m\d*s?)$")


class Ask(NamedTuple):
    """A request. `about` says in a report which it is."""

    about: str
    method: str
    path: str
    body: Any = None  # Any: JSON, or bytes as they are
    headers: Mapping[str, str] = {}


class Difference(NamedTuple):
    """Where two answers differ: a path into the body, `status`, or a header."""

    about: str
    where: str
    reference: Any
    ours: Any


class Pair:
    """Two servers that are asked the same. `answers` are the reference's, in their one form."""

    def __init__(self, reference: BlockingClient, ours: BlockingClient) -> None:
        self.clients = (reference, ours)
        self.asked = 0
        self.answers: dict[str, tuple[int, Any]] = {}

    def ask(self, ask: Ask) -> tuple[Tree | str | None, list[Difference]]:
        """The reference's answer as it came, and what is otherwise in that of the other one."""
        self.asked += 1
        data = ask.body if isinstance(ask.body, bytes | None) else json.dumps(ask.body).encode()
        first, second = (client.request(ask.method, ask.path, None, data, ask.headers) for client in self.clients)
        self.answers[ask.about] = (first.status, normal(content(first)))
        return content(first), list(differences(ask.about, first, second))


def differences(about: str, first: Reply, second: Reply) -> Iterator[Difference]:
    """What a client could notice."""
    if first.status != second.status:
        yield Difference(about, "status", first.status, second.status)
    for name in ("content-type", "warning", "retry-after", "allow"):
        if first.headers.get(name) != second.headers.get(name):
            yield Difference(about, name, first.headers.get(name), second.headers.get(name))
    for where, one, other in unlike(normal(content(first)), normal(content(second))):
        yield Difference(about, where or "body", one, other)


def content(reply: Reply) -> Tree | str | None:
    """The body, decoded where it is JSON."""
    if not reply.body:
        return None
    try:
        tree: Tree = json.loads(reply.body)
        return tree
    except ValueError:
        return reply.body.decode("utf-8", "replace")


def normal(tree: Any, name: str = "") -> Any:
    """The same, without what is the server's own."""
    if isinstance(tree, dict):
        inside = name == "fieldsV1" or name.startswith(("f:", "k:", "v:"))
        return {key: normal(value, key) for key, value in tree.items() if not (inside and key == ".")}
    if isinstance(tree, list):
        items = [normal(value, name) for value in tree]
        if name == "managedFields":
            items.sort(key=lambda entry: (entry.get("manager", ""), entry.get("operation", ""), entry.get("subresource", "")))
        return items
    if name in _OWN and tree not in ("", None, "None"):
        return _OWN[name]
    if isinstance(tree, str):
        if name == "cells" and _AGE.match(tree):
            return "AGE"
        for pattern, word in _IN_TEXT:
            tree = pattern.sub(word, tree)
    return tree


def unlike(one: Any, other: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Each place where two trees differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            inner = f"{where}.{key}" if where else key
            if key not in one:
                yield inner, "(absent)", other[key]
            elif key not in other:
                yield inner, one[key], "(absent)"
            else:
                yield from unlike(one[key], other[key], inner)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from unlike(left, right, f"{where}[{number}]")
    elif one != other or type(one) is not type(other):
        yield where, one, other
