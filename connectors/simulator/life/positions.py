"""The oracle's sums: what each project was invoiced, credited and paid, what is open, and what waits, to the cent.

Reads: the book's documents, open items and links, and the notes of those who wrote them. Writes: nothing.
Guarantees: sums of projects, what waits and other receivables add up to the customers' balances, in each currency;
what only a rule of division can tell is given as a least and a most, and nothing is invented in between.
Source: design section 3 (posting table, payments); none of the ledger's code.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from connectors.simulator.books.book import Book
from connectors.simulator.books.notes import NOTHING, Note, Why
from connectors.simulator.books.records import ONE, ZERO, ItemKey, Kind, OpenItem, Record, money

OTHERS = (Kind.JOURNAL_ENTRY, Kind.DEPOSIT, Kind.PURCHASE, Kind.STATEMENT_CHARGE)
COLUMNS = (
    *("invoiced_gross", "invoiced_tax", "credited", "cash_received", "open_invoices", "unused_credit", "unapplied"),
    *("refunds", "home_net_receivable", "exchange_gain"),
)


class Waiting(NamedTuple):
    """A part of a record that belongs to no project, and what it is worth in its customer's balance."""

    entity: str
    id: str
    part: str  # "", "unapplied", or the line's own record
    customer_id: str
    currency: str
    amount: Decimal
    net: Decimal  # + owed by the customer, - owed to him
    why: str


@dataclass(slots=True)
class Position:
    """One project in one currency."""

    sums: dict[str, Decimal] = field(default_factory=lambda: dict.fromkeys(COLUMNS, ZERO))
    spread: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)  # column -> so much less, so much more

    def add(self, column: str, amount: Decimal) -> None:
        """Count an amount that is certain."""
        self.sums[column] += amount

    def leave_open(self, column: str, less: Decimal, more: Decimal) -> None:
        """Say that a rule decides over so much less and so much more than the sum."""
        if less or more:
            low, high = self.spread.get(column, (ZERO, ZERO))
            self.spread[column] = (low + less, high + more)


@dataclass(slots=True)
class CustomerSums:
    """What only some other document explains of one customer, and all of it in home currency."""

    other_receivables: Decimal = ZERO
    home_balance: Decimal = ZERO
    exchange_gain: Decimal = ZERO


class _Line(NamedTuple):
    """One line of a payment: which project its invoice or memo leads to, None where to none."""

    key: ItemKey
    project: str | None
    amount: Decimal
    relief: Decimal  # its worth at home


class Positions:
    """Everything the oracle adds up of one book."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.projects: defaultdict[tuple[str, str], Position] = defaultdict(Position)
        self.customers: defaultdict[str, CustomerSums] = defaultdict(CustomerSums)
        self.waiting: list[Waiting] = []
        self.exchange_open: Decimal = ZERO  # realised in payments over several projects: a rule divides it
        self._reliefs: dict[tuple[ItemKey, str], Decimal] = {}
        self._add_items()
        for kind in (Kind.INVOICE, Kind.CREDIT_MEMO, Kind.REFUND_RECEIPT):
            for record in book.records[kind].values():
                self._add_form(record)
        for payment in book.records[Kind.PAYMENT].values():
            self._add_payment(payment)

    # ---- customers: whatever project -----------------------------------------------------------------------------

    def _add_items(self) -> None:
        for item in self.book.items.values():
            sums, sign = self.customers[item.customer], -1 if item.is_credit else 1
            if item.key.kind not in (Kind.INVOICE, Kind.CREDIT_MEMO):
                sums.other_receivables += sign * item.remaining
            sums.home_balance += sign * self._home_open(item)

    def _home_open(self, item: OpenItem) -> Decimal:
        """What is left of an item at home; every share that was settled takes what the shares before it left."""
        if item.rate == ONE:
            for payment_id, amount in item.links.items():
                self._reliefs[item.key, payment_id] = amount
            return item.remaining
        so_far, so_far_home = ZERO, ZERO
        for payment_id, amount in sorted(item.links.items(), key=lambda entry: int(entry[0])):
            so_far += amount
            self._reliefs[item.key, payment_id] = money(so_far * item.rate) - so_far_home
            so_far_home = money(so_far * item.rate)
        return money(abs(item.original) * item.rate) - so_far_home

    # ---- forms ---------------------------------------------------------------------------------------------------

    def _add_form(self, record: Record) -> None:
        note, left = record.note or _UNKNOWN, self.book.open_amount(record)
        net = {Kind.INVOICE: left, Kind.CREDIT_MEMO: -left}.get(record.kind, ZERO)
        if note.determined is None:
            if record.total or net:
                self._wait(record, "", record.total, net, note.why)
            return
        position = self.projects[note.determined, record.currency]
        if record.kind is Kind.INVOICE:
            self._add_invoice(position, record, left)
        elif record.kind is Kind.CREDIT_MEMO:
            position.add("credited", record.total)
            position.add("unused_credit", left)
        else:
            position.add("refunds", record.total)
        if net:
            item = self.book.items[ItemKey(record.kind, record.id)]
            position.add("home_net_receivable", self._home_left(item) * (-1 if item.is_credit else 1))

    def _add_invoice(self, position: Position, record: Record, left: Decimal) -> None:
        position.add("invoiced_gross", record.total)
        position.add("invoiced_tax", record.fields["TxnTaxDetail"]["TotalTax"])
        position.add("cash_received", money(record.fields.get("Deposit", ZERO)))
        position.add("open_invoices", left)

    def _home_left(self, item: OpenItem) -> Decimal:
        settled = sum((self._reliefs[item.key, payment_id] for payment_id in item.links), ZERO)
        return money(abs(item.original) * item.rate) - settled

    # ---- payments ------------------------------------------------------------------------------------------------

    def _add_payment(self, payment: Record) -> None:
        if payment.voided:
            return
        note = payment.note or _UNKNOWN
        division = _Division(self, payment, note)
        self._add_rest(payment, note)
        division.add_cash()
        division.leave_links_open()
        gain = division.exchange_gain()
        self.customers[str(payment.customer_id)].exchange_gain += gain
        if division.alone is not None:
            self.projects[division.alone, payment.currency].add("exchange_gain", gain)
        else:
            self.exchange_open += gain

    def _add_rest(self, payment: Record, note: Note) -> None:
        """Unapplied money follows the payment's own direct mapping; a parent's takes none of it."""
        rest = payment.unapplied
        if not rest:
            return
        home = money(rest * payment.rate)
        self.customers[str(payment.customer_id)].home_balance -= home
        if note.determined is None or not note.is_direct:
            self._wait(payment, "unapplied", rest, -rest, note.why)
            return
        position = self.projects[note.determined, payment.currency]
        position.add("unapplied", rest)
        position.add("home_net_receivable", -home)

    def lines(self, payment: Record, *kinds: Kind) -> Iterator[_Line]:
        """The payment's lines to documents of these kinds."""
        for line in payment.applications:
            if line.item.kind in kinds:
                record = self.book.records[line.item.kind][line.item.id]
                project = (record.note or _UNKNOWN).determined
                yield _Line(line.item, project, line.amount, self._reliefs[line.item, payment.id])

    def _wait(self, record: Record, part: str, amount: Decimal, net: Decimal, why: str) -> None:
        entity, customer = record.kind.value, str(record.customer_id)
        self.waiting.append(Waiting(entity, record.id, part, customer, record.currency, amount, net, why))


class _Division:
    """One payment, and how far its division over projects is open to a rule."""

    def __init__(self, positions: Positions, payment: Record, note: Note) -> None:
        self.positions, self.payment, self.note = positions, payment, note
        self.invoices = list(positions.lines(payment, Kind.INVOICE))
        self.memos = list(positions.lines(payment, Kind.CREDIT_MEMO))
        others = list(positions.lines(payment, *OTHERS))
        items = positions.book.items
        self.other_uses = [line for line in others if not items[line.key].is_credit]
        self.other_sources = [line for line in others if items[line.key].is_credit]
        self.alone = self._alone()

    def _alone(self) -> str | None:
        """The one project that everything in this payment belongs to, if there is one."""
        found = {line.project for line in (*self.invoices, *self.memos)}
        if self.payment.unapplied or self.other_uses or self.other_sources:
            found.add(self.note.determined if self.note.is_direct else None)
        return next(iter(found)) if len(found) == 1 else None

    def add_cash(self) -> None:
        """Each project's part of the cash, as far as it does not hang on which source paid which use."""
        if self.alone is not None:
            self._cash(self.alone, self.payment.total)
        elif self.payment.total:
            self._own_cash()
            self._invoice_cash()

    def _own_cash(self) -> None:
        """Unapplied money that does not wait, and lines to what IntoAEC does not keep, are its own project's."""
        spare = max(_total(self.memos) - _total(self.invoices), ZERO)
        rest = _total(self.other_uses) - spare + (self.payment.unapplied if self.note.is_direct else ZERO)
        own = self.note.determined
        if own is None or not (rest or self.other_sources):
            return
        if not self.other_sources and not spare:
            self._cash(own, rest)
        else:
            self._position(own).leave_open("cash_received", -_total(self.other_sources), max(rest, ZERO))

    def _invoice_cash(self) -> None:
        due: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
        for line in self.invoices:
            if line.project is not None:
                due[line.project] += line.amount
        credit = _total(self.memos) + _total(self.other_sources)
        waits = any(line.project is None for line in self.memos)
        cash = max(_total(self.invoices) - _total(self.memos), ZERO)
        for project, amount in due.items():
            least = ZERO if waits else max(amount - credit, ZERO)
            most = amount if self.other_sources else min(amount, cash)
            self._cash(project, least)
            self._position(project).leave_open("cash_received", ZERO, most - least)

    def leave_links_open(self) -> None:
        """Where one end of a link of credit waits, a rule decides whether the other end waits with it."""
        spare = _total(self.memos) > _total(self.invoices)
        unplaced = [line for line in (*self.invoices, *self.memos) if line.project is None]
        if not self.memos or not (unplaced or (spare and not self.note.is_direct)):
            return
        for column, lines in (("open_invoices", self.invoices), ("unused_credit", self.memos)):
            for line in lines:
                if line.project is not None:
                    self._position(line.project).leave_open(column, ZERO, line.amount)
                    self._position(line.project).leave_open("home_net_receivable", -line.relief, line.relief)
        if self.note.determined is not None and self.note.is_direct and spare:
            self._position(self.note.determined).leave_open("unapplied", -self.payment.unapplied, ZERO)

    def exchange_gain(self) -> Decimal:
        """Cash at the payment's rate, less what it settled at the documents' rates."""
        payment = self.payment
        sources = [*self.memos, *self.other_sources]
        uses = [*self.invoices, *self.other_uses]
        settled = sum((line.relief for line in uses), ZERO) - sum((line.relief for line in sources), ZERO)
        return money(payment.total * payment.rate) - settled - money(payment.unapplied * payment.rate)

    def _cash(self, project: str, amount: Decimal) -> None:
        self._position(project).add("cash_received", amount)

    def _position(self, project: str) -> Position:
        return self.positions.projects[project, self.payment.currency]


def _total(lines: list[_Line]) -> Decimal:
    return sum((line.amount for line in lines), ZERO)


_UNKNOWN = NOTHING._replace(why=Why.UNKNOWN)
