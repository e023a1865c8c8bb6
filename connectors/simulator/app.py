"""The simulator as one web application.

Reads: HTTP. Writes: HTTP; starts and stops the delivery of webhooks with itself.
Guarantees: every answer, whatever its kind, carries `intuit_tid`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connectors.simulator.api.rest import Rest, new_tid
from connectors.simulator.api.signin import SignIn
from connectors.simulator.control.books import BookControl
from connectors.simulator.control.live import LiveControl
from connectors.simulator.control.routes import Control
from connectors.simulator.control.trouble import TroubleControl
from connectors.simulator.intoaec.catalogue import Catalogue
from connectors.simulator.intoaec.projects_api import ProjectsApi
from connectors.simulator.intoaec.sign_in import Provider
from connectors.simulator.pages.changes import Changes
from connectors.simulator.pages.consent import Consent
from connectors.simulator.pages.messages import Messages
from connectors.simulator.pages.panel import Panel
from connectors.simulator.pages.projects import ProjectsPage
from connectors.simulator.pages.rendering import style_route
from connectors.simulator.pages.steering import Steering
from connectors.simulator.simulator import Simulator

if TYPE_CHECKING:
    from connectors.simulator.intoaec.topic import Announcer


def build(simulator: Simulator) -> ASGIApp:
    """The application of one simulator; its lifespan runs the courier and, where there is a broker, the announcer."""
    rest, sign_in = Rest(simulator), SignIn(simulator)
    live = LiveControl(simulator)
    catalogue = Catalogue(simulator)
    announcer = _announcer(simulator, catalogue)
    routes = [
        *_pages(simulator, catalogue),
        Route("/oauth2/v1/tokens/bearer", sign_in.token, methods=["POST"]),
        Route("/v2/oauth2/tokens/revoke", sign_in.revoke, methods=["POST"]),
        Route("/v1/openid_connect/userinfo", sign_in.userinfo, methods=["GET"]),
        Route("/op/v1/jwks", sign_in.keys, methods=["GET"]),
        Route("/.well-known/openid_configuration", sign_in.discovery, methods=["GET"]),
        Route("/.well-known/openid_sandbox_configuration", sign_in.discovery, methods=["GET"]),
        Route("/v3/company/{realm}/{rest:path}", rest.answer, methods=["GET", "POST"]),
        *TroubleControl(simulator).routes(),
        *BookControl(simulator).routes(),
        *Control(simulator).routes(),
        *_intoaec(simulator, catalogue, announcer),
        *live.routes(),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        running = [asyncio.create_task(simulator.courier.run())]
        if announcer is not None:
            running.append(asyncio.create_task(announcer.run()))
        try:
            yield
        finally:
            await live.stop()
            for one in running:
                one.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            simulator.close()

    return _with_tid(Starlette(routes=routes, lifespan=lifespan))


def _pages(simulator: Simulator, catalogue: Catalogue) -> list[Route]:
    """What a person sees."""
    messages = Messages()
    panel = Panel(simulator, messages)
    return [
        style_route(),
        *Consent(simulator).routes(),
        *panel.routes(),
        *Changes(simulator, messages).routes(),
        *Steering(messages).routes(),
        *ProjectsPage(catalogue, panel, messages).routes(),
    ]


def _intoaec(simulator: Simulator, catalogue: Catalogue, announcer: Announcer | None) -> list[Route]:
    """What is played of IntoAEC."""
    provider = Provider(simulator)
    return [*provider.routes(), *ProjectsApi(catalogue, provider, announcer).routes()]


def _announcer(simulator: Simulator, catalogue: Catalogue) -> Announcer | None:
    """What tells IntoAEC's topic of its projects, where there is a broker to tell."""
    options = simulator.options
    if not options.kafka_bootstrap:
        return None
    from connectors.simulator.intoaec.topic import Announcer  # with its driver, which most runs do without

    return Announcer(options.kafka_bootstrap, options.projects_topic, catalogue)


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
