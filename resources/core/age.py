"""How long ago, as people read it: `45s`, `2m5s`, `3h`, `12d`."""

from __future__ import annotations

from typing import Any

from reconcile.clock import parse_timestamp

_MINUTE_S, _HOUR_S, _DAY_S, _YEAR_S = 60, 3600, 86400, 365 * 86400


def age(seconds: float) -> str:
    """Write a duration with one or two units, the fewer the longer it is.

    A clock that is up to two seconds behind is forgiven; further in the future is `<invalid>`.

    Source: k8s.io/apimachinery/pkg/util/duration HumanDuration
    """
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    whole = max(whole, 0)
    if whole < 2 * _MINUTE_S:
        return f"{whole}s"
    if whole < 10 * _MINUTE_S:
        return _two(whole, _MINUTE_S, "m", 1, "s")
    if whole < 3 * _HOUR_S:
        return f"{whole // _MINUTE_S}m"
    if whole < 8 * _HOUR_S:
        return _two(whole, _HOUR_S, "h", _MINUTE_S, "m")
    if whole < 2 * _DAY_S:
        return f"{whole // _HOUR_S}h"
    if whole < 8 * _DAY_S:
        return _two(whole, _DAY_S, "d", _HOUR_S, "h")
    if whole < 2 * _YEAR_S:
        return f"{whole // _DAY_S}d"
    if whole < 8 * _YEAR_S:
        return _two(whole, _YEAR_S, "y", _DAY_S, "d")
    return f"{whole // _YEAR_S}y"


def since(timestamp: Any, now_s: float) -> str:
    """How long ago an RFC 3339 `timestamp` was, or `<unknown>` where there is none."""
    if not timestamp:
        return "<unknown>"
    return age(now_s - parse_timestamp(str(timestamp)))


def _two(whole: int, unit_s: int, unit: str, rest_s: int, rest: str) -> str:
    large, small = divmod(whole, unit_s)
    return f"{large}{unit}" + (f"{small // rest_s}{rest}" if small // rest_s else "")
