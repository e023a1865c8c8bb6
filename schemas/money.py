"""Exact amounts with their currency; currencies never mix and a division never loses a cent.

Pure. Every amount in the system is a `Money` or, inside one currency, a `Decimal`; there is no float.
Source: ISO 4217 for minor units; docs/decisions/0005 (exact money).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

SCALE = 6  # decimal places of an amount in Avro and SQL: enough for every currency and for QuickBooks' 10.5 digits
DIGITS_MAX = 38
_NO_MINOR_UNIT = frozenset(
    (
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "ISK",
        "JPY",
        "KMF",
        "KRW",
        "PYG",
        "RWF",
        "UGX",
        "UYI",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    )
)
_THREE_PLACES = frozenset(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"))


def minor_units(currency: str) -> int:
    """Decimal places in which this currency is paid: 0, 2 or 3."""
    if currency in _NO_MINOR_UNIT:
        return 0
    return 3 if currency in _THREE_PLACES else 2


def parse_amount(text: str | int | Decimal) -> Decimal:
    """An exact amount; raises ValueError for what is not finite or has more digits than we keep."""
    try:
        amount = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is not an amount") from error
    if not amount.is_finite():
        raise ValueError(f"{text!r} is not a finite amount")
    exponent = amount.as_tuple().exponent
    if isinstance(exponent, int) and (exponent < -SCALE or amount.adjusted() > DIGITS_MAX - SCALE - 2):
        amount = _without_trailing_zeros(amount, text)
    return amount


def _without_trailing_zeros(amount: Decimal, text: object) -> Decimal:
    shorter = amount.normalize()
    exponent = shorter.as_tuple().exponent
    if isinstance(exponent, int) and (exponent < -SCALE or shorter.adjusted() > DIGITS_MAX - SCALE - 2):
        raise ValueError(f"{text!r} has more digits than an amount may have")
    return shorter


@dataclass(frozen=True, slots=True)
class Money:
    """An exact amount of one currency. Adding or comparing two currencies raises ValueError."""

    amount: Decimal
    currency: str  # ISO 4217 code, upper case

    def __add__(self, other: "Money") -> "Money":
        return Money(self.amount + self._same(other), self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.amount - self._same(other), self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.amount, self.currency)

    def __lt__(self, other: "Money") -> bool:
        return self.amount < self._same(other)

    def __bool__(self) -> bool:
        return bool(self.amount)

    def __str__(self) -> str:
        return f"{self.amount:,.{minor_units(self.currency)}f} {self.currency}"

    def _same(self, other: "Money") -> Decimal:
        if other.currency != self.currency:
            raise ValueError(f"{self.currency} and {other.currency} do not mix")
        return other.amount


def zero(currency: str) -> Money:
    """Nothing, in this currency."""
    return Money(Decimal(0), currency)


def split(whole: Money, weights: Sequence[Decimal]) -> tuple[Money, ...]:
    """Divide by weights into whole minor units that add up to the whole exactly: the largest part takes the rest.

    Raises ValueError when no weight is positive.
    """
    total = sum(weights, Decimal(0))
    if not weights or total <= 0 or min(weights) < 0:
        raise ValueError("weights must not be negative, and at least one must be positive")
    unit = Decimal(1).scaleb(-minor_units(whole.currency))
    parts = [(whole.amount * weight / total).quantize(unit, ROUND_HALF_EVEN) for weight in weights]
    largest = max(range(len(parts)), key=lambda i: weights[i])
    parts[largest] += whole.amount - sum(parts, Decimal(0))
    return tuple(Money(part, whole.currency) for part in parts)
