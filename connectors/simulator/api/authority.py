"""Intuit's OAuth 2: codes, access tokens, rolling refresh tokens, and the ways they die.

Reads: the clock. Writes: grants, through `Vault`.
Guarantees: a code works once; an access token lives an hour; a refresh token's value rotates on the first refresh after
a day and the old value dies; two refreshes at once have one winner.
Source: intuit.md 2, 7.12.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from connectors.simulator.clock import Clock

ACCESS_S = 3600
REFRESH_S = 8_640_000  # 100 days, rolling
HARD_S = 157_680_000  # five years, for good
ROTATES_AFTER_S = 24 * 3600
CODE_S = 600
ACCOUNTING = "com.intuit.quickbooks.accounting"


class OAuthRefused(Exception):
    """The token endpoint says no; `error` is OAuth's word for it."""

    def __init__(self, error: str, status: int = 400, description: str | None = None) -> None:
        super().__init__(description or error)
        self.status = status
        self.body = {"error": error} | ({"error_description": description} if description else {})


@dataclass(slots=True)
class Code:
    """An authorization code on its way through the user's browser."""

    realm: str
    redirect_uri: str
    scope: str
    expires_at: datetime


@dataclass(slots=True)
class Grant:
    """One application's access to one company."""

    id: str
    realm: str
    scope: str
    refresh_token: str
    rotated_at: datetime
    refresh_expires_at: datetime
    hard_expires_at: datetime
    access: dict[str, datetime] = field(default_factory=dict)  # token -> dies at
    previous: dict[str, datetime] = field(default_factory=dict)  # old refresh token -> dies at
    revoked: bool = False


class Vault(Protocol):
    """Where grants survive a restart."""

    def keep_grant(self, grant: Grant) -> None:
        """Keep the grant as it is now."""


@dataclass(slots=True)
class AuthoritySettings:
    """What can be set about OAuth."""

    client_id: str = "simulator-client"
    client_secret: str = "simulator-secret"  # noqa: S105 - a pretend secret of a pretend Intuit
    refresh_takes_ms: int = 0  # two refreshes within this time are simultaneous
    revoke_on_race: bool = False
    old_token_grace_s: int = 0  # how long a rotated refresh token still works
    auto_consent: bool = False
    redirect_uris: list[str] = field(default_factory=list)  # registered, exactly; none: any http(s) address


class Authority:
    """Issues and checks tokens."""

    def __init__(self, clock: Clock, vault: Vault) -> None:
        self.clock = clock
        self.vault = vault
        self.settings = AuthoritySettings()
        self.codes: dict[str, Code] = {}
        self.grants: dict[str, Grant] = {}
        self._access: dict[str, Grant] = {}
        self._refreshing: set[str] = set()

    def restore(self, grants: Iterable[Grant]) -> None:
        """Take up the grants of an earlier run."""
        for grant in grants:
            self.grants[grant.id] = grant
            self._access.update(dict.fromkeys(grant.access, grant))

    def issue_code(self, realm: str, redirect_uri: str, scope: str) -> str:
        """A code for the redirect; good for ten minutes and one use."""
        code = "XAB" + secrets.token_urlsafe(24)
        self.codes[code] = Code(realm, redirect_uri, scope, self.clock.now() + timedelta(seconds=CODE_S))
        return code

    def check_client(self, client_id: str, secret: str) -> None:
        """Raise OAuthRefused(invalid_client, 401) where the pair is wrong."""
        expected = (self.settings.client_id, self.settings.client_secret)
        if not secrets.compare_digest(f"{client_id}:{secret}".encode(), ":".join(expected).encode()):
            raise OAuthRefused("invalid_client", 401)

    def exchange(self, code: str, redirect_uri: str) -> Grant:
        """Turn a code into a grant. Raises OAuthRefused(invalid_grant)."""
        found = self.codes.pop(code, None)
        if found is None or found.expires_at < self.clock.now() or found.redirect_uri != redirect_uri:
            raise OAuthRefused("invalid_grant", description="Invalid authorization code")
        return self.open_grant(found.realm, found.scope)

    def open_grant(self, realm: str, scope: str = ACCOUNTING) -> Grant:
        """A new grant with its first pair of tokens."""
        now = self.clock.now()
        grant = Grant(
            id=secrets.token_hex(8),
            realm=realm,
            scope=scope,
            refresh_token=_refresh_value(),
            rotated_at=now,
            refresh_expires_at=now + timedelta(seconds=REFRESH_S),
            hard_expires_at=now + timedelta(seconds=HARD_S),
        )
        self.grants[grant.id] = grant
        self._add_access(grant)
        return grant

    async def refresh(self, token: str) -> Grant:
        """A new access token, and a new refresh token if its day is over. Raises OAuthRefused(invalid_grant)."""
        grant = self._holder(token)
        if grant.id in self._refreshing:
            if self.settings.revoke_on_race:
                self.revoke_grant(grant)
            raise OAuthRefused("invalid_grant")
        self._refreshing.add(grant.id)
        try:
            await asyncio.sleep(self.settings.refresh_takes_ms / 1000)
            if not self._is_alive(grant):
                raise OAuthRefused("invalid_grant")
            self._rotate(grant)
        finally:
            self._refreshing.discard(grant.id)
        self._add_access(grant)
        return grant

    def revoke(self, token: str) -> bool:
        """End the grant that an access or refresh token belongs to; False where there is none."""
        grant = self._access.get(token) or next(
            (one for one in self.grants.values() if one.refresh_token == token), None
        )
        if grant is None or grant.revoked:
            return False
        self.revoke_grant(grant)
        return True

    def revoke_grant(self, grant: Grant) -> None:
        """End a grant: as a user does who disconnects the application."""
        grant.revoked = True
        for token in grant.access:
            self._access.pop(token, None)
        grant.access.clear()
        self.vault.keep_grant(grant)

    def disconnect(self, realm: str) -> int:
        """End every grant of a company; answers how many there were."""
        found = [grant for grant in self.grants.values() if grant.realm == realm and not grant.revoked]
        for grant in found:
            self.revoke_grant(grant)
        return len(found)

    def grant_of(self, access_token: str) -> Grant | None:
        """The grant of a token that is alive, else None."""
        grant = self._access.get(access_token)
        if grant is None or grant.revoked or grant.access.get(access_token, self.clock.now()) <= self.clock.now():
            return None
        return grant

    def expire_access(self, realm: str) -> int:
        """Let every access token of a company die now; answers how many there were."""
        count = 0
        for grant in self.grants.values():
            if grant.realm == realm:
                count += len(grant.access)
                grant.access = dict.fromkeys(grant.access, self.clock.now())
        return count

    def is_connected(self, realm: str) -> bool:
        """Whether any grant of the company is alive."""
        return any(grant.realm == realm and self._is_alive(grant) for grant in self.grants.values())

    def answer(self, grant: Grant, *, with_hard_expiry: bool = False) -> dict[str, Any]:
        """The token endpoint's answer for the grant's newest pair."""
        now = self.clock.now()
        body: dict[str, Any] = {
            "x_refresh_token_expires_in": int((grant.refresh_expires_at - now).total_seconds()),
            "refresh_token": grant.refresh_token,
            "access_token": list(grant.access)[-1],
            "token_type": "bearer",
            "expires_in": ACCESS_S,
        }
        if with_hard_expiry:
            body["x_refresh_token_hard_expires_in"] = max(0, int((grant.hard_expires_at - now).total_seconds()))
        return body

    def _holder(self, token: str) -> Grant:
        for grant in self.grants.values():
            current = secrets.compare_digest(grant.refresh_token, token)
            late = grant.previous.get(token)
            if (current or (late is not None and late > self.clock.now())) and self._is_alive(grant):
                return grant
        raise OAuthRefused("invalid_grant")

    def _is_alive(self, grant: Grant) -> bool:
        now = self.clock.now()
        return not grant.revoked and now < grant.refresh_expires_at and now < grant.hard_expires_at

    def _rotate(self, grant: Grant) -> None:
        now = self.clock.now()
        if (now - grant.rotated_at).total_seconds() >= ROTATES_AFTER_S:
            grant.previous = {grant.refresh_token: now + timedelta(seconds=self.settings.old_token_grace_s)}
            grant.refresh_token, grant.rotated_at = _refresh_value(), now
        grant.refresh_expires_at = min(now + timedelta(seconds=REFRESH_S), grant.hard_expires_at)

    def _add_access(self, grant: Grant) -> None:
        now = self.clock.now()
        for token in [token for token, dies_at in grant.access.items() if dies_at <= now]:
            del grant.access[token]
            self._access.pop(token, None)
        token = "eyJlbmMiOiJBMTI4Q0JDLUhTMjU2IiwiYWxnIjoiZGlyIn0.." + secrets.token_urlsafe(48)
        grant.access[token] = now + timedelta(seconds=ACCESS_S)
        self._access[token] = grant
        self.vault.keep_grant(grant)


def _refresh_value() -> str:
    return "AB" + secrets.token_urlsafe(36)
