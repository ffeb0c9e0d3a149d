"""What went wrong in handlers, for people: a bounded list that the command line's live view follows."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from reconcile.kinds import Kind
from reconcile.registry import Handler

REPORTS_MAX = 500
_ENGINE = str(Path(__file__).parent)


@attrs.frozen
class Report:
    """One failure: whose, where, on what, and when it is tried again (None: not until the object changes)."""

    at_s: float
    operator: str
    handler: str
    where: str
    object: str
    error: str
    message: str
    traceback: str
    attempt: int
    retry_s: float | None
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        again = "not again until it changes" if self.retry_s is None else f"again in {spelled(self.retry_s)}"
        about = f" on {self.object}" if self.object else ""
        return f"handler {self.handler} ({self.where}){about}: {self.error}: {self.message}; {again}"


class Reports:
    """The newest failures, and whoever wants to hear of them."""

    def __init__(self) -> None:
        self._reports: deque[Report] = deque(maxlen=REPORTS_MAX)
        self._followers: list[Callable[[Report], None]] = []
        self._failing: dict[tuple[str, str, str], Report] = {}

    def __iter__(self) -> Iterator[Report]:
        return iter(tuple(self._reports))

    def __len__(self) -> int:
        return len(self._reports)

    def add(self, report: Report) -> None:
        """Keep a report and tell the followers."""
        self._reports.append(report)
        if len(self._failing) < REPORTS_MAX:
            self._failing[report.operator, report.handler, report.object] = report
        for follower in tuple(self._followers):
            follower(report)

    def follow(self, follower: Callable[[Report], None]) -> Callable[[], None]:
        """Call `follower` with each further report; returns what stops that."""
        self._followers.append(follower)
        return lambda: self._followers.remove(follower)

    @property
    def failing(self) -> tuple[Report, ...]:
        """What fails now: the last failure of each handler and object that has not succeeded since."""
        return tuple(self._failing.values())

    def resolve(self, operator: str, handler: str, object_: str) -> None:
        """A handler succeeded on an object, or the object is gone. O(1), and nothing where nothing fails."""
        if self._failing:
            self._failing.pop((operator, handler, object_), None)

    def forget(self, operator: str) -> None:
        """An operator stopped: what failed in it fails no more."""
        for key in [key for key in self._failing if key[0] == operator]:
            del self._failing[key]

    def clear(self) -> None:
        """Forget what is kept."""
        self._reports.clear()
        self._failing.clear()


def title(kind: Kind, namespace: str, name: str) -> str:
    """`Deployment default/web`, as reports name objects."""
    return f"{kind.kind} {namespace}/{name}" if namespace else f"{kind.kind} {name}"


def spelled(seconds: float) -> str:
    """`5 ms`, `1.5 s`: a delay as people say it."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.3g} s"


def told(error: BaseException, handler: Handler) -> str:
    """The traceback from the handler on: frames of the engine itself help nobody."""
    frames = traceback.extract_tb(error.__traceback__)
    first = next((i for i, frame in enumerate(frames) if frame.filename == handler.file), 0)
    kept = [frame for frame in frames[first:] if first or not frame.filename.startswith(_ENGINE)]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(kept or frames)]
    return "".join([*lines, *traceback.format_exception_only(error)])


def raised_at(error: BaseException, handler: Handler) -> int:
    """The innermost line of the handler's own file, or the line at which it is declared."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == handler.file and f.lineno]
    return lines[-1] if lines else handler.line
