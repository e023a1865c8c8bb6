"""The chain of one number: webhook, notification, change, events, rows. And back from a record or a version.

Reads: ledger.inputs, ledger.causes, ledger.events, read tables; company-changes and notifications by their offsets.
Writes nothing. Raw records stay sealed and names are left out: ids, dates and amounts are shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from connectors.postgres import queries, transaction
from schemas.changes import Cause
from schemas.errors import UnprocessableError
from schemas.wire import Incoming
from streams.projections import projections
from streams.projector import load_rows
from streams.read_tables import Event, Key, Projection, Table
from streams.status import record_at
from streams.topology import System

INPUTS_MAX = 10
EVENTS_MAX = 200
_NAMES = frozenset(("display_name", "full_name"))
_SQL = queries("status.sql")


class Notified(NamedTuple):
    """A notification as it came from Intuit."""

    cause_id: str
    partition: int
    offset: int
    delivery_id: str
    received_at: str


class Input(NamedTuple):
    """An input of the ledger and what became of it."""

    partition: int
    offset: int
    change_id: Any
    company_id: str
    change_type: str
    record_type: str
    record_id: str
    origin: str
    recorded_at: datetime
    correlation_id: str
    outcome: str


class Happened(NamedTuple):
    """An event that the input led to."""

    kind: str
    stream_id: str
    version: int
    event_type: str
    event: Event


class ShownRow(NamedTuple):
    """A row of a read table that the events touch, as it is now."""

    table: str
    key: Key
    columns: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """One input with what led to it and what it led to."""

    notifications: Sequence[Notified]
    input: Input
    events: Sequence[Happened]
    rows: Sequence[ShownRow]


async def trace(system: System, what: str) -> list[Chain]:
    """The chains of a correlation id, a record (company/type/id) or a version (project/version), newest first.

    Raises UnprocessableError when nothing is known of it.
    """
    inputs = await _inputs(system, what)
    if not inputs:
        raise UnprocessableError(
            f"nothing is booked of {what!r}: give a correlation id, company/type/id, or project/version"
        )
    return [await _chain(system, each) for each in inputs]


async def _inputs(system: System, what: str) -> list[Input]:
    parts = what.split("/")
    if len(parts) == 3:
        named = {"company": parts[0], "type": parts[1], "id": parts[2]}
        return [Input(*row) for row in await _rows(system, "inputs_of_record", **named, at_most=INPUTS_MAX)]
    if len(parts) == 2 and parts[1].isdecimal():
        named = {"project": parts[0], "version": parts[1]}
        return [Input(*row) for row in await _rows(system, "input_of_version", **named)]
    return [Input(*row) for row in await _rows(system, "inputs_of_cause", cause=what, at_most=INPUTS_MAX)]


async def _chain(system: System, its: Input) -> Chain:
    where = {"partition": its.partition, "offset": its.offset}
    rows = await _rows(system, "events_of_input", **where, at_most=EVENTS_MAX)
    decode = system.topics.ids.decode
    events = [Happened(kind, stream, version, name, decode(value)) for kind, stream, version, name, value in rows]
    return Chain(
        notifications=[found for cause in await _causes(system, its) if (found := await _notified(system, cause))],
        input=its,
        events=events,
        rows=await _touched(system, events),
    )


async def _causes(system: System, its: Input) -> Sequence[Cause]:
    record = await record_at(system, (system.topics.changes.name, its.partition), its.offset)
    if record is None or record.offset != its.offset:
        return ()
    causes: Sequence[Cause] = system.topics.ids.decode(record.value).envelope.causes
    return causes


async def _notified(system: System, cause: Cause) -> Notified | None:
    """None for a cause that is not in the topic of notifications."""
    if cause.partition is None or cause.offset is None:
        return None
    record = await record_at(system, (system.topics.notifications.name, cause.partition), cause.offset)
    if record is None or record.offset != cause.offset:
        return None
    return Notified(cause.cause_id, *(record.partition, record.offset), *_receipt(record))


def _receipt(record: Incoming) -> tuple[str, str]:
    return (
        record.headers.get("delivery_id", b"").decode("utf-8", "replace"),
        record.headers.get("received_at", b"").decode("utf-8", "replace"),
    )


async def _touched(system: System, events: Sequence[Happened]) -> list[ShownRow]:
    """The rows that these events change, by the very functions that change them."""
    keys: dict[Table, dict[Key, None]] = {}
    for projection in projections(_sealed):
        for happened in _of_kind(events, projection):
            for change in projection.changes(happened.event):
                keys.setdefault(change.table, {})[change.key] = None
    async with transaction(system.connections) as connection:
        found = [
            ((table, key), row)
            for table, wanted in keys.items()
            for (_, key), row in (await load_rows(connection, table, wanted, system.settings.topic_generation)).items()
        ]
    return [ShownRow(table.name, key, _columns(table, row)) for (table, key), row in found if row is not None]


def _columns(table: Table, row: tuple[Any, ...]) -> dict[str, Any]:
    """The row without names: a trace is pasted into tickets."""
    fields: Sequence[str] = table.row._fields  # type: ignore[attr-defined]
    return {name: value for name, value in zip(fields, row, strict=True) if name not in _NAMES}


def _of_kind(events: Sequence[Happened], projection: Projection) -> list[Happened]:
    return [happened for happened in events if happened.kind == projection.kind]


def _sealed(_company_id: str, _purpose: str, _bytes: bytes) -> bytes:
    raise UnprocessableError("a trace opens nothing")


async def _rows(system: System, query: str, **named: Any) -> list[tuple[Any, ...]]:
    async with transaction(system.connections) as connection:
        cursor = await connection.execute(_SQL[query], named | {"generation": system.settings.topic_generation})
        return await cursor.fetchall()
