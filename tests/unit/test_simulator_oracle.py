"""The oracle against the ledger's rules: two independent answers to where everything in a firm's life belongs.

The oracle knows from those who wrote the papers, the ledger from the papers as Intuit shows them.
"""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

import pytest

from connectors.simulator.books.records import Kind, Record
from connectors.simulator.life.firm import Firm
from connectors.simulator.life.play import Play, new_company
from connectors.simulator.life.repertoire import Repertoire
from connectors.simulator.life.truth import truth
from schemas import changes
from streams.placement import place
from tests.rules import Balance, World

REALM = "9130000000000001"
FORMS = (Kind.INVOICE, Kind.CREDIT_MEMO, Kind.REFUND_RECEIPT)
# The ledger does not link QuickBooks projects yet, and finds the field by its name where Preferences do not say.
NOT_YET = ("quickbooks_project", "definition_renamed")


def lived(seed: int, number: int, steps: int) -> Firm:
    """A firm with one currency after so many steps."""
    firm = Firm(new_company(number, REALM), seed, number)
    play = Play([firm], Repertoire(NOT_YET), steps)
    while play.done < steps:
        play.step()
    return firm


def told(firm: Firm, said: dict[str, Any]) -> World:
    """A ledger to which people said what the oracle says they would have to say."""
    world = World()
    for project in firm.company.projects:
        world.declare(project.project_id)
    for customer in firm.book.records[Kind.CUSTOMER].values():
        parent = (customer.fields.get("ParentRef") or {}).get("value")
        world.customer(customer.id, parent=parent, name=str(customer.fields["DisplayName"]))
    for customer_id, mapped in said["mapping"]["customers"].items():
        if "reference_only" in mapped:
            version = world.books.customers[customer_id].mapping_version
            world._take(_by_reference(customer_id, version))
        else:
            world.map(customer_id, mapped["project_id"], reference=mapped["reference_number"] or "")
    return world


def _by_reference(customer_id: str, version: int) -> changes.ExcludeCustomer:
    return changes.ExcludeCustomer(
        decision_id=f"by-reference-{customer_id}",
        person="somebody",
        customer_id=customer_id,
        reference_only=True,
        mapping_version=version,
    )


def papers(firm: Firm, order: int | None) -> list[Record]:
    found = [record for kind in (*FORMS, Kind.PAYMENT) for record in firm.book.records[kind].values()]
    if order is not None:
        random.Random(order).shuffle(found)
    return found


def beyond(figures: dict[str, Any], balance: Balance) -> dict[str, str]:
    """The ledger's figures that are not what the oracle says, or not between its least and its most."""
    kept = {
        **{"invoiced_gross": balance.invoiced, "credited": balance.credited, "cash_received": balance.cash},
        **{"open_invoices": balance.O, "unused_credit": balance.C, "unapplied": balance.U},
        "refunds": balance.refunds,
    }
    found = {}
    for column, amount in kept.items():
        bounds = figures["open_to_rule"].get(column, {"least": figures[column], "most": figures[column]})
        if not Decimal(bounds["least"]) <= amount <= Decimal(bounds["most"]):
            found[column] = f"{amount}, not {bounds['least']} to {bounds['most']}"
    return found


@pytest.mark.parametrize(("seed", "number", "order"), [(1, 0, None), (2, 2, 7)])
def test_ledger_puts_every_paper_where_its_writer_knows_it_leads_and_every_sum_is_the_oracles(
    seed: int, number: int, order: int | None
) -> None:
    firm = lived(seed, number, 600)
    said = truth(firm.company)
    world = told(firm, said)
    for record in papers(firm, order):
        world.read(record.kind.value, json.loads(firm.company.renderer.text(record)))
    for kind in FORMS:
        for record_id, form in said[kind.value].items():
            if not form["deleted"]:
                placed = place(world.books, world.books.document((kind.value, record_id)))
                assert placed.project_id == form["determined_project"], (record_id, form, placed)
    balances = world.balances()
    for project_id, currencies in said["projects"].items():
        assert beyond(currencies["USD"], balances.pop(project_id)) == {}, project_id
    assert all(balance == Balance() for balance in balances.values())
    assert len(said["projects"]) > 10 and any(found["USD"]["open_to_rule"] for found in said["projects"].values())
