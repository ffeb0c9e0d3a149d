"""Admission policies: what they refuse, in which words, and how bindings put them into force."""

from __future__ import annotations

from typing import Any

import attrs
import orjson
import pytest

from reconcile.client import MERGE_PATCH, Patch
from reconcile.errors import ApiError, ForbiddenError, InvalidError, Tree
from reconcile.handling import AdmissionReview
from reconcile.identity import Access, Caller, Decision
from reconcile.runtime.api.stored import Notes
from reconcile.subresources import Asked, Backend, Connection, Objects

pytest.importorskip("cel_expr_python")
EXEMPT = frozenset({("example.com", "rooms")})


def policy(*rules: Tree | str, name: str = "p", **spec: Any) -> Tree:
    given = [{"expression": rule} if isinstance(rule, str) else rule for rule in rules]
    everything = {
        "apiGroups": ["example.com"],
        "apiVersions": ["v1"],
        "operations": ["*"],
        "resources": ["sites", "sites/status"],
    }
    constraints = {"resourceRules": [everything], **spec.pop("constraints", {})}
    return {"metadata": {"name": name}, "spec": {"matchConstraints": constraints, "validations": given, **spec}}


def binding(name: str = "b", policy: str = "p", actions: tuple[str, ...] = ("Deny",), **spec: Any) -> Tree:
    return {"metadata": {"name": name}, "spec": {"policyName": policy, "validationActions": list(actions), **spec}}


def enforce(s: Any, policies: list[Tree], bindings: list[Tree] | None = None) -> None:
    s.api.configure_policies(policies, [binding()] if bindings is None else bindings, exempt=EXEMPT)


async def refusal(doing: Any) -> str:
    with pytest.raises(ApiError) as refused:
        await doing
    return refused.value.message


TITLE = "sites.example.com \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: "


async def test_what_breaks_a_rule_is_refused_in_the_references_words(serving: Any) -> None:
    """The message, and which policy and binding it was: who is refused must know whom to ask."""
    async with serving() as s:
        enforce(s, [policy("object.spec.replicas <= 5")])
        await s.make("a", replicas=5)
        with pytest.raises(InvalidError) as refused:
            await s.make("b", replicas=6)
        status = refused.value.status()
        assert status["code"] == 422
        assert status["message"] == (
            "sites.example.com \"b\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: "
            "failed expression: object.spec.replicas <= 5"
        )
        assert status["details"]["kind"] == "sites"


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"expression": "false", "message": " too much "}, "too much"),
        ({"expression": "false", "messageExpression": "'has ' + string(object.spec.replicas)"}, "has 1"),
        ({"expression": "false", "message": "m", "messageExpression": "object.spec.nosuch"}, "m"),
        ({"expression": "false", "message": "m", "messageExpression": "'two\\nlines'"}, "m"),
        (
            {"expression": "object.spec.nosuch == 1"},
            "expression 'object.spec.nosuch == 1' resulted in error: no such key: nosuch",
        ),
    ],
)
async def test_the_message_is_the_rules_own(serving: Any, rule: Tree, says: str) -> None:
    """Computed, given, or the expression itself; what has no value counts as broken."""
    async with serving() as s:
        enforce(s, [policy(rule)])
        assert await refusal(s.make("a")) == TITLE + says


@pytest.mark.parametrize(("reason", "code"), [("Forbidden", 403), ("Unauthorized", 401), ("RequestEntityTooLarge", 413)])
async def test_the_reason_is_the_rules_own(serving: Any, reason: str, code: int) -> None:
    """Clients decide by it what to do."""
    async with serving() as s:
        enforce(s, [policy({"expression": "false", "reason": reason})])
        with pytest.raises(ApiError) as refused:
            await s.make("a")
        assert (refused.value.status()["code"], refused.value.status()["reason"]) == (code, reason)


async def test_rules_see_the_old_object_the_request_and_the_namespace(serving: Any) -> None:
    """A rule about a change, about who writes, or about where."""
    async with serving(namespaces=True) as s:
        await s.client.create(s.room, {"metadata": {"name": "n"}})
        await s.make("a", replicas=3)
        enforce(s, [policy("request.operation != 'UPDATE' || object.spec.replicas >= oldObject.spec.replicas")])
        assert "denied request" in await refusal(s.client.patch(s.site, "a", merge(2), "n"))
        await s.client.patch(s.site, "a", merge(4), "n")
        enforce(s, [policy("request.operation != 'DELETE' || request.userInfo.username == 'bob'")])
        assert "denied request" in await refusal(s.client.delete(s.site, "a", "n"))
        enforce(s, [policy("namespaceObject.metadata.name == 'n' && object.metadata.name != 'c'")])
        await s.make("b")
        assert "denied request" in await refusal(s.make("c"))
        enforce(s, [policy("object == null || oldObject == null")])
        await s.client.delete(s.site, "b", "n")


async def test_variables_are_computed_when_they_are_used(serving: Any) -> None:
    """One that has no value breaks the rules that use it, and no others."""
    variables = [
        {"name": "wanted", "expression": "object.spec.replicas"},
        {"name": "doubled", "expression": "variables.wanted * 2"}, {"name": "broken", "expression": "object.spec.nosuch"},
    ]  # fmt: skip
    async with serving() as s:
        enforce(s, [policy("variables.doubled < 10", variables=variables)])
        await s.make("a", replicas=4)
        assert "variables.doubled < 10" in await refusal(s.make("b", replicas=5))
        enforce(s, [policy("variables.broken == 1", variables=variables)])
        assert 'resulted in error: composited variable "broken" fails to evaluate: no such key: nosuch' in await refusal(
            s.make("b")
        )


async def test_a_policy_is_asked_about_what_it_matches(serving: Any) -> None:
    """Without a binding about nothing; and never about what configures admission."""
    async with serving(namespaces=True) as s:
        await s.client.create(s.room, {"metadata": {"name": "n"}})
        enforce(s, [policy("false")], [])
        await s.make("unbound")
        enforce(s, [policy("false", constraints={"objectSelector": {"matchLabels": {"strict": "yes"}}})])
        await s.make("free")
        assert "denied" in await refusal(s.make("a", labels={"strict": "yes"}))
        enforce(s, [policy("false", constraints={"namespaceSelector": {"matchLabels": {"strict": "yes"}}})])
        await s.make("elsewhere")
        enforce(s, [policy("false", matchConditions=[{"name": "c", "expression": "object.metadata.name == 'bad'"}])])
        await s.make("good")
        assert "denied" in await refusal(s.make("bad"))
        excluded = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"], "resourceNames": ["vip"]}
        enforce(s, [policy("false", constraints={"excludeResourceRules": [excluded]})])
        await s.make("vip")
        assert "denied" in await refusal(s.make("pleb"))
        enforce(s, [policy("false")], [binding(matchResources={"objectSelector": {"matchLabels": {"a": "b"}}})])
        await s.make("other")
        assert "denied" in await refusal(s.make("chosen", labels={"a": "b"}))
        rooms = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}
        enforce(s, [policy("false", constraints={"resourceRules": [rooms]})])
        await s.client.create(s.room, {"metadata": {"name": "exempt"}})
        assert "denied" in await refusal(s.client.create(s.config, {"metadata": {"name": "c"}}, "n"))


async def test_a_binding_says_what_follows(serving: Any) -> None:
    """Warnings reach the client, an audit has no place to go, and a refusal is a refusal."""
    async with serving() as s:
        notes = Notes()
        enforce(s, [policy("false")], [binding(actions=("Warn", "Audit"))])
        await s.api.create(s.site, {"metadata": {"name": "a"}, "spec": {}}, "n", notes=notes)
        assert notes.warnings == [
            "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': failed expression: false"
        ]


async def test_failure_policy_ignore_lets_pass_what_cannot_be_judged(serving: Any) -> None:
    """And Fail does not, whatever the reason: rules that are silently not enforced are worse than none."""
    async with serving() as s:
        for spec in (
            {"matchConditions": [{"name": "c", "expression": "object.spec.nosuch"}]},
            {"variables": [{"name": "v", "expression": ")"}]},
            {"paramKind": {"apiVersion": "example.com/v1", "kind": "Nosuch"}},
        ):  # fmt: skip
            bindings = [binding(paramRef={"name": "x", "parameterNotFoundAction": "Deny"})]
            enforce(s, [policy("object.spec.nosuch", failurePolicy="Ignore", **spec)], bindings)
            await s.make(f"free{s.store.revision}")
            enforce(s, [policy("object.spec.nosuch", failurePolicy="Fail", **spec)], bindings)
            assert "ValidatingAdmissionPolicy 'p'" in await refusal(s.make("a"))


async def test_a_condition_that_is_false_counts_before_one_that_has_no_value(serving: Any) -> None:
    """A policy is not asked about what it says it is not for, whatever else is wrong with its conditions."""
    broken, false = ({"name": name, "expression": text} for name, text in (("b", "object.spec.nosuch"), ("f", "1 > 2")))
    async with serving() as s:
        enforce(s, [policy("false", matchConditions=[broken, false])])
        await s.make("a")
        enforce(s, [policy("false", matchConditions=[broken, broken])])
        why = "expression 'object.spec.nosuch' resulted in error: no such key: nosuch"
        assert await refusal(s.make("b")) == TITLE.replace('"a"', '"b"') + f"[{why}, {why}]"


async def test_what_is_wrong_with_a_policy_or_a_binding_is_told_as_such(serving: Any) -> None:
    """Who is refused for a reason that has nothing to do with the object must know whose fault it is."""
    forbidden = 'sites.example.com "a" is forbidden: '
    async with serving() as s:
        enforce(s, [policy("true", paramKind={"apiVersion": "example.com/v1", "kind": "Nosuch"})])
        assert await refusal(s.make("a")) == (
            f"{forbidden}ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: failed to find resource "
            "referenced by paramKind: 'example.com/v1, Kind=Nosuch'"
        )
        reference = {"name": "x", "namespace": "n", "parameterNotFoundAction": "Deny"}
        s.api.serve(s.room)
        enforce(s, [policy("true", paramKind={"apiVersion": "example.com/v1", "kind": "Room"})], [binding(paramRef=reference)])
        assert await refusal(s.make("a")) == (
            f"{TITLE}failed to configure binding: paramRef.namespace must not be provided for a cluster-scoped `paramKind`"
        )


async def test_an_audit_annotation_without_a_value_denies(serving: Any) -> None:
    """There is no audit log to write it to; but a policy refuses here what it would refuse elsewhere."""
    async with serving() as s:
        for text, says in (
            ("object.spec.nosuch", "expression 'object.spec.nosuch' resulted in error: no such key: nosuch"),
            ("object.spec.replicas", "valueExpression 'object.spec.replicas' resulted in unsupported return type"),
        ):
            enforce(s, [policy(auditAnnotations=[{"key": "k", "valueExpression": text}])], [binding(actions=("Audit",))])
            assert says in await refusal(s.make("a"))
        annotations = [{"key": "k", "valueExpression": text} for text in ("'a'", "null", "''")]
        enforce(s, [policy(auditAnnotations=annotations)])
        await s.make("a")
        ignored = [{"key": "k", "valueExpression": "object.spec.nosuch"}]
        enforce(s, [policy(auditAnnotations=ignored, failurePolicy="Ignore")])
        await s.make("b")


async def test_policies_ask_whether_somebody_may(serving: Any) -> None:
    """The caller, a service account, a resource, a path, and the resource of the request itself."""

    def decide(caller: Caller, access: Access) -> Decision:
        asked.append((caller, access))
        return Decision(access.verb in ("read", "sing"), "no" if access.verb == "dance" else "")

    asked: list[tuple[Caller, Access]] = []
    ann = Caller("ann", ("people",))
    pods = "authorizer.group('g').resource('pods').subresource('log').namespace('x').name('p')"
    async with serving() as s:
        s.api.security.authorize_with(decide)
        for text in (
            f"{pods}.fieldSelector('a=b').labelSelector('c=d').check('read').allowed()",
            "!authorizer.group('').resource('pods').check('dance').allowed()",
            "authorizer.group('').resource('pods').check('dance').reason() == 'no'",
            "authorizer.serviceAccount('ns', 'bot').path('/x').check('sing').allowed()",
            "authorizer.requestResource.check('read').allowed()",
            "!authorizer.path('/x').check('get').errored() && authorizer.path('/x').check('get').error() == ''",
        ):
            enforce(s, [policy(text)])
            await s.api.create(s.site, {"metadata": {"generateName": "a"}, "spec": {}}, "n", caller=ann)
        assert asked[0] == (ann, Access("read", "g", "pods", "log", "x", "p", "*", fields="a=b"))
        groups = ("system:serviceaccounts", "system:serviceaccounts:ns")
        assert asked[3] == (Caller("system:serviceaccount:ns:bot", groups), Access("sing", path="/x"))
        assert (asked[4][1].resource, asked[4][1].group, asked[4][1].namespace) == ("sites", "example.com", "n")
        for text, says in (
            ("authorizer.path(' ').check('get').allowed()", "path must not be empty"),
            ("authorizer.group('').resource('').check('get').allowed()", "resource must not be empty"),
            ("authorizer.serviceAccount('ns', '-').path('/x').check('get').allowed()", "Invalid service account name"),
            ("authorizer.serviceAccount('n.s', 'a').path('/x').check('get').allowed()", "Invalid service account namespace"),
            ("authorizer.check('get').allowed()", "no such overload"),
        ):
            enforce(s, [policy(text)])
            assert says in await refusal(s.make("a"))


async def test_connections_are_shown_to_policies_and_webhooks(serving: Any) -> None:
    """With what is asked of the object, in place of the object; and only to those that want connections."""

    async def nowhere(_objects: Objects, _asked: Asked) -> Backend:
        raise AssertionError("nobody is reached")

    async def call(_client: Tree, body: Tree, _timeout_s: float) -> bytes:
        seen.append(body["request"])
        response = {"uid": body["request"]["uid"], "allowed": False, "status": {"message": "no panels"}}
        return orjson.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})

    seen: list[Tree] = []
    panel = Connection("panel", "SitePanel", nowhere, options=lambda asked: {"lines": asked.values("line")})
    asked = Asked("GET", "a", "n", query=(("line", "1"), ("line", "2")))
    ann = Caller("ann")
    rule = {"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CONNECT"], "resources": ["sites/panel"]}
    async with serving(namespaces=True) as s:
        await s.client.create(s.room, {"metadata": {"name": "n"}})
        await s.api.admit_connection(s.site, panel, asked, ann)
        says = "request.kind.kind + ' ' + request.name + ' ' + request.subResource + ' ' + string(object.lines.size())"
        denies = policy({"expression": "false", "messageExpression": says})
        enforce(s, [{**denies, "spec": {**denies["spec"], "matchConstraints": {"resourceRules": [rule]}}}])
        assert await refusal(s.api.admit_connection(s.site, panel, asked, ann)) == TITLE + "SitePanel a panel 2"
        await s.make("a")
        enforce(s, [policy("false")])
        await s.api.admit_connection(s.site, attrs.evolve(panel, name="other"), asked, ann)
        enforce(s, [])
        s.api.ask_webhooks(call, EXEMPT)
        hook: Tree = {"name": "h", "clientConfig": {"url": "https://x"}, "rules": [rule], "sideEffects": "None"}
        s.api.configure_webhooks([], [{"metadata": {"name": "h"}, "webhooks": [hook]}])
        said = await refusal(s.api.admit_connection(s.site, panel, asked, ann))
        assert said == 'admission webhook "h" denied the request: no panels'
        (request,) = seen
        assert request["object"] == {"kind": "SitePanel", "apiVersion": "example.com/v1", "lines": ["1", "2"]}
        assert (request["operation"], request["subResource"], request["options"]) == ("CONNECT", "panel", None)
        assert request["requestKind"]["kind"] == "SitePanel"
        assert (request["resource"]["resource"], request["userInfo"]["username"]) == ("sites", "ann")


async def test_rules_are_asked_once_for_each_of_their_parameters(serving: Any) -> None:
    """One policy for all, with limits that each namespace sets for itself."""
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    rule = {"expression": "object.spec.replicas <= int(params.data.most)", "messageExpression": "'most: ' + params.data.most"}
    async with serving() as s:
        reference: Tree = {"name": "limits", "parameterNotFoundAction": "Deny"}
        enforce(s, [policy(rule, paramKind=kind)], [binding(paramRef=reference)])
        assert "no params found for policy binding with `Deny` parameterNotFoundAction" in await refusal(s.make("a"))
        reference["parameterNotFoundAction"] = "Allow"
        enforce(s, [policy(rule, paramKind=kind)], [binding(paramRef=reference)])
        await s.make("early", replicas=100)
        for name, most in (("limits", "5"), ("stricter", "3")):
            meta = {"name": name, "labels": {"limits": "yes"}}
            await s.client.create(s.config, {"metadata": meta, "data": {"most": most}}, "n")
        await s.make("five", replicas=5)
        assert (await refusal(s.make("a", replicas=6))) == TITLE + "most: 5"
        selected = {"selector": {"matchLabels": {"limits": "yes"}}, "parameterNotFoundAction": "Deny"}
        enforce(s, [policy(rule, paramKind=kind)], [binding(paramRef=selected)])
        assert (await refusal(s.make("a", replicas=4))) == TITLE + "most: 3"


async def test_validators_come_first_and_policies_can_be_taken_away(serving: Any) -> None:
    """What is built in has its say before what somebody configured."""

    def no(_review: AdmissionReview) -> None:
        raise ForbiddenError("built in")

    async with serving() as s:
        enforce(s, [policy("false")])
        stop = s.api.add_validator(s.site, no)
        assert await refusal(s.make("a")) == "built in"
        stop()
        assert TITLE in await refusal(s.make("a"))
        enforce(s, [])
        await s.make("a")


def merge(replicas: int) -> Any:
    return Patch(MERGE_PATCH, {"spec": {"replicas": replicas}})
