"""JSON Web Tokens instead of simple ones: signed by a key that several servers may share, and good after a restart.

A token names the user and the revision of users and roles at which it was given out: after any change to those it is too
old for keys, and its owner authenticates again. Options and claims are etcd's, so tokens of either are good on the other:
`--auth-token jwt,priv-key=FILE,pub-key=FILE,sign-method=ES256,ttl=5m`.

Source: RFC 7519; etcd server/auth/jwt.go, server/auth/options.go
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from reconcile.clock import Clock

from . import errors
from .errors import TokenOptionError
from .tokens import Caller

_METHODS = re.compile(r"(HS|RS|PS|ES)(256|384|512)")
_HASHES: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES = {"256": ec.SECP256R1, "384": ec.SECP384R1, "512": ec.SECP521R1}
_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_TTL_S = 300.0
_Key = Any
"""An RSA or EC key, private or public, or bytes: cryptography has no name for all of them."""


class JwtTokens:
    """Signs and reads tokens with one method. Implements `tokens.Tokens`."""

    def __init__(self, clock: Clock, method: str, private: _Key | None, public: _Key, ttl_s: float) -> None:
        self._clock = clock
        self._method = method
        self._private, self._public = private, public
        self._ttl_s = ttl_s

    @classmethod
    def of(cls, options: str, clock: Clock) -> JwtTokens:
        """The tokens that etcd's `--auth-token jwt,...` asks for.

        Raises:
            TokenOptionError: an option is unknown, missing or wrong.
        """
        found: dict[str, str] = {}
        for option in options.split(",")[1:]:
            name, equals, value = option.partition("=")
            if not equals or name in found or name not in ("sign-method", "priv-key", "pub-key", "ttl"):
                raise TokenOptionError(option, "give each of sign-method, priv-key, pub-key and ttl once at most, as name=value")
            found[name] = value
        method = found.get("sign-method", "")
        if not _METHODS.fullmatch(method):
            raise TokenOptionError(f"sign-method={method}", "give one of HS, RS, PS or ES with 256, 384 or 512")
        private, public = _keys(method, found.get("priv-key"), found.get("pub-key"))
        return cls(clock, method, private, public, _seconds(found["ttl"]) if "ttl" in found else _TTL_S)

    def issue(self, user: str, index: int, revision: int) -> str:
        """A new token for a user.

        Raises:
            Refusal: there is only the public key, which cannot sign.
        """
        if self._private is None:
            raise errors.verify_only()
        claims = {"exp": int(self._clock.now() + self._ttl_s), "revision": revision, "username": user}
        signed = b".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": self._method, "typ": "JWT"}, claims))
        return (signed + b"." + _encoded(_signature(self._method, self._private, signed))).decode()

    def caller(self, token: str, revision: int) -> Caller | None:
        """Whose token it is, and of which revision; None when it is not signed so, or over."""
        try:
            head, body, signature = token.encode().split(b".")
            # What the token says of its method is not believed, but must be true: "none" is the classic way in.
            if json.loads(_decoded(head))["alg"] != self._method or not _is_signed(
                self._method, self._public, head + b"." + body, _decoded(signature)
            ):
                return None
            claims = json.loads(_decoded(body))
            if self._clock.now() > claims["exp"] or not isinstance(claims["username"], str):
                return None
            return Caller(claims["username"], int(claims["revision"]))
        except (ValueError, KeyError, TypeError, binascii.Error):
            return None

    def forget(self, user: str | None = None) -> None:
        """Nothing is kept: a change of users makes tokens too old for keys, and time ends them."""


def _keys(method: str, private_file: str | None, public_file: str | None) -> tuple[_Key | None, _Key]:
    if method.startswith("HS"):
        if not private_file:
            raise TokenOptionError("priv-key", f"{method} signs with the content of a file: name it")
        secret = _read(private_file)
        return secret, secret
    kind = (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey) if method[0] == "E" else (rsa.RSAPrivateKey, rsa.RSAPublicKey)
    private = public = None
    try:
        if private_file:
            private = serialization.load_pem_private_key(_read(private_file), None)
        if public_file:
            public = serialization.load_pem_public_key(_read(public_file))
    except (ValueError, TypeError) as error:
        raise TokenOptionError("priv-key or pub-key", f"this is no key in PEM: {error}") from error
    if private is None and public is None:
        raise TokenOptionError("priv-key", f"{method} needs a key: name its file, or that of its public key to verify only")
    for key, wanted in ((private, kind[0]), (public, kind[1])):
        if key is not None and not isinstance(key, wanted):
            raise TokenOptionError(f"sign-method={method}", "the key is of another kind")
    if method[0] == "E" and not isinstance((private or public).curve, _CURVES[method[2:]]):  # type: ignore[union-attr]  # an EC key
        raise TokenOptionError(f"sign-method={method}", "the key is of another curve")
    if private is not None and public is not None and private.public_key() != public:
        raise TokenOptionError("pub-key", "it is not the private key's")
    return private, public if public is not None else private.public_key()  # type: ignore[union-attr]  # one of both is there


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise TokenOptionError(file, (error.strerror or str(error)).lower()) from error


def _seconds(text: str) -> float:
    """A duration as Go writes it: 5m, 1h30m, 90s."""
    parts = re.findall(r"([0-9.]+)(ms|h|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise TokenOptionError(f"ttl={text}", "give a time like 5m or 1h30m")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def _padding(method: str) -> Any:  # Any: one of two kinds
    if method.startswith("RS"):
        return padding.PKCS1v15()
    return padding.PSS(padding.MGF1(_HASHES[method[2:]]), padding.PSS.DIGEST_LENGTH)


def _signature(method: str, key: _Key, signed: bytes) -> bytes:
    digest = _HASHES[method[2:]]
    if method.startswith("HS"):
        return hmac.digest(key, signed, f"sha{method[2:]}")
    if method.startswith("ES"):
        size = (key.key_size + 7) // 8
        return b"".join(number.to_bytes(size, "big") for number in decode_dss_signature(key.sign(signed, ec.ECDSA(digest))))
    signature: bytes = key.sign(signed, _padding(method), digest)
    return signature


def _is_signed(method: str, key: _Key, signed: bytes, signature: bytes) -> bool:
    digest = _HASHES[method[2:]]
    if method.startswith("HS"):
        return hmac.compare_digest(signature, hmac.new(key, signed, getattr(hashlib, f"sha{method[2:]}")).digest())
    try:
        if method.startswith("ES"):
            half = (key.key_size + 7) // 8
            if len(signature) != 2 * half:
                return False
            numbers = (int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))
            key.verify(encode_dss_signature(*numbers), signed, ec.ECDSA(digest))
        else:
            key.verify(signature, signed, _padding(method), digest)
    except InvalidSignature:
        return False
    return True


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decoded(text: bytes) -> bytes:
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
