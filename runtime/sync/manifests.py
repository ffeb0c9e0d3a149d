"""Reads manifest files: YAML 1.1 as Kubernetes reads it, with the position of every value.

Several documents in a file and `List` kinds are taken apart. Unlike plain PyYAML, a duplicate key is an error, dates stay
strings, and keys must be strings. Positions are looked up only when an error needs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import yaml

from reconcile.errors import Tree

from .problems import Problem, SourceError

FILE_BYTES_MAX = 3 * 1024 * 1024
NODES_MAX = 500_000
"""Values in one file, aliases counted each time they are used: a bound on what a few lines can expand to."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # Any: PyYAML's stubs lack the C loader's base


class _ManifestLoader(_Loader):  # type: ignore[misc]  # the base is chosen at run time
    """SafeLoader that leaves timestamps as the strings they are."""


_ManifestLoader.yaml_implicit_resolvers = {
    first: [(tag, expression) for tag, expression in rules if tag != "tag:yaml.org,2002:timestamp"]
    for first, rules in _Loader.yaml_implicit_resolvers.items()
}


@attrs.frozen(eq=False)
class Manifest:
    """One object as a file declares it. `line` is where its document (or list item) begins."""

    file: str
    line: int
    api_version: str
    kind: str
    namespace: str
    name: str
    tree: Tree
    node: Any = attrs.field(repr=False)  # Any: a yaml.Node

    @property
    def title(self) -> str:
        """`Deployment web`, for messages."""
        return f"{self.kind} {self.name}"

    def position(self, path: str, *, of_key: bool = False) -> tuple[int, int]:
        """Line and column (from 1) of the value at a path such as `spec.containers[0].image`, or of its nearest parent.

        With `of_key`, of the key in front of the value: where a person looks for a field that should not be there.
        """
        node, steps = self.node, _steps(path)
        for number, step in enumerate(steps, 1):
            found = _child(node, step)
            if found is None:
                break
            if of_key and number == len(steps) and isinstance(node, yaml.MappingNode):
                node = next(key for key, _ in node.value if key.value == str(step))
                break
            node = found
        return node.start_mark.line + 1, node.start_mark.column + 1

    def value(self, path: str) -> Any:
        """The value at a field path, None where there is none."""
        value: Any = self.tree
        for step in _steps(path):
            if isinstance(value, dict):
                value = value.get(str(step))
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value


def read_manifests(file: str, data: bytes) -> list[Manifest]:
    """All objects that a file declares.

    Raises:
        SourceError: it is too large, not text, not YAML, or not manifests; says where and what to do.
    """
    text = _decoded(file, data)
    loader = _ManifestLoader(text)
    manifests: list[Manifest] = []
    try:
        while loader.check_node():
            node = loader.get_node()
            _check(file, node)
            tree = loader.construct_document(node)
            manifests.extend(_objects(file, tree, node))
    except yaml.MarkedYAMLError as error:
        raise SourceError(_yaml_problem(file, error)) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SourceError(
            Problem(file, line, 0, f"the character {error.character!r} cannot stand in YAML", "remove it")
        ) from error
    except (ValueError, RecursionError) as error:
        raise SourceError(Problem(file, 0, 0, f"not readable as YAML: {error}", "simplify the document")) from error
    finally:
        loader.dispose()
    return manifests


def _decoded(file: str, data: bytes) -> str:
    if len(data) > FILE_BYTES_MAX:
        what = f"the file is larger than {FILE_BYTES_MAX // 1024 // 1024} MiB, the most that an object may have"
        hint = "split it, or keep large data outside the cluster and refer to it"
        raise SourceError(Problem(file, 0, 0, what, hint))
    if b"\0" in data[:8192] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SourceError(Problem(file, 1, 1, "a binary file, not YAML", "move it out of the folder, or rename it"))
    try:
        return data.decode("utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SourceError(Problem(file, line, 0, "not UTF-8 text", "save the file as UTF-8")) from error


def _yaml_problem(file: str, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    what = " ".join(part for part in (error.context, error.problem) if part)
    hint = "check the indentation and the colons there"
    if "\\t" in what or "'\t'" in what:
        hint = "indent with spaces, YAML does not take tabs"
    return Problem(file, mark.line + 1 if mark else 0, mark.column + 1 if mark else 0, f"not valid YAML: {what}", hint)


def _check(file: str, root: Any) -> None:
    """Refuse duplicate keys, keys that are no strings, and documents that aliases blow up."""
    weights: dict[int, int] = {}
    stack: list[tuple[Any, bool]] = [(root, False)]
    open_nodes: set[int] = set()
    while stack:
        node, done = stack.pop()
        if not done and id(node) in weights:
            continue
        mark = node.start_mark
        children = _children(node)
        if done:
            open_nodes.discard(id(node))
            weights[id(node)] = 1 + sum(weights.get(id(child), 1) for child in children)
            if weights[id(node)] > NODES_MAX:
                raise SourceError(
                    Problem(
                        file,
                        mark.line + 1,
                        mark.column + 1,
                        f"more than {NODES_MAX:,} values (aliases expanded)",
                        "split the file",
                    )
                )
            continue
        if id(node) in open_nodes:
            raise SourceError(
                Problem(file, mark.line + 1, mark.column + 1, "an alias refers to what contains it", "write it out")
            )
        open_nodes.add(id(node))
        if isinstance(node, yaml.MappingNode):
            _check_keys(file, node)
        stack.append((node, True))
        stack.extend((child, False) for child in children)


def _check_keys(file: str, node: yaml.MappingNode) -> None:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        line, column = key.start_mark.line + 1, key.start_mark.column + 1
        if not isinstance(key, yaml.ScalarNode):
            raise SourceError(Problem(file, line, column, "a key is not a string", "write keys as plain words"))
        if key.tag == "tag:yaml.org,2002:merge":
            continue
        if key.tag != "tag:yaml.org,2002:str":
            raise SourceError(Problem(file, line, column, f"the key {key.value!r} is not a string", f'write it as "{key.value}"'))
        if key.value in seen:
            raise SourceError(
                Problem(
                    file, line, column, f"the key {key.value!r} stands twice, first in line {seen[key.value]}", "keep one of them"
                )
            )
        seen[key.value] = line


def _children(node: Any) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return [value for _, value in node.value]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _objects(file: str, tree: Any, node: Any) -> Iterator[Manifest]:
    """The objects of one document; nothing for an empty one, several for a List."""
    line = node.start_mark.line + 1
    if tree is None:
        return
    if not isinstance(tree, dict):
        raise SourceError(
            Problem(
                file, line, 1, f"a manifest is a mapping, this is a {type(tree).__name__}", "begin with apiVersion: and kind:"
            )
        )
    for name in ("apiVersion", "kind"):
        if not isinstance(tree.get(name), str) or not tree[name]:
            raise SourceError(Problem(file, line, 1, f"{name} is missing", f"add it, for example `{_EXAMPLES[name]}`"))
    if tree["kind"].endswith("List") and isinstance(tree.get("items"), list):
        items = _child(node, "items")
        for index, item in enumerate(tree["items"]):
            yield from _objects(file, item, _child(items, index))
        return
    metadata = tree.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        hint = "add `metadata: {name: ...}`"
        if isinstance(metadata, dict) and metadata.get("generateName"):
            hint = "a folder needs a fixed name (generateName would make a new object each time)"
        raise SourceError(Problem(file, line, 1, f"{tree['kind']}: metadata.name is missing or not a string", hint))
    namespace = metadata.get("namespace") or ""
    yield Manifest(file, line, tree["apiVersion"], tree["kind"], str(namespace), metadata["name"], tree, node)


_EXAMPLES = {"apiVersion": "apiVersion: apps/v1", "kind": "kind: Deployment"}


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    for part in path.replace("]", "").split("."):
        name, *indexes = part.split("[")
        if name:
            steps.append(name)
        steps.extend(int(i) if i.isdigit() else i.strip('"') for i in indexes)
    return steps


def _child(node: Any, step: str | int) -> Any:
    """The node one step down, or None."""
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == str(step)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step]
    return None
