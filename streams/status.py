"""What an operator looks at first: topics, lag, what is parked, blocked or not published, companies and their webhooks.

Reads: the cluster, control.*, ledger.streams, read_blocked. Writes nothing; it may run at any time.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from connectors.cluster import GroupPosition, Partition, group_positions
from connectors.kafka import read_from
from connectors.postgres import queries, transaction
from schemas.wire import Incoming
from streams.decision import Progress
from streams.topology import System, groups

_SQL = queries("status.sql")


class Lag(NamedTuple):
    """How far a group is behind."""

    group: str
    records: int
    seconds: float  # since the oldest record that it has not done was published; 0: nothing is left
    unguarded: int  # partitions with records and no committed offset


class CompanyState(NamedTuple):
    """A company's connection."""

    company_id: str
    name: str
    state: str
    webhook_at: datetime | None
    gap_since: datetime | None  # changes since then may be unread
    swept_until: datetime | None


class ParkedCount(NamedTuple):
    """What waits for a person."""

    step: str
    records: int
    oldest_at: datetime


class Blocked(NamedTuple):
    """A stream that a projector cannot go on with."""

    projector: str
    stream_id: str
    version: int
    reason: str
    since: datetime


class Running(NamedTuple):
    """A large move that the ledger is working on."""

    partition: int
    offset: int  # of the input in company-changes
    settled: int  # documents looked at so far
    moved: int
    at: str  # the last of them: types in the order of the alphabet, ids by number


class Unpublished(NamedTuple):
    """Events that are stored and not yet acknowledged by the broker."""

    kind: str
    streams: int
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One look at the system."""

    topics: Mapping[str, int]  # records that each topic holds
    lags: Sequence[Lag]
    parked: Sequence[ParkedCount]
    blocked: Sequence[Blocked]
    unpublished: Sequence[Unpublished]
    running: Sequence[Running]
    companies: Sequence[CompanyState]


async def status(system: System) -> Status:
    """Raises TransientError when the broker or the database does not answer."""
    bootstrap, read = system.settings.kafka_bootstrap, groups(system.settings)
    all_topics = [topic.name for topic in system.topics.all()]
    found = await asyncio.gather(
        group_positions(bootstrap, system.settings.topic_prefix + "status", all_topics),
        *(group_positions(bootstrap, group, topics) for group, topics in read.items()),
    )
    lags = [await _lag(system, group, positions) for group, positions in zip(read, found[1:], strict=True)]
    return Status(
        topics={name: _held(found[0], name) for name in all_topics},
        lags=lags,
        parked=[ParkedCount(*row) for row in await _rows(system, "parked")],
        blocked=[Blocked(*row) for row in await _rows(system, "blocked")],
        unpublished=[Unpublished(*row) for row in await _rows(system, "unpublished")],
        running=[_running(*row) for row in await _rows(system, "running")],
        companies=await companies(system),
    )


async def wrong_topics(system: System) -> list[str]:
    """What is wrong with the topics, in sentences; empty when every one is there with its partitions."""
    wanted = {topic.name: topic.partitions for topic in system.topics.all()}
    counts = await system.publisher.partition_counts(list(wanted), within_s=10.0)
    return [
        f"{name}: {counts.get(name, 0)} partitions instead of {partitions}; the number is fixed for a topic's life."
        if counts.get(name)
        else f"{name} does not exist; `intoaec topics create` makes it."
        for name, partitions in wanted.items()
        if counts.get(name) != partitions
    ]


async def companies(system: System) -> list[CompanyState]:
    """Every company that was ever connected."""
    return [CompanyState(*row) for row in await _rows(system, "companies")]


async def record_at(system: System, partition: Partition, offset: int) -> Incoming | None:
    """The first record of a partition at or after this offset; None: there is none."""
    topic, number = partition
    async with aclosing(read_from(system.settings.kafka_bootstrap, topic, {number: offset}, batch_max=1)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            return batch[0]
    return None


def _running(partition: int, offset: int, slice_text: str) -> Running:
    progress = Progress.from_text(slice_text)
    return Running(partition, offset, progress.settled, progress.moved, " ".join(progress.after))


async def _lag(system: System, group: str, positions: Mapping[Partition, GroupPosition]) -> Lag:
    behind = {partition: position for partition, position in positions.items() if position.lag}
    seconds = 0.0
    for partition, position in behind.items():
        offset = position.beginning if position.committed is None else position.committed
        oldest = await record_at(system, partition, offset)
        if oldest is not None:
            seconds = max(seconds, time.time() - oldest.timestamp_ms / 1000)
    unguarded = sum(position.committed is None for position in behind.values())
    return Lag(group, sum(position.lag for position in behind.values()), seconds, unguarded)


def _held(positions: Mapping[Partition, GroupPosition], topic: str) -> int:
    return sum(position.end - position.beginning for (name, _), position in positions.items() if name == topic)


async def _rows(system: System, query: str) -> list[tuple[Any, ...]]:
    async with transaction(system.connections) as connection:
        cursor = await connection.execute(_SQL[query], {"generation": system.settings.topic_generation})
        return await cursor.fetchall()
