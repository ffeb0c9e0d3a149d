"""JSON patch (RFC 6902) without copying what is not touched.

A patch makes new dicts and lists along the paths it changes; everything else is shared with the original, which stays as
it was. Cost: O(operations * (depth * width)), never O(size of the object).

Source: https://www.rfc-editor.org/rfc/rfc6902, https://www.rfc-editor.org/rfc/rfc6901
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from reconcile.errors import BadRequestError, InvalidError

REFUSED = "the server rejected our request due to an error in our request"
_INDEX = re.compile(r"0|[1-9][0-9]*")
OPERATIONS_MAX = 10_000


class TestFailedError(InvalidError):
    """A `test` operation found another value."""

    __test__ = False  # it is no test, whatever its name says


class _Absent:
    """Stands for no value, where None is one."""


_ABSENT = _Absent()
_Change = Callable[[Any], Any]


def apply_json_patch(document: Any, operations: Any) -> Any:
    """The document after `operations`, all or nothing.

    Raises:
        BadRequestError: this is no JSON patch.
        InvalidError: an operation cannot be done.
        TestFailedError: a `test` failed.
    """
    if not isinstance(operations, list):
        raise BadRequestError("a JSON patch is a list of operations, each with op and path")
    if len(operations) > OPERATIONS_MAX:
        raise BadRequestError(f"The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {len(operations)}")
    for operation in operations:
        document = _apply(document, operation)
    return document


def equal(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal; true is not 1, but 1 is 1.0."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    return bool(left == right)


def pointer(path: Any) -> tuple[str, ...]:
    """The parts of a JSON pointer.

    Raises:
        BadRequestError: it does not start with a slash.
    """
    if not isinstance(path, str) or (path and not path.startswith("/")):
        raise BadRequestError(f"JSON patch: {path!r} is no JSON pointer; write it as /spec/replicas")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:])


def _apply(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict) or not isinstance(operation.get("op"), str) or "path" not in operation:
        raise BadRequestError(f"JSON patch: {operation!r} is no operation; it needs op and path")
    name, path = operation["op"], pointer(operation["path"])
    if name in ("add", "replace", "test") and "value" not in operation:
        raise BadRequestError(f"JSON patch: {name} {operation['path']} has no value")
    if name in ("move", "copy"):
        source = pointer(operation.get("from"))
        if name == "move" and path[: len(source)] == source and len(path) > len(source):
            raise _refused(f"cannot move {operation['from']} into itself")
        value = _get(document, source)
        if name == "move":
            document = _remove(document, source)
        return _add(document, path, value)
    match name:
        case "add":
            return _add(document, path, operation["value"])
        case "remove":
            return _remove(document, path)
        case "replace":
            return _replace(document, path, operation["value"])
        case "test":
            found = _get(document, path, missing=_ABSENT)
            if not equal(found, operation["value"]) and not (found is _ABSENT and operation["value"] is None):
                raise TestFailedError(f"{REFUSED}: testing value {operation['path']} failed: test failed")
            return document
    raise BadRequestError(f"JSON patch: unexpected kind: {name}; use add, remove, replace, move, copy or test")


def _refused(detail: str) -> InvalidError:
    return InvalidError(f"{REFUSED}: {detail}")


def _get(document: Any, path: Sequence[str], missing: Any = None) -> Any:
    for at, part in enumerate(path):
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and _INDEX.fullmatch(part) and int(part) < len(document):
            document = document[int(part)]
        elif missing is not None:
            return missing
        else:
            raise _refused(f"no value at /{'/'.join(path[: at + 1])}: missing path")
    return document


def _changed(document: Any, path: Sequence[str], change: Callable[[Any, str], Any]) -> Any:
    """A copy of the containers along `path`, with `change(container, last part)` in place of the last one."""
    if len(path) == 1:
        return change(document, path[0])
    head = path[0]
    if isinstance(document, dict) and head in document:
        return {**document, head: _changed(document[head], path[1:], change)}
    if isinstance(document, list) and _INDEX.fullmatch(head) and int(head) < len(document):
        copy = list(document)
        copy[int(head)] = _changed(copy[int(head)], path[1:], change)
        return copy
    raise _refused(f"no value at {head!r} of /{'/'.join(path)}: missing path")


def _add(document: Any, path: Sequence[str], value: Any) -> Any:
    if not path:
        return value

    def change(container: Any, part: str) -> Any:
        if isinstance(container, dict):
            return {**container, part: value}
        if isinstance(container, list):
            at = len(container) if part == "-" else _index(part, len(container))
            return [*container[:at], value, *container[at:]]
        raise _refused(f"cannot add /{'/'.join(path)}: its parent is no object and no list")

    return _changed(document, path, change)


def _remove(document: Any, path: Sequence[str]) -> Any:
    if not path:
        raise _refused("cannot remove the whole object")

    def change(container: Any, part: str) -> Any:
        if isinstance(container, dict) and part in container:
            return {key: value for key, value in container.items() if key != part}
        if isinstance(container, list):
            at = _index(part, len(container) - 1)
            return [*container[:at], *container[at + 1 :]]
        raise _refused(f"unable to remove nonexistent key: {part}: missing value")

    return _changed(document, path, change)


def _replace(document: Any, path: Sequence[str], value: Any) -> Any:
    if not path:
        return value

    def change(container: Any, part: str) -> Any:
        if isinstance(container, dict) and part in container:
            return {**container, part: value}
        if isinstance(container, list):
            at = _index(part, len(container) - 1)
            return [*container[:at], value, *container[at + 1 :]]
        raise _refused(f"replace operation does not apply: doc is missing key: /{'/'.join(path)}: missing value")

    return _changed(document, path, change)


def _index(part: str, last: int) -> int:
    if not _INDEX.fullmatch(part) or int(part) > last:
        raise _refused(f"index {part!r} is outside of the list: invalid index referenced")
    return int(part)
