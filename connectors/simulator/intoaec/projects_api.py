"""IntoAEC's project catalogue over HTTP: what an application reads, and how a test changes it.

Reads: requests. Writes: the catalogue.
Guarantees: pages are stable while projects are declared, since new ones come last; an unchanged page answers 304 to
its ETag; an access token, where one is sent, opens only its own organisation.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connectors.simulator.intoaec.catalogue import (
    STATUSES,
    Catalogue,
    Declared,
    NotPossible,
    Organisation,
    Taken,
    Unknown,
    shown,
)
from connectors.simulator.intoaec.sign_in import Provider
from connectors.simulator.wire import decode, encode

if TYPE_CHECKING:
    from connectors.simulator.intoaec.topic import Announcer

PAGE = 100
PAGE_MAX = 1000


class ProjectsApi:
    """The catalogue's endpoints."""

    def __init__(self, catalogue: Catalogue, provider: Provider, announcer: Announcer | None) -> None:
        self.catalogue = catalogue
        self.announcer = announcer
        self.provider = provider

    def routes(self) -> list[Route]:
        """What applications read, and what tests and people change."""
        return [
            Route("/intoaec/organisations", self.organisations, methods=["GET"]),
            Route("/intoaec/organisations/{org}/projects", self.projects, methods=["GET"]),
            Route("/intoaec/organisations/{org}/projects/{id}", self.project, methods=["GET"]),
            Route("/_sim/catalogue", self.state, methods=["GET"]),
            Route("/_sim/catalogue/{org}/projects", self.declare, methods=["POST"]),
            Route("/_sim/catalogue/{org}/projects/{id}", self.change, methods=["PUT", "DELETE"]),
        ]

    async def organisations(self, request: Request) -> Response:
        """Every organisation: its id, its name, how many projects it has, its QuickBooks company."""
        access = self._access(request)
        rows = [row for row in self._rows() if access in (None, row["id"])]
        return JSONResponse({"organisations": rows})

    def _rows(self) -> list[dict[str, Any]]:
        self.catalogue.take_up()
        return [
            {
                **{"id": one.id, "name": one.name, "projects": len(one.projects)},
                "company": one.company.realm if one.company else None,
            }
            for one in self.catalogue.organisations.values()
        ]

    async def state(self, request: Request) -> Response:
        """Every organisation, and how far the topic is."""
        return JSONResponse({"organisations": self._rows(), "topic": self.announcer and self.announcer.state()})

    async def projects(self, request: Request) -> Response:
        """A page of projects in the order of their declaration: `limit`, `after` (from `next`), `status`."""
        one = self._organisation(request)
        asked = request.query_params
        limit, status = _limit(asked.get("limit", str(PAGE))), asked.get("status", "")
        if status and status not in STATUSES:
            raise HTTPException(400, f"status is {' or '.join(STATUSES)}")
        rest = [each for each in _after(one, asked.get("after", "")) if not status or each.status == status]
        page, more = rest[:limit], len(rest) > limit
        following = f"/intoaec/organisations/{one.id}/projects?limit={limit}&after={page[-1].id}" if more else None
        if following and status:
            following += f"&status={status}"
        return _tagged(request, {"projects": [shown(each) for each in page], "next": following})

    async def project(self, request: Request) -> Response:
        """One project."""
        one = self._organisation(request)
        found = one.projects.get(request.path_params["id"])
        if found is None:
            raise HTTPException(404, f"there is no project {request.path_params['id']} in {one.id}")
        return _tagged(request, shown(found))

    async def declare(self, request: Request) -> Response:
        """Declare a project: `name`, and `id` and `code` where they are not to be chosen here."""
        given = await _texts(request)
        try:
            made = self.catalogue.declare(
                request.path_params["org"],
                given.get("name", ""),
                project_id=given.get("id", ""),
                code=given.get("code", ""),
            )
        except (Unknown, NotPossible, Taken) as error:
            raise _as_http(error) from error
        return JSONResponse(shown(made), 201)

    async def change(self, request: Request) -> Response:
        """Change name, code or status; DELETE closes: IntoAEC forgets no project."""
        given = {"status": "closed"} if request.method == "DELETE" else await _texts(request)
        try:
            made = self.catalogue.change(request.path_params["org"], request.path_params["id"], given)
        except (Unknown, NotPossible, Taken) as error:
            raise _as_http(error) from error
        return JSONResponse(shown(made))

    def _organisation(self, request: Request) -> Organisation:
        access = self._access(request)
        wanted = request.path_params["org"]
        if access not in (None, wanted):
            raise HTTPException(403, "the access token is for another organisation")
        try:
            return self.catalogue.organisation(wanted)
        except Unknown as error:
            raise _as_http(error) from error

    def _access(self, request: Request) -> str | None:
        """The organisation of the token that was sent; None where none was, which a stand-in allows."""
        if "authorization" not in request.headers:
            return None
        access = self.provider.access_of(request)
        if access is None:
            headers = {"www-authenticate": 'Bearer realm="intoaec", error="invalid_token"'}
            raise HTTPException(401, "the access token is unknown or too old", headers)
        return access.member.organisation_id


def _after(organisation: Organisation, project_id: str) -> list[Declared]:
    projects = list(organisation.projects.values())
    if not project_id:
        return projects
    position = next((place for place, one in enumerate(projects) if one.id == project_id), None)
    if position is None:
        raise HTTPException(400, f"after: there is no project {project_id}")
    return projects[position + 1 :]


def _limit(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= PAGE_MAX:
        raise HTTPException(400, f"limit is a number from 1 to {PAGE_MAX}")
    return int(text)


def _tagged(request: Request, body: dict[str, Any]) -> Response:
    text = encode(body)
    tag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    if tag in known or known == ["*"]:
        return Response(status_code=304, headers=headers)
    return Response(text, 200, headers, "application/json")


async def _texts(request: Request) -> dict[str, str]:
    try:
        given = decode(await request.body() or b"{}")
    except ValueError as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from error
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise HTTPException(400, "the body is an object of texts: name, id, code, status")
    return given


def _as_http(error: Exception) -> HTTPException:
    statuses: dict[type[Exception], int] = {Unknown: 404, NotPossible: 400, Taken: 409}
    return HTTPException(statuses[type(error)], str(error))
