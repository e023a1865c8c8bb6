"""In several currencies: the same cents in any order, nothing left on what is settled, no cent from nowhere."""

import random
from collections.abc import Callable
from dataclasses import asdict
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import accounting as facts
from schemas.quickbooks import CREDIT_MEMO, INVOICE, PAYMENT, Payment, SalesDocument
from streams.books import Ended
from tests.rules import World, books_of_a_new_company

pytestmark = pytest.mark.slow

Read = Callable[[World], object]
CUSTOMERS = ("1", "2", "3")  # 1 and 2 are mapped and pay in EUR, 3 is a job of 1
CENTS = st.integers(min_value=1, max_value=999).map(lambda cents: str(Decimal(cents) / 100))
RATES = st.sampled_from(["1.1", "1.005", "0.333", "1.3337", "1"])


@st.composite
def sales(draw: st.DrawFn, at: int) -> Read:
    kind, number = draw(st.sampled_from(["invoice", "invoice", "memo"])), draw(st.integers(10, 12))
    total, customer, rate = draw(CENTS), draw(st.sampled_from(CUSTOMERS)), draw(RATES)
    deposit = draw(st.sampled_from(["0", "0", "0.07"])) if kind == "invoice" else "0"
    record_id = str(number if kind == "invoice" else number + 20)
    more = {"CurrencyRef": {"value": "EUR"}, "ExchangeRate": rate, "Deposit": deposit}
    return lambda world: getattr(world, kind)(record_id, total, customer, at=at, **more)


@st.composite
def payments(draw: st.DrawFn, at: int) -> Read:
    record_id, customer = str(draw(st.integers(50, 54))), draw(st.sampled_from(CUSTOMERS))
    uses = draw(st.dictionaries(st.integers(10, 12), CENTS, max_size=3))
    credits = draw(st.dictionaries(st.integers(30, 32), CENTS, max_size=2))
    others = draw(st.dictionaries(st.integers(90, 91), CENTS, max_size=1))
    lines = [(INVOICE, str(number), amount) for number, amount in uses.items()]
    lines += [("Check", str(number), amount) for number, amount in others.items()]
    used = sum((Decimal(amount) for _, _, amount in lines), Decimal(0))
    lines += [(CREDIT_MEMO, str(number), amount) for number, amount in credits.items()]
    credit = sum((Decimal(amount) for amount in credits.values()), Decimal(0))
    total = str(max(Decimal(0), used - credit) + Decimal(draw(st.sampled_from(["0", "0.33", "1.01"]))))
    more = {"CurrencyRef": {"value": "EUR"}, "ExchangeRate": draw(RATES)}
    return lambda world: world.payment(record_id, total, customer, *lines, at=at, **more)


@st.composite
def deletes(draw: st.DrawFn, at: int) -> Read:
    record_type = draw(st.sampled_from([INVOICE, CREDIT_MEMO, PAYMENT, PAYMENT]))
    record_id = str({INVOICE: 10, CREDIT_MEMO: 30, PAYMENT: 50}[record_type] + draw(st.integers(0, 2)))
    return lambda world: world.gone(record_type, record_id, at=at)


@st.composite
def histories(draw: st.DrawFn) -> list[Read]:
    times = range(1000, 1000 + draw(st.integers(1, 16)))
    return [
        draw(st.one_of(sales(at), sales(at), payments(at), payments(at), payments(at), deletes(at))) for at in times
    ]


def played(reads: list[Read], rules_version: int = 2) -> World:
    world = World(books=books_of_a_new_company(rules_version))
    for number, project_id in (("1", "P1"), ("2", "P2")):
        world.declare(project_id)
        world.customer(number)
        world.map(number, project_id)
    world.customer("3", parent="1")
    for read in reads:
        read(world)
    return world


def figures(world: World) -> dict[str, dict[str, Decimal]]:
    return {
        project: {name: amount for name, amount in asdict(balance).items() if amount}
        for project, balance in world.balances().items()
    }


def booked(world: World) -> dict[Any, Any]:
    """What is booked of every document, each cent of each settlement."""
    return {key: (dict(d.booked.standings), dict(d.booked.links)) for key, d in world.books.documents.items()}


def at_home(amount: Decimal, rate: Decimal) -> Decimal:
    return (amount * rate).quantize(Decimal("0.01"), ROUND_HALF_UP)


@settings(max_examples=60, deadline=None)
@given(histories(), st.integers())
def test_any_order_and_repetition_ends_in_the_same_cents(reads: list[Read], seed: int) -> None:
    shuffled = reads + reads[: len(reads) // 2]
    random.Random(seed).shuffle(shuffled)
    expected, found = played(reads), played(shuffled)
    assert booked(found) == booked(expected)
    assert figures(found) == figures(expected)


@settings(max_examples=40, deadline=None)
@given(histories())
def test_reading_everything_again_adds_no_event(reads: list[Read]) -> None:
    world = played(reads)
    before = len(world.facts)
    for read in reads:
        read(world)
    assert len(world.facts) == before


@settings(max_examples=40, deadline=None)
@given(histories(), st.integers(0, 16))
def test_rules_adopted_at_any_moment_end_in_the_same_books(reads: list[Read], moment: int) -> None:
    world = played(reads[:moment], rules_version=1)
    assert not any(amount for balance in world.balances().values() for amount in (balance.home_cash, balance.gained))
    world.adopt_rules(2)
    for read in reads[moment:]:
        read(world)
    assert booked(world) == booked(played(reads))
    assert figures(world) == figures(played(reads))


@settings(max_examples=60, deadline=None)
@given(histories())
def test_home_figures_explain_each_other_to_the_cent(reads: list[Read]) -> None:
    world = played(reads)
    for project_id, balance in world.balances().items():
        explained = balance.home_invoiced - balance.home_credited - balance.home_cash + balance.home_other
        assert balance.home_N == explained + balance.gained + _transferred(world, project_id)
    assert sum(b.gained for b in world.balances().values()) == sum(
        link.home_source.amount - link.home_target.amount
        for document in world.books.documents.values()
        for link in document.booked.links.values()
        if link.home_source is not None and link.home_target is not None
    )


def _transferred(world: World, project_id: str) -> Decimal:
    """Credit that went to other projects less credit that came from there, in home currency."""
    total = Decimal(0)
    for fact in world.facts:
        if fact.project_id == project_id and isinstance(fact.body, facts.CreditTransfer):
            assert fact.body.home_transferred is not None
            out = isinstance(fact.body, facts.CreditTransferredOut | facts.CreditTransferInReversed)
            total += fact.body.home_transferred.amount if out else -fact.body.home_transferred.amount
    return total


@settings(max_examples=60, deadline=None)
@given(histories())
def test_a_payment_and_what_it_settles_count_as_much_as_their_parts(reads: list[Read]) -> None:
    world = played(reads)
    for document in world.books.documents.values():
        head, links = document.head, document.booked.links
        if document.ended is not Ended.NO or head is None or document.booked.waiting or head.exchange_rate is None:
            continue
        whole = at_home(head.total.amount, head.exchange_rate)
        if isinstance(head, Payment):
            assert sum(s.figures.home_received.amount for s in document.booked.standings.values()) == whole  # type: ignore[union-attr]
        elif head.record_type == INVOICE:
            _settled_invoice_is_zero_at_home(world, head, whole)
        assert all(link.home_source is not None for link in links.values())


def _settled_invoice_is_zero_at_home(world: World, invoice: SalesDocument, whole: Decimal) -> None:
    keys = [
        (key, link)
        for document in world.books.documents.values()
        for key, link in document.booked.links.items()
        if (key.target_type, key.target_id) == (INVOICE, invoice.record_id)
    ]
    lines = sum(
        line.amount.amount
        for document in world.books.documents.values()
        if isinstance(document.head, Payment) and document.ended is Ended.NO
        for line in document.head.lines
        if (line.record_type, line.record_id) == (INVOICE, invoice.record_id)
    )
    applied = sum((link.amount.amount for _, link in keys), invoice.deposit.amount)
    if applied == invoice.total.amount == lines + invoice.deposit.amount:
        rate = invoice.exchange_rate or Decimal(1)
        off = sum(link.home_target.amount for _, link in keys if link.home_target is not None)
        assert at_home(invoice.deposit.amount, rate) + off == whole


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=8), RATES, st.lists(RATES, min_size=8), st.randoms())
def test_home_receivable_of_a_settled_invoice_is_zero(
    parts: list[int], rate: str, paid_at: list[str], order: random.Random
) -> None:
    amounts = [str(Decimal(part) / 100) for part in parts]
    reads: list[Read] = [
        lambda world, n=n, a=a, r=r: world.payment(
            str(50 + n), a, "1", (INVOICE, "10", a), CurrencyRef={"value": "EUR"}, ExchangeRate=r
        )
        for n, (a, r) in enumerate(zip(amounts, paid_at, strict=False))
    ]
    total = str(sum(map(Decimal, amounts)))
    reads.append(lambda world: world.invoice("10", total, CurrencyRef={"value": "EUR"}, ExchangeRate=rate))
    order.shuffle(reads)
    balance = played(reads).balances()["P1"]
    assert (balance.O, balance.U, balance.home_O, balance.home_U) == (0, 0, 0, 0)
    cash = sum(at_home(Decimal(a), Decimal(r)) for a, r in zip(amounts, paid_at, strict=False))
    assert balance.gained == cash - at_home(Decimal(total), Decimal(rate))
