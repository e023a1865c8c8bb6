"""What touches receivables in the simulated books besides invoices and payments, and the switches around it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from connectors.simulator.books.audit import violations
from connectors.simulator.books.records import Kind, Record, Refused
from tests.unit.test_simulator_book import Desk


class Office(Desk):
    """A desk where the rarer documents are written too."""

    def write(self, kind: Kind, **body: Any) -> Record:
        return self.book.create(kind, body, self.clock.tick())[0].record

    def change(self, record: Record, **body: Any) -> None:
        self.book.update(record.kind, self.key(record) | {"sparse": True} | body, self.clock.tick())

    def end(self, record: Record, *, void: bool = False) -> None:
        (self.book.void if void else self.book.delete)(record.kind, self.key(record), self.clock.tick())

    def journal(self, *sides: tuple[str, str, str | None], **more: Any) -> Record:
        """Lines as (Debit or Credit, amount, customer); without a customer the line goes to income."""
        lines = []
        for posting, amount, customer in sides:
            account = "84" if customer else "52"
            detail: dict[str, Any] = {"PostingType": posting, "AccountRef": {"value": account}}
            if customer:
                detail["Entity"] = {"Type": "Customer", "EntityRef": {"value": customer}}
            lines.append({"Amount": Decimal(amount), "JournalEntryLineDetail": detail})
        return self.write(Kind.JOURNAL_ENTRY, Line=lines, **more)

    def purchase(self, amount: str, customer: str, **more: Any) -> Record:
        detail = {"AccountRef": {"value": "84"}, "CustomerRef": {"value": customer}}
        return self.write(
            Kind.PURCHASE, Line=[{"Amount": Decimal(amount), "AccountBasedExpenseLineDetail": detail}], **more
        )

    def link(self, total: str, *links: tuple[str, str, Record, str | None], customer: str) -> Record:
        """A payment with lines as (amount, TxnType, document, TxnLineId)."""
        lines = []
        for amount, word, record, line in links:
            link = {"TxnId": record.id, "TxnType": word} | ({"TxnLineId": line} if line else {})
            lines.append({"Amount": Decimal(amount), "LinkedTxn": [link]})
        return self.write(Kind.PAYMENT, CustomerRef={"value": customer}, TotalAmt=Decimal(total), Line=lines)

    def balance(self, customer: str) -> str:
        return str(self.book.balance(customer))


@pytest.fixture
def desk() -> Office:
    return Office()


@pytest.fixture(autouse=True)
def _audited(desk: Office) -> Any:
    yield
    assert violations(desk.book) == []


# ---- journals, deposits, cheques -------------------------------------------------------------------------------------


def test_each_receivable_line_of_one_journal_is_settled_by_itself(desk: Office) -> None:
    journal = desk.journal(
        ("Debit", "300", desk.client), ("Debit", "200", desk.job), ("Credit", "50", desk.other), ("Credit", "450", None)
    )
    desk.link("500", ("300", "JournalEntry", journal, "0"), ("200", "JournalEntry", journal, "1"), customer=desk.client)
    assert (desk.balance(desk.client), desk.balance(desk.job), desk.balance(desk.other)) == ("0.00", "0.00", "-50.00")


def test_journal_named_without_its_line_means_the_payers_open_line(desk: Office) -> None:
    journal = desk.journal(("Debit", "300", desk.client), ("Debit", "200", desk.other), ("Credit", "500", None))
    payment = desk.link("200", ("200", "JournalEntry", journal, None), customer=desk.other)
    assert payment.applications[0].item.line == "1"


def test_credit_of_a_journal_pays_an_invoice_by_a_payment_of_nothing(desk: Office) -> None:
    invoice = desk.invoice("500", desk.other)
    journal = desk.journal(("Debit", "120", None), ("Credit", "120", desk.other))
    desk.link("0", ("120", "Invoice", invoice, None), ("120", "JournalEntry", journal, "1"), customer=desk.other)
    assert (desk.open(invoice), desk.balance(desk.other)) == ("380.00", "380.00")


def test_receivable_line_of_a_deposit_is_the_customers_credit(desk: Office) -> None:
    detail = {"AccountRef": {"value": "84"}, "Entity": {"value": desk.other, "type": "CUSTOMER"}}
    deposit = desk.write(Kind.DEPOSIT, Line=[{"Amount": 80, "DepositLineDetail": detail}])
    invoice = desk.invoice("100", desk.other)
    desk.link("0", ("80", "Invoice", invoice, None), ("80", "Deposit", deposit, "1"), customer=desk.other)
    assert (desk.open(invoice), desk.balance(desk.other)) == ("20.00", "20.00")


@pytest.mark.parametrize(
    ("paid", "word"),
    [
        ({"PaymentType": "Check"}, "Check"),
        ({"PaymentType": "Cash"}, "Expense"),
        ({"PaymentType": "CreditCard"}, "Expense"),
    ],
)
def test_overpayment_given_back_is_one_payment_with_an_invoice_and_a_cheque(
    desk: Office, paid: dict[str, Any], word: str
) -> None:
    invoice = desk.invoice("500", desk.other)
    given_back = desk.purchase("100", desk.other, **paid)
    payment = desk.link("600", ("500", "Invoice", invoice, None), ("100", word, given_back, None), customer=desk.other)
    assert (payment.unapplied, desk.balance(desk.other)) == (0, "0.00")
    assert [line.txn_type for line in payment.applications] == ["Invoice", word]


def test_card_credit_to_receivables_is_a_source_of_money(desk: Office) -> None:
    invoice = desk.invoice("100", desk.other)
    credit = desk.purchase("60", desk.other, PaymentType="CreditCard", Credit=True)
    link = desk.link(
        "0", ("60", "Invoice", invoice, None), ("60", "CreditCardCredit", credit, None), customer=desk.other
    )
    assert (desk.balance(desk.other), link.applications[1].txn_type) == ("40.00", "CreditCardCredit")
    assert desk.book.ledger.account_totals["41"] == Decimal("60.00")


def test_voided_cheque_gives_the_money_back_to_the_payment(desk: Office) -> None:
    cheque = desk.purchase("100", desk.other, PaymentType="Check")
    payment = desk.link("100", ("100", "Check", cheque, None), customer=desk.other)
    desk.end(cheque, void=True)
    assert (payment.applications, payment.unapplied) == ([], Decimal("100.00"))


def test_sales_and_refund_receipts_do_not_move_the_customers_balance(desk: Office) -> None:
    desk.sale(Kind.SALES_RECEIPT, "75", desk.other)
    desk.sale(Kind.REFUND_RECEIPT, "25", desk.other)
    assert desk.balance(desk.other) == "0.00"


def test_payment_that_is_no_more_leaves_its_deposit(desk: Office) -> None:
    first, second = desk.pay("100"), desk.pay("50")
    lines = [{"Amount": one.total, "LinkedTxn": [{"TxnId": one.id, "TxnType": "Payment"}]} for one in (first, second)]
    deposit = desk.write(Kind.DEPOSIT, Line=lines)
    desk.end(first)
    assert (deposit.total, len(deposit.fields["Line"]), second.deposit_id) == (50, 1, deposit.id)
    assert desk.book.ledger.account_totals["4"] == 0


# ---- what invoices are made from -------------------------------------------------------------------------------------


def test_statement_charge_is_in_an_invoices_total_and_in_none_of_its_lines(desk: Office) -> None:
    charge = desk.write(Kind.STATEMENT_CHARGE, CustomerRef={"value": desk.other}, Amount=40)
    assert desk.balance(desk.other) == "40.00"
    linked = [{"TxnId": charge.id, "TxnType": "StatementCharge"}]
    invoice = desk.invoice("100", desk.other, LinkedTxn=linked)
    lines = sum(line["Amount"] for line in invoice.fields["Line"] if "Id" in line)
    assert (str(invoice.total), lines, desk.balance(desk.other)) == ("140.00", 100, "140.00")
    desk.end(invoice)
    assert (desk.balance(desk.other), charge.fields.get("InvoiceId")) == ("40.00", None)


def test_statement_charge_can_be_paid_and_is_billed_only_once(desk: Office) -> None:
    charge = desk.write(Kind.STATEMENT_CHARGE, CustomerRef={"value": desk.other}, Amount=40)
    payment = desk.link("40", ("40", "StatementCharge", charge, None), customer=desk.other)
    linked = [{"TxnId": charge.id, "TxnType": "StatementCharge"}]
    desk.invoice("100", desk.other, LinkedTxn=linked)
    assert str(payment.unapplied) == "40.00"
    with pytest.raises(Refused, match="billed already"):
        desk.invoice("100", desk.other, LinkedTxn=linked)
    with pytest.raises(Refused, match="6000"):
        desk.end(charge)


def test_estimate_hours_and_expenses_are_named_by_the_invoice_that_bills_them(desk: Office) -> None:
    customer = {"value": desk.other}
    estimate = desk.sale(Kind.ESTIMATE, "900", desk.other)
    hours = desk.write(Kind.TIME_ACTIVITY, CustomerRef=customer, Hours=2, Minutes=30, HourlyRate=40)
    expense = desk.write(Kind.REIMBURSE_CHARGE, CustomerRef=customer, Amount=15)
    linked = [{"TxnId": one.id, "TxnType": one.kind.value} for one in (estimate, hours, expense)]
    invoice = desk.invoice("900", desk.other, LinkedTxn=linked)
    assert (str(hours.total), desk.balance(desk.other)) == ("100.00", "900.00")
    assert {one.fields["InvoiceId"] for one in (estimate, hours, expense)} == {invoice.id}
    desk.end(invoice, void=True)
    assert not any("InvoiceId" in one.fields for one in (estimate, hours, expense))


def test_source_of_another_customer_cannot_be_billed(desk: Office) -> None:
    estimate = desk.sale(Kind.ESTIMATE, "900", desk.job)
    with pytest.raises(Refused, match="2500"):
        desk.invoice("900", desk.other, LinkedTxn=[{"TxnId": estimate.id, "TxnType": "Estimate"}])


# ---- opening balances, retainage, discounts, taxes -------------------------------------------------------------------


@pytest.mark.parametrize(("how", "kind"), [("Invoice", Kind.INVOICE), ("JournalEntry", Kind.JOURNAL_ENTRY)])
def test_opening_balance_is_a_document_against_equity(desk: Office, how: str, kind: Kind) -> None:
    desk.book.switches.opening_balance_as = how
    customer = desk.write(Kind.CUSTOMER, DisplayName="Old Friend", Balance=250, OpenBalanceDate="2026-01-01")
    (opened,) = desk.book.records[kind].values()
    assert (desk.balance(customer.id), opened.fields["TxnDate"]) == ("250.00", "2026-01-01")
    assert desk.book.ledger.account_totals["34"] == Decimal("-250.00")


def test_retainage_is_held_back_by_a_negative_line_and_billed_later(desk: Office) -> None:
    def lines(*amounts: tuple[str, str]) -> list[dict[str, Any]]:
        return [
            {"Amount": Decimal(amount), "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": detail}
            for item, amount in amounts
            for detail in [{"ItemRef": {"value": item}}]
        ]

    progress = desk.write(Kind.INVOICE, CustomerRef={"value": desk.job}, Line=lines(("1", "1000"), ("15", "-100")))
    assert (desk.open(progress), desk.book.ledger.account_totals["105"]) == ("900.00", Decimal("100.00"))
    release = desk.write(Kind.INVOICE, CustomerRef={"value": desk.job}, Line=lines(("15", "100")))
    assert (desk.open(release), desk.book.ledger.account_totals["105"]) == ("100.00", 0)


@pytest.mark.parametrize(
    ("discount", "after", "tax", "total"),
    [
        ({"DiscountLineDetail": {"PercentBased": True, "DiscountPercent": 10}}, True, "7.85", "97.85"),
        ({"DiscountLineDetail": {"PercentBased": True, "DiscountPercent": 10}}, False, "8.73", "98.73"),
        ({"Amount": 30, "DiscountLineDetail": {"PercentBased": False}}, True, "6.11", "76.11"),
        ({"Amount": 30, "DiscountLineDetail": {"PercentBased": False}}, False, "8.73", "78.73"),
    ],
)
def test_three_rates_are_taken_before_or_after_the_discount(
    desk: Office, discount: dict[str, Any], after: bool, tax: str, total: str
) -> None:
    detail = {"TaxCodeRef": {"value": "TAX"}}
    line = {"Amount": 100, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": detail}
    made = desk.write(
        Kind.INVOICE,
        CustomerRef={"value": desk.other},
        Line=[line, {"DetailType": "DiscountLineDetail", **discount}],
        TxnTaxDetail={"TxnTaxCodeRef": {"value": "4"}},
        ApplyTaxAfterDiscount=after,
    )
    taxes = made.fields["TxnTaxDetail"]
    assert (str(taxes["TotalTax"]), str(made.total)) == (tax, total)
    assert [line["TaxLineDetail"]["TaxRateRef"]["value"] for line in taxes["TaxLine"]] == ["5", "6", "7"]
    assert sum(line["Amount"] for line in taxes["TaxLine"]) == taxes["TotalTax"]


@pytest.mark.parametrize(("code", "shown"), [("JPY", "1001.00"), ("KWD", "1000.505")])
def test_yen_have_no_digits_and_dinars_three_where_the_switch_says_so(desk: Office, code: str, shown: str) -> None:
    desk.book.multicurrency = desk.book.switches.currency_digits = True
    abroad = desk.write(Kind.CUSTOMER, DisplayName="Abroad", CurrencyRef={"value": code}).id
    rate = Decimal("0.0067") if code == "JPY" else Decimal("3.25")
    invoice = desk.invoice("1000.505", abroad, ExchangeRate=rate)
    assert desk.open(invoice) == shown
    body = desk.payment_body(shown, [(invoice, shown)], abroad) | {"ExchangeRate": rate}
    desk.book.create(Kind.PAYMENT, body, desk.clock.tick())
    assert (desk.open(invoice), desk.book.ledger.account_totals["84"]) in [("0.00", 0), ("0.000", 0)]


# ---- voids taken back, customers changed, projects -------------------------------------------------------------------


def test_voided_credit_link_can_be_filled_in_again(desk: Office) -> None:
    invoice, memo = desk.invoice("100", desk.other), desk.memo("100", desk.other)
    link = desk.pay("0", (invoice, "100"), (memo, "100"), customer=desk.other)
    desk.end(link, void=True)
    assert (desk.open(invoice), desk.open(memo)) == ("100.00", "100.00")
    desk.change(link, Line=desk.payment_body("0", [(invoice, "60"), (memo, "60")])["Line"])
    assert (link.voided, desk.open(invoice), desk.open(memo)) == (False, "40.00", "40.00")


@pytest.mark.parametrize("how", ["unlink_strangers", "unlink_all", "refused"])
def test_customer_changed_on_a_paid_invoice_follows_the_switch(desk: Office, how: str) -> None:
    desk.book.switches.customer_change = how
    invoice = desk.invoice("100", desk.job)
    payment = desk.pay("100", (invoice, "100"))  # by the parent
    if how == "refused":
        with pytest.raises(Refused, match="6000"):
            desk.change(invoice, CustomerRef={"value": desk.client})
        return
    desk.change(invoice, CustomerRef={"value": desk.client})  # still in the payer's family
    assert len(payment.applications) == (1 if how == "unlink_strangers" else 0)
    desk.change(invoice, CustomerRef={"value": desk.other})
    assert (payment.applications, str(payment.unapplied)) == ([], "100.00")


def test_customer_changed_on_a_payment_leaves_the_old_customers_documents(desk: Office) -> None:
    invoice = desk.invoice("100", desk.job)
    payment = desk.pay("150", (invoice, "100"))
    desk.change(payment, CustomerRef={"value": desk.other})
    assert (desk.open(invoice), str(payment.unapplied), desk.balance(desk.other)) == ("100.00", "150.00", "-150.00")


@pytest.fixture
def project(desk: Office) -> Record:
    return desk.book.create_project("Quay", desk.client, desk.clock.tick())[0].record


def test_project_is_a_customer_below_its_client_with_an_id_of_another_kind(desk: Office, project: Record) -> None:
    assert (project.fields["IsProject"], project.fields["ParentRef"]["value"]) == (True, desk.client)
    assert project.fields["ProjectId"] not in desk.book.records[Kind.CUSTOMER]
    with pytest.raises(Refused, match="2500"):
        desk.invoice("10", desk.client, ProjectRef={"value": project.id})


@pytest.mark.parametrize("named", [True, False])
def test_documents_of_a_project_name_it_or_its_client_by_switch(desk: Office, project: Record, named: bool) -> None:
    desk.book.switches.project_customer_in_ref = named
    from_client = desk.invoice("10", desk.client, ProjectRef={"value": project.fields["ProjectId"]})
    from_project = desk.invoice("10", project.id)
    expected = (project.id if named else desk.client, project.fields["ProjectId"])
    for invoice in (from_client, from_project):
        assert (invoice.customer_id, invoice.fields["ProjectRef"]["value"]) == expected


@pytest.mark.parametrize("unlinks", [True, False])
def test_giving_a_paid_invoice_to_a_project_unlinks_its_payment_by_switch(
    desk: Office, project: Record, unlinks: bool
) -> None:
    desk.book.switches.project_unlinks = unlinks
    invoice = desk.invoice("100", desk.client)
    payment = desk.pay("100", (invoice, "100"))
    desk.change(invoice, ProjectRef={"value": project.fields["ProjectId"]})
    assert str(payment.unapplied) == ("100.00" if unlinks else "0.00")


# ---- credits by themselves, closed books, balances -------------------------------------------------------------------


def test_credits_are_applied_by_themselves_from_both_sides(desk: Office) -> None:
    desk.book.switches.auto_apply_credits = True
    first, second = desk.invoice("100", desk.other), desk.invoice("70", desk.other)
    memo = desk.memo("150", desk.other)
    assert (desk.open(first), desk.open(second), desk.open(memo)) == ("0.00", "20.00", "0.00")
    (link,) = desk.book.records[Kind.PAYMENT].values()
    assert (link.total, link.fields["PrivateNote"]) == (0, "Created by QB Online to link credits to charges.")
    desk.memo("30", desk.other)
    third = desk.invoice("25", desk.other)
    assert (desk.open(second), desk.open(third)) == ("0.00", "15.00")


def test_several_memos_and_invoices_are_linked_in_one_payment_of_nothing(desk: Office) -> None:
    invoices = [desk.invoice("100", desk.other), desk.invoice("50", desk.other)]
    memos = [desk.memo("80", desk.other), desk.memo("70", desk.other)]
    lines = [*zip(invoices, ("100", "50"), strict=True), *zip(memos, ("80", "70"), strict=True)]
    desk.pay("0", *lines, customer=desk.other)
    assert [desk.open(one) for one in (*invoices, *memos)] == ["0.00"] * 4


def test_inactivation_that_would_write_into_a_closed_period_is_refused(desk: Office) -> None:
    desk.invoice("100", desk.other)
    desk.book.closed_until = "2026-12-31"
    with pytest.raises(Refused, match="6210"):
        desk.change(desk.book.customer(desk.other), Active=False)
    assert desk.book.customer(desk.other).fields["Active"]


def test_parents_balance_shows_its_jobs_only_where_the_switch_and_the_job_say_so(desk: Office) -> None:
    desk.change(desk.book.customer(desk.job), BillWithParent=True)
    desk.invoice("100", desk.job)
    assert (desk.book.balance_shown(desk.client), desk.book.balance_with_jobs(desk.client)) == (0, Decimal("100.00"))
    desk.book.switches.parent_shows_jobs_billed = True
    assert desk.book.balance_shown(desk.client) == Decimal("100.00")


@pytest.mark.parametrize("moves", [True, False])
def test_merge_gives_documents_new_times_by_switch(desk: Office, moves: bool) -> None:
    desk.book.switches.merge_moves_times = moves
    invoice = desk.invoice("100", desk.other)
    before = invoice.updated_at
    desk.book.merge(desk.job, desk.other, desk.clock.tick())
    assert (invoice.customer_id, invoice.updated_at > before, invoice.sync_token) == (desk.job, moves, 0)


# ---- one currency each -----------------------------------------------------------------------------------------------


@pytest.fixture
def berlin(desk: Office) -> str:
    desk.book.multicurrency = True
    return desk.write(Kind.CUSTOMER, DisplayName="Berlin GmbH", CurrencyRef={"value": "EUR"}).id


def test_journal_of_a_foreign_customer_is_in_its_currency(desk: Office, berlin: str) -> None:
    journal = desk.journal(("Debit", "100", berlin), ("Credit", "100", None), ExchangeRate=Decimal("1.10"))
    assert (journal.currency, desk.balance(berlin)) == ("EUR", "100.00")
    assert desk.book.ledger.account_totals["84"] == Decimal("110.00")


def test_balances_never_mix_currencies(desk: Office, berlin: str) -> None:
    with pytest.raises(Refused, match="customer's currency"):
        desk.journal(("Debit", "100", berlin), ("Credit", "100", desk.other))
    with pytest.raises(Refused, match="customer's currency"):
        desk.write(
            Kind.PURCHASE,
            CurrencyRef={"value": "USD"},
            Line=[
                {
                    "Amount": 1,
                    "AccountBasedExpenseLineDetail": {"AccountRef": {"value": "84"}, "CustomerRef": {"value": berlin}},
                }
            ],
        )
    desk.book.switches.payment_family_only = False
    invoice = desk.invoice("100", berlin)
    with pytest.raises(Refused, match="6000"):
        desk.pay("100", (invoice, "100"), customer=desk.other)


def test_payment_is_deposited_once_and_not_out_of_a_closed_deposit(desk: Office) -> None:
    payment = desk.pay("100")
    lines = [{"Amount": 100, "LinkedTxn": [{"TxnId": payment.id, "TxnType": "Payment"}]}]
    desk.write(Kind.DEPOSIT, Line=lines, TxnDate="2026-01-15")
    with pytest.raises(Refused, match="deposited already"):
        desk.write(Kind.DEPOSIT, Line=lines)
    desk.book.closed_until = "2026-01-31"
    with pytest.raises(Refused, match="6210"):
        desk.end(payment, void=True)
