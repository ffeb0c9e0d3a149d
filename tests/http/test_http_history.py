"""`history`, `diff` and `get --at` as a person types them, against a served API."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
import yaml

from reconcile.client import MERGE_PATCH, Patch
from reconcile.differences import changes
from reconcile.runtime.client.blocking import BlockingClient


class Said(NamedTuple):
    code: int
    out: str
    err: str


async def reconcile(site: Any, *arguments: str) -> Said:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "reconcile.cli", *arguments, env={**os.environ, "KUBECONFIG": str(site.kubeconfig)},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert b"Traceback" not in err, err.decode()
    return Said(process.returncode or 0, out.decode(), err.decode())


async def three_states(site: Any) -> list[int]:
    """ConfigMap settings made, changed and deleted; the revisions of that."""
    kind = site.kind("ConfigMap")
    await site.client.create(kind, {"metadata": {"name": "settings"}, "data": {"color": "red", "size": "1"}}, "default")
    made = site.api.store.revision
    await site.client.patch(kind, "settings", Patch(MERGE_PATCH, {"data": {"color": "blue"}}), "default")
    changed = site.api.store.revision
    await site.client.delete(kind, "settings", "default")
    return [made, changed, site.api.store.revision]


async def test_history_shows_a_line_for_each_change(serve: Any) -> None:
    """Revision, age, who, what; of deleted objects as well."""
    async with serve() as site:
        made, changed, deleted = await three_states(site)
        said = await reconcile(site, "history", "cm/settings")
        heading, *lines = said.out.splitlines()
        assert heading.split() == ["REVISION", "AGE", "WHO", "WHAT", "CHANGED"]
        assert [line.split()[0] for line in lines] == [str(made), str(changed), str(deleted)]
        assert [line.split()[3] for line in lines] == ["created", "changed", "deleted"]
        assert "data.color: red→blue" in lines[1]
        document = yaml.safe_load((await reconcile(site, "history", "cm/settings", "--from", str(changed), "-o", "yaml")).out)
        assert [item["type"] for item in document["items"]] == ["MODIFIED", "DELETED"]
        assert document["items"][0]["changes"] == [{"path": "data.color", "from": "red", "to": "blue"}]
        assert document["before"]["data"]["color"] == "red"
        limited = json.loads((await reconcile(site, "history", "cm/settings", "--limit", "1", "-o", "json")).out)
        assert [item["type"] for item in limited["items"]] == ["DELETED"]
        assert (await reconcile(site, "history", "cm/other")).code == 1
        assert "name one object" in (await reconcile(site, "history", "cm")).err


async def test_get_shows_what_there_was(serve: Any) -> None:
    """As a table, as documents, for kinds and names; by revision, age and time."""
    async with serve() as site:
        before = datetime.now(UTC).isoformat()
        made, changed, deleted = await three_states(site)
        assert "settings" in (await reconcile(site, "get", "cm", "--at", str(made))).out
        assert "settings" in (await reconcile(site, "get", "cm/settings", "--at", str(changed))).out
        tree = json.loads((await reconcile(site, "get", "cm/settings", "--at", str(made), "-o", "json")).out)
        assert (tree["kind"], tree["data"]["color"], tree["metadata"]["resourceVersion"]) == ("ConfigMap", "red", str(made))
        listed = json.loads((await reconcile(site, "get", "cm,ns", "--at", str(changed), "-o", "json")).out)
        assert [item["metadata"]["name"] for item in listed["items"]] == ["settings", "default"]
        gone = await reconcile(site, "get", "cm/settings", "--at", str(deleted))
        assert (gone.code, f'configmaps "settings" not found at revision {deleted}' in gone.err) == (1, True)
        assert "No resources found" in (await reconcile(site, "get", "cm", "--at", before)).err
        assert "No resources found" in (await reconcile(site, "get", "cm", "--at", "1h")).err
        assert "No resources found" in (await reconcile(site, "get", "cm", "--at", "0s")).err


async def test_diff_shows_what_is_different_with_diffs_exit_codes(serve: Any) -> None:
    """0 the same, 1 different, 2 trouble; plain text where no terminal is."""
    async with serve() as site:
        made, changed, deleted = await three_states(site)
        said = await reconcile(site, "diff", "cm/settings", "--from", str(made), "--to", str(changed), "-U0")
        assert said.code == 1
        assert said.out.splitlines()[:2] == [
            f"--- configmap/settings at revision {made}",
            f"+++ configmap/settings at revision {changed}",
        ]
        assert [line for line in said.out.splitlines()[2:] if line[0] in "+-"] == ["-  color: red", "+  color: blue"]
        assert "\x1b" not in said.out
        same = await reconcile(site, "diff", "cm/settings", "--from", str(made), "--to", str(made))
        assert (same.code, same.out) == (0, "")
        last = await reconcile(site, "diff", "cm/settings", "--to", str(changed))
        assert "+  color: blue" in last.out
        gone = await reconcile(site, "diff", "cm/settings")
        assert gone.code == 1
        assert all(line.startswith("-") for line in gone.out.splitlines()[3:])
        for wrong in ("cm/none", "cm"):
            assert (await reconcile(site, "diff", wrong)).code == 2
        never = await reconcile(site, "diff", "cm/none", "--from", str(made), "--to", str(deleted))
        assert (never.code, "was there neither at revision" in never.err) == (2, True)


@pytest.mark.parametrize(
    ("moment", "says"),
    [
        ("99999", "revision 99999 is not there yet; the newest is"),
        ("lunch", "'lunch' names no revision: give a number, an age (10m) or a time (2026-11-27T03:00:00Z)"),
        ("2", "revision 2 is compacted: history begins at revision 5, made at "),
        ("1h", "1h: history begins at revision 5, made at "),
        ("2001-01-01T00:00:00Z", "`reconcile up --history-keep` says how much of it is kept"),
    ],
)
async def test_a_moment_that_cannot_be_shown_is_refused_with_what_can(serve: Any, moment: str, says: str) -> None:
    """Compacted, in the future, or no moment at all: never the present instead."""
    async with serve() as site:
        assert (await three_states(site))[-1] == 5
        await site.client.create(site.kind("ConfigMap"), {"metadata": {"name": "more"}}, "default")
        await site.api.store.compact(5)
        said = await reconcile(site, "get", "cm", "--at", moment)
        assert (said.code, said.out) == (1, "")
        assert says in said.err
        assert (await reconcile(site, "get", "cm", "-w", "--at", moment)).code == 1


async def test_the_paths_of_the_past_refuse_what_they_cannot_read(serve: Any) -> None:
    """A client's mistake is a Status with what is wrong."""
    async with serve() as site:
        await three_states(site)
        path = "/api/v1/namespaces/default/configmaps/settings/history"
        for wrong in ("/history?at=noon", "/history?ago=long", f"{path}?limit=many", f"{path}?from=-1"):
            said = await _get(site, wrong)
            assert (said["code"], said["reason"]) == (400, "BadRequest"), wrong
        assert (await _get(site, "/history?ago=3600"))["at"] == {"revision": "1", "time": None}
        assert len((await _get(site, f"{path}?limit=2"))["items"]) == 2


async def test_history_can_be_forgotten_over_http(serve: Any) -> None:
    """`reconcile store compact` asks the server that has the store; it says where history begins from then on."""
    async with serve() as site:
        await three_states(site)
        assert (await _get(site, "/history", "POST"))["reason"] == "BadRequest"
        assert (await _get(site, "/history?keep=2", "POST"))["oldest"]["revision"] == "3"
        assert site.api.store.compacted == 3
        assert (await _get(site, "/history?keep=1000000", "POST"))["oldest"]["revision"] == "3"
        assert (await _get(site, "/history?keep=0", "POST"))["oldest"]["revision"] == "5"


async def _get(site: Any, url: str, method: str = "GET") -> Any:
    path, _, query = url.partition("?")

    def ask() -> Any:
        with BlockingClient(site.access) as client:
            return client.request(method, path, dict(part.split("=") for part in query.split("&") if part)).tree()

    return await asyncio.to_thread(ask)


def test_changes_follow_items_of_lists_by_their_names() -> None:
    """A container that moved has not changed; one that came, went or changed is named."""
    old = {"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}], "args": ["x", "y"]}}
    new = {"spec": {"containers": [{"name": "b", "image": "2"}, {"name": "a", "image": "1"}, {"name": "c"}], "args": ["x"]}}
    assert list(changes(old, new)) == [
        ("spec.containers[b].image", "1", "2"),
        ("spec.containers[c]", None, {"name": "c"}),
        ("spec.args[1]", "y", None),
    ]
    assert not list(changes({"metadata": {"resourceVersion": "1"}}, {"metadata": {"resourceVersion": "2"}}))
