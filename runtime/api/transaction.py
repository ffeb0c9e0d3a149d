"""What every transaction of the API server needs: the bytes of an object, and why it is written."""

from __future__ import annotations

import orjson

from reconcile.causality import TRIGGER, Cause, spans
from reconcile.errors import BadRequestError, Tree
from reconcile.identity import Caller

from . import refusals


def encoded(tree: Tree, bytes_max: int) -> bytes:
    """The JSON text of an object.

    Raises:
        TooLargeError: it is larger than `bytes_max`.
        BadRequestError: it holds what JSON cannot say.
    """
    try:
        # A copy of exactly its length: what orjson gives keeps the buffer that it grew in, four times as large as a Pod.
        text = bytes(memoryview(orjson.dumps(tree)))
    except TypeError as error:
        raise BadRequestError(f"the object cannot be written as JSON: {error}") from error
    if len(text) > bytes_max:
        raise refusals.too_large(bytes_max)
    return text


def cause_of(caller: Caller, manager: str) -> str:
    """Why this is written: the handler that runs, else the client's name for itself, else who the client is."""
    trigger = TRIGGER.get()
    if trigger is None:
        return Cause(manager or caller.user).encode()
    return Cause.of(trigger).encode()


def noted(revision: int) -> None:
    """Tell the handler's record that `revision` is its work."""
    trigger = TRIGGER.get()
    if trigger is not None:
        trigger.wrote.append(revision)
        if trigger.trace and (told := spans()) is not None:
            told.wrote(revision, trigger.trace)
