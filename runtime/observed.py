"""How the store and the engine of a control plane are, for its health checks and /metrics."""

from __future__ import annotations

from .api.http.metrics import metric
from .engine.engine import Engine
from .engine.metrics import metrics_text
from .store import Store, StoreError
from .store.interface import WatchStore

_KEY = b"/health"


def trouble(store: WatchStore) -> str:
    """Why the store serves no longer, or an empty string."""
    try:
        store.get(_KEY)
    except StoreError as error:
        return str(error)
    return ""


def unsynced(engine: Engine) -> str:
    """Which caches have not held the whole state yet, or an empty string."""
    waiting = sorted(informer.kind.resource for informer in engine.informers if not informer.synced and not informer.absent)
    return f"{len(waiting)} caches are not filled yet: {', '.join(waiting[:5])}" if waiting else ""


async def store_metrics(store: WatchStore) -> str:
    """The store's metrics, under etcd's names; sizes are known of an embedded one alone."""
    parts = [
        metric("etcd_debugging_mvcc_current_revision", "gauge", "The newest revision.", [({}, store.revision)]),
        metric("etcd_debugging_mvcc_compact_revision", "gauge", "History starts here.", [({}, store.compacted)]),
    ]
    if isinstance(store, Store):
        size, used = await store.sizes_bytes()
        parts += [
            metric(
                "etcd_db_total_size_in_bytes", "gauge", "What the database takes on disk.", [({"endpoint": "embedded"}, size)]
            ),
            metric("etcd_mvcc_db_total_size_in_use_in_bytes", "gauge", "How much of that is in use.", [({}, used)]),
        ]
    return "".join(parts)


async def engine_metrics(engine: Engine) -> str:
    """The engine's metrics, its queues also under the names that every Kubernetes controller has for them."""
    queues = engine.statistics()
    known = (
        ("workqueue_depth", "gauge", "Keys that wait for a worker.", "waiting"),
        ("workqueue_adds_total", "counter", "Keys added.", "added"),
        ("workqueue_retries_total", "counter", "Attempts that failed and are repeated.", "retried"),
        ("workqueue_work_in_progress", "gauge", "Keys that a worker holds.", "processing"),
        ("controller_runtime_reconcile_total", "counter", "Keys processed.", "processed"),
    )
    parts = []
    for name, type_, about, field in known:
        label = "controller" if name.startswith("controller") else "name"
        samples = [({label: queue}, float(getattr(statistics, field))) for queue, statistics in queues.items()]
        parts.append(metric(name, type_, about, samples))
    return "".join(parts) + metrics_text(engine)
