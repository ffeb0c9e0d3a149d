"""What was declared: handlers, as values that the engine reads. Nothing here runs anything.

An `Operator` is one identity (a domain name) and the handlers declared under it: `app = Operator("shop.example.com")`,
`@app.on.reconcile(Site)`. The identity is the field manager of its writes, the prefix of its finalizer, the source of its
Events. `from reconcile import on` declares on the default operator of the module's own file name.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import CodeType
from typing import Any, Literal

import attrs

from .conversion import all_versions
from .errors import DeclarationError
from .filters import Criteria, Criterion
from .handling import Key
from .kinds import Kind, Resource, kind_of

Trigger = Literal[
    "reconcile", "create", "update", "delete", "resume", "field", "event", "timer", "daemon", "index", "mutate", "validate",
    "startup", "cleanup", "probe", "login",
]  # fmt: skip
Errors = Literal["temporary", "permanent", "ignored"]
"""What any other exception than `TemporaryError` and `PermanentError` means: try again, give up, or that all is well."""
OF_OPERATORS = frozenset({"startup", "cleanup", "probe", "login"})
"""Triggers of handlers that are about no object."""
OBJECT_NAMES = frozenset(
    {
        "obj", "body", "spec", "status", "meta", "name", "namespace", "uid", "labels", "annotations", "resource", "cluster",
        "conditions", "events", "clock", "log", "logger", "attempt", "retry", "started", "runtime", "param", "reason", "old",
        "new", "diff", "event", "type", "review", "patch", "memo", "indexes", "stopped", "operation", "subresource", "dryrun",
        "userinfo", "warnings",
    }
)  # fmt: skip
"""What a handler can name as a parameter; `handling` says what each is."""


@attrs.frozen
class Filters:
    """Which objects a handler is for; all given filters must hold.

    `labels` is a selector in Kubernetes' syntax (`app=web,tier!=db`) or, as `annotations` is, a criterion for each name (see
    `filters`); `fields` is a selector over any field path (`spec.nodeName=n1`); `when` sees the object. `value` is a criterion
    for the handler's `field`; of update and field handlers, the value before or after must meet it, and `old` and `new` ask for
    either.
    """

    labels: Criteria = ""
    fields: str = ""
    annotations: Mapping[str, Criterion] = attrs.field(factory=dict)
    when: Callable[[Any], bool] | None = None  # Any: an object of the handler's kind
    value: Criterion = None
    old: Criterion = None
    new: Criterion = None


@attrs.frozen
class Watch:
    """A further kind to watch: `to` maps one of its objects to the keys of handled objects to run."""

    cls: type[Resource]
    to: Callable[[Any], Iterable[Key]]  # Any: an object of `cls`


@attrs.frozen(eq=False)
class Handler:
    """One declared handler. Times are in seconds; see the decorators in `on` for what the options mean.

    `cls` is `Resource` itself for handlers of every kind served, or of those that `selects` says yes to, and None for handlers
    that are about no object. A `lazy` function is called with one argument, from which it takes what it wants by name.
    """

    trigger: Trigger
    fn: Callable[..., Any]
    name: str
    cls: type[Resource] | None = None
    filters: Filters = Filters()
    parameters: tuple[str, ...] = ()
    object_parameter: str = ""
    takes_all: bool = False
    owns: tuple[type[Resource], ...] = ()
    watches: tuple[Watch, ...] = ()
    field: str = ""
    interval_s: float = 0.0
    initial_delay_s: float | Callable[[Any], float] = 0.0
    workers: int = 4
    resync_s: float = 0.0
    timeout_s: float = 0.0
    backoff_s_first: float = 0.005
    backoff_s_max: float = 1000.0
    retries_max: int = 0
    while_deleting: bool = False
    inline: bool = False
    threaded: bool = False
    selects: Callable[[Kind], bool] | None = None
    lazy: bool = False
    param: Any = None  # Any: the user's own, handed through
    errors: Errors = "temporary"
    deadline_s: float = 0.0
    optional: bool = False
    deleted: bool = False
    idle_s: float = 0.0
    sharp: bool = False
    cancellation_backoff_s: float | None = None
    cancellation_timeout_s: float | None = None
    holds: bool = False
    operations: tuple[str, ...] = ()
    subresource: str | None = ""
    file: str = ""
    line: int = 0
    cleanup: list[Handler] = attrs.field(factory=list)

    @property
    def where(self) -> str:
        """`app.py:31`, for errors and logs."""
        return f"{self.file.rsplit('/', 1)[-1]}:{self.line}"

    def __str__(self) -> str:
        return f"{self.name} ({self.where})"


def handler(
    trigger: Trigger, fn: Callable[..., Any], cls: type[Resource] | None, *, indexes: Iterable[str] = (), **options: Any
) -> Handler:
    """Check a function against what a handler can be given (`indexes` are names besides the usual), and describe it.

    Raises:
        DeclarationError: it takes something that no handler is given.
    """
    code = _code_of(fn)
    where = f"handler {_name_of(fn)} ({code.co_filename.rsplit('/', 1)[-1]}:{code.co_firstlineno})"
    if cls is not None and cls is not Resource:
        kind_of(cls)
    _check_options(trigger, fn, options, where)
    if options.get("lazy"):
        return Handler(
            trigger, fn, options.pop("name", "") or _name_of(fn), cls, file=code.co_filename, line=code.co_firstlineno, **options
        )
    given = OBJECT_NAMES.union(indexes)
    taken, object_parameter, takes_all = [], "", False
    for position, p in enumerate(inspect.signature(fn).parameters.values()):
        if p.kind is p.VAR_KEYWORD:
            takes_all = True
        elif p.kind is p.VAR_POSITIONAL:
            raise DeclarationError(f"{where} takes *{p.name}; name what it needs: {', '.join(sorted(OBJECT_NAMES))}")
        elif p.name in given:
            taken.append(p.name)
        elif position == 0 and cls is not None:
            object_parameter = p.name
        elif p.default is p.empty:
            raise DeclarationError(
                f"{where} takes {p.name!r}, which no handler is given; it can take: {', '.join(sorted(given))}, and the names of "
                "indexes that are declared before it"
            )
    return Handler(
        trigger, fn, options.pop("name", "") or _name_of(fn), cls, parameters=tuple(taken), object_parameter=object_parameter,
        takes_all=takes_all, file=code.co_filename, line=code.co_firstlineno, **options,
    )  # fmt: skip


def _code_of(fn: Callable[..., Any]) -> CodeType:
    """Where a function stands: that of a method, a partial, or an object that is called, too."""
    inner: Any = inspect.unwrap(fn)
    while isinstance(inner, functools.partial):
        inner = inspect.unwrap(inner.func)
    inner = getattr(inner, "__func__", inner)
    if not hasattr(inner, "__code__"):
        inner = getattr(type(inner).__call__, "__func__", type(inner).__call__)
    code: CodeType = inner.__code__
    return code


def _name_of(fn: Callable[..., Any]) -> str:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return str(getattr(fn, "__name__", "") or type(fn).__name__)


def _check_options(trigger: Trigger, fn: Callable[..., Any], options: Mapping[str, Any], where: str) -> None:
    """Refuse at import what could only fail, or be ignored, at run time."""
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise DeclarationError(f"{where}: unknown option {unknown[0]!r}; options are: {', '.join(sorted(_OPTIONS))}")
    yields = inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn)
    if yields and trigger != "reconcile":
        raise DeclarationError(f"{where} yields, but only reconcile handlers have children; use @on.reconcile, or return")
    if options.get("inline") and (yields or inspect.iscoroutinefunction(fn)):
        raise DeclarationError(f"{where} is inline, so it cannot await; make it a plain function, or drop inline=True")
    if options.get("threaded") and (yields or inspect.iscoroutinefunction(fn)):
        raise DeclarationError(f"{where} is threaded, but only plain functions run in threads; drop threaded=True")
    if options.get("errors", "temporary") not in ("temporary", "permanent", "ignored"):
        raise DeclarationError(f"{where}: errors is {options['errors']!r}; give 'temporary', 'permanent' or 'ignored'")
    if trigger == "timer" and not options.get("interval_s", 0.0) > 0:
        raise DeclarationError(f"{where}: interval_s is {options.get('interval_s')!r}; give seconds, more than 0")
    if trigger == "field" and not options.get("field"):
        raise DeclarationError(f"{where}: name the field to follow, such as field='spec.size'")
    if options.get("workers", 1) < 1:
        raise DeclarationError(f"{where}: workers is {options['workers']!r}; give 1 or more")


_OPTIONS = frozenset(
    {
        "name", "filters", "owns", "watches", "field", "interval_s", "initial_delay_s", "workers", "resync_s", "timeout_s",
        "backoff_s_first", "backoff_s_max", "retries_max", "while_deleting", "inline", "threaded", "selects", "lazy", "param",
        "errors", "deadline_s", "optional", "deleted", "idle_s", "sharp", "cancellation_backoff_s", "cancellation_timeout_s",
        "holds", "operations", "subresource",
    }
)  # fmt: skip


class Operator:
    """One identity and what is declared under it.

    `domain` names it everywhere: field manager, finalizer (`<domain>/finalizer`), lease, source of Events.
    """

    def __init__(self, domain: str) -> None:
        if not domain or "/" in domain:
            raise DeclarationError(f"operator domain {domain!r}: give a domain name such as shop.example.com")
        self.domain = domain
        self.handlers: list[Handler] = []
        self._kinds: list[type[Resource]] = []
        self.memo: Any = None  # Any: the user's own
        """What `memo` is to handlers without an object; each object's begins as a copy of it. None: an empty one."""
        from .on import Decorators  # the decorators declare on operators

        self.on = Decorators(lambda: self)

    @property
    def indexes(self) -> frozenset[str]:
        """The names of the indexes declared so far: what handlers may take besides the usual."""
        return frozenset(h.name for h in self.handlers if h.trigger == "index")

    @property
    def kinds(self) -> list[type[Resource]]:
        """The kinds registered so far, and all versions that conversions join them with.

        Raises:
            DeclarationError: objects cannot get from each of these versions into each other.
        """
        return all_versions(self._kinds)

    def check(self) -> list[str]:
        """Look over what can be told only when all is declared: versions, and rules in CEL. Returns what its author should know.

        Raises:
            DeclarationError: versions do not fit together, or a rule does not compile.
        """
        from .schema import check_rules  # reads kinds that were declared meanwhile

        own = [cls for cls in self.kinds if cls is not Resource and not cls.__kind__.builtin]
        return [warning for cls in own for warning in check_rules(cls)]

    @property
    def finalizer(self) -> str:
        """The finalizer that this operator adds where it has a cleanup or delete handler."""
        return f"{self.domain}/finalizer"

    def add(self, declared: Handler) -> None:
        """Declare one more handler; its kind is registered with it."""
        self.handlers.append(declared)
        self.serve(*([declared.cls] if declared.cls else ()), *declared.owns, *(w.cls for w in declared.watches))

    def serve(self, *classes: type[Resource]) -> None:
        """Register kinds, so that the API serves them, with or without handlers."""
        for cls in classes:
            if cls is Resource:
                continue  # every kind that is served: there is nothing to register
            kind_of(cls)
            if cls not in self._kinds:
                self._kinds.append(cls)

    def extend(self, other: Operator) -> None:
        """Take over what another operator declared: how several modules become one operator."""
        for declared in other.handlers:
            self.add(declared)
        self.serve(*other._kinds)

    def clear(self) -> None:
        """Forget every declaration (a file is about to be loaded again)."""
        self.handlers.clear()
        self._kinds.clear()


_DEFAULTS: dict[str, Operator] = {}


def default_operator(module: str) -> Operator:
    """The operator that `from reconcile import on` declares on, one for each module."""
    return _DEFAULTS.get(module) or renewed_operator(module)


def default_operators() -> tuple[Operator, ...]:
    """All default operators that there are."""
    return tuple(_DEFAULTS.values())


def renewed_operator(module: str) -> Operator:
    """A new default operator for a module that is loaded again; the one before, which may still run, is left as it is."""
    made = _DEFAULTS[module] = Operator(f"{module.rsplit('.', 1)[-1].strip('_').replace('_', '-').lower()}.reconcile.local")
    return made
