"""kopf's decorators: `@kopf.on.create('kopfexamples')`, `@kopf.timer(...)` ... with kopf's options.

All are declared on the default operator of the module (its identity), or on the `registry` that is named. Plain functions run in
threads, as with kopf.

Source: https://docs.kopf.dev/en/stable/handlers/
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from reconcile.kinds import Resource
from reconcile.registry import Filters, Operator, Trigger, default_operator, handler
from reconcile.subhandling import register as register_part

from .adapting import adapted, condition, criterion, is_async, keywords
from .errors import ErrorsMode
from .registries import get_default_registry
from .selectors import selector_of
from .settings import SETTINGS

F = TypeVar("F", bound=Callable[..., Any])
_SELECTORS = ("group", "version", "kind", "plural", "singular", "shortcut", "category")
_WORKERS = 32
"""kopf has no bound: its handlers may wait as long as they like, and keep no others from running."""
_UNUSED = ("cancellation_polling", "persistent", "side_effects", "ignore_failures")
"""Taken and without effect: threads are asked by an event, and admission is called in process."""


def _declare(
    trigger: Trigger, words: tuple[Any, ...], options: dict[str, Any], *, about_objects: bool = True
) -> Callable[[F], F]:
    registry: Operator | None = options.pop("registry", None)
    operator = registry or get_default_registry() or default_operator(_module())
    selects = selector_of(*words, **{n: options.pop(n, None) for n in _SELECTORS}) if about_objects else None

    def decorate(fn: F) -> F:
        made = _translated(trigger, fn, dict(options))
        if about_objects:
            made |= {"cls": Resource, "selects": selects}
        operator.add(handler(trigger, adapted(trigger, fn, made["name"]), **made))
        return fn

    return decorate


def _translated(trigger: str, fn: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """kopf's options in the engine's words."""
    for name in _UNUSED:
        options.pop(name, None)
    field = options.pop("field", None)
    path = _path(field)
    name = options.pop("id", None) or getattr(fn, "__name__", None) or type(fn).__name__
    made: dict[str, Any] = {"cls": None, "lazy": True, "field": path, "name": f"{name}/{path}" if path else str(name)}
    made["filters"] = _filters(options)
    # A plain function runs in a thread, unless the engine calls it where nothing may wait.
    made["threaded"] = not is_async(fn) and trigger not in ("index", "mutate", "validate")
    made["workers"] = _WORKERS
    errors = options.pop("errors", None)
    if errors is not None:
        made["errors"] = ErrorsMode(errors).value
    backoff = options.pop("backoff", None)
    if trigger != "event":
        backoff_s = float(SETTINGS.execution.default_backoff if backoff is None else backoff)
        made |= {"backoff_s_first": backoff_s, "backoff_s_max": backoff_s}
    for kopfs, ours in (
        ("param", "param"), ("timeout", "deadline_s"), ("retries", "retries_max"), ("interval", "interval_s"), ("idle", "idle_s"),
        ("sharp", "sharp"), ("optional", "optional"), ("deleted", "deleted"), ("cancellation_backoff", "cancellation_backoff_s"),
        ("cancellation_timeout", "cancellation_timeout_s"), ("subresource", "subresource"),
    ):  # fmt: skip
        value = options.pop(kopfs, None)
        if value is not None:
            made[ours] = value
    if (delay := options.pop("initial_delay", None)) is not None:
        made["initial_delay_s"] = _delay(delay)
    operations = options.pop("operations", None) or ([options["operation"]] if options.get("operation") else None)
    options.pop("operation", None)
    if operations:
        made["operations"] = tuple(operations)
    if trigger in ("mutate", "validate"):
        made.setdefault("subresource", None)
    if trigger == "daemon":
        made["holds"] = True
    return {**made, **options}  # what is left is unknown, and refused by name


def _filters(options: dict[str, Any]) -> Filters:
    when = options.pop("when", None)
    return Filters(
        labels={name: criterion(asked) for name, asked in (options.pop("labels", None) or {}).items()},
        annotations={name: criterion(asked) for name, asked in (options.pop("annotations", None) or {}).items()},
        when=condition(when) if when is not None else None,
        **{name: criterion(options.pop(name, None)) for name in ("value", "old", "new")},
    )


def _path(field: str | Iterable[str] | None) -> str:
    if field is None or isinstance(field, str):
        return field or ""
    return ".".join(part.replace(".", "\\.") for part in field)


def _delay(delay: Any) -> Any:
    if not callable(delay):
        return float(delay)
    return lambda obj: float(delay(**keywords(obj, delay)) or 0.0)


def _module() -> str:
    frame = inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).startswith(__package__):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "operator")) if frame is not None else "operator"


def startup(**options: Any) -> Callable[[F], F]:
    """Before anything else; arbitrary errors are repeated."""
    return _declare("startup", (), options, about_objects=False)


def cleanup(**options: Any) -> Callable[[F], F]:
    """When the operator stops."""
    return _declare("cleanup", (), {"errors": ErrorsMode.PERMANENT, **options}, about_objects=False)


def login(**options: Any) -> Callable[[F], F]:
    """When the operator has to identify itself."""
    return _declare("login", (), options, about_objects=False)


def probe(**options: Any) -> Callable[[F], F]:
    """When somebody asks how it is."""
    return _declare("probe", (), options, about_objects=False)


def create(*resource: Any, **options: Any) -> Callable[[F], F]:
    """For each new object."""
    return _declare("create", resource, options)


def update(*resource: Any, **options: Any) -> Callable[[F], F]:
    """For each change of what is wanted."""
    return _declare("update", resource, options)


def delete(*resource: Any, **options: Any) -> Callable[[F], F]:
    """Before an object goes."""
    return _declare("delete", resource, options)


def resume(*resource: Any, **options: Any) -> Callable[[F], F]:
    """For each object that was there before."""
    return _declare("resume", resource, options)


def field(*resource: Any, **options: Any) -> Callable[[F], F]:
    """For each change of one field."""
    return _declare("field", resource, options)


def event(*resource: Any, **options: Any) -> Callable[[F], F]:
    """For each change as it is seen."""
    return _declare("event", resource, options)


def mutate(*resource: Any, **options: Any) -> Callable[[F], F]:
    """Before a write is stored, to change it."""
    return _declare("mutate", resource, options)


def validate(*resource: Any, **options: Any) -> Callable[[F], F]:
    """Before a write is stored, to refuse it."""
    return _declare("validate", resource, options)


def daemon(*resource: Any, **options: Any) -> Callable[[F], F]:
    """Beside each object while it lives."""
    return _declare("daemon", resource, options)


def timer(*resource: Any, **options: Any) -> Callable[[F], F]:
    """For each object, again and again."""
    return _declare("timer", resource, options)


def index(*resource: Any, **options: Any) -> Callable[[F], F]:
    """What each object is found under."""
    return _declare("index", resource, options)


def subhandler(**options: Any) -> Callable[[F], F]:
    """A part of the running handler's work."""

    def decorate(fn: F) -> F:
        register(fn, **options)
        return fn

    return decorate


this = subhandler


def register(fn: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """As `subhandler`, for a function that is there already."""
    made = _translated("create", fn, dict(options))
    made.pop("cls")
    register_part(adapted("create", fn, made["name"]), **made)
    return fn


async def execute(*, fns: Any = None, handlers: Any = None, registry: Any = None, **_: Any) -> None:
    """Register sub-handlers; they run when the running handler has returned (kopf runs them here and now)."""
    del handlers, registry
    named = fns.items() if isinstance(fns, dict) else [(getattr(fn, "__name__", ""), fn) for fn in fns or ()]
    for name, fn in named:
        register(fn, id=name)
