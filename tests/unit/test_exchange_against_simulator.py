"""The ledger's home figures against the double entry of the simulated QuickBooks, which shares no code with them."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.simulator.books.book import Book
from connectors.simulator.books.records import Kind, Record
from tests.rules import World

RECEIVABLE, CASH, EXCHANGE = "84", "4", "101"  # its accounts
RATES = ("1.1", "1.005", "0.333", "1.3337")
START = datetime(2026, 3, 2, 17, tzinfo=UTC)


class Both:
    """One customer who pays in EUR, in a book of the simulator and in a world of our rules."""

    def __init__(self, chance: random.Random) -> None:
        self.book, self.world, self.chance, self.at = Book(), World.with_projects("P1"), chance, START
        self.book.multicurrency = True
        currency = {"CurrencyRef": {"value": "EUR"}}
        self.customer = self.make(Kind.CUSTOMER, {"DisplayName": "Berlin GmbH"} | currency).id

    def make(self, kind: Kind, body: dict[str, Any]) -> Record:
        self.at += timedelta(seconds=1)
        return self.book.create(kind, body, self.at)[0].record

    def sale(self, kind: Kind) -> Record:
        """An invoice or memo; our customer is number 1."""
        total, rate = Decimal(self.chance.randint(1, 500)) / 100, self.chance.choice(RATES)
        line = {"Amount": total, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {}}
        body = {"CustomerRef": {"value": self.customer}, "Line": [line], "ExchangeRate": Decimal(rate)}
        record = self.make(kind, body)
        read = self.world.invoice if kind is Kind.INVOICE else self.world.memo
        read(record.id, str(record.total), CurrencyRef={"value": "EUR"}, ExchangeRate=rate)
        return record

    def pay(self, invoices: list[Record], memos: list[Record]) -> None:
        """Some of what is open, with some credit, and sometimes more than that."""
        uses = [line for invoice in invoices if (line := self._part(invoice))]
        sources = [line for memo in memos if (line := self._part(memo))]
        used, credit = (sum((amount for _, amount in lines), Decimal(0)) for lines in (uses, sources))
        if credit > used:
            sources, credit = [], Decimal(0)
        total = used - credit + self.chance.choice([Decimal(0), Decimal("0.37")])
        rate = self.chance.choice(RATES)
        lines = [(record.kind.value, record.id, str(amount)) for record, amount in (*uses, *sources)]
        written = [{"Amount": Decimal(a), "LinkedTxn": [{"TxnId": i, "TxnType": t}]} for t, i, a in lines]
        body = {"CustomerRef": {"value": self.customer}, "TotalAmt": total, "Line": written}
        record = self.make(Kind.PAYMENT, body | {"ExchangeRate": Decimal(rate)})
        self.world.payment(record.id, str(total), "1", *lines, CurrencyRef={"value": "EUR"}, ExchangeRate=rate)

    def delete_a_payment(self) -> None:
        """Any one, so that the cents of later ones move."""
        gone = self.chance.choice(list(self.book.records[Kind.PAYMENT].values()))
        self.at += timedelta(seconds=1)
        self.book.delete(Kind.PAYMENT, {"Id": gone.id, "SyncToken": str(gone.sync_token)}, self.at)
        self.world.gone("Payment", gone.id)

    def assert_equal(self) -> None:
        """Receivables, cash and exchange gain, to the cent."""
        accounts, balance = self.book.ledger.account_totals, self.world.balances()["P1"]
        ours = {RECEIVABLE: balance.home_N, CASH: balance.home_cash, EXCHANGE: -balance.gained}
        assert ours == {account: accounts.get(account, Decimal(0)) for account in ours}

    def _part(self, record: Record) -> tuple[Record, Decimal] | None:
        """Nothing, a part, or all of what is left."""
        cents = int(self.book.open_amount(record) * 100)
        taken = self.chance.choice([0, cents, self.chance.randint(0, cents)])
        return (record, Decimal(taken) / 100) if taken else None


@settings(max_examples=40, deadline=None)
@given(st.integers())
def test_home_figures_and_exchange_gain_are_those_of_the_simulators_own_books(seed: int) -> None:
    both = Both(random.Random(seed))
    invoices = [both.sale(Kind.INVOICE) for _ in range(3)]
    memos = [both.sale(Kind.CREDIT_MEMO) for _ in range(2)]
    for _ in range(6):
        both.pay(invoices, memos)
    both.assert_equal()
    both.delete_a_payment()
    both.assert_equal()
