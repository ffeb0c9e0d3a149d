"""What a login handler returns: where the API server is, and who we are to it."""

from __future__ import annotations

from datetime import UTC, datetime
from os import PathLike

import attrs

Path = str | PathLike[str]


@attrs.frozen(kw_only=True)
class ConnectionInfo:
    """How to reach an API server; PEM contents as text or bytes, or as paths. `expiration` (UTC) is when to log in anew.

    Source: kopf's ConnectionInfo, https://docs.kopf.dev/en/stable/authentication/
    """

    server: str
    ca_path: Path | None = None
    ca_data: str | bytes | None = None
    insecure: bool | None = None
    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    scheme: str | None = None
    token: str | None = attrs.field(default=None, repr=False)
    certificate_path: Path | None = None
    certificate_data: str | bytes | None = None
    private_key_path: Path | None = None
    private_key_data: str | bytes | None = attrs.field(default=None, repr=False)
    default_namespace: str | None = None
    priority: int = 0
    expiration: datetime | None = None

    @property
    def expires_s(self) -> float:
        """When it ends, in seconds since the epoch; 0 for never."""
        if self.expiration is None:
            return 0.0
        aware = self.expiration if self.expiration.tzinfo else self.expiration.replace(tzinfo=UTC)
        return aware.timestamp()
