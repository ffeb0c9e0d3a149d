"""What `recorded.json` holds of a real Kubernetes 1.36.2 (`python -m tests.comparing ... --record`), asked of our own server.

It must be alike but for uids, revisions, times, addresses, and who manages fields. What ours answers otherwise is not in the
file; the command tells it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconcile.kinds import kind_of
from reconcile.resources import builtin_kinds, question_kinds
from reconcile.runtime.api.http import Credentials
from reconcile.runtime.clock import SystemClock
from tests.comparing.asking import Ask, normal, unlike
from tests.comparing.machinery import JSON, machinery
from tests.comparing.objects import creation, objects
from tests.http.test_http_reference_refusals import Case, asked, served

RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("recorded.json").read_text())
NAMESPACE = "cmp-0a1b2c"
_MANAGED = "metadata.managedFields"
_LEFT_OUT = ("too much data",)  # which aiohttp warns of


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    """Who asks."""
    return Credentials.load_or_make(tmp_path_factory.mktemp("credentials"), SystemClock().now())


def _resource(api_version: str, kind: str) -> tuple[str, bool]:
    group, _, version = api_version.rpartition("/")
    for cls in (*builtin_kinds(), *question_kinds()):
        found = kind_of(cls)
        if (found.group, found.version, found.kind) == (group, version, kind):
            return found.plural, found.namespaced
    raise AssertionError(f"{api_version} {kind} is not served")


def _asks() -> Iterator[Ask]:
    for one in objects(_resource, NAMESPACE):
        yield creation(one, NAMESPACE)
    yield from machinery(NAMESPACE)


async def test_our_server_answers_as_the_real_one_did(credentials: Credentials) -> None:
    """What is made of the least object of each kind, and each refusal: status code and body, field by field."""
    otherwise: dict[str, list[Any]] = {}
    answered = 0
    async with served(credentials) as url:
        await asked(url, credentials, Case("POST", "/api/v1/namespaces", "", {"metadata": {"name": NAMESPACE}}, dict(JSON)))
        for ask in _asks():
            if ask.method in ("HEAD", "OPTIONS") or "watch=" in ask.path or isinstance(ask.body, bytes) or ask.about in _LEFT_OUT:
                continue
            code, answer = await asked(url, credentials, Case(ask.method, ask.path, "", ask.body, dict(ask.headers)))
            if ask.about not in RECORDED:
                continue
            expected_code, expected = RECORDED[ask.about]
            differences = [found for found in unlike(expected, normal(answer)) if not found[0].startswith(_MANAGED)]
            if code != expected_code:
                differences.append(("status code", expected_code, code))
            if differences:
                otherwise[ask.about] = differences
            answered += 1
    assert answered == len(RECORDED), "a request that was recorded is made no more: record anew"
    assert not otherwise, json.dumps(otherwise, indent=1, default=str)[:5000]
