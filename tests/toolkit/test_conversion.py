"""Several versions of a kind as classes, and the functions that convert between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reconcile.conversion import all_versions, convert, converted, versions_of, way
from reconcile.crd import definitions_of
from reconcile.errors import ConversionError, DeclarationError, Tree
from reconcile.kinds import Resource, kind
from reconcile.registry import Operator
from reconcile.views import field, struct
from tests.toolkit.carts import CURRENCY, AlphaCart, BetaCart, BetaSpec, Cart, CartSpec, Line


@struct
class ThingSpec:
    size: int = 0


def versions(*names: str, group: str = "example.com", **options: Any) -> list[type[Any]]:
    """Fresh classes of one kind."""
    made: list[type[Any]] = []
    for name in names:

        @kind(group, name, name="Thing", **options)
        class Thing(Resource):
            spec: ThingSpec = field(factory=ThingSpec)

        Thing.__name__ = f"Thing{name.upper()}"
        made.append(Thing)
    return made


def both(old: type[Resource], new: type[Resource]) -> None:
    convert(old, new)(lambda _: new())
    convert(new, old)(lambda _: old())


def meta(**more: Any) -> Tree:
    return {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", **more}


def cart(annotations: Tree | None = None, **spec: Any) -> Tree:
    metadata = meta(annotations=annotations) if annotations is not None else meta()
    return {"apiVersion": "shop.example.com/v1", "kind": "Cart", "metadata": metadata, "spec": spec}


def test_an_object_is_converted_by_the_function_that_is_declared() -> None:
    """Typed on both sides; names and the rest of the metadata are none of the function's business."""
    made = converted(cart(lines=[{"item": "apples", "count": 3}], note="now"), Cart, BetaCart)
    assert made == {
        "apiVersion": "shop.example.com/v1beta1", "kind": "Cart", "metadata": meta(),
        "spec": {"item": "apples", "count": 3, "note": "now"},
    }  # fmt: skip
    assert converted(made, BetaCart, Cart) == cart(lines=[{"item": "apples", "count": 3}], note="now")


def test_the_way_from_one_version_to_another_is_found_over_the_hub() -> None:
    """Of n versions, each needs two functions, not n - 1."""
    steps = way(AlphaCart, BetaCart)
    assert steps is not None
    assert [(step.source, step.target) for step in steps] == [(AlphaCart, Cart), (Cart, BetaCart)]
    alpha: Tree = {"apiVersion": "shop.example.com/v1alpha1", "kind": "Cart", "metadata": meta(), "spec": {"wanted": "pears:2"}}
    assert converted(alpha, AlphaCart, BetaCart)["spec"] == {"item": "pears", "count": 2}
    assert way(Cart, Cart) == []
    assert set(versions_of(BetaCart)) == {AlphaCart, BetaCart, Cart}


def test_labels_and_annotations_are_carried_over_added_to_or_replaced() -> None:
    """What the other version has no field for is kept in annotations, and taken out again on the way back."""
    tree = cart({"mine": "1"}, currency="USD")
    tree["metadata"]["labels"] = {"l": "m"}
    down = converted(tree, Cart, BetaCart)
    assert down["metadata"] == meta(labels={"l": "m"}, annotations={"mine": "1", CURRENCY: "USD"}), "added"
    assert converted(down, BetaCart, Cart) == tree, "replaced"
    only = cart({}, currency="USD")
    back = converted(converted(only, Cart, BetaCart), BetaCart, Cart)
    assert back["metadata"] == meta(), "an empty one goes"


def test_a_function_cannot_change_what_it_is_given() -> None:
    """The object is the API server's own, and everybody's."""
    old, new = versions("v1", "v2")

    @convert(old, new)
    def up(it: Any) -> Any:
        it.spec.size = 7
        it.labels["x"] = "y"
        return new(spec=it.spec)

    tree: Tree = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": meta(labels={"a": "b"}), "spec": {"size": 1}}
    made = converted(tree, old, new)
    assert made["spec"] == {"size": 7}
    assert tree["spec"] == {"size": 1}
    assert made["metadata"]["labels"] == tree["metadata"]["labels"] == {"a": "b"}


@pytest.mark.parametrize(
    ("fn", "why"),
    [
        (lambda _: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda _: None, "TypeError: it returned NoneType, not ThingV2"),
        (lambda it: it, "TypeError: it returned "),
        (lambda it: it.nothing, "AttributeError: "),
    ],
)
def test_a_function_that_fails_is_named_with_its_place(fn: Callable[[Any], Any], why: str) -> None:
    """All objects in that version are out of reach: whoever sees the message must know whose fault it is."""
    old, new = versions("v1", "v2")
    convert(old, new)(fn)
    tree: Tree = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": meta(), "spec": {}}
    with pytest.raises(ConversionError) as caught:
        converted(tree, old, new)
    said = str(caught.value)
    assert said.startswith("conversion of example.com/v1, Kind=Thing to v2 failed: <lambda> (test_conversion.py:")
    assert why in said


def test_where_nothing_leads_that_is_said() -> None:
    """And what to declare."""
    old, new = versions("v1", "v2")
    with pytest.raises(ConversionError, match=r"nothing leads there; declare @convert\(ThingV1, ThingV2\)"):
        converted({"metadata": meta()}, old, new)


def _other_group() -> None:
    (old,), (new,) = versions("v1"), versions("v2", group="other.example.com")
    convert(old, new)


def _other_scope() -> None:
    (old,), (new,) = versions("v1"), versions("v2", namespaced=False)
    convert(old, new)


def _same_version() -> None:
    old, new = versions("v1", "v1")
    convert(old, new)


def _no_kind() -> None:
    (old,) = versions("v1")
    convert(old, ThingSpec)  # type: ignore[type-var]  # which is what is tested


def _awaits() -> None:
    old, new = versions("v1", "v2")

    async def up(_: Any) -> Any: ...

    convert(old, new)(up)


def _takes_two() -> None:
    old, new = versions("v1", "v2")

    def up(it: Any, cluster: Any) -> Any: ...

    convert(old, new)(up)  # type: ignore[arg-type]  # which is what is tested


def _twice() -> None:
    old, new = versions("v1", "v2")
    convert(old, new)(lambda _: new())
    convert(old, new)(lambda _: new())


@pytest.mark.parametrize(
    ("declare", "why"),
    [
        (_other_group, r'are not versions of one kind.*give the class @kind\(\'other.example.com\', \'v1\', name="Thing"'),
        (_other_scope, "are not versions of one kind: group, kind, plural and scope must agree"),
        (_same_version, "both are v1 of things.example.com"),
        (_no_kind, "is not a kind; declare it with @kind"),
        (_awaits, r"up \(test_conversion.py:\d+\) awaits or yields; a conversion looks at its argument alone: use a plain def"),
        (_takes_two, r"up \(test_conversion.py:\d+\) is called with the object alone: missing a required argument: 'cluster'"),
        (_twice, r"@convert\(ThingV1, ThingV2\) is declared twice: <lambda> \(test_conversion.py:\d+\), <lambda>"),
    ],
)
def test_a_conversion_that_can_be_none_is_refused_at_once(declare: Callable[[], None], why: str) -> None:
    """At import, with what to do."""
    with pytest.raises(DeclarationError, match=why):
        declare()


def test_a_conversion_without_a_way_back_is_refused_before_anything_is_served() -> None:
    """Objects would be written that nobody can read."""
    old, new = versions("v1", "v2")
    convert(old, new)(lambda _: new())
    app = Operator("things.example.com")
    app.serve(new)
    with pytest.raises(DeclarationError) as caught:
        _ = app.kinds
    assert str(caught.value).endswith("converts ThingV1 to ThingV2, and nothing leads back; declare @convert(ThingV2, ThingV1)")
    convert(new, old)(lambda _: old())
    assert app.kinds == [new, old], "who serves one version serves them all"


def test_a_version_that_is_joined_to_no_other_is_refused() -> None:
    """Its objects would be shown in a shape that they do not have."""
    first, second, third = versions("v1", "v2", "v3")
    both(first, second)
    with pytest.raises(DeclarationError, match=r"ThingV3 \(Thing.example.com/v3\) is joined to no other version"):
        all_versions([first, third])
    both(third, second)
    assert set(all_versions([third])) == {first, second, third}


def test_objects_are_stored_in_one_version() -> None:
    """Two that claim to be it is a mistake, none means the newest stable."""
    with pytest.raises(DeclarationError, match="is stored in one version, and ThingV1 and ThingV2 both say storage=True"):
        all_versions(versions("v1", "v2", storage=True))
    (definition,) = definitions_of(versions("v1", "v2beta1"))
    assert [(v["name"], v["storage"]) for v in definition["spec"]["versions"]] == [("v1", True), ("v2beta1", False)]
    assert "conversion" not in definition["spec"], "nothing but apiVersion differs"


def test_the_definition_of_classes_names_the_webhook_that_converts() -> None:
    """Elsewhere, an API server has no other way to ask."""
    with pytest.raises(DeclarationError, match="run with --webhooks HOST:PORT"):
        definitions_of([Cart])
    (definition,) = definitions_of([BetaCart], lambda resource: {"url": f"https://here:9443/convert/{resource}"})
    assert definition["metadata"]["name"] == "carts.shop.example.com"
    assert definition["spec"]["names"]["kind"] == "Cart"
    assert [(v["name"], v["storage"]) for v in definition["spec"]["versions"]] == [
        ("v1", True), ("v1beta1", False), ("v1alpha1", False),
    ]  # fmt: skip
    assert definition["spec"]["conversion"] == {
        "strategy": "Webhook", "webhook": {
            "clientConfig": {"url": "https://here:9443/convert/carts.shop.example.com"}, "conversionReviewVersions": ["v1"],
        },
    }  # fmt: skip


def test_the_examples_of_this_file_are_typed() -> None:
    """A conversion that a type checker cannot follow would be found out by users."""
    spec: CartSpec = Cart(spec=CartSpec(lines=[Line(item="a")])).spec
    assert (spec.lines[0].count, BetaCart(spec=BetaSpec(item="a")).spec.count) == (1, 1)
