"""The options by which the store is served as an etcd: TLS, and who may reach it; for `store serve` and `up` alike."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from .errors import CommandError

if TYPE_CHECKING:
    from reconcile.runtime.store.etcd import EtcdSettings

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_Command = TypeVar("_Command", bound=Callable[..., Any])


@attrs.frozen
class Face:
    """What the command line says of TLS, and of who may reach the port."""

    prefix: str
    cert_file: Path | None
    key_file: Path | None
    trusted_ca_file: Path | None
    client_cert_auth: bool
    open: bool

    @property
    def given(self) -> bool:
        """Whether the command line says anything of it."""
        return any((self.cert_file, self.key_file, self.trusted_ca_file, self.client_cert_auth, self.open))

    def settings(self, listen: str, **more: Any) -> EtcdSettings:  # Any: fields of EtcdSettings, by name
        """The settings for serving on `listen`; what they contradict is refused before anything runs."""
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what goes wrong is told by us, and once
        try:
            from reconcile.runtime.store.etcd import EtcdSettings, TlsFiles
            from reconcile.runtime.store.etcd.tls import check_address
        except ModuleNotFoundError as error:
            raise CommandError(f"serving an etcd needs {error.name}: pip install 'reconcile-toolkit[etcd]'") from error
        tls = None
        if self.cert_file is not None and self.key_file is not None:
            tls = TlsFiles(self.cert_file, self.key_file, self.trusted_ca_file)
        elif self.cert_file or self.key_file or self.trusted_ca_file or self.client_cert_auth:
            raise CommandError(f"TLS needs both --{self.prefix}cert-file and --{self.prefix}key-file")
        if self.client_cert_auth and self.trusted_ca_file is None:
            raise CommandError(
                f"--{self.prefix}client-cert-auth needs --{self.prefix}trusted-ca-file, the authority of clients' certificates"
            )
        if not self.open:
            check_address(listen, tls)
        if tls is not None:
            tls.contexts()
        return EtcdSettings(tls=tls, client_cert_auth=self.client_cert_auth, open_address=self.open, **more)


def face_options(prefix: str = "") -> Callable[[_Command], _Command]:
    """Add etcd's own options for TLS to a command, which is given them as `face`."""
    options = (
        click.option(f"--{prefix}cert-file", "face_cert", type=_FILE, help="The server's certificate, PEM: serve over TLS."),
        click.option(f"--{prefix}key-file", "face_key", type=_FILE, help="The key of that certificate, PEM."),
        click.option(
            f"--{prefix}trusted-ca-file", "face_ca", type=_FILE, help="Clients must show a certificate of this authority, PEM."
        ),
        click.option(
            f"--{prefix}client-cert-auth", "face_auth", is_flag=True,
            help="With users enabled, a client without a token is the user named in its certificate.",
        ),
        click.option(
            f"--{prefix}open", "face_open", is_flag=True,
            help="Listen beyond loopback without client certificates: whoever reaches the port may use it.",
        ),
    )  # fmt: skip

    def add(command: _Command) -> _Command:
        @functools.wraps(command)
        def with_face(*args: Any, **kwargs: Any) -> Any:  # Any: click passes what the options say
            said = (kwargs.pop(f"face_{name}") for name in ("cert", "key", "ca", "auth", "open"))
            return command(*args, face=Face(prefix, *said), **kwargs)

        for option in reversed(options):
            option(with_face)
        return with_face  # type: ignore[return-value]  # the same command, with more options

    return add
