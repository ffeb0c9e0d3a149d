"""A kopf operator for Sprockets: what `kopf run` gets in test_conformance_custom_kinds.py, before their kind is there."""

from __future__ import annotations

from typing import Any

import kopf


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """Watch in short turns, so that the end is quick."""
    settings.persistence.finalizer = "parts.example.com/kopf"
    settings.watching.server_timeout = 30


@kopf.on.create("parts.example.com", "v1", "sprockets")
def made(spec: Any, patch: Any, **_: Any) -> None:
    """Write a status."""
    patch.status["phase"] = f"Made with {spec['teeth']} teeth"


@kopf.on.delete("parts.example.com", "v1", "sprockets")
def gone(**_: Any) -> None:
    """Hold the object by a finalizer until this was called."""
