"""The simulator as one web application.

Reads: HTTP. Writes: HTTP; starts and stops the delivery of webhooks with itself.
Guarantees: every answer, whatever its kind, carries `intuit_tid`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connectors.simulator.api.rest import Rest, new_tid
from connectors.simulator.api.signin import SignIn
from connectors.simulator.control.books import BookControl
from connectors.simulator.control.live import LiveControl
from connectors.simulator.control.page import Page
from connectors.simulator.control.routes import Control
from connectors.simulator.simulator import Simulator


def build(simulator: Simulator) -> ASGIApp:
    """The application of one simulator; its lifespan runs the courier."""
    rest, sign_in, page = Rest(simulator), SignIn(simulator), Page(simulator)
    live = LiveControl(simulator)
    routes = [
        Route("/connect/oauth2", sign_in.authorize, methods=["GET"]),
        Route("/connect/oauth2", sign_in.decide, methods=["POST"]),
        Route("/oauth2/v1/tokens/bearer", sign_in.token, methods=["POST"]),
        Route("/v2/oauth2/tokens/revoke", sign_in.revoke, methods=["POST"]),
        Route("/.well-known/openid_configuration", sign_in.discovery, methods=["GET"]),
        Route("/.well-known/openid_sandbox_configuration", sign_in.discovery, methods=["GET"]),
        Route("/v3/company/{realm}/{rest:path}", rest.answer, methods=["GET", "POST"]),
        Route("/_sim", page.show, methods=["GET"]),
        *BookControl(simulator).routes(),
        *Control(simulator).routes(),
        *live.routes(),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        courier = asyncio.create_task(simulator.courier.run())
        try:
            yield
        finally:
            await live.stop()
            courier.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await courier
            simulator.close()

    return _with_tid(Starlette(routes=routes, lifespan=lifespan))


def _with_tid(app: ASGIApp) -> ASGIApp:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return

        async def send_with_tid(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"intuit_tid", new_tid().encode())]
            await send(message)

        await app(scope, receive, send_with_tid)

    return wrapped
