"""Where the cluster is. This file is put into the package that it serves, and imports that package's own modules."""

from __future__ import annotations

import asyncio
import importlib
import inspect
from typing import Any

_PACKAGE = __name__.removesuffix(".e2e_test.base")


def get_e2e_configuration() -> Any:
    """The configuration that the user's kubeconfig says."""
    configuration = importlib.import_module(f"{_PACKAGE}.client.configuration").Configuration()
    loaded = importlib.import_module(f"{_PACKAGE}.config.kube_config").load_kube_config(client_configuration=configuration)
    if inspect.isawaitable(loaded):
        asyncio.set_event_loop(asyncio.new_event_loop())
        asyncio.get_event_loop().run_until_complete(loaded)
    return configuration
