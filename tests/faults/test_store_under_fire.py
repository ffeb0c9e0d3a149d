"""kill -9 of a writer, and power failures at every step: short here; `--soak` kills 500 times and tries every image."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.faults.store_under_fire import main
from tests.store.test_store_power import crashes, trace, verdicts_of


@pytest.mark.xdist_group("faults")
def test_a_killed_writer_loses_no_acknowledged_write(tmp_path: Path, request: pytest.FixtureRequest, seed: int) -> None:
    """The promise of the store, at moments that nobody chose."""
    kills = 500 if request.config.getoption("--soak") else 8
    report = main(tmp_path / "data", kills, seed)
    assert f"{kills} kills" in report
    assert " 0 acknowledged" not in report


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.xdist_group("faults")
def test_every_image_that_a_power_failure_may_leave_is_sound(tmp_path: Path, request: pytest.FixtureRequest, seed: int) -> None:
    """Each order, each loss and each tear of what was not synced, as far as the budget goes."""
    if not request.config.getoption("--soak"):
        pytest.skip("with --soak; tests/store tries a few images of each crash")
    verdicts = verdicts_of(crashes(trace(tmp_path, "safe"), random.Random(seed), images_max=400), tmp_path / "image")
    assert verdicts[""] > 10_000
    assert (verdicts["lost"], verdicts["corrupt"]) == (0, 0), verdicts
