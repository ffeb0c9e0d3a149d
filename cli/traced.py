"""Traces of a whole process, where the environment asks for them by OpenTelemetry's variables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import CommandError

_WANTED_BY = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


@contextmanager
def traced(service: str) -> Iterator[None]:
    """Within it spans are sent where the environment says, if it does; `service` is who we are, if it does not say.

    Raises:
        CommandError: what that takes is not installed, or is not known.
    """
    off = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if off or not any(os.environ.get(name) for name in _WANTED_BY) or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        yield
        return
    try:
        from reconcile.runtime.tracing import TracingError, from_environment
    except ImportError as error:
        wanted = next(name for name in _WANTED_BY if os.environ.get(name))
        raise CommandError(f"{wanted} asks for traces, which takes more: pip install 'reconcile-toolkit[otel]'") from error
    try:
        end = from_environment(os.environ, service)
    except TracingError as error:
        raise CommandError(str(error)) from error
    try:
        yield
    finally:
        end()
