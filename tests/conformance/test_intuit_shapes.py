"""How Intuit writes things down: behaviour 20 of intuit.md 7, custom fields (5) and faults (3.8), over HTTP."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from typing import Any

import pytest

from tests.simulated import FIRST, LINE, SECOND, THIRD, Intuit, fault


def form(customer: str, amount: Any = 100, **more: Any) -> dict[str, Any]:
    detail = {"ItemRef": {"value": "1"}}
    line = {"Amount": amount, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": detail}
    return {"CustomerRef": {"value": customer}, "Line": [line], **more}


# --- 20. representation --------------------------------------------------------------------------------------------


def test_20_money_has_two_digits_and_zero_is_zero(intuit: Intuit) -> None:
    """Money is written `100.00`, zero as `0`, quantities and prices without needless zeros. [VCR raw bytes]"""
    detail = {"ItemRef": {"value": "1"}, "UnitPrice": 75.0, "Qty": 4.50}
    line = {"Amount": 337.5, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": detail}
    text = intuit.post("invoice", {"CustomerRef": {"value": "5"}, "Line": [line]}).text
    for written in ('"TotalAmt":337.50', '"Amount":337.50', '"TotalTax":0', '"UnitPrice":75,', '"Qty":4.5,'):
        assert written in text, written


def test_20_money_keeps_every_cent_of_large_amounts(intuit: Intuit) -> None:
    """Amounts are decimals: nothing is rounded on the way. [XSD]"""
    customer = intuit.customer()
    text = json.dumps(form(customer, 1)).replace('"Amount": 1', '"Amount": 99999999999.99')
    headers = intuit.token() | {"content-type": "application/json"}
    answer = intuit.http.post(f"/v3/company/{FIRST}/invoice", content=text, headers=headers)
    assert '"TotalAmt":99999999999.99' in answer.text


def test_20_ids_and_tokens_are_texts_and_references_have_value_and_name(intuit: Intuit) -> None:
    """Id and SyncToken are strings; references are `{"value", "name"}`; `domain` is "QBO". [4]"""
    made = intuit.invoice()
    assert isinstance(made["Id"], str) and isinstance(made["SyncToken"], str)
    assert (made["domain"], made["sparse"]) == ("QBO", False)
    assert made["CustomerRef"].keys() == {"value", "name"}
    assert made["CurrencyRef"] == {"value": "USD", "name": "United States Dollar"}


def test_20_reference_names_a_job_by_its_own_name(intuit: Intuit) -> None:
    """`CustomerRef.name` is the DisplayName and not the whole path. [NANGO]"""
    parent = intuit.customer()
    name = f"Own name {parent}"
    job = intuit.customer(DisplayName=name, Job=True, ParentRef={"value": parent})
    assert intuit.invoice(job)["CustomerRef"]["name"] == name


@pytest.mark.parametrize(
    ("at", "offset"), [("2031-01-15T20:00:00+00:00", "-08:00"), ("2031-07-15T20:00:00+00:00", "-07:00")]
)
def test_20_times_are_whole_seconds_in_the_companys_zone(intuit: Intuit, at: str, offset: str) -> None:
    """MetaData has whole seconds with the company's offset, which moves with daylight saving. [NANGO, VCR]"""
    intuit.sim("PUT", "/clock", {"now": _later(intuit, at)})
    text = intuit.invoice()["MetaData"]["LastUpdatedTime"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d" + offset, text)


def _later(intuit: Intuit, at: str) -> str:
    """That day of a year to come: time does not run backwards here."""
    year = datetime.fromisoformat(intuit.sim("GET", "/clock")["now"]).year + 1
    return at.replace("2031", str(max(year, 2031)))


def test_20_time_of_an_answer_has_milliseconds(intuit: Intuit) -> None:
    """An answer's `time` has milliseconds and an offset. [VCR]"""
    text = intuit.get("preferences").json()["time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}-0[78]:00", text)


def test_20_fields_without_a_value_are_left_out(intuit: Intuit) -> None:
    """Answers hold only attributes with values: nothing is null or empty text. [D-QRY]"""

    def nothings(value: Any) -> bool:
        if isinstance(value, dict):
            return any(nothings(part) for part in value.values())
        return any(nothings(one) for one in value) if isinstance(value, list) else value in (None, "")

    made = intuit.record("Invoice", form("5", PrivateNote="", CustomerMemo=None))
    assert not nothings(made) and "PrivateNote" not in made


def test_20_fields_nobody_documented_are_there(intuit: Intuit) -> None:
    """Unknown fields appear without notice: V4IDPseudonym, ClientEntityId, CustomExtensions. [B-API25, NANGO]"""
    customer = intuit.read("Customer", intuit.customer())
    assert {"V4IDPseudonym", "ClientEntityId"} <= customer.keys()
    assert intuit.invoice()["Line"][0]["CustomExtensions"] == []


def test_20_ids_are_unique_within_one_company_only(intuit: Intuit) -> None:
    """The same Id exists in two companies. [Servosity #104]"""
    first, second = (intuit.get("invoice/1001", realm).json()["Invoice"] for realm in (FIRST, SECOND))
    assert first["Id"] == second["Id"] and first["Line"] != second["Line"]


def test_20_invoice_lines_end_in_a_subtotal_and_tax_is_apart(intuit: Intuit) -> None:
    """A subtotal line without Id ends the lines; tax stands in TxnTaxDetail alone. [4.2]"""
    body = form("5", TxnTaxDetail={"TxnTaxCodeRef": {"value": "2"}})
    body["Line"][0]["SalesItemLineDetail"]["TaxCodeRef"] = {"value": "TAX"}
    made = intuit.write("Invoice", body)
    assert [line["DetailType"] for line in made["Line"]] == ["SalesItemLineDetail", "SubTotalLineDetail"]
    assert "Id" not in made["Line"][-1]
    assert (made["TxnTaxDetail"]["TotalTax"], made["TotalAmt"]) == (8, 108)
    assert made["TxnTaxDetail"]["TaxLine"][0]["TaxLineDetail"]["TaxPercent"] == 8


def test_20_discount_is_a_line_and_taxed_before_or_after(intuit: Intuit) -> None:
    """TotalAmt = lines - discount + tax; ApplyTaxAfterDiscount decides what is taxed. [REF, 4.2]"""
    totals = []
    for after in (True, False):
        body = form("5", ApplyTaxAfterDiscount=after, TxnTaxDetail={"TxnTaxCodeRef": {"value": "2"}})
        body["Line"][0]["SalesItemLineDetail"]["TaxCodeRef"] = {"value": "TAX"}
        detail = {"PercentBased": True, "DiscountPercent": 10}
        body["Line"].append({"DetailType": "DiscountLineDetail", "DiscountLineDetail": detail})
        totals.append(intuit.write("Invoice", body)["TotalAmt"])
    assert [str(one) for one in totals] == ["97.20", "98.00"]


def test_20_credit_memo_is_positive_with_what_remains(intuit: Intuit) -> None:
    """A credit memo is written with a positive sign and RemainingCredit. [4.3]"""
    made = intuit.write("CreditMemo", form("5", 200))
    assert (made["TotalAmt"], made["RemainingCredit"], made["Balance"]) == (200, 200, 200)
    assert not {"LinkedTxn", "DueDate"} & made.keys()


def test_20_refund_receipt_names_where_the_money_leaves(intuit: Intuit) -> None:
    """A refund receipt has DepositToAccountRef, a positive total and balance 0. [4.5]"""
    made = intuit.write("RefundReceipt", form("5", 75, DepositToAccountRef={"value": "35"}))
    assert (made["TotalAmt"], made["Balance"], made["DepositToAccountRef"]["value"]) == (75, 0, "35")


def test_20_one_currency_shows_no_rate_and_no_home_amounts(intuit: Intuit) -> None:
    """Without multicurrency there is no ExchangeRate and nothing in home currency; others are refused. [D-FX]"""
    made = intuit.invoice()
    assert not {"ExchangeRate", "HomeTotalAmt", "HomeBalance"} & made.keys()
    answer = intuit.post("customer", {"DisplayName": "Foreigner, conformance", "CurrencyRef": {"value": "EUR"}})
    assert fault(answer) == (400, "6000")


# --- section 5: custom fields --------------------------------------------------------------------------------------


@pytest.fixture
def named(intuit: Intuit) -> Intuit:
    """Three custom fields in the third company."""
    intuit.sim("PUT", f"/companies/{THIRD}/custom-fields", {"1": "Reference Number", "2": "Crew #", "3": "Site"})
    return intuit


def test_s5_fields_come_with_definition_name_and_type(named: Intuit) -> None:
    """`CustomField` has DefinitionId "1".."3", Name and Type; an empty one has no StringValue. [VCR, D-CF]"""
    made = named.write("Invoice", form("5", CustomField=[{"DefinitionId": "1", "StringValue": "PRJ-0042"}]), THIRD)
    one, two, _ = made["CustomField"]
    assert one == {"DefinitionId": "1", "Name": "Reference Number", "Type": "StringType", "StringValue": "PRJ-0042"}
    assert two == {"DefinitionId": "2", "Name": "Crew #", "Type": "StringType"}


@pytest.mark.parametrize("entity", ["Invoice", "SalesReceipt", "CreditMemo", "RefundReceipt", "Estimate"])
def test_s5_fields_stand_on_sales_forms(named: Intuit, entity: str) -> None:
    """Sales forms carry custom fields. [D-CF, REF]"""
    body = form("5", CustomField=[{"DefinitionId": "3", "StringValue": "North"}])
    body |= {"DepositToAccountRef": {"value": "35"}} if entity == "RefundReceipt" else {}
    made = named.write(entity, body, THIRD)
    assert [one.get("StringValue") for one in made["CustomField"]] == [None, None, "North"]


def test_s5_fields_never_stand_on_payments_or_customers(named: Intuit) -> None:
    """Payments have none, and customers no CustomField key without the include. [NANGO MEASURED]"""
    customer = named.customer(THIRD)
    payment = named.pay(customer, 10, realm=THIRD)
    assert "CustomField" not in payment and "CustomField" not in named.read("Customer", customer, THIRD)


def test_s5_fields_of_forms_are_a_list_even_when_there_are_none(intuit: Intuit) -> None:
    """Invoices and credit memos always have the key: `[]` when none is configured. [NANGO MEASURED]"""
    intuit.sim("PUT", f"/companies/{THIRD}/custom-fields", {})
    assert intuit.invoice("5", THIRD)["CustomField"] == []
    intuit.sim("PUT", f"/companies/{THIRD}/custom-fields", {"1": "Reference Number"})


def test_s5_fields_without_a_definition_are_dropped_without_a_word(named: Intuit) -> None:
    """An entry whose definition does not exist is dropped under HTTP 200. [PROMPT]"""
    made = named.write("Invoice", form("5", CustomField=[{"DefinitionId": "9", "StringValue": "lost"}]), THIRD)
    assert "lost" not in json.dumps(made, default=str)


def test_s5_fields_can_be_renamed_by_the_user(named: Intuit) -> None:
    """The name is the user's to change; DefinitionId is the stable key. [D-CF]"""
    made = named.write("Invoice", form("5", CustomField=[{"DefinitionId": "1", "StringValue": "PRJ-1"}]), THIRD)
    named.sim("PUT", f"/companies/{THIRD}/custom-fields", {"1": "Project No"})
    after = named.read("Invoice", made["Id"], THIRD)
    assert [(one["DefinitionId"], one["Name"], one["StringValue"]) for one in after["CustomField"]] == [
        ("1", "Project No", "PRJ-1")
    ]
    assert after["SyncToken"] == "0"


def test_s5_fields_are_short(named: Intuit) -> None:
    """Values have 31 characters at most, so a UUID does not fit. [UNSURE, 9]"""
    for length, status in ((31, 200), (32, 400)):
        body = form("5", CustomField=[{"DefinitionId": "1", "StringValue": "x" * length}])
        assert named.post("invoice", body, THIRD).status_code == status


def test_s5_fields_are_three_texts_at_most(named: Intuit) -> None:
    """Classic REST shows the first three text fields; a fourth is invisible. [9]"""
    four = {"1": "a", "2": "b", "3": "c", "4": "d"}
    assert named.http.put(f"/_sim/companies/{THIRD}/custom-fields", json=four).status_code == 400


# --- 3.8: faults ---------------------------------------------------------------------------------------------------


def test_s3_fault_has_intuits_shape(intuit: Intuit) -> None:
    """`{"Fault":{"Error":[{Message, Detail, code}], type}, "time"}`. [3.8 CONFIRMED]"""
    body = intuit.get("invoice/99999999").json()
    assert body.keys() == {"Fault", "time"} and body["Fault"]["type"] == "ValidationFault"
    assert {"Message", "Detail", "code"} <= body["Fault"]["Error"][0].keys()


@pytest.mark.parametrize(
    ("entity", "body", "code"),
    [
        ("invoice", {"BadJson": True}, "2010"),
        ("invoice", {"Line": [LINE]}, "2020"),
        ("invoice", {"CustomerRef": {"value": "5"}}, "2020"),
        ("invoice", {"CustomerRef": {"value": "99999"}, "Line": [LINE]}, "2500"),
        ("payment", {"CustomerRef": {"value": "5"}, "TotalAmt": -5}, "6000"),
        ("invoice", {"Id": "99999999", "SyncToken": "0", "Line": [LINE]}, "610"),
        ("journalentry", {"Line": [{"Amount": 5, "JournalEntryLineDetail": {"PostingType": "Debit",
                                                                          "AccountRef": {"value": "34"}}}]}, "6000"),
    ],
)  # fmt: skip
def test_s3_fault_codes(intuit: Intuit, entity: str, body: dict[str, Any], code: str) -> None:
    """Unknown property 2010, missing field 2020, bad reference 2500, missing object 610, business rule 6000. [3.8]"""
    assert fault(intuit.post(entity, body)) == (400, code)


def test_s3_fault_of_a_number_used_twice(intuit: Intuit) -> None:
    """A document number that is taken is refused with 6140. [3.8]"""
    number = f"D{time.monotonic_ns() % 10**12}"
    intuit.write("Invoice", form("5", DocNumber=number))
    assert fault(intuit.post("invoice", form("5", DocNumber=number))) == (400, "6140")


def test_s3_fault_of_a_body_that_is_no_json(intuit: Intuit) -> None:
    """A body that cannot be read is refused, not a server's error. [VCR error/400]"""
    headers = intuit.token() | {"content-type": "application/json"}
    answer = intuit.http.post(f"/v3/company/{FIRST}/invoice", content=b"{nonsense", headers=headers)
    assert fault(answer) == (400, "2010")


def test_s3_answers_come_in_xml_where_xml_is_asked(intuit: Intuit) -> None:
    """Intuit answers in XML on request, and some hops whatever was asked. [QBR]"""
    headers = intuit.token() | {"accept": "application/xml"}
    answer = intuit.http.get(f"/v3/company/{FIRST}/invoice/1001", headers=headers)
    assert answer.headers["content-type"].startswith("application/xml")
    assert "<IntuitResponse" in answer.text and "<Invoice" in answer.text


def test_s3_other_entities_are_kept_and_read(intuit: Intuit) -> None:
    """Vendors, items, accounts, terms, bills and purchase orders are made, read and queried. [REF, VCR]"""
    name = f"Supplier {time.monotonic_ns()}"
    vendor = intuit.write("Vendor", {"DisplayName": name})
    assert (vendor["Balance"], vendor["Vendor1099"], vendor["Active"]) == (0, False, True)
    detail = "AccountBasedExpenseLineDetail"
    bill_line = {"Amount": 30, "DetailType": detail, detail: {"AccountRef": {"value": "13"}}}
    bill = intuit.write("Bill", {"VendorRef": {"value": vendor["Id"]}, "Line": [bill_line]})
    assert (bill["TotalAmt"], bill["Balance"]) == (30, 30)
    item = intuit.write("Item", {"Name": f"Item {name}", "IncomeAccountRef": {"value": "79"}, "UnitPrice": 12.5})
    found = intuit.query(f"select * from Item where Name = 'Item {name}'")["Item"]
    assert [one["Id"] for one in found] == [item["Id"]]
    assert {"84", "35"} <= {one["Id"] for one in intuit.query("select * from Account maxresults 1000")["Account"]}


def test_s3_other_entities_made_inactive_get_a_suffix(intuit: Intuit) -> None:
    """Inactive accounts, employees and vendors carry " (deleted)" like customers. [VCR deactivate]"""
    vendor = intuit.write("Vendor", {"DisplayName": f"Gone {time.monotonic_ns()}"})
    after = intuit.write("Vendor", {"Id": vendor["Id"], "SyncToken": "0", "sparse": True, "Active": False})
    assert after["DisplayName"] == vendor["DisplayName"] + " (deleted)"
    assert intuit.query(f"select * from Vendor where Id = '{vendor['Id']}'") == {}
