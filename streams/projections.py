"""What an event changes in the read tables: pure functions, without clock, randomness or I/O.

Reads: events of schemas.accounting, in the order of their versions; a company's are in streams.company_projections.
Writes: nothing; a `Change` says which row of which table becomes what, and streams.projector does it.
Guarantees: a row depends on the events of its own stream alone; amounts are exact; currencies never mix.
Source: design, "Posting table"; the migrations 0003_read_tables.sql and 0006_home_figures.sql say what columns mean.
"""

from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import partial
from typing import NamedTuple, assert_never

from schemas import accounting
from schemas.accounting import (
    AccountingEvent,
    Application,
    CreditApplication,
    CreditMemoDeleted,
    CreditTransfer,
    CreditTransferInReversed,
    CreditTransferOutReversed,
    CreditTransferredIn,
    CreditTransferredOut,
    CreditUnapplied,
    CreditUnappliedFromOther,
    CustomerMapped,
    CustomerReleased,
    CustomersMerged,
    DocumentAdded,
    DocumentEvent,
    DocumentMovedIn,
    DocumentMovedOut,
    DocumentRemoved,
    DocumentRevised,
    Exchanged,
    ExchangeDifferenceReversed,
    Figures,
    InvoiceDeleted,
    LinkEvent,
    OtherApplication,
    OtherCreditApplication,
    PaymentDeleted,
    PaymentUnapplied,
    PaymentUnappliedFromOther,
    RefundDeleted,
    Share,
    ShareAdded,
    ShareMovedIn,
    ShareMovedOut,
    ShareRemoved,
    ShareRevised,
)
from schemas.codec import Recorded
from schemas.errors import UnprocessableError
from schemas.money import Money
from streams.company_projections import OpenSealed, customer_changes, waiting_changes
from streams.read_tables import (
    ALLOCATIONS,
    CUSTOMERS,
    DECISIONS,
    PAYMENTS,
    PROJECT_BALANCE,
    PROJECT_DOCUMENTS,
    WAITING,
    WARNINGS,
    ZERO,
    AllocationRow,
    BalanceRow,
    Change,
    Changes,
    DocumentRow,
    PaymentRow,
    Projection,
    State,
)

# --- posting table: project-balance-v1 ----------------------------------------------------------------------------


class AtHome(NamedTuple):
    """What one event adds in home currency."""

    currency: str
    invoiced_gross: Decimal = ZERO
    credited: Decimal = ZERO
    cash_received: Decimal = ZERO
    open_invoices: Decimal = ZERO
    unused_credit: Decimal = ZERO
    unapplied: Decimal = ZERO
    refunds: Decimal = ZERO
    exchange_difference: Decimal = ZERO


class Posting(NamedTuple):
    """What one event adds to its project's figures, in one currency and at one date."""

    currency: str
    on: date
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
    home: AtHome | None = None  # None: the event states none


class DocumentKind(StrEnum):
    """QuickBooks' names of the documents that projects hold."""

    INVOICE = "Invoice"
    CREDIT_MEMO = "CreditMemo"
    REFUND = "RefundReceipt"


_KIND_BY_PREFIX = {
    "Invoice": DocumentKind.INVOICE,
    "CreditMemo": DocumentKind.CREDIT_MEMO,
    "Refund": DocumentKind.REFUND,
}
_KINDS: dict[type, DocumentKind] = {
    event: kind
    for event in accounting.EVENTS
    for prefix, kind in _KIND_BY_PREFIX.items()
    if event.__name__.startswith(prefix) and issubclass(event, DocumentEvent)
}
_TAKEN_BACK = frozenset(
    (
        PaymentUnapplied,
        PaymentUnappliedFromOther,
        CreditUnapplied,
        CreditUnappliedFromOther,
        CreditTransferInReversed,
        CreditTransferOutReversed,
    )
)
_DELETED = frozenset((InvoiceDeleted, CreditMemoDeleted, RefundDeleted, PaymentDeleted))


def postings(body: AccountingEvent) -> tuple[Posting, ...]:
    """The posting table: what the event adds to O, C, U, cash, refunds and what explains them."""
    match body:
        case DocumentAdded() | DocumentMovedIn():
            return (_of_document(_KINDS[type(body)], body.after, 1),)
        case DocumentRevised():
            kind = _KINDS[type(body)]
            return _of_document(kind, body.before, -1), _of_document(kind, body.after, 1)
        case DocumentRemoved() | DocumentMovedOut():
            return (_of_document(_KINDS[type(body)], body.before, -1),)
        case ShareAdded() | ShareMovedIn():
            return (_of_share(body.after, 1),)
        case ShareRevised():
            return _of_share(body.before, -1), _of_share(body.after, 1)
        case ShareRemoved() | ShareMovedOut():
            return (_of_share(body.before, -1),)
        case Application() | OtherApplication() | CreditApplication() | OtherCreditApplication() | CreditTransfer():
            return (_of_link(body),)
        case Exchanged():
            return (_of_exchanged(body),)
        case CustomerMapped() | CustomerReleased() | CustomersMerged():
            return ()
        case _:
            assert_never(body)


def _of_document(kind: DocumentKind, figures: Figures, sign: int) -> Posting:
    currency, on, total = figures.total.currency, figures.issued_on, sign * figures.total.amount
    home = _document_at_home(kind, figures, sign)
    match kind:
        case DocumentKind.INVOICE:
            deposit = sign * _same_currency(figures.deposit, currency)
            tax = sign * _same_currency(figures.tax, currency)
            # Deposit taken on the invoice is cash and leaves less open.
            return Posting(currency, on, total, tax, ZERO, deposit, total - deposit, home=home)
        case DocumentKind.CREDIT_MEMO:
            return Posting(currency, on, credited=total, unused_credit=total, home=home)
        case DocumentKind.REFUND:
            return Posting(currency, on, refunds=total, home=home)
        case _:
            assert_never(kind)


def _document_at_home(kind: DocumentKind, figures: Figures, sign: int) -> AtHome | None:
    if figures.home_total is None:
        return None
    currency, total = figures.home_total.currency, sign * figures.home_total.amount
    match kind:
        case DocumentKind.INVOICE:
            deposit = ZERO if figures.home_deposit is None else sign * figures.home_deposit.amount
            return AtHome(currency, total, ZERO, deposit, total - deposit)
        case DocumentKind.CREDIT_MEMO:
            return AtHome(currency, credited=total, unused_credit=total)
        case DocumentKind.REFUND:
            return AtHome(currency, refunds=total)
        case _:
            assert_never(kind)


def _of_share(share: Share, sign: int) -> Posting:
    received, home = sign * share.received.amount, share.home_received
    counts = ZERO if home is None else sign * home.amount
    at_home = None if home is None else AtHome(home.currency, cash_received=counts, unapplied=counts)
    return Posting(share.received.currency, share.received_on, cash_received=received, unapplied=received, home=at_home)


def _of_exchanged(body: Exchanged) -> Posting:
    gained = -body.gained.amount if isinstance(body, ExchangeDifferenceReversed) else body.gained.amount
    at_home = AtHome(body.gained.currency, exchange_difference=gained)
    return Posting(body.settled.currency, body.gained_on, home=at_home)


def _of_link(body: LinkEvent) -> Posting:
    currency, amount, home = _money(body).currency, _signed(body), _link_at_home(body)
    match body:
        case Application():
            return Posting(currency, body.applied_on, open_invoices=-amount, unapplied=-amount, home=home)
        case OtherApplication():
            return Posting(currency, body.applied_on, unapplied=-amount, applied_to_other=amount, home=home)
        case CreditApplication():
            return Posting(currency, body.applied_on, open_invoices=-amount, unused_credit=-amount, home=home)
        case OtherCreditApplication():
            on = body.applied_on
            return Posting(currency, on, unused_credit=-amount, unapplied=amount, credit_to_other=amount, home=home)
        case CreditTransfer() if _comes_in(body):
            return Posting(currency, body.transferred_on, unused_credit=amount, credit_in=amount, home=home)
        case CreditTransfer():
            return Posting(currency, body.transferred_on, unused_credit=-amount, credit_out=amount, home=home)
        case _:
            assert_never(body)


def _link_at_home(body: LinkEvent) -> AtHome | None:
    """The same side by side: what it takes off its source and off its target."""
    source = body.home_transferred if isinstance(body, CreditTransfer) else body.home_source
    if source is None:
        return None
    sign = -1 if type(body) in _TAKEN_BACK else 1
    target = body.home_target if isinstance(body, Application | CreditApplication | OtherCreditApplication) else None
    taken, settled = sign * source.amount, ZERO if target is None else sign * target.amount
    match body:
        case Application():
            return AtHome(source.currency, open_invoices=-settled, unapplied=-taken)
        case OtherApplication():
            return AtHome(source.currency, unapplied=-taken)
        case CreditApplication():
            return AtHome(source.currency, open_invoices=-settled, unused_credit=-taken)
        case OtherCreditApplication():
            return AtHome(source.currency, unused_credit=-taken, unapplied=settled)
        case CreditTransfer():
            return AtHome(source.currency, unused_credit=taken if _comes_in(body) else -taken)
        case _:
            assert_never(body)


def _comes_in(body: CreditTransfer) -> bool:
    """Whether the credit comes into this project (or that is reversed); else it goes out of it."""
    if isinstance(body, CreditTransferredIn | CreditTransferInReversed):
        return True
    if isinstance(body, CreditTransferredOut | CreditTransferOutReversed):
        return False
    raise TypeError(f"{type(body).__name__} is no transfer of the catalogue")


def _money(body: LinkEvent) -> Money:
    return body.transferred if isinstance(body, CreditTransfer) else body.applied


def _signed(body: LinkEvent) -> Decimal:
    """The amount of a link, negative when it was taken back."""
    amount = _money(body).amount
    return -amount if type(body) in _TAKEN_BACK else amount


def _same_currency(money: Money, currency: str) -> Decimal:
    if money.currency != currency:
        raise UnprocessableError(f"one document holds amounts in {currency} and in {money.currency}")
    return money.amount


def balance_changes(event: Recorded[accounting.Envelope, AccountingEvent]) -> Changes:
    """Add what the event posts to its project's balance, one row for each currency."""
    project_id = event.envelope.project_id
    return tuple(
        Change(PROJECT_BALANCE, (project_id, posting.currency), partial(_post, event.envelope, posting))
        for posting in postings(event.body)
    )


def _post(envelope: accounting.Envelope, posting: Posting, row: BalanceRow | None) -> BalanceRow:
    project, version = envelope.project_id, envelope.version
    if row is None:
        row = BalanceRow(envelope.generation, project, posting.currency, envelope.company_id, posting.on, version)
    if posting.home is not None:
        row = _post_at_home(row, posting.home)
    return row._replace(
        last_accounting_on=max(row.last_accounting_on, posting.on),
        last_version=version,
        invoiced_gross=row.invoiced_gross + posting.invoiced_gross,
        invoiced_tax=row.invoiced_tax + posting.invoiced_tax,
        credited=row.credited + posting.credited,
        cash_received=row.cash_received + posting.cash_received,
        open_invoices=row.open_invoices + posting.open_invoices,
        unused_credit=row.unused_credit + posting.unused_credit,
        unapplied=row.unapplied + posting.unapplied,
        refunds=row.refunds + posting.refunds,
        credit_in=row.credit_in + posting.credit_in,
        credit_out=row.credit_out + posting.credit_out,
        applied_to_other=row.applied_to_other + posting.applied_to_other,
        credit_to_other=row.credit_to_other + posting.credit_to_other,
    )


def _post_at_home(row: BalanceRow, posting: AtHome) -> BalanceRow:
    if row.home_currency not in (None, posting.currency):
        raise UnprocessableError(f"the home currency was {row.home_currency} and is {posting.currency} now")
    return row._replace(
        home_currency=posting.currency,
        home_invoiced_gross=row.home_invoiced_gross + posting.invoiced_gross,
        home_credited=row.home_credited + posting.credited,
        home_cash_received=row.home_cash_received + posting.cash_received,
        home_open_invoices=row.home_open_invoices + posting.open_invoices,
        home_unused_credit=row.home_unused_credit + posting.unused_credit,
        home_unapplied=row.home_unapplied + posting.unapplied,
        home_refunds=row.home_refunds + posting.refunds,
        exchange_difference=row.exchange_difference + posting.exchange_difference,
    )


# --- project-documents-v1 -----------------------------------------------------------------------------------------


def document_changes(event: Recorded[accounting.Envelope, AccountingEvent]) -> Changes:
    """Say what a document is now, or that more or less of it is used."""
    envelope, body = event.envelope, event.body
    match body:
        case DocumentAdded() | DocumentRevised():
            return (_document_says(envelope, body, body.after, State.OPEN),)
        case DocumentMovedIn():
            return (_document_says(envelope, body, body.after, State.OPEN, body.from_project_id),)
        case DocumentRemoved():
            return (_document_says(envelope, body, body.before, _removed(body)),)
        case DocumentMovedOut():
            return (_document_says(envelope, body, body.before, State.MOVED, body.to_project_id),)
        case Application():
            return (_document_used(envelope, DocumentKind.INVOICE, body.invoice_id, body),)
        case CreditApplication():
            return (
                _document_used(envelope, DocumentKind.INVOICE, body.invoice_id, body),
                _document_used(envelope, DocumentKind.CREDIT_MEMO, body.credit_memo_id, body),
            )
        case OtherCreditApplication() | CreditTransfer():
            return (_document_used(envelope, DocumentKind.CREDIT_MEMO, body.credit_memo_id, body),)
        case ShareAdded() | ShareRevised() | ShareRemoved() | ShareMovedIn() | ShareMovedOut() | OtherApplication():
            return ()
        case Exchanged() | CustomerMapped() | CustomerReleased() | CustomersMerged():
            return ()
        case _:
            assert_never(body)


def _removed(body: DocumentRemoved | ShareRemoved) -> State:
    return State.DELETED if type(body) in _DELETED else State.VOIDED


def _document_says(
    envelope: accounting.Envelope, body: DocumentEvent, figures: Figures, state: State, other: str | None = None
) -> Change[DocumentRow]:
    kind = _KINDS[type(body)]
    fold = partial(_say_document, envelope, kind, figures, state, other)
    return Change(PROJECT_DOCUMENTS, (envelope.project_id, kind.value, envelope.record_id), fold)


def _say_document(
    envelope: accounting.Envelope,
    kind: DocumentKind,
    figures: Figures,
    state: State,
    other_project_id: str | None,
    row: DocumentRow | None,
) -> DocumentRow:
    currency = figures.total.currency
    if row is not None and row.used and row.currency != currency:
        raise UnprocessableError(f"{kind} {row.record_id} changes to {currency} while {row.currency} of it are used")
    return DocumentRow(
        generation=envelope.generation,
        project_id=envelope.project_id,
        record_type=kind.value,
        record_id=envelope.record_id,
        company_id=envelope.company_id,
        currency=currency,
        correlation_id=envelope.correlation_id,
        version=envelope.version,
        state=state.value,
        customer_id=figures.customer_id,
        doc_number=figures.doc_number,
        issued_on=figures.issued_on,
        due_on=figures.due_on,
        total=figures.total.amount,
        tax=_same_currency(figures.tax, currency),
        deposit=_same_currency(figures.deposit, currency),
        exchange_rate=figures.exchange_rate,
        used=ZERO if row is None else row.used,
        reason=envelope.reason,
        other_project_id=other_project_id,
        revised_at=envelope.revised_at,
        sync_token=envelope.sync_token,
    )


def _document_used(
    envelope: accounting.Envelope,
    kind: DocumentKind,
    record_id: str,
    body: Application | CreditApplication | OtherCreditApplication | CreditTransfer,
) -> Change[DocumentRow]:
    """Credit that comes in from another project's memo can be used here, so it counts against its use."""
    amount = _signed(body)
    if isinstance(body, CreditTransfer) and _comes_in(body):
        amount = -amount
    fold = partial(_use_document, envelope, kind, record_id, Money(amount, _money(body).currency))
    return Change(PROJECT_DOCUMENTS, (envelope.project_id, kind.value, record_id), fold)


def _use_document(
    envelope: accounting.Envelope, kind: DocumentKind, record_id: str, use: Money, row: DocumentRow | None
) -> DocumentRow:
    """A document that this project does not have is kept as a row of its own, so that no use of it is lost."""
    chain, version = envelope.correlation_id, envelope.version
    if row is None:
        generation, project = envelope.generation, envelope.project_id
        company_id, currency = envelope.company_id, use.currency
        row = DocumentRow(generation, project, kind.value, record_id, company_id, currency, chain, version)
    if row.currency != use.currency:
        raise UnprocessableError(f"{kind} {record_id} is in {row.currency}, what settles it in {use.currency}")
    return row._replace(used=row.used + use.amount, correlation_id=chain, version=version)


# --- payments-v1 --------------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """Where the money of an allocation comes from and what it settles."""

    source_type: str
    source_id: str
    target_type: str
    target_id: str


def payment_changes(event: Recorded[accounting.Envelope, AccountingEvent]) -> Changes:
    """Say what a share of a payment is now, or what a payment or credit settles."""
    envelope, body = event.envelope, event.body
    match body:
        case ShareAdded() | ShareRevised():
            return (_share_says(envelope, body.after, State.OPEN),)
        case ShareMovedIn():
            return (_share_says(envelope, body.after, State.OPEN, body.from_project_id),)
        case ShareRemoved():
            return (_share_says(envelope, body.before, _removed(body)),)
        case ShareMovedOut():
            return (_share_says(envelope, body.before, State.MOVED, body.to_project_id),)
        case Application():
            pair = Pair("Payment", envelope.record_id, DocumentKind.INVOICE.value, body.invoice_id)
            return _payment_used(envelope, body), _allocated(envelope, pair, body)
        case OtherApplication():
            pair = Pair("Payment", envelope.record_id, body.other_type, body.other_id)
            return _payment_used(envelope, body), _allocated(envelope, pair, body)
        case CreditApplication() | CreditTransfer():
            pair = Pair(
                DocumentKind.CREDIT_MEMO.value, body.credit_memo_id, DocumentKind.INVOICE.value, body.invoice_id
            )
            return (_allocated(envelope, pair, body),)
        case OtherCreditApplication():
            pair = Pair(DocumentKind.CREDIT_MEMO.value, body.credit_memo_id, "Other", "")
            return _payment_used(envelope, body), _allocated(envelope, pair, body)
        case DocumentAdded() | DocumentRevised() | DocumentRemoved() | DocumentMovedIn() | DocumentMovedOut():
            return ()
        case Exchanged() | CustomerMapped() | CustomerReleased() | CustomersMerged():
            return ()
        case _:
            assert_never(body)


def _share_says(
    envelope: accounting.Envelope, share: Share, state: State, other_project_id: str | None = None
) -> Change[PaymentRow]:
    key = (envelope.project_id, envelope.record_id)
    return Change(PAYMENTS, key, partial(_say_share, envelope, share, state, other_project_id))


def _say_share(
    envelope: accounting.Envelope, share: Share, state: State, other_project_id: str | None, row: PaymentRow | None
) -> PaymentRow:
    currency = share.received.currency
    if row is not None and row.currency != currency and (row.applied or row.applied_to_other):
        raise UnprocessableError(
            f"Payment {row.payment_id} changes to {currency} while {row.currency} of it is applied"
        )
    return PaymentRow(
        generation=envelope.generation,
        project_id=envelope.project_id,
        payment_id=envelope.record_id,
        company_id=envelope.company_id,
        currency=currency,
        correlation_id=envelope.correlation_id,
        version=envelope.version,
        state=state.value,
        customer_id=share.customer_id,
        reference=share.reference,
        received_on=share.received_on,
        received=share.received.amount,
        exchange_rate=share.exchange_rate,
        applied=ZERO if row is None else row.applied,
        applied_to_other=ZERO if row is None else row.applied_to_other,
        reason=envelope.reason,
        other_project_id=other_project_id,
        revised_at=envelope.revised_at,
        sync_token=envelope.sync_token,
    )


def _payment_used(
    envelope: accounting.Envelope, body: Application | OtherApplication | OtherCreditApplication
) -> Change[PaymentRow]:
    return Change(PAYMENTS, (envelope.project_id, envelope.record_id), partial(_use_payment, envelope, body))


def _use_payment(
    envelope: accounting.Envelope, body: Application | OtherApplication | OtherCreditApplication, row: PaymentRow | None
) -> PaymentRow:
    currency, chain, version = body.applied.currency, envelope.correlation_id, envelope.version
    if row is None:
        project, payment = envelope.project_id, envelope.record_id
        row = PaymentRow(envelope.generation, project, payment, envelope.company_id, currency, chain, version)
    if row.currency != currency:
        raise UnprocessableError(f"Payment {row.payment_id} is in {row.currency}, what it settles in {currency}")
    if isinstance(body, Application):
        return row._replace(applied=row.applied + _signed(body), correlation_id=chain, version=version)
    to_other = row.applied_to_other + (_signed(body) if isinstance(body, OtherApplication) else -_signed(body))
    return row._replace(applied_to_other=to_other, correlation_id=chain, version=version)


def _allocated(
    envelope: accounting.Envelope,
    pair: Pair,
    body: LinkEvent,
) -> Change[AllocationRow]:
    key = (envelope.project_id, envelope.record_id, *pair, _money(body).currency)
    return Change(ALLOCATIONS, key, partial(_allocate, envelope, pair, body))


def _allocate(envelope: accounting.Envelope, pair: Pair, body: LinkEvent, row: AllocationRow | None) -> AllocationRow:
    """Credit that comes in only says from where: what it then settles here is an application of its own."""
    amount = ZERO if isinstance(body, CreditTransfer) and _comes_in(body) else _signed(body)
    known_other = None if row is None else row.other_project_id
    return AllocationRow(
        generation=envelope.generation,
        project_id=envelope.project_id,
        payment_id=envelope.record_id,
        source_type=pair.source_type,
        source_id=pair.source_id,
        target_type=pair.target_type,
        target_id=pair.target_id,
        currency=_money(body).currency,
        company_id=envelope.company_id,
        amount=amount if row is None else row.amount + amount,
        applied_on=body.transferred_on if isinstance(body, CreditTransfer) else body.applied_on,
        other_project_id=body.other_project_id if isinstance(body, CreditTransfer) else known_other,
        version=envelope.version,
    )


# --- every projection ---------------------------------------------------------------------------------------------


def projections(open_sealed: OpenSealed) -> tuple[Projection, ...]:
    """Every projection there is. `open_sealed` opens customers' names (`Sealer.open`)."""
    return (
        Projection(name="project-balance-v1", kind="project", tables=(PROJECT_BALANCE,), changes=balance_changes),
        Projection(name="project-documents-v1", kind="project", tables=(PROJECT_DOCUMENTS,), changes=document_changes),
        Projection(name="payments-v1", kind="project", tables=(PAYMENTS, ALLOCATIONS), changes=payment_changes),
        Projection(
            name="customers-v1", kind="company", tables=(CUSTOMERS,), changes=partial(customer_changes, open_sealed)
        ),
        Projection(name="waiting-v1", kind="company", tables=(WAITING, WARNINGS, DECISIONS), changes=waiting_changes),
    )
