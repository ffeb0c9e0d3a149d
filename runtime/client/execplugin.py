"""Credentials from a program: the `exec` section of a kubeconfig's user (cloud providers log in this way).

The program is run when a credential is first needed, when the one it gave is about to expire, and after the server refused it.
It runs without a terminal: one that has to ask a person fails, and says so. The call blocks; who runs an event loop calls
`credential` in a thread while `stale`.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
import time
from datetime import datetime
from typing import Any, NamedTuple

from .errors import KubeconfigError

Tree = dict[str, Any]  # Any: a decoded JSON object
_EARLY_S = 10.0  # a credential that expires this soon is not begun with
_PATIENCE_S = 60.0
_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


class Credential(NamedTuple):
    """What the program gave; `expires_s` is in seconds since the epoch, 0 for never."""

    token: str = ""
    client_cert: bytes = b""
    client_key: bytes = b""
    expires_s: float = 0.0


class ExecPlugin:
    """One user's program and the credential it gave last."""

    def __init__(self, tree: Tree, cluster: Tree, source: str) -> None:
        self.command = str(tree.get("command") or "")
        self._source = source
        self._version = str(tree.get("apiVersion") or "")
        self._argv = [self.command, *map(str, tree.get("args") or ())]
        self._env = {str(pair["name"]): str(pair["value"]) for pair in tree.get("env") or ()}
        self._hint = str(tree.get("installHint") or "").strip()
        self._cluster = cluster if tree.get("provideClusterInfo") else None
        self._lock = threading.Lock()
        self._given: Credential | None = None
        if not self.command:
            raise KubeconfigError(f"{source}: the user's exec section names no command; give the program that logs in")
        if self._version not in _VERSIONS:
            raise KubeconfigError(
                f"{source}: exec {self.command} speaks {self._version or 'no apiVersion'}; give {' or '.join(_VERSIONS)}"
            )

    @property
    def stale(self) -> bool:
        """Whether the next `credential` has to run the program."""
        given = self._given
        return given is None or 0 < given.expires_s < time.time() + _EARLY_S

    def credential(self) -> Credential:
        """What to show to the server; runs the program where `stale`.

        Raises:
            KubeconfigError: the program is not there, failed, or gave no credential.
        """
        with self._lock:
            if self._given is None or self.stale:
                self._given = self._read(self._run())
            return self._given

    def forget(self, refused: Credential | None = None) -> None:
        """The server refused what was given: ask again next time (unless somebody has done so meanwhile)."""
        with self._lock:
            if refused is None or self._given is refused:
                self._given = None

    def _run(self) -> str:
        spec: Tree = {"interactive": False}
        if self._cluster is not None:
            spec["cluster"] = self._cluster
        told = json.dumps({"apiVersion": self._version, "kind": "ExecCredential", "spec": spec})
        env = {**os.environ, **self._env, "KUBERNETES_EXEC_INFO": told}
        try:
            done = subprocess.run(
                self._argv, check=False, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE_S
            )
        except FileNotFoundError:
            hint = f": {self._hint}" if self._hint else "; install it, or use a token or a client certificate"
            raise KubeconfigError(f"{self._source}: the login program {self.command!r} is not found{hint}") from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise KubeconfigError(f"{self._source}: the login program {self.command!r} did not end well: {error}") from None
        if done.returncode:
            said = done.stderr.strip()[-500:] or "it said nothing"
            raise KubeconfigError(f"{self._source}: the login program {self.command!r} ended with {done.returncode}: {said}")
        return done.stdout

    def _read(self, text: str) -> Credential:
        try:
            status = json.loads(text)["status"]
            expires = status.get("expirationTimestamp")
            given = Credential(
                token=str(status.get("token") or ""),
                client_cert=_pem(status.get("clientCertificateData")),
                client_key=_pem(status.get("clientKeyData")),
                expires_s=datetime.fromisoformat(expires).timestamp() if expires else 0.0,
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise KubeconfigError(
                f"{self._source}: the login program {self.command!r} printed no ExecCredential with a status: {text[:200]!r}"
            ) from None
        if not given.token and not given.client_cert:
            raise KubeconfigError(f"{self._source}: the login program {self.command!r} gave neither a token nor a certificate")
        return given


def _pem(text: Any) -> bytes:
    """A certificate or key; the API has it as PEM text, some programs give it in base64."""
    if not text:
        return b""
    raw = str(text)
    return raw.encode() if raw.lstrip().startswith("-----BEGIN") else base64.b64decode(raw, validate=True)
