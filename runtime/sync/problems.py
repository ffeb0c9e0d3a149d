"""What is wrong with a file, said so that a person can mend it."""

from __future__ import annotations

import attrs

from reconcile.errors import ReconcileError, Tree


@attrs.frozen(order=True)
class Problem:
    """One thing that is wrong: where, what, and what to do.

    `file` is relative to the folder; `line` and `column` count from 1, 0 is unknown.
    """

    file: str
    line: int = 0
    column: int = 0
    message: str = ""
    hint: str = ""
    traceback: str = attrs.field(default="", eq=False)

    @property
    def where(self) -> str:
        """`web.yaml:14:3`, as far as it is known."""
        return ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)])

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" + (f"; {self.hint}" if self.hint else "")

    def tree(self) -> Tree:
        """The problem as it stands in a Folder's status."""
        tree: Tree = {"file": self.file, "message": self.message}
        if self.line:
            tree["line"] = self.line
        if self.column:
            tree["column"] = self.column
        if self.hint:
            tree["hint"] = self.hint
        if self.traceback:
            tree["traceback"] = self.traceback
        return tree


class SourceError(ReconcileError):
    """A file cannot be read as manifests or as a program; the file's last good state stays."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem
