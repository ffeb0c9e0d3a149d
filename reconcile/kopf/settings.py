"""`settings`: kopf's groups of knobs. What the engine does in its own way is accepted and has no effect; each says so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class Group(SimpleNamespace):
    """One group; any further knob may be set on it, and has no effect."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None


class WebhookServer:
    """How kopf is reached by the API server. Admission handlers are called in process here: nothing listens."""

    def __init__(self, **options: Any) -> None:
        self.options = options


class OperatorSettings:
    """All groups. `execution.default_backoff` is heeded where it is set before a handler is declared."""

    def __init__(self) -> None:
        self.process = Group()
        self.posting = Group(enabled=True)
        self.peering = Group(standalone=True)
        self.watching = Group()
        self.queueing = Group()
        self.scanning = Group()
        self.admission = Group(server=None, managed=None)
        self.execution = Group(default_backoff=60.0)
        self.background = Group()
        self.networking = Group()
        self.persistence = Group()


SETTINGS = OperatorSettings()
"""Those of the process."""
