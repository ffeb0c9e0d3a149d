"""What the API server did, as Prometheus text, under kube-apiserver's own names.

Only resources that are served become labels, so that a client that asks for nonsense cannot fill the memory with it. Who
composes adds further sources: the engine's queues, say.

Source: k8s.io/apiserver/pkg/endpoints/metrics, https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

from reconcile.identity import Access
from reconcile.runtime.api.server import ApiServer

from .inflight import InFlight

Source = Callable[[], Awaitable[str]]
Sample = tuple[Mapping[str, str], float]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS_S = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 10.0, 30.0, 60.0)
_LABELS = ("group", "version", "resource", "subresource", "scope", "verb")
_Labels = tuple[str, str, str, str, str, str]


class Metrics:
    """Counts requests, and writes everything down when somebody asks."""

    def __init__(self, api: ApiServer, in_flight: InFlight) -> None:
        self._api, self._in_flight = api, in_flight
        self._requests: Counter[tuple[_Labels, int]] = Counter()
        self._buckets: dict[_Labels, list[int]] = {}
        self._seconds: dict[_Labels, float] = {}
        self.sources: list[Source] = []

    def answered(self, access: Access, code: int, took_s: float) -> None:
        """Note one request that was answered; of a stream, when it began to be."""
        labels = self._labels(access)
        self._requests[labels, code] += 1
        if access.verb == "watch":
            return  # it lasts as long as its client likes
        buckets = self._buckets.get(labels)
        if buckets is None:
            buckets = self._buckets[labels] = [0] * (len(_BOUNDS_S) + 1)
        buckets[bisect_left(_BOUNDS_S, took_s)] += 1
        self._seconds[labels] = self._seconds.get(labels, 0.0) + took_s

    def _labels(self, access: Access) -> _Labels:
        verb = access.verb.upper()
        if not access.resource or self._api.find(access.group, access.version, access.resource) is None:
            return "", "", "", "", "", verb if access.verb in _VERBS else "OTHER"
        scope = "resource" if access.name else "namespace" if access.namespace else "cluster"
        return access.group, access.version, access.resource, access.subresource[:40], scope, verb

    async def text(self) -> str:
        """Everything, as of now."""
        parts = [
            metric("apiserver_request_total", "counter", "Requests by verb, resource and HTTP code.", self._totals()),
            "".join(self._histogram()),
            metric(
                "apiserver_current_inflight_requests", "gauge", "Requests that are being answered.",
                [({"request_kind": "readOnly"}, self._in_flight.reads), ({"request_kind": "mutating"}, self._in_flight.writes)],
            ),
            metric(
                "apiserver_storage_objects", "gauge", "Stored objects by resource.",
                [({"resource": resource}, count) for resource, count in self._api.object_counts().items()],
            ),
            *process_metrics(),
        ]  # fmt: skip
        return "".join(parts) + "".join([await source() for source in self.sources])

    def _totals(self) -> Iterator[Sample]:
        for (labels, code), count in self._requests.items():
            yield {"code": str(code), "component": "apiserver", **_named(labels)}, count

    def _histogram(self) -> Iterator[str]:
        name = "apiserver_request_duration_seconds"
        yield f"# HELP {name} How long requests took; streams are left out.\n# TYPE {name} histogram\n"
        for labels, buckets in self._buckets.items():
            named, total = {"component": "apiserver", **_named(labels)}, 0
            for bound, count in zip((*map(str, _BOUNDS_S), "+Inf"), buckets, strict=True):
                total += count
                yield line(f"{name}_bucket", {**named, "le": bound}, total)
            yield line(f"{name}_sum", named, self._seconds[labels])
            yield line(f"{name}_count", named, total)


_VERBS = frozenset({"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "post", "put"})


def _named(labels: _Labels) -> dict[str, str]:
    return dict(zip(_LABELS, labels, strict=True))


def metric(name: str, type_: str, about: str, samples: Iterable[Sample]) -> str:
    """One metric with its samples."""
    return f"# HELP {name} {about}\n# TYPE {name} {type_}\n" + "".join(line(name, labels, value) for labels, value in samples)


def line(name: str, labels: Mapping[str, str], value: float) -> str:
    """One sample."""
    inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{inner}}} {value:.10g}\n" if inner else f"{name} {value:.10g}\n"


def process_metrics() -> Iterator[str]:
    """What this process uses, as every Prometheus client tells it; from /proc, which needs no library."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rsplit(b") ", 1)[1].split()
    with open("/proc/stat") as file:
        booted_s = next(int(row.split()[1]) for row in file if row.startswith("btime "))
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    for name, type_, about, value in (
        ("process_cpu_seconds_total", "counter", "CPU time.", (int(fields[11]) + int(fields[12])) / ticks),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory.", float(fields[20])),
        ("process_resident_memory_bytes", "gauge", "Resident memory.", int(fields[21]) * page),
        ("process_open_fds", "gauge", "Open files.", len(os.listdir("/proc/self/fd"))),
        ("process_start_time_seconds", "gauge", "When it started, since the epoch.", booted_s + int(fields[19]) / ticks),
    ):
        yield metric(name, type_, about, [({}, value)])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
