"""Embedding: `kopf.operator()` and `kopf.run()` run what was declared, in the caller's event loop and on the caller's cluster.

The one module of this package that does more than declare; it is loaded when it is used.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Any

from reconcile.registry import Operator, default_operators

_POLL_S = 0.05


def configure(debug: bool | None = None, verbose: bool | None = None, quiet: bool | None = None, **_: Any) -> None:
    """Log to stderr."""
    level = logging.DEBUG if debug or verbose else logging.WARNING if quiet else logging.INFO
    logging.basicConfig(level=level, format="[%(asctime)s] %(name)-20.20s [%(levelname)-8.8s] %(message)s", force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


async def operator(
    *,
    registry: Operator | None = None,
    memo: Any = None,
    ready_flag: Any = None,
    stop_flag: Any = None,
    namespace: str | None = None,
    namespaces: Collection[str] = (),
    liveness_endpoint: str | None = None,
    **_: Any,
) -> None:
    """Run the handlers of `registry` (or all that were declared) until `stop_flag` is set or the task is cancelled.

    Flags are `asyncio.Event`s, `threading.Event`s or futures. Options that this engine has no use for have no effect.
    """
    from contextlib import AsyncExitStack

    from reconcile.runtime.client.http import HttpClient
    from reconcile.runtime.client.kubeconfig import load
    from reconcile.runtime.clock import SystemClock
    from reconcile.runtime.login import Login
    from reconcile.runtime.observing import Observing
    from reconcile.runtime.remote import RemoteOperators

    operators = [registry] if registry is not None else [op for op in default_operators() if op.handlers]
    named = namespace or next(iter(namespaces), "")
    access, clock = load(), SystemClock()
    login = Login(operators, access)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(HttpClient(access, clock, log_in=login if login else None, slim=True))
        remote = await stack.enter_async_context(RemoteOperators(client, clock, namespace="" if "*" in named else named))
        login.engine = remote.engine
        if liveness_endpoint:
            await stack.enter_async_context(Observing(remote, liveness_endpoint))
        for one in operators:
            one.memo = memo if memo is not None else one.memo
            await remote.start_operator(one)
        _raise(ready_flag)
        await _lowered(stop_flag)


def run(**options: Any) -> None:
    """As `operator`, in an event loop of its own."""
    asyncio.run(operator(**options))


async def spawn_tasks(**options: Any) -> Collection[asyncio.Task[None]]:
    """As `operator`, in a task."""
    return [asyncio.create_task(operator(**options), name="operator")]


def _raise(flag: Any) -> None:
    if flag is None:
        return
    if hasattr(flag, "set_result"):
        flag.set_result(None)
    else:
        flag.set()


async def _lowered(flag: Any) -> None:
    """Wait for the flag. One that belongs to threads is looked at again and again."""
    if flag is None:
        await asyncio.Event().wait()
    elif isinstance(flag, asyncio.Event):
        await flag.wait()
    elif isinstance(flag, asyncio.Future):
        await flag
    else:
        done = flag.is_set if hasattr(flag, "is_set") else flag.done
        while not done():  # noqa: ASYNC110 - an event of threads wakes no coroutine
            await asyncio.sleep(_POLL_S)


def login_via_client(**_: Any) -> None:
    """Log in as `reconcile` itself does: by the kubeconfig, or as the pod's service account."""


login_via_pykube = login_with_kubeconfig = login_with_service_account = login_via_client
