"""Situations end the same in the real ledger, which loads of the books only what an input needs.

The rules are played over whole books in memory; the ledger's edge loads documents, neighbours, families, numbers and
merges by name from Postgres, input by input. What it forgot to load would show here as a difference. Some of them in
every run, all in `make prove`. Figures of a day are asked of the read tables.
"""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import NAMESPACE_OID, uuid5

import pytest
from psycopg_pool import AsyncConnectionPool

from connectors.postgres import Connection, pool
from connectors.sealing import Sealer
from schemas import changes
from schemas.codec import Recorded, file_ids
from schemas.journals import JOURNAL_ENTRY
from schemas.wire import Incoming
from streams.bookkeeping import Bookkeeper
from streams.books import Books, Company
from streams.decision import Decision, Opened
from streams.projections import projections
from streams.projector import Projector
from tests.integration.test_bookkeeping import COMPANY_EVENTS, PROJECT_EVENTS, TOPICS, Aside, Broker
from tests.linked import Linked
from tests.rules import Balance
from tests.situation.__main__ import OURS
from tests.situation.figures import figures
from tests.situation.playing import COMPANY, Script
from tests.situation.reading import ON, Situation, situations

ALL = situations(OURS)
JOURNAL = "project-journal"
FIGURES = {
    "invoiced": "invoiced_gross",
    "tax": "invoiced_tax",
    "credited": "credited",
    "cash": "cash_received",
    "O": "open_invoices",
    "C": "unused_credit",
    "U": "unapplied",
    "N": "net_receivable",
    "refunds": "refunds",
    "credit_in": "credit_in",
    "credit_out": "credit_out",
    "other": "applied_to_other",
}
Pool = AsyncConnectionPool[Connection]
Waiting = dict[tuple[str, str, str], Decimal | None]


class Told(NamedTuple):
    """One input of the ledger with what it has to open."""

    change: Any
    raw: bytes
    journals: Mapping[str, bytes]
    at: Any


@dataclass
class Overheard(Linked):
    """As `Linked`; keeps every input as it came."""

    told: list[Told] = field(default_factory=list)
    _raw: bytes = b""
    _journals: Mapping[str, bytes] = field(default_factory=dict)

    def read(self, record_type: str, raw: dict[str, Any], **more: Any) -> Decision:
        self._raw, self._journals = json.dumps(raw, default=str).encode(), {}
        return super().read(record_type, raw, **more)

    def paid_with_journals(self, raw: Mapping[str, Any], journals: Mapping[str, bytes], **more: Any) -> Decision:
        self._raw, self._journals = json.dumps(raw, default=str).encode(), journals
        return super().paid_with_journals(raw, journals, **more)

    def take(self, change: Any, opened: Opened | None = None) -> Decision:
        self.told.append(Told(change, self._raw, self._journals, self.moment(None)))
        return super().take(change, opened)


@pytest.fixture
async def connections(database_url: str) -> AsyncIterator[Pool]:
    async with pool(database_url) as opened:
        yield opened


def records(told: list[Told], sealer: Sealer) -> list[Incoming]:
    """As the broker would deliver them."""
    found = []
    for number, (change, raw, journals, at) in enumerate(told):
        if isinstance(change, changes.RecordRead):
            change = _sealed(change, raw, journals, sealer)
        envelope = changes.Envelope(
            change_id=uuid5(NAMESPACE_OID, f"{number}"),
            company_id=COMPANY,
            origin="webhook",
            recorded_at=at,
            correlation_id=getattr(change, "decision_id", f"cause-{number}"),
            causes=(),
        )
        value = file_ids().encode(Recorded(envelope, change))
        found.append(Incoming("company-changes", 0, number, COMPANY, value, {}, 0))
    return found


def _sealed(
    change: changes.RecordRead, raw: bytes, journals: Mapping[str, bytes], sealer: Sealer
) -> changes.RecordRead:
    related = tuple(
        changes.RelatedRecord(
            record_type=JOURNAL_ENTRY, record_id=number, sealed=sealer.seal(COMPANY, "record", journal)
        )
        for number, journal in sorted(journals.items())
    )
    return changes.RecordRead(
        record_type=change.record_type,
        record_id=change.record_id,
        revised_at=change.revised_at,
        sync_token=change.sync_token,
        read_at=change.read_at,
        sealed=sealer.seal(COMPANY, "record", raw),
        related=related,
    )


def balances(broker: Broker) -> dict[str, Balance]:
    found: dict[str, Balance] = defaultdict(Balance)
    for record in broker.records:
        if record.topic == PROJECT_EVENTS:
            found[record.key].post(file_ids().decode(record.value).body)
    return {project: balance for project, balance in found.items() if balance != Balance()}


def waiting(broker: Broker) -> Waiting:
    found: Waiting = {}
    for record in broker.records:
        if record.topic != COMPANY_EVENTS:
            continue
        message = file_ids().decode(record.value)
        key = (message.envelope.record_type, message.envelope.record_id, getattr(message.body, "part", ""))
        if type(message.body).__name__ == "RecordWaiting":
            found[key] = None if message.body.amount is None else message.body.amount.amount
        elif type(message.body).__name__ == "RecordResolved":
            found.pop(key)
    return found


async def differences(
    situation: Situation, generation: int, connections: Pool, sealer: Sealer, *, at_once: bool
) -> list[str]:
    """What the stored ledger makes of the situation's inputs, one by one or in one batch, and memory does not."""
    world = Overheard(Books(Company(COMPANY)))
    Script(situation).played(None, into=world)
    broker, aside = Broker(), Aside()
    ledger = Bookkeeper(connections, sealer, aside, broker, TOPICS, generation=generation)
    inputs = records(world.told, sealer)
    for batch in [inputs] if at_once else [[each] for each in inputs]:
        await ledger.do(batch)
    expected = {project: balance for project, balance in world.balances().items() if balance != Balance()}
    found = [] if not aside.records else [f"parked: {aside.records}"]
    found += [] if balances(broker) == expected else [f"{balances(broker)} is not {expected}"]
    found += [] if waiting(broker) == world.waiting() else [f"{waiting(broker)} is not {world.waiting()}"]
    return [f"{situation.name}: {each}" for each in found]


async def stored(told: list[Told], generation: int, connections: Pool) -> Broker:
    """What the ledger publishes, input by input."""
    sealer, broker = Sealer(connections, {"k1": b"k" * 32}), Broker()
    await sealer.load([COMPANY])
    ledger = Bookkeeper(connections, sealer, Aside(), broker, TOPICS, generation=generation)
    await ledger.do(records(told, sealer))
    return broker


async def shown(broker: Broker, generation: int, day: date, connections: Pool) -> dict[tuple[str, str], list[Decimal]]:
    """By project and currency, what the read tables say of a day."""
    events = [each for each in broker.records if each.topic == PROJECT_EVENTS]
    journal = next(p for p in projections(lambda _company, _purpose, sealed: sealed) if p.name.startswith(JOURNAL))
    incoming = [Incoming(e.topic, 0, number, e.key, e.value, {}, 0) for number, e in enumerate(events)]
    await Projector(journal, connections, file_ids(), generation).do(incoming)
    columns = ", ".join(FIGURES.values())
    query = f"SELECT currency, {columns} FROM read_project_as_of(%s, %s, %s, 'infinity')"
    found = {}
    async with connections.connection() as connection:
        for project in {each.key for each in events}:
            cursor = await connection.execute(query.encode(), (generation, project, day))
            found |= {(project, row[0]): list(row[1:]) for row in await cursor.fetchall() if any(row[1:])}
    return found


async def test_figures_of_a_day_are_in_the_read_tables_as_the_events_say(connections: Pool) -> None:
    dated = [s for s in ALL if any(word.startswith(ON) for word in s.history[-1].fields)]
    assert len(dated) > 5
    for generation, situation in enumerate(dated, start=1):
        world = Overheard(Books(Company(COMPANY)))
        Script(situation).played(None, into=world)
        broker = await stored(world.told, generation, connections)
        for day in (date.fromisoformat(w.removeprefix(ON)) for w in situation.history[-1].fields if w.startswith(ON)):
            by_events = {
                (project, currency): [getattr(balance, name) for name in FIGURES]
                for project, held in figures(world.facts, day).items()
                for currency, balance in held.by_currency.items()
            }
            expected = {key: amounts for key, amounts in by_events.items() if any(amounts)}
            assert await shown(broker, generation, day, connections) == expected, (situation.name, day)


async def compared(some: Sequence[Situation], connections: Pool, *, at_once: bool) -> list[str]:
    """Each in a generation of its own."""
    sealer = Sealer(connections, {"k1": b"k" * 32})
    await sealer.load([COMPANY])
    found = []
    for generation, situation in enumerate(some, start=1):
        found += await differences(situation, generation, connections, sealer, at_once=at_once)
    return found


async def test_situations_end_in_stored_books_as_in_memory(connections: Pool) -> None:
    assert await compared(ALL[::4], connections, at_once=True) == []


async def test_books_that_are_loaded_for_each_input_end_as_in_memory(connections: Pool) -> None:
    assert await compared(ALL[2::8], connections, at_once=False) == []


@pytest.mark.prove
@pytest.mark.parametrize("at_once", [True, False])
async def test_every_situation_ends_in_stored_books_as_in_memory(connections: Pool, at_once: bool) -> None:
    assert await compared(ALL, connections, at_once=at_once) == []
