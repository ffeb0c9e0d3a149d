"""Several versions of a kind as classes: `@convert` declares how an object of one version becomes one of another.

    @kind("shop.example.com", "v1beta1", name="Cart")
    class OldCart(Resource): ...

    @kind("shop.example.com", "v1", storage=True)
    class Cart(Resource): ...

    @convert(OldCart, Cart)
    def up(old: OldCart) -> Cart:
        return Cart(spec=CartSpec(limit=Limit(items=old.spec.max_items)))

    @convert(Cart, OldCart)
    def down(cart: Cart) -> OldCart:
        return OldCart(spec=OldCartSpec(max_items=cart.spec.limit.items))

Of three and more versions, each needs the way to and from one of them only (the hub): the rest is found. Metadata is carried
over; labels and annotations that a function puts on the new object are added, and a dict that it assigns is taken as it is.

Source: sigs.k8s.io/controller-runtime/pkg/conversion, where the hub is an interface
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import attrs

from .errors import ConversionError, DeclarationError, Tree
from .kinds import Carried, Kind, Resource, kind_of, typed

A = TypeVar("A", bound=Resource)
B = TypeVar("B", bound=Resource)
_STEPS = "__conversions__"
_NOWHERE: Mapping[type[Resource], Step | None] = {}


@attrs.frozen
class Step:
    """One declared conversion."""

    source: type[Resource]
    target: type[Resource]
    fn: Callable[[Any], Any]  # Any: an object of `source`, one of `target`

    def __str__(self) -> str:
        code = getattr(inspect.unwrap(self.fn), "__code__", None)
        name = str(getattr(self.fn, "__name__", self.fn))
        return f"{name} ({code.co_filename.rsplit('/', 1)[-1]}:{code.co_firstlineno})" if code is not None else name

    def run(self, tree: Tree) -> Tree:
        """The object in the other version.

        Raises:
            ConversionError: the function raises, or returns something else.
        """
        try:
            made = self.fn(typed(self.source, tree))
            if type(made) is not self.target:
                raise TypeError(f"it returned {type(made).__name__}, not {self.target.__name__}")
            result: Tree = made.tree
        except Exception as error:
            raise ConversionError(
                f"conversion of {_named(kind_of(self.source))} to {kind_of(self.target).version} failed: "
                f"{self}: {type(error).__name__}: {error}"
            ) from error
        return {**result, "metadata": _carried(tree.get("metadata") or {}, made)}


def convert(source: type[A], target: type[B]) -> Callable[[Callable[[A], B]], Callable[[A], B]]:
    """Declare that the decorated function makes an object of `target` out of one of `source`, another version of the same kind.

    The function is plain, and depends on nothing but its argument: it is called for every read of an object that is stored in
    the one version and asked for in the other.

    Raises:
        DeclarationError: the two are no versions of one kind, or the function is none that converts.
    """
    old, new = kind_of(source), kind_of(target)
    if (old.group, old.plural, old.kind, old.namespaced) != (new.group, new.plural, new.kind, new.namespaced):
        raise DeclarationError(
            f"@convert({source.__name__}, {target.__name__}): {old} and {new} are not versions of one kind: group, kind, "
            f"plural and scope must agree; "
            f'give the class @kind({new.group!r}, {old.version!r}, name="{new.kind}", plural="{new.plural}")'
        )
    if old.version == new.version:
        raise DeclarationError(f"@convert({source.__name__}, {target.__name__}): both are {old.version} of {old.resource}")

    def declare(fn: Callable[[A], B]) -> Callable[[A], B]:
        step = Step(source, target, fn)
        if inspect.iscoroutinefunction(fn) or inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            raise DeclarationError(
                f"@convert: {step} awaits or yields; a conversion looks at its argument alone: use a plain def"
            )
        try:
            inspect.signature(fn).bind(object())
        except TypeError as error:
            raise DeclarationError(f"@convert: {step} is called with the object alone: {error}") from error
        known = _steps(source).get(target)
        if known is not None:
            raise DeclarationError(f"@convert({source.__name__}, {target.__name__}) is declared twice: {known}, {step}")
        _add(source, target, step)
        if source not in _steps(target):
            _add(target, source, None)
        return fn

    return declare


def versions_of(cls: type[Resource]) -> list[type[Resource]]:
    """A class and all that conversions join it with, in either direction, nearest first."""
    found: dict[type[Resource], None] = {cls: None}
    waiting = deque([cls])
    while waiting:
        for neighbour in _steps(waiting.popleft()):
            if neighbour not in found:
                found[neighbour] = None
                waiting.append(neighbour)
    return list(found)


def all_versions(classes: Iterable[type[Resource]]) -> list[type[Resource]]:
    """These classes and the other versions of theirs, checked: what one of them needs served, all need.

    Raises:
        DeclarationError: a conversion has no way back, versions are not joined, or more than one is to be stored.
    """
    found: dict[type[Resource], None] = {}
    for cls in classes:
        found.update(dict.fromkeys(versions_of(cls) if cls is not Resource else [cls]))
    by_name: dict[tuple[str, str], list[type[Resource]]] = {}
    for cls in found:
        declared: Kind | None = cls.__kind__
        if declared is not None:
            by_name.setdefault((declared.group, declared.plural), []).append(cls)
    for versions in by_name.values():
        _check(versions)
    return list(found)


def way(source: type[Resource], target: type[Resource]) -> list[Step] | None:
    """The shortest chain of conversions from one class to another; None: there is none."""
    reached: dict[type[Resource], Step | None] = {source: None}
    waiting = deque([source])
    while waiting and target not in reached:
        for neighbour, step in _steps(waiting.popleft()).items():
            if step is not None and neighbour not in reached:
                reached[neighbour] = step
                waiting.append(neighbour)
    if target not in reached:
        return None
    steps: list[Step] = []
    while (last := reached[target]) is not None:
        steps.append(last)
        target = last.source
    return steps[::-1]


def converted(tree: Tree, source: type[Resource], target: type[Resource]) -> Tree:
    """An object of one class as one of another.

    Raises:
        ConversionError: a function fails, or there is no way.
    """
    steps = way(source, target)
    if steps is None:
        raise ConversionError(
            f"conversion of {_named(kind_of(source))} to {kind_of(target).version} failed: nothing leads there; "
            f"declare @convert({source.__name__}, {target.__name__})"
        )
    for step in steps:
        tree = step.run(tree)
    return tree


def _check(versions: list[type[Resource]]) -> None:
    """Whether any of the versions can become any other."""
    kinds = [kind_of(cls) for cls in versions]
    stored = [cls.__name__ for cls, kind in zip(versions, kinds, strict=True) if kind.storage_version == kind.version]
    if len(stored) > 1:
        raise DeclarationError(f"{kinds[0].resource} is stored in one version, and {' and '.join(stored)} both say storage=True")
    for cls in versions:
        for neighbour, step in _steps(cls).items():
            if step is None:
                back = f"@convert({cls.__name__}, {neighbour.__name__})"
                there = _steps(neighbour)[cls]
                raise DeclarationError(
                    f"{there} converts {neighbour.__name__} to {cls.__name__}, and nothing leads back; declare {back}"
                )
    if not any(_steps(cls) for cls in versions):
        return  # nothing but apiVersion differs between them
    joined = versions_of(versions[0])
    for cls, kind in zip(versions, kinds, strict=True):
        same = [other for other in versions if kind_of(other).version == kind.version]
        if cls not in joined and not any(other in joined for other in same):
            hub = versions[0].__name__
            raise DeclarationError(
                f"{cls.__name__} ({kind}) is joined to no other version of {kind.resource}; declare "
                f"@convert({cls.__name__}, {hub}) and @convert({hub}, {cls.__name__})"
            )


def _steps(cls: type[Resource]) -> Mapping[type[Resource], Step | None]:
    """What leads from a class, by where it leads; None: something leads here from there, and nothing back."""
    found: Mapping[type[Resource], Step | None] = vars(cls).get(_STEPS, _NOWHERE)
    return found


def _add(source: type[Resource], target: type[Resource], step: Step | None) -> None:
    if _STEPS not in vars(source):
        setattr(source, _STEPS, {})
    steps: dict[type[Resource], Step | None] = vars(source)[_STEPS]
    steps[target] = step


def _carried(before: Tree, made: Resource) -> Tree:
    """The source's metadata, with the labels and annotations that the function gave."""
    metadata = dict(before)
    for name in ("labels", "annotations"):
        given = getattr(made.metadata, name)
        value = {**(before.get(name) or {}), **given} if isinstance(given, Carried) else dict(given)
        if value:
            metadata[name] = value
        else:
            metadata.pop(name, None)
    return metadata


def _named(kind: Kind) -> str:
    return f"{kind.api_version}, Kind={kind.kind}"
