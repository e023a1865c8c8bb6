"""Put records aside that can never work, and let a person see, repeat or dismiss them.

Writes: control.parked, and the topic `parked`, which feeds whoever watches; the row is the state.
Guarantees: parking twice is one row; a record that is parked has lost nothing: its bytes, key and headers are kept;
too many in a short time raise TooManyParked, so that a bad deploy stops instead of emptying a topic.
Source: design section 2, "Parking".
"""

import base64
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, uuid5

from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from connectors.postgres import Connection, queries, transaction
from schemas import changes
from schemas.codec import Recorded
from schemas.errors import UnprocessableError
from schemas.topics import Topics
from schemas.wire import Incoming, Outcome, Outgoing, Unworkable
from streams.event_log import Publishes

PARKED_MAX = 50
INGRESS = "ingress"  # the step of what the ingress parked
WITHIN_S = 60.0
AT_ONCE = 500
VALUE_BYTES_MAX = 1024 * 1024  # of a larger record the topic gets no value; the row has it whole
_SQL = queries("parking.sql")


class TooManyParked(Exception):
    """A step parks so many records that the step itself must be wrong: it stops, and nothing is acknowledged."""


class Place(NamedTuple):
    """Which record, and which step could not work it. Its text is `step/topic/partition/offset`."""

    step: str
    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return "/".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Raises UnprocessableError for a text that names no place."""
        step, _, rest = text.partition("/")
        topic, _, numbers = rest.partition("/")
        partition, _, offset = numbers.partition("/")
        if not (step and topic and partition.isdecimal() and offset.isdecimal()):
            raise UnprocessableError(f"{text!r} does not name a parked record: step/topic/partition/offset does")
        return cls(step, topic, int(partition), int(offset))


class Listed(NamedTuple):
    """A parked record, without what it holds."""

    place: Place
    key: str
    record_type: str | None
    record_id: str | None
    reason: str
    error_type: str
    parked_at: datetime
    resolution: str | None  # redriven, superseded, dismissed; None: waits for a person


class Shown(NamedTuple):
    """A parked record with what it holds."""

    listed: Listed
    value: bytes | None
    headers: Mapping[str, bytes]
    build: str


class Parking:
    """The parked records of one installation."""

    def __init__(
        self,
        connections: AsyncConnectionPool[Connection],
        publisher: Publishes,
        topics: Topics,
        build: str,
        *,
        parked_max: int = PARKED_MAX,
        within_s: float = WITHIN_S,
    ) -> None:
        """More than `parked_max` records of one step within `within_s` stop that step."""
        self._connections, self._publisher = connections, publisher
        self._topic, self._ids, self._build = topics.parked.name, topics.ids, build
        self._parked_max, self._within_s = parked_max, within_s
        self._unpublished = True  # what an earlier process parked may not be in the topic yet

    async def park(self, connection: Connection, step: str, unworkable: Sequence[Unworkable]) -> None:
        """Put records aside inside the caller's transaction. Safe twice. Raises TooManyParked."""
        if not unworkable:
            return
        rows = [self._row(step, each) for each in unworkable]
        async with connection.cursor() as cursor:
            await cursor.executemany(_SQL["park"], rows)
            lately = await cursor.execute(_SQL["parked_lately"], {"step": step, "within_s": self._within_s})
            ((count,),) = await lately.fetchall()
        if count > self._parked_max:
            raise TooManyParked(
                f"{step} parked {count} records within {self._within_s:g} s, the last because: {rows[-1]['reason']}. "
                "It stops; nothing of this batch was acknowledged. Mend what is wrong, or raise "
                "PARKED_PER_MINUTE_MAX where the records themselves are bad, then start it again."
            )
        self._unpublished = True

    async def park_now(self, step: str, unworkable: Sequence[Unworkable]) -> None:
        """Put records aside in a transaction of their own, and publish what is not published. Safe twice."""
        if unworkable:
            async with transaction(self._connections) as connection:
                await self.park(connection, step, unworkable)
        if self._unpublished:
            await self.publish_unpublished()

    async def publish_unpublished(self) -> int:
        """Publish to the topic `parked` what is not in it yet; how many. At least once: a repeat has the same id."""
        published = 0
        while due := await self._due():
            await self._publisher.publish([self._outgoing(row) for row in due])
            async with transaction(self._connections) as connection, connection.cursor() as cursor:
                await cursor.executemany(_SQL["mark_published"], [Place(*row[:4])._asdict() for row in due])
            published += len(due)
        self._unpublished = False
        return published

    async def supersede(self, connection: Connection, step: str, reads: Sequence[tuple[str, str, str, int]]) -> None:
        """These records (company id, type, id, offset) were read anew and understood: what was parked of them before
        needs nobody any more. One statement.
        """
        names = ("key", "record_type", "record_id", "offset")
        rows = [dict(zip(names, read, strict=True)) for read in reads]
        await connection.execute(_SQL["supersede"], {"step": step, "rows": Jsonb(rows)})

    # --- for people ---

    async def listed(self, *, resolved_too: bool = False, at_most: int = 100) -> Sequence[Listed]:
        """Parked records, the latest first."""
        async with transaction(self._connections) as connection:
            cursor = await connection.execute(_SQL["list"], {"resolved_too": resolved_too, "at_most": at_most})
            return [_listed(row) for row in await cursor.fetchall()]

    async def show(self, place: Place) -> Shown:
        """One parked record with its bytes. Raises UnprocessableError when there is none at this place."""
        async with transaction(self._connections) as connection:
            row = await (await connection.execute(_SQL["show"], place._asdict())).fetchone()
        if row is None:
            raise UnprocessableError(f"no record is parked at {place}")
        headers = {name: base64.b64decode(value) for name, value in row[12].items()}
        return Shown(_listed(row), row[11], headers, row[13])

    async def redrive(self, place: Place) -> None:
        """Publish the record again, as it was, to the end of its topic. A second call is refused.

        When it ends between publishing and marking, it can be called again, and the record is there twice: every step
        is safe twice. Raises UnprocessableError when it is not there or does not wait any more.
        """
        shown = await self.show(place)
        _refuse_resolved(shown.listed)
        headers = (*shown.headers.items(), ("redriven_from", str(place).encode()))
        again = Outgoing(topic=place.topic, key=shown.listed.key, value=shown.value, headers=headers)
        await self._publisher.publish([again])
        await self._resolve(place, "redriven", "")

    async def dismiss(self, place: Place, because: str) -> None:
        """Put a record away that nobody needs. Raises UnprocessableError when it is not there or does not wait."""
        _refuse_resolved((await self.show(place)).listed)
        await self._resolve(place, "dismissed", because)

    async def _resolve(self, place: Place, resolution: str, because: str) -> None:
        async with transaction(self._connections) as connection:
            values = place._asdict() | {"resolution": resolution, "because": because}
            await connection.execute(_SQL["resolve"], values)

    # --- rows and messages ---

    async def _due(self) -> list[tuple[Any, ...]]:
        async with transaction(self._connections) as connection:
            return await (await connection.execute(_SQL["unpublished"], {"at_most": AT_ONCE})).fetchall()

    def _row(self, step: str, unworkable: Unworkable) -> dict[str, Any]:
        record = unworkable.record
        headers = {name: base64.b64encode(value).decode() for name, value in record.headers.items()}
        return {
            "step": step,
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "key": record.key,
            "value": record.value,
            "headers": Jsonb(headers),
            "record_type": unworkable.record_type,
            "record_id": unworkable.record_id,
            "reason": str(unworkable.error).replace("\x00", " "),
            "error_type": type(unworkable.error).__name__,
            "build": self._build,
        }

    def _outgoing(self, row: tuple[Any, ...]) -> Outgoing:
        place, (key, value, reason, error_type, build, parked_at) = Place(*row[:4]), row[4:]
        envelope = changes.Envelope(
            change_id=uuid5(NAMESPACE_URL, f"intoaec:parked/{place}"),
            company_id=key,
            origin="parking",
            recorded_at=parked_at,
            correlation_id=str(place),
            causes=(
                changes.Cause(cause_id=str(place), partition=place.partition, offset=place.offset, caused_at=None),
            ),
        )
        body = changes.Parked(
            step=place.step,
            topic=place.topic,
            partition=place.partition,
            offset=place.offset,
            reason=reason,
            error_type=error_type,
            build=build,
            value=value if value is not None and len(value) <= VALUE_BYTES_MAX else b"",
        )
        return Outgoing(topic=self._topic, key=key, value=self._ids.encode(Recorded(envelope, body)))


class ParkedFeed:
    """A step that keeps as rows what the ingress parked: it has no way to the database, only to the topic."""

    def __init__(self, connections: AsyncConnectionPool[Connection], topics: Topics) -> None:
        self._connections, self._ids = connections, topics.ids
        self.progress = 0  # a batch is one transaction: nothing is finished inside it

    async def do(self, batch: Sequence[Incoming]) -> Outcome:
        """Safe twice: the same bytes have the same place."""
        rows, unworkable = [], []
        for record in batch:
            try:
                message = self._ids.decode(record.value)
            except UnprocessableError as error:
                unworkable.append(Unworkable(record=record, error=error))
                continue
            if isinstance(message.body, changes.Parked) and message.body.step == INGRESS:
                rows.append(_row_of_feed(record, message.body))
        if rows:
            async with transaction(self._connections) as connection, connection.cursor() as cursor:
                await cursor.executemany(_SQL["park_published"], rows)
        return Outcome(unworkable=unworkable)

    async def published(self, outcome: Outcome) -> None:
        """Nothing to do: rows are all that becomes of the feed."""

    async def assigned(self, partitions: Collection[tuple[str, int]]) -> None:
        """Nothing is remembered between batches."""


def _row_of_feed(record: Incoming, body: changes.Parked) -> dict[str, Any]:
    return {
        "step": body.step,
        "topic": body.topic,
        "partition": body.partition,
        "offset": body.offset,
        "key": record.key,
        "value": body.value,
        "reason": body.reason,
        "error_type": body.error_type,
        "build": body.build,
    }


def _listed(row: tuple[Any, ...]) -> Listed:
    return Listed(Place(*row[:4]), *row[4:11])


def _refuse_resolved(listed: Listed) -> None:
    if listed.resolution is not None:
        raise UnprocessableError(f"{listed.place} does not wait any more: it was {listed.resolution}")
