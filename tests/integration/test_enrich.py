"""From notifications to full changes: what is read, what is not, what is left as a gap; simulator and real database."""

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from schemas.changes import Envelope, MergeNotice, ReadRequest, RecordAbsent, RecordGone, RecordName, RecordRead
from schemas.codec import Recorded, file_ids
from schemas.wire import Incoming, Outcome
from streams.enrich import Enrich
from tests.intuit import Intuit, Ours, notification


@pytest.fixture
async def company_id(intuit: Intuit, process: Ours) -> str:
    await process.connect(intuit, intuit.companies[0])
    await process.rows("UPDATE control.companies SET state = 'active', gap_since = NULL")
    process.published.clear()
    intuit.ask("POST", "/calls/reset")
    return intuit.companies[0]


@pytest.fixture
def enrich(process: Ours) -> Enrich:
    return Enrich(process.quickbooks, process.control, process.sealer, process.topics)


def bodies(outcome: Outcome) -> list[object]:
    return [message.body for message in messages(outcome)]


def messages(outcome: Outcome) -> list[Recorded[Envelope, object]]:
    return [file_ids().decode(each.value) for each in outcome.outputs]


async def gaps(process: Ours) -> dict[str, datetime | None]:
    return dict(await process.rows("SELECT company_id, gap_since FROM control.companies"))


async def calls(process: Ours) -> int:
    ((made,),) = await process.rows("SELECT coalesce(sum(calls), 0) FROM control.calls")
    return int(made)


def request(company_id: str, *names: tuple[str, str], at: datetime) -> Incoming:
    envelope = Envelope(
        change_id=uuid4(),
        company_id=company_id,
        origin="request",
        recorded_at=at,
        correlation_id="what caused it",
        causes=(),
    )
    records = tuple(RecordName(record_type=each[0], record_id=each[1]) for each in names)
    value = file_ids().encode(Recorded(envelope, ReadRequest(records=records, why="counterpart unknown")))
    return Incoming("read-requests", 1, 7, company_id, value, {}, 0)


async def test_a_notification_becomes_the_full_record_sealed_with_its_cause(
    intuit: Intuit, process: Ours, enrich: Enrich, company_id: str
) -> None:
    invoice = intuit.invoice(company_id, "250.00")
    told = notification(company_id, "Invoice", invoice["Id"], "created", intuit.now(), offset=42)
    (message,) = messages(await enrich.do([told]))
    body, envelope = message.body, message.envelope
    assert isinstance(body, RecordRead)
    assert (body.record_type, body.record_id, body.sync_token) == ("Invoice", invoice["Id"], 0)
    raw = process.sealer.open(company_id, "record", body.sealed)
    assert json.loads(raw) == invoice and b'"TotalAmt":250.00' in raw
    assert b"TotalAmt" not in body.sealed
    cause_id = told.headers["cause_id"].decode()
    assert [(each.cause_id, each.partition, each.offset) for each in envelope.causes] == [(cause_id, 0, 42)]
    assert (envelope.correlation_id, envelope.origin, envelope.recorded_at) == (cause_id, "webhook", body.read_at)


async def test_a_burst_on_one_invoice_is_one_call_and_loses_no_cause(
    intuit: Intuit, process: Ours, enrich: Enrich, company_id: str
) -> None:
    invoice, now = intuit.invoice(company_id), intuit.now()
    burst = [notification(company_id, "Invoice", invoice["Id"], "updated", now, offset=at) for at in range(1000)]
    outcome = await enrich.do(burst)
    (message,) = messages(outcome)
    assert {each.offset for each in message.envelope.causes} == set(range(1000))
    assert await calls(process) == 1
    await enrich.published(outcome)
    assert list((await enrich.do(burst)).outputs) == []
    assert await calls(process) == 1


async def test_many_invoices_are_at_most_one_call_for_fifty_notifications(
    intuit: Intuit, process: Ours, enrich: Enrich, company_id: str
) -> None:
    made = [intuit.invoice(company_id) for _ in range(60)]
    times = [datetime.fromisoformat(each["MetaData"]["LastUpdatedTime"]).astimezone(UTC) for each in made]
    told = [
        notification(company_id, "Invoice", each["Id"], "created", at) for each, at in zip(made, times, strict=True)
    ]
    assert len((await enrich.do(told)).outputs) == 60
    assert await calls(process) == 1


async def test_a_read_is_remembered_only_after_it_was_published(
    intuit: Intuit, process: Ours, enrich: Enrich, company_id: str
) -> None:
    invoice = intuit.invoice(company_id)
    told = [notification(company_id, "Invoice", invoice["Id"], "created", intuit.now())]
    lost = await enrich.do(told)  # the process dies before it is published
    assert len((await enrich.do(told)).outputs) == len(lost.outputs) == 1
    await enrich.published(lost)
    assert await process.rows("SELECT * FROM control.reads") == []
    last = await enrich.do(told)
    await enrich.published(last)
    assert len(await process.rows("SELECT * FROM control.reads")) == 1
    assert list((await enrich.do(told)).outputs) == []


async def test_an_announced_delete_is_gone_after_a_read_has_said_so(
    intuit: Intuit, process: Ours, enrich: Enrich, company_id: str
) -> None:
    kept, ended = intuit.invoice(company_id), intuit.invoice(company_id)
    intuit.end(company_id, "invoice", ended["Id"], "delete")
    now = intuit.now()
    told = [notification(company_id, "Invoice", each["Id"], "deleted", now) for each in (kept, ended)]
    read, gone = bodies(await enrich.do(told))
    assert isinstance(read, RecordRead) and read.record_id == kept["Id"]  # a false announcement
    assert isinstance(gone, RecordGone) and gone.record_id == ended["Id"] and gone.announced_at == now


async def test_a_record_that_is_not_there_without_a_delete_is_a_gap_and_told_to_the_ledger(
    intuit: Intuit, process: Ours, enrich: Enrich, company_id: str
) -> None:
    now = intuit.now()
    outcome = await enrich.do([notification(company_id, "Invoice", "99999999", "created", now)])
    (absent,) = bodies(outcome)
    assert isinstance(absent, RecordAbsent) and absent.record_id == "99999999"
    assert list(outcome.unworkable) == []
    assert await gaps(process) == {company_id: now}


async def test_a_merge_is_noticed_and_both_customers_are_read(
    intuit: Intuit, process: Ours, enrich: Enrich, company_id: str
) -> None:
    kept = intuit.write(company_id, "customer", DisplayName="Kept")["Id"]
    gone = intuit.write(company_id, "customer", DisplayName="Vanishes")["Id"]
    intuit.ask("POST", f"/companies/{company_id}/merge", {"kept": kept, "gone": gone})
    told = notification(company_id, "Customer", kept, "merged", intuit.now(), vanished=gone)
    notice, *read = bodies(await enrich.do([told]))
    assert isinstance(notice, MergeNotice)
    assert (notice.kept_customer_id, notice.vanished_customer_id) == (kept, gone)
    assert sorted(each.record_id for each in read if isinstance(each, RecordRead)) == sorted([kept, gone])


async def test_a_throttled_company_leaves_a_gap_and_the_other_goes_on(
    intuit: Intuit, process: Ours, enrich: Enrich, company_id: str
) -> None:
    other = intuit.companies[1]
    await process.connect(intuit, other)
    await process.rows("UPDATE control.companies SET state = 'active', gap_since = NULL")
    intuit.fault(realm=company_id, status=429)
    now = intuit.now()  # before the changes: what is told later than it was changed may be read too early
    first, second, earlier = intuit.invoice(company_id), intuit.invoice(other), now - timedelta(minutes=3)
    told = [
        notification(company_id, "Invoice", first["Id"], "updated", now),
        notification(company_id, "Payment", "1", "updated", earlier),
        notification(other, "Invoice", second["Id"], "updated", now),
    ]
    (message,) = messages(await enrich.do(told))
    assert message.envelope.company_id == other
    assert await gaps(process) == {company_id: earlier, other: None}
    await process.rows("UPDATE control.companies SET gap_since = '2020-01-01Z' WHERE company_id = %s", company_id)
    await enrich.do(told)
    assert (await gaps(process))[company_id] == datetime(2020, 1, 1, tzinfo=UTC)  # never later than it was


async def test_a_company_without_its_grant_is_not_called(
    intuit: Intuit, process: Ours, enrich: Enrich, company_id: str
) -> None:
    await process.rows("UPDATE control.companies SET state = 'reconnect_needed'")
    now = intuit.now()
    assert list((await enrich.do([notification(company_id, "Invoice", "5", "updated", now)])).outputs) == []
    assert await gaps(process) == {company_id: now}
    assert await calls(process) == 0


async def test_what_no_sweep_would_find_is_kept_by_name_while_a_company_cannot_be_read(
    intuit: Intuit, process: Ours, enrich: Enrich, company_id: str
) -> None:
    intuit.fault(realm=company_id, status=503)
    now = intuit.now()
    await enrich.do(
        [
            notification(company_id, "Invoice", "5", "deleted", now),
            notification(company_id, "Invoice", "6", "updated", now),
            request(company_id, ("Payment", "7"), at=now),
        ]
    )
    kept = await process.rows(
        "SELECT record_type, record_id, announced_at, origin FROM control.unread ORDER BY record_id"
    )
    assert kept == [("Invoice", "5", now, "webhook"), ("Payment", "7", None, "request")]


async def test_a_request_reads_again_what_was_read_before_it(
    intuit: Intuit, process: Ours, enrich: Enrich, company_id: str
) -> None:
    invoice = intuit.invoice(company_id)
    outcome = await enrich.do([notification(company_id, "Invoice", invoice["Id"], "created", intuit.now())])
    await enrich.published(outcome)
    asked = request(company_id, ("Invoice", invoice["Id"]), ("Vendor", "1"), at=intuit.now())
    (message,) = messages(await enrich.do([asked]))
    assert message.envelope.origin == "request"
    assert message.envelope.correlation_id == "what caused it"


async def test_a_stale_read_is_repeated_and_else_published_with_a_gap(
    intuit: Intuit, process: Ours, enrich: Enrich, company_id: str
) -> None:
    invoice = intuit.invoice(company_id)
    future = intuit.now() + timedelta(seconds=30)  # as if the change could not be seen yet
    told = [notification(company_id, "Invoice", invoice["Id"], "updated", future)]
    outcome = await enrich.do(told)
    await enrich.published(outcome)
    assert [type(each) for each in bodies(outcome)] == [RecordRead]
    assert await calls(process) == 2
    assert await gaps(process) == {company_id: future}
    assert await process.rows("SELECT * FROM control.reads") == []


async def test_a_read_that_shows_the_change_at_the_second_try_leaves_no_gap(
    intuit: Intuit, process: Ours, enrich: Enrich, company_id: str
) -> None:
    invoice = intuit.newest(company_id, "invoice", 50)[-1]  # no other test has changed it a moment ago
    intuit.fault(realm=company_id, visibility_delay_s=0.5)
    intuit.write(company_id, "invoice", Id=invoice["Id"], PrivateNote="seen late")
    told = [notification(company_id, "Invoice", invoice["Id"], "updated", intuit.now())]
    (body,) = bodies(await enrich.do(told))
    assert isinstance(body, RecordRead)
    assert b"seen late" in process.sealer.open(company_id, "record", body.sealed)
    assert await gaps(process) == {company_id: None}


async def test_other_record_types_and_strangers_lead_to_no_call(
    intuit: Intuit, process: Ours, enrich: Enrich, company_id: str
) -> None:
    now = intuit.now()
    outcome = await enrich.do(
        [
            notification(company_id, "Vendor", "1", "updated", now),
            notification("777", "Invoice", "1", "updated", now),
            notification("777", "Customer", "1", "merged", now, vanished="2"),
        ]
    )
    assert (list(outcome.outputs), list(outcome.unworkable)) == ([], [])
    assert await calls(process) == 0
    assert set(await gaps(process)) == {company_id}


async def test_what_cannot_be_understood_is_parked_alone(
    intuit: Intuit, process: Ours, enrich: Enrich, company_id: str
) -> None:
    invoice = intuit.invoice(company_id)
    bad = Incoming("quickbooks-notifications", 0, 3, company_id, b'{"specversion":', {}, 0)
    good = notification(company_id, "Invoice", invoice["Id"], "created", intuit.now())
    outcome = await enrich.do([bad, good])
    assert [each.record for each in outcome.unworkable] == [bad]
    assert len(outcome.outputs) == 1


async def test_the_last_webhook_of_a_company_is_known(
    intuit: Intuit, process: Ours, enrich: Enrich, company_id: str
) -> None:
    now = intuit.now()
    outcome = await enrich.do([notification(company_id, "Vendor", "1", "updated", now)])
    await enrich.published(outcome)
    outcome = await enrich.do([notification(company_id, "Customer", "1", "updated", now)])
    await enrich.published(outcome)
    assert await process.rows("SELECT webhook_at FROM control.companies") == [(now,)]
