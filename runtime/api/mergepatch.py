"""JSON merge patch (RFC 7386) without copying what is not touched.

Source: https://www.rfc-editor.org/rfc/rfc7386
"""

from __future__ import annotations

from typing import Any


def apply_merge_patch(document: Any, patch: Any) -> Any:
    """The document with `patch` merged into it; None in the patch removes a key.

    What does not change is shared with the document; if nothing does, it is the very same object.
    """
    if not isinstance(patch, dict):
        return patch
    merged = document if isinstance(document, dict) else {}
    copied = merged is not document
    for key, value in patch.items():
        if value is None:
            if key not in merged:
                continue
            if not copied:
                merged, copied = dict(merged), True
            del merged[key]
            continue
        there = merged.get(key)
        result = apply_merge_patch(there, value) if isinstance(value, dict) else value
        if result is there or (type(result) is type(there) and not isinstance(result, dict) and result == there):
            continue
        if not copied:
            merged, copied = dict(merged), True
        merged[key] = result
    return merged
