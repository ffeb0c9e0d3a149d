"""Errors of the API server that need more than `reconcile.errors` offers.

ApiError
├── StoreReadError             500, values in the store that are no objects: which, stands in the causes
├── BadRequestError
│   └── UndecodableError       400, what was sent cannot be read as its kind
├── InternalError
│   └── CorruptObjectError     500, the one value that was asked for is no object
├── ForbiddenError
│   └── PolicyFailedError      403 Invalid, a policy that mutates cannot be applied
├── ExpiredError
│   └── ContinueExpiredError   410, with a token that goes on inconsistently in metadata.continue
└── UnavailableError
    └── FutureRevisionError    504 Timeout, cause ResourceVersionTooLarge
"""

from __future__ import annotations

from collections.abc import Sequence

from reconcile.errors import ApiError, BadRequestError, Cause, ExpiredError, ForbiddenError, InternalError, Tree, UnavailableError
from reconcile.kinds import Kind

_CORRUPT = 7  # ErrCodeCorruptObj of k8s.io/apiserver/pkg/storage/errors.go
_CAUSES_MAX = 100
_SHOWN_MAX = 3


class ContinueExpiredError(ExpiredError):
    """A continue token names a compacted revision; `continue_token` reads the rest of the list as it is now."""

    def __init__(self, continue_token: str) -> None:
        super().__init__(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
            "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
            "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
            "deleted between the time the first chunk was returned and now may show up in the list."
        )
        self.continue_token = continue_token

    def status(self) -> Tree:
        """The Status object that goes over the wire."""
        return {**super().status(), "metadata": {"continue": self.continue_token}}


class PolicyFailedError(ForbiddenError):
    """A policy that mutates cannot be applied to an object. HTTP 403, but reason Invalid, as on the reference server.

    Source: k8s.io/apiserver/pkg/admission/plugin/policy/generic/policy_dispatcher.go
    """

    reason = "Invalid"


class UndecodableError(BadRequestError):
    """What a client sent, or what its patch made of an object, cannot be read as its kind; `why` says where."""

    reason = "BadRequest"

    def __init__(self, message: str, why: str, causes: Sequence[Cause] = ()) -> None:
        super().__init__(message, causes=causes)
        self.why = why


class FutureRevisionError(UnavailableError):
    """The store has not reached the revision asked for; the reference server answers 504 Timeout."""

    code, reason = 504, "Timeout"

    def __init__(self, asked: int, newest: int) -> None:
        super().__init__(
            f"Timeout: Too large resource version: {asked}, current: {newest}",
            details={"retryAfterSeconds": 1},
            causes=[Cause("ResourceVersionTooLarge", "Too large resource version")],
        )


class CorruptObjectError(InternalError):
    """What the store holds under an object's key is no object. HTTP 500.

    Source: k8s.io/apiserver/pkg/storage/errors.go
    """

    def __init__(self, key: bytes, revision: int, why: str) -> None:
        self.key = key.decode(errors="backslashreplace")
        self.what = (
            f"StorageError: corrupt object, Code: {_CORRUPT}, Key: {self.key}, ResourceVersion: 0, AdditionalErrorMsg: "
            f"object not decodable revision={revision}: {why}"
        )
        super().__init__(f"Internal error occurred: {self.what}", causes=[Cause("", self.what)])


class StoreReadError(ApiError):
    """Some of the values that a list is made of are no objects. HTTP 500, reason StorageReadError.

    Source: k8s.io/apiserver/pkg/storage/etcd3/corrupt_obj_deletion.go
    """

    code, reason = 500, "StorageReadError"

    def __init__(self, kind: Kind, prefix: str, found: Sequence[CorruptObjectError]) -> None:
        shown = ", ".join(error.what for error in found[:_SHOWN_MAX])
        more = f", and {len(found) - _SHOWN_MAX} more" if len(found) > _SHOWN_MAX else ""
        super().__init__(
            f"failed to read one or more {kind.resource} from the storage: {shown}{more}",
            details={"name": prefix, **({"group": kind.group} if kind.group else {}), "kind": kind.plural},
            causes=[Cause("UnexpectedServerResponse", error.what, error.key) for error in found[:_CAUSES_MAX]],
        )
