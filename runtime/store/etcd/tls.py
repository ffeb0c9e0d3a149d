"""TLS of the port: a certificate to show, and, if wanted, an authority whose certificates clients must show.

The files are read again when they change, so that renewed certificates need no restart; while one is broken the last good
ones stay. Nothing listens beyond this machine without client certificates unless somebody says so.
"""

from __future__ import annotations

import ipaddress
import logging
import ssl
from collections.abc import Callable
from pathlib import Path

import attrs

from .errors import OpenAddressError, TlsFileError

log = logging.getLogger(__name__)


@attrs.frozen
class TlsFiles:
    """The files of a server's TLS, as etcd's options name them."""

    cert_file: Path
    key_file: Path
    trusted_ca_file: Path | None = None
    """Clients must show a certificate of this authority."""

    def contexts(self) -> Callable[[], ssl.SSLContext]:
        """Gives what the server shows to each connection: what the files hold, as long as that is good.

        Raises:
            TlsFileError: a file is missing or broken, or the key is not the certificate's.
        """
        return _Reading(self).context


class _Reading:
    """The content of the files, and when it was what it is."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._paths = [path for path in (files.cert_file, files.key_file, files.trusted_ca_file) if path is not None]
        self._stamp = self._stamped()
        self.current = self._read()

    def context(self) -> ssl.SSLContext:
        """The files' content; where it is broken, what it was before."""
        try:
            stamp = self._stamped()
            if stamp != self._stamp:
                self._stamp = stamp
                self.current = self._read()
                log.info("TLS files read again", extra={"certificate": str(self._files.cert_file)})
        except TlsFileError as error:
            log.warning("TLS files changed and are not good, the old ones stay", extra={"reason": str(error)})
        return self.current

    def _stamped(self) -> tuple[tuple[int, int, int], ...]:
        try:
            return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in (path.stat() for path in self._paths))
        except OSError as error:
            raise TlsFileError(str(error.filename), error.strerror or str(error)) from error

    def _read(self) -> ssl.SSLContext:
        files = self._files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2"])
        path = files.cert_file
        try:
            context.load_cert_chain(files.cert_file, files.key_file)
            if files.trusted_ca_file is not None:
                path = files.trusted_ca_file
                context.load_verify_locations(path)
                context.verify_mode = ssl.CERT_REQUIRED
        except ssl.SSLError as error:
            raise TlsFileError(f"{path}", error.reason or str(error)) from error
        except OSError as error:
            raise TlsFileError(str(error.filename or path), error.strerror or str(error)) from error
        return context


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
