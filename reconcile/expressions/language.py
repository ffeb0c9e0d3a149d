"""The adapter of the CEL library: compile an expression once, evaluate it over plain values.

Variables are untyped here: `self.nosuch` compiles, and fails when it is evaluated, with the text that a reference server
has for a key that is missing. Beside plain JSON values, Timestamp and Duration messages may stand in the values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from reconcile.errors import ReconcileError

TEXT_LENGTH_MAX = 10_000
_BEFORE = "before__"
# A value that may be absent is an optional in the language, and the library makes those from expressions only.
_OPTIONAL = (
    "cel.bind({name}, size({before}{name}) == 0 ? optional.none() : optional.of({before}{name}[0]),\n"  # the text begins a line
    "{text}\n)"
)
_NAME = re.compile(r"\w+")
_SPELLED = {
    name: name.lower()
    for name in ("BOOL", "BYTES", "DOUBLE", "DURATION", "DYN", "INT", "LIST", "MAP", "STRING", "TIMESTAMP", "TYPE", "UINT")
} | {"NULL": "null_type"}
_BUDGET = "Iteration budget exceeded"
_COMPARED = re.compile(r"'_[<>]=?_' applied to '\((?:int|uint|double), (?:int|uint|double)\)'")
_TEXTS = (
    (re.compile(r'^\w+: Key not found in map : "?(.*?)"?$'), r"no such key: \1"),
    (re.compile(r"^\w+: Index error: index=(-?\d+).*$"), r"index out of bounds: \1"),
    (re.compile(r"^\w+: divide by zero$"), "division by zero"),
    (re.compile(r"^\w+: modulus by zero$"), "modulus by zero"),
    (re.compile(r"^\w+: No matching overloads found.*$"), "no such overload"),
    (re.compile(r"^[A-Z_]+: (.*)$", re.DOTALL), r"\1"),
)


class BrokenExpressionError(ReconcileError):
    """An expression does not compile; the message says at which line and column of it, and why."""


class EvaluationError(ReconcileError):
    """An expression came to no value: a key that is missing, a division by zero, operands that do not fit."""


def available() -> bool:
    """Whether the library that evaluates expressions is installed. Loads nothing."""
    return find_spec("cel_expr_python") is not None


class CostlyExpressionError(EvaluationError):
    """An expression took more steps than one evaluation may."""


class Expression:
    """A compiled expression. `result` names the type of its value, as far as the compiler knows it: BOOL, STRING, DYN, ..."""

    __slots__ = ("_compiled", "_optional", "result", "text")

    def __init__(self, text: str, compiled: Any, optional: frozenset[str], result: Any) -> None:
        self.text = text
        self.result: str = result.name()
        self._compiled = compiled  # Any: the library's own type, which is loaded when first needed
        self._optional = optional

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """The value of the expression as a plain JSON value, a datetime or a timedelta.

        `values` has one for each variable; an optional variable that it lacks is `optional.none()`.

        Raises:
            EvaluationError: it has none.
            CostlyExpressionError: it goes through more items than the library allows.
        """
        if self._optional:
            values = {
                **{name: value for name, value in values.items() if name not in self._optional},
                **{_BEFORE + name: [values[name]] if name in values else [] for name in self._optional},
            }
        try:
            result = self._compiled.eval(data=values)
        except RuntimeError as error:
            if _BUDGET in str(error):
                raise CostlyExpressionError("operation cancelled: actual cost limit exceeded") from error
            raise EvaluationError(_told(str(error))) from error
        value = result.plain_value()
        if result.type().name() == "ERROR":
            raise EvaluationError(_told(str(value)))
        return value


def compile_expression(
    text: str, variables: tuple[str, ...], *, optional: frozenset[str] = frozenset(), written: str = ""
) -> Expression:  # fmt: skip
    """Compile `text`, in which the variables are known; those in `optional` are optionals, with hasValue() and orValue().

    Where there is something `written`, that is evaluated: the same expression in words that the library knows.

    Raises:
        BrokenExpressionError: it does not compile.
        ModuleNotFoundError: the extra `cel` is not installed (see `available`).
    """
    from .complaints import told
    from .macros import expanded

    bounded(text)
    whole = expanded(written or text)
    exact = whole == text
    for name in sorted(optional):
        whole = _OPTIONAL.format(name=name, before=_BEFORE, text=whole)
    environment = _environment(variables, optional)
    try:
        try:
            compiled = environment.compile(whole)
            result = compiled.return_type()
        except RuntimeError as error:
            if not _COMPARED.search(str(error)):
                raise
            # The library's compiler takes no numbers of two types in a comparison; what it compiles without checks takes them.
            result = _environment(variables, optional, comparing=True).compile(whole).return_type()
            compiled = environment.compile(whole, disable_check=True)
    except RuntimeError as error:
        raise BrokenExpressionError(told(str(error), exact=exact, lines=len(optional))) from error
    return Expression(text, compiled, optional, result)


def spelled(type_: Any) -> str:
    """A type of the library's in the language's own words: `list(string)`."""
    name = _NAME.sub(lambda found: _SPELLED.get(found[0], found[0]), type_.name())
    return name.replace("<", "(").replace(">", ")")


def bounded(text: str) -> None:
    """Refuse an expression that is empty or too long.

    Raises:
        BrokenExpressionError: it is.
    """
    if not text.strip():
        raise BrokenExpressionError("it is empty")
    if len(text) > TEXT_LENGTH_MAX:
        raise BrokenExpressionError(f"it has {len(text)} characters; {TEXT_LENGTH_MAX} are allowed")


@lru_cache(maxsize=32)
def _environment(variables: tuple[str, ...], optional: frozenset[str], *, comparing: bool = False) -> Any:
    """An environment to compile in; `comparing`: numbers of two types compare, but nothing that is compiled can be evaluated."""
    from cel_expr_python import cel

    types: dict[str, Any] = dict.fromkeys(variables, cel.Type.DYN)
    for name in optional:
        types[_BEFORE + name] = cel.Type.List(cel.Type.DYN)
    more = []
    if comparing:
        from .functions import comparisons

        more.append(comparisons())
    return cel.NewEnv(variables=types, extensions=[*extensions(), *more])


def extensions(*, checking: bool = False) -> list[Any]:
    """The language's libraries, and ours; made anew, for environments keep them."""
    from cel_expr_python.ext import ext_bindings, ext_encoders, ext_math, ext_optional, ext_strings

    from .functions import checking_extension, extension

    return [
        ext_strings.ExtStrings(), ext_optional.ExtOptional(), ext_bindings.ExtBindings(), ext_math.ExtMath(),
        ext_encoders.ExtEncoders(), checking_extension() if checking else extension(),
    ]  # fmt: skip


def _told(text: str) -> str:
    """What the library says, in the reference server's words."""
    for pattern, words in _TEXTS:
        if pattern.match(text):
            return pattern.sub(words, text)
    return text
