"""Who we say we are, and how hard we push: login programs, rotated tokens, busy servers."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconcile.errors import TooManyRequestsError, UnauthorizedError, UnavailableError
from reconcile.kinds import Kind
from reconcile.runtime.client.errors import KubeconfigError
from reconcile.runtime.client.http import REQUESTS_MAX, HttpClient
from reconcile.runtime.client.kubeconfig import Access, load
from reconcile.runtime.clock import SystemClock
from tests.running.hostile import hostile, plain

BOX = Kind("example.com", "v1", "Box", "boxes")
PROGRAM = """#!/bin/sh
echo run >> {log}
echo "$KUBERNETES_EXEC_INFO" > {log}.info
{body}
"""


def kubeconfig(tmp_path: Path, server: str, body: str, **exec_: object) -> Path:
    """A kubeconfig whose user logs in by a program that lies beside it."""
    program = tmp_path / "login"
    program.write_text(PROGRAM.format(log=tmp_path / "log", body=body))
    program.chmod(0o755)
    section = {"apiVersion": "client.authentication.k8s.io/v1", "command": "./login", "interactiveMode": "Never", **exec_}
    tree = {
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"exec": section}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "config").write_text(json.dumps(tree))
    return tmp_path / "config"


def credential(token: str = "$(cat token)", expires: str = "") -> str:
    status = {"token": "TOKEN", **({"expirationTimestamp": expires} if expires else {})}
    tree = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    return f"cat <<END\n{json.dumps(tree).replace('TOKEN', token)}\nEND"


def runs(tmp_path: Path) -> int:
    return (tmp_path / "log").read_text().count("run")


async def test_a_login_program_is_run_once_and_again_when_the_server_refuses(tmp_path: Path) -> None:
    """It may take seconds and open a browser: not for each request, but whenever it has to be."""
    async with hostile() as (server, url):
        server.tokens = {"one"}
        (tmp_path / "token").write_text("one")
        access = load(kubeconfig(tmp_path, url, f"cd {tmp_path}; {credential()}", provideClusterInfo=True))
        async with HttpClient(access, SystemClock()) as client:
            for _ in range(3):
                await client.get(BOX, "b", "default")
            assert runs(tmp_path) == 1
            server.tokens = {"two"}
            (tmp_path / "token").write_text("two")
            await asyncio.gather(*(client.get(BOX, "b", "default") for _ in range(5)))
            assert 2 <= runs(tmp_path) <= 6
            server.tokens = set()
            with pytest.raises(UnauthorizedError):
                await client.get(BOX, "b", "default")
    told = json.loads((tmp_path / "log.info").read_text())
    assert told["spec"] == {"interactive": False, "cluster": {"server": url}}


async def test_a_credential_that_is_about_to_expire_is_renewed_before_it_is_refused(tmp_path: Path) -> None:
    """The server need not see it."""
    async with hostile() as (server, url):
        server.tokens = {"t"}
        soon = (datetime.now(UTC) + timedelta(seconds=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
        async with HttpClient(load(kubeconfig(tmp_path, url, credential("t", soon))), SystemClock()) as client:
            await client.get(BOX, "b", "default")
            await client.get(BOX, "b", "default")
        assert runs(tmp_path) >= 2


@pytest.mark.parametrize(
    ("body", "options", "said"),
    [
        ("echo no >&2; exit 3", {}, "ended with 3: no"),
        ("echo hello", {}, "printed no ExecCredential"),
        (credential(""), {}, "neither a token nor a certificate"),
        ("", {"command": "./absent", "installHint": "pip install it"}, "'.*absent' is not found: pip install it"),
        ("", {"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "speaks client.authentication.k8s.io/v1alpha1"),
        ("", {"command": ""}, "names no command"),
    ],
)
def test_a_login_program_that_does_not_help_is_told_with_what_to_do(
    tmp_path: Path, body: str, options: dict[str, object], said: str
) -> None:
    """A cloud's program fails in many ways, and its own words are what helps."""
    with pytest.raises(KubeconfigError, match=said):
        load(kubeconfig(tmp_path, "https://h", body, **options)).bearer()


async def test_a_rotated_token_file_is_read_again(tmp_path: Path) -> None:
    """A pod's service account token lives for an hour."""
    token = tmp_path / "token"
    token.write_text("one\n")
    async with hostile() as (server, url), HttpClient(Access(url, token_file=str(token)), SystemClock()) as client:
        server.tokens = {"one"}
        await client.get(BOX, "b", "default")
        server.tokens = {"two"}
        made = tmp_path / "new"
        made.write_text("two\n")
        os.replace(made, token)
        await client.get(BOX, "b", "default")


async def test_a_login_function_is_called_first_when_it_runs_out_and_when_it_is_refused() -> None:
    """What login handlers of operators give."""
    given: list[str] = []
    clock = SystemClock()

    async with hostile() as (server, url):

        async def log_in() -> tuple[Access, float]:
            given.append(f"t{len(given)}")
            return Access(url, token=given[-1]), clock.now() + (0.05 if len(given) == 1 else 3600)

        server.tokens = {"t0", "t1"}
        async with HttpClient(Access("http://127.0.0.1:9"), clock, log_in=log_in) as client:
            await client.get(BOX, "b", "default")
            assert given == ["t0"]
            await asyncio.sleep(0.06)
            await asyncio.gather(*(client.get(BOX, "b", "default") for _ in range(5)))
            assert given == ["t0", "t1"], "it ran out, and was renewed once for all"
            server.tokens = {"t2"}
            await client.get(BOX, "b", "default")
            assert given == ["t0", "t1", "t2"]


async def test_a_busy_server_is_asked_again_when_it_says_and_not_for_ever() -> None:
    """429 with Retry-After is how a Kubernetes API server defends itself."""
    async with hostile() as (server, url), HttpClient(Access(url), SystemClock()) as client:
        server.busy = 3
        await client.get(BOX, "b", "default")
        server.busy = 100
        with pytest.raises(TooManyRequestsError):
            await client.get(BOX, "b", "default")
        assert server.busy > 90


async def test_a_thousand_requests_at_once_open_a_bounded_number_of_connections() -> None:
    """The incumbent opens a thousand."""
    async with hostile() as (server, url), HttpClient(Access(url), SystemClock()) as client:
        await asyncio.gather(*(client.get(BOX, f"b{number}", "default") for number in range(1000)))
        assert 1 < server.under_way_max <= REQUESTS_MAX


async def test_what_is_no_list_is_not_taken_for_an_empty_one() -> None:
    """Everything would look deleted, and be cleaned up."""

    async with hostile() as (server, url), HttpClient(Access(url), SystemClock()) as client:
        server.list_fault = plain(200, {"hello": "proxy"})
        with pytest.raises(UnavailableError, match="no list"):
            await client.list(BOX)
