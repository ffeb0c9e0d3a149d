"""TLS of the port: a certificate to show, and, if wanted, an authority whose certificates clients must show.

The files are read again when they change, so that renewed certificates need no restart; while one is broken the last good
ones stay. Nothing listens beyond this machine without client certificates unless somebody says so.
"""

from __future__ import annotations

import ipaddress
import logging
import ssl
from pathlib import Path
from typing import Any

import attrs
import grpc

from .errors import OpenAddressError, TlsFileError

log = logging.getLogger(__name__)

Credentials = Any
"""What grpcio listens with: it has no types."""


@attrs.frozen
class TlsFiles:
    """The files of a server's TLS, as etcd's options name them."""

    cert_file: Path
    key_file: Path
    trusted_ca_file: Path | None = None
    """Clients must show a certificate of this authority."""

    def credentials(self) -> Credentials:
        """What the server listens with.

        Raises:
            TlsFileError: a file is missing or broken, or the key is not the certificate's.
        """
        reading = _Reading(self)
        return grpc.dynamic_ssl_server_credentials(
            reading.current, reading.renewed, require_client_authentication=self.trusted_ca_file is not None
        )


class _Reading:
    """The content of the files, and when it was what it is."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._paths = [path for path in (files.cert_file, files.key_file, files.trusted_ca_file) if path is not None]
        self._stamp = self._stamped()
        self.current = self._read()

    def renewed(self) -> Credentials | None:
        """The files' new content; None if there is none, or it is broken. grpcio asks for each connection."""
        try:
            stamp = self._stamped()
            if stamp == self._stamp:
                return None
            self._stamp = stamp
            self.current = self._read()
        except TlsFileError as error:
            log.warning("TLS files changed and are not good, the old ones stay", extra={"reason": str(error)})
            return None
        log.info("TLS files read again", extra={"certificate": str(self._files.cert_file)})
        return self.current

    def _stamped(self) -> tuple[tuple[int, int, int], ...]:
        try:
            return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in (path.stat() for path in self._paths))
        except OSError as error:
            raise TlsFileError(str(error.filename), error.strerror or str(error)) from error

    def _read(self) -> Credentials:
        files = self._files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        path = files.cert_file
        try:
            # grpcio says nothing of a broken file, and listens; OpenSSL says what is wrong with it.
            context.load_cert_chain(files.cert_file, files.key_file)
            authority = None
            if files.trusted_ca_file is not None:
                path = files.trusted_ca_file
                context.load_verify_locations(path)
                authority = path.read_bytes()
            shown = (files.key_file.read_bytes(), files.cert_file.read_bytes())
        except ssl.SSLError as error:
            raise TlsFileError(f"{path}", error.reason or str(error)) from error
        except OSError as error:
            raise TlsFileError(str(error.filename or path), error.strerror or str(error)) from error
        return grpc.ssl_server_certificate_configuration([shown], root_certificates=authority)


def check_address(address: str, tls: TlsFiles | None) -> None:
    """Refuse to listen beyond this machine where clients need not show a certificate.

    Raises:
        OpenAddressError: `address` is not a loopback address.
    """
    host = address.rpartition(":")[0].strip("[]")
    if (tls is None or tls.trusted_ca_file is None) and not _is_loopback(host):
        raise OpenAddressError(address)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
