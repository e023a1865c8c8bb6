"""How many changes a second are booked and events projected, beside a Faust agent that does nothing.

Run: `python -m benchmarks.steps`. Starts a broker and a database of its own (fsync on); every figure comes from one
run, each step in a process of its own, through the delivery loop that production uses. The second baseline is the same
work on a plain consumer with one record for each transaction.
"""

import asyncio
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import faust
import mode
import uvloop

from benchmarks.table import Row, all_met, ratio_of, show
from connectors.cluster import create_topics
from connectors.kafka import Publisher, read_from
from connectors.local import Broker, Database
from connectors.postgres import migrate, pool
from connectors.sealing import Sealer
from schemas import changes
from schemas.codec import Recorded, file_ids
from schemas.topics import Topic, topics
from schemas.wire import Incoming, Outcome, Outgoing
from streams.bookkeeping import Bookkeeper
from streams.delivery import Delivery, Step
from streams.parking import Parking
from streams.projections import projections
from streams.projector import Projector

RECORDS = 20_000
ONE_BY_ONE = 500
CUSTOMERS = 40
PARTITIONS = 1
COMPANY = "9130000000000001"
MASTER_KEYS = {"bench": b"b" * 32}
NOW = datetime(2026, 3, 20, 21, 2, 45, tzinfo=UTC)
TOPICS = topics(PARTITIONS)
BALANCE = "project-balance-v1"


class Timed:
    """A step's work with a stopwatch: from its first batch until the broker has what the last record gave."""

    def __init__(self, work: Any, records: int) -> None:
        self._work, self._left, self._records = work, records, records
        self._began = 0.0
        self.done = asyncio.Event()
        self.per_s = 0.0

    @property
    def progress(self) -> int:
        return int(self._work.progress)

    async def do(self, batch: Sequence[Incoming]) -> Outcome:
        self._began = self._began or time.perf_counter()
        outcome: Outcome = await self._work.do(batch)
        self._left -= len(batch)
        return outcome

    async def published(self, outcome: Outcome) -> None:
        await self._work.published(outcome)
        if self._left <= 0:
            self.per_s = self._records / (time.perf_counter() - self._began)
            self.done.set()

    async def assigned(self, partitions: Collection[tuple[str, int]]) -> None:
        await self._work.assigned(partitions)


# --- what is measured, each in a process of its own --------------------------------------------------------------


async def empty_agent(bootstrap: str, _: str, topic: Topic, records: int) -> float:
    """A Faust agent that takes batches, acknowledges them and does nothing; records a second."""
    done, counted, began, per_s = asyncio.Event(), 0, 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        app = faust.App(
            f"nothing-{time.time_ns()}",
            broker=f"aiokafka://{bootstrap}",
            datadir=folder,
            env={},
            store="memory://",
            web_enabled=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            table_standby_replicas=0,
            broker_max_poll_records=1000,
            stream_buffer_maxsize=4096,
            consumer_auto_offset_reset="earliest",
            key_serializer="raw",
            value_serializer="raw",
        )

        async def nothing(stream: Any) -> None:
            nonlocal counted, began, per_s
            async for events in stream.noack_take(1000, within=0.05):
                began = began or time.perf_counter()
                for event in events:
                    event.ack()
                counted += len(events)
                if counted >= records:
                    per_s = records / (time.perf_counter() - began)
                    done.set()

        app.agent(app.topic(topic.name), name="nothing", supervisor_strategy=mode.CrashingSupervisor)(nothing)
        app.loop = asyncio.get_running_loop()
        app.finalize()
        await app.maybe_start()
        await asyncio.wait_for(done.wait(), 300)
        await app.stop()
    return per_s


async def booked(bootstrap: str, database_url: str, topic: Topic, records: int) -> float:
    """The ledger step through the delivery loop, events published; changes a second."""
    async with AsyncExitStack() as stack:
        work, publisher = await _ledger(stack, bootstrap, database_url)
        return await _through_delivery(bootstrap, Timed(work, records), topic, publisher.publish, "ledger-v1-g1")


async def projected(bootstrap: str, database_url: str, topic: Topic, records: int) -> float:
    """The balance projector through the delivery loop; events a second."""
    async with AsyncExitStack() as stack:
        work, publisher = await _projector(stack, bootstrap, database_url)
        return await _through_delivery(bootstrap, Timed(work, records), topic, publisher.publish, f"{BALANCE}-g1")


async def booked_one_by_one(bootstrap: str, database_url: str, topic: Topic, records: int, first: int) -> float:
    """The same ledger, one change for each transaction, on a plain consumer."""
    async with AsyncExitStack() as stack:
        work, _ = await _ledger(stack, bootstrap, database_url)
        return await _one_by_one(bootstrap, work, topic, records, first)


async def projected_one_by_one(bootstrap: str, database_url: str, topic: Topic, records: int) -> float:
    """The same projector, one event for each transaction, on a plain consumer."""
    async with AsyncExitStack() as stack:
        work, _ = await _projector(stack, bootstrap, database_url)
        return await _one_by_one(bootstrap, work, topic, records, 0)


async def _ledger(stack: AsyncExitStack, bootstrap: str, database_url: str) -> tuple[Bookkeeper, Publisher]:
    connections = await stack.enter_async_context(pool(database_url))
    publisher = await stack.enter_async_context(Publisher(bootstrap))
    sealer = Sealer(connections, MASTER_KEYS)
    parking = Parking(connections, publisher, TOPICS, "bench")
    return Bookkeeper(connections, sealer, parking, publisher, TOPICS), publisher


async def _projector(stack: AsyncExitStack, bootstrap: str, database_url: str) -> tuple[Projector, Publisher]:
    connections = await stack.enter_async_context(pool(database_url))
    publisher = await stack.enter_async_context(Publisher(bootstrap))
    projection = next(each for each in projections(lambda *_: b"") if each.name == BALANCE)
    return Projector(projection, connections, file_ids(), 1), publisher


async def _through_delivery(
    bootstrap: str, work: Timed, topic: Topic, publish: Callable[[Sequence[Outgoing]], Awaitable[None]], group: str
) -> float:
    step = Step(name=group, reads=(topic,), work=work)
    await asyncio.wait_for(_delivery(bootstrap, publish).run([step], stop=work.done, ready=lambda: None), 600)
    return work.per_s


def _delivery(bootstrap: str, publish: Callable[[Sequence[Outgoing]], Awaitable[None]]) -> Delivery:
    async def no_parking(step: str, unworkable: object) -> None:
        raise AssertionError(f"{step} parked {unworkable}")

    async def no_lag(*_: object) -> int:
        return 0

    return Delivery(bootstrap=bootstrap, session_timeout_s=30, publish=publish, park=no_parking, lag=no_lag)


async def _one_by_one(bootstrap: str, work: Any, topic: Topic, records: int, first: int) -> float:
    done, began = 0, 0.0
    async for batch in read_from(bootstrap, topic.name, {0: first}):
        for record in batch[: records - done]:
            began = began or time.perf_counter()
            await work.do([record])
            done += 1
        if done >= records:
            break
    return done / (time.perf_counter() - began)


# --- the input ---------------------------------------------------------------------------------------------------


async def write_input(bootstrap: str, database_url: str, topic: Topic, records: int) -> float:
    """Customers and projects, booked already; then `records` invoices to be booked."""
    async with AsyncExitStack() as stack:
        connections = await stack.enter_async_context(pool(database_url))
        publisher = await stack.enter_async_context(Publisher(bootstrap))
        sealer = Sealer(connections, MASTER_KEYS)
        await sealer.load([COMPANY])
        begin = [_message(number, body) for number, body in enumerate(_beginning(sealer))]
        await publisher.publish([_outgoing(value) for value in begin])
        work, _ = await _ledger(stack, bootstrap, database_url)
        await work.do([_incoming(topic, offset, value) for offset, value in enumerate(begin)])
        invoices = (_message(len(begin) + i, _invoice(sealer, i)) for i in range(records))
        await publisher.publish([_outgoing(value) for value in invoices])
    return float(len(begin))


def _beginning(sealer: Sealer) -> list[Any]:
    bodies: list[Any] = []
    for number in range(CUSTOMERS):
        raw = {"Id": str(number + 1), "DisplayName": f"Customer {number}", "CurrencyRef": {"value": "USD"}}
        bodies.append(_read(sealer, "Customer", raw))
        bodies.append(changes.ProjectDeclared(project_id=f"P{number}", name=f"P{number}"))
        bodies.append(
            changes.MapCustomer(
                decision_id=f"d{number}",
                person="bench",
                customer_id=str(number + 1),
                project_id=f"P{number}",
                reference_number="",
                from_on=None,
                mapping_version=0,
            )
        )
    return bodies


def _invoice(sealer: Sealer, number: int) -> changes.RecordRead:
    """As large as a three-line invoice of QuickBooks."""
    item = {
        "ItemRef": {"value": "7", "name": "Installation"},
        "UnitPrice": 150,
        "Qty": 12,
        "TaxCodeRef": {"value": "NON"},
    }
    lines = [
        {"Id": str(n), "LineNum": n, "Description": "Labour and material of one stage", "Amount": 600,
         "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": item, "CustomExtensions": []}
        for n in range(1, 4)
    ]  # fmt: skip
    raw = {
        "AllowOnlinePayment": False,
        "domain": "QBO",
        "sparse": False,
        "Id": str(number + 1),
        "SyncToken": "0",
        "MetaData": {"CreateTime": "2026-03-02T09:00:00-08:00", "LastUpdatedTime": "2026-03-20T14:02:45-07:00"},
        "CustomField": [{"DefinitionId": "1", "Name": "Reference Number", "Type": "StringType"}],
        "DocNumber": str(number + 2000),
        "TxnDate": "2026-03-02",
        "CurrencyRef": {"value": "USD", "name": "United States Dollar"},
        "Line": [*lines, {"Amount": 1800, "DetailType": "SubTotalLineDetail", "SubTotalLineDetail": {}}],
        "TxnTaxDetail": {"TotalTax": 0},
        "CustomerRef": {"value": str(number % CUSTOMERS + 1), "name": "A customer"},
        "DueDate": "2026-04-01",
        "TotalAmt": 1800,
        "Balance": 1800,
    }
    return _read(sealer, "Invoice", raw)


def _read(sealer: Sealer, record_type: str, raw: dict[str, Any]) -> changes.RecordRead:
    return changes.RecordRead(
        record_type=record_type,
        record_id=raw["Id"],
        revised_at=NOW,
        sync_token=0,
        read_at=NOW,
        sealed=sealer.seal(COMPANY, "record", json.dumps(raw).encode()),
        related=(),
    )


def _message(number: int, body: Any) -> bytes:
    envelope = changes.Envelope(
        change_id=uuid5(NAMESPACE_OID, str(number)),
        company_id=COMPANY,
        origin="webhook",
        recorded_at=NOW + timedelta(milliseconds=number),
        correlation_id=str(uuid5(NAMESPACE_OID, f"cause {number}")),
        causes=(),
    )
    return file_ids().encode(Recorded(envelope, body))


def _outgoing(value: bytes) -> Outgoing:
    return Outgoing(topic=TOPICS.changes.name, key=COMPANY, value=value)


def _incoming(topic: Topic, offset: int, value: bytes) -> Incoming:
    return Incoming(topic.name, 0, offset, COMPANY, value, {}, 0)


# --- one run -----------------------------------------------------------------------------------------------------

Measured = Callable[..., Any]


def run(records: int = RECORDS) -> list[Row]:
    """Measure; the rows for the common table."""
    with (
        tempfile.TemporaryDirectory(prefix="intoaec-bench-") as folder,
        Broker.start(Path(folder) / "kafka") as broker,
        Database.start(Path(folder) / "postgres") as database,
    ):
        bootstrap, url = broker.bootstrap, database.create("at_once")
        migrate(url)
        reads = {"ledger-v1-g1": [TOPICS.changes.name], f"{BALANCE}-g1": [TOPICS.accounting_events.name]}
        asyncio.run(create_topics(bootstrap, TOPICS.all(), reads))
        begin = int(_measure(write_input, bootstrap, url, TOPICS.changes, records)[0])
        other = database.create("one_by_one", template="at_once")
        events = records + CUSTOMERS
        ledger, ledger_mb, nothing = _beside_nothing(booked, bootstrap, url, TOPICS.changes, records)
        balance, balance_mb, nothing_events = _beside_nothing(
            projected, bootstrap, url, TOPICS.accounting_events, events
        )
        ledger_one = _measure(booked_one_by_one, bootstrap, other, TOPICS.changes, ONE_BY_ONE, begin)[0]
        balance_one = _measure(projected_one_by_one, bootstrap, other, TOPICS.accounting_events, ONE_BY_ONE)[0]
    return [
        _row("changes booked, beside an empty Faust agent", ledger, nothing, 0.25),
        _row("changes booked, beside one a transaction", ledger, ledger_one, None),
        _row("events projected, beside an empty Faust agent", balance, nothing_events, 0.40),
        _row("events projected, beside one a transaction", balance, balance_one, 5.0),
        _memory("memory of the ledger's process", ledger_mb),
        _memory("memory of the projector's process", balance_mb),
    ]


def _beside_nothing(measured: Measured, *arguments: Any) -> tuple[float, float, float]:
    """The figure, the largest memory, and what an empty agent did on average before and after it."""
    before = _measure(empty_agent, *arguments)[0]
    figure, megabytes = _measure(measured, *arguments)
    return figure, megabytes, (before + _measure(empty_agent, *arguments)[0]) / 2


def _measure(measured: Measured, *arguments: Any) -> tuple[float, float]:
    """In a process of its own: the figure, and the process's largest memory in MB."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as one:
        return one.apply(_run_alone, (measured, arguments))


def _run_alone(measured: Measured, arguments: tuple[Any, ...]) -> tuple[float, float]:
    os.environ["NO_COLOR"] = "1"
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figure = float(runner.run(measured(*arguments)))
    return figure, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _row(name: str, value: float, baseline: float, at_least: float | None) -> Row:
    ratio = ratio_of(value, baseline)
    target = "" if at_least is None else f"at least {at_least:g}"
    met = None if at_least is None else bool(ratio is not None and ratio >= at_least)
    return Row(name=name, value=value, unit="/s", baseline=baseline, ratio=ratio, target=target, met=met)


def _memory(name: str, megabytes: float) -> Row:
    return Row(name=name, value=megabytes, unit="MB", target="under 300 MB", met=megabytes < 300)


if __name__ == "__main__":
    found = run(int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS)
    show("Steps", found)
    sys.exit(not all_met(found))
