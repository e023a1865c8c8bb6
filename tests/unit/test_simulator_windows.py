"""Queries over windows of time and change data capture: what bisection finds is what a search of everything finds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from connectors.simulator.api.company import Company
from connectors.simulator.books.records import Kind, Record, Refused
from connectors.simulator.clock import SteppedClock
from connectors.simulator.life.happenings import Life
from connectors.simulator.life.history import HISTORY_END, write_history
from connectors.simulator.wire import decode, encode

KINDS = (Kind.CUSTOMER, Kind.INVOICE, Kind.PAYMENT, Kind.CREDIT_MEMO)


@pytest.fixture(scope="module")
def busy() -> Company:
    """A company whose records were changed again and again, several within one second."""
    made = Company("9130000000000001", "Bayside", SteppedClock(HISTORY_END))
    made.projects = write_history(made, 4, 0, "small")
    clock, life = made.clock, Life(made, 4)
    assert isinstance(clock, SteppedClock)
    for step in range(2500):
        clock.move_to(clock.now() + timedelta(milliseconds=400 if step % 3 else 30_000))
        life.change()
    return made


def answered(company: Company, text: str) -> list[dict[str, Any]]:
    answer = decode(encode(company.query(text)))
    return next((value for value in answer.values() if isinstance(value, list)), [])


def paged(company: Company, text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while page := answered(company, f"{text} STARTPOSITION {len(found) + 1} MAXRESULTS 37"):
        found += page
    return found


def moments(company: Company, kind: Kind) -> list[datetime]:
    return sorted({record.updated_at for record in company.book.records[kind].values()})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operators", [(">=", "<"), (">", "<="), (">=", "<=")])
def test_window_holds_exactly_what_was_changed_in_it(busy: Company, kind: Kind, operators: tuple[str, str]) -> None:
    times = moments(busy, kind)
    start, end = times[len(times) // 3], times[2 * len(times) // 3]
    name = "MetaData.LastUpdatedTime"
    text = f"select * from {kind} where {name} {operators[0]} '{start.isoformat()}'"
    text += f" and {name} {operators[1]} '{end.isoformat()}'"
    if kind is Kind.CUSTOMER:
        text += " and Active in (true, false)"
    tests: dict[str, Callable[[datetime], bool]] = {
        **{">=": lambda one: one >= start, ">": lambda one: one > start},
        **{"<": lambda one: one < end, "<=": lambda one: one <= end},
    }
    wanted = [
        record.id
        for record in busy.book.records[kind].values()
        if tests[operators[0]](record.updated_at) and tests[operators[1]](record.updated_at)
    ]
    assert sorted(one["Id"] for one in paged(busy, text)) == sorted(wanted) != []


@pytest.mark.parametrize("descending", [False, True])
def test_pages_in_order_of_time_hold_everything_once(busy: Company, descending: bool) -> None:
    direction = "DESC" if descending else "ASC"
    found = paged(busy, f"select * from Invoice ORDERBY MetaData.LastUpdatedTime {direction}")
    times = [datetime.fromisoformat(one["MetaData"]["LastUpdatedTime"]) for one in found]
    assert times == sorted(times, reverse=descending)
    assert sorted(one["Id"] for one in found) == sorted(busy.book.records[Kind.INVOICE])


def test_window_is_narrowed_by_further_conditions(busy: Company) -> None:
    times = moments(busy, Kind.INVOICE)
    text = f"select * from Invoice where Balance > '0' and MetaData.LastUpdatedTime > '{times[5].isoformat()}'"
    book = busy.book
    wanted = [
        one.id for one in book.records[Kind.INVOICE].values() if one.updated_at > times[5] and book.open_amount(one) > 0
    ]
    assert [one["Id"] for one in paged(busy, text)] == wanted != []


def test_window_in_another_offset_is_the_same_window(busy: Company) -> None:
    middle = moments(busy, Kind.INVOICE)[20]
    texts = [
        middle.astimezone(ZoneInfo("Asia/Kolkata")).isoformat(),
        middle.astimezone(ZoneInfo("UTC")).isoformat().replace("+00:00", "Z"),
        middle.astimezone(busy.zone).replace(tzinfo=None).isoformat(),
    ]
    found = [len(paged(busy, f"select * from Invoice where MetaData.LastUpdatedTime >= '{text}'")) for text in texts]
    assert len(set(found)) == 1 and found[0] > 0


@pytest.mark.parametrize("inclusive", [True, False])
def test_changes_are_those_since_then_the_dead_among_them(busy: Company, inclusive: bool) -> None:
    busy.switches.changed_since_inclusive = inclusive
    since = moments(busy, Kind.PAYMENT)[-40]
    records = [*busy.book.records[Kind.PAYMENT].values()]
    records += [one for (kind, _), one in busy.book.gone.items() if kind is Kind.PAYMENT]

    def is_late(one: Record) -> bool:
        return one.updated_at >= since if inclusive else one.updated_at > since

    wanted = sorted((one for one in records if is_late(one)), key=lambda one: (one.updated_at, int(one.id)))
    (answer,) = decode(encode(busy.changes_since(["Payment"], since)))
    assert [one["Id"] for one in answer["Payment"]] == [one.id for one in wanted]
    assert {one["Id"] for one in answer["Payment"] if one.get("status") == "Deleted"} == {
        one.id for one in wanted if one.deleted
    }
    assert any(one.deleted for one in wanted)


# ---- the rest of the language ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "4000"),
        ("select * from Invoice where Id = ", "4000"),
        ("select * from Invoice where TotalAmt > and Id = '1'", "4000"),
        ('select * from Invoice where Id = "1001"', "4000"),
        ("select * from Invoice where DocNumber = 'it''s'", "4000"),
        ("select * from Invoice where DocNumber in '1'", "4000"),
        ("select * from Invoice maxresults many", "4000"),
        ("select * from Invoice maxresults 0", "4001"),
        ("select * from Invoice where LinkedTxn = '1'", "4001"),
        ("select * from Invoice where Balance != '0'", "4001"),
        ("select * from Invoice orderby CustomerRef", "4001"),
        ("select * from Payment where UnappliedAmt > '0'", "4001"),
        ("select * from Invoice where MetaData.LastUpdatedTime > 'yesterday'", "4001"),
        ("select * from ReimburseCharge", "4001"),
    ],
)
def test_what_the_language_does_not_know_is_refused(busy: Company, text: str, code: str) -> None:
    with pytest.raises(Refused) as refused:
        busy.query(text)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "text",
    [
        "SELECT COUNT ( * ) FROM INVOICE WHERE txndate <= CURRENT_DATE",
        "select count(*) from invoice where TxnDate<=current_date",
        "Select Count(*) From Invoice Where TXNDATE > '2001-01-01' AND TotalAmt >= 0",
    ],
)
def test_words_names_and_literals_may_be_written_in_any_case(busy: Company, text: str) -> None:
    assert busy.query(text) == {"totalCount": len(busy.book.records[Kind.INVOICE])}


def test_percent_stands_for_anything_and_nothing_else_does(busy: Company) -> None:
    every = answered(busy, "select * from Customer where DisplayName like '%' maxresults 1000")
    name = every[0]["DisplayName"]
    assert any(
        one["DisplayName"] == name
        for one in answered(busy, f"select * from Customer where DisplayName like '{name[:4].upper()}%'")
    )
    assert answered(busy, "select * from Customer where DisplayName like '.*'") == []
    assert answered(busy, "select * from Customer where DisplayName like '_'") == []


def test_lists_that_documents_refer_to_can_be_asked_for(busy: Company) -> None:
    services = answered(busy, "select * from Item where Name = 'Services'")
    assert [one["Id"] for one in services] == ["1"]
    (receivable,) = answered(busy, "select * from Account where AccountType = 'Accounts Receivable'")
    assert receivable["CurrentBalance"] == busy.book.ledger.account_totals["84"]
    assert busy.query("select count(*) from TaxRate") == {"totalCount": 5}
    (marana,) = answered(busy, "select * from TaxCode where Id = '4'")
    assert [one["TaxRateRef"]["value"] for one in marana["SalesTaxRateList"]["TaxRateDetail"]] == ["5", "6", "7"]
    assert len(answered(busy, "select * from Term orderby Name")) == 4
    assert len(answered(busy, "select * from PaymentMethod where Id in ('1', '2')")) == 2
    with pytest.raises(Refused, match="4001"):
        busy.query("select * from Item where Colour = 'red'")
