"""A file of tokens that never change, and whom they stand for: one a line, `token,user,uid,"group1,group2"`.

For machines and people that are to get in before there is anything to give them certificates with. The file is read once; who
changes it starts the control plane again.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#static-token-file
"""

from __future__ import annotations

import csv
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from reconcile.errors import ReconcileError
from reconcile.identity import Caller

_LENGTH_MIN = 16


class _Rows(Protocol):
    """What `csv.reader` gives."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]:
        """The rows."""


class TokenFileError(ReconcileError):
    """The token file cannot be used."""

    def __init__(self, path: Path, why: str, line: int = 0) -> None:
        super().__init__(f"{path}{f':{line}' if line else ''}: {why}")


def read_tokens(path: Path) -> Mapping[str, Caller]:
    """The callers by token.

    Raises:
        TokenFileError: it cannot be read, others can read it, or a line is none of `token,user,uid[,"group1,group2"]`.
    """
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise TokenFileError(path, "others can read it, and be whoever is in it; chmod 600 it")
        with open(path, newline="", encoding="utf-8") as file:
            return _callers(path, csv.reader(file, skipinitialspace=True, strict=True))
    except OSError as error:
        raise TokenFileError(path, f"cannot be read: {(error.strerror or str(error)).lower()}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise TokenFileError(path, f"is no CSV file: {error}") from error


def _callers(path: Path, rows: _Rows) -> dict[str, Caller]:
    callers: dict[str, Caller] = {}
    for row in rows:
        if not row or row[0].startswith("#"):
            continue
        if len(row) < 3 or not row[1]:
            raise TokenFileError(path, 'give token, user, uid and perhaps groups: TOKEN,eve,7,"devs,on-call"', rows.line_num)
        token, user, uid = row[:3]
        if len(token) < _LENGTH_MIN:
            why = f"the token of {user} is shorter than {_LENGTH_MIN} characters, and easily guessed"
            raise TokenFileError(path, why, rows.line_num)
        if token in callers:
            raise TokenFileError(path, f"the token of {user} is {callers[token].user}'s already", rows.line_num)
        groups = tuple(group.strip() for group in row[3].split(",")) if len(row) > 3 and row[3] else ()
        callers[token] = Caller(user, groups, uid)
    return callers
