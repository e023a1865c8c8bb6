"""What is to be read and why, and the change that each answer becomes. Words and pure functions of enrich and repair.

Guarantees: the same answer always has the same change id; whatever holds a record's content is sealed.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID, uuid5

from schemas.answers import Record
from schemas.changes import Cause, Envelope, MergeNotice, RecordAbsent, RecordGone, RecordRead, RelatedRecord
from schemas.codec import Recorded
from schemas.journals import JOURNAL_ENTRY, named_journals
from schemas.known import Key
from schemas.notifications import Operation
from schemas.quickbooks import PAYMENT
from schemas.wire import Incoming

CHANGES = UUID("5a0f3a4e-7a53-5b0e-8d0d-0f5c6f0f7c01")  # namespace of change ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One reason to read one record."""

    key: Key
    occurred_at: datetime
    cause: Cause
    origin: str  # webhook or request
    correlation_id: str
    operation: Operation | None  # None: a request
    record: Incoming


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One record to read, with everything that asked for it."""

    key: Key
    oldest_at: datetime
    newest_at: datetime
    must_show: datetime | None  # a read that was revised well before is stale; None: any read will do
    announced_at: datetime | None  # of a delete, or of a merge: one of its two customers may not be there any more
    causes: tuple[Cause, ...]  # oldest first
    origin: str
    correlation_id: str  # of the oldest cause
    record: Incoming | None  # the newest that asked: it is parked when QuickBooks' record cannot be told


class Merge(NamedTuple):
    """One customer vanished in another."""

    ask: Ask
    vanished_id: str


class Seals(Protocol):
    """Seals records with their company's key."""

    async def load(self, company_ids: Collection[str]) -> None: ...

    def seal(self, company_id: str, purpose: str, plain: bytes) -> bytes: ...


def record_envelope(
    company_id: str, record: Record, read_at: datetime, origin: str, causes: tuple[Cause, ...], correlation_id: str
) -> Envelope:
    """The same answer always has the same change id."""
    revision = f"{record.revised_at.isoformat()}|{record.sync_token}|{read_at.isoformat()}"
    change_id = uuid5(CHANGES, f"{company_id}|{record.record_type}|{record.record_id}|{revision}")
    return Envelope(
        change_id=change_id,
        company_id=company_id,
        origin=origin,
        recorded_at=read_at,
        correlation_id=correlation_id or str(change_id),
        causes=causes,
    )


def record_read(
    envelope: Envelope, record: Record, seals: Seals, journals: Mapping[Key, bytes]
) -> Recorded[Envelope, RecordRead]:
    """A record as it was answered, with the journal entries that it names and that could be read, all sealed."""
    company_id = envelope.company_id
    named = sorted(named_journals(record.raw)) if record.record_type == PAYMENT else []
    keys = [key for each in named if (key := Key(company_id, JOURNAL_ENTRY, each)) in journals]
    body = RecordRead(
        record_type=record.record_type,
        record_id=record.record_id,
        revised_at=record.revised_at,
        sync_token=record.sync_token,
        read_at=envelope.recorded_at,
        sealed=seals.seal(company_id, "record", record.raw),
        related=tuple(
            RelatedRecord(
                record_type=JOURNAL_ENTRY,
                record_id=key.record_id,
                sealed=seals.seal(company_id, "record", journals[key]),
            )
            for key in keys
        ),
    )
    return Recorded(envelope, body)


def record_gone(wanted: Wanted, read_at: datetime) -> Recorded[Envelope, RecordGone]:
    """A record that was announced as deleted and is not there."""
    company_id, record_type, record_id = wanted.key
    announced_at = wanted.announced_at or wanted.newest_at
    change_id = uuid5(CHANGES, f"{company_id}|{record_type}|{record_id}|gone|{read_at.isoformat()}")
    envelope = Envelope(
        change_id=change_id,
        company_id=company_id,
        origin=wanted.origin,
        recorded_at=read_at,
        correlation_id=wanted.correlation_id or str(change_id),
        causes=wanted.causes,
    )
    body = RecordGone(record_type=record_type, record_id=record_id, announced_at=announced_at, read_at=read_at)
    return Recorded(envelope, body)


def record_absent(wanted: Wanted, read_at: datetime) -> Recorded[Envelope, RecordAbsent]:
    """A record that is not there, though no delete was announced: for a person to look at, until a sweep knows more."""
    company_id, record_type, record_id = wanted.key
    change_id = uuid5(CHANGES, f"{company_id}|{record_type}|{record_id}|absent|{read_at.isoformat()}")
    envelope = Envelope(
        change_id=change_id,
        company_id=company_id,
        origin=wanted.origin,
        recorded_at=read_at,
        correlation_id=wanted.correlation_id or str(change_id),
        causes=wanted.causes,
    )
    return Recorded(envelope, RecordAbsent(record_type=record_type, record_id=record_id, read_at=read_at))


def merge_notice(merge: Merge) -> Recorded[Envelope, MergeNotice]:
    """What Intuit said; both customers are read beside it."""
    ask, vanished_id = merge
    company_id, _, kept_id = ask.key
    envelope = Envelope(
        change_id=uuid5(CHANGES, f"{company_id}|merge|{kept_id}|{vanished_id}|{ask.cause.cause_id}"),
        company_id=company_id,
        origin=ask.origin,
        recorded_at=ask.occurred_at,
        correlation_id=ask.correlation_id,
        causes=(ask.cause,),
    )
    body = MergeNotice(kept_customer_id=kept_id, vanished_customer_id=vanished_id, noticed_at=ask.occurred_at)
    return Recorded(envelope, body)
