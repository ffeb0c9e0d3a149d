"""What a kubelet answers to an API server: exec, attach, port-forward, logs, figures; over HTTP, on a socket of its own."""

from .server import Endpoint
from .socket import connect

__all__ = ["Endpoint", "connect"]
