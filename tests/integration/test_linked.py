"""Links, merges, journal entries and previews on a real database: what is stored, and what the next process knows."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from connectors.postgres import pool
from connectors.sealing import Sealer
from schemas import changes
from schemas.codec import file_ids
from schemas.wire import Incoming, Outgoing
from streams import bookkeeping, preview
from streams.books import booking_from_plain
from streams.decision import PROJECT_REF
from streams.preview import Preview, Previews, Waits
from streams.projections import postings
from tests.inputs import COMPANY, START, Inputs
from tests.integration.test_bookkeeping import COMPANY_EVENTS, PROJECT_EVENTS, TOPICS, World, synced
from tests.linked import journal

USD = {"CurrencyRef": {"value": "USD"}}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with pool(database_url) as connections:
        sealer = Sealer(connections, {"k1": b"k" * 32})
        await sealer.load([COMPANY])
        yield World(connections, sealer, Inputs(sealer))


def names(world: World, topic: str = PROJECT_EVENTS) -> list[str]:
    return [type(body).__name__ for body in world.broker.bodies(topic)]


def two_projects(world: World) -> Inputs:
    inputs = synced(world)
    inputs.declare("P2")
    inputs.customer("2")
    inputs.map("2", "P2")
    return inputs


def in_project(inputs: Inputs, record_id: str, ref: str) -> Incoming:
    raw = {"Id": record_id, "TxnDate": "2026-02-03", "TotalAmt": "100", "CustomerRef": {"value": "1"}}
    return inputs.read("Invoice", raw | USD | {"Line": [{"Amount": "100"}], "ProjectRef": {"value": ref}})


def link(inputs: Inputs, ref: str, project_id: str | None, *, seen: int = 0) -> Incoming:
    request = changes.LinkQuickBooksProject(
        decision_id=f"decision-{len(inputs.records)}",
        person="somebody",
        project_ref=ref,
        project_id=project_id,
        link_version=seen,
    )
    return inputs.add(request)


def inactive(inputs: Inputs, customer_id: str) -> Incoming:
    return inputs.read("Customer", {"Id": customer_id, "DisplayName": "Gone (deleted)", "Active": False} | USD)


def merge(inputs: Inputs, kept: str, vanished: str) -> Incoming:
    return inputs.add(changes.MergeNotice(kept_customer_id=kept, vanished_customer_id=vanished, noticed_at=START))


async def batches(world: World, *, one_by_one: bool) -> None:
    """All inputs so far: in one batch, or each by a process of its own."""
    if not one_by_one:
        return await world.worker().do(world.inputs.records)  # type: ignore[return-value]
    for record in world.inputs.records:
        await world.worker().do([record])
    return None


@pytest.mark.parametrize("one_by_one", [False, True])
async def test_a_link_is_kept_moves_what_names_it_and_places_what_comes_later(world: World, one_by_one: bool) -> None:
    inputs = two_projects(world)
    in_project(inputs, "11", "39298034")
    in_project(inputs, "12", "7")
    link(inputs, "39298034", "P2")
    in_project(inputs, "13", "39298034")
    link(inputs, "39298034", "P1", seen=0)
    await batches(world, one_by_one=one_by_one)
    moved = [name for name in names(world) if name.startswith("Invoice")]
    assert moved == ["InvoiceIssued", "InvoiceIssued", "InvoiceMovedOut", "InvoiceMovedIn", "InvoiceIssued"]
    assert await world.rows("SELECT project_ref, project_id, version FROM ledger.quickbooks_projects") == [
        ("39298034", "P2", 1)
    ]
    refused = [body for body in world.broker.bodies(COMPANY_EVENTS) if type(body).__name__ == "RequestRefused"]
    assert len(refused) == 1 and "Somebody else" in refused[0].refusal
    assert await world.rows("SELECT DISTINCT record_type FROM ledger.inputs WHERE change_type LIKE 'Link%'") == [
        (PROJECT_REF,)
    ]


@pytest.mark.parametrize("one_by_one", [False, True])
async def test_a_merge_is_kept_and_frozen_until_a_person_decides(world: World, one_by_one: bool) -> None:
    inputs = two_projects(world)
    inputs.invoice("11", "1000", "1")
    inputs.payment("21", "400", "11", "1")
    merge(inputs, "1", "2")  # the wrong way round
    inactive(inputs, "1")
    inputs.invoice("11", "1000", "2")
    inputs.invoice("12", "70", "2")
    resolve = changes.ResolveMerge(
        decision_id="resolve", person="somebody", vanished_customer_id="1", together=True, merge_version=0
    )
    decided = len(inputs.records)
    inputs.add(resolve)
    kept = inputs.records
    inputs.records = kept[:decided]
    await batches(world, one_by_one=one_by_one)
    assert not any(name.startswith("InvoiceMoved") for name in names(world))
    raised = [b for b in world.broker.bodies(COMPANY_EVENTS) if getattr(b, "code", "") == "merge_needs_decision"]
    assert [body.detail for body in raised] == ["customer 1: P1; merged into customer 2: P2"]
    asked = {(n.record_type, n.record_id) for b in world.broker.bodies(TOPICS.read_requests.name) for n in b.records}
    assert asked == {("Customer", "1"), ("Customer", "2"), ("Invoice", "11"), ("Payment", "21")}
    await world.worker().do(kept[decided:])
    assert {"InvoiceMovedOut", "InvoiceMovedIn", "PaymentMovedIn", "CustomersMerged"} <= set(names(world))
    (accepted,) = [b for b in world.broker.bodies(COMPANY_EVENTS) if getattr(b, "decision_id", "") == "resolve"]
    assert (type(accepted).__name__, accepted.records_moved) == ("RequestAccepted", 2)
    (state,) = await world.rows("SELECT merges -> 0 ->> 'decided' FROM ledger.companies")
    assert state == ("together",)


async def test_a_parents_mapping_moves_documents_of_its_vanished_job_that_name_the_kept_customer(world: World) -> None:
    inputs = two_projects(world)
    inputs.job("3", parent="1")
    inputs.invoice("11", "1000", "3")
    merge(inputs, "2", "3")
    inputs.read("Customer", {"Id": "3", "DisplayName": "Gone", "Active": False, "ParentRef": {"value": "1"}} | USD)
    inputs.invoice("11", "1000", "2")
    await world.worker().do(inputs.records)
    assert not any(name.startswith("InvoiceMoved") for name in names(world))
    await world.worker().do([inputs.map("1", "P2", seen=1)])
    assert {"InvoiceMovedOut", "InvoiceMovedIn"} <= set(names(world))
    assert "WarningCleared" in names(world, COMPANY_EVENTS)


async def test_a_payment_read_with_its_journals_is_booked_and_stays_so_for_the_next_process(world: World) -> None:
    inputs = synced(world)
    lines = [{"Amount": "100", "LinkedTxn": [{"TxnType": "JournalEntry", "TxnId": i}]} for i in ("90", "91")]
    raw = {"Id": "21", "TxnDate": "2026-02-05", "TotalAmt": "0", "UnappliedAmt": "0", "Line": lines}
    paid = json.dumps(raw | USD | {"CustomerRef": {"value": "1"}}).encode()
    sides = {"90": journal(("Debit", "100", "1")), "91": journal(("Credit", "100", "1")), "92": b"no journal"}
    inputs.add(
        changes.RecordRead(
            record_type="Payment",
            record_id="21",
            revised_at=START,
            sync_token=0,
            read_at=START,
            sealed=world.sealer.seal(COMPANY, "record", paid),
            related=tuple(
                changes.RelatedRecord(
                    record_type="JournalEntry", record_id=i, sealed=world.sealer.seal(COMPANY, "record", each)
                )
                for i, each in sides.items()
            ),
        )
    )
    await world.worker().do(inputs.records)
    applied = [b for b in world.broker.bodies(PROJECT_EVENTS) if type(b).__name__ == "PaymentAppliedToOther"]
    assert [(body.other_id, body.applied.amount) for body in applied] == [("90", 100), ("91", -100)]
    first = len(inputs.records)
    inputs.map("1", "P1", seen=1)
    await world.worker().do(inputs.records[first:])
    assert await world.rows("SELECT booked ? 'waiting' FROM ledger.documents") == [(False,)]


async def test_a_610_without_a_delete_is_listed_and_the_next_read_ends_it(world: World) -> None:
    inputs = synced(world)
    inputs.invoice("11", "1000")
    absent = changes.RecordAbsent(record_type="Invoice", record_id="11", read_at=START.replace(minute=1))
    inputs.add(absent)
    await world.worker().do(inputs.records)
    assert names(world, COMPANY_EVENTS)[-1] == "WarningRaised"
    first = len(inputs.records)
    for _ in range(70):  # seconds
        inputs.invoice("11", "1000")
    await world.worker().do(inputs.records[first:])
    assert names(world, COMPANY_EVENTS)[-1] == "WarningCleared"


# --- previews ----------------------------------------------------------------------------------------------------


def history(world: World) -> Inputs:
    """Documents of every type, some by reference, some of a linked project, one assigned, one waiting."""
    inputs = two_projects(world)
    for number in range(11, 24):
        inputs.invoice(str(number), "100", "1" if number % 3 else "2")
        inputs.payment(str(number + 100), "120", str(number), "1")
    for number in range(31, 36):
        in_project(inputs, str(number), "7")
    memo = {"Id": "50", "TxnDate": "2026-02-03", "TotalAmt": "30", "Line": [{"Amount": "30"}]}
    inputs.read("CreditMemo", memo | USD | {"CustomerRef": {"value": "1"}})
    inputs.read("RefundReceipt", memo | USD | {"Id": "60", "CustomerRef": {"value": "1"}})
    inputs.payment("70", "10", "99", "1")
    return inputs


def mapping(project_id: str, reference: str = "") -> changes.MapCustomer:
    return changes.MapCustomer(
        decision_id="asked",
        person="somebody",
        customer_id="1",
        project_id=project_id,
        reference_number=reference,
        from_on=None,
        mapping_version=1,
    )


def on_account(inputs: Inputs, record_id: str, invoice_id: str) -> Incoming:
    """A payment of 120: 100 for its invoice, the rest for nothing yet."""
    line = {"Amount": "100", "LinkedTxn": [{"TxnType": "Invoice", "TxnId": invoice_id}]}
    raw = {"Id": record_id, "TxnDate": "2026-02-05", "TotalAmt": "120", "UnappliedAmt": "20", "Line": [line]}
    return inputs.read("Payment", raw | USD | {"CustomerRef": {"value": "1"}})


_ASKED = {"decision_id": "asked", "person": "somebody"}
REQUESTS: dict[str, Any] = {
    "map": mapping("P2"),
    "map with a reference": mapping("P2", "R1"),
    "release": changes.ReleaseCustomer(**_ASKED, customer_id="1", mapping_version=1),
    "exclude": changes.ExcludeCustomer(**_ASKED, customer_id="1", reference_only=False, mapping_version=1),
    "assign": changes.AssignDocument(**_ASKED, record_type="Invoice", record_id="11", project_id="P2"),
    "merge": changes.ResolveMerge(**_ASKED, vanished_customer_id="1", together=True, merge_version=0),
    "link": changes.LinkQuickBooksProject(**_ASKED, project_ref="7", project_id="P2", link_version=0),
}


async def waits(world: World) -> dict[tuple[str, str], Waits]:
    """What is booked as waiting, by cause and currency."""
    found = Preview()
    for (booked,) in await world.rows("SELECT booked FROM ledger.documents"):
        found.add_waiting(booking_from_plain(booked), 1)
    return found.waiting


def more(before: dict[tuple[str, str], Waits], after: dict[tuple[str, str], Waits]) -> dict[tuple[str, str], Waits]:
    """What waits after and did not before; nothing of what is as it was."""
    zero = Waits(0, Decimal(0))
    pairs = {key: (after.get(key, zero), before.get(key, zero)) for key in before.keys() | after.keys()}
    return {key: Waits(a.parts - b.parts, a.amount - b.amount) for key, (a, b) in pairs.items() if a != b}


async def previewed(world: World, request: Any) -> tuple[Preview, int]:
    """The whole preview, and in how many slices it came."""
    record = world.inputs.add(request)
    world.inputs.records.pop()
    asked = Outgoing(topic=record.topic, key=record.key, value=record.value)
    seen = [each async for each in Previews(world.connections, file_ids()).of(asked)]
    return seen[-1], len(seen)


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())
async def test_a_preview_says_exactly_what_then_happens(
    world: World, request_: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (bookkeeping, preview):
        monkeypatch.setattr(module, "SLICE_DOCUMENTS", 4)
    inputs = history(world)
    if isinstance(request_, changes.ResolveMerge):
        merge(inputs, "2", "1")
        inactive(inputs, "1")
    await world.worker().do(inputs.records)
    before = len(world.broker.bodies(PROJECT_EVENTS))
    stored = await world.rows("SELECT * FROM ledger.documents ORDER BY record_type, record_id")
    waited = await waits(world)
    expected, slices = await previewed(world, request_)
    assert await world.rows("SELECT * FROM ledger.documents ORDER BY record_type, record_id") == stored
    assert len(world.broker.bodies(PROJECT_EVENTS)) == before
    await world.worker().do([inputs.add(request_)])
    happened: dict[tuple[str, str], dict[str, Any]] = {}
    messages = [file_ids().decode(r.value) for r in world.broker.records if r.topic == PROJECT_EVENTS][before:]
    for message in messages:
        for posting in postings(message.body):
            figures = happened.setdefault((message.envelope.project_id, posting.currency), {})
            for name in preview.FIGURES:
                figures[name] = figures.get(name, 0) + getattr(posting, name)
    (accepted,) = [b for b in world.broker.bodies(COMPANY_EVENTS) if getattr(b, "decision_id", "") == "asked"]
    assert expected.added == happened
    assert expected.added  # it moves something
    assert sum(expected.moved.values()) == accepted.records_moved
    assert more({}, expected.waiting) == more(waited, await waits(world))
    assert slices == 1 + (expected.reached // 4 + 1 if expected.reached else 0)


async def test_a_preview_counts_a_payment_once_whose_waiting_alone_changes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (bookkeeping, preview):
        monkeypatch.setattr(module, "SLICE_DOCUMENTS", 4)
    world.inputs.customer("1")
    for number in range(11, 17):
        world.inputs.invoice(str(number), "100")
        on_account(world.inputs, str(number + 100), str(number))
    await world.worker().do(world.inputs.records)
    waited = await waits(world)
    exclude = changes.ExcludeCustomer(**_ASKED, customer_id="1", reference_only=False, mapping_version=0)
    expected, _ = await previewed(world, exclude)
    assert expected.moved.total() == 0
    assert expected.waiting == {
        ("customer_not_synced", "USD"): Waits(-12, Decimal(-720)),
        ("excluded", "USD"): Waits(12, Decimal(720)),
        ("invoice_waits", "USD"): Waits(0, Decimal(0)),
    }
    await world.worker().do([world.inputs.add(exclude)])
    assert more({}, expected.waiting) == more(waited, await waits(world))


async def test_a_preview_says_why_a_request_would_be_refused(world: World) -> None:
    await world.worker().do(two_projects(world).records)
    expected, _ = await previewed(world, mapping("P9"))
    assert (expected.refusal, expected.added) == ("Project P9 does not belong to this QuickBooks company.", {})
