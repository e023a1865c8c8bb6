"""Properties of the ledger's rules: any order and repetition end in the same books, and no cent is lost."""

import random
from collections.abc import Callable
from dataclasses import asdict
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.quickbooks import CREDIT_MEMO, INVOICE, Payment, SalesDocument
from streams.books import Ended
from tests.rules import World

pytestmark = pytest.mark.slow

Read = Callable[[World], object]
CUSTOMERS = ("1", "2", "3")  # 1 and 2 are mapped, 3 is a job of 1 that nobody mapped
CENTS = st.integers(min_value=0, max_value=50_000).map(lambda cents: str(Decimal(cents) / 100))


@st.composite
def sales(draw: st.DrawFn, at: int) -> Read:
    kind, number = draw(st.sampled_from(["invoice", "memo"])), draw(st.integers(10, 13))
    total, customer = draw(CENTS), draw(st.sampled_from(CUSTOMERS))
    reference = draw(st.sampled_from([None, None, "P1", "P2", "nowhere"]))
    record_id = str(number if kind == "invoice" else number + 20)
    return lambda world: getattr(world, kind)(record_id, total, customer, reference=reference, at=at)


@st.composite
def payments(draw: st.DrawFn, at: int) -> Read:
    record_id, customer = str(draw(st.integers(50, 52))), draw(st.sampled_from(CUSTOMERS))
    uses = draw(st.dictionaries(st.integers(10, 13), CENTS, max_size=3))
    credits = draw(st.dictionaries(st.integers(30, 33), CENTS, max_size=2))
    lines = [(INVOICE, str(number), amount) for number, amount in uses.items()]
    lines += [(CREDIT_MEMO, str(number), amount) for number, amount in credits.items()]
    used = sum((Decimal(amount) for amount in uses.values()), Decimal(0))
    credit = sum((Decimal(amount) for amount in credits.values()), Decimal(0))
    total = str(max(Decimal(0), used - credit) + Decimal(draw(CENTS)))
    return lambda world: world.payment(record_id, total, customer, *lines, at=at)


@st.composite
def deletes(draw: st.DrawFn, at: int) -> Read:
    record_type = draw(st.sampled_from([INVOICE, CREDIT_MEMO, "Payment"]))
    first = {INVOICE: 10, CREDIT_MEMO: 30, "Payment": 50}[record_type]
    record_id = str(first + draw(st.integers(0, 2)))
    return lambda world: world.gone(record_type, record_id, at=at)


@st.composite
def histories(draw: st.DrawFn) -> list[Read]:
    """Reads of the same few records at different times: later ones are later revisions."""
    count = draw(st.integers(1, 14))
    return [
        draw(st.one_of(sales(at), sales(at), payments(at), payments(at), deletes(at)))
        for at in range(1000, 1000 + count)
    ]


def played(reads: list[Read]) -> World:
    world = World.with_projects("P1", "P2")
    world.customer("3", parent="1")
    for read in reads:
        read(world)
    return world


def figures(world: World) -> dict[str, dict[str, Decimal]]:
    return {
        project: {name: amount for name, amount in asdict(balance).items() if amount}
        for project, balance in world.balances().items()
    }


@settings(max_examples=150)
@given(histories(), st.integers())
def test_any_order_and_repetition_ends_in_the_same_books(reads: list[Read], seed: int) -> None:
    shuffled = reads + reads[: len(reads) // 2]
    random.Random(seed).shuffle(shuffled)
    expected, found = played(reads), played(shuffled)
    assert figures(found) == figures(expected)
    assert found.waiting() == expected.waiting()


@settings(max_examples=150)
@given(histories())
def test_reading_everything_again_adds_no_event(reads: list[Read]) -> None:
    world = played(reads)
    before = len(world.facts)
    for read in reads:
        read(world)
    assert len(world.facts) == before


@settings(max_examples=150)
@given(histories())
def test_what_stands_in_projects_and_what_waits_is_all_that_quickbooks_has(reads: list[Read]) -> None:
    world = played(reads)
    heads = [d.head for d in world.books.documents.values() if d.ended is Ended.NO]
    invoiced = sum(
        (h.total.amount for h in heads if isinstance(h, SalesDocument) and h.record_type == INVOICE), Decimal(0)
    )
    cash = sum((h.total.amount for h in heads if isinstance(h, Payment)), Decimal(0))
    balances = world.balances().values()
    waiting = world.waiting()
    waits = sum((amount for (kind, _, part), amount in waiting.items() if (kind, part) == (INVOICE, "")), Decimal(0))
    assert sum((b.invoiced for b in balances), Decimal(0)) + waits == invoiced
    if not any(kind == "Payment" for kind, _, _ in waiting):
        assert sum((b.cash for b in balances), Decimal(0)) == cash
    for balance in balances:
        receivable = balance.invoiced - balance.credited - balance.cash + balance.other
        assert receivable + balance.credit_out - balance.credit_in == balance.N
