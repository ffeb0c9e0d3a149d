"""`reconcile migrate`: the way out of an old version, with the real command."""

from __future__ import annotations

import copy

from reconcile.errors import Tree
from tests.plane import Plane

SPEC = {"type": "object", "properties": {"size": {"type": "integer", "minimum": 0}}}
OPEN: Tree = {"openAPIV3Schema": {"type": "object", "properties": {"spec": SPEC}}}
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def definition(plural: str, kind: str, stored: str) -> Tree:
    versions = [{"name": name, "served": True, "storage": name == stored, "schema": OPEN} for name in ("v1", "v2")]
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": plural, "kind": kind}, "versions": versions},
    }  # fmt: skip


def declare(plane: Plane, plural: str, kind: str, count: int) -> None:
    """Objects that are stored in v1, of a kind that is stored in v2 from now on."""
    plane.api.ask("POST", DEFINITIONS, body=definition(plural, kind, "v1"))
    plane.forget_connection()
    for number in range(count):
        body = {"apiVersion": "example.com/v1", "kind": kind, "metadata": {"name": f"a{number}"}, "spec": {"size": number}}
        plane.wait("it is created", lambda body=body: created(plane, plural, body))  # type: ignore[misc]
    now = plane.api.ask("GET", f"{DEFINITIONS}/{plural}.example.com")
    changed = copy.deepcopy(now)
    changed["spec"]["versions"] = definition(plural, kind, "v2")["spec"]["versions"]
    plane.api.ask("PUT", f"{DEFINITIONS}/{plural}.example.com", body=changed)


def created(plane: Plane, plural: str, body: Tree) -> bool:
    reply = plane.api.request("POST", f"/apis/example.com/v1/namespaces/default/{plural}", body=body)
    assert reply.status in (201, 404), reply.body
    return reply.status == 201


def stored_versions(plane: Plane, plural: str) -> list[str]:
    found: list[str] = plane.api.ask("GET", f"{DEFINITIONS}/{plural}.example.com")["status"]["storedVersions"]
    return found


def test_objects_are_rewritten_once_and_the_definition_says_so(plane: Plane) -> None:
    """Nothing of them changes, and the second time there is nothing to do."""
    declare(plane, "mugs", "Mug", 3)
    assert stored_versions(plane, "mugs") == ["v1", "v2"]
    before = plane.api.ask("GET", "/apis/example.com/v2/namespaces/default/mugs/a2")
    said = plane.cli("migrate", "mugs")
    assert "mugs.example.com: 3 of 3 objects rewritten in v2" in said
    assert "mugs.example.com: status.storedVersions is [v2] now: nothing is left in v1" in said
    assert stored_versions(plane, "mugs") == ["v2"]
    after = plane.api.ask("GET", "/apis/example.com/v2/namespaces/default/mugs/a2")
    assert after["metadata"].pop("resourceVersion") > before["metadata"].pop("resourceVersion")
    assert after == before
    assert plane.cli("migrate", "mugs").strip() == "mugs.example.com: 0 of 3 objects rewritten in v2"
    gone = plane.api.ask("GET", f"{DEFINITIONS}/mugs.example.com")
    gone["spec"]["versions"] = gone["spec"]["versions"][1:]
    assert len(plane.api.ask("PUT", f"{DEFINITIONS}/mugs.example.com", body=gone)["spec"]["versions"]) == 1, "now it may go"


def test_without_a_kind_all_that_is_unfinished_is_done(plane: Plane) -> None:
    """As after an upgrade, of which nobody knows what it brought."""
    declare(plane, "vats", "Vat", 1)
    assert "vats.example.com: 1 of 1 objects rewritten in v2" in plane.cli("migrate")
    assert stored_versions(plane, "vats") == ["v2"]
    assert plane.cli("migrate").strip() == "no definition says that there may be objects in older versions"


def test_an_object_that_cannot_be_written_keeps_the_old_version_named(plane: Plane) -> None:
    """Or somebody would take the version away that it still lies in."""
    declare(plane, "tins", "Tin", 2)
    now = plane.api.ask("GET", f"{DEFINITIONS}/tins.example.com")
    now["spec"]["conversion"] = {
        "strategy": "Webhook", "webhook": {"clientConfig": {"url": "https://127.0.0.1:1"}, "conversionReviewVersions": ["v1"]},
    }  # fmt: skip
    plane.api.ask("PUT", f"{DEFINITIONS}/tins.example.com", body=now)
    plane.wait("it is asked", lambda: "conversion webhook for" in plane.cli("migrate", "tins", code=1))
    assert stored_versions(plane, "tins") == ["v1", "v2"]
    mended = plane.api.ask("GET", f"{DEFINITIONS}/tins.example.com")
    mended["spec"]["conversion"] = {"strategy": "None"}
    plane.api.ask("PUT", f"{DEFINITIONS}/tins.example.com", body=mended)
    plane.wait("it is mended", lambda: "2 of 2 objects rewritten" in plane.run("migrate", "tins").stdout)
    assert stored_versions(plane, "tins") == ["v2"]
    assert "objects rewritten" in plane.cli("migrate", "configmaps"), "built-in kinds have nothing to say about it"
