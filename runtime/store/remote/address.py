"""Where an etcd cluster is, under which prefix we live there, and who we are to it: one line of text.

    etcd://127.0.0.1:2379
    etcd://h1:2379,h2:2379,h3:2379/team-a
    etcds://h1:2379,h2:2379/team-a?ca=ca.pem&cert=client.pem&key=client.key
    etcds://h1:2379?ca=ca.pem&user=reconcile&password-file=/run/secrets/etcd

`etcds` is TLS. Without `ca`, the machine's own authorities are trusted. A password is only ever read from a file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, urlsplit

import attrs

from .errors import AddressFormError

PREFIX = "/reconcile"
"""Where we live when nothing else is said; the keys of Pods are then /reconcile/registry/pods/..."""
_PORT = 2379
_OPTIONS = ("ca", "cert", "key", "user", "password-file")


@attrs.frozen
class EtcdAddress:
    """A cluster, a prefix, and how to prove who we are."""

    endpoints: tuple[str, ...]
    prefix: str = PREFIX
    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    user: str = ""
    password_file: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address.

        Raises:
            AddressFormError: it is none; the message says what to write.
        """
        url = urlsplit(text)
        if url.scheme not in ("etcd", "etcds"):
            raise AddressFormError(text, "it begins with neither etcd:// nor etcds://")
        if "@" in url.netloc:
            raise AddressFormError(
                text, "a user is named by ?user=NAME&password-file=FILE, for the password to stay out of sight"
            )
        endpoints = tuple(_endpoint(text, part) for part in url.netloc.split(","))
        prefix = url.path.rstrip("/") or PREFIX
        options = dict(parse_qsl(url.query, keep_blank_values=True))
        unknown = sorted(set(options) - set(_OPTIONS))
        if unknown:
            raise AddressFormError(text, f"{unknown[0]!r} is not one of {', '.join(_OPTIONS)}")
        files = {name: Path(value) for name, value in options.items() if name != "user"}
        tls = url.scheme == "etcds"
        if not tls and files.keys() & {"ca", "cert", "key"}:
            raise AddressFormError(text, "certificates need etcds://")
        if ("cert" in files) != ("key" in files):
            raise AddressFormError(text, "a certificate and its key (cert=, key=) go together")
        if ("user" in options) != ("password-file" in files):
            raise AddressFormError(text, "a user and its password (user=, password-file=) go together")
        return cls(
            endpoints, prefix, tls, files.get("ca"), files.get("cert"), files.get("key"), options.get("user", ""),
            files.get("password-file"),
        )  # fmt: skip

    def __str__(self) -> str:
        """The cluster and the prefix: what makes it the same store, whoever asks."""
        return f"etcd{'s' if self.tls else ''}://{','.join(self.endpoints)}{self.prefix}"


def _endpoint(text: str, part: str) -> str:
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::(\d{1,5}))?", part.strip())
    if found is None:
        raise AddressFormError(text, f"{part!r} is no host with a port")
    port = int(found[2] or _PORT)
    if not 0 < port < 1 << 16:
        raise AddressFormError(text, f"{part!r} has no possible port")
    return f"{found[1]}:{port}"
