"""The one form in which built-in kinds hold values that can be written in many: quantities, times, bytes.

The reference server decodes objects into Go types and writes them out again, so that a client which sends `0.5` reads `500m`,
and one which sends base64 in lines reads it in one. Clients compare what they sent with what is there, so we say the same. Custom
kinds hold what they were given. What is no such value is left as it is, for the rules to refuse.

Source: k8s.io/apimachinery/pkg/api/resource/quantity.go, pkg/apis/meta/v1/{time,micro_time}.go; Go's encoding/base64
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from reconcile.errors import Tree

_QUANTITY = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:([eE])([+-]?[0-9]+)|([KMGTPE]i|[numkMGTPE]?))")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_SUFFIXES = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
ILLEGAL_BASE64 = "illegal base64 data"
"""How Go says that bytes are none."""
_DIGITS_MAX, _KEPT_DIGITS_MAX = 40, 18
_SECONDS = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_MICROSECONDS = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")


def canonical_form(schema: Tree) -> Callable[[Any], Any] | None:
    """What writes the values of a schema in their one form; None: they have one only."""
    return _FORMS.get(str(schema.get("format")))


def illegal_byte(text: str) -> int | None:
    """Where base64 breaks off, as Go counts; None: it is well-formed. Line breaks count for nothing, anywhere."""
    read, padded = 0, 0
    for at, char in enumerate(text):
        if char in "\r\n":
            continue
        if padded:
            if read + padded == 4:
                return at  # nothing follows the padding
            if char != "=":
                return at - 1
            padded += 1
        elif char == "=" and read >= 2:  # one character holds no byte
            padded = 1
        elif char not in _ALPHABET:
            return at
        else:
            read = (read + 1) % 4
    if padded:
        return None if read + padded == 4 else len(text)
    return len(text) - read if read else None


_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def _bytes(value: Any) -> Any:
    if type(value) is not str or not (value.endswith("=") or "\n" in value or "\r" in value):
        return value
    text = value.replace("\r", "").replace("\n", "")
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode()
    except (binascii.Error, ValueError):
        return value


def _quantity(value: Any) -> Any:
    return canonical_quantity(str(value)) if type(value) in (str, int, float) else value


@lru_cache(maxsize=4096)
def canonical_quantity(text: str) -> str:
    """A quantity as Go writes it: `1024Mi` is `1Gi`, `0.5` is `500m`; what is none comes back as it is."""
    found = _QUANTITY.fullmatch(text.strip())
    if found is None or not (found[2] or found[3]) or len(text) > _DIGITS_MAX:
        return text
    sign, whole, fraction, e, power, suffix = found.groups()
    digits = (whole or "") + (fraction or "")
    value, scale = int(digits), -len(fraction or "")
    if not value:
        return "0"
    negative = sign == "-"
    if suffix and suffix.endswith("i"):
        value *= 1024 ** _BINARY.index(suffix)
        if -scale and value % 10**-scale == 0:
            value, scale = value // 10**-scale, 0
        if scale == 0 and value >= 1024:  # below, and between whole numbers, it is written in decimals
            return _binary(value, negative)
        e = None
    else:
        scale += int(power) if e else _DECIMAL[suffix or ""]
        if scale % 3 == 0 and digits[0] != "0" and not digits.endswith("000") and len(digits) <= _KEPT_DIGITS_MAX:
            return text.strip()  # Go keeps the text of what it can tell to be canonical, and of some that is not: 1.500
    return _decimal(value, scale, negative, exponent=bool(e)) or text


def _binary(value: int, negative: bool) -> str:
    power = 0
    value = min(value, 2**63 - 1)
    while value % 1024 == 0 and power < len(_BINARY) - 1:
        value, power = value // 1024, power + 1
    return f"{'-' if negative else ''}{value}{_BINARY[power]}"


def _decimal(value: int, scale: int, negative: bool, *, exponent: bool) -> str:
    """With the largest suffix that leaves a whole number; empty: there is none. Below a nano it is rounded away from zero."""
    if scale < -9:
        value, scale = -(-value // 10 ** (-9 - scale)), -9
    while value % 10 == 0:
        value, scale = value // 10, scale + 1
    value, scale = value * 10 ** (scale % 3), scale - scale % 3
    if exponent:
        suffix = f"e{scale}" if scale else ""
    elif scale in _SUFFIXES:
        suffix = _SUFFIXES[scale]
    else:
        return ""
    return f"{'-' if negative else ''}{value}{suffix}"


def _time(value: Any) -> Any:
    return value if type(value) is not str or _SECONDS.fullmatch(value) else _in_utc(value, "seconds")


def _micro_time(value: Any) -> Any:
    return value if type(value) is not str or _MICROSECONDS.fullmatch(value) else _in_utc(value, "microseconds")


def _in_utc(text: str, digits: str) -> str:
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=digits) + "Z" if at.tzinfo is not None else text
    except (ValueError, OverflowError):
        return text


_FORMS: dict[str, Callable[[Any], Any]] = {
    "byte": _bytes, "quantity": _quantity, "date-time": _time, "micro-time": _micro_time,
}  # fmt: skip
