"""How Intuit answers reads: behaviours 7 to 11 of intuit.md 7, over HTTP. The first line of a test is its fact."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.simulated import FIRST, LINE, SECOND, THIRD, Intuit, fault

CROWD = 1050


@pytest.fixture(scope="module")
def crowd(behaving: Intuit) -> str:
    """The moment before more than a thousand customers were made in the third company."""
    behaving.calm()
    since = str(behaving.sim("GET", "/clock")["now"])
    behaving.pass_seconds(2)
    headers = behaving.token(THIRD)
    for start in range(0, CROWD, 30):
        items = [
            {"bId": str(number), "operation": "create", "Customer": {"DisplayName": f"Crowd {number:05d}"}}
            for number in range(start, min(start + 30, CROWD))
        ]
        answer = behaving.http.post(f"/v3/company/{THIRD}/batch", json={"BatchItemRequest": items}, headers=headers)
        assert answer.status_code == 200 and "Fault" not in answer.text
    return since


def refused(intuit: Intuit, statement: str) -> tuple[int, str]:
    return fault(intuit.get("query", query=statement))


def versions(record: dict[str, Any]) -> tuple[str, str]:
    return record["SyncToken"], record["MetaData"]["LastUpdatedTime"]


# --- 7. versions ---------------------------------------------------------------------------------------------------


def test_07_versions_start_at_zero_and_rise_with_each_edit(intuit: Intuit) -> None:
    """`SyncToken` is a text, "0" at creation and one more after each direct edit. [3.9 CONFIRMED]"""
    made = intuit.invoice()
    assert made["SyncToken"] == "0"
    for token in ("0", "1"):
        body = {"Id": made["Id"], "SyncToken": token, "sparse": True, "PrivateNote": token}
        made = intuit.write("Invoice", body)
    assert made["SyncToken"] == "2"


def test_07_versions_of_an_invoice_rise_when_a_payment_is_applied(intuit: Intuit) -> None:
    """Applying a payment raises the invoice's SyncToken and moves its time. [3.9 MEASURED, breeze]"""
    customer = intuit.customer()
    invoice = intuit.invoice(customer)
    intuit.pass_seconds(5)
    payment = intuit.pay(customer, 40, ("Invoice", invoice["Id"], 40))
    after = intuit.read("Invoice", invoice["Id"])
    assert versions(after) == ("1", payment["MetaData"]["CreateTime"])
    assert versions(after)[1] > versions(invoice)[1]


def test_07_versions_do_not_tell_of_moved_balances(intuit: Intuit) -> None:
    """A balance alone moves a customer's LastUpdatedTime and not its SyncToken. [3.9 MEASURED, NANGO]"""
    customer = intuit.customer()
    before = intuit.read("Customer", customer)
    intuit.pass_seconds(5)
    intuit.invoice(customer)
    after = intuit.read("Customer", customer)
    assert after["Balance"] != before["Balance"] and after["SyncToken"] == before["SyncToken"] == "0"
    assert after["MetaData"]["LastUpdatedTime"] > before["MetaData"]["LastUpdatedTime"]


def test_07_versions_do_not_tell_of_a_deposit(intuit: Intuit) -> None:
    """A deposit gives its payment a header link without a new SyncToken. [4.4 MEASURED]"""
    customer = intuit.customer()
    payment = intuit.pay(customer, 100)
    intuit.pass_seconds(5)
    link = {"TxnId": payment["Id"], "TxnType": "Payment"}
    deposit = intuit.write("Deposit", {"Line": [{"Amount": 100, "LinkedTxn": [link]}]})
    after = intuit.read("Payment", payment["Id"])
    assert after["LinkedTxn"] == [{"TxnId": deposit["Id"], "TxnType": "Deposit"}]
    assert after["SyncToken"] == "0"
    assert after["MetaData"]["LastUpdatedTime"] > payment["MetaData"]["LastUpdatedTime"]


@pytest.mark.parametrize(("raised", "token"), [(True, "1"), (False, "0")])
def test_07_versions_of_an_applied_memo_by_switch(intuit: Intuit, raised: bool, token: str) -> None:
    """Whether applying a memo raises its SyncToken, as an invoice's: switch `memo_revision_on_apply`. [UNSURE]"""
    customer = intuit.customer()
    invoice = intuit.invoice(customer)["Id"]
    memo = intuit.write("CreditMemo", {"CustomerRef": {"value": customer}, "Line": [LINE]})["Id"]
    with intuit.switched(memo_revision_on_apply=raised):
        intuit.pay(customer, 0, ("Invoice", invoice, 100), ("CreditMemo", memo, 100))
    assert intuit.read("CreditMemo", memo)["SyncToken"] == token


def test_07_versions_that_are_stale_are_refused(intuit: Intuit) -> None:
    """A write with an old SyncToken is refused with 5010 and names the other user. [VCR, NET #366]"""
    made = intuit.invoice()
    body = {"Id": made["Id"], "SyncToken": "0", "sparse": True, "PrivateNote": "one"}
    intuit.write("Invoice", body)
    answer = intuit.post("invoice", body)
    assert fault(answer) == (400, "5010")
    assert "were working on this at the same time" in answer.json()["Fault"]["Error"][0]["Detail"]


def test_07_sparse_updates_keep_what_they_leave_out_and_full_ones_clear_it(intuit: Intuit) -> None:
    """`sparse: true` changes the given fields only; a full update clears what it omits. [3.9 CONFIRMED]"""
    made = intuit.invoice(PrivateNote="kept", CustomerMemo={"value": "thanks"})
    sparse = {"Id": made["Id"], "SyncToken": "0", "sparse": True, "CustomerMemo": {"value": "other"}}
    assert intuit.write("Invoice", sparse)["PrivateNote"] == "kept"
    full = {"Id": made["Id"], "SyncToken": "1", "CustomerRef": made["CustomerRef"], "Line": [LINE]}
    assert "PrivateNote" not in intuit.write("Invoice", full)


def test_07_sparse_updates_of_credit_memos_are_refused(intuit: Intuit) -> None:
    """Credit memos allow full updates only. [REF]"""
    memo = intuit.write("CreditMemo", {"CustomerRef": {"value": "5"}, "Line": [LINE]})
    body = {"Id": memo["Id"], "SyncToken": "0", "sparse": True, "PrivateNote": "x"}
    assert fault(intuit.post("creditmemo", body))[0] == 400


def test_07_totals_of_a_client_are_ignored(intuit: Intuit) -> None:
    """The server computes totals and overwrites read-only attributes without a word. [REF, D-REST]"""
    body = {"CustomerRef": {"value": "5"}, "Line": [LINE], "TotalAmt": 7, "Balance": 7, "domain": "X"}
    made = intuit.write("Invoice", body)
    assert (made["TotalAmt"], made["Balance"], made["domain"]) == (100, 100, "QBO")


def test_07_last_modified_by_is_shown_on_invoices_only(intuit: Intuit) -> None:
    """`MetaData.LastModifiedByRef` stands on invoices, not on payments, memos or customers. [NANGO]"""
    customer = intuit.customer()
    payment = intuit.pay(customer, 10)
    memo = intuit.write("CreditMemo", {"CustomerRef": {"value": customer}, "Line": [LINE]})
    others = [payment, memo, intuit.read("Customer", customer)]
    assert intuit.invoice(customer)["MetaData"]["LastModifiedByRef"]["value"]
    assert all("LastModifiedByRef" not in one["MetaData"] for one in others)


def test_07_request_id_repeats_the_first_answer_even_after_the_delete(intuit: Intuit) -> None:
    """`requestid` makes a write idempotent and replays its answer, even for an object since deleted. [breeze]"""
    body = {"CustomerRef": {"value": "5"}, "Line": [LINE]}
    first = intuit.post("invoice", body, requestid="conformance-1")
    made = first.json()["Invoice"]
    intuit.write("Invoice", {"Id": made["Id"], "SyncToken": "0"}, operation="delete")
    assert intuit.post("invoice", body, requestid="conformance-1").text == first.text
    assert fault(intuit.get(f"invoice/{made['Id']}")) == (400, "610")


# --- 8. reads ------------------------------------------------------------------------------------------------------


def test_08_reads_show_the_present_and_never_the_state_at_an_event(intuit: Intuit) -> None:
    """There are no old versions: a read shows what is so now. [7.8]"""
    made = intuit.invoice(PrivateNote="first")
    intuit.record("Invoice", {"Id": made["Id"], "PrivateNote": "second"})
    assert intuit.read("Invoice", made["Id"])["PrivateNote"] == "second"


def test_08_reads_may_lag_behind_the_webhook(intuit: Intuit) -> None:
    """A read right after the webhook can show the older version: knob `visibility_delay_s`. [UNSURE, 1.6]"""
    made = intuit.invoice(PrivateNote="old")
    intuit.sim("PUT", "/faults", [{"realm": FIRST, "visibility_delay_s": 10}])
    intuit.record("Invoice", {"Id": made["Id"], "PrivateNote": "new"})
    assert intuit.read("Invoice", made["Id"])["PrivateNote"] == "old"
    intuit.pass_seconds(11)
    assert intuit.read("Invoice", made["Id"])["PrivateNote"] == "new"


def test_08_reads_of_deleted_and_missing_records_answer_610(intuit: Intuit) -> None:
    """Deleted or missing: 400 with code 610, not 404. [VCR, PYQB]"""
    made = intuit.invoice()
    deleted = intuit.write("Invoice", {"Id": made["Id"], "SyncToken": "0"}, operation="delete")
    assert deleted == {"domain": "QBO", "status": "Deleted", "Id": made["Id"]}
    assert fault(intuit.get(f"invoice/{made['Id']}")) == fault(intuit.get("invoice/99999999")) == (400, "610")


@pytest.mark.parametrize(
    ("path", "code"),
    [("invoice/1.5", "2030"), ("invoice/1/5", "500"), ("spaceship/1", "500"), ("vendor/999999", "610")],
)
def test_08_reads_of_bad_paths_are_refused(intuit: Intuit, path: str, code: str) -> None:
    """A bad id is 2030, an unsupported path 500 "Unsupported Operation", both under 400. [VCR]"""
    assert fault(intuit.get(path)) == (400, code)


def test_08_reads_carry_intuits_headers(intuit: Intuit) -> None:
    """Answers carry intuit_tid, qbo-version and cache-control: no-store. [VCR]"""
    answer = intuit.get("invoice/1001")
    assert answer.headers["intuit_tid"] and answer.headers["qbo-version"]
    assert "no-store" in answer.headers["cache-control"]
    assert answer.headers["content-type"] == "application/json;charset=utf-8"


def test_08_reads_of_company_and_preferences(intuit: Intuit) -> None:
    """CompanyInfo and Preferences are read like records; preferences tell home currency and closing date. [D-REST]"""
    assert intuit.get(f"companyinfo/{FIRST}").json()["CompanyInfo"]["CompanyName"] == "Bayside Builders"
    preferences = intuit.get("preferences").json()["Preferences"]
    assert preferences["CurrencyPrefs"]["HomeCurrency"] == {"value": "USD"}
    assert "BookCloseDate" not in preferences["AccountingInfoPrefs"]


def test_08_minor_versions_are_ignored(intuit: Intuit) -> None:
    """Since August 2025 everything is served as minor version 75. [B-API25]"""
    invoice = intuit.invoice()["Id"]
    answers = [intuit.get(f"invoice/{invoice}", minorversion=one).json()["Invoice"] for one in ("4", "75")]
    assert answers[0] == answers[1]


# --- 9. queries ----------------------------------------------------------------------------------------------------


def test_09_query_pages_hold_a_hundred_unless_told_otherwise(intuit: Intuit, crowd: str) -> None:
    """The default page has 100 rows. [D-QRY]"""
    assert intuit.query("select * from Customer", THIRD)["maxResults"] == 100


def test_09_query_pages_hold_a_thousand_at_most(intuit: Intuit, crowd: str) -> None:
    """A page has 1000 rows at most, whatever is asked. [D-QRY]"""
    page = intuit.query("select * from Customer maxresults 5000", THIRD)
    assert (page["maxResults"], len(page["Customer"]), page["startPosition"]) == (1000, 1000, 1)
    rest = intuit.query("select * from Customer startposition 1001 maxresults 1000", THIRD)
    assert rest["startPosition"] == 1001 and rest["maxResults"] == len(rest["Customer"]) >= CROWD - 1000
    assert not {one["Id"] for one in page["Customer"]} & {one["Id"] for one in rest["Customer"]}


def test_09_query_positions_begin_at_one(intuit: Intuit) -> None:
    """STARTPOSITION 0 is refused with 4001: "value 0 is too small". [QBR]"""
    answer = intuit.get("query", query="select * from Invoice startposition 0")
    assert fault(answer) == (400, "4001") and "value 0 is too small" in answer.text


@pytest.mark.parametrize(
    "statement",
    [
        "select * from Invoice where Id = '1' or Id = '2'",
        "select * from Invoice join Customer",
        "select * from Invoice group by CustomerRef",
        "selec * from Invoice",
        "select * from Invoice where DocNumber ~ '1'",
    ],
)
def test_09_query_knows_and_only(intuit: Intuit, statement: str) -> None:
    """There is no OR, no JOIN, no GROUP BY; what cannot be parsed is refused with 4000. [D-QRY, QBR]"""
    assert refused(intuit, statement) == (400, "4000")


def test_09_query_conditions_are_joined_by_and(intuit: Intuit) -> None:
    """AND narrows. [D-QRY]"""
    customer = intuit.customer()
    invoice = intuit.invoice(customer, DocNumber=f"A{customer}")["Id"]
    intuit.invoice(customer)
    where = f"where CustomerRef = '{customer}' and DocNumber = 'A{customer}'"
    assert [one["Id"] for one in intuit.query(f"select * from Invoice {where}")["Invoice"]] == [invoice]


def test_09_query_escapes_an_apostrophe_with_a_backslash(intuit: Intuit) -> None:
    """An apostrophe is escaped by a backslash. [D-QRY, VCR]"""
    customer = intuit.customer(DisplayName="Adam's Roofing, conformance")
    found = intuit.query(r"select * from Customer where DisplayName = 'Adam\'s Roofing, conformance'")
    assert [one["Id"] for one in found["Customer"]] == [customer]


def test_09_query_ignores_case(intuit: Intuit) -> None:
    """Words, names and values are compared without case. [D-QRY]"""
    customer = intuit.customer(DisplayName="Cased Name, Conformance")
    found = intuit.query("SELECT * FROM customer WHERE displayname = 'cased name, conformance'")
    assert [one["Id"] for one in found["Customer"]] == [customer]


def test_09_query_knows_like_with_percent(intuit: Intuit) -> None:
    """LIKE takes % for any text. [D-QRY]"""
    customer = intuit.customer(DisplayName="Wild West Wells, conformance")
    found = intuit.query("select * from Customer where DisplayName like 'Wild%ells, conf%'")
    assert [one["Id"] for one in found["Customer"]] == [customer]
    assert intuit.query("select * from Customer where DisplayName like 'Wild_West%'") == {}


def test_09_query_compares_dates_and_amounts(intuit: Intuit) -> None:
    """=, <, >, <=, >= compare dates and amounts. [D-QRY]"""
    customer = intuit.customer()
    for day, amount in (("2026-01-01", 10), ("2026-02-01", 20), ("2026-03-01", 30)):
        line = {"Amount": amount, "DetailType": "SalesItemLineDetail"}
        intuit.invoice(customer, TxnDate=day, Line=[line | {"SalesItemLineDetail": {"ItemRef": {"value": "1"}}}])
    own = f"select * from Invoice where CustomerRef = '{customer}' and"
    for condition, count in (
        *(("TxnDate > '2026-01-01'", 2), ("TxnDate <= '2026-02-01'", 2), ("TotalAmt >= '20.00'", 2)),
        *(("TotalAmt < '20.00'", 1), ("TxnDate = '2026-03-01'", 1), ("Balance = '30'", 1)),
    ):
        assert intuit.query(f"{own} {condition}")["maxResults"] == count, condition


def test_09_query_knows_today(intuit: Intuit) -> None:
    """CURRENT_DATE is today in the company. [D-QRY]"""
    customer = intuit.customer()
    invoice = intuit.invoice(customer)["Id"]
    where = f"where CustomerRef = '{customer}' and TxnDate = CURRENT_DATE"
    assert [one["Id"] for one in intuit.query(f"select * from Invoice {where}")["Invoice"]] == [invoice]


def test_09_query_lists_active_names_unless_asked(intuit: Intuit) -> None:
    """Lists of names hold active ones only, unless `Active IN (true,false)` is asked. [D-QRY, tap-quickbooks]"""
    customer = intuit.customer()
    intuit.record("Customer", {"Id": customer, "Active": False})
    where = f"where Id = '{customer}'"
    assert intuit.query(f"select * from Customer {where}") == {}
    found = intuit.query(f"select * from Customer {where} and Active in (true,false)")["Customer"]
    assert [(one["Id"], one["Active"]) for one in found] == [(customer, False)]


@pytest.mark.parametrize("condition", ["Id > '5'", "Id < '5'", "Id like '5%'", "Id != '5'", "Id >= '5'"])
def test_09_query_compares_ids_for_equality_only(intuit: Intuit, condition: str) -> None:
    """On Id only = and IN are allowed. [3.3 CONFIRMED]"""
    assert refused(intuit, f"select * from Invoice where {condition}") == (400, "4001")


def test_09_query_takes_lists_of_ids(intuit: Intuit) -> None:
    """`Id IN (...)` finds many at once; what is not there is left out. [3.3, 3.7]"""
    made = [intuit.invoice()["Id"] for _ in range(3)]
    listed = ",".join(f"'{one}'" for one in [*made, "99999999"])
    found = intuit.query(f"select * from Invoice where Id in ({listed})")["Invoice"]
    assert {one["Id"] for one in found} == set(made)


def test_09_query_does_not_sort_by_id(intuit: Intuit) -> None:
    """Id is no longer sortable. [sahat/hackathon-starter #1510]"""
    assert refused(intuit, "select * from Invoice orderby Id") == (400, "4001")


@pytest.mark.parametrize("words", ["orderby MetaData.LastUpdatedTime desc", "ORDER BY TxnDate ASC"])
def test_09_query_sorts_by_times_and_dates(intuit: Intuit, words: str) -> None:
    """Times and TxnDate sort; ORDERBY may be written in two words. [3.3, tap-quickbooks]"""
    for day in ("2026-05-02", "2026-05-01"):
        intuit.invoice(TxnDate=day)
        intuit.pass_seconds(1)
    found = intuit.query(f"select * from Invoice {words} maxresults 1000")["Invoice"]
    key = [one["TxnDate"] if "Txn" in words else _moment(one["MetaData"]["LastUpdatedTime"]) for one in found]
    assert key == sorted(key, reverse="desc" in words)


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_09_query_counts(intuit: Intuit, crowd: str) -> None:
    """COUNT answers totalCount, which ordinary pages do not have. [D-QRY, NANGO]"""
    counted = intuit.query("select count(*) from Customer", THIRD)
    assert counted.keys() == {"totalCount"} and counted["totalCount"] >= CROWD
    assert "totalCount" not in intuit.query("select * from Customer", THIRD)


def test_09_query_without_rows_has_no_key(intuit: Intuit) -> None:
    """No rows: `{"QueryResponse":{}}`. [3.3, VCR]"""
    assert intuit.query("select * from Invoice where DocNumber = 'no such number'") == {}


@pytest.mark.parametrize(
    ("entity", "name"),
    [("Invoice", "CustomField"), ("Invoice", "LinkedTxn"), ("Payment", "DocNumber"), ("Invoice", "PrivateNote")],
)
def test_09_query_refuses_what_cannot_be_filtered(intuit: Intuit, entity: str, name: str) -> None:
    """CustomField and LinkedTxn are not filterable, nor DocNumber of a payment: 4001. [XSD, 3.3]"""
    assert refused(intuit, f"select * from {entity} where {name} = 'x'") == (400, "4001")


def test_09_query_refuses_unknown_entities(intuit: Intuit) -> None:
    """An entity that does not exist is refused with 4001. [QBR]"""
    assert refused(intuit, "select * from Spaceship") == (400, "4001")


def test_09_query_is_answered_by_post_as_well(intuit: Intuit) -> None:
    """POST takes the statement as application/text. [D-QRY]"""
    statement = "select count(*) from Invoice"
    headers = intuit.token() | {"content-type": "application/text"}
    posted = intuit.http.post(f"/v3/company/{FIRST}/query", content=statement, headers=headers)
    assert posted.json()["QueryResponse"] == intuit.query(statement)


def test_09_query_ignores_a_named_projection(intuit: Intuit) -> None:
    """Columns cannot be chosen. [3.3]"""
    (found,) = intuit.query("select Id, DocNumber from Invoice maxresults 1")["Invoice"]
    assert "Line" in found


def test_09_query_shows_voided_and_not_deleted_documents(intuit: Intuit) -> None:
    """Deleted transactions never appear; voided ones do. [3.3 CONFIRMED]"""
    customer = intuit.customer()
    kept, gone = (intuit.invoice(customer)["Id"] for _ in range(2))
    intuit.write("Invoice", {"Id": kept, "SyncToken": "0"}, operation="void")
    intuit.write("Invoice", {"Id": gone, "SyncToken": "0"}, operation="delete")
    found = intuit.query(f"select * from Invoice where CustomerRef = '{customer}'")["Invoice"]
    assert [one["Id"] for one in found] == [kept]


def test_09_query_lists_names_by_full_name(intuit: Intuit) -> None:
    """Without ORDERBY customers come by their full name. [VCR MEASURED]"""
    names = [one["FullyQualifiedName"].lower() for one in intuit.query("select * from Customer", SECOND)["Customer"]]
    assert names == sorted(names) and len(names) >= 10


@pytest.mark.parametrize("newest", [True, False])
def test_09_query_lists_documents_by_switch(intuit: Intuit, newest: bool) -> None:
    """Without ORDERBY documents come latest change first or oldest first: switch `unordered_newest_first`. [UNSURE]"""
    customer = intuit.customer()
    made = []
    for _ in range(3):
        made.append(intuit.invoice(customer)["Id"])
        intuit.pass_seconds(2)
    with intuit.switched(unordered_newest_first=newest):
        found = intuit.query(f"select * from Invoice where CustomerRef = '{customer}'")["Invoice"]
    assert [one["Id"] for one in found] == (made[::-1] if newest else made)


# --- 10. change data capture ---------------------------------------------------------------------------------------


def now(intuit: Intuit) -> datetime:
    return datetime.fromisoformat(intuit.sim("GET", "/clock")["now"])


def changes(intuit: Intuit, since: datetime | str, entities: str, realm: str = FIRST) -> list[dict[str, Any]]:
    text = since if isinstance(since, str) else since.isoformat(timespec="seconds")
    answer = intuit.get("cdc", realm, entities=entities, changedSince=text)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json(parse_float=Decimal)["CDCResponse"][0]["QueryResponse"]
    return found


def test_10_changes_of_more_than_thirty_days_are_refused(intuit: Intuit) -> None:
    """The look-back is thirty days. [D-CDC]"""
    inside, outside = (now(intuit) - timedelta(days=days) for days in (29.9, 30.1))
    assert changes(intuit, inside, "Invoice") is not None
    answer = intuit.get("cdc", entities="Invoice", changedSince=outside.isoformat(timespec="seconds"))
    assert fault(answer)[0] == 400


def test_10_changes_are_a_thousand_over_all_entities_without_a_warning(intuit: Intuit, crowd: str) -> None:
    """At most 1000 objects in one answer, shared over all entities, with no hint that there are more. [D-CDC]"""
    found = changes(intuit, crowd, "Invoice,Customer,Payment", THIRD)
    objects = [one for part in found for rows in part.values() if isinstance(rows, list) for one in rows]
    assert len(objects) == 1000
    assert all(part.keys() <= {"Invoice", "Customer", "Payment", "startPosition", "maxResults"} for part in found)


def test_10_changes_hold_full_records_and_empty_objects(intuit: Intuit) -> None:
    """One element per entity asked; whole records; `{}` where nothing changed. [3.4 CONFIRMED]"""
    intuit.pass_seconds(2)
    since = now(intuit)
    made = intuit.invoice("6")
    invoices, refunds = changes(intuit, since, "Invoice,RefundReceipt")
    assert [one["Id"] for one in invoices["Invoice"]] == [made["Id"]] and invoices["Invoice"][0]["Line"]
    assert (invoices["startPosition"], invoices["maxResults"]) == (1, 1)
    assert refunds == {}


def test_10_changes_tell_of_deletes_by_stubs(intuit: Intuit) -> None:
    """A deleted record is a stub without SyncToken and amounts. [3.4 CONFIRMED]"""
    made = intuit.invoice()
    intuit.pass_seconds(2)
    since = now(intuit)
    intuit.write("Invoice", {"Id": made["Id"], "SyncToken": "0"}, operation="delete")
    ((stub,),) = [part["Invoice"] for part in changes(intuit, since, "Invoice")]
    assert stub.keys() == {"domain", "status", "Id", "MetaData"}
    assert (stub["status"], stub["Id"], stub["MetaData"].keys()) == ("Deleted", made["Id"], {"LastUpdatedTime"})


@pytest.mark.parametrize("false", [True, False])
def test_10_changes_call_updates_deleted_by_switch(intuit: Intuit, false: bool) -> None:
    """An updated record may be called Deleted: switch `false_deletes`. [UNSURE, NET #189]"""
    made = intuit.invoice()
    intuit.pass_seconds(2)
    since = now(intuit)
    for _ in range(4):
        intuit.record("Invoice", {"Id": made["Id"], "PrivateNote": "edited"})
    with intuit.switched(false_deletes=false):
        ((row,),) = [part["Invoice"] for part in changes(intuit, since, "Invoice")]
    assert (row.get("status") == "Deleted") == false
    assert intuit.read("Invoice", made["Id"])["PrivateNote"] == "edited"


@pytest.mark.parametrize("inclusive", [True, False])
def test_10_changes_at_the_very_moment_by_switch(intuit: Intuit, inclusive: bool) -> None:
    """Whether changedSince is inclusive: switch `changed_since_inclusive`. [UNSURE, 3.4]"""
    intuit.pass_seconds(2)
    made = intuit.invoice()
    with intuit.switched(changed_since_inclusive=inclusive):
        found = changes(intuit, made["MetaData"]["LastUpdatedTime"], "Invoice")
    assert (made["Id"] in [one["Id"] for part in found for one in part.get("Invoice", [])]) == inclusive


def test_10_changes_are_not_captured_for_some_entities(intuit: Intuit) -> None:
    """There is no change data capture for JournalCode, TaxAgency, TimeActivity, TaxCode, TaxRate. [D-CDC]"""
    since = now(intuit).isoformat(timespec="seconds")
    assert fault(intuit.get("cdc", entities="TaxRate", changedSince=since))[0] == 400


def test_10_changes_include_inactive_customers(intuit: Intuit) -> None:
    """Capture shows a customer made inactive as a whole record, not as deleted. [4.1, 1.4]"""
    customer = intuit.customer()
    intuit.pass_seconds(2)
    since = now(intuit)
    intuit.record("Customer", {"Id": customer, "Active": False})
    rows = changes(intuit, since, "Customer")[0]["Customer"]
    assert [(one["Id"], one.get("Active")) for one in rows] == [(customer, False)]


# --- 11. batch -----------------------------------------------------------------------------------------------------


def batch(intuit: Intuit, *items: dict[str, Any]) -> list[dict[str, Any]]:
    asked = [{"bId": str(number), **item} for number, item in enumerate(items)]
    answer = intuit.post("batch", {"BatchItemRequest": asked})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["BatchItemResponse"]
    return found


def test_11_batch_answers_each_item_under_its_id(intuit: Intuit) -> None:
    """Creates, updates, voids, deletes and queries in one batch, each with its answer. [3.5 CONFIRMED, VCR]"""
    one, two, three = (intuit.invoice()["Id"] for _ in range(3))
    created, updated, voided, deleted, queried = batch(
        intuit,
        {"operation": "create", "Customer": {"DisplayName": f"Batch {one}"}},
        {"operation": "update", "Invoice": {"Id": one, "SyncToken": "0", "sparse": True, "PrivateNote": "b"}},
        {"operation": "update", "optionsData": "void", "Invoice": {"Id": two, "SyncToken": "0"}},
        {"operation": "delete", "Invoice": {"Id": three, "SyncToken": "0"}},
        {"Query": "select * from Invoice maxresults 1"},
    )
    assert created["Customer"]["DisplayName"] == f"Batch {one}" and created["bId"] == "0"
    assert updated["Invoice"]["PrivateNote"] == "b"
    assert voided["Invoice"]["TotalAmt"] == 0
    assert deleted["Invoice"] == {"domain": "QBO", "status": "Deleted", "Id": three}
    assert queried["QueryResponse"]["maxResults"] == 1


def test_11_batch_holds_a_fault_under_200(intuit: Intuit) -> None:
    """One item's fault leaves the others alone, and the answer is 200. [VCR batch/basic.yml]"""
    bad, good = batch(
        intuit,
        {"operation": "delete", "Invoice": {"Id": "99999999", "SyncToken": "0"}},
        {"Query": "select count(*) from Customer"},
    )
    assert bad["Fault"]["Error"][0]["code"] == "610" and bad["Fault"]["type"] == "ValidationFault"
    assert good["QueryResponse"]["totalCount"] > 0


def test_11_batch_runs_its_items_in_order(intuit: Intuit) -> None:
    """Items run one after the other. [3.5]"""
    name = f"Twice {intuit.invoice()['Id']}"
    first, second = batch(intuit, *[{"operation": "create", "Customer": {"DisplayName": name}}] * 2)
    assert "Customer" in first and second["Fault"]["Error"][0]["code"] == "6240"


def test_11_batch_of_more_than_thirty_is_refused(intuit: Intuit) -> None:
    """A batch has thirty items at most. [3.5]"""
    items = [{"bId": str(number), "Query": "select count(*) from Invoice"} for number in range(31)]
    assert intuit.post("batch", {"BatchItemRequest": items[:30]}).status_code == 200
    assert fault(intuit.post("batch", {"BatchItemRequest": items}))[0] == 400
