"""Whether what concurrent clients saw can be explained by one order of all operations, each at a moment between its call
and its return.

In general that is a search. Here every answer carries the store's revision, which names its place: so there is one order to
check, by revision and with each write before the reads at it. It must agree with real time (what returned before another
was called comes before it), and when it is replayed on a plain dict every answer must be the one that was given. Writes
whose outcome is not known (the client gave up, the store was killed) may have happened or not: the log decides.

Source: Herlihy and Wing, Linearizability (1990); etcd tests/robustness/model
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs


class NotLinearizable(AssertionError):
    """No order explains what was seen."""


@attrs.define
class Operation:
    """One call of one client. `returned` is None where the outcome is not known."""

    client: int
    key: bytes
    called: int
    write: bytes | None = None
    """What it wrote; None for a read."""
    expected: int | None = None
    """It wrote only if the key's mod_revision was this."""
    returned: int | None = None
    revision: int = 0
    """The store's revision in the answer."""
    succeeded: bool = True
    found: tuple[bytes, int] | None = None
    """What a read found: the value and its mod_revision; None: nothing."""

    @property
    def wrote(self) -> bool:
        return self.write is not None and self.succeeded


def check(operations: Sequence[Operation], log: Mapping[int, tuple[bytes, bytes]]) -> None:
    """Check a recorded run against the log that it left: (key, value) by revision.

    Raises:
        NotLinearizable: with the operation that does not fit.
    """
    known = [operation for operation in operations if operation.returned is not None]
    unknown = [operation for operation in operations if operation.returned is None and operation.write is not None]
    _check_real_time(known)
    written = {operation.revision: operation for operation in known if operation.wrote}
    if len(written) != sum(operation.wrote for operation in known):
        raise NotLinearizable("two writes were given one revision")
    for revision, operation in written.items():
        if log.get(revision) != (operation.key, operation.write):
            raise NotLinearizable(f"{operation} was acknowledged, and the log has {log.get(revision)} at {revision}")
    maybe = {(operation.key, operation.write) for operation in unknown}
    for revision, entry in log.items():
        if revision not in written and entry not in maybe:
            raise NotLinearizable(f"the log has {entry} at {revision}, which nobody wrote")
    _replay(known, written, log)


def _check_real_time(known: Sequence[Operation]) -> None:
    """What returned before another was called has a revision that is not later (and earlier, if the other wrote)."""
    by_return = sorted(known, key=lambda operation: operation.returned or 0)
    newest, at = 0, 0
    for operation in sorted(known, key=lambda operation: operation.called):
        while at < len(by_return) and (by_return[at].returned or 0) < operation.called:
            newest = max(newest, by_return[at].revision)
            at += 1
        if operation.revision < newest + operation.wrote:
            raise NotLinearizable(f"{operation} was called after revision {newest} had been told, and is before it")


def _replay(known: Sequence[Operation], written: Mapping[int, Operation], log: Mapping[int, tuple[bytes, bytes]]) -> None:
    readings: dict[int, list[Operation]] = {}
    for operation in known:
        if not operation.wrote:
            readings.setdefault(operation.revision, []).append(operation)
    state: dict[bytes, tuple[bytes, int]] = {}
    for revision in range(1, max([1, *log, *readings]) + 1):
        if revision in log:
            key, value = log[revision]
            writer = written.get(revision)
            if writer is not None and writer.expected not in (None, state.get(key, (b"", 0))[1]):
                raise NotLinearizable(f"{writer} succeeded, and there was {state.get(key)}")
            state[key] = (value, revision)
        for operation in readings.get(revision, ()):
            there = state.get(operation.key)
            if operation.write is None and operation.found != there:
                raise NotLinearizable(f"{operation} found what was not there: there was {there}")
            if operation.write is not None and operation.expected == (there or (b"", 0))[1]:
                raise NotLinearizable(f"{operation} failed, and there was {there}")
