"""The reference server's refusals, word for word: clients match on them.

Source: k8s.io/apimachinery/pkg/api/errors, pkg/util/validation/field; recorded from a real 1.36 server.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from reconcile.errors import (
    AlreadyExistsError,
    Cause,
    ConflictError,
    ExpiredError,
    ForbiddenError,
    InternalError,
    InvalidError,
    MethodNotAllowedError,
    NotFoundError,
    TooLargeError,
    TooManyRequestsError,
    Tree,
    UnavailableError,
)
from reconcile.kinds import Kind
from reconcile.runtime.store import BusyError, RequestTooLargeError, StoreError

from .errors import UndecodableError

if TYPE_CHECKING:
    from .stored import Notes

STALE = "the object has been modified; please apply your changes to the latest version and try again"
_TEXT_MAX = 10_000


def not_found(kind: Kind, name: str) -> NotFoundError:
    """There is no such object."""
    return NotFoundError(f'{kind.resource} "{name}" not found', details=_details(kind, name))


def no_such_resource() -> NotFoundError:
    """There is no such kind, or no such subresource."""
    return NotFoundError("the server could not find the requested resource", details={})


def already_exists(kind: Kind, name: str, *, going: bool = False) -> AlreadyExistsError:
    """The name is taken; `going`: by an object whose deletion has begun."""
    why = "object is being deleted: " if going else ""
    return AlreadyExistsError(f'{why}{kind.resource} "{name}" already exists', details=_details(kind, name))


def revision_needed(kind: Kind, name: str) -> InvalidError:
    """A replacement says nothing of what it replaces."""
    why = "Invalid value: 0: must be specified for an update"
    return InvalidError(
        f'{kind.resource} "{name}" is invalid: metadata.resourceVersion: {why}', details=_details(kind, name),
        causes=[Cause("FieldValueInvalid", why, "metadata.resourceVersion")],
    )  # fmt: skip


def conflict(kind: Kind, name: str, why: str = STALE) -> ConflictError:
    """The write names a resourceVersion that is no longer the newest."""
    return ConflictError(f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}', details=_details(kind, name))


def precondition(kind: Kind, name: str, what: str, asked: str, found: str) -> ConflictError:
    """A precondition of a deletion or an update does not hold; `what` is UID or ResourceVersion."""
    why = "deleted and then recreated" if what == "UID" else "modified"
    return ConflictError(
        f'Operation cannot be fulfilled on {kind.kind} "{name}": the {what} in the precondition ({asked}) does not match '
        f"the {what} in record ({found}). The object might have been {why}",
        details={"name": name, **({"group": kind.group} if kind.group else {}), "kind": kind.kind},
    )


def invalid(kind: Kind, name: str, causes: Iterable[Cause]) -> InvalidError:
    """The object breaks rules; each cause says which and where."""
    causes = tuple(dict.fromkeys(causes))
    texts = [f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in causes]
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = {"name": name, **({"group": kind.group} if kind.group else {}), "kind": kind.kind}
    qualified = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    return InvalidError(f'{qualified} "{name}" is invalid: {text}', details=details, causes=causes)


def undecodable(kind: Kind, why: str, causes: Sequence[Cause] = ()) -> UndecodableError:
    """The request's object cannot be read as this kind; the causes name the field with its indexes, which `why` lacks."""
    text = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {why}'
    return UndecodableError(text, why, causes)


def patched_undecodable(patched: Any, why: str) -> InvalidError:
    """What a patch made of an object cannot be read; the reference server names neither object nor kind.

    Source: k8s.io/apiserver/pkg/endpoints/handlers/patch.go
    """
    try:
        text = orjson.dumps(orjson.dumps(patched, option=orjson.OPT_SORT_KEYS).decode()[:_TEXT_MAX]).decode()
    except orjson.JSONEncodeError:
        text = "what is nested too deeply to be shown"
    cause = Cause("FieldValueInvalid", f"Invalid value: {text}: {why}", "patch")
    return InvalidError(f' "" is invalid: patch: {cause.message}', causes=[cause])


def strict(kind: Kind, unknown: Sequence[str]) -> UndecodableError:
    """Fields that the kind does not have, under fieldValidation=Strict."""
    return undecodable(kind, "strict decoding error: " + ", ".join(f'unknown field "{path}"' for path in unknown))


def tell_unknown(kind: Kind, unknown: Sequence[str], field_validation: str, notes: Notes | None) -> None:
    """Refuse or report unknown fields as the client asked."""
    if unknown and field_validation == "Strict":
        raise strict(kind, unknown)
    if field_validation == "Warn" and notes is not None:
        notes.warnings.extend(f'unknown field "{path}"' for path in unknown)


def method_not_allowed() -> MethodNotAllowedError:
    """The resource has no such verb."""
    return MethodNotAllowedError("the server does not allow this method on the requested resource", details={})


def terminating(kind: Kind, name: str, namespace: str) -> ForbiddenError:
    """A create in a namespace that is going away."""
    return ForbiddenError(
        f'{kind.resource} "{name}" is forbidden: unable to create new content in namespace {namespace} because it is being '
        f"terminated",
        details=_details(kind, name),
        causes=[Cause("NamespaceTerminating", f"namespace {namespace} is being terminated", "metadata.namespace")],
    )


def too_large(limit_bytes: int) -> TooLargeError:
    """The request is larger than the server takes."""
    return TooLargeError(f"Request entity too large: limit is {limit_bytes}")


def expired_list() -> ExpiredError:
    """A list at a revision that is compacted."""
    return ExpiredError("The resourceVersion for the provided list is too old.")


def expired_watch(asked: int, oldest: int) -> ExpiredError:
    """A watch from a revision that is compacted."""
    return ExpiredError(f"too old resource version: {asked} ({oldest})")


def of_store(error: StoreError) -> Exception:
    """What a client is told about an error of the store."""
    if isinstance(error, RequestTooLargeError):
        return too_large(error.limit_bytes)
    if isinstance(error, BusyError):
        return TooManyRequestsError(f"the store cannot take this write now: {error}", details={"retryAfterSeconds": 1})
    if error.code == "UNAVAILABLE":
        return UnavailableError(str(error))
    return InternalError(str(error))


class BrokenRule(Cause):
    """A cause that a rule in an expression gave: the reference server writes keys of maps in its path otherwise."""

    __slots__ = ()


def value_invalid(path: str, value: Any, why: str) -> Cause:
    """A value that breaks a rule."""
    return Cause("FieldValueInvalid", f"Invalid value: {show(value)}: {why}", path)


def value_required(path: str, why: str = "") -> Cause:
    """A value that is missing."""
    return Cause("FieldValueRequired", f"Required value: {why}" if why else "Required value", path)


def value_forbidden(path: str, why: str) -> Cause:
    """A value that may not be given."""
    return Cause("FieldValueForbidden", f"Forbidden: {why}", path)


def value_unsupported(path: str, value: Any, allowed: Iterable[Any]) -> Cause:
    """A value outside an enumeration."""
    return Cause(
        "FieldValueNotSupported", f"Unsupported value: {show(value)}: supported values: {', '.join(map(show, allowed))}", path
    )


def value_duplicate(path: str, value: Any) -> Cause:
    """An item that stands twice in a set or a map."""
    return Cause("FieldValueDuplicate", f"Duplicate value: {show(value)}", path)


def show(value: Any) -> str:
    """A value as error texts show it."""
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return orjson.dumps(value).decode()[:_TEXT_MAX]


def _details(kind: Kind, name: str) -> Tree:
    return {"name": name, **({"group": kind.group} if kind.group else {}), "kind": kind.plural}
