"""Several currencies on a real database: all neighbours of a payment are loaded, and rules change by an input."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import permutations
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from connectors.postgres import Connection, pool
from connectors.sealing import Sealer
from schemas import accounting, changes
from schemas.codec import Recorded, file_ids
from schemas.errors import UnprocessableError
from schemas.topics import topics
from schemas.wire import Outgoing, Unworkable
from streams import bookkeeping
from streams.bookkeeping import Bookkeeper
from streams.projections import projections
from streams.projector import Projector
from tests.builders import delivered
from tests.inputs import Inputs
from tests.rules import Balance

TOPICS = topics(4)
Event = Recorded[accounting.Envelope, Any]


@dataclass
class Broker:
    """Keeps what is published."""

    records: list[Outgoing] = field(default_factory=list)

    async def publish(self, records: Sequence[Outgoing]) -> None:
        self.records += records

    def events(self) -> list[Event]:
        return [file_ids().decode(r.value) for r in self.records if r.topic == TOPICS.accounting_events.name]


@dataclass
class Aside:
    """Keeps what is parked."""

    records: list[Unworkable] = field(default_factory=list)

    async def park(self, connection: Connection, step: str, unworkable: Sequence[Unworkable]) -> None:
        self.records += unworkable

    async def supersede(self, connection: Connection, step: str, reads: Sequence[Any]) -> None:
        pass

    async def publish_unpublished(self) -> int:
        return 0


@dataclass
class Ledger:
    """One ledger and what comes out of it; each company has inputs and a project of its own."""

    connections: AsyncConnectionPool[Connection]
    sealer: Sealer
    broker: Broker = field(default_factory=Broker)
    aside: Aside = field(default_factory=Aside)
    records: list[Any] = field(default_factory=list)

    def worker(self) -> Bookkeeper:
        return Bookkeeper(self.connections, self.sealer, self.aside, self.broker, TOPICS)

    async def company(self, number: int, rules_version: int | None) -> Inputs:
        """A company that keeps its books in USD, with customer 1 in a project that is called like the company."""
        company_id = f"913000000000{number:04d}"
        await self.sealer.load([company_id])
        inputs = Inputs(self.sealer, company_id=company_id, records=self.records)
        inputs.add(company_facts(rules_version))
        inputs.declare(company_id)
        inputs.customer("1")
        inputs.map("1", company_id)
        return inputs

    def balance(self, inputs: Inputs) -> Balance:
        """By the posting table, from the events alone."""
        balance = Balance()
        for event in self.broker.events():
            if event.envelope.project_id == inputs.company_id:
                balance.post(event.body)
        return balance


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    async with pool(database_url) as connections:
        yield Ledger(connections, Sealer(connections, {"k1": b"k" * 32}))


def company_facts(rules_version: int | None) -> changes.CompanyFacts:
    return changes.CompanyFacts(
        home_currency="USD",
        several_currencies=True,
        plan="",
        books_closed_on=None,
        custom_fields=(),
        rules_version=rules_version,
    )


def invoice(inputs: Inputs, record_id: str, total: str, rate: str) -> None:
    lines = [{"Amount": total, "DetailType": "SalesItemLineDetail"}]
    inputs.read("Invoice", _record(record_id, total, rate) | {"Line": lines})


def payment(inputs: Inputs, record_id: str, rate: str, **paid: str) -> None:
    """`paid` says how much of which invoice: i11="0.35"."""
    total = str(sum(map(Decimal, paid.values())))
    lines = [{"Amount": a, "LinkedTxn": [{"TxnType": "Invoice", "TxnId": i[1:]}]} for i, a in paid.items()]
    inputs.read("Payment", _record(record_id, total, rate) | {"UnappliedAmt": "0", "Line": lines})


def _record(record_id: str, total: str, rate: str) -> dict[str, Any]:
    own = {"Id": record_id, "TxnDate": "2026-02-03", "TotalAmt": total, "CustomerRef": {"value": "1"}}
    return own | {"CurrencyRef": {"value": "EUR"}, "ExchangeRate": rate}


def three_payments(inputs: Inputs, order: Sequence[int]) -> None:
    """Two invoices that three payments settle; the middle one settles both, so the cents of all hang together."""
    invoice(inputs, "11", "1.00", "1.333")
    invoice(inputs, "12", "1.00", "1.337")
    for number in order:
        if number == 21:
            payment(inputs, "21", "1.41", i11="0.35")
        elif number == 22:
            payment(inputs, "22", "1.43", i11="0.65", i12="0.35")
        else:
            payment(inputs, "23", "1.47", i12="0.65")


async def test_payments_that_come_in_any_order_and_alone_end_in_the_same_cents(ledger: Ledger) -> None:
    companies = []
    for number, order in enumerate(permutations((21, 22, 23))):
        companies.append(await ledger.company(number, 2))
        three_payments(companies[-1], order)
    worker = ledger.worker()
    for record in ledger.records:
        await worker.do([record])
    balances = [ledger.balance(inputs) for inputs in companies]
    assert all(balance == balances[0] for balance in balances)
    balance = balances[0]
    assert (balance.O, balance.U, balance.home_O, balance.home_U) == (0, 0, 0, 0)
    assert balance.home_cash == Decimal("0.49") + Decimal("1.43") + Decimal("0.96")
    assert balance.gained == balance.home_cash - Decimal("1.33") - Decimal("1.34")


async def shown(ledger: Ledger) -> list[tuple[Any, ...]]:
    """What the read table says of all that was published."""
    (balance,) = [each for each in projections(lambda *_: b"") if each.name == "project-balance-v1"]
    await Projector(balance, ledger.connections, file_ids(), 1).do(delivered(ledger.broker.events()))
    columns = "currency, open_invoices, home_currency, home_open_invoices, home_cash_received, exchange_difference"
    async with ledger.connections.connection() as connection:
        rows = await connection.execute(
            f"SELECT {columns}, home_net_receivable FROM read_project_balance ORDER BY 1".encode()
        )
        return await rows.fetchall()


async def test_the_read_table_shows_home_figures_once_the_rules_state_them(ledger: Ledger) -> None:
    inputs = await ledger.company(1, None)
    invoice(inputs, "11", "1000", "1.10")
    payment(inputs, "21", "1.20", i11="400")
    inputs.invoice("12", "77")
    await ledger.worker().do(inputs.records)
    dollars = ("USD", 77, "USD", 77, 0, 0, 77)
    assert await shown(ledger) == [("EUR", 600, None, None, None, None, None), dollars]
    inputs.add(changes.RulesChanged(rules_version=2))
    await ledger.worker().do(inputs.records)
    assert await shown(ledger) == [("EUR", 600, "USD", 660, 480, 40, 660), dollars]


async def test_many_foreign_payments_need_no_more_statements_than_few(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = await ledger.company(1, 2)
    invoice(inputs, "11", "100", "1.333")
    inputs.invoice("12", "100")
    first = len(inputs.records)
    for number in range(21, 61):
        payment(inputs, str(number), "1.41", i11="0.35")
    inputs.payment("70", "40", "12")
    worker = ledger.worker()
    await worker.do(inputs.records[: first + 2])
    counts: list[int] = []
    execute = psycopg.AsyncConnection.execute

    async def counted(connection: Any, *arguments: Any, **more: Any) -> Any:
        counts[-1] += 1
        return await execute(connection, *arguments, **more)

    monkeypatch.setattr(psycopg.AsyncConnection, "execute", counted)
    for batch in (inputs.records[first + 2 : first + 4], inputs.records[first + 4 : -1], inputs.records[-1:]):
        counts.append(0)
        await worker.do(batch)
    few, many, at_home = counts
    assert few == many > at_home


# --- rules versions ----------------------------------------------------------------------------------------------


def rules_of(events: list[Event]) -> set[int]:
    return {event.envelope.rules_version for event in events}


async def test_a_company_stays_on_its_rules_until_an_input_changes_them(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bookkeeping, "SLICE_DOCUMENTS", 2)
    inputs, newer = await ledger.company(1, None), await ledger.company(2, 2)
    for each in (inputs, newer):
        three_payments(each, (21, 22, 23))
    inputs.add(company_facts(2))  # said again by a newer build: a company changes its rules by RulesChanged alone
    await ledger.worker().do(ledger.records)
    before = ledger.broker.events()
    assert rules_of([e for e in before if e.envelope.project_id == inputs.company_id]) == {1}
    assert ledger.balance(inputs).home_cash == 0
    change = inputs.add(changes.RulesChanged(rules_version=2), "the adoption")
    await ledger.worker().do([change])
    adjusting = ledger.broker.events()[len(before) :]
    assert rules_of(adjusting) == {2}
    assert {event.envelope.correlation_id for event in adjusting} == {"the adoption"}
    assert [event.envelope.version for event in adjusting] == list(
        range(adjusting[0].envelope.version, adjusting[0].envelope.version + len(adjusting))
    )
    assert ledger.balance(inputs) == ledger.balance(newer)


async def test_a_replay_of_the_inputs_gives_the_same_events(ledger: Ledger) -> None:
    inputs = await ledger.company(1, None)
    three_payments(inputs, (22, 21, 23))
    inputs.add(changes.RulesChanged(rules_version=2))
    payment(inputs, "21", "1.41")
    await ledger.worker().do(inputs.records)
    replayed = Ledger(ledger.connections, ledger.sealer)
    again = Bookkeeper(ledger.connections, ledger.sealer, replayed.aside, replayed.broker, TOPICS, generation=2)
    for record in inputs.records:
        await again.do([record])
    assert [_derived(event) for event in replayed.broker.events()] == [_derived(e) for e in ledger.broker.events()]


def _derived(event: Event) -> tuple[Any, ...]:
    """All that an event says but the generation and the id that follows from it."""
    its = event.envelope
    return its.project_id, its.version, its.rules_version, its.causation_id, its.accounting_on, event.body


async def test_rules_that_this_build_does_not_know_are_parked(ledger: Ledger) -> None:
    inputs = await ledger.company(1, 2)
    inputs.add(changes.RulesChanged(rules_version=changes.RULES_VERSION + 1))
    inputs.add(changes.RulesChanged(rules_version=0))
    invoice(inputs, "11", "1000", "1.10")
    await ledger.worker().do(inputs.records)
    assert [type(each.error) for each in ledger.aside.records] == [UnprocessableError] * 2
    assert "not known to this build" in str(ledger.aside.records[0].error)
    assert ledger.balance(inputs).home_O == 1100
