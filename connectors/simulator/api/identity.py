"""Who signed in at Intuit: the signed id token, the keys that prove it, and the claims that a scope allows.

Reads: grants, the clock. Writes: its signing key, through `keep`, so that tokens survive a restart.
Guarantees: tokens are RS256 and can be checked with the published keys; no claim is told that no scope asks for.
Source: intuit.md 2 (OpenID scopes, issuer, jwks); claim names in camel case are from memory of Intuit's page: UNSURE.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

ID_TOKEN_S = 3600
KEY_BITS = 2048


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may sign in at Intuit."""

    sub: str
    given_name: str
    family_name: str
    email: str
    phone: str


def bookkeeper_of(realm: str, company: str) -> Person:
    """The one person of a company whom Intuit knows; always the same."""
    sub = str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://intuit.example/{realm}"))
    place = "".join(one for one in company.lower() if one.isalnum()) or "company"
    return Person(sub, "Sam", "Bookkeeper", f"sam@{place}.example", "+1 5105550142")


class Identity:
    """Signs id tokens and answers userinfo."""

    def __init__(self, kept_key: dict[str, Any] | None, keep: Callable[[dict[str, Any]], None]) -> None:
        self._kept_key = kept_key
        self._keep = keep

    @cached_property
    def key(self) -> RSAKey:
        """The signing key, made when it is needed first."""
        if self._kept_key is not None:
            return RSAKey.import_key(self._kept_key)
        key = RSAKey.generate_key(KEY_BITS, {"use": "sig", "alg": "RS256"}, auto_kid=True)
        self._keep(dict(key.as_dict(private=True)))
        return key

    def public_keys(self) -> dict[str, Any]:
        """What stands at `jwks_uri`."""
        return dict(KeySet([self.key]).as_dict(private=False))

    def id_token(self, person: Person, *, issuer: str, client_id: str, realm: str, now: datetime, nonce: str) -> str:
        """A signed statement that this person signed in; good for an hour."""
        issued = int(now.timestamp())
        claims: dict[str, Any] = {
            **{"sub": person.sub, "aud": [client_id], "realmid": realm, "iss": issuer},
            **{"auth_time": issued, "iat": issued, "exp": issued + ID_TOKEN_S},
        }
        if nonce:
            claims["nonce"] = nonce
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.key)


def userinfo(person: Person, scopes: set[str]) -> dict[str, Any]:
    """What Intuit tells of a person, by scope."""
    found: dict[str, Any] = {"sub": person.sub}
    if "email" in scopes:
        found |= {"email": person.email, "emailVerified": True}
    if "profile" in scopes:
        found |= {"givenName": person.given_name, "familyName": person.family_name}
    if "phone" in scopes:
        found |= {"phoneNumber": person.phone, "phoneNumberVerified": False}
    if "address" in scopes:
        found["address"] = {
            **{"streetAddress": "1 Builders Way", "locality": "Oakland", "region": "CA"},
            **{"postalCode": "94607", "country": "US"},
        }
    return found
