"""Sign-in and tokens over HTTP: the consent page, the token endpoint, revocation and discovery.

Reads: browsers and applications. Writes: codes and grants.
Guarantees: the redirect carries code, state and realmId; a refusal at the token endpoint never carries a token.
Source: intuit.md 2, 7.12.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from html import escape
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from connectors.simulator.api import faults
from connectors.simulator.api.authority import ACCOUNTING, Grant, OAuthRefused
from connectors.simulator.api.breakage import broken, instead
from connectors.simulator.api.identity import Person, bookkeeper_of, userinfo
from connectors.simulator.api.rest import end_tokens, waited
from connectors.simulator.api.trouble import FaultRule
from connectors.simulator.simulator import Simulator
from connectors.simulator.wire import decode

NOT_FOR_TOKENS = frozenset({"missing", "wrong_id", "wrong_company", "false_delete"})
HARD_EXPIRY_HEADER = "x-include-refresh-token-hard-expires-in"


class SignIn:
    """The OAuth endpoints."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator

    async def authorize(self, request: Request) -> Response:
        """Ask the user, or answer at once where consent is automatic."""
        asked = request.query_params
        if asked.get("client_id") != self.simulator.authority.settings.client_id or not asked.get("redirect_uri"):
            return HTMLResponse(
                _page(
                    "Something went wrong",
                    "<p>Sorry, but the app you are trying to connect did not answer as expected.</p>",
                ),
                400,
            )
        if asked.get("auto") == "1" or self.simulator.authority.settings.auto_consent:
            realm = asked.get("realmId") or next(iter(self.simulator.companies))
            return self._consented(realm, dict(asked))
        return HTMLResponse(self._consent_page(dict(asked)))

    async def decide(self, request: Request) -> Response:
        """The user pressed Authorize or Cancel."""
        form = dict(parse_qsl((await request.body()).decode()))
        if form.get("decision") != "authorize":
            return RedirectResponse(
                _with(form["redirect_uri"], {"error": "access_denied", "state": form.get("state", "")}), 302
            )
        return self._consented(form["realm"], form)

    def _consented(self, realm: str, asked: dict[str, str]) -> Response:
        if realm not in self.simulator.companies:
            return HTMLResponse(_page("Something went wrong", "<p>There is no such company.</p>"), 400)
        scope, nonce, redirect_uri = asked.get("scope") or ACCOUNTING, asked.get("nonce", ""), asked["redirect_uri"]
        code = self.simulator.authority.issue_code(realm, redirect_uri, scope, nonce)
        brought = {"code": code, "state": asked.get("state", ""), "realmId": realm}
        return RedirectResponse(_with(redirect_uri, brought), 302)

    def _consent_page(self, asked: dict[str, str]) -> str:
        options = "".join(
            f'<label class="choice"><input type="radio" name="realm" value="{realm}"'
            f"{' checked' if position == 0 else ''}> {escape(company.name)} <small>{realm}</small></label>"
            for position, (realm, company) in enumerate(self.simulator.companies.items())
        )
        hidden = "".join(
            f'<input type="hidden" name="{key}" value="{escape(asked.get(key, ""), quote=True)}">'
            for key in ("redirect_uri", "state", "scope", "nonce")
        )
        body = (
            "<p>IntoAEC would like to read and write the accounting records of one of your companies.</p>"
            f'<form method="post" action="/connect/oauth2">{hidden}'
            f"<fieldset><legend>Choose a company</legend>{options}</fieldset>"
            '<button name="decision" value="authorize" class="primary">Authorize</button> '
            '<button name="decision" value="cancel">Cancel</button></form>'
        )
        return _page("Connect IntoAEC to QuickBooks", body)

    async def token(self, request: Request) -> Response:
        """Codes and refresh tokens become access tokens."""
        form = dict(parse_qsl((await request.body()).decode(errors="replace")))
        authority = self.simulator.authority
        realm = authority.realm_of(code=form.get("code", ""), refresh_token=form.get("refresh_token", ""))
        rule = self.simulator.faults.take(realm, "POST token", without=NOT_FOR_TOKENS)
        early = await self._early(rule, realm)
        if early is not None:
            return early
        try:
            client_id = self._check_client(request, form)
            grant = await self._granted(form, rule)
        except OAuthRefused as refused:
            return JSONResponse(refused.body, refused.status, {"cache-control": "no-store"})
        with_hard = request.headers.get(HARD_EXPIRY_HEADER, "").lower() == "true"
        body = authority.answer(grant, with_hard_expiry=with_hard) | self._id_token(request, grant, client_id)
        return broken(rule, JSONResponse(body, headers={"cache-control": "no-store"}))

    async def _early(self, rule: FaultRule | None, realm: str | None) -> Response | None:
        """What a rule answers instead of a token, after the time that it takes."""
        if rule is None:
            return None
        clock = self.simulator.clock
        gave_up = not await waited(self.simulator, rule)
        if gave_up or rule.kind == "answer":
            status, body = (504, "json") if gave_up else (rule.status, rule.body)
            found = faults.token_answer_for(status, body, rule.retry_after, clock.now().isoformat(), clock.now())
            return Response(found.body, found.status, found.headers, found.content_type)
        if realm is not None:
            end_tokens(self.simulator, rule, realm)
        return instead(rule)

    async def _granted(self, form: dict[str, str], rule: FaultRule | None) -> Grant:
        authority = self.simulator.authority
        if form.get("grant_type") == "authorization_code":
            return authority.exchange(form.get("code", ""), form.get("redirect_uri", ""))
        if form.get("grant_type") == "refresh_token":
            rotate = rule is not None and (rule.rotate or rule.kind == "rotate")
            grace_s = rule.whole_seconds if rule is not None and rule.kind == "lost" else None
            return await authority.refresh(form.get("refresh_token", ""), rotate=rotate, grace_s=grace_s or None)
        raise OAuthRefused("unsupported_grant_type")

    def _id_token(self, request: Request, grant: Grant, client_id: str) -> dict[str, str]:
        """The signed proof of who signed in, for whoever asked for `openid`."""
        if "openid" not in grant.scope.split():
            return {}
        signed = self.simulator.identity.id_token(
            self._person(grant.realm),
            issuer=f"{_here(request)}/op/v1",
            client_id=client_id,
            realm=grant.realm,
            now=self.simulator.clock.now(),
            nonce=grant.nonce,
        )
        return {"id_token": signed}

    def _person(self, realm: str) -> Person:
        return bookkeeper_of(realm, self.simulator.companies[realm].name)

    async def _with_faults(self, route: str, realm: str | None, do: Callable[[], Response]) -> Response:
        """The answer of a route, spoilt where a rule says so."""
        rule = self.simulator.faults.take(realm, route, without=NOT_FOR_TOKENS)
        early = await self._early(rule, realm)
        return broken(rule, do()) if early is None else early

    async def userinfo(self, request: Request) -> Response:
        """Who signed in, as far as the scopes of the token allow."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        grant = self.simulator.authority.grant_of(token)
        realm = grant.realm if grant else None
        return await self._with_faults("GET userinfo", realm, lambda: self._userinfo(grant, token))

    def _userinfo(self, grant: Grant | None, token: str) -> Response:
        scopes = set(grant.scope.split()) if grant else set()
        if grant is None or "openid" not in scopes:
            found = faults.unauthenticated(token, self.simulator.clock.now())
            return Response(found.body, found.status, found.headers, found.content_type)
        return JSONResponse(userinfo(self._person(grant.realm), scopes), headers={"cache-control": "no-store"})

    async def keys(self, request: Request) -> Response:
        """The keys that id tokens are signed with."""
        return await self._with_faults("GET jwks", None, lambda: JSONResponse(self.simulator.identity.public_keys()))

    async def revoke(self, request: Request) -> Response:
        """End a grant by either of its tokens."""
        try:
            body = await request.body()
            self._check_client(request, dict(parse_qsl(body.decode(errors="replace"))))
            is_json = "json" in request.headers.get("content-type", "")
            token = str(decode(body).get("token", "")) if is_json else dict(parse_qsl(body.decode())).get("token", "")
        except OAuthRefused as refused:
            return JSONResponse(refused.body, refused.status)
        except (ValueError, AttributeError):
            return JSONResponse({"error": "invalid_request"}, 400)
        realm = self.simulator.authority.realm_of(refresh_token=token)
        return await self._with_faults("POST revoke", realm, lambda: self._revoked(token))

    def _revoked(self, token: str) -> Response:
        if not self.simulator.authority.revoke(token):
            return JSONResponse({"error": "invalid_grant"}, 400)
        return Response(status_code=200)

    def _check_client(self, request: Request, form: dict[str, str]) -> str:
        """The application that asks, by HTTP Basic or in the form. Raises OAuthRefused(invalid_client)."""
        header = request.headers.get("authorization", "")
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        if header:
            try:
                client_id, _, secret = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError) as error:
                raise OAuthRefused("invalid_client", 401) from error
        self.simulator.authority.check_client(client_id, secret)
        return client_id

    async def discovery(self, request: Request) -> Response:
        """The discovery document, with this simulator's own addresses."""
        return await self._with_faults("GET discovery", None, lambda: self._discovery(_here(request)))

    def _discovery(self, here: str) -> Response:
        return JSONResponse(
            {
                "issuer": f"{here}/op/v1",
                "authorization_endpoint": f"{here}/connect/oauth2",
                "token_endpoint": f"{here}/oauth2/v1/tokens/bearer",
                "userinfo_endpoint": f"{here}/v1/openid_connect/userinfo",
                "revocation_endpoint": f"{here}/v2/oauth2/tokens/revoke",
                "jwks_uri": f"{here}/op/v1/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": ["openid", "email", "profile", "address", "phone"],
                "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
                "claims_supported": ["aud", "exp", "iat", "iss", "realmid", "sub"],
            }
        )


def _here(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _with(address: str, parameters: dict[str, str]) -> str:
    parts = urlsplit(address)
    return urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, urlencode(parameters)]))))


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )


STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;background:#f4f5f8;color:#21262a;margin:0}"
    "main{max-width:32rem;margin:4rem auto;background:#fff;padding:2rem;border-radius:8px;box-shadow:0 1px 4px #0002}"
    "h1{font-size:1.4rem;margin-top:0}fieldset{border:1px solid #d4d7dc;border-radius:6px;margin:1rem 0}"
    ".choice{display:block;padding:.4rem 0}small{color:#6b6c72}"
    "button{font:inherit;padding:.5rem 1.2rem;border-radius:4px;border:1px solid #6b6c72;background:#fff}"
    ".primary{background:#2ca01c;border-color:#2ca01c;color:#fff}"
)
