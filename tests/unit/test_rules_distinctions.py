"""Rules that look alike are told apart, where a situation of tests/situations cannot say it."""

from decimal import Decimal

from streams.books import Reason, WaitCause
from tests.rules import World


def journals(count: int) -> list[tuple[str, str, str]]:
    """Journal entries of 1, 2, 4, 8 ...: whatever their sum is, one choice of signs alone makes it."""
    return [("JournalEntry", str(100 + n), str(2**n)) for n in range(count)]


def test_signs_of_twelve_journal_entries_follow_from_the_equation() -> None:
    world = World.with_projects("P1")
    world.payment("21", str(2**12 - 1), "1", *journals(12), unapplied="0")
    assert world.balances()["P1"].other == 2**12 - 1
    assert world.waiting() == {}


def test_signs_of_more_journal_entries_are_not_searched_and_the_payment_waits() -> None:
    world = World.with_projects("P1")
    world.payment("21", str(2**13 - 1), "1", *journals(13), unapplied="0")
    assert world.money_names == []
    (waiting,) = world.books.documents["Payment", "21"].booked.waiting.values()
    assert waiting.cause is WaitCause.JOURNAL_SIGN_OPEN


def test_a_field_of_another_name_holds_no_reference_number() -> None:
    """Nobody has pinned a field yet, so the name decides."""
    world = World.with_projects("P1", "P2")
    crew = [{"DefinitionId": "3", "Name": "Crew", "StringValue": "P2"}]
    world.invoice("11", "10", "1", CustomField=crew)
    assert world.balances()["P1"].O == Decimal(10)


def test_a_settlement_says_why_it_stands_in_its_project() -> None:
    """A line follows its invoice; what is not kept here follows the payment, for the payment's own reason."""
    world = World.with_projects("P1", "P2")
    world.invoice("11", "50", "1")
    world.payment("21", "80", "2", ("Invoice", "11", "50"), ("Check", "77", "30"))
    reasons = {type(fact.body).__name__: (fact.project_id, fact.reason) for fact in world.facts if fact.record[1] == "21"}
    assert reasons["PaymentApplied"] == ("P1", Reason.INVOICE)
    assert reasons["PaymentAppliedToOther"] == ("P2", Reason.CUSTOMER)
