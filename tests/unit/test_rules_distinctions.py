"""Rules that look alike are told apart, where a situation of tests/situations cannot say it."""

from datetime import date

import pytest

from streams.books import Naming, Reason, WaitCause
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
    assert world.balances()["P1"].O == 10


def test_a_number_that_names_two_projects_decides_nothing_and_is_warned_about() -> None:
    """No request is accepted any more that leads here; an earlier build accepted one."""
    world = World.with_projects("P1", "P2", "P3")
    world.books.references["r-1"] = {Naming("P1", "1"), Naming("P2", "2")}
    world.invoice("11", "10", "3", reference="R-1")
    assert world.balances()["P3"].O == 10
    assert world.books.documents["Invoice", "11"].booked.warnings == {"reference_ambiguous": "R-1"}


def test_a_settlement_says_why_it_stands_in_its_project() -> None:
    """A line follows its invoice; what is not kept here follows the payment, for the payment's own reason."""
    world = World.with_projects("P1", "P2")
    world.invoice("11", "50", "1")
    world.payment("21", "80", "2", ("Invoice", "11", "50"), ("Check", "77", "30"))
    reasons = {
        type(fact.body).__name__: (fact.project_id, fact.reason) for fact in world.facts if fact.record[1] == "21"
    }
    assert reasons["PaymentApplied"] == ("P1", Reason.INVOICE)
    assert reasons["PaymentAppliedToOther"] == ("P2", Reason.CUSTOMER)


# --- days of settlements ---------------------------------------------------------------------------------------------


def days(world: World) -> dict[str, date]:
    """By event, from which day each settlement counts."""
    return {
        type(fact.body).__name__: fact.accounting_on for fact in world.facts if "Applied" in type(fact.body).__name__
    }


JANUARY, FEBRUARY = date(2026, 1, 15), date(2026, 2, 1)


@pytest.mark.parametrize(("invoiced", "paid"), [(JANUARY, FEBRUARY), (FEBRUARY, JANUARY)])
def test_money_settles_an_invoice_on_the_later_of_both_days(invoiced: date, paid: date) -> None:
    world = World.with_projects("P1")
    world.invoice("11", "100", on=str(invoiced))
    world.payment("21", "100", "1", ("Invoice", "11", "100"), on=str(paid))
    assert days(world) == {"PaymentApplied": FEBRUARY}


@pytest.mark.parametrize(("invoiced", "credited"), [(JANUARY, FEBRUARY), (FEBRUARY, JANUARY)])
def test_a_credit_settles_an_invoice_on_the_later_of_both_days_whenever_it_was_linked(
    invoiced: date, credited: date
) -> None:
    world = World.with_projects("P1")
    world.invoice("11", "100", on=str(invoiced))
    world.memo("5", "100", on=str(credited))
    world.payment("21", "0", "1", ("Invoice", "11", "100"), ("CreditMemo", "5", "100"), on="2026-06-30")
    assert days(world) == {"CreditApplied": FEBRUARY}


@pytest.mark.parametrize(("credited", "paid_out"), [(JANUARY, FEBRUARY), (FEBRUARY, JANUARY)])
def test_a_credit_is_paid_out_on_the_later_of_both_days(credited: date, paid_out: date) -> None:
    world = World.with_projects("P1")
    world.memo("5", "100", on=str(credited))
    world.payment("21", "0", "1", ("CreditMemo", "5", "100"), ("Check", "77", "100"), on=str(paid_out), unapplied="0")
    assert days(world) == {"CreditAppliedToOther": FEBRUARY, "PaymentAppliedToOther": paid_out}


# --- where to, and where from ----------------------------------------------------------------------------------------


def moves(world: World) -> list[tuple[str, str, str | None]]:
    """Project, event, and the other project that it names."""
    found = []
    for fact in world.facts:
        name = type(fact.body).__name__
        if "Moved" in name:
            other = fact.body.to_project_id if name.endswith("Out") else fact.body.from_project_id
            found.append((fact.project_id, name, other))
    return found


def test_a_document_that_moves_names_the_other_project_on_both_sides() -> None:
    world = World.with_projects("P1", "P2")
    world.invoice("11", "100")
    world.assign("Invoice", "11", "P2")
    assert moves(world) == [("P1", "InvoiceMovedOut", "P2"), ("P2", "InvoiceMovedIn", "P1")]


def test_a_document_that_waits_for_a_while_comes_from_no_project_and_went_to_none() -> None:
    world = World.with_projects("P1")
    world.invoice("11", "100")
    world.exclude("1")
    world.map("1", "P1")
    assert moves(world) == [("P1", "InvoiceMovedOut", None), ("P1", "InvoiceMovedIn", None)]


def test_money_that_goes_to_two_projects_names_neither() -> None:
    world = World.with_projects("P1", "P2", "P3")
    world.invoice("11", "60", "1")
    world.invoice("12", "40", "2")
    world.payment("21", "100", "3")
    world.payment("21", "100", "3", ("Invoice", "11", "60"), ("Invoice", "12", "40"))
    assert moves(world) == [
        ("P3", "PaymentMovedOut", None),
        ("P1", "PaymentMovedIn", "P3"),
        ("P2", "PaymentMovedIn", "P3"),
    ]


# --- what people are told --------------------------------------------------------------------------------------------


def told(world: World) -> list[tuple[str, ...]]:
    """What was said of documents that wait: event, record, part, and the amount at stake."""
    found = []
    for notice in world.notices:
        name = type(notice.body).__name__
        if name == "RecordWaiting":
            found.append((name, notice.record[1], notice.body.part, str(notice.body.amount)))
        elif name == "RecordResolved":
            found.append((name, notice.record[1], notice.body.part))
    return found


def test_waiting_is_told_when_it_begins_when_it_changes_and_when_it_ends_and_not_in_between() -> None:
    world = World.with_projects("P1")
    world.customer("2")
    world.invoice("11", "100", "2")
    world.invoice("11", "100", "2")
    world.invoice("11", "110", "2")
    world.map("2", "P1")
    world.invoice("11", "120", "2")
    assert told(world) == [
        ("RecordWaiting", "11", "", "100.00 USD"),
        ("RecordWaiting", "11", "", "110.00 USD"),
        ("RecordResolved", "11", ""),
    ]


def test_of_a_payment_only_the_part_that_no_longer_waits_is_resolved() -> None:
    world = World.with_projects("P1")
    world.customer("2")
    world.payment("21", "100", "2", ("Invoice", "11", "60"))
    world.invoice("11", "60", "1")
    assert told(world) == [
        ("RecordWaiting", "21", "Invoice:11", "60.00 USD"),
        ("RecordWaiting", "21", "unapplied", "40.00 USD"),
        ("RecordResolved", "21", "Invoice:11"),
    ]
