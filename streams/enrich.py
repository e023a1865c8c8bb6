"""Turn notifications and requests to read into full changes; never wait for a company.

Reads: quickbooks-notifications, read-requests (key company_id). Calls: QuickBooks. Writes: company-changes.
Stores no accounting state, only control data: gaps, what is to be read later, when each record was last read.
Guarantees: many notifications of one record are one read and all of them its causes; a company that cannot be read
leaves a durable gap, and no other company waits; a read is remembered only after it was published.
What is not read, and why: see `plan`. An event of a company that nobody connected is counted, logged and left: on
connecting, the company's whole history is read, and a foreign company's events would fill the parked records.
Source: design, "enrich never waits for a company"; docs/decisions/0003, docs/decisions/0010.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import prometheus_client
import structlog

from schemas.answers import RECORD_TYPES, Answer, CompanyUnreadable, Gone, Record
from schemas.changes import Cause, Envelope, ReadRequest
from schemas.codec import Recorded, SchemaIds
from schemas.errors import UnprocessableError
from schemas.journals import JOURNAL_ENTRY, named_journals
from schemas.known import Key, Known, Later, Shown
from schemas.notifications import Operation, parse_notification
from schemas.quickbooks import PAYMENT
from schemas.topics import Topics
from schemas.wire import Incoming, Outcome, Outgoing, Unworkable
from streams.reading import (
    Ask,
    Merge,
    Seals,
    Wanted,
    merge_notice,
    record_absent,
    record_envelope,
    record_gone,
    record_read,
)

IDS_AT_ONCE = 100
WINDOW_FROM = 300  # from so many records of one type on, one page by time is tried before queries by ids
WINDOW_PAGE = 1000
BATCH_S = 12.0  # a batch is done after so long, whatever Intuit does
COMPANIES_AT_ONCE = 64
STALE = timedelta(seconds=2)  # LastUpdatedTime has whole seconds, and clocks of one house differ a little
STALE_WAIT_S = 0.7
SETTLED = timedelta(seconds=15)  # so long after a change any read shows it
_left_out = prometheus_client.Counter("enrich_left_out", "Notifications that led to no read", ["why"])
_log = structlog.get_logger(__name__)


class QuickBooksReads(Protocol):
    """What enrich asks QuickBooks. Each raises CompanyUnreadable."""

    async def by_ids(self, company_id: str, record_type: str, ids: Collection[str]) -> Answer: ...

    async def changed_between(
        self, company_id: str, record_type: str, since: datetime, until: datetime, *, start: int = 1
    ) -> Answer: ...

    async def read(self, company_id: str, record_type: str, record_id: str) -> Answer | Gone: ...


class Control(Protocol):
    """Control data. Everything is durable when a call returns; every call is safe twice."""

    async def known(self, company_ids: Collection[str], keys: Collection[Key]) -> Known: ...

    async def note_unread(self, gaps: Mapping[str, datetime], later: Collection[Later]) -> None: ...

    async def note_published(self, shown: Mapping[Key, Shown], webhooks: Mapping[str, datetime]) -> None: ...


@dataclass(slots=True)
class Found:
    """What reading a company has brought so far."""

    read: dict[Key, tuple[Record, datetime]] = field(default_factory=dict)  # with Intuit's time of the answer
    gone: dict[Key, datetime] = field(default_factory=dict)
    stale: set[Key] = field(default_factory=set)  # read, but older than announced
    missing: dict[Key, datetime] = field(default_factory=dict)  # not there, though nobody announced a delete
    unreadable: dict[Key, str] = field(default_factory=dict)
    journals: dict[Key, bytes] = field(default_factory=dict)  # that payments among them name

    def answered(self, key: Key) -> bool:
        """Whether QuickBooks has said something about it."""
        return key in self.read or key in self.gone or key in self.missing or key in self.unreadable


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of a batch before anybody is called."""

    read: Mapping[str, Sequence[Wanted]]  # by company
    unreadable: Sequence[Wanted]  # of companies that cannot be read
    strangers: Mapping[str, int]  # asks of companies that nobody connected


class Enrich:
    """The step: reads what a batch asks for."""

    def __init__(self, quickbooks: QuickBooksReads, control: Control, seals: Seals, topics: Topics) -> None:
        self._reader = Reader(quickbooks)
        self._control = control
        self._seals, self._topics = seals, topics
        self._unpublished: tuple[Outcome, Mapping[Key, Shown], Mapping[str, datetime]] | None = None
        self._told: set[str] = set()  # companies that nobody connected, once for a process
        self.progress = 0  # a batch that fails is read again: nothing is finished inside it

    async def do(self, batch: Sequence[Incoming]) -> Outcome:
        """Read what this batch asks for. Raises TransientError when the database is away."""
        asks, unworkable, merges = asked(batch, self._topics)
        wanted = coalesced(asks)
        known = await self._control.known({key.company_id for key in wanted}, list(wanted))
        planned = plan(wanted.values(), known)
        self._leave_out(planned, merges)
        found = await self._read(planned.read)
        await self._note_unread(planned, found)
        await self._seals.load({key.company_id for key in found.read})
        changes = [*self._merge_notices(merges, known), *changes_of(found, wanted, self._seals, self._topics)]
        outcome = Outcome(outputs=changes, unworkable=[*unworkable, *_parked(found, wanted)])
        self._unpublished = outcome, shown_by(found), _last_webhooks(asks, known)
        return outcome

    async def published(self, outcome: Outcome) -> None:
        """Remember what was read, now that it is in company-changes. Raises TransientError. Safe twice."""
        if self._unpublished is not None and self._unpublished[0] is outcome:
            await self._control.note_published(*self._unpublished[1:])
            self._unpublished = None

    async def assigned(self, partitions: Collection[tuple[str, int]]) -> None:
        """Nothing is remembered between batches."""
        self._unpublished = None

    async def _read(self, planned: Mapping[str, Sequence[Wanted]]) -> Found:
        """All companies at once, each within what is left of the batch's time."""
        found, gate = Found(), asyncio.Semaphore(COMPANIES_AT_ONCE)
        deadline = asyncio.get_running_loop().time() + BATCH_S

        async def read(wanted: Sequence[Wanted]) -> None:
            async with gate:
                await self._reader.read(wanted, found, deadline)

        await _all(map(read, planned.values()))
        return found

    async def _note_unread(self, planned: Plan, found: Found) -> None:
        """Durable before the batch is acknowledged: a gap, and by name what no sweep would find."""
        tried = [each for wanted in planned.read.values() for each in wanted]
        unread = [*planned.unreadable, *(each for each in tried if not found.answered(each.key))]
        doubtful = [each for each in tried if each.key in found.stale or _is_missing(each, found)]
        gaps: dict[str, datetime] = {}
        for each in [*unread, *doubtful]:
            company_id = each.key.company_id
            gaps[company_id] = min(gaps.get(company_id, each.oldest_at), each.oldest_at)
        later = [later_of(each) for each in unread if needs_name(each)]
        if gaps:
            _log.warning("gap noted", companies=len(gaps), unread=len(unread), stale=len(found.stale))
            await self._control.note_unread(gaps, later)

    def _merge_notices(self, merges: Iterable["Merge"], known: Known) -> Iterator[Outgoing]:
        for merge in merges:
            if merge.ask.key.company_id in known.companies:
                yield _out(self._topics, merge_notice(merge))

    def _leave_out(self, planned: Plan, merges: Sequence["Merge"]) -> None:
        for company_id, asks in planned.strangers.items():
            _left_out.labels("company not connected").inc(asks)
            if company_id not in self._told:
                self._told.add(company_id)
                _log.warning("events of a company that nobody connected are left out", company_id=company_id)


class Reader:
    """Reads wanted records of one company with as few calls as it can."""

    def __init__(self, quickbooks: QuickBooksReads) -> None:
        self._quickbooks = quickbooks

    async def read(self, wanted: Sequence[Wanted], found: Found, deadline: float) -> None:
        """Add to `found` what QuickBooks says of these records of one company, until the loop's time `deadline`.

        What has no answer then cannot be read now. Raises nothing of QuickBooks.
        """
        try:
            await self._read(wanted, found, deadline)
        finally:
            found.stale |= {each.key for each in wanted if _is_stale(each, found)}

    async def _read(self, wanted: Sequence[Wanted], found: Found, deadline: float) -> None:
        types = {each.key.record_type for each in wanted}
        readings = [self._read_type([w for w in wanted if w.key.record_type == each], found) for each in types]
        try:
            async with asyncio.timeout_at(deadline):
                ended = await asyncio.gather(*readings, return_exceptions=True)
        except TimeoutError:
            _log.warning("company not read in time", company_id=wanted[0].key.company_id)
            return
        for error in ended:
            if isinstance(error, CompanyUnreadable):
                _log.warning("company not read", company_id=error.company_id, why=error.why.value, detail=str(error))
            elif isinstance(error, BaseException):
                raise error

    async def _read_type(self, wanted: Sequence[Wanted], found: Found) -> None:
        left = await self._by_window(wanted, found) if len(wanted) > WINDOW_FROM else wanted
        await self._by_ids(left, found)
        stale = [each for each in wanted if _is_stale(each, found)]
        if stale:
            await asyncio.sleep(STALE_WAIT_S)
            await self._by_ids(stale, found)
        absent = [each for each in wanted if each.key not in found.read]
        await _all(self._alone(each, found) for each in absent)
        company_id, record_type, _ = wanted[0].key
        if record_type == PAYMENT:
            payments = [found.read[each.key][0] for each in wanted if each.key in found.read]
            found.journals |= await journals_of(self._quickbooks, company_id, payments)

    async def _by_window(self, wanted: Sequence[Wanted], found: Found) -> Sequence[Wanted]:
        """One page of what changed since the oldest of these; returns those that were not on it."""
        company_id, record_type, _ = wanted[0].key
        since = min(each.oldest_at for each in wanted) - STALE
        until = max(each.newest_at for each in wanted) + SETTLED
        answer = await self._quickbooks.changed_between(company_id, record_type, since, until)
        if answer.size >= WINDOW_PAGE:
            return wanted
        _take(answer, wanted, found)
        return [each for each in wanted if each.key not in found.read]

    async def _by_ids(self, wanted: Sequence[Wanted], found: Found) -> None:
        async def read(some: Sequence[Wanted]) -> None:
            company_id, record_type, _ = some[0].key
            ids = [each.key.record_id for each in some]
            _take(await self._quickbooks.by_ids(company_id, record_type, ids), some, found)

        await _all(read(wanted[at : at + IDS_AT_ONCE]) for at in range(0, len(wanted), IDS_AT_ONCE))

    async def _alone(self, wanted: Wanted, found: Found) -> None:
        """A record that a query did not show: only its own answer tells whether it is gone."""
        answer = await self._quickbooks.read(*wanted.key)
        if isinstance(answer, Answer):
            _take(answer, [wanted], found)
            if wanted.key not in found.read:
                found.unreadable[wanted.key] = "; ".join(answer.unreadable) or "another record was answered"
                _log.error("QuickBooks' record cannot be told", **wanted.key._asdict())
        elif wanted.announced_at is not None:
            found.gone[wanted.key] = answer.answered_at
        else:
            found.missing[wanted.key] = answer.answered_at
            _log.warning("a record is not there, and no delete was announced", **wanted.key._asdict())


async def journals_of(quickbooks: QuickBooksReads, company_id: str, payments: Iterable[Record]) -> dict[Key, bytes]:
    """The journal entries that payments name, a hundred in one call, none without need.

    Raises nothing of QuickBooks: one that is missing leaves its side open, and the ledger asks for the payment again
    when that matters.
    """
    named = sorted({each for payment in payments for each in named_journals(payment.raw)})
    found: dict[Key, bytes] = {}
    try:
        for at in range(0, len(named), IDS_AT_ONCE):
            answer = await quickbooks.by_ids(company_id, JOURNAL_ENTRY, named[at : at + IDS_AT_ONCE])
            found |= {Key(company_id, each.record_type, each.record_id): each.raw for each in answer.records}
    except CompanyUnreadable as error:
        _log.warning("journal entries not read", company_id=company_id, why=error.why.value, detail=str(error))
    return found


# --- what is asked ----------------------------------------------------------------------------------------------------


def asked(batch: Sequence[Incoming], topics: Topics) -> tuple[list[Ask], list[Unworkable], list[Merge]]:
    """Every reason to read that a batch holds, what cannot be understood, and the merges. Pure."""
    asks: list[Ask] = []
    unworkable: list[Unworkable] = []
    merges: list[Merge] = []
    for record in batch:
        try:
            if record.topic == topics.notifications.name:
                of_one, merge = _notified(record)
                asks += of_one
                merges += merge
            else:
                asks += _requested(record, topics.ids)
        except UnprocessableError as error:
            unworkable.append(Unworkable(record=record, error=error))
    return asks, unworkable, merges


def _notified(record: Incoming) -> tuple[list[Ask], list[Merge]]:
    said = parse_notification(record.value, record.headers)
    if said.record_type not in RECORD_TYPES:
        _left_out.labels("record type not kept").inc()
        return [], []
    ask = Ask(
        key=Key(said.company_id, said.record_type, said.record_id),
        occurred_at=said.occurred_at,
        cause=Cause(
            cause_id=said.cause_id, partition=record.partition, offset=record.offset, caused_at=said.occurred_at
        ),
        origin="webhook",
        correlation_id=said.cause_id,
        operation=said.operation,
        record=record,
    )
    if said.vanished_id is None:
        return [ask], []
    vanished = replace(ask, key=ask.key._replace(record_id=said.vanished_id))
    return [ask, vanished], [Merge(ask, said.vanished_id)]


def _requested(record: Incoming, ids: SchemaIds) -> list[Ask]:
    message = ids.decode(record.value)
    if not isinstance(message.body, ReadRequest):
        raise UnprocessableError(f"a request to read was expected, not {type(message.body).__name__}")
    envelope = message.envelope
    cause = Cause(cause_id=str(envelope.change_id), partition=None, offset=None, caused_at=envelope.recorded_at)
    return [
        Ask(
            key=Key(envelope.company_id, name.record_type, name.record_id),
            occurred_at=envelope.recorded_at,
            cause=cause,
            origin="request",
            correlation_id=envelope.correlation_id,
            operation=None,
            record=record,
        )
        for name in message.body.records
        if _is_kept(name.record_type, name.record_id)
    ]


def _is_kept(record_type: str, record_id: str) -> bool:
    return record_type in RECORD_TYPES and record_id.isascii() and record_id.isdecimal() and len(record_id) <= 20


def coalesced(asks: Iterable[Ask]) -> dict[Key, Wanted]:
    """One read for each record, whatever the number of asks. Pure; the order of the asks does not matter."""
    by_key: defaultdict[Key, list[Ask]] = defaultdict(list)
    for ask in asks:
        by_key[ask.key].append(ask)
    return {key: _wanted(key, sorted(by_key[key], key=_in_order)) for key in sorted(by_key)}


def _in_order(ask: Ask) -> tuple[datetime, str, int]:
    return ask.occurred_at, ask.cause.cause_id, ask.record.offset


def _wanted(key: Key, asks: Sequence[Ask]) -> Wanted:
    revising = [ask.occurred_at for ask in asks if ask.operation not in (None, Operation.EMAILED)]
    deletes = [ask.occurred_at for ask in asks if ask.operation in (Operation.DELETE, Operation.MERGE)]
    return Wanted(
        key=key,
        oldest_at=asks[0].occurred_at,
        newest_at=asks[-1].occurred_at,
        must_show=max(revising, default=None),
        announced_at=max(deletes, default=None),
        causes=tuple(dict.fromkeys(ask.cause for ask in asks)),
        origin="webhook" if any(ask.origin == "webhook" for ask in asks) else "request",
        correlation_id=asks[0].correlation_id,
        record=asks[-1].record,
    )


# --- what to do about it ----------------------------------------------------------------------------------------------


def plan(wanted: Iterable[Wanted], known: Known) -> Plan:
    """Whom to read, and what cannot or need not be read. Pure.

    A record is not read again when a published read was answered after the newest ask and shows it, or when a sweep
    of the company ended well after it. A sweep by pages finds no deletes, so an announced delete is always looked at.
    """
    read: defaultdict[str, list[Wanted]] = defaultdict(list)
    unreadable: list[Wanted] = []
    strangers: Counter[str] = Counter()
    for each in wanted:
        company_id = each.key.company_id
        state = known.companies.get(company_id)
        if state is None:
            strangers[company_id] += len(each.causes)
        elif is_shown(each, known.shown.get(each.key)) or is_swept(each, state.swept_until):
            _left_out.labels("already read").inc(len(each.causes))
        elif state.readable:
            read[company_id].append(each)
        else:
            unreadable.append(each)
    return Plan(read, unreadable, strangers)


def is_shown(wanted: Wanted, shown: Shown | None) -> bool:
    """A published read was answered after every ask, and is not too old to show what was asked for."""
    if shown is None or any(shown.read_at < _over_by(cause.caused_at or wanted.newest_at) for cause in wanted.causes):
        return False
    must_show = wanted.must_show
    if must_show is None or shown.revised_at is None or shown.read_at >= must_show + SETTLED:
        return True
    return shown.revised_at >= must_show - STALE


def _over_by(stated: datetime) -> datetime:
    """When what happened at this time is over: Intuit states times in whole seconds, milliseconds or nanoseconds."""
    if stated.microsecond % 1000:
        return stated
    return stated + (timedelta(milliseconds=1) if stated.microsecond else timedelta(seconds=1))


def is_swept(wanted: Wanted, swept_until: datetime | None) -> bool:
    """A sweep that ended well after the newest ask has read it; a request is for more than what changed."""
    if swept_until is None or wanted.announced_at is not None or wanted.must_show is None:
        return False
    return swept_until >= wanted.newest_at + SETTLED and all(cause.partition is not None for cause in wanted.causes)


def needs_name(wanted: Wanted) -> bool:
    """Whether a sweep since the oldest ask could miss it: a delete is not among pages, a request is for old records."""
    return wanted.announced_at is not None or any(cause.partition is None for cause in wanted.causes)


def later_of(wanted: Wanted) -> Later:
    """What is kept of it until the company can be read."""
    last = wanted.causes[-1]
    return Later(wanted.key, wanted.announced_at, wanted.newest_at, last.cause_id, wanted.origin)


def _is_stale(wanted: Wanted, found: Found) -> bool:
    if wanted.must_show is None or wanted.key not in found.read:
        return False
    return found.read[wanted.key][0].revised_at < wanted.must_show - STALE


def _is_missing(wanted: Wanted, found: Found) -> bool:
    """A record that a webhook named and that is not there: change data capture will say what became of it."""
    return wanted.key in found.missing and wanted.must_show is not None


def _take(answer: Answer, wanted: Sequence[Wanted], found: Found) -> None:
    """An older answer never replaces a newer one."""
    asked_for = {each.key for each in wanted}
    company_id = wanted[0].key.company_id
    for record in answer.records:
        key = Key(company_id, record.record_type, record.record_id)
        if key in asked_for:
            known = found.read.get(key)
            if known is None or _order(record, answer.answered_at) >= _order(*known):
                found.read[key] = record, answer.answered_at


def _order(record: Record, read_at: datetime) -> tuple[datetime, int, datetime]:
    return record.revised_at, record.sync_token, read_at


async def _all(readings: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Let every one end before the first error is raised: what the others found is kept."""
    ended = await asyncio.gather(*readings, return_exceptions=True)
    for error in ended:
        if isinstance(error, BaseException):
            raise error


# --- what is published ------------------------------------------------------------------------------------------------


def changes_of(found: Found, wanted: Mapping[Key, Wanted], seals: Seals, topics: Topics) -> Iterator[Outgoing]:
    """The changes, customers before what names them. The companies' keys must be loaded."""
    for key in sorted([*found.read, *found.gone, *found.missing], key=_customers_first):
        asked_for = wanted[key]
        if key in found.gone:
            yield _out(topics, record_gone(asked_for, found.gone[key]))
        elif key in found.missing:
            yield _out(topics, record_absent(asked_for, found.missing[key]))
        else:
            record, read_at = found.read[key]
            causes, origin = asked_for.causes, asked_for.origin
            envelope = record_envelope(key.company_id, record, read_at, origin, causes, asked_for.correlation_id)
            yield _out(topics, record_read(envelope, record, seals, found.journals))


def _customers_first(key: Key) -> tuple[str, int, int]:
    return key.company_id, RECORD_TYPES.index(key.record_type), int(key.record_id)


def shown_by(found: Found) -> dict[Key, Shown]:
    """What is remembered of these reads. A stale one is not: the next ask must read again."""
    fresh = {
        key: Shown(read_at, record.revised_at)
        for key, (record, read_at) in found.read.items()
        if key not in found.stale
    }
    return fresh | {key: Shown(read_at, None) for key, read_at in found.gone.items()}


def _out(topics: Topics, message: Recorded[Envelope, Any]) -> Outgoing:
    return Outgoing(topic=topics.changes.name, key=message.envelope.company_id, value=topics.ids.encode(message))


def _parked(found: Found, wanted: Mapping[Key, Wanted]) -> Iterator[Unworkable]:
    for key, reason in sorted(found.unreadable.items()):
        record = wanted[key].record
        if record is not None:
            error = UnprocessableError(f"QuickBooks' record cannot be told: {reason}")
            yield Unworkable(record=record, error=error, record_type=key.record_type, record_id=key.record_id)


def _last_webhooks(asks: Iterable[Ask], known: Known) -> dict[str, datetime]:
    """When each company's last notification was received."""
    received: dict[str, datetime] = {}
    for ask in asks:
        text = ask.record.headers.get("received_at", b"").decode("ascii", "replace")
        company_id = ask.key.company_id
        if ask.origin == "webhook" and text and company_id in known.companies:
            at = _instant(text)
            if at is not None:
                received[company_id] = max(received.get(company_id, at), at)
    return received


def _instant(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
