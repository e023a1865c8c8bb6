"""What amounts count in home currency, to the cent: receivables at the document's rate, cash at the payment's.

Pure. A document or share counts round(amount x rate). What settles a document takes it off piece by piece, each piece
round(so far + piece) - round(so far), so that the pieces add up to the whole and the last one takes the odd cent.
So far: the deposit, then the payments in the order of their ids, which neither arrival nor dates change; within a
payment credits before cash, both by number. A payment's own money counts in an order, too: what stays unapplied, what
settles things that are not kept here, then the invoices by number.
Amounts in home currency state nothing beside themselves; neither does anything under rules 1.
Source: design, "Several currencies"; docs/decisions/0014 (cents go by payment id), 0015 (rules versions).
"""

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import NamedTuple

from schemas.accounting import ExchangeRate
from schemas.money import DIGITS_MAX, Money, minor_units
from schemas.quickbooks import PAYMENT, SALES, Payment, SalesDocument
from streams.books import Books, Company, Document, Ended, Key

HOME_SIDES = 2  # the rules from which on events say their amounts in home currency
_HOME_STAKES = 3  # those from which on what waits says them, too
RATE_MISSING = "exchange_rate_missing"  # the warning
_RATE_MAX = Decimal(10**9)  # above it is no rate: with it, no sum would have more digits than are kept
_EXACT = Context(prec=2 * DIGITS_MAX, rounding=ROUND_HALF_UP)
_ONE = Decimal(1)


class Sides(NamedTuple):
    """What one settlement takes off its source and off its target, in home currency; None: both are home currency."""

    source: Money | None
    target: Money | None


def abroad(company: Company, currency: str) -> bool:
    """Whether amounts in this currency are stated in home currency as well."""
    return company.rules_version >= HOME_SIDES and company.home_currency not in ("", currency)


def warnings_of(company: Company, head: SalesDocument | Payment) -> dict[str, str]:
    """A record in a foreign currency without a rate counts one to one, as QuickBooks does, and is pointed out."""
    if not abroad(company, head.total.currency) or head.exchange_rate == _usable(head.exchange_rate):
        return {}
    return {RATE_MISSING: head.total.currency} if _has_own_money(head) else {}


def _has_own_money(head: SalesDocument | Payment) -> bool:
    """A payment that only links credits to invoices has none: its rate counts nothing."""
    if isinstance(head, SalesDocument):
        return True
    return bool(head.total or head.unapplied) or any(line.record_type not in SALES for line in head.lines)


def at_home(company: Company, amount: Money, rate: ExchangeRate | None) -> Money | None:
    """A whole amount in home currency; None: it is in home currency."""
    return measure(company, amount.currency, rate).take(amount)


def at_stake(company: Company, amount: Money, rate: ExchangeRate | None) -> Money | None:
    """What waits, in home currency at its own rate; None: it is in home currency, or these rules do not state it."""
    return at_home(company, amount, rate) if company.rules_version >= _HOME_STAKES else None


class Measure:
    """Home values along an amount that is used up piece by piece; the pieces add up to the whole."""

    def __init__(self, home_currency: str, rate: Decimal, so_far: Decimal) -> None:
        self._home, self._rate, self._so_far = home_currency, rate, so_far

    def take(self, piece: Money) -> Money | None:
        """What the next piece counts, a negative one goes back; None: it is in home currency."""
        if not self._home:
            return None
        before, self._so_far = self._so_far, self._so_far + piece.amount
        return Money(self._rounded(self._so_far) - self._rounded(before), self._home)

    def _rounded(self, amount: Decimal) -> Decimal:
        unit = Decimal(1).scaleb(-minor_units(self._home))
        return _EXACT.quantize(_EXACT.multiply(amount, self._rate), unit)


_AT_HOME = Measure("", _ONE, Decimal(0))  # says nothing of any piece, so one is enough for all


def measure(company: Company, currency: str, rate: ExchangeRate | None, so_far: Decimal = Decimal(0)) -> Measure:
    """Home values of amounts in this currency, after so much of it."""
    return Measure(company.home_currency, _usable(rate), so_far) if abroad(company, currency) else _AT_HOME


def _usable(rate: ExchangeRate | None) -> Decimal:
    return rate if rate is not None and 0 < rate < _RATE_MAX else _ONE


def measure_of(books: Books, document: SalesDocument | None, payment: Payment) -> Measure:
    """Home values of what this payment takes off an invoice or memo, after the deposit and the payments before it."""
    if document is None or not abroad(books.company, document.total.currency):
        return _AT_HOME
    currency = document.total.currency
    key = (document.record_type, document.record_id)
    number = int(payment.record_id)
    earlier = (books.document((PAYMENT, i)) for i in books.payers.get(key, ()) if int(i) < number)
    pieces = (piece for each in earlier if (piece := _taken(each).get(key)) is not None and piece.currency == currency)
    cleared = sum((piece.amount for piece in pieces), document.deposit.amount)
    return measure(books.company, currency, document.exchange_rate, cleared)


def _taken(payment: Document) -> dict[Key, Money]:
    """What a payment takes off documents by its own lines, whether it is booked yet or waits."""
    if not isinstance(payment.head, Payment) or payment.ended is not Ended.NO:
        return {}
    return {(line.record_type, line.record_id): line.amount for line in payment.head.lines}


def sharing(books: Books, before: Iterable[Document], after: Iterable[Document]) -> set[Key]:
    """Later payments whose cents change with these payments: they take of the same foreign documents."""
    found: set[Key] = set()
    for old, new in zip(before, after, strict=True):
        if not (is_abroad(books.company, old) or is_abroad(books.company, new)):
            continue
        old_lines, new_lines = _taken(old), _taken(new)
        for key in old_lines.keys() | new_lines.keys():
            if old_lines.get(key) != new_lines.get(key):
                found |= {(PAYMENT, i) for i in books.payers.get(key, ()) if int(i) > int(new.record_id)}
    return found


def is_abroad(company: Company, document: Document) -> bool:
    """Whether this is a payment in another currency than home currency."""
    return isinstance(document.head, Payment) and abroad(company, document.head.total.currency)
