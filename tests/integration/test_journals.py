"""Journal entries are read with the payments that name them, and with nothing else; simulator and real database."""

from collections.abc import Sequence
from typing import Any

import pytest

from schemas.changes import RecordRead
from schemas.codec import file_ids
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


def a_customer(intuit: Intuit, company_id: str) -> str:
    return str(next(each["Id"] for each in intuit.newest(company_id, "customer") if each["Active"]))


def a_journal(intuit: Intuit, company_id: str, customer: str, amount: int) -> str:
    """An opening balance: receivables debit, equity credit."""
    entity = {"Type": "Customer", "EntityRef": {"value": customer}}
    receivable = {"PostingType": "Debit", "AccountRef": {"value": "84"}, "Entity": entity}
    lines = [
        {"Amount": amount, "DetailType": "JournalEntryLineDetail", "JournalEntryLineDetail": receivable},
        {
            "Amount": amount,
            "DetailType": "JournalEntryLineDetail",
            "JournalEntryLineDetail": {"PostingType": "Credit", "AccountRef": {"value": "34"}},
        },
    ]
    return str(intuit.write(company_id, "journalentry", Line=lines)["Id"])


def a_payment(intuit: Intuit, company_id: str, customer: str, journals: Sequence[str], each: int) -> str:
    lines = [{"Amount": each, "LinkedTxn": [{"TxnType": "JournalEntry", "TxnId": i}]} for i in journals]
    made = intuit.write(
        company_id, "payment", CustomerRef={"value": customer}, TotalAmt=each * len(journals), Line=lines
    )
    return str(made["Id"])


async def read(enrich: Enrich, intuit: Intuit, company_id: str, *names: tuple[str, str]) -> list[Any]:
    now = intuit.now()
    outcome = await enrich.do([notification(company_id, *name, "created", now) for name in names])
    return [file_ids().decode(each.value).body for each in outcome.outputs]


async def calls(process: Ours) -> int:
    ((made,),) = await process.rows("SELECT coalesce(sum(calls), 0) FROM control.calls")
    return int(made)


async def test_payments_bring_their_journal_entries_sealed_with_one_call_more(
    intuit: Intuit, process: Ours, enrich: Enrich, company_id: str
) -> None:
    customer = a_customer(intuit, company_id)
    journals = [a_journal(intuit, company_id, customer, 100) for _ in range(2)]
    payments = [a_payment(intuit, company_id, customer, [each], 100) for each in journals]
    bodies = await read(enrich, intuit, company_id, *(("Payment", each) for each in payments))
    assert [[related.record_id for related in body.related] for body in bodies] == [[each] for each in journals]
    assert b"PostingType" not in bodies[0].related[0].sealed
    assert b"PostingType" in process.sealer.open(company_id, "record", bodies[0].related[0].sealed)
    assert await calls(process) == 2


async def test_payments_without_journal_entries_cost_no_call_more(
    intuit: Intuit, process: Ours, enrich: Enrich, company_id: str
) -> None:
    customer = a_customer(intuit, company_id)
    made = intuit.write(company_id, "payment", CustomerRef={"value": customer}, TotalAmt=100)
    (body,) = await read(enrich, intuit, company_id, ("Payment", made["Id"]))
    assert (body.related, await calls(process)) == ((), 1)


async def test_journal_entries_that_are_refused_leave_the_payment_as_it_was_answered(
    intuit: Intuit, process: Ours, enrich: Enrich, company_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = a_customer(intuit, company_id)
    payment = a_payment(intuit, company_id, customer, [a_journal(intuit, company_id, customer, 100)], 100)
    by_ids = process.quickbooks.by_ids

    async def refuses(asked_company: str, record_type: str, ids: Any) -> Any:
        if record_type == "JournalEntry":
            intuit.fault(realm=company_id, status=503)
        return await by_ids(asked_company, record_type, ids)

    monkeypatch.setattr(process.quickbooks, "by_ids", refuses)
    (body,) = await read(enrich, intuit, company_id, ("Payment", payment))
    assert isinstance(body, RecordRead) and body.related == ()
