"""What `schemas.codec` writes is what fastavro writes, byte for byte, whatever the values are."""

import io
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import accounting, changes
from schemas.accounting import ExchangeRate
from schemas.codec import HEADER_BYTES, Recorded, file_ids
from schemas.money import Money

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
longs = st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-100, 2000)
days = st.dates()
instants = st.datetimes(timezones=st.just(UTC))
money = st.builds(
    Money, st.integers(-(10**37), 10**37).map(lambda n: Decimal(n).scaleb(-6, None)), st.sampled_from(("USD", "JPY"))
)
rates = st.integers(-(10**20), 10**20).map(lambda n: ExchangeRate(Decimal(n).scaleb(-12)))
figures = st.builds(
    accounting.Figures,
    customer_id=texts,
    doc_number=texts,
    issued_on=days,
    due_on=st.none() | days,
    total=money,
    tax=money,
    deposit=money,
    exchange_rate=st.none() | rates,
    home_total=st.none() | money,
    home_deposit=st.none() | money,
)
events = st.builds(
    accounting.Envelope,
    event_id=st.uuids(),
    generation=longs,
    project_id=texts,
    version=longs,
    rules_version=longs,
    company_id=texts,
    record_type=texts,
    record_id=texts,
    revised_at=st.none() | instants,
    sync_token=st.none() | longs,
    origin=texts,
    reason=texts,
    accounting_on=days,
    recorded_at=instants,
    correlation_id=texts,
    causation_id=texts,
)
causes = st.builds(
    changes.Cause,
    cause_id=texts,
    partition=st.none() | longs,
    offset=st.none() | longs,
    caused_at=st.none() | instants,
)
inputs = st.builds(
    changes.Envelope,
    change_id=st.uuids(),
    company_id=texts,
    origin=texts,
    recorded_at=instants,
    correlation_id=texts,
    causes=st.lists(causes, max_size=3).map(tuple),
)


def as_fastavro_writes(wire: bytes) -> bytes:
    """The same message, read and written with Avro's own logical types and nothing of ours."""
    contract = file_ids().contract(int.from_bytes(wire[1:HEADER_BYTES], "big"))
    schema = fastavro.parse_schema(contract.schema, named_schemas={})
    message: Any = fastavro.schemaless_reader(io.BytesIO(wire[HEADER_BYTES:]), schema, None)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, message)
    return wire[:HEADER_BYTES] + out.getvalue()


@given(events, st.builds(accounting.InvoiceIssued, after=figures))
def test_an_event_is_written_as_fastavro_writes_it(envelope: Any, body: Any) -> None:
    wire = file_ids().encode(Recorded(envelope, body))
    assert as_fastavro_writes(wire) == wire
    assert file_ids().decode(wire) == Recorded(envelope, body)


def record_read(sync_token: int, sealed: bytes, related: int) -> changes.RecordRead:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    journal = changes.RelatedRecord(record_type="JournalEntry", record_id="2", sealed=sealed)
    return changes.RecordRead(
        record_type="Invoice",
        record_id="1",
        revised_at=at,
        sync_token=sync_token,
        read_at=at,
        sealed=sealed,
        related=(journal,) * related,
    )


@given(inputs, st.builds(record_read, longs, st.binary(max_size=3000), st.integers(0, 2)))
def test_an_input_is_written_as_fastavro_writes_it(envelope: Any, body: Any) -> None:
    wire = file_ids().encode(Recorded(envelope, body))
    assert as_fastavro_writes(wire) == wire
    assert file_ids().decode(wire) == Recorded(envelope, body)


@given(inputs, st.sampled_from([1 << 63, -(1 << 63) - 1]))
def test_a_number_that_no_contract_can_hold_is_refused(envelope: Any, beyond: int) -> None:
    with pytest.raises(ValueError, match="more than 64 bits"):
        file_ids().encode(Recorded(envelope, record_read(beyond, b"", 0)))
