"""What Intuit's records do: behaviours 17 to 19 of intuit.md 7, and section 9, over HTTP."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.simulated import FIRST, LINE, SECOND, Endpoint, Intuit, fault


def line(amount: Any, **detail: Any) -> dict[str, Any]:
    found = {"ItemRef": {"value": "1"}} | detail
    return {"Amount": amount, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": found}


def memo(intuit: Intuit, customer: str, amount: Any = 100) -> dict[str, Any]:
    return intuit.write("CreditMemo", {"CustomerRef": {"value": customer}, "Line": [line(amount)]})


def void(intuit: Intuit, entity: str, record: dict[str, Any]) -> dict[str, Any]:
    now = intuit.read(entity, record["Id"])
    return intuit.write(entity, {"Id": record["Id"], "SyncToken": now["SyncToken"]}, operation="void")


def balance(intuit: Intuit, customer: str) -> Decimal:
    return Decimal(intuit.read("Customer", customer)["Balance"])


# --- 17. void ------------------------------------------------------------------------------------------------------


def test_17_void_leaves_the_document_with_nothing_on_it(intuit: Intuit) -> None:
    """Amounts are zero, LinkedTxn empty, the token one more; number, dates, customer and fields stay. [VCR void]"""
    made = intuit.invoice(CustomField=[{"DefinitionId": "1", "StringValue": "PRJ-0001"}])
    after = void(intuit, "Invoice", made)
    assert (after["SyncToken"], after["PrivateNote"], after["LinkedTxn"]) == ("1", "Voided", [])
    assert {after["TotalAmt"], after["Balance"], after["TxnTaxDetail"]["TotalTax"]} == {0}
    assert {one["Amount"] for one in after["Line"]} == {0}
    kept = ("DocNumber", "TxnDate", "CustomerRef", "CustomField")
    assert {key: after[key] for key in kept} == {key: made[key] for key in kept}


def test_17_void_prepends_its_word_to_an_existing_note(intuit: Intuit) -> None:
    """ "Voided" is put before the note that was there. [brilliantconnect, withone.ai]"""
    note = void(intuit, "Invoice", intuit.invoice(PrivateNote="Stage 2"))["PrivateNote"]
    assert note.startswith("Voided") and note.endswith("Stage 2")


def test_17_void_of_a_paid_invoice_gives_the_money_back_to_its_payment(intuit: Intuit) -> None:
    """The payment's line goes away and its amount returns to UnappliedAmt. [D-LINK]"""
    customer = intuit.customer()
    kept, gone = intuit.invoice(customer), intuit.invoice(customer)
    payment = intuit.pay(customer, 150, ("Invoice", kept["Id"], 50), ("Invoice", gone["Id"], 100))
    void(intuit, "Invoice", gone)
    after = intuit.read("Payment", payment["Id"])
    assert (after["TotalAmt"], after["UnappliedAmt"], len(after["Line"])) == (150, 100, 1)
    assert balance(intuit, customer) == 100 - 50 - 100


def test_17_void_keeps_the_document_readable_and_listed(intuit: Intuit) -> None:
    """A voided document is read, queried and captured like any other. [4.6]"""
    customer = intuit.customer()
    made = void(intuit, "Invoice", intuit.invoice(customer))
    (found,) = intuit.query(f"select * from Invoice where CustomerRef = '{customer}'")["Invoice"]
    assert found == intuit.read("Invoice", made["Id"]) and found["TotalAmt"] == 0


def test_17_void_of_a_payment_is_an_update_with_include(intuit: Intuit) -> None:
    """`operation=update&include=void`; the answer is sparse, TotalAmt 0, UnappliedAmt 0, without lines. [PYQB, QBR]"""
    customer = intuit.customer()
    invoice = intuit.invoice(customer)
    payment = intuit.pay(customer, 100, ("Invoice", invoice["Id"], 100))
    body = {"Id": payment["Id"], "SyncToken": payment["SyncToken"], "sparse": True}
    after = intuit.write("Payment", body, operation="update", include="void")
    assert (after["TotalAmt"], after["UnappliedAmt"], after["Line"], after["sparse"]) == (0, 0, [], True)
    assert after["PrivateNote"] == "Voided"
    assert intuit.read("Invoice", invoice["Id"])["Balance"] == 100


@pytest.mark.parametrize("entity", ["CreditMemo", "RefundReceipt"])
def test_17_void_of_memos_and_refunds_looks_the_same(intuit: Intuit, entity: str) -> None:
    """Their shape is assumed to be an invoice's. [UNSURE, 4.6]"""
    body = {"CustomerRef": {"value": intuit.customer()}, "Line": [line(60)], "DepositToAccountRef": {"value": "35"}}
    if entity == "CreditMemo":
        body.pop("DepositToAccountRef")
    after = void(intuit, entity, intuit.write(entity, body))
    assert (after["TotalAmt"], after["PrivateNote"]) == (0, "Voided")
    assert after.get("RemainingCredit", 0) == 0


def test_17_void_can_be_taken_back_by_filling_the_document_in_again(intuit: Intuit) -> None:
    """A voided transaction can be restored. [9 CONFIRMED, Intuit help]"""
    customer = intuit.customer()
    made = void(intuit, "Invoice", intuit.invoice(customer))
    body = {"Id": made["Id"], "SyncToken": made["SyncToken"], "sparse": True, "Line": [line(70)]}
    assert intuit.write("Invoice", body)["Balance"] == 70
    assert balance(intuit, customer) == 70


# --- 18. payments --------------------------------------------------------------------------------------------------


def test_18_payment_of_several_invoices_and_the_rest_is_unapplied(intuit: Intuit) -> None:
    """A payment has a line for each invoice; TotalAmt + credits = invoices + UnappliedAmt. [4.4 MEASURED]"""
    customer = intuit.customer()
    one, two = intuit.invoice(customer), intuit.invoice(customer)
    payment = intuit.pay(customer, 180, ("Invoice", one["Id"], 100), ("Invoice", two["Id"], 50))
    assert [(each["Amount"], each["LinkedTxn"]) for each in payment["Line"]] == [
        (100, [{"TxnId": one["Id"], "TxnType": "Invoice"}]),
        (50, [{"TxnId": two["Id"], "TxnType": "Invoice"}]),
    ]
    assert payment["UnappliedAmt"] == 30
    assert [intuit.read("Invoice", each["Id"])["Balance"] for each in (one, two)] == [0, 50]


def test_18_payment_without_lines_is_all_unapplied(intuit: Intuit) -> None:
    """An unapplied payment has `Line: []` and UnappliedAmt = TotalAmt; the balance goes negative. [MEASURED]"""
    customer = intuit.customer()
    payment = intuit.pay(customer, 100)
    assert (payment["Line"], payment["UnappliedAmt"]) == ([], 100)
    assert balance(intuit, customer) == -100


def test_18_payment_has_no_custom_field_no_number_and_no_line_ids(intuit: Intuit) -> None:
    """A payment has no CustomField, no DocNumber, and its lines no Id. [REF]"""
    customer = intuit.customer()
    invoice = intuit.invoice(customer)
    payment = intuit.pay(customer, 10, ("Invoice", invoice["Id"], 10), PaymentRefNum="77")
    assert not {"CustomField", "DocNumber"} & payment.keys()
    assert "Id" not in payment["Line"][0] and payment["PaymentRefNum"] == "77"


def test_18_payment_lines_carry_the_noise_of_line_ex(intuit: Intuit) -> None:
    """`LineEx` names the document, what was open of it, and its number. [4.4, NANGO]"""
    customer = intuit.customer()
    invoice = intuit.invoice(customer)
    payment = intuit.pay(customer, 40, ("Invoice", invoice["Id"], 40))
    noise = {one["value"]["Name"]: one["value"]["Value"] for one in payment["Line"][0]["LineEx"]["any"]}
    number = invoice["DocNumber"]
    assert noise == {"txnId": invoice["Id"], "txnOpenBalance": "100.00", "txnReferenceNumber": number}


def test_18_payment_of_a_parent_pays_its_jobs(intuit: Intuit) -> None:
    """The payment names the parent, each invoice its sub-customer; the rest is the parent's. [gentlefrog; UI]"""
    parent = intuit.customer()
    job = intuit.customer(Job=True, ParentRef={"value": parent})
    invoice = intuit.invoice(job)
    payment = intuit.pay(parent, 120, ("Invoice", invoice["Id"], 100))
    assert payment["CustomerRef"]["value"] == parent
    assert intuit.read("Invoice", invoice["Id"])["CustomerRef"]["value"] == job
    assert (balance(intuit, job), balance(intuit, parent)) == (0, -20)


@pytest.mark.parametrize("strict", [True, False])
def test_18_payment_of_a_strangers_invoice_by_switch(intuit: Intuit, strict: bool) -> None:
    """Whether the API refuses to pay a stranger's invoice: switch `payment_family_only`. [UNSURE, 4.4]"""
    invoice, stranger = intuit.invoice(intuit.customer()), intuit.customer()
    link = {"Amount": 100, "LinkedTxn": [{"TxnId": invoice["Id"], "TxnType": "Invoice"}]}
    with intuit.switched(payment_family_only=strict):
        answer = intuit.post("payment", {"CustomerRef": {"value": stranger}, "TotalAmt": 100, "Line": [link]})
    assert (answer.status_code == 400) == strict


def test_18_payment_of_nothing_links_a_credit(intuit: Intuit) -> None:
    """Applying a credit is a payment of 0 with positive lines to invoice and memo; it is not cash. [4.4 MEASURED]"""
    customer = intuit.customer()
    invoice, credit = intuit.invoice(customer), memo(intuit, customer, 60)
    payment = intuit.pay(customer, 0, ("Invoice", invoice["Id"], 60), ("CreditMemo", credit["Id"], 60))
    assert (payment["TotalAmt"], payment["UnappliedAmt"]) == (0, 0)
    assert [each["Amount"] for each in payment["Line"]] == [60, 60]
    assert intuit.read("CreditMemo", credit["Id"])["RemainingCredit"] == 0
    assert intuit.read("Invoice", invoice["Id"])["Balance"] == 40
    assert intuit.read("Invoice", invoice["Id"])["LinkedTxn"] == [{"TxnId": payment["Id"], "TxnType": "Payment"}]


def test_18_payment_links_are_not_shown_on_the_credit_memo(intuit: Intuit) -> None:
    """A credit memo never shows LinkedTxn, not even a used one. [4.3 MEASURED]"""
    customer = intuit.customer()
    invoice, credit = intuit.invoice(customer), memo(intuit, customer)
    intuit.pay(customer, 0, ("Invoice", invoice["Id"], 100), ("CreditMemo", credit["Id"], 100))
    assert "LinkedTxn" not in intuit.read("CreditMemo", credit["Id"])


@pytest.mark.parametrize("automatic", [True, False])
def test_18_payment_of_nothing_is_made_by_quickbooks_itself_by_switch(intuit: Intuit, automatic: bool) -> None:
    """New companies apply credits automatically, with Intuit's own note: switch `auto_apply_credits`. [9]"""
    customer = intuit.customer()
    memo(intuit, customer, 30)
    with intuit.switched(auto_apply_credits=automatic):
        invoice = intuit.invoice(customer)["Id"]
    now = intuit.read("Invoice", invoice)
    assert now["Balance"] == (70 if automatic else 100)
    if automatic:
        payment = intuit.read("Payment", now["LinkedTxn"][0]["TxnId"])
        assert payment["TotalAmt"] == 0
        assert payment["PrivateNote"] == "Created by QB Online to link credits to charges."


def test_18_payment_cannot_use_more_than_there_is(intuit: Intuit) -> None:
    """More than is open, or more than was received, is refused with 6000. [3.8]"""
    customer = intuit.customer()
    invoice = intuit.invoice(customer)["Id"]
    for total, amount in ((500, 101), (10, 50)):
        link = {"Amount": amount, "LinkedTxn": [{"TxnId": invoice, "TxnType": "Invoice"}]}
        body = {"CustomerRef": {"value": customer}, "TotalAmt": total, "Line": [link]}
        assert fault(intuit.post("payment", body)) == (400, "6000")


def test_18_payment_side_of_a_link_is_the_only_one_that_writes_it(intuit: Intuit) -> None:
    """The invoice's side of a link is read-only. [D-LINK]"""
    customer = intuit.customer()
    invoice = intuit.invoice(customer)
    payment = intuit.pay(customer, 40, ("Invoice", invoice["Id"], 40))
    body = {"Id": invoice["Id"], "LinkedTxn": []}
    after = intuit.record("Invoice", body)
    assert after["LinkedTxn"] == [{"TxnId": payment["Id"], "TxnType": "Payment"}] and after["Balance"] == 60


def test_18_payment_that_is_lowered_invoices_are_given_back(intuit: Intuit) -> None:
    """When a paid invoice is lowered below what was applied, the rest returns to the payment. [7.18]"""
    customer = intuit.customer()
    invoice = intuit.invoice(customer)
    payment = intuit.pay(customer, 100, ("Invoice", invoice["Id"], 100))
    intuit.record("Invoice", {"Id": invoice["Id"], "Line": [line(60)]})
    assert intuit.read("Payment", payment["Id"])["UnappliedAmt"] == 40
    assert intuit.read("Invoice", invoice["Id"])["Balance"] == 0


def test_18_payment_links_a_cheque_that_refunds_it(intuit: Intuit) -> None:
    """An overpayment refunded by cheque is one payment with an Invoice and a Check line. [9 CONFIRMED, D-LINK]"""
    customer = intuit.customer()
    invoice = intuit.invoice(customer)
    receivable = {"AccountRef": {"value": "84"}, "CustomerRef": {"value": customer}}
    line_out = {
        "Amount": 20,
        "DetailType": "AccountBasedExpenseLineDetail",
        "AccountBasedExpenseLineDetail": receivable,
    }
    body = {"PaymentType": "Check", "AccountRef": {"value": "35"}, "Line": [line_out]}
    cheque = intuit.write("Purchase", body | {"EntityRef": {"value": customer, "type": "Customer"}})
    assert balance(intuit, customer) == 120
    payment = intuit.pay(customer, 120, ("Invoice", invoice["Id"], 100), ("Check", cheque["Id"], 20))
    assert payment["UnappliedAmt"] == 0 and balance(intuit, customer) == 0


def test_18_payment_links_a_journal_entry(intuit: Intuit) -> None:
    """Journal lines to receivables are charges and credits with a sign, and payments settle them. [9, D-LINK]"""
    customer = intuit.customer()
    journal = intuit.write("JournalEntry", {"Line": journal_lines(customer, 80, "Debit")})
    assert balance(intuit, customer) == 80
    intuit.pay(customer, 80, ("JournalEntry", journal["Id"], 80))
    assert balance(intuit, customer) == 0


def journal_lines(customer: str, amount: int, side: str) -> list[dict[str, Any]]:
    other = "Credit" if side == "Debit" else "Debit"
    entity = {"Type": "Customer", "EntityRef": {"value": customer}}
    return [
        {
            **{"Amount": amount, "DetailType": "JournalEntryLineDetail"},
            "JournalEntryLineDetail": {"PostingType": posting, "AccountRef": {"value": account}} | more,
        }
        for posting, account, more in ((side, "84", {"Entity": entity}), (other, "34", {}))
    ]


# --- 19. customers -------------------------------------------------------------------------------------------------


def test_19_customer_below_another_is_a_job_with_a_path(intuit: Intuit) -> None:
    """Sub-customers have Job, ParentRef with a value alone, Level and a full name with colons. [4.1]"""
    parent = intuit.customer(DisplayName="Harbour Estates, conformance")
    job = intuit.customer(DisplayName="Pier 9, conformance", Job=True, ParentRef={"value": parent})
    shown = intuit.read("Customer", job)
    assert (shown["Job"], shown["ParentRef"], shown["Level"]) == (True, {"value": parent}, 1)
    assert shown["FullyQualifiedName"] == "Harbour Estates, conformance:Pier 9, conformance"
    assert "Level" not in intuit.read("Customer", parent)


def test_19_customer_name_is_taken_once(intuit: Intuit) -> None:
    """A second customer of the same full name is refused with 6240. [VCR error/validation]"""
    name = f"Unique {intuit.customer()}"
    intuit.customer(DisplayName=name)
    assert fault(intuit.post("customer", {"DisplayName": name.upper()})) == (400, "6240")


def test_19_customer_of_a_job_may_share_a_name(intuit: Intuit) -> None:
    """What must differ is the full name: a job may be called like another customer. [VCR MEASURED]"""
    parent = intuit.customer()
    name = f"Jack {parent}"
    intuit.customer(DisplayName=name)
    assert intuit.customer(DisplayName=name, ParentRef={"value": parent}, Job=True)


def test_19_customer_cannot_be_deleted(intuit: Intuit) -> None:
    """Customers are only made inactive. [REF]"""
    customer = intuit.customer()
    assert fault(intuit.post("customer", {"Id": customer, "SyncToken": "0"}, operation="delete")) == (400, "500")


def test_19_customer_made_inactive_gets_a_suffix(intuit: Intuit) -> None:
    """DisplayName and full name of an inactive customer end in " (deleted)". [QBR deleted_customer.xml]"""
    customer = intuit.customer(DisplayName=f"Ended {intuit.invoice()['Id']}")
    shown = intuit.record("Customer", {"Id": customer, "Active": False})
    assert shown["DisplayName"].endswith(" (deleted)") and shown["FullyQualifiedName"].endswith(" (deleted)")


@pytest.mark.parametrize("writes_off", [True, False])
def test_19_customer_made_inactive_is_written_off_by_switch(intuit: Intuit, writes_off: bool) -> None:
    """Made inactive with an open balance, a balancing credit memo appears: switch `inactive_writes_off`. [REF]"""
    customer = intuit.customer()
    intuit.invoice(customer)
    with intuit.switched(inactive_writes_off=writes_off):
        intuit.record("Customer", {"Id": customer, "Active": False})
    memos = intuit.query(f"select * from CreditMemo where CustomerRef = '{customer}'").get("CreditMemo", [])
    assert [one["TotalAmt"] for one in memos] == ([100] if writes_off else [])


@pytest.mark.parametrize(("word", "event"), [("Update", "updated"), ("Delete", "deleted")])
def test_19_customer_made_inactive_is_announced_by_switch(
    intuit: Intuit, endpoint: Endpoint, word: str, event: str
) -> None:
    """Whether inactivation sends updated or deleted: switch `inactive_announced_as`. [UNSURE, 1.4]"""
    customer = intuit.customer()
    with intuit.switched(inactive_announced_as=word):
        intuit.record("Customer", {"Id": customer, "Active": False})
        intuit.settled()
    assert endpoint.events()[-1] == (f"qbo.customer.{event}.v1", customer)


def merge(intuit: Intuit, kept: str, gone: str) -> int:
    return intuit.http.post(f"/_sim/companies/{FIRST}/merge", json={"kept": kept, "gone": gone}).status_code


def test_19_customer_merge_moves_all_transactions(intuit: Intuit) -> None:
    """All transactions move to the kept customer; the other is inactive and empty. [4.1 CONFIRMED]"""
    kept, gone = intuit.customer(), intuit.customer()
    invoice = intuit.invoice(gone)
    payment = intuit.pay(gone, 130, ("Invoice", invoice["Id"], 100))
    assert merge(intuit, kept, gone) == 200
    moved = [intuit.read("Invoice", invoice["Id"]), intuit.read("Payment", payment["Id"])]
    assert {one["CustomerRef"]["value"] for one in moved} == {kept}
    assert intuit.read("Customer", gone)["Active"] is False
    assert (balance(intuit, kept), balance(intuit, gone)) == (-30, 0)


def test_19_customer_with_jobs_cannot_be_merged(intuit: Intuit) -> None:
    """Neither side of a merge may have sub-customers or projects. [4.1 CONFIRMED]"""
    parent, other = intuit.customer(), intuit.customer()
    intuit.customer(ParentRef={"value": parent}, Job=True)
    assert merge(intuit, parent, other) == merge(intuit, other, parent) == 400


@pytest.mark.parametrize("moves", [True, False])
def test_19_customer_merge_moves_times_by_switch(intuit: Intuit, moves: bool) -> None:
    """Whether moved documents get a new LastUpdatedTime: switch `merge_moves_times`. [UNSURE, 8.1]"""
    kept, gone = intuit.customer(), intuit.customer()
    invoice = intuit.invoice(gone)
    intuit.pass_seconds(5)
    with intuit.switched(merge_moves_times=moves):
        assert merge(intuit, kept, gone) == 200
    after = intuit.read("Invoice", invoice["Id"])
    assert (after["MetaData"]["LastUpdatedTime"] > invoice["MetaData"]["LastUpdatedTime"]) == moves
    assert after["SyncToken"] == "0"


@pytest.mark.parametrize("announced", [True, False])
def test_19_customer_merge_announces_documents_by_switch(intuit: Intuit, endpoint: Endpoint, announced: bool) -> None:
    """Whether each moved document gets its own webhook: switch `merge_announces_documents`. [UNSURE, 4.1]"""
    kept, gone = intuit.customer(), intuit.customer()
    invoice = intuit.invoice(gone)["Id"]
    intuit.settled()
    endpoint.received.clear()
    with intuit.switched(merge_announces_documents=announced):
        assert merge(intuit, kept, gone) == 200
        intuit.settled()
    assert (("qbo.invoice.updated.v1", invoice) in endpoint.events()) == announced
    assert [kind for kind, _ in endpoint.events()].count("qbo.customer.merged.v1") == 1


# --- section 9 -----------------------------------------------------------------------------------------------------


def test_s9_balance_is_invoices_less_credits_less_unapplied_money(intuit: Intuit) -> None:
    """Balance = own invoices' Balance - own memos' RemainingCredit - own payments' UnappliedAmt. [9 MEASURED]"""
    customer = intuit.customer()
    intuit.invoice(customer)
    memo(intuit, customer, 30)
    intuit.pay(customer, 20)
    assert balance(intuit, customer) == 100 - 30 - 20


def test_s9_balance_leaves_out_sub_customers(intuit: Intuit) -> None:
    """Sub-customers are not in Balance, only in BalanceWithJobs. [9 MEASURED]"""
    parent = intuit.customer()
    intuit.invoice(intuit.customer(ParentRef={"value": parent}, Job=True))
    shown = intuit.read("Customer", parent)
    assert (shown["Balance"], shown["BalanceWithJobs"]) == (0, 100)


@pytest.mark.parametrize("shown", [True, False])
def test_s9_balance_of_jobs_billed_with_their_parent_by_switch(intuit: Intuit, shown: bool) -> None:
    """With BillWithParent true it may differ: switch `parent_shows_jobs_billed`. [UNSURE, 9]"""
    parent = intuit.customer()
    with intuit.switched(parent_shows_jobs_billed=shown):
        job = intuit.customer(ParentRef={"value": parent}, Job=True, BillWithParent=True)
        intuit.invoice(job)
        assert balance(intuit, parent) == (100 if shown else 0)


def test_s9_balance_ignores_sales_and_refund_receipts(intuit: Intuit) -> None:
    """Sales receipts and refund receipts do not move it. [9 MEASURED]"""
    customer = intuit.customer()
    form = {"CustomerRef": {"value": customer}, "Line": [line(50)]}
    intuit.write("SalesReceipt", form)
    intuit.write("RefundReceipt", form | {"DepositToAccountRef": {"value": "35"}})
    assert balance(intuit, customer) == 0


@pytest.mark.parametrize(("side", "expected"), [("Debit", 40), ("Credit", -40)])
def test_s9_balance_moves_with_journals_of_both_signs(intuit: Intuit, side: str, expected: int) -> None:
    """Journal lines to Accounts Receivable move it, in both directions. [9 MEASURED]"""
    customer = intuit.customer()
    intuit.write("JournalEntry", {"Line": journal_lines(customer, 40, side)})
    assert balance(intuit, customer) == expected


def test_s9_balance_moves_with_deposits_to_receivables(intuit: Intuit) -> None:
    """A deposit's line to Accounts Receivable lowers it. [9 MEASURED]"""
    customer = intuit.customer()
    detail = {"AccountRef": {"value": "84"}, "Entity": {"value": customer, "type": "CUSTOMER"}}
    intuit.write("Deposit", {"Line": [{"Amount": 25, "DetailType": "DepositLineDetail", "DepositLineDetail": detail}]})
    assert balance(intuit, customer) == -25


def test_s9_deposit_on_an_invoice_lowers_its_balance(intuit: Intuit) -> None:
    """`Deposit` is money taken on the invoice itself, without a payment. [UNSURE on the last half, 4.2]"""
    customer = intuit.customer()
    made = intuit.write("Invoice", {"CustomerRef": {"value": customer}, "Line": [line(100)], "Deposit": 30})
    assert (made["TotalAmt"], made["Deposit"], made["Balance"], made["LinkedTxn"]) == (100, 30, 70, [])
    assert balance(intuit, customer) == 70


def test_s9_rename_rewrites_documents_without_a_new_revision(intuit: Intuit) -> None:
    """Renaming a customer changes what its documents show, at the same time and token. [9 MEASURED]"""
    customer = intuit.customer()
    invoice = intuit.invoice(customer)
    intuit.pass_seconds(5)
    name = f"Renamed {customer}"
    intuit.record("Customer", {"Id": customer, "DisplayName": name})
    after = intuit.read("Invoice", invoice["Id"])
    assert after["CustomerRef"]["name"] == name
    assert (after["SyncToken"], after["MetaData"]) == (invoice["SyncToken"], invoice["MetaData"])


def test_s9_nothing_is_written_into_a_closed_period(intuit: Intuit) -> None:
    """Nothing is written into a document dated on or before BookCloseDate. [9]"""
    customer = intuit.customer(SECOND)
    old = intuit.invoice(customer, SECOND, TxnDate="2026-03-01")
    intuit.sim("PUT", f"/companies/{SECOND}/closed-until", {"date": "2026-03-31"})
    try:
        prefs = intuit.get("preferences", SECOND).json()["Preferences"]
        assert prefs["AccountingInfoPrefs"]["BookCloseDate"] == "2026-03-31"
        body = {"CustomerRef": {"value": customer}, "Line": [LINE], "TxnDate": "2026-03-31"}
        assert fault(intuit.post("invoice", body, SECOND)) == (400, "6210")
        edit = {"Id": old["Id"], "SyncToken": "0", "sparse": True, "PrivateNote": "x"}
        assert fault(intuit.post("invoice", edit, SECOND)) == (400, "6210")
        assert intuit.post("invoice", body | {"TxnDate": "2026-04-01"}, SECOND).status_code == 200
    finally:
        intuit.sim("PUT", f"/companies/{SECOND}/closed-until", {"date": None})


def test_s9_estimates_are_named_by_the_invoices_made_from_them(intuit: Intuit) -> None:
    """`Invoice.LinkedTxn` also names estimates, and the estimate its invoice. [9 MEASURED, VCR cdc]"""
    customer = intuit.customer()
    form = {"CustomerRef": {"value": customer}, "Line": [line(100)]}
    estimate = intuit.write("Estimate", form)
    assert estimate["TxnStatus"] == "Pending" and balance(intuit, customer) == 0
    invoice = intuit.write("Invoice", form | {"LinkedTxn": [{"TxnId": estimate["Id"], "TxnType": "Estimate"}]})
    assert {"TxnId": estimate["Id"], "TxnType": "Estimate"} in invoice["LinkedTxn"]
    after = intuit.read("Estimate", estimate["Id"])
    assert (after["TxnStatus"], after["LinkedTxn"]) == (
        *("Closed",),
        [{"TxnId": invoice["Id"], "TxnType": "Invoice"}],
    )


def test_s9_retainage_is_a_negative_line(intuit: Intuit) -> None:
    """Lines may be negative, as retainage is, as long as the total is not. [9; issue]"""
    made = intuit.write("Invoice", {"CustomerRef": {"value": "5"}, "Line": [line(100), line(-10)]})
    assert (made["TotalAmt"], made["Balance"]) == (90, 90)
    negative = intuit.post("invoice", {"CustomerRef": {"value": "5"}, "Line": [line(-10)]})
    assert fault(negative) == (400, "6000")
