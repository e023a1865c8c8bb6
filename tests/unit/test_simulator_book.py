"""The simulated company's books: what follows from what, and that it always adds up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from connectors.simulator.api.company import Company, Event
from connectors.simulator.books.book import Book
from connectors.simulator.books.effects import Change, Mark
from connectors.simulator.books.records import ZERO, Kind, Record, Refused
from connectors.simulator.clock import SteppedClock
from connectors.simulator.life.happenings import Life
from connectors.simulator.life.history import HISTORY_END, write_history
from connectors.simulator.wire import decode, encode

START = datetime(2026, 3, 2, 17, 0, tzinfo=UTC)


class Ticking:
    """A clock one second later each time it is asked to tick."""

    def __init__(self) -> None:
        self.at = START

    def tick(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at


class Desk:
    """A bookkeeper in one line per document."""

    def __init__(self) -> None:
        self.book = Book()
        self.clock = Ticking()
        self.client = self.customer("Harbour Estates")
        self.job = self.customer("Pier 9", parent=self.client)
        self.other = self.customer("Cedar Schools")

    def customer(self, name: str, parent: str | None = None) -> str:
        body: dict[str, Any] = {"DisplayName": name}
        if parent:
            body |= {"Job": True, "ParentRef": {"value": parent}}
        return self.book.create(Kind.CUSTOMER, body, self.clock.tick())[0].record.id

    def sale(self, kind: Kind, amount: str, customer: str, **more: Any) -> Record:
        line = {"Amount": Decimal(amount), "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {}}
        body = {"CustomerRef": {"value": customer}, "Line": [line], **more}
        return self.book.create(kind, body, self.clock.tick())[0].record

    def invoice(self, amount: str, customer: str | None = None, **more: Any) -> Record:
        return self.sale(Kind.INVOICE, amount, customer or self.job, **more)

    def memo(self, amount: str, customer: str | None = None) -> Record:
        return self.sale(Kind.CREDIT_MEMO, amount, customer or self.job)

    def pay(self, total: str, *lines: tuple[Record, str], customer: str | None = None) -> Record:
        return self.book.create(Kind.PAYMENT, self.payment_body(total, lines, customer), self.clock.tick())[0].record

    def payment_body(self, total: str, lines: Any, customer: str | None = None) -> dict[str, Any]:
        written = [
            {"Amount": Decimal(amount), "LinkedTxn": [{"TxnId": record.id, "TxnType": record.kind.value}]}
            for record, amount in lines
        ]
        return {"CustomerRef": {"value": customer or self.client}, "TotalAmt": Decimal(total), "Line": written}

    def key(self, record: Record) -> dict[str, Any]:
        return {"Id": record.id, "SyncToken": str(record.sync_token)}

    def open(self, record: Record) -> str:
        return str(self.book.open_amount(record))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def marks(changes: list[Change]) -> dict[str, tuple[str, Mark]]:
    return {f"{one.record.kind} {one.record.id}": (one.operation, one.mark) for one in changes}


def assert_adds_up(book: Book) -> None:
    """The invariants of a true book, worked out from the records alone."""
    assert sum(book.ledger.account_totals.values(), ZERO) == 0
    own: dict[str, Decimal] = {}
    for kind, sign in ((Kind.INVOICE, 1), (Kind.CREDIT_MEMO, -1)):
        for record in book.records[kind].values():
            assert book.open_amount(record) >= 0, record
            own[str(record.customer_id)] = own.get(str(record.customer_id), ZERO) + sign * book.open_amount(record)
    applied: dict[tuple[Kind, str], Decimal] = {}
    for payment in book.records[Kind.PAYMENT].values():
        sources = sum((one.amount for one in payment.applications if one.item.kind is Kind.CREDIT_MEMO), ZERO)
        uses = sum((one.amount for one in payment.applications if one.item.kind is Kind.INVOICE), ZERO)
        assert payment.total + sources == uses + payment.unapplied, payment
        assert 0 <= payment.unapplied <= payment.total
        own[str(payment.customer_id)] = own.get(str(payment.customer_id), ZERO) - payment.unapplied
        for one in payment.applications:
            key = (one.item.kind, one.item.id)
            applied[key] = applied.get(key, ZERO) + one.amount
            assert one.item.id in book.records[one.item.kind]
    for kind in (Kind.INVOICE, Kind.CREDIT_MEMO):
        for record in book.records[kind].values():
            deposit = Decimal(record.fields.get("Deposit", 0))
            assert record.total - deposit - applied.get((kind, record.id), ZERO) == book.open_amount(record)
    for customer in book.records[Kind.CUSTOMER]:
        assert book.balance(customer) == own.get(customer, ZERO), customer


# ---- documents -------------------------------------------------------------------------------------------------------


def test_total_is_lines_less_discount_plus_tax(desk: Desk) -> None:
    lines = [
        {"Amount": 1800, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {"UnitPrice": 150, "Qty": 12}},
        {
            "Amount": Decimal("349.50"),
            "DetailType": "SalesItemLineDetail",
            "SalesItemLineDetail": {"ItemRef": {"value": "11"}, "TaxCodeRef": {"value": "TAX"}},
        },
        {"DetailType": "DiscountLineDetail", "DiscountLineDetail": {"PercentBased": True, "DiscountPercent": 10}},
    ]
    body = {
        **{"CustomerRef": {"value": desk.job}, "Line": lines, "ApplyTaxAfterDiscount": True},
        "TxnTaxDetail": {"TxnTaxCodeRef": {"value": "2"}},
    }
    made = desk.book.create(Kind.INVOICE, body, desk.clock.tick())[0].record
    assert [line["Amount"] for line in made.fields["Line"]][2:] == [Decimal("2149.50"), Decimal("214.95")]
    assert made.fields["TxnTaxDetail"]["TotalTax"] == Decimal("25.16")
    assert made.total == Decimal("1959.71")
    assert_adds_up(desk.book)


def test_deposit_on_an_invoice_lowers_its_balance_without_a_payment(desk: Desk) -> None:
    invoice = desk.invoice("1000", Deposit=200)
    assert desk.open(invoice) == "800.00"
    assert_adds_up(desk.book)


def test_payment_touches_invoice_with_revision_and_customers_without(desk: Desk) -> None:
    invoice = desk.invoice("1000")
    payment = desk.payment_body("1000", [(invoice, "600")])
    changes = desk.book.create(Kind.PAYMENT, payment, desk.clock.tick())
    assert marks(changes) == {
        "Payment 1002": ("Create", Mark.DIRECT),
        f"Invoice {invoice.id}": ("Update", Mark.LINKED),
        f"Customer {desk.job}": ("Update", Mark.BALANCE),
        f"Customer {desk.client}": ("Update", Mark.BALANCE),
    }
    assert (invoice.sync_token, desk.open(invoice)) == (1, "400.00")
    job = desk.book.customer(desk.job)
    assert (job.sync_token, job.updated_at) == (0, desk.clock.at)


def test_parent_pays_for_its_job_and_the_rest_is_the_parents_credit(desk: Desk) -> None:
    invoice = desk.invoice("1000")
    payment = desk.pay("1100", (invoice, "1000"))
    assert (desk.open(invoice), str(payment.unapplied)) == ("0.00", "100.00")
    assert (desk.book.balance(desk.job), desk.book.balance(desk.client)) == (0, Decimal("-100.00"))
    assert desk.book.balance_with_jobs(desk.client) == Decimal("-100.00")


def test_credit_is_linked_by_a_payment_of_nothing(desk: Desk) -> None:
    invoice, memo = desk.invoice("1000"), desk.memo("300")
    link = desk.pay("0", (invoice, "200"), (memo, "200"))
    assert (desk.open(invoice), desk.open(memo), link.unapplied) == ("800.00", "100.00", 0)
    assert_adds_up(desk.book)


def test_voiding_a_paid_invoice_returns_the_money_to_the_payment(desk: Desk) -> None:
    invoice = desk.invoice("1000", PrivateNote="Stage 1")
    payment = desk.pay("1000", (invoice, "1000"))
    changes = desk.book.void(Kind.INVOICE, desk.key(invoice), desk.clock.tick())
    assert marks(changes)[f"Payment {payment.id}"] == ("Update", Mark.LINKED)
    assert (invoice.total, desk.open(invoice), invoice.fields["PrivateNote"]) == (0, "0.00", "Voided - Stage 1")
    assert (payment.applications, str(payment.unapplied)) == ([], "1000.00")
    assert_adds_up(desk.book)


def test_voiding_a_memo_opens_the_invoice_it_was_used_on(desk: Desk) -> None:
    invoice, memo = desk.invoice("1000"), desk.memo("300")
    desk.pay("0", (invoice, "300"), (memo, "300"))
    desk.book.void(Kind.CREDIT_MEMO, desk.key(memo), desk.clock.tick())
    assert desk.open(invoice) == "1000.00"
    assert_adds_up(desk.book)


def test_void_is_taken_back_by_filling_the_document_in_again(desk: Desk) -> None:
    invoice = desk.invoice("1000")
    desk.book.void(Kind.INVOICE, desk.key(invoice), desk.clock.tick())
    line = {"Amount": 900, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {}}
    desk.book.update(Kind.INVOICE, desk.key(invoice) | {"sparse": True, "Line": [line]}, desk.clock.tick())
    assert (invoice.voided, desk.open(invoice)) == (False, "900.00")
    assert_adds_up(desk.book)


def test_deleting_a_payment_opens_its_invoices_again(desk: Desk) -> None:
    first, second = desk.invoice("1000"), desk.invoice("500")
    payment = desk.pay("1500", (first, "1000"), (second, "500"))
    changes = desk.book.delete(Kind.PAYMENT, desk.key(payment), desk.clock.tick())
    assert (desk.open(first), desk.open(second)) == ("1000.00", "500.00")
    assert marks(changes)[f"Invoice {first.id}"] == ("Update", Mark.LINKED)
    with pytest.raises(Refused, match="610"):
        desk.book.get(Kind.PAYMENT, payment.id)
    assert_adds_up(desk.book)


def test_lowering_a_paid_invoice_gives_the_rest_back_to_the_latest_payment(desk: Desk) -> None:
    invoice = desk.invoice("1000")
    first, second = desk.pay("700", (invoice, "700")), desk.pay("300", (invoice, "300"))
    line = {"Amount": 800, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {}}
    desk.book.update(Kind.INVOICE, desk.key(invoice) | {"sparse": True, "Line": [line]}, desk.clock.tick())
    assert (first.unapplied, second.unapplied) == (0, Decimal("200.00"))
    assert_adds_up(desk.book)


def test_moving_an_invoice_to_another_customer_unlinks_its_payment(desk: Desk) -> None:
    invoice = desk.invoice("1000")
    payment = desk.pay("1000", (invoice, "1000"))
    body = desk.key(invoice) | {"sparse": True, "CustomerRef": {"value": desk.other}}
    desk.book.update(Kind.INVOICE, body, desk.clock.tick())
    assert (str(payment.unapplied), desk.book.balance(desk.other)) == ("1000.00", Decimal("1000.00"))
    assert_adds_up(desk.book)


def test_deposit_of_a_payment_moves_its_time_but_not_its_token(desk: Desk) -> None:
    payment = desk.pay("100")
    line = {"Amount": 100, "LinkedTxn": [{"TxnId": payment.id, "TxnType": "Payment"}]}
    desk.book.create(Kind.DEPOSIT, {"Line": [line]}, desk.clock.tick())
    assert (payment.sync_token, payment.updated_at, payment.deposit_id) == (0, desk.clock.at, "1002")
    assert sum(desk.book.ledger.account_totals.values(), ZERO) == 0
    assert desk.book.ledger.account_totals["4"] == 0


def test_overpayment_refunded_by_cheque_is_linked_in_the_payment(desk: Desk) -> None:
    invoice = desk.invoice("500")
    payment = desk.pay("600", (invoice, "500"))
    detail = {"AccountRef": {"value": "84"}, "CustomerRef": {"value": desk.client}}
    line = {"Amount": 100, "DetailType": "AccountBasedExpenseLineDetail", "AccountBasedExpenseLineDetail": detail}
    cheque = desk.book.create(Kind.PURCHASE, {"PaymentType": "Check", "Line": [line]}, desk.clock.tick())[0].record
    assert desk.book.balance(desk.client) == 0
    lines = desk.payment_body("600", [(invoice, "500")])["Line"]
    lines.append({"Amount": 100, "LinkedTxn": [{"TxnId": cheque.id, "TxnType": "Check"}]})
    desk.book.update(Kind.PAYMENT, desk.key(payment) | {"sparse": True, "Line": lines}, desk.clock.tick())
    assert (payment.unapplied, desk.book.balance(desk.client), desk.book.balance(desk.job)) == (0, 0, 0)


@pytest.mark.parametrize(("posting", "left"), [("Debit", "7000.00"), ("Credit", "-12000.00")])
def test_journal_to_receivables_counts_with_its_sign(desk: Desk, posting: str, left: str) -> None:
    other = "Credit" if posting == "Debit" else "Debit"
    entity = {"Type": "Customer", "EntityRef": {"value": desk.client}}
    lines = [
        {
            "Amount": 12000,
            "JournalEntryLineDetail": {"PostingType": posting, "AccountRef": {"value": "84"}, "Entity": entity},
        },
        {"Amount": 12000, "JournalEntryLineDetail": {"PostingType": other, "AccountRef": {"value": "34"}}},
    ]
    journal = desk.book.create(Kind.JOURNAL_ENTRY, {"Line": lines}, desk.clock.tick())[0].record
    if posting == "Debit":
        payment = desk.pay("5000", (journal, "5000"))
        assert payment.unapplied == 0
    assert str(desk.book.balance(desk.client)) == left
    assert sum(desk.book.ledger.account_totals.values(), ZERO) == 0


def test_exchange_gain_is_the_difference_of_the_two_rates(desk: Desk) -> None:
    desk.book.multicurrency = True
    body = {"DisplayName": "Berlin GmbH", "CurrencyRef": {"value": "EUR"}}
    berlin = desk.book.create(Kind.CUSTOMER, body, desk.clock.tick())[0].record.id
    invoice = desk.invoice("1000", berlin, ExchangeRate=Decimal("1.10"))
    payment = desk.payment_body("1000", [(invoice, "1000")], berlin) | {"ExchangeRate": Decimal("1.20")}
    desk.book.create(Kind.PAYMENT, payment, desk.clock.tick())
    totals = desk.book.ledger.account_totals
    assert (totals["84"], totals["4"], totals["101"]) == (0, Decimal("1200.00"), Decimal("-100.00"))


def test_last_payment_of_a_foreign_invoice_takes_the_odd_cent(desk: Desk) -> None:
    desk.book.multicurrency = True
    body = {"DisplayName": "Berlin GmbH", "CurrencyRef": {"value": "EUR"}}
    berlin = desk.book.create(Kind.CUSTOMER, body, desk.clock.tick())[0].record.id
    invoice = desk.invoice("100.01", berlin, ExchangeRate=Decimal("1.155"))
    for amount in ("33.33", "33.33", "33.35"):
        payment = desk.payment_body(amount, [(invoice, amount)], berlin) | {"ExchangeRate": Decimal("1.155")}
        desk.book.create(Kind.PAYMENT, payment, desk.clock.tick())
    assert desk.open(invoice) == "0.00"
    assert desk.book.ledger.account_totals["84"] == 0


# ---- customers -------------------------------------------------------------------------------------------------------


def test_merge_moves_documents_and_their_payments_and_ends_the_other_customer(desk: Desk) -> None:
    invoice = desk.invoice("1000", desk.other)
    desk.pay("400", (invoice, "400"), customer=desk.other)
    desk.pay("50", customer=desk.other)
    kept = desk.customer("Kept")
    changes = desk.book.merge(kept, desk.other, desk.clock.tick())
    merged = next(one for one in changes if one.operation == "Merge")
    assert (merged.record.id, merged.gone_id) == (kept, desk.other)
    assert (desk.book.balance(kept), desk.book.balance(desk.other)) == (Decimal("550.00"), 0)
    assert desk.book.customers.shown_name(desk.book.customer(desk.other)) == "Cedar Schools (deleted)"
    assert_adds_up(desk.book)


def test_merge_is_refused_where_there_are_jobs(desk: Desk) -> None:
    with pytest.raises(Refused, match="sub-customers"):
        desk.book.merge(desk.other, desk.client, desk.clock.tick())


def test_renaming_a_customer_changes_no_revision_of_its_documents(desk: Desk) -> None:
    invoice = desk.invoice("10")
    before = (invoice.sync_token, invoice.updated_at)
    body = desk.key(desk.book.customer(desk.job)) | {"sparse": True, "DisplayName": "Pier 10"}
    changes = desk.book.update(Kind.CUSTOMER, body, desk.clock.tick())
    assert marks(changes)[f"Invoice {invoice.id}"] == ("Update", Mark.SEEN)
    assert (invoice.sync_token, invoice.updated_at) == before


def test_making_a_customer_inactive_writes_its_balance_off_with_a_memo(desk: Desk) -> None:
    desk.invoice("1000", desk.other)
    body = desk.key(desk.book.customer(desk.other)) | {"sparse": True, "Active": False}
    changes = desk.book.update(Kind.CUSTOMER, body, desk.clock.tick())
    assert [one.record.kind for one in changes if one.operation == "Create"] == [Kind.CREDIT_MEMO]
    assert desk.book.balance(desk.other) == 0
    assert_adds_up(desk.book)


def test_a_name_can_be_used_only_once(desk: Desk) -> None:
    with pytest.raises(Refused, match="6240"):
        desk.customer("cedar schools")


# ---- refusals --------------------------------------------------------------------------------------------------------


def refusals(desk: Desk) -> Iterator[tuple[str, Any]]:
    invoice, at = desk.invoice("100"), desk.clock.tick()
    book = desk.book
    yield "5010", lambda: book.void(Kind.INVOICE, {"Id": invoice.id, "SyncToken": "7"}, at)
    yield "610", lambda: book.void(Kind.INVOICE, {"Id": "99999", "SyncToken": "0"}, at)
    yield "2030", lambda: book.void(Kind.INVOICE, {"Id": "x", "SyncToken": "0"}, at)
    yield "2020", lambda: book.create(Kind.INVOICE, {"CustomerRef": {"value": desk.job}}, at)
    yield "2500", lambda: desk.invoice("5", "99999")
    yield "6140", lambda: desk.invoice("5", DocNumber=invoice.fields["DocNumber"])
    yield "6000", lambda: desk.pay("200", (invoice, "150"))
    yield "6000", lambda: desk.pay("10", (invoice, "100"))
    yield "6000", lambda: desk.pay("100", (invoice, "100"), customer=desk.other)
    yield "2010", lambda: desk.invoice("5", TxnDate="soon")


@pytest.mark.parametrize("number", range(10))
def test_refused_operation_changes_nothing(desk: Desk, number: int) -> None:
    code, attempt = list(refusals(desk))[number]
    before = encode(
        [[one.id, one.sync_token, str(one.total)] for kind in Kind for one in desk.book.records[kind].values()]
    )
    totals = dict(desk.book.ledger.account_totals)
    with pytest.raises(Refused) as refused:
        attempt()
    assert refused.value.code == code
    after = encode(
        [[one.id, one.sync_token, str(one.total)] for kind in Kind for one in desk.book.records[kind].values()]
    )
    assert (after, desk.book.ledger.account_totals) == (before, totals)


def test_closed_books_refuse_changes_on_or_before_the_closing_date(desk: Desk) -> None:
    invoice = desk.invoice("10", TxnDate="2026-01-31")
    desk.book.closed_until = "2026-01-31"
    with pytest.raises(Refused, match="6210"):
        desk.book.void(Kind.INVOICE, desk.key(invoice), desk.clock.tick())


# ---- whole lives -----------------------------------------------------------------------------------------------------


def company(seed: int = 1, size: str = "year", number: int = 0) -> Company:
    clock = SteppedClock(HISTORY_END)
    made = Company(str(9130000000000001 + number), "Bayside", clock)
    made.projects = write_history(made, seed, number, size)
    return made


def picture(one: Company) -> str:
    return "\n".join(one.renderer.text(record) for kind in Kind for record in one.book.records[kind].values())


def test_history_is_a_plausible_year_and_adds_up() -> None:
    made = company()
    counts = {kind.value: len(records) for kind, records in made.book.records.items()}
    assert (counts["Customer"], counts["Invoice"]) == (40, 300)
    assert counts["Payment"] >= 250 and counts["CreditMemo"] >= 15 and counts["RefundReceipt"] >= 10
    payments = made.book.records[Kind.PAYMENT].values()
    lines = [len(one.applications) for one in payments]
    assert max(lines) > 1 and any(one.unapplied for one in payments) and any(not one.total for one in payments)
    across = [one for one in payments if len({made.book.items[line.item].customer for line in one.applications}) > 1]
    assert len(across) > 10, "payments over several jobs"
    assert any(one.voided for one in made.book.records[Kind.INVOICE].values())
    assert 12 <= len(made.projects) <= 15
    assert sum(bool(one.custom) for one in made.book.records[Kind.INVOICE].values()) > 20
    assert_adds_up(made.book)


def test_same_seed_makes_the_same_history_byte_for_byte() -> None:
    assert picture(company(3, "small")) == picture(company(3, "small"))
    assert picture(company(3, "small")) != picture(company(4, "small"))


def test_ids_repeat_between_companies_but_projects_do_not() -> None:
    first, second = company(size="small"), company(size="small", number=1)
    assert set(first.book.records[Kind.CUSTOMER]) == set(second.book.records[Kind.CUSTOMER])
    assert not {one.project_id for one in first.projects} & {one.project_id for one in second.projects}


@pytest.mark.parametrize("seed", [1, 2])
def test_books_add_up_after_thousands_of_random_changes(seed: int) -> None:
    made = company(seed, "small")
    made.switches.auto_apply_credits = seed == 2
    life = Life(made, seed)
    clock = made.clock
    assert isinstance(clock, SteppedClock)
    for step in range(3000):
        clock.move_to(clock.now() + timedelta(seconds=7))
        life.change()
        if step % 500 == 0:
            assert_adds_up(made.book)
    assert_adds_up(made.book)
    customers = list(made.book.records[Kind.CUSTOMER].values())
    alone = [one.id for one in customers if not made.book.customers.children.get(one.id)]
    for kept, gone in zip(alone[0::2], alone[1::2], strict=False):
        made.merge(kept, gone)
    assert_adds_up(made.book)


def test_restored_book_is_the_same_as_the_one_that_was_kept() -> None:
    made = company(5, "small")
    life = Life(made, 5)
    for _ in range(300):
        life.change()
    other = Book()
    records = [one for kind in Kind for one in made.book.records[kind].values()] + list(made.book.gone.values())
    for one in records:
        one.postings, one.rendered = (), None
    totals, receivable = dict(made.book.ledger.account_totals), dict(made.book.ledger.receivable)
    other.restore(records)
    assert {key: value for key, value in other.ledger.account_totals.items() if value} == {
        k: v for k, v in totals.items() if v
    }
    assert {key: value for key, value in other.ledger.receivable.items() if value} == {
        k: v for k, v in receivable.items() if v
    }
    assert_adds_up(other)


def test_a_change_announces_the_payment_and_every_invoice_it_pays() -> None:
    made = company(1, "none")
    desk = Desk()
    made.book = desk.book
    seen: list[Event] = []
    made.listeners.append(lambda one, changes, events: seen.extend(events))
    first, second = desk.invoice("100"), desk.invoice("50")
    made.create(Kind.PAYMENT, desk.payment_body("150", [(first, "100"), (second, "50")]))
    told = [(one.entity, one.id, one.operation) for one in seen]
    assert told == [("Payment", "1003", "Create"), ("Invoice", "1001", "Update"), ("Invoice", "1002", "Update")]


def test_money_is_written_with_two_digits_and_zero_as_zero() -> None:
    made = company(1, "none")
    body = {"DisplayName": 'Amy\'s "Birds"'}
    customer = made.create(Kind.CUSTOMER, body).id
    line = {
        "Amount": 100,
        "DetailType": "SalesItemLineDetail",
        "SalesItemLineDetail": {"UnitPrice": Decimal("50.50"), "Qty": 2},
    }
    line["Amount"] = 101
    shown = made.renderer.text(made.create(Kind.INVOICE, {"CustomerRef": {"value": customer}, "Line": [line]}))
    assert '"TotalAmt":101.00' in shown and '"TotalTax":0}' in shown
    assert '"UnitPrice":50.5,"Qty":2,' in shown
    assert decode(shown)["CustomerRef"]["name"] == 'Amy\'s "Birds"'


def test_times_carry_the_companys_offset_with_daylight_saving() -> None:
    made = company(1, "none")
    clock = made.clock
    assert isinstance(clock, SteppedClock)
    clock.move_to(datetime(2026, 10, 31, 20, 0, tzinfo=UTC))
    summer = decode(made.renderer.text(made.create(Kind.CUSTOMER, {"DisplayName": "A"})))
    clock.move_to(datetime(2026, 11, 2, 20, 0, 0, 999, tzinfo=UTC))
    winter = decode(made.renderer.text(made.create(Kind.CUSTOMER, {"DisplayName": "B"})))
    assert summer["MetaData"]["CreateTime"] == "2026-10-31T13:00:00-07:00"
    assert winter["MetaData"]["CreateTime"] == "2026-11-02T12:00:00-08:00"
