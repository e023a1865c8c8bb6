"""Composition root and table of contents: every step, what it reads, what it writes, and how a worker runs them.

step                reads                                   writes
enrich              quickbooks-notifications, read-requests company-changes
ledger              company-changes                         ledger.*, accounting-events, company-events, read-requests
project-balance-v1  accounting-events                       read_project_balance
project-documents-v1                                        read_project_documents
payments-v1                                                 read_payments, read_payment_allocations
customers-v1        company-events                          read_customers
waiting-v1                                                  read_waiting, read_warnings, read_decisions
repair              control.companies                       company-changes, sync-events   (a loop, no step)
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client import start_http_server
from psycopg_pool import AsyncConnectionPool

from connectors.cluster import check_offsets, create_topics, group_positions
from connectors.config import Settings
from connectors.control import ControlTables
from connectors.kafka import Publisher, partition_of
from connectors.postgres import Connection, pool, transaction
from connectors.quickbooks.client import QuickBooks
from connectors.quickbooks.http import Http
from connectors.quickbooks.limiter import Limiter
from connectors.quickbooks.oauth import Authorizations
from connectors.registry import schema_ids
from connectors.sealing import Sealer
from schemas.topics import Topics, topics
from streams.bookkeeping import Bookkeeper
from streams.delivery import Delivery, Step
from streams.enrich import Enrich
from streams.parking import ParkedFeed, Parking
from streams.projections import projections
from streams.projector import Projector
from streams.repair import Repair, run_repair

ROLES = ("enrich", "ledger", "project", "repair")
ENRICH, LEDGER, PARKED = "enrich-v1", "ledger-v1", "parked-v1"
log = structlog.get_logger()


class StartRefused(Exception):
    """A worker must not start like this; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What the processes share: the way to the broker, the database, the keys and QuickBooks."""

    settings: Settings
    topics: Topics
    connections: AsyncConnectionPool[Connection]
    publisher: Publisher
    sealer: Sealer
    parking: Parking
    authorizations: Authorizations
    quickbooks: QuickBooks
    control: ControlTables


def topics_of(settings: Settings) -> Topics:
    """The topics of this installation."""
    return topics(settings.topic_partitions, prefix=settings.topic_prefix, generation=settings.topic_generation)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[System]:
    """The system's parts, closed in the reverse order. Nothing connects before it is used, but the database."""
    named = replace(topics_of(settings), ids=await asyncio.to_thread(schema_ids, settings))
    async with AsyncExitStack() as stack:
        connections = await stack.enter_async_context(pool(settings.database_url.get_secret_value()))
        publisher = await stack.enter_async_context(Publisher(settings.kafka_bootstrap))
        http = await stack.enter_async_context(Http(settings))
        sealer = Sealer(connections, settings.master_keys)
        limiter = Limiter(connections, settings.quickbooks_calls_per_month_max)
        authorizations = Authorizations(settings, connections, http, sealer, publisher.publish, named)
        yield System(
            settings=settings,
            topics=named,
            connections=connections,
            publisher=publisher,
            sealer=sealer,
            parking=Parking(connections, publisher, named, settings.build, parked_max=settings.parked_per_minute_max),
            authorizations=authorizations,
            quickbooks=QuickBooks(settings, http, authorizations, limiter),
            control=ControlTables(connections),
        )


def groups(settings: Settings) -> dict[str, list[str]]:
    """Every consumer group and the topics that it reads."""
    named = topics_of(settings)
    read: dict[str, list[str]] = {
        ENRICH: [named.notifications.name, named.read_requests.name],
        PARKED: [named.parked.name],
        _derived(LEDGER, settings): [named.changes.name],
    }
    for projection in projections(_never_opened):
        source = named.accounting_events if projection.kind == "project" else named.company_events
        read[_derived(projection.name, settings)] = [source.name]
    return {settings.topic_prefix + group: names for group, names in read.items()}


async def prepare_topics(settings: Settings) -> None:
    """Create what is missing, and let every group begin at the beginning of what is empty. Safe twice."""
    await create_topics(settings.kafka_bootstrap, topics_of(settings).all(), groups(settings))


def steps(system: System, roles: Collection[str]) -> list[Step]:
    """The steps of these roles."""
    found: list[Step] = []
    if "enrich" in roles:
        found += [_enrich(system), _parked_feed(system)]
    if "ledger" in roles:
        found.append(_ledger(system))
    if "project" in roles:
        found += _projectors(system)
    return found


def _enrich(system: System) -> Step:
    work = Enrich(system.quickbooks, system.control, system.sealer, system.topics)
    reads = (system.topics.notifications, system.topics.read_requests)
    return Step(name=system.settings.topic_prefix + ENRICH, reads=reads, work=work, batch_wait_s=0.1)


def _parked_feed(system: System) -> Step:
    work = ParkedFeed(system.connections, system.topics)
    return Step(name=system.settings.topic_prefix + PARKED, reads=(system.topics.parked,), work=work)


def _ledger(system: System) -> Step:
    work = Bookkeeper(
        system.connections,
        system.sealer,
        system.parking,
        system.publisher,
        system.topics,
        generation=system.settings.topic_generation,
    )
    name = system.settings.topic_prefix + _derived(LEDGER, system.settings)
    return Step(name=name, reads=(system.topics.changes,), work=work)


def _projectors(system: System) -> list[Step]:
    found = []
    for projection in projections(system.sealer.open):
        source = system.topics.accounting_events if projection.kind == "project" else system.topics.company_events
        prepare = system.sealer.load if projection.kind == "company" else None
        generation = system.settings.topic_generation
        work = Projector(projection, system.connections, system.topics.ids, generation, prepare=prepare)
        name = system.settings.topic_prefix + _derived(projection.name, system.settings)
        found.append(Step(name=name, reads=(source,), work=work))
    return found


def _derived(name: str, settings: Settings) -> str:
    return f"{name}-g{settings.topic_generation}"


def _never_opened(_company_id: str, _purpose: str, _sealed: bytes) -> bytes:
    raise AssertionError("only the names of the projections are asked for here")


# --- running -----------------------------------------------------------------------------------------------------


async def run_worker(settings: Settings, roles: Collection[str], *, ready: Callable[[], None] = lambda: None) -> None:
    """Run these roles until SIGTERM or Ctrl-C. Raises StartRefused, or what ended a step: then nothing was lost."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr="127.0.0.1")
    async with opened(settings) as system:
        chosen = steps(system, roles)
        await _refuse_unguarded(system, chosen)
        delivery = Delivery(
            bootstrap=settings.kafka_bootstrap,
            session_timeout_s=settings.kafka_session_timeout_s,
            publish=system.publisher.publish,
            park=system.parking.park_now,
            lag=lambda group, partitions: _lag(settings, group, partitions),
        )
        await _run(system, delivery, chosen, "repair" in roles, stop, ready)


async def _run(
    system: System,
    delivery: Delivery,
    chosen: Sequence[Step],
    repairs: bool,
    stop: asyncio.Event,
    ready: Callable[[], None],
) -> None:
    async with asyncio.TaskGroup() as group:
        repair = group.create_task(_repair(system)) if repairs else None
        if chosen:
            await delivery.run(chosen, stop=stop, ready=ready)
        else:
            ready()
            await stop.wait()
        if repair is not None:
            repair.cancel()


async def _repair(system: System) -> None:
    async def facts(company_id: str) -> Any:
        return system.authorizations.facts(company_id, await system.quickbooks.company(company_id))

    async with _ledger_lag(system) as lag:
        await run_repair(
            Repair(
                quickbooks=system.quickbooks,
                sweeps=system.control,
                seals=system.sealer,
                publish=system.publisher.publish,
                topics=system.topics,
                lag=lag,
                facts=facts,
            )
        )


@asynccontextmanager
async def _ledger_lag(system: System) -> AsyncIterator[Callable[[str], Any]]:
    """How many inputs of a company's partition the ledger has not booked yet."""
    consumer = AIOKafkaConsumer(bootstrap_servers=system.settings.kafka_bootstrap, group_id=None)
    await consumer.start()

    async def lag(company_id: str) -> int:
        number = partition_of(company_id, system.topics.changes.partitions)
        partition = TopicPartition(system.topics.changes.name, number)
        ends = await consumer.end_offsets([partition])
        booked = await _positions(system)
        return int(ends[partition]) - booked.get(number, 0)

    try:
        yield lag
    finally:
        await consumer.stop()


async def _positions(system: System) -> dict[int, int]:
    """The next input of each partition, as the ledger stored it."""
    query = 'SELECT "partition", next_offset FROM ledger.positions WHERE generation = %s'
    async with transaction(system.connections) as connection:
        rows = await (await connection.execute(query, (system.settings.topic_generation,))).fetchall()
    return dict(rows)


async def _refuse_unguarded(system: System, chosen: Sequence[Step]) -> None:
    """A group without offsets on a full topic, or beyond what the database knows, would read or skip by accident."""
    refusals: list[str] = []
    for step in chosen:
        stored = None
        if step.reads == (system.topics.changes,):
            booked = await _positions(system)
            stored = {(system.topics.changes.name, number): offset for number, offset in booked.items()}
        names = [topic.name for topic in step.reads]
        refusals += await check_offsets(system.settings.kafka_bootstrap, step.name, names, stored)
    if refusals:
        raise StartRefused(
            "\n".join([*refusals, "`intoaec offsets check` shows all of it, `intoaec offsets align` mends it."])
        )


async def _lag(settings: Settings, group: str, partitions: Collection[tuple[str, int]]) -> int:
    names = sorted({topic for topic, _ in partitions})
    positions = await group_positions(settings.kafka_bootstrap, group, names)
    return sum(position.lag for partition, position in positions.items() if partition in partitions)
