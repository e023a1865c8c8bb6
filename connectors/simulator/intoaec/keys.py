"""The key with which IntoAEC's pretend sign-in signs its tokens.

Reads and writes: the simulator's storage.
Guarantees: a key made once is kept with the rest of the storage, so that tokens outlive a restart.
Source: RFC 7517, RFC 7519; OpenID Connect Core 2.
"""

from __future__ import annotations

from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from connectors.simulator.storage import Storage

NOTE = "intoaec key"
ALGORITHM = "RS256"
BITS = 2048


class SigningKey:
    """One RSA key."""

    def __init__(self, storage: Storage) -> None:
        kept = storage.notes().get(NOTE)
        self._key = RSAKey.import_key(kept) if kept else RSAKey.generate_key(BITS, auto_kid=True)
        if not kept:
            storage.keep_note(NOTE, self._key.as_dict(private=True))

    def public(self) -> dict[str, Any]:
        """The JWK set that everybody may read."""
        return {"keys": [dict(self._key.as_dict(private=False)) | {"use": "sig", "alg": ALGORITHM}]}

    def signed(self, claims: dict[str, Any]) -> str:
        """These claims as a signed token."""
        return jwt.encode({"alg": ALGORITHM, "kid": self._key.kid}, claims, self._key)

    def claims_of(self, token: str) -> dict[str, Any] | None:
        """What a token of ours says, expired or not; None where it is not ours."""
        try:
            return dict(jwt.decode(token, self._key, algorithms=[ALGORITHM]).claims)
        except (JoseError, ValueError):
            return None
