"""Values of built-in kinds that can be written in many forms: a reader finds the one that the reference server has."""

from __future__ import annotations

import base64
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcile.quantities import parse_quantity
from reconcile.runtime.api.canonical import canonical_form, canonical_quantity, illegal_byte

_FIRST, _LAST = datetime.fromisoformat("1970-01-02"), datetime.fromisoformat("2200-01-01")
GO_SAYS = {
    # k8s.io/apimachinery/pkg/api/resource/quantity_test.go, and what a kubectl user meets
    "0": "0", "0.5": "500m", "1000m": "1", "1500m": "1500m", "1000": "1k", "1024Mi": "1Gi", "1025Mi": "1025Mi", "0.5Gi": "512Mi",
    "1.5Mi": "1536Ki", "1e6": "1e6", "12e5": "1200e3", "0.1n": "1n", ".5": "500m", "-1.5": "-1500m", "1.1Ki": "1126400m",
    "1000000": "1M", "123456789": "123456789", "1.500": "1.500", "2.000": "2", "0.1Ki": "102400m", "512": "512",
    "8Ei": "9223372036854775807", "00Ki": "0", "-0": "0",
}  # fmt: skip
NO_QUANTITIES = ("", "x", "5e", "1e3Ki", "1 Gi", "K", ".", "1.5.2", "0x10", "1i")


@pytest.mark.parametrize(("written", "read"), GO_SAYS.items())
def test_a_quantity_is_read_in_its_one_form(written: str, read: str) -> None:
    """Typed clients of other languages take it apart themselves, and compare it with what they sent."""
    assert canonical_quantity(written) == read


@pytest.mark.parametrize("text", NO_QUANTITIES)
def test_what_is_no_quantity_is_left_for_the_rules(text: str) -> None:
    """The refusal shows what was sent."""
    assert canonical_quantity(text) == text


@given(
    st.from_regex(r"[+-]?[0-9]{1,12}(\.[0-9]{0,3})?", fullmatch=True),
    st.sampled_from(("", "n", "u", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "e3", "e-3", "E5")),
)
def test_the_one_form_means_the_same_and_is_final(number: str, suffix: str) -> None:
    """Up to a nano, to which everything is rounded away from zero."""
    written = number + suffix
    read = canonical_quantity(written)
    assert canonical_quantity(read) == read
    off = parse_quantity(read) - parse_quantity(written)
    assert abs(off) * 10**9 < 1, (written, read)
    assert off * parse_quantity(written) >= 0


@given(st.binary(max_size=40), st.lists(st.tuples(st.integers(0, 60), st.sampled_from(("\n", "\r\n"))), max_size=5))
def test_base64_in_lines_is_read_in_one(data: bytes, breaks: list[tuple[int, str]]) -> None:
    """As `base64 FILE` writes it, and as it stands in YAML blocks."""
    one = base64.b64encode(data).decode()
    text = one
    for at, line_break in breaks:
        text = text[:at] + line_break + text[at:]
    form = canonical_form({"type": "string", "format": "byte"})
    assert form is not None
    assert illegal_byte(text) is None
    assert form(text) == one


@pytest.mark.parametrize(
    ("text", "at"),
    [("not base!", 3), ("YQ=", 3), ("YQ", 0), ("YQ===", 4), ("Y===", 1), ("YQ=x", 2), ("=", 0), ("YWJj\nYQ", 5), ("YWJjé", 4)],
)
def test_where_base64_breaks_off_is_told_as_go_counts(text: str, at: int) -> None:
    """Clients show the server's words."""
    assert illegal_byte(text) == at


@given(st.datetimes(_FIRST, _LAST), st.integers(-11, 11))
def test_times_are_in_utc_with_the_digits_of_their_type(at: datetime, zone_h: int) -> None:
    """Two writers that mean the same moment write the same text."""
    seconds, micro = (canonical_form({"format": name}) for name in ("date-time", "micro-time"))
    assert seconds is not None
    assert micro is not None
    text = f"{at.isoformat(timespec='microseconds')}{zone_h:+03d}:00"
    moment = datetime.fromisoformat(text)
    assert datetime.fromisoformat(micro(text)) == moment
    assert datetime.fromisoformat(seconds(text)) == moment.replace(microsecond=0)
    for form in (seconds, micro):
        assert form(form(text)) == form(text)
        assert form(text).endswith("Z")
        assert [form(other) for other in ("", "soon", None)] == ["", "soon", None]
