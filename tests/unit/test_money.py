"""Exact amounts: what is taken as a number, how many digits are kept, and that currencies never mix."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

from schemas.money import DIGITS_MAX, RATE_SCALE, SCALE, Money, minor_units, parse_amount, parse_rate, zero


def usd(amount: str) -> Money:
    return Money(Decimal(amount), "USD")


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("12.50", "12.50"),
        (7, "7"),
        (Decimal("-0.01"), "-0.01"),
        ("0.000001", "0.000001"),
        ("9999999999999999.999999", "9999999999999999.999999"),
        ("1E+3", "1000"),
        ("1.50000000", "1.5"),  # zeros beyond the sixth place
        ("0E-30", "0"),
        ("0E+30", "0"),
    ],
)
def test_an_amount_is_taken_as_it_is_written(text: str | int | Decimal, amount: str) -> None:
    assert parse_amount(text) == Decimal(amount)


@pytest.mark.parametrize("text", ["10000000000000000", "1E+16", "0.0000001", "1.0000001", "-10000000000000000.0"])
def test_an_amount_of_more_digits_than_are_kept_is_refused_and_never_rounded(text: str) -> None:
    with pytest.raises(ValueError, match=r"has more digits than an amount may have: at most 16 .* and 6 after it"):
        parse_amount(text)


def test_a_rate_has_twelve_places() -> None:
    assert parse_rate("1.123456789012") == Decimal("1.123456789012")
    with pytest.raises(ValueError, match=r"has more digits than an exchange rate may have: at most 16 .* and 12 after"):
        parse_rate("1.1234567890123")


@pytest.mark.parametrize("text", ["", "ten", "1,000.00", "NaN", "Infinity", "-Infinity", "sNaN"])
def test_what_is_no_finite_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an? (finite )?amount"):
        parse_amount(text)


def test_a_long_text_is_not_repeated_whole() -> None:
    with pytest.raises(ValueError, match=f"^'{'x' * 40}' is not an amount$"):
        parse_amount("x" * 1000)


@pytest.mark.parametrize(
    ("currency", "places", "said"),
    [("USD", 2, "1,234.50 USD"), ("JPY", 0, "1,234 JPY"), ("KWD", 3, "1,234.500 KWD")],
)
def test_money_is_said_in_the_places_of_its_currency(currency: str, places: int, said: str) -> None:
    assert minor_units(currency) == places
    assert str(Money(Decimal("1234.500"), currency)) == said


def test_amounts_of_one_currency_add_subtract_and_compare() -> None:
    assert usd("1.10") + usd("2.20") == usd("3.30")
    assert usd("1.10") - usd("2.20") == usd("-1.10")
    assert -usd("1.10") == usd("-1.10")
    assert (usd("1") < usd("2"), usd("1") < usd("1"), usd("2") < usd("1")) == (True, False, False)
    assert (bool(usd("0.00")), bool(usd("-0.01"))) == (False, True)
    assert zero("USD") == usd("0")


def test_two_currencies_never_mix() -> None:
    euro = Money(Decimal(1), "EUR")
    for attempt in (lambda: usd("1") + euro, lambda: usd("1") - euro, lambda: usd("1") < euro):
        with pytest.raises(ValueError, match="USD and EUR do not mix"):
            attempt()


def test_contracts_and_tables_keep_as_many_digits_as_is_said_here() -> None:
    root = Path(__file__).parents[2]
    contracts = "".join(path.read_text() for path in root.glob("schemas/avro/*/*.avsc"))
    tables = "".join(path.read_text() for path in root.glob("streams/sql/migrations/*.sql"))
    assert set(re.findall(r'"precision": (\d+)', contracts)) == {str(DIGITS_MAX)}
    assert set(re.findall(r'"scale": (\d+)', contracts)) == {str(SCALE), str(RATE_SCALE)}
    assert f"numeric({DIGITS_MAX},{SCALE})" in tables
