"""What the kubelet's endpoint refuses: an HTTP status and a line of text, as the reference kubelet answers."""

from __future__ import annotations


class EndpointError(Exception):
    """A request that is refused before anything was sent."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
