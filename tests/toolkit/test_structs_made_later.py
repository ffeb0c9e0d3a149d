"""Structs are made by attrs when they are first used, and nobody can tell."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any, ClassVar

import attrs
import pytest

from reconcile.errors import DeclarationError
from reconcile.kinds import Resource, kind, kind_of
from reconcile.views import field, field_names, struct, tree_of, view


@struct
class Base:
    size: int = 3
    known: ClassVar[int] = 7


@struct
class Derived(Base):
    colour: str = field(default="red")
    size: int = 4


@struct
class Kept:
    names: list[str] = field(factory=list)


@struct
class OwnConstructor:
    total: int = 0

    def __init__(self, *parts: int) -> None:
        self.__attrs_init__(total=sum(parts))  # type: ignore[attr-defined]  # attrs gives it


class Undeclared(Derived):
    """Inherits a struct, and is none itself."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)


@kind("example.com", "v1")
class Crate(Resource):
    spec: Base = field(factory=Base)
    status: dict[str, Any] = field(factory=dict)


def fresh() -> type[Any]:
    """A struct that nobody used yet."""

    @struct
    class Fresh(Base):
        weight: int = 1

    return Fresh


def names(cls: type[Any]) -> list[str]:
    """The fields as attrs has them."""
    return [a.name for a in attrs.fields(cls)]


def made(cls: type) -> bool:
    """Whether attrs has done its part."""
    return isinstance(vars(cls)["__attrs_attrs__"], tuple)


def test_declaring_and_viewing_does_not_have_attrs_make_the_class_and_using_it_does() -> None:
    """Compiling the constructors of all built-in kinds took a sixth of the time to start."""
    for use in (lambda cls: cls(), attrs.fields, attrs.has, lambda cls: view(cls, {}).weight):
        cls = fresh()
        view(cls, {"weight": 2})
        assert field_names(cls) == {"size", "weight"}
        assert not made(cls)
        use(cls)
        assert made(cls), use


def test_defaults_on_the_class_hide_nothing_from_a_view_that_comes_first() -> None:
    """A field's default is an attribute of the class until somebody takes it off."""
    assert view(Kept, {"names": ["a"]}).names == ["a"]
    assert view(fresh(), {"size": 9, "weight": 8}).weight == 8
    assert not hasattr(fresh(), "weight")


def test_fields_are_inherited_and_overridden_and_class_variables_are_none() -> None:
    """As attrs has it."""
    assert names(Derived) == ["colour", "size"]
    assert tree_of(Derived(size=5)) == {"size": 5}
    assert (Derived().size, Base().size, Base.known, Undeclared(colour="blue").colour) == (4, 3, 7, "blue")
    assert names(Undeclared) == ["colour", "size"]


def test_a_constructor_of_ones_own_is_kept() -> None:
    """attrs then calls its own `__attrs_init__`."""
    assert OwnConstructor(1, 2).total == 3


def test_a_wrong_argument_is_told_with_the_name_of_the_class() -> None:
    """Not with a name that nobody wrote."""
    with pytest.raises(TypeError, match=r"Base\.__init__\(\) got an unexpected keyword argument 'siez'"):
        Base(siez=1)  # type: ignore[call-arg]  # that is the point


def test_copies_and_pickles_of_views_work() -> None:
    """Neither goes through a constructor."""
    seen: Any = view(Derived, {"size": 6, "other": 1})
    for again in (copy.deepcopy(seen), pickle.loads(pickle.dumps(seen)), attrs.evolve(seen)):
        assert (again.size, again.colour) == (6, "red")


def test_a_kind_knows_its_status_and_takes_short_names() -> None:
    """What `@kind` adds goes around what attrs makes."""
    assert kind_of(Crate).status
    assert Crate(name="c", labels={"a": "b"}, spec=Base(size=1)).tree["metadata"] == {"name": "c", "labels": {"a": "b"}}


def test_a_field_without_a_type_is_refused() -> None:
    """attrs would take only such fields then, and leave out those with a type."""
    with pytest.raises(DeclarationError, match=r"Untyped\.size has no type; write `size: str = field"):

        @struct
        class Untyped:
            size = field(default=1)


def test_threads_that_use_a_struct_first_all_see_it_whole() -> None:
    """Handlers that are plain functions run in threads."""
    for _ in range(20):
        cls, start, results = fresh(), threading.Barrier(4), list[int]()

        def use(cls: type[Any] = cls, start: threading.Barrier = start, results: list[int] = results) -> None:
            start.wait()
            results.append(cls(weight=2).weight + len(attrs.fields(cls)))

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [4, 4, 4, 4]
