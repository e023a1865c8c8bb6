"""Where home currency begins and ends: rates at their limits, who has own money, and which rules say what."""

from decimal import Decimal

import pytest

from schemas.accounting import ExchangeRate
from schemas.money import Money
from schemas.quickbooks import CREDIT_MEMO, INVOICE, PAYMENT
from streams.books import Company
from streams.exchange import at_home, at_stake
from tests.rules import World, books_of_a_new_company

EUR = {"CurrencyRef": {"value": "EUR"}}
NEWEST = Company("9130", home_currency="USD", rules_version=3)


def rate(text: str) -> ExchangeRate:
    return ExchangeRate(Decimal(text))


def eur(text: str) -> Money:
    return Money(Decimal(text), "EUR")


def usd(text: str) -> Money:
    return Money(Decimal(text), "USD")


@pytest.mark.parametrize(
    ("given", "counts"),
    [
        ("0.000000000001", "0.00"),
        ("999999999.999999999999", "999999999999.999999999999"),
        ("1000000000", "1000"),  # no rate: one to one
        ("0", "1000"),
        ("-1.1", "1000"),
    ],
)
def test_a_rate_counts_from_above_nothing_to_below_a_milliard(given: str, counts: str) -> None:
    counted = at_home(NEWEST, eur("1000"), rate(given))
    assert counted == usd(str(round(Decimal(counts), 2)))


def test_the_largest_amount_at_the_longest_rate_is_rounded_once() -> None:
    """...000.0049999 lies below half a cent; rounded to fewer digits first, it would become one."""
    counted = at_home(NEWEST, eur("9999999999999999.999999"), rate("999995000.000000000001"))
    assert counted == usd("9999950000000000000009000.00")


@pytest.mark.parametrize(("rules", "books", "waits"), [(1, None, None), (2, "1.10", None), (3, "1.10", "1.10")])
def test_home_currency_is_said_from_the_second_rules_on_and_of_what_waits_from_the_third(
    rules: int, books: str | None, waits: str | None
) -> None:
    company = Company("9130", home_currency="USD", rules_version=rules)
    assert at_home(company, eur("1"), rate("1.1")) == (books and usd(books))
    assert at_stake(company, eur("1"), rate("1.1")) == (waits and usd(waits))


def test_nothing_is_said_of_home_currency_before_it_is_known_and_of_amounts_in_it() -> None:
    assert at_home(Company("9130", rules_version=3), eur("1"), rate("1.1")) is None
    assert at_home(NEWEST, usd("1"), rate("1.1")) is None


def world() -> World:
    made = World(books=books_of_a_new_company())
    made.declare("P1")
    made.customer("1")
    made.map("1", "P1")
    return made


def warned(made: World) -> list[str]:
    return [record_id for (kind, record_id), d in made.books.documents.items() if kind == PAYMENT and d.booked.warnings]


def test_a_payment_without_a_rate_is_pointed_out_where_money_of_its_own_counts_at_it() -> None:
    made = world()
    made.invoice("11", "150", **EUR, ExchangeRate="1.1")
    made.memo("5", "150", **EUR, ExchangeRate="1.1")
    made.payment("21", "0", "1", (CREDIT_MEMO, "5", "50"), (INVOICE, "11", "50"), **EUR)
    assert warned(made) == []
    made.payment("22", "0", "1", (CREDIT_MEMO, "5", "80"), (INVOICE, "11", "30"), ("Check", "77", "50"), **EUR)
    made.payment("23", "10", "1", (INVOICE, "11", "10"), **EUR)
    made.payment("24", "0", "1", (CREDIT_MEMO, "5", "10"), **EUR)
    assert warned(made) == ["22", "23", "24"]


def taken(made: World, payment_id: str) -> list[Money | None]:
    """What a payment takes off its invoices, in home currency."""
    return [link.home_target for link in made.books.document((PAYMENT, payment_id)).booked.links.values()]


def test_cents_of_a_deleted_payment_go_to_the_next() -> None:
    made = world()
    made.invoice("11", "1.00", **EUR, ExchangeRate="1.333")
    for number in ("21", "22"):  # 0.35 is 0.46655 at home; 0.70 is 0.9331
        made.payment(number, "0.35", "1", (INVOICE, "11", "0.35"), **EUR, ExchangeRate="1.333")
    assert (taken(made, "21"), taken(made, "22")) == ([usd("0.47")], [usd("0.46")])
    made.gone(PAYMENT, "21")
    assert taken(made, "22") == [usd("0.47")]


def test_a_payment_in_another_currency_takes_no_cents_of_the_invoice() -> None:
    """Its line waits; the invoice's cents belong to payments in its own currency."""
    made = world()
    made.invoice("11", "1.00", **EUR, ExchangeRate="1.333")
    made.payment("21", "0.35", "1", (INVOICE, "11", "0.35"))
    made.payment("22", "0.35", "1", (INVOICE, "11", "0.35"), **EUR, ExchangeRate="1.333")
    assert taken(made, "22") == [usd("0.47")]


def test_cents_follow_an_edit_of_the_payment_before() -> None:
    made = world()
    made.invoice("11", "1.00", **EUR, ExchangeRate="1.333")
    for number in ("21", "22"):
        made.payment(number, "0.35", "1", (INVOICE, "11", "0.35"), **EUR, ExchangeRate="1.333")
    made.payment("21", "0.30", "1", (INVOICE, "11", "0.30"), **EUR, ExchangeRate="1.333")
    assert (taken(made, "21"), taken(made, "22")) == ([usd("0.40")], [usd("0.47")])  # 0.65 is 0.86645
