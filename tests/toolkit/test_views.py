"""Typed views over trees: lazy, shared where nothing changed, lossless on the way back."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import Any, Literal

import attrs
import pytest

from reconcile.errors import DeclarationError
from reconcile.kinds import Resource, kind, typed
from reconcile.views import field, shape_of, struct, thawed, tree_of, view, wire_name


class Colour(enum.Enum):
    RED = "red"


@attrs.define
class Plain:
    max_size: int = 3


@struct
class Port:
    container_port: int
    name: str = ""


@struct
class Spec:
    replicas: int = 1
    host_ip: str = ""
    ports: list[Port] = field(factory=list)
    labels: dict[str, str] = field(factory=dict)
    colour: Colour = Colour.RED
    since: datetime | None = None
    mode: Literal["a", "b"] = "a"
    plain: Plain = field(factory=Plain)
    by_name: dict[str, Port] = field(factory=dict)
    type_: str = ""


@kind("example.com", "v1")
class Box(Resource):
    spec: Spec = field(factory=Spec)
    status: dict[str, Any] = field(factory=dict)


TREE: dict[str, Any] = {
    "apiVersion": "example.com/v1", "kind": "Box",
    "metadata": {"name": "b", "namespace": "x", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"}},
    "spec": {
        "replicas": 2, "ports": [{"containerPort": 80}], "colour": "red", "since": "2026-01-01T00:00:00Z", "type": "T",
        "plain": {"maxSize": 9}, "byName": {"x": {"containerPort": 1}}, "unknown": {"kept": [1]},
    },
}  # fmt: skip


def test_fields_read_as_their_types() -> None:
    """The point of it all."""
    box = typed(Box, TREE)
    assert (box.name, box.namespace, box.uid, box.revision, box.labels) == ("b", "x", "u", 7, {"a": "b"})
    assert (box.spec.replicas, box.spec.ports[0].container_port, box.spec.colour) == (2, 80, Colour.RED)
    assert box.spec.since == datetime(2026, 1, 1, tzinfo=UTC)
    assert (box.spec.plain.max_size, box.spec.by_name["x"].container_port, box.spec.type_) == (9, 1, "T")
    assert (box.spec.host_ip, box.spec.labels, box.spec.mode) == ("", {}, "a")


def test_a_view_changes_its_own_tree_and_keeps_what_the_class_does_not_know() -> None:
    """A newer server's fields must survive an older operator."""
    box = typed(Box, TREE)
    box.spec.replicas = 5
    box.spec.ports.append(Port(container_port=81, name="more"))
    box.labels["c"] = "d"
    made = box.tree
    assert made["spec"]["replicas"] == 5
    assert made["spec"]["ports"] == [{"containerPort": 80}, {"containerPort": 81, "name": "more"}]
    assert made["spec"]["unknown"] == {"kept": [1]}
    assert made["metadata"]["labels"] == {"a": "b", "c": "d"}
    assert TREE["spec"]["replicas"] == 2
    assert len(TREE["spec"]["ports"]) == 1
    assert TREE["metadata"]["labels"] == {"a": "b"}


def test_containers_of_any_shape_are_the_views_own_all_the_way_down() -> None:
    """A handler that changes what is deep in its `dict[str, Any]` must change neither the cache nor nothing."""
    tree: dict[str, Any] = {"metadata": {"name": "b"}, "status": {"deep": {"list": [{"x": 1}]}}}
    box = typed(Box, tree)
    box.status["deep"]["list"][0]["x"] = 2
    assert tree["status"] == {"deep": {"list": [{"x": 1}]}}
    assert box.tree["status"] == {"deep": {"list": [{"x": 2}]}}


def test_reading_changes_nothing() -> None:
    """Or every look at an object would be a write."""
    box = typed(Box, TREE)
    read = [box.spec.replicas, box.spec.ports, box.spec.since, box.spec.plain, box.spec.host_ip]
    assert len(read) == 5
    assert {**box.tree} == TREE


def test_a_frozen_view_refuses_changes_and_a_thawed_one_takes_them() -> None:
    """Cached objects are shared by all handlers."""
    shared = typed(Box, TREE, frozen=True)
    with pytest.raises(TypeError, match="thawed"):
        shared.spec = Spec()
    with pytest.raises(TypeError, match="thawed"):
        shared.spec.replicas = 1
    with pytest.raises(TypeError, match="thawed"):
        shared.name = "other"
    mine = thawed(shared)
    mine.spec.replicas = 9
    assert (shared.spec.replicas, mine.spec.replicas) == (2, 9)


def test_defaults_and_absent_values_are_not_written() -> None:
    """Server-side apply owns what is written: a default that nobody chose must not be owned."""
    assert tree_of(Spec()) == {}
    assert tree_of(Spec(replicas=1, host_ip="h")) == {"hostIP": "h"} or tree_of(Spec(host_ip="h")) == {"hostIp": "h"}
    box = typed(Box, TREE)
    box.spec.since = None
    assert "since" not in box.tree["spec"]


def test_an_unknown_field_is_named_with_the_known_ones() -> None:
    """A typo in a handler."""
    with pytest.raises(AttributeError, match="Spec has no field 'replica'; its fields are replicas, host_ip"):
        _ = typed(Box, TREE).spec.replica  # type: ignore[attr-defined]  # that is the point


def test_views_are_equal_by_content() -> None:
    """Tests compare objects."""
    assert typed(Box, TREE) == typed(Box, dict(TREE))
    assert typed(Box, TREE).spec != Spec()


def test_a_type_that_no_json_can_hold_is_refused_when_declared_with_its_field() -> None:
    """With the path of the field."""

    @struct
    class Bad:
        when: complex = 0j

    with pytest.raises(DeclarationError, match=r"Bad\.when: the type .*complex.* cannot stand in a JSON object; use str"):
        shape_of(Bad)


@pytest.mark.parametrize(("attribute", "name"), [("ready_replicas", "readyReplicas"), ("type_", "type"), ("name", "name")])
def test_attributes_map_to_camel_case(attribute: str, name: str) -> None:
    """As Kubernetes spells its fields."""
    assert wire_name(attribute) == name


def test_a_view_of_a_partial_tree_gives_empty_structs() -> None:
    """Objects without a spec exist; handlers should not have to ask."""
    box = view(Box, {"metadata": {"name": "b"}})
    assert (box.spec.replicas, box.status, box.deleting, box.revision) == (1, {}, False, 0)
