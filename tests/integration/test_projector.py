"""Projectors against the real database: rows and positions move together, once, and one project never stops another."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from connectors.postgres import Connection, pool, queries
from schemas import accounting, company
from schemas.codec import Recorded, file_ids
from schemas.errors import UnprocessableError
from streams.event_log import Fenced
from streams.projections import projections
from streams.projector import Projector, _statements
from streams.read_tables import Projection, Rows, Table
from tests.builders import (
    DAY,
    NOON,
    PROJECT,
    Event,
    accounting_event,
    company_event,
    credit_memo_issued,
    delivered,
    figures,
    incoming,
    invoice_issued,
    money,
    numbered,
    payment_applied,
    payment_received,
)

PROJECTIONS = {each.name: each for each in projections(lambda _company, _purpose, sealed: sealed)}
Pool = AsyncConnectionPool[Connection]


@pytest.fixture
async def connections(database_url: str) -> AsyncIterator[Pool]:
    async with pool(database_url, connections_max=4) as opened:
        yield opened


def projector(connections: Pool, name: str = "project-balance-v1", generation: int = 1) -> Projector:
    return Projector(PROJECTIONS[name], connections, file_ids(), generation)


async def rows(connections: Pool, query: str) -> list[Any]:
    async with connections.connection() as connection:
        return await (await connection.execute(query.encode())).fetchall()


async def everything(connections: Pool, name: str) -> list[Any]:
    tables = [table.name for table in PROJECTIONS[name].tables]
    found = [await rows(connections, f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4") for table in tables]
    return [*found, await rows(connections, "SELECT * FROM read_positions ORDER BY 1, 2, 3")]


async def store_in_ledger(connections: Pool, events: Sequence[Event]) -> None:
    """As the ledger stores them before it publishes."""
    async with connections.connection() as connection, connection.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO ledger.events VALUES (1, 'project', %s, %s, %s, %s, 0, 0, %s)",
            [
                (
                    e.envelope.project_id,
                    e.envelope.version,
                    e.envelope.event_id,
                    type(e.body).__name__,
                    file_ids().encode(e),
                )
                for e in events
            ],
        )


def a_life(project_id: str = PROJECT) -> list[Event]:
    """An invoice with a deposit that is paid, a memo that is used, everything in one project."""
    bodies: list[tuple[str, str, Any]] = [
        ("Invoice", "17", accounting.InvoiceIssued(after=figures("120.00", tax="20.00", deposit="10.00"))),
        ("Payment", "31", payment_received("90.00").body),
        ("Payment", "31", payment_applied("70.00").body),
        ("CreditMemo", "23", credit_memo_issued("30.00").body),
        (
            "Payment",
            "32",
            accounting.CreditApplied(credit_memo_id="23", invoice_id="17", applied=money("25.00"), applied_on=DAY),
        ),
        ("RefundReceipt", "41", accounting.RefundGiven(after=figures("5.00"))),
    ]
    return numbered(
        [
            accounting_event(body, record_type, record_id, project_id=project_id)
            for record_type, record_id, body in bodies
        ]
    )


async def test_balance_follows_the_posting_table(connections: Pool) -> None:
    await projector(connections).do(delivered(a_life()))
    columns = "invoiced_gross, invoiced_tax, invoiced_net, credited, cash_received, open_invoices, unused_credit, "
    columns += "unapplied, net_receivable, refunds, last_version"
    (row,) = await rows(connections, f"SELECT {columns} FROM read_project_balance")
    assert row == tuple(Decimal(each) for each in ("120", "20", "100", "30", "100", "15", "5", "20", "-10", "5", "6"))


async def test_documents_show_what_is_open_and_unused(connections: Pool) -> None:
    await projector(connections, "project-documents-v1").do(delivered(a_life()))
    found = await rows(
        connections,
        "SELECT record_type, record_id, state, total, open_amount, unused_amount FROM read_project_documents",
    )
    assert found == [
        ("Invoice", "17", "open", 120, 15, None),
        ("CreditMemo", "23", "open", 30, None, 5),
        ("RefundReceipt", "41", "open", 5, None, None),
    ]


async def test_payments_show_their_allocations(connections: Pool) -> None:
    await projector(connections, "payments-v1").do(delivered(a_life()))
    assert await rows(connections, "SELECT payment_id, received, applied, unapplied FROM read_payments") == [
        ("31", 90, 70, 20)
    ]
    columns = "payment_id, source_type, source_id, target_type, target_id, amount"
    assert await rows(connections, f"SELECT {columns} FROM read_payment_allocations ORDER BY 1") == [
        ("31", "Payment", "31", "Invoice", "17", 70),
        ("32", "CreditMemo", "23", "Invoice", "17", 25),
    ]


async def test_voided_invoice_keeps_its_last_figures_and_counts_nothing(connections: Pool) -> None:
    voided = accounting_event(accounting.InvoiceVoided(before=figures("100.00")), "Invoice", "17", version=2)
    await projector(connections, "project-documents-v1").do(delivered([invoice_issued("100.00"), voided]))
    query = "SELECT state, total, open_amount, version FROM read_project_documents"
    assert await rows(connections, query) == [("voided", 100, 0, 2)]


async def test_use_of_another_projects_memo_shows_no_memo_here(connections: Pool) -> None:
    came = accounting.CreditTransferredIn(
        credit_memo_id="23", invoice_id="17", other_project_id="tunnel", transferred=money("25"), transferred_on=DAY
    )
    used = accounting.CreditApplied(credit_memo_id="23", invoice_id="17", applied=money("25"), applied_on=DAY)
    events = [invoice_issued(), accounting_event(came, "Payment", "32"), accounting_event(used, "Payment", "32")]
    for name in ("project-documents-v1", "payments-v1"):
        await projector(connections, name).do(delivered(numbered(events)))
    assert await rows(connections, "SELECT record_type, open_amount FROM read_project_documents") == [("Invoice", 75)]
    found = await rows(
        connections, "SELECT source_id, target_id, amount, other_project_id FROM read_payment_allocations"
    )
    assert found == [("23", "17", 25, "tunnel")]


async def test_customers_show_names_and_mapping(connections: Pool) -> None:
    seen = company.CustomerSeen(
        parent_customer_id=None,
        active=True,
        currency="USD",
        sealed_names=b'{"display_name": "Kitchen", "full_name": "Smith:Kitchen"}',
    )
    mapped = company.CustomerMappingChanged(
        state="mapped", project_id=PROJECT, reference_number="R-1", from_on=DAY, mapping_version=1
    )
    events = numbered([company_event(seen), company_event(mapped)])
    await projector(connections, "customers-v1").do(delivered(events, "company-events-g1"))
    columns = "customer_id, display_name, full_name, mapping_state, project_id, reference_number, from_on, version"
    assert await rows(connections, f"SELECT {columns} FROM read_customers") == [
        ("5", "Kitchen", "Smith:Kitchen", "mapped", PROJECT, "R-1", DAY, 2)
    ]


async def test_forgotten_company_keeps_its_customers_without_names(connections: Pool) -> None:
    def destroyed(_company: str, _purpose: str, _sealed: bytes) -> bytes:
        raise UnprocessableError("the company's key is destroyed")

    seen = company.CustomerSeen(parent_customer_id=None, active=True, currency="USD", sealed_names=b"x")
    of_customers = next(each for each in projections(destroyed) if each.name == "customers-v1")
    forgetful = Projector(of_customers, connections, file_ids(), 1)
    await forgetful.do(delivered([company_event(seen)], "company-events-g1"))
    assert await rows(connections, "SELECT customer_id, display_name FROM read_customers") == [("5", None)]


async def test_what_waited_is_unlisted_when_it_is_resolved(connections: Pool) -> None:
    waiting = company.RecordWaiting(
        part="", cause="no_project", customer_id="5", amount=money("0"), home_amount=None, accounting_on=DAY
    )
    step = projector(connections, "waiting-v1")
    await step.do(delivered([company_event(waiting, "Invoice", "17")], "company-events-g1"))
    assert await rows(connections, "SELECT record_id, amount, currency, since FROM read_waiting") == [
        ("17", 0, "USD", NOON)
    ]
    abroad = replace(waiting, amount=money("10", "GBP"), home_amount=money("12.50"))
    await step.do(delivered([company_event(abroad, "Invoice", "18", version=2)], "company-events-g1"))
    async with connections.connection() as connection:
        await connection.execute(
            b"INSERT INTO ledger.companies (generation, company_id, home_currency) "
            b"SELECT DISTINCT generation, company_id, 'USD' FROM read_waiting_v1"
        )
    listed = "SELECT amount, currency, home_amount, home_currency FROM read_waiting ORDER BY amount"
    assert await rows(connections, listed) == [
        (0, "USD", 0, "USD"),
        (10, "GBP", Decimal("12.50"), "USD"),
    ]
    resolved = company_event(company.RecordResolved(part=""), "Invoice", "17", version=3)
    await step.do(delivered([resolved], "company-events-g1"))
    assert await rows(connections, "SELECT record_id FROM read_waiting") == [("18",)]


async def test_decisions_keep_the_refusal(connections: Pool) -> None:
    refused = company.RequestRefused(decision_id="d1", request="MapCustomer", refusal="Somebody was faster.")
    accepted = company.RequestAccepted(decision_id="d2", request="MapCustomer", records_moved=3)
    events = numbered([company_event(refused), company_event(accepted)])
    await projector(connections, "waiting-v1").do(delivered(events, "company-events-g1"))
    columns = "decision_id, accepted, refusal, records_moved"
    assert await rows(connections, f"SELECT {columns} FROM read_decisions ORDER BY 1") == [
        ("d1", False, "Somebody was faster.", 0),
        ("d2", True, "", 3),
    ]


async def test_second_delivery_changes_nothing(connections: Pool) -> None:
    for name in PROJECTIONS:
        await projector(connections, name).do(delivered(a_life()))
    before = [await everything(connections, name) for name in PROJECTIONS]
    for name in PROJECTIONS:
        await projector(connections, name).do(delivered(a_life(), first_offset=100))
        await projector(connections, name).do(delivered(a_life()[2:4], first_offset=200))
    assert [await everything(connections, name) for name in PROJECTIONS] == before


@pytest.mark.parametrize("name", ["project-balance-v1", "project-documents-v1", "payments-v1"])
async def test_rows_do_not_depend_on_the_size_of_a_batch(connections: Pool, name: str) -> None:
    records = delivered([event for number in range(20) for event in a_life(f"p{number}")])
    await projector(connections, name).do(records)
    at_once = await everything(connections, name)
    await rows(connections, "DELETE FROM read_positions RETURNING 1")
    for table in PROJECTIONS[name].tables:
        await rows(connections, f"DELETE FROM {table.name} RETURNING 1")
    for record in records:
        await projector(connections, name).do([record])
    assert await everything(connections, name) == at_once


async def test_number_of_statements_does_not_depend_on_the_size_of_the_batch(connections: Pool) -> None:
    records = delivered([event for number in range(50) for event in a_life(f"p{number}")])
    small, large = projector(connections), projector(connections, "project-documents-v1")
    assert await statements(connections, small, records[:6]) == await statements(connections, small, records[6:])
    assert await statements(connections, large, records[:6]) == await statements(connections, large, records[6:])


async def statements(connections: Pool, step: Projector, records: list[Any]) -> int:
    """How many statements the database got."""
    done: list[Any] = []
    execute = psycopg.AsyncConnection.execute

    async def counted(self: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        done.append(query)
        return await execute(self, query, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.AsyncConnection, "execute", counted)
        await step.do(records)
    return len(done)


async def test_gap_blocks_only_its_project_and_resume_completes_it(connections: Pool) -> None:
    step, life = projector(connections), a_life()
    await store_in_ledger(connections, life)
    await step.do(delivered([*life[:2], *life[3:], *a_life("tunnel")]))
    reason = "version 3 is missing: the next that came is 4"
    assert await rows(connections, "SELECT stream_id, version, reason, since FROM read_blocked") == [
        (PROJECT, 3, reason, NOON)
    ]
    assert await rows(connections, "SELECT stream_id, version FROM read_positions ORDER BY 1") == [
        (PROJECT, 2),
        ("tunnel", 6),
    ]
    await step.do(delivered(life[2:]))  # blocked: nothing of it is applied, whatever comes
    assert await step.resume(PROJECT) == 4
    assert await rows(connections, "SELECT * FROM read_blocked") == []
    found = await rows(
        connections, "SELECT project_id, net_receivable, last_version FROM read_project_balance ORDER BY 1"
    )
    assert found == [(PROJECT, -10, 6), ("tunnel", -10, 6)]
    assert await step.resume(PROJECT) == 0


async def test_event_that_cannot_be_applied_blocks_its_project_until_it_is_mended(connections: Pool) -> None:
    broken = Projection(
        name="project-balance-v1",
        kind="project",
        tables=PROJECTIONS["project-balance-v1"].tables,
        changes=_refuse_payments,
    )
    life = a_life()
    await store_in_ledger(connections, life)
    faulty = Projector(broken, connections, file_ids(), 1)
    await faulty.do(delivered([*life, *a_life("tunnel")[:1]]))
    with pytest.raises(UnprocessableError, match="blocked at version 2: PaymentReceived: payments are not understood"):
        await faulty.resume(PROJECT)
    assert await rows(connections, "SELECT stream_id, version FROM read_positions ORDER BY 1") == [
        (PROJECT, 1),
        ("tunnel", 1),
    ]
    assert await projector(connections).resume(PROJECT) == 5


def _refuse_payments(event: Recorded[Any, Any]) -> Any:
    if isinstance(event.body, accounting.ShareAdded):
        raise UnprocessableError("payments are not understood")
    return PROJECTIONS["project-balance-v1"].changes(event)


async def test_value_that_the_database_refuses_blocks_its_project_alone(connections: Pool) -> None:
    bad = invoice_issued(doc_number="10\x0001", version=1)
    others = [invoice_issued(project_id=f"p{number}") for number in range(7)]
    step = projector(connections, "project-documents-v1")
    await step.do(delivered([*others[:3], bad, *others[3:]]))
    ((stream, version, reason),) = await rows(connections, "SELECT stream_id, version, reason FROM read_blocked")
    assert (stream, version) == (PROJECT, 1)
    assert reason.startswith("InvoiceIssued: ")
    assert await rows(connections, "SELECT count(*) FROM read_project_documents") == [(7,)]


async def test_amounts_of_two_currencies_never_meet_in_one_row(connections: Pool) -> None:
    paid = accounting.PaymentApplied(invoice_id="17", applied=money("5", "EUR"), applied_on=DAY)
    events = numbered([invoice_issued(), accounting_event(paid, "Payment", "31")])
    await projector(connections, "project-documents-v1").do(delivered(events))
    assert await rows(connections, "SELECT version, reason FROM read_blocked") == [
        (2, "PaymentApplied: Invoice 17 is in USD, what settles it in EUR")
    ]
    await projector(connections).do(delivered(events))
    found = await rows(connections, "SELECT currency, open_invoices FROM read_project_balance ORDER BY 1")
    assert found == [("EUR", -5), ("USD", 100)]


async def test_undecodable_and_foreign_records_are_unworkable_and_the_rest_is_applied(connections: Pool) -> None:
    other_generation = accounting_event(invoice_issued().body, "Invoice", "17", generation=2)
    of_company = company_event(company.RecordResolved(part=""))
    records = [
        incoming(b"not Avro", offset=1),
        incoming(None, offset=2),
        *delivered([other_generation, of_company, invoice_issued()], first_offset=3),
    ]
    outcome = await projector(connections).do(records)
    assert [(each.record.offset, str(each.error)) for each in outcome.unworkable] == [
        (1, "the record is not in the Confluent wire format"),
        (2, "the record has no value (a tombstone), which no topic of ours uses"),
        (3, "an event of generation 2; this projector is of 1"),
        (4, "RecordResolved is not an event of a project"),
    ]
    assert await rows(connections, "SELECT version FROM read_positions") == [(1,)]


async def test_generations_stand_beside_each_other(connections: Pool) -> None:
    await projector(connections).do(delivered([invoice_issued("100.00")]))
    again = accounting_event(invoice_issued("90.00").body, "Invoice", "17", generation=2)
    await projector(connections, generation=2).do(delivered([again]))
    found = await rows(connections, "SELECT generation, open_invoices FROM read_project_balance ORDER BY 1")
    assert found == [(1, 100), (2, 90)]


class Zombie(Projector):
    """A worker that is frozen after it has read the rows, until its partition was given to another."""

    def __init__(self, connections: Pool) -> None:
        super().__init__(PROJECTIONS["project-balance-v1"], connections, file_ids(), 1)
        self.frozen, self.thawed = asyncio.Event(), asyncio.Event()

    async def _load(self, connection: Connection, plan: Any) -> Rows:
        rows = await super()._load(connection, plan)
        self.frozen.set()
        await self.thawed.wait()
        return rows


@pytest.mark.parametrize("already_applied", [0, 2])
async def test_worker_that_lost_its_partition_writes_nothing_and_stops(connections: Pool, already_applied: int) -> None:
    await projector(connections).do(delivered(a_life()[:already_applied]))
    zombie = Zombie(connections)
    late = asyncio.create_task(zombie.do(delivered(a_life())))
    await zombie.frozen.wait()
    await projector(connections).do(delivered(a_life()))
    after = await everything(connections, "project-balance-v1")
    zombie.thawed.set()
    with pytest.raises(Fenced):
        await late
    assert await everything(connections, "project-balance-v1") == after


async def test_two_workers_with_one_partition_never_double(connections: Pool) -> None:
    records = delivered([event for number in range(10) for event in a_life(f"p{number}")])

    async def work() -> None:
        step = projector(connections)
        for start in range(0, len(records), 7):
            try:
                await step.do(records[start : start + 7])
            except Fenced:
                return

    await asyncio.gather(work(), work(), work())
    await projector(connections).do(records)
    found = await rows(connections, "SELECT DISTINCT net_receivable, last_version FROM read_project_balance")
    assert found == [(-10, 6)]
    assert await rows(connections, "SELECT * FROM read_blocked") == []


async def test_events_that_arrive_while_a_project_is_resumed_are_not_lost(connections: Pool) -> None:
    """The worker waits for the resume, then applies what came meanwhile."""
    step, life = projector(connections), a_life()
    await store_in_ledger(connections, life[:4])
    await step.do(delivered([life[0], life[3]]))

    class Slow(Projector):
        async def _stored(self, connection: Connection, stream_id: str) -> list[Event]:
            stored = await super()._stored(connection, stream_id)
            if not stored:
                self.last_look.set()
                await self.go_on.wait()
            return stored

        last_look, go_on = asyncio.Event(), asyncio.Event()

    slow = Slow(PROJECTIONS["project-balance-v1"], connections, file_ids(), 1)
    resuming = asyncio.create_task(slow.resume(PROJECT))
    await slow.last_look.wait()
    await store_in_ledger(connections, life[4:])
    delivering = asyncio.create_task(step.do(delivered(life[4:])))
    await _waiting_for_a_lock(connections)
    slow.go_on.set()
    await asyncio.gather(resuming, delivering)
    assert await rows(connections, "SELECT version FROM read_positions") == [(6,)]
    assert await rows(connections, "SELECT * FROM read_blocked") == []


async def _waiting_for_a_lock(connections: Pool) -> None:
    query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    for _ in range(6000):
        if await rows(connections, query):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits for a lock")


async def test_every_column_of_a_read_table_and_view_says_what_it_means(connections: Pool) -> None:
    mute = await rows(
        connections,
        r"""SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
            WHERE c.relname LIKE 'read\_%' AND c.relkind IN ('r', 'v') AND a.attnum > 0 AND NOT a.attisdropped
              AND c.relnamespace = 'public'::regnamespace AND coalesce(col_description(c.oid, a.attnum), '') = ''""",
    )
    assert mute == []


async def test_rows_and_tables_have_the_same_columns_and_no_defaults(connections: Pool) -> None:
    tables = [table for projection in PROJECTIONS.values() for table in projection.tables]
    for table in tables:
        found = await rows(
            connections,
            f"""SELECT column_name, column_default FROM information_schema.columns
                WHERE table_name = '{table.name}' ORDER BY ordinal_position""",
        )
        assert [name for name, _ in found] == list(table.row._fields)  # type: ignore[attr-defined]
        assert {default for _, default in found} == {None}
        key = await rows(
            connections,
            f"""SELECT a.attname FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k(number, place)
                JOIN pg_attribute a ON a.attnum = k.number
                WHERE i.indrelid = '{table.name}'::regclass AND i.indisprimary AND a.attrelid = i.indrelid
                ORDER BY k.place""",
        )
        assert [name for (name,) in key] == ["generation", *table.key]


@pytest.mark.parametrize(
    "table", [table for each in PROJECTIONS.values() for table in each.tables], ids=lambda t: t.name
)
async def test_rows_that_go_are_found_by_their_key_also_in_a_new_table(connections: Pool, table: Table) -> None:
    """A plan that compares every row with every other one took a minute for some hundred rows."""
    columns = [["1", "2"] for _ in table.key]
    async with connections.connection() as connection:
        await connection.execute(queries("projections.sql")["plan_by_key"])
        plan = await connection.execute(b"EXPLAIN " + _statements(table).delete, (*columns, 1))
        lines = [line for (line,) in await plan.fetchall()]
    found = next(line for line in lines if "Index Cond" in line)
    assert all(f"{name} = " in found for name in ("generation", *table.key)), lines
    assert not any("Join Filter" in line for line in lines), lines
