"""JSON patch (RFC 6902) without copying what is not touched, as the library of the reference server has it.

That is more lenient than the RFC: `replace` also adds a key, `add` and `replace` without a value mean null, `copy` of a key that
is not there gives null, and an index below zero counts from the end.

A patch makes new dicts and lists along the paths it changes; everything else is shared with the original, which stays as
it was. Cost: O(operations * (depth * width)), never O(size of the object).

Source: https://www.rfc-editor.org/rfc/rfc6902, https://github.com/evanphx/json-patch (version 4)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from reconcile.errors import BadRequestError, InvalidError

REFUSED = "the server rejected our request due to an error in our request"
_INDEX = re.compile(r"[-+]?[0-9]+")
OPERATIONS_MAX = 10_000
_GO_TYPES = {dict: "object", list: "array", str: "string", bool: "bool", int: "number", float: "number", type(None): "null"}


class TestFailedError(InvalidError):
    """A `test` operation found another value."""

    __test__ = False  # it is no test, whatever its name says


class _MissingError(Exception):
    """There is nothing at a path, or nothing that could hold something; the message says why, or nothing."""


def apply_json_patch(document: Any, operations: Any) -> Any:
    """The document after `operations`, all or nothing.

    Raises:
        BadRequestError: this is no JSON patch.
        InvalidError: an operation cannot be done.
        TestFailedError: a `test` failed.
    """
    if not isinstance(operations, list):
        raise _undecodable(operations, "[]handlers.jsonPatchOp")
    if len(operations) > OPERATIONS_MAX:
        raise BadRequestError(f"The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {len(operations)}")
    for operation in operations:
        if not isinstance(operation, dict):
            raise _undecodable(operation, "handlers.jsonPatchOp")
    for operation in operations:
        document = _apply(document, operation)
    return document


def _undecodable(value: Any, wanted: str) -> BadRequestError:
    return BadRequestError(
        f"error decoding patch: json: cannot unmarshal {_GO_TYPES[type(value)]} into Go value of type {wanted}"
    )


def equal(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal; true is not 1, but 1 is 1.0."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    return bool(left == right)


def _apply(document: Any, operation: dict[str, Any]) -> Any:
    name = operation.get("op")
    run = _OPERATIONS.get(name) if isinstance(name, str) else None
    if run is None:
        raise _refused(f"Unexpected kind: {name if isinstance(name, str) else 'unknown'}")
    path = operation.get("path")
    if not isinstance(path, str):
        detail = "" if name in ("add", "remove", "copy") else "operation missing path field: "
        raise _refused(f"{name} operation failed to decode path: {detail}missing value")
    return run(document, path, operation)


def _add(document: Any, path: str, operation: dict[str, Any]) -> Any:
    value = operation.get("value")
    try:
        return _changed(document, path, lambda holder, key: _with(holder, key, value))
    except _MissingError as error:
        if str(error):
            raise _refused(f"error in add for path: '{path}': {error}") from error
        raise _refused(f'add operation does not apply: doc is missing path: "{path}": missing value') from error


def _remove(document: Any, path: str, _operation: dict[str, Any]) -> Any:
    try:
        return _changed(document, path, _without)
    except _MissingError as error:
        if str(error):
            raise _refused(f"error in remove for path: '{path}': {error}") from error
        raise _refused(f'remove operation does not apply: doc is missing path: "{path}": missing value') from error


def _replace(document: Any, path: str, operation: dict[str, Any]) -> Any:
    value = operation.get("value")
    if path == "":
        if not isinstance(value, dict | list):
            raise _refused("replace operation value must be object or array")
        return value

    def change(holder: Any, key: str) -> Any:
        if isinstance(holder, dict):
            return {**holder, key: value}
        at = _index(key, holder)
        return [*holder[:at], value, *holder[at + 1 :]]

    try:
        return _changed(document, path, change)
    except _MissingError as error:
        what = f"key: {path}" if str(error) else f"path: {path}"
        raise _refused(f"replace operation does not apply: doc is missing {what}: missing value") from error


def _test(document: Any, path: str, operation: dict[str, Any]) -> Any:
    value = operation.get("value")
    try:
        found = document if path == "" else _get(document, path)
    except _MissingError as error:
        if str(error):
            raise _refused(f"error in test for path: '{path}': {error}") from error
        raise _refused(f"test operation does not apply: is missing path: {path}: missing value") from error
    if not equal(found, value):
        raise TestFailedError(f"{REFUSED}: testing value {path} failed: test failed")
    return document


def _move(document: Any, path: str, operation: dict[str, Any]) -> Any:
    source = _source("move", operation)
    try:
        value = _get(document, source)
        document = _changed(document, source, _without)
    except _MissingError as error:
        if str(error):
            raise _refused(f"error in move for path: '{source.rpartition('/')[2]}': {error}") from error
        raise _refused(f"move operation does not apply: doc is missing from path: {source}: missing value") from error
    try:
        return _changed(document, path, lambda holder, key: _with(holder, key, value))
    except _MissingError as error:
        if str(error):
            raise _refused(f"error in move for path: '{path}': {error}") from error
        raise _refused(f"move operation does not apply: doc is missing destination path: {path}: missing value") from error


def _copy(document: Any, path: str, operation: dict[str, Any]) -> Any:
    source = _source("copy", operation)
    try:
        value = _get(document, source)
    except _MissingError as error:
        if str(error):
            raise _refused(f"error in copy for from: '{source}': {error}") from error
        raise _refused(f"copy operation does not apply: doc is missing from path: {source}: missing value") from error
    try:
        return _changed(document, path, lambda holder, key: _with(holder, key, value))
    except _MissingError as error:
        if str(error):
            raise _refused(f"error while adding value during copy: {error}") from error
        raise _refused(f"copy operation does not apply: doc is missing destination path: {path}: missing value") from error


_OPERATIONS: dict[str, Callable[[Any, str, dict[str, Any]], Any]] = {
    "add": _add, "remove": _remove, "replace": _replace, "test": _test, "move": _move, "copy": _copy,
}  # fmt: skip


def _refused(detail: str) -> InvalidError:
    return InvalidError(f"{REFUSED}: {detail}")


def _source(name: str, operation: dict[str, Any]) -> str:
    source = operation.get("from")
    if not isinstance(source, str):
        raise _refused(f"{name} operation failed to decode from: operation, missing from field: missing value")
    return source


def _parts(path: str) -> list[str]:
    """The keys that a path goes by; what stands in front of its first slash counts for nothing.

    Raises:
        _MissingError: there are none.
    """
    parts = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    if not parts:
        raise _MissingError
    return parts


def _get(document: Any, path: str) -> Any:
    """The value at a path; None where a key of an object is not there."""
    *way, last = _parts(path)
    for part in way:
        document = _inner(document, part)
    if isinstance(document, dict):
        return document.get(last)
    return document[_index(last, document)]


def _inner(holder: Any, part: str) -> Any:
    """The object or list in another one."""
    try:
        found = holder.get(part) if isinstance(holder, dict) else holder[_index(part, holder)]
    except _MissingError:
        found = None
    if not isinstance(found, dict | list):
        raise _MissingError
    return found


def _changed(document: Any, path: str, change: Callable[[Any, str], Any]) -> Any:
    """A copy of the containers along a path, with `change(container, last key)` in place of the last one."""
    return _changed_along(document, _parts(path), change)


def _changed_along(document: Any, parts: Sequence[str], change: Callable[[Any, str], Any]) -> Any:
    if len(parts) == 1:
        return change(document, parts[0])
    head = parts[0]
    inner = _changed_along(_inner(document, head), parts[1:], change)
    if isinstance(document, dict):
        return {**document, head: inner}
    copy = list(document)
    copy[_index(head, document)] = inner
    return copy


def _with(holder: Any, key: str, value: Any) -> Any:
    if isinstance(holder, dict):
        return {**holder, key: value}
    if key == "-":
        return [*holder, value]
    if not _INDEX.fullmatch(key):
        raise _MissingError(f"value was not a proper array index: '{key}': {_unparsed(key)}")
    at = int(key)
    if not -len(holder) - 1 <= at <= len(holder):
        raise _MissingError(f"Unable to access invalid index: {at}: invalid index referenced")
    at += len(holder) + 1 if at < 0 else 0
    return [*holder[:at], value, *holder[at:]]


def _without(holder: Any, key: str) -> Any:
    if isinstance(holder, dict):
        if key not in holder:
            raise _MissingError(f"Unable to remove nonexistent key: {key}: missing value")
        return {name: value for name, value in holder.items() if name != key}
    at = _index(key, holder)
    return [*holder[:at], *holder[at + 1 :]]


def _index(key: str, holder: list[Any]) -> int:
    """The place of an item that is there."""
    if not _INDEX.fullmatch(key):
        raise _MissingError(_unparsed(key))
    at = int(key)
    if not -len(holder) <= at < len(holder):
        raise _MissingError(f"Unable to access invalid index: {at}: invalid index referenced")
    return at + len(holder) if at < 0 else at


def _unparsed(key: str) -> str:
    return f'strconv.Atoi: parsing "{key}": invalid syntax'
