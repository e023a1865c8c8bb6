"""What Intuit sends, parsed: the accounting fields of customers, sales documents and payments, and nothing else.

Names, notes and contact data are left behind here, except a customer's own name, which its profile needs sealed.
Unknown fields are ignored, since Intuit adds fields without notice; a missing field that decides money is refused.
Guarantees: numbers are exact, texts hold no NUL and no lone surrogate, and nothing but UnprocessableError is raised.
Source: intuit.md sections 3.8 and 4; XSD types are decimals, so no number ever becomes a float.
"""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from schemas import strict_json
from schemas.accounting import ExchangeRate
from schemas.errors import UnprocessableError
from schemas.money import Money, parse_amount, parse_rate

CUSTOMER, INVOICE, CREDIT_MEMO, REFUND, PAYMENT = "Customer", "Invoice", "CreditMemo", "RefundReceipt", "Payment"
SALES = frozenset({INVOICE, CREDIT_MEMO, REFUND})
RECORD_TYPES = (CUSTOMER, INVOICE, CREDIT_MEMO, PAYMENT, REFUND)
_TEXT_MAX = 600  # characters; a longer reference fits no index of Postgres
_NAME_MAX = 4096  # a full name is the names of all parents together
_REASON_MAX = 300
_WRONG = (KeyError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomField:
    """A custom field of a sales form, as text whatever its type."""

    definition_id: str
    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SalesDocument:
    """An invoice, credit memo or refund receipt."""

    record_type: str
    record_id: str
    customer_id: str
    doc_number: str
    issued_on: date  # TxnDate
    due_on: date | None
    total: Money  # TotalAmt, positive for every type
    tax: Money
    deposit: Money  # Invoice.Deposit; zero elsewhere
    exchange_rate: ExchangeRate | None
    project_ref: str | None  # an id space of its own, not a customer id
    custom_fields: tuple[CustomField, ...]
    voided: bool  # every amount is zero; the note "Voided" is in the company's language and decides nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentLine:
    """What a payment is linked to. QuickBooks gives every amount as positive, for sources and for uses."""

    record_type: str  # Invoice, CreditMemo, JournalEntry, Expense, Check, CreditCardCredit
    record_id: str
    amount: Money
    side: str = ""  # of a journal entry, by its own lines: "use" or "source"; empty: they do not say


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """Money received, or a zero-total link of credits to invoices."""

    record_id: str
    customer_id: str
    reference: str  # PaymentRefNum
    received_on: date  # TxnDate
    total: Money
    unapplied: Money
    exchange_rate: ExchangeRate | None
    project_ref: str | None
    lines: tuple[PaymentLine, ...]  # one for each target, in the order of Intuit's lines

    @property
    def voided(self) -> bool:
        """No money and no links are left."""
        return not self.total and not self.unapplied and not self.lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """A customer, job or QuickBooks project."""

    record_id: str
    parent_id: str | None
    active: bool
    currency: str
    display_name: str
    full_name: str


Record = Customer | SalesDocument | Payment


def parse_record(record_type: str, raw: bytes, home_currency: str) -> Record:
    """The accounting fields of one record. Raises UnprocessableError with the field that cannot be read."""
    try:
        fields = _fields(raw)
        if record_type in SALES:
            return _sales_document(record_type, fields, home_currency)
        if record_type == PAYMENT:
            return _payment(fields, home_currency)
        if record_type == CUSTOMER:
            return _customer(fields, home_currency)
    except _WRONG as error:
        raise UnprocessableError(f"{record_type}: {_reason(error)}") from error
    raise UnprocessableError(f"records of type {record_type} are not kept here")


def parse_instant(text: str) -> datetime:
    """An instant in UTC from any of Intuit's forms; the offset is arbitrary, so texts are never compared."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return instant.astimezone(UTC)


def _fields(raw: bytes) -> Any:
    """The record; the strict reader takes three times as long, so it reads only what may escape NUL or a surrogate."""
    if b"\\u" in raw:
        return strict_json.parse(raw)
    return _DECODER.decode(raw.decode("utf-8"))


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"the field {error} is missing"
    if isinstance(error, ArithmeticError):
        return "a number is beyond what can be kept"
    if isinstance(error, TypeError | AttributeError):
        return f"a field has another shape than QuickBooks documents: {error}"[:_REASON_MAX]
    return str(error)[:_REASON_MAX]


def _refuse_constant(text: str) -> object:
    raise ValueError(f"{text} is not an amount")


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant)


def _sales_document(record_type: str, fields: dict[str, Any], home_currency: str) -> SalesDocument:
    currency = _currency(fields, home_currency)
    total = _money(fields, "TotalAmt", currency)
    lines = fields.get("Line") or []
    return SalesDocument(
        record_type=record_type,
        record_id=_id(fields["Id"]),
        customer_id=_id(fields["CustomerRef"]["value"]),
        doc_number=_text(fields.get("DocNumber")),
        issued_on=date.fromisoformat(fields["TxnDate"]),
        due_on=_date(fields.get("DueDate")),
        total=total,
        tax=_money(fields.get("TxnTaxDetail") or {}, "TotalTax", currency, missing=0),
        deposit=_money(fields, "Deposit", currency, missing=0),
        exchange_rate=_rate(fields.get("ExchangeRate")),
        project_ref=_reference(fields.get("ProjectRef")),
        custom_fields=tuple(_custom_fields(fields.get("CustomField") or [])),
        voided=not total and not any(_amount(line.get("Amount", 0)) for line in lines),
    )


def _payment(fields: dict[str, Any], home_currency: str) -> Payment:
    currency = _currency(fields, home_currency)
    return Payment(
        record_id=_id(fields["Id"]),
        customer_id=_id(fields["CustomerRef"]["value"]),
        reference=_text(fields.get("PaymentRefNum")),
        received_on=date.fromisoformat(fields["TxnDate"]),
        total=_money(fields, "TotalAmt", currency),
        unapplied=_money(fields, "UnappliedAmt", currency, missing=0),
        exchange_rate=_rate(fields.get("ExchangeRate")),
        project_ref=_reference(fields.get("ProjectRef")),
        lines=_payment_lines(fields.get("Line") or [], currency),
    )


def _payment_lines(lines: list[dict[str, Any]], currency: str) -> tuple[PaymentLine, ...]:
    """One line for each target: QuickBooks may name the same invoice twice."""
    amounts: dict[tuple[str, str], Decimal] = {}
    for line in lines:
        links = line.get("LinkedTxn") or []
        if len(links) > 1:
            raise ValueError("a payment line names several transactions, so its amount cannot be divided")
        for link in links:
            target = (_text(link["TxnType"]), _id(link["TxnId"]))
            amounts[target] = amounts.get(target, Decimal(0)) + _amount(line["Amount"])
    return tuple(
        PaymentLine(record_type=record_type, record_id=record_id, amount=Money(amount, currency))
        for (record_type, record_id), amount in amounts.items()
        if amount
    )


def _customer(fields: dict[str, Any], home_currency: str) -> Customer:
    display_name = _text(fields.get("DisplayName"), _NAME_MAX)
    return Customer(
        record_id=_id(fields["Id"]),
        parent_id=_reference(fields.get("ParentRef")),
        active=bool(fields.get("Active", True)),
        currency=_currency(fields, home_currency),
        display_name=display_name,
        full_name=_text(fields.get("FullyQualifiedName"), _NAME_MAX) or display_name,
    )


def _custom_fields(entries: list[dict[str, Any]]) -> list[CustomField]:
    """Only fields that hold something: an empty one comes without a value."""
    found = []
    for entry in entries:
        values = (entry.get(key) for key in ("StringValue", "NumberValue", "DateValue"))
        text = next((_text(value) for value in values if value is not None), "")
        if text:
            definition_id = _text(entry["DefinitionId"])
            found.append(CustomField(definition_id=definition_id, name=_text(entry.get("Name")), text=text))
    return found


def _currency(fields: dict[str, Any], home_currency: str) -> str:
    """Companies with one currency may leave it out."""
    currency = _reference(fields.get("CurrencyRef")) or home_currency
    if len(currency) != 3 or not currency.isascii() or not currency.isalpha():
        raise ValueError("the record names no currency, and the company's home currency is not known")
    return currency.upper()


def _money(fields: dict[str, Any], name: str, currency: str, *, missing: int | None = None) -> Money:
    value = fields[name] if missing is None else fields.get(name, missing)
    return Money(_amount(value), currency)


def _amount(value: object) -> Decimal:
    return parse_amount(_number(value))


def _rate(value: object) -> ExchangeRate | None:
    return None if value is None else ExchangeRate(parse_rate(_number(value)))


def _number(value: object) -> Decimal | int | str:
    if isinstance(value, bool) or not isinstance(value, Decimal | int | str):
        raise ValueError(f"a {type(value).__name__} stands where a number should")
    return value


def _id(value: object) -> str:
    text = str(value)
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise ValueError(f"{text[:40]!r} is not an id of QuickBooks")
    return text


def _text(value: object, length_max: int = _TEXT_MAX) -> str:
    if value is None:
        return ""
    if not isinstance(value, str | int | Decimal) or isinstance(value, bool):
        raise ValueError(f"a {type(value).__name__} stands where a text should")
    text = str(value).strip()
    if len(text) > length_max:
        raise ValueError(f"a text is longer than {length_max} characters")
    return text


def _date(value: str | None) -> date | None:
    return None if value is None else date.fromisoformat(value)


def _reference(value: dict[str, Any] | None) -> str | None:
    return None if not value else _text(value.get("value")) or None
