"""What can be given as an app: operators, handlers, modules, files, or a function that makes operators.

Of a function, or a file, each start of the process gets operators (and globals) of its own, as a restarted process has. The
others are shared by all lives: what they keep in module globals survives a crash, as nothing does in real life.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from reconcile.errors import ReconcileError
from reconcile.registry import Operator, default_operator
from reconcile.runtime.sync.programs import load_program

from .process import App

AppLike = Any  # Any: see `apps_of`


class AppError(ReconcileError):
    """What was given as an app has no handlers; the message says what can be given."""

    def __init__(self, given: object) -> None:
        super().__init__(
            f"{given!r} is no app: give an Operator, a decorated handler, a module or a file that declares some, "
            f"or a function that returns an Operator (or several)"
        )


def apps_of(given: AppLike | Sequence[AppLike]) -> list[App]:
    """The processes to run: one for each thing given; their names are unique."""
    many = given if isinstance(given, list | tuple) else [given]
    apps: list[App] = []
    for one in many:
        make = _maker(one)
        name = _name(make())
        taken = [app.name for app in apps]
        apps.append(App(name if name not in taken else f"{name}-{len(taken) + 1}", make))
    return apps


def _maker(given: AppLike) -> Callable[[], Sequence[Operator]]:
    if isinstance(given, App):
        return given.make
    if isinstance(given, Operator):
        return lambda: [given]
    if isinstance(given, ModuleType):
        return lambda: _declared(given)
    if isinstance(given, str | Path):
        path = Path(given)
        return lambda: load_program(path.parent.resolve(), path.name, path.read_bytes()).operators
    if callable(given) and (declared := getattr(given, "__reconcile__", None)) is not None:
        operator = _operator_with(declared, given.__module__)
        return lambda: [operator]
    if callable(given):
        return lambda: _made(given)
    raise AppError(given)


def _made(make: Callable[[], Any]) -> Sequence[Operator]:
    made = make()
    many = list(made) if isinstance(made, list | tuple) else [made]
    if not many or not all(isinstance(one, Operator) for one in many):
        raise AppError(make)
    return many


def _declared(module: ModuleType) -> list[Operator]:
    own = [value for value in vars(module).values() if isinstance(value, Operator)]
    found = [op for op in dict.fromkeys([default_operator(module.__name__), *own]) if op.handlers]
    if not found:
        raise AppError(module)
    return found


def _operator_with(declared: Any, module: str) -> Operator:
    operator = default_operator(module)
    if declared not in operator.handlers:
        raise AppError(declared.fn)
    return operator


def _name(operators: Sequence[Operator]) -> str:
    return operators[0].domain.partition(".")[0] if operators else "app"
