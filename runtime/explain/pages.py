"""Explanations over HTTP, for the commands `why`, `trace`, `why-not`, `find`, ...: GET /explain/<question>?resource=&name=...

Whoever may get this path may ask about every object: it is not in the default roles, so administrators may.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from reconcile.errors import BadRequestError, NotFoundError, Tree
from reconcile.kinds import Kind
from reconcile.runtime.api import ApiServer
from reconcile.runtime.engine.engine import Engine

from .explaining import Explaining
from .finding import find
from .incident import incident
from .replaying import replay

ROOT = "explain"
_API_VERSION = "reconcile.dev/v1alpha1"


class Pages:
    """Answers what is asked below /explain/."""

    def __init__(self, api: ApiServer, engine: Engine) -> None:
        self._api, self._engine = api, engine
        self._explaining = Explaining(api, engine)
        self._questions: dict[str, Callable[[Mapping[str, str]], Awaitable[Tree]]] = {
            "why": self._why, "trace": self._trace, "why-not": self._why_not, "attempts": self._attempts, "replay": self._replay,
            "find": self._find, "incident": self._incident,
        }  # fmt: skip

    async def answer(self, path: str, query: Mapping[str, str]) -> Tree:
        """The answer to one question. `path` is what follows /explain/.

        Raises:
            ApiError: there is no such question, object or revision.
        """
        question = self._questions.get(path.strip("/"))
        if question is None:
            raise NotFoundError(f"there is nothing at /{ROOT}/{path}; there are: {', '.join(self._questions)}")
        return {"apiVersion": _API_VERSION, **await question(query)}

    async def _why(self, query: Mapping[str, str]) -> Tree:
        kind, name, namespace = self._object(query)
        return await self._explaining.why(kind, name, namespace, query.get("field", ""))

    async def _trace(self, query: Mapping[str, str]) -> Tree:
        if query.get("revision"):
            return await self._explaining.trace(_whole(query, "revision"))
        return await self._explaining.trace(await self._explaining.root_of(*self._object(query)))

    async def _why_not(self, query: Mapping[str, str]) -> Tree:
        kind, name, namespace = self._object(query)
        return await self._explaining.why_not(kind, name, namespace, query.get("field", ""))

    async def _attempts(self, query: Mapping[str, str]) -> Tree:
        return await self._explaining.attempts(*self._object(query))

    async def _replay(self, query: Mapping[str, str]) -> Tree:
        kind, name, namespace = self._object(query)
        revision = _whole(query, "revision") or self._api.store.revision
        return await replay(
            self._api, self._engine, self._api.clock, revision, query.get("handler", ""), kind, name, namespace
        )  # fmt: skip

    async def _find(self, query: Mapping[str, str]) -> Tree:
        kind = self._kind(query.get("resource", ""))
        namespace = query.get("namespace", "") if kind.namespaced else ""
        first, last = _whole(query, "from"), _whole(query, "to")
        return await find(self._api, kind, namespace, query.get("labels", ""), query.get("fields", ""), first, last)

    async def _incident(self, query: Mapping[str, str]) -> Tree:
        kind, name, namespace = self._object(query)
        return await incident(self._api, kind, name, namespace, _whole(query, "from"), _whole(query, "to"))

    def _kind(self, resource: str) -> Kind:
        kind = next((kind for kind in self._api.stored_kinds() if kind.resource == resource), None)
        if kind is None:
            raise BadRequestError(f"?resource={resource} names no kind that is stored; give ?resource=deployments.apps")
        return kind

    def _object(self, query: Mapping[str, str]) -> tuple[Kind, str, str]:
        resource, name = query.get("resource", ""), query.get("name", "")
        kind = next((kind for kind in self._api.stored_kinds() if kind.resource == resource), None)
        if kind is None or not name:
            raise BadRequestError(f"?resource={resource}&name={name} names no object; give ?resource=deployments.apps&name=web")
        return kind, name, query.get("namespace", "") if kind.namespaced else ""


def _whole(query: Mapping[str, str], name: str) -> int:
    text = query.get(name, "") or "0"
    if not text.isdecimal():
        raise BadRequestError(f"?{name}= takes a whole number, not {text!r}")
    return int(text)
