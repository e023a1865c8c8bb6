"""What depends on a company: several currencies, QuickBooks projects, opening balances, plans; over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.simulated import FIRST, FOURTH, Intuit, fault

OWN = FOURTH  # nothing of this company is used elsewhere


@pytest.fixture(scope="module")
def worldly(behaving: Intuit) -> Intuit:
    """The company with several currencies."""
    behaving.sim("PUT", f"/companies/{OWN}/multicurrency", {})
    return behaving


@pytest.fixture
def abroad(worldly: Intuit, intuit: Intuit) -> str:
    """A customer who pays in euros."""
    return intuit.customer(OWN, CurrencyRef={"value": "EUR"})


def form(customer: str, amount: Any = 100, **more: Any) -> dict[str, Any]:
    detail = {"ItemRef": {"value": "1"}}
    line = {"Amount": amount, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": detail}
    return {"CustomerRef": {"value": customer}, "Line": [line], **more}


def project(intuit: Intuit) -> tuple[str, str, str]:
    """A QuickBooks project: its client, the customer that stands for it, and the id that ProjectRef names."""
    client = intuit.customer()
    asked = {"name": f"Quay {time.monotonic_ns()}", "customer_id": client}
    made = intuit.sim("POST", f"/companies/{FIRST}/quickbooks-projects", asked)
    return client, made["customer_id"], made["project_id"]


# --- 20. several currencies ----------------------------------------------------------------------------------------


def test_20_several_currencies_show_rate_and_home_amounts(intuit: Intuit, abroad: str) -> None:
    """Amounts are in CurrencyRef; ExchangeRate, HomeTotalAmt and HomeBalance are shown. [XSD, D-FX]"""
    made = intuit.write("Invoice", form(abroad, ExchangeRate=1.25), OWN)
    assert made["CurrencyRef"] == {"value": "EUR", "name": "Euro"}
    shown = {name: str(made[name]) for name in ("TotalAmt", "ExchangeRate", "HomeTotalAmt", "HomeBalance")}
    assert shown == {"TotalAmt": "100.00", "ExchangeRate": "1.25", "HomeTotalAmt": "125.00", "HomeBalance": "125.00"}


def test_20_several_currencies_give_home_documents_a_rate_of_one(intuit: Intuit, worldly: Intuit) -> None:
    """Even documents in home currency show ExchangeRate 1 then. [D-CF]"""
    assert intuit.write("Invoice", form(intuit.customer(OWN)), OWN)["ExchangeRate"] == 1


def test_20_several_currencies_leave_payments_without_home_total(intuit: Intuit, abroad: str) -> None:
    """A payment has no HomeTotalAmt; its rate may differ from the invoice's, which makes gains and losses. [REF]"""
    invoice = intuit.write("Invoice", form(abroad, ExchangeRate=1.25), OWN)
    payment = intuit.pay(abroad, 100, ("Invoice", invoice["Id"], 100), realm=OWN, ExchangeRate=1.5)
    assert "HomeTotalAmt" not in payment and str(payment["ExchangeRate"]) == "1.5"
    assert intuit.read("Invoice", invoice["Id"], OWN)["Balance"] == 0
    assert intuit.sim("GET", f"/companies/{OWN}/audit") == []


def test_20_several_currencies_are_told_by_the_preferences(intuit: Intuit, worldly: Intuit) -> None:
    """Preferences tell MultiCurrencyEnabled; it is off in every new company. [D-FX]"""
    enabled = [
        intuit.get("preferences", realm).json()["Preferences"]["CurrencyPrefs"]["MultiCurrencyEnabled"]
        for realm in (FIRST, OWN)
    ]
    assert enabled == [False, True]


def test_20_currency_of_a_customer_is_fixed_for_life(intuit: Intuit, abroad: str) -> None:
    """A customer's currency cannot be changed. [D-FX]"""
    intuit.record("Customer", {"Id": abroad, "CurrencyRef": {"value": "USD"}}, OWN)
    assert intuit.read("Customer", abroad, OWN)["CurrencyRef"]["value"] == "EUR"


@pytest.mark.parametrize(("exact", "total"), [(False, "1000.40"), (True, "1000")])
def test_20_currency_digits_by_switch(intuit: Intuit, worldly: Intuit, exact: bool, total: str) -> None:
    """Whether yen have no digits behind the point: switch `currency_digits`. [UNSURE]"""
    with intuit.switched(OWN, currency_digits=exact):
        customer = intuit.customer(OWN, CurrencyRef={"value": "JPY"})
        made = intuit.write("Invoice", form(customer, 1000.4, ExchangeRate=0.0067), OWN)
    assert made["TotalAmt"] == intuit.read("Invoice", made["Id"], OWN)["TotalAmt"]
    assert float(made["TotalAmt"]) == float(total)


# --- 19. QuickBooks projects ---------------------------------------------------------------------------------------


def test_19_projects_are_customers_below_their_client(intuit: Intuit) -> None:
    """A project is a Customer with IsProject; no API call makes one. [4.1]"""
    client, customer, _ = project(intuit)
    shown = intuit.read("Customer", customer)
    assert (shown["IsProject"], shown["Job"], shown["ParentRef"]) == (True, True, {"value": client})
    claimed = intuit.customer(IsProject=True)
    assert intuit.read("Customer", claimed)["IsProject"] is False


def test_s9_project_ref_is_an_id_of_its_own(intuit: Intuit) -> None:
    """`ProjectRef` names no customer id. [9]"""
    client, customer, project_id = project(intuit)
    made = intuit.write("Invoice", form(client, ProjectRef={"value": project_id}))
    assert made["ProjectRef"]["value"] == project_id not in (client, customer)
    assert fault(intuit.post("invoice", form(client, ProjectRef={"value": customer}))) == (400, "2500")


@pytest.mark.parametrize("named", [True, False])
def test_s9_project_documents_name_the_project_or_its_client_by_switch(intuit: Intuit, named: bool) -> None:
    """Whether CustomerRef carries the project-customer: switch `project_customer_in_ref`. [UNSURE, 9]"""
    client, customer, project_id = project(intuit)
    with intuit.switched(project_customer_in_ref=named):
        made = intuit.write("Invoice", form(client, ProjectRef={"value": project_id}))
    assert made["CustomerRef"]["value"] == (customer if named else client)


@pytest.mark.parametrize("unlinks", [True, False])
def test_s9_project_takes_payments_away_by_switch(intuit: Intuit, unlinks: bool) -> None:
    """Assigning an invoice to a project unlinked its payments: switch `project_unlinks`. [SampleApp-CRUD-Java #6]"""
    client, _, project_id = project(intuit)
    invoice = intuit.invoice(client)["Id"]
    payment = intuit.pay(client, 100, ("Invoice", invoice, 100))["Id"]
    with intuit.switched(project_unlinks=unlinks):
        intuit.record("Invoice", {"Id": invoice, "ProjectRef": {"value": project_id}})
    assert intuit.read("Payment", payment)["UnappliedAmt"] == (100 if unlinks else 0)


# --- 19. customers of documents, opening balances ------------------------------------------------------------------


@pytest.mark.parametrize("how", ["unlink_strangers", "unlink_all", "refused"])
def test_19_customer_of_a_paid_invoice_changes_by_switch(intuit: Intuit, how: str) -> None:
    """What becomes of the payments when a document's customer is changed: switch `customer_change`. [UNSURE]"""
    parent = intuit.customer()
    job, stranger = intuit.customer(ParentRef={"value": parent}, Job=True), intuit.customer()
    invoice = intuit.invoice(job)["Id"]
    payment = intuit.pay(parent, 100, ("Invoice", invoice, 100))["Id"]
    unapplied = []
    with intuit.switched(customer_change=how):
        for customer in (parent, stranger):
            token = intuit.read("Invoice", invoice)["SyncToken"]
            body = {"Id": invoice, "SyncToken": token, "sparse": True, "CustomerRef": {"value": customer}}
            answer = intuit.post("invoice", body)
            assert (answer.status_code == 400) == (how == "refused")
            unapplied.append(intuit.read("Payment", payment)["UnappliedAmt"])
    assert unapplied == {"unlink_strangers": [0, 100], "unlink_all": [100, 100], "refused": [0, 0]}[how]


@pytest.mark.parametrize("entity", ["Invoice", "JournalEntry"])
def test_19_opening_balance_is_a_document_by_switch(intuit: Intuit, entity: str) -> None:
    """Whether an opening balance is an invoice or a journal: switch `opening_balance_as`. [UNSURE; issue]"""
    before = intuit.query(f"select count(*) from {entity}")["totalCount"]
    with intuit.switched(opening_balance_as=entity):
        customer = intuit.customer(Balance=250, OpenBalanceDate="2026-01-01")
    assert intuit.read("Customer", customer)["Balance"] == 250
    assert intuit.query(f"select count(*) from {entity}")["totalCount"] == before + 1


# --- section 5: enhanced fields, plans -----------------------------------------------------------------------------


@pytest.fixture
def enhanced(intuit: Intuit) -> Iterator[Intuit]:
    """A company with a number among its custom fields."""
    definitions = [{"id": "901", "name": "Contract no.", "type": "NUMBER", "forms": ["Invoice", "Customer"]}]
    intuit.sim("PUT", f"/companies/{OWN}/enhanced-fields", definitions)
    yield intuit
    intuit.sim("PUT", f"/companies/{OWN}/enhanced-fields", [])


def test_s5_enhanced_fields_come_only_with_the_include(enhanced: Intuit) -> None:
    """Enhanced values are missing without `include=enhancedAllCustomFields`; each type has its own key. [D-CF]"""
    body = form(enhanced.customer(OWN), CustomField=[{"DefinitionId": "901", "NumberValue": 17}])
    made = enhanced.write("Invoice", body, OWN, include="enhancedAllCustomFields")
    plain = enhanced.get(f"invoice/{made['Id']}", OWN).json()["Invoice"]
    with_all = enhanced.get(f"invoice/{made['Id']}", OWN, include="enhancedAllCustomFields").json()["Invoice"]
    assert "901" not in [one["DefinitionId"] for one in plain["CustomField"]]
    assert [one["NumberValue"] for one in with_all["CustomField"] if one["DefinitionId"] == "901"] == [17]


def test_s5_enhanced_fields_of_other_forms_are_dropped(enhanced: Intuit) -> None:
    """A value whose definition does not belong to that form is dropped under HTTP 200. [PROMPT]"""
    body = form(enhanced.customer(OWN), CustomField=[{"DefinitionId": "901", "NumberValue": 17}])
    made = enhanced.write("CreditMemo", body, OWN, include="enhancedAllCustomFields")
    assert "901" not in [one["DefinitionId"] for one in made["CustomField"]]
