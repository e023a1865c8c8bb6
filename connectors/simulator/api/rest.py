"""The REST API v3 of every company: read, query, change data capture, batch, and writes.

Reads: requests with a bearer token. Writes: the companies' books.
Guarantees: every answer carries `intuit_tid`; what Intuit refuses is refused with its code, status and shape.
Source: intuit.md 3, 7.8-7.16.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from connectors.simulator.api import faults, lists, query, reports, settings, xml
from connectors.simulator.api.authority import ACCOUNTING
from connectors.simulator.api.company import Company
from connectors.simulator.api.faults import FaultAnswer, FaultRule
from connectors.simulator.api.render import ENHANCED, NOTHING
from connectors.simulator.books.records import HIDDEN, Kind, Record, Refused, missing, not_found
from connectors.simulator.simulator import Simulator
from connectors.simulator.wire import RawJson, decode, encode

JSON_TYPE = "application/json;charset=utf-8"
BATCH_MAX = 30
REPLAYS_MAX = 20_000
READ_ONLY_ENTITIES = {"companyinfo": "CompanyInfo", "preferences": "Preferences"}

# Properties that Intuit's classes know, over all entities kept here (REF, recorded 2010 fault).
_KNOWN_TEXT = """
Id SyncToken MetaData domain sparse status time CustomField DocNumber TxnDate DueDate ShipDate PrivateNote
LinkedTxn Line TxnTaxDetail CustomerRef CustomerMemo BillAddr ShipAddr ShipFromAddr FreeFormAddress
SalesTermRef TotalAmt HomeTotalAmt Balance HomeBalance Deposit DepositToAccountRef ApplyTaxAfterDiscount
PrintStatus EmailStatus BillEmail BillEmailCc BillEmailBcc DeliveryInfo CurrencyRef ExchangeRate ClassRef
DepartmentRef ProjectRef GlobalTaxCalculation RecurDataRef TaxExemptionRef AllowIPNPayment AllowOnlinePayment
AllowOnlineCreditCardPayment AllowOnlineACHPayment InvoiceLink TrackingNum ShipMethodRef RemainingCredit
InvoiceRef PaymentMethodRef PaymentRefNum PaymentType CheckPayment CreditCardPayment TxnSource UnappliedAmt
ProcessPayment ARAccountRef AccountRef EntityRef Adjustment PaymentStatus TxnStatus AutoDocNumber DisplayName
Title GivenName MiddleName FamilyName Suffix CompanyName FullyQualifiedName PrintOnCheckName Notes ResaleNum
PreferredDeliveryMethod Active Job BillWithParent IsProject Taxable Level BalanceWithJobs ParentRef
DefaultTaxCodeRef CustomerTypeRef PrimaryPhone AlternatePhone Mobile Fax PrimaryEmailAddr WebAddr
V4IDPseudonym ClientEntityId OpenBalanceDate TxnStatus AcceptedBy AcceptedDate ExpirationDate NameOf EmployeeRef
VendorRef BillableStatus HourlyRate Hours Minutes Description ItemRef StartTime EndTime BreakHours BreakMinutes
TotalTax CashBack Credit RemitToAddr DocumentLinks
"""
_KNOWN = frozenset(_KNOWN_TEXT.split())


@dataclass(frozen=True, slots=True)
class Call:
    """One request, sorted out."""

    company: Company
    method: str
    parts: tuple[str, ...]  # the path behind the company, e.g. ("invoice", "12")
    parameters: dict[str, str]
    body: bytes
    name: str  # what limits, faults and counters call it: "GET invoice", "POST query"

    @property
    def include(self) -> frozenset[str]:
        """What `include=` asks for, in lower case."""
        return frozenset(one.strip().lower() for one in self.parameters.get("include", "").split(","))

    @property
    def time(self) -> str:
        """The answer's `time`."""
        return self.company.renderer.answer_time(self.company.clock.now())


class Rest:
    """Answers everything under /v3/company/."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self._replays: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def answer(self, request: Request) -> Response:
        """One request: faults on demand, then authentication, limits, and the work itself."""
        realm = request.path_params["realm"]
        parts = tuple(part for part in request.path_params["rest"].split("/") if part)
        name = f"{request.method} {parts[0].lower() if parts else ''}"
        rule = self.simulator.faults.take(realm, name)
        if rule is not None:
            await asyncio.sleep(120 if rule.kind == "hang" else rule.latency_ms / 1000)
        now = self.simulator.clock.now()
        time = self._time(realm)
        if rule is not None and rule.kind == "answer":
            return self._finish(realm, name, faults.answer_for(rule, time, now))
        refused = self._unauthorized(request, realm, time) or self._over_limit(realm, name, time)
        found: FaultAnswer | str
        if refused is not None:
            found = refused
        else:
            call = Call(
                self.simulator.companies[realm],
                request.method,
                parts,
                dict(request.query_params),
                await request.body(),
                name,
            )
            found = self._work(call)
        if xml.is_wanted(request.headers.get("accept", "")):
            found = _in_xml(found)
        return broken(rule, self._finish(realm, name, found))

    def _time(self, realm: str) -> str:
        company = self.simulator.companies.get(realm) or next(iter(self.simulator.companies.values()))
        return company.renderer.answer_time(self.simulator.clock.now())

    def _unauthorized(self, request: Request, realm: str, time: str) -> FaultAnswer | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        grant = self.simulator.authority.grant_of(token)
        if grant is None:
            return faults.unauthenticated(token, self.simulator.clock.now())
        if ACCOUNTING not in grant.scope:
            return faults.forbidden(time)
        if grant.realm != realm or realm not in self.simulator.companies:
            return faults.wrong_realm(time)
        return None

    def _over_limit(self, realm: str, name: str, time: str) -> FaultAnswer | None:
        limits = self.simulator.limits
        if limits.refuses(realm, batch=name == "POST batch") is None:
            return None
        return faults.throttled(limits.settings.shape, time, retry_after=limits.settings.retry_after)

    def _finish(self, realm: str, name: str, answer: FaultAnswer | str) -> Response:
        status = answer.status if isinstance(answer, FaultAnswer) else 200
        self.simulator.limits.count(realm, name, status, is_metered=_is_metered(name))
        if isinstance(answer, FaultAnswer):
            return Response(answer.body, status, {**answer.headers, **_headers()}, answer.content_type)
        return Response(answer, 200, {**_headers(), "content-type": JSON_TYPE})

    def _work(self, call: Call) -> FaultAnswer | str:
        try:
            return self._dispatch(call)
        except Refused as refused:
            return faults.refusal(refused, call.time)
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            detail = f"Property Name:Can not deserialize the request ({type(error).__name__}: {error})"
            return faults.refusal(Refused("2010", "Request has invalid or unsupported property", detail), call.time)

    def _dispatch(self, call: Call) -> str:
        head = call.parts[0].lower() if call.parts else ""
        actions: dict[str, Callable[[Call], str]] = {"query": self._query, "cdc": self._cdc, "batch": self._batch}
        if head in actions and len(call.parts) == 1:
            return actions[head](call)
        if head == "reports" and call.method == "GET" and len(call.parts) == 2:
            return self._report(call)
        if head in READ_ONLY_ENTITIES and call.method == "GET":
            body = call.company.company_info() if head == "companyinfo" else call.company.preferences()
            return encode({READ_ONLY_ENTITIES[head]: body, "time": call.time})
        if (listed := lists.entity_of(head)) and call.method == "GET" and len(call.parts) == 2:
            made = call.company.renderer.moment(settings.FOUNDED)
            return encode({listed: lists.one(listed, call.parts[1], call.company.book, made), "time": call.time})
        kind = _kind(head, call)
        if call.method == "GET" and len(call.parts) == 2:
            return self._read(call, kind)
        if call.method == "POST" and len(call.parts) == 1:
            return self._write(call, kind)
        raise _unsupported(call)

    # ---- reads ---------------------------------------------------------------------------------------------------

    def _read(self, call: Call, kind: Kind) -> str:
        record_id = call.parts[1]
        if not record_id.isdigit():
            raise Refused("2030", "Invalid ID", f"Id should be a valid number. Supplied value:{record_id}", "Id")
        return encode({kind.value: RawJson(call.company.read(kind, record_id, call.include)), "time": call.time})

    def _query(self, call: Call) -> str:
        text = call.body.decode() if call.method == "POST" else call.parameters.get("query", "")
        return encode({"QueryResponse": call.company.query(text, call.include), "time": call.time})

    def _report(self, call: Call) -> str:
        today = call.company.clock.now().astimezone(call.company.zone).date().isoformat()
        asked = reports.Asked(call.parts[1], call.parameters, today, call.time)
        found = reports.answer(call.company.book, asked)
        if found is None:
            raise _unsupported(call)
        return encode(found)

    def _cdc(self, call: Call) -> str:
        entities = [one.strip() for one in call.parameters.get("entities", "").split(",") if one.strip()]
        if not entities:
            raise missing("entities")
        try:
            since = query.read_moment(call.parameters.get("changedSince", ""), call.company.zone)
        except ValueError as error:
            raise query.invalid(f"changedSince is not a date: {call.parameters.get('changedSince', '')}") from error
        return encode(
            {
                "CDCResponse": [{"QueryResponse": call.company.changes_since(entities, since, include=call.include)}],
                "time": call.time,
            }
        )

    # ---- writes --------------------------------------------------------------------------------------------------

    def _write(self, call: Call, kind: Kind) -> str:
        key = (call.company.realm, call.parameters.get("requestid", ""))
        if key[1] and key in self._replays:
            return self._replays[key]
        body = decode(call.body)
        if not isinstance(body, dict):
            raise ValueError("the body is no object")
        operation = call.parameters.get("operation", "").lower()
        if "void" in call.include:
            operation = "void"
        text = write(call.company, kind, body, operation, call.include)
        written = encode({kind.value: RawJson(text), "time": call.time})
        if key[1]:
            self._replays[key] = written
            if len(self._replays) > REPLAYS_MAX:
                self._replays.popitem(last=False)
        return written

    def _batch(self, call: Call) -> str:
        items = decode(call.body).get("BatchItemRequest") or []
        if len(items) > BATCH_MAX:
            raise Refused("1040", "Batch size exceeded", f"Batch may hold at most {BATCH_MAX} items")
        return encode({"BatchItemResponse": [self._batch_item(call, item) for item in items], "time": call.time})

    def _batch_item(self, call: Call, item: dict[str, Any]) -> dict[str, Any]:
        try:
            return {**self._batch_answer(call, item), "bId": item.get("bId", "")}
        except Refused as refused:
            return {"Fault": faults.fault_of(refused), "bId": item.get("bId", "")}

    def _batch_answer(self, call: Call, item: dict[str, Any]) -> dict[str, Any]:
        if "Query" in item:
            return {"QueryResponse": call.company.query(item["Query"], call.include)}
        operation = str(item.get("operation", "create")).lower()
        entity = next((key for key in item if key not in ("bId", "operation", "optionsData")), "")
        kind = _kind(entity.lower(), call)
        if item.get("optionsData") == "void":
            operation = "void"
        return {entity: RawJson(write(call.company, kind, item[entity], operation, call.include))}


def write(company: Company, kind: Kind, body: dict[str, Any], operation: str, include: frozenset[str] = NOTHING) -> str:
    """Do one write and answer the record's JSON as Intuit shows it afterwards. Raises Refused."""
    unknown = sorted(set(body) - _KNOWN)
    if unknown:
        detail = (
            f'Property Name:Unrecognized field "{unknown[0]}" (class com.intuit.schema.finance.v3.{kind}), '
            "not marked as ignorable specified is unsupported or invalid"
        )
        raise Refused("2010", "Request has invalid or unsupported property", detail)
    if operation == "delete":
        gone = company.delete(kind, body)
        return encode({"domain": "QBO", "status": "Deleted", "Id": gone.id})
    if operation == "void":
        text = company.renderer.text(company.void(kind, body))
        return text.replace('"sparse":false', '"sparse":true', 1) if kind is Kind.PAYMENT else text
    if ENHANCED not in include and body.get("CustomField"):
        known = company.book.fields.classic
        body = body | {"CustomField": [one for one in body["CustomField"] if str(one.get("DefinitionId")) in known]}
    return company.renderer.text(_create_or_update(company, kind, body), include)


def _create_or_update(company: Company, kind: Kind, body: dict[str, Any]) -> Record:
    if body.get("Id") is None:
        return company.create(kind, body)
    if kind is Kind.CREDIT_MEMO and body.get("sparse"):
        raise Refused(
            "2010", "Request has invalid or unsupported property", "Sparse update is not supported for CreditMemo"
        )
    return company.update(kind, body)


def _kind(head: str, call: Call) -> Kind:
    for kind in Kind:
        if kind.value.lower() == head and kind not in HIDDEN:
            return kind
    if head in {name.lower() for name in query.EMPTY_ENTITIES} and call.method == "GET":
        raise not_found()
    raise _unsupported(call)


def _unsupported(call: Call) -> Refused:
    path = f"/v3/company/{call.company.realm}/{'/'.join(call.parts)}"
    place = f"relative : {path} of full path: https://simulator.local{path}"
    detail = f"Operation Could not find resource for {place} is not supported."
    return Refused("500", "Unsupported Operation", detail)


def _in_xml(found: FaultAnswer | str) -> FaultAnswer:
    """The same answer for a client that asked for XML."""
    if isinstance(found, str):
        return FaultAnswer(200, xml.rewritten(found), xml.XML_TYPE)
    written = xml.rewritten(found.body)
    return found if written == found.body else replace(found, body=written, content_type=xml.XML_TYPE)


def _is_metered(name: str) -> bool:
    """Data-out calls: every GET, query by either method, change data capture, and batches (intuit.md 3.7)."""
    return name.startswith("GET ") or name in ("POST query", "POST batch")


def _headers() -> dict[str, str]:
    return {"qbo-version": "1988.128", "cache-control": "max-age=0, no-cache, no-store, must-revalidate, private"}


def new_tid() -> str:
    """An `intuit_tid`: Intuit's name for one request."""
    return f"1-{uuid.uuid4()}"


class Cut(Response):
    """An answer that stops in the middle: the connection breaks before all of the promised body is sent."""

    def __init__(self, response: Response, sent: int) -> None:
        super().__init__(b"", response.status_code, media_type=response.media_type)
        self.whole = response
        self.sent = sent

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Promise the whole body and send its beginning; the server then drops the connection."""
        await send({"type": "http.response.start", "status": self.whole.status_code, "headers": self.whole.raw_headers})
        await send({"type": "http.response.body", "body": bytes(self.whole.body)[: self.sent], "more_body": True})


def broken(rule: FaultRule | None, response: Response) -> Response:
    """What a rule that breaks connections leaves of an answer."""
    if rule is None or rule.kind not in ("cut", "reset", "lost"):
        return response
    return Cut(response, len(bytes(response.body)) // 2 if rule.kind == "cut" else 0)
