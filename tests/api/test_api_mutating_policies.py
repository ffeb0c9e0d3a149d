"""Mutating admission policies: what they make of a write, what they refuse to do, and who sees whose changes."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from reconcile.client import MERGE_PATCH, Patch
from reconcile.errors import ApiError, Tree

pytest.importorskip("cel_expr_python")
EXEMPT = frozenset({("example.com", "rooms")})
DENIED = "policy 'p' with binding 'p' denied request: "
TYPED = "error applying patch: failed to convert patch object to typed object: "
NO_PARAMETERS = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"


def apply(expression: str) -> Tree:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def patch(expression: str) -> Tree:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


def policy(*mutations: Tree, name: str = "p", again: bool = False, **spec: Any) -> Tree:
    everything = {"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["*", "*/*"]}
    constraints = {"resourceRules": [everything], **spec.pop("constraints", {})}
    reinvocation = "IfNeeded" if again else "Never"
    return {
        "metadata": {"name": name},
        "spec": {"matchConstraints": constraints, "mutations": list(mutations), "reinvocationPolicy": reinvocation, **spec},
    }


def enforce(s: Any, *policies: Tree, **binding: Any) -> None:
    bindings = [
        {"metadata": {"name": each["metadata"]["name"]}, "spec": {"policyName": each["metadata"]["name"], **binding}}
        for each in policies
    ]
    s.api.configure_mutating_policies(policies, bindings, exempt=EXEMPT)


async def refusal(doing: Any) -> Tree:
    with pytest.raises(ApiError) as refused:
        await doing
    return refused.value.status()


@pytest.mark.parametrize(
    ("mutation", "made"),
    [
        (apply("Object{spec: Object.spec{replicas: object.spec.replicas + 1}}"), {"replicas": 3}),
        (apply("Object{spec: Object.spec{tags: ['b', 'a']}}"), {"replicas": 2, "tags": ["b", "a"]}),
        (
            apply("Object{spec: Object.spec{items: [Object.spec.items{name: 'y', image: 'i'}]}}"),
            {"replicas": 2, "items": [{"name": "x"}, {"name": "y", "image": "i"}]},
        ),
        (
            apply("Object{spec: Object.spec{items: object.spec.items.map(i, Object.spec.items{name: i.name, image: 'i'})}}"),
            {"replicas": 2, "items": [{"name": "x", "image": "i"}]},
        ),
        (apply("has(object.spec.host) ? Object{spec: Object.spec{replicas: 9}} : Object{}"), {"replicas": 2}),
        (patch("[JSONPatch{op: 'replace', path: '/spec/replicas', value: 7}]"), {"replicas": 7}),
        (patch("[JSONPatch{op: 'remove', path: '/spec/replicas'}]"), {"replicas": 1}),
        (
            patch(
                "[JSONPatch{op: 'test', path: '/spec/replicas', value: 3}, JSONPatch{op: 'remove', path: '/spec/replicas'}]",
            ),
            {"replicas": 2},
        ),
        (
            patch("[JSONPatch{op: 'add', path: '/spec/data', value: {'k': 'v'}}]"),
            {"replicas": 2, "data": {"k": "v"}},
        ),
        (
            patch(
                "[JSONPatch{op: 'add', path: '/spec/items/-', value: Object.spec.items{name: 'z', ports: [dyn({'port': 1})]}}]"
            ),
            {"replicas": 2, "items": [{"name": "x"}, {"name": "z", "ports": [{"port": 1, "protocol": "TCP"}]}]},
        ),
        (patch("object.spec.replicas > 2 ? [JSONPatch{op: 'remove', path: '/spec/replicas'}] : []"), {"replicas": 2}),
    ],
)
async def test_a_policy_changes_what_it_says(serving: Any, mutation: Tree, made: Tree) -> None:
    """Merged as server-side apply does, or patched; and the result has its defaults."""
    async with serving() as s:
        enforce(s, policy(mutation))
        spec = (await s.make("a", replicas=2, items=[{"name": "x"}]))["spec"]
        assert spec == {"items": [{"name": "x"}], **made}


async def test_labels_whose_names_have_a_slash_can_be_added(serving: Any) -> None:
    """Names of labels nearly all have one."""
    text = "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('example.com/ab'), value: 'yes'}]"
    async with serving() as s:
        enforce(s, policy(patch(text)))
        assert (await s.make("a", labels={"x": "y"}))["metadata"]["labels"] == {"x": "y", "example.com/ab": "yes"}


async def test_changes_are_nobodys(serving: Any) -> None:
    """The creator can apply the object again without the policy's fields, and they stay."""
    async with serving() as s:
        enforce(s, policy(apply("Object{metadata: Object.metadata{annotations: {'by': 'policy'}}}")))
        tree = {"metadata": {"name": "a"}, "spec": {"host": "a"}}
        made = (await s.api.create(s.site, tree, "n", tracked=True, field_manager="me")).tree
        assert made["metadata"]["annotations"] == {"by": "policy"}
        assert all("f:annotations" not in str(entry["fieldsV1"]) for entry in made["metadata"]["managedFields"])


@pytest.mark.parametrize(
    ("mutation", "says"),
    [
        (
            apply("Object{spec: Object.spec{replicasx: 1}}"),
            f"{TYPED}.spec.replicasx: field not declared in schema",
        ),
        (
            apply("Object{spec: Object.spec{replicas: 'a', host: 1}}"),
            f"{TYPED}errors:\n  .spec.host: expected string, got &value.valueUnstructured{{Value:1}}\n  .spec.replicas: exp",
        ),
        (
            apply("Object{spec: Object.spec{replicas: null}}"),
            f"{TYPED}.spec.replicas: expected numeric (int or float), got structpb",
        ),
        (apply("Object{spec: 1}"), f"{TYPED}.spec: expected map, got &{{1}}"),
        (apply("Object{spec: Object.spec{items: 'a'}}"), f"{TYPED}.spec.items: expected list, got &{{a}}"),
        (
            apply("Object{metadata: Object.metadata{labels: {'a': true}}}"),
            f"{TYPED}.metadata.labels.a: expected string, got &value",
        ),
        (apply("Object{metadata: Object.metadata{nosuch: 1}}"), f"{TYPED}.metadata.nosuch: field not declared in schema"),
        (
            apply("Object{spec: Object.spec{items: [Object.spec.items{name: 'a'}, Object.spec.items{name: 'a', nosuch: 1}]}}"),
            f'{TYPED}errors:\n  .spec.items: duplicate entries for key [name="a"]\n  .spec.items[name="a"].nosuch: field not',
        ),
        (
            patch("[JSONPatch{op: 'add', path: '/spec/host', value: quantity('1')}]"),
            "JSONPath valueExpression evaluated to a type that could not marshal to JSON: type conversion error from 'Quantity'",
        ),
        (
            apply("Object{spec: Object.spec{args: ['a']}}"),
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.args",
        ),
        (
            apply("Object{spec: Object.spec{selector: {'a': 'b'}}}"),
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector",
        ),
        (
            apply("Object{spec: Object.specx{replicas: 1}}"),
            'type mismatch: unexpected type name "Object.specx", expected "Object.spec", which matches field name path from root',
        ),
        (apply("Object{spec: object.nosuch}"), "expression 'Object{spec: object.nosuch}' resulted in error: no such key: nosuch"),
        (
            patch("[JSONPatch{op: 'remove', path: '/spec/nosuch'}]"),
            "JSON Patch: error in remove for path: '/spec/nosuch': Unable to remove nonexistent key: nosuch: missing value",
        ),
        (patch("[JSONPatch{op: 'sing', path: '/spec'}]"), "JSON Patch: Unexpected kind: sing"),
    ],
)
async def test_what_cannot_be_done_is_refused_or_ignored(serving: Any, mutation: Tree, says: str) -> None:
    """In the reference server's words; a policy that says Ignore lets the object through as it is."""
    async with serving() as s:
        enforce(s, policy(mutation))
        status = await refusal(s.make("a"))
        assert status["message"].startswith(DENIED + says)
        assert (status["code"], status["reason"]) == (403, "Invalid")
        assert status["details"]["causes"] == [{"message": status["message"]}]
        enforce(s, policy(mutation, failurePolicy="Ignore"))
        assert (await s.make("b", replicas=2))["spec"] == {"replicas": 2}


@pytest.mark.parametrize(
    ("mutation", "code", "says"),
    [
        (
            patch("[JSONPatch{op: 'add', path: '/data', value: 'text'}]"), 500,
            "Internal error occurred: json: cannot unmarshal string into Go struct field ConfigMap.data of type struct",
        ),
        (
            patch("[JSONPatch{op: 'add', path: '/nosuch', value: 'text'}]"), 500,
            'Internal error occurred: strict decoding error: unknown field "nosuch"',
        ),
        (
            patch("[JSONPatch{op: 'add', path: '/metadata/labels', value: {'a': 1}}]"), 403,
            DENIED + 'ConfigMap in version "v1" cannot be handled as a ConfigMap',
        ),
    ],
)  # fmt: skip
async def test_what_a_patch_makes_of_a_built_in_kind_has_to_be_one(serving: Any, mutation: Tree, code: int, says: str) -> None:
    """It is the policy's mistake and told as such, not one of who writes."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    async with serving() as s:
        enforce(s, policy(mutation, constraints={"resourceRules": [rule]}))
        status = await refusal(s.client.create(s.config, {"metadata": {"name": "c"}}, "n"))
        assert status["code"] == code
        assert status["message"].startswith(says)


async def test_a_policy_cannot_move_an_object_to_another_namespace(serving: Any) -> None:
    """That would pass by who may write there."""
    async with serving() as s:
        enforce(s, policy(apply("Object{metadata: Object.metadata{namespace: 'other'}}")))
        status = await refusal(s.make("a"))
        assert (status["code"], status["message"]) == (
            400, "the namespace of the provided object does not match the namespace sent on the request",
        )  # fmt: skip


async def test_what_is_wrong_with_a_policy_or_a_binding_is_told_as_such(serving: Any) -> None:
    """A policy that cannot be asked at all keeps everybody from writing, and says so."""
    async with serving() as s:
        enforce(s, policy(apply("Object{}"), paramKind={"apiVersion": "example.com/v1", "kind": "Nosuch"}))
        status = await refusal(s.make("a"))
        assert status["message"] == (
            'policy "p" denied request: failed to configure policy: failed to find resource referenced by paramKind: '
            "'example.com/v1, Kind=Nosuch'"
        )
        assert (status["code"], status["reason"]) == (403, "Forbidden")
        enforce(s, policy(apply("'text'")))
        assert "must evaluate to Object but got string" in (await refusal(s.make("a")))["message"]


async def test_conditions_variables_and_parameters(serving: Any) -> None:
    """As of policies that validate: conditions on the object as it is by then, one question for each object of parameters."""
    text = "Object{spec: Object.spec{data: {params.metadata.name: variables.most}}}"
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    common: Any = {"paramKind": kind, "variables": [{"name": "most", "expression": "params.data.most"}]}
    selected = {"selector": {"matchLabels": {"l": "y"}}, "parameterNotFoundAction": "Deny"}
    async with serving() as s:
        enforce(s, policy(apply(text), **common), paramRef=selected)
        message = (await refusal(s.make("a")))["message"]
        assert (
            message
            == DENIED + "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
        )
        enforce(s, policy(apply(text), **common), paramRef={**selected, "parameterNotFoundAction": "Allow"})
        assert "data" not in (await s.make("none"))["spec"]
        for name in ("one", "two"):
            await s.client.create(s.config, {"metadata": {"name": name, "labels": {"l": "y"}}, "data": {"most": name * 2}}, "n")
        enforce(s, policy(apply(text), **common), paramRef=selected)
        assert (await s.make("a"))["spec"]["data"] == {"one": "oneone", "two": "twotwo"}
        late: Any = {"matchConditions": [{"name": "c", "expression": "object.spec.replicas == 5"}]}
        five, six = (apply(f"Object{{spec: Object.spec{{replicas: {n}}}}}") for n in (5, 6))
        enforce(s, policy(five, name="a"), policy(six, name="b", **late))
        assert (await s.make("b"))["spec"]["replicas"] == 6
        enforce(s, policy(six, name="a", **late), policy(five, name="b"))
        assert (await s.make("c"))["spec"]["replicas"] == 5
        enforce(s, policy(six, matchConditions=[{"name": "c", "expression": "object.nosuch"}]))
        assert (await refusal(s.make("d")))["message"] == (
            "policy 'p' with binding 'p' denied request: expression 'object.nosuch' resulted in error: no such key: nosuch"
        )


async def test_a_policy_is_for_what_it_matches(serving: Any) -> None:
    """Changes of other objects, deletions, and what configures admission are none of its business."""
    mark = apply("Object{metadata: Object.metadata{labels: {'marked': 'yes'}}}")
    async with serving(namespaces=True) as s:
        await s.client.create(s.room, {"metadata": {"name": "n"}})
        enforce(s, policy(mark, constraints={"objectSelector": {"matchLabels": {"a": "b"}}}))
        assert "labels" not in (await s.make("other"))["metadata"]
        assert (await s.make("mine", labels={"a": "b"}))["metadata"]["labels"] == {"a": "b", "marked": "yes"}
        enforce(s, policy(mark))
        await s.client.create(s.room, {"metadata": {"name": "exempt"}})
        assert "labels" not in (await s.client.get(s.room, "exempt"))["metadata"]
        changed = await s.client.patch(s.site, "other", Patch(MERGE_PATCH, {"spec": {"replicas": 4}}), "n")
        assert changed["metadata"]["labels"] == {"marked": "yes"}
        enforce(s, policy(apply("Object{spec: Object.spec{nosuch: 1}}")))
        await s.client.delete(s.site, "other", "n")
        enforce(s)
        assert "labels" not in (await s.make("free"))["metadata"]


async def test_a_policy_changes_no_other_part_than_is_written(serving: Any) -> None:
    """Who writes the status cannot be made to change the spec, nor the other way round."""
    both = apply("Object{spec: Object.spec{replicas: 9}, status: Object.status{replicas: 9}}")
    async with serving() as s:
        enforce(s, policy(both))
        made = await s.make("a", replicas=1)
        assert (made["spec"]["replicas"], made.get("status")) == (9, None)
        enforce(s)
        await s.client.patch(s.site, "a", Patch(MERGE_PATCH, {"spec": {"replicas": 2}}), "n")
        enforce(s, policy(both))
        changed = await s.client.patch(s.site, "a", Patch(MERGE_PATCH, {"status": {"phase": "x"}}), "n", subresource="status")
        assert changed["spec"]["replicas"] == 2
        assert changed["status"] == {"phase": "x", "replicas": 9}


async def test_who_may_decides_what_a_policy_does(serving: Any) -> None:
    """An object can be marked by what its creator may do."""
    text = "Object{spec: Object.spec{host: authorizer.group('').resource('pods').check('create').allowed() ? 'yes' : 'no'}}"
    async with serving() as s:
        enforce(s, policy(apply(text)))
        assert (await s.make("a"))["spec"]["host"] == "yes"


def count(name: str, *, again: bool) -> Tree:
    """A policy that appends its name to `spec.host`."""
    text = f"Object{{spec: Object.spec{{host: (has(object.spec.host) ? object.spec.host : '') + '{name}'}}}}"
    return policy(apply(text), name=name, again=again)


@pytest.mark.parametrize(
    ("policies", "host"),
    [
        ([("a", False), ("b", False)], "ab"),
        ([("a", True), ("b", False)], "aba"),
        ([("a", False), ("b", True)], "abb"),
        ([("a", True)], "aa"),
        ([("a", True), ("b", True), ("c", False)], "abcab"),
    ],
)
async def test_policies_that_ask_for_it_see_later_changes(serving: Any, policies: list[tuple[str, bool]], host: str) -> None:
    """Once more, and not for ever; after a change of their own, too, as on the reference server."""
    async with serving() as s:
        enforce(s, *(count(name, again=again) for name, again in policies))
        assert (await s.make("x"))["spec"]["host"] == host


@pytest.mark.parametrize(
    ("policy_again", "hook_again", "host"),
    [(False, False, "ph"), (True, False, "php"), (False, True, "ph"), (True, True, "phph")],
)
async def test_policies_come_before_webhooks_and_each_sees_the_others_changes(
    serving: Any, policy_again: bool, hook_again: bool, host: str
) -> None:
    """A sidecar that a webhook adds is still judged by the policy, and what the policy does then by the webhook."""

    async def call(_client: Tree, body: Tree, _timeout_s: float) -> bytes:
        request = body["request"]
        operation = {"op": "add", "path": "/spec/host", "value": request["object"]["spec"].get("host", "") + "h"}
        encoded = base64.b64encode(orjson.dumps([operation])).decode()
        response = {"uid": request["uid"], "allowed": True, "patchType": "JSONPatch", "patch": encoded}
        return orjson.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})

    rule = {"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["sites"]}
    hook: Tree = {
        "name": "h", "clientConfig": {"url": "https://x"}, "rules": [rule], "sideEffects": "None",
        "reinvocationPolicy": "IfNeeded" if hook_again else "Never",
    }  # fmt: skip
    async with serving() as s:
        s.api.ask_webhooks(call, EXEMPT)
        s.api.configure_webhooks([{"metadata": {"name": "h"}, "webhooks": [hook]}], [])
        enforce(s, count("p", again=policy_again))
        assert (await s.make("x"))["spec"]["host"] == host


async def test_validating_policies_judge_what_mutating_ones_made(serving: Any) -> None:
    """The last word has who only judges."""
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["sites"]}
    spec = {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "object.spec.replicas < 5"}]}
    bound = {"metadata": {"name": "v"}, "spec": {"policyName": "v", "validationActions": ["Deny"]}}
    async with serving() as s:
        enforce(s, policy(apply("Object{spec: Object.spec{replicas: 9}}")))
        s.api.configure_policies([{"metadata": {"name": "v"}, "spec": spec}], [bound], exempt=EXEMPT)
        assert "failed expression: object.spec.replicas < 5" in (await refusal(s.make("a", replicas=1)))["message"]
