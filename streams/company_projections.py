"""What an event of a company changes in the read tables: customers, what waits, warnings, decisions. Pure.

Reads: events of schemas.company in the order of their versions.
Guarantees: as streams.projections; a forgotten company's names are empty and stop nothing.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, assert_never

from schemas.codec import Recorded
from schemas.company import (
    BooksClosed,
    CompanyEvent,
    CustomerMappingChanged,
    CustomerProfile,
    Envelope,
    RecordResolved,
    RecordWaiting,
    RequestAccepted,
    RequestRefused,
    WarningCleared,
    WarningRaised,
)
from schemas.errors import UnprocessableError
from streams.read_tables import (
    CLOSINGS,
    CUSTOMERS,
    DECISIONS,
    WAITING,
    WARNINGS,
    Change,
    Changes,
    ClosingRow,
    CustomerRow,
    DecisionRow,
    WaitingRow,
    WarningRow,
)

OpenSealed = Callable[[str, str, bytes], bytes]  # company id, purpose, sealed; raises UnprocessableError


def customer_changes(open_sealed: OpenSealed, event: Recorded[Envelope, CompanyEvent]) -> Changes:
    """Say who a customer is now, or where its documents go."""
    envelope, body = event.envelope, event.body
    key = (envelope.company_id, envelope.record_id)
    match body:
        case CustomerProfile():
            names = _names(open_sealed, envelope.company_id, body.sealed_names)
            return (Change(CUSTOMERS, key, partial(_say_customer, envelope, body, names)),)
        case CustomerMappingChanged():
            return (Change(CUSTOMERS, key, partial(_say_mapping, envelope, body)),)
        case RequestAccepted() | RequestRefused() | RecordWaiting() | RecordResolved():
            return ()
        case WarningRaised() | WarningCleared() | BooksClosed():
            return ()
        case _:
            assert_never(body)


def _names(open_sealed: OpenSealed, company_id: str, sealed: bytes) -> Mapping[str, str]:
    """Display name and full name; none when the company was forgotten, which must not stop a rebuild."""
    try:
        names: dict[str, str] = json.loads(open_sealed(company_id, "names", sealed))
    except UnprocessableError:
        return {}
    return names


def _say_customer(
    envelope: Envelope, body: CustomerProfile, names: Mapping[str, str], row: CustomerRow | None
) -> CustomerRow:
    row = row or CustomerRow(envelope.generation, envelope.company_id, envelope.record_id)
    return row._replace(
        parent_customer_id=body.parent_customer_id,
        display_name=names.get("display_name"),
        full_name=names.get("full_name"),
        active=body.active,
        currency=body.currency,
        version=envelope.version,
    )


def _say_mapping(envelope: Envelope, body: CustomerMappingChanged, row: CustomerRow | None) -> CustomerRow:
    row = row or CustomerRow(envelope.generation, envelope.company_id, envelope.record_id)
    return row._replace(
        mapping_state=body.state,
        project_id=body.project_id,
        reference_number=body.reference_number,
        from_on=body.from_on,
        mapping_version=body.mapping_version,
        version=envelope.version,
    )


# --- waiting-v1: what waits, warnings, decisions, closing dates ---------------------------------------------------


def waiting_changes(event: Recorded[Envelope, CompanyEvent]) -> Changes:
    """List or unlist what waits and what is warned about; keep every decision and every closing date."""
    envelope, body = event.envelope, event.body
    record = (envelope.company_id, envelope.record_type, envelope.record_id)
    match body:
        case RecordWaiting():
            return (Change(WAITING, (*record, body.part), partial(_wait, envelope, body)),)
        case RecordResolved():
            return (Change(WAITING, (*record, body.part), _gone),)
        case WarningRaised():
            return (Change(WARNINGS, (*record, body.code), partial(_warn, envelope, body)),)
        case WarningCleared():
            return (Change(WARNINGS, (*record, body.code), _gone),)
        case RequestAccepted() | RequestRefused():
            return (Change(DECISIONS, (envelope.company_id, body.decision_id), partial(_decide, envelope, body)),)
        case BooksClosed():
            return (Change(CLOSINGS, (envelope.company_id, str(envelope.version)), partial(_closed, envelope, body)),)
        case CustomerProfile() | CustomerMappingChanged():
            return ()
        case _:
            assert_never(body)


def _gone(_row: tuple[Any, ...] | None) -> None:
    """What is settled is no longer listed."""


def _wait(envelope: Envelope, body: RecordWaiting, row: WaitingRow | None) -> WaitingRow:
    """A new amount keeps the time since when it waits; a new cause does not."""
    return WaitingRow(
        generation=envelope.generation,
        company_id=envelope.company_id,
        record_type=envelope.record_type,
        record_id=envelope.record_id,
        part=body.part,
        cause=body.cause,
        customer_id=body.customer_id,
        amount=None if body.amount is None else body.amount.amount,
        currency=None if body.amount is None else body.amount.currency,
        accounting_on=body.accounting_on,
        since=row.since if row is not None and row.cause == body.cause else envelope.recorded_at,
        version=envelope.version,
        home_amount=None if body.home_amount is None else body.home_amount.amount,
        home_currency=None if body.home_amount is None else body.home_amount.currency,
    )


def _warn(envelope: Envelope, body: WarningRaised, row: WarningRow | None) -> WarningRow:
    since = envelope.recorded_at if row is None else row.since
    return WarningRow(
        envelope.generation,
        envelope.company_id,
        envelope.record_type,
        envelope.record_id,
        body.code,
        body.detail,
        since,
        envelope.version,
    )


def _decide(envelope: Envelope, body: RequestAccepted | RequestRefused, _row: DecisionRow | None) -> DecisionRow:
    accepted = isinstance(body, RequestAccepted)
    return DecisionRow(
        generation=envelope.generation,
        company_id=envelope.company_id,
        decision_id=body.decision_id,
        request=body.request,
        accepted=accepted,
        refusal="" if isinstance(body, RequestAccepted) else body.refusal,
        records_moved=body.records_moved if isinstance(body, RequestAccepted) else 0,
        record_type=envelope.record_type,
        record_id=envelope.record_id,
        asked_at=envelope.recorded_at,
        version=envelope.version,
    )


def _closed(envelope: Envelope, body: BooksClosed, _row: ClosingRow | None) -> ClosingRow:
    return ClosingRow(
        generation=envelope.generation,
        company_id=envelope.company_id,
        entry=str(envelope.version),
        closed_on=body.closed_on,
        noted_at=envelope.recorded_at,
        version=envelope.version,
    )
