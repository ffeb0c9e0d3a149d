"""kr8s: objects that know their API; it lists in tables and waits by watching. It has no apply. See `kr8s_flows`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FLOWS = (
    "objects_are_created_patched_labelled_and_deleted",
    "a_deployment_is_waited_for_scaled_and_its_pods_found",
    "other_kinds_are_discovered_and_listed_across_namespaces",
    "a_watch_yields_what_happens",
)


@pytest.fixture(scope="module")
def told(plane: Any) -> dict[str, str]:
    """What became of each flow."""
    namespaces = [f"kr8s-{number}" for number in range(len(FLOWS))]
    for name in namespaces:
        plane.api.ask("POST", "/api/v1/namespaces", None, {"metadata": {"name": name}})
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance.kr8s_flows", str(plane.data_dir / "kubeconfig"), *namespaces],
        check=False, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result: dict[str, str] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("flow", FLOWS)
def test_kr8s_finds_its_way(told: dict[str, str], flow: str) -> None:
    """Each is a use of the client from its documentation."""
    assert told[flow] == "", told[flow]
