"""$(VAR) in commands, arguments and environment values. Pure.

Source: third_party/forked/golang/expansion/expand.go
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$(\$|\(([^)]*)\))")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by its value; `$$` is a plain dollar sign, and a name that is not known stays as it is written."""
    if "$" not in text:
        return text

    def replaced(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return variables.get(match[2], match[0])

    return _REFERENCE.sub(replaced, text)
