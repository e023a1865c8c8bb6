"""Exact amounts with their currency; currencies never mix.

Pure. Every amount in the system is a `Money` or, inside one currency, a `Decimal`; there is no float.
Source: ISO 4217 for minor units; docs/decisions/0005 (exact money).
"""

from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation

SCALE = 6  # decimal places of an amount in Avro and SQL: enough for every currency and for QuickBooks' 10.5 digits
RATE_SCALE = 12  # decimal places of an exchange rate
DIGITS_MAX = 38  # of a stored number, sums included
WHOLE_DIGITS_MAX = 16  # before the point, of one number that comes in: Decimal's 28 digits then hold any sum exactly
_EXACT = Context(prec=WHOLE_DIGITS_MAX + RATE_SCALE, traps=[InvalidOperation, Inexact])
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
    return _parse(text, SCALE, "amount")


def parse_rate(text: str | int | Decimal) -> Decimal:
    """An exact exchange rate; raises ValueError for what is not finite or has more digits than we keep."""
    return _parse(text, RATE_SCALE, "exchange rate")


def _parse(text: str | int | Decimal, scale: int, kind: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{_short(text)} is not an {kind}") from error
    if not number.is_finite():
        raise ValueError(f"{_short(text)} is not a finite {kind}")
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and (exponent < -scale or number.adjusted() >= WHOLE_DIGITS_MAX):
        return _without_trailing_zeros(number, scale, kind)
    return number


def _without_trailing_zeros(number: Decimal, scale: int, kind: str) -> Decimal:
    """The same number in few digits, never a rounded one: only zeros may go."""
    try:
        shorter = _EXACT.quantize(number, Decimal(f"1E-{scale}")).normalize(_EXACT)
    except (InvalidOperation, Inexact) as error:
        raise ValueError(_too_long(number, scale, kind)) from error
    if shorter.adjusted() >= WHOLE_DIGITS_MAX:
        raise ValueError(_too_long(number, scale, kind))
    return shorter


def _too_long(number: Decimal, scale: int, kind: str) -> str:
    kept = f"at most {WHOLE_DIGITS_MAX} digits before the point and {scale} after it are kept"
    return f"{_short(number)} has more digits than an {kind} may have: {kept}"


def _short(text: object) -> str:
    return f"{str(text)[:40]!r}"


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
