"""Which further documents a change reaches, which inputs are refused, and what the ledger learns besides documents."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from schemas import changes
from schemas.errors import UnprocessableError
from streams.books import Books, Company, Naming
from streams.decision import Reach
from streams.ledger import redecide, refuse_unknown
from tests.linked import Linked
from tests.rules import World

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def facts(**changed: Any) -> changes.CompanyFacts:
    known: dict[str, Any] = {
        "home_currency": "USD",
        "several_currencies": True,
        "plan": "Plus",
        "books_closed_on": None,
        "custom_fields": (),
        "rules_version": changes.RULES_VERSION,
    }
    return changes.CompanyFacts(**(known | changed))


def field(name: str, definition_id: str = "1") -> changes.CustomFieldDefinition:
    return changes.CustomFieldDefinition(definition_id=definition_id, name=name)


# --- customers -------------------------------------------------------------------------------------------------------


def test_a_customer_that_is_new_or_has_another_parent_reaches_its_documents_and_an_edit_does_not() -> None:
    world = World()
    world.customer("9")
    assert world.customer("1").reach == Reach(customers=frozenset({"1"}))
    assert world.customer("1", name="Renamed").reach == Reach()
    assert world.customer("1", parent="9", name="Renamed").reach == Reach(customers=frozenset({"1"}))
    assert world.customer("1", name="Renamed").reach == Reach(customers=frozenset({"1"}))


def test_a_customer_is_told_when_it_is_seen_and_when_it_changes_and_not_when_it_is_read_again() -> None:
    world = World()
    world.customer("1")
    world.customer("1")
    assert [type(n.body).__name__ for n in world.notices] == ["CustomerSeen"]
    world.customer("1", name="Renamed")
    world.read("Customer", {"Id": "1", "DisplayName": "Renamed", "Active": False})
    world.read("Customer", {"Id": "1", "DisplayName": "Renamed", "Active": False, "CurrencyRef": {"value": "EUR"}})
    assert [type(n.body).__name__ for n in world.notices[1:]] == ["CustomerChanged"] * 3


def test_a_parent_that_nobody_has_read_is_asked_for() -> None:
    world = World()
    assert world.customer("1", parent="9").reads == {("Customer", "9")}
    world.customer("9")
    assert world.customer("1", parent="9", name="Renamed").reads == set()


def test_an_older_read_of_a_customer_says_nothing() -> None:
    world = World()
    world.customer("9")
    world.customer("1")
    raw = {"Id": "1", "DisplayName": "Customer 1", "ParentRef": {"value": "9"}}
    assert world.read("Customer", raw, at=1).outcome == "older than known"
    assert world.books.customers["1"].parent_id is None


def test_a_read_keeps_what_a_person_decided_about_the_customer() -> None:
    world = World.with_projects("P1")
    before = world.books.customers["1"]
    world.customer("1", name="Renamed")
    after = world.books.customers["1"]
    assert (after.mapping_state, after.scopes, after.mapping_version) == ("mapped", before.scopes, 1)


# --- projects and the company ----------------------------------------------------------------------------------------


def test_a_declared_project_reaches_what_names_it_and_another_companys_is_refused() -> None:
    world = World()
    assert world.declare("P-North").reach == Reach(references=frozenset({"p-north"}))
    assert world.books.projects == {"P-North": False}
    world.take(changes.ProjectClosed(project_id="P-North"))
    assert world.books.projects == {"P-North": True}
    world.books.foreign.add("P2")
    assert world.declare("P2").outcome.startswith("refused")
    assert "P2" not in world.books.projects


def test_a_company_is_active_until_it_is_disconnected() -> None:
    world = World()
    assert not world.books.company.active
    world.take(changes.CompanyActivated())
    assert world.books.company.active
    world.take(changes.CompanyDisconnected(cause="the grant is gone"))
    assert not world.books.company.active


def test_facts_reach_everything_where_documents_are_decided_from_them() -> None:
    everything = Reach(everything=True)
    world = World(books=Books(Company("9130")))
    assert world.take(facts()).reach == everything  # home currency, and the rules
    assert world.take(facts()).reach == Reach()
    assert world.take(facts(several_currencies=False)).reach == Reach()
    assert world.take(facts(custom_fields=(field("Crew"),))).reach == Reach()
    assert world.take(facts(custom_fields=(field(" Reference NUMBER ", "7"),))).reach == everything
    assert world.take(facts(custom_fields=(field("Job", "7"), field("Reference Number", "8")))).reach == Reach()
    assert world.books.company.reference_fields == ("7",)
    assert world.take(facts(home_currency="EUR")).reach == everything


def test_first_facts_say_the_rules_and_later_ones_do_not_change_them() -> None:
    early = World(books=Books(Company("9130")))
    early.take(facts(rules_version=None))
    assert early.books.company.rules_version == 1
    early.take(facts(rules_version=2))
    assert early.books.company.rules_version == 1
    assert early.adopt_rules(2).reach == Reach(everything=True)
    assert early.adopt_rules(2).outcome == "no difference"
    late = World(books=Books(Company("9130")))
    late.take(facts(rules_version=2))
    assert late.books.company.rules_version == 2


def test_closed_books_are_told_when_their_day_changes() -> None:
    world = World(books=Books(Company("9130")))
    for day in (None, date(2025, 12, 31), date(2025, 12, 31), None):
        world.take(facts(books_closed_on=day))
    assert [n.body.closed_on for n in world.notices] == [date(2025, 12, 31), None]


# --- what numbers name -----------------------------------------------------------------------------------------------


def test_a_number_names_its_project_as_long_as_a_mapping_gives_it() -> None:
    world = World.with_projects("P1")
    world.declare("P2")
    world.map("1", "P1", reference="R-1")
    world.map("1", "P1", reference="R-2")
    assert world.books.projects_named("r-1") == set()
    assert world.books.references["r-2"] == {Naming("P1", "1")}
    world.map("1", "P2", from_on=date(2026, 1, 1))
    assert world.books.projects_named("r-2") == {"P1"}
    assert "" not in world.books.references
    world.release("1")
    assert world.books.projects_named("r-2") == set()


# --- settled anew ----------------------------------------------------------------------------------------------------


def test_documents_that_still_name_a_vanished_customer_are_read_again() -> None:
    world = Linked.with_projects("P1", "P2")
    world.invoice("11", "10", "1")
    world.invoice("12", "10", "2")
    keys = [("Invoice", "11"), ("Invoice", "12"), ("Invoice", "13")]
    assert redecide(world.books, keys, Reach(read_again=frozenset({"2"}))).reads == {("Invoice", "12")}
    assert redecide(world.books, keys, Reach(everything=True)).reads == set()
    assert redecide(world.books, keys).outcome == "no difference"


# --- what cannot be kept ---------------------------------------------------------------------------------------------


def gone(record_type: str, record_id: str) -> changes.RecordGone:
    return changes.RecordGone(record_type=record_type, record_id=record_id, announced_at=NOON, read_at=NOON)


def absent(record_type: str, record_id: str) -> changes.RecordAbsent:
    return changes.RecordAbsent(record_type=record_type, record_id=record_id, read_at=NOON)


def merge(kept: str, vanished: str) -> changes.MergeNotice:
    return changes.MergeNotice(kept_customer_id=kept, vanished_customer_id=vanished, noticed_at=NOON)


ASKED: dict[str, Any] = {"decision_id": "d1", "person": "somebody"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (gone("Bill", "1"), "records of type Bill are not kept here"),
        (gone("Invoice", ""), "'' is not an id"),
        (gone("Invoice", "12a"), "'12a' is not an id"),
        (gone("Invoice", "\N{ARABIC-INDIC DIGIT ONE}"), "is not an id"),
        (gone("Invoice", "x" * 50), f"'{'x' * 40}' is not an id"),
        (absent("Estimate", "1"), "records of type Estimate"),
        (merge("1", "b"), "'b' is not an id"),
        (merge("a", "1"), "'a' is not an id"),
        (changes.ReleaseCustomer(**ASKED, customer_id="x", mapping_version=0), "'x' is not an id"),
        (changes.AssignDocument(**ASKED, record_type="Bill", record_id="1", project_id=None), "records of type Bill"),
        (changes.RulesChanged(rules_version=0), "rules 0 are not known"),
        (changes.RulesChanged(rules_version=changes.RULES_VERSION + 1), "are not known to this build"),
        (facts(rules_version=changes.RULES_VERSION + 1), "redrive it with a build that does"),
    ],
)
def test_what_the_ledger_cannot_keep_is_refused_with_a_reason(change: changes.Change, said: str) -> None:
    with pytest.raises(UnprocessableError, match=said):
        refuse_unknown(change)


@pytest.mark.parametrize(
    "change",
    [
        gone("Customer", "1"),
        absent("Payment", "1045"),
        merge("1", "2"),
        changes.RulesChanged(rules_version=1),
        changes.RulesChanged(rules_version=changes.RULES_VERSION),
        facts(rules_version=None),
        changes.CompanyActivated(),
    ],
)
def test_what_the_ledger_keeps_is_not_refused(change: changes.Change) -> None:
    refuse_unknown(change)


def test_a_read_that_comes_without_its_record_is_an_error_of_the_caller() -> None:
    read = changes.RecordRead(
        record_type="Invoice", record_id="1", revised_at=NOON, sync_token=0, read_at=NOON, sealed=b"", related=()
    )
    with pytest.raises(ValueError, match="RecordRead came without its record"):
        World().take(read)
