"""Expressions that say how an object is to be changed: `Object{spec: Object.spec{replicas: 3}}`, `[JSONPatch{op: "remove"}]`.

The library makes messages of types that are declared, and here any name is one. So an expression is compiled twice: once as it
stands, against types that are made of the very names in it, which tells what is wrong with it; and once, to be evaluated, with
maps in place of messages, which carry the name of their type.

Source: k8s.io/apiserver/pkg/cel/mutation, k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import attrs

from reconcile.errors import Tree

from .language import BrokenExpressionError, EvaluationError, Expression, compile_expression, spelled
from .scanning import arguments_from, outside_of_text

if TYPE_CHECKING:
    from .checking import Types

Patch = Literal["Object", "JSONPatch"]
_LITERAL = re.compile(r"(?<!\.)(Object(?:\s*\.\s*[A-Za-z_]\w*)*|JSONPatch)(\s*)\{")
_ENTRY = re.compile(r"((?:\s|//[^\n]*)*)(\??)\s*([A-Za-z_]\w*)\s*:(.*)", re.DOTALL)
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_TYPE = "type__"
TYPED = "typed__"
"""The function that expressions without messages need: (type, map) -> the map with its type, unless it is empty."""
_FOREIGN = {
    "kubernetes.Quantity": "Quantity", "kubernetes.Semver": "Semver", "kubernetes.URL": "URL", "net.IP": "IP", "net.CIDR": "CIDR",
}  # fmt: skip
"""The tags of values that JSON has not (see `declaring`)."""
_WANTED = {"Object": "Object", "JSONPatch": "list(JSONPatch)"}


@attrs.frozen
class Mutation:
    """A compiled expression that comes to an apply configuration, or to the operations of a JSON patch."""

    kind: Patch
    expression: Expression

    def configuration_of(self, value: Any) -> Tree:
        """The apply configuration that the expression came to.

        Raises:
            EvaluationError: it is none, or a part of it is of another type than its place.
        """
        if not isinstance(value, dict):
            raise EvaluationError(f"unsupported return type from ApplyConfiguration expression: {type(value).__name__}")
        wrong = list(_misplaced(value, ["Object"]))
        if wrong:
            raise EvaluationError("type mismatch: " + "\n".join(wrong))
        made: Tree = _plain(value)
        return made

    def operations_of(self, value: Any) -> list[Tree]:
        """The operations of the JSON patch that the expression came to.

        Raises:
            EvaluationError: it is none, or a value is of another type than its place, or none that JSON has.
        """
        if not isinstance(value, list):
            raise EvaluationError("type mismatch: JSONPatchType.expression should evaluate to array")
        operations = []
        for each in value:
            if each != {} and (not isinstance(each, dict) or each.get(_TYPE) != "JSONPatch"):
                raise EvaluationError("type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch")
            given = each.get("value")
            if isinstance(given, dict) and _TYPE in given:
                wrong = list(_misplaced(given, [str(given[_TYPE])]))
                if wrong:
                    raise EvaluationError("type mismatch: " + "\n".join(wrong))
            operation = {"op": each.get("op", ""), "path": each.get("path", "")}
            if each.get("from"):
                operation["from"] = each["from"]
            if "value" in each:
                operation["value"] = _plain(given)
            operations.append(operation)
        return operations


def compile_mutation(text: str, variables: tuple[str, ...], kind: Patch) -> Mutation:
    """Compile an expression that says how an object is to be changed.

    Raises:
        BrokenExpressionError: it does not compile, or comes to something else.
        ModuleNotFoundError: the extra `cel` is not installed.
    """
    from .checking import Types

    check_mutation(text, Types({}, variables), kind)
    return Mutation(kind, compile_expression(text, variables, written=_with_maps(text)))


def check_mutation(text: str, types: Types, kind: Patch) -> None:
    """Compile an expression that says how an object is to be changed, as far as it takes to tell what is wrong with it.

    Raises:
        BrokenExpressionError: it does not compile, or comes to something else.
    """
    declared, names = _declared(text)
    try:
        found = spelled(types.with_messages(names).check(declared))
    except BrokenExpressionError as error:
        raise BrokenExpressionError(_told(str(error), names)) from error
    if found != _WANTED[kind]:
        raise BrokenExpressionError(f"must evaluate to {_WANTED[kind]} but got {_told(found, names)}")


def typed(name: str, value: Tree) -> Tree:
    """A map with the name of its type, unless it is empty: an empty message is the zero value of its type."""
    return {**value, _TYPE: name} if value else value


def _declared(text: str) -> tuple[str, dict[str, list[str]]]:
    """The expression with names of types that can be declared, as long as before; and those types with their fields.

    Any name in it may be a field of any of them.
    """
    made, at = [], 0
    names: dict[str, list[str]] = {}
    fields = sorted(set(_IDENTIFIER.findall(text)))
    for found in outside_of_text(_LITERAL, text):
        name = re.sub(r"[.\s]", "_", found[1])
        names[name] = fields
        made += [text[at : found.start()], name]
        at = found.end(1)
    names.pop("JSONPatch", None)
    return "".join([*made, text[at:]]), names


def _told(text: str, names: Mapping[str, Any]) -> str:
    """What is wrong, with types named as the user named them."""
    for name in sorted(names, key=len, reverse=True):
        text = re.sub(rf"\b{name}\b", name.replace("_", "."), text)
    return text


def _with_maps(text: str) -> str:
    """The expression with maps in place of messages. What stands on other lines keeps its place."""
    made, at = [], 0
    for found in outside_of_text(_LITERAL, text):
        if found.start() < at:
            continue  # inside of what was written already
        parts = arguments_from(text, found.end())
        if parts is None:
            return text
        entries = [_ENTRY.fullmatch(part) for part in parts[0]]
        written = [f'{entry[1]}{entry[2]}"{entry[3]}":{_with_maps(entry[4])}' for entry in entries if entry is not None]
        name = re.sub(r"\s", "", found[1])
        if all(entry is None or entry[2] for entry in entries):
            literal = f'{TYPED}("{name}", {{{",".join(written)}}})'
        else:
            literal = f'{{"{_TYPE}": dyn("{name}"),{",".join(written)}}}'
        made += [text[at : found.start()], literal]
        at = parts[1]
    return "".join([*made, text[at:]])


def _misplaced(value: Any, path: list[str]) -> Iterator[str]:
    """Messages whose type is not named after the fields that lead to them; lists and maps have no name of their own."""
    if isinstance(value, list):
        for item in value:
            yield from _misplaced(item, path)
    if not isinstance(value, dict):
        return
    name = value.get(_TYPE)
    if name is None:
        for _, item in sorted(value.items(), key=lambda entry: str(entry[0])):
            yield from _misplaced(item, path)
        return
    wanted = ".".join(path)
    if name != wanted:
        yield f'unexpected type name "{name}", expected "{wanted}", which matches field name path from root Object type'
    for field, item in sorted(value.items()):
        if field != _TYPE:
            yield from _misplaced(item, [*path, field])


def _plain(value: Any) -> Any:
    """A value as JSON has it. Maps of the library's are in no order; these are in that of their names.

    Raises:
        EvaluationError: JSON has no such value.
    """
    if isinstance(value, dict):
        foreign = next((name for name in value if isinstance(name, str) and name in _FOREIGN), None)
        if foreign is not None:
            why = f"type conversion error from '{_FOREIGN[foreign]}' to '*structpb.Value'"
            raise EvaluationError(f"JSONPath valueExpression evaluated to a type that could not marshal to JSON: {why}")
        for name in value:
            if not isinstance(name, str):
                raise EvaluationError(f'map key "{name}" is of type {type(name).__name__}, not string')
        return {name: _plain(item) for name, item in sorted(value.items()) if name != _TYPE}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise EvaluationError(f"expression evaluated to a type that could not marshal to JSON: {type(value).__name__}")
