"""Label and field selectors, parsed once and compiled to a function of the object.

    web = parse_labels("app=web,tier in (front,back),!canary")
    web.matches({"app": "web", "tier": "back"})
    on_n1 = parse_fields("spec.nodeName=n1,status.phase!=Failed")
    on_n1.matches(tree)

`label_selector` takes whatever users write: a string, a mapping of equalities, or a LabelSelector tree. A field selector
works over any path here; which paths a served kind allows is the API server's business. Empty selectors match everything.

Source: k8s.io/apimachinery/pkg/labels/selector.go, pkg/fields/selector.go
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal

import attrs

from .errors import BadRequestError, Tree
from .paths import split

Labels = Mapping[str, str]
Operator = Literal["=", "!=", "in", "notin", "exists", "!", ">", "<"]
_TOKEN = re.compile(r"\s*(==|=|!=|!|,|\(|\)|>|<|[^\s=!,()<>]+)")
_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NOTHING: Labels = {}


@attrs.frozen
class Requirement:
    """One condition on one label."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.operator == "exists":
            return self.key
        if self.operator == "!":
            return f"!{self.key}"
        if self.operator in ("in", "notin"):
            return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"
        return f"{self.key}{self.operator}{self.values[0]}"


@attrs.frozen(eq=False)
class LabelSelector:
    """Requirements that must all hold. `matches` is the compiled test; None stands for no labels."""

    requirements: tuple[Requirement, ...] = ()
    matches: Callable[[Labels | None], bool] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "matches", _compiled(self.requirements))

    @property
    def empty(self) -> bool:
        """Whether it matches everything."""
        return not self.requirements

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


@attrs.frozen
class FieldTerm:
    """One condition on one field: its value as a string is (`equal`), or is not, `value`.

    Where the field has no value, `otherwise` is the path of the one that counts instead, and then `absent` the text.
    """

    path: str
    equal: bool
    value: str
    absent: str = ""
    otherwise: str = ""

    @property
    def text(self) -> Callable[[Tree], str]:
        """Gives what an object has there, as text; the same function for all terms about one field."""
        return _field_reader(self.path, self.absent, self.otherwise)

    def __str__(self) -> str:
        escaped = re.sub(r"([\\,=])", r"\\\1", self.value)
        return f"{self.path}{'=' if self.equal else '!='}{escaped}"


@attrs.frozen(eq=False)
class FieldSelector:
    """Terms that must all hold. `matches` is the compiled test of a whole object."""

    terms: tuple[FieldTerm, ...] = ()
    matches: Callable[[Tree], bool] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "matches", _compiled_fields(self.terms))

    @property
    def empty(self) -> bool:
        """Whether it matches everything."""
        return not self.terms

    def exact(self, path: str) -> str | None:
        """The value that `path` must have, or None if it may have several."""
        return next((t.value for t in self.terms if t.equal and t.path == path), None)

    def __str__(self) -> str:
        return ",".join(map(str, self.terms))


def field_text(value: Any) -> str:
    """A field's value as field selectors compare it; an absent one is empty."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


@lru_cache(maxsize=1024)
def _field_reader(path: str, absent: str, otherwise: str) -> Callable[[Tree], str]:
    keys = split(path)
    fallback = _field_reader(otherwise, absent, "") if otherwise else None

    def read(tree: Any) -> str:
        value = tree
        for key in keys:
            if not isinstance(value, dict):
                value = None
                break
            value = value.get(key)
        if fallback is not None and value in (None, ""):
            return fallback(tree)
        return absent if value is None else field_text(value)

    return read


@lru_cache(maxsize=4096)
def parse_labels(text: str) -> LabelSelector:
    """Read `a=b,a!=b,a in (x,y),a notin (x),a,!a,a>1`.

    Raises:
        BadRequestError: it cannot be read; the message says at which word.
    """
    return LabelSelector(tuple(_Parser(text).requirements()))


def label_selector(given: str | Mapping[str, Any] | None) -> LabelSelector:
    """The selector behind a string, a mapping of equalities, or a LabelSelector tree (matchLabels, matchExpressions).

    None matches everything here; where an absent LabelSelector means nothing, the caller must see to it.

    Raises:
        BadRequestError: it cannot be read.
    """
    if not given:
        return parse_labels("")
    if isinstance(given, str):
        return parse_labels(given)
    if "matchLabels" not in given and "matchExpressions" not in given:
        return LabelSelector(tuple(Requirement(str(key), "=", (str(value),)) for key, value in given.items()))
    found = [Requirement(key, "=", (value,)) for key, value in (given.get("matchLabels") or {}).items()]
    found.extend(map(_expression, given.get("matchExpressions") or ()))
    return LabelSelector(tuple(found))


@lru_cache(maxsize=4096)
def parse_fields(text: str) -> FieldSelector:
    """Read `spec.nodeName=n1,metadata.name!=x`; commas, equals signs and backslashes in values are escaped with `\\`.

    Raises:
        BadRequestError: it cannot be read.
    """
    terms = []
    for part in re.split(r"(?<!\\),", text):
        if not part:
            continue
        match = re.fullmatch(r"\s*(?P<path>[^=!\\]+?)\s*(?P<op>==|!=|=)(?P<value>.*)", part, re.DOTALL)
        if match is None or re.search(r"(?<!\\)=", match["value"]):
            raise BadRequestError(f"invalid selector: '{text}'; can't understand '{part}'")
        value = re.sub(r"\\([\\,=])", r"\1", match["value"])
        terms.append(FieldTerm(match["path"], match["op"] != "!=", value))
    return FieldSelector(tuple(terms))


class _Parser:
    """Reads requirements from tokens, one look ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._words = _TOKEN.findall(text)
        self._at = 0

    def requirements(self) -> list[Requirement]:
        found: list[Requirement] = []
        if not self._words:
            return found
        while True:
            found.append(self._requirement())
            word = self._next()
            if not word:
                return found
            if word != ",":
                raise self._wrong(word, "',' or 'end of string'")

    def _next(self) -> str:
        word: str = self._words[self._at] if self._at < len(self._words) else ""
        self._at += 1
        return word

    def _peek(self) -> str:
        return self._words[self._at] if self._at < len(self._words) else ""

    def _requirement(self) -> Requirement:
        word = self._next()
        if word == "!":
            return Requirement(self._key(self._next()), "!")
        key = self._key(word)
        operator = self._peek()
        if operator in ("", ","):
            return Requirement(key, "exists")
        self._next()
        if operator in ("in", "notin"):
            return Requirement(key, "in" if operator == "in" else "notin", self._set())
        if operator in ("=", "==", "!=", ">", "<"):
            value = "" if self._peek() in ("", ",") else self._value(self._next())
            if operator in "><" and not re.fullmatch(r"-?\d+", value):
                raise BadRequestError(
                    f"unable to parse requirement: values[0][{key}]: Invalid value: {_quoted(value)}: "
                    f"for 'Gt', 'Lt' operators, the value must be an integer"
                )
            known: dict[str, Operator] = {"=": "=", "==": "=", "!=": "!=", ">": ">", "<": "<"}
            return Requirement(key, known[operator], (value,))
        raise self._wrong(operator, "in, notin, =, ==, !=, gt, lt")

    def _set(self) -> tuple[str, ...]:
        if (word := self._next()) != "(":
            raise self._wrong(word, "'('")
        found: list[str] = []
        while True:
            word = self._next()
            if word in (",", ")"):
                found.append("")
            else:
                found.append(self._value(word))
                word = self._next()
            if word == ")":
                return tuple(dict.fromkeys(found))
            if word != ",":
                raise self._wrong(word, "',' or ')'")

    def _key(self, key: str) -> str:
        if not key or not (key[0].isalnum() or key[0] in "_.-/"):
            raise self._wrong(key, "identifier")
        prefix, slash, name = key.rpartition("/")
        if not _NAME.fullmatch(name) or (slash and (len(prefix) > 253 or not _PREFIX.fullmatch(prefix))):
            raise BadRequestError(
                f"unable to parse requirement: <nil>: Invalid value: {_quoted(key)}: name part must consist of alphanumeric "
                f"characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or "
                f"'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            )
        return key

    def _value(self, value: str) -> str:
        if not value or value in "()!=,<>":
            raise self._wrong(value, "identifier")
        if not _NAME.fullmatch(value):
            raise BadRequestError(
                f"unable to parse requirement: values[0]: Invalid value: {_quoted(value)}: a valid label must be an empty "
                f"string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
                f"character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
                f"'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            )
        return value

    def _wrong(self, found: str, expected: str) -> BadRequestError:
        return BadRequestError(
            f"unable to parse requirement: found '{found}', expected: {expected} (in label selector {_quoted(self._text)})"
        )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_EXPRESSIONS: dict[str, Operator] = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


def _expression(tree: Mapping[str, Any]) -> Requirement:
    operator = _EXPRESSIONS.get(str(tree.get("operator")))
    if operator is None:
        raise BadRequestError(f"{_quoted(str(tree.get('operator')))} is not a valid label selector operator")
    values = tuple(map(str, tree.get("values") or ()))
    if operator in ("in", "notin") and not values:
        raise BadRequestError("for 'in', 'notin' operators, values set can't be empty")
    if operator in ("exists", "!") and values:
        raise BadRequestError("values set must be empty for exists and does not exist")
    return Requirement(str(tree.get("key", "")), operator, values)


def _compiled(requirements: tuple[Requirement, ...]) -> Callable[[Labels | None], bool]:
    if not requirements:
        return lambda _: True
    equal = tuple((r.key, r.values[0]) for r in requirements if r.operator == "=")
    tests = tuple(_test(r) for r in requirements if r.operator != "=")
    if len(equal) == 1 and not tests:
        ((key, value),) = equal
        return lambda labels: labels is not None and labels.get(key) == value

    def matches(labels: Labels | None) -> bool:
        labels = labels or _NOTHING
        for key, value in equal:
            if labels.get(key) != value:
                return False
        for test in tests:  # noqa: SIM110 - a loop costs a third of all() over a generator, and this is a hot path
            if not test(labels):
                return False
        return True

    return matches


def _test(requirement: Requirement) -> Callable[[Labels], bool]:
    key, values = requirement.key, frozenset(requirement.values)
    match requirement.operator:
        case "in":
            return lambda labels: labels.get(key) in values
        case "notin" | "!=":
            return lambda labels: labels.get(key) not in values
        case "exists":
            return lambda labels: key in labels
        case "!":
            return lambda labels: key not in labels
    limit, greater = int(requirement.values[0]), requirement.operator == ">"

    def compare(labels: Labels) -> bool:
        try:
            number = int(labels.get(key, ""))
        except ValueError:
            return False
        return number > limit if greater else number < limit

    return compare


def _compiled_fields(terms: tuple[FieldTerm, ...]) -> Callable[[Tree], bool]:
    if not terms:
        return lambda _: True
    tests = tuple(_field_test(term) for term in terms)
    return tests[0] if len(tests) == 1 else lambda tree: all(test(tree) for test in tests)


def _field_test(term: FieldTerm) -> Callable[[Tree], bool]:
    read, wanted, equal = term.text, term.value, term.equal
    return lambda tree: (read(tree) == wanted) is equal
