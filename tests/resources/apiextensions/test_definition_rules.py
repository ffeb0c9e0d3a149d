"""What makes a CustomResourceDefinition valid, in the reference server's words."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from reconcile.errors import Tree
from reconcile.resources.apiextensions import CustomResourceDefinition
from reconcile.resources.apiextensions.rules import broken_rules

SCHEMA = "spec.versions[0].schema.openAPIV3Schema"
VALID: Tree = {
    "metadata": {"name": "widgets.shop.example.com"},
    "spec": {
        "group": "shop.example.com", "scope": "Namespaced", "conversion": {"strategy": "None"},
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}],
    },
}  # fmt: skip


def broken(change: Callable[[Tree], Any]) -> list[str]:
    tree = copy.deepcopy(VALID)
    change(tree)
    return [f"{cause.field}: {cause.message}" for cause in broken_rules(tree, None)]


def in_schema(node: Tree) -> list[str]:
    """What is wrong with a field `a` of that schema."""

    def change(tree: Tree) -> None:
        tree["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"] = {"a": node}

    return broken(change)


def test_a_plain_definition_is_valid() -> None:
    """The rules below would be worth nothing if nothing passed them."""
    assert broken(lambda _: None) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda t: t["metadata"].update(name="gadgets.shop.example.com"),
            'metadata.name: Invalid value: "gadgets.shop.example.com": must be spec.names.plural+"."+spec.group',
        ),
        (
            lambda t: t["spec"].update(scope="Galaxy"),
            'spec.scope: Unsupported value: "Galaxy": supported values: "Cluster", "Namespaced"',
        ),
        (lambda t: t["spec"].pop("scope"), "spec.scope: Required value"),
        (
            lambda t: t["spec"]["versions"][0].update(storage=False),
            ('spec.versions: Invalid value: [{"name":"v1","served":true,"storage":false}]: '
            "must have exactly one version marked as storage version"),
        ),
        (
            lambda t: t["spec"]["versions"].append(t["spec"]["versions"][0] | {"storage": False}),
            ('spec.versions: Invalid value: [{"name":"v1","served":true,"storage":true},'
            '{"name":"v1","served":true,"storage":false}]: must contain unique version names'),
        ),
        (lambda t: t["spec"]["versions"][0].pop("schema"), f"{SCHEMA}: Required value: schemas are required"),
        (
            lambda t: t["spec"]["names"].update(listKind="Widget"),
            'spec.names.listKind: Invalid value: "Widget": kind and listKind may not be the same',
        ),
        (
            lambda t: t["spec"]["conversion"].update(strategy="Magic"),
            'spec.conversion.strategy: Unsupported value: "Magic": supported values: "None", "Webhook"',
        ),
        (
            lambda t: t["spec"].update(preserveUnknownFields=True),
            ("spec.preserveUnknownFields: Invalid value: true: cannot set to true, set "
            "x-kubernetes-preserve-unknown-fields to true "
            "in spec.versions[*].schema instead"),
        ),
        (
            lambda t: t["spec"]["versions"][0].update(additionalPrinterColumns=[{"name": "A", "type": "text", "jsonPath": ".a"}]),
            ('spec.versions[0].additionalPrinterColumns[0].type: Unsupported value: "text": supported values: "boolean", "date", '
            '"integer", "number", "string"'),
        ),
        (
            lambda t: t["spec"]["versions"][0].update(
                subresources={"scale": {"specReplicasPath": ".n", "statusReplicasPath": ".status.n"}}
            ),
            'spec.versions[0].subresources.scale.specReplicasPath: Invalid value: ".n": should be a json path under .spec',
        ),
        (
            lambda t: t["spec"]["versions"][0].update(selectableFields=[{"jsonPath": ".metadata.name"}]),
            ('spec.versions[0].selectableFields[0].jsonPath: Invalid value: ".metadata.name": '
            "must not point to fields in metadata"),
        ),
    ],
)  # fmt: skip
def test_a_definition_that_breaks_a_rule_is_told_which(change: Callable[[Tree], Any], why: str) -> None:
    """Clients and their tests match on these words."""
    assert why in broken(change)


@pytest.mark.parametrize(
    ("node", "why"),
    [
        ({}, "properties[a].type: Required value: must not be empty for specified object fields"),
        (
            {"type": "strng"},
            ('properties[a].type: Unsupported value: "strng": supported values: "array", "boolean", "integer", "number", '
            '"object", "string"'),
        ),
        ({"type": "array"}, "properties[a].items: Required value: must be specified"),
        ({"type": "array", "items": {}}, "properties[a].items.type: Required value: must not be empty for specified array items"),
        (
            {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
            ("properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true "
            "since the runtime complexity becomes quadratic"),
        ),
        (
            {"type": "object", "additionalProperties": False},
            "properties[a].additionalProperties: Forbidden: additionalProperties cannot be set to false",
        ),
        ({"type": "object", "$ref": "#/b"}, "properties[a].$ref: Forbidden: $ref is not supported"),
        (
            {"type": "string", "x-kubernetes-list-type": "set"},
            'properties[a].type: Invalid value: "string": must be array if x-kubernetes-list-type is specified',
        ),
        (
            {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"},
            "properties[a].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
        ),
        (
            {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
                "items": {"type": "object", "properties": {"n": {"type": "string"}}},
            },
            ("properties[a].items.properties[n].default: Required value: this property is in x-kubernetes-list-map-keys, so it "
            "must have a default or be a required property"),
        ),
        ({"type": "integer", "default": "x"}, 'properties[a].default: Invalid value: "x": must be of type integer'),
        (
            {"type": "object", "anyOf": [{"type": "object"}]},
            "properties[a].anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            {"type": "object", "oneOf": [{"properties": {"b": {}}}]},
            (f"properties[a].properties[b]: Required value: "
            f"because it is defined in {SCHEMA}.properties[a].oneOf[0].properties[b]"),
        ),
        (
            {"type": "string", "x-kubernetes-embedded-resource": True},
            'properties[a].type: Invalid value: "string": must be object if x-kubernetes-embedded-resource is true',
        ),
    ],
)  # fmt: skip
def test_a_schema_that_is_not_structural_is_told_where(node: Tree, why: str) -> None:
    """Only a structural schema says what to prune, default and merge."""
    assert f"{SCHEMA}.{why}" in in_schema(node)


@pytest.mark.parametrize(
    "node",
    [
        {"x-kubernetes-int-or-string": True},
        {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        {"x-kubernetes-int-or-string": True, "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"pattern": "^1"}]},
        {"x-kubernetes-preserve-unknown-fields": True},
        {"type": "object", "properties": {"b": {"type": "string"}}, "oneOf": [{"required": ["b"]}, {"not": {"required": ["b"]}}]},
        {"type": "object", "additionalProperties": {"type": "string"}, "nullable": True},
    ],
)
def test_what_controller_generators_write_is_structural(node: Tree) -> None:
    """These shapes are in most definitions of the field."""
    assert in_schema(node) == []


WEBHOOK = "spec.conversion.webhookClientConfig"
REVIEWS = "spec.conversion.conversionReviewVersions"


@pytest.mark.parametrize(
    ("strategy", "client", "reviews", "whys"),
    [
        ("Webhook", {"url": "https://a:1/b"}, ["v9", "v1"], []),
        ("Webhook", {"service": {"name": "s", "namespace": "n", "path": "/convert"}}, ["v1beta1"], []),
        ("Webhook", {"url": "https://a", "caBundle": "Cg=="}, ["v1"], []),
        (
            "Webhook", None, [],
            [f"{WEBHOOK}: Required value: required when strategy is set to Webhook", f"{REVIEWS}: Required value"],
        ),
        (
            "None", {"url": "https://a"}, ["v1"],
            [f"{each}: Forbidden: should not be set when strategy is not set to Webhook" for each in (WEBHOOK, REVIEWS)],
        ),
        ("Webhook", {}, ["v1"], [f"{WEBHOOK}: Required value: exactly one of url or service is required"]),
        (
            "Webhook", {"url": "http://me@a?b#c"}, ["v2", "v2"],
            [
                f"{WEBHOOK}.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
                f'{WEBHOOK}.url: Invalid value: "me": user information is not permitted in the URL',
                f'{WEBHOOK}.url: Invalid value: "c": fragments are not permitted in the URL',
                f'{WEBHOOK}.url: Invalid value: "b": query parameters are not permitted in the URL',
                f'{REVIEWS}[1]: Invalid value: "v2": duplicate version',
                f'{REVIEWS}: Invalid value: ["v2","v2"]: must include at least one of v1, v1beta1',
            ],
        ),
        (
            "Webhook", {"service": {"name": "s", "path": "a//b", "port": 70000}}, ["v1"],
            [
                f"{WEBHOOK}.service.namespace: Required value: service namespace is required",
                f"{WEBHOOK}.service.port: Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive",
                f"{WEBHOOK}.service.path: Invalid value: \"a//b\": must start with a '/'",
                f'{WEBHOOK}.service.path: Invalid value: "a//b": segment[1] may not be empty',
            ],
        ),
    ],
)  # fmt: skip
def test_a_conversion_that_breaks_a_rule_is_told_which(
    strategy: str, client: Tree | None, reviews: list[str], whys: list[str]
) -> None:
    """A webhook that cannot be reached makes all objects of a kind unreadable: better told at once."""
    webhook = {"conversionReviewVersions": reviews} | ({"clientConfig": client} if client is not None else {})
    assert broken(lambda t: t["spec"].update(conversion={"strategy": strategy, "webhook": webhook})) == whys


def test_a_group_of_kubernetes_needs_an_approval() -> None:
    """Or anybody's kind could pass for one of the project."""

    def change(tree: Tree) -> None:
        tree["metadata"]["name"], tree["spec"]["group"] = "widgets.apps.k8s.io", "apps.k8s.io"

    assert any("protected groups must have approval annotation" in why for why in broken(change))


def test_what_can_be_derived_is_filled_in() -> None:
    """Most definitions name neither singular, list kind nor conversion."""
    tree: Tree = {"spec": {"names": {"kind": "Widget"}, "versions": [{"name": "v1"}]}}
    default = CustomResourceDefinition.__kind__.hooks.default
    assert default is not None
    default(tree)
    assert tree["spec"]["names"] == {"kind": "Widget", "singular": "widget", "listKind": "WidgetList"}
    assert tree["spec"]["conversion"] == {"strategy": "None"}
    assert tree["spec"]["versions"] == [{"name": "v1", "served": False, "storage": False}]
