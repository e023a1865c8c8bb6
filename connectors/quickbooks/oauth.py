"""Connect a company, and keep its grant alive: one refresher, sealed tokens, the newest stored before anyone uses it.

Reads and writes: control.authorisations, control.tokens, control.companies (state of the connection, its gap).
Publishes: CompanyFacts on company-changes, ConnectionChanged on sync-events.
Guarantees: a state is used once and within ten minutes; a company is bound only after QuickBooks has answered for it
with the new token, and never to a second organisation; of any number of processes one refreshes; nothing of an error
answer is ever stored.
Source: Intuit, OAuth 2.0 (refresh tokens rotate about daily, a second refresher can cost the grant); RFC 9700.
"""

import asyncio
import base64
import hashlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4, uuid5

import structlog
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from psycopg_pool import AsyncConnectionPool

from connectors.config import Settings
from connectors.postgres import Connection, queries, transaction
from connectors.quickbooks.answers import RECORD_ID, CompanyRead
from connectors.quickbooks.client import company_with
from connectors.quickbooks.http import HostRefused, Http, NoAnswer, Reply
from connectors.sealing import Sealer
from schemas.answers import CompanyUnreadable, Unreadable
from schemas.changes import CompanyFacts, ConnectionChanged, Envelope
from schemas.codec import Recorded
from schemas.topics import Topics
from schemas.wire import Outgoing

SCOPE = "com.intuit.quickbooks.accounting"
TOKEN_S_MAX = 8.0  # of one answer of the token endpoint: others wait for the row meanwhile
SPARE_S = 120.0  # an access token is renewed so long before its end
DISCOVERY_S = 24 * 3600.0
READABLE = ("connected", "active", "paused")
ACCESS, REFRESH = "token:access", "token:refresh"  # purposes of sealing: one column cannot stand for another
_CHANGES = UUID("c3b7b0a6-6c0e-5f43-9a3e-6a2c0a0a6d11")  # namespace of change ids
_SQL = queries("control.sql")
_log = structlog.get_logger(__name__)

Publish = Callable[[Sequence[Outgoing]], Awaitable[None]]


class AuthorisationRefused(Exception):
    """The company was not connected; the text tells the person why and what to do."""


@dataclass(frozen=True, slots=True)
class _Endpoints:
    authorise: str
    token: str


@dataclass(frozen=True, slots=True, repr=False)
class _Grant:
    """What the token endpoint gave. It has no repr, so that it cannot slip into a log."""

    access: str
    refresh: str
    access_s: float
    refresh_s: float
    hard_s: float | None


@dataclass(frozen=True, slots=True, repr=False)
class _Access:
    token: str
    good_until: float  # by the monotonic clock: other clocks may jump


class _GrantRefused(Exception):
    """invalid_grant: this refresh token is not good, or not any more."""


class Authorizations:
    """The grants of all companies; one for a process."""

    def __init__(
        self,
        settings: Settings,
        connections: AsyncConnectionPool[Connection],
        http: Http,
        sealer: Sealer,
        publish: Publish,
        topics: Topics,
    ) -> None:
        self._settings = settings
        self._connections = connections
        self._http = http
        self._sealer = sealer
        self._publish = publish
        self._topics = topics
        self._endpoints: _Endpoints | None = None
        self._endpoints_due = 0.0
        self._access: dict[str, _Access] = {}
        self._renewals: dict[str, asyncio.Task[_Access]] = {}

    async def start(self, organisation_id: str) -> str:
        """The address of Intuit's sign-in for a person of this organisation; good for one use and ten minutes.

        Raises AuthorisationRefused, TransientError.
        """
        try:
            endpoints = await self._discovered()
        except _TokenTrouble as error:
            raise AuthorisationRefused(
                "QuickBooks cannot be reached now. Please try again in a few minutes."
            ) from error
        state = secrets.token_urlsafe(32)
        async with transaction(self._connections) as connection:
            stored = {"state": _hashed(state), "organisation_id": organisation_id}
            await connection.execute(_SQL["authorisation_start"], stored)
        address: str = prepare_grant_uri(
            endpoints.authorise,
            client_id=self._settings.quickbooks_client_id,
            response_type="code",
            redirect_uri=self._settings.quickbooks_redirect_url,
            scope=SCOPE,
            state=state,
        )
        return address

    async def finish(self, code: str, state: str, realm_id: str) -> str:
        """Connect the company that a person has just authorised; returns its id.

        What the browser brought is believed only after Intuit has answered. Raises AuthorisationRefused with a text
        for that person, TransientError. Not safe twice: a state and a code are used once.
        """
        organisation_id = await self._taken(state)
        if not RECORD_ID.fullmatch(realm_id):
            raise AuthorisationRefused("QuickBooks did not say which company was chosen. Please connect again.")
        grant = await self._first_grant(code)
        try:
            company = await company_with(self._http, self._settings, realm_id, grant.access)
        except CompanyUnreadable as error:
            raise AuthorisationRefused(
                "QuickBooks did not let us read the chosen company, so nothing was connected. Please connect again."
            ) from error
        await self._bind(organisation_id, realm_id, company, grant)
        await self._publish([self.facts(realm_id, company), self._state(realm_id, "connected", "authorised")])
        return realm_id

    async def token(self, company_id: str, *, refused: str | None = None) -> str:
        """A valid access token; another one than the refused one. Raises CompanyUnreadable, TransientError.

        Of any number of callers in any number of processes one asks Intuit, the others wait for what it stores.
        """
        while True:
            known = self._access.get(company_id)
            if known is not None and known.token != refused and time.monotonic() < known.good_until:
                return known.token
            # Shielded: a caller whose time is up must not stop a refresh between Intuit's answer and its storing.
            access = await asyncio.shield(self._renewal(company_id, refused))
            if access.token != refused:
                return access.token

    async def grant_gone(self, company_id: str) -> None:
        """A person must connect this company again; told once. What changes meanwhile is a gap. Safe twice."""
        self._access.pop(company_id, None)
        async with transaction(self._connections) as connection:
            cursor = await connection.execute(_SQL["grant_gone"], {"company_id": company_id})
            changed = await cursor.fetchone()
        if changed is not None:
            _log.warning("reconnect needed", company_id=company_id)
            await self._publish([self._state(company_id, "reconnect_needed", "Intuit refused the grant")])

    def facts(self, company_id: str, company: CompanyRead) -> Outgoing:
        """CompanyFacts as they are published."""
        body: CompanyFacts = company.facts
        change_id = uuid5(_CHANGES, f"{company_id}|facts|{company.answered_at.isoformat()}")
        envelope = Envelope(
            change_id=change_id,
            company_id=company_id,
            origin="request",
            recorded_at=company.answered_at,
            correlation_id=str(change_id),
            causes=(),
        )
        return Outgoing(
            topic=self._topics.changes.name, key=company_id, value=self._topics.ids.encode(Recorded(envelope, body))
        )

    def _state(self, company_id: str, state: str, because: str) -> Outgoing:
        envelope = Envelope(
            change_id=uuid4(),
            company_id=company_id,
            origin="request",
            recorded_at=datetime.now(UTC),
            correlation_id=company_id,
            causes=(),
        )
        message = Recorded(envelope, ConnectionChanged(state=state, because=because))
        return Outgoing(topic=self._topics.sync_events.name, key=company_id, value=self._topics.ids.encode(message))

    # --- connecting ---------------------------------------------------------------------------------------------

    async def _taken(self, state: str) -> str:
        async with transaction(self._connections) as connection:
            cursor = await connection.execute(_SQL["authorisation_take"], {"state": _hashed(state)})
            row = await cursor.fetchone()
        if row is None or not row[1]:
            raise AuthorisationRefused(
                "This sign-in was used before or is older than ten minutes. Please connect again from the settings."
            )
        organisation_id: str = row[0]
        return organisation_id

    async def _first_grant(self, code: str) -> _Grant:
        try:
            return await self._asked(
                "authorization_code", code=code, redirect_uri=self._settings.quickbooks_redirect_url
            )
        except (_GrantRefused, _TokenTrouble) as error:
            raise AuthorisationRefused(
                "QuickBooks did not confirm the sign-in, so nothing was connected. Please connect again."
            ) from error

    async def _bind(self, organisation_id: str, company_id: str, company: CompanyRead, grant: _Grant) -> None:
        """All or nothing: the company belongs to the organisation and its tokens are stored, or neither."""
        await self._sealer.load([company_id])
        names = {"organisation_id": organisation_id, "company_id": company_id, "name": company.name}
        async with transaction(self._connections) as connection:
            await connection.execute(_SQL["organisation_lock"], names)
            other = await (await connection.execute(_SQL["organisation_has_other"], names)).fetchone()
            if other is not None:
                raise AuthorisationRefused(
                    "Another QuickBooks company is connected already. Disconnect it first, then connect this one."
                )
            bound = await (await connection.execute(_SQL["company_bind"], names)).fetchone()
            if bound is None:
                raise AuthorisationRefused(
                    "This QuickBooks company is connected to another organisation. It must be disconnected there first."
                )
            await self._store(connection, company_id, grant)
        self._access.pop(company_id, None)

    # --- refreshing ---------------------------------------------------------------------------------------------

    def _renewal(self, company_id: str, refused: str | None) -> "asyncio.Task[_Access]":
        """The one renewal of this company in this process; all callers wait for the same."""
        running = self._renewals.get(company_id)
        if running is None:
            running = self._renewals[company_id] = asyncio.create_task(self._renew(company_id, refused))
            running.add_done_callback(lambda task: self._forget(company_id, task))
        return running

    def _forget(self, company_id: str, task: "asyncio.Task[_Access]") -> None:
        del self._renewals[company_id]
        if not task.cancelled():
            task.exception()  # looked at here: perhaps no caller waits for it any more

    async def _renew(self, company_id: str, refused: str | None) -> _Access:
        await self._sealer.load([company_id])
        access = await self._stored(company_id, refused) or await self._refreshed(company_id, refused)
        self._access[company_id] = access
        return access

    async def _stored(self, company_id: str, refused: str | None) -> _Access | None:
        """The stored access token where it is still good; without a lock, since most callers need no more."""
        async with transaction(self._connections) as connection:
            row = await (await connection.execute(_SQL["tokens_read"], {"company_id": company_id})).fetchone()
        return self._good(company_id, row, refused)

    async def _refreshed(self, company_id: str, refused: str | None) -> _Access:
        """Refresh under the row's lock. A refused grant is read once more: somebody may have stored a newer one."""
        tried: str | None = None
        for _ in range(2):
            async with transaction(self._connections) as connection:
                row = await (await connection.execute(_SQL["tokens_lock"], {"company_id": company_id})).fetchone()
                good = self._good(company_id, row, refused)
                if good is not None:
                    return good
                assert row is not None  # `_good` refuses a company without tokens
                refresh = self._sealer.open(company_id, REFRESH, row[1]).decode()
                if refresh == tried:
                    break
                try:
                    grant = await self._renewed(company_id, refresh)
                except _GrantRefused:
                    tried = refresh
                    continue
                await self._store(connection, company_id, grant)
            return _Access(grant.access, time.monotonic() + grant.access_s - SPARE_S)
        await self.grant_gone(company_id)
        raise CompanyUnreadable(company_id, Unreadable.RECONNECT, "Intuit refused the refresh token")

    async def _renewed(self, company_id: str, refresh: str) -> _Grant:
        try:
            return await self._asked("refresh_token", refresh_token=refresh)
        except _TokenTrouble as error:
            raise CompanyUnreadable(company_id, Unreadable.TROUBLE, f"the token endpoint: {error}") from error

    def _good(self, company_id: str, row: tuple[Any, ...] | None, refused: str | None) -> _Access | None:
        """The access token of this row, None where it must be renewed. Raises CompanyUnreadable."""
        if row is None:
            raise CompanyUnreadable(company_id, Unreadable.NOT_CONNECTED, "nobody has connected it")
        sealed_access, _, left_s, state = row
        if state not in READABLE:
            why = Unreadable.RECONNECT if state == "reconnect_needed" else Unreadable.NOT_CONNECTED
            raise CompanyUnreadable(company_id, why, f"its connection is {state}")
        if left_s <= SPARE_S:
            return None
        token = self._sealer.open(company_id, ACCESS, sealed_access).decode()
        return None if token == refused else _Access(token, time.monotonic() + left_s - SPARE_S)

    async def _store(self, connection: Connection, company_id: str, grant: _Grant) -> None:
        await connection.execute(
            _SQL["tokens_store"],
            {
                "company_id": company_id,
                "access": self._sealer.seal(company_id, ACCESS, grant.access.encode()),
                "refresh": self._sealer.seal(company_id, REFRESH, grant.refresh.encode()),
                "access_s": grant.access_s,
                "refresh_s": grant.refresh_s,
                "hard_s": grant.hard_s,
            },
        )

    # --- Intuit's endpoints -------------------------------------------------------------------------------------

    async def _discovered(self) -> _Endpoints:
        """From Intuit's document, read at most daily; its addresses must be ones that the settings imply."""
        if self._endpoints is not None and time.monotonic() < self._endpoints_due:
            return self._endpoints
        try:
            reply = await self._http.send(
                "GET", self._settings.quickbooks_discovery_url, headers={"Accept": "application/json"}
            )
            document = json.loads(reply.body) if reply.status == 200 else {}
            found = _Endpoints(
                self._http.check(document["authorization_endpoint"]), self._http.check(document["token_endpoint"])
            )
        except (NoAnswer, HostRefused, ValueError, KeyError, TypeError, RecursionError) as error:
            _log.error("the discovery document cannot be used", reason=type(error).__name__)
            if self._endpoints is not None:  # yesterday's addresses are better than none
                return self._endpoints
            raise _TokenTrouble("Intuit's discovery document cannot be read") from error
        self._endpoints, self._endpoints_due = found, time.monotonic() + DISCOVERY_S
        return found

    async def _asked(self, grant_type: str, **parameters: str) -> _Grant:
        """One request of tokens. Raises _GrantRefused, _TokenTrouble; neither holds anything that Intuit said."""
        endpoints = await self._discovered()
        body: str = prepare_token_request(grant_type, "", **parameters)
        headers = {
            "Authorization": f"Basic {_basic(self._settings)}",
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
            "x-include-refresh-token-hard-expires-in": "true",
        }
        try:
            reply = await self._http.send(
                "POST", endpoints.token, headers=headers, content=body.encode(), within_s=TOKEN_S_MAX
            )
        except NoAnswer as error:
            raise _TokenTrouble("no whole answer") from error
        return _grant_of(reply)


class _TokenTrouble(Exception):
    """The token endpoint gave no tokens and did not refuse the grant either."""


def _grant_of(reply: Reply) -> _Grant:
    """Only a whole good answer is a grant; an error body is never looked into beyond its error word."""
    try:
        answer = json.loads(reply.body)
    except (ValueError, RecursionError) as error:
        raise _TokenTrouble(f"HTTP {reply.status}, not JSON, intuit_tid {reply.intuit_tid or 'none'}") from error
    if reply.status == 400 and isinstance(answer, dict) and answer.get("error") == "invalid_grant":
        raise _GrantRefused
    if reply.status != 200 or not isinstance(answer, dict):
        raise _TokenTrouble(f"HTTP {reply.status}, intuit_tid {reply.intuit_tid or 'none'}")
    return _grant_in(answer)


def _grant_in(answer: Mapping[str, Any]) -> _Grant:
    try:
        access, refresh = answer["access_token"], answer["refresh_token"]
        if not (isinstance(access, str) and isinstance(refresh, str) and access and refresh):
            raise ValueError("a token is empty")
        hard_s = answer.get("x_refresh_token_hard_expires_in")
        return _Grant(
            access=access,
            refresh=refresh,
            access_s=float(answer["expires_in"]),
            refresh_s=float(answer["x_refresh_token_expires_in"]),
            hard_s=None if hard_s is None else float(hard_s),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _TokenTrouble("HTTP 200 without the tokens") from error


def _basic(settings: Settings) -> str:
    pair = f"{settings.quickbooks_client_id}:{settings.quickbooks_client_secret.get_secret_value()}"
    return base64.b64encode(pair.encode()).decode()


def _hashed(state: str) -> str:
    """What is stored of a state: reading the table does not let anybody finish a sign-in."""
    return hashlib.sha256(state.encode()).hexdigest()
