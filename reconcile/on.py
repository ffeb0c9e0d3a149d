"""The decorators: `@on.reconcile(Site)`, `@on.create(Site)`, `@on.timer(Site, interval_s=60)` ...

Every handler is level-triggered underneath: it is queued by object key, never by event. `reconcile` is the native form;
create, update, delete, field, resume and timer are classified when the key is dequeued, from the cached object and what this
very handler saw last, so that no change is lost and none is handled twice.

Common options: `labels`, `fields`, `annotations`, `when`, `value` (see `registry.Filters`); `timeout_s` cancels an attempt that
takes longer; `backoff_s_first`, `backoff_s_max` bound the exponential back-off after a failure (with jitter);
`retries_max` gives up after so many failures until the object changes (0: never), `deadline_s` so many seconds after the first
attempt; `errors` says what other exceptions than ours mean ("temporary", "permanent", "ignored"); `param` is handed to the
handler as it is, so that one function can be declared several times; `name` tells handlers apart.

Handlers may be coroutine functions, generators, asynchronous generators, or plain functions. Plain functions run on the
event loop, where the whole control plane waits for them: keep them short, or declare `threaded=True` to run them in a
thread of their own (a thread cannot be cancelled: on a timeout the attempt ends, the thread runs on).

`Resource` itself as the kind stands for every kind served, now or later.

Source: the vocabulary is kopf's (https://docs.kopf.dev), the semantics are controller-runtime's.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from .kinds import Resource
from .registry import Errors, Filters, Handler, Operator, Trigger, Watch, default_operator, handler
from .subhandling import subhandler

F = TypeVar("F", bound=Callable[..., Any])
_OURS = (__name__, f"{__package__}.kopf")
_FILTERS = ("labels", "fields", "annotations", "when", "value", "old", "new")


class Reconciler(Protocol):
    """A decorated reconcile handler: the function itself, with a decorator for what to do before its object goes."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the handler."""

    def cleanup(self, fn: F) -> F:
        """Called, until it succeeds, before the object goes away (a finalizer holds it)."""


class Decorators:
    """The decorators of one operator."""

    def __init__(self, operator: Callable[[], Operator]) -> None:
        self._operator = operator

    def reconcile(
        self,
        cls: type[Resource],
        *,
        owns: tuple[type[Resource], ...] = (),
        watches: tuple[Watch, ...] = (),
        workers: int = 4,
        resync_s: float = 0.0,
        while_deleting: bool = False,
        **options: Any,
    ) -> Callable[[Callable[..., Any]], Reconciler]:
        """Make the world as the object says; called with the newest state whenever anything relevant changed.

        The function may yield the children it wants: the engine applies what changed, owns them, prunes what is no longer
        yielded, and calls again when a child changes. `owns` names kinds whose controlled objects re-run their owner
        (yielded kinds need not be named), `watches` maps others. `while_deleting`: also call for objects that are going
        away. Returns None (done), `Requeue`, `Wait`; raises `TemporaryError`, `PermanentError`, or anything (retried).
        The decorated function has `.cleanup`, a decorator for what to do before the object goes (adds a finalizer).
        """
        decorate: Callable[[Any], Any] = self._declare(
            "reconcile", cls, owns=tuple(owns), watches=tuple(watches), workers=workers, resync_s=resync_s,
            while_deleting=while_deleting, **options,
        )  # fmt: skip
        return decorate

    def create(self, cls: type[Resource], **options: Any) -> Callable[[F], F]:
        """Called until it succeeds once for each new object."""
        return self._declare("create", cls, **options)

    def update(self, cls: type[Resource], *, field: str = "", **options: Any) -> Callable[[F], F]:
        """Called when anything but status and server-owned metadata differs from what it last saw (`old`, `new`, `diff`).

        What it saw is kept on the object as a digest, `old` in memory only: for a change made while the operator was down
        `old` is None and `diff` is empty.
        """
        return self._declare("update", cls, field=field, **options)

    def delete(self, cls: type[Resource], *, optional: bool = False, **options: Any) -> Callable[[F], F]:
        """Called, until it succeeds, before the object goes away (a finalizer holds it).

        With `optional=True` no finalizer is added for it: it is called for objects that something else holds.
        """
        return self._declare("delete", cls, optional=optional, **options)

    def resume(self, cls: type[Resource], *, deleted: bool = False, **options: Any) -> Callable[[F], F]:
        """Called once for each object that is already there when the operator starts.

        With `deleted=True` also for those that are going away.
        """
        return self._declare("resume", cls, deleted=deleted, **options)

    def field(self, cls: type[Resource], *, field: str, **options: Any) -> Callable[[F], F]:
        """Called when the value at path `field` (`spec.size`) differs from what it last saw, the first value included."""
        return self._declare("field", cls, field=field, **options)

    def event(self, cls: type[Resource], *, inline: bool = False, **options: Any) -> Callable[[F], F]:
        """Called for each change as it is seen (`event` is its type); not retried.

        With `inline=True` a plain function is called at once, in revision order, before anything else sees the change:
        for handlers that keep a model of the cluster in memory.
        """
        return self._declare("event", cls, inline=inline, **options)

    def timer(
        self,
        cls: type[Resource],
        *,
        interval_s: float,
        initial_delay_s: float | Callable[[Any], float] = 0.0,
        idle_s: float = 0.0,
        sharp: bool = False,
        **options: Any,
    ) -> Callable[[F], F]:
        """Called for each object every `interval_s` seconds while it lives.

        `idle_s`: not before the object has been left alone (its essence, not its status) for so long. `sharp`: the time a call
        takes is part of the interval. `initial_delay_s` may be a function of the object.
        """
        return self._declare(
            "timer", cls, interval_s=interval_s, initial_delay_s=initial_delay_s, idle_s=idle_s, sharp=sharp, **options
        )

    def daemon(
        self,
        cls: type[Resource],
        *,
        initial_delay_s: float | Callable[[Any], float] = 0.0,
        cancellation_backoff_s: float | None = None,
        cancellation_timeout_s: float | None = None,
        holds: bool = False,
        **options: Any,
    ) -> Callable[[F], F]:
        """Runs beside each object while it lives and the filters match; one that ends by itself is not started again.

        It is asked to stop by `stopped` (true from then on; `stopped.wait(seconds)`, `await stopped.wait(seconds)`), and an
        asynchronous one is cancelled `cancellation_backoff_s` seconds later (at once where that is None, unless only
        `cancellation_timeout_s` is given, for which it is then waited). A thread cannot be cancelled. `holds=True` keeps the
        object (by a finalizer) until its daemon has ended.
        """
        return self._declare(
            "daemon", cls, initial_delay_s=initial_delay_s, cancellation_backoff_s=cancellation_backoff_s,
            cancellation_timeout_s=cancellation_timeout_s, holds=holds, **options,
        )  # fmt: skip

    def index(self, cls: type[Resource], **options: Any) -> Callable[[F], F]:
        """Returns what an object is found under: a dict of keys and values, or one value for all (under None).

        The index goes by the function's name: a handler that is declared later and takes that name is given a read-only mapping
        of each key to the values that objects have there. It is filled before any other handler runs. A plain function, called
        when a change is seen.
        """
        return self._declare("index", cls, **options)

    def mutate(
        self, cls: type[Resource], *, operations: tuple[str, ...] = (), subresource: str | None = None, **options: Any
    ) -> Callable[[F], F]:
        """Called before a write is stored; may change `review.tree`, or raise to refuse.

        `operations` are those it is for ("CREATE", "UPDATE", "DELETE"; all unless given); `subresource` names the one it is for
        ("*": any; None: writes of the object itself).
        """
        return self._declare("mutate", cls, operations=tuple(operations), subresource=subresource, **options)

    def validate(
        self, cls: type[Resource], *, operations: tuple[str, ...] = (), subresource: str | None = None, **options: Any
    ) -> Callable[[F], F]:
        """Called before a write is stored, after all mutate handlers; raises to refuse. Options as those of `mutate`."""
        return self._declare("validate", cls, operations=tuple(operations), subresource=subresource, **options)

    def startup(self, *, errors: Errors = "permanent", **options: Any) -> Callable[[F], F]:
        """Called once before any other handler of the operator.

        Repeated after a TemporaryError; another error stops the operator.
        """
        return self._declare("startup", None, errors=errors, **options)

    def cleanup(self, *, errors: Errors = "permanent", **options: Any) -> Callable[[F], F]:
        """Called once when the operator stops."""
        return self._declare("cleanup", None, errors=errors, **options)

    def probe(self, **options: Any) -> Callable[[F], F]:
        """Called when somebody asks how the operator is (`--listen`): what it returns is told, an error makes it unwell."""
        return self._declare("probe", None, **options)

    def login(self, **options: Any) -> Callable[[F], F]:
        """Called when the operator has to identify itself (`reconcile run`); returns a `runtime.client.Access`.

        Again when the server refuses what it gave, or when that runs out.
        """
        return self._declare("login", None, **options)

    def subhandler(self, *, name: str = "", **options: Any) -> Callable[[F], F]:
        """Declares, inside of a running handler, a part of its work that is tracked, retried and timed out by itself."""
        return subhandler(name=name, **options)

    def _declare(self, trigger: Trigger, cls: type[Resource] | None, **options: Any) -> Callable[[F], F]:
        filters = Filters(**{name: options.pop(name) for name in _FILTERS if name in options})

        def decorate(fn: F) -> F:
            operator = self._operator()
            declared = handler(trigger, fn, cls, filters=filters, indexes=operator.indexes, **options)
            operator.add(declared)
            with contextlib.suppress(AttributeError):  # methods and partials take no attributes
                fn.__reconcile__ = declared  # type: ignore[attr-defined]  # how the engine and `.cleanup` find the declaration
            if trigger == "reconcile":
                fn.cleanup = _cleanup_of(declared, cls)  # type: ignore[attr-defined]  # documented on `reconcile`
            return fn

        return decorate


def _cleanup_of(declared: Handler, cls: type[Resource] | None) -> Callable[[F], F]:
    def cleanup(fn: F) -> F:
        declared.cleanup.append(handler("delete", fn, cls, filters=declared.filters))
        return fn

    return cleanup


def _caller() -> Operator:
    """The default operator of the module that is being loaded."""
    frame = inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).startswith(_OURS):
        frame = frame.f_back
    module: Mapping[str, Any] = frame.f_globals if frame is not None else {}
    return default_operator(str(module.get("__name__", "operator")))


_default = Decorators(_caller)
reconcile = _default.reconcile
create = _default.create
update = _default.update
delete = _default.delete
resume = _default.resume
field = _default.field
event = _default.event
timer = _default.timer
daemon = _default.daemon
index = _default.index
probe = _default.probe
login = _default.login
mutate = _default.mutate
validate = _default.validate
startup = _default.startup
cleanup = _default.cleanup
