"""Faults come in a short form, for every run of the tests, and in a long one: `pytest tests/faults --soak`."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--soak` and `--seed`."""
    parser.addoption("--soak", action="store_true", help="a hundred kills instead of five")
    parser.addoption("--seed", type=int, default=1, help="of the random moments")


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    """How often the control plane is killed."""
    return 100 if request.config.getoption("--soak") else 5


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Where the random moments begin."""
    return int(request.config.getoption("--seed"))
