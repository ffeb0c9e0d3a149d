"""Reads the text of an expression as far as it takes to write parts of it in other words: strings, comments, brackets."""

from __future__ import annotations

import re
from collections.abc import Iterator

_STRING = re.compile(r"""[rRbB]{0,2}(?:\"{3}.*?\"{3}|'{3}.*?'{3}|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")""", re.DOTALL)
_COMMENT = re.compile(r"//[^\n]*")
_WORD = re.compile(r"\w+")
_OPENING, _CLOSING = "([{", ")]}"


def outside_of_text(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Where a pattern matches, outside of strings and comments; matches may lie within one another."""
    at = 0
    while at < len(text):
        skipped = _STRING.match(text, at) or _COMMENT.match(text, at)
        if skipped:
            at = skipped.end()
            continue
        found = pattern.match(text, at)
        if found:
            yield found
        word = _WORD.match(text, at)
        at = word.end() if word else at + 1


def arguments_from(text: str, at: int) -> tuple[list[str], int] | None:
    """What stands between commas from behind an opening bracket on, and where its closing one ends; None: there is none."""
    arguments = list[str]()
    begun, open_ = at, 0
    while at < len(text):
        skipped = _STRING.match(text, at) or _COMMENT.match(text, at)
        if skipped:
            at = skipped.end()
            continue
        sign = text[at]
        if sign in _OPENING:
            open_ += 1
        elif sign in _CLOSING:
            if not open_:
                return [*arguments, text[begun:at]], at + 1
            open_ -= 1
        elif sign == "," and not open_:
            arguments.append(text[begun:at])
            begun = at + 1
        at += 1
    return None
