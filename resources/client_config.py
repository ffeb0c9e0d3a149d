"""What makes a webhook's clientConfig valid, in the reference server's words.

Source: k8s.io/apiserver/pkg/util/webhook/validation.go
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from urllib.parse import urlsplit

from reconcile.errors import Cause, Tree

from .core.names import invalid, is_subdomain, required

_FORM = "; desired format: https://host[/path]"


def broken_client_config(client: Tree, path: str) -> Iterator[Cause]:
    """Everything that is wrong with how a webhook is reached; the caBundle is judged apart."""
    if (client.get("url") is None) == (client.get("service") is None):
        yield required(path, "exactly one of url or service is required")
    elif client.get("url") is not None:
        yield from _broken_url(str(client["url"]), f"{path}.url")
    else:
        yield from _broken_service(client["service"], f"{path}.service")


def broken_bundle(bundle: str, path: str) -> Iterator[Cause]:
    """What is wrong with a caBundle."""
    try:
        text = base64.b64decode(bundle, validate=True).decode()
        fault = "" if "-----BEGIN CERTIFICATE-----" in text else "unable to parse bytes as PEM block"
        if not fault:
            import ssl  # rarely needed: few name an authority of their own

            ssl.create_default_context(cadata=text)
    except (binascii.Error, ValueError) as error:  # also what ssl raises
        fault = str(error)
    except OSError as error:
        fault = error.strerror or str(error)
    if fault:
        yield invalid(path, bundle, f"unable to load root certificates: {fault}")


def _broken_url(url: str, path: str) -> Iterator[Cause]:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        yield required(path, f"url must be a valid URL: {error}{_FORM}")
        return
    if parts.scheme != "https":
        yield invalid(path, parts.scheme, f"'https' is the only allowed URL scheme{_FORM}")
    if not parts.netloc.rpartition("@")[2]:
        yield invalid(path, "", f"host must be specified{_FORM}")
    if "@" in parts.netloc:
        yield invalid(path, parts.netloc.rpartition("@")[0], "user information is not permitted in the URL")
    if parts.fragment:
        yield invalid(path, parts.fragment, "fragments are not permitted in the URL")
    if parts.query:
        yield invalid(path, parts.query, "query parameters are not permitted in the URL")


def _broken_service(service: Tree, path: str) -> Iterator[Cause]:
    for name in ("name", "namespace"):
        if not service.get(name):
            yield required(f"{path}.{name}", f"service {name} is required")
    port = service.get("port", 443)
    if type(port) is int and not 1 <= port <= 65535:
        yield invalid(f"{path}.port", port, "port is not valid: must be between 1 and 65535, inclusive")
    where, url_path = f"{path}.path", str(service.get("path") or "")
    if url_path in ("", "/"):
        return
    if url_path == "//":
        yield invalid(where, url_path, "segment[0] may not be empty")
        return
    if not url_path.startswith("/"):
        yield invalid(where, url_path, "must start with a '/'")
    for at, step in enumerate(url_path.removeprefix("/").removesuffix("/").split("/")):
        if not step:
            yield invalid(where, url_path, f"segment[{at}] may not be empty")
            continue
        for cause in is_subdomain(step, where):
            yield invalid(where, url_path, f"segment[{at}]: {cause.message.split(': ', 2)[2]}")
