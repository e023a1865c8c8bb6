"""The REST API v3 of every company: read, query, change data capture, batch, and writes.

Reads: requests with a bearer token. Writes: the companies' books.
Guarantees: every answer carries `intuit_tid`; what Intuit refuses is refused with its code, status and shape.
Source: intuit.md 3, 7.8-7.16.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from connectors.simulator.api import faults, lists, query, reports, settings, xml
from connectors.simulator.api.authority import ACCOUNTING
from connectors.simulator.api.breakage import broken, instead
from connectors.simulator.api.company import Company
from connectors.simulator.api.faults import FaultAnswer
from connectors.simulator.api.render import ENHANCED, NOTHING
from connectors.simulator.api.trouble import FaultRule
from connectors.simulator.books.records import HIDDEN, Kind, Record, Refused, missing, not_found
from connectors.simulator.simulator import Simulator
from connectors.simulator.wire import RawJson, decode, encode

JSON_TYPE = "application/json;charset=utf-8"
BATCH_MAX = 30
REPLAYS_MAX = 20_000
TIMES_OUT_S = 120.0
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
AttachableRef ConvenienceFeeDetail CostRate DiscountRate ECloudStatusTimeStamp EInvoiceStatus FOB InvoiceEx LessCIS
PONumber PaymentDetailsMessage PrimaryTaxIdentifier PurchaseEx RecurringInfo RemitToRef SalesRepRef Tag TaxFormNum
TaxFormType TransactionLocationType TxnApprovalInfo callToAction invoiceStatusLog
"""
_KNOWN = frozenset(_KNOWN_TEXT.split())


_MALFORMED = (AttributeError, TypeError, LookupError, ValueError, ArithmeticError, RecursionError)
_OPERATIONS = ("", "create", "update", "delete", "void")


@dataclass(frozen=True, slots=True)
class Call:
    """One request, sorted out."""

    company: Company
    method: str
    parts: tuple[str, ...]  # the path behind the company, e.g. ("invoice", "12")
    parameters: dict[str, str]
    body: bytes
    name: str  # what limits, faults and counters call it: "GET invoice", "POST query"
    rule: FaultRule | None = None  # what spoils it

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
        rule = self.simulator.faults.take(realm, name, without=_inapplicable(request.method, parts))
        early = await self._early(rule, realm, name)
        if early is not None:
            return early
        time = self._time(realm)
        refused = self._unauthorized(request, realm, time) or self._over_limit(request, realm, name, time)
        if refused is not None:
            return broken(rule, self._finish(realm, name, _as_asked(request, refused)))
        parameters, body = dict(request.query_params), await request.body()
        call = Call(self._company(realm, rule), request.method, parts, parameters, body, name, rule)
        found = _as_asked(request, self._work(call))
        return broken(rule, self._finish(realm, name, found, self._metered_calls(call)))

    async def _early(self, rule: FaultRule | None, realm: str, name: str) -> Response | None:
        """What a rule answers instead of the work, after the time that it takes."""
        if rule is None:
            return None
        if not await waited(self.simulator, rule):
            now = self.simulator.clock.now()
            return self._finish(realm, name, faults.trouble(504, "json", self._time(realm), now))
        if rule.kind == "answer":
            now = self.simulator.clock.now()
            answer = faults.answer_for(rule.status, rule.body, rule.retry_after, self._time(realm), now)
            return self._finish(realm, name, answer)
        found = instead(rule)
        if found is not None:
            self.simulator.limits.count(realm, name, 0 if rule.kind == "reset" else found.status_code)
        end_tokens(self.simulator, rule, realm)
        return found

    def _company(self, realm: str, rule: FaultRule | None) -> Company:
        """The company that answers: another one where a rule wants that."""
        companies = self.simulator.companies
        if rule is not None and rule.kind == "wrong_company":
            return next((one for other, one in companies.items() if other != realm), companies[realm])
        return companies[realm]

    def _time(self, realm: str) -> str:
        company = self.simulator.companies.get(realm) or next(iter(self.simulator.companies.values()))
        return company.renderer.answer_time(self.simulator.clock.now())

    def _unauthorized(self, request: Request, realm: str, time: str) -> FaultAnswer | None:
        token = _token(request)
        grant = self.simulator.authority.grant_of(token)
        if grant is None:
            return faults.unauthenticated(token, self.simulator.clock.now())
        if ACCOUNTING not in grant.scope:
            return faults.forbidden(time)
        if grant.realm != realm or realm not in self.simulator.companies:
            return faults.wrong_realm(time)
        return None

    def _over_limit(self, request: Request, realm: str, name: str, time: str) -> FaultAnswer | None:
        limits, settings = self.simulator.limits, self.simulator.limits.settings
        grant = self.simulator.authority.grant_of(_token(request))
        application = grant.client_id if grant else ""
        if limits.refuses(realm, batch=name == "POST batch", application=application) is None:
            return None
        now = self.simulator.clock.now()
        return faults.throttled(settings.shape, time, now, retry_after=settings.retry_after)

    def _metered_calls(self, call: Call) -> int:
        """As how many metered calls one counts: data-out calls as one, the others not (intuit.md 3.7)."""
        if call.name == "POST batch" and self.simulator.limits.settings.batch_counts_items:
            return call.body.count(b'"bId"')
        return int(call.method == "GET" or call.name in ("POST query", "POST batch"))

    def _finish(self, realm: str, name: str, answer: FaultAnswer | str, metered: int = 0) -> Response:
        status = answer.status if isinstance(answer, FaultAnswer) else 200
        self.simulator.limits.count(realm, name, status, metered=metered)
        if isinstance(answer, FaultAnswer):
            return Response(answer.body, status, {**answer.headers, **_headers()}, answer.content_type)
        return Response(answer, 200, {**_headers(), "content-type": JSON_TYPE})

    def _work(self, call: Call) -> FaultAnswer | str:
        try:
            return self._dispatch(call)
        except Refused as refused:
            return faults.refusal(refused, call.time)
        except _MALFORMED as error:
            return faults.refusal(_malformed(error), call.time)

    def _dispatch(self, call: Call) -> str:
        head = call.parts[0].lower() if call.parts else ""
        actions: dict[str, Callable[[Call], str]] = {"query": self._query, "cdc": self._cdc}
        if head == "batch" and call.method == "POST" and len(call.parts) == 1:
            return self._once(call, self._batch)
        if head in actions and len(call.parts) == 1:
            return actions[head](call)
        if head == "reports" and call.method == "GET" and len(call.parts) == 2:
            return self._report(call)
        if head in READ_ONLY_ENTITIES and call.method == "GET":
            body = call.company.company_info() if head == "companyinfo" else call.company.preferences()
            return encode({READ_ONLY_ENTITIES[head]: body, "time": call.time})
        if shelved := call.company.shelf.entity_of(head):
            return self._on_shelf(call, shelved)
        if (listed := lists.entity_of(head)) and call.method == "GET" and len(call.parts) == 2:
            made = call.company.renderer.moment(settings.FOUNDED)
            return encode({listed: lists.one(listed, call.parts[1], call.company.book, made), "time": call.time})
        kind = _kind(head, call)
        if call.method == "GET" and len(call.parts) == 2:
            return self._read(call, kind)
        if call.method == "POST" and len(call.parts) == 1:
            return self._once(call, lambda one: self._write(one, kind))
        raise _unsupported(call)

    # ---- reads ---------------------------------------------------------------------------------------------------

    def _read(self, call: Call, kind: Kind) -> str:
        record_id = _checked_id(call.parts[1])
        if call.rule is not None and call.rule.kind == "missing":
            raise not_found()
        found = call.company.read(kind, record_id, call.include)
        if call.rule is not None and call.rule.kind == "wrong_id":
            found = encode(decode(found) | {"Id": str(int(record_id) + 1)})
        return encode({kind.value: RawJson(found), "time": call.time})

    def _on_shelf(self, call: Call, entity: str) -> str:
        if call.method == "GET" and len(call.parts) == 2:
            return encode({entity: call.company.shelf.read(entity, _checked_id(call.parts[1])), "time": call.time})
        if call.method == "POST" and len(call.parts) == 1:
            operation = call.parameters.get("operation", "").lower()
            return encode(
                {entity: call.company.write_on_shelf(entity, decode(call.body), operation), "time": call.time}
            )
        raise _unsupported(call)

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
        lie = call.rule.dice.randrange if call.rule is not None and call.rule.kind == "false_delete" else None
        found = call.company.changes_since(entities, since, lie, include=call.include)
        return encode({"CDCResponse": [{"QueryResponse": found}], "time": call.time})

    # ---- writes --------------------------------------------------------------------------------------------------

    def _write(self, call: Call, kind: Kind) -> str:
        body = decode(call.body)
        if not isinstance(body, dict):
            raise ValueError("the body is no object")
        operation = call.parameters.get("operation", "").lower()
        if "void" in call.include:
            operation = "void"
        text = write(call.company, kind, body, operation, call.include)
        return encode({kind.value: RawJson(text), "time": call.time})

    def _once(self, call: Call, do: Callable[[Call], str]) -> str:
        """Do a write, or repeat the answer that its `requestid` got the first time, whatever happened since."""
        key = (call.company.realm, call.parameters.get("requestid", ""))
        if not key[1]:
            return do(call)
        if key not in self._replays:
            self._replays[key] = do(call)
            if len(self._replays) > REPLAYS_MAX:
                self._replays.popitem(last=False)
        return self._replays[key]

    def _batch(self, call: Call) -> str:
        items = decode(call.body).get("BatchItemRequest") or []
        if len(items) > BATCH_MAX:
            raise Refused("1040", "Batch size exceeded", f"Batch may hold at most {BATCH_MAX} items")
        ids = [str(item.get("bId") or "") for item in items]
        if "" in ids:
            raise missing("bId")
        if len(set(ids)) < len(ids):
            twice = next(one for one in ids if ids.count(one) > 1)
            raise Refused("2090", "Invalid Batch Request", f"Duplicate batch item id: {twice}", "bId")
        return encode({"BatchItemResponse": [self._batch_item(call, item) for item in items], "time": call.time})

    def _batch_item(self, call: Call, item: dict[str, Any]) -> dict[str, Any]:
        try:
            return {**self._batch_answer(call, item), "bId": item["bId"]}
        except Refused as refused:
            return {"Fault": faults.fault_of(refused), "bId": item["bId"]}
        except _MALFORMED as error:
            return {"Fault": faults.fault_of(_malformed(error)), "bId": item["bId"]}

    def _batch_answer(self, call: Call, item: dict[str, Any]) -> dict[str, Any]:
        if "Query" in item:
            return {"QueryResponse": call.company.query(item["Query"], call.include)}
        operation = str(item.get("operation", "create")).lower()
        entity = next((key for key in item if key not in ("bId", "operation", "optionsData")), "")
        if shelved := call.company.shelf.entity_of(entity):
            return {entity: call.company.write_on_shelf(shelved, item[entity], operation)}
        kind = _kind(entity.lower(), call)
        if item.get("optionsData") == "void":
            operation = "void"
        return {entity: RawJson(write(call.company, kind, item[entity], operation, call.include))}


def write(company: Company, kind: Kind, body: dict[str, Any], operation: str, include: frozenset[str] = NOTHING) -> str:
    """Do one write and answer the record's JSON as Intuit shows it afterwards. Raises Refused."""
    if operation not in _OPERATIONS:
        raise Refused("500", "Unsupported Operation", f"Operation {operation} is not supported.")
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


def _checked_id(given: str) -> str:
    if not given.isdigit():
        raise Refused("2030", "Invalid ID", f"Id should be a valid number. Supplied value:{given}", "Id")
    return given


def _unsupported(call: Call) -> Refused:
    path = f"/v3/company/{call.company.realm}/{'/'.join(call.parts)}"
    place = f"relative : {path} of full path: https://simulator.local{path}"
    detail = f"Operation Could not find resource for {place} is not supported."
    return Refused("500", "Unsupported Operation", detail)


def _as_asked(request: Request, found: FaultAnswer | str) -> FaultAnswer | str:
    """The answer in XML for a client that asked for XML."""
    return _in_xml(found) if xml.is_wanted(request.headers.get("accept", "")) else found


def _in_xml(found: FaultAnswer | str) -> FaultAnswer:
    """The same answer for a client that asked for XML."""
    if isinstance(found, str):
        return FaultAnswer(200, xml.rewritten(found), xml.XML_TYPE)
    written = xml.rewritten(found.body)
    return found if written == found.body else replace(found, body=written, content_type=xml.XML_TYPE)


def _malformed(error: Exception) -> Refused:
    detail = f"Property Name:Can not deserialize the request ({type(error).__name__}: {error})"
    return Refused("2010", "Request has invalid or unsupported property", detail)


def _token(request: Request) -> str:
    return request.headers.get("authorization", "").removeprefix("Bearer ").strip()


def _inapplicable(method: str, parts: tuple[str, ...]) -> frozenset[str]:
    """Kinds of faults that make no sense of this request."""
    head = parts[0].lower() if parts else ""
    is_read = method == "GET" and len(parts) == 2 and head not in {*READ_ONLY_ENTITIES, "reports"}
    without = {"rotate"} if is_read else {"rotate", "missing", "wrong_id"}
    return frozenset(without if head == "cdc" else without | {"false_delete"})


async def waited(simulator: Simulator, rule: FaultRule) -> bool:
    """Take the time that a rule takes, on the simulated clock; False where Intuit gives up before it is over."""
    seconds = rule.whole_seconds if rule.kind == "hang" else rule.latency_ms / 1000
    if seconds:
        await simulator.faults.wait(min(seconds, TIMES_OUT_S))
    return rule.kind != "hang" and seconds <= TIMES_OUT_S


def end_tokens(simulator: Simulator, rule: FaultRule, realm: str) -> None:
    """Let the tokens die that a rule is about."""
    if rule.kind == "revoke":
        simulator.authority.disconnect(realm)
    if rule.kind == "expire":
        simulator.authority.expire_access(realm, older_than_s=rule.whole_seconds)


def _headers() -> dict[str, str]:
    return {"qbo-version": "1988.128", "cache-control": "max-age=0, no-cache, no-store, must-revalidate, private"}


def new_tid() -> str:
    """An `intuit_tid`: Intuit's name for one request."""
    return f"1-{uuid.uuid4()}"
