"""How functions of the language are declared, and the form of values that it has no type for: a map with one entry, its tag."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from cel_expr_python import cel

Tagged = dict[str, str]
DYN = cel.Type.DYN
LIST = cel.Type.List(DYN)


def function(
    name: str, result: Any, parameters: Sequence[Any], run: Callable[..., Any], *, member: bool = True, id_: str = ""
) -> cel.FunctionDecl:  # fmt: skip
    """A function with one overload."""
    return cel.FunctionDecl(name, [overload(id_ or name, result, parameters, run, member=member)])


def overload(id_: str, result: Any, parameters: Sequence[Any], run: Callable[..., Any], *, member: bool = True) -> cel.Overload:
    """One form of a function; no two have the same `id_` and number of parameters."""
    text = f"kubernetes_{id_.replace('.', '_')}_{len(parameters)}"
    return cel.Overload(text, return_type=result, parameters=list(parameters), is_member=member, impl=run)


def is_made_by(make: Callable[[str], Any], text: str) -> bool:
    """Whether `make` takes the text."""
    try:
        make(text)
    except ValueError:
        return False
    return True


def tagged(value: Any, tag: str) -> str:
    """The value behind a tag.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, dict) and tag in value:
        return str(value[tag])
    raise ValueError(f"no such overload: a {tag} is needed, not {value!r}")


def again(value: Any) -> Any:
    """A value as the library takes it back: times come out of it as Python's, and go in as messages."""
    if isinstance(value, dict):
        return {key: again(each) for key, each in value.items()}
    if isinstance(value, list):
        return [again(each) for each in value]
    if isinstance(value, datetime):
        from google.protobuf.timestamp_pb2 import Timestamp

        made = Timestamp()
        made.FromDatetime(value)
        return made
    if isinstance(value, timedelta):
        from google.protobuf.duration_pb2 import Duration

        lasting = Duration()
        lasting.FromTimedelta(value)
        return lasting
    return value
