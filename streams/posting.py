"""The posting table: what one event adds to its project's figures, in its own currency and in home currency.

Pure. Amounts of two currencies never mix; what an event does not state in home currency adds nothing there.
Source: design, "Posting table" and "Several currencies"; the docstring of schemas/accounting.py holds the table.
"""

from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple, assert_never

from schemas import accounting
from schemas.accounting import (
    AccountingEvent,
    Application,
    CreditApplication,
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
    LinkEvent,
    OtherApplication,
    OtherCreditApplication,
    PaymentUnapplied,
    PaymentUnappliedFromOther,
    Share,
    ShareAdded,
    ShareMovedIn,
    ShareMovedOut,
    ShareRemoved,
    ShareRevised,
)
from schemas.errors import UnprocessableError
from schemas.money import Money
from streams.read_tables import ZERO


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


FIGURES = Posting._fields[2:-1]  # of a balance, too: columns with the same names


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
KINDS: dict[type, DocumentKind] = {
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


def postings(body: AccountingEvent) -> tuple[Posting, ...]:
    """The posting table: what the event adds to O, C, U, cash, refunds and what explains them."""
    match body:
        case DocumentAdded() | DocumentMovedIn():
            return (_of_document(KINDS[type(body)], body.after, 1),)
        case DocumentRevised():
            kind = KINDS[type(body)]
            return _of_document(kind, body.before, -1), _of_document(kind, body.after, 1)
        case DocumentRemoved() | DocumentMovedOut():
            return (_of_document(KINDS[type(body)], body.before, -1),)
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
            deposit = sign * same_currency(figures.deposit, currency)
            tax = sign * same_currency(figures.tax, currency)
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
    money, home = signed_money(body), _link_at_home(body)
    currency, amount = money.currency, money.amount
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
        case CreditTransfer() if comes_in(body):
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
            return AtHome(source.currency, unused_credit=taken if comes_in(body) else -taken)
        case _:
            assert_never(body)


def comes_in(body: CreditTransfer) -> bool:
    """Whether the credit comes into this project (or that is reversed); else it goes out of it."""
    if isinstance(body, CreditTransferredIn | CreditTransferInReversed):
        return True
    if isinstance(body, CreditTransferredOut | CreditTransferOutReversed):
        return False
    raise TypeError(f"{type(body).__name__} is no transfer of the catalogue")


def signed_money(body: LinkEvent) -> Money:
    """The amount of a link, negative when it was taken back."""
    amount = body.transferred if isinstance(body, CreditTransfer) else body.applied
    return -amount if type(body) in _TAKEN_BACK else amount


def same_currency(money: Money, currency: str) -> Decimal:
    """The amount. Raises UnprocessableError for an amount in another currency than its document."""
    if money.currency != currency:
        raise UnprocessableError(f"one document holds amounts in {currency} and in {money.currency}")
    return money.amount
