"""Which kinds may be replaced without a resourceVersion, and what controllers of old left on objects."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.kinds import kind_of
from reconcile.resources import builtin_kinds
from reconcile.resources.apps.rules import TEMPLATE_GENERATION, prepare_daemon_set
from reconcile.runtime.api.http import Credentials
from reconcile.runtime.clock import SystemClock
from tests.http.test_http_reference_refusals import JSON, Case, asked, served

NEEDED = {
    "poddisruptionbudgets", "leases", "runtimeclasses", "csidrivers", "csinodes", "csistoragecapacities", "volumeattachments",
    "customresourcedefinitions", "validatingwebhookconfigurations", "mutatingwebhookconfigurations", "apiservices",
    "validatingadmissionpolicies", "validatingadmissionpolicybindings", "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
}  # fmt: skip


def test_the_kinds_whose_replacement_names_a_revision_are_those_of_the_reference() -> None:
    """As `PUT` on each of a real server showed."""
    assert {kind_of(cls).plural for cls in builtin_kinds() if kind_of(cls).needs_revision} == NEEDED


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return Credentials.load_or_make(tmp_path_factory.mktemp("credentials"), SystemClock().now())


async def test_a_replacement_without_a_revision_is_refused_where_it_is_needed(credentials: Credentials) -> None:
    """Two writers of a Lease must not take each other's place unseen."""
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}}
    async with served(credentials) as url:
        _, made = await asked(url, credentials, Case("POST", path, "", body, dict(JSON)))
        code, answer = await asked(url, credentials, Case("PUT", f"{path}/l", "", body, dict(JSON)))
        assert (code, answer["details"]["kind"]) == (422, "leases")
        assert answer["message"].endswith("metadata.resourceVersion: Invalid value: 0: must be specified for an update")
        assert (await asked(url, credentials, Case("PUT", f"{path}/l", "", made, dict(JSON))))[0] == 200
        body["metadata"] = {"name": "none"}
        assert (await asked(url, credentials, Case("PUT", f"{path}/none", "", body, dict(JSON))))[0] == 404, "there is nothing"


def daemon_set(image: str, **annotations: str) -> dict[str, Any]:
    spec = {"template": {"spec": {"containers": [{"image": image}]}}}
    return {"metadata": {"name": "d", "annotations": dict(annotations)}, "spec": spec}


def test_the_templates_of_a_daemon_set_are_counted() -> None:
    """What the reference keeps for clients from before ControllerRevisions."""
    first = daemon_set("a")
    prepare_daemon_set(first, None)
    assert first["metadata"]["annotations"] == {TEMPLATE_GENERATION: "1"}
    same = daemon_set("a", other="x")
    prepare_daemon_set(same, first)
    assert same["metadata"]["annotations"] == {TEMPLATE_GENERATION: "1", "other": "x"}
    changed = daemon_set("b")
    prepare_daemon_set(changed, same)
    assert changed["metadata"]["annotations"] == {TEMPLATE_GENERATION: "2"}
