"""JSON Web Tokens: those of ours are good on a real etcd with the same key, and the other way round; forged ones nowhere."""

from __future__ import annotations

import base64
import json
from contextlib import ExitStack
from pathlib import Path

import pytest
from aetcd.rpc import rpc_pb2 as pb
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from reconcile.runtime.store.etcd.errors import Refusal, TokenOptionError
from reconcile.runtime.store.etcd.jwt import JwtTokens
from reconcile.runtime.store.etcd.tokens import Caller
from tests.etcd.client import Client, refusal
from tests.etcd.conftest import connected, our_process, real_etcd_process
from tests.etcd.test_etcd_auth import User, _log_in, guard
from tests.store.conftest import VirtualClock

_OLD = "INVALID_ARGUMENT: etcdserver: revision of auth store is old"
_BAD = "UNAUTHENTICATED: etcdserver: invalid auth token"


def _files(folder: Path, method: str) -> tuple[Path, Path]:
    """A key for a method, and its public key."""
    private, public = folder / f"{method}.key", folder / f"{method}.pub"
    if method.startswith("HS"):
        private.write_bytes(b"a secret that two servers share")
        return private, private
    curves: dict[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = (
        ec.generate_private_key(curves[method]) if method in curves else rsa.generate_private_key(65537, 2048)
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.mark.time_limit_s(60)
@pytest.mark.parametrize("method", ["HS256", "ES256", "RS256"])
async def test_a_token_is_good_on_either_server_until_users_change(tmp_path: Path, method: str) -> None:
    """Servers that share a key know each other's users; a token from before a change is told to be old."""
    private, public = _files(tmp_path, method)
    keys = f"priv-key={private}" if method == "HS256" else f"priv-key={private},pub-key={public}"
    option = ("--auth-token", f"jwt,sign-method={method},{keys},ttl=10m")
    with ExitStack() as stack:
        ours, _ = stack.enter_context(our_process(tmp_path / "ours", *option))
        theirs = stack.enter_context(real_etcd_process(tmp_path, *option))
        async with connected(ours) as mine, connected(theirs) as real:
            for client in (mine, real):
                await guard(client, (0, b"a", b"b"))
            for giver in (mine, real):
                token = (await _log_in(giver, "alice")).token or ""
                for taker in (mine, real):
                    assert (await _get(taker, token)).startswith("answered")
            root = await _log_in(mine, "root")
            await root("auth.RoleAdd", pb.AuthRoleAddRequest(name="more"))
            assert await _get(mine, token) == _OLD
            assert await _get(mine, token[:-6] + "AAAAAA") == _BAD


async def _get(client: Client, token: str) -> str:
    return await refusal(User(client, token)("kv.Range", pb.RangeRequest(key=b"a")))


@pytest.mark.parametrize("method", ["HS256", "HS512", "ES256", "ES384", "ES512", "RS384", "PS256"])
def test_a_token_that_is_forged_or_over_is_nobodys(tmp_path: Path, method: str) -> None:
    """What a token says of itself is not believed."""
    clock = VirtualClock()
    private, public = _files(tmp_path, method)
    tokens = JwtTokens.of(f"jwt,sign-method={method},priv-key={private},ttl=1m30s", clock)
    token = tokens.issue("alice", 1, 7)
    assert tokens.caller(token, 99) == Caller("alice", 7)
    head, body, signature = token.split(".")

    def part(what: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(what).encode()).rstrip(b"=").decode()

    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    for forged in (
        f"{head}.{part({**claims, 'username': 'root'})}.{signature}",
        f"{part({'alg': 'none', 'typ': 'JWT'})}.{body}.",
        f"{part({'alg': 'HS384', 'typ': 'JWT'})}.{body}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{head}.{body}.{signature[:-8]}AAAAAAAA",
        "abcdefghijklmnop.7",
        "é.é.é",
        "",
    ):
        assert tokens.caller(forged, 99) is None, forged
    clock.time_s += 89
    assert tokens.caller(token, 99) == Caller("alice", 7)
    clock.time_s += 3
    assert tokens.caller(token, 99) is None
    if not method.startswith("HS"):
        verifying = JwtTokens.of(f"jwt,sign-method={method},pub-key={public}", clock)
        assert verifying.caller(tokens.issue("bob", 1, 3), 99) == Caller("bob", 3)
        with pytest.raises(Refusal, match="verify-only key"):
            verifying.issue("bob", 1, 3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("jwt", "sign-method"),
        ("jwt,sign-method=none", "sign-method"),
        ("jwt,sign-method=HS256", "priv-key"),
        ("jwt,sign-method=ES256", "priv-key"),
        ("jwt,sign-method=ES256,priv-key=/nowhere", "/nowhere"),
        ("jwt,sign-method=ES256,priv-key=RS256", "another kind"),
        ("jwt,sign-method=ES384,priv-key=ES256", "another curve"),
        ("jwt,sign-method=RS256,priv-key=HS256", "no key in PEM"),
        ("jwt,sign-method=HS256,priv-key=HS256,ttl=soon", "ttl=soon"),
        ("jwt,sign-method=HS256,priv-key=HS256,tll=1m", "tll"),
        ("jwt,sign-method=HS256,priv-key=HS256,ttl=1m,ttl=2m", "ttl"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: str, said: str) -> None:
    """A server that starts with another kind of token than was meant is open, or shut."""
    for method in ("ES256", "RS256", "HS256"):
        private, _ = _files(tmp_path, method)
        options = options.replace(f"priv-key={method}", f"priv-key={private}")
    with pytest.raises(TokenOptionError, match=said):
        JwtTokens.of(options, VirtualClock())
