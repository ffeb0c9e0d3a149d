"""Spans by OpenTelemetry, behind the seam `reconcile.causality.Spans`. Nothing imports this unless somebody wants traces.

`from_environment` sets OpenTelemetry up by its own variables (OTEL_TRACES_EXPORTER, OTEL_EXPORTER_OTLP_ENDPOINT, ...; the SDK
heeds all others: OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER ...). Where a program has set it up by itself, `adopt` takes that.

A revision that was written under a span is remembered for a while, so that the attempt which it wakes is linked to it.

Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/, https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry import context, trace
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from reconcile import causality
from reconcile.clock import Clock
from reconcile.errors import ReconcileError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

log = logging.getLogger(__name__)
REVISIONS_MAX = 20_000
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_KINDS = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT, "server": SpanKind.SERVER}


class TracingError(ReconcileError):
    """The environment asks for traces that cannot be had."""


class OpenSpan:
    """One span under way; current until it ends."""

    def __init__(self, span: trace.Span, clock: Clock | None) -> None:
        self._span, self._clock = span, clock
        self._token = context.attach(trace.set_span_in_context(span))
        self.traceparent = _text_of(span.get_span_context())

    def end(self, attributes: Mapping[str, Any] | None = None, error: str = "") -> None:
        """It is over; `error` says what went wrong."""
        context.detach(self._token)
        for name, value in (attributes or {}).items():
            self._span.set_attribute(name, value)
        if error:
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end(_nanoseconds(self._clock))


class OpenTelemetrySpans:
    """Implements `reconcile.causality.Spans`."""

    def __init__(self, provider: trace.TracerProvider) -> None:
        self._tracer = provider.get_tracer("reconcile")
        self._by_revision: OrderedDict[int, SpanContext] = OrderedDict()

    def begin(
        self, name: str, kind: str, attributes: Mapping[str, Any], *, clock: Clock | None = None, parent: str = "",
        revisions: Sequence[int] = (),
    ) -> OpenSpan:  # fmt: skip
        """Begin a span and make it the current one; see `reconcile.causality.Spans`."""
        found = _context_of(parent)
        within = trace.set_span_in_context(trace.NonRecordingSpan(found)) if found is not None else None
        links = [Link(self._by_revision[revision]) for revision in revisions if revision in self._by_revision]
        span = self._tracer.start_span(
            name, context=within, kind=_KINDS[kind], attributes=dict(attributes), links=links, start_time=_nanoseconds(clock)
        )
        return OpenSpan(span, clock)

    def wrote(self, revision: int, traceparent: str) -> None:
        """Remember under which span a revision was written."""
        found = _context_of(traceparent)
        if found is not None:
            self._by_revision[revision] = found
            if len(self._by_revision) > REVISIONS_MAX:
                self._by_revision.popitem(last=False)


def adopt() -> None:
    """Take what the program itself has set up, if it has, and nobody else did before."""
    provider = trace.get_tracer_provider()
    if causality.spans() is None and hasattr(provider, "add_span_processor"):  # the SDK's, and not a stand-in
        causality.use_spans(OpenTelemetrySpans(provider))
        log.info("traces: as the program has set OpenTelemetry up")


def from_environment(environ: Mapping[str, str], service: str) -> Callable[[], None]:
    """Set OpenTelemetry up as the environment says; what is returned sends what is left, at the end.

    Raises:
        TracingError: it names an exporter that there is none of.
    """
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = environ.get("OTEL_TRACES_EXPORTER", "otlp").split(",")
    exporters = [_exporter(name.strip()) for name in named if name.strip() not in ("", "none")]
    given = {} if "service.name" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "") else {"service.name": service}
    provider = TracerProvider(resource=Resource.create({} if environ.get("OTEL_SERVICE_NAME") else given))
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    causality.use_spans(OpenTelemetrySpans(provider))
    log.info("traces go to: %s", ", ".join(named))

    def end() -> None:
        causality.use_spans(None)
        provider.shutdown()

    return end


def _exporter(name: str) -> SpanExporter:
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    if name != "otlp":
        raise TracingError(f"OTEL_TRACES_EXPORTER={name}: there is otlp (over HTTP), console and none")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise TracingError("traces by OTLP take another package: pip install 'reconcile-toolkit[otel]'") from error
    return OTLPSpanExporter()


def _nanoseconds(clock: Clock | None) -> int | None:
    return int(clock.now() * 1e9) if clock is not None else None


def _text_of(found: SpanContext) -> str:
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{int(found.trace_flags):02x}" if found.is_valid else ""


def _context_of(traceparent: str) -> SpanContext | None:
    words = causality.parse_traceparent(traceparent)
    if words is None:
        return None
    return SpanContext(int(words[0], 16), int(words[1], 16), is_remote=True, trace_flags=TraceFlags(int(words[2], 16)))
