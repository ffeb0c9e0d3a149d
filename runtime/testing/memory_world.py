"""An engine on an API in memory, for tests of the engine itself; controllers are tested in `universe.World`, on the real API.

@virtual
async def test_a_site_gets_its_page(clock: VirtualClock) -> None:
    async with MemoryWorld(clock, app, serving=(WebSite, ConfigMap)) as world:
        await world.create(WebSite(name="a", spec=WebSiteSpec(html="hi")))
        await world.settled()
        assert (await world.get(ConfigMap, "a-html")).data == {"index.html": "hi"}
"""

from __future__ import annotations

from types import TracebackType
from typing import Self, TypeVar

from reconcile.client import MERGE_PATCH, Patch
from reconcile.clock import Clock
from reconcile.errors import NotFoundError, Tree
from reconcile.kinds import Resource, kind_of, typed
from reconcile.registry import Operator
from reconcile.runtime.engine.admission import AdmissionHooks
from reconcile.runtime.engine.engine import Engine

from .memory import MemoryClient

R = TypeVar("R", bound=Resource)
NAMESPACE = "default"


class MemoryWorld:
    """Operators on an engine on an API in memory. `client` takes faults (`before`, `end_watches`, `compact`)."""

    def __init__(
        self,
        clock: Clock,
        *operators: Operator,
        serving: tuple[type[Resource], ...] = (),
        client: MemoryClient | None = None,
        admission: AdmissionHooks | None = None,
    ) -> None:
        self.clock = clock
        self.client = client if client is not None else MemoryClient(clock)
        self.engine = Engine(self.client, clock, admission=admission)
        self._operators = operators
        self.client.serve(*serving)
        for operator in operators:
            self.client.serve(*operator.kinds)

    async def __aenter__(self) -> Self:
        for operator in self._operators:
            await self.engine.start(operator)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.engine.close()

    async def create(self, obj: R) -> R:
        """Write a new object, as a user would."""
        declared = type(obj).__kind__
        return typed(type(obj), await self.client.create(declared, obj.tree, _namespace(declared.namespaced, obj.namespace)))

    async def find(self, cls: type[R], name: str, namespace: str = NAMESPACE) -> R | None:
        """The newest state of an object, or None."""
        try:
            return await self.get(cls, name, namespace)
        except NotFoundError:
            return None

    async def get(self, cls: type[R], name: str, namespace: str = NAMESPACE) -> R:
        """The newest state of an object. Raises NotFoundError."""
        kind = kind_of(cls)
        return typed(cls, await self.client.get(kind, name, namespace if kind.namespaced else ""))

    async def list(self, cls: type[R]) -> list[R]:
        """All objects of a kind."""
        return [typed(cls, tree) for tree in (await self.client.list(kind_of(cls))).items]

    async def patch(
        self, cls: type[Resource], name: str, merge: Tree, *, namespace: str = NAMESPACE, subresource: str = ""
    ) -> None:
        """Change an object by a merge patch, as a user would."""
        kind = kind_of(cls)
        space = namespace if kind.namespaced else ""
        await self.client.patch(kind, name, Patch(MERGE_PATCH, merge), space, subresource=subresource)

    async def delete(self, cls: type[Resource], name: str, namespace: str = NAMESPACE) -> None:
        """Delete an object, as a user would."""
        kind = kind_of(cls)
        await self.client.delete(kind, name, namespace if kind.namespaced else "")

    async def settled(self, quiet_s: float = 0.05) -> None:
        """Wait until nothing is left to do now."""
        await self.engine.settled(quiet_s)


def _namespace(namespaced: bool, given: str) -> str:
    return (given or NAMESPACE) if namespaced else ""
