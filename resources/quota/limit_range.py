"""LimitRange: what containers, Pods and claims of a namespace ask for unless they say it, and the most and least they may.

Source: K/pkg/apis/core/validation ValidateLimitRange, K/pkg/apis/core/v1/defaults.go SetDefaults_LimitRangeItem
"""

from __future__ import annotations

from collections.abc import Iterator

from reconcile.errors import Cause, Tree
from reconcile.kinds import Column, Hooks, Resource, kind
from reconcile.quantities import Quantity, parse_quantity
from reconcile.resources.core.cells import path_cell
from reconcile.resources.core.names import duplicate, forbidden, invalid, is_qualified_name, is_quantity, required
from reconcile.views import field, struct

CONTAINER, POD, CLAIM = "Container", "Pod", "PersistentVolumeClaim"
_MAPS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
# Each must not be more than the next one that is given.
_ORDER = (
    ("min", "defaultRequest", "default request value", "min value"), ("min", "default", "default value", "min value"),
    ("min", "max", "max value", "min value"),
)  # fmt: skip


@struct
class LimitRangeItem:
    """The limits of one type: Container, Pod or PersistentVolumeClaim."""

    type: str
    max: dict[str, Quantity] = field(factory=dict, doc="The most that may be asked for.")
    min: dict[str, Quantity] = field(factory=dict, doc="The least.")
    default: dict[str, Quantity] = field(factory=dict, doc="The limit of a container that names none.")
    default_request: dict[str, Quantity] = field(factory=dict, doc="The request of a container that names none.")
    max_limit_request_ratio: dict[str, Quantity] = field(factory=dict, doc="How many times its request a limit may be.")


@struct
class LimitRangeSpec:
    """The limits."""

    limits: list[LimitRangeItem] = field(factory=list, list_type="atomic")


def _default(tree: Tree) -> None:
    for item in (tree.get("spec") or {}).get("limits") or ():
        if item.get("type") != CONTAINER:
            continue
        limits = {**(item.get("max") or {}), **(item.get("default") or {})}
        requests = {**(item.get("min") or {}), **limits, **(item.get("defaultRequest") or {})}
        if limits:
            item["default"] = limits
        if requests:
            item["defaultRequest"] = requests


def _validate(tree: Tree, old: Tree | None) -> Iterator[Cause]:  # noqa: ARG001 - a hook's signature
    types = set()
    for position, item in enumerate((tree.get("spec") or {}).get("limits") or ()):
        path, type_ = f"spec.limits[{position}]", item.get("type") or ""
        if not type_:
            yield required(f"{path}.type")
        elif type_ in types:
            yield duplicate(f"{path}.type", type_)
        types.add(type_)
        yield from _check_item(item, type_, path)


def _check_item(item: Tree, type_: str, path: str) -> Iterator[Cause]:
    wrong = False
    for name in _MAPS:
        for resource, value in (item.get(name) or {}).items():
            yield from is_qualified_name(resource, f"{path}.{name}[{resource}]")
            found = list(is_quantity(value, f"{path}.{name}[{resource}]"))
            wrong = wrong or bool(found)
            yield from found
    if type_ == POD:
        for name in ("default", "defaultRequest"):
            if item.get(name):
                yield forbidden(f"{path}.{name}", "may not be specified when `type` is 'Pod'")
    if type_ == CLAIM and "storage" not in (item.get("min") or {}) and "storage" not in (item.get("max") or {}):
        yield required(f"{path}.limits", "either minimum or maximum storage value is required, but neither was provided")
    if not wrong:
        yield from _check_order(item, path)


def _check_order(item: Tree, path: str) -> Iterator[Cause]:
    for lower, upper, upper_words, lower_words in _ORDER:
        for resource in sorted((item.get(lower) or {}).keys() & (item.get(upper) or {}).keys()):
            low, high = item[lower][resource], item[upper][resource]
            if parse_quantity(low) > parse_quantity(high):
                where = f"{path}.{lower if upper == 'max' else upper}[{resource}]"
                value, words = (low, f"{lower_words} {low} is greater than {upper_words} {high}")
                yield invalid(where, value if upper == "max" else high, words)
    for lower, words in (("defaultRequest", "default request value"), ("default", "default value")):
        for resource in sorted((item.get(lower) or {}).keys() & (item.get("max") or {}).keys()):
            low, high = item[lower][resource], item["max"][resource]
            if parse_quantity(low) > parse_quantity(high):
                yield invalid(f"{path}.{lower}[{resource}]", low, f"{words} {low} is greater than max value {high}")
    for resource in sorted((item.get("defaultRequest") or {}).keys() & (item.get("default") or {}).keys()):
        low, high = item["defaultRequest"][resource], item["default"][resource]
        if parse_quantity(low) > parse_quantity(high):
            why = f"default request value {low} is greater than default limit value {high}"
            yield invalid(f"{path}.defaultRequest[{resource}]", low, why)
    for resource, ratio in sorted((item.get("maxLimitRequestRatio") or {}).items()):
        if parse_quantity(ratio) < 1:
            yield invalid(f"{path}.maxLimitRequestRatio[{resource}]", ratio, f"ratio {ratio} is less than 1")


@kind(
    "", "v1", plural="limitranges", short_names=("limits",), builtin=True, has_generation=False,
    hooks=Hooks(default=_default, validate=_validate),
    columns=(
        Column("Created At", type="date", cell=path_cell("metadata", "creationTimestamp"), doc="When the object was created."),
    ),
)  # fmt: skip
class LimitRange(Resource):
    """Defaults and bounds for what is asked for in a namespace."""

    spec: LimitRangeSpec = field(factory=LimitRangeSpec)
