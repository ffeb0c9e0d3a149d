"""YAML bodies as JSON values: no dates, no other keys than strings, no aliases that blow up. Imported when one arrives."""

from __future__ import annotations

import math
from typing import Any

import orjson
import yaml

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # Any: which of the two classes depends on the build of PyYAML
_NODES_MAX = 200_000
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 64) - 1


class _Loader(_Parser):  # type: ignore[misc]  # its base is chosen at run time
    """The safe loader, minus timestamps, plus a list of the keys that stand twice."""

    duplicates: list[str]
    nodes = 0

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        self.nodes += 1
        if self.nodes > _NODES_MAX:
            raise ValueError("the YAML has too many nodes (aliases that multiply?)")
        return super().construct_object(node, deep)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        self.flatten_mapping(node)
        made: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, True)
            if not isinstance(key, str):
                key = _key_text(key, key_node)
            if key in made:
                line = key_node.start_mark.line + 1
                self.duplicates.append(f'yaml: unmarshal errors:\n  line {line}: key "{key}" already set in map')
            made[key] = self.construct_object(value_node, True)
        return made

    def construct_json_int(self, node: yaml.ScalarNode) -> int | float:
        value: int = super().construct_yaml_int(node)
        return value if _INT_MIN <= value <= _INT_MAX else float(value)

    def construct_json_float(self, node: yaml.ScalarNode) -> float:
        value: float = super().construct_yaml_float(node)
        if not math.isfinite(value):
            raise ValueError(f"line {node.start_mark.line + 1}: {node.value} is no number that JSON has")
        return value

    def construct_json_map(self, node: yaml.MappingNode) -> dict[str, Any]:
        return self.construct_mapping(node, deep=True)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Parser.yaml_implicit_resolvers.items()
}
_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_json_map)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_json_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_json_float)


def load(raw: bytes, duplicates: list[str]) -> Any:
    """One YAML document.

    Raises:
        ValueError: it is no YAML, or no UTF-8, or several documents, or holds what JSON has no word for.
    """
    loader = _Loader(raw)
    loader.duplicates = duplicates
    try:
        # Through JSON text: what has no place in it (bytes, sets) is found, and the rest has its types.
        return orjson.loads(orjson.dumps(loader.get_single_data()))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    except TypeError as error:
        raise ValueError(f"it cannot be written as JSON: {error}") from None
    finally:
        loader.dispose()


def dump(tree: Any) -> bytes:
    """A tree as the YAML that `kubectl get -o yaml` users expect: block style, keys in their order."""
    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(tree, Dumper=dumper, sort_keys=False, default_flow_style=False, allow_unicode=True)
    return text.encode()


def _key_text(key: Any, node: yaml.Node) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int | float):
        return str(key)
    raise ValueError(f"line {node.start_mark.line + 1}: {key!r} cannot be a key; keys are strings")
