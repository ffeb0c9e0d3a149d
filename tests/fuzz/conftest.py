"""How much is sent: a little in each run, `--fuzz-requests N --fuzz-seed S` for more."""

from __future__ import annotations

import pytest

SEEDS, REQUESTS = (1, 2, 3), 1500


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-requests", type=int, default=REQUESTS, help="requests for each seed")
    parser.addoption("--fuzz-seed", type=int, default=None, help="one seed instead of the usual ones")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--fuzz-seed")
        metafunc.parametrize("seed", SEEDS if chosen is None else (chosen,))


@pytest.fixture
def requests(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--fuzz-requests"))
