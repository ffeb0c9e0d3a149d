"""The programs that a command line names: files, or modules by their import names; loaded, and loaded again."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from reconcile.registry import Operator
from reconcile.runtime.sync.problems import SourceError
from reconcile.runtime.sync.programs import Program, load_module, load_program

from .errors import CommandError


class Programs:
    """Files and modules, in the order given."""

    def __init__(self, files: Sequence[Path], modules: Sequence[str] = ()) -> None:
        self.files = [file.resolve() for file in files]
        self._modules = tuple(modules)
        if not self.files and not self._modules:
            raise CommandError("say what to run: FILE.py, or -m MODULE")
        parents = [str(file.parent) for file in self.files]
        self._root = Path(os.path.commonpath(parents)) if parents else Path.cwd()

    def load(self) -> list[Program]:
        """Execute all of them.

        Raises:
            CommandError: one does not load, or declares nothing; says which line of which file.
        """
        if self._modules and str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        return [self.load_file(file) for file in self.files] + [self._checked(name, load_module, name) for name in self._modules]

    def load_file(self, file: Path) -> Program:
        """Execute one file, again it may be. Raises CommandError."""
        name = str(file.relative_to(self._root))
        try:
            source = file.read_bytes()
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}") from error
        return self._checked(name, load_program, self._root, name, source)

    @staticmethod
    def _checked(name: str, load: object, *arguments: object) -> Program:
        assert callable(load)
        try:
            program: Program = load(*arguments)
        except SourceError as error:
            raise CommandError(f"{error}\n{error.problem.traceback}".rstrip()) from error
        if not program.operators:
            raise CommandError(
                f"{name} declares no kind and no handler; `from reconcile import on`, and decorate a function: @on.create(Kind)"
            )
        return program


def operators_of(programs: Sequence[Program]) -> list[Operator]:
    """What the programs declare."""
    return [operator for program in programs for operator in program.operators]
