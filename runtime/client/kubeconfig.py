"""Kubeconfig files: where an API server is, how to trust it, and who we are to it.

Read in JSON (what we write: it is YAML as well, costs nothing to parse, and kubectl reads it) or in YAML; written
atomically and for the owner's eyes only, because a token is in it. Understood: clusters, users with tokens, token files and
client certificates, login programs (`execplugin`), impersonation, proxies, contexts, CA data and files, `KUBECONFIG` with several
files, and the service account of a pod. Auth providers and passwords, which kubectl has given up too, are refused with a message
that says so.

This module imports nothing heavy: the CLI's fast commands start with it.

Source: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import KubeconfigError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from .execplugin import ExecPlugin

Tree = dict[str, Any]  # Any: a decoded JSON object (named here because reconcile.errors costs an import of attrs)
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
FILES_S = 10.0
"""How often certificates are looked for in their files again."""


class Access(NamedTuple):
    """How to reach one API server. PEM contents are bytes; empty means not given.

    `token_file` is read again for every request, because a service account's token is rotated. `login` is a program that
    gives token or certificate: `bearer` and `tls` may run it, and block meanwhile, while `login.stale`. What came of files can be
    read again, because certificates are rotated, too: `reread`. `impersonated` are headers.
    """

    server: str
    namespace: str = "default"
    ca: bytes = b""
    insecure: bool = False
    server_name: str = ""
    token: str = ""
    token_file: str = ""
    client_cert: bytes = b""
    client_key: bytes = b""
    source: str = ""
    user: str = ""
    login: ExecPlugin | None = None
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    proxy_url: str = ""
    impersonated: tuple[tuple[str, str], ...] = ()

    @property
    def of_files(self) -> bool:
        """Whether certificates came of files, and may be others by now."""
        return bool(self.ca_file or self.cert_file or self.key_file)

    def reread(self) -> Access:
        """With what the certificate files hold now; as it is where they do not hold together, as in the middle of a rotation."""
        read = self._replace(
            ca=_now(self.ca_file, self.ca), client_cert=_now(self.cert_file, self.client_cert),
            client_key=_now(self.key_file, self.client_key),
        )  # fmt: skip
        if read == self:
            return self
        try:
            read.tls()
        except KubeconfigError:
            return self
        return read

    def bearer(self) -> str:
        """The token to send now, or an empty string."""
        if self.token_file:
            try:
                return Path(self.token_file).read_text().strip()
            except OSError as error:
                raise KubeconfigError(f"{self.source}: the token file {self.token_file} cannot be read: {error}") from None
        if not self.token and self.login is not None:
            return self.login.credential().token
        return self.token

    def tls(self) -> ssl.SSLContext | None:
        """What to hand to a connection: None for plain HTTP."""
        if self.server.startswith("http://"):
            return None
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca:
            try:
                context.load_verify_locations(cadata=self.ca.decode("ascii"))
            except (ssl.SSLError, UnicodeDecodeError) as error:
                raise KubeconfigError(f"{self.source}: the certificate authority is no PEM certificate: {error}") from None
        else:
            context.load_default_certs()
        given = self.login.credential() if self.login is not None and not self.client_cert else None
        if self.client_cert:
            _load_pair(context, self.client_cert, self.client_key, self.source)
        elif given is not None and given.client_cert:
            _load_pair(context, given.client_cert, given.client_key, self.source)
        return context


def load(path: str | os.PathLike[str] | None = None, *, context: str = "", environ: Mapping[str, str] | None = None) -> Access:
    """Find and read the kubeconfig and say how to reach the server of `context` (its current one unless named).

    Without `path`: the files of $KUBECONFIG, else ~/.kube/config, else the pod's own service account.

    Raises:
        KubeconfigError: there is none, or it is wrong.
    """
    environ = os.environ if environ is None else environ
    if path is not None:
        return access_of(read(path), context=context, source=str(path))
    named = [entry for entry in environ.get("KUBECONFIG", "").split(os.pathsep) if entry]
    files = [Path(entry) for entry in named] or [Path(environ.get("HOME", "~")).expanduser() / ".kube" / "config"]
    present = [file for file in files if file.exists()]
    if present:
        merged = _merged([_with_absolute_paths(read(file), file.parent) for file in present])
        return access_of(merged, context=context, source=os.pathsep.join(str(file) for file in present))
    if not named and environ.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster(environ=environ)
    raise KubeconfigError(
        f"no kubeconfig at {', '.join(str(file) for file in files)}; start a control plane with `reconcile up FOLDER`, "
        "or set KUBECONFIG to the file of the cluster you mean"
    )


def in_cluster(folder: Path = SERVICE_ACCOUNT, environ: Mapping[str, str] | None = None) -> Access:
    """The access that a pod has through its service account.

    Raises:
        KubeconfigError: this process does not run in a pod.

    Source: client-go rest.InClusterConfig
    """
    environ = os.environ if environ is None else environ
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (folder / "token").exists():
        raise KubeconfigError(
            f"not inside a cluster: KUBERNETES_SERVICE_HOST or {folder / 'token'} is missing; give a kubeconfig instead"
        )
    namespace = folder / "namespace"
    return Access(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
        ca=(folder / "ca.crt").read_bytes() if (folder / "ca.crt").exists() else b"",
        token_file=str(folder / "token"), source=str(folder), ca_file=str(folder / "ca.crt"),
    )  # fmt: skip


def read(path: str | os.PathLike[str]) -> Tree:
    """Read one file as a tree; JSON is tried first because it costs no import.

    Raises:
        KubeconfigError: it cannot be read, or is no mapping.
    """
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise KubeconfigError(f"{path}: cannot be read: {error}") from None
    try:
        tree = json.loads(text)
    except ValueError:
        tree = _yaml(path, text)
    if not isinstance(tree, dict):
        raise KubeconfigError(f"{path}: a kubeconfig is a mapping with clusters, users and contexts; this is none")
    return _with_absolute_paths(tree, Path(path).parent)


def write(path: str | os.PathLike[str], tree: Tree) -> None:
    """Write `tree` for the owner alone, atomically: a reader sees the old file or the new one, never a part."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    made = target.with_name(f".{target.name}.{os.getpid()}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "w") as file:
            file.write(json.dumps(tree, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(made, target)
    except BaseException:
        made.unlink(missing_ok=True)
        raise


def tree_of(access: Access, *, name: str = "reconcile", user: str = "admin") -> Tree:
    """A kubeconfig with one cluster, one user and one context that says what `access` says; everything is inlined."""
    cluster: Tree = {"server": access.server}
    if access.ca:
        cluster["certificate-authority-data"] = base64.b64encode(access.ca).decode()
    if access.insecure:
        cluster["insecure-skip-tls-verify"] = True
    if access.server_name:
        cluster["tls-server-name"] = access.server_name
    if access.proxy_url:
        cluster["proxy-url"] = access.proxy_url
    identity: Tree = _impersonating(access.impersonated)
    if access.token:
        identity["token"] = access.token
    if access.token_file:
        identity["tokenFile"] = access.token_file
    if access.client_cert:
        identity["client-certificate-data"] = base64.b64encode(access.client_cert).decode()
        identity["client-key-data"] = base64.b64encode(access.client_key).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": user, "user": identity}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user, "namespace": access.namespace}}],
        "current-context": name,
    }


def contexts(tree: Tree) -> list[str]:
    """The names of the contexts, in the file's order."""
    return [str(entry.get("name", "")) for entry in tree.get("contexts") or ()]


def access_of(tree: Tree, *, context: str = "", source: str = "kubeconfig") -> Access:
    """How to reach the server of one context of a kubeconfig.

    Raises:
        KubeconfigError: the context, its cluster or its user is missing or uses what is not understood.
    """
    wanted = context or str(tree.get("current-context") or "")
    if not wanted and len(contexts(tree)) == 1:
        wanted = contexts(tree)[0]
    chosen = _named(tree, "contexts", "context", wanted, source)
    cluster = _named(tree, "clusters", "cluster", str(chosen.get("cluster", "")), source)
    user_name = str(chosen.get("user", ""))
    user = _named(tree, "users", "user", user_name, source) if user_name else {}
    if user.get("auth-provider"):
        raise KubeconfigError(
            f"{source}: user {user_name!r} logs in by auth-provider, which is not understood here; use exec, a token or a client "
            "certificate (`kubectl config set-credentials`)"
        )
    if user.get("username"):
        raise KubeconfigError(
            f"{source}: user {user_name!r} has a user name and a password, which no server takes any more; use exec, a "
            "token or a client certificate (`kubectl config set-credentials`)"
        )
    server = str(cluster.get("server") or "")
    if not server.startswith(("https://", "http://")):
        raise KubeconfigError(f"{source}: cluster {chosen.get('cluster')!r} has server {server!r}; give an https:// URL")
    return Access(
        server=server.rstrip("/"),
        namespace=str(chosen.get("namespace") or "default"),
        ca=_content(cluster, "certificate-authority", source),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        server_name=str(cluster.get("tls-server-name") or ""),
        token=str(user.get("token") or ""),
        token_file=str(user.get("tokenFile") or "") if not user.get("token") else "",
        client_cert=_content(user, "client-certificate", source),
        client_key=_content(user, "client-key", source),
        source=source,
        user=user_name,
        login=_login(user, cluster, source),
        ca_file=_file(cluster, "certificate-authority"),
        cert_file=_file(user, "client-certificate"),
        key_file=_file(user, "client-key"),
        proxy_url=str(cluster.get("proxy-url") or ""),
        impersonated=_impersonated(user),
    )


def _impersonated(user: Tree) -> tuple[tuple[str, str], ...]:
    """The headers for `as`, `as-uid`, `as-groups` and `as-user-extra`.

    Source: client-go transport.ImpersonatingRoundTripper
    """
    if not user.get("as"):
        return ()
    from urllib.parse import quote

    headers = [("Impersonate-User", str(user["as"]))]
    headers += [("Impersonate-Group", str(group)) for group in user.get("as-groups") or ()]
    if user.get("as-uid"):
        headers.append(("Impersonate-Uid", str(user["as-uid"])))
    for key, values in (user.get("as-user-extra") or {}).items():
        headers += [(f"Impersonate-Extra-{quote(str(key), safe='')}", str(value)) for value in values]
    return tuple(headers)


def _impersonating(headers: tuple[tuple[str, str], ...]) -> Tree:
    """The other way round."""
    user: Tree = {}
    for name, value in headers:
        kind = name.removeprefix("Impersonate-")
        if kind == "Group":
            user.setdefault("as-groups", []).append(value)
        elif kind.startswith("Extra-"):
            from urllib.parse import unquote

            user.setdefault("as-user-extra", {}).setdefault(unquote(kind.removeprefix("Extra-")), []).append(value)
        else:
            user["as" if kind == "User" else "as-uid"] = value
    return user


def _login(user: Tree, cluster: Tree, source: str) -> ExecPlugin | None:
    if not user.get("exec"):
        return None
    from .execplugin import ExecPlugin  # rarely needed, and not cheap

    return ExecPlugin(user["exec"], cluster, source)


def _named(tree: Tree, plural: str, singular: str, name: str, source: str) -> Tree:
    for entry in tree.get(plural) or ():
        if isinstance(entry, dict) and entry.get("name") == name:
            return entry.get(singular) or {}
    known = ", ".join(str(entry.get("name")) for entry in tree.get(plural) or ()) or "none"
    raise KubeconfigError(f"{source}: there is no {singular} {name!r}; there are: {known}")


def _content(tree: Tree, name: str, source: str) -> bytes:
    if data := tree.get(f"{name}-data"):
        try:
            return base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise KubeconfigError(f"{source}: {name}-data is not base64: {error}") from None
    if path := tree.get(name):
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise KubeconfigError(f"{source}: {name}: {error}") from None
    return b""


def _file(tree: Tree, name: str) -> str:
    """The file that something came of; what stands in the kubeconfig itself goes before it."""
    return "" if tree.get(f"{name}-data") else str(tree.get(name) or "")


def _now(path: str, before: bytes) -> bytes:
    try:
        return (Path(path).read_bytes() if path else b"") or before
    except OSError:
        return before


def _with_absolute_paths(tree: Tree, folder: Path) -> Tree:
    """Paths in a kubeconfig are meant from its own folder."""
    for plural, singular, names in (
        ("clusters", "cluster", ("certificate-authority",)),
        ("users", "user", ("client-certificate", "client-key", "tokenFile")),
    ):
        for entry in tree.get(plural) or ():
            inner = entry.get(singular) if isinstance(entry, dict) else None
            for name in names:
                if inner and inner.get(name):
                    inner[name] = str(folder / inner[name])
            plugin = inner.get("exec") if inner else None
            if isinstance(plugin, dict) and "/" in str(plugin.get("command") or ""):
                plugin["command"] = str(folder / str(plugin["command"]))
    return tree


def _merged(trees: list[Tree]) -> Tree:
    """Several files as one: the first to name a thing wins, as kubectl has it."""
    merged: Tree = {"clusters": [], "users": [], "contexts": [], "current-context": ""}
    for tree in trees:
        for plural in ("clusters", "users", "contexts"):
            known = {entry["name"] for entry in merged[plural]}
            merged[plural] += [entry for entry in tree.get(plural) or () if entry.get("name") not in known]
        merged["current-context"] = merged["current-context"] or tree.get("current-context") or ""
    return merged


def _load_pair(context: ssl.SSLContext, cert: bytes, key: bytes, source: str) -> None:
    """Python's ssl takes a client certificate from files alone: lend it one for the moment."""
    import ssl
    import tempfile

    with tempfile.NamedTemporaryFile(mode="wb", suffix=".pem") as file:
        file.write(cert + b"\n" + key)
        file.flush()
        try:
            context.load_cert_chain(file.name)
        except ssl.SSLError as error:
            raise KubeconfigError(f"{source}: client certificate and key do not load: {error}") from None


def _yaml(path: str | os.PathLike[str], text: str) -> Any:
    import yaml  # only for files that somebody else wrote

    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe loaders
    except yaml.YAMLError as error:
        raise KubeconfigError(f"{path}: is neither JSON nor YAML: {error}") from None
