"""Sets of completion indexes as Jobs write them: `0,2-4`.

Source: k8s.io/kubernetes/pkg/controller/job/indexed_job_utils.go
"""

from __future__ import annotations

from collections.abc import Iterable


def parsed(text: str | None) -> set[int]:
    """The numbers in `text`.

    Raises:
        ValueError: it is not of this form.
    """
    found: set[int] = set()
    for part in (text or "").split(",") if text else ():
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise ValueError(f"{part!r} is no number and no range")
        found.update(range(int(first), int(last or first) + 1))
    return found


def text_of(indexes: Iterable[int]) -> str:
    """The shortest text for these numbers: two in a row stand with a comma, more with a dash."""
    parts: list[str] = []
    run: list[int] = []
    for index in [*sorted(indexes), -1]:
        if run and index != run[-1] + 1:
            parts.append(_run(run[0], run[-1]))
            run = []
        run.append(index)
    return ",".join(parts)


def _run(first: int, last: int) -> str:
    if first == last:
        return str(first)
    return f"{first},{last}" if last == first + 1 else f"{first}-{last}"
