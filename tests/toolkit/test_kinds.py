"""Declaring kinds: what is derived from a class, and what is refused."""

from __future__ import annotations

import pytest

from reconcile.errors import DeclarationError
from reconcile.kinds import Column, OwnerReference, Resource, kind, kind_of, pluralised
from reconcile.views import field, struct


@struct
class SiteSpec:
    """What a site should be."""

    replicas: int = field(default=1, minimum=0, maximum=10, doc="How many.")
    host: str = field(pattern="^[a-z]+$")
    tags: list[str] = field(factory=list, list_type="set")
    mode: str = field(default="fast", enum=("fast", "safe"))
    secret: str | None = None


@struct
class SiteStatus:
    ready: int = 0


@kind("example.com", "v1", short_names=("ws",), columns=(Column("Ready", ".status.ready", "integer"),))
class WebSite(Resource):
    """A small web site."""

    spec: SiteSpec
    status: SiteStatus = field(factory=SiteStatus)


@kind("", "v1", namespaced=False, plural="policies", builtin=True)
class Policy(Resource):
    data: dict[str, int] = field(factory=dict)


def test_names_and_subresources_are_derived() -> None:
    """What kubectl asks discovery for."""
    site = kind_of(WebSite)
    assert (site.plural, site.singular, site.kind, site.api_version) == ("websites", "website", "WebSite", "example.com/v1")
    assert (site.resource, str(site), site.status, site.short_names) == (
        "websites.example.com", "WebSite.example.com/v1", True, ("ws",),
    )  # fmt: skip
    policy = kind_of(Policy)
    assert (policy.plural, policy.resource, policy.api_version, policy.status) == ("policies", "policies", "v1", False)


@pytest.mark.parametrize(
    ("singular", "plural"),
    [("website", "websites"), ("policy", "policies"), ("ingress", "ingresses"), ("key", "keys"), ("box", "boxes")],
)
def test_plurals_are_english(singular: str, plural: str) -> None:
    """As kubebuilder makes them."""
    assert pluralised(singular) == plural


def test_the_schema_holds_types_rules_defaults_and_docs() -> None:
    """The CRD that users no longer write."""
    schema = kind_of(WebSite).schema
    assert schema["description"] == "A small web site."
    assert schema["required"] == ["spec"]
    spec = schema["properties"]["spec"]
    assert spec["description"] == "What a site should be."
    assert spec["required"] == ["host"]
    assert spec["properties"]["replicas"] == {
        "type": "integer", "format": "int64", "default": 1, "minimum": 0, "maximum": 10, "description": "How many.",
    }  # fmt: skip
    assert spec["properties"]["host"] == {"type": "string", "pattern": "^[a-z]+$"}
    assert spec["properties"]["tags"] == {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}
    assert spec["properties"]["mode"]["enum"] == ["fast", "safe"]
    assert spec["properties"]["secret"] == {"type": "string"}
    assert schema["properties"]["metadata"] == {"type": "object"}


def test_objects_are_made_with_short_names_and_own_each_other() -> None:
    """Children need an owner reference that the garbage collector understands."""
    site = WebSite(name="a", namespace="x", labels={"l": "1"}, spec=SiteSpec(host="h"))
    assert site.tree == {
        "apiVersion": "example.com/v1", "kind": "WebSite",
        "metadata": {"name": "a", "namespace": "x", "labels": {"l": "1"}}, "spec": {"host": "h"},
    }  # fmt: skip
    site.metadata.uid = "u1"
    child = Policy(name="c")
    child.metadata.owner_references = [site.owner_reference()]
    assert child.controller_uid() == "u1"
    assert site.owner_reference() == OwnerReference(
        api_version="example.com/v1", kind="WebSite", name="a", uid="u1", controller=True, block_owner_deletion=True
    )
    assert site.owner_reference(controller=False).controller is None
    assert site.controller_uid() == ""


def test_a_kind_must_be_a_resource() -> None:
    """Or nothing in the engine fits it."""
    with pytest.raises(DeclarationError, match=r"inherit from reconcile\.Resource"):

        @kind("example.com", "v1")
        class Wrong:  # type: ignore[type-var]  # that is the point
            pass


def test_what_is_no_kind_is_told_how_to_become_one() -> None:
    """kind_of is the first thing that meets a user's class."""
    with pytest.raises(DeclarationError, match="declare it with @kind"):
        kind_of(Resource)
