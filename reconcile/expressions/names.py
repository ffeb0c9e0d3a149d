"""Names of fields as expressions write them: `namespace` is `__namespace__`, `x-y` is `x__dash__y`.

Source: k8s.io/apiserver/pkg/cel/escaping.go
"""

from __future__ import annotations

import re

RESERVED = frozenset(
    {
        "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
        "loop", "package", "namespace", "return", "var", "void", "while",
    }
)  # fmt: skip
"""Words that are no names of variables. Fields of that name can be written as they are, too."""
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ESCAPES = (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__"))


def escaped(name: str) -> str:
    """A field's name as expressions write it."""
    if name in RESERVED:
        return f"__{name}__"
    if "__" not in name and _IDENTIFIER.fullmatch(name):
        return name
    for text, word in _ESCAPES:
        name = name.replace(text, word)
    return name
