"""Loads the Python files of a folder: decorated kinds and handlers become running operators.

A file that imports `reconcile` is executed as a module of its own; what it declared (on the module's default operator, or
on `Operator`s that it made) is handed to the host. A file that fails to load leaves its last good version running.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import linecache
import logging
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Protocol

import attrs

from reconcile.kinds import Resource
from reconcile.registry import Operator, default_operator, default_operators, renewed_operator

from .problems import Problem, SourceError

log = logging.getLogger(__name__)


class ProgramHost(Protocol):
    """Who runs operators: the cluster."""

    async def start_operator(self, operator: Operator) -> None:
        """Serve its kinds and run its handlers. Raises whatever its startup handlers raise."""

    async def stop_operator(self, operator: Operator) -> None:
        """Stop its handlers. Its kinds stay served: their objects are still there."""


class Failure(Protocol):
    """A handler that fails now, as the engine reports it."""

    @property
    def handler(self) -> str:
        """The handler's name."""

    @property
    def file(self) -> str:
        """The file it stands in."""

    @property
    def object(self) -> str:
        """The object it fails on."""

    @property
    def error(self) -> str:
        """The exception's class."""

    @property
    def message(self) -> str:
        """The exception's text."""

    @property
    def traceback(self) -> str:
        """Where it was raised."""

    @property
    def line(self) -> int:
        """The line of the file at which it was raised, or at which the handler begins."""


@attrs.frozen(eq=False)
class Program:
    """One loaded file and the operators it declared."""

    file: str
    module: ModuleType
    operators: tuple[Operator, ...]


def is_program(source: bytes) -> bool:
    """Whether a Python file is meant for us: it imports `reconcile`. Other files (an app's own code) are left alone."""
    if b"reconcile" not in source:
        return False
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return True  # it speaks of reconcile and does not compile: the person wants to hear of it
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    return "reconcile" in names


def load_program(root: Path, file: str, source: bytes) -> Program:
    """Execute a file and collect what it declares.

    The file's folder is importable while it runs, so that programs can share modules.

    Raises:
        SourceError: it does not compile, or raised; with line and traceback.
    """
    name = module_name(file)
    path = str(root / file)
    before, module = sys.modules.get(name), ModuleType(name)
    module.__file__ = path
    operator = renewed_operator(name)
    linecache.checkcache(path)
    sys.modules[name] = module
    sys.path.insert(0, str((root / file).parent))
    try:
        exec(compile(source, path, "exec"), module.__dict__)  # noqa: S102 - running the user's program is the point
        return Program(file, module, _declared(module, operator))
    except SyntaxError as error:
        _put_back(name, before)
        problem = Problem(file, error.lineno or 0, error.offset or 0, f"not valid Python: {error.msg}", "mend that line")
        raise SourceError(problem) from error
    except (Exception, SystemExit) as error:  # a script that calls sys.exit() must not end the control plane
        _put_back(name, before)
        raise SourceError(program_problem(file, path, error)) from error
    finally:
        sys.path.remove(str((root / file).parent))


def load_module(name: str) -> Program:
    """Import a module by its name, as `python -m` finds it, and collect what it and what it imports declare.

    Raises:
        SourceError: it is not there, does not compile, or raised; with line and traceback.
    """
    before = set(default_operators())
    try:
        module = importlib.import_module(name)
        declared = _declared(module, default_operator(name))
    except SyntaxError as error:
        problem = Problem(
            error.filename or name, error.lineno or 0, error.offset or 0, f"not valid Python: {error.msg}", "mend it"
        )
        raise SourceError(problem) from error
    except (Exception, SystemExit) as error:
        text = "".join(traceback.format_exception(error))
        hint = "is it importable from here? PYTHONPATH and the current folder are looked through"
        raise SourceError(Problem(name, 0, 0, f"{type(error).__name__}: {error}", hint, traceback=text)) from error
    others = [op for op in default_operators() if op not in before and op not in declared and op.handlers]
    return Program(module.__file__ or name, module, (*declared, *others))


def _declared(module: ModuleType, operator: Operator) -> tuple[Operator, ...]:
    """The module's default operator and those that it made, as far as they declare anything."""
    _serve_kinds(module, operator)
    own = [value for value in vars(module).values() if isinstance(value, Operator) and value is not operator]
    found = tuple(op for op in (operator, *own) if op.handlers or op.kinds)
    for warning in dict.fromkeys(warning for op in found for warning in op.check()):
        log.warning("%s", warning)
    return found


def module_name(file: str) -> str:
    """The name of a file's module, another for each file: its last part names the operator.

    A plain `web_site.py` keeps its name; where letters had to be replaced, or folders left out, a digest tells files apart.
    """
    stem = file.removesuffix(".py")
    if re.fullmatch(r"[a-z0-9_]+", stem):
        return f"reconcile_folder.{stem}"
    plain = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")[-40:] or "program"
    return f"reconcile_folder.{plain}_{hashlib.blake2b(file.encode(), digest_size=3).hexdigest()}"


def _put_back(name: str, before: ModuleType | None) -> None:
    if before is None:
        sys.modules.pop(name, None)
    else:
        sys.modules[name] = before


def program_problem(file: str, path: str, error: BaseException) -> Problem:
    """An exception of a user's program as a problem: the innermost line of its own file, and the whole traceback."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path and frame.lineno]
    text = "".join(traceback.format_exception(error))
    hint = "the version that worked before keeps running; save the file again when it is mended"
    return Problem(file, lines[-1] if lines else 0, 0, f"{type(error).__name__}: {error}", hint, traceback=text)


def failure_problem(root: Path, failure: Failure) -> Problem:
    """A failing handler as a problem: of its file if that is in the folder, else of the part of the system it belongs to."""
    path = Path(failure.file)
    file = str(path.relative_to(root)) if path.is_relative_to(root) else path.name
    about = f" on {failure.object}" if failure.object else ""
    what = f"handler {failure.handler}{about}: {failure.error}: {failure.message}"
    return Problem(file, failure.line, 0, what, "it is tried again; everything else goes on", traceback=failure.traceback)


def _serve_kinds(module: ModuleType, operator: Operator) -> None:
    """Kinds without handlers are served too."""
    for value in vars(module).values():
        is_kind = isinstance(value, type) and issubclass(value, Resource) and value.__module__ == module.__name__
        if is_kind and value.__kind__ is not None:
            operator.serve(value)
