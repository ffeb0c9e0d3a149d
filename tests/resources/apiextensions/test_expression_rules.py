"""Rules in expressions of declared kinds: what they refuse, when they are looked at, and definitions with broken ones."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile import expressions
from reconcile.errors import Tree
from reconcile.runtime.api import Notes
from reconcile.runtime.testing.virtual import VirtualClock, virtual
from tests.resources.apiextensions.declaring import DEFINITION, Declare, Declaring, definition, version, widget

NAME = "widgets.shop.example.com"
FIELDS: Tree = {
    "size": {"type": "integer"}, "limit": {"type": "integer"}, "ratio": {"type": "number"},
    "until": {"type": "string", "format": "date-time"},
    "grace": {"type": "string", "format": "duration"}, "namespace": {"type": "string"}, "x-tra": {"type": "string"},
    "secret": {"type": "string", "format": "byte"},
    "parts": {
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "items": {
            "type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "count": {"type": "integer"}},
        },
    },
    "labels": {"type": "object", "additionalProperties": {"type": "number"}},
}  # fmt: skip


def spec(*rules: Tree, **fields: Tree) -> Tree:
    """A schema of spec with rules at spec itself, and further ones at its fields."""
    properties = {name: {**node, **fields.get(name, {})} for name, node in FIELDS.items()}
    return {"type": "object", "properties": properties, "x-kubernetes-validations": list(rules)}


def rule(text: str, **parts: Any) -> Tree:
    return {"rule": text, **parts}


async def refused(plane: Declaring, **given: Any) -> str:
    return str(await plane.refusal(plane.create(widget("refused", **given))))


@virtual
async def test_an_object_that_breaks_a_rule_is_refused_with_its_message(clock: VirtualClock, declaring: Declare) -> None:
    """The message, computed or plain, is all that the author of the object gets to see."""
    rules = [
        rule("self.size <= self.limit", message="size must not be above limit"),
        rule("self.size != 3", messageExpression="'not ' + string(self.size)"),
        rule("self.size != 4", reason="FieldValueForbidden", fieldPath=".size", message="four is taken"),
        rule("self.size != 5", reason="FieldValueRequired", fieldPath=".limit"),
        rule("self.size != 6 || self.parts[0].count > 0"),
    ]
    async with declaring(clock) as plane:
        await plane.declare(definition(version(spec=spec(*rules))))
        await plane.create(widget("fits", size=1, limit=2))
        text = await refused(plane, size=2, limit=1)
        assert text == 'Widget.shop.example.com "refused" is invalid: spec: Invalid value: "object": size must not be above limit'
        assert 'spec: Invalid value: "object": not 3' in await refused(plane, size=3, limit=9)
        assert "spec.size: Forbidden: four is taken" in await refused(plane, size=4, limit=9)
        assert "spec.limit: Required value: failed rule: self.size != 5" in await refused(plane, size=5, limit=9)
        text = await refused(plane, size=6, limit=9)
        assert "no such key: parts evaluating rule: failed rule: self.size != 6 || self.parts[0].count > 0" in text


@virtual
async def test_expressions_see_values_as_the_schema_types_them(clock: VirtualClock, declaring: Declare) -> None:
    """A time is a timestamp, a number a double, and a field with a reserved name has its escaped one."""
    rules = [
        rule("self.ratio == 2.0 && type(self.ratio) == double"), rule("self.until.getFullYear() == 2026"),
        rule("self.grace == duration('90m')"), rule("self.__namespace__ == 'n' && self.x__dash__tra == 'x'"),
        rule("self.secret == b'hello'"), rule("self.labels.all(key, type(self.labels[key]) == double)"),
    ]  # fmt: skip
    async with declaring(clock) as plane:
        await plane.declare(definition(version(spec=spec(*rules))))
        given: dict[str, Any] = {
            "ratio": 2, "until": "2026-01-01T00:00:00Z", "grace": "1h30m", "namespace": "n", "x-tra": "x", "secret": "aGVsbG8=",
            "labels": {"a": 1},
        }  # fmt: skip
        stored = await plane.create(widget(**given))
        assert stored["spec"] == given, "what expressions see is not what is stored"
        for name, wrong in (
            ("ratio", 3),
            ("until", "2027-01-01T00:00:00Z"),
            ("grace", "-1s"),
            ("namespace", "m"),
            ("secret", "aGk="),
        ):
            assert "failed rule" in await refused(plane, **{**given, name: wrong})


@virtual
async def test_transition_rules_look_at_changes_only(clock: VirtualClock, declaring: Declare) -> None:
    """A create has nothing to compare with; items of a keyed list are compared with those of the same key."""
    rules = [
        rule("self.size >= oldSelf.size", message="size must not shrink"),
        rule("!oldSelf.hasValue() && self.limit == 1 || oldSelf.hasValue()", optionalOldSelf=True, message="limit begins with 1"),
    ]
    grown = {"items": {**FIELDS["parts"]["items"], "x-kubernetes-validations": [rule("self.count >= oldSelf.count")]}}
    async with declaring(clock) as plane:
        await plane.declare(definition(version(spec=spec(*rules, parts=grown))))
        parts = [{"name": "a", "count": 5}, {"name": "b", "count": 1}]
        await plane.apply(widget(size=2, limit=1, parts=parts))
        assert "limit begins with 1" in await refused(plane, size=2, limit=2)
        await plane.apply(widget(size=3, limit=7, parts=[parts[1], parts[0]]))
        assert "size must not shrink" in str(await plane.refusal(plane.apply(widget(size=1, limit=7, parts=parts))))
        smaller = [parts[0], {"name": "b", "count": 0}]
        text = str(await plane.refusal(plane.apply(widget(size=3, limit=7, parts=smaller))))
        assert 'spec.parts[1]: Invalid value: "object": failed rule: self.count >= oldSelf.count' in text


@virtual
async def test_what_broke_a_rule_before_the_rule_was_made_may_stay(clock: VirtualClock, declaring: Declare) -> None:
    """Ratcheting: a new rule must not keep anybody from changing what it does not speak of."""
    strict = {"x-kubernetes-validations": [rule("self < 10", message="at most 9")]}
    async with declaring(clock) as plane:
        await plane.declare(definition(version(spec=spec())))
        await plane.apply(widget(size=50, limit=1))
        await plane.change(NAME, {"spec": {"versions": [version(spec=spec(size=strict))]}})
        await plane.apply(widget(size=50, limit=2))
        assert "at most 9" in str(await plane.refusal(plane.apply(widget(size=51, limit=2))))
        await plane.apply(widget(size=9, limit=2))


@virtual
async def test_a_rule_of_the_whole_object_sees_its_name_and_no_more_of_its_metadata(
    clock: VirtualClock, declaring: Declare
) -> None:
    """Labels may change at any time: a rule on them would be a rule on everybody's tools."""
    whole = version(spec=spec())
    whole["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] = [
        rule("self.metadata.name.startsWith('w-') && self.kind == 'Widget'", message="named w-...")
    ]
    async with declaring(clock) as plane:
        await plane.declare(definition(whole))
        labelled = widget("w-1", size=1)
        labelled["metadata"]["labels"] = {"a": "b"}
        await plane.create(labelled)
        assert 'is invalid: <nil>: Invalid value: "object": named w-...' in await refused(plane, size=1)
        whole["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] = [rule("!has(self.metadata.labels)")]
        text = str(await plane.refusal(plane.client.create(DEFINITION, definition(whole, plural="gadgets", named="Gadget"))))
        assert "undefined field 'labels'" in text


@pytest.mark.parametrize(
    ("broken", "field", "why"),
    [
        (rule("self.size >"), "rule", "compilation failed: ERROR: <input>:1:12: Syntax error"),
        (rule("nosuch == 1"), "rule", "undeclared reference to 'nosuch'"),
        (rule("self.size + 1.0"), "rule", "must evaluate to a bool"),
        (rule("'text'"), "rule", "cel expression must evaluate to a bool"), (rule(" "), "rule", "rule is not specified"),
        (rule("true", messageExpression="1"), "rule", "messageExpression must evaluate to a string"),
        (rule("true", reason="Because"), "reason", 'Unsupported value: "Because"'),
        (rule("true", fieldPath=".nosuch"), "fieldPath", "fieldPath must be a valid path"),
        (rule("true", message="two\nlines"), "message", "must not contain line breaks"),
        (rule("true &&\ntrue"), "message", "must be specified if rule contains line breaks"),
        (rule("true", optionalOldSelf=True), "optionalOldSelf", "may not be set if oldSelf is not used in rule"),
        (rule("true", message="x" * 3000), "message", "maximum length of 2048"),
        (rule("true", message=" "), "message", "non-empty"),
    ],
)  # fmt: skip
@virtual
async def test_a_definition_with_a_broken_rule_is_refused(
    clock: VirtualClock, declaring: Declare, broken: Tree, field: str, why: str
) -> None:
    """A rule that never holds, or is never looked at, is found when it is written and not when it is needed."""
    async with declaring(clock) as plane:
        text = str(await plane.refusal(plane.client.create(DEFINITION, definition(version(spec=spec(broken))))))
        assert why in text
        assert f"spec.versions[0].schema.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].{field}: " in text


@virtual
async def test_without_the_extra_rules_are_told_and_not_enforced(
    clock: VirtualClock, declaring: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence would let their author believe that they hold."""
    monkeypatch.setattr(expressions.rules, "available", lambda: False)
    async with declaring(clock) as plane:
        notes = Notes()
        await plane.api.create(DEFINITION, definition(version(spec=spec(rule("self.size < 10")))), notes=notes)
        assert any("1 x-kubernetes-validations not evaluated here (install the extra" in text for text in notes.warnings)
        told = await plane.condition(NAME, "reconcile.dev/RulesEnforced", "False")
        assert "spec: self.size < 10" in told["message"]
        await plane.create(widget(size=11))
        await plane.change(NAME, {"spec": {"versions": [version(spec=spec())]}})
        conditions = (await plane.client.get(DEFINITION, NAME))["status"]["conditions"]
        assert [c["type"] for c in conditions] == ["NamesAccepted", "Established"]


@virtual
async def test_rules_can_name_formats(clock: VirtualClock, declaring: Declare) -> None:
    """They come to optionals, which no function of the library makes by itself."""
    async with declaring(clock) as plane:
        said = "format.dns1123Label().validate(self.__namespace__).value().join('; ')"
        named = {**rule("!format.dns1123Label().validate(self.__namespace__).hasValue()"), "messageExpression": said}
        await plane.declare(definition(version(spec=spec(named))))
        assert "a lowercase RFC 1123 label must consist of" in await refused(plane, namespace="A b")
        await plane.create(widget(namespace="a-b"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("self.sise < 3", "undefined field 'sise'"),
        ("self.size == 'three'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.labels.a > 1.0 || self.parts.all(p, p.nam == 'a')", "undefined field 'nam'"),
        ("!oldSelf.hasValue() || oldSelf.value().size > self.sise", "undefined field 'sise'"),
    ],
)
@virtual
async def test_a_rule_that_does_not_fit_the_schema_is_refused(
    clock: VirtualClock, declaring: Declare, text: str, why: str
) -> None:
    """It would refuse every object, and tell the author of the object of a key that they never heard of."""
    broken = rule(text, optionalOldSelf=True) if "hasValue" in text else rule(text)
    async with declaring(clock) as plane:
        told = str(await plane.refusal(plane.client.create(DEFINITION, definition(version(spec=spec(broken))))))
        assert "x-kubernetes-validations[0].rule: Invalid value: " in told
        assert why in told


@virtual
async def test_rules_about_changes_are_asked_about_what_did_not_change(clock: VirtualClock, declaring: Declare) -> None:
    """`self != oldSelf` is for a field that has to be new with each write; what stayed as it is breaks it."""
    new = {"x-kubernetes-validations": [rule("self != oldSelf")]}
    maybe = {"x-kubernetes-validations": [rule("!oldSelf.hasValue() || self != oldSelf.value()", optionalOldSelf=True)]}
    given = spec(size=new, limit=maybe)
    given["properties"]["parts"]["items"]["properties"]["count"].update(new)
    given["properties"]["labels"]["additionalProperties"].update(new)
    given["properties"]["limits"] = {"type": "array", "items": {"type": "integer", **maybe}}
    async with declaring(clock) as plane:
        await plane.declare(definition(version(spec=given)))
        made = widget(size=1, limit=1, parts=[{"name": "a", "count": 1}], labels={"x": 1, "a.b": 1}, limits=[1])
        await plane.apply(made)
        made["metadata"]["labels"] = {"other": "half"}
        text = str(await plane.refusal(plane.apply(made)))
        for path in ("spec.size:", "spec.limit:", "spec.parts[0].count:", "spec.labels[x]:", "spec.labels[a.b]:"):
            assert path in text
        assert "spec.limits" not in text, "items of such a list are always new"
        changed = widget(size=2, limit=2, parts=[{"name": "a", "count": 2}], labels={"x": 2, "a.b": 2}, limits=[1])
        await plane.apply(changed)


@virtual
async def test_a_rule_that_never_ends_refuses_the_object(clock: VirtualClock, declaring: Declare) -> None:
    """How long a list is, its author decides: that must not be a mistake of the server."""
    slow = spec(rule("self.many.all(x, self.many.all(y, x == y))"))
    slow["properties"]["many"] = {"type": "array", "maxItems": 2000, "items": {"type": "integer"}}
    async with declaring(clock) as plane:
        await plane.declare(definition(version(spec=slow)))
        await plane.create(widget("short", many=[1, 1]))
        assert "call cost exceeds limit for rule" in await refused(plane, many=[1] * 2000)
