"""kill -9 of the control plane during rollouts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.rollout_under_fire import main


# Of a connection whose peer is killed between connect() and the TLS handshake, CPython's ssl leaves the socket to the collector.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.xdist_group("faults")
def test_a_killed_control_plane_loses_no_acknowledged_write_and_runs_nothing_twice(tmp_path: Path, kills: int, seed: int) -> None:
    """The promise that lets a person trust it with a machine: whatever moment it dies at, the next one goes on."""
    report = main(tmp_path, kills, seed)
    assert report
