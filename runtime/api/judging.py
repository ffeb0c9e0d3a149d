"""Applies all rules to an object, and refuses it with everything that is wrong.

Kinds' own hooks and admission trust the shape of what they are given. They run before the rules, for they may still complete the
object; where one stumbles over a wrong shape, what the schema says about that is the answer, and not a mistake of the server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from reconcile.errors import ApiError, Cause, Tree

from . import refusals
from .canonical import ILLEGAL_BASE64
from .catalog import Served
from .errors import UndecodableError

Rules = Callable[[Tree, Tree], Iterable[Cause]]
"""(new tree, old tree) -> what is wrong with the change."""
_GO_TYPES = {"integer": "int64", "boolean": "bool", "number": "float64", "array": "slice", "object": "struct"}


class judged_if_stumbling:
    """Around hooks: an error that a wrong shape explains becomes the refusal of that shape. No generator: it costs less."""

    __slots__ = ("_before", "_name", "_served", "_tree")

    def __init__(self, served: Served, tree: Tree, before: Tree | None, name: str) -> None:
        self._served, self._tree, self._before, self._name = served, tree, before, name

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, TypeError | AttributeError | LookupError | ValueError):
            _refuse_shape(self._served, self._tree, self._before, self._name, [])


class readable:
    """Around a change: what cannot be read is told of `patched`, which a patch made, as no mistake of what was sent."""

    __slots__ = ("_patched",)

    def __init__(self, patched: Tree | None) -> None:
        self._patched = patched

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if self._patched is not None and isinstance(error, UndecodableError):
            raise refusals.patched_undecodable(self._patched, error.why) from None


def judge(
    served: Served, tree: Tree, before: Tree | None, name: str, causes: list[Cause], rules: Rules | None = None
) -> None:  # fmt: skip
    """Apply the schema's rules and the kind's own, or the `rules` of the part that is written.

    `causes` is what is known to be wrong already.

    Raises:
        InvalidError: rules are broken.
        BadRequestError: a built-in kind's field has a value of another type.
    """
    kind = served.kind
    if not _refuse_shape(served, tree, before, name, causes):
        if rules is not None and before is not None:
            causes.extend(rules(tree, before))
        elif kind.hooks.validate is not None:
            causes.extend(kind.hooks.validate(tree, before))
    if causes:
        raise refusals.invalid(kind, name, causes)


def _refuse_shape(served: Served, tree: Tree, before: Tree | None, name: str, causes: list[Cause]) -> bool:
    """Refuse what the schema refuses; False: nothing."""
    kind = served.kind
    found = served.check(tree, before)
    if not found:
        return False
    if kind.builtin and (wrong := next((c for c in found if c.reason == "FieldValueTypeInvalid"), None)):
        raise _undecodable(served, wrong)
    raise refusals.invalid(kind, name, [*causes, *found])


def misfit(served: Served, tree: Tree) -> str:
    """Why an object cannot be decoded, if it is of a built-in kind and a field has a value of another type; else nothing."""
    if not served.kind.builtin:
        return ""
    wrong = next((cause for cause in served.check(tree, None) or () if cause.reason == "FieldValueTypeInvalid"), None)
    return "" if wrong is None else _why_undecodable(served, wrong)


def _undecodable(served: Served, wrong: Cause) -> ApiError:
    """Built-in kinds are decoded into Go structs by the reference server: a wrong type is a bad request, not invalid."""
    return refusals.undecodable(served.kind, _why_undecodable(served, wrong), [wrong])


def _why_undecodable(served: Served, wrong: Cause) -> str:
    kind = served.kind
    if ILLEGAL_BASE64 in wrong.message:
        return wrong.message[wrong.message.index(ILLEGAL_BASE64) :]
    _, found, rest = wrong.message.split('"', 2)
    found = {"integer": "number", "boolean": "bool"}.get(found, found)
    wanted = rest.split("must be of type ", 1)[1].split(":", 1)[0]
    names, node = [kind.kind], served.schema
    # Go names struct fields only: indices and the keys of maps do not show.
    for part in re.sub(r"\[[^]]*\]", "", wrong.field).split("."):
        node = node.get("items") or node
        known = (node.get("properties") or {}).get(part)
        if known is None:
            break
        names.append(part)
        node = known
    return f"json: cannot unmarshal {found} into Go struct field {'.'.join(names)} of type {_GO_TYPES.get(wanted, wanted)}"
