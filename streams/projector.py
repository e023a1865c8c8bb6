"""Apply events to a read table: rows and positions in one transaction for a whole batch.

Reads: accounting-events or company-events; ledger.events when a blocked stream is resumed.
Writes: the tables of one projection, read_positions and read_blocked.
Guarantees: a version not above the last applied changes nothing; a gap, or an event that cannot be applied, blocks its
own stream alone; of two workers that own one partition, one wins and the other raises Fenced, having written nothing;
the number of statements does not depend on the size of the batch.
Source: design section 2, "Projectors" and "The consumer's rule".
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, Literal, NamedTuple

import psycopg
from psycopg import sql
from psycopg_pool import AsyncConnectionPool

from connectors.postgres import Connection, queries, transaction
from schemas import accounting, company
from schemas.codec import SchemaIds
from schemas.errors import UnprocessableError
from schemas.wire import Incoming, Outcome, Unworkable
from streams.event_log import COMPANY, PROJECT, Fenced
from streams.read_tables import Block, Changes, Event, Key, Projection, Rows, Table, apply, due, exact

RESUME_EVENTS = 1000
_SQL = queries("projections.sql")
_ENVELOPES: dict[str, type[Any]] = {PROJECT: accounting.Envelope, COMPANY: company.Envelope}
_CANNOT_APPLY = (UnprocessableError, ValueError, ArithmeticError)
Streams = Mapping[str, Sequence[Event]]


class _Plan(NamedTuple):
    """What a batch comes to, before the rows are known."""

    due: dict[str, list[tuple[Event, Changes]]]
    blocks: dict[str, Block]


class _Statements(NamedTuple):
    """What is done with one read table; the text follows from its columns."""

    load: bytes
    stage: bytes
    copy: bytes
    store: bytes
    delete: bytes


class Projector:
    """One projector of one generation: a step of the delivery loop that publishes nothing."""

    def __init__(
        self,
        projection: Projection,
        connections: AsyncConnectionPool[Connection],
        ids: SchemaIds,
        generation: int,
        *,
        prepare: Callable[[Collection[str]], Awaitable[None]] | None = None,
    ) -> None:
        """`prepare` gets the stream ids of a batch before it is applied (`Sealer.load`, for names)."""
        self._projection, self._connections, self._ids = projection, connections, ids
        self._generation, self._prepare = generation, prepare
        self._names = {"projector": projection.name, "generation": generation}
        self._envelope = _ENVELOPES[projection.kind]
        self._stream_of = attrgetter(f"envelope.{projection.kind}_id")
        self.progress = 0  # a batch is one transaction: nothing is finished inside it

    @property
    def name(self) -> str:
        """The projection's name: the projector in read_positions and read_blocked."""
        return self._projection.name

    async def do(self, batch: Sequence[Incoming]) -> Outcome:
        """Apply a batch. Raises TransientError to be called again with the same batch, and Fenced to stop."""
        events, unworkable = self._decode(batch)
        if events:
            await self._apply(events)
        return Outcome(unworkable=unworkable)

    async def assigned(self, partitions: Collection[tuple[str, int]]) -> None:
        """Nothing to do: positions are read from the database with each batch, never remembered."""

    async def published(self, outcome: Outcome) -> None:
        """Nothing to do: a projector publishes nothing."""

    async def resume(self, stream_id: str) -> int:
        """Go on with a blocked stream from the ledger's event table; the number of events applied.

        Raises UnprocessableError with the reason when it is blocked again. Safe twice, and while the worker runs.
        """
        await self._prepare_for([stream_id])
        applied = 0
        while True:
            async with transaction(self._connections) as connection:
                stored = await self._stored(connection, stream_id)
                if not stored:
                    return applied
                again = (await self._apply_in(connection, {stream_id: stored})).get(stream_id)
            if again is not None:
                raise UnprocessableError(f"{stream_id} is blocked at version {again.version}: {again.reason}")
            applied += len(stored)

    async def blocked(self) -> list[str]:
        """The streams that this projector cannot go on with."""
        async with transaction(self._connections) as connection:
            cursor = await connection.execute(_SQL["all_blocked"], self._names)
            return [stream_id for (stream_id,) in await cursor.fetchall()]

    async def _stored(self, connection: Connection, stream_id: str) -> list[Event]:
        """The next events of a blocked stream; when there are none it is blocked no more.

        The lock makes a worker that delivers to this stream wait, so that nothing falls between its events and ours.
        """
        names = self._names | {"stream": stream_id}
        held = await connection.execute(_SQL["hold_blocked"], names)
        if held.rowcount == 0:
            return []
        query = names | {"kind": self._projection.kind, "limit": RESUME_EVENTS}
        values = await (await connection.execute(_SQL["stored_events"], query)).fetchall()
        if not values:
            await connection.execute(_SQL["unblock"], names)
        return [self._event(value) for (value,) in values]

    # --- decoding ---

    def _decode(self, batch: Sequence[Incoming]) -> tuple[list[Event], list[Unworkable]]:
        events: list[Event] = []
        unworkable: list[Unworkable] = []
        for record in batch:
            try:
                events.append(self._event(record.value))
            except UnprocessableError as error:
                unworkable.append(Unworkable(record=record, error=error))
        return events, unworkable

    def _event(self, value: bytes | None) -> Event:
        event: Event = self._ids.decode(value)
        if type(event.envelope) is not self._envelope:
            raise UnprocessableError(f"{type(event.body).__name__} is not an event of a {self._projection.kind}")
        generation = event.envelope.generation
        if generation != self._generation:
            raise UnprocessableError(f"an event of generation {generation}; this projector is of {self._generation}")
        return event

    # --- one transaction ---

    async def _prepare_for(self, stream_ids: Collection[str]) -> None:
        if self._prepare is not None:
            await self._prepare(stream_ids)

    async def _apply(self, events: Sequence[Event]) -> None:
        """All in one transaction; only where the database refuses a value, in halves until the culprit is alone."""
        streams: defaultdict[str, list[Event]] = defaultdict(list)
        for event in events:
            streams[self._stream_of(event)].append(event)
        await self._prepare_for(streams)
        try:
            async with transaction(self._connections) as connection:
                await self._apply_unblocked(connection, streams)
        except psycopg.DataError as error:
            if len(events) == 1:
                await self._block_alone(events[0], error)
                return
            middle = len(events) // 2
            await self._apply(events[:middle])
            await self._apply(events[middle:])

    async def _apply_unblocked(self, connection: Connection, streams: Streams) -> None:
        blocked = await self._column(connection, "blocked", streams)
        await self._apply_in(
            connection, {stream: events for stream, events in streams.items() if stream not in blocked}
        )

    async def _apply_in(self, connection: Connection, streams: Streams) -> dict[str, Block]:
        """Apply what is due of these streams; which of them cannot go on."""
        await connection.execute(_SQL["plan_by_key"])
        positions = dict(await self._rows(connection, "positions", streams))
        plan = self._plan(streams, positions)
        loaded = await self._load(connection, plan)
        rows = dict(loaded)
        reached = _fold(plan, rows)
        await self._advance(connection, positions, reached)
        await self._store(connection, loaded, rows)
        await self._block(connection, plan.blocks.values())
        return plan.blocks

    def _plan(self, streams: Streams, positions: Mapping[str, int]) -> _Plan:
        plan = _Plan({}, {})
        for stream_id, events in streams.items():
            position = positions.get(stream_id, 0)
            found, ahead = due(events, position)
            if ahead is not None:
                plan.blocks[stream_id] = _gap(stream_id, position + len(found) + 1, ahead)
            plan.due[stream_id] = self._changes(plan, stream_id, found)
        return plan

    def _changes(self, plan: _Plan, stream_id: str, events: Sequence[Event]) -> list[tuple[Event, Changes]]:
        found: list[tuple[Event, Changes]] = []
        for event in events:
            try:
                found.append((event, self._projection.changes(event)))
            except _CANNOT_APPLY as error:
                plan.blocks[stream_id] = _refused(stream_id, event, error)
                break
        return found

    async def _column(self, connection: Connection, query: str, streams: Streams) -> set[str]:
        return {row[0] for row in await self._rows(connection, query, streams)}

    async def _rows(self, connection: Connection, query: str, streams: Streams) -> list[tuple[Any, ...]]:
        cursor = await connection.execute(_SQL[query], self._names | {"streams": list(streams)})
        return await cursor.fetchall()

    async def _load(self, connection: Connection, plan: _Plan) -> Rows:
        keys: dict[Table, set[Key]] = {table: set() for table in self._projection.tables}
        for events in plan.due.values():
            for _, changes in events:
                for change in changes:
                    keys[change.table].add(change.key)
        rows: Rows = {}
        for table, wanted in keys.items():
            if wanted:
                rows |= await load_rows(connection, table, wanted, self._generation)
        return rows

    async def _advance(self, connection: Connection, positions: Mapping[str, int], reached: Mapping[str, int]) -> None:
        """Move the positions first: who loses the race writes no row."""
        known = [stream for stream in reached if stream in positions]
        new = [stream for stream in reached if stream not in positions]
        moved = 0
        for query, streams in (("advance_positions", known), ("begin_positions", new)):
            if streams:
                values = {"streams": streams, "versions": [reached[stream] for stream in streams]}
                values["was"] = [positions.get(stream, 0) for stream in streams]
                moved += (await connection.execute(_SQL[query], self._names | values)).rowcount
        if moved != len(reached):
            raise Fenced(f"{self._projection.name}: another worker applied events of the same projects")

    async def _store(self, connection: Connection, loaded: Rows, rows: Rows) -> None:
        changed: dict[Table, list[tuple[Any, ...]]] = defaultdict(list)
        gone: dict[Table, list[Key]] = defaultdict(list)
        for (table, key), row in rows.items():
            before = loaded.get((table, key))
            if row is None and before is not None:
                gone[table].append(key)
            elif row is not None and row is not before:
                changed[table].append(row)
        for table, values in changed.items():
            await self._upsert(connection, table, values)
        for table, keys in gone.items():
            columns = [list(column) for column in zip(*keys, strict=True)]
            await connection.execute(_statements(table).delete, (*columns, self._generation))

    async def _upsert(self, connection: Connection, table: Table, rows: Iterable[tuple[Any, ...]]) -> None:
        """By COPY into a table of this connection: a third of the cost of array parameters (measured)."""
        statements = _statements(table)
        await connection.execute(statements.stage)
        async with connection.cursor().copy(statements.copy) as copy:
            for row in rows:
                await copy.write_row(row)
        await connection.execute(statements.store)

    async def _block_alone(self, event: Event, error: Exception) -> None:
        """Block the stream of one event whose values the database refuses, unless it is applied or blocked already."""
        stream_id = self._stream_of(event)
        async with transaction(self._connections) as connection:
            if await self._column(connection, "blocked", {stream_id: ()}):
                return
            await self._block(connection, [_refused(stream_id, event, error)])

    async def _block(self, connection: Connection, blocks: Collection[Block]) -> None:
        if blocks:
            streams, versions, reasons, since = (list(column) for column in zip(*blocks, strict=True))
            values = {"streams": streams, "versions": versions, "reasons": reasons, "since": since}
            await connection.execute(_SQL["block"], self._names | values)


def _fold(plan: _Plan, rows: Rows) -> dict[str, int]:
    """Apply what is due to the rows; the version that each stream reached. What cannot be applied blocks its stream."""
    reached: dict[str, int] = {}
    with exact():
        for stream_id, events in plan.due.items():
            for event, changes in events:
                try:
                    apply(rows, changes)
                except _CANNOT_APPLY as error:
                    plan.blocks[stream_id] = _refused(stream_id, event, error)
                    break
                reached[stream_id] = event.envelope.version
    return reached


def _gap(stream_id: str, missing: int, ahead: Event) -> Block:
    reason = f"version {missing} is missing: the next that came is {ahead.envelope.version}"
    return Block(stream_id, missing, reason, ahead.envelope.recorded_at)


def _refused(stream_id: str, event: Event, error: Exception) -> Block:
    envelope = event.envelope
    text = str(error).replace("\x00", " ") or type(error).__name__
    return Block(stream_id, envelope.version, f"{type(event.body).__name__}: {text}", envelope.recorded_at)


async def resume_blocked(projectors: Iterable[Projector], stream_id: str = "", name: str = "") -> list[str]:
    """Resume what is blocked (only this stream, only this projector, where named); one sentence for each."""
    lines: list[str] = []
    for projector in projectors:
        if name in ("", projector.name):
            blocked = [stream_id] if stream_id else await projector.blocked()
            lines += [await _resumed(projector, each) for each in blocked]
    return lines


async def _resumed(projector: Projector, stream_id: str) -> str:
    try:
        applied = await projector.resume(stream_id)
    except UnprocessableError as error:
        return f"{projector.name}: {error}"
    return f"{projector.name}: {stream_id} goes on, {applied} events applied"


async def load_rows(connection: Connection, table: Table, keys: Collection[Key], generation: int) -> Rows:
    """The rows with these keys; those that do not exist are missing."""
    columns = [list(column) for column in zip(*keys, strict=True)]
    cursor = await connection.execute(_statements(table).load, (*columns, generation))
    last = 1 + len(table.key)
    return {(table, row[1:last]): table.row(*row) for row in await cursor.fetchall()}


@cache
def _statements(table: Table) -> _Statements:
    fields: Sequence[str] = table.row._fields  # type: ignore[attr-defined]
    name, staged = sql.Identifier(table.name), sql.Identifier(f"staged_{table.name}")
    columns, key = _listed(fields), _listed(("generation", *table.key))
    arrays = sql.SQL(", ").join([sql.SQL("%s::text[]")] * len(table.key))
    wanted = sql.SQL("JOIN unnest({arrays}) AS wanted({key}) USING ({key}) WHERE generation = %s").format(
        arrays=arrays, key=_listed(table.key)
    )
    changes = sql.SQL(", ").join(
        sql.SQL("{0} = excluded.{0}").format(sql.Identifier(field))
        for field in fields
        if field not in ("generation", *table.key)
    )
    texts: dict[Literal["load", "stage", "copy", "store", "delete"], sql.Composed] = {
        "load": sql.SQL("SELECT {} FROM {} {}").format(columns, name, wanted),
        "stage": sql.SQL("CREATE TEMPORARY TABLE IF NOT EXISTS {} (LIKE {}) ON COMMIT DELETE ROWS").format(
            staged, name
        ),
        "copy": sql.SQL("COPY {} ({}) FROM STDIN").format(staged, columns),
        "store": sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT ({}) DO UPDATE SET {}").format(
            name, columns, columns, staged, key, changes
        ),
        # Each key is looked up by itself, whatever the planner thinks of a table that it has no statistics of: joined
        # to the table, some hundred rows were compared with one another for a minute. The position is held meanwhile.
        "delete": sql.SQL(
            "DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT found.ctid FROM unnest({arrays}) AS wanted({key}), "
            "LATERAL (SELECT of.ctid FROM {table} AS of WHERE {equal} AND of.generation = %s OFFSET 0) AS found))"
        ).format(table=name, arrays=arrays, key=_listed(table.key), equal=_equal("of", "wanted", table.key)),
    }
    return _Statements(**{step: text.as_bytes(None) for step, text in texts.items()})


def _listed(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(name) for name in names)


def _equal(one: str, other: str, names: Sequence[str]) -> sql.Composed:
    pairs = (sql.SQL("{} = {}").format(sql.Identifier(one, name), sql.Identifier(other, name)) for name in names)
    return sql.SQL(" AND ").join(pairs)
