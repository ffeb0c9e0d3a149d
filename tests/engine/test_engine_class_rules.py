"""Rules in CEL that classes declare, enforced by the control plane in the same process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from reconcile import expressions
from reconcile.client import APPLY_PATCH, MERGE_PATCH, Patch
from reconcile.crd import definitions_of
from reconcile.errors import DeclarationError, InvalidError, Tree
from reconcile.kinds import Kind, Resource, kind, kind_of
from reconcile.registry import Operator
from reconcile.runtime.api import ApiServer
from reconcile.runtime.client import InProcessClient
from reconcile.runtime.store import Store
from reconcile.runtime.store.database import InlineDatabase
from reconcile.runtime.sync.problems import SourceError
from reconcile.runtime.sync.programs import load_program
from reconcile.runtime.testing.virtual import VirtualClock, virtual
from reconcile.views import Rule, field, struct


@struct
class Port:
    """A rule of the items of a list stands at the item's own class."""

    __rules__ = (Rule("self.name != 'web' || self.number < 1024", "web has a low port"),)
    name: str
    number: int = 0


@struct
class ShopSpec:
    """Rules of a struct stand beside its fields."""

    __rules__ = (
        Rule("self.low <= self.high", message_cel="'low is ' + string(self.low - self.high) + ' above high'"),
        Rule("self.high >= oldSelf.high", "high may only grow"),
        Rule("self.colour != 'none'", "choose a colour", reason="FieldValueForbidden", field_path=".colour"),
    )
    low: int = 0
    high: int = field(default=9, rules=["self < 100"])
    colour: str = field(default="red", rules=[Rule("self == oldSelf || oldSelf == 'red'", "red may become anything, once")])
    owner: str = field(default="", immutable=True)
    tags: list[str] = field(factory=list, rules=[Rule("self.all(tag, tag.startsWith('t'))", "all tags begin with t")])
    ports: list[Port] = field(factory=list, list_type="map", list_map_keys=("name",))
    born: str = field(default="", rules=[Rule("oldSelf.hasValue() || self == ''", "it cannot be born", optional_old_self=True)])


@struct
class ShopStatus:
    """Rules hold for the status, too."""

    sold: int = field(default=0, rules=[Rule("self >= oldSelf", "nothing is taken back")])


@kind("example.com", "v1")
class Shop(Resource):
    """Rules of the whole object see its name."""

    __rules__ = (Rule("self.metadata.name != 'mall' || self.spec.high > 50", "a mall is large"),)
    spec: ShopSpec = field(factory=ShopSpec)
    status: ShopStatus = field(factory=ShopStatus)


SHOP = kind_of(Shop)


class Plane:
    def __init__(self, api: ApiServer) -> None:
        self.api, self.client = api, InProcessClient(api)

    async def create(self, name: str = "a", **spec: Any) -> Tree:
        return await self.client.create(SHOP, {"metadata": {"name": name}, "spec": spec}, "default")

    async def patch(self, *, of: Kind = SHOP, part: str = "spec", subresource: str = "", **fields: Any) -> Tree:
        return await self.client.patch(of, "a", Patch(MERGE_PATCH, {part: fields}), "default", subresource=subresource)


async def why(writing: Any) -> str:
    """What a refusal says, without the name of the object."""
    with pytest.raises(InvalidError) as caught:
        await writing
    return str(caught.value).partition(" is invalid: ")[2]


@asynccontextmanager
async def plane(clock: VirtualClock, *kinds: Kind) -> AsyncIterator[Plane]:
    async with await Store.open(":memory:", clock, database=InlineDatabase) as store:
        api = ApiServer(store, clock)
        for each in kinds or (SHOP,):
            api.serve(each)
        yield Plane(api)


@virtual
async def test_rules_of_fields_structs_items_and_the_whole_object_are_enforced(clock: VirtualClock) -> None:
    """Each at its own place in the object, with its own words."""
    async with plane(clock) as p:
        assert (await p.create(low=1, high=2, tags=["ta"], ports=[{"name": "web", "number": 80}]))["spec"]["low"] == 1
        assert await why(p.create("b", low=5, high=2)) == 'spec: Invalid value: "object": low is 3 above high'
        assert await why(p.create("b", high=100)) == 'spec.high: Invalid value: "integer": failed rule: self < 100'
        assert await why(p.create("b", colour="none")) == "spec.colour: Forbidden: choose a colour"
        assert await why(p.create("b", tags=["ta", "b"])) == 'spec.tags: Invalid value: "array": all tags begin with t'
        broken = [{"name": "ssh", "number": 22}, {"name": "web", "number": 8080}]
        assert await why(p.create("b", ports=broken)) == 'spec.ports[1]: Invalid value: "object": web has a low port'
        assert await why(p.create("mall")) == '<nil>: Invalid value: "object": a mall is large'
        both = await why(p.create("b", low=5, high=2, tags=["b"]))
        assert "low is 3 above high" in both
        assert "all tags begin with t" in both


@virtual
async def test_transition_rules_look_at_changes(clock: VirtualClock) -> None:
    """`oldSelf`, in every way of writing; `immutable=True` is one of them."""
    async with plane(clock) as p:
        await p.create(high=5, owner="me", born="")
        assert await why(p.patch(high=4)) == 'spec: Invalid value: "object": high may only grow'
        assert (await p.patch(high=6))["spec"]["high"] == 6
        assert await why(p.patch(owner="you")) == 'spec.owner: Invalid value: "you": field is immutable'
        await p.patch(colour="blue")
        assert await why(p.patch(colour="green")) == 'spec.colour: Invalid value: "string": red may become anything, once'
        applied: Tree = {"apiVersion": SHOP.api_version, "kind": "Shop", "metadata": {"name": "a"}, "spec": {"high": 1}}
        applying = p.client.patch(SHOP, "a", Patch(APPLY_PATCH, applied), "default", field_manager="me", force=True)
        assert await why(applying) == 'spec: Invalid value: "object": high may only grow'
        tree = await p.client.get(SHOP, "a", "default")
        update = p.client.update(SHOP, {**tree, "spec": {**tree["spec"], "high": 2}}, "default")
        assert await why(update) == 'spec: Invalid value: "object": high may only grow'
        assert await why(p.create("b", born="here")) == 'spec.born: Invalid value: "string": it cannot be born'
        assert (await p.patch(born="later"))["spec"]["born"] == "later"


@virtual
async def test_rules_of_the_status_hold_for_its_subresource(clock: VirtualClock) -> None:
    """Controllers make mistakes as well."""
    async with plane(clock) as p:
        await p.create()
        await p.patch(part="status", subresource="status", sold=3)
        refused = await why(p.patch(part="status", subresource="status", sold=2))
        assert refused == 'status.sold: Invalid value: "integer": nothing is taken back'


@virtual
async def test_what_broke_a_rule_before_it_was_declared_may_stay_until_it_is_touched(clock: VirtualClock) -> None:
    """A program that is loaded again with a new rule must not make its objects unwritable."""

    @kind("example.com", "v1", name="Shop")
    class Before(Resource):
        spec: dict[str, Any] = field(factory=dict)

    async with plane(clock, kind_of(Before)) as p:
        old = {"low": 7, "high": 3, "tags": ["old"], "colour": "red"}
        await p.client.create(kind_of(Before), {"metadata": {"name": "a"}, "spec": old}, "default")
        p.api.serve(SHOP)
        labelled = Patch(MERGE_PATCH, {"metadata": {"labels": {"a": "b"}}})
        await p.client.patch(SHOP, "a", labelled, "default")
        assert await why(p.patch(low=8)) == 'spec: Invalid value: "object": low is 5 above high'
        mended = await p.patch(low=1)
        assert mended["spec"]["tags"] == ["old"], "which nobody touched"
        assert await why(p.patch(tags=["old", "new"])) == 'spec.tags: Invalid value: "array": all tags begin with t'


def _broken(rule: Rule | str) -> type[Resource]:
    @kind("example.com", "v1")
    class Broken(Resource):
        spec: dict[str, str] = field(factory=dict, rules=[rule])

    return Broken


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("self.x ==", "Broken: spec: the rule 'self.x ==' cannot be used: "),
        ("1 + 1", "the rule '1 + 1' cannot be used: cel expression must evaluate to a bool"),
        (Rule("true", message_cel="1"), "the rule 'true' cannot be used: messageExpression must evaluate to a string"),
        (Rule("true", reason="Because"), "has the reason 'Because'; give one of FieldValueInvalid, FieldValueForbidden"),
    ],
)
def test_a_rule_that_is_none_is_refused_before_anything_is_served(rule: Rule | str, said: str) -> None:
    """The first write of an object would be too late, and somebody else's."""
    app = Operator("a.example.com")
    app.serve(_broken(rule))
    with pytest.raises(DeclarationError) as caught:
        app.check()
    assert said in str(caught.value)


def _source(rule: str) -> bytes:
    return (
        "from reconcile import Resource, field, kind, on\n\n\n@kind('example.com', 'v1')\nclass Vase(Resource):\n"
        f"    spec: dict[str, str] = field(factory=dict, rules=[{rule!r}])\n\n\n@on.event(Vase)\ndef seen(vase):\n    pass\n"
    ).encode()


def test_a_program_with_a_broken_rule_is_not_loaded(tmp_path: Path) -> None:
    """The version that worked before keeps running, as with any mistake."""
    with pytest.raises(SourceError) as caught:
        load_program(tmp_path, "vases.py", _source("self.x =="))
    assert "DeclarationError: Vase: spec: the rule 'self.x ==' cannot be used" in str(caught.value.problem.message)


def test_a_program_whose_versions_do_not_fit_is_not_loaded(tmp_path: Path) -> None:
    """In the folder it would end the control plane, were it not told as a problem of the file."""
    source = (
        "from reconcile import Resource, convert, kind\n\n\n"
        "@kind('example.com', 'v1', name='Vase')\nclass Old(Resource):\n    pass\n\n\n"
        "@kind('example.com', 'v2', name='Vase')\nclass New(Resource):\n    pass\n\n\n"
        "@convert(Old, New)\ndef up(old):\n    return New()\n"
    )
    with pytest.raises(SourceError) as caught:
        load_program(tmp_path, "vases.py", source.encode())
    assert "nothing leads back; declare @convert(New, Old)" in str(caught.value.problem.message)


@virtual
async def test_without_the_extra_the_author_is_told_and_writes_pass(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """A rule that is not enforced must not be taken for one that is; immutable fields need no extra."""
    for module in (expressions, expressions.rules, expressions.language):
        monkeypatch.setattr(module, "available", lambda: False, raising=False)
    load_program(tmp_path, "vases.py", _source("self.size() < 3"))
    assert "Vase: spec: the rule 'self.size() < 3' is not evaluated here: install the extra: pip install" in caplog.text
    async with plane(clock) as p:
        await p.create(low=5, high=2, owner="me")
        assert await why(p.patch(owner="you")) == 'spec.owner: Invalid value: "you": field is immutable'


def test_a_definition_says_all_of_a_rule() -> None:
    """A real API server evaluates the same."""
    (definition,) = definitions_of([Shop])
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert schema["x-kubernetes-validations"][0]["message"] == "a mall is large"
    spec = schema["properties"]["spec"]
    assert spec["x-kubernetes-validations"][:3] == [
        {"rule": "self.low <= self.high", "messageExpression": "'low is ' + string(self.low - self.high) + ' above high'"},
        {"rule": "self.high >= oldSelf.high", "message": "high may only grow"},
        {
            "rule": "self.colour != 'none'", "message": "choose a colour", "reason": "FieldValueForbidden",
            "fieldPath": ".colour",
        },
    ]  # fmt: skip
    assert spec["properties"]["born"]["x-kubernetes-validations"][0]["optionalOldSelf"] is True
    assert spec["properties"]["ports"]["items"]["x-kubernetes-validations"][0]["message"] == "web has a low port"
