"""Macros that the library does not have, written with those that it has; and functions that come to optionals.

    self.all(i, v, v > i)          each item with its index, or each value with its key
    self.transformMap(k, v, v * 2)
    self.sortBy(v, -v)
    format.uuid().validate(self)   a list of what is wrong, if anything is

`items.all(i, v, P)` becomes `items.pairs__().all(pair__0, cel.bind(i, pair__0.key, cel.bind(v, pair__0.value, P)))`, on one line,
so that what stands on other lines keeps its place.

Source: https://github.com/google/cel-go/blob/master/ext/comprehensions.go
"""

from __future__ import annotations

import re

from .scanning import arguments_from, outside_of_text

_MACRO = re.compile(
    r"\.\s*(all|exists|existsOne|exists_one|transformList|transformMapEntry|transformMap|sortBy|validate|named)\s*\("
    r"|(?<!\.)\b(string)\s*\("
)
_NAME = re.compile(r"\s*([A-Za-z_]\w*)\s*")
_PAIRS, _MAP, _MERGED = "pairs__", "mapOf__", "merged__"
FUNCTIONS = (_PAIRS, _MAP, _MERGED)
"""The functions that the result needs, all of them members of lists (the first also of maps)."""
SORTED, VALIDATED, NAMED, TEXT = "sortedPairs__", "validated__", "named__", "text__"
"""Further ones: [[key, item]] -> items; (format, text) -> [what is wrong] or []; name -> [format] or []; an address as text."""
_ADDRESS = re.compile(r"\b(ip|cidr)\s*\(")


def expanded(text: str) -> str:
    """The expression without such macros; the same text where it has none."""
    return _expanded(text, 0) if _MACRO.search(text) else text


def _expanded(text: str, depth: int) -> str:
    made, at = [], 0
    for found in outside_of_text(_MACRO, text):
        start = found.start()
        if start < at:
            continue  # inside of what was expanded already
        parts = arguments_from(text, found.end())
        if parts is None:
            return text  # no end: the compiler says where
        arguments, end = parts
        written = _written_alone(found[1] or found[2], arguments, depth, text) or _written(found[1], arguments, depth)
        if written is None:
            continue
        made += [text[at:start], written]
        at = end
    return "".join([*made, text[at:]])


def _written_alone(name: str, arguments: list[str], depth: int, text: str) -> str | None:
    """What is no macro of two variables in other words; None: it is one, or nothing to be written otherwise."""
    inner = [_expanded(argument, depth) for argument in arguments]
    match name, len(arguments):
        case "sortBy", 2:
            return f".map({arguments[0]}, [dyn({inner[1]}), {arguments[0].strip()}]).{SORTED}()"
        case "validate", 1:
            return f".{VALIDATED}({inner[0]})[?0]"
        case "named", 1:
            return f".{NAMED}({inner[0]})[?0]"
        case "string", 1 if _ADDRESS.search(text):
            return f"string({TEXT}({inner[0]}))"
    return None


def _written(macro: str | None, arguments: list[str], depth: int) -> str | None:
    """The macro with its arguments in other words; None: it is none of two variables."""
    filtered = (macro or "").startswith("transform") and len(arguments) == 4
    if len(arguments) != 3 and not filtered:
        return None
    names = [_NAME.fullmatch(argument) for argument in arguments[:2]]
    key, value = names
    if key is None or value is None:
        return None
    pair = f"pair__{depth}"

    def within(body: str) -> str:
        inner = _expanded(body, depth + 1)
        return f"cel.bind({key[1]}, {pair}.key, cel.bind({value[1]}, {pair}.value, {inner}))"

    condition = f"{within(arguments[2])}, " if filtered else ""
    body = within(arguments[-1])
    match macro:
        case "transformList":
            return f".{_PAIRS}().map({pair}, {condition}{body})"
        case "transformMap":
            return f".{_PAIRS}().map({pair}, {condition}[{pair}.key, {body}]).{_MAP}()"
        case "transformMapEntry":
            return f".{_PAIRS}().map({pair}, {condition}{body}).{_MERGED}()"
    return f".{_PAIRS}().{'exists_one' if macro == 'existsOne' else macro}({pair}, {body})"
