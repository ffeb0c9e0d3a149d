"""Values that JSON has no type for: quantities (`500m`, `1.5Gi`), int-or-string values (`25%`), bytes.

Source: k8s.io/apimachinery/pkg/api/resource/quantity.go
"""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Annotated

Quantity = Annotated[str | int | float, "quantity"]
"""A quantity as it stands in an object: `"500m"`, `"1Gi"`, `2`."""
IntOrString = Annotated[int | str, "int-or-string"]
"""A number, or a percentage such as `"25%"`."""

Base64 = Annotated[str, "base64"]
"""Bytes as they stand in an object: as base64."""

_SUFFIXES: dict[str, Decimal] = {
    "n": Decimal(10) ** -9, "u": Decimal(10) ** -6, "m": Decimal(10) ** -3, "": Decimal(1),
    "k": Decimal(10) ** 3, "M": Decimal(10) ** 6, "G": Decimal(10) ** 9, "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15, "E": Decimal(10) ** 18,
    "Ki": Decimal(2) ** 10, "Mi": Decimal(2) ** 20, "Gi": Decimal(2) ** 30, "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50, "Ei": Decimal(2) ** 60,
}  # fmt: skip


@lru_cache(maxsize=4096)
def parse_quantity(value: Quantity) -> Decimal:
    """The exact number behind a quantity.

    Raises:
        ValueError: it is no quantity; the message says which and what one looks like.
    """
    text = str(value).strip()
    for length in (2, 1, 0):
        suffix = text[len(text) - length :] if length else ""
        if suffix in _SUFFIXES and len(suffix) == length:
            try:
                number = Decimal(text[: len(text) - length])
            except InvalidOperation:
                continue
            if number.is_finite():
                return number * _SUFFIXES[suffix]
    raise ValueError(f"{value!r} is no quantity; give a number with an optional suffix, such as 500m, 2, 1.5Gi or 100M")


def milli(value: Quantity) -> int:
    """Thousandths, rounded up: how CPU is counted."""
    return math.ceil(parse_quantity(value) * 1000)


def whole(value: Quantity) -> int:
    """Whole units, rounded up: how bytes and pods are counted."""
    return math.ceil(parse_quantity(value))


def scaled(value: IntOrString, total: int, *, round_up: bool) -> int:
    """Resolve an int or a percentage of `total`.

    Raises:
        ValueError: a string that is no percentage.

    Source: intstr.GetScaledValueFromIntOrPercent
    """
    if isinstance(value, int):
        return value
    if not value.endswith("%") or not value[:-1].isdigit():
        raise ValueError(f"{value!r} is neither a whole number nor a percentage such as 25%")
    share = int(value[:-1]) * total / 100
    return math.ceil(share) if round_up else math.floor(share)
