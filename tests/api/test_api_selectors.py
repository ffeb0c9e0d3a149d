"""Label selectors, field selectors and simple JSONPaths."""

from __future__ import annotations

import pytest

from reconcile.errors import BadRequestError, Tree
from reconcile.kinds import Resource, kind_of
from reconcile.paths import getter, values
from reconcile.resources.apps import ReplicaSet
from reconcile.resources.core import Event, Node, Pod, ReplicationController
from reconcile.runtime.api.catalog import Catalog
from reconcile.selectors import label_selector, parse_fields, parse_labels

LABELS = {"app": "web", "tier": "front", "n": "7", "example.com/x": ""}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", True), ("app=web", True), ("app==web", True), ("app=api", False), ("app!=api", True), ("none!=x", True),
        ("app in (api, web)", True), ("app notin (web)", False), ("none notin (web)", True), ("app", True), ("none", False),
        ("!none", True), ("!app", False), ("n>6", True), ("n<7", False), ("app>1", False), ("example.com/x=", True),
        ("app=web,tier in (front),!none,n>1", True), ("app=web,tier=back", False), ("tier in (,front)", True),
    ],
)  # fmt: skip
def test_a_label_selector_matches_as_kubernetes_does(text: str, wanted: bool) -> None:
    """A selector read otherwise deletes the wrong pods."""
    selector = parse_labels(text)
    assert selector.matches(LABELS) is wanted
    assert parse_labels(str(selector)).matches(LABELS) is wanted


@pytest.mark.parametrize("text", ["=a", "a in b", "a in (b", "a=b c", "a,,b", "-a=b", "a=b$", "a>x", "x/y/z=1"])
def test_a_broken_label_selector_is_refused_and_says_where(text: str) -> None:
    """An empty selector would match everything: a typo must never become one."""
    with pytest.raises(BadRequestError, match="unable to parse requirement"):
        parse_labels(text)


def test_a_label_selector_tree_means_what_its_string_means() -> None:
    """Deployments hold trees, clients send strings."""
    tree = {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["front"]}]}
    assert str(label_selector(tree)) == "app=web,tier in (front)"
    assert label_selector(tree).matches(LABELS)
    assert label_selector({"app": "web"}).matches(LABELS)
    assert not label_selector({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}).matches(LABELS)
    with pytest.raises(BadRequestError, match='"Foo" is not a valid label selector operator'):
        label_selector({"matchExpressions": [{"key": "app", "operator": "Foo"}]})


def test_field_selectors_compare_any_path_as_text() -> None:
    """Numbers and booleans are selected by how they are written, absent fields as empty."""
    tree = {"spec": {"nodeName": "n1", "on": True, "n": 3}, "metadata": {"name": "a,b"}}
    for text in ("spec.nodeName=n1", "spec.on=true,spec.n==3", "spec.none=", "metadata.name=a\\,b", "spec.nodeName!=n2"):
        assert parse_fields(text).matches(tree), text
    assert not parse_fields("spec.nodeName=n2").matches(tree)
    assert parse_fields("spec.nodeName=n1").exact("spec.nodeName") == "n1"
    with pytest.raises(BadRequestError, match="invalid selector: 'foo'; can't understand 'foo'"):
        parse_fields("foo")


def test_paths_read_what_printer_columns_name() -> None:
    """Columns are declared as these paths."""
    tree = {"status": {"conditions": [{"type": "A", "status": "x"}, {"type": "Ready", "status": "True"}]}, "spec": {"a.b": 3}}
    assert getter('.status.conditions[?(@.type=="Ready")].status')(tree) == "True"
    assert getter("{.status.conditions[-1].type}")(tree) == "Ready"
    assert getter(".spec['a.b']")(tree) == getter(r".spec.a\.b")(tree) == 3
    assert getter(".spec.none.deeper")(tree) is None
    assert list(values(".status.conditions[*].type")(tree)) == ["A", "Ready"]
    with pytest.raises(BadRequestError, match="is not understood"):
        getter(".spec[?(broken")


@pytest.mark.parametrize(
    ("cls", "text", "other", "wanted"),
    [
        (Node, "spec.unschedulable=false", {"spec": {"unschedulable": True}}, {"spec": {}}),
        (Pod, "spec.hostNetwork=false", {"spec": {"hostNetwork": True}}, {"spec": {}}),
        (ReplicaSet, "status.replicas=0", {"status": {"replicas": 2}}, {"status": {}}),
        (ReplicationController, "status.replicas=0", {"status": {"replicas": 2}}, {}),
        (
            Event,
            "source=kubelet",
            {"source": {"component": "x"}, "reportingComponent": "kubelet"},
            {"reportingComponent": "kubelet"},
        ),
        (Event, "source=kubelet", {}, {"source": {"component": "kubelet"}}),
    ],
)
def test_a_field_without_a_value_is_the_zero_of_its_type(cls: type[Resource], text: str, other: Tree, wanted: Tree) -> None:
    """The reference's fields have a type, whose zero they are without a value: by this the conformance program finds nodes."""
    catalog = Catalog()
    catalog.serve(kind_of(cls))
    selector = catalog.of(kind_of(cls)).fields(text)
    assert selector.matches(wanted)
    assert not selector.matches(other)
