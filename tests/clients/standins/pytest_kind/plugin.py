"""The option that kr8s' settings name."""

from __future__ import annotations

from typing import Any


def pytest_addoption(parser: Any) -> None:
    """As the real plugin has it; there is nothing to keep."""
    parser.addoption("--keep-cluster", action="store_true", default=False)
