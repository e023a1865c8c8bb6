"""The rows of the read tables, and how the events of one stream change them: the words of the read side.

The fields of a row's class are the columns of its table. 0003_read_tables.sql and 0006_home_figures.sql say what each
means.
Pure: streams.projections says which event changes which row, streams.projector reads and writes the tables.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Context, Decimal, FloatOperation, Inexact, InvalidOperation, localcontext
from enum import StrEnum
from typing import Any, Generic, NamedTuple, TypeVar

from schemas.codec import Recorded
from schemas.money import DIGITS_MAX

ZERO = Decimal(0)
RowT = TypeVar("RowT", bound=tuple[Any, ...])
Key = tuple[str, ...]


class Table(NamedTuple):
    """A read table: the fields of its row class are its columns, in their order."""

    name: str
    row: type[tuple[Any, ...]]
    key: tuple[str, ...]  # the key columns after the generation, all text


class Change(NamedTuple, Generic[RowT]):
    """One row and what becomes of it: `fold` turns the row as it is into the row as it will be. None: there is none."""

    table: Table
    key: Key
    fold: Callable[[RowT | None], RowT | None]


Changes = tuple[Change[Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """What one projector writes. Its name holds its version and never changes: it is the projector's position."""

    name: str
    kind: str  # of its streams, as in ledger.streams: project or company
    tables: tuple[Table, ...]
    changes: Callable[[Recorded[Any, Any]], Changes]


class Block(NamedTuple):
    """A stream that cannot go on, from which version on, and why."""

    stream_id: str
    version: int
    reason: str
    since: datetime


Rows = dict[tuple[Table, Key], tuple[Any, ...] | None]
Event = Recorded[Any, Any]


def due(events: Iterable[Event], position: int) -> tuple[list[Event], Event | None]:
    """The events of one stream that come next, in order without repeats, and the first one behind a gap."""
    found: list[Event] = []
    for event in events:
        version = event.envelope.version
        if version > position + 1:
            return found, event
        if version == position + 1:
            found.append(event)
            position = version
    return found, None


def apply(rows: Rows, changes: Changes) -> None:
    """Change the rows by one event, all of them or none.

    Raises UnprocessableError, ValueError or ArithmeticError when the event cannot be applied to these rows.
    """
    changed: Rows = {}
    for table, key, fold in changes:
        place = (table, key)
        changed[place] = fold(changed[place] if place in changed else rows.get(place))
    rows.update(changed)


def exact() -> Any:
    """A context in which adding amounts is exact or raises: use it around `apply`."""
    return localcontext(Context(prec=2 * DIGITS_MAX, traps=[Inexact, InvalidOperation, FloatOperation]))


# --- rows and tables ----------------------------------------------------------------------------------------------


class State(StrEnum):
    """Whether a document or a share of a payment counts in its project, or why not."""

    OPEN = "open"
    VOIDED = "voided"
    DELETED = "deleted"
    MOVED = "moved"
    ELSEWHERE = "elsewhere"  # it belongs to another project; only a part of it is used in this one


class BalanceRow(NamedTuple):
    """A project's figures in one currency."""

    generation: int
    project_id: str
    currency: str
    company_id: str
    last_accounting_on: date
    last_version: int
    invoiced_gross: Decimal = ZERO
    invoiced_tax: Decimal = ZERO
    credited: Decimal = ZERO
    cash_received: Decimal = ZERO
    open_invoices: Decimal = ZERO
    unused_credit: Decimal = ZERO
    unapplied: Decimal = ZERO
    refunds: Decimal = ZERO
    credit_in: Decimal = ZERO
    credit_out: Decimal = ZERO
    applied_to_other: Decimal = ZERO
    credit_to_other: Decimal = ZERO
    home_currency: str | None = None
    home_invoiced_gross: Decimal | None = None
    home_credited: Decimal | None = None
    home_cash_received: Decimal | None = None
    home_open_invoices: Decimal | None = None
    home_unused_credit: Decimal | None = None
    home_unapplied: Decimal | None = None
    home_refunds: Decimal | None = None
    exchange_difference: Decimal | None = None


class JournalRow(NamedTuple):
    """What one event added to a project's figures, at one date and in one currency: never changed again."""

    generation: int
    project_id: str
    entry: str  # version of the event and number of the posting within it
    company_id: str
    currency: str
    version: int
    event_type: str
    record_type: str
    record_id: str
    origin: str
    reason: str
    accounting_on: date
    recorded_at: datetime
    correlation_id: str
    invoiced_gross: Decimal
    invoiced_tax: Decimal
    credited: Decimal
    cash_received: Decimal
    open_invoices: Decimal
    unused_credit: Decimal
    unapplied: Decimal
    refunds: Decimal
    credit_in: Decimal
    credit_out: Decimal
    applied_to_other: Decimal
    credit_to_other: Decimal
    home_currency: str | None
    home_invoiced_gross: Decimal | None
    home_credited: Decimal | None
    home_cash_received: Decimal | None
    home_open_invoices: Decimal | None
    home_unused_credit: Decimal | None
    home_unapplied: Decimal | None
    home_refunds: Decimal | None
    exchange_difference: Decimal | None


class DocumentRow(NamedTuple):
    """An invoice, credit memo or refund receipt of a project."""

    generation: int
    project_id: str
    record_type: str
    record_id: str
    company_id: str
    currency: str
    correlation_id: str
    version: int
    state: str = State.ELSEWHERE.value
    customer_id: str = ""
    doc_number: str = ""
    issued_on: date | None = None
    due_on: date | None = None
    total: Decimal = ZERO
    tax: Decimal = ZERO
    deposit: Decimal = ZERO
    exchange_rate: Decimal | None = None
    used: Decimal = ZERO
    reason: str = ""
    other_project_id: str | None = None
    revised_at: datetime | None = None
    sync_token: int | None = None


class PaymentRow(NamedTuple):
    """A project's share of a payment."""

    generation: int
    project_id: str
    payment_id: str
    company_id: str
    currency: str
    correlation_id: str
    version: int
    state: str = State.ELSEWHERE.value
    customer_id: str = ""
    reference: str = ""
    received_on: date | None = None
    received: Decimal = ZERO
    exchange_rate: Decimal | None = None
    applied: Decimal = ZERO
    applied_to_other: Decimal = ZERO
    reason: str = ""
    other_project_id: str | None = None
    revised_at: datetime | None = None
    sync_token: int | None = None


class AllocationRow(NamedTuple):
    """What a payment or a credit memo settles of one thing."""

    generation: int
    project_id: str
    payment_id: str
    source_type: str
    source_id: str
    target_type: str
    target_id: str
    currency: str
    company_id: str
    amount: Decimal
    applied_on: date
    other_project_id: str | None
    version: int


class CustomerRow(NamedTuple):
    """A customer of a company and where its documents go."""

    generation: int
    company_id: str
    customer_id: str
    parent_customer_id: str | None = None
    display_name: str | None = None
    full_name: str | None = None
    active: bool = True
    currency: str = ""
    mapping_state: str = "none"
    project_id: str | None = None
    reference_number: str = ""
    from_on: date | None = None
    mapping_version: int = 0
    version: int = 0


class WaitingRow(NamedTuple):
    """A record, or a part of it, that reaches no project yet."""

    generation: int
    company_id: str
    record_type: str
    record_id: str
    part: str
    cause: str
    customer_id: str
    amount: Decimal | None
    currency: str | None
    accounting_on: date | None
    since: datetime
    version: int
    home_amount: Decimal | None = None
    home_currency: str | None = None


class WarningRow(NamedTuple):
    """Something a person should look at."""

    generation: int
    company_id: str
    record_type: str
    record_id: str
    code: str
    detail: str
    since: datetime
    version: int


class DecisionRow(NamedTuple):
    """A person's request and its answer."""

    generation: int
    company_id: str
    decision_id: str
    request: str
    accepted: bool
    refusal: str
    records_moved: int
    record_type: str
    record_id: str
    asked_at: datetime
    version: int


class ClosingRow(NamedTuple):
    """Up to which day a company's books were closed, from a moment on."""

    generation: int
    company_id: str
    entry: str
    closed_on: date | None
    noted_at: datetime
    version: int


PROJECT_JOURNAL = Table("read_project_journal_v1", JournalRow, ("project_id", "entry"))
CLOSINGS = Table("read_closings_v1", ClosingRow, ("company_id", "entry"))
PROJECT_BALANCE = Table("read_project_balance_v1", BalanceRow, ("project_id", "currency"))
PROJECT_DOCUMENTS = Table("read_project_documents_v1", DocumentRow, ("project_id", "record_type", "record_id"))
PAYMENTS = Table("read_payments_v1", PaymentRow, ("project_id", "payment_id"))
ALLOCATIONS = Table(
    "read_payment_allocations_v1",
    AllocationRow,
    ("project_id", "payment_id", "source_type", "source_id", "target_type", "target_id", "currency"),
)
CUSTOMERS = Table("read_customers_v1", CustomerRow, ("company_id", "customer_id"))
WAITING = Table("read_waiting_v1", WaitingRow, ("company_id", "record_type", "record_id", "part"))
WARNINGS = Table("read_warnings_v1", WarningRow, ("company_id", "record_type", "record_id", "code"))
DECISIONS = Table("read_decisions_v1", DecisionRow, ("company_id", "decision_id"))
