"""The clock seam: everything that differs between real life and a simulated universe of time and chance.

No module of this project calls `time`, `random` or `uuid` bare: it is handed a `Clock`. The real one is
`reconcile.runtime.clock.SystemClock`; tests run on a virtual one, where an hour passes in a millisecond and the same
seed gives the same run.
"""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol


class Clock(Protocol):
    """Time and chance, as one seam."""

    random: random.Random
    """For jitter, tie-breaks and generated names; never for secrets."""

    def now(self) -> float:
        """Seconds since the epoch (wall clock; may jump)."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds`; zero or less only yields to other tasks."""

    def uid(self) -> str:
        """A new universally unique id in the usual 8-4-4-4-12 form."""


def timestamp(now_s: float) -> str:
    """Write `now_s` (seconds since the epoch) as Kubernetes writes times: RFC 3339, UTC, whole seconds.

    Source: metav1.Time, k8s.io/apimachinery/pkg/apis/meta/v1/time.go
    """
    return _second(int(now_s))


@lru_cache(maxsize=8)
def _second(now_s: int) -> str:
    """Objects made in one second share their time, in memory too."""
    return datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def timestamp_micro(now_s: float) -> str:
    """Write `now_s` as metav1.MicroTime: RFC 3339, UTC, six digits of a second (Leases and Events use it)."""
    return datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_timestamp(text: str) -> float:
    """Read an RFC 3339 time as seconds since the epoch.

    Raises:
        ValueError: `text` is not such a time.
    """
    return datetime.fromisoformat(text).timestamp()


_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")


def duration_s(text: str) -> float:
    """Read a span of time such as `90s`, `10m`, `1h30m` or `2d` as seconds.

    Raises:
        ValueError: `text` is no span of time.
    """
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is no span of time: write 90s, 10m, 1h30m or 2d")
    return sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))
