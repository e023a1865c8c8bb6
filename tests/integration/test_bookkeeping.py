"""The ledger's edge on a real database: what is stored, what is published, and what happens when a worker dies."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from psycopg_pool import AsyncConnectionPool

from connectors.postgres import Connection, pool
from connectors.sealing import Sealer
from schemas import changes
from schemas.codec import file_ids
from schemas.errors import TransientError
from schemas.topics import topics
from schemas.wire import Incoming, Outgoing, Unworkable
from streams import bookkeeping
from streams.bookkeeping import Bookkeeper
from streams.event_log import Fenced
from tests.inputs import COMPANY, START, Inputs

TOPICS = topics(4)
PROJECT_EVENTS, COMPANY_EVENTS = TOPICS.accounting_events.name, TOPICS.company_events.name


@dataclass
class Broker:
    """Keeps what is published; `away` refuses, as a broker that is away does."""

    records: list[Outgoing] = field(default_factory=list)
    away: bool = False

    async def publish(self, records: Sequence[Outgoing]) -> None:
        if self.away:
            raise TransientError("the broker is away")
        self.records += records

    def versions(self, topic: str, key: str) -> list[int]:
        messages = [file_ids().decode(r.value) for r in self.records if (r.topic, r.key) == (topic, key)]
        return [message.envelope.version for message in messages]

    def bodies(self, topic: str) -> list[Any]:
        return [file_ids().decode(r.value).body for r in self.records if r.topic == topic]


@dataclass
class Aside:
    """Keeps what is parked."""

    records: list[Unworkable] = field(default_factory=list)

    async def park(self, connection: Connection, step: str, unworkable: Sequence[Unworkable]) -> None:
        self.records += unworkable

    async def supersede(self, connection: Connection, step: str, reads: Sequence[tuple[str, str, str, int]]) -> None:
        pass

    async def publish_unpublished(self) -> int:
        return 0


@dataclass
class World:
    connections: AsyncConnectionPool[Connection]
    sealer: Sealer
    inputs: Inputs
    broker: Broker = field(default_factory=Broker)
    aside: Aside = field(default_factory=Aside)

    def worker(self) -> Bookkeeper:
        """Another process on the same database."""
        return Bookkeeper(self.connections, self.sealer, self.aside, self.broker, TOPICS)

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        async with self.connections.connection() as connection:
            return await (await connection.execute(query.encode())).fetchall()


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with pool(database_url) as connections:
        sealer = Sealer(connections, {"k1": b"k" * 32})
        await sealer.load([COMPANY])
        yield World(connections, sealer, Inputs(sealer))


def synced(world: World) -> Inputs:
    world.inputs.declare("P1")
    world.inputs.customer("1")
    world.inputs.map("1", "P1")
    return world.inputs


async def test_events_are_stored_and_published_with_contiguous_versions(world: World) -> None:
    inputs = synced(world)
    inputs.invoice("11", "1000")
    inputs.payment("21", "400", "11")
    await world.worker().do(inputs.records)
    assert world.broker.versions(PROJECT_EVENTS, "P1") == [1, 2, 3, 4]
    assert [type(body).__name__ for body in world.broker.bodies(PROJECT_EVENTS)] == [
        "CustomerMapped",
        "InvoiceIssued",
        "PaymentReceived",
        "PaymentApplied",
    ]
    assert await world.rows("SELECT next_offset, slice FROM ledger.positions") == [(5, "")]


async def test_a_batch_delivered_again_adds_nothing(world: World) -> None:
    inputs = synced(world)
    inputs.invoice("11", "1000")
    worker = world.worker()
    await worker.do(inputs.records)
    published = len(world.broker.records)
    await worker.do(inputs.records)
    await world.worker().do(inputs.records)
    assert len(world.broker.records) == published
    assert await world.rows("SELECT count(*) FROM ledger.inputs") == [(4,)]


async def test_the_same_content_under_a_new_offset_is_no_difference(world: World) -> None:
    inputs = synced(world)
    inputs.invoice("11", "1000")
    inputs.invoice("11", "1000")
    await world.worker().do(inputs.records)
    assert await world.rows('SELECT outcome FROM ledger.inputs ORDER BY "offset"') == [
        ("noted",),
        ("booked",),
        ("accepted",),
        ("booked",),
        ("no difference",),
    ]


async def test_one_by_one_and_all_at_once_store_the_same_events(world: World, database_url: str) -> None:
    inputs = synced(world)
    for number in range(11, 31):
        inputs.invoice(str(number), "100")
        inputs.payment(str(number + 100), "40", str(number))
    worker = world.worker()
    for record in inputs.records:
        await worker.do([record])
    one_by_one = [r for r in world.broker.records if r.topic == PROJECT_EVENTS]
    other = World(world.connections, world.sealer, inputs)
    await _forget(world)
    await other.worker().do(inputs.records)
    assert [r for r in other.broker.records if r.topic == PROJECT_EVENTS] == one_by_one


async def test_what_was_stored_and_not_published_is_published_by_the_next_owner(world: World) -> None:
    inputs = synced(world)
    inputs.invoice("11", "1000")
    world.broker.away = True
    with pytest.raises(TransientError):
        await world.worker().do(inputs.records)
    assert world.broker.records == []
    world.broker.away = False
    await world.worker().assigned({("company-changes", 0)})
    assert world.broker.versions(PROJECT_EVENTS, "P1") == [1, 2]
    assert await world.rows("SELECT count(*) FROM ledger.streams WHERE published < version") == [(0,)]


async def test_a_zombie_is_fenced_and_writes_nothing(world: World) -> None:
    inputs = synced(world)
    zombie, owner = world.worker(), world.worker()
    await zombie.do(inputs.records)
    inputs.invoice("11", "1000")
    inputs.invoice("12", "500")
    await owner.do(inputs.records[3:4])
    before = await world.rows("SELECT * FROM ledger.events ORDER BY kind, stream_id, version")
    with pytest.raises(Fenced):
        await zombie.do(inputs.records[3:])
    assert await world.rows("SELECT * FROM ledger.events ORDER BY kind, stream_id, version") == before


async def test_a_large_move_goes_on_where_a_dead_worker_left_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bookkeeping, "SLICE_DOCUMENTS", 10)
    inputs = synced(world)
    inputs.declare("P2")
    for number in range(100, 125):
        inputs.invoice(str(number), "10")
        inputs.payment(str(number + 100), "4", str(number))
    await world.worker().do(inputs.records)
    move = inputs.map("1", "P2", seen=1)
    world.broker.away = True
    with pytest.raises(TransientError):  # it dies while it publishes the first slice
        await world.worker().do([move])
    (position,) = await world.rows("SELECT next_offset, slice <> '' FROM ledger.positions")
    assert position == (move.offset, True)
    world.broker.away = False
    successor = world.worker()
    await successor.assigned({("company-changes", 0)})
    await successor.do([move])
    names = [type(body).__name__ for body in world.broker.bodies(PROJECT_EVENTS)]
    assert names.count("InvoiceMovedOut") == names.count("InvoiceMovedIn") == 25
    assert names.count("PaymentMovedOut") == names.count("PaymentMovedIn") == 25
    (accepted,) = [b for b in world.broker.bodies(COMPANY_EVENTS) if getattr(b, "decision_id", "") == "decision-54"]
    assert (type(accepted).__name__, accepted.records_moved) == ("RequestAccepted", 50)
    for project in ("P1", "P2"):
        versions = world.broker.versions(PROJECT_EVENTS, project)
        assert versions == list(range(1, len(versions) + 1))


async def test_an_input_that_cannot_be_read_is_parked_alone(world: World) -> None:
    inputs = synced(world)
    record = inputs.invoice("11", "1000")
    inputs.records[-1] = Incoming(record.topic, 0, record.offset, record.key, b"\x00\x00\x00\xff\xffjunk", {}, 0)
    inputs.read("Invoice", {"Id": "12", "TotalAmt": "NaN"})
    inputs.invoice("13", "300")
    await world.worker().do(inputs.records)
    assert [(u.record.offset, u.record_id) for u in world.aside.records] == [(3, None), (4, "12")]
    assert world.broker.versions(PROJECT_EVENTS, "P1") == [1, 2]


async def test_an_unknown_counterpart_is_asked_for_through_read_requests(world: World) -> None:
    inputs = synced(world)
    inputs.payment("21", "400", "11")
    await world.worker().do(inputs.records)
    (request,) = world.broker.bodies(TOPICS.read_requests.name)
    assert [(r.record_type, r.record_id) for r in request.records] == [("Invoice", "11")]
    assert await world.rows("SELECT count(*) FROM ledger.read_requests") == [(0,)]


async def test_a_project_of_another_company_is_not_taken_over(world: World) -> None:
    synced(world)
    await world.worker().do(world.inputs.records)
    await world.sealer.load(["9130000000000002"])
    other = Inputs(world.sealer, company_id="9130000000000002", records=list(world.inputs.records))
    other.declare("P1")
    other.customer("1")
    other.map("1", "P1")
    await world.worker().do(other.records)
    assert world.broker.versions(PROJECT_EVENTS, "P1") == [1]
    refusals = [b for b in world.broker.bodies(COMPANY_EVENTS) if type(b).__name__ == "RequestRefused"]
    assert [r.refusal for r in refusals] == ["Project P1 does not belong to this QuickBooks company."]


async def test_a_customer_that_moves_takes_along_an_invoice_of_the_same_batch(world: World) -> None:
    inputs = synced(world)
    inputs.declare("P2")
    inputs.customer("2")
    inputs.map("2", "P2")
    inputs.job("3", parent="1")
    await world.worker().do(inputs.records)
    first = len(inputs.records)
    inputs.invoice("11", "100", "3")
    inputs.job("3", parent="2")
    await world.worker().do(inputs.records[first:])
    names = [type(body).__name__ for body in world.broker.bodies(PROJECT_EVENTS)]
    assert names[-3:] == ["InvoiceIssued", "InvoiceMovedOut", "InvoiceMovedIn"]


async def test_inputs_that_no_rule_can_take_are_parked_and_never_stop_the_ledger(world: World) -> None:
    inputs = synced(world)
    gone = {"announced_at": START, "read_at": START}
    inputs.add(changes.RecordGone(record_type="Invoice", record_id="abc", **gone))
    inputs.add(changes.RecordGone(record_type="Vendor", record_id="7", **gone))
    inputs.add(changes.ReadRequest(records=(), why="it stands in the wrong topic"))
    inputs.read("Invoice", {"Id": "12", "TotalAmt": 1, "CustomerRef": {"value": "1\x00"}, "TxnDate": "2026-02-03"})
    inputs.invoice("13", "300")
    await world.worker().do(inputs.records)
    assert [u.record.offset for u in world.aside.records] == [3, 4, 5, 6]
    assert world.broker.versions(PROJECT_EVENTS, "P1") == [1, 2]


async def test_inputs_of_a_forgotten_company_are_passed_over(world: World) -> None:
    inputs = synced(world)
    await world.sealer.destroy(COMPANY)
    await world.worker().do(inputs.records)
    assert world.aside.records == []
    assert await world.rows("SELECT count(*) FROM ledger.inputs WHERE outcome = 'forgotten'") == [(1,)]
    assert await world.rows("SELECT next_offset FROM ledger.positions") == [(3,)]


async def test_a_commit_that_went_through_unheard_is_no_other_owner(world: World) -> None:
    inputs = synced(world)
    worker = world.worker()
    await worker.do(inputs.records[:2])
    before = dict(worker._positions)
    await worker.do(inputs.records[2:])
    worker._positions.update(before)  # as if the connection had died after the commit
    with pytest.raises(TransientError):
        await worker.do(inputs.records[2:])
    await worker.do(inputs.records[2:])
    assert world.broker.versions(PROJECT_EVENTS, "P1") == [1]


async def _forget(world: World) -> None:
    async with world.connections.connection() as connection:
        tables = await (
            await connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'ledger'")
        ).fetchall()
        names = ", ".join(f"ledger.{name}" for (name,) in tables)
        await connection.execute(f"TRUNCATE {names}".encode())
