"""The control API under /_sim: make changes, read the truth, set faults, count calls, move the clock.

Reads: requests of tests, benchmarks and people; no token is needed. Writes: everything in the simulator.
Guarantees: amounts are text to the cent; a refused change answers 400 with Intuit's own fault.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connectors.simulator.api import faults, query
from connectors.simulator.api.authority import ACCOUNTING
from connectors.simulator.api.company import Company
from connectors.simulator.api.faults import FaultRule
from connectors.simulator.api.rest import JSON_TYPE
from connectors.simulator.books.notes import Note, Why
from connectors.simulator.books.records import Kind, Refused
from connectors.simulator.life.happenings import Life
from connectors.simulator.life.truth import truth
from connectors.simulator.simulator import Simulator, apply_settings
from connectors.simulator.wire import RawJson, decode, encode

Handler = Callable[[Request], Awaitable[Response]]


class Control:
    """Everything under /_sim but the page."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self._lives: dict[tuple[str, str], Life] = {}

    def routes(self) -> list[Route]:
        """The control API's routes."""
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/health", self.health),
            ("GET", "/companies", self.companies),
            ("GET", "/companies/{realm}/truth", self.truth),
            ("GET", "/companies/{realm}/projects", self.projects),
            ("POST", "/companies/{realm}/changes", self.change),
            ("GET", "/companies/{realm}/records/{entity}", self.list_records),
            ("POST", "/companies/{realm}/records/{entity}", self.write_record),
            ("POST", "/companies/{realm}/records/{entity}/{id}/{operation}", self.end_record),
            ("POST", "/companies/{realm}/merge", self.merge),
            ("POST", "/companies/{realm}/disconnect", self.disconnect),
            ("POST", "/companies/{realm}/expire-access", self.expire_access),
            ("GET", "/companies/{realm}/switches", self.company_switches),
            ("PUT", "/companies/{realm}/switches", self.company_switches),
            ("PUT", "/companies/{realm}/custom-fields", self.custom_fields),
            ("PUT", "/companies/{realm}/closed-until", self.closed_until),
            ("POST", "/burst", self.burst),
            ("GET", "/webhooks", self.webhooks),
            ("PUT", "/webhooks", self.webhooks),
            ("POST", "/webhooks/{action}", self.webhook_action),
            ("GET", "/deliveries", self.deliveries),
            ("GET", "/calls", self.calls),
            ("POST", "/calls/reset", self.reset_calls),
            ("GET", "/limits", self.limits),
            ("PUT", "/limits", self.limits),
            ("GET", "/oauth", self.oauth),
            ("PUT", "/oauth", self.oauth),
            ("POST", "/tokens", self.tokens),
            ("GET", "/faults", self.fault_rules),
            ("PUT", "/faults", self.fault_rules),
            ("POST", "/faults", self.fault_rules),
            ("DELETE", "/faults", self.fault_rules),
            ("GET", "/clock", self.clock),
            ("PUT", "/clock", self.clock),
        ]
        return [Route("/_sim" + path, endpoint, methods=[method]) for method, path, endpoint in table]

    # ---- companies -----------------------------------------------------------------------------------------------

    async def health(self, request: Request) -> Response:
        """200 as soon as everything answers; 503 where the delivery of webhooks broke off."""
        if self.simulator.courier.failure:
            return JSONResponse({"status": "webhooks stopped", "reason": self.simulator.courier.failure}, 503)
        return JSONResponse({"status": "ok", "companies": len(self.simulator.companies)})

    async def companies(self, request: Request) -> Response:
        """Every company with its counts."""
        return JSONResponse([self._summary(company) for company in self.simulator.companies.values()])

    def _summary(self, company: Company) -> dict[str, Any]:
        counts = {kind.value: len(records) for kind, records in company.book.records.items() if records}
        return {
            **{"realm": company.realm, "name": company.name, "records": counts},
            "connected": self.simulator.authority.is_connected(company.realm),
            **{"visibility_delay_s": company.visibility_delay_s, "home_currency": company.book.home_currency},
        }

    async def truth(self, request: Request) -> Response:
        """What is so, to the cent."""
        return _json(truth(self._company(request)))

    async def projects(self, request: Request) -> Response:
        """IntoAEC's project catalogue for this company."""
        return JSONResponse([asdict(project) for project in self._company(request).projects])

    async def change(self, request: Request) -> Response:
        """Make `count` random plausible changes; answers the events they caused."""
        company, asked = self._company(request), await _body(request)
        seed = str(asked["seed"]) if "seed" in asked else secrets.token_hex(4)
        life = self._lives.setdefault((company.realm, seed), Life(company, seed))
        made: list[dict[str, str]] = []
        try:
            for position in range(int(asked.get("count", 1))):
                made += [
                    {"entity": one.entity, "id": one.id, "operation": one.operation}
                    for one in life.change(asked.get("kinds"))
                ]
                if position % 50 == 49:
                    await asyncio.sleep(0)  # others are answered meanwhile
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        return JSONResponse(made)

    async def list_records(self, request: Request) -> Response:
        """The newest records of one entity, as the REST API shows them; `limit` 50 by default."""
        company, kind = self._company(request), self._kind(request)
        limit = int(request.query_params.get("limit", "50"))
        newest = list(company.book.records[kind].values())[-limit:][::-1]
        return _json([RawJson(company.renderer.text(record)) for record in newest])

    async def write_record(self, request: Request) -> Response:
        """Create a record, or change one (sparsely, newest token assumed) where the body has an Id."""
        company, kind, body = self._company(request), self._kind(request), await _body(request)
        intended = body.pop("intended_project", None)
        note = Note(str(intended), None, Why.UNKNOWN) if intended is not None else None
        if "Id" not in body:
            return self._made(company, lambda: company.create(kind, body, note))
        return self._made(
            company, lambda: company.update(kind, {"sparse": True} | company.token_body(kind, str(body["Id"])) | body)
        )

    async def end_record(self, request: Request) -> Response:
        """Void or delete a record, or say that it was e-mailed."""
        company, kind, record_id = self._company(request), self._kind(request), request.path_params["id"]
        operation = request.path_params["operation"]
        if operation == "email":
            company.announce(kind.value, record_id, "Emailed")
            return JSONResponse({"entity": kind.value, "id": record_id})
        actions = {"void": company.void, "delete": company.delete}
        if operation not in actions:
            raise HTTPException(404, f"no operation {operation}; there are void, delete, email")
        return self._made(company, lambda: actions[operation](kind, company.token_body(kind, record_id)))

    def _made(self, company: Company, make: Callable[[], Any]) -> Response:
        try:
            record = make()
        except Refused as refused:
            found = faults.refusal(refused, company.renderer.answer_time(company.clock.now()))
            return Response(found.body, found.status, media_type=found.content_type)
        except (AttributeError, TypeError, KeyError) as error:
            raise HTTPException(400, f"the body does not fit the record: {error!r}") from error
        shown: Any = company.renderer.deleted_stub(record) if record.deleted else RawJson(company.renderer.text(record))
        return _json({"entity": record.kind.value, "id": record.id, "record": shown})

    async def merge(self, request: Request) -> Response:
        """Merge customer `gone` into customer `kept`."""
        company, asked = self._company(request), await _body(request)
        return self._made(company, lambda: company.merge(str(asked["kept"]), str(asked["gone"])))

    async def disconnect(self, request: Request) -> Response:
        """The user disconnects the application inside QuickBooks."""
        return JSONResponse({"grants_ended": self.simulator.authority.disconnect(self._company(request).realm)})

    async def expire_access(self, request: Request) -> Response:
        """Every access token of the company dies now; refresh tokens live."""
        return JSONResponse({"tokens_expired": self.simulator.authority.expire_access(self._company(request).realm)})

    async def company_switches(self, request: Request) -> Response:
        """What is uncertain about Intuit, set for one company."""
        company = self._company(request)
        if request.method == "PUT":
            _apply(company.switches, await _body(request))
            self.simulator.keep_company(company)
        return JSONResponse(asdict(company.switches))

    async def custom_fields(self, request: Request) -> Response:
        """Set the definitions of custom fields: DefinitionId -> name, at most three."""
        company, asked = self._company(request), await _body(request)
        if len(asked) > 3 or not set(asked) <= {"1", "2", "3"}:
            raise HTTPException(400, 'custom fields are "1", "2" and "3"')
        company.name_fields({key: str(text) for key, text in asked.items()})
        self.simulator.keep_company(company)
        return JSONResponse(company.book.field_names)

    async def closed_until(self, request: Request) -> Response:
        """Close the books up to a date, or open them with null."""
        company, asked = self._company(request), await _body(request)
        company.book.closed_until = asked.get("date")
        self.simulator.keep_company(company)
        return JSONResponse({"date": company.book.closed_until})

    # ---- webhooks ------------------------------------------------------------------------------------------------

    async def burst(self, request: Request) -> Response:
        """Announce many updates of one record, quickly, with nothing changed."""
        asked = await _body(request)
        company = self._named(str(asked["realm"]))
        count = int(asked.get("count", 1))
        for position in range(count):
            company.announce(str(asked.get("entity", "Invoice")), str(asked["id"]), "Update")
            if position % 200 == 199:
                await asyncio.sleep(0)
        return JSONResponse({"announced": count})

    async def webhooks(self, request: Request) -> Response:
        """Settings of the deliveries, and how far they are."""
        courier = self.simulator.courier
        if request.method == "PUT":
            _apply(courier.settings, await _body(request))
            self.simulator.keep_settings()
            courier.wake()
        state = {
            "paused": courier.paused,
            "queued": len(courier.queue),
            "waiting": len(courier.waiting),
            "counts": courier.counts,
        }
        return JSONResponse(asdict(courier.settings) | state | {"idle": courier.is_idle})

    async def webhook_action(self, request: Request) -> Response:
        """Pause, resume, retry now what waits, or forget it."""
        courier, action = self.simulator.courier, request.path_params["action"]
        if action not in ("pause", "resume", "retry", "forget"):
            raise HTTPException(404, f"no action {action}; there are pause, resume, retry, forget")
        if action == "retry":
            courier.retry_now()
        elif action == "forget":
            courier.forget()
        else:
            courier.paused = action == "pause"
        courier.wake()
        return JSONResponse({"paused": courier.paused})

    async def deliveries(self, request: Request) -> Response:
        """The latest deliveries, newest first; `limit` 100 by default."""
        limit = int(request.query_params.get("limit", "100"))
        found = list(self.simulator.courier.deliveries)[-limit:][::-1]
        return JSONResponse([delivery.summary() for delivery in found])

    # ---- limits, tokens, faults, clock ---------------------------------------------------------------------------

    async def calls(self, request: Request) -> Response:
        """Calls per route, and how many of them were metered."""
        return JSONResponse(self.simulator.limits.report(request.query_params.get("realm")))

    async def reset_calls(self, request: Request) -> Response:
        """Forget all counts."""
        self.simulator.limits.reset()
        return JSONResponse({"reset": True})

    async def limits(self, request: Request) -> Response:
        """The throttle and the meter's cap."""
        settings = self.simulator.limits.settings
        if request.method == "PUT":
            _apply(settings, await _body(request))
        return JSONResponse(asdict(settings))

    async def oauth(self, request: Request) -> Response:
        """Settings of the sign-in; the secret is not shown."""
        settings = self.simulator.authority.settings
        if request.method == "PUT":
            _apply(settings, await _body(request))
        return JSONResponse({key: value for key, value in asdict(settings).items() if key != "client_secret"})

    async def tokens(self, request: Request) -> Response:
        """A connected application's tokens, without anybody signing in."""
        asked = await _body(request)
        authority = self.simulator.authority
        realm = str(asked.get("realm") or next(iter(self.simulator.companies)))
        grant = authority.open_grant(self._named(realm).realm, asked.get("scope", ACCOUNTING))
        return JSONResponse(authority.answer(grant, with_hard_expiry=True) | {"realmId": realm})

    async def fault_rules(self, request: Request) -> Response:
        """See, replace (PUT), add to (POST) or clear (DELETE) the faults in force."""
        if request.method in ("PUT", "DELETE"):
            self.simulator.faults.replace([])
            self._delay(None, 0)
        if request.method in ("PUT", "POST"):
            asked = await _body(request)
            for one in asked.get("rules", [asked]) if isinstance(asked, dict) else asked:
                self._add_rule(dict(one))
        delays = {
            company.realm: company.visibility_delay_s
            for company in self.simulator.companies.values()
            if company.visibility_delay_s
        }
        return JSONResponse({"rules": self.simulator.faults.report(), "visibility_delay_s": delays})

    def _add_rule(self, asked: dict[str, Any]) -> None:
        if "visibility_delay_s" in asked:
            self._delay(asked.get("realm"), float(asked.pop("visibility_delay_s")))
            if not set(asked) - {"realm"}:
                return
        if "latency_ms" in asked and "status" not in asked:
            asked.setdefault("kind", "delay")
        rule = FaultRule()
        _apply(rule, asked)
        self.simulator.faults.add(rule)

    def _delay(self, realm: str | None, seconds: float) -> None:
        for company in self.simulator.companies.values():
            if realm in (None, company.realm):
                company.delay_visibility(seconds)

    async def clock(self, request: Request) -> Response:
        """See or set the simulated time: `now`, `advance_s`, `speed`."""
        clock = self.simulator.clock
        if request.method == "PUT":
            asked = await _body(request)
            now = datetime.fromisoformat(asked["now"]) if asked.get("now") else None
            speed = float(asked["speed"]) if "speed" in asked else None
            clock.set(now=now, advance_s=float(asked.get("advance_s", asked.get("offset_s", 0))), speed=speed)
        return JSONResponse({"now": clock.now().isoformat(), "speed": clock.speed})

    # ---- finding -------------------------------------------------------------------------------------------------

    def _company(self, request: Request) -> Company:
        return self._named(request.path_params["realm"])

    def _named(self, realm: str) -> Company:
        found = self.simulator.companies.get(realm)
        if found is None:
            raise HTTPException(404, f"there is no company {realm}; there are {', '.join(self.simulator.companies)}")
        return found

    def _kind(self, request: Request) -> Kind:
        try:
            found = query.kind_of(request.path_params["entity"])
        except Refused:
            found = None
        if found is None:
            raise HTTPException(404, f"no entity {request.path_params['entity']}; there are {', '.join(Kind)}")
        return found


async def _body(request: Request) -> Any:
    raw = await request.body()
    try:
        return decode(raw) if raw else {}
    except ValueError as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from error


def _json(value: Any) -> Response:
    return Response(encode(value), 200, {"content-type": JSON_TYPE})


def _apply(target: Any, asked: dict[str, Any]) -> None:
    unknown = apply_settings(target, asked)
    if unknown:
        raise HTTPException(400, f"unknown settings: {', '.join(unknown)}; known: {', '.join(asdict(target))}")
