"""What an event changes in the read tables: pure functions, without clock, randomness or I/O.

Reads: events of schemas.accounting, in the order of their versions; a company's are in streams.company_projections.
Writes: nothing; a `Change` says which row of which table becomes what, and streams.projector does it.
Guarantees: a row depends on the events of its own stream alone; amounts are exact; currencies never mix.
Source: design, "Posting table"; the migrations 0003_read_tables.sql and 0006_home_figures.sql say what columns mean.
"""

from decimal import Decimal
from functools import partial
from typing import NamedTuple, assert_never

from schemas import accounting
from schemas.accounting import (
    AccountingEvent,
    Application,
    CreditApplication,
    CreditMemoDeleted,
    CreditTransfer,
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
    Figures,
    InvoiceDeleted,
    LinkEvent,
    OtherApplication,
    OtherCreditApplication,
    PaymentDeleted,
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
from streams.posting import (
    FIGURES,
    KINDS,
    AtHome,
    DocumentKind,
    Posting,
    comes_in,
    postings,
    same_currency,
    signed_money,
)
from streams.read_tables import (
    ALLOCATIONS,
    CLOSINGS,
    CUSTOMERS,
    DECISIONS,
    PAYMENTS,
    PROJECT_BALANCE,
    PROJECT_DOCUMENTS,
    PROJECT_JOURNAL,
    WAITING,
    WARNINGS,
    ZERO,
    AllocationRow,
    BalanceRow,
    Change,
    Changes,
    DocumentRow,
    JournalRow,
    PaymentRow,
    Projection,
    State,
)

_DELETED = frozenset((InvoiceDeleted, CreditMemoDeleted, RefundDeleted, PaymentDeleted))

# --- project-balance-v1 -----------------------------------------------------------------------------------------


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
        **{figure: getattr(row, figure) + getattr(posting, figure) for figure in FIGURES},
    )


def _post_at_home(row: BalanceRow, posting: AtHome) -> BalanceRow:
    if row.home_currency not in (None, posting.currency):
        raise UnprocessableError(f"the home currency was {row.home_currency} and is {posting.currency} now")
    return row._replace(
        home_currency=posting.currency,
        home_invoiced_gross=_plus(row.home_invoiced_gross, posting.invoiced_gross),
        home_credited=_plus(row.home_credited, posting.credited),
        home_cash_received=_plus(row.home_cash_received, posting.cash_received),
        home_open_invoices=_plus(row.home_open_invoices, posting.open_invoices),
        home_unused_credit=_plus(row.home_unused_credit, posting.unused_credit),
        home_unapplied=_plus(row.home_unapplied, posting.unapplied),
        home_refunds=_plus(row.home_refunds, posting.refunds),
        exchange_difference=_plus(row.exchange_difference, posting.exchange_difference),
    )


def _plus(known: Decimal | None, more: Decimal) -> Decimal:
    return more if known is None else known + more


# --- project-journal-v1 -------------------------------------------------------------------------------------------


def journal_changes(event: Recorded[accounting.Envelope, AccountingEvent]) -> Changes:
    """Keep each posting of the event with its two dates: the accounting date, and when it was known."""
    rows = [_journal(event.envelope, event.body, n, p) for n, p in enumerate(postings(event.body), start=1)]
    return tuple(Change(PROJECT_JOURNAL, (row.project_id, row.entry), partial(_written, row)) for row in rows)


def _written(row: JournalRow, _before: JournalRow | None) -> JournalRow:
    return row


def _journal(envelope: accounting.Envelope, body: AccountingEvent, number: int, posting: Posting) -> JournalRow:
    home = posting.home or (None,) * len(AtHome._fields)
    return JournalRow(
        envelope.generation,
        envelope.project_id,
        f"{envelope.version}/{number}",
        envelope.company_id,
        posting.currency,
        envelope.version,
        type(body).__name__,
        envelope.record_type,
        envelope.record_id,
        envelope.origin,
        envelope.reason,
        posting.on,
        envelope.recorded_at,
        envelope.correlation_id,
        *(getattr(posting, figure) for figure in FIGURES),
        *home,
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
    kind = KINDS[type(body)]
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
        tax=same_currency(figures.tax, currency),
        deposit=same_currency(figures.deposit, currency),
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
    use = signed_money(body)
    if isinstance(body, CreditTransfer) and comes_in(body):
        use = -use
    fold = partial(_use_document, envelope, kind, record_id, use)
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
    money, chain, version = signed_money(body), envelope.correlation_id, envelope.version
    currency = money.currency
    if row is None:
        project, payment = envelope.project_id, envelope.record_id
        row = PaymentRow(envelope.generation, project, payment, envelope.company_id, currency, chain, version)
    if row.currency != currency:
        raise UnprocessableError(f"Payment {row.payment_id} is in {row.currency}, what it settles in {currency}")
    if isinstance(body, Application):
        return row._replace(applied=row.applied + money.amount, correlation_id=chain, version=version)
    to_other = row.applied_to_other + (money.amount if isinstance(body, OtherApplication) else -money.amount)
    return row._replace(applied_to_other=to_other, correlation_id=chain, version=version)


def _allocated(
    envelope: accounting.Envelope,
    pair: Pair,
    body: LinkEvent,
) -> Change[AllocationRow]:
    key = (envelope.project_id, envelope.record_id, *pair, signed_money(body).currency)
    return Change(ALLOCATIONS, key, partial(_allocate, envelope, pair, body))


def _allocate(envelope: accounting.Envelope, pair: Pair, body: LinkEvent, row: AllocationRow | None) -> AllocationRow:
    """Credit that comes in only says from where: what it then settles here is an application of its own."""
    money = signed_money(body)
    amount = ZERO if isinstance(body, CreditTransfer) and comes_in(body) else money.amount
    known_other = None if row is None else row.other_project_id
    return AllocationRow(
        generation=envelope.generation,
        project_id=envelope.project_id,
        payment_id=envelope.record_id,
        source_type=pair.source_type,
        source_id=pair.source_id,
        target_type=pair.target_type,
        target_id=pair.target_id,
        currency=money.currency,
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
        Projection(name="project-journal-v1", kind="project", tables=(PROJECT_JOURNAL,), changes=journal_changes),
        Projection(name="project-documents-v1", kind="project", tables=(PROJECT_DOCUMENTS,), changes=document_changes),
        Projection(name="payments-v1", kind="project", tables=(PAYMENTS, ALLOCATIONS), changes=payment_changes),
        Projection(
            name="customers-v1", kind="company", tables=(CUSTOMERS,), changes=partial(customer_changes, open_sealed)
        ),
        Projection(
            name="waiting-v1", kind="company", tables=(WAITING, WARNINGS, DECISIONS, CLOSINGS), changes=waiting_changes
        ),
    )
