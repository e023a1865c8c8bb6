"""What was open, and what the accounts held, at the end of any day: the figures behind Intuit's reports.

Reads: the book. Writes: nothing.
Guarantees: only what is dated on or before the day counts, on both sides of every link; in home currency; the sum of
what is open is the receivables account of the same day.
Source: double entry; Intuit's report pages for what each report counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from connectors.simulator.books.book import Book
from connectors.simulator.books.catalogue import CHART, RECEIVABLE
from connectors.simulator.books.records import ZERO, ItemKey, Kind, Record

_YEARLY = frozenset({"Revenue", "Expense"})  # closed into retained earnings with the year
RETAINED = "2"


@dataclass(frozen=True, slots=True)
class Open:
    """A charge, a credit or unapplied money of one customer, as it stood at the end of a day."""

    customer: str
    record: Record
    amount: Decimal  # what it was first; + owed to us, - owed by us
    left: Decimal  # what of it was still open
    due: str  # credits and money are due when they come

    @property
    def on(self) -> str:
        """The accounting date."""
        return str(self.record.fields["TxnDate"])


def open_on(book: Book, day: str) -> list[Open]:
    """Everything open at the end of the day, by customer, date and id."""
    found: dict[ItemKey, Open] = {}
    loose: list[Open] = []
    for record in _until(book, day):
        if record.kind is Kind.PAYMENT:
            continue
        for entry in record.postings:
            if entry.item is not None:
                due = str(record.fields.get("DueDate") or record.fields["TxnDate"])
                key = ItemKey(record.kind, record.id, entry.item)
                found[key] = Open(str(entry.customer), record, entry.home, entry.home, due)
    for payment in _until(book, day, Kind.PAYMENT):
        loose.extend(_count_payment(book, payment, found))
    listed = [one for one in (*found.values(), *loose) if one.left]
    return sorted(listed, key=lambda one: (int(one.customer), one.on, int(one.record.id)))


def _count_payment(book: Book, payment: Record, found: dict[ItemKey, Open]) -> Iterator[Open]:
    """Take a payment off what it settles; what it settles only later is money without a use on that day."""
    on = str(payment.fields["TxnDate"])
    for key, customer, home in book.ledger.settled(payment):
        if key in found:
            found[key] = replace(found[key], left=found[key].left + home)
        else:
            yield Open(customer, payment, home, home, on)


def _until(book: Book, day: str, *kinds: Kind) -> Iterator[Record]:
    for kind in kinds or [kind for kind in Kind if kind is not Kind.CUSTOMER]:
        for record in book.records[kind].values():
            if record.postings and str(record.fields["TxnDate"]) <= day:
                yield record


def trial_balance(book: Book, start: str, end: str) -> list[tuple[str, str, Decimal]]:
    """Id, name and balance (+ debit) of every account that moved, at the end of the day `end`.

    Income and expenses count from `start`; what was earned before is retained.
    """
    totals: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for record in _until(book, end):
        is_earlier = str(record.fields["TxnDate"]) < start
        for entry in record.postings:
            account = CHART.get(entry.account)
            is_yearly = account is not None and account.classification in _YEARLY
            totals[RETAINED if is_earlier and is_yearly else entry.account] += entry.home
    names = {account.id: account.name for account in CHART.values()} | {RETAINED: "Retained Earnings"}
    moved = [account for account in sorted(totals) if totals[account]]
    return [(account, names.get(account, f"Account {account}"), totals[account]) for account in moved]


def receivables_on(book: Book, day: str) -> Decimal:
    """What the receivables account held at the end of the day."""
    entries = (entry for record in _until(book, day) for entry in record.postings if entry.account == RECEIVABLE)
    return sum((entry.home for entry in entries), ZERO)


def days_late(due: str, day: str) -> int:
    """By how many days something due was late at the end of the day; zero or less where it was not."""
    return (date.fromisoformat(day) - date.fromisoformat(due)).days
