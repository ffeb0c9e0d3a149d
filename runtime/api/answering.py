"""Kinds and subresources that are asked, not stored: a question is posted, and comes back with its answer in the status.

A kind's owner hands in the function that answers. The question is read by the schema of its kind like any other object, so
that defaults, unknown fields and wrong types are treated alike; nothing of it reaches the store.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

import attrs

from reconcile.errors import Tree
from reconcile.identity import Caller
from reconcile.kinds import Kind

from . import metadata, refusals
from .catalog import Catalog, Served
from .stored import Notes, Stored

Respond = Callable[[Tree, Caller], Awaitable[Tree] | Tree]
"""(the question, who asks) -> the question with its answer. Raises an ApiError to refuse."""
RespondAbout = Callable[[Tree, Tree, Caller], Awaitable[Tree] | Tree]
"""(the object, the question, who asks) -> the question with its answer: for subresources."""


@attrs.frozen
class Part:
    """A subresource that is asked: the kind of its questions, and what answers them."""

    kind: Kind
    respond: RespondAbout


class Answering:
    """Puts questions to those who answer them."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._parts: dict[tuple[str, str], dict[str, Part]] = {}
        self._served: dict[Kind, Served] = {}

    def add_part(self, kind: Kind, subresource: str, part: Part) -> None:
        """Serve POST of a subresource."""
        self._parts.setdefault((kind.group, kind.plural), {})[subresource] = part

    def parts(self, kind: Kind) -> dict[str, Part]:
        """The subresources of a kind that are asked."""
        return self._parts.get((kind.group, kind.plural), {})

    async def ask(
        self, kind: Kind, tree: Tree, namespace: str, caller: Caller, field_validation: str, notes: Notes | None
    ) -> Stored | None:
        """The answer to a question of `kind`; None: objects of this kind are stored."""
        served = self._catalog.of(kind)
        if served.respond is None:
            return None
        question = _read(served, tree, namespace, "", field_validation, notes)
        found = served.respond(question, caller)
        return Stored(served.kind, await found if inspect.isawaitable(found) else found)

    async def ask_part(self, about: Stored, part: Part, tree: Tree, caller: Caller) -> Stored:
        """The answer to a question about an object."""
        served = self._served.get(part.kind)
        if served is None:
            served = self._served[part.kind] = Served(part.kind, None)
        question = _read(served, tree, about.namespace, about.name, "Ignore", None)
        found = part.respond(about.tree, question, caller)
        return Stored(part.kind, await found if inspect.isawaitable(found) else found)


def _read(served: Served, given: Tree, namespace: str, name: str, field_validation: str, notes: Notes | None) -> Tree:
    unknown: list[str] = []
    tree, meta = metadata.shaped(served, given, unknown)
    if name:
        metadata.place(served.kind, meta, namespace, name)
    elif served.kind.namespaced:
        metadata.place(served.kind, meta, namespace, "")
    question: Tree = served.complete(tree, None, unknown)
    refusals.tell_unknown(served.kind, unknown, field_validation, notes)
    if causes := served.check(question, None):
        raise refusals.invalid(served.kind, meta.get("name", ""), causes)
    validate = served.kind.hooks.validate
    if validate is not None and (causes := list(validate(question, None))):
        raise refusals.invalid(served.kind, meta.get("name", ""), causes)
    return question
