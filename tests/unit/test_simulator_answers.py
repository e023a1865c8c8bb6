"""Answers of the simulated API in the shapes a client may ask for: XML, enhanced fields, reports, company settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from connectors.simulator.api.authority import ACCOUNTING
from connectors.simulator.app import build
from connectors.simulator.books.records import Kind
from connectors.simulator.simulator import FIRST_REALM, Options, Simulator
from connectors.simulator.wire import decode

REALM = str(FIRST_REALM)
ENHANCED = {"include": "enhancedAllCustomFields", "minorversion": "75"}
NS = "{http://schema.intuit.com/finance/v3}"


class Caller:
    """A client of the simulated API in this very process."""

    def __init__(self, simulator: Simulator, http: httpx.AsyncClient) -> None:
        self.simulator = simulator
        self.company = simulator.companies[REALM]
        self.http = http
        self.token = simulator.authority.answer(simulator.authority.open_grant(REALM, ACCOUNTING))["access_token"]

    async def ask(self, method: str, path: str, accept: str = "application/json", **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.token}", "accept": accept} | more.pop("headers", {})
        return await self.http.request(method, f"/v3/company/{REALM}/{path}", headers=headers, **more)

    async def get(self, path: str, **parameters: str) -> Any:
        answer = await self.ask("GET", path, params=parameters)
        assert answer.status_code == 200, answer.text
        return decode(answer.content)

    async def write(self, entity: str, body: dict[str, Any], **parameters: str) -> Any:
        answer = await self.ask("POST", entity, params=parameters, json=body)
        assert answer.status_code == 200, answer.text
        return next(iter(decode(answer.content).values()))

    async def xml(self, path: str, **parameters: str) -> ElementTree.Element:
        answer = await self.ask("GET", path, "application/xml", params=parameters)
        assert answer.headers["content-type"].startswith("application/xml")
        return ElementTree.fromstring(answer.text)

    async def control(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return await self.http.request(method, f"/_sim/companies/{REALM}/{path}", json=body)

    async def invoice(self, amount: int = 100, **more: Any) -> Any:
        line = {"Amount": amount, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {}}
        return await self.write("invoice", {"CustomerRef": {"value": "1"}, "Line": [line], **more})


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    simulator = Simulator(Options(history="none", limits=False))
    http = httpx.AsyncClient(transport=httpx.ASGITransport(build(simulator)), base_url="http://intuit")
    async with http:
        made = Caller(simulator, http)
        await made.write("customer", {"DisplayName": "Amy's <Birds> & Co"})
        yield made


# ---- XML -------------------------------------------------------------------------------------------------------------


async def test_record_in_xml_is_the_same_tree_with_attributes(caller: Caller) -> None:
    await caller.invoice(150)
    root = await caller.xml("invoice/1001")
    invoice = root.find(f"{NS}Invoice")
    assert root.tag == f"{NS}IntuitResponse" and root.get("time") and invoice is not None
    assert (invoice.get("domain"), invoice.get("sparse")) == ("QBO", "false")
    customer = invoice.find(f"{NS}CustomerRef")
    assert customer is not None and (customer.text, customer.get("name")) == ("1", "Amy's <Birds> & Co")
    assert invoice.findtext(f"{NS}TotalAmt") == "150.00"
    assert [line.findtext(f"{NS}DetailType") for line in invoice.findall(f"{NS}Line")] == [
        "SalesItemLineDetail",
        "SubTotalLineDetail",
    ]


async def test_payment_in_xml_names_what_it_links_and_its_line_noise(caller: Caller) -> None:
    await caller.invoice()
    lines = [{"Amount": 100, "LinkedTxn": [{"TxnId": "1001", "TxnType": "Invoice"}]}]
    await caller.write("payment", {"CustomerRef": {"value": "1"}, "TotalAmt": 100, "Line": lines})
    payment = (await caller.xml("payment/1002")).find(f"{NS}Payment")
    assert payment is not None
    assert payment.findtext(f"{NS}Line/{NS}LinkedTxn/{NS}TxnId") == "1001"
    noise = payment.findall(f"{NS}Line/{NS}LineEx/{NS}NameValue")
    assert [one.findtext(f"{NS}Name") for one in noise] == ["txnId", "txnOpenBalance", "txnReferenceNumber"]


async def test_query_and_faults_in_xml_have_their_attributes(caller: Caller) -> None:
    await caller.invoice()
    found = (await caller.xml("query", query="select * from Invoice")).find(f"{NS}QueryResponse")
    assert found is not None and (found.get("startPosition"), found.get("maxResults")) == ("1", "1")
    counted = (await caller.xml("query", query="select count(*) from Invoice")).find(f"{NS}QueryResponse")
    assert counted is not None and counted.get("totalCount") == "1"
    refused = await caller.ask("GET", "query", "text/xml", params={"query": "select * from Invoice startposition 0"})
    fault = ElementTree.fromstring(refused.text).find(f"{NS}Fault")
    assert refused.status_code == 400 and fault is not None and fault.get("type") == "ValidationFault"
    error = fault.find(f"{NS}Error")
    assert error is not None and error.get("code") == "4001"
    assert "value 0 is too small" in (error.findtext(f"{NS}Detail") or "")


@pytest.mark.parametrize("accept", ["application/json", "*/*", "", "application/xml, application/json"])
async def test_json_is_the_answer_unless_only_xml_is_wanted(caller: Caller, accept: str) -> None:
    answer = await caller.ask("GET", "companyinfo/1", accept)
    assert answer.headers["content-type"] == "application/json;charset=utf-8"


# ---- custom fields ---------------------------------------------------------------------------------------------------

DEFINITIONS = [
    {"id": "1000001", "name": "Floors", "type": "NUMBER", "forms": ["Invoice"]},
    {"id": "1000002", "name": "Handover", "type": "DATE", "forms": ["Invoice", "CreditMemo"]},
    {"id": "1000003", "name": "Region", "type": "STRING_LIST", "forms": ["Customer"], "choices": ["North", "South"]},
]


async def test_enhanced_fields_are_seen_and_written_with_include_only(caller: Caller) -> None:
    assert (await caller.control("PUT", "enhanced-fields", DEFINITIONS)).status_code == 200
    values = [
        {"DefinitionId": "1", "StringValue": "PRJ-0042"},
        {"DefinitionId": "1000001", "NumberValue": Decimal(12)},
        {"DefinitionId": "1000002", "DateValue": "2027-03-01"},
        {"DefinitionId": "1000003", "StringValue": "North"},  # not a field of invoices: dropped without a word
        {"DefinitionId": "999", "StringValue": "nobody knows it"},
    ]
    text = [one | {"NumberValue": 12} if "NumberValue" in one else one for one in values]
    line = {"Amount": 10, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {}}
    body = {"CustomerRef": {"value": "1"}, "Line": [line], "CustomField": text}
    classic = [
        {"DefinitionId": "1", "Name": "Reference Number", "Type": "StringType", "StringValue": "PRJ-0042"},
    ]
    enhanced = [
        {"DefinitionId": "1000001", "Name": "Floors", "Type": "NumberType", "NumberValue": 12},
        {"DefinitionId": "1000002", "Name": "Handover", "Type": "DateType", "DateValue": "2027-03-01"},
    ]
    assert (await caller.write("invoice", body))["CustomField"] == classic
    assert (await caller.get("invoice/1001", **ENHANCED))["Invoice"]["CustomField"] == classic, "dropped when written"
    assert (await caller.write("invoice", body, **ENHANCED))["CustomField"] == classic + enhanced
    assert (await caller.get("invoice/1002"))["Invoice"]["CustomField"] == classic
    listed = await caller.get("query", query="select * from Invoice where Id = '1002'", **ENHANCED)
    assert listed["QueryResponse"]["Invoice"][0]["CustomField"] == classic + enhanced
    changed = await caller.get("cdc", entities="Invoice", changedSince="2026-11-01T00:00:00Z", **ENHANCED)
    assert changed["CDCResponse"][0]["QueryResponse"][0]["Invoice"][1]["CustomField"] == classic + enhanced


async def test_customers_have_enhanced_fields_and_payments_have_none(caller: Caller) -> None:
    await caller.control("PUT", "enhanced-fields", DEFINITIONS)
    values = [{"DefinitionId": "1000003", "StringValue": "South"}]
    customer = {"Id": "1", "SyncToken": "0", "sparse": True, "CustomField": values}
    shown = await caller.write("customer", customer, **ENHANCED)
    assert [one["StringValue"] for one in shown["CustomField"]] == ["South"]
    assert "CustomField" not in (await caller.get("customer/1"))["Customer"]
    payment = {"CustomerRef": {"value": "1"}, "TotalAmt": 5, "CustomField": values}
    assert "CustomField" not in await caller.write("payment", payment, **ENHANCED)
    wrong = await caller.ask(
        "POST",
        "customer",
        params=ENHANCED,
        json=customer | {"SyncToken": "1", "CustomField": [values[0] | {"StringValue": "West"}]},
    )
    assert wrong.status_code == 400


async def test_full_update_without_include_keeps_what_it_cannot_see(caller: Caller) -> None:
    await caller.control("PUT", "enhanced-fields", DEFINITIONS)
    fields = [{"DefinitionId": "1000001", "NumberValue": 3}, {"DefinitionId": "1", "StringValue": "A"}]
    line = {"Amount": 10, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {}}
    body = {"CustomerRef": {"value": "1"}, "Line": [line]}
    made = await caller.write("invoice", body | {"CustomField": fields}, **ENHANCED)
    await caller.write("invoice", body | {"Id": made["Id"], "SyncToken": "0"})
    shown = (await caller.get(f"invoice/{made['Id']}", **ENHANCED))["Invoice"]["CustomField"]
    assert [one.get("StringValue", one.get("NumberValue")) for one in shown] == [None, 3]


async def test_a_fourth_classic_field_is_not_shown_and_names_follow_their_definition(caller: Caller) -> None:
    caller.company.book.field_names = {"1": "Reference Number", "2": "Crew", "3": "Site", "4": "Unseen"}
    given = [{"DefinitionId": str(number), "StringValue": f"v{number}"} for number in range(1, 5)]
    made = await caller.invoice(CustomField=given)
    assert [one["Name"] for one in made["CustomField"]] == ["Reference Number", "Crew", "Site"]
    caller.company.book.field_names["1"] = "Project No."
    renamed = await caller.write("invoice", {"Id": made["Id"], "SyncToken": "0", "sparse": True, "PrivateNote": "x"})
    assert renamed["CustomField"][0] == given[0] | {"Name": "Project No.", "Type": "StringType"}


# ---- the company, reports, hidden records ----------------------------------------------------------------------------


async def test_report_is_answered_counted_and_refused_like_other_reads(caller: Caller) -> None:
    await caller.invoice(70)
    found = await caller.get("reports/CustomerBalance")
    assert found["Rows"]["Row"][0]["ColData"] == [{"value": "Amy's <Birds> & Co", "id": "1"}, {"value": "70.00"}]
    counted = caller.simulator.limits.report(REALM)
    assert counted["metered"] == 1 and "GET reports" in str(counted)
    refused = await caller.ask("GET", "reports/Horoscope")
    assert (refused.status_code, decode(refused.content)["Fault"]["Error"][0]["code"]) == (400, "500")


async def test_plan_is_told_in_company_info_and_preferences(caller: Caller) -> None:
    assert (await caller.control("PUT", "plan", {"plan": "Simple Start"})).json() == {"plan": "Simple Start"}
    company = (await caller.get("companyinfo/1"))["CompanyInfo"]
    assert {"Name": "OfferingSku", "Value": "QuickBooks Online Simple Start"} in company["NameValue"]
    preferences = (await caller.get("preferences"))["Preferences"]
    assert preferences["AccountingInfoPrefs"]["ClassTrackingPerTxnLine"] is False
    assert (await caller.control("PUT", "plan", {"plan": "Imaginary"})).status_code == 400


async def test_charges_of_quickbooks_own_pages_are_seen_only_in_the_invoice(caller: Caller) -> None:
    charge = {"CustomerRef": {"value": "1"}, "Amount": 40}
    made = (await caller.control("POST", "charges/StatementCharge", charge)).json()
    invoice = await caller.invoice(LinkedTxn=[{"TxnId": made["id"], "TxnType": "StatementCharge"}])
    assert invoice["LinkedTxn"] == [{"TxnId": made["id"], "TxnType": "StatementCharge"}]
    assert invoice["TotalAmt"] == 140 and sum(one["Amount"] for one in invoice["Line"]) == 200  # with the subtotal
    hidden = await caller.ask("GET", f"statementcharge/{made['id']}")
    unknown = await caller.ask("GET", "query", params={"query": "select * from StatementCharge"})
    assert (hidden.status_code, unknown.status_code) == (400, 400)
    assert (await caller.control("GET", "audit")).json() == []


async def test_project_made_in_quickbooks_can_be_named_by_documents(caller: Caller) -> None:
    project = (await caller.control("POST", "quickbooks-projects", {"name": "Quay", "customer_id": "1"})).json()
    invoice = await caller.invoice(ProjectRef={"value": project["project_id"]})
    assert invoice["ProjectRef"] == {"value": project["project_id"]}
    shown = (await caller.get(f"customer/{project['customer_id']}"))["Customer"]
    assert (shown["IsProject"], shown["ParentRef"]) == (True, {"value": "1"}) and "ProjectId" not in shown
    twice = await caller.control("POST", "quickbooks-projects", {"name": "Quay", "customer_id": "1"})
    assert (twice.status_code, twice.json()["Fault"]["Error"][0]["code"]) == (400, "6240")


async def test_estimate_says_which_invoice_closed_it_and_hours_that_they_are_billed(caller: Caller) -> None:
    line = {"Amount": 10, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {}}
    estimate = await caller.write("estimate", {"CustomerRef": {"value": "1"}, "Line": [line]})
    hours = await caller.write("timeactivity", {"CustomerRef": {"value": "1"}, "Hours": 1, "HourlyRate": 50})
    assert (estimate["TxnStatus"], hours["BillableStatus"]) == ("Pending", "NotBillable")
    linked = [{"TxnId": estimate["Id"], "TxnType": "Estimate"}, {"TxnId": hours["Id"], "TxnType": "TimeActivity"}]
    invoice = await caller.invoice(LinkedTxn=linked)
    closed = (await caller.get(f"estimate/{estimate['Id']}"))["Estimate"]
    assert (closed["TxnStatus"], closed["LinkedTxn"]) == ("Closed", [{"TxnId": invoice["Id"], "TxnType": "Invoice"}])
    billed = (await caller.get(f"timeactivity/{hours['Id']}"))["TimeActivity"]
    assert billed["BillableStatus"] == "HasBeenBilled" and "InvoiceId" not in billed


async def test_statement_may_be_sent_as_a_body_of_text(caller: Caller) -> None:
    await caller.invoice()
    for kind in ("application/text", "text/plain"):
        answer = await caller.ask(
            "POST", "query", content="select count(*) from Invoice", headers={"content-type": kind}
        )
        assert decode(answer.content)["QueryResponse"] == {"totalCount": 1}


def test_what_the_company_defines_is_kept_over_a_restart(tmp_path: Any) -> None:
    first = Simulator(Options(history="none", data_dir=tmp_path))
    company = first.companies[REALM]
    parent = company.create(Kind.CUSTOMER, {"DisplayName": "A"}).id
    project = company.create_project("Quay", parent).fields["ProjectId"]
    first.close()
    second = Simulator(Options(history="none", data_dir=tmp_path))
    try:
        book = second.companies[REALM].book
        assert list(book.customers.projects) == [project]
        assert int(book.create_project("Pier", parent, company.clock.now())[0].record.fields["ProjectId"]) > int(
            project
        )
    finally:
        second.close()
