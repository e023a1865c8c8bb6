"""Tokens over HTTP: the token endpoint, revocation and discovery; what a person sees is in pages/consent.

Reads: applications. Writes: grants.
Guarantees: a refusal at the token endpoint never carries a token.
Source: intuit.md 2, 7.12.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from connectors.simulator.api import faults
from connectors.simulator.api.authority import Grant, OAuthRefused
from connectors.simulator.api.rest import broken
from connectors.simulator.simulator import Simulator
from connectors.simulator.wire import decode

HARD_EXPIRY_HEADER = "x-include-refresh-token-hard-expires-in"


class SignIn:
    """The OAuth endpoints."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator

    async def token(self, request: Request) -> Response:
        """Codes and refresh tokens become access tokens."""
        rule = self.simulator.faults.take(None, "POST token")
        if rule is not None:
            await asyncio.sleep(120 if rule.kind == "hang" else rule.latency_ms / 1000)
        if rule is not None and rule.kind == "answer":
            found = faults.answer_for(rule, self.simulator.clock.now().isoformat(), self.simulator.clock.now())
            return Response(found.body, found.status, found.headers, found.content_type)
        try:
            self._check_client(request)
            grant = await self._granted(dict(parse_qsl((await request.body()).decode())))
        except OAuthRefused as refused:
            return JSONResponse(refused.body, refused.status)
        with_hard = request.headers.get(HARD_EXPIRY_HEADER, "").lower() == "true"
        body = self.simulator.authority.answer(grant, with_hard_expiry=with_hard)
        return broken(rule, JSONResponse(body, headers={"cache-control": "no-store"}))

    async def _granted(self, form: dict[str, str]) -> Grant:
        authority = self.simulator.authority
        if form.get("grant_type") == "authorization_code":
            return authority.exchange(form.get("code", ""), form.get("redirect_uri", ""))
        if form.get("grant_type") == "refresh_token":
            return await authority.refresh(form.get("refresh_token", ""))
        raise OAuthRefused("unsupported_grant_type")

    async def revoke(self, request: Request) -> Response:
        """End a grant by either of its tokens."""
        try:
            self._check_client(request)
            body = await request.body()
            is_json = "json" in request.headers.get("content-type", "")
            token = str(decode(body).get("token", "")) if is_json else dict(parse_qsl(body.decode())).get("token", "")
        except OAuthRefused as refused:
            return JSONResponse(refused.body, refused.status)
        except (ValueError, AttributeError):
            return JSONResponse({"error": "invalid_request"}, 400)
        if not self.simulator.authority.revoke(token):
            return JSONResponse({"error": "invalid_grant"}, 400)
        return Response(status_code=200)

    def _check_client(self, request: Request) -> None:
        header = request.headers.get("authorization", "")
        try:
            client_id, _, secret = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise OAuthRefused("invalid_client", 401) from error
        self.simulator.authority.check_client(client_id, secret)

    async def discovery(self, request: Request) -> Response:
        """The discovery document, with this simulator's own addresses."""
        here = str(request.base_url).rstrip("/")
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
