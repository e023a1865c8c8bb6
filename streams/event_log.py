"""The append-only streams of events, one per project and one per company, and the outbox that publishes them.

Writes: ledger.events and ledger.streams inside the caller's transaction; then accounting-events and company-events.
Guarantees: versions are contiguous per stream (compare-and-set); published are exactly the stored bytes; the first
occurrence of each version in the topic is in order, and repeats may follow at any time.
Source: design section 2, "Publishing".
"""

import asyncio
import json
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, NamedTuple, Protocol
from uuid import UUID, uuid5

from psycopg_pool import AsyncConnectionPool

from connectors.postgres import Connection, queries, transaction
from schemas.codec import Recorded
from schemas.topics import Topics
from schemas.wire import Outgoing

EVENT_NAMESPACE = UUID("6f0d3c0e-5a83-5b0f-9a39-0d8b5e0c7a11")
CHUNK_EVENTS = 2000
ENCODED_AT_ONCE = 20
PROJECT, COMPANY = "project", "company"
_SQL = queries("ledger.sql")


class Fenced(Exception):
    """Another worker owns this partition now: this one must stop, and has written nothing."""


class Publishes(Protocol):
    """Returns when the broker has acknowledged every record."""

    async def publish(self, records: Sequence[Outgoing]) -> None: ...


class Staged(NamedTuple):
    """An event that waits for its version."""

    kind: str
    stream_id: str
    company_id: str
    input_offset: int
    make: Callable[[UUID, int], Recorded[Any, Any]]  # event id and version -> the message


class EventLog:
    """One generation's streams."""

    def __init__(self, topics: Topics, generation: int, publisher: Publishes) -> None:
        self._ids, self._generation, self._publisher = topics.ids, generation, publisher
        self._topic = {PROJECT: topics.accounting_events.name, COMPANY: topics.company_events.name}

    async def append(
        self,
        connection: Connection,
        partition: int,
        staged: Sequence[Staged],
        meanwhile: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        """Give every event its version and store it. Raises Fenced when a stream moved under us.

        `meanwhile` writes what else belongs to the transaction: the database works on that while events are encoded.
        """
        streams = {(event.kind, event.stream_id): event.company_id for event in staged}
        before = await self._versions(connection, streams)
        versions = dict(before)
        writing = asyncio.create_task(meanwhile())
        try:
            rows = await self._rows(partition, staged, versions)
        finally:
            await writing  # also after an error: nothing may use the connection when the transaction ends
        if not staged:
            return
        await self._store(connection, rows)
        advances = [
            {"kind": k, "stream_id": s, "company_id": streams[k, s], "version": v, "expected": before[k, s]}
            for (k, s), v in versions.items()
        ]
        await self._advance(connection, partition, advances)

    async def _rows(
        self, partition: int, staged: Sequence[Staged], versions: dict[tuple[str, str], int]
    ) -> list[tuple[Any, ...]]:
        rows = []
        for number, event in enumerate(staged):
            if number % ENCODED_AT_ONCE == 0:
                await asyncio.sleep(0)  # so that the statement of the meanwhile is sent
            key = (event.kind, event.stream_id)
            version = versions[key] = versions[key] + 1
            event_id = uuid5(EVENT_NAMESPACE, f"{self._generation}/{event.kind}/{event.stream_id}/{version}")
            message = event.make(event_id, version)
            name = type(message.body).__name__
            value = self._ids.encode(message)
            rows.append((self._generation, *key, version, event_id, name, partition, event.input_offset, value))
        return rows

    async def _versions(
        self, connection: Connection, streams: dict[tuple[str, str], str]
    ) -> dict[tuple[str, str], int]:
        if not streams:
            return {}
        asked = json.dumps([{"kind": kind, "stream_id": stream_id} for kind, stream_id in streams])
        cursor = await connection.execute(_SQL["versions"], {"generation": self._generation, "asked": asked})
        versions = dict.fromkeys(streams, 0)
        for kind, stream_id, version, company_id in await cursor.fetchall():
            if streams[kind, stream_id] != company_id:
                raise RuntimeError(
                    f"project {stream_id} belongs to company {company_id}, not {streams[kind, stream_id]}"
                )
            versions[kind, stream_id] = version
        return versions

    async def _store(self, connection: Connection, rows: list[tuple[Any, ...]]) -> None:
        columns = 'generation, kind, stream_id, version, event_id, event_type, "partition", input_offset, value'
        async with connection.cursor().copy(f"COPY ledger.events ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "text", "text", "int8", "uuid", "text", "int4", "int8", "bytea"])
            for row in rows:
                await copy.write_row(row)

    async def _advance(self, connection: Connection, partition: int, advances: list[dict[str, Any]]) -> None:
        parameters = {"generation": self._generation, "partition": partition, "rows": json.dumps(advances)}
        begun = await connection.execute(_SQL["streams_begin"], parameters)
        advanced = await connection.execute(_SQL["streams_advance"], parameters)
        if begun.rowcount + advanced.rowcount != len(advances):
            raise Fenced("another worker has appended to the same project")

    async def publish(self, connections: AsyncConnectionPool[Connection], partitions: Collection[int]) -> int:
        """Publish what is stored and not marked as published; return how many events. Safe twice and from several."""
        published = 0
        while due := await self._due(connections, partitions):
            await self._publisher.publish([self._outgoing(row) for row in due])
            last = {(kind, stream_id): version for kind, stream_id, version, *_ in due}
            rows = json.dumps([{"kind": k, "stream_id": s, "version": v} for (k, s), v in sorted(last.items())])
            async with transaction(connections) as connection:
                await connection.execute(_SQL["streams_published"], {"generation": self._generation, "rows": rows})
            published += len(due)
            if len(due) < CHUNK_EVENTS:
                break
        return published

    async def _due(
        self, connections: AsyncConnectionPool[Connection], partitions: Collection[int]
    ) -> list[tuple[Any, ...]]:
        parameters = {"generation": self._generation, "partitions": sorted(partitions), "at_most": CHUNK_EVENTS}
        async with transaction(connections) as connection:
            cursor = await connection.execute(_SQL["events_due"], parameters, prepare=True, binary=True)
            return await cursor.fetchall()

    def _outgoing(self, row: tuple[Any, ...]) -> Outgoing:
        kind, stream_id, version, name, event_id, value = row
        contract = self._ids.contract(int.from_bytes(value[1:5], "big"))
        headers = (
            ("ce_id", str(event_id).encode()),
            ("ce_type", name.encode()),
            ("ce_source", f"intoaec/ledger/g{self._generation}".encode()),
            ("schema", f"{contract.subject}:v{contract.version}".encode()),
            ("version", str(version).encode()),
        )
        return Outgoing(topic=self._topic[kind], key=stream_id, value=value, headers=headers)
