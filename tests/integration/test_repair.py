"""Closing gaps: history, lost webhooks, deletes, crashes in the middle; simulator and real database."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.answers import RECORD_TYPES, CompanyUnreadable
from schemas.changes import CompanyActivated, CompanyFacts, GapClosed, RecordGone, RecordRead
from schemas.wire import Outgoing
from streams import repair as repair_module
from streams.enrich import Enrich
from streams.repair import Repair, run_repair
from tests.intuit import Intuit, Ours, notification


@pytest.fixture
async def company_id(intuit: Intuit, process: Ours) -> str:
    await process.connect(intuit, intuit.companies[0])
    process.published.clear()
    return intuit.companies[0]


async def settle(process: Ours, repair: Repair, sweeps_max: int = 6) -> None:
    """Sweep until nothing is left, without waiting between two sweeps of a company."""
    for _ in range(sweeps_max):
        await process.rows("UPDATE control.jobs SET lease_until = NULL")
        if not await repair.sweep_one():
            return
    raise AssertionError("the gap does not close")


async def active(process: Ours, company_id: str, gap_since: datetime | None) -> None:
    await process.rows(
        "UPDATE control.companies SET state = 'active', gap_since = %s, swept_until = now(), swept_at = now()",
        gap_since,
    )


async def state(process: Ours) -> tuple[Any, ...]:
    (row,) = await process.rows("SELECT state, gap_since FROM control.companies")
    return row


def records(process: Ours, kind: type = RecordRead) -> list[Any]:
    return [each.body for each in process.messages() if isinstance(each.body, kind)]


async def test_the_first_sweep_reads_all_history_and_activates_the_company(
    intuit: Intuit, process: Ours, repair: Repair, company_id: str
) -> None:
    await settle(process, repair)
    assert await state(process) == ("active", None)
    messages = process.messages()
    assert isinstance(messages[0].body, CompanyFacts)
    assert isinstance(messages[-1].body, CompanyActivated)
    assert {each.envelope.origin for each in messages[1:-1]} <= {"capture", "sweep"}
    for record_type in RECORD_TYPES:
        shown = {each["Id"]: each for each in intuit.newest(company_id, record_type.lower(), 1000)}
        read = {each.record_id: each for each in records(process) if each.record_type == record_type}
        assert set(read) == set(shown)
        for record_id, body in read.items():
            assert json.loads(process.sealer.open(company_id, "record", body.sealed)) == shown[record_id]
    capture = [RECORD_TYPES.index(each.body.record_type) for each in messages if each.envelope.origin == "capture"]
    assert capture == sorted(capture)


async def test_a_sweep_that_was_broken_off_goes_on_at_its_last_page(
    intuit: Intuit, process: Ours, repair: Repair, company_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair_module, "PAGE_FULL", 20)
    monkeypatch.setattr(repair_module, "PAGE_OVERLAP", 0)
    monkeypatch.setattr("connectors.quickbooks.client.PAGE_RECORDS", 20)
    pages = 0

    async def dies(records: Sequence[Outgoing]) -> None:
        nonlocal pages
        pages += 1
        if pages == 4:
            raise RuntimeError("killed")
        await process.publish(records)

    with pytest.raises(RuntimeError):
        await replace(repair, publish=dies).sweep_one()
    ((cursor,),) = await process.rows("SELECT cursor FROM control.jobs")
    assert cursor["records"] > 0
    process.published.clear()
    intuit.ask("POST", "/calls/reset")
    await settle(process, repair)
    assert CompanyFacts not in [type(each.body) for each in process.messages()]  # it did not begin anew
    assert await state(process) == ("active", None)


async def test_a_gap_with_lost_webhooks_is_closed(
    intuit: Intuit, process: Ours, repair: Repair, company_id: str
) -> None:
    before = intuit.now()
    changed, ended = intuit.invoice(company_id), intuit.invoice(company_id)
    intuit.end(company_id, "invoice", ended["Id"], "delete")
    await active(process, company_id, before)
    await settle(process, repair)
    assert await state(process) == ("active", None)
    assert changed["Id"] in {each.record_id for each in records(process)}
    assert ended["Id"] in {each.record_id for each in records(process, RecordGone)}
    (closed,) = [each.body for each in process.messages("sync-events") if isinstance(each.body, GapClosed)]
    assert (closed.gap_since, closed.path) == (before, "change data capture")


async def test_a_record_that_is_called_deleted_and_not_found_by_its_id_stays_while_a_query_shows_it(
    intuit: Intuit, process: Ours, repair: Repair, company_id: str
) -> None:
    before = intuit.now()
    _, ended = intuit.invoice(company_id), intuit.invoice(company_id)
    intuit.end(company_id, "invoice", ended["Id"], "delete")
    intuit.fault(kind="false_delete", realm=company_id, count=1)
    intuit.fault(kind="missing", realm=company_id, route="GET *")
    await active(process, company_id, before)
    await settle(process, repair)
    gone = {(each.record_type, each.record_id) for each in records(process, RecordGone)}
    assert ("Invoice", ended["Id"]) in gone
    assert gone.isdisjoint((kind, each["Id"]) for kind in RECORD_TYPES for each in intuit.newest(company_id, kind, 999))


async def test_an_outage_is_healed_once_intuit_answers_again(
    intuit: Intuit, process: Ours, repair: Repair, company_id: str
) -> None:
    await active(process, company_id, None)
    intuit.fault(realm=company_id, status=503)
    enrich = Enrich(process.quickbooks, process.control, process.sealer, process.topics)
    invoice = intuit.invoice(company_id)
    outcome = await enrich.do([notification(company_id, "Invoice", invoice["Id"], "created", intuit.now())])
    assert list(outcome.outputs) == []
    assert await repair.sweep_one()
    assert (await state(process))[1] is not None
    assert not await repair.sweep_one()  # left alone for a while
    intuit.ask("DELETE", "/faults")
    await settle(process, repair)
    assert (await state(process))[1] is None
    assert invoice["Id"] in {each.record_id for each in records(process)}


async def test_a_gap_noted_during_a_sweep_stays_until_it_was_swept(
    intuit: Intuit, process: Ours, repair: Repair, company_id: str
) -> None:
    await active(process, company_id, intuit.now())
    later = intuit.now() + timedelta(seconds=1)

    async def noting(records: Sequence[Outgoing]) -> None:
        if not process.published:
            await process.control.note_unread({company_id: later}, [])
        await process.publish(records)

    intuit.invoice(company_id)
    assert await replace(repair, publish=noting).sweep_one()
    assert (await state(process))[1] is not None
    await settle(process, repair)
    assert (await state(process))[1] is None


async def test_an_older_gap_noted_during_a_sweep_is_not_closed_by_it(
    intuit: Intuit, process: Ours, repair: Repair, company_id: str
) -> None:
    await active(process, company_id, intuit.now())
    older = intuit.now() - timedelta(days=2)

    async def noting(records: Sequence[Outgoing]) -> None:
        await process.control.note_unread({company_id: older}, [])
        await process.publish(records)

    assert await replace(repair, publish=noting).sweep_one()
    assert (await state(process))[1] == older


async def test_a_full_answer_of_change_data_capture_is_read_by_type_and_by_pages(
    intuit: Intuit, process: Ours, repair: Repair, company_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair_module, "CDC_FULL", 4)
    before = intuit.now() + timedelta(minutes=5)
    made = {intuit.invoice(company_id)["Id"] for _ in range(6)}
    await active(process, company_id, before)
    await process.rows("UPDATE control.companies SET gap_since = %s, swept_until = %s", before, before)
    assert await repair.sweep_one()
    assert made <= {each.record_id for each in records(process)}
    paths = [each.body.path for each in process.messages("sync-events") if isinstance(each.body, GapClosed)]
    assert paths == ["page queries by LastUpdatedTime"]


async def test_a_gap_of_more_than_thirty_days_is_read_by_pages(
    intuit: Intuit, process: Ours, repair: Repair, company_id: str
) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=31)
    await process.rows(
        "UPDATE control.companies SET state = 'active', gap_since = %s, swept_until = %s", long_ago, long_ago
    )
    invoice = intuit.invoice(company_id)
    await settle(process, repair)
    assert (await state(process))[1] is None
    assert invoice["Id"] in {each.record_id for each in records(process)}
    paths = [each.body.path for each in process.messages("sync-events") if isinstance(each.body, GapClosed)]
    assert paths == ["page queries by LastUpdatedTime", "change data capture"]


async def test_records_asked_for_by_name_are_read_when_the_company_can_be(
    intuit: Intuit, process: Ours, repair: Repair, company_id: str
) -> None:
    await active(process, company_id, None)
    ended = intuit.invoice(company_id)
    intuit.end(company_id, "invoice", ended["Id"], "delete")
    enrich = Enrich(process.quickbooks, process.control, process.sealer, process.topics)
    intuit.fault(realm=company_id, status=503)
    await enrich.do([notification(company_id, "Invoice", ended["Id"], "deleted", intuit.now())])
    intuit.ask("DELETE", "/faults")
    await process.rows("UPDATE control.companies SET gap_since = NULL")
    await settle(process, repair)
    assert [each.record_id for each in records(process, RecordGone)] == [ended["Id"]]
    assert await process.rows("SELECT * FROM control.unread") == []
    assert process.messages("sync-events")[1:] == []  # nothing else was swept


async def test_two_workers_do_not_sweep_one_company_together(
    intuit: Intuit, process: Ours, repair: Repair, company_id: str
) -> None:
    claims = await asyncio.gather(*(process.control.claim(900) for _ in range(5)))
    assert len([each for each in claims if each is not None]) == 1


async def test_a_worker_whose_lease_is_over_gives_up(
    intuit: Intuit, process: Ours, repair: Repair, company_id: str
) -> None:
    async def robbed(records: Sequence[Outgoing]) -> None:
        await process.publish(records)
        await process.rows("UPDATE control.jobs SET lease_id = gen_random_uuid()")

    assert await replace(repair, publish=robbed).sweep_one()
    assert (await state(process))[0] == "connected"


async def test_a_full_ledger_holds_the_next_page_back(
    intuit: Intuit, process: Ours, repair: Repair, company_id: str
) -> None:
    waiting, booked = asyncio.Event(), False

    async def lag(_: str) -> int:
        waiting.set()
        return 0 if booked else 1_000_000

    sweeping = asyncio.create_task(replace(repair, lag=lag).sweep_one())
    await asyncio.wait_for(waiting.wait(), 60)
    assert records(process) == []
    booked = True
    await sweeping
    assert records(process) != []


async def test_run_repair_sweeps_by_itself_and_ends_when_cancelled(
    intuit: Intuit, process: Ours, repair: Repair, company_id: str
) -> None:
    running = asyncio.create_task(run_repair(repair, poll_s=0.05, companies_at_once=2))
    async with asyncio.timeout(60):
        while (await state(process))[0] != "active":  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_regular_sweep_finds_what_no_webhook_announced(
    intuit: Intuit, process: Ours, repair: Repair, company_id: str
) -> None:
    await active(process, company_id, None)
    assert not await repair.sweep_one()
    invoice = intuit.invoice(company_id)
    await process.rows("UPDATE control.companies SET swept_at = now() - interval '16 minutes'")
    assert await repair.sweep_one()
    assert invoice["Id"] in {each.record_id for each in records(process)}
    await process.rows("UPDATE control.jobs SET lease_until = NULL")
    assert not await repair.sweep_one()


async def test_nothing_is_swept_without_a_grant(intuit: Intuit, process: Ours, repair: Repair, company_id: str) -> None:
    intuit.ask("POST", f"/companies/{company_id}/disconnect")
    await process.rows("UPDATE control.tokens SET access_expires_at = now()")
    assert await repair.sweep_one()
    assert (await state(process))[0] == "reconnect_needed"
    await process.rows("UPDATE control.jobs SET lease_until = NULL")
    assert not await repair.sweep_one()
    with pytest.raises(CompanyUnreadable):
        await process.quickbooks.company(company_id)


async def test_the_first_sweep_of_a_day_reads_the_companys_facts_again(
    intuit: Intuit, process: Ours, repair: Repair, company_id: str
) -> None:
    await active(process, company_id, None)
    intuit.ask("PUT", f"/companies/{company_id}/closed-until", {"date": "2026-01-31"})
    try:
        yesterday = (
            "UPDATE control.companies SET swept_until = now() - interval '1 day', swept_at = now() - interval '1 day'"
        )
        await process.rows(yesterday)
        await settle(process, repair)
        assert [str(each.books_closed_on) for each in records(process, CompanyFacts)] == ["2026-01-31"]
    finally:
        intuit.ask("PUT", f"/companies/{company_id}/closed-until", {"date": None})
