"""Nothing goes back, nothing is resurrected wrongly, nothing is lost: reads and deletes that come in any order."""

import itertools
import random
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.linked import Linked
from tests.unit.test_rules_properties import figures

REOPENED, ABSENT = "reopened_after_delete", "absent_in_quickbooks"
Step = Callable[[Linked], object]


def orders(*steps: Step) -> list[Linked]:
    """One world for each order of these steps."""
    worlds = []
    for order in itertools.permutations(steps):
        world = Linked.with_projects("P1", "P2")
        for step in order:
            step(world)
        worlds.append(world)
    return worlds


def test_of_two_contents_at_one_time_the_later_answer_holds_and_an_earlier_one_late_changes_nothing() -> None:
    world = Linked.with_projects("P1")
    world.invoice("11", "1000", at=100)
    world.invoice("11", "1200", at=100)
    assert world.balances()["P1"].O == 1200
    assert world.money_names == ["InvoiceIssued", "InvoiceRevised"]


def test_a_balance_that_moves_without_a_sync_token_is_no_event() -> None:
    world = Linked.with_projects("P1")
    world.invoice("11", "1000", at=100, Balance="1000")
    world.invoice("11", "1000", at=200, Balance="600")
    assert world.money_names == ["InvoiceIssued"]


def test_names_that_change_inside_a_document_are_no_event() -> None:
    world = Linked.with_projects("P1")
    world.invoice("11", "1000", at=100)
    world.invoice("11", "1000", at=100, CustomerRef={"value": "1", "name": "Another name"})
    assert world.money_names == ["InvoiceIssued"]


def test_a_delete_that_races_with_reads_ends_in_no_document_whatever_comes_first() -> None:
    worlds = orders(
        lambda world: world.invoice("11", "1000", at=100),
        lambda world: world.invoice("11", "1200", at=200),
        lambda world: world.gone("Invoice", "11", at=300),
    )
    for world in worlds:
        assert figures(world).get("P1", {}) == {}
        assert world.warnings() == {}


def test_a_document_that_comes_back_is_pointed_out_in_any_order_until_a_person_has_looked() -> None:
    worlds = orders(
        lambda world: world.invoice("11", "1000", at=100),
        lambda world: world.gone("Invoice", "11", at=200),
        lambda world: world.invoice("11", "800", at=300),
    )
    for world in worlds:
        assert world.balances()["P1"].O == 800
        assert world.warnings() == {("Invoice", "11", REOPENED): "Invoice 11"}
        world.invoice("11", "900", at=400)
        assert ("Invoice", "11", REOPENED) in world.warnings()
        assert world.dismiss("Invoice", "11").outcome == "accepted"
        assert world.warnings() == {}
        assert world.dismiss("Invoice", "11").outcome == "refused"
        assert world.balances()["P1"].O == 900


def test_a_document_that_comes_back_and_is_deleted_again_is_gone_without_a_warning() -> None:
    world = Linked.with_projects("P1")
    world.invoice("11", "1000", at=100)
    world.gone("Invoice", "11", at=200)
    world.invoice("11", "800", at=300)
    world.gone("Invoice", "11", at=400)
    assert world.balances()["P1"].O == 0
    assert world.warnings() == {}


def test_a_610_without_a_delete_takes_nothing_away_and_is_listed_until_the_record_is_read() -> None:
    world = Linked.with_projects("P1")
    world.invoice("11", "1000")
    world.absent("Invoice", "11")
    assert world.balances()["P1"].O == 1000
    assert world.warnings() == {("Invoice", "11", ABSENT): "Invoice 11"}
    world.invoice("11", "1000", at=1)
    assert world.warnings() == {("Invoice", "11", ABSENT): "Invoice 11"}
    world.invoice("11", "1000")
    assert world.warnings() == {}


def test_a_610_is_no_warning_any_more_when_the_delete_is_told() -> None:
    world = Linked.with_projects("P1")
    world.invoice("11", "1000")
    world.absent("Invoice", "11")
    world.gone("Invoice", "11")
    assert (world.balances()["P1"].O, world.warnings()) == (0, {})
    world.absent("Invoice", "11")
    assert world.warnings() == {}


def test_a_610_of_a_record_that_was_never_read_lists_nothing() -> None:
    world = Linked.with_projects("P1")
    assert world.absent("Invoice", "99").outcome == "not known here"
    assert (world.warnings(), world.facts[1:]) == ({}, [])


def test_a_610_of_a_payment_is_listed_beside_what_it_waits_for() -> None:
    world = Linked.with_projects("P1")
    world.payment("21", "100", "1", ("Invoice", "11", "100"))
    world.absent("Payment", "21")
    assert world.warnings() == {("Payment", "21", ABSENT): "Payment 21"}
    assert set(world.waiting()) == {("Payment", "21", "Invoice:11")}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["read", "edit", "move", "gone", "pay", "unpay"]), max_size=8), st.integers())
def test_any_order_of_reads_and_deletes_ends_in_the_same_books_and_warnings(kinds: list[str], seed: int) -> None:
    steps: list[Step] = []
    for at, kind in enumerate(kinds, start=1000):
        match kind:
            case "gone":
                steps.append(lambda world, at=at: world.gone("Invoice", "11", at=at))
            case "pay":
                steps.append(lambda world, at=at: world.payment("21", "90", "1", ("Invoice", "11", "90"), at=at))
            case "unpay":
                steps.append(lambda world, at=at: world.payment("21", "90", "1", at=at))
            case _:
                total, customer = str(at), "2" if kind == "move" else "1"
                steps.append(lambda world, t=total, c=customer, at=at: world.invoice("11", t, c, at=at))
    shuffled = steps + steps[:3]
    random.Random(seed).shuffle(shuffled)
    worlds = [Linked.with_projects("P1", "P2") for _ in range(2)]
    for world, order in zip(worlds, (steps, shuffled), strict=True):
        for step in order:
            step(world)
    expected, found = worlds
    assert figures(found) == figures(expected)
    assert found.waiting() == expected.waiting()
    assert found.warnings() == expected.warnings()
