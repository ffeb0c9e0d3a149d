"""What `kubectl explain` says of built-in kinds: something about each kind and each of its fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from reconcile.kinds import kind_of
from reconcile.resources import builtin_kinds, question_kinds
from reconcile.resources.core import Namespace
from reconcile.resources.descriptions import descriptions
from reconcile.resources.stored.components import Components, component_kind
from reconcile.runtime.api import ApiServer
from reconcile.runtime.api.http import HttpServer, HttpSettings
from reconcile.runtime.clock import SystemClock
from reconcile.runtime.store import Store

Tree = dict[str, Any]
TEXTS = descriptions()
KINDS = [kind_of(cls) for cls in (*builtin_kinds(), *question_kinds())]
LEFT = {"apiVersion", "kind"}


async def documents(*paths: str) -> list[Tree]:
    """OpenAPI documents of a server with all built-in kinds."""
    clock = SystemClock()
    async with await Store.open(":memory:", clock) as store:
        api = ApiServer(store, clock, namespace_kind=kind_of(Namespace))
        for kind in KINDS:
            api.serve(kind)
        api.serve_virtual(component_kind(), Components(lambda: ""))
        server = HttpServer(api, HttpSettings(texts=descriptions))
        address = await server.start()
        found = []
        async with aiohttp.ClientSession(address.url) as session:
            for path in paths:
                async with session.get(path) as answer:
                    found.append(await answer.json(content_type=None))
        await server.stop()
    return found


async def test_every_field_of_every_built_in_type_says_what_it_is() -> None:
    """`<no description>` is what people find who ask what a field is for."""
    groups = sorted({(kind.group, kind.version) for kind in KINDS})
    paths = [f"/openapi/v3/apis/{group}/{version}" if group else f"/openapi/v3/api/{version}" for group, version in groups]
    silent = []
    for document in await documents(*paths, "/openapi/v2"):
        types = document["components"]["schemas"] if "components" in document else document["definitions"]
        assert len(types) > 5
        silent += [f"{name}.{field}" for name, schema in types.items() for field in without_text(name, schema)]
    assert silent == [], "say what they are in the class, field(doc=...), or in resources/descriptions.json"


def without_text(name: str, schema: Tree) -> Iterator[str]:
    for field, node in (schema.get("properties") or {}).items():
        listed = name.endswith("List") and field in ("items", "metadata")
        if not node.get("description") and field not in LEFT and not listed:
            yield field


@pytest.mark.parametrize("kind", [*KINDS, component_kind()], ids=str)
def test_every_kind_says_what_it_is(kind: Any) -> None:
    """The first line of an explanation."""
    assert kind.schema["description"].strip()


async def test_no_text_is_left_over_and_each_is_a_short_sentence() -> None:
    """A text for a field that is no more misleads whoever looks for it; a long one is no help in a list."""
    (document,) = await documents("/openapi/v2")
    types: dict[str, set[str]] = {}
    for name, schema in document["definitions"].items():
        types.setdefault(name.rpartition(".")[2], set()).update(schema.get("properties") or ())
    everywhere = set.union(*types.values())
    for type_, texts in TEXTS.items():
        assert set(texts) <= (types[type_] if type_ else everywhere), type_
        for field, text in texts.items():
            assert text.endswith("."), f"{type_}.{field}"
            assert 4 < len(text) < 130, f"{type_}.{field}"


async def test_what_a_class_says_of_its_field_goes_before() -> None:
    """The text nearest to the field is the one that is kept right."""
    (document,) = await documents("/openapi/v3/apis/apps/v1")
    replicas = document["components"]["schemas"]["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["replicas"]
    own = kind_of(next(cls for cls in builtin_kinds() if kind_of(cls).kind == "Deployment")).schema
    assert replicas["description"] == own["properties"]["spec"]["properties"]["replicas"]["description"]
    assert replicas["description"] != TEXTS[""]["replicas"]
