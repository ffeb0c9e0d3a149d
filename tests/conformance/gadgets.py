"""A kopf operator for Gadgets: what `kopf run` gets in test_conformance_kopf.py.

It writes what it sees into the objects' status, so that the tests read everything from the API.
"""

from __future__ import annotations

from typing import Any

import kopf


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """Post events at once, and keep progress where a status with a schema can hold it."""
    settings.persistence.finalizer = "toys.example.com/kopf"
    settings.posting.level = 0
    settings.watching.server_timeout = 30


@kopf.on.create("toys.example.com", "v1", "gadgets")
def made(body: Any, spec: Any, patch: Any, **_: Any) -> dict[str, Any]:
    """Write a status, and tell."""
    patch.status["phase"] = "Made"
    kopf.event(body, type="Normal", reason="Made", message=f"size is {spec['size']}")
    return {"size": spec["size"]}


@kopf.on.create("toys.example.com", "v1", "gadgets")
def stumbles(spec: Any, retry: int, **_: Any) -> None:
    """Fail once, as handlers do: the progress is kept in an annotation between the attempts."""
    if spec.get("colour") == "red" and retry == 0:
        raise kopf.TemporaryError("not yet", delay=0.1)


@kopf.on.update("toys.example.com", "v1", "gadgets", field="spec.size")
def resized(old: Any, new: Any, patch: Any, **_: Any) -> None:
    """See the difference, whoever made it."""
    patch.status["phase"] = f"Resized from {old} to {new}"


@kopf.timer("toys.example.com", "v1", "gadgets", interval=0.2, when=lambda spec, **_: spec.get("colour") == "ticking")
def ticks(status: Any, patch: Any, **_: Any) -> None:
    """Count a few times, then stand still."""
    if status.get("ticks", 0) < 3:
        patch.status["ticks"] = status.get("ticks", 0) + 1


@kopf.on.delete("toys.example.com", "v1", "gadgets")
async def gone(name: str, namespace: str | None, body: Any, **_: Any) -> None:
    """Say good-bye before the finalizer goes."""
    kopf.event(body, type="Normal", reason="Gone", message=f"{namespace}/{name}")
