"""The control page, for a person trying the product: what there is, what was sent, what can be done.

Reads: the simulator; the control API, for what the page only passes on (profile, life, clock). Writes: nothing; the
buttons are in `changes` (the books) and `steering` (everything else).
Guarantees: a page costs the same with ten records and with a hundred thousand: only the newest are looked at.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain, islice
from typing import Any
from urllib.parse import quote

import httpx
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from connectors.simulator.api.company import Company
from connectors.simulator.api.notices import PAST_TENSE
from connectors.simulator.api.webhooks import Delivery
from connectors.simulator.books.records import Kind, Record, Refused
from connectors.simulator.pages.messages import Messages
from connectors.simulator.pages.rendering import form_token, page
from connectors.simulator.simulator import Simulator
from connectors.simulator.wire import RawJson, decode, encode

ROWS = 20
QUEUE_LOOKED_AT = 5000
NUMBERS_LOOKED_AT = 20_000
CUSTOMERS_LISTED = 200
BODY_SHOWN = 200_000
SESSION = "control page"  # nobody signs in here: one form token for the process
KIND_NAMES = {
    Kind.INVOICE: "Invoices",
    Kind.PAYMENT: "Payments",
    Kind.CREDIT_MEMO: "Credit memos",
    Kind.REFUND_RECEIPT: "Refunds",
    Kind.CUSTOMER: "Customers",
}


class Panel:
    """The pages under /_sim."""

    def __init__(self, simulator: Simulator, messages: Messages) -> None:
        self.simulator = simulator
        self.messages = messages

    def routes(self) -> list[Route]:
        """The pages, and the one record that they link to as JSON."""
        return [
            Route("/_sim", self.overview, methods=["GET"]),
            Route("/_sim/page/companies/{realm}", self.company, methods=["GET"]),
            Route("/_sim/page/companies/{realm}/{kind}/{id}", self.record, methods=["GET"]),
            Route("/_sim/page/deliveries", self.deliveries, methods=["GET"]),
            Route("/_sim/page/deliveries/{id}", self.delivery, methods=["GET"]),
            Route("/_sim/page/events/{id}", self.event, methods=["GET"]),
            Route("/_sim/companies/{realm}/records/{entity}/{id}", self.record_json, methods=["GET"]),
        ]

    # ---- overview ------------------------------------------------------------------------------------------------

    async def overview(self, request: Request) -> Response:
        """Everything at a glance; the page of one company where `realm` says so."""
        if realm := request.query_params.get("realm"):
            return RedirectResponse(f"/_sim/page/companies/{quote(realm)}", 303)
        simulator = self.simulator
        queued = Counter(one.event.realm for one in islice(simulator.courier.queue, QUEUE_LOOKED_AT))
        companies = list(simulator.companies.values())
        rows = [
            {
                "company": company,
                "connected": simulator.authority.is_connected(company.realm),
                "counts": {kind: len(company.book.records[kind]) for kind in KIND_NAMES},
                "queued": queued[company.realm],
            }
            for company in companies[: ROWS * 5]
        ]
        async with control_api(request) as api:
            asked = {name: await _asked(api, f"/_sim/{name}") for name in ("profile", "live", "faults", "clock")}
        values = {"rows": rows, "hidden": len(companies) - len(rows), "calls": self._calls(companies), **asked}
        settings = simulator.limits.settings
        cap = {"month": simulator.limits.month_total(), "cap": settings.tier_cap, "blocks": settings.metering_blocks}
        return self.page("panel-overview.html", request, **values, **cap)

    def _calls(self, companies: list[Company]) -> list[dict[str, Any]]:
        limits = self.simulator.limits
        return [
            {"company": company, "report": limits.report(company.realm)}
            for company in companies
            if company.realm in limits.routes
        ][: ROWS * 2]

    # ---- one company ---------------------------------------------------------------------------------------------

    async def company(self, request: Request) -> Response:
        """The newest records of one type, and the forms that make new ones."""
        company = self._company(request)
        kind = _kind(request.query_params.get("type", Kind.INVOICE.value))
        find = request.query_params.get("find", "").strip()
        if find and (found := _find(company, kind, find)):
            return RedirectResponse(f"/_sim/page/companies/{company.realm}/{kind.value}/{found.id}", 303)
        start = _whole(request.query_params.get("from", "0"))
        stored = company.book.records[kind]
        shown = [self._row(company, one) for one in islice(reversed(stored.values()), start, start + ROWS)]
        return self.page(
            "panel-company.html",
            request,
            company=company,
            kind=kind,
            find=find,
            rows=shown,
            start=start,
            step=ROWS,
            total=len(stored),
            counts={one: len(company.book.records[one]) for one in Kind},
            kind_names=KIND_NAMES,
            connected=self.simulator.authority.is_connected(company.realm),
            customers=_customers(company),
            projects=company.projects[:CUSTOMERS_LISTED],
            report=self.simulator.limits.report(company.realm),
            month=self.simulator.limits.month_total(),
            cap=self.simulator.limits.settings.tier_cap,
        )

    def _row(self, company: Company, record: Record) -> dict[str, Any]:
        book, fields = company.book, record.fields
        if record.kind is Kind.CUSTOMER:
            parent = next(iter(book.customers.ancestors(record.id)), None)
            shown: dict[str, Any] = {
                "name": book.customers.shown_name(record),
                "parent": book.customers.shown_name(parent) if parent else "",
                "balance": book.balance(record.id),
            }
        else:
            customer = book.records[Kind.CUSTOMER].get(record.customer_id or "")
            shown = {
                "number": fields.get("DocNumber") or fields.get("PaymentRefNum") or "",
                "customer": book.customers.shown_name(customer) if customer else "",
                "on": fields.get("TxnDate", ""),
                "reference": record.custom.get("1", ""),
                "total": record.total,
                "open": record.unapplied if record.kind is Kind.PAYMENT else book.open_amount(record),
            }
        return {"record": record, "json": _json_address(company, record), **shown}

    async def record(self, request: Request) -> Response:
        """One record: what it is, and what can be done to it."""
        company, kind = self._company(request), _kind(request.path_params["kind"])
        record_id = request.path_params["id"]
        record = company.book.records[kind].get(record_id) or company.book.gone.get((kind, record_id))
        if record is None:
            raise HTTPException(404, f"there is no {kind.value} {record_id} in {company.name}")
        values: dict[str, Any] = {"row": self._row(company, record), "kind": kind, "record": record}
        values |= {"lines": [], "charges": [], "payments": []}
        values["text"] = "" if record.deleted else _pretty(decode(company.renderer.text(record)))
        if kind is Kind.PAYMENT:
            values["lines"] = [(line.item.kind.value, line.item.id, line.amount) for line in record.applications]
        if kind is Kind.CREDIT_MEMO:
            values["charges"] = _charges(company, record)
        if kind is Kind.INVOICE:
            values["payments"] = company.book.links_of(record)[:ROWS]
        values |= {"customers": _customers(company), "projects": company.projects[:CUSTOMERS_LISTED]}
        return self.page("panel-record.html", request, company=company, **values)

    async def record_json(self, request: Request) -> Response:
        """One record as the REST API shows it."""
        company, kind = self._company(request), _kind(request.path_params["entity"])
        try:
            record = company.book.get(kind, request.path_params["id"])
        except Refused as refused:
            raise HTTPException(404, refused.message) from refused
        return Response(encode(RawJson(company.renderer.text(record))), media_type="application/json")

    # ---- deliveries ----------------------------------------------------------------------------------------------

    async def deliveries(self, request: Request) -> Response:
        """The newest deliveries."""
        courier = self.simulator.courier
        shown = [one.summary() for one in islice(reversed(courier.deliveries), ROWS * 2)]
        return self.page("panel-deliveries.html", request, shown=shown)

    async def delivery(self, request: Request) -> Response:
        """One delivery: its tries, what it announces, its body as sent."""
        courier = self.simulator.courier
        found = next((one for one in reversed(courier.deliveries) if one.id == request.path_params["id"]), None)
        if found is None:
            raise HTTPException(404, "that delivery is no longer remembered")
        body = found.body[:BODY_SHOWN].decode(errors="replace")
        whole = len(found.body) <= BODY_SHOWN
        text = _pretty(decode(body)) if whole else body
        return self.page(
            "panel-delivery.html", request, one=found.summary(), events=_announced(found), text=text, whole=whole
        )

    async def event(self, request: Request) -> Response:
        """Where an event went: its delivery; still queued, or forgotten."""
        event_id, courier = request.path_params["id"], self.simulator.courier
        for delivery in islice(reversed(courier.deliveries), QUEUE_LOOKED_AT):
            if event_id in delivery.event_ids:
                return RedirectResponse(f"/_sim/page/deliveries/{delivery.id}", 303)
        late = (one for _, _, one in islice(courier.late, QUEUE_LOOKED_AT))
        is_queued = any(one.id == event_id for one in chain(islice(courier.queue, QUEUE_LOOKED_AT), late))
        return self.page("panel-event.html", request, 200 if is_queued else 404, is_queued=is_queued)

    # ---- finding -------------------------------------------------------------------------------------------------

    def _company(self, request: Request) -> Company:
        found = self.simulator.companies.get(request.path_params["realm"])
        if found is None:
            raise HTTPException(404, f"there is no company {request.path_params['realm']}")
        return found

    def page(self, template: str, request: Request, status: int = 200, **values: Any) -> Response:
        """A page with the message of the last change and the state of the simulator around it."""
        courier = self.simulator.courier
        around: dict[str, Any] = {
            "here": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
            "form_token": form_token(SESSION),
            "said": self.messages.get(request.query_params.get("said", "")),
            "now": self.simulator.clock.now(),
            "speed": self.simulator.clock.speed,
            "courier": courier,
            "queue": len(courier.queue) + len(courier.late),
            "waiting": len(courier.waiting),
            "many_companies": len(self.simulator.companies) > 1,
        }
        return page(template, status, **around, **values)


def control_api(request: Request) -> httpx.AsyncClient:
    """A client of this very process's control API, without a socket."""
    transport = httpx.ASGITransport(app=request.app)
    return httpx.AsyncClient(transport=transport, base_url="http://simulator")


async def _asked(api: httpx.AsyncClient, path: str) -> Any:
    """What the control API answers; None where it does not have this part."""
    answer = await api.get(path)
    return decode(answer.content) if answer.status_code == 200 else None


def _kind(text: str) -> Kind:
    found = next((kind for kind in Kind if kind.value.lower() == text.lower()), None)
    if found is None:
        raise HTTPException(404, f"no entity {text}; there are {', '.join(Kind)}")
    return found


def _find(company: Company, kind: Kind, text: str) -> Record | None:
    """A record by its number or name, which people see, or else by its id; of several the newest."""
    stored = company.book.records[kind]
    if kind is Kind.CUSTOMER:
        return stored.get(company.book.customers.named(text) or text)
    newest = islice(reversed(stored.values()), NUMBERS_LOOKED_AT)
    return next((one for one in newest if one.fields.get("DocNumber") == text), None) or stored.get(text)


def _customers(company: Company) -> list[tuple[str, str]]:
    """The newest active customers, for forms."""
    newest = islice(reversed(company.book.records[Kind.CUSTOMER].values()), CUSTOMERS_LISTED)
    return [(one.id, str(one.fields["DisplayName"])) for one in newest if one.fields["Active"]]


def _charges(company: Company, memo: Record) -> list[tuple[str, str, Any]]:
    """Open invoices of the memo's own customer, to use the credit on."""
    keys = islice(company.book.open_items.get(memo.customer_id or "", ()), CUSTOMERS_LISTED)
    items = [company.book.items[key] for key in keys if key.kind is Kind.INVOICE]
    stored = company.book.records[Kind.INVOICE]
    return [(one.key.id, str(stored[one.key.id].fields.get("DocNumber", "")), one.remaining) for one in items]


def _json_address(company: Company, record: Record) -> str:
    return f"/_sim/companies/{company.realm}/records/{record.kind.value}/{record.id}"


def _announced(delivery: Delivery) -> list[dict[str, str]]:
    """What a delivery says, one row per event, whichever format it has."""
    body = decode(delivery.body)
    rows: list[dict[str, str]] = []
    if isinstance(body, list):
        for one in body[: ROWS * 5]:
            _, entity, word, _ = str(one["type"]).split(".")
            rows.append({"realm": one["intuitaccountid"], "entity": entity, "id": one["intuitentityid"], "what": word})
        return rows
    for note in body["eventNotifications"]:
        for one in note["dataChangeEvent"]["entities"][: ROWS * 5]:
            word = PAST_TENSE.get(one["operation"], one["operation"])
            rows.append({"realm": note["realmId"], "entity": one["name"].lower(), "id": one["id"], "what": word})
    return rows


def _whole(text: str) -> int:
    return int(text) if text.isdigit() and len(text) < 10 else 0


def _pretty(value: Any, margin: str = "") -> str:
    """JSON with line breaks, every amount to the cent as it was written."""
    inner = margin + "  "
    if isinstance(value, dict) and value:
        rows = [f"{inner}{encode(key)}: {_pretty(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{margin}}}"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(inner + _pretty(item, inner) for item in value) + f"\n{margin}]"
    return encode(value)
