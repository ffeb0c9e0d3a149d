"""Admission webhooks: who is asked about which write, and what their answers do. The network is played by a function."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from reconcile.client import MERGE_PATCH, DeleteOptions, Patch
from reconcile.errors import ApiError, BadRequestError, ForbiddenError, InternalError, InvalidError, Tree
from reconcile.runtime.api.stored import Notes

EXEMPT = frozenset({("example.com", "rooms")})
TRUE = {"name": "c", "expression": "true"}


@attrs.define
class Hooks:
    """Webhooks by the names in their URLs: each is a function of the request that gives the response."""

    api: Any
    answers: dict[str, Callable[[Tree], Tree]] = attrs.field(factory=dict)
    requests: list[tuple[str, Tree]] = attrs.field(factory=list)

    async def __call__(self, client: Tree, body: Tree, timeout_s: float) -> bytes:
        request = body["request"]
        self.requests.append((client["url"], request))
        answer = self.answers[client["url"]](request)
        response = {"uid": request["uid"], "allowed": True, **answer}
        return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}).encode()

    def asked(self) -> list[str]:
        return [name for name, _ in self.requests]


def hook(name: str, **parts: Any) -> Tree:
    """A webhook that sees everything that happens to sites."""
    rule = {"operations": ["*"], "apiGroups": ["example.com"], "apiVersions": ["*"], "resources": ["sites"]}
    rule.update({key: parts.pop(key) for key in tuple(parts) if key in rule or key == "scope"})
    return {"name": name, "clientConfig": {"url": name}, "rules": [rule], "sideEffects": "None", **parts}


def configuration(*hooks: Tree, name: str = "c") -> Tree:
    return {"metadata": {"name": name}, "webhooks": list(hooks)}


def patch(*operations: Tree) -> Tree:
    return {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(operations).encode()).decode()}


def refuse(**status: Any) -> Callable[[Tree], Tree]:
    return lambda _request: {"allowed": False, "status": status}


def hooked(s: Any, mutating: list[Tree] | None = None, validating: list[Tree] | None = None, **answers: Any) -> Hooks:
    hooks = Hooks(s.api, answers)
    s.api.ask_webhooks(hooks, EXEMPT)
    s.api.configure_webhooks(mutating or [], validating or [])
    return hooks


async def test_a_mutating_webhook_changes_what_is_stored(serving: Any) -> None:
    """Side-cars, labels and defaults of whole companies come in so."""
    async with serving() as s:
        label = patch({"op": "add", "path": "/metadata/labels", "value": {"seen": "yes"}})
        replicas = patch({"op": "replace", "path": "/spec/replicas", "value": 3})
        hooks = hooked(
            s, [configuration(hook("b"), name="2"), configuration(hook("a"), name="1")], a=lambda _: label, b=lambda _: replicas
        )  # fmt: skip
        made = await s.make("x", zone="z")
        assert (made["metadata"]["labels"], made["spec"]["replicas"]) == ({"seen": "yes"}, 3)
        assert made["metadata"]["generation"] == 1
        assert hooks.asked() == ["a", "b"], "in the order of their configurations' names"
        assert hooks.requests[1][1]["object"]["metadata"]["labels"] == {"seen": "yes"}, "the second sees what the first did"


async def test_a_request_says_who_does_what_to_which_object(serving: Any) -> None:
    """Webhooks of others read these fields; the names are the protocol's."""
    async with serving() as s:
        hooks = hooked(s, validating=[configuration(hook("v", resources=["sites", "sites/status"]))], v=lambda _: {})
        await s.make("x")
        await s.client.patch(s.site, "x", Patch(MERGE_PATCH, {"status": {"phase": "up"}}), "n", subresource="status")
        await s.client.delete(s.site, "x", "n")
        created, patched, deleted = (request for _, request in hooks.requests)
        resource = {"group": "example.com", "version": "v1", "resource": "sites"}
        assert (created["operation"], created["name"], created["namespace"]) == ("CREATE", "x", "n")
        assert created["resource"] == created["requestResource"] == resource
        assert created["kind"] == created["requestKind"] == {"group": "example.com", "version": "v1", "kind": "Site"}
        assert created["userInfo"]["username"] == "system:apiserver"
        assert (created["oldObject"], created["dryRun"], created["object"]["kind"]) == (None, False, "Site")
        assert created["options"]["kind"] == "CreateOptions"
        assert (patched["operation"], patched["subResource"], "status" in patched["oldObject"]) == ("UPDATE", "status", False)
        assert patched["object"]["status"]["phase"] == "up"
        assert (deleted["operation"], deleted["object"]) == ("DELETE", None)
        assert deleted["oldObject"]["metadata"]["name"] == "x"


@pytest.mark.parametrize(
    ("parts", "asked"),
    [
        ({}, 1), ({"operations": ["CREATE"]}, 1), ({"operations": ["UPDATE", "DELETE"]}, 0), ({"apiGroups": ["*"]}, 1),
        ({"apiGroups": ["apps"]}, 0), ({"apiVersions": ["v2"]}, 0), ({"resources": ["*"]}, 1), ({"resources": ["*/*"]}, 1),
        ({"resources": ["sites/status"]}, 0), ({"resources": ["sites/*"]}, 0), ({"scope": "Cluster"}, 0),
        ({"scope": "Namespaced"}, 1), ({"objectSelector": {"matchLabels": {"app": "web"}}}, 1),
        ({"objectSelector": {"matchLabels": {"app": "db"}}}, 0), ({"matchConditions": [TRUE]}, 1),
        ({"matchConditions": [TRUE, {"name": "d", "expression": "object.spec.replicas > 5"}]}, 0),
        ({"matchConditions": [{"name": "d", "expression": "request.userInfo.username == 'system:apiserver'"}]}, 1),
        ({"matchConditions": [{"name": "d", "expression": "oldObject != null"}]}, 0),
        ({"matchConditions": [{"name": "d", "expression": "authorizer.requestResource.check('create').allowed()"}]}, 1),
        ({"matchConditions": [{"name": "d", "expression": "!authorizer.path('/x').check('get').allowed()"}]}, 0),
    ],
)  # fmt: skip
async def test_a_webhook_is_asked_about_what_its_rules_select_only(serving: Any, parts: Tree, asked: int) -> None:
    """Asked too often, it is slow; too rarely, it protects nothing."""
    async with serving() as s:
        hooks = hooked(s, validating=[configuration(hook("v", **parts))], v=lambda _: {})
        await s.make("x", labels={"app": "web"})
        assert len(hooks.requests) == asked


async def test_namespaces_select_by_their_labels(serving: Any) -> None:
    """`kubectl label namespace n checked=yes` is how webhooks are put into force."""
    async with serving(namespaces=True) as s:
        await s.client.create(s.room, {"metadata": {"name": "n", "labels": {"checked": "yes"}}})
        selector = {"namespaceSelector": {"matchLabels": {"checked": "yes"}}}
        hooks = hooked(s, validating=[configuration(hook("v", **selector))], v=lambda _: {})
        await s.make("x")
        assert hooks.asked() == ["v"]
        await s.client.patch(s.room, "n", Patch(MERGE_PATCH, {"metadata": {"labels": {"checked": None}}}))
        await s.make("y")
        assert hooks.asked() == ["v"], "the configuring kinds and others are exempt, and n is checked no longer"


async def test_a_denial_reaches_the_client_with_the_webhooks_code_and_message(serving: Any) -> None:
    """The texts are the reference server's; tools look for them."""
    async with serving() as s:
        cases: list[tuple[Any, type[ApiError], str]] = [
            (refuse(message="too big"), ForbiddenError, 'admission webhook "v" denied the request: too big'),
            (refuse(message="no", code=422, reason="Invalid"), InvalidError, 'admission webhook "v" denied the request: no'),
            (refuse(reason="BadRequest"), BadRequestError, 'admission webhook "v" denied the request: BadRequest'),
            (refuse(), ForbiddenError, 'admission webhook "v" denied the request without explanation'),
        ]
        for answer, error, text in cases:
            hooked(s, validating=[configuration(hook("v"))], v=answer)
            with pytest.raises(error) as caught:
                await s.make("x")
            assert str(caught.value) == text
        assert (await s.client.list(s.site)).items == []


async def test_webhooks_can_keep_objects_from_being_deleted(serving: Any) -> None:
    """A mutating one too: it sees the deletion, and can but refuse."""
    async with serving() as s:
        await s.make("x")
        for part in ("mutating", "validating"):
            hooked(s, **{part: [configuration(hook("h", operations=["DELETE"]))]}, h=refuse(message="keep it"))
            with pytest.raises(ForbiddenError, match="keep it"):
                await s.client.delete(s.site, "x", "n", DeleteOptions())
        await s.get("x")


async def test_the_first_refusal_in_order_is_told_and_warnings_of_all_reach_the_client(serving: Any) -> None:
    """Validating webhooks are asked at once, and still answer in the same order each time."""
    async with serving() as s:
        notes = Notes()
        hooks = configuration(hook("a"), hook("b"), hook("c"))
        hooked(
            s, validating=[hooks], a=lambda _: {"warnings": ["old"]}, b=lambda _: {"warnings": ["old", "slow"]}, c=lambda _: {}
        )
        await s.api.create(s.site, {"metadata": {"name": "w"}, "spec": {}}, "n", notes=notes)
        assert notes.warnings == ["old", "slow"]
        hooked(s, validating=[hooks], a=lambda _: {}, b=refuse(message="b says no"), c=refuse(message="c says no"))
        with pytest.raises(ForbiddenError, match="b says no"):
            await s.make("x")


def unreachable(_request: Tree) -> Tree:
    raise OSError('Post "v": connection refused')


def slow(_request: Tree) -> Tree:
    raise TimeoutError


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (unreachable, 'failed to call webhook: Post "v": connection refused'), (slow, "context deadline exceeded"),
        (lambda _: {"uid": "other"}, "expected response.uid="),
        (lambda _: {"patchType": "Odd", "patch": ""}, 'expected "JSONPatch"'),
        (lambda _: {"patchType": "JSONPatch", "patch": "*"}, "no JSON in base64"),
        (lambda _: patch({"op": "remove", "path": "/spec/nosuch"}), "its patch cannot be applied"),
    ],
)  # fmt: skip
async def test_who_gives_no_answer_refuses_or_is_passed_over_as_it_was_configured(serving: Any, answer: Any, why: str) -> None:
    """Fail closed unless told otherwise: a policy that can be switched off by stopping its server is none."""
    async with serving() as s:
        hooked(s, [configuration(hook("v", failurePolicy="Fail"))], v=answer)
        with pytest.raises(InternalError) as caught:
            await s.make("x")
        assert str(caught.value).startswith('Internal error occurred: failed calling webhook "v": ')
        assert why in str(caught.value)
        hooked(s, [configuration(hook("v", failurePolicy="Ignore"))], v=answer)
        assert (await s.make("x"))["spec"]["replicas"] == 1


async def test_a_condition_without_a_value_counts_as_a_failure_unless_another_is_false(serving: Any) -> None:
    """Source: matchConditions of the reference server."""
    async with serving() as s:
        broken, false = {"name": "odd", "expression": "object.spec.nosuch > 1"}, {"name": "no", "expression": "false"}
        hooks = hooked(s, validating=[configuration(hook("v", matchConditions=[broken]))], v=lambda _: {})
        with pytest.raises(InternalError, match=r"odd: no such key"):
            await s.make("x")
        s.api.configure_webhooks([], [configuration(hook("v", matchConditions=[broken, false]))])
        await s.make("x")
        assert hooks.requests == []


async def test_one_that_asks_for_it_is_asked_again_after_a_later_change(serving: Any) -> None:
    """A side-car that was added last must be seen by who gives side-cars their limits."""
    async with serving() as s:
        first, second = hook("first", reinvocationPolicy="IfNeeded"), hook("second")
        change = patch({"op": "replace", "path": "/spec/replicas", "value": 4})
        hooks = hooked(s, [configuration(first, second)], first=lambda _: {}, second=lambda _: change)
        await s.make("x")
        assert hooks.asked() == ["first", "second", "first"]
        assert hooks.requests[-1][1]["object"]["spec"]["replicas"] == 4
        hooks = hooked(s, [configuration(first, second)], first=lambda _: {}, second=lambda _: {})
        await s.make("y")
        assert hooks.asked() == ["first", "second"]


async def test_a_dry_run_asks_webhooks_without_side_effects_only(serving: Any) -> None:
    """`--dry-run=server` must change nothing anywhere."""
    async with serving() as s:
        hooks = hooked(s, validating=[configuration(hook("v"))], v=lambda _: {})
        await s.client.create(s.site, {"metadata": {"name": "x"}, "spec": {}}, "n", dry_run=True)
        assert hooks.requests[0][1]["dryRun"] is True
        hooked(s, validating=[configuration(hook("v", sideEffects="Some"))], v=lambda _: {})
        with pytest.raises(BadRequestError, match="admission webhook v does not support dry run"):
            await s.client.create(s.site, {"metadata": {"name": "x"}, "spec": {}}, "n", dry_run=True)


async def test_what_a_webhook_makes_is_checked_like_anything_else(serving: Any) -> None:
    """A webhook that writes nonsense must not get it into the store, nor change who the object is."""
    async with serving() as s:
        wrong = patch({"op": "replace", "path": "/spec/replicas", "value": -1})
        hooked(s, [configuration(hook("v"))], v=lambda _: wrong)
        with pytest.raises(InvalidError, match=r"spec\.replicas"):
            await s.make("x")
        renamed = patch({"op": "replace", "path": "/metadata/name", "value": "y"})
        hooked(s, [configuration(hook("v"))], v=lambda _: renamed)
        assert (await s.make("x"))["metadata"]["name"] == "x"


async def test_kinds_that_configure_webhooks_are_never_asked_about(serving: Any) -> None:
    """A webhook that refuses everything could not be removed."""
    async with serving(namespaces=True) as s:
        everything = hook("v", apiGroups=["*"], resources=["*"])
        hooked(s, [configuration(everything)], [configuration(everything)], v=refuse())
        await s.client.create(s.room, {"metadata": {"name": "n"}})
        await s.client.delete(s.room, "n")
