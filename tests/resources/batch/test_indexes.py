"""Sets of indexes, as they stand in a Job's status."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcile.resources.batch.indexes import parsed, text_of


@pytest.mark.parametrize(("numbers", "text"), [(set(), ""), ({0}, "0"), ({0, 1}, "0,1"), ({0, 1, 2, 4, 7, 8, 9}, "0-2,4,7-9")])
def test_they_are_written_as_the_reference_writes_them(numbers: set[int], text: str) -> None:
    """Clients parse this."""
    assert text_of(numbers) == text


@given(st.sets(st.integers(0, 60)))
def test_what_is_written_is_read_back(numbers: set[int]) -> None:
    """A lost index would be run twice."""
    assert parsed(text_of(numbers)) == numbers


@pytest.mark.parametrize("text", ["x", "1-", "3-1", "1,,2"])
def test_what_is_no_set_is_refused(text: str) -> None:
    """Success policies are written by people."""
    with pytest.raises(ValueError, match="no number and no range"):
        parsed(text)
