"""What a company's books are made of: kinds of record, one record, its postings and its applications.

Reads and writes: nothing; pure values.
Guarantees: amounts are exact Decimals; money has two digits, other numbers none too many.
Source: intuit.md 4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, NamedTuple

from connectors.simulator.books.notes import Note

CENT = Decimal("0.01")
ZERO = Decimal("0.00")
ONE = Decimal(1)


class Kind(StrEnum):
    """The records the book keeps, under Intuit's own names."""

    CUSTOMER = "Customer"
    INVOICE = "Invoice"
    CREDIT_MEMO = "CreditMemo"
    PAYMENT = "Payment"
    REFUND_RECEIPT = "RefundReceipt"
    SALES_RECEIPT = "SalesReceipt"
    JOURNAL_ENTRY = "JournalEntry"
    DEPOSIT = "Deposit"
    PURCHASE = "Purchase"
    ESTIMATE = "Estimate"
    TIME_ACTIVITY = "TimeActivity"
    STATEMENT_CHARGE = "StatementCharge"
    REIMBURSE_CHARGE = "ReimburseCharge"


SALES_FORMS = frozenset({Kind.INVOICE, Kind.CREDIT_MEMO, Kind.REFUND_RECEIPT, Kind.SALES_RECEIPT, Kind.ESTIMATE})
# Made in QuickBooks' own pages only: no API call reads or writes them; an invoice's LinkedTxn names them.
HIDDEN = frozenset({Kind.STATEMENT_CHARGE, Kind.REIMBURSE_CHARGE})
# What an invoice can be made from.
SOURCES = frozenset({Kind.ESTIMATE, Kind.TIME_ACTIVITY, Kind.STATEMENT_CHARGE, Kind.REIMBURSE_CHARGE})

# A payment line names what it links by a word of its own: cheques and expenses are all Purchases.
KIND_OF_LINK = {
    "Invoice": Kind.INVOICE,
    "CreditMemo": Kind.CREDIT_MEMO,
    "JournalEntry": Kind.JOURNAL_ENTRY,
    "Expense": Kind.PURCHASE,
    "Check": Kind.PURCHASE,
    "CreditCardCredit": Kind.PURCHASE,
    "Deposit": Kind.DEPOSIT,
    "StatementCharge": Kind.STATEMENT_CHARGE,
}


class Refused(Exception):
    """The book says no, with the code and words that Intuit uses for it."""

    def __init__(self, code: str, message: str, detail: str, element: str | None = None) -> None:
        super().__init__(f"{code} {message}: {detail}")
        self.code = code
        self.message = message
        self.detail = detail
        self.element = element


def not_found(what: str = "") -> Refused:
    """Fault 610: deleted, missing or inactive, all in one."""
    return Refused(
        "610",
        "Object Not Found",
        "Object Not Found : Something you're trying to use has been made inactive. "
        "Check the fields with accounts, customers, items, vendors or employees." + (f" ({what})" if what else ""),
        "",
    )


def missing(element: str) -> Refused:
    """Fault 2020: a field that must be there is not."""
    detail = f"Required parameter {element} is missing in the request"
    return Refused("2020", "Required param missing, need to supply the required value for the API", detail, element)


def bad_reference(detail: str, element: str) -> Refused:
    """Fault 2500: a reference leads nowhere."""
    return Refused("2500", "Invalid Reference Id", f"Invalid Reference Id : {detail}", element)


def against_rules(detail: str) -> Refused:
    """Fault 6000: the books would not be right."""
    return Refused("6000", "A business validation error has occurred while processing your request", detail, "")


def money(value: Any, unit: Decimal = CENT) -> Decimal:
    """An amount of money, rounded to the currency's smallest coin and written with two digits at least.

    Raises Refused(2010) where it is none.
    """
    found = number(value).quantize(unit, ROUND_HALF_UP)
    return found.quantize(CENT) if unit > CENT else found


def plain(value: Any) -> Decimal:
    """A quantity, price or rate without needless zeros, as QuickBooks writes it (`75`, `4.5`)."""
    exact = number(value).normalize()
    return exact.quantize(ONE) if exact == exact.to_integral_value() else exact


def number(value: Any) -> Decimal:
    """Any JSON number or its text as a Decimal. Raises Refused(2010) where it is none."""
    if type(value) is Decimal:
        return value
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise Refused("2010", "Request has invalid or unsupported property", f"{value!r} is not a number")
    try:
        found = Decimal(value)
    except InvalidOperation as error:
        raise Refused("2010", "Request has invalid or unsupported property", f"{value!r} is not a number") from error
    if not found.is_finite():
        raise Refused("2010", "Request has invalid or unsupported property", f"{value!r} is not a number")
    return found


def copy_tree(value: Any) -> Any:
    """A copy of a JSON tree, so that nobody changes a record through the body it was made from."""
    if isinstance(value, dict):
        return {key: copy_tree(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copy_tree(item) for item in value]
    return value


class Posting(NamedTuple):
    """One side of an entry in the general ledger."""

    account: str  # Account.Id
    amount: Decimal  # + debit, - credit, in the document's currency
    home: Decimal  # the same in home currency
    customer: str | None = None  # set on every posting to receivables
    item: str | None = None  # "" or a line id: this posting can be paid or used up


class ItemKey(NamedTuple):
    """What a payment line points at: a document, or one line of a journal entry."""

    kind: Kind
    id: str
    line: str = ""


@dataclass(slots=True)
class Application:
    """One line of a payment: so much of it goes to (or comes from) that item."""

    item: ItemKey
    txn_type: str  # the word in LinkedTxn.TxnType
    amount: Decimal  # always positive, whichever way it flows
    open_before: Decimal = ZERO  # what was open when it was applied; shown in LineEx


@dataclass(slots=True)
class OpenItem:
    """A charge or a credit to receivables and how much of it has been settled."""

    key: ItemKey
    customer: str
    original: Decimal  # + charge, - credit
    rate: Decimal
    applied: Decimal = ZERO
    links: dict[str, Decimal] = field(default_factory=dict)  # Payment.Id -> amount

    @property
    def is_credit(self) -> bool:
        """Whether it is a source of money for a payment rather than a use."""
        return self.original < 0

    @property
    def remaining(self) -> Decimal:
        """What is still open, never negative."""
        return abs(self.original) - self.applied


@dataclass(slots=True, eq=False)
class Record:
    """One record of the company: what was written into it, and what the book worked out."""

    kind: Kind
    id: str
    fields: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    sync_token: int = 0
    voided: bool = False
    deleted: bool = False
    custom: dict[str, str] = field(default_factory=dict)  # DefinitionId -> StringValue
    applications: list[Application] = field(default_factory=list)  # payments only
    deposit_id: str | None = None  # payments only: the Deposit that took it to the bank
    note: Note | None = None  # what its writer knows of it
    total: Decimal = ZERO
    unapplied: Decimal = ZERO  # payments only
    postings: tuple[Posting, ...] = ()
    stamp: int = 0  # its latest place in the order of changes (books/timeline.py)
    rendered: str | None = None  # the JSON as last written, until something changes

    @property
    def customer_id(self) -> str | None:
        """The customer in CustomerRef, if the record has one."""
        reference = self.fields.get("CustomerRef")
        return reference["value"] if reference else None

    @property
    def currency(self) -> str:
        """The record's currency code."""
        return str(self.fields.get("CurrencyRef", {}).get("value", ""))

    @property
    def rate(self) -> Decimal:
        """Home units for one unit of the record's currency."""
        found = self.fields.get("ExchangeRate")
        return number(found) if found is not None else ONE
