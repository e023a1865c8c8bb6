"""Journal entries read with the payments that name them, and merges; simulator, real database, our own ledger."""

from collections.abc import Sequence
from typing import Any

import pytest

from schemas.changes import RecordRead
from schemas.codec import file_ids
from schemas.wire import Incoming, Outcome
from streams.bookkeeping import Bookkeeper
from streams.enrich import Enrich
from streams.parking import Parking
from streams.repair import Repair
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


async def test_a_sweep_brings_journal_entries_too(
    intuit: Intuit, process: Ours, company_id: str, repair: Repair
) -> None:
    began = intuit.now()
    customer = a_customer(intuit, company_id)
    journal = a_journal(intuit, company_id, customer, 100)
    payment = a_payment(intuit, company_id, customer, [journal], 100)
    await process.rows("UPDATE control.companies SET gap_since = %s, swept_until = %s", began, began)
    assert await repair.sweep_one()
    bodies = [each.body for each in process.messages() if isinstance(each.body, RecordRead)]
    (swept,) = [body for body in bodies if (body.record_type, body.record_id) == ("Payment", payment)]
    assert [related.record_id for related in swept.related] == [journal]


async def test_a_merge_told_the_wrong_way_round_ends_with_the_kept_customers_documents_together(
    intuit: Intuit, process: Ours, enrich: Enrich, company_id: str
) -> None:
    kept, gone = (str(intuit.write(company_id, "customer", DisplayName=name)["Id"]) for name in ("Stays", "Goes"))
    line = {
        "Amount": 70,
        "DetailType": "SalesItemLineDetail",
        "SalesItemLineDetail": {"ItemRef": {"value": "1"}, "Qty": 1, "UnitPrice": 70},
    }
    invoice = intuit.write(company_id, "invoice", CustomerRef={"value": gone}, Line=[line])["Id"]
    ledger = Ledger(process)
    told = [
        notification(company_id, *name, "created", intuit.now()) for name in (("Customer", kept), ("Customer", gone))
    ]
    await ledger.book(await enrich.do([*told, notification(company_id, "Invoice", invoice, "created", intuit.now())]))
    intuit.ask("POST", f"/companies/{company_id}/merge", {"kept": kept, "gone": gone})
    merged = notification(company_id, "Customer", gone, "merged", intuit.now(), vanished=kept)
    await ledger.book(await enrich.do([merged]))
    ((merge,),) = await process.rows("SELECT merges -> 0 FROM ledger.companies")
    assert (merge["vanished_id"], merge["kept_id"], merge["sure"]) == (gone, kept, True)
    asked = [body for each in process.messages("read-requests") for body in each.body.records]
    assert ("Invoice", invoice) in [(each.record_type, each.record_id) for each in asked]
    requests = [each for each in process.published if each.topic == "read-requests"]
    await ledger.book(await enrich.do([Incoming(r.topic, 0, 0, r.key, r.value, {}, 0) for r in requests]))
    ((customer,),) = await process.rows("SELECT customer_id FROM ledger.documents WHERE record_id = %s", invoice)
    assert customer == kept


class Ledger:
    """The ledger of a process, fed by hand."""

    def __init__(self, process: Ours) -> None:
        parking = Parking(process.connections, process, process.topics, "build", parked_max=9)
        self._bookkeeper = Bookkeeper(process.connections, process.sealer, parking, process, process.topics)
        self._offset = 0

    async def book(self, outcome: Outcome) -> None:
        records = [
            Incoming(each.topic, 0, self._offset + at, each.key, each.value, {}, 0)
            for at, each in enumerate(outcome.outputs)
        ]
        self._offset += len(records)
        await self._bookkeeper.do(records)


async def test_a_delete_that_change_data_capture_invents_is_no_delete_for_the_ledger(
    intuit: Intuit, process: Ours, enrich: Enrich, company_id: str, repair: Repair
) -> None:
    began, made = intuit.now(), intuit.invoice(company_id)
    for note in ("one", "two", "three", "four"):
        intuit.write(company_id, "invoice", Id=made["Id"], PrivateNote=note)
    intuit.ask("PUT", f"/companies/{company_id}/switches", {"false_deletes": True})
    try:
        await process.rows("UPDATE control.companies SET gap_since = %s, swept_until = %s", began, began)
        assert await repair.sweep_one()
    finally:
        intuit.ask("PUT", f"/companies/{company_id}/switches", {"false_deletes": False})
    bodies = [each.body for each in process.messages() if getattr(each.body, "record_id", "") == made["Id"]]
    assert bodies and all(isinstance(body, RecordRead) for body in bodies)
