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

from connectors.simulator.clock import RunningClock

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
    nonce: str = ""


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
    client_id: str = ""  # another application than ours, where set
    nonce: str = ""  # of the sign-in, for its id token


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
    describes_errors: bool = False  # invalid_grant comes with a description


class Authority:
    """Issues and checks tokens."""

    def __init__(self, clock: RunningClock, vault: Vault) -> None:
        self.clock = clock
        self.vault = vault
        self.settings = AuthoritySettings()
        self.codes: dict[str, Code] = {}
        self.grants: dict[str, Grant] = {}
        self._access: dict[str, Grant] = {}
        self._refresh: dict[str, Grant] = {}  # present and rotated refresh tokens
        self._refreshing: set[str] = set()

    def restore(self, grants: Iterable[Grant]) -> None:
        """Take up the grants of an earlier run."""
        for grant in grants:
            self.grants[grant.id] = grant
            self._access.update(dict.fromkeys(grant.access, grant))
            self._refresh.update(dict.fromkeys([grant.refresh_token, *grant.previous], grant))

    def issue_code(self, realm: str, redirect_uri: str, scope: str, nonce: str = "") -> str:
        """A code for the redirect; good for ten minutes and one use."""
        code = "XAB" + secrets.token_urlsafe(24)
        self.codes[code] = Code(realm, redirect_uri, scope, self.clock.now() + timedelta(seconds=CODE_S), nonce)
        return code

    def realm_of(self, *, code: str = "", refresh_token: str = "") -> str | None:
        """The company that a code or refresh token is for, alive or not."""
        if found := self.codes.get(code):
            return found.realm
        grant = self._refresh.get(refresh_token)
        return grant.realm if grant else None

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
        return self.open_grant(found.realm, found.scope, nonce=found.nonce)

    def open_grant(self, realm: str, scope: str = ACCOUNTING, *, client_id: str = "", nonce: str = "") -> Grant:
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
            client_id=client_id,
            nonce=nonce,
        )
        self.grants[grant.id] = grant
        self._refresh[grant.refresh_token] = grant
        self._add_access(grant)
        return grant

    async def refresh(self, token: str, *, rotate: bool = False, grace_s: float | None = None) -> Grant:
        """A new access token, and a new refresh token if its day is over. Raises OAuthRefused(invalid_grant).

        `rotate` changes the refresh token whatever its age; `grace_s` is how long the old one lives on then.
        """
        grant = self._holder(token)
        if grant.id in self._refreshing:
            if self.settings.revoke_on_race:
                self.revoke_grant(grant)
            raise self._refused()
        self._refreshing.add(grant.id)
        try:
            await self._take_time()
            if not self._is_alive(grant):
                raise self._refused()
            self._rotate(grant, rotate=rotate, grace_s=self.settings.old_token_grace_s if grace_s is None else grace_s)
        finally:
            self._refreshing.discard(grant.id)
        self._add_access(grant)
        return grant

    async def _take_time(self) -> None:
        until, woken = self.clock.now() + timedelta(milliseconds=self.settings.refresh_takes_ms), asyncio.Event()
        while self.clock.now() < until:
            woken.clear()
            await self.clock.sleep_until(until, woken)

    def _refused(self) -> OAuthRefused:
        return OAuthRefused("invalid_grant", description="Token invalid" if self.settings.describes_errors else None)

    def revoke(self, token: str) -> bool:
        """End the grant that an access or refresh token belongs to; False where there is none."""
        grant = self._access.get(token) or self._refresh.get(token)
        if grant is None or not self._is_alive(grant):
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

    def expire_access(self, realm: str, *, older_than_s: float = 0.0) -> int:
        """Let every access token of a company (that is so old) die now; answers how many there were."""
        now, count = self.clock.now(), 0
        youngest = now + timedelta(seconds=ACCESS_S - older_than_s)
        for grant in self.grants.values():
            if grant.realm == realm:
                dead = [token for token, dies_at in grant.access.items() if now < dies_at <= youngest]
                count += len(dead)
                grant.access.update(dict.fromkeys(dead, now))
        return count

    def is_connected(self, realm: str) -> bool:
        """Whether any grant of the company is alive."""
        return any(grant.realm == realm and self._is_alive(grant) for grant in self.grants.values())

    def connected_since(self, realm: str) -> datetime | None:
        """When the oldest grant of the company that is alive was given."""
        alive = [one for one in self.grants.values() if one.realm == realm and self._is_alive(one)]
        return min((one.hard_expires_at - timedelta(seconds=HARD_S) for one in alive), default=None)

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
        grant = self._refresh.get(token)
        if grant is None or not self._is_alive(grant):
            raise self._refused()
        if token != grant.refresh_token and grant.previous.get(token, self.clock.now()) <= self.clock.now():
            raise self._refused()
        return grant

    def _is_alive(self, grant: Grant) -> bool:
        now = self.clock.now()
        return not grant.revoked and now < grant.refresh_expires_at and now < grant.hard_expires_at

    def _rotate(self, grant: Grant, *, rotate: bool, grace_s: float) -> None:
        now = self.clock.now()
        if rotate or (now - grant.rotated_at).total_seconds() >= ROTATES_AFTER_S:
            grant.previous = {token: dies_at for token, dies_at in grant.previous.items() if dies_at > now}
            grant.previous[grant.refresh_token] = now + timedelta(seconds=grace_s)
            grant.refresh_token, grant.rotated_at = _refresh_value(), now
            self._refresh[grant.refresh_token] = grant
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
