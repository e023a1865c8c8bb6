"""One construction firm and what its office knows: its jobs, its customers, its latest papers, today's rates.

Reads: its company's books. Writes: them, through the operations that the REST API uses, a note beside every record.
Guarantees: the same company, seed and clock give the same firm; a refused change leaves notes and books as they were.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from connectors.simulator.api.company import Company, Event, Project
from connectors.simulator.books.effects import Change
from connectors.simulator.books.notes import NOTHING, Note, known
from connectors.simulator.books.records import SALES_FORMS, Application, Kind, OpenItem, Record, Refused, plain
from connectors.simulator.clock import SteppedClock
from connectors.simulator.life.happenings import Impossible

SITES_UNDER_WAY = 24
REMEMBERED = 300  # papers of one kind that somebody may still come back to
REFERENCE_FIELD = "1"
OPENS_AT, CLOSES_AT = 8, 18
RATES = {"EUR": Decimal("1.0850"), "CAD": Decimal("0.7310"), "GBP": Decimal("1.2640")}


@dataclass(slots=True, eq=False)
class Site:
    """One job the firm works on, and how it stands in QuickBooks."""

    project: str | None  # IntoAEC's project; None: a job that IntoAEC does not know
    client: str  # Customer.Id of who ordered it
    customer: str  # Customer.Id that a careful bookkeeper bills, as the paper shows it
    needs_reference: bool = False  # the customer alone does not lead to the project
    alias: str | None = None  # the reference number given at mapping
    quickbooks_project: str | None = None  # the id that documents carry in ProjectRef
    linked: str | None = None  # the project of IntoAEC that this id is linked to; another's, where it is a further job
    phases: list[str] = field(default_factory=list)  # jobs below the customer, mapped by nobody
    retained: Decimal = Decimal(0)


class Firm:
    """The office of one company."""

    def __init__(self, company: Company, seed: int | str, number: int) -> None:
        self.company = company
        self.book = company.book
        self.number = number
        self.dice = random.Random(f"firm/{seed}/{number}")  # noqa: S311 - a life that can be repeated, no secret
        self.sites: list[Site] = []
        self.closed: deque[Site] = deque(maxlen=40)
        self.clients: deque[str] = deque(maxlen=40)  # those that may order again
        self.served: deque[str] = deque(maxlen=6)  # service customers, mapped by reference only
        self.duplicates: deque[tuple[str, Site]] = deque(maxlen=10)
        self.retired: deque[str] = deque(maxlen=20)
        self.papers: dict[Kind, deque[str]] = {kind: deque(maxlen=REMEMBERED) for kind in Kind}
        self.voided: deque[tuple[Kind, str]] = deque(maxlen=40)
        self.rates = dict(RATES)
        self.today = company.clock.now().astimezone(company.zone).date()
        self.left_out: frozenset[str] = frozenset()  # what does not happen in this life
        self.changes = 0
        self.tally: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        company.listeners.insert(0, self._hear)
        self._adopt()

    def leave(self) -> None:
        """Stop listening to the company."""
        self.company.listeners.remove(self._hear)

    # ---- what is there already -----------------------------------------------------------------------------------

    def _adopt(self) -> None:
        """Take over what a company already has: its projects become jobs under way, its papers may be edited."""
        mapped: dict[str, str] = {}
        for project in self.company.projects[-SITES_UNDER_WAY:]:
            first = mapped.setdefault(project.customer_id, project.project_id)
            customer = self.book.records[Kind.CUSTOMER].get(project.customer_id)
            if customer is not None and customer.fields["Active"]:
                self.sites.append(self._site_of(project, customer, needs_reference=first != project.project_id))
        for one in self.book.records[Kind.CUSTOMER].values():
            if not one.fields.get("ParentRef") and one.fields["Active"]:
                self.clients.append(one.id)
        for kind, kept in self.papers.items():
            if kind is not Kind.CUSTOMER:
                kept.extend(list(self.book.records[kind])[-REMEMBERED:])

    def _site_of(self, project: Project, customer: Record, *, needs_reference: bool) -> Site:
        root = [customer, *self.book.customers.ancestors(customer.id)][-1]
        note = customer.note or NOTHING
        is_own = note.determined == project.project_id
        alias = note.alias if is_own else None  # the number given at mapping is of the customer's own project
        site = Site(project.project_id, root.id, customer.id, needs_reference or not is_own, alias)
        site.quickbooks_project, site.linked = note.quickbooks_project, note.linked
        return site

    # ---- writing -------------------------------------------------------------------------------------------------

    def create(self, kind: Kind, body: dict[str, Any], note: Note | None = None) -> Record:
        """Write a new record with its note. Raises Refused."""
        if kind is not Kind.CUSTOMER:
            body.setdefault("TxnDate", self.today.isoformat())
            self._add_rate(body)
        record = self.company.create(kind, body, note)
        self.papers[kind].append(record.id)
        return record

    def _add_rate(self, body: dict[str, Any]) -> None:
        customer = self.book.records[Kind.CUSTOMER].get(str((body.get("CustomerRef") or {}).get("value")))
        currency = customer.currency if customer else str((body.get("CurrencyRef") or {}).get("value", ""))
        if currency in self.rates:
            body.setdefault("ExchangeRate", self.rates[currency])

    def update(self, record: Record, given: dict[str, Any], note: Note | None = None) -> Record:
        """Change a record, and what is noted of it. Raises Refused; then the note is as it was."""
        if note is not None and note.writer == "careful" and note.intended != note.determined:
            note = note._replace(writer="hasty")  # who leaves a paper like this was not careful
        with self.noting([(record, note)] if note else []):
            return self.company.update(record.kind, _body(record) | given)

    def void(self, record: Record) -> None:
        """Void a document. Raises Refused."""
        self.company.void(record.kind, _key(record))
        self.voided.append((record.kind, record.id))

    def delete(self, record: Record) -> None:
        """Delete a document. Raises Refused."""
        self.company.delete(record.kind, _key(record))

    @contextmanager
    def noting(self, notes: list[tuple[Record, Note]]) -> Iterator[None]:
        """Note something of records for a change that is about to be made; taken back where it is refused."""
        before = [(record, record.note) for record, _ in notes]
        for record, note in notes:
            record.note = note
        try:
            yield
        except Refused:
            for record, old in before:
                record.note = old
            raise

    def _hear(self, company: Company, changes: list[Change], events: list[Event]) -> None:
        """What QuickBooks writes by itself (write-offs, credits applied) leads where its customer's papers do."""
        self.changes += len(events)
        for change in changes:
            record = change.record
            if change.operation == "Create" and record.note is None and record.customer_id is not None:
                customer = self.note_of(record.customer_id)
                linked = customer.linked if "ProjectRef" in record.fields else None  # no write-off names a project
                record.note = known(customer, None, "", linked=linked)

    # ---- choosing ------------------------------------------------------------------------------------------------

    def note_of(self, customer_id: str) -> Note:
        """Where a customer's papers lead when nothing in them says otherwise."""
        return self.book.customer(customer_id).note or NOTHING

    def known(
        self, customer_id: str, intended: str | None, writer: str, named: str | None = None, linked: str | None = None
    ) -> Note:
        """The note of a paper for this customer; papers of a project-customer are given its project by QuickBooks."""
        customer = self.note_of(customer_id)
        if linked is None and customer.quickbooks_project is not None:
            linked = customer.linked
        return known(customer, intended, writer, named, linked)

    def site(self, fits: Callable[[Site], bool] = lambda site: True) -> Site:
        """A job under way. Raises Impossible where none fits."""
        for _ in range(20):
            if not self.sites:
                break
            found = self.dice.choice(self.sites)
            if fits(found):
                return found
        raise Impossible

    def site_of_customer(self, customer_id: str) -> Site:
        """The job under way of which a customer is billed. Raises Impossible where there is none."""
        for site in self.sites:
            if site.customer == customer_id:
                return site
        raise Impossible

    def home_customer(self) -> str:
        """Some job's customer that pays in home currency. Raises Impossible."""
        return self.site(lambda one: self.book.customer(one.customer).currency == self.book.home_currency).customer

    def paper(self, kind: Kind, fits: Callable[[Record], bool] = lambda record: True) -> Record:
        """A document that is still there, one of the latest. Raises Impossible where none fits."""
        kept, stored = self.papers[kind], self.book.records[kind]
        for _ in range(25 if kept else 0):
            found = stored.get(kept[self.dice.randrange(len(kept))])
            if found is not None and fits(found):
                return found
        raise Impossible

    def open_items(self, customers: list[str], *, credit: bool) -> list[OpenItem]:
        """What is open of these customers, oldest first, a dozen of each at most."""
        book, found = self.book, []
        for customer in customers:
            for key in list(book.open_items.get(customer, ()))[:12]:
                item = book.items[key]
                if item.is_credit == credit and key.kind is not Kind.DEPOSIT:
                    found.append(item)
        return found

    def likely(self, percent: int) -> bool:
        """Whether it happens this time."""
        return self.dice.randrange(100) < percent

    def amount(self, least: int, most: int) -> Decimal:
        """Some amount of money between two numbers of units, with cents."""
        return Decimal(self.dice.randint(least * 100, most * 100)).scaleb(-2)

    def day(self, days: int) -> str:
        """The date so many days from today."""
        return (self.today + timedelta(days=days)).isoformat()

    def begin(self) -> None:
        """A new step: some minutes later, where this life makes its own time; exchange rates move with the days."""
        clock = self.company.clock
        if isinstance(clock, SteppedClock):
            clock.move_to(self._next_moment(clock.now()))
        today: date = self.company.clock.now().astimezone(self.company.zone).date()
        if today != self.today:
            self.today = today
            for code, rate in self.rates.items():
                moved = rate * (10000 + self.dice.randint(-40, 40)) / 10000
                self.rates[code] = plain(moved.quantize(Decimal("0.000001")))

    def _next_moment(self, now: datetime) -> datetime:
        """Some minutes later, in the hours and on the days when an office works."""
        later = now + timedelta(seconds=self.dice.randint(60, 1500))
        local = later.astimezone(self.company.zone)
        if local.hour < CLOSES_AT and local.weekday() < 5:
            return later
        days = max(1, 7 - local.weekday()) if local.weekday() >= 4 else 1
        return (local + timedelta(days=days)).replace(hour=OPENS_AT, minute=self.dice.randrange(60)).astimezone(UTC)


def link(item: OpenItem, amount: Decimal) -> dict[str, Any]:
    """A payment line that settles so much of an item."""
    word = "CreditCardCredit" if item.key.kind is Kind.PURCHASE and item.is_credit else LINK_WORDS[item.key.kind]
    found = {"TxnId": item.key.id, "TxnType": word}
    if item.key.line:
        found["TxnLineId"] = item.key.line
    return {"Amount": amount, "LinkedTxn": [found]}


def link_again(line: Application) -> dict[str, Any]:
    """A line that a payment has already."""
    found = {"TxnId": line.item.id, "TxnType": line.txn_type}
    if line.item.line:
        found["TxnLineId"] = line.item.line
    return {"Amount": line.amount, "LinkedTxn": [found]}


LINK_WORDS = {
    Kind.INVOICE: "Invoice",
    Kind.CREDIT_MEMO: "CreditMemo",
    Kind.JOURNAL_ENTRY: "JournalEntry",
    Kind.PURCHASE: "Check",
    Kind.STATEMENT_CHARGE: "StatementCharge",
}


def _key(record: Record) -> dict[str, Any]:
    return {"Id": record.id, "SyncToken": str(record.sync_token)}


def _body(record: Record) -> dict[str, Any]:
    """What an update starts from: credit memos are written whole, everything else sparsely."""
    if record.kind is not Kind.CREDIT_MEMO:
        return _key(record) | {"sparse": True}
    custom = [{"DefinitionId": key, "StringValue": value} for key, value in record.custom.items()]
    return record.fields | _key(record) | ({"CustomField": custom} if record.kind in SALES_FORMS else {})
