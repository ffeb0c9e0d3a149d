"""Where the API will answer, known before it does: its socket, and the authority that vouches for it.

Loading HTTP takes a while. The socket listens from the start on: who connects early waits a moment instead of being refused.
"""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

import attrs

from reconcile.clock import Clock
from reconcile.errors import ReconcileError

PKI = "pki"
PORT = "port"
_BACKLOG = 512
log = logging.getLogger(__name__)


class ListenError(ReconcileError):
    """The API cannot listen on the address that it was given."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        why = os.strerror(error.errno) if error.errno else str(error)
        super().__init__(f"the API cannot listen on {host}:{port}: {why.lower()}; give it another address or port")


@attrs.frozen
class ListenSettings:
    """Where the API listens; port 0 takes the one it had before, or any free one.

    `token_file` names further callers and their tokens (see `api.http.tokenfile`), `names` other names and addresses by which
    the API is reached, which its certificate has to hold.
    """

    host: str = "127.0.0.1"
    port: int = 0
    token_file: Path | None = None
    names: tuple[str, ...] = ()


@attrs.frozen
class Front:
    """The address at which the API answers over HTTPS, and the PEM certificate of the authority that vouches for it.

    `pki` is the folder with the keys of this control plane.
    """

    host: str
    port: int
    ca: bytes = attrs.field(repr=False)
    pki: Path


def open_listener(settings: ListenSettings, data_dir: Path) -> socket.socket:
    """A listening socket; the port is kept, so that kubeconfigs outlive a restart.

    Raises:
        ListenError: the address cannot be had.
    """
    note = data_dir / PORT
    wanted = settings.port or _noted_port(note)
    try:
        listener = _listener(settings.host, wanted)
    except OSError as error:
        if settings.port or not wanted:
            raise ListenError(settings.host, wanted, error) from error
        log.warning("the port of the last run is taken", extra={"port": wanted})
        try:
            listener = _listener(settings.host, 0)
        except OSError as again:
            raise ListenError(settings.host, 0, again) from again
    note.write_text(f"{listener.getsockname()[1]}\n")
    return listener


def make_front(settings: ListenSettings, listener: socket.socket, data_dir: Path, clock: Clock) -> Front:
    """The front behind a socket; makes the authority on the first start, which takes about 60 ms."""
    from .api.http.certificates import Credentials

    pki = data_dir / PKI
    credentials = Credentials.load_or_make(pki, clock.now(), (settings.host, *settings.names))
    return Front(settings.host, listener.getsockname()[1], credentials.ca_pem, pki)


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def _noted_port(note: Path) -> int:
    try:
        return int(note.read_text())
    except (OSError, ValueError):
        return 0
