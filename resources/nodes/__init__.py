"""What nodes may do: a kubelet's certificate is worth no more than the Pods that were given to its node.

`NodeAuthorizer` decides what may be asked, by what the Pods of a node refer to (`NodeGraph`); `NodeRestriction` looks at what
is written. A kubelet is who calls itself system:node:NAME and is in the group system:nodes.
"""

from .authorizer import NodeAuthorizer
from .graph import NodeGraph, node_graph
from .restriction import NodeRestriction

__all__ = ["NodeAuthorizer", "NodeGraph", "NodeRestriction", "node_graph"]
