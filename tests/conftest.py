"""What every test gets: coroutine tests run on a fresh event loop, and a loop left dirty is an error."""

from __future__ import annotations

import asyncio
import inspect
import os

import hypothesis
import pytest

# The same examples in every run, and no verdict about time: a slow machine is no bug. RECONCILE_TEST_RANDOM=1 explores.
hypothesis.settings.register_profile(
    "steady", deadline=None, derandomize=True, database=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("exploring", hypothesis.settings.get_profile("steady"), derandomize=False)
hypothesis.settings.load_profile("exploring" if os.environ.get("RECONCILE_TEST_RANDOM") else "steady")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def` tests to their end, bounded so that a lost wake-up fails instead of hanging."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in wanted}
    limit = pyfuncitem.get_closest_marker("time_limit_s")
    timeout_s = float(limit.args[0]) if limit else 30.0

    async def bounded() -> None:
        async with asyncio.timeout(timeout_s):
            await pyfuncitem.obj(**arguments)

    asyncio.run(bounded())
    return True


@pytest.fixture(autouse=True)
def _no_leftover_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A test never sees, and never writes, the state of a real control plane of this machine's user."""
    monkeypatch.setenv("RECONCILE_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    monkeypatch.delenv("KUBECONFIG", raising=False)
