"""Passwords: kept as salted scrypt hashes, hashed and compared on a thread.

A hash names its own parameters, so that they can be raised later and old passwords still work.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import struct

_PARAMETERS = (1 << 14, 8, 1)
"""N, r, p: 16 MiB and some 50 ms a hash, where etcd's bcrypt takes about as long."""
_HEADER = struct.Struct(">IHH")
_SALT_BYTES = 16
_DIGEST_BYTES = 32
_AT_ONCE_MAX = 2
"""Hashes at a time: guessing must not take the machine from those who work."""


class Passwords:
    """Makes and compares hashes, a few at a time."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(_AT_ONCE_MAX)
        self._nobodys = _HEADER.pack(*_PARAMETERS) + bytes(_SALT_BYTES + _DIGEST_BYTES)

    async def hash(self, password: str) -> bytes:
        """A new hash of a password."""
        # Not the clock's chance: a seed must never give a secret away.
        salt = secrets.token_bytes(_SALT_BYTES)
        return _HEADER.pack(*_PARAMETERS) + salt + await self._digest(password, salt, _PARAMETERS)

    async def match(self, password: str, stored: bytes) -> bool:
        """Whether a password is the one whose hash was stored; an empty hash is nobody's, and takes as long to tell."""
        kept = stored or self._nobodys
        salt_from, digest_from = _HEADER.size, _HEADER.size + _SALT_BYTES
        found = await self._digest(password, kept[salt_from:digest_from], _HEADER.unpack_from(kept))
        return hmac.compare_digest(found, kept[digest_from:]) and bool(stored)

    async def _digest(self, password: str, salt: bytes, parameters: tuple[int, ...]) -> bytes:
        n, r, p = parameters
        async with self._turns:
            # OpenSSL lets go of the interpreter meanwhile.
            return await asyncio.to_thread(
                hashlib.scrypt, password.encode(), salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=_DIGEST_BYTES
            )
