"""Draws specs from a kind's own schema: a user who changes one thing after another.

Source: the idea is Acto's (SOSP 2023): operations as transitions between states drawn from the resource's schema.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

from reconcile.errors import Tree

_DEPTH_MAX = 6
_WORDS = ("a", "b", "web", "x-1", "blue")
_OPTIONAL_SHARE = 0.6
_INTEGER_MAX = 6


def specs(schema: Tree, seed: str, steps: int) -> Iterator[Tree]:
    """`steps` specs, each the one before with one part drawn anew."""
    spec_schema = (schema.get("properties") or {}).get("spec") or {"type": "object"}
    chance = random.Random(seed)
    spec = drawn(spec_schema, chance)
    if not isinstance(spec, dict):
        spec = {}
    for _ in range(steps):
        yield copy.deepcopy(spec)
        spec = _changed(spec, spec_schema, chance)


def _changed(spec: Tree, schema: Tree, chance: random.Random) -> Tree:
    properties = schema.get("properties") or {}
    if not properties:
        return spec
    name = chance.choice(sorted(properties))
    inner = spec.get(name)
    changed = dict(spec)
    if isinstance(inner, dict) and properties[name].get("properties") and chance.random() < 0.7:
        changed[name] = _changed(inner, properties[name], chance)
    elif name in spec and name not in (schema.get("required") or ()) and chance.random() < 0.2:
        del changed[name]
    else:
        changed[name] = drawn(properties[name], chance)
    return changed


def drawn(schema: Tree, chance: random.Random, depth: int = 0) -> Any:
    """A value that the schema allows, as far as it says so in types, enums, bounds and formats."""
    if "enum" in schema:
        return chance.choice(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return chance.randint(0, _INTEGER_MAX)
    kind = schema.get("type")
    if kind == "object":
        return _object(schema, chance, depth)
    if kind == "array":
        least = int(schema.get("minItems", 0))
        count = chance.randint(least, max(least, min(int(schema.get("maxItems", 3)), 3)))
        return [drawn(schema.get("items") or {}, chance, depth + 1) for _ in range(count)]
    if kind in ("integer", "number"):
        least = schema.get("minimum", 0)
        most = schema.get("maximum", max(least, _INTEGER_MAX))
        return chance.randint(int(least), int(min(most, least + _INTEGER_MAX)))
    if kind == "boolean":
        return chance.random() < 0.5
    return _text(schema, chance)


def _object(schema: Tree, chance: random.Random, depth: int) -> Tree:
    required = set(schema.get("required") or ())
    made: Tree = {}
    for name, part in (schema.get("properties") or {}).items():
        if name in required or (depth < _DEPTH_MAX and chance.random() < _OPTIONAL_SHARE):
            made[name] = drawn(part, chance, depth + 1)
    values = schema.get("additionalProperties")
    if isinstance(values, dict) and not made:
        made = {chance.choice(_WORDS): drawn(values, chance, depth + 1) for _ in range(chance.randint(0, 2))}
    return made


def _text(schema: Tree, chance: random.Random) -> str:
    if schema.get("format") in ("date-time", "micro-time"):
        return "2026-01-01T00:00:00Z"
    if schema.get("format") == "byte":
        return "YQ=="
    least, most = int(schema.get("minLength", 0)), int(schema.get("maxLength", 60))
    word = chance.choice(_WORDS)
    return (word * (least // len(word) + 1))[: max(least, min(len(word), most))]
