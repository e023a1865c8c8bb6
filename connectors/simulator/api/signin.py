"""Tokens over HTTP: the token endpoint, revocation and discovery; what a person sees is in pages/consent.

Reads: applications. Writes: grants.
Guarantees: a refusal at the token endpoint never carries a token.
Source: intuit.md 2, 7.12.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from connectors.simulator.api import faults
from connectors.simulator.api.authority import Grant, OAuthRefused
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
                "authorization_endpoint": f"{(self.simulator.options.public_url or here).rstrip('/')}/connect/oauth2",
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
