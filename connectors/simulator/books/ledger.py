"""The general ledger of one company, and the open items in its receivables.

Reads: postings of documents and payments.
Writes: totals per account, balances per customer, open items and their links.
Guarantees: taking a record's entries out and putting them in again leaves every total as it was, to the cent.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from connectors.simulator.books import catalogue, forms
from connectors.simulator.books.records import ONE, ZERO, Application, ItemKey, Kind, OpenItem, Posting, Record, money


class Ledger:
    """Totals that follow from the postings, and nothing else."""

    def __init__(self) -> None:
        self.items: dict[ItemKey, OpenItem] = {}
        self.open_items: dict[str, dict[ItemKey, None]] = {}  # customer -> items with something left
        self.account_totals: dict[str, Decimal] = {}  # in home currency
        self.receivable: dict[str, Decimal] = {}  # customer -> balance in the customer's currency

    # ---- links ---------------------------------------------------------------------------------------------------

    def link(self, payment_id: str, line: Application) -> None:
        """Let a payment line settle so much of its item."""
        item = self.items[line.item]
        item.links[payment_id] = line.amount
        item.applied += line.amount
        self._index(item)

    def unlink(self, key: ItemKey, payment_id: str) -> None:
        """Take a payment's share of an item back; nothing where there is none."""
        item = self.items.get(key)
        if item is not None and payment_id in item.links:
            item.applied -= item.links.pop(payment_id)
            self._index(item)

    def keys_of(self, record: Record) -> list[ItemKey]:
        """The open items that a document makes."""
        keys = [ItemKey(record.kind, record.id, entry.item) for entry in record.postings if entry.item is not None]
        return [key for key in keys if key in self.items]

    def payments_of(self, record: Record) -> set[str]:
        """Ids of the payments that settle any item of a document."""
        return {payment_id for key in self.keys_of(record) for payment_id in self.items[key].links}

    def unapplied(self, total: Decimal, lines: list[Application]) -> Decimal:
        """The payment equation: UnappliedAmt = TotalAmt + sources - uses."""
        for line in lines:
            total += line.amount if self.items[line.item].is_credit else -line.amount
        return total

    # ---- postings ------------------------------------------------------------------------------------------------

    def entries(self, record: Record) -> tuple[Posting, ...]:
        """The entries that a record should have now."""
        if record.deleted:
            return ()
        return self._payment_entries(record) if record.kind is Kind.PAYMENT else forms.postings(record)

    def post(self, record: Record) -> dict[str, Decimal]:
        """Replace a record's entries by those it should have; answers how each customer's balance moved."""
        before = record.postings
        if record.kind is Kind.PAYMENT:
            record.unapplied = self.unapplied(record.total, record.applications)
        after = self.entries(record)
        moved: dict[str, Decimal] = {}
        if before != after:
            self._add(before, -1, moved)
            self._add(after, 1, moved)
            record.postings = after
        self._set_items(record, before, after)
        for customer_id, amount in moved.items():
            self.receivable[customer_id] = self.receivable.get(customer_id, ZERO) + amount
        return {customer_id: amount for customer_id, amount in moved.items() if amount}

    def _add(self, entries: tuple[Posting, ...], sign: int, moved: dict[str, Decimal]) -> None:
        for entry in entries:
            self.account_totals[entry.account] = self.account_totals.get(entry.account, ZERO) + sign * entry.home
            if entry.customer is not None:
                moved[entry.customer] = moved.get(entry.customer, ZERO) + sign * entry.amount

    def _payment_entries(self, payment: Record) -> tuple[Posting, ...]:
        """Each line settles the customer of the document it links; the rest is credit of the payer."""
        if payment.voided:
            return ()
        bank = str((payment.fields.get("DepositToAccountRef") or {}).get("value", catalogue.UNDEPOSITED))
        entries = [Posting(bank, payment.total, money(payment.total * payment.rate))]
        entries += [
            Posting(catalogue.RECEIVABLE, amount, home, owner) for _, owner, amount, home in self._shares(payment)
        ]
        gained = sum([entry.home for entry in entries], ZERO)
        if gained:
            entries.append(Posting(catalogue.EXCHANGE, ZERO, -gained))
        return tuple(entry for entry in entries if entry.amount or entry.home)

    def _shares(self, payment: Record) -> Iterator[tuple[ItemKey, str, Decimal, Decimal]]:
        """What a payment does to each customer's balance: item, customer, amount, and the same at home."""
        for line in payment.applications:
            item = self.items[line.item]
            sign = 1 if item.is_credit else -1
            yield line.item, item.customer, sign * line.amount, sign * _relief(item, payment.id)
        left = payment.unapplied
        own = ItemKey(Kind.PAYMENT, payment.id)
        yield own, str(payment.customer_id), -left, -money(left * payment.rate)

    def settled(self, payment: Record) -> Iterator[tuple[ItemKey, str, Decimal]]:
        """What a payment settles, at home: each item and its customer; the unapplied rest under its own name."""
        for key, customer, _, home in self._shares(payment):
            yield key, customer, home

    # ---- open items ----------------------------------------------------------------------------------------------

    def _set_items(self, record: Record, before: tuple[Posting, ...], after: tuple[Posting, ...]) -> None:
        kept = {
            self._set_item(ItemKey(record.kind, record.id, entry.item), entry, record.rate)
            for entry in after
            if entry.item is not None
        }
        if not record.deleted and record.kind in (Kind.INVOICE, Kind.CREDIT_MEMO) and not kept:
            nothing = Posting(catalogue.RECEIVABLE, ZERO, ZERO, record.customer_id, "")
            kept.add(self._set_item(ItemKey(record.kind, record.id), nothing, record.rate))
        gone = {ItemKey(record.kind, record.id, entry.item) for entry in before if entry.item is not None}
        if record.deleted:
            gone.add(ItemKey(record.kind, record.id))
        for key in gone - kept:
            item = self.items.pop(key, None)
            if item is not None:
                self.open_items.get(item.customer, {}).pop(key, None)

    def _set_item(self, key: ItemKey, entry: Posting, rate: Decimal) -> ItemKey:
        item = self.items.get(key)
        if item is None:
            item = self.items[key] = OpenItem(key, str(entry.customer), entry.amount, rate)
        else:
            if item.customer != entry.customer:
                self.open_items.get(item.customer, {}).pop(key, None)
            item.customer, item.original, item.rate = str(entry.customer), entry.amount, rate
        self._index(item)
        return key

    def _index(self, item: OpenItem) -> None:
        found = self.open_items.setdefault(item.customer, {})
        if item.remaining > 0:
            found[item.key] = None
        else:
            found.pop(item.key, None)


def _relief(item: OpenItem, payment_id: str) -> Decimal:
    """Home value of a payment's share of an item, so that the last one takes the odd cent."""
    if item.rate == ONE:
        return item.links[payment_id]
    before = sum((amount for other, amount in item.links.items() if int(other) < int(payment_id)), ZERO)
    return money((before + item.links[payment_id]) * item.rate) - money(before * item.rate)
