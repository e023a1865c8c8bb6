"""What an accepted request says to the projects and the company, and that each decision counts as one version."""

from datetime import date
from typing import Any

from schemas import accounting as facts
from schemas import company
from streams.decision import Decision
from streams.merges import TOGETHER
from tests.linked import Linked

FEBRUARY = date(2026, 2, 1)


def told(decision: Decision) -> list[tuple[str, Any]]:
    """Each project that hears of a mapping, and what it hears."""
    return [(fact.project_id, fact.body) for fact in decision.facts]


def changed(decision: Decision) -> list[company.CustomerMappingChanged]:
    return [notice.body for notice in decision.notices if isinstance(notice.body, company.CustomerMappingChanged)]


def released(version: int) -> facts.CustomerReleased:
    return facts.CustomerReleased(customer_id="1", mapping_version=version)


def mapped(version: int, *, number: str = "", from_on: date | None = None) -> facts.CustomerMapped:
    return facts.CustomerMapped(customer_id="1", reference_number=number, from_on=from_on, mapping_version=version)


def saying(state: str, project_id: str | None, version: int, **more: Any) -> company.CustomerMappingChanged:
    fields = {"reference_number": "", "from_on": None, **more}
    return company.CustomerMappingChanged(state=state, project_id=project_id, mapping_version=version, **fields)


def test_the_old_project_hears_that_a_customer_leaves_and_the_new_one_that_it_comes() -> None:
    world = Linked.with_projects("P1", "P2")
    decision = world.map("1", "P2", reference=" N-7 ")
    assert told(decision) == [("P1", released(2)), ("P2", mapped(2, number="N-7"))]
    assert changed(decision) == [saying("mapped", "P2", 2, reference_number="N-7")]


def test_a_project_whose_part_stays_hears_nothing_and_the_company_hears_the_latest_part() -> None:
    world = Linked.with_projects("P1", "P2")
    decision = world.map("1", "P2", from_on=FEBRUARY)
    assert told(decision) == [("P2", mapped(2, from_on=FEBRUARY))]
    assert changed(decision) == [saying("mapped", "P2", 2, from_on=FEBRUARY)]
    decision = world.release("1")
    assert told(decision) == [("P1", released(3)), ("P2", released(3))]
    assert changed(decision) == [saying("released", None, 3)]


def test_each_decision_about_a_customer_is_one_version() -> None:
    world = Linked.with_projects("P1")
    decisions = [world.exclude("1"), world.exclude("1", reference_only=True), world.release("1"), world.map("1", "P1")]
    said = [(each.state, each.mapping_version) for decision in decisions for each in changed(decision)]
    assert said == [("excluded", 2), ("reference_only", 3), ("released", 4), ("mapped", 5)]


def test_each_assignment_and_each_link_is_one_version() -> None:
    world = Linked.with_projects("P1", "P2")
    world.invoice("11", "1000")
    for version, project_id in enumerate(("P2", "P1", None), start=1):
        assert world.assign("Invoice", "11", project_id, seen=version - 1).outcome == "accepted"
        assert world.link("7", project_id, seen=version - 1).outcome == "accepted"
        assert world.books.documents["Invoice", "11"].assignment_version == version
        assert world.books.quickbooks_projects["7"].version == version


def test_a_document_that_was_only_heard_of_cannot_be_assigned() -> None:
    world = Linked.with_projects("P1")
    world.gone("Invoice", "11")
    assert world.assign("Invoice", "11", "P1").outcome == "refused"
    assert world.refusals() == ["Invoice 11 is not known here."]


def test_each_decision_about_a_merge_is_one_version_and_ends_the_vanished_customers_mapping() -> None:
    world = Linked.with_projects("P1", "P2")
    world.merged("2", "1")
    world.inactive("1")
    apart = world.resolve("1", together=False, seen=0)
    assert (apart.outcome, told(apart)) == ("accepted", [])
    together = world.resolve("1", together=True, seen=1)
    assert together.outcome == "accepted"
    assert told(together)[0] == ("P1", released(2))
    assert changed(together) == [saying("released", None, 2)]
    assert [merge.version for merge in world.books.company.merges] == [2]


def test_a_decision_about_the_kept_customer_is_one_about_those_that_are_together_with_it() -> None:
    world = Linked.with_projects("P1", "P1")
    world.declare("P2")
    for customer in ("1", "2"):
        world.map(customer, "P1", reference="N")
    world.merged("2", "1")
    world.inactive("1")
    decision = world.map("2", "P2")
    assert [(merge.decided, merge.version) for merge in world.books.company.merges] == [(TOGETHER, 1)]
    assert ("P1", released(3)) in told(decision)
    assert saying("released", None, 3) in changed(decision)
    assert decision.reach.references == {"n"}  # given at both mappings, and named by none any more


def test_a_decision_about_a_customer_without_merges_leaves_the_company_as_it_is() -> None:
    world = Linked.with_projects("P1", "P2", "P1")
    world.merged("2", "1")
    world.inactive("1")
    assert world.map("3", "P2").company is None


def test_a_vanished_customer_that_nobody_could_read_has_no_mapping_to_end() -> None:
    world = Linked.with_projects("P1")
    world.merged("1", "8")
    world.gone("Customer", "8")
    assert world.release("1").outcome == "accepted"
    assert [(merge.decided, merge.version) for merge in world.books.company.merges] == [(TOGETHER, 1)]
