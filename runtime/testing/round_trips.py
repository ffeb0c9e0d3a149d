"""The law of conversion: there and back is where it began.

Objects are drawn from the schema of a version, brought into another one and back, and compared as typed readers see them: a field
that is not there is as good as its default. What a version cannot hold has to be kept in an annotation, or declared as lost. What
is found is told by path, with the smallest object that shows it.
"""

from __future__ import annotations

import copy
import enum
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import attrs

from reconcile.conversion import converted, way
from reconcile.differences import changes
from reconcile.errors import ConversionError, Tree
from reconcile.kinds import Kind, Resource, kind_of, typed
from reconcile.paths import split
from reconcile.runtime.api.completion import Complete, compile_completion
from reconcile.runtime.api.validation import Check, compile_validation
from reconcile.views import is_struct, shape_of, tree_of

from .walk import drawn, specs

WALKS, STEPS = 20, 10
_LABELS = {"app": "a", "example.com/kept": "yes"}
_SHOWN_MAX = 60
Loses = Mapping[str, Sequence[str]]
"""Version -> the paths of what is lost on the way through it."""


class RoundTripError(AssertionError):
    """Something did not come back."""


@attrs.define
class Trip:
    """From one version to another and back."""

    source: type[Resource]
    target: type[Resource]

    @property
    def name(self) -> str:
        """`v1-v1beta1-v1`."""
        here, there = kind_of(self.source).version, kind_of(self.target).version
        return f"{here}-{there}-{here}"

    def there_and_back(self, tree: Tree) -> tuple[Tree, Tree]:
        """What becomes of an object: in the other version, and back in its own.

        Raises:
            ConversionError: a conversion fails.
        """
        there = _complete(kind_of(self.target))(converted(tree, self.source, self.target), None, [])
        return there, _complete(kind_of(self.source))(converted(there, self.target, self.source), None, [])

    def lost(self, tree: Tree, allowed: Sequence[tuple[str, ...]]) -> dict[str, str]:
        """What is otherwise afterwards, by its path, in words."""
        before = copy.deepcopy(tree)
        try:
            there, back = self.there_and_back(tree)
            again = self.there_and_back(tree)
        except ConversionError as error:
            return {"": error.message}
        if again != (there, back):
            return {"": "another call gives something else: a conversion may look at nothing but its argument"}
        assert tree == before, "a conversion is given an object of its own"
        return {
            path: f"{_short(old)} becomes {_short(new)}"
            for path, old, new in changes(_read(typed(self.source, tree)), _read(typed(self.source, back)))
            if not any(_plain(path)[: len(prefix)] == prefix for prefix in allowed)
        }


def _read(value: Any) -> Any:
    """What a reader of a typed object sees: all fields, with the defaults of those that are not there."""
    if is_struct(type(value)):
        return {wire.name: _read(getattr(value, name)) for name, wire in shape_of(type(value)).fields.items()}
    if isinstance(value, dict):
        return {name: _read(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_read(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    if attrs.has(type(value)):
        return tree_of(value)
    return value.isoformat() if isinstance(value, datetime) else value


def trips_of(classes: Sequence[type[Resource]]) -> list[Trip]:
    """All that can be made between these versions."""
    return [Trip(source, target) for source in classes for target in classes if source is not target]


def check(trip: Trip, *, loses: Loses, walks: int = WALKS, examples: Sequence[Resource] = ()) -> None:
    """Send objects there and back, those that are given and those that `walks` walks through the schema draw.

    Raises:
        RoundTripError: something of them is lost.
    """
    there = kind_of(trip.target).version
    allowed = [split(f".{path}") for path in loses.get(there, ())]
    found: dict[str, str] = {}
    smallest: Tree | None = None
    valid = 0
    for tree in (*_given(trip, examples), *_drawn(trip.source, walks)):
        if _check(kind_of(trip.source))(tree, None):
            continue
        valid += 1
        lost = trip.lost(tree, allowed)
        if lost and smallest is None:
            smallest = _shrunk(trip, tree, allowed, set(lost))
            lost = trip.lost(smallest, allowed) | lost
        for path, text in lost.items():
            found.setdefault(path, text)
    if not valid:
        raise RoundTripError(
            f"{trip.name}: no object that was drawn meets the rules of {kind_of(trip.source)}; give some: examples=[...]"
        )
    if smallest is not None:
        raise RoundTripError(_report(trip, found, smallest))


def _given(trip: Trip, examples: Sequence[Resource]) -> Iterator[Tree]:
    for example in examples:
        if type(example) is trip.source:
            tree = example.tree
            metadata = {"name": "a", "namespace": "default", "uid": "1", **(tree.get("metadata") or {})}
            yield _complete(kind_of(trip.source))({**tree, "metadata": metadata}, None, [])


def _drawn(cls: type[Resource], walks: int) -> Iterator[Tree]:
    """Objects, each the one before with one part drawn anew, and every second one with labels and annotations of its own."""
    kind = kind_of(cls)
    status = (kind.schema.get("properties") or {}).get("status")
    for walk in range(walks):
        chance = random.Random(f"{kind} status {walk}")
        for step, spec in enumerate(specs(kind.schema, f"{kind} {walk}", STEPS)):
            metadata: Tree = {"name": "a", "namespace": "default", "uid": "1"}
            if step % 2:
                metadata |= {"labels": dict(_LABELS), "annotations": dict(_LABELS)}
            tree: Tree = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}
            if status and chance.random() < 0.5:
                tree["status"] = drawn(status, chance)
            yield _complete(kind)(tree, None, [])


def _shrunk(trip: Trip, tree: Tree, allowed: Sequence[tuple[str, ...]], lost: set[str]) -> Tree:
    """The object without all that can be left out with the same thing, or at least one of them, still lost."""
    shrinking = True
    while shrinking:
        shrinking = False
        for smaller in _smaller(tree):
            made = _complete(kind_of(trip.source))(smaller, None, [])
            if len(_text(made)) >= len(_text(tree)) or _check(kind_of(trip.source))(made, None):
                continue
            if lost & set(trip.lost(made, allowed)):
                tree, shrinking = made, True
                break
    return tree


def _smaller(value: Any, top: bool = True) -> Iterator[Any]:
    """The value with one part less."""
    if isinstance(value, dict):
        for name in value:
            if not (top and name in ("apiVersion", "kind", "metadata")):
                yield {key: item for key, item in value.items() if key != name}
        for name in value:
            if top and name == "metadata":
                yield from ({**value, name: {k: v for k, v in value[name].items() if k != part}} for part in _LABELLED)
            else:
                yield from ({**value, name: item} for item in _smaller(value[name], top=False))
    elif isinstance(value, list):
        for at in range(len(value)):
            yield value[:at] + value[at + 1 :]
        for at, inner in enumerate(value):
            yield from ([*value[:at], item, *value[at + 1 :]] for item in _smaller(inner, top=False))


_LABELLED = ("labels", "annotations")


def _report(trip: Trip, found: Mapping[str, str], smallest: Tree) -> str:
    here, there = kind_of(trip.source), kind_of(trip.target)
    steps = [*(way(trip.source, trip.target) or ()), *(way(trip.target, trip.source) or ())]
    lines = [f"{here.kind} loses something on the way {here.version} -> {there.version} -> {here.version}"]
    lines += [f"  by {', '.join(map(str, steps))}"]
    lines += [f"  {path}: {text}" if path else f"  {text}" for path, text in sorted(found.items())]
    shown = {name: value for name, value in smallest.items() if name not in ("apiVersion", "kind", "metadata")}
    metadata = {name: smallest["metadata"][name] for name in _LABELLED if name in smallest["metadata"]}
    lines += ["the smallest object found that shows it:", f"  {_text(shown | ({'metadata': metadata} if metadata else {}))}"]
    paths = sorted({".".join(_plain(path)) for path in found if path})
    if paths:
        declared = f"round_trips({trip.source.__name__}, loses={json.dumps({there.version: paths})})"
        lines.append(f"keep it in an annotation, or declare it as lost: {declared}")
    return "\n".join(lines)


def _plain(path: str) -> tuple[str, ...]:
    """A path without the indices of lists: `spec.lines[0].count` is of every line."""
    return tuple(part.partition("[")[0] for part in split(f".{path}"))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    text = _text(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}..."


@lru_cache(maxsize=64)
def _complete(kind: Kind) -> Complete:
    return compile_completion(kind.schema, drop_null=False)


@lru_cache(maxsize=64)
def _check(kind: Kind) -> Check:
    return compile_validation(kind.schema)
