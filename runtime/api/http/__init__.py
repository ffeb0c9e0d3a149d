"""The HTTP face of the API server: Kubernetes paths, verbs, renderings and errors, over TLS with a bearer token.

    server, transport        starts and stops it; the one module that knows the HTTP library (imported when it starts)
    face                     one request in, one answer out: identity, then routing; knows no HTTP library
    objects                  the verbs on objects
    watches, feed            a watch on its own, and many that are told the same
    rendering, frames, lines answers, and the events of watches, in each form
    discovery, openapi       documents that are derived from the served kinds
    tables, negotiation      renderings; which one a client wants
    bodies, protobuf         what clients send
    marshalling, yamlbody    the forms beside JSON
    identity, certificates   who calls; the server's own CA and token
    location, exchange       paths; the request and answer values

`HttpServer` is all that others need.
"""

from __future__ import annotations

from .certificates import Credentials
from .server import Address, HttpServer, HttpSettings

__all__ = ["Address", "Credentials", "HttpServer", "HttpSettings"]
