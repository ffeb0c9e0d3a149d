"""What handlers' filters may ask of a value: that it is there, that it is not, that it is this one, or what a function says.

    @on.create(Site, labels={"tier": "web", "draft": ABSENT}, annotations={"owner": PRESENT})
    @on.update(Site, field="spec.size", old=PRESENT, new=lambda size: size > 10)

Source: the words are kopf's, https://docs.kopf.dev/en/stable/filters/
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable


class Presence(enum.Enum):
    """Whether a value is there at all."""

    PRESENT = "present"
    ABSENT = "absent"


PRESENT, ABSENT = Presence.PRESENT, Presence.ABSENT

Criterion = Any
"""PRESENT, ABSENT, a function of the value (None where it is absent) that gives a truth, a `Judging`, or the value itself."""
Criteria = str | Mapping[str, Criterion]
"""A label selector in Kubernetes' syntax, or a criterion for each name."""


@runtime_checkable
class Judging(Protocol):
    """A criterion that looks at the whole object as well."""

    def judge(self, value: Any, obj: Any) -> bool:
        """Whether it holds."""


def holds(criterion: Criterion, value: Any, obj: Any = None) -> bool:
    """Whether a value (None: absent) meets a criterion."""
    if criterion is PRESENT:
        return value is not None
    if criterion is ABSENT:
        return value is None
    if isinstance(criterion, Judging):
        return criterion.judge(value, obj)
    if callable(criterion):
        judged: Callable[[Any], Any] = criterion
        return bool(judged(value))
    return bool(value == criterion)
