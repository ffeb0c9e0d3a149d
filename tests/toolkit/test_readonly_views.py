"""Objects of the cache are shared: nobody may change one by accident."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from reconcile.errors import DeclarationError, Tree
from reconcile.kinds import Resource, kind, typed
from reconcile.views import field, shape_of, struct, thawed, tree_of


@struct
class Part:
    names: list[str] = field(factory=list)


@kind("test.example.com", "v1")
class Shared(Resource):
    parts: list[Part] = field(factory=list)
    settings: dict[str, str] = field(factory=dict)
    anything: dict[str, Any] = field(factory=dict)


TREE: Tree = {
    "metadata": {"name": "a", "labels": {"x": "y"}},
    "parts": [{"names": ["n"]}],
    "settings": {"k": "v"},
    "anything": {"deep": {"list": [1]}},
}


@pytest.mark.parametrize(
    "change",
    [
        lambda obj: obj.labels.update(z="1"),
        lambda obj: obj.labels.__setitem__("z", "1"),
        lambda obj: obj.annotations.setdefault("z", "1"),
        lambda obj: obj.parts.append(Part()),
        lambda obj: obj.parts[0].names.append("m"),
        lambda obj: obj.settings.pop("k"),
        lambda obj: obj.anything["deep"]["list"].append(2),
        lambda obj: setattr(obj, "settings", {}),
    ],
)
def test_a_frozen_view_refuses_every_change_and_says_what_to_do(change: Callable[[Shared], object]) -> None:
    """A handler that changes what another one reads is the hardest bug to find."""
    before = orjson.dumps(TREE)

    with pytest.raises(TypeError, match="thawed"):
        change(typed(Shared, TREE, frozen=True))

    assert orjson.dumps(TREE) == before


def test_a_thawed_view_can_be_changed_and_leaves_the_shared_tree_alone() -> None:
    """That is what `thawed` is for."""
    before = orjson.dumps(TREE)
    own = thawed(typed(Shared, TREE, frozen=True))

    own.labels["z"] = "1"
    own.parts[0].names.append("m")
    own.anything["deep"]["list"].append(2)

    assert tree_of(own)["metadata"]["labels"] == {"x": "y", "z": "1"}
    assert tree_of(own)["parts"] == [{"names": ["n", "m"]}]
    assert orjson.dumps(TREE) == before


def test_a_struct_that_is_declared_inside_a_function_says_where_it_belongs() -> None:
    """Its annotations name types that cannot be found from outside."""

    @struct
    class Inner:
        value: int = 0

    @struct
    class Outer:
        inner: Inner

    with pytest.raises(DeclarationError, match="top level of a module"):
        shape_of(Outer)
