"""Admission handlers of an operator elsewhere: what the API server is told and answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconcile.errors import ReconcileError
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.testing.memory import MemoryClient
from reconcile.runtime.webhooks import Webhooks, json_patch
from tests.running.test_export import export

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text("a/~", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("a/~b", max_size=2), inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text("a/~b", max_size=2), JSON, max_size=4)


@given(OBJECTS, OBJECTS)
def test_a_json_patch_makes_the_old_into_the_new(old: dict[str, Any], new: dict[str, Any]) -> None:
    """As another implementation applies it."""
    assert jsonpatch.apply_patch(old, json_patch(old, new)) == new


@pytest.mark.parametrize("address", ["", "host", ":99", "host:port"])
def test_an_address_that_nobody_can_reach_is_refused(tmp_path: Path, address: str) -> None:
    """The API server has to know a name."""
    with pytest.raises(ReconcileError, match="give HOST:PORT by which the API server reaches this process"):
        Webhooks(MemoryClient(SystemClock()), SystemClock(), address, tmp_path, name="a.example.com")


def test_an_operator_with_admission_handlers_is_exported_with_a_service_and_the_rights(tmp_path: Path) -> None:
    """Or the API server would not reach it, and it could not say where it is."""
    (tmp_path / "app.py").write_text(
        "from reconcile import Resource, kind, on\n\n\n@kind('example.com', 'v1')\nclass Vase(Resource):\n    pass\n\n\n"
        "@on.validate(Vase)\ndef whole(vase: Vase):\n    pass\n"
    )
    manifests = export(str(tmp_path / "app.py"), "--image", "i")
    text = yaml.safe_dump_all(manifests)
    (service,) = [m for m in manifests if m["kind"] == "Service"]
    assert service["spec"]["ports"][0]["port"] == 9443
    assert "app-reconcile-local.default.svc:9443" in text
    assert "validatingwebhookconfigurations" in text
