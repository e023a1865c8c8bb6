"""Merged customers: whose project their documents are in, what a person is asked, and that no order matters."""

import itertools
import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.book_store import company_row, merge_from_row
from streams.books import Company, Merge
from streams.decision import Decision, Progress, Reach
from streams.ledger import redecide
from tests.linked import Linked
from tests.rules import START
from tests.unit.test_rules_properties import figures

MERGED_AT = 1000  # minutes
ASKED = ("Customer", "1", "merge_needs_decision")


def merged(world: Linked) -> Linked:
    """Customer 1 vanishes in customer 2."""
    world.merged("2", "1", at=MERGED_AT)
    world.inactive("1", at=MERGED_AT)
    return world


def two_projects() -> Linked:
    """Customers 1 and 2 have different projects and an invoice each; 1 has a payment with a rest."""
    world = Linked.with_projects("P1", "P2")
    world.invoice("11", "1000", "1", at=100)
    world.invoice("12", "500", "2", at=100)
    world.payment("21", "1100", "1", ("Invoice", "11", "1000"), at=100)
    return world


def test_documents_of_a_vanished_customer_that_nobody_had_synced_are_the_kept_ones() -> None:
    world = Linked.with_projects("P9", "P2")
    world.release("1")
    world.invoice("11", "1000", "1", at=100)
    assert world.waiting() == {("Invoice", "11", ""): 1000}
    merged(world)
    assert world.balances()["P2"].O == 1000
    assert world.waiting() == {}
    assert world.warnings() == {}


def test_customers_whose_documents_go_the_same_way_need_no_decision_whoever_was_mapped() -> None:
    world = Linked.with_projects("P1", "P1")
    world.customer("3", parent="2")
    world.inactive("1", at=MERGED_AT)
    world.merged("3", "1", at=MERGED_AT)
    assert ASKED not in world.warnings()
    world.map("2", "P1", from_on=date(2026, 1, 1))
    assert ASKED not in world.warnings()
    world.declare("P2")
    world.map("2", "P2", from_on=date(2026, 2, 1))
    assert ASKED in world.warnings()


def test_what_two_customers_were_mapped_to_is_compared_day_by_day_however_often_it_was_said() -> None:
    world = Linked.with_projects("P1", "P1")
    world.declare("P2")
    for customer, days in (("1", (1, 15)), ("2", (1,))):
        for day in days:
            world.map(customer, "P2", from_on=date(2026, 2, day))
    merged(world)
    assert ASKED not in world.warnings()


def test_a_customer_that_went_to_another_project_from_a_day_on_is_asked_about() -> None:
    world = Linked.with_projects("P1", "P1")
    world.declare("P2")
    world.map("1", "P2", from_on=date(2026, 2, 1))
    assert ASKED in merged(world).warnings()


def test_documents_of_one_project_stay_there_whatever_they_name_and_follow_the_kept_customer() -> None:
    world = Linked.with_projects("P1")
    world.declare("P3")
    world.customer("2")
    world.map("2", "P1")
    world.invoice("11", "1000", "1", at=100)
    before = len(world.money_names)
    merged(world)
    assert len(world.money_names) == before
    world.map("2", "P3")
    assert (world.balances()["P1"].O, world.balances()["P3"].O) == (0, 1000)
    assert world.books.customers["1"].mapping_state == "released"


def test_customers_of_different_projects_are_frozen_and_a_person_is_asked() -> None:
    world = two_projects()
    before = figures(world)
    merged(world)
    assert figures(world) == before
    assert world.warnings()[ASKED] == "customer 1: P1; merged into customer 2: P2"
    world.invoice("11", "1000", "2", at=MERGED_AT)  # QuickBooks has moved it
    world.payment("21", "1100", "2", ("Invoice", "11", "1000"), at=MERGED_AT)
    assert figures(world) == before
    world.invoice("13", "70", "2", at=MERGED_AT + 100)
    assert world.balances()["P2"].O == 570


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_a_kept_customer_that_was_made_inactive_later_has_not_vanished(order: tuple[int, ...]) -> None:
    """Its record may be the first that is read after the merge, while the other was last seen before it, active."""
    world = two_projects()
    before = figures(world)
    happened = (
        lambda: world.merged("2", "1", at=MERGED_AT),
        lambda: world.inactive("1", at=MERGED_AT),
        lambda: world.inactive("2", at=MERGED_AT + 1),
    )
    for position in order:
        happened[position]()
    (merge,) = world.books.company.merges
    assert (merge.sure, merge.vanished_id, merge.kept_id) == (True, "1", "2")
    assert world.warnings() == {ASKED: "customer 1: P1; merged into customer 2: P2"}
    assert figures(world) == before
    assert world.resolve("1", together=True).outcome == "accepted"
    assert world.warnings() == {}


@pytest.mark.parametrize("together", [True, False])
def test_a_person_decides_and_later_reads_change_nothing_more(together: bool) -> None:
    world = merged(two_projects())
    assert world.resolve("1", together=together).outcome == "accepted"
    assert ASKED not in world.warnings()
    expected = (0, 400) if together else (-100, 500)
    assert expected == (world.balances()["P1"].N, world.balances()["P2"].N)
    decided = figures(world)
    world.invoice("11", "1000", "2", at=MERGED_AT)
    world.payment("21", "1100", "2", ("Invoice", "11", "1000"), at=MERGED_AT)
    world.merged("1", "2", at=MERGED_AT)
    world.inactive("1", at=MERGED_AT)
    assert figures(world) == decided
    assert world.warnings() == {}


def test_a_number_given_to_the_vanished_customer_names_nothing_any_more_when_both_are_together() -> None:
    world = Linked.with_projects("P1", "P2", "P3")
    world.map("1", "P1", reference="R1")
    world.invoice("31", "90", "3", reference="R1", at=100)
    merged(world)
    assert world.balances()["P1"].O == 90
    assert world.resolve("1", together=True).reach.references == {"r1"}
    assert world.books.projects_named("R1") == set()
    assert (world.balances()["P1"].O, world.balances()["P3"].O) == (0, 90)


def test_what_was_left_apart_can_be_put_together_later_and_not_the_other_way_round() -> None:
    world = merged(two_projects())
    world.resolve("1", together=False)
    assert world.resolve("1", together=True).outcome == "accepted"
    assert world.balances()["P2"].N == 400
    assert world.resolve("1", together=False).outcome == "refused"
    assert world.resolve("9", together=True).outcome == "refused"


def test_what_is_left_apart_stays_a_mapping_of_its_own_that_a_person_can_change() -> None:
    world = merged(two_projects())
    world.declare("P3")
    world.resolve("1", together=False)
    world.invoice("11", "1000", "2", at=MERGED_AT)
    world.map("2", "P3")
    assert (world.balances()["P1"].O, world.balances()["P3"].O) == (0, 500)
    assert world.balances()["P1"].N == -100
    world.map("1", "P3")
    assert world.balances()["P3"].N == 400


def test_both_customers_sent_to_one_project_need_no_decision_any_more() -> None:
    world = merged(two_projects())
    world.map("1", "P2")
    assert ASKED not in world.warnings()
    assert world.balances()["P2"].N == 400


def test_a_vanished_customer_whose_documents_went_with_the_kept_one_is_not_mapped_any_more() -> None:
    world = Linked.with_projects("P1", "P2")
    world.release("1")
    merged(world)
    assert world.map("1", "P1").outcome == "refused"
    assert "merged into customer 2" in world.refusals()[-1]


def test_an_excluded_customer_merged_into_a_mapped_one_is_asked_about_too() -> None:
    world = Linked.with_projects("P1", "P2")
    world.exclude("1")
    world.invoice("11", "1000", "1", at=100)
    merged(world)
    assert world.warnings()[ASKED] == "customer 1: excluded; merged into customer 2: P2"
    assert world.waiting() == {("Invoice", "11", ""): 1000}


def test_a_mapped_customer_merged_into_one_that_nobody_synced_stays_where_it_is() -> None:
    world = Linked.with_projects("P1")
    world.customer("2")
    world.invoice("11", "1000", "1", at=100)
    merged(world)
    world.invoice("11", "1000", "2", at=MERGED_AT)
    assert world.balances()["P1"].O == 1000
    assert world.warnings()[ASKED] == "customer 1: P1; merged into customer 2: not synced"


def test_which_of_the_two_vanished_is_read_and_not_believed_of_the_notice() -> None:
    world = two_projects()
    world.merged("1", "2", at=MERGED_AT)  # the notice has it the wrong way round
    assert [merge.sure for merge in world.books.company.merges] == [False]
    world.inactive("1", at=MERGED_AT)
    (merge,) = world.books.company.merges
    assert (merge.vanished_id, merge.kept_id, merge.sure) == ("1", "2", True)


def test_a_customer_that_is_not_there_any_more_has_vanished() -> None:
    world = two_projects()
    world.merged("1", "2", at=MERGED_AT)
    world.gone("Customer", "1")
    (merge,) = world.books.company.merges
    assert (merge.vanished_id, merge.sure) == ("1", True)


def test_customers_merged_one_after_the_other_each_vanish_in_their_own_merge_whatever_is_heard_first() -> None:
    heard: list[Step] = [
        lambda world: world.merged("2", "1", at=MERGED_AT),
        lambda world: world.merged("3", "2", at=MERGED_AT + 60),
        lambda world: world.merged("4", "3", at=MERGED_AT + 120),
        lambda world: world.inactive("1", at=MERGED_AT),
        lambda world: world.inactive("2", at=MERGED_AT + 60),
        lambda world: world.inactive("3", at=MERGED_AT + 120),
    ]
    for order in random.Random(1).sample(list(itertools.permutations(heard)), 100):
        world = Linked.with_projects("P1", "P2", "P3", "P4")
        world.invoice("11", "1000", "1", at=100)
        for step in order:
            step(world)
        merges = {(merge.vanished_id, merge.kept_id) for merge in world.books.company.merges if merge.sure}
        assert merges == {("1", "2"), ("2", "3"), ("3", "4")}
        assert {name: balance.O for name, balance in world.balances().items() if balance.O} == {"P1": 1000}
        assert set(world.warnings()) == {("Customer", each, "merge_needs_decision") for each in "123"}


def test_a_merge_is_turned_round_when_a_late_read_shows_who_is_still_there() -> None:
    world = two_projects()
    world.inactive("2", at=MERGED_AT - 100)  # made active again before the merge, which nobody has read yet
    world.merged("2", "1", at=MERGED_AT)
    assert ("Customer", "2", "merge_needs_decision") in world.warnings()
    world.inactive("2", at=MERGED_AT - 50, active=True)
    world.inactive("1", at=MERGED_AT)
    assert [(merge.vanished_id, merge.kept_id) for merge in world.books.company.merges] == [("1", "2")]
    assert set(world.warnings()) == {ASKED}
    (oriented,) = [decision.reach for decision in world.decisions[-3:] if decision.reach]
    assert (oriented.customers, oriented.read_again) == ({"1", "2"}, {"1"})


def test_a_notice_heard_again_with_an_earlier_time_settles_anew_and_reads_nothing_again() -> None:
    world = merged(two_projects())
    reach = world.merged("2", "1", at=MERGED_AT - 10).reach
    assert (reach.customers, reach.read_again) == ({"1", "2"}, set())


@pytest.mark.parametrize("gone_first", [True, False])
def test_of_one_that_is_not_there_and_one_made_inactive_the_first_has_vanished_in_any_order(gone_first: bool) -> None:
    world = two_projects()
    world.merged("2", "1", at=MERGED_AT)
    steps = [lambda: world.gone("Customer", "1"), lambda: world.inactive("2", at=MERGED_AT - 1)]
    for step in steps if gone_first else reversed(steps):
        step()
    (merge,) = world.books.company.merges
    assert (merge.vanished_id, merge.sure) == ("1", True)


def test_whoever_has_not_vanished_after_all_is_reached_with_the_merge_that_says_so() -> None:
    """Lives that QuickBooks cannot lead, too: three customers merged with each other."""
    lost = 0
    for seed in range(400):
        dice, world = random.Random(seed), Linked.with_projects("P1", "P2", "P3")
        sure: set[frozenset[str]] = set()
        for _ in range(14):
            one, other, at = *dice.sample("1234", 2), dice.randrange(5)
            decision = dice.choice(
                (
                    lambda: world.merged(one, other, at=at),  # noqa: B023 (called at once)
                    lambda: world.inactive(one, at=at, active=at % 2 == 0),  # noqa: B023
                    lambda: world.gone("Customer", one),  # noqa: B023
                )
            )()
            before, sure = sure, {merge.pair for merge in world.books.company.merges if merge.sure}
            lost += len(before - sure)
            assert all(pair <= decision.reach.customers for pair in before - sure)
    assert lost > 0


def test_a_merge_about_which_a_person_has_decided_is_not_turned_round() -> None:
    world = merged(two_projects())
    world.resolve("1", together=True)
    world.inactive("2", at=MERGED_AT + 100)
    world.inactive("1", at=MERGED_AT + 100, active=True)
    assert [(merge.vanished_id, merge.kept_id) for merge in world.books.company.merges] == [("1", "2")]


def test_both_customers_are_asked_for_once_and_documents_that_name_the_vanished_one_are_asked_for_again() -> None:
    world = two_projects()
    assert world.merged("2", "1", at=MERGED_AT).reads == {("Customer", "1"), ("Customer", "2")}
    assert world.merged("2", "1", at=MERGED_AT).reads == set()
    decision = world.inactive("1", at=MERGED_AT)
    assert (decision.reach.read_again, decision.reach.customers) == ({"1"}, {"1", "2"})
    assert world.decisions[-1].reads == {("Invoice", "11"), ("Payment", "21")}


def test_both_projects_are_told_once() -> None:
    world = two_projects()
    merged(merged(world))
    told = [
        (f.project_id, f.body.vanished_customer_id) for f in world.facts if type(f.body).__name__ == "CustomersMerged"
    ]
    assert told == [("P1", "1"), ("P2", "1")]


def test_a_customer_changed_by_a_person_before_the_merge_is_no_matter_of_the_merge() -> None:
    world = two_projects()
    world.invoice("11", "1000", "2", at=200)
    moved = figures(world)
    merged(world)
    assert figures(world) == moved
    assert world.balances()["P2"].O == 500


def test_a_chain_of_merges_ends_at_the_last_customer() -> None:
    world = Linked.with_projects("P1", "P2")
    world.release("1")
    world.release("2")
    world.customer("3")
    world.declare("P3")
    world.map("3", "P3")
    world.invoice("11", "1000", "1", at=100)
    merged(world)
    world.merged("3", "2", at=MERGED_AT + 100)
    world.inactive("2", at=MERGED_AT + 100)
    assert world.balances()["P3"].O == 1000
    world.invoice("11", "1000", "3", at=MERGED_AT + 100)
    assert world.balances()["P3"].O == 1000


def test_what_was_frozen_once_stays_frozen_when_the_kept_customer_is_merged_again() -> None:
    world = merged(two_projects())
    world.customer("3")
    world.map("3", "P2")
    world.invoice("11", "1000", "2", at=MERGED_AT)
    world.merged("3", "2", at=MERGED_AT + 100)
    world.inactive("2", at=MERGED_AT + 100)
    world.invoice("11", "1000", "3", at=MERGED_AT + 100)
    assert (world.balances()["P1"].invoiced, world.balances()["P2"].invoiced) == (1000, 500)


def test_a_merge_of_which_nobody_knows_who_vanished_has_no_effect_yet() -> None:
    world = Linked.with_projects("P1", "P2")
    world.release("1")
    world.invoice("11", "1000", "1", at=100)
    world.merged("2", "1", at=MERGED_AT)
    assert world.waiting() == {("Invoice", "11", ""): 1000}
    assert world.resolve("1", together=True).outcome == "refused"
    world.map("1", "P1")
    world.invoice("12", "500", "2", at=MERGED_AT)
    assert (world.balances()["P1"].O, world.balances()["P2"].O) == (1000, 500)
    world.invoice("11", "1000", "2", at=MERGED_AT)
    assert (world.balances()["P1"].O, world.balances()["P2"].O) == (0, 1500)


@pytest.mark.parametrize(
    ("reads", "project"),
    [
        ((("1", 100), ("2", 200), ("2", MERGED_AT + 60)), "P2"),  # a person changed its customer long before
        ((("1", 100), ("1", 150), ("2", 150)), "P1"),  # the merge did, without a new revision
        ((("1", 100), ("2", MERGED_AT), ("2", MERGED_AT + 60)), "P1"),  # the merge did, with a new revision
    ],
)
def test_who_changed_a_documents_customer_is_told_from_all_reads_in_any_order(
    reads: tuple[tuple[str, int], ...], project: str
) -> None:
    for order in itertools.permutations(reads):
        world = merged(Linked.with_projects("P1", "P2"))
        for customer, at in order:
            world.invoice("11", "1000", customer, at=at)
        assert {name: balance.O for name, balance in world.balances().items() if balance.O} == {project: 1000}, order


Step = Callable[[Linked], object]


def steps(*, new_times: bool) -> list[Step]:
    """All that is heard of a merge, and of the documents before and after it."""
    at = MERGED_AT if new_times else 100
    return [
        lambda world: world.invoice("11", "1000", "1", at=100),
        lambda world: world.invoice("12", "500", "2", at=100),
        lambda world: world.invoice("13", "300", "1", at=100),
        lambda world: world.payment("21", "1100", "1", ("Invoice", "11", "1000"), at=100),
        lambda world: world.merged("2", "1", at=MERGED_AT),
        lambda world: world.merged("1", "2", at=MERGED_AT + 60),
        lambda world: world.inactive("1", at=MERGED_AT),
        lambda world: world.invoice("11", "1000", "2", at=at),
        lambda world: world.payment("21", "1100", "2", ("Invoice", "11", "1000"), at=at),
        lambda world: world.invoice("14", "70", "2", at=MERGED_AT + 50),
        lambda world: world.invoice("11", "1200", "2", at=MERGED_AT + 60),
    ]


@settings(max_examples=150, deadline=None)
@given(st.integers(), st.booleans(), st.sampled_from(["different", "same", "vanished unmapped"]))
def test_any_order_and_repetition_of_a_merge_ends_in_the_same_books(seed: int, new_times: bool, mapped: str) -> None:
    heard = steps(new_times=new_times)
    if not new_times:  # then only the time of the answer orders both reads, and it is that of the calls
        heard = heard[:1] + heard[2:]
    shuffled = heard + heard[: len(heard) // 2]
    random.Random(seed).shuffle(shuffled)
    worlds = []
    for order in (heard, shuffled):
        world = Linked.with_projects("P1", "P2")
        if mapped == "same":
            world.map("1", "P2")
        elif mapped != "different":
            world.release("1")
        for step in order:
            step(world)
        worlds.append(world)
    expected, found = worlds
    assert figures(found) == figures(expected)
    assert found.waiting() == expected.waiting()
    assert found.warnings() == expected.warnings()


def test_a_large_input_goes_on_where_it_stood_written_by_this_build_or_an_earlier_one() -> None:
    progress = Progress(Reach(customers=frozenset("12"), read_again=frozenset("12")), ("Invoice", "3"), 2, 4)
    assert Progress.from_text(progress.to_text()) == progress
    earlier = Progress.from_text('[[["1"], [], [], false, "1"], ["Invoice", "3"], 2, 4]')
    assert earlier.reach == Reach(customers=frozenset("1"), read_again=frozenset("1"))
    assert not Progress.from_text('[[["1"], [], [], false, ""], ["Invoice", "3"], 2, 4]').reach.read_again


def test_a_merge_is_kept_as_it_is_and_one_of_an_earlier_build_is_still_understood() -> None:
    merge = Merge("1", "2", START, True, told=("P1",), gone=("1",))
    kept = json.loads(json.dumps(company_row(Company("9", merges=(merge,)))))["merges"][0]
    assert merge_from_row(kept) == merge
    assert merge_from_row({name: kept[name] for name in kept if name != "gone"}) == merge._replace(gone=())


def said_by(decision: Decision) -> list[str]:
    """The events that the input itself makes, before any document moves."""
    return [type(each.body).__name__ for each in (*decision.notices, *decision.facts)]


@pytest.mark.parametrize("by_its_record", [True, False])
def test_the_input_that_makes_a_merge_sure_asks_the_person_and_tells_the_projects_itself(by_its_record: bool) -> None:
    """Its documents may be moved in slices later, or there may be none."""
    world = two_projects()
    world.merged("2", "1", at=MERGED_AT)
    decision = world.inactive("1", at=MERGED_AT) if by_its_record else world.gone("Customer", "1")
    assert said_by(decision)[-3:] == ["WarningRaised", "CustomersMerged", "CustomersMerged"]
    assert said_by(world.resolve("1", together=False)) == ["WarningCleared"]


def test_a_question_that_an_input_could_not_see_is_asked_when_the_documents_are_settled() -> None:
    """A parent's mapping changes: its input is decided without the merged customers below it, which come later."""
    world = merged(two_projects())
    unasked = tuple(merge._replace(asked="", told=("P1",)) for merge in world.books.company.merges)
    world.books.company = replace(world.books.company, merges=unasked)
    decision = redecide(world.books, [])
    assert said_by(decision) == ["WarningRaised", "CustomersMerged"]
    assert decision.facts[0].project_id == "P2"


@pytest.mark.parametrize(
    ("reads", "project"),
    [
        ((("1", 100), ("2", MERGED_AT - 5)), "P1"),  # five minutes before the notice: the merge did it
        ((("1", 100), ("2", MERGED_AT - 6)), "P2"),  # earlier: a person
        ((("1", 100), ("1", 150), ("2", 150), ("2", 300)), "P1"),  # without a new revision, and edited later
    ],
)
def test_a_document_is_moved_by_a_merge_from_five_minutes_before_its_notice_on(
    reads: tuple[tuple[str, int], ...], project: str
) -> None:
    world = merged(Linked.with_projects("P1", "P2"))
    for customer, at in reads:
        world.invoice("11", "1000", customer, at=at)
    assert {name: balance.O for name, balance in world.balances().items() if balance.O} == {project: 1000}


def test_of_two_customers_merged_into_one_the_document_was_last_the_ones_that_it_named_last() -> None:
    world = Linked.with_projects("P1", "P2", "P3")
    for customer, at in (("1", 100), ("3", 200), ("1", 300), ("2", MERGED_AT)):
        world.invoice("11", "1000", customer, at=at)
    for vanished in ("1", "3"):
        world.merged("2", vanished, at=MERGED_AT)
        world.inactive(vanished, at=MERGED_AT)
    assert {name: balance.O for name, balance in world.balances().items() if balance.O} == {"P1": 1000}


def test_a_merge_that_is_not_sure_does_not_keep_another_from_being_asked_about() -> None:
    world = Linked.with_projects("P1", "P2", "P3", "P4")
    world.merged("2", "1", at=MERGED_AT)
    world.merged("4", "3", at=MERGED_AT)
    world.inactive("3", at=MERGED_AT)
    assert list(world.warnings()) == [("Customer", "3", "merge_needs_decision")]


def test_a_document_that_went_through_two_merges_unseen_stays_where_it_was() -> None:
    """It was read as customer 1's and, after both merges, as customer 3's; nobody saw it as customer 2's."""
    world = merged(Linked.with_projects("P1", "P2", "P3"))
    world.invoice("11", "1000", "1", at=100)
    world.merged("3", "2", at=MERGED_AT + 100)
    world.inactive("2", at=MERGED_AT + 100)
    world.invoice("11", "1000", "3", at=MERGED_AT + 100)
    assert {name: balance.O for name, balance in world.balances().items() if balance.O} == {"P1": 1000}


def test_a_question_that_was_answered_is_kept_as_answered() -> None:
    world = merged(two_projects())
    assert world.books.company.merges[0].asked
    world.resolve("1", together=False)
    assert world.books.company.merges[0].asked == ""
