"""Close gaps: read everything that changed since a company was last known to be read, and its history the first time.

Reads: control.companies, control.unread, control.jobs. Calls: QuickBooks. Writes: company-changes, sync-events.
Guarantees: a gap is closed only after everything in it was published and acknowledged; a gap noted meanwhile is swept
again; a sweep that was broken off goes on at its last page; a deleted record is published as gone only after a read
has said so; several workers share the companies. Publishing a record twice is harmless: the ledger books states.
Not here yet: a gap of more than 30 days finds edits but not deletes, since nothing compares ids.
Source: design, "repair" and "life of a connection"; Intuit, change data capture (30 days, 1000 objects, no paging).
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import uuid4

import structlog

from schemas.answers import RECORD_TYPES, Answer, CompanyUnreadable, Deleted, Unreadable
from schemas.changes import CompanyActivated, ConnectionChanged, Envelope, GapClosed
from schemas.codec import Recorded
from schemas.errors import TransientError
from schemas.known import Key, Known, Later, Shown, Sweep
from schemas.quickbooks import PAYMENT
from schemas.topics import Topics
from schemas.wire import Outgoing
from streams.enrich import IDS_AT_ONCE, Found, QuickBooksReads, Reader, changes_of, journals_of, shown_by
from streams.reading import Seals, Wanted, record_envelope, record_gone, record_read

CDC_FULL = 1000  # objects of one answer: there may be more
CDC_BACK = timedelta(days=29, hours=12)  # Intuit keeps 30 days
OVERLAP = timedelta(minutes=5)  # a change can become visible late, and `since` may be exclusive
PAGE_FULL = 1000
PAGE_OVERLAP = 50  # by position: a record that is changed between two pages moves away, and the others up
HISTORY = datetime(1970, 1, 1, tzinfo=UTC)
POLL_S = 1.0
COMPANIES_AT_ONCE = 4  # of one worker
AGAIN_IN_S = 2.0  # between two sweeps of a company
TROUBLE_S = 30.0
LAG_MAX = 2000  # records that the ledger has not booked yet; above, the next page waits
LAG_POLL_S = 0.2
UNREAD_AT_ONCE = 300
UNREAD_S = 20.0
SWEEP_EVERY_S = 900.0
_log = structlog.get_logger(__name__)


class QuickBooksSweeps(QuickBooksReads, Protocol):
    """What repair asks QuickBooks beside what enrich asks."""

    async def cdc(self, company_id: str, record_types: Collection[str], since: datetime) -> Answer: ...


class Sweeps(Protocol):
    """The job table and the gaps, see connectors.control."""

    async def claim(self, sweep_every_s: float) -> Sweep | None: ...

    async def progress(self, sweep: Sweep, cursor: Mapping[str, object]) -> bool: ...

    async def release(self, sweep: Sweep, *, again_in_s: float) -> None: ...

    async def close(self, sweep: Sweep, swept_until: datetime, *, again: bool) -> bool: ...

    async def activate(self, company_id: str) -> bool: ...

    async def unread(self, company_id: str, at_once: int) -> list[Later]: ...

    async def read_now(self, done: Collection[Later]) -> None: ...

    async def known(self, company_ids: Collection[str], keys: Collection[Key]) -> Known: ...

    async def note_published(self, shown: Mapping[Key, Shown], webhooks: Mapping[str, datetime]) -> None: ...


class LeaseLost(Exception):
    """Another worker sweeps this company now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where a sweep by pages stands."""

    gap_since: str  # of which gap; another gap begins anew
    record_type: str
    since: datetime  # the next page begins with what changed then
    start: int  # which record of that second comes next, from 1
    began_at: datetime  # Intuit's time of the sweep's first answer
    records: int  # published so far

    def stored(self) -> dict[str, object]:
        """As JSON."""
        return {
            "gap_since": self.gap_since,
            "record_type": self.record_type,
            "since": self.since.isoformat(),
            "start": self.start,
            "began_at": self.began_at.isoformat(),
            "records": self.records,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """Everything that a sweep needs; `publish` returns when the broker has acknowledged.

    `lag`: how many records of company-changes the ledger has not booked yet in this company's partition.
    `facts`: CompanyInfo and Preferences of a company as they are published, read anew.
    """

    quickbooks: QuickBooksSweeps
    sweeps: Sweeps
    seals: Seals
    publish: Callable[[Sequence[Outgoing]], Awaitable[None]]
    topics: Topics
    lag: Callable[[str], Awaitable[int]]
    facts: Callable[[str], Awaitable[Outgoing]]
    sweep_every_s: float = SWEEP_EVERY_S

    async def sweep_one(self) -> bool:
        """Sweep the company with the oldest gap; False: there was none. Raises TransientError."""
        sweep = await self.sweeps.claim(self.sweep_every_s)
        if sweep is None:
            return False
        again_in_s = AGAIN_IN_S
        try:
            await self.seals.load([sweep.company_id])
            await self._read_by_name(sweep)
            await self._sweep(sweep)
        except CompanyUnreadable as error:
            again_in_s = _again_in_s(error)
            _log.warning("sweep broken off", company_id=error.company_id, why=error.why.value, detail=str(error))
        except LeaseLost:
            _log.warning("sweep given up: another worker has it", company_id=sweep.company_id)
            return True
        await self.sweeps.release(sweep, again_in_s=again_in_s)
        return True

    # --- records by name ----------------------------------------------------------------------------------------

    async def _read_by_name(self, sweep: Sweep) -> None:
        """What was asked for while the company could not be read, and what no sweep would find."""
        later = await self.sweeps.unread(sweep.company_id, UNREAD_AT_ONCE)
        if not later:
            return
        wanted = {each.key: _wanted(each) for each in later}
        found = Found()
        deadline = asyncio.get_running_loop().time() + UNREAD_S
        await Reader(self.quickbooks).read(list(wanted.values()), found, deadline)
        await self.publish(list(changes_of(found, wanted, self.seals, self.topics)))
        await self.sweeps.note_published(shown_by(found), {})
        await self.sweeps.read_now([each for each in later if found.answered(each.key)])
        left = sum(not found.answered(each.key) for each in later)
        if left:
            raise CompanyUnreadable(sweep.company_id, Unreadable.TROUBLE, f"{left} records asked for by name are left")

    # --- everything since a time --------------------------------------------------------------------------------

    async def _sweep(self, sweep: Sweep) -> None:
        since = _since(sweep)
        if since is None:
            return await self._activate(sweep)
        if sweep.regular and since.date() < datetime.now(UTC).date():
            await self.publish([await self.facts(sweep.company_id)])  # once a day: a closing date, a renamed field
        if since > HISTORY and since - OVERLAP > datetime.now(UTC) - CDC_BACK and not _resumed(sweep):
            closed = await self._by_capture(sweep, since - OVERLAP)
        else:
            closed = await self._by_pages(sweep, RECORD_TYPES, None if since == HISTORY else since - OVERLAP)
        if closed:
            await self._activate(sweep)

    async def _by_capture(self, sweep: Sweep, since: datetime) -> bool:
        """Change data capture: one call for all types, one for each where that was full, pages where that is too."""
        try:
            answer = await self.quickbooks.cdc(sweep.company_id, RECORD_TYPES, since)
            if answer.size < CDC_FULL:
                await self._publish(sweep, answer)
                return await self._closed(sweep, answer.answered_at, answer.size, "change data capture", again=False)
            full, records = await self._by_type(sweep, since)
        except CompanyUnreadable as error:
            if error.why is not Unreadable.REFUSED:
                raise
            _log.warning("change data capture refused: pages instead", company_id=sweep.company_id, detail=str(error))
            return await self._by_pages(sweep, RECORD_TYPES, since)
        if full:
            return await self._by_pages(sweep, full, since)
        return await self._closed(sweep, answer.answered_at, records, "change data capture by type", again=False)

    async def _by_type(self, sweep: Sweep, since: datetime) -> tuple[list[str], int]:
        """Publish what each type's own answer holds; returns the types whose answer was full, and the records."""
        full, records = [], 0
        for record_type in RECORD_TYPES:
            answer = await self.quickbooks.cdc(sweep.company_id, [record_type], since)
            await self._publish(sweep, answer)
            await self._keep(sweep, sweep.cursor)
            records += answer.size
            full += [record_type] if answer.size >= CDC_FULL else []
        return full, records

    async def _by_pages(self, sweep: Sweep, record_types: Sequence[str], since: datetime | None) -> bool:
        """Page queries by LastUpdatedTime, each page durable before the next; None: all history."""
        cursor = _resumed(sweep)
        if cursor is None:
            cursor = await self._begun(sweep, record_types[0], since or HISTORY)
        for record_type in record_types[record_types.index(cursor.record_type) :]:
            if cursor.record_type != record_type:
                cursor = replace(cursor, record_type=record_type, since=since or HISTORY, start=1)
            cursor = await self._pages(sweep, cursor)
        # What changed while the pages were read is small now: change data capture brings it, deletes too.
        path = "page queries by LastUpdatedTime"
        return await self._closed(sweep, cursor.began_at, cursor.records, path, again=True)

    async def _begun(self, sweep: Sweep, record_type: str, since: datetime) -> Cursor:
        """The company's facts first: what follows cannot be booked without them. Their answer's time is the sweep's."""
        facts = await self.facts(sweep.company_id)
        await self.publish([facts])
        began_at = self.topics.ids.decode(facts.value).envelope.recorded_at
        return Cursor(
            gap_since=_gap(sweep), record_type=record_type, since=since, start=1, began_at=began_at, records=0
        )

    async def _pages(self, sweep: Sweep, cursor: Cursor) -> Cursor:
        """All pages of one type from the cursor on; returns where it ended."""
        until = cursor.began_at + timedelta(days=1)  # open: what changes meanwhile moves to the end and is met there
        while True:
            await self._room(sweep)
            answer = await self.quickbooks.changed_between(
                sweep.company_id, cursor.record_type, cursor.since, until, start=cursor.start
            )
            await self._publish(sweep, answer)
            cursor = next_page(cursor, answer)
            await self._keep(sweep, cursor.stored())
            _log.info("page read", company_id=sweep.company_id, record_type=cursor.record_type, records=cursor.records)
            if answer.size < PAGE_FULL:
                return cursor

    async def _publish(self, sweep: Sweep, answer: Answer) -> None:
        """What an answer holds; a deleted record only after a read has confirmed it."""
        origin = "capture" if sweep.first else "sweep"
        await self._publish_records(sweep.company_id, answer, origin)
        shown = {
            Key(sweep.company_id, record.record_type, record.record_id): Shown(answer.answered_at, record.revised_at)
            for record in answer.records
        }
        await self.sweeps.note_published(shown, {})
        if answer.deleted:
            await self._confirm(sweep.company_id, answer.deleted)

    async def _publish_records(self, company_id: str, answer: Answer, origin: str) -> None:
        payments = [record for record in answer.records if record.record_type == PAYMENT]
        journals = await journals_of(self.quickbooks, company_id, payments)
        outputs = []
        for record in answer.records:
            envelope = record_envelope(company_id, record, answer.answered_at, origin, (), "")
            value = self.topics.ids.encode(record_read(envelope, record, self.seals, journals))
            outputs.append(Outgoing(topic=self.topics.changes.name, key=company_id, value=value))
        await self.publish(outputs)

    async def _confirm(self, company_id: str, deleted: Sequence[Deleted]) -> None:
        """Every sweep shows a deleted record for 30 days; one that is known to be gone costs no call.

        Change data capture calls living records deleted, and a read can fail to find one that is there. Only who is in
        no query either is gone: nothing that comes later would bring it back.
        """
        announced = {_key(company_id, stub): _announced(company_id, stub) for stub in deleted}
        shown = (await self.sweeps.known([company_id], list(announced))).shown
        doubtful = [wanted for wanted in announced.values() if not _known_gone(wanted, shown.get(wanted.key))]
        there = await self._still_there(company_id, [wanted.key for wanted in doubtful])
        for wanted in doubtful:
            if wanted.key not in there:
                await self._confirm_gone(wanted)

    async def _still_there(self, company_id: str, keys: Sequence[Key]) -> set[Key]:
        """Publish those that a query shows; returns which."""
        there: set[Key] = set()
        for record_type in sorted({key.record_type for key in keys}):
            ids = [key.record_id for key in keys if key.record_type == record_type]
            for at in range(0, len(ids), IDS_AT_ONCE):
                answer = await self.quickbooks.by_ids(company_id, record_type, ids[at : at + IDS_AT_ONCE])
                await self._publish_living(company_id, answer)
                there |= {Key(company_id, record_type, record.record_id) for record in answer.records}
        return there

    async def _confirm_gone(self, wanted: Wanted) -> None:
        answer = await self.quickbooks.read(*wanted.key)
        if isinstance(answer, Answer):
            return await self._publish_living(wanted.key.company_id, answer)
        gone = record_gone(wanted, answer.answered_at)
        value = self.topics.ids.encode(gone)
        await self.publish([Outgoing(topic=self.topics.changes.name, key=wanted.key.company_id, value=value)])
        await self.sweeps.note_published({wanted.key: Shown(answer.answered_at, None)}, {})

    async def _publish_living(self, company_id: str, answer: Answer) -> None:
        for record in answer.records:
            named = {"record_type": record.record_type, "record_id": record.record_id}
            _log.warning("change data capture called a record deleted that is there", company_id=company_id, **named)
        await self._publish_records(company_id, answer, "sweep")

    # --- the end ------------------------------------------------------------------------------------------------

    async def _closed(self, sweep: Sweep, until: datetime, records: int, path: str, *, again: bool) -> bool:
        closed = await self.sweeps.close(sweep, until, again=again)
        await self._keep(sweep, {})
        _log.info("swept", company_id=sweep.company_id, records=records, path=path, closed=closed)
        if sweep.gap_since is not None and (closed or again):
            body = GapClosed(gap_since=sweep.gap_since, closed_until=until, records_read=records, path=path)
            await self.publish([self._sync(sweep.company_id, until, body)])
        return closed

    async def _activate(self, sweep: Sweep) -> None:
        """Published before it is stored: a crash between them says it once more, which changes nothing."""
        if sweep.was_active:
            return
        now = datetime.now(UTC)
        envelope = _envelope(sweep.company_id, now)
        activated = self.topics.ids.encode(Recorded(envelope, CompanyActivated()))
        state = ConnectionChanged(state="active", because="everything is read")
        await self.publish(
            [
                Outgoing(topic=self.topics.changes.name, key=sweep.company_id, value=activated),
                self._sync(sweep.company_id, now, state),
            ]
        )
        await self.sweeps.activate(sweep.company_id)

    def _sync(self, company_id: str, at: datetime, body: GapClosed | ConnectionChanged) -> Outgoing:
        value = self.topics.ids.encode(Recorded(_envelope(company_id, at), body))
        return Outgoing(topic=self.topics.sync_events.name, key=company_id, value=value)

    async def _keep(self, sweep: Sweep, cursor: Mapping[str, object]) -> None:
        if not await self.sweeps.progress(sweep, cursor):
            raise LeaseLost

    async def _room(self, sweep: Sweep) -> None:
        """Wait until the ledger has caught up, so that a long history does not delay another company's webhook."""
        waited = 0
        while await self.lag(sweep.company_id) > LAG_MAX:
            await asyncio.sleep(LAG_POLL_S)
            waited += 1
            if waited % 50 == 0:
                await self._keep(sweep, sweep.cursor)


async def run_repair(repair: Repair, *, poll_s: float = POLL_S, companies_at_once: int = COMPANIES_AT_ONCE) -> None:
    """Sweep whatever has a gap, for ever; end it by cancelling. Raises what is no failure of one company."""
    async with asyncio.TaskGroup() as lanes:
        for _ in range(companies_at_once):
            lanes.create_task(_lane(repair, poll_s))


async def _lane(repair: Repair, poll_s: float) -> None:
    while True:
        try:
            swept = await repair.sweep_one()
        except TransientError as error:
            _log.warning("repair waits", reason=str(error))
            swept = False
        if not swept:
            await asyncio.sleep(poll_s)


def next_page(cursor: Cursor, answer: Answer) -> Cursor:
    """Where the next page begins. Pure.

    At the second of the last record, once more: others of that second may follow. A page within one second goes on by
    position. A record that is changed meanwhile moves to the end, so nothing that is still to come can be jumped over.
    """
    records = cursor.records + len(answer.records)
    if not answer.records:  # none, or none that can be told
        return replace(cursor, start=cursor.start + answer.size, records=records)
    last = answer.records[-1].revised_at
    start = cursor.start + answer.size - PAGE_OVERLAP if last <= cursor.since else 1
    return replace(cursor, since=max(last, cursor.since), start=start, records=records)


def _since(sweep: Sweep) -> datetime | None:
    """From when on everything must be read; None: nothing."""
    if sweep.gap_since is None:
        return sweep.swept_until if sweep.regular else None
    return sweep.gap_since if sweep.swept_until is None else min(sweep.gap_since, sweep.swept_until)


def _gap(sweep: Sweep) -> str:
    return sweep.gap_since.isoformat() if sweep.gap_since is not None else ""


def _resumed(sweep: Sweep) -> Cursor | None:
    """Where this gap's pages stood when a sweep was broken off."""
    stored = sweep.cursor
    if not stored or stored.get("gap_since") != _gap(sweep):
        return None
    return Cursor(
        gap_since=_gap(sweep),
        record_type=str(stored["record_type"]),
        since=datetime.fromisoformat(str(stored["since"])),
        start=int(str(stored["start"])),
        began_at=datetime.fromisoformat(str(stored["began_at"])),
        records=int(str(stored["records"])),
    )


def _wanted(later: Later) -> Wanted:
    return Wanted(
        key=later.key,
        oldest_at=later.caused_at,
        newest_at=later.caused_at,
        must_show=None,
        announced_at=later.announced_at,
        causes=(),
        origin=later.origin,
        correlation_id=later.cause_id,
        record=None,
    )


def _announced(company_id: str, stub: Deleted) -> Wanted:
    return _wanted(Later(_key(company_id, stub), stub.deleted_at, stub.deleted_at, "", "sweep"))


def _known_gone(wanted: Wanted, last: Shown | None) -> bool:
    return last is not None and last.revised_at is None and last.read_at >= wanted.newest_at


def _key(company_id: str, stub: Deleted) -> Key:
    return Key(company_id, stub.record_type, stub.record_id)


def _envelope(company_id: str, at: datetime) -> Envelope:
    change_id = uuid4()
    return Envelope(
        change_id=change_id,
        company_id=company_id,
        origin="sweep",
        recorded_at=at,
        correlation_id=str(change_id),
        causes=(),
    )


def _again_in_s(error: CompanyUnreadable) -> float:
    if error.until is None:
        return TROUBLE_S
    return max(1.0, min((error.until - datetime.now(UTC)).total_seconds(), 3600.0))
