"""/metrics and the health checks: what monitoring reads, and what scripts wait for."""

from __future__ import annotations

import re
from typing import Any

from .test_http_errors import CM, ask


def samples(text: str) -> dict[str, float]:
    """Every sample by its name and labels; fails on a line that is no Prometheus text."""
    found: dict[str, float] = {}
    for row in text.splitlines():
        if row.startswith("#"):
            assert re.match(r"# (HELP|TYPE) [a-z_]+ .+", row), row
            continue
        parts = re.fullmatch(r'([a-z_]+(?:\{(?:[a-z_]+="(?:[^"\\]|\\.)*",?)*\})?) (\S+)', row)
        assert parts is not None, row
        assert parts[1] not in found, row
        found[parts[1]] = float(parts[2])
    return found


async def test_requests_are_counted_by_resource_verb_and_code(serve: Any) -> None:
    """The names and labels are kube-apiserver's: dashboards exist for them."""
    async with serve(tls=False) as site:
        await ask(site, "POST", CM, json={"metadata": {"name": "a"}})
        await ask(site, "GET", f"{CM}/a")
        await ask(site, "GET", f"{CM}/none")
        for number in range(50):
            await ask(site, "GET", f"/apis/nonsense{number}/v1/things")
        code, kind, text = await ask(site, "GET", "/metrics")
        assert (code, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
        found = samples(text)
        labels = 'component="apiserver",group="",version="v1",resource="configmaps",subresource=""'
        counter = "apiserver_request_total"
        assert found[f'{counter}{{code="201",{labels},scope="namespace",verb="CREATE"}}'] == 1
        assert found[f'{counter}{{code="200",{labels},scope="resource",verb="GET"}}'] == 1
        assert found[f'{counter}{{code="404",{labels},scope="resource",verb="GET"}}'] == 1
        name = "apiserver_request_duration_seconds"
        assert found[f'{name}_count{{{labels},scope="resource",verb="GET"}}'] == 2
        assert found[f'{name}_bucket{{{labels},scope="resource",verb="GET",le="+Inf"}}'] == 2
        assert found['apiserver_storage_objects{resource="configmaps"}'] == 1
        assert found["process_resident_memory_bytes"] > 1e6
        assert not any("nonsense" in sample for sample in found), "what a client makes up is no label"


async def test_a_source_that_is_added_is_told_too(serve: Any) -> None:
    """The engine's queues come from outside."""

    async def more() -> str:
        return "answers 42\n"

    async with serve(tls=False) as site:
        site.server.add_metrics(more)
        assert samples((await ask(site, "GET", "/metrics"))[2])["answers"] == 42


async def test_metrics_are_not_for_everybody(serve: Any) -> None:
    """They tell what is stored; health is open."""
    async with serve() as site:
        assert (await ask(site, "GET", "/metrics"))[0] == 200
        assert (await ask(site, "GET", "/metrics", headers={"Authorization": "Bearer wrong"}))[0] == 401


async def test_ready_waits_for_more_than_alive(serve: Any) -> None:
    """A control plane that fills its caches must not be restarted for it."""
    async with serve(tls=False) as site:
        site.server.add_check("informer-sync", lambda: "not yet", ready_only=True)
        assert (await ask(site, "GET", "/livez?verbose"))[2] == "[+]ping ok\nlivez check passed\n"
        assert (await ask(site, "GET", "/livez/informer-sync"))[0] == 404
        code, _, text = await ask(site, "GET", "/readyz?verbose")
        assert (code, text) == (500, "[+]ping ok\n[-]informer-sync failed: not yet\nreadyz check failed\n")
        assert (await ask(site, "GET", "/readyz?exclude=informer-sync"))[0] == 200


async def test_how_often_checks_were_well_is_told(serve: Any) -> None:
    """What an operator of a service promises is measured by it."""
    async with serve(tls=False) as site:
        site.server.add_check("disk", lambda: "full")
        *_, text = await ask(site, "GET", "/metrics/slis")
        assert 'kubernetes_healthcheck{name="ping",type="livez"} 1' in text, "before anybody asked for it"
        assert "kubernetes_healthchecks_total{" not in text
        for path in ("/livez", "/readyz", "/readyz/ping", "/readyz/nosuch"):
            await ask(site, "GET", path)
        *_, text = await ask(site, "GET", "/metrics/slis")
        assert 'kubernetes_healthcheck{name="ping",type="readyz"} 1' in text
        assert 'kubernetes_healthcheck{name="disk",type="livez"} 0' in text
        assert 'kubernetes_healthchecks_total{name="ping",status="success",type="readyz"} 2' in text
        assert "nosuch" not in text
