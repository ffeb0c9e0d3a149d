"""Whether a caller is a node, and which.

Source: K/pkg/auth/nodeidentifier/default.go
"""

from __future__ import annotations

from reconcile.identity import Caller

NODES = "system:nodes"
_USER = "system:node:"


def node_of(caller: Caller) -> str | None:
    """The name of the node that calls ("": some node that does not say which); None: it is no node."""
    if not caller.user.startswith(_USER) or NODES not in caller.groups:
        return None
    return caller.user[len(_USER) :]
