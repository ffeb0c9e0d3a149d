"""Sub-handlers: parts of a handler's work, declared while it runs, each tracked, retried and timed out by itself.

    @on.create(Site)
    def build(site: Site):
        for page in site.spec.pages:
            @on.subhandler(name=page)
            def render(page=page):
                ...

They run after the handler has returned, one after the other. The handler has succeeded once all of them have; until then it is
called again, declares them again, and those that are through are left out.

Source: kopf's sub-handlers, https://docs.kopf.dev/en/stable/handlers/#sub-handlers
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from .errors import DeclarationError
from .registry import Handler, handler

F = TypeVar("F", bound=Callable[..., Any])

DECLARED: ContextVar[list[Handler] | None] = ContextVar("reconcile_subhandlers", default=None)
"""The sub-handlers that the running handler has declared; None where it may have none."""


def subhandler(*, name: str = "", **options: Any) -> Callable[[F], F]:
    """Declare the decorated function as a part of the running handler's work; `name` tells the parts apart.

    Raises:
        DeclarationError: no create, update, delete, resume or field handler runs.
    """

    def decorate(fn: F) -> F:
        register(fn, name=name, **options)
        return fn

    return decorate


def register(fn: Callable[..., Any], *, name: str = "", **options: Any) -> None:
    """As `subhandler`, for a function that is there already. Raises DeclarationError."""
    declared = DECLARED.get()
    if declared is None:
        raise DeclarationError(
            f"sub-handler {name or getattr(fn, '__name__', fn)!r}: only create, update, delete, resume and field handlers have "
            "some; declare it while such a handler runs"
        )
    made = handler("create", fn, None, **{"name": name, **options})
    if any(known.name == made.name for known in declared):
        raise DeclarationError(f"sub-handler {made.name!r} ({made.where}) is declared twice; give each a name of its own")
    declared.append(made)
