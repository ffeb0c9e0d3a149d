"""Cron schedules as Kubernetes reads them: five fields, names, steps, `?`, `@daily` and its like, `@every 90s`.

A time matches by the wall clock of its zone: one that a change of the clocks leaves out is skipped that day, one that comes
twice runs twice. Day of month and day of week, where both are restricted, are alternatives. `7` for Sunday, `L`, `#` and
`@reboot` are refused.

Source: github.com/robfig/cron/v3 (ParseStandard, SpecSchedule.Next)
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol

import attrs

_MONTHS = {n: i for i, n in enumerate(("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1)}
_DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_FIELDS: tuple[tuple[int, int, dict[str, int]], ...] = ((0, 59, {}), (0, 23, {}), (1, 31, {}), (1, 12, _MONTHS), (0, 6, _DAYS))
_NAMED = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0", "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_HORIZON = timedelta(days=5 * 366)


class Schedule(Protocol):
    """Tells when something is due."""

    def next_s(self, after_s: float) -> float | None:
        """The first instant after `after_s`; None where there is none within five years."""


@attrs.frozen
class Every:
    """Due at a constant distance, in whole seconds."""

    period_s: float

    def next_s(self, after_s: float) -> float | None:
        """See Schedule."""
        return float(int(after_s)) + self.period_s


@attrs.frozen
class Calendar:
    """Due at minutes whose wall clock matches. `restricted`: day of month and day of week both are, and either will do."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    restricted: bool
    zone: tzinfo = UTC

    def next_s(self, after_s: float) -> float | None:
        """See Schedule. It goes from month to month, day to day, hour to hour."""
        at = datetime.fromtimestamp(after_s, UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        ends = at + _HORIZON
        while at < ends:
            local = at.astimezone(self.zone)
            if local.month not in self.months or not self._on(local):
                at = _next_day(at, local, self.zone)
            elif local.hour not in self.hours:
                at += timedelta(minutes=60 - local.minute)
            elif local.minute not in self.minutes:
                at += timedelta(minutes=1)
            else:
                return at.timestamp()
        return None

    def _on(self, local: datetime) -> bool:
        day, weekday = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return day or weekday if self.restricted else day and weekday


def parsed(text: str, zone: tzinfo = UTC) -> Schedule:
    """Read a schedule.

    Raises:
        ValueError: it is none; the message says what is wrong.
    """
    if text.startswith("@every "):
        return Every(_duration_s(text.removeprefix("@every ").strip()))
    if text.startswith("@"):
        if text not in _NAMED:
            raise ValueError(f"unrecognized descriptor: {text}")
        text = _NAMED[text]
    words = text.split()
    if len(words) != len(_FIELDS):
        raise ValueError(f"expected exactly 5 fields, found {len(words)}: [{' '.join(words)}]")
    minutes, hours, days, months, weekdays = (_field(word, *field) for word, field in zip(words, _FIELDS, strict=True))
    restricted = not _is_star(words[2]) and not _is_star(words[4])
    return Calendar(minutes, hours, days, months, weekdays, restricted, zone)


def _is_star(word: str) -> bool:
    """Whether a field leaves the choice to the other one."""
    return any(part in ("*", "?", "*/1", "?/1") for part in word.split(","))


def _field(word: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in word.split(","):
        base, slash, step_text = part.partition("/")
        step = _number(step_text, {}) if slash else 1
        if step == 0:
            raise ValueError(f"step of range should be a positive number: {part}")
        first_text, dash, last_text = base.partition("-")
        if base in ("*", "?"):
            first, last = low, high
        else:
            first = _number(first_text, names)
            last = _number(last_text, names) if dash else high if slash else first
        if first < low:
            raise ValueError(f"beginning of range ({first}) below minimum ({low}): {part}")
        if last > high:
            raise ValueError(f"end of range ({last}) above maximum ({high}): {part}")
        if first > last:
            raise ValueError(f"beginning of range ({first}) beyond end of range ({last}): {part}")
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _number(text: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)


def _duration_s(text: str) -> float:
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f'failed to parse duration @every {text}: time: invalid duration "{text}"')
    return max(float(int(sum(float(number) * _UNIT_S[unit] for number, unit in parts))), 1.0)


def _next_day(at: datetime, local: datetime, zone: tzinfo) -> datetime:
    """The first minute of the zone's next day."""
    midnight = datetime(local.year, local.month, local.day, tzinfo=zone) + timedelta(days=1)
    found = midnight.astimezone(UTC)
    # Where the clocks change at midnight, it may be one that does not exist or comes twice: go on by the hour.
    return found if found > at and found.astimezone(zone).day != local.day else at + timedelta(minutes=60 - local.minute)
