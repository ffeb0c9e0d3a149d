"""Kinds that are stored and served, and no more: clients create, read, watch, change, explain and describe them.

They are declared from data: fields from the wire tables, their rules from `rules.json`, and what is special about each here.
"""

from __future__ import annotations

from reconcile.kinds import Kind


def stored_kinds() -> list[Kind]:
    """All of them. O(kinds): their schemas are made when first asked for."""
    from .events import newer_event
    from .networking import networking_kinds
    from .other import other_kinds
    from .policies import policy_kinds
    from .scaling import scaling_kinds
    from .storage import storage_kinds

    return [*networking_kinds(), *storage_kinds(), *scaling_kinds(), *policy_kinds(), *other_kinds(), newer_event()]
