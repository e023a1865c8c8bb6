"""IntoAEC's sign-in as an OpenID Connect provider: what stands for it in development and in tests.

Reads: browsers and applications. Writes: codes and tokens in memory, its key in the storage.
Guarantees: a code works once, for the client, address and PKCE verifier it was made for, and using it twice ends the
token it gave; nothing is redirected to an address that was not checked; every id token names the organisation and the
roles of its member. Time is the machine's: moving the simulated clock signs nobody out.
Source: OpenID Connect Core 1.0, Discovery 1.0, RP-Initiated Logout 1.0; RFC 6749, 7636, 9207. authlib offers its
provider for Flask and Django only, so the few endpoints are written out here; the signatures are joserfc's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connectors.simulator.intoaec.keys import SigningKey
from connectors.simulator.pages.people import MEMBERS, Member, member
from connectors.simulator.pages.rendering import Session, Sessions, form_of, is_redirectable, page, redirect
from connectors.simulator.simulator import Simulator

CODE_S = 120
ID_TOKEN_S = 600
ACCESS_S = 3600
KEPT = 10_000
SCOPES = ("openid", "email", "profile")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


@dataclass(slots=True)
class ClientSettings:
    """The one application that signs people in here."""

    client_id: str = "intoaec-web"
    client_secret: str = "intoaec-web-secret"  # noqa: S105 - a pretend secret of a pretend sign-in
    redirect_uris: list[str] = field(default_factory=list)  # exactly these; none: any address of this machine


@dataclass(frozen=True, slots=True)
class Asked:
    """An authorization request whose client and address are right."""

    redirect_uri: str
    state: str | None
    given: dict[str, str]
    query: str

    @property
    def scope(self) -> str:
        """The scopes that are known here, in the order asked for."""
        return " ".join(word for word in self.given.get("scope", "").split() if word in SCOPES)


@dataclass(frozen=True, slots=True)
class Code:
    """An authorization code on its way through the browser."""

    member: Member
    asked: Asked
    signed_in_at: int
    dies_at: float


@dataclass(frozen=True, slots=True)
class Access:
    """What an access token may read."""

    member: Member
    scope: str
    dies_at: float


class Refused(Exception):
    """The token endpoint says no, in OAuth's words."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.status = status
        self.body = {"error": error, "error_description": description}


class Provider:
    """The endpoints under /intoaec."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        options = simulator.options
        self.client = ClientSettings(redirect_uris=list(options.intoaec_redirect_uris))
        self.client.client_id = options.intoaec_client_id or self.client.client_id
        self.client.client_secret = options.intoaec_client_secret or self.client.client_secret
        self.sessions = Sessions("simulator_intoaec", "/intoaec")
        self._codes: dict[str, Code] = {}
        self._spent: dict[str, str] = {}  # code -> the access token that it gave
        self._access: dict[str, Access] = {}

    def routes(self) -> list[Route]:
        """Where browsers and applications go."""
        return [
            Route("/intoaec/.well-known/openid-configuration", self.discovery, methods=["GET"]),
            Route("/intoaec/jwks", self.jwks, methods=["GET"]),
            Route("/intoaec/authorize", self.authorize, methods=["GET"]),
            Route("/intoaec/authorize", self.decide, methods=["POST"]),
            Route("/intoaec/token", self.token, methods=["POST"]),
            Route("/intoaec/userinfo", self.userinfo, methods=["GET", "POST"]),
            Route("/intoaec/logout", self.logout, methods=["GET", "POST"]),
        ]

    @cached_property
    def key(self) -> SigningKey:
        """Made, or taken from the storage, when first needed: most runs never sign anybody in."""
        return SigningKey(self.simulator.storage)

    async def discovery(self, request: Request) -> Response:
        """What this provider can do, and where."""
        issuer, browser = _issuer(request), self._for_browsers(request)
        return JSONResponse(
            {
                "issuer": issuer,
                "authorization_endpoint": f"{browser}/authorize",
                "token_endpoint": f"{issuer}/token",
                "userinfo_endpoint": f"{issuer}/userinfo",
                "jwks_uri": f"{issuer}/jwks",
                "end_session_endpoint": f"{browser}/logout",
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": ["authorization_code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": list(SCOPES),
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "code_challenge_methods_supported": ["S256"],
                "claims_supported": ["sub", "email", "email_verified", "name", "org_id", "roles", "nonce"],
                "prompt_values_supported": ["none", "login", "select_account"],
                "authorization_response_iss_parameter_supported": True,
            }
        )

    def _for_browsers(self, request: Request) -> str:
        public = self.simulator.options.public_url
        return f"{public.rstrip('/')}/intoaec" if public else _issuer(request)

    async def jwks(self, request: Request) -> Response:
        """The public key."""
        return JSONResponse(self.key.public())

    # ---- the browser ---------------------------------------------------------------------------------------------

    async def authorize(self, request: Request) -> Response:
        """Ask who it is, or go on at once where the browser is signed in already."""
        asked = self._asked(request)
        if asked is None:
            return _wrong()
        if refused := _refusal(asked):
            return self._refused(request, asked, *refused)
        session = self.sessions.of(request)
        who = member(session.email)
        if asked.given.get("auto") == "1" and (hinted := member(asked.given.get("login_hint"))):
            return self._signed_in(request, asked, hinted, int(time.time()))
        if who is not None and not _must_sign_in(asked, session):
            return self._signed_in(request, asked, who, session.signed_in_at)
        if asked.given.get("prompt") == "none":
            return self._refused(request, asked, "login_required", "nobody is signed in")
        email = asked.given.get("login_hint", "")
        return self.sessions.remember(self._sign_in_page(asked, session, email=email), session)

    async def decide(self, request: Request) -> Response:
        """Somebody typed a password, or cancelled."""
        asked, session = self._asked(request), self.sessions.of(request)
        if asked is None:
            return _wrong()
        if refused := _refusal(asked):
            return self._refused(request, asked, *refused)
        form = await form_of(request, session.id)
        if form is None:
            expired = "This page was too old to be used. Please sign in again."
            return self.sessions.remember(self._sign_in_page(asked, session, 403, trouble=expired), session)
        if form.get("step") != "sign-in":
            return self._refused(request, asked, "access_denied", "the person cancelled")
        who = member(form.get("email"), form.get("password", ""))
        if who is None:
            wrong = "The e-mail address or the password is not right. The simulator's users are listed below."
            again = self._sign_in_page(asked, session, 401, trouble=wrong, email=form.get("email", ""))
            return self.sessions.remember(again, session)
        fresh = self.sessions.sign_in(session, who.email)
        return self.sessions.remember(self._signed_in(request, asked, who, fresh.signed_in_at), fresh)

    def _signed_in(self, request: Request, asked: Asked, who: Member, signed_in_at: int) -> Response:
        code = secrets.token_urlsafe(32)
        self._codes[code] = Code(who, asked, signed_in_at, time.time() + CODE_S)
        _keep_newest(self._codes)
        return redirect(asked.redirect_uri, {"code": code, "state": asked.state, "iss": _issuer(request)})

    def _refused(self, request: Request, asked: Asked, error: str, description: str) -> Response:
        told: dict[str, str | None] = {"error": error, "error_description": description, "state": asked.state}
        return redirect(asked.redirect_uri, told | {"iss": _issuer(request)})

    def _asked(self, request: Request) -> Asked | None:
        """None where the client or its address is wrong: nobody is sent there."""
        pairs = request.query_params.multi_items()
        given = dict(pairs)
        address = given.get("redirect_uri", "")
        is_right = given.get("client_id") == self.client.client_id and self._is_registered(address)
        if not is_right or len(given) != len(pairs):
            return None
        return Asked(address, given.get("state"), given, urlencode(pairs))

    def _is_registered(self, address: str) -> bool:
        if not is_redirectable(address):
            return False
        registered = self.client.redirect_uris
        return address in registered if registered else urlsplit(address).hostname in LOOPBACK

    def _sign_in_page(
        self, asked: Asked, session: Session, status: int = 200, *, trouble: str = "", email: str = ""
    ) -> Response:
        here = {"path": f"/intoaec/authorize?{asked.query}", "form_token": session.form_token}
        values = {"trouble": trouble, "email": email, "users": MEMBERS}
        return page("intoaec-sign-in.html", status, leads_to=asked.redirect_uri, **here, **values)

    # ---- the application -----------------------------------------------------------------------------------------

    async def token(self, request: Request) -> Response:
        """A code and its verifier become an id token and an access token."""
        try:
            form = _only_once(parse_qsl((await request.body()).decode(), keep_blank_values=True))
            self._check_client(request, form)
            if form.get("grant_type") != "authorization_code":
                raise Refused("unsupported_grant_type", "only authorization_code is")
            code = self._redeemed(form)
        except UnicodeDecodeError:
            return JSONResponse({"error": "invalid_request"}, 400, NO_STORE)
        except Refused as refused:
            challenge = {"www-authenticate": 'Basic realm="intoaec"'} if refused.status == 401 else {}
            return JSONResponse(refused.body, refused.status, NO_STORE | challenge)
        return JSONResponse(self._granted(request, code, form["code"]), headers=NO_STORE)

    def _check_client(self, request: Request, form: dict[str, str]) -> None:
        given = [(form.get("client_id", ""), form.get("client_secret", ""))]
        header = request.headers.get("authorization", "")
        if header.lower().startswith("basic "):
            try:
                client_id, _, secret = base64.b64decode(header[6:], validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError) as error:
                raise Refused("invalid_client", "the credentials cannot be read", 401) from error
            # RFC 6749 2.3.1 wants them encoded; many clients, authlib's among them, send them as they are.
            given = [(client_id, secret), (unquote_plus(client_id), unquote_plus(secret))]
        expected = "\n".join((self.client.client_id, self.client.client_secret)).encode()
        if not any(hmac.compare_digest("\n".join(pair).encode(), expected) for pair in given):
            raise Refused("invalid_client", "unknown client or wrong secret", 401)

    def _redeemed(self, form: dict[str, str]) -> Code:
        """The code's one use. Raises Refused(invalid_grant); a second use ends what the first one gave."""
        text = form.get("code", "")
        if text in self._spent:
            self._access.pop(self._spent[text], None)
            raise Refused("invalid_grant", "the code was used before")
        code = self._codes.pop(text, None)
        if code is None or code.dies_at < time.time():
            raise Refused("invalid_grant", "the code is unknown or too old")
        if form.get("redirect_uri") != code.asked.redirect_uri:
            raise Refused("invalid_grant", "redirect_uri is not the one of the authorization request")
        verifier = form.get("code_verifier", "")
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        if not _VERIFIER.fullmatch(verifier) or not hmac.compare_digest(digest, code.asked.given["code_challenge"]):
            raise Refused("invalid_grant", "code_verifier does not fit the code_challenge")
        return code

    def _granted(self, request: Request, code: Code, text: str) -> dict[str, Any]:
        access = secrets.token_urlsafe(32)
        self._access[access] = Access(code.member, code.asked.scope, time.time() + ACCESS_S)
        self._spent[text] = access
        _keep_newest(self._access)
        _keep_newest(self._spent)
        now = int(time.time())
        half = hashlib.sha256(access.encode()).digest()[:16]
        claims: dict[str, Any] = {
            **{"iss": _issuer(request), "aud": self.client.client_id, "iat": now, "exp": now + ID_TOKEN_S},
            **{"auth_time": code.signed_in_at, "at_hash": base64.urlsafe_b64encode(half).decode().rstrip("=")},
            **_claims(code.member, code.asked.scope),
        }
        if nonce := code.asked.given.get("nonce"):
            claims["nonce"] = nonce
        answer = {"access_token": access, "token_type": "Bearer", "expires_in": ACCESS_S, "scope": code.asked.scope}
        return answer | {"id_token": self.key.signed(claims)}

    async def userinfo(self, request: Request) -> Response:
        """What the access token's member may be known by."""
        access = self.access_of(request)
        if access is None:
            challenge = {"www-authenticate": 'Bearer realm="intoaec", error="invalid_token"'}
            return JSONResponse({"error": "invalid_token"}, 401, NO_STORE | challenge)
        return JSONResponse(_claims(access.member, access.scope), headers=NO_STORE)

    def access_of(self, request: Request) -> Access | None:
        """The access token that a request brings along, while it lives."""
        header = request.headers.get("authorization", "")
        access = self._access.get(header[7:]) if header.lower().startswith("bearer ") else None
        return access if access is not None and access.dies_at > time.time() else None

    # ---- the end -------------------------------------------------------------------------------------------------

    async def logout(self, request: Request) -> Response:
        """Sign out: at once where the application shows whom it means by an id token, else after asking."""
        session = self.sessions.of(request)
        asked = dict(request.query_params)
        is_confirmed = False
        if request.method == "POST":
            form = await form_of(request, session.id)
            is_confirmed = form is not None
            asked |= form or dict(parse_qsl((await request.body()).decode(errors="replace")))
        who, hint = member(session.email), self._hinted(asked)
        if who is not None and not is_confirmed and (hint is None or hint.get("sub") != who.sub):
            values: dict[str, Any] = {
                "who": who,
                "form_token": session.form_token,
                "path": f"/intoaec/logout?{request.url.query}",
            }
            return self.sessions.remember(page("intoaec-sign-out.html", **values), session)
        self.sessions.end(session)
        address = asked.get("post_logout_redirect_uri", "")
        if address and self._is_ours(address):
            return redirect(address, {"state": asked.get("state")})
        return page("intoaec-signed-out.html")

    def _hinted(self, asked: dict[str, str]) -> dict[str, Any] | None:
        claims = self.key.claims_of(asked["id_token_hint"]) if asked.get("id_token_hint") else None
        return claims if claims and claims.get("aud") == self.client.client_id else None

    def _is_ours(self, address: str) -> bool:
        """After signing out people may go anywhere on the hosts at which the application is registered."""
        if not self.client.redirect_uris or not is_redirectable(address):
            return self._is_registered(address)
        return any(urlsplit(address)[:2] == urlsplit(one)[:2] for one in self.client.redirect_uris)


def _issuer(request: Request) -> str:
    return f"{str(request.base_url).rstrip('/')}/intoaec"


def _wrong() -> Response:
    return page("intoaec-wrong.html", 400)


def _refusal(asked: Asked) -> tuple[str, str] | None:
    """What the application is told at its own address; None where the request is right."""
    given = asked.given
    if given.get("response_type") != "code":
        return "unsupported_response_type", "only code is"
    if "openid" not in asked.scope.split():
        return "invalid_scope", "openid must be among the scopes"
    if given.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(given.get("code_challenge", "")):
        return "invalid_request", "a code_challenge with the method S256 is required"
    return None


def _must_sign_in(asked: Asked, session: Session) -> bool:
    """Whether the application wants a fresh sign-in."""
    age_max = asked.given.get("max_age", "")
    is_old = age_max.isdigit() and time.time() - session.signed_in_at > int(age_max)
    return is_old or asked.given.get("prompt") in ("login", "select_account")


def _claims(who: Member, scope: str) -> dict[str, Any]:
    words = scope.split()
    return {
        "sub": who.sub,
        **({"email": who.email, "email_verified": True} if "email" in words else {}),
        **({"name": who.name} if "profile" in words else {}),
        **{"org_id": who.organisation_id, "roles": list(who.roles)},
    }


def _only_once(pairs: list[tuple[str, str]]) -> dict[str, str]:
    form = dict(pairs)
    if len(form) != len(pairs):
        raise Refused("invalid_request", "a parameter was given twice")
    return form


def _keep_newest(kept: dict[str, Any]) -> None:
    while len(kept) > KEPT:
        kept.pop(next(iter(kept)))
