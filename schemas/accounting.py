"""The event catalogue: accounting facts of one project, in the past tense, each with its opposite.

A consumer that adds up these events by the posting table keeps correct balances and needs no call to QuickBooks:

    event                                        O             C             U             cash        refunds
    Invoice*      (after - before)               + total-dep.                              + deposit
    CreditMemo*   (after - before)                             + total
    Refund*       (after - before)                                                                     + total
    Payment*      (after - before)                                           + received    + received
    PaymentApplied / Unapplied                   - / +                       - / +
    PaymentAppliedToOther / UnappliedFromOther                               - / +
    CreditApplied / CreditUnapplied              - / +         - / +
    CreditAppliedToOther / UnappliedFromOther                  - / +         + / -
    CreditTransferredIn / InReversed                           + / -
    CreditTransferredOut / OutReversed                         - / +
    ExchangeDifference / Reversed                (nothing: it is what the home figures differ by, see below)

O open invoices, C unused credit, U unapplied money; the net receivable is N = O - C - U.
In home currency the same table holds for what the events state beside their amounts: `home_total` and `home_deposit`
of a document, `home_received` of a share, and of a settlement `home_source` (off U, or off C for credit) and
`home_target` (off O; onto U for CreditAppliedToOther). ExchangeDifference / Reversed is + / - what was gained, so that

    home N = invoiced - credited - cash + applied to other + exchange differences   (and credit in - out)

None: the amount is in home currency itself, or rules 1 decided the event, which say nothing in home currency.
Ids, document numbers, dates and amounts only: no names, notes or contact data.
`before` counts at its own date, `after` at its own date: a revision reverses at the old date.
Source: design, "Posting table", "Two dates" and "Several currencies"; docs/decisions/0014 (cents go by payment id).
docs/decisions/0006 (events are differences of states).
"""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar, NewType
from uuid import UUID

from schemas.money import Money

NAMESPACE = "intoaec.accounting"
ExchangeRate = NewType("ExchangeRate", Decimal)  # home units per one foreign unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What every accounting event carries beside its own facts."""

    event_id: UUID  # UUIDv5 of generation, project and version: the same fact has the same id for ever
    generation: int
    project_id: str
    version: int  # 1, 2, 3 ... without gaps within the project and generation
    rules_version: int  # the rules of meaning that decided this event
    company_id: str  # Intuit's realmId
    record_type: str  # QuickBooks' name: Invoice, CreditMemo, Payment, RefundReceipt, Customer
    record_id: str  # unique within company and type
    revised_at: datetime | None  # MetaData.LastUpdatedTime of the record that decided this event
    sync_token: int | None
    origin: str  # webhook, capture, sweep or request
    reason: str  # why this project: see streams.books.Reason
    accounting_on: date  # the date in the books
    recorded_at: datetime  # when QuickBooks told us (the `time` of its answer), or a person asked
    correlation_id: str  # what started the chain: the webhook's event id, or a request's decision id
    causation_id: str  # the change in company-changes that this event was decided from


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a sales document says in the books."""

    customer_id: str
    doc_number: str
    issued_on: date  # TxnDate
    due_on: date | None
    total: Money  # TotalAmt: with tax, after discount; never a sum of lines
    tax: Money
    deposit: Money  # money taken on the invoice itself; zero elsewhere
    exchange_rate: ExchangeRate | None
    home_total: Money | None = None  # total at the document's rate
    home_deposit: Money | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One project's share of the cash of a payment."""

    customer_id: str  # who paid: may be the parent of the jobs that were paid
    reference: str  # PaymentRefNum
    received_on: date  # TxnDate
    received: Money  # this project's share, in the payment's currency
    exchange_rate: ExchangeRate | None
    home_received: Money | None = None  # at the payment's rate; the shares of one payment add up to its total at home


# --- the shapes that the opposites share -------------------------------------------------------------------------

_HOME_UNKNOWN: dict[str, Any] = dict.fromkeys(
    ("home_total", "home_deposit", "home_received", "home_source", "home_target", "home_transferred")
)


class StatesHome:
    """An event that says its amounts in home currency as well, since version 2."""

    __slots__ = ()
    schema_version: ClassVar[int] = 2

    @staticmethod
    def upcast_v1_v2(body: dict[str, Any]) -> dict[str, Any]:
        """v1 said nothing in home currency; what was not said is not known, which is not zero (decision 0014)."""
        figures = {name: _HOME_UNKNOWN | body[name] for name in ("before", "after") if name in body}
        return _HOME_UNKNOWN | body | figures


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentAdded(StatesHome):
    """A document counts from now on."""

    after: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRevised(StatesHome):
    """A document says something else; the old figures are undone at the old date."""

    before: Figures
    after: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRemoved(StatesHome):
    """A document does not count any more; the amounts undone come from our own log."""

    before: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentMovedIn(StatesHome):
    """A document comes from another project, or from waiting."""

    after: Figures
    from_project_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentMovedOut(StatesHome):
    """A document goes to another project, or back to waiting."""

    before: Figures
    to_project_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareAdded(StatesHome):
    """A payment's share counts from now on."""

    after: Share


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareRevised(StatesHome):
    """A payment's share is another one; the old one is undone at the old date."""

    before: Share
    after: Share


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareRemoved(StatesHome):
    """A payment's share does not count any more."""

    before: Share


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareMovedIn(StatesHome):
    """A payment's share comes from another project, or from waiting."""

    after: Share
    from_project_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareMovedOut(StatesHome):
    """A payment's share goes to another project, or back to waiting."""

    before: Share
    to_project_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Application(StatesHome):
    """A part of a payment and the invoice of this project that it settles."""

    invoice_id: str
    applied: Money  # > 0
    applied_on: date  # the later of the two documents' dates
    home_source: Money | None = None  # what it takes off the payment, at the payment's rate
    home_target: Money | None = None  # what it takes off the invoice, at the invoice's rate


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherApplication(StatesHome):
    """A part of a payment and a transaction that we do not keep."""

    other_type: str  # JournalEntry, Expense, Check, CreditCardCredit ...
    other_id: str
    applied: Money  # > 0: the payment pays it; < 0: it adds to what the payment can pay
    applied_on: date
    home_source: Money | None = None  # what it takes off the payment, at the payment's rate


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditApplication(StatesHome):
    """A part of a credit memo and the invoice of this project that it settles."""

    credit_memo_id: str
    invoice_id: str
    applied: Money  # > 0
    applied_on: date
    home_source: Money | None = None  # what it takes off the memo, at the memo's rate
    home_target: Money | None = None  # what it takes off the invoice, at the invoice's rate


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherCreditApplication(StatesHome):
    """A part of a credit memo and a transaction that we do not keep, such as the cheque that paid the credit out."""

    credit_memo_id: str
    applied: Money  # > 0
    applied_on: date
    home_source: Money | None = None  # what it takes off the memo, at the memo's rate
    home_target: Money | None = None  # what it adds to the payment, at the payment's rate


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditTransfer(StatesHome):
    """Credit that goes from the memo's project to the invoice's."""

    credit_memo_id: str
    invoice_id: str  # empty: what it settles is not kept here
    other_project_id: str  # the other side of the transfer
    transferred: Money  # > 0
    transferred_on: date
    home_transferred: Money | None = None  # at the memo's rate, on both sides


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanged:
    """What a settlement gains in home currency, because its two sides have different rates."""

    schema_version: ClassVar[int] = 1
    invoice_id: str  # what was settled; empty: credit became money of the payment
    credit_memo_id: str  # what settled it; empty: money of the payment
    settled: Money  # how much, in the currency of both
    gained: Money  # home currency: home_source - home_target of the settlement; < 0: lost; never zero
    gained_on: date  # the settlement's date


# --- invoices ----------------------------------------------------------------------------------------------------


class InvoiceIssued(DocumentAdded):
    """The customer owes this project an amount."""


class InvoiceRevised(DocumentRevised):
    """An invoice of this project was edited: amount, date, customer or rate."""


class InvoiceVoided(DocumentRemoved):
    """The invoice stays in the books with zero amounts."""


class InvoiceReinstated(DocumentAdded):
    """A voided or deleted invoice was filled in again."""


class InvoiceDeleted(DocumentRemoved):
    """The invoice is gone from the books."""


class InvoiceMovedIn(DocumentMovedIn):
    """The invoice belongs to this project now."""


class InvoiceMovedOut(DocumentMovedOut):
    """The invoice does not belong to this project any more."""


# --- credit memos ------------------------------------------------------------------------------------------------


class CreditMemoIssued(DocumentAdded):
    """The project owes the customer a credit."""


class CreditMemoRevised(DocumentRevised):
    """A credit memo of this project was edited."""


class CreditMemoVoided(DocumentRemoved):
    """The credit memo stays in the books with zero amounts."""


class CreditMemoReinstated(DocumentAdded):
    """A voided or deleted credit memo was filled in again."""


class CreditMemoDeleted(DocumentRemoved):
    """The credit memo is gone from the books."""


class CreditMemoMovedIn(DocumentMovedIn):
    """The credit memo belongs to this project now."""


class CreditMemoMovedOut(DocumentMovedOut):
    """The credit memo does not belong to this project any more."""


# --- refunds -----------------------------------------------------------------------------------------------------


class RefundGiven(DocumentAdded):
    """Money went back to the customer by a refund receipt; it does not touch receivables."""


class RefundRevised(DocumentRevised):
    """A refund of this project was edited."""


class RefundVoided(DocumentRemoved):
    """The refund stays in the books with zero amounts."""


class RefundReinstated(DocumentAdded):
    """A voided or deleted refund was filled in again."""


class RefundDeleted(DocumentRemoved):
    """The refund is gone from the books."""


class RefundMovedIn(DocumentMovedIn):
    """The refund belongs to this project now."""


class RefundMovedOut(DocumentMovedOut):
    """The refund does not belong to this project any more."""


# --- payments ----------------------------------------------------------------------------------------------------


class PaymentReceived(ShareAdded):
    """This project's share of a customer's payment."""


class PaymentRevised(ShareRevised):
    """This project's share of a payment changed."""


class PaymentVoided(ShareRemoved):
    """The payment stays in the books with zero amounts."""


class PaymentReinstated(ShareAdded):
    """A voided or deleted payment was filled in again."""


class PaymentDeleted(ShareRemoved):
    """The payment is gone from the books."""


class PaymentMovedIn(ShareMovedIn):
    """This share of the payment belongs to this project now."""


class PaymentMovedOut(ShareMovedOut):
    """This share of the payment does not belong to this project any more."""


class PaymentApplied(Application):
    """Part of a payment now settles part of an invoice of this project."""


class PaymentUnapplied(Application):
    """An application of a payment to an invoice was taken back."""


class PaymentAppliedToOther(OtherApplication):
    """Part of a payment settles something that is not kept here, such as a journal entry or a cheque."""


class PaymentUnappliedFromOther(OtherApplication):
    """An application to something that is not kept here was taken back."""


class CreditApplied(CreditApplication):
    """Part of a credit memo now settles part of an invoice of this project."""


class CreditUnapplied(CreditApplication):
    """An application of a credit memo to an invoice was taken back."""


class CreditAppliedToOther(OtherCreditApplication):
    """Part of a credit memo was used for something that is not kept here.

    It becomes money of the payment that says so; `PaymentAppliedToOther` then says what that money paid.
    """


class CreditUnappliedFromOther(OtherCreditApplication):
    """A use of a credit memo for something that is not kept here was taken back."""


class CreditTransferredIn(CreditTransfer):
    """Credit came from another project's memo."""


class CreditTransferInReversed(CreditTransfer):
    """Credit that had come from another project went back."""


class CreditTransferredOut(CreditTransfer):
    """Credit of this project's memo went to another project."""


class CreditTransferOutReversed(CreditTransfer):
    """Credit that had gone to another project came back."""


# --- several currencies ------------------------------------------------------------------------------------------


class ExchangeDifference(Exchanged):
    """A settlement realised a gain or loss, since the rate had changed between its two sides."""


class ExchangeDifferenceReversed(Exchanged):
    """The gain or loss of a settlement that was taken back."""


# --- customers ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerMapped:
    """A person decided that this customer's documents belong to this project."""

    schema_version: ClassVar[int] = 1
    customer_id: str
    reference_number: str  # empty: none given
    from_on: date | None  # only documents dated from this day on; None: all
    mapping_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerReleased:
    """This customer's documents do not belong to this project by its mapping any more."""

    schema_version: ClassVar[int] = 1
    customer_id: str
    mapping_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomersMerged:
    """QuickBooks made one customer of two; the vanished one's documents are the kept one's now."""

    schema_version: ClassVar[int] = 1
    kept_customer_id: str
    vanished_customer_id: str


DocumentEvent = DocumentAdded | DocumentRevised | DocumentRemoved | DocumentMovedIn | DocumentMovedOut
ShareEvent = ShareAdded | ShareRevised | ShareRemoved | ShareMovedIn | ShareMovedOut
LinkEvent = Application | OtherApplication | CreditApplication | OtherCreditApplication | CreditTransfer
CustomerEvent = CustomerMapped | CustomerReleased | CustomersMerged
AccountingEvent = DocumentEvent | ShareEvent | LinkEvent | Exchanged | CustomerEvent

EVENTS: tuple[type, ...] = (
    *(InvoiceIssued, InvoiceRevised, InvoiceVoided, InvoiceReinstated, InvoiceDeleted, InvoiceMovedIn, InvoiceMovedOut),
    *(CreditMemoIssued, CreditMemoRevised, CreditMemoVoided, CreditMemoReinstated, CreditMemoDeleted),
    *(CreditMemoMovedIn, CreditMemoMovedOut),
    *(RefundGiven, RefundRevised, RefundVoided, RefundReinstated, RefundDeleted, RefundMovedIn, RefundMovedOut),
    *(PaymentReceived, PaymentRevised, PaymentVoided, PaymentReinstated, PaymentDeleted, PaymentMovedIn),
    *(PaymentMovedOut, PaymentApplied, PaymentUnapplied, PaymentAppliedToOther, PaymentUnappliedFromOther),
    *(CreditApplied, CreditUnapplied, CreditAppliedToOther, CreditUnappliedFromOther),
    *(CreditTransferredIn, CreditTransferInReversed),
    *(CreditTransferredOut, CreditTransferOutReversed),
    *(ExchangeDifference, ExchangeDifferenceReversed),
    *(CustomerMapped, CustomerReleased, CustomersMerged),
)
