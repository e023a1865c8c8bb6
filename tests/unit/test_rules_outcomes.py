"""What became of an input, in one word; what comes twice or late; and in which order documents are settled."""

from datetime import timedelta

from schemas import changes
from schemas.quickbooks import CREDIT_MEMO, CUSTOMER, INVOICE, PAYMENT
from streams.decision import Decision
from tests.linked import Linked
from tests.rules import START, World, books_of_a_new_company

EUR = {"CurrencyRef": {"value": "EUR"}, "ExchangeRate": "1.333"}


def minute(at: int) -> timedelta:
    return timedelta(minutes=at)


def absent(world: World, at: int) -> Decision:
    """Invoice 11 was not there at this minute, and no delete had been announced."""
    return world.take(changes.RecordAbsent(record_type=INVOICE, record_id="11", read_at=START + minute(at)))


def again(world: World, decision_of: str) -> str:
    """The outcome of the very same read once more."""
    world.minutes -= 1
    return (world.invoice("11", "10") if decision_of == INVOICE else world.customer("1")).outcome


# --- twice and late --------------------------------------------------------------------------------------------------


def test_the_same_answer_twice_is_older_than_known() -> None:
    world = World.with_projects("P1")
    world.invoice("11", "10")
    assert again(world, INVOICE) == "older than known"
    world.customer("1")
    assert again(world, CUSTOMER) == "older than known"


def test_a_read_from_before_a_delete_says_that_it_is_older_than_it() -> None:
    world = World.with_projects("P1")
    assert world.invoice("11", "10").outcome == "booked"
    assert world.gone(INVOICE, "11").outcome == "booked"
    assert world.invoice("11", "10", at=3).outcome == "older than its delete"


def test_a_delete_that_is_told_again_or_late_says_so() -> None:
    world = World.with_projects("P1")
    assert world.gone(INVOICE, "12").outcome == "no difference"  # nobody had heard of it
    world.invoice("11", "10", at=50)
    assert world.gone(INVOICE, "11", at=40).outcome == "older than known"
    assert world.gone(INVOICE, "11", at=40).outcome == "no difference"
    assert world.gone(INVOICE, "11", at=45).outcome == "older than known"
    assert world.gone(INVOICE, "11", at=60).outcome == "booked"


def test_of_two_absences_the_later_counts_and_of_a_read_and_an_absence_too() -> None:
    world = World.with_projects("P1")
    assert absent(world, 1).outcome == "not known here"
    world.minutes = 19
    world.invoice("11", "10")  # read at minute 20
    for at in (10, 20):
        assert absent(world, at).outcome == "older than known"
    assert world.books.documents[INVOICE, "11"].absent_at is None
    for at, kept in ((30, 30), (25, 30), (40, 40)):
        absent(world, at)
        assert world.books.documents[INVOICE, "11"].absent_at == START + minute(kept)


def test_the_same_absence_again_is_older_than_known() -> None:
    world = World.with_projects("P1")
    world.invoice("11", "10")
    assert absent(world, 30).outcome == "booked"
    assert absent(world, 30).outcome == "older than known"
    assert absent(world, 31).outcome == "no difference"


# --- order -----------------------------------------------------------------------------------------------------------


def test_documents_are_settled_before_payments_and_each_by_type_and_number() -> None:
    """So that a replay writes the same events in the same order, whatever order its tables give documents in."""
    world = World.with_projects("P1")
    world.declare("P2")
    for payment_id in ("10", "9"):
        world.payment(payment_id, "1")
    world.refund("2", "1")
    for invoice_id in ("12", "3"):
        world.invoice(invoice_id, "1")
    world.memo("7", "1")
    before = len(world.facts)
    world.map("1", "P2")
    assert [fact.record for fact in world.facts[before:] if type(fact.body).__name__.endswith("MovedOut")] == [
        (CREDIT_MEMO, "7"),
        (INVOICE, "3"),
        (INVOICE, "12"),
        ("RefundReceipt", "2"),
        (PAYMENT, "9"),
        (PAYMENT, "10"),
    ]


def test_cents_of_payments_that_are_settled_together_go_by_their_ids() -> None:
    world = World(books=books_of_a_new_company(1))
    world.declare("P1")
    world.customer("1")
    world.map("1", "P1")
    world.invoice("11", "1.00", **EUR)
    for number in ("21", "22"):  # 0.35 is 0.46655 at home; 0.70 is 0.9331
        world.payment(number, "0.35", "1", (INVOICE, "11", "0.35"), **EUR)
    world.adopt_rules(2)
    booked = [world.books.documents[PAYMENT, number].booked.links.values() for number in ("21", "22")]
    assert [str(link.home_target) for links in booked for link in links] == ["0.47 USD", "0.46 USD"]


def test_a_line_to_one_more_unknown_invoice_is_asked_for_beside_one_that_waits_already() -> None:
    world = World.with_projects("P1")
    assert world.payment("21", "10", "1", (INVOICE, "12", "10")).reads == {(INVOICE, "12")}
    more = world.payment("21", "10", "1", (INVOICE, "12", "5"), (INVOICE, "13", "5"))
    assert (INVOICE, "13") in more.reads


# --- merges ----------------------------------------------------------------------------------------------------------


def test_a_customer_read_for_the_first_time_as_vanished_reaches_both() -> None:
    world = Linked.with_projects("P1", "P2")
    world.merged("2", "9", at=1000)
    decision = world.inactive("9", at=1000)
    assert decision.reach.customers == {"2", "9"}
    assert decision.reach.read_again == {"9"}


def test_the_earliest_of_several_notices_of_a_merge_counts() -> None:
    for times in ((1000, 2000), (2000, 1000)):
        world = Linked.with_projects("P1", "P2")
        for at in times:
            world.merged("2", "1", at=at)
        (merge,) = world.books.company.merges
        assert merge.noticed_at == START + minute(1000)


def test_a_customer_that_is_not_there_was_merged_away_only_where_a_merge_leaves_it_open() -> None:
    world = Linked.with_projects("P1", "P2", "P3")
    never = "customers are never deleted"
    assert world.gone(CUSTOMER, "1").outcome == never
    world.merged("2", "1", at=1000)
    assert world.gone(CUSTOMER, "3").outcome == never
    assert world.gone(CUSTOMER, "1").outcome == "merged away"
    (merge,) = world.books.company.merges
    assert (merge.vanished_id, merge.kept_id, merge.sure) == ("1", "2", True)
    assert world.gone(CUSTOMER, "1").outcome == never  # that is known already
    world.gone(CUSTOMER, "2")
    assert world.books.company.merges[0].kept_id == "2"


def test_the_request_that_makes_a_question_needless_takes_it_back_itself() -> None:
    world = Linked.with_projects("P1", "P2")
    world.merged("2", "1", at=1000)
    world.inactive("1", at=1000)
    said = [type(notice.body).__name__ for notice in world.map("1", "P2").notices]
    assert "WarningCleared" in said
