"""The rights that an operator needs, read from its handlers; and the definitions of its kinds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from reconcile import Column, Operator, Resource, Rule, Scale, field, kind, struct
from reconcile.crd import definitions_of, version_rank
from reconcile.handling import Cluster
from reconcile.permissions import Permissions, permissions_of
from reconcile.registry import Watch


@struct
class ShopSpec:
    """What is wanted."""

    __rules__ = (Rule("self.low <= self.high", "low is above high"),)
    low: int = field(default=1, minimum=0, doc="The least.")
    high: int = field(default=5, rules=("self < 100",))
    colour: str = field(default="red", enum=("red", "blue"), pattern="^[a-z]+$")


@struct
class ShopStatus:
    open: bool = False


@kind(
    "example.com", "v1", short_names=("sh",), categories=("all",), scale=Scale(), selectable=("spec.colour",),
    columns=(Column("Colour", ".spec.colour"), Column("Secret", cell=lambda _, __: "computed")),
)  # fmt: skip
class Shop(Resource):
    """A place to buy things."""

    spec: ShopSpec = field(factory=ShopSpec)
    status: ShopStatus = field(factory=ShopStatus)


@kind("example.com", "v1")
class Shelf(Resource):
    pass


@kind("example.com", "v1", plural="doors")
class Door(Resource):
    pass


@kind("other.example.com", "v1")
class Truck(Resource):
    pass


@pytest.fixture
def app() -> Operator:
    return Operator("shop.example.com")


def verbs(found: Permissions, resource: str) -> set[str]:
    return {verb for (_, name), granted in found.verbs.items() if name == resource for verb in granted}


def shelves(shop: Shop) -> Iterator[Shelf]:
    yield Shelf(name=shop.name)


async def test_what_is_handled_yielded_read_and_written_is_granted_and_nothing_else(app: Operator) -> None:
    """Also what a function of the same module yields, that the handler calls."""

    @app.on.reconcile(Shop, owns=(Door,), watches=(Watch(Truck, to=lambda _: ()),))
    async def ensure(shop: Shop, cluster: Cluster) -> Any:
        for shelf in shelves(shop):
            yield shelf
        for door in await cluster.list(Door):
            await cluster.delete(door)

    found = permissions_of([app], lease="shop")
    assert verbs(found, "shops") == {"get", "list", "watch", "patch"}
    assert verbs(found, "shops/status") == {"patch"}
    assert verbs(found, "shops/finalizers") == {"update"}
    assert verbs(found, "shelves") | verbs(found, "shelfs") == {"get", "list", "watch", "create", "patch", "delete"}
    assert verbs(found, "doors") == {"get", "list", "watch", "delete"}
    assert verbs(found, "trucks") == {"get", "list", "watch"}
    assert verbs(found, "events") == {"create", "patch"}
    assert verbs(found, "leases") == {"get", "create", "update"}
    assert not found.notes


def test_an_operator_that_only_looks_may_only_look(app: Operator) -> None:
    """An event handler or an index writes nothing."""

    @app.on.event(Shop)
    def seen(shop: Shop, event: str) -> None: ...

    @app.on.index(Door)
    def doors(door: Door) -> Any: ...

    found = permissions_of([app])
    assert verbs(found, "shops") == verbs(found, "doors") == {"get", "list", "watch"}
    assert ("example.com", "shops/status") not in found.verbs


def test_what_cannot_be_told_is_noted_with_its_line_and_not_granted(app: Operator) -> None:
    """A right that is missing is found at the first run; one too many never is."""

    @app.on.timer(Shop, interval_s=60)
    async def tidy(shop: Shop, cluster: Cluster, memo: Any) -> None:
        await cluster.delete(memo.something)

    app.on.create(Resource)(lambda name: None)
    found = permissions_of([app])
    assert any("test_permissions.py" in note and "cluster.delete(memo.something)" in note for note in found.notes)
    assert any("for kinds that only the cluster knows" in note for note in found.notes)
    assert verbs(found, "shops") == {"get", "list", "watch", "patch"}


def test_rules_put_resources_with_the_same_verbs_together(app: Operator) -> None:
    """As a person would write them."""
    found = Permissions()
    found.grant("g", "a", "list", "get")
    found.grant("g", "b", "get", "list")
    found.grant("g", "c", "get")
    assert found.rules() == [
        {"apiGroups": ["g"], "resources": ["a", "b"], "verbs": ["get", "list"]},
        {"apiGroups": ["g"], "resources": ["c"], "verbs": ["get"]},
    ]


def test_a_definition_says_all_that_its_class_says() -> None:
    """Docstrings, ranges, patterns, enums, rules, columns, scale, selectable fields, short names."""
    (definition,) = definitions_of([Shop])
    assert definition["metadata"]["name"] == "shops.example.com"
    names = definition["spec"]["names"]
    assert (names["shortNames"], names["categories"], names["listKind"]) == (["sh"], ["all"], "ShopList")
    (version,) = definition["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    assert schema["description"] == "A place to buy things."
    spec = schema["properties"]["spec"]
    assert spec["description"] == "What is wanted."
    assert spec["x-kubernetes-validations"] == [{"rule": "self.low <= self.high", "message": "low is above high"}]
    assert spec["properties"]["low"] == {
        "type": "integer", "format": "int64", "default": 1, "minimum": 0, "description": "The least.",
    }  # fmt: skip
    assert spec["properties"]["high"]["x-kubernetes-validations"] == [{"rule": "self < 100"}]
    assert (spec["properties"]["colour"]["enum"], spec["properties"]["colour"]["pattern"]) == (["red", "blue"], "^[a-z]+$")
    assert [column["name"] for column in version["additionalPrinterColumns"]] == ["Colour"], "a computed one cannot be sent"
    assert version["subresources"]["scale"]["specReplicasPath"] == ".spec.replicas"
    assert version["selectableFields"] == [{"jsonPath": ".spec.colour"}]


def test_versions_of_one_kind_become_one_definition_and_the_newest_stable_is_stored() -> None:
    """In the order in which Kubernetes prefers them."""

    @kind("example.com", "v2beta1", plural="shops")
    class ShopNext(Resource):
        pass

    (definition,) = definitions_of([ShopNext, Shop])
    assert [(v["name"], v["storage"]) for v in definition["spec"]["versions"]] == [("v1", True), ("v2beta1", False)]
    order = ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"]
    assert sorted(order[:-2], key=version_rank, reverse=True) == order[:-2]
    assert all(version_rank("v1alpha1") > version_rank(other) for other in order[-2:])
