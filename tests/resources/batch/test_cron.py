"""Cron schedules: robfig's rules, against another implementation where the two agree, and by hand where clocks change."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter

from reconcile.resources.batch.cron import Every, parsed
from reconcile.resources.batch.cronjob_controller import most_recent_s

NEW_YEAR_S = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def runs(schedule: str, after: str, count: int, zone: str = "UTC") -> list[str]:
    """The next times as the wall clock of the zone shows them."""
    here = ZoneInfo(zone)
    made, at_s, found = parsed(schedule, here), datetime.fromisoformat(after).replace(tzinfo=here).timestamp(), []
    for _ in range(count):
        next_s = made.next_s(at_s)
        assert next_s is not None
        at_s = next_s
        found.append(datetime.fromtimestamp(at_s, here).strftime("%m-%d %H:%M"))
    return found


def field(chance: random.Random, low: int, high: int) -> str:
    """A random field of a schedule, of the forms that both implementations read alike."""
    first, last = sorted((chance.randint(low, high), chance.randint(low, high)))
    forms: list[Any] = ["*", "*", str(first), f"{first},{last}"]
    if first < last:
        forms += [f"{first}-{last}", f"{first}-{last}/2"]
    return str(chance.choice(forms))


@pytest.mark.parametrize("seed", range(60))
def test_the_times_are_those_of_another_implementation(seed: int) -> None:
    """Random schedules in UTC, where all agree what they mean."""
    chance = random.Random(seed)
    text = " ".join(field(chance, *bounds) for bounds in ((0, 59), (0, 23), (1, 28), (1, 12), (0, 6)))
    start_s = NEW_YEAR_S + chance.randrange(0, 365 * 86400)
    ours, theirs, at_s = parsed(text), croniter(text, start_s), start_s
    for _ in range(5):
        next_s = ours.next_s(at_s)
        assert next_s is not None, text
        at_s = next_s
        assert at_s == theirs.get_next(float), text


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("*/15 * * * ?", "2026-01-01T00:01", ["01-01 00:15", "01-01 00:30", "01-01 00:45", "01-01 01:00"]),
        ("10/20 * * * *", "2026-01-01T00:00", ["01-01 00:10", "01-01 00:30", "01-01 00:50", "01-01 01:10"]),
        ("0 9 * JAN mon-wed", "2026-01-01T00:00", ["01-05 09:00", "01-06 09:00", "01-07 09:00", "01-12 09:00"]),
        ("0 0 13 * FRI", "2026-01-01T00:00", ["01-02 00:00", "01-09 00:00", "01-13 00:00", "01-16 00:00"]),
        ("0 0 */2 * FRI", "2026-01-01T00:00", ["01-02 00:00", "01-03 00:00", "01-05 00:00", "01-07 00:00"]),
        ("@hourly", "2026-01-01T00:00", ["01-01 01:00", "01-01 02:00"]),
        ("@weekly", "2026-01-01T00:00", ["01-04 00:00", "01-11 00:00"]),
        ("0 0 29 2 *", "2026-01-01T00:00", ["02-29 00:00"]),
    ],
)  # fmt: skip
def test_the_forms_that_kubernetes_takes(schedule: str, after: str, expected: list[str]) -> None:
    """`?`, names, steps from a number, and days of month and of week that are alternatives."""
    assert runs(schedule, after, len(expected)) == expected


def test_a_time_that_the_clocks_leave_out_is_skipped_that_day() -> None:
    """In Berlin, there is no 02:30 on 29 March 2026."""
    assert runs("30 2 * * *", "2026-03-27T12:00", 3, "Europe/Berlin") == ["03-28 02:30", "03-30 02:30", "03-31 02:30"]


def test_a_time_that_comes_twice_runs_twice() -> None:
    """In Berlin, 02:30 comes twice on 25 October 2026."""
    assert runs("30 2 * * *", "2026-10-24T12:00", 3, "Europe/Berlin") == ["10-25 02:30", "10-25 02:30", "10-26 02:30"]


def test_clocks_that_change_at_midnight_or_by_half_an_hour() -> None:
    """There is no midnight in Beirut on 29 March 2026; Lord Howe goes back by half an hour."""
    assert runs("0 0 * * *", "2026-03-28T12:00", 2, "Asia/Beirut") == ["03-30 00:00", "03-31 00:00"]
    assert runs("45 1 * * *", "2026-04-04T12:00", 3, "Australia/Lord_Howe") == ["04-05 01:45", "04-05 01:45", "04-06 01:45"]


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"), ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"), ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("*/0 * * * *", "step of range should be a positive number: */0"), ("5-1 * * * *", "beyond end of range"),
        ("* * * * L", "failed to parse int from L"), ("@reboot", "unrecognized descriptor: @reboot"),
        ("@every soon", "failed to parse duration"), ("* * * * mon#2", "failed to parse int"),
    ],
)  # fmt: skip
def test_what_kubernetes_refuses_is_refused(schedule: str, text: str) -> None:
    """A schedule that means something else elsewhere must not be guessed at."""
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the text is compared
        parsed(schedule)
    assert text in str(refused.value)


def test_a_distance_is_in_whole_seconds() -> None:
    """As robfig rounds it."""
    assert parsed("@every 1h30m1.5s") == Every(5401.0)
    assert parsed("@every 10ms") == Every(1.0)
    assert Every(90.0).next_s(NEW_YEAR_S + 0.7) == NEW_YEAR_S + 90


def test_a_day_that_never_comes_is_never() -> None:
    """30 February would be looked for without an end."""
    assert parsed("0 0 30 2 *").next_s(NEW_YEAR_S) is None


@pytest.mark.parametrize("schedule", ["* * * * *", "*/7 * * * *", "@hourly", "0 3 * * 1", "@every 90s"])
@pytest.mark.parametrize("late_s", [0.0, 59.0, 86400.0, 400 * 86400.0])
def test_the_last_missed_time_is_found_however_long_ago(schedule: str, late_s: float) -> None:
    """A control plane that was off for a year must not count half a million minutes one by one."""
    made, now_s = parsed(schedule), NEW_YEAR_S + late_s
    last_s, count = most_recent_s(made, NEW_YEAR_S, now_s)
    next_s = made.next_s(NEW_YEAR_S if last_s is None else last_s)
    assert next_s is not None
    assert next_s > now_s
    assert (last_s is None) == (count == 0)
    assert last_s is None or NEW_YEAR_S < last_s <= now_s
