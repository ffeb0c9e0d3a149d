"""Subresources that somebody else answers: exec, attach, port-forward, proxy. A kind declares them in its hooks.

    async def locate(objects: Objects, asked: Asked) -> Backend:
        "Where a Printer's `panel` is: at the address that its status has."
        printer = await objects.get(kind_of(Printer), asked.name, asked.namespace)
        return Backend(f"http://{printer['status']['address']}:80", asked.rest or "/")

    @kind("example.com", "v1", hooks=Hooks(connections=(Connection("panel", "PrinterPanel", locate),)))

The API server authorises the request, asks `locate` where it goes, and carries it there, with whatever protocol the two ends
agree to speak. It knows neither the kind nor the protocol.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from .client import Page
    from .errors import Tree
    from .kinds import Kind

READ_VERBS = ("create", "get")
ALL_VERBS = ("create", "delete", "get", "patch", "update")


class Objects(Protocol):
    """What `locate` may look up: the reading half of a `Client`."""

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Tree:
        """One object. Raises NotFoundError."""

    async def list(self, kind: Kind, namespace: str = "", *, labels: str = "") -> Page:
        """The objects of a namespace."""


@attrs.frozen
class Asked:
    """A request to a subresource. `name` is the URL's, which need not be an object's alone (`https:web:443`).

    `rest` is what follows the subresource in the path, still percent-encoded, with its leading slash; `query` has the
    parameters in their order, `raw_query` them as they came. `upgrade` is the protocol that the client wants to go on in.
    """

    method: str
    name: str
    namespace: str = ""
    rest: str = ""
    query: tuple[tuple[str, str], ...] = ()
    raw_query: str = ""
    upgrade: str = ""

    def value(self, name: str) -> str:
        """A parameter; empty where it is absent."""
        return next((value for key, value in self.query if key == name), "")

    def values(self, name: str) -> list[str]:
        """A parameter that may be repeated."""
        return [value for key, value in self.query if key == name]

    def flag(self, name: str) -> bool:
        """Whether a boolean parameter is set, as Go's ParseBool reads it."""
        return self.value(name).lower() in ("1", "t", "true")


@attrs.frozen
class Backend:
    """Where a request goes: an address whose scheme the server was told how to dial, and the path and query to ask for.

    `http://HOST:PORT` and `https://HOST:PORT` are always known; who composes a cluster adds others (`node://NAME`).
    With `rewritten`, links and redirects in the answer that begin at the backend's root are made to pass here again.
    """

    address: str
    path: str = "/"
    rewritten: bool = False


Locate = Callable[[Objects, Asked], Awaitable[Backend]]


@attrs.frozen
class Connection:
    """A subresource that is carried on.

    `kind` names the type of its options in discovery; `options` reads them from a request, for policies and webhooks to see.

    `rest`: paths below it are its too. `upgraded`: it is only spoken over an upgraded connection, and whoever opens one needs to
    be allowed `create`, whatever the method is.
    """

    name: str
    kind: str
    locate: Locate
    verbs: tuple[str, ...] = READ_VERBS
    rest: bool = False
    upgraded: bool = False
    options: Callable[[Asked], Tree] | None = None


__all__ = ["ALL_VERBS", "READ_VERBS", "Asked", "Backend", "Connection", "Locate", "Objects"]
