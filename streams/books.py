"""The books of one company, as far as the ledger needs them to decide: pure data and its JSON form.

A `Document` holds two things apart: its head (what QuickBooks said last) and what is booked of it (what the events
so far amount to). The ledger compares what the head asks for with what is booked; nothing else makes an event.
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from schemas.accounting import ExchangeRate, Figures, Share
from schemas.money import Money
from schemas.quickbooks import CustomField, Payment, PaymentLine, SalesDocument

Key = tuple[str, str]  # record type and record id


class Reason(StrEnum):
    """Why a document belongs to a project, strongest first."""

    ASSIGNED = "assigned"
    REFERENCE_NUMBER = "reference_number"
    QUICKBOOKS_PROJECT = "quickbooks_project"
    CUSTOMER = "customer"
    PARENT_CUSTOMER = "parent_customer"
    INVOICE = "invoice"  # a payment's line follows the invoice that it pays


class WaitCause(StrEnum):
    """Why a record, or a part of it, reaches no project yet."""

    CUSTOMER_UNKNOWN = "customer_unknown"
    CUSTOMER_NOT_SYNCED = "customer_not_synced"
    EXCLUDED = "excluded"  # decided by a person: listed and counted, but nobody has to act
    REFERENCE_ONLY = "reference_only"
    OUT_OF_SCOPE = "out_of_scope"
    NOT_MAPPED_ITSELF = "not_mapped_itself"  # money on account of a customer whose parent alone is mapped
    INVOICE_UNKNOWN = "invoice_unknown"
    INVOICE_WAITS = "invoice_waits"
    CREDIT_MEMO_UNKNOWN = "credit_memo_unknown"
    CREDIT_MEMO_WAITS = "credit_memo_waits"
    JOURNAL_SIGN_OPEN = "journal_sign_open"
    DOES_NOT_ADD_UP = "does_not_add_up"
    CURRENCY_DIFFERS = "currency_differs"


class Ended(StrEnum):
    """How a document came to count no more."""

    NO = ""
    VOIDED = "voided"
    DELETED = "deleted"


class Revision(NamedTuple):
    """The order of revisions of one record. Arrival order decides nothing."""

    revised_at: datetime  # MetaData.LastUpdatedTime
    sync_token: int
    read_at: datetime  # Intuit's `time` of the answer


class Standing(NamedTuple):
    """What counts in one project: a sales document's figures, or a payment's share."""

    reason: Reason
    figures: Figures | Share


class LinkKey(NamedTuple):
    """One settlement: money or credit of a payment record, and what it settles."""

    kind: str  # payment, other, credit, credit_other
    project_id: str  # where the settled document stands (for other: where the payment stands)
    target_type: str
    target_id: str
    credit_memo_id: str = ""
    credit_project_id: str = ""  # where the memo stands


class Link(NamedTuple):
    """How much is settled, and from which day; and in home currency, where the amount is in another one."""

    amount: Money
    on: date
    reason: Reason
    home_source: Money | None = None  # what it takes off the payment or memo, at its rate
    home_target: Money | None = None  # what it takes off the invoice, at its rate

    @property
    def gained(self) -> Money | None:
        """The exchange difference that it realises; None: there is none."""
        if self.home_source is None or self.home_target is None:
            return None
        return self.home_source - self.home_target or None


class Waiting(NamedTuple):
    """A record or part of it that reaches no project, and what is at stake."""

    cause: WaitCause
    customer_id: str
    amount: Money | None
    on: date | None
    home: Money | None = None  # the amount at the record's own rate, in home currency; None: it is in it, or not stated


class Booking(NamedTuple):
    """What a document amounts to, wanted or booked."""

    standings: Mapping[str, Standing] = MappingProxyType({})  # by project id; a sales document has at most one
    links: Mapping[LinkKey, Link] = MappingProxyType({})
    waiting: Mapping[str, Waiting] = MappingProxyType({})  # by part: "" the whole, "unapplied", "Invoice:17"
    warnings: Mapping[str, str] = MappingProxyType({})  # detail by code
    ended: Ended = Ended.NO
    ever: bool = False  # it has stood in a project before


Span = tuple[datetime, datetime]  # the first and the last LastUpdatedTime at which something was seen


class Document(NamedTuple):
    """A sales document or payment: its head and what is booked of it."""

    record_type: str
    record_id: str
    revision: Revision | None = None  # None: only heard of
    gone_at: datetime | None = None  # the last answer 610 to an announced delete, by Intuit's clock
    head: SalesDocument | Payment | None = None
    assigned: str | None = None
    booked: Booking = Booking()
    named: Mapping[str, Span] = MappingProxyType({})  # every customer that it was seen to name
    absent_at: datetime | None = None  # the last answer 610 that no delete had announced
    assignment_version: int = 0  # rises by one with each assignment by a person

    @property
    def key(self) -> Key:
        """Record type and id."""
        return self.record_type, self.record_id

    def with_head(self, head: SalesDocument | Payment, revision: Revision) -> "Document":
        """The same document, as just read."""
        named = self.named_with(head.customer_id, revision.revised_at)
        return self._replace(head=head, revision=revision, named=named)

    def with_booked(self, booked: Booking) -> "Document":
        """The same document, with this booked of it."""
        return self._replace(booked=booked)

    def named_with(self, customer_id: str, revised_at: datetime) -> Mapping[str, Span]:
        """Which customers it was seen to name, this one too; the order of seeing does not matter."""
        first, last = self.named.get(customer_id, (revised_at, revised_at))
        if customer_id in self.named and first <= revised_at <= last:
            return self.named
        return {**self.named, customer_id: (min(first, revised_at), max(last, revised_at))}

    @property
    def ended(self) -> Ended:
        """Whether QuickBooks says that it counts no more."""
        if self.gone_at is not None and not self.came_back:
            return Ended.DELETED
        return Ended.VOIDED if self.head is not None and self.head.voided else Ended.NO

    @property
    def came_back(self) -> bool:
        """It was deleted, and QuickBooks has shown a later revision."""
        return self.gone_at is not None and self.revision is not None and self.revision.revised_at > self.gone_at

    @property
    def alarms(self) -> Mapping[str, str]:
        """What a person should look at, whatever project it stands in."""
        if self.gone_at is None and self.absent_at is None:
            return {}
        found, name = {}, f"{self.record_type} {self.record_id}"
        if self.came_back:
            found["reopened_after_delete"] = name
        seen_since = self.revision is None or self.absent_at is None or self.revision.read_at >= self.absent_at
        if not seen_since and self.ended is not Ended.DELETED:
            found["absent_in_quickbooks"] = name
        return found


class Scope(NamedTuple):
    """Documents of a customer dated from a day on belong to a project."""

    project_id: str
    from_on: date | None  # None: from the beginning
    reference_number: str


@dataclass(frozen=True, slots=True)
class CustomerState:
    """A customer and where its documents go."""

    customer_id: str
    revision: Revision
    parent_id: str | None
    active: bool
    currency: str
    names_mac: bytes  # changes when the customer is renamed; says no name
    mapping_state: str = "none"  # none, mapped, released, excluded, reference_only
    scopes: tuple[Scope, ...] = ()  # by from_on
    mapping_version: int = 0

    def scope_on(self, day: date) -> Scope | None:
        """The scope that a document of this day falls into: the last one that begins on or before it."""
        covering = [scope for scope in self.scopes if scope.from_on is None or scope.from_on <= day]
        return covering[-1] if covering else None


class Merge(NamedTuple):
    """QuickBooks made one customer of two."""

    vanished_id: str
    kept_id: str
    noticed_at: datetime  # by Intuit's clock
    sure: bool = False  # the records have said which of the two vanished: before, it has no effect
    decided: str = ""  # "together" or "apart", see streams.merges
    version: int = 0  # rises by one with each decision
    asked: str = ""  # what a person is asked; empty: nothing
    told: tuple[str, ...] = ()  # projects that were told of it
    gone: tuple[str, ...] = ()  # of the two, who is not there any more

    @property
    def pair(self) -> frozenset[str]:
        """The two customers, whichever of them vanished."""
        return frozenset((self.vanished_id, self.kept_id))


class QuickBooksProject(NamedTuple):
    """What a project of QuickBooks is linked to."""

    project_id: str | None  # None: the link was taken back
    version: int  # rises by one with each change of the link


@dataclass(frozen=True, slots=True)
class Company:
    """Facts of the company itself."""

    company_id: str
    home_currency: str = ""
    several_currencies: bool = False
    books_closed_on: date | None = None
    reference_fields: tuple[str, ...] = ()  # DefinitionIds of "Reference Number", pinned by the company's facts
    active: bool = False
    rules_version: int = 1  # until an input says otherwise: see docs/decisions/0015
    merges: tuple[Merge, ...] = ()


class Naming(NamedTuple):
    """A reference names a project."""

    project_id: str
    customer_id: str  # at whose mapping the number was given; empty: it is the project's own id


@dataclass(slots=True)
class Books:
    """One company's books, as far as they were loaded for a batch; whoever loads must load every neighbour."""

    company: Company
    customers: MutableMapping[str, CustomerState] = field(default_factory=dict)  # with ancestors and merged ones
    documents: MutableMapping[Key, Document] = field(
        default_factory=dict
    )  # with payments of documents and targets of payments
    payers: MutableMapping[Key, set[str]] = field(default_factory=dict)  # payments that name a document
    projects: dict[str, bool] = field(default_factory=dict)  # project id -> closed
    foreign: set[str] = field(default_factory=set)  # declared projects that belong to another company
    references: dict[str, set[Naming]] = field(default_factory=dict)  # lower-case reference -> what it names
    quickbooks_projects: dict[str, QuickBooksProject] = field(default_factory=dict)  # by ProjectRef

    def projects_named(self, text: str) -> set[str]:
        """The projects that a reference names; a project's own id wins over a number given at a mapping."""
        namings = self.references.get(text.lower(), set())
        own = {naming.project_id for naming in namings if not naming.customer_id}
        return own or {naming.project_id for naming in namings}

    def document(self, key: Key) -> Document:
        """The document, or one of which nothing is known yet."""
        return self.documents.get(key) or Document(*key)

    def family(self, customer_id: str) -> list[CustomerState]:
        """The customer and its ancestors as far as they are known, nearest first."""
        found: list[CustomerState] = []
        next_id: str | None = customer_id
        while next_id is not None and next_id in self.customers and len(found) < 10:
            customer = self.customers[next_id]
            found.append(customer)
            next_id = customer.parent_id
        return found


# --- JSON form: what the tables keep ------------------------------------------------------------------------------


def _money(money: Money) -> list[str]:
    return [str(money.amount), money.currency]


def _to_money(plain: list[str]) -> Money:
    return Money(Decimal(plain[0]), plain[1])


def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _to_day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


def _rate(rate: ExchangeRate | None) -> str | None:
    return None if rate is None else str(rate)


def _to_rate(text: str | None) -> ExchangeRate | None:
    return None if text is None else ExchangeRate(Decimal(text))


def head_to_plain(head: SalesDocument | Payment) -> dict[str, Any]:
    """What JSON can hold, without loss; `head_from_plain` takes it back."""
    if isinstance(head, SalesDocument):
        return {
            "customer": head.customer_id,
            "number": head.doc_number,
            "on": head.issued_on.isoformat(),
            "due": _day(head.due_on),
            "total": _money(head.total),
            "tax": _money(head.tax),
            "deposit": _money(head.deposit),
            "rate": _rate(head.exchange_rate),
            "project_ref": head.project_ref,
            "fields": [[f.definition_id, f.name, f.text] for f in head.custom_fields],
            "voided": head.voided,
        }
    return {
        "customer": head.customer_id,
        "number": head.reference,
        "on": head.received_on.isoformat(),
        "total": _money(head.total),
        "unapplied": _money(head.unapplied),
        "rate": _rate(head.exchange_rate),
        "project_ref": head.project_ref,
        "lines": [
            [line.record_type, line.record_id, _money(line.amount), *([line.side] if line.side else [])]
            for line in head.lines
        ],
    }


def head_from_plain(key: Key, plain: dict[str, Any]) -> SalesDocument | Payment:
    """The head that `head_to_plain` wrote."""
    record_type, record_id = key
    on, rate = date.fromisoformat(plain["on"]), _to_rate(plain["rate"])
    if "lines" in plain:
        return Payment(
            record_id=record_id,
            customer_id=plain["customer"],
            reference=plain["number"],
            received_on=on,
            total=_to_money(plain["total"]),
            unapplied=_to_money(plain["unapplied"]),
            exchange_rate=rate,
            project_ref=plain["project_ref"],
            lines=tuple(
                PaymentLine(record_type=t, record_id=i, amount=_to_money(m), side=side[0] if side else "")
                for t, i, m, *side in plain["lines"]
            ),
        )
    return SalesDocument(
        record_type=record_type,
        record_id=record_id,
        customer_id=plain["customer"],
        doc_number=plain["number"],
        issued_on=on,
        due_on=_to_day(plain["due"]),
        total=_to_money(plain["total"]),
        tax=_to_money(plain["tax"]),
        deposit=_to_money(plain["deposit"]),
        exchange_rate=rate,
        project_ref=plain["project_ref"],
        custom_fields=tuple(CustomField(definition_id=d, name=n, text=t) for d, n, t in plain["fields"]),
        voided=plain["voided"],
    )


def booking_to_plain(booking: Booking) -> dict[str, Any]:
    """What JSON can hold, without loss; empty parts are left out."""
    plain: dict[str, Any] = {}
    if booking.standings:
        plain["standings"] = {p: [s.reason, _figures(s.figures), *_home(s)] for p, s in booking.standings.items()}
    if booking.links:
        plain["links"] = [
            [*key, _money(link.amount), link.on.isoformat(), link.reason, *_sides(link)]
            for key, link in booking.links.items()
        ]
    if booking.waiting:
        plain["waiting"] = {
            part: [w.cause, w.customer_id, None if w.amount is None else _money(w.amount), _day(w.on)]
            + ([] if w.home is None else [_money(w.home)])
            for part, w in booking.waiting.items()
        }
    if booking.warnings:
        plain["warnings"] = dict(booking.warnings)
    if booking.ended:
        plain["ended"] = booking.ended
    if booking.ever:
        plain["ever"] = True
    return plain


def booking_from_plain(plain: dict[str, Any]) -> Booking:
    """The booking that `booking_to_plain` wrote."""
    return Booking(
        standings={
            p: Standing(Reason(r), _to_figures(f, [_to_money(m) for m in home]))
            for p, (r, f, *home) in plain.get("standings", {}).items()
        },
        links={
            LinkKey(*row[:6]): Link(
                _to_money(row[6]), date.fromisoformat(row[7]), Reason(row[8]), *map(_to_optional, row[9:])
            )
            for row in plain.get("links", [])
        },
        waiting={
            part: Waiting(WaitCause(cause), customer, _to_optional(money), _to_day(on), *map(_to_money, home))
            for part, (cause, customer, money, on, *home) in plain.get("waiting", {}).items()
        },
        warnings=plain.get("warnings", {}),
        ended=Ended(plain.get("ended", "")),
        ever=plain.get("ever", False),
    )


def _home(standing: Standing) -> list[list[str]]:
    """What it counts in home currency; nothing where that is the amount itself."""
    figures = standing.figures
    stated = [figures.home_received] if isinstance(figures, Share) else [figures.home_total, figures.home_deposit]
    return [_money(money) for money in stated if money is not None]


def _sides(link: Link) -> list[list[str] | None]:
    sides = [link.home_source, link.home_target]
    return [] if sides == [None, None] else [None if side is None else _money(side) for side in sides]


def _to_optional(plain: list[str] | None) -> Money | None:
    return None if plain is None else _to_money(plain)


def _figures(figures: Figures | Share) -> list[Any]:
    if isinstance(figures, Share):
        return [
            figures.customer_id,
            figures.reference,
            _day(figures.received_on),
            _money(figures.received),
            _rate(figures.exchange_rate),
        ]
    return [
        figures.customer_id,
        figures.doc_number,
        _day(figures.issued_on),
        _money(figures.total),
        _rate(figures.exchange_rate),
        _day(figures.due_on),
        _money(figures.tax),
        _money(figures.deposit),
    ]


def _to_figures(plain: list[Any], home: list[Money]) -> Figures | Share:
    customer_id, number, on, total, rate, *rest = plain
    if not rest:
        return Share(
            customer_id=customer_id,
            reference=number,
            received_on=date.fromisoformat(on),
            received=_to_money(total),
            exchange_rate=_to_rate(rate),
            home_received=home[0] if home else None,
        )
    due, tax, deposit = rest
    return Figures(
        customer_id=customer_id,
        doc_number=number,
        issued_on=date.fromisoformat(on),
        due_on=_to_day(due),
        total=_to_money(total),
        tax=_to_money(tax),
        deposit=_to_money(deposit),
        exchange_rate=_to_rate(rate),
        home_total=home[0] if home else None,
        home_deposit=home[1] if home else None,
    )
