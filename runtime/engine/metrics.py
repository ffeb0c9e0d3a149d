"""What the engine does, as Prometheus text: queues, handlers' failures, how fresh each cache is, whether this replica leads.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from .engine import Engine

if TYPE_CHECKING:
    from .membership import Membership

Sample = tuple[Mapping[str, str], float]


def metrics_text(engine: Engine, leading: bool | None = None) -> str:
    """The metrics of an engine; `leading` is None where nobody is elected."""
    queues = engine.statistics()
    now = engine.clock.monotonic()
    informers = [({"kind": str(i.kind.resource)}, i) for i in engine.informers]
    parts = [
        _metric("reconcile_queue_waiting", "gauge", "Keys that wait for a worker.", _of(queues, "waiting")),
        _metric("reconcile_queue_processing", "gauge", "Keys that a worker holds.", _of(queues, "processing")),
        _metric("reconcile_queue_delayed", "gauge", "Keys that wait for a time.", _of(queues, "delayed")),
        _metric("reconcile_queue_failing", "gauge", "Keys whose last attempt failed.", _of(queues, "failing")),
        _metric("reconcile_queue_added_total", "counter", "Keys added, merged ones included.", _of(queues, "added")),
        _metric("reconcile_queue_processed_total", "counter", "Keys processed.", _of(queues, "processed")),
        _metric("reconcile_queue_retried_total", "counter", "Attempts that failed and are repeated.", _of(queues, "retried")),
        _metric(
            "reconcile_handlers_failing", "gauge", "Handlers and objects whose last attempt failed.",
            [({}, float(len(engine.reports.failing)))],
        ),
        _metric(
            "reconcile_cache_objects", "gauge", "Objects in the cache of a kind.",
            [(labels, float(len(i.cache.objects))) for labels, i in informers],
        ),
        _metric(
            "reconcile_cache_synced", "gauge", "Whether the cache of a kind has held the whole state.",
            [(labels, float(i.synced)) for labels, i in informers],
        ),
        _metric(
            "reconcile_watch_silent_seconds", "gauge", "Seconds since a kind's watch was last heard.",
            [(labels, now - i.last_heard_s) for labels, i in informers if i.last_heard_s],
        ),
        _metric("reconcile_cache_revision", "gauge", "The revision that a cache shows.",
                [(labels, float(i.revision)) for labels, i in informers]),
    ]  # fmt: skip
    if leading is not None:
        parts.append(_metric("reconcile_leader", "gauge", "Whether this replica holds the lease.", [({}, float(leading))]))
    return "".join(parts)


def shard_metrics_text(engine: Engine, membership: Membership) -> str:
    """How the objects are shared among the replicas, as this one sees it. O(objects)."""
    owned = [({"kind": str(i.kind.resource)}, float(sum(map(engine.gate, i.cache.objects)))) for i in engine.informers]
    parts = [
        _metric("reconcile_shard_member", "gauge", "Whether this replica may write.", [({}, float(membership.leading))]),
        _metric("reconcile_shard_members", "gauge", "The members that it knows of.", [({}, float(len(membership.members)))]),
        _metric("reconcile_shard_objects", "gauge", "The objects of a kind that are this replica's.", owned),
        _metric("reconcile_shard_moves_total", "counter", "How often objects were let go or taken up.",
                [({}, float(membership.moves))]),
    ]  # fmt: skip
    return "".join(parts)


def _of(queues: Mapping[str, object], name: str) -> list[Sample]:
    return [({"queue": queue}, float(getattr(statistics, name))) for queue, statistics in queues.items()]


def _metric(name: str, type_: str, about: str, samples: Iterable[Sample]) -> str:
    lines = [f"# HELP {name} {about}\n# TYPE {name} {type_}\n"]
    for labels, value in samples:
        inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{inner}}} {value:.10g}\n" if inner else f"{name} {value:.10g}\n")
    return "".join(lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
