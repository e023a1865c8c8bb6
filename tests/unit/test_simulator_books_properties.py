"""Whatever is written into the simulated books, in whatever order, the auditor finds nothing wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.simulator.books.audit import violations
from connectors.simulator.books.book import Book
from connectors.simulator.books.effects import Switches
from connectors.simulator.books.records import Kind, Record, Refused
from connectors.simulator.books.statements import open_on, receivables_on

pytestmark = pytest.mark.slow

START = datetime(2026, 3, 2, 17, 0, tzinfo=UTC)
AMOUNTS = ("0", "0.01", "33.33", "100", "250.50", "999.99")
RATES = ("1.10", "1.155", "0.333333", "1.2")


def picture(book: Book) -> Any:
    """Everything that a refused write must leave as it was."""
    records = [one for found in book.records.values() for one in found.values()]
    totals = (book.ledger.account_totals, book.ledger.receivable)
    return (
        [(one.kind, one.id, one.sync_token, one.total, one.unapplied, one.fields.get("Active")) for one in records],
        [{key: value for key, value in found.items() if value} for found in totals],
    )


class Clerk:
    """Rolls dice for what is written next, and writes it; refusals are fine."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.book = Book(switches=self._switches())
        self.book.multicurrency = True
        self.at = START
        parent = self.customer("Harbour")
        for name, more in (("Pier", {"Job": True, "ParentRef": {"value": parent}}), ("Cedar", {})):
            self.customer(name, **more)
        self.customer("Berlin", CurrencyRef={"value": "EUR"})
        self.project = self.book.create_project("Quay", parent, self.tick())[0].record

    def coin(self) -> bool:
        return self.dice.random() < 0.5

    def _switches(self) -> Switches:
        return Switches(
            payment_family_only=self.coin(),
            auto_apply_credits=self.coin(),
            customer_change=self.dice.choice(["unlink_strangers", "unlink_all", "refused"]),
            project_unlinks=self.coin(),
            project_customer_in_ref=self.coin(),
            opening_balance_as=self.dice.choice(["Invoice", "JournalEntry"]),
            merge_moves_times=self.coin(),
        )

    def tick(self) -> datetime:
        self.at += timedelta(seconds=self.dice.randint(0, 90_000))
        return self.at

    def customer(self, name: str, **more: Any) -> str:
        return self.book.create(Kind.CUSTOMER, {"DisplayName": name, **more}, self.tick())[0].record.id

    def one_of(self, *kinds: Kind) -> Record | None:
        found = [record for kind in kinds for record in self.book.records[kind].values()]
        return self.dice.choice(found) if found else None

    def amount(self) -> Decimal:
        return Decimal(self.dice.choice(AMOUNTS))

    def step(self) -> None:
        action = self.dice.choice(ACTIONS)
        before = picture(self.book)
        try:
            action(self)
        except Refused as refused:
            assert picture(self.book) == before, f"{action.__name__} was refused ({refused}) and changed something"

    # ---- what can be written -------------------------------------------------------------------------------------

    def form(self) -> dict[str, Any]:
        lines = [self._line() for _ in range(self.dice.randint(1, 2))]
        if self.coin():
            percent = {"PercentBased": True, "DiscountPercent": Decimal(self.dice.choice(["7.5", "33"]))}
            detail = percent if self.coin() else {}
            lines.append({"Amount": 5, "DetailType": "DiscountLineDetail", "DiscountLineDetail": detail})
        body: dict[str, Any] = {"CustomerRef": {"value": self.customer_id()}, "Line": lines, **self._dated()}
        body |= {"ApplyTaxAfterDiscount": self.coin()}
        body |= {"TxnTaxDetail": {"TxnTaxCodeRef": {"value": self.dice.choice(["", "2", "4"])}}}
        if self.dice.randint(0, 4) == 0:
            body["ProjectRef"] = {"value": self.project.fields["ProjectId"]}
        return body

    def _line(self) -> dict[str, Any]:
        item = self.dice.choice(["1", "11", "15"])
        sign = -1 if item == "15" else 1
        detail = {"ItemRef": {"value": item}, "TaxCodeRef": {"value": self.dice.choice(["TAX", "NON"])}}
        return {"Amount": sign * self.amount(), "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": detail}

    def _dated(self) -> dict[str, Any]:
        day = (START + timedelta(days=self.dice.randint(0, 40))).date().isoformat()
        return {"TxnDate": day, "ExchangeRate": Decimal(self.dice.choice(RATES))}

    def customer_id(self) -> str:
        return str(self.dice.choice(sorted(self.book.records[Kind.CUSTOMER], key=int)))

    def invoice(self) -> None:
        body = self.form()
        if self.coin():
            body["Deposit"] = self.amount()
        source = self.one_of(Kind.STATEMENT_CHARGE, Kind.ESTIMATE)
        if source is not None and self.coin():
            body["CustomerRef"] = {"value": source.customer_id}
            body["LinkedTxn"] = [{"TxnId": source.id, "TxnType": source.kind.value}]
        self.book.create(Kind.INVOICE, body, self.tick())

    def memo(self) -> None:
        self.book.create(Kind.CREDIT_MEMO, self.form(), self.tick())

    def other_form(self) -> None:
        kind = self.dice.choice([Kind.REFUND_RECEIPT, Kind.SALES_RECEIPT, Kind.ESTIMATE])
        self.book.create(kind, self.form(), self.tick())

    def charge(self) -> None:
        body = {"CustomerRef": {"value": self.customer_id()}, "Amount": self.amount(), **self._dated()}
        self.book.create(Kind.STATEMENT_CHARGE, body, self.tick())

    def payment_body(self) -> dict[str, Any]:
        lines, total = [], self.amount()
        open_items = [item for item in self.book.items.values() if item.remaining]
        chosen = self.dice.choices(open_items, k=self.dice.randint(0, 3)) if open_items else []
        payer = self.dice.choice([one.customer for one in chosen]) if chosen else self.customer_id()
        for item in chosen:
            link = {"TxnId": item.key.id, "TxnType": item.key.kind.value, "TxnLineId": item.key.line or None}
            if item.key.kind is Kind.PURCHASE:
                link["TxnType"] = "Check"
            share = item.remaining if self.coin() else min(item.remaining, self.amount())
            total += share if not item.is_credit and self.coin() else 0
            lines.append({"Amount": share, "LinkedTxn": [link]})
        return {"CustomerRef": {"value": payer}, "TotalAmt": total, "Line": lines, **self._dated()}

    def pay(self) -> None:
        self.book.create(Kind.PAYMENT, self.payment_body(), self.tick())

    def journal(self) -> None:
        lines = []
        for _ in range(self.dice.randint(1, 2)):
            amount, sides = self.amount(), self.dice.choice([("Debit", "Credit"), ("Credit", "Debit")])
            entity = {"EntityRef": {"value": self.customer_id()}}
            owed = {"PostingType": sides[0], "AccountRef": {"value": "84"}, "Entity": entity}
            other = {"PostingType": sides[1], "AccountRef": {"value": "52"}}
            lines += [{"Amount": amount, "JournalEntryLineDetail": detail} for detail in (owed, other)]
        self.book.create(Kind.JOURNAL_ENTRY, {"Line": lines, **self._dated()}, self.tick())

    def bank(self) -> None:
        account = {"value": self.dice.choice(["84", "13"])}
        customer = {"value": self.customer_id()}
        if self.coin():
            detail = {"AccountRef": account, "CustomerRef": customer}
            line = {"Amount": self.amount(), "AccountBasedExpenseLineDetail": detail}
            kind = {"PaymentType": self.dice.choice(["Cash", "Check"]), "Credit": self.coin()}
            self.book.create(Kind.PURCHASE, {"Line": [line], **kind, **self._dated()}, self.tick())
            return
        line = {"Amount": self.amount(), "DepositLineDetail": {"AccountRef": account, "Entity": customer}}
        lines = [line]
        if payment := self.one_of(Kind.PAYMENT):
            linked = [{"TxnId": payment.id, "TxnType": "Payment"}]
            lines += [{"Amount": payment.total, "LinkedTxn": linked}] if payment.deposit_id is None else []
        self.book.create(Kind.DEPOSIT, {"Line": lines, **self._dated()}, self.tick())

    def change(self) -> None:
        record = self.one_of(*(kind for kind in Kind if kind is not Kind.CUSTOMER))
        if record is None:
            return
        body: dict[str, Any] = {"Id": record.id, "SyncToken": str(record.sync_token), "sparse": True}
        what = self.dice.choice(["lines", "customer", "date", "void", "delete"])
        if what in ("void", "delete"):
            (self.book.void if what == "void" else self.book.delete)(record.kind, body, self.tick())
            return
        if what == "date":
            body["TxnDate"] = self._dated()["TxnDate"]
        elif what == "customer":
            body["CustomerRef"] = {"value": self.customer_id()}
        elif record.kind is Kind.PAYMENT:
            body |= self.payment_body()
        elif record.kind in (Kind.INVOICE, Kind.CREDIT_MEMO):
            body["Line"] = [self._line()]
        self.book.update(record.kind, body, self.tick())

    def merge(self) -> None:
        self.book.merge(self.customer_id(), self.customer_id(), self.tick())

    def close_customer(self) -> None:
        record = self.book.customer(self.customer_id())
        body = {"Id": record.id, "SyncToken": str(record.sync_token), "sparse": True}
        self.book.update(Kind.CUSTOMER, body | {"Active": self.coin()}, self.tick())

    def open_customer(self) -> None:
        self.customer(f"New {self.dice.randint(0, 9)}", Balance=self.amount())

    def close_books(self) -> None:
        self.book.closed_until = self.dice.choice([None, None, "2026-03-05", "2026-03-20"])


ACTIONS = [
    *(Clerk.invoice, Clerk.invoice, Clerk.memo, Clerk.pay, Clerk.pay, Clerk.pay, Clerk.journal, Clerk.bank),
    *(Clerk.change, Clerk.change, Clerk.change, Clerk.charge, Clerk.other_form, Clerk.merge, Clerk.close_customer),
    *(Clerk.open_customer, Clerk.close_books),
]
SEEDS = st.integers(0, 2**32)
QUICK = settings(max_examples=100, deadline=None, derandomize=True)


def total_open(book: Book, day: str) -> Decimal:
    return sum((one.left for one in open_on(book, day)), Decimal("0.00"))


@QUICK
@given(SEEDS, st.integers(1, 60))
def test_auditor_finds_nothing_whatever_is_written(seed: int, steps: int) -> None:
    clerk = Clerk(seed)
    for _ in range(steps):
        clerk.step()
    assert violations(clerk.book) == []
    for day in ("2026-03-10", "2026-04-01", "2026-12-31"):
        assert total_open(clerk.book, day) == receivables_on(clerk.book, day)


@QUICK
@given(SEEDS, st.integers(1, 60))
def test_a_book_taken_up_again_is_the_book_that_was_kept(seed: int, steps: int) -> None:
    clerk = Clerk(seed)
    for _ in range(steps):
        clerk.step()
    kept, other = clerk.book, Book(switches=clerk.book.switches)
    other.multicurrency = True
    balances = {one: kept.balance(one) for one in kept.records[Kind.CUSTOMER]}
    records = [one for found in kept.records.values() for one in found.values()] + list(kept.gone.values())
    for one in records:
        one.postings, one.stamp = (), 0
    other.restore(records)
    assert violations(other) == []
    assert {one: other.balance(one) for one in other.records[Kind.CUSTOMER]} == balances


@pytest.mark.prove
@pytest.mark.timeout(1800)  # five minutes on an idle machine
def test_auditor_finds_nothing_after_half_a_million_writes() -> None:
    for seed in range(5000):
        clerk = Clerk(seed)
        for _ in range(100):
            clerk.step()
        assert violations(clerk.book) == [], seed
