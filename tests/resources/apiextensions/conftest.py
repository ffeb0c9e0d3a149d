"""An API server that serves what CustomResourceDefinitions declare."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest

from reconcile.kinds import kind_of
from reconcile.resources import bootstrap_objects, builtin_kinds
from reconcile.resources.apiextensions import custom_resources
from reconcile.resources.core import Namespace
from reconcile.resources.core.namespace_controller import namespace_controller
from reconcile.resources.gc import garbage_collector
from reconcile.runtime.api import ApiServer
from reconcile.runtime.client import InProcessClient
from reconcile.runtime.engine.engine import Engine
from reconcile.runtime.store import Store
from reconcile.runtime.store.database import InlineDatabase
from reconcile.runtime.testing.virtual import VirtualClock
from tests.resources.apiextensions.declaring import Declare, Declaring


@pytest.fixture
def declaring() -> Declare:
    """Opens a control plane: `async with declaring(clock) as plane`; with a `place`, on what is stored there."""

    @asynccontextmanager
    async def opened(clock: VirtualClock, place: Path | Literal[":memory:"] = ":memory:") -> AsyncIterator[Declaring]:
        store = await Store.open(place, clock, database=InlineDatabase)
        api = ApiServer(store, clock, namespace_kind=kind_of(Namespace))
        for cls in builtin_kinds():
            api.serve(kind_of(cls))
        client = InProcessClient(api)
        if not (await client.list(kind_of(Namespace))).items:
            for tree in bootstrap_objects():
                await client.create(kind_of(Namespace), tree)
        engine = Engine(client, clock, admission=api)
        api.on_kinds_changed(engine.kinds_changed)
        try:
            await engine.start(custom_resources(api.serve_declared, api.withdraw_declared))
            await engine.start(namespace_controller())
            await engine.start(garbage_collector())
            yield Declaring(clock, api, client, engine)
        finally:
            await engine.close()
            await store.close()

    return opened
