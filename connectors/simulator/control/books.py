"""What people do in QuickBooks' own pages and no API call can: projects, charges, definitions of fields, the plan.

Reads: requests under /_sim/companies/{realm}. Writes: the company's book and settings; both are kept.
Guarantees: a refused change answers 400 with Intuit's own fault, a wrong setting 400 with the reason.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connectors.simulator.api import faults
from connectors.simulator.api.company import Company
from connectors.simulator.api.rest import JSON_TYPE
from connectors.simulator.api.settings import PLANS
from connectors.simulator.books.audit import violations
from connectors.simulator.books.custom_fields import definition_from
from connectors.simulator.books.records import HIDDEN, Kind, Record, Refused
from connectors.simulator.simulator import Simulator
from connectors.simulator.wire import decode, encode


class BookControl:
    """The pages of QuickBooks that have no API."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator

    def routes(self) -> list[Route]:
        """The control API's routes for single books."""
        company = "/_sim/companies/{realm}"
        return [
            Route(f"{company}/quickbooks-projects", self.create_project, methods=["POST"]),
            Route(f"{company}/charges/{{entity}}", self.charge, methods=["POST"]),
            Route(f"{company}/enhanced-fields", self.enhanced_fields, methods=["GET", "PUT"]),
            Route(f"{company}/plan", self.plan, methods=["GET", "PUT"]),
            Route(f"{company}/multicurrency", self.multicurrency, methods=["PUT"]),
            Route(f"{company}/audit", self.audit, methods=["GET"]),
        ]

    async def create_project(self, request: Request) -> Response:
        """Make a QuickBooks project: `name`, `customer_id`; answers its `project_id`, the one ProjectRef names."""
        company, asked = self._company(request), await _asked(request)
        try:
            made = company.create_project(str(asked["name"]), str(asked["customer_id"]))
        except Refused as refused:
            return _refusal(company, refused)
        return _json({"project_id": made.fields["ProjectId"], "customer_id": made.id})

    async def charge(self, request: Request) -> Response:
        """Make a StatementCharge or ReimburseCharge: `CustomerRef`, `Amount`, `TxnDate`; answers its id."""
        company, asked = self._company(request), await _asked(request)
        kind = next((kind for kind in HIDDEN if kind.value.lower() == request.path_params["entity"].lower()), None)
        if kind is None:
            raise HTTPException(404, f"there are {', '.join(sorted(HIDDEN))}")
        try:
            return _json(_named(company.create(kind, asked)))
        except Refused as refused:
            return _refusal(company, refused)

    async def enhanced_fields(self, request: Request) -> Response:
        """See or replace the definitions: `[{"id","name","type","forms","choices"}]`, twelve at most."""
        company = self._company(request)
        if request.method == "PUT":
            try:
                company.define_fields([definition_from(one) for one in await _asked(request)])
            except (TypeError, ValueError) as error:
                raise HTTPException(400, str(error)) from error
            self.simulator.keep_company(company)
        return _json([asdict(one) for one in company.book.fields.enhanced.values()])

    async def plan(self, request: Request) -> Response:
        """See or set the plan the company pays for."""
        company = self._company(request)
        if request.method == "PUT":
            asked = (await _asked(request)).get("plan")
            if asked not in PLANS:
                raise HTTPException(400, f"plans are {', '.join(PLANS)}")
            company.plan = asked
            self.simulator.keep_company(company)
        return JSONResponse({"plan": company.plan})

    async def multicurrency(self, request: Request) -> Response:
        """Turn on several currencies, for good: nobody turns them off again (D-FX)."""
        company = self._company(request)
        company.book.multicurrency = True
        for records in company.book.records.values():
            for record in records.values():
                record.rendered = None
        self.simulator.keep_company(company)
        return JSONResponse({"multicurrency": True})

    async def audit(self, request: Request) -> Response:
        """Everything in the books that does not add up; an empty list where all is well."""
        return JSONResponse(violations(self._company(request).book))

    def _company(self, request: Request) -> Company:
        found = self.simulator.companies.get(request.path_params["realm"])
        if found is None:
            raise HTTPException(404, f"there is no company {request.path_params['realm']}")
        return found


async def _asked(request: Request) -> Any:
    try:
        return decode(await request.body() or b"{}")
    except ValueError as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from error


def _named(record: Record) -> dict[str, str]:
    return {"entity": Kind(record.kind).value, "id": record.id}


def _refusal(company: Company, refused: Refused) -> Response:
    found = faults.refusal(refused, company.renderer.answer_time(company.clock.now()))
    return Response(found.body, found.status, media_type=found.content_type)


def _json(value: Any) -> Response:
    return Response(encode(value), 200, {"content-type": JSON_TYPE})
