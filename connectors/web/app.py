"""The signed-in side, first cut: connect a company, and look at what was booked.

Reads: the read tables. Calls: Intuit's sign-in. Writes: nothing of its own; `Authorizations` binds a company.
There is no sign-in of ours yet, so this process answers on this machine only: it refuses any other address.
Source: design section 6 (`web`); docs/decisions/0009 (no pages to the outside before sign-in).
"""

import ipaddress
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from connectors.config import Settings, SettingsError
from connectors.http_server import serve
from connectors.postgres import Connection, transaction
from connectors.quickbooks.oauth import AuthorisationRefused, Authorizations

PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; img-src 'self'"
)
ORGANISATION = "demo"  # until people sign in, there is one organisation
PROJECTS_MAX = 200
_TEMPLATES = Path(__file__).parent / "templates"


class System(Protocol):
    """What the pages need of the system."""

    @property
    def connections(self) -> AsyncConnectionPool[Connection]: ...
    @property
    def authorizations(self) -> Authorizations: ...


Opened = Callable[[Settings], AbstractAsyncContextManager[System]]


def create_app(settings: Settings, opened: Opened) -> Starlette:
    """The application; `opened` gives the system's parts for as long as it runs. Raises SettingsError."""
    if not ipaddress.ip_address(settings.web_host).is_loopback:
        raise SettingsError("WEB_HOST must be an address of this machine: the pages have no sign-in yet")
    templates = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
    templates.filters["money"] = _money

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with opened(settings) as system:
            app.state.system, app.state.templates = system, templates
            yield

    routes = [
        Route("/", projects),
        Route("/style.css", style),
        Route("/health", health),
        Route("/integrations/quickbooks/connect", connect),
        Route("/integrations/quickbooks/callback", callback),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def main(settings: Settings, opened: Opened) -> None:
    """Run the process until it is told to stop."""
    policy = ("content-security-policy", PAGE_POLICY)
    serve(create_app(settings, opened), settings.web_host, settings.web_port, extra_headers=[policy])


async def projects(request: Request) -> Response:
    """Every project with its figures, and what waits for a decision."""
    system: System = request.app.state.system
    async with transaction(system.connections) as connection:
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(
            "SELECT * FROM read_project_balance ORDER BY project_id, currency LIMIT %s", (PROJECTS_MAX,)
        )
        balances = await cursor.fetchall()
        await cursor.execute(
            "SELECT cause, currency, count(*) AS records, sum(amount) AS amount FROM read_waiting "
            "GROUP BY cause, currency ORDER BY cause, currency"
        )
        waiting = await cursor.fetchall()
        await cursor.execute("SELECT company_id, name, state FROM control.companies ORDER BY company_id LIMIT 50")
        companies = await cursor.fetchall()
    return _page(request, "projects.html", balances=balances, waiting=waiting, companies=companies)


async def connect(request: Request) -> Response:
    """To Intuit's sign-in."""
    system: System = request.app.state.system
    return RedirectResponse(await system.authorizations.start(ORGANISATION), status_code=303)


async def callback(request: Request) -> Response:
    """Back from Intuit's sign-in: bind the company, or say why not."""
    system: System = request.app.state.system
    query = request.query_params
    if "error" in query:
        return _page(request, "refused.html", 400, reason="The connection was not authorised in QuickBooks.")
    try:
        await system.authorizations.finish(query.get("code", ""), query.get("state", ""), query.get("realmId", ""))
    except AuthorisationRefused as refused:
        return _page(request, "refused.html", 400, reason=str(refused))
    return RedirectResponse("/", status_code=303)


async def health(request: Request) -> Response:
    """The process lives."""
    return PlainTextResponse("ok")


async def style(request: Request) -> Response:
    """The one style sheet."""
    return Response((_TEMPLATES / "style.css").read_bytes(), media_type="text/css")


def _page(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    text = request.app.state.templates.get_template(template).render(**values)
    return HTMLResponse(text, status)


def _money(amount: Decimal) -> str:
    return f"{amount:,.2f}"
