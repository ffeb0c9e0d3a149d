"""What a universe ended as, without what chance and time make of it; and how two such ends differ.

Left out are uids, revisions, generations, managed fields, and what the engine notes of its progress. Times become `<time>`; a
name that the server made up becomes its prefix and a star; a uid becomes the name of the object that has it, so that a
reference to something gone shows; `observedGeneration` is told as current or behind. Whatever else may differ is declared:
`ignore={"pods": ["spec.nodeName"]}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from reconcile.errors import Tree
from reconcile.paths import split

from .mirror import Mirror
from .names import UNCOUNTED

Ignore = Mapping[str, Sequence[str]]
"""By plural name of the kind: paths such as `status.podIP`, through lists as if they were not there; `*` is all of it.

A dot in a key is written with a backslash in front.
"""

_SERVER_OWNED = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink")
_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_PROGRESS = re.compile(r"reconcile\.dev/[0-9a-f]{8}")
_SHOWN = 120


class _Words:
    """Replaces in texts what chance and time made."""

    def __init__(self, mirror: Mirror) -> None:
        self._uids = {tree["metadata"]["uid"]: key for key, tree in mirror.objects.items()}
        made_up = (tree["metadata"] for tree in mirror.objects.values() if tree["metadata"].get("generateName"))
        self.names = {meta["name"]: f"{meta['generateName']}*" for meta in made_up}

    def of(self, text: str) -> str:
        """The text as every universe would have it."""
        if text in self.names:
            return self.names[text]
        text = _TIME.sub("<time>", text)
        return _UID.sub(lambda found: f"<uid of {self._named(found.group())}>", text)

    def _named(self, uid: str) -> str:
        key = self._uids.get(uid)
        if key is None:
            return "what is gone"
        head, _, name = key.rpartition("/")
        return f"{head}/{self.names.get(name, name)}"


def state_of(mirror: Mirror, ignore: Ignore) -> dict[str, Tree]:
    """The state: each object by its name; those with made-up names numbered."""
    words = _Words(mirror)
    found: dict[str, list[Tree]] = {}
    for key, tree in mirror.objects.items():
        kind = mirror.kinds[key]
        ignored = [*ignore.get(kind.plural, ())]
        if kind.plural in UNCOUNTED or "*" in ignored:
            continue
        head, _, name = key.rpartition("/")
        found.setdefault(f"{head}/{words.names.get(name, name)}", []).append(_plain(tree, ignored, words))
    state: dict[str, Tree] = {}
    for key, trees in sorted(found.items()):
        trees.sort(key=lambda tree: json.dumps(tree, sort_keys=True))
        numbered = len(trees) > 1 or key.endswith("*")
        state.update({f"{key}{number if numbered else ''}": tree for number, tree in enumerate(trees, 1)})
    return state


def same_but_for(ignored: Sequence[str], before: Tree, after: Tree) -> bool:
    """Whether nothing but ignored fields differs."""
    return bool(_without(_content(before), ignored) == _without(_content(after), ignored))


def _content(tree: Tree) -> Tree:
    meta = {name: value for name, value in tree["metadata"].items() if name not in _SERVER_OWNED}
    if "annotations" in meta:
        meta["annotations"] = {k: v for k, v in meta["annotations"].items() if not _PROGRESS.fullmatch(k)}
    return {**tree, "metadata": {name: value for name, value in meta.items() if value not in ({}, [])}}


def _plain(tree: Tree, ignored: Sequence[str], words: _Words) -> Tree:
    generation = tree["metadata"].get("generation")
    plain = _without(_content(tree), ignored)
    return _walked(plain, words, generation)  # type: ignore[no-any-return]  # a dict stays a dict


def _walked(value: Any, words: _Words, generation: int | None) -> Any:
    if isinstance(value, str):
        return words.of(value)
    if isinstance(value, dict):
        return {
            words.of(name): ("current" if one == generation else "behind")
            if name == "observedGeneration"
            else _walked(one, words, generation)
            for name, one in value.items()
        }
    if isinstance(value, list):
        walked = [_walked(one, words, generation) for one in value]
        # Lists keyed by type or uid are sets: which came first is chance.
        if walked and all(isinstance(one, dict) and ("type" in one or "uid" in one) for one in walked):
            walked.sort(key=lambda one: json.dumps(one, sort_keys=True))
        return walked
    return value


def _without(value: Any, paths: Sequence[str]) -> Any:
    for path in paths:
        value = _cut(value, split(path))
    return value


def _cut(value: Any, path: tuple[str, ...]) -> Any:
    if isinstance(value, list):
        return [_cut(one, path) for one in value]
    if not isinstance(value, dict) or path[0] not in value:
        return value
    if len(path) == 1:
        return {name: one for name, one in value.items() if name != path[0]}
    return {**value, path[0]: _cut(value[path[0]], path[1:])}


@attrs.frozen
class Changed:
    """A value that is not as in the run without faults."""

    key: str
    path: str
    wanted: Any  # Any: a JSON value
    got: Any  # Any: a JSON value

    def __str__(self) -> str:
        return f"{self.key} {self.path}: {shown(self.got)} instead of {shown(self.wanted)}"


@attrs.frozen
class Difference:
    """How a state differs from the one without faults."""

    lost: Mapping[str, Tree]
    gained: Mapping[str, Tree]
    changed: tuple[Changed, ...]

    def __bool__(self) -> bool:
        return bool(self.lost or self.gained or self.changed)


def difference(wanted: Mapping[str, Tree], got: Mapping[str, Tree]) -> Difference:
    """What is lost, gained and changed."""
    lost = {key: tree for key, tree in wanted.items() if key not in got}
    gained = {key: tree for key, tree in got.items() if key not in wanted}
    changed: list[Changed] = []
    for key in wanted:
        if key in got:
            changed.extend(Changed(key, path, a, b) for path, a, b in _values(wanted[key], got[key], ""))
    return Difference(lost, gained, tuple(changed))


def _values(wanted: Any, got: Any, path: str) -> list[tuple[str, Any, Any]]:
    if wanted == got:
        return []
    if isinstance(wanted, dict) and isinstance(got, dict):
        names = sorted({*wanted, *got})
        return [one for name in names for one in _values(wanted.get(name), got.get(name), f"{path}.{name}")]
    if isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        pairs = enumerate(zip(wanted, got, strict=True))
        return [one for index, (a, b) in pairs for one in _values(a, b, f"{path}[{index}]")]
    return [(path, wanted, got)]


def shown(value: Any) -> str:
    """A value in few letters."""
    text = "nothing" if value is None else json.dumps(value, sort_keys=True)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
