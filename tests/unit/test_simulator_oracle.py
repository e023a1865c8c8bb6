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
from streams.placement import place
from tests.convergence.expecting import FIGURES, expected
from tests.linked import Linked
from tests.rules import Balance

REALM = "9130000000000001"
FORMS = (Kind.INVOICE, Kind.CREDIT_MEMO, Kind.REFUND_RECEIPT)
NOT_HERE = ("definition_renamed",)  # no Preferences are read here, so the field is found by its name


def lived(seed: int, number: int, steps: int) -> Firm:
    """A firm with one currency after so many steps."""
    firm = Firm(new_company(number, REALM), seed, number)
    play = Play([firm], Repertoire(NOT_HERE), steps)
    while play.done < steps:
        play.step()
    return firm


def told(firm: Firm, said: dict[str, Any]) -> Linked:
    """A ledger to which people said what the oracle says they would have to say."""
    world = Linked()
    for project in firm.company.projects:
        world.declare(project.project_id)
    for customer in firm.book.records[Kind.CUSTOMER].values():
        parent = (customer.fields.get("ParentRef") or {}).get("value")
        world.customer(customer.id, parent=parent, name=str(customer.fields["DisplayName"]))
    for customer_id, mapped in said["mapping"]["customers"].items():
        if "reference_only" in mapped:
            world.exclude(customer_id, reference_only=True)
        else:
            world.map(customer_id, mapped["project_id"], reference=mapped["reference_number"] or "")
    for ref, project_id in said["mapping"]["quickbooks_projects"].items():
        world.link(ref, project_id)
    return world


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


def read(world: Linked, firm: Firm, record: Record) -> None:
    """One paper as Intuit shows it; a payment with the journal entries that it names, as enrich reads them."""
    text = firm.company.renderer.text(record)
    if record.kind is not Kind.PAYMENT:
        world.read(record.kind.value, json.loads(text))
        return
    named = (line.item for line in record.applications if line.item.kind is Kind.JOURNAL_ENTRY)
    entries = firm.book.records[Kind.JOURNAL_ENTRY]
    journals = {item.id: firm.company.renderer.text(entries[item.id]).encode() for item in named}
    world.paid_with_journals(json.loads(text), journals)


def compare(seed: int, number: int, steps: int, order: int | None = None) -> dict[str, Any]:
    """A life's papers in the ledger are what the oracle says and, by the rule of division, to the cent."""
    firm = lived(seed, number, steps)
    said = truth(firm.company)
    world = told(firm, said)
    for record in papers(firm, order):
        read(world, firm, record)
    for kind in FORMS:
        for record_id, form in said[kind.value].items():
            if not form["deleted"]:
                placed = place(world.books, world.books.document((kind.value, record_id)))
                assert placed.project_id == form["determined_project"], (record_id, form, placed)
    wanted, balances = expected(said), world.balances()
    for project_id, currencies in said["projects"].items():
        balance = balances.pop(project_id, Balance())
        assert beyond(currencies["USD"], balance) == {}, project_id
        exact = wanted.figures[project_id, "USD"]
        ours = (balance.invoiced, balance.tax, balance.credited, balance.cash, balance.O, balance.C, balance.U)
        assert dict(zip(FIGURES, (*ours, balance.refunds), strict=True)) == exact, project_id
    assert all(balance == Balance() for balance in balances.values())
    waiting = {part: amount for part, amount in world.waiting().items() if amount}
    assert waiting == {part: wait.amount for part, wait in wanted.waiting.items() if wait.amount}
    return said


@pytest.mark.parametrize(("seed", "number", "order"), [(1, 0, None), (2, 2, 7)])
def test_ledger_puts_every_paper_where_its_writer_knows_it_leads_and_every_sum_is_the_oracles(
    seed: int, number: int, order: int | None
) -> None:
    said = compare(seed, number, 600, order)
    assert len(said["projects"]) > 10 and any(found["USD"]["open_to_rule"] for found in said["projects"].values())


@pytest.mark.prove
@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("seed", range(3, 33))
def test_many_lives_end_in_the_oracles_sums(seed: int, number: int) -> None:
    compare(seed, number, 1500, seed)
