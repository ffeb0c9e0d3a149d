"""What the fields of built-in types are, in a line each, for `kubectl explain`.

They stand in `descriptions.json`: type -> field -> text. Under the type "" are those that hold for a field of that name in any
type; a type's own text goes before it, and what a class says of its field (`field(doc=...)`) before both.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import cast


def descriptions() -> dict[str, dict[str, str]]:
    """Read the texts; 45 KB, so only when somebody asks for OpenAPI."""
    text = resources.files(__package__).joinpath("descriptions.json").read_text("utf-8")
    return cast(dict[str, dict[str, str]], json.loads(text))
