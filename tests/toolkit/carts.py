"""A kind in three versions as classes: v1 is the hub, and stored."""

from __future__ import annotations

from reconcile import Resource, Rule, convert, field, kind, struct


@struct
class AlphaSpec:
    """All in one text: `apples:3`."""

    wanted: str = ""


@kind("shop.example.com", "v1alpha1", name="Cart")
class AlphaCart(Resource):
    """What somebody wants, in its first shape."""

    spec: AlphaSpec = field(factory=AlphaSpec)


@struct
class BetaSpec:
    """Two fields."""

    item: str = ""
    count: int = field(default=1, minimum=0)
    note: str = ""


@struct
class BetaStatus:
    """What became of it."""

    paid: bool = False


@kind("shop.example.com", "v1beta1", name="Cart")
class BetaCart(Resource):
    """What somebody wants, in its second shape."""

    spec: BetaSpec = field(factory=BetaSpec)
    status: BetaStatus = field(factory=BetaStatus)


@struct
class Line:
    """One thing of which there may be many."""

    item: str = ""
    count: int = field(default=1, minimum=0)


@struct
class CartSpec:
    """Lines, of which the older versions know the first."""

    lines: list[Line] = field(factory=list)
    note: str = ""
    currency: str = field(default="EUR", rules=[Rule("self.size() == 3", "a currency has three letters")])


@struct
class CartStatus:
    """What became of it."""

    state: str = ""


@kind("shop.example.com", "v1", storage=True, short_names=("ct",))
class Cart(Resource):
    """What somebody wants."""

    spec: CartSpec = field(factory=CartSpec)
    status: CartStatus = field(factory=CartStatus)


CURRENCY = "shop.example.com/currency"
REST = "shop.example.com/rest"


@convert(BetaCart, Cart)
def beta_up(old: BetaCart) -> Cart:
    """The currency is kept in an annotation while the object is a BetaCart."""
    kept = dict(old.annotations)
    spec = CartSpec(lines=[Line(item=old.spec.item, count=old.spec.count)] if old.spec.item else [], note=old.spec.note)
    spec.currency = kept.pop(CURRENCY, "EUR")
    return Cart(annotations=kept, spec=spec, status=CartStatus(state="paid" if old.status.paid else ""))


@convert(Cart, BetaCart)
def beta_down(cart: Cart) -> BetaCart:
    """Of several lines the first is shown."""
    first = cart.spec.lines[0] if cart.spec.lines else Line()
    made = BetaCart(spec=BetaSpec(item=first.item, count=first.count, note=cart.spec.note))
    made.status.paid = cart.status.state == "paid"
    if cart.spec.currency != "EUR":
        made.annotations[CURRENCY] = cart.spec.currency
    return made


@convert(AlphaCart, Cart)
def alpha_up(old: AlphaCart) -> Cart:
    """`apples:3`."""
    item, _, count = old.spec.wanted.partition(":")
    return Cart(spec=CartSpec(lines=[Line(item=item, count=int(count or 1))] if item else []))


@convert(Cart, AlphaCart)
def alpha_down(cart: Cart) -> AlphaCart:
    """The first line as a text."""
    first = cart.spec.lines[0] if cart.spec.lines else Line()
    return AlphaCart(spec=AlphaSpec(wanted=f"{first.item}:{first.count}" if first.item else ""))
