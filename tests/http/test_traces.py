"""OpenTelemetry: attempts and requests are spans, one trace leads through operator and server, and causes name it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from reconcile import Operator, Resource, field, kind, struct
from reconcile.causality import Cause, parse_traceparent, use_spans
from reconcile.client import MERGE_PATCH, Patch
from reconcile.errors import NotFoundError, TemporaryError
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.remote import RemoteOperators
from reconcile.runtime.testing.memory_world import MemoryWorld
from reconcile.runtime.testing.virtual import EPOCH_S, VirtualClock, virtual
from reconcile.runtime.tracing import OpenTelemetrySpans
from tests.http.conftest import ConfigMap


@struct
class Spec:
    text: str = ""


@struct
class Status:
    heard: str = ""


@kind("example.com", "v1")
class Word(Resource):
    """Something that is heard."""

    spec: Spec = field(factory=Spec)
    status: Status = field(factory=Status)


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Spans are kept here while the test runs."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    use_spans(OpenTelemetrySpans(provider))
    yield exporter
    use_spans(None)
    provider.shutdown()


def hearing() -> Operator:
    app = Operator("words.example.com")

    @app.on.reconcile(Word)
    async def hear(word: Word, attempt: int) -> None:
        if word.spec.text == "mumbled" and not attempt:
            raise TemporaryError("say it again", delay_s=1)
        word.status.heard = word.spec.text

    return app


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def spans(exporter: InMemorySpanExporter, kind: SpanKind) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.kind is kind]


@virtual
async def test_an_attempt_is_a_span_that_says_what_why_and_how_it_ended(
    exporter: InMemorySpanExporter, clock: VirtualClock
) -> None:
    """A slow or failing handler is looked for by its object, its handler and its outcome."""
    async with MemoryWorld(clock, hearing()) as world:
        await world.create(Word(name="w", spec=Spec(text="mumbled")))
        await world.settled()
        await clock.sleep(2)
        first, second, *_ = spans(exporter, SpanKind.INTERNAL)
    assert first.name == "words.example.com/hear"
    assert told(first) | {"reconcile.attempt": 1} == {
        "reconcile.handler": first.name, "reconcile.attempt": 1, "reconcile.revision": 1, "reconcile.reason": "change",
        "reconcile.merged": 1, "k8s.resource": "words.example.com", "k8s.namespace.name": "default", "k8s.name": "w",
        "reconcile.outcome": "failed", "reconcile.wrote": (),
    }  # fmt: skip
    assert (first.status.status_code, first.status.description) == (StatusCode.ERROR, "TemporaryError: say it again")
    assert told(second)["reconcile.outcome"] == "done"
    assert second.status.status_code is StatusCode.UNSET
    assert first.start_time is not None
    assert EPOCH_S <= first.start_time / 1e9 <= EPOCH_S + 1, "spans have the times of the clock that everything has"


async def test_one_trace_leads_from_the_handler_through_the_wire_and_the_next_attempt_is_linked_to_it(
    exporter: InMemorySpanExporter, serve: Callable[..., Any]
) -> None:
    """What an operator's write led to is one look away, on either side."""
    async with serve() as site:
        site.api.serve(Word.__kind__)
        async with RemoteOperators(site.client, SystemClock()) as remote:
            await remote.start_operator(hearing())
            made = await site.client.create(Word.__kind__, {"metadata": {"name": "w"}, "spec": {"text": "hello"}}, "default")
            async with asyncio.timeout(10):
                while (await site.api.get(Word.__kind__, "w", "default")).tree.get("status") != {"heard": "hello"}:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                while len(spans(exporter, SpanKind.INTERNAL)) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        status = (await site.api.get(Word.__kind__, "w", "default")).tree
        revision = int(status["metadata"]["resourceVersion"])
        cause = Cause.decode(await site.api.store.cause(revision))
    attempt, following = spans(exporter, SpanKind.INTERNAL)[:2]
    by_id = {span.context.span_id: span for span in exporter.get_finished_spans() if span.context is not None}
    (patched,) = [s for s in spans(exporter, SpanKind.CLIENT) if s.name == "PATCH"]
    (served,) = [s for s in spans(exporter, SpanKind.SERVER) if told(s).get("http.request.method") == "PATCH"]
    assert patched.parent is not None
    assert by_id[patched.parent.span_id] is attempt
    assert served.parent is not None
    assert by_id[served.parent.span_id] is patched
    assert served.name == "patch words/status"
    assert told(served)["reconcile.revision"] == revision
    assert told(served)["http.response.status_code"] == told(patched)["http.response.status_code"] == 200
    assert cause is not None
    assert cause.handler == attempt.name
    words = parse_traceparent(cause.trace)
    assert words is not None
    assert served.context is not None
    assert (words[0], words[1]) == (f"{served.context.trace_id:032x}", f"{served.context.span_id:016x}")
    created = [s for s in spans(exporter, SpanKind.CLIENT) if s.name == "POST"]
    linked = {link.context.span_id for link in attempt.links}
    assert told(attempt)["reconcile.revision"] == int(made["metadata"]["resourceVersion"])
    assert linked, "to the write that woke it"
    assert by_id[next(iter(linked))] in [*created, *spans(exporter, SpanKind.SERVER)]
    (link,) = following.links
    assert by_id[link.context.span_id] in (patched, served)


async def test_a_server_without_traces_keeps_what_a_client_says_of_its_own(serve: Callable[..., Any]) -> None:
    """kubectl, or anybody: the trace of a write is found in its cause; what is no traceparent is not kept."""
    async with serve() as site:
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        client = site.client
        bare = client._lines
        for name, header, kept in (
            ("a", parent, parent),
            ("b", "garbage\t1", ""),
            ("c", f"00-{'0' * 32}-b7ad6b7169203331-01", ""),
        ):
            client._lines = lambda *given, header=header: f"traceparent: {header}\r\n" + bare(*given)
            made = await client.create(ConfigMap.__kind__, {"metadata": {"name": name}}, "default")
            cause = Cause.decode(await site.api.store.cause(int(made["metadata"]["resourceVersion"])))
            assert cause is not None
            assert cause.trace == kept
            assert cause.reason == "request"
            assert Cause.decode(cause.encode()) == cause


async def test_a_refused_request_is_a_span_that_says_so(exporter: InMemorySpanExporter, serve: Callable[..., Any]) -> None:
    """404 is the client's error and not the server's."""
    async with serve() as site:
        with pytest.raises(NotFoundError):
            await site.client.patch(ConfigMap.__kind__, "none", Patch(MERGE_PATCH, {"data": {}}), "default")
    (asked,) = spans(exporter, SpanKind.CLIENT)
    (served,) = spans(exporter, SpanKind.SERVER)
    assert (told(asked)["http.response.status_code"], asked.status.status_code) == (404, StatusCode.ERROR)
    assert (told(served)["http.response.status_code"], served.status.status_code) == (404, StatusCode.UNSET)


@virtual
async def test_what_a_program_has_set_up_itself_is_used(
    monkeypatch: pytest.MonkeyPatch, exporter: InMemorySpanExporter, clock: VirtualClock
) -> None:
    """A program with traces of its own wants one set of them; and one without must not pay for any."""
    use_spans(None)
    async with MemoryWorld(clock, hearing()) as world:
        await world.create(Word(name="w", spec=Spec(text="x")))
        await world.settled()
    assert not exporter.get_finished_spans(), "nobody wants traces"
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    async with MemoryWorld(clock, hearing()) as world:
        await world.create(Word(name="w", spec=Spec(text="x")))
        await world.settled()
    assert spans(exporter, SpanKind.INTERNAL)
    provider.shutdown()


def _run(tmp_path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "app.py").write_text("from reconcile import on\n\n\n@on.startup()\ndef no() -> None:\n    raise SystemExit(7)\n")
    (tmp_path / "config").write_text(
        "{clusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}], users: [{name: u, user: {}}],"
        " contexts: [{name: x, context: {cluster: c, user: u}}], current-context: x}"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "KUBE"))}
    return subprocess.run(
        [sys.executable, "-m", "reconcile.cli", "run", str(tmp_path / "app.py"), "--kubeconfig", str(tmp_path / "config")],
        env={**kept, **env}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_the_environment_says_where_traces_go(tmp_path: Path) -> None:
    """As every program with OpenTelemetry does; and what cannot be had is told, not passed over."""
    said = _run(tmp_path, OTEL_TRACES_EXPORTER="console")
    assert "traces go to: console" in said.stderr
    assert "traces go to" not in _run(tmp_path).stderr
    assert "traces go to" not in _run(tmp_path, OTEL_TRACES_EXPORTER="console", OTEL_SDK_DISABLED="true").stderr
    said = _run(tmp_path, OTEL_TRACES_EXPORTER="zipkin")
    assert said.returncode == 1
    assert "there is otlp (over HTTP), console and none" in said.stderr
