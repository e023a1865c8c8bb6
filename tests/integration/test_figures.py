"""A project's figures on two axes, an accounting day and a moment of knowing; and changes in a closed period."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from psycopg_pool import AsyncConnectionPool

from connectors.postgres import Connection, pool
from schemas import accounting, company
from schemas.codec import Recorded, file_ids
from streams.projections import projections
from streams.projector import Projector
from tests.builders import (
    PROJECT,
    Event,
    accounting_event,
    company_event,
    delivered,
    figures,
    numbered,
    payment_applied,
    payment_received,
)

PROJECTIONS = {each.name: each for each in projections(lambda _company, _purpose, sealed: sealed)}
Pool = AsyncConnectionPool[Connection]
MONDAY = datetime(2026, 4, 6, 9, tzinfo=UTC)
EVER = date(9999, 12, 31)
NOW = datetime(9999, 1, 1, tzinfo=UTC)


@pytest.fixture
async def connections(database_url: str) -> AsyncIterator[Pool]:
    async with pool(database_url, connections_max=2) as opened:
        yield opened


async def applied(connections: Pool, name: str, events: list[Event]) -> None:
    await Projector(PROJECTIONS[name], connections, file_ids(), 1).do(delivered(events))


async def net(connections: Pool, on: date = EVER, known_at: datetime = NOW) -> Decimal | None:
    query = "SELECT net_receivable FROM read_project_as_of(1, %s, %s, %s)"
    async with connections.connection() as connection:
        row = await (await connection.execute(query, (PROJECT, on, known_at))).fetchone()
    return None if row is None else row[0]


def on_day(event: Event, days: int, **envelope: Any) -> Event:
    """As it became known so many days after Monday."""
    known = replace(event.envelope, recorded_at=MONDAY + timedelta(days=days), **envelope)
    return Recorded(known, event.body)


def redated(total: str, before: date, after: date) -> Any:
    old, new = figures(total, issued_on=before), figures(total, issued_on=after)
    return accounting.InvoiceRevised(before=old, after=new)


def issued(total: str, on: date, record_id: str = "17") -> Event:
    return accounting_event(accounting.InvoiceIssued(after=figures(total, issued_on=on)), "Invoice", record_id)


async def test_a_redated_invoice_leaves_its_old_day_and_stands_at_its_new_one(connections: Pool) -> None:
    january, march = date(2026, 1, 31), date(2026, 3, 31)
    moved = accounting_event(redated("100.00", january, march), "Invoice", "17")
    events = numbered([on_day(issued("100.00", january), 0), on_day(moved, 2)])
    await applied(connections, "project-journal-v1", events)
    assert await net(connections, january) == 0
    assert await net(connections, march) == 100
    before_it_was_known = MONDAY + timedelta(days=1)
    assert await net(connections, january, before_it_was_known) == 100
    assert await net(connections, date(2026, 1, 30), before_it_was_known) is None


async def test_the_journal_adds_up_to_the_balance(connections: Pool) -> None:
    events = numbered([issued("120.00", date(2026, 1, 31)), payment_received("90.00"), payment_applied("70.00")])
    await applied(connections, "project-journal-v1", events)
    await applied(connections, "project-balance-v1", events)
    async with connections.connection() as connection:
        columns = "invoiced_gross, cash_received, open_invoices, unapplied, net_receivable"
        balance = await (await connection.execute(f"SELECT {columns} FROM read_project_balance".encode())).fetchone()
        as_of = f"SELECT {columns} FROM read_project_as_of(1, %s, %s, %s)"
        journal = await (await connection.execute(as_of.encode(), (PROJECT, EVER, NOW))).fetchone()
    assert balance == journal


async def test_changes_in_a_closed_period_are_listed_and_imports_are_not(connections: Pool) -> None:
    january = date(2026, 1, 31)
    closed = company_event(company.BooksClosed(closed_on=january), recorded_at=MONDAY + timedelta(days=1))
    body = accounting.InvoiceMovedIn(after=figures("6.00", issued_on=january), from_project_id="P2")
    moved = accounting_event(body, "Invoice", "6")
    events = numbered(
        [
            on_day(issued("1.00", january, "1"), 0, origin="webhook"),  # before the books were closed
            on_day(issued("2.00", january, "2"), 2, origin="capture"),
            on_day(issued("3.00", january, "3"), 2, origin="webhook"),
            on_day(issued("4.00", january + timedelta(days=1), "4"), 2, origin="webhook"),
            on_day(issued("5.00", january, "5"), 2, origin="request"),  # flows in when its customer is synced
            on_day(moved, 2, origin="request"),
        ]
    )
    await applied(connections, "project-journal-v1", events)
    await applied(connections, "waiting-v1", [closed])
    query = "SELECT record_id, invoiced_gross, closed_on FROM read_closed_period_changes ORDER BY record_id"
    async with connections.connection() as connection:
        assert await (await connection.execute(query)).fetchall() == [("3", 3, january), ("6", 6, january)]
