"""The table of features: no row is missing, and each names a test that there is."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "toolkit-features.md").read_text()
ROW = re.compile(r"^\| ([A-Z]\d+) \| ([^|]+) \| ([^|]+) \| ([^|]*)\| `(test_\w+)` \|$", re.MULTILINE)
HOW_MANY = {"D": 19, "S": 7, "O": 18, "K": 2, "C": 14, "B": 1, "M": 2, "T": 1, "L": 7, "W": 2, "P": 13, "G": 1, "R": 22, "X": 7}


def test_every_row_is_there_and_is_well_formed() -> None:
    """As many of each letter as the list of the incumbents' features has."""
    ids = [match[1] for match in ROW.finditer(TEXT)]
    assert ids == [f"{letter}{number}" for letter, count in HOW_MANY.items() for number in range(1, count + 1)]
    lines = [line for line in TEXT.splitlines() if re.match(r"\| [A-Z]\d", line)]
    assert len(lines) == len(ids), "a row that cannot be read"


def test_every_test_that_is_named_exists() -> None:
    """A table that names what is not there is worse than none."""
    known = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        known.update(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))
    assert set(re.findall(r"`(test_\w+)`", TEXT)) <= known


def test_every_way_into_a_cluster_names_a_test_that_exists() -> None:
    """The table of docs/running.md."""
    text = (ROOT / "docs" / "running.md").read_text()
    named = set(re.findall(r"\| `(test_\w+)` \|$", text, re.MULTILINE))
    assert len(named) > 10
    known = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        known.update(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))
    assert named <= known
