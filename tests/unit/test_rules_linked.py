"""QuickBooks projects, journal entries, and requests of people that overtake each other."""

import itertools
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from schemas import changes
from streams.books import Reason
from tests.linked import Linked, Posting, journal

REF = {"ProjectRef": {"value": "39298034"}}


def test_an_invoice_of_a_linked_quickbooks_project_belongs_to_its_project() -> None:
    world = Linked.with_projects("P1", "P2")
    world.link("39298034", "P2")
    world.invoice("11", "1000", **REF)
    assert (world.balances()["P1"].O, world.balances()["P2"].O) == (0, 1000)
    assert world.facts[-1].reason is Reason.QUICKBOOKS_PROJECT
    assert world.warnings() == {}


def test_a_link_made_later_moves_documents_and_payments_and_its_end_moves_them_back() -> None:
    world = Linked.with_projects("P1", "P2")
    world.invoice("11", "1000", **REF)
    world.payment("21", "1100", "1", ("Invoice", "11", "1000"), **REF)
    assert world.warnings() == {
        ("Invoice", "11", "quickbooks_project_unlinked"): "39298034",
        ("Payment", "21", "quickbooks_project_unlinked"): "39298034",
    }
    world.link("39298034", "P2")
    assert (world.balances()["P1"].N, world.balances()["P2"].N) == (0, -100)
    assert world.warnings() == {}
    world.link("39298034", None)
    assert (world.balances()["P1"].N, world.balances()["P2"].N) == (-100, 0)
    assert len(world.warnings()) == 2


def test_a_reference_number_wins_over_a_linked_quickbooks_project() -> None:
    world = Linked.with_projects("P1", "P2", "P3")
    world.link("39298034", "P2")
    world.invoice("11", "1000", reference="P3", **REF)
    assert world.facts[-1].reason is Reason.REFERENCE_NUMBER


def test_a_linked_project_opens_no_gate() -> None:
    world = Linked.with_projects("P1")
    world.link("39298034", "P1")
    world.customer("2")
    world.invoice("11", "1000", "2", **REF)
    world.exclude("1")
    world.invoice("12", "500", "1", **REF)
    assert world.money_names == []
    assert set(world.waiting()) == {("Invoice", "11", ""), ("Invoice", "12", "")}


def test_a_link_to_a_closed_or_foreign_project_is_refused_and_so_is_a_link_taken_back_twice() -> None:
    world = Linked.with_projects("P1")
    assert world.link("7", "P9").outcome == "refused"
    world.close("P1")
    assert world.link("7", "P1").outcome == "refused"
    assert world.link("7", None).outcome == "refused"
    world.declare("P1")
    assert world.link("7", "P1").outcome == "accepted"


# --- two people at once ------------------------------------------------------------------------------------------


def asked_twice(world: Linked, request: Any, **fields: Any) -> None:
    assert world.ask(request, **fields).outcome == "accepted"
    assert world.ask(request, **fields).outcome == "refused"
    assert "Somebody else" in world.refusals()[-1]


@pytest.mark.parametrize(
    ("request_type", "fields"),
    [
        (changes.MapCustomer, {"project_id": "P2", "reference_number": "", "from_on": None}),
        (changes.ReleaseCustomer, {}),
        (changes.ExcludeCustomer, {"reference_only": False}),
    ],
)
def test_of_two_people_who_decide_about_one_customer_the_second_is_refused(request_type: Any, fields: Any) -> None:
    world = Linked.with_projects("P1", "P2")
    asked_twice(world, request_type, customer_id="1", mapping_version=1, **fields)


@pytest.mark.parametrize("record", [("Invoice", "11"), ("Payment", "21")])
def test_of_two_people_who_assign_one_document_the_second_is_refused(record: tuple[str, str]) -> None:
    world = Linked.with_projects("P1", "P2")
    world.invoice("11", "1000")
    world.payment("21", "100")
    fields = {"record_type": record[0], "record_id": record[1], "project_id": "P2"}
    asked_twice(world, changes.AssignDocument, assignment_version=0, **fields)
    assert (1000 if record[0] == "Invoice" else -100) == world.balances()["P2"].N


def test_of_two_people_who_link_one_project_the_second_is_refused() -> None:
    world = Linked.with_projects("P1", "P2")
    asked_twice(world, changes.LinkQuickBooksProject, project_ref="7", project_id="P1", link_version=0)


def test_of_two_people_who_decide_about_one_merge_the_second_is_refused() -> None:
    world = Linked.with_projects("P1", "P2")
    world.merged("2", "1")
    world.inactive("1")
    asked_twice(world, changes.ResolveMerge, vanished_customer_id="1", together=False, merge_version=0)


def test_an_assigned_payment_takes_its_unapplied_rest_along_and_its_lines_follow_their_invoices() -> None:
    world = Linked.with_projects("P1", "P2")
    world.invoice("11", "1000")
    world.payment("21", "1100", "1", ("Invoice", "11", "1000"))
    world.assign("Payment", "21", "P2")
    assert (world.balances()["P1"].cash, world.balances()["P2"].U) == (1000, 100)
    world.payment("21", "1200", "1", ("Invoice", "11", "1000"))
    assert world.balances()["P2"].U == 200
    world.assign("Payment", "21", None)
    assert (world.balances()["P1"].U, world.balances()["P2"].U) == (200, 0)


def test_a_closed_project_gets_no_new_mapping_and_keeps_what_it_has() -> None:
    world = Linked.with_projects("P1", "P2")
    world.invoice("11", "1000", "1")
    world.close("P1")
    assert world.map("2", "P1").outcome == "refused"
    assert world.assign("Invoice", "11", "P1").outcome == "refused"
    world.invoice("11", "1200", "1")
    assert world.balances()["P1"].O == 1200
    world.declare("P1")
    assert world.map("2", "P1").outcome == "accepted"


def test_a_mapping_from_a_day_on_moves_only_what_is_dated_since() -> None:
    world = Linked.with_projects("P1")
    world.declare("P2")
    world.invoice("11", "1000", on="2026-01-31")
    world.invoice("12", "500", on="2026-02-01")
    before = len(world.facts)
    world.map("1", "P2", from_on=date(2026, 2, 1))
    assert [fact.record for fact in world.facts[before:] if fact.record[0] == "Invoice"] == [("Invoice", "12")] * 2
    assert (world.balances()["P1"].O, world.balances()["P2"].O) == (1000, 500)


def test_by_reference_only_lets_nothing_through_but_reference_numbers() -> None:
    world = Linked.with_projects("P1", "P2")
    world.link("39298034", "P1")
    world.exclude("1", reference_only=True)
    world.invoice("11", "1000")
    world.invoice("12", "500", reference="p2")
    world.invoice("13", "70", **REF)
    assert world.balances()["P2"].O == 500
    assert set(world.waiting()) == {("Invoice", "11", ""), ("Invoice", "13", "")}


def test_a_number_given_up_by_a_correction_names_its_new_project_at_once() -> None:
    world = Linked.with_projects("P1")
    world.declare("P2")
    world.map("1", "P1", reference="R1")
    world.invoice("11", "1000", reference="r1")
    world.map("1", "P2", reference="R1")
    assert (world.balances()["P1"].O, world.balances()["P2"].O) == (0, 1000)
    assert world.facts[-1].reason is Reason.REFERENCE_NUMBER
    world.release("1")
    assert world.books.projects_named("R1") == set()


def test_a_number_that_another_customer_gave_too_is_refused_for_another_project() -> None:
    world = Linked.with_projects("P1", "P1", "P2")
    world.map("1", "P1", reference="R1")
    world.map("2", "P1", reference="R1")
    assert world.map("1", "P2", reference="R1").outcome == "refused"
    assert world.books.projects_named("R1") == {"P1"}


def test_a_projects_own_id_is_refused_as_a_number_of_another_project_even_to_whom_it_was_given_before() -> None:
    world = Linked.with_projects("P1", "P2")
    world.map("1", "P1", reference="P1")
    assert world.map("1", "P2", reference="P1").outcome == "refused"


def test_a_mapping_from_a_day_on_that_is_corrected_keeps_its_number() -> None:
    world = Linked.with_projects("P1")
    world.declare("P2")
    world.declare("P3")
    world.map("1", "P2", reference="R1", from_on=date(2026, 1, 1))
    assert world.map("1", "P3", reference="R1", from_on=date(2026, 1, 1)).outcome == "accepted"
    assert world.books.projects_named("R1") == {"P3"}
    assert world.map("1", "P2", reference="R1", from_on=date(2026, 2, 1)).outcome == "refused"


# --- journal entries ---------------------------------------------------------------------------------------------


def paid(*journals: tuple[str, str], **more: Any) -> dict[str, Any]:
    lines = [{"Amount": a, "LinkedTxn": [{"TxnType": "JournalEntry", "TxnId": i}]} for i, a in journals]
    return {"Id": "21", "TotalAmt": "0", "UnappliedAmt": "0", "Line": lines} | more


def test_journals_whose_signs_the_equation_leaves_open_are_booked_as_they_say_themselves() -> None:
    world = Linked.with_projects("P1")
    raw = paid(("90", "100"), ("91", "100"))
    assert world.paid_with_journals(raw, {}).reads == {("Payment", "21")}
    assert set(world.waiting()) == {("Payment", "21", "")}
    journals = {"90": journal(("Debit", "100", "1"), ("Credit", "100", "")), "91": journal(("Credit", "100", "1"))}
    world.paid_with_journals(raw, journals)
    assert world.waiting() == {}
    links = world.books.documents["Payment", "21"].booked.links
    assert {key.target_id: link.amount.amount for key, link in links.items()} == {"90": 100, "91": -100}
    assert world.balances()["P1"].N == 0


def test_a_read_whose_journals_could_not_be_read_forgets_nothing() -> None:
    world = Linked.with_projects("P1")
    raw = paid(("90", "100"), ("91", "100"))
    world.paid_with_journals(raw, {"90": journal(("Debit", "100", "1")), "91": journal(("Credit", "100", "1"))})
    before = len(world.facts)
    world.paid_with_journals(raw, {})
    assert (len(world.facts), world.waiting()) == (before, {})


def test_a_journal_that_was_changed_is_believed_as_it_was_read_last() -> None:
    world = Linked.with_projects("P1")
    raw = paid(("90", "100"), ("91", "100"))
    debit, credit = journal(("Debit", "100", "1")), journal(("Credit", "100", "1"))
    world.paid_with_journals(raw, {"90": debit, "91": credit})
    world.paid_with_journals(raw, {"90": credit, "91": debit})
    links = world.books.documents["Payment", "21"].booked.links
    assert {key.target_id: link.amount.amount for key, link in links.items()} == {"90": -100, "91": 100}


def test_one_journal_that_says_its_side_is_enough_when_the_equation_gives_the_other() -> None:
    world = Linked.with_projects("P1")
    world.paid_with_journals(paid(("90", "100"), ("91", "100")), {"90": journal(("Debit", "100", "1"))})
    links = world.books.documents["Payment", "21"].booked.links
    assert {key.target_id: link.amount.amount for key, link in links.items()} == {"90": 100, "91": -100}


def test_what_the_equation_says_is_not_overruled_by_a_journal() -> None:
    world = Linked.with_projects("P1")
    raw = paid(("90", "100"), TotalAmt="100")
    world.paid_with_journals(raw, {"90": journal(("Credit", "100", "1"))})
    assert (world.balances()["P1"].cash, world.balances()["P1"].other) == (100, 100)


SIDES: list[tuple[str, tuple[Posting, ...], str]] = [
    ("one line of the customer", (("Debit", "100", "1"), ("Credit", "100", "")), "use"),
    ("the customer's own line among others'", (("Credit", "100", "1"), ("Debit", "100", "2")), "source"),
    ("only another customer's line", (("Credit", "100", "2"), ("Debit", "100", "")), "source"),
    ("the line with this very amount", (("Debit", "300", "1"), ("Credit", "100", "1")), "source"),
    ("the line that it fits into", (("Debit", "300", "1"), ("Credit", "60", "1")), "use"),
    ("both sides with the same amount", (("Debit", "100", "1"), ("Credit", "100", "1")), ""),
]


@pytest.mark.parametrize(("postings", "side"), [each[1:] for each in SIDES], ids=[each[0] for each in SIDES])
def test_the_side_of_a_journal_is_that_of_its_line_to_receivables(postings: tuple[Posting, ...], side: str) -> None:
    world = Linked.with_projects("P1")
    world.paid_with_journals(paid(("90", "100"), TotalAmt="100"), {"90": journal(*postings)})
    (line,) = world.payments()[0].lines
    assert line.side == side


def test_lines_to_income_that_name_the_customer_are_no_receivables_when_the_payment_names_its_account() -> None:
    world = Linked.with_projects("P1")
    both = journal(("Debit", "100", "1"), ("Credit", "100", "1", "7"))
    world.paid_with_journals(paid(("90", "100"), TotalAmt="100", ARAccountRef={"value": "84"}), {"90": both})
    assert world.payments()[0].lines[0].side == "use"


def test_a_journal_that_leaves_the_sign_open_lets_the_payment_wait_and_blocks_nothing_else() -> None:
    world = Linked.with_projects("P1")
    unclear = journal(("Debit", "100", "1"), ("Credit", "100", "1"))
    world.paid_with_journals(paid(("90", "100"), ("91", "100")), {"90": unclear, "91": unclear})
    world.payment("22", "50")
    assert set(world.waiting()) == {("Payment", "21", "")}
    assert world.balances()["P1"].cash == 50


# --- customers change --------------------------------------------------------------------------------------------


def test_an_inactive_customer_keeps_its_project_and_so_does_an_active_one_again() -> None:
    world = Linked.with_projects("P1")
    world.invoice("11", "1000")
    world.inactive("1")
    world.invoice("12", "200")
    world.inactive("1", active=True)
    assert world.balances()["P1"].O == 1200
    names = [type(notice.body).__name__ for notice in world.notices]
    assert names.count("CustomerChanged") == 2


def test_a_job_that_moves_to_another_parent_takes_its_documents_along_in_any_order_of_reads() -> None:
    for order in itertools.permutations(("old", "new", "invoice")):
        world = Linked.with_projects("P1", "P2")
        calls = {
            "old": lambda w=world: w.read("Customer", job("1"), at=100),
            "new": lambda w=world: w.read("Customer", job("2"), at=200),
            "invoice": lambda w=world: w.invoice("11", "1000", "3", at=150),
        }
        for name in order:
            calls[name]()
        assert (world.balances()["P1"].O, world.balances()["P2"].O) == (0, 1000), order


def job(parent: str) -> dict[str, Any]:
    return {"Id": "3", "DisplayName": "A job", "Job": True, "ParentRef": {"value": parent}}


def test_a_document_whose_customer_is_changed_follows_the_new_one_and_its_payment_follows_it() -> None:
    world = Linked.with_projects("P1", "P2")
    world.invoice("11", "1000", "1")
    world.payment("21", "400", "1", ("Invoice", "11", "400"))
    world.invoice("11", "1000", "2")
    assert (0, Decimal(600)) == (world.balances()["P1"].N, world.balances()["P2"].O)
    assert world.balances()["P2"].cash == 400


def test_a_journal_with_this_amount_on_both_sides_leaves_its_side_open_whatever_else_it_holds() -> None:
    world = Linked.with_projects("P1")
    lines = [
        {"Amount": "50", "LinkedTxn": [{"TxnType": "JournalEntry", "TxnId": journal_id}]} for journal_id in ("90", "91")
    ]
    raw = {"Id": "21", "TotalAmt": "100", "UnappliedAmt": "100", "Line": lines}
    both = journal(("Debit", "50", "1"), ("Credit", "50", "1"), ("Debit", "80", "1"))
    world.paid_with_journals(raw, {"90": both})
    assert world.waiting() == {("Payment", "21", ""): 100}
