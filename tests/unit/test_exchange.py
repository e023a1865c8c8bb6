"""Several currencies: receivables clear at the document's rate, cash counts at the payment's, and no cent is left over.

Customer 1's project is P1, customer 2's P2; the company keeps its books in USD and these customers pay in EUR.
"""

from decimal import Decimal
from typing import Any

import pytest

from schemas.accounting import ExchangeRate
from schemas.money import Money
from schemas.quickbooks import CREDIT_MEMO, INVOICE, PAYMENT
from streams.books import Company, booking_from_plain, booking_to_plain
from streams.exchange import measure
from tests.rules import Balance, World, books_of_a_new_company


def eur(rate: str | None, **more: Any) -> dict[str, Any]:
    """What makes a record one in EUR at this rate."""
    return {"CurrencyRef": {"value": "EUR"}, **({} if rate is None else {"ExchangeRate": rate}), **more}


def at_home(balance: Balance) -> dict[str, Decimal]:
    names = ("home_O", "home_C", "home_U", "home_cash", "home_refunds", "home_other", "gained")
    return {name: getattr(balance, name) for name in names if getattr(balance, name)}


def world_with(*project_ids: str, rules_version: int = 2) -> World:
    world = World(books=books_of_a_new_company(rules_version))
    for number, project_id in enumerate(project_ids, start=1):
        world.declare(project_id)
        world.customer(str(number))
        world.map(str(number), project_id)
    return world


def test_a_rate_that_rose_between_invoice_and_payment_is_an_exchange_gain() -> None:
    world = world_with("P1")
    world.invoice("11", "1000", **eur("1.10"))
    assert at_home(world.balances()["P1"]) == {"home_O": 1100}
    world.payment("21", "1000", "1", (INVOICE, "11", "1000"), **eur("1.20"))
    assert world.balances()["P1"].O == 0
    assert at_home(world.balances()["P1"]) == {"home_cash": 1200, "gained": 100}
    assert world.money_names == ["InvoiceIssued", "PaymentReceived", "PaymentApplied", "ExchangeDifference"]


def test_a_rate_that_fell_is_a_loss_and_a_payment_taken_back_undoes_it() -> None:
    world = world_with("P1")
    world.invoice("11", "1000", **eur("1.10"))
    world.payment("21", "1000", "1", (INVOICE, "11", "1000"), **eur("1.05"))
    assert world.balances()["P1"].gained == -50
    world.gone(PAYMENT, "21")
    assert at_home(world.balances()["P1"]) == {"home_O": 1100}
    assert world.money_names[-3:] == ["ExchangeDifferenceReversed", "PaymentUnapplied", "PaymentDeleted"]


def test_no_difference_is_said_where_both_rates_are_the_same() -> None:
    world = world_with("P1")
    world.invoice("11", "1000", **eur("1.10"))
    world.payment("21", "1000", "1", (INVOICE, "11", "1000"), **eur("1.10"))
    assert "ExchangeDifference" not in world.names
    assert at_home(world.balances()["P1"]) == {"home_cash": 1100}


def test_amounts_in_home_currency_state_nothing_beside_themselves() -> None:
    world = world_with("P1")
    world.invoice("11", "1000", ExchangeRate="1")
    world.payment("21", "1000", "1", (INVOICE, "11", "1000"), ExchangeRate="1")
    bodies = [fact.body for fact in world.facts if hasattr(fact.body, "after")]
    assert [getattr(body.after, "home_total", None) for body in bodies] == [None, None]
    assert at_home(world.balances()["P1"]) == {}


def test_the_last_payment_takes_the_odd_cent() -> None:
    world = world_with("P1")
    world.invoice("11", "1.00", **eur("1.005"))  # 1.01 at home
    for number in ("21", "22", "23"):
        world.payment(number, "0.33", "1", (INVOICE, "11", "0.33"), **eur("1.005"))
    world.payment("24", "0.01", "1", (INVOICE, "11", "0.01"), **eur("1.005"))
    assert (world.balances()["P1"].O, world.balances()["P1"].home_O) == (0, 0)


@pytest.mark.parametrize("order", [("21", "22", "23"), ("23", "21", "22"), ("22", "23", "21")])
def test_cents_go_by_payment_id_and_not_by_arrival(order: tuple[str, ...]) -> None:
    world = world_with("P1")
    world.invoice("11", "1.00", **eur("1.333"))
    amounts = {"21": "0.35", "22": "0.35", "23": "0.30"}  # 0.4666, 0.4666, 0.3999: together 1.333
    for number in order:
        world.payment(number, amounts[number], "1", (INVOICE, "11", amounts[number]), **eur("1.333"))
    booked = {
        number: link.home_target and link.home_target.amount
        for number in order
        for link in world.books.document((PAYMENT, number)).booked.links.values()
    }
    assert booked == {"21": Decimal("0.47"), "22": Decimal("0.46"), "23": Decimal("0.40")}
    assert world.balances()["P1"].home_O == 0


def test_an_earlier_payment_that_comes_late_moves_the_cents_of_the_later_ones() -> None:
    world = world_with("P1")
    world.invoice("11", "1.00", **eur("1.333"))
    world.payment("22", "0.35", "1", (INVOICE, "11", "0.35"), **eur("1.333"))
    before = len(world.facts)
    world.payment("21", "0.35", "1", (INVOICE, "11", "0.35"), **eur("1.333"))
    moved = [(type(fact.body).__name__, fact.record[1]) for fact in world.facts[before:]]
    assert ("PaymentUnapplied", "22") in moved
    assert ("PaymentApplied", "22") in moved


def test_a_memo_at_another_rate_than_its_invoice_makes_a_difference_in_the_invoices_project() -> None:
    world = world_with("P1", "P2")
    world.invoice("11", "1000", "1", **eur("1.10"))
    world.memo("5", "200", "2", **eur("1.20"))
    world.payment("21", "0", "1", (CREDIT_MEMO, "5", "200"), (INVOICE, "11", "200"), **eur("1.50"))
    balances = world.balances()
    assert at_home(balances["P1"]) == {"home_O": 880, "gained": 20}
    assert at_home(balances["P2"]) == {}
    assert world.names[-4:] == ["CreditTransferredOut", "CreditTransferredIn", "CreditApplied", "ExchangeDifference"]


def test_unapplied_money_counts_at_the_payments_rate_until_it_is_applied() -> None:
    world = world_with("P1")
    world.invoice("11", "1000", **eur("1.10"))
    world.payment("21", "1000", "1", **eur("1.20"))
    assert at_home(world.balances()["P1"]) == {"home_O": 1100, "home_U": 1200, "home_cash": 1200}
    world.payment("21", "1000", "1", (INVOICE, "11", "600"), **eur("1.20"))
    assert at_home(world.balances()["P1"]) == {"home_O": 440, "home_U": 480, "home_cash": 1200, "gained": 60}


def test_a_payment_over_two_projects_counts_its_total_to_the_cent() -> None:
    world = world_with("P1", "P2")
    world.invoice("11", "0.35", "1", **eur("1.1"))
    world.invoice("12", "0.35", "2", **eur("1.1"))
    world.payment("21", "1.00", "1", (INVOICE, "11", "0.35"), (INVOICE, "12", "0.35"), **eur("1.333"))
    balances = world.balances()
    assert balances["P1"].home_cash + balances["P2"].home_cash == Decimal("1.33")
    assert balances["P1"].home_U == Decimal("0.40")  # 0.30 x 1.333
    assert balances["P1"].home_O == balances["P2"].home_O == 0


def test_credit_that_becomes_money_of_a_payment_takes_its_rate() -> None:
    world = world_with("P1")
    world.memo("5", "100", **eur("1.20"))
    world.payment("21", "0", "1", (CREDIT_MEMO, "5", "100"), ("Check", "77", "100"), unapplied="0", **eur("1.15"))
    assert at_home(world.balances()["P1"]) == {"home_other": 115, "gained": 5}
    assert world.balances()["P1"].home_N == 0


def test_a_deposit_on_a_foreign_invoice_is_cash_at_the_invoices_rate() -> None:
    world = world_with("P1")
    world.invoice("11", "10.01", Deposit="3.33", **eur("1.333"))
    world.payment("21", "6.68", "1", (INVOICE, "11", "6.68"), **eur("1.4"))
    balance = world.balances()["P1"]
    assert (balance.O, balance.home_O, balance.home_invoiced) == (0, 0, Decimal("13.34"))
    assert balance.home_cash == Decimal("4.44") + Decimal("9.35")
    assert balance.home_N == balance.home_invoiced - balance.home_cash + balance.gained == 0


def test_a_rate_that_is_corrected_later_is_booked_with_all_that_was_settled() -> None:
    world = world_with("P1")
    world.invoice("11", "1000", **eur("1.10"))
    world.payment("21", "1000", "1", (INVOICE, "11", "1000"), **eur("1.20"))
    world.invoice("11", "1000", **eur("1.15"))
    assert at_home(world.balances()["P1"]) == {"home_cash": 1200, "gained": 50}
    world.payment("21", "1000", "1", (INVOICE, "11", "1000"), **eur("1.15"))
    assert at_home(world.balances()["P1"]) == {"home_cash": 1150}


def test_a_foreign_record_without_a_rate_counts_one_to_one_and_is_pointed_out() -> None:
    world = world_with("P1")
    world.invoice("11", "1000", **eur(None))
    world.payment("21", "1000", "1", (INVOICE, "11", "1000"), **eur("0"))
    assert at_home(world.balances()["P1"]) == {"home_cash": 1000}
    warned = [(n.record, n.body.code, n.body.detail) for n in world.notices if hasattr(n.body, "detail")]
    assert warned == [
        ((INVOICE, "11"), "exchange_rate_missing", "EUR"),
        ((PAYMENT, "21"), "exchange_rate_missing", "EUR"),
    ]
    world.invoice("11", "1000", **eur("1.10"))
    assert world.notices[-1].body.code == "exchange_rate_missing"
    assert world.balances()["P1"].gained == -100


def test_a_payment_that_only_links_credits_needs_no_rate() -> None:
    world = world_with("P1")
    world.invoice("11", "100", **eur("1.10"))
    world.memo("5", "100", **eur("1.20"))
    world.payment("21", "0", "1", (CREDIT_MEMO, "5", "100"), (INVOICE, "11", "100"), **eur(None))
    assert at_home(world.balances()["P1"]) == {"gained": 10}
    assert not any(hasattr(notice.body, "detail") for notice in world.notices)


def test_a_payment_in_another_currency_than_its_invoice_waits() -> None:
    world = world_with("P1")
    world.invoice("11", "1000", **eur("1.10"))
    world.payment("21", "1100", "1", (INVOICE, "11", "1100"))
    assert world.waiting() == {(PAYMENT, "21", "Invoice:11"): 1100}
    assert at_home(world.balances()["P1"]) == {"home_O": 1100}


def test_a_home_currency_without_minor_units_counts_whole() -> None:
    company = Company("1", home_currency="JPY", rules_version=2)
    measured = measure(company, "USD", ExchangeRate(Decimal("150.25")))
    pieces = [measured.take(Money(Decimal(piece), "USD")) for piece in ("0.33", "0.33", "0.34")]
    assert pieces == [Money(Decimal(piece), "JPY") for piece in (50, 49, 51)]


def test_home_sides_survive_the_table_that_keeps_them() -> None:
    world = world_with("P1")
    world.invoice("11", "1000", **eur("1.10"), Deposit="100")
    world.payment("21", "1000", "1", (INVOICE, "11", "900"), ("Check", "77", "50"), **eur("1.20"))
    for document in world.books.documents.values():
        assert booking_from_plain(booking_to_plain(document.booked)) == document.booked


# --- rules versions ----------------------------------------------------------------------------------------------


def foreign_history(world: World) -> World:
    world.invoice("11", "1000", **eur("1.10"))
    world.memo("5", "100", **eur("1.30"))
    world.payment("21", "900", "1", (INVOICE, "11", "1000"), (CREDIT_MEMO, "5", "100"), **eur("1.20"))
    world.invoice("12", "77")
    world.payment("22", "77", "1", (INVOICE, "12", "77"))
    return world


def test_a_company_that_stays_on_the_first_rules_says_nothing_in_home_currency() -> None:
    world = foreign_history(world_with("P1", rules_version=1))
    assert at_home(world.balances()["P1"]) == {}
    assert "ExchangeDifference" not in world.names


def test_adopting_rules_books_the_difference_and_ends_where_they_would_have_led_from_the_start() -> None:
    world = foreign_history(world_with("P1", rules_version=1))
    before = len(world.facts)
    world.adopt_rules(2)
    adjusting = {(type(fact.body).__name__, *fact.record) for fact in world.facts[before:]}
    assert adjusting == {
        ("InvoiceRevised", INVOICE, "11"),
        ("CreditMemoRevised", CREDIT_MEMO, "5"),
        ("PaymentRevised", PAYMENT, "21"),
        ("PaymentUnapplied", PAYMENT, "21"),
        ("PaymentApplied", PAYMENT, "21"),
        ("CreditUnapplied", PAYMENT, "21"),
        ("CreditApplied", PAYMENT, "21"),
        ("ExchangeDifference", PAYMENT, "21"),
    }
    assert world.balances() == foreign_history(world_with("P1")).balances()


def test_adopting_the_same_rules_again_changes_nothing_and_going_back_undoes_all() -> None:
    world = foreign_history(world_with("P1", rules_version=1))
    before = world.balances()
    world.adopt_rules(2)
    count = len(world.facts)
    assert world.adopt_rules(2).outcome == "no difference"
    assert len(world.facts) == count
    world.adopt_rules(1)
    assert world.balances() == before
