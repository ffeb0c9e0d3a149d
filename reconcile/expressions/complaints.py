"""What the compiler complains about, in the reference's words and with its places.

Source: https://github.com/google/cel-go/blob/master/checker/errors.go
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .macros import NAMED, SORTED, VALIDATED

_PLACE = re.compile(r"<input>:(\d+):(\d+): ")
_WORDS = (
    (re.compile(r"^undefined field '(.*?)' not found in struct '.*'$"), r"undefined field '\1'"),
    (re.compile(r"^expression of type '(.*)' cannot be the operand of a select operation$"),
     r"type '\1' does not support field selection"),
)  # fmt: skip
_CALLED = re.compile(r"found no matching overload for '(\w+)' applied to '\((.*)\)'$")
_NAMES = (
    ("google.protobuf.Duration", "duration"), ("google.protobuf.Timestamp", "timestamp"), (f"'{VALIDATED}'", "'validate'"),
    (f"'{NAMED}'", "'named'"), (f"'{SORTED}'", "'sortBy'"),
)  # fmt: skip
_UNDECLARED = re.compile(r"undeclared reference to '([\w.]+)'")
_FOLLOWS = "'*error*'"
"""In complaints that only follow from others."""


def told(text: str, *, exact: bool, lines: int = 0) -> str:
    """The compiler's complaints, with line and (where that is `exact`) column and the line itself.

    `lines` stand before the text as it was given.
    """
    made = []
    for line, column, why, source in _complaints(text):
        if _FOLLOWS in why:
            continue
        for pattern, words in _WORDS:
            why = pattern.sub(words, why)
        for ours, name in _NAMES:
            why = why.replace(ours, name)
        if not exact or source is None:
            made.append(f"ERROR: <input>:{max(1, line - lines)}:{f'{column}:' if exact else ''} {why}")
            continue
        why, column = _placed(why, column, source)
        made.append(f"ERROR: <input>:{max(1, line - lines)}:{column}: {why}")
        if not lines:
            made.append(f" | {source}\n | {'.' * (column - 1)}^")
    return "\n".join(made) or text


def _complaints(text: str) -> Iterator[tuple[int, int, str, str | None]]:
    """Line, column, what is wrong, and the line that it is wrong in."""
    given = text.removeprefix("INVALID_ARGUMENT: ").removesuffix(" [INVALID_ARGUMENT]").splitlines()
    for number, line in enumerate(given):
        at = _PLACE.search(line)
        if at is not None:
            shown = given[number + 1] if number + 1 < len(given) else ""
            yield int(at[1]), int(at[2]), line[at.end() :], shown[3:] if shown.startswith(" | ") else None


def _placed(why: str, column: int, source: str) -> tuple[str, int]:
    """A complaint about a name that is not there, where the reference makes it.

    About `a.b`, that is at the start of `a`, and about the type of a message at the brace behind it.
    """
    called = _CALLED.match(why)
    if called is not None and re.search(rf"\.\s*{called[1]}\s*$", source[: column - 1]):
        receiver, rest = _first(called[2])
        return f"found no matching overload for '{called[1]}' applied to '{receiver}.({rest})'", column
    found = _UNDECLARED.match(why)
    if found is None:
        return why, column
    name = found[1]
    if source.startswith(name, column - 1):
        brace = re.compile(r"\s*\{").match(source, column - 1 + len(name))
        return why, brace.end() if brace is not None else column
    before = name.rpartition(".")[0]
    start = column - 1 - len(before)
    if before and start >= 0 and source.startswith(before, start):
        return why.replace(f"'{name}'", f"'{name.partition('.')[0]}'", 1), start + 1
    return why, column


def _first(types: str) -> tuple[str, str]:
    """The first of some types, and the others."""
    depth = 0
    for at, sign in enumerate(types):
        depth += (sign == "(") - (sign == ")")
        if sign == "," and not depth:
            return types[:at], types[at + 1 :].strip()
    return types, ""
