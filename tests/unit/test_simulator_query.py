"""The query language of the simulator: its grammar, its limits and its refusals (intuit.md 3.3, 3.4)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.simulator.api.company import Company
from connectors.simulator.books.records import Kind, Refused
from connectors.simulator.clock import SteppedClock
from connectors.simulator.life.history import HISTORY_END, write_history
from connectors.simulator.wire import decode, encode


def company(size: str) -> Company:
    made = Company("9130000000000001", "Bayside", SteppedClock(HISTORY_END))
    made.projects = write_history(made, 1, 0, size)
    return made


@pytest.fixture(scope="module")
def books() -> Iterator[Company]:
    yield company("year")


def rows(books: Company, text: str) -> list[dict[str, Any]]:
    answer = decode(encode(books.query(text)))
    found = [value for value in answer.values() if isinstance(value, list)]
    return found[0] if found else []


def test_page_is_a_hundred_by_default_and_a_thousand_at_most(books: Company) -> None:
    assert len(rows(books, "select * from Invoice")) == 100
    assert len(rows(books, "SELECT * FROM invoice MAXRESULTS 5000")) == 300
    answer = books.query("select * from Invoice startposition 290 maxresults 50")
    assert (answer["startPosition"], answer["maxResults"], "totalCount" in answer) == (290, 11, False)


def test_no_rows_leave_the_entity_out(books: Company) -> None:
    assert books.query("select * from Invoice where Id = '77'") == {}
    assert books.query("select * from Estimate") == {}


def test_count_answers_a_total_only(books: Company) -> None:
    assert books.query("select count(*) from Invoice where TotalAmt > '0'") == {
        "totalCount": sum(one.total > 0 for one in books.book.records[Kind.INVOICE].values())
    }


def test_ids_are_found_by_equality_and_list_only(books: Company) -> None:
    found = rows(books, "select * from Invoice where Id in ('1003', '1001', '1001', '9')")
    assert [one["Id"] for one in found] == ["1001", "1003"]
    for operator in ("<", ">", "<=", ">=", "like", "!="):
        with pytest.raises(Refused, match="4001"):
            books.query(f"select * from Invoice where Id {operator} '1003'")


def test_conditions_are_joined_by_and_only(books: Company) -> None:
    found = rows(books, "select * from Invoice where Balance > '0' and TxnDate >= '2026-05-01' maxresults 1000")
    expected = [
        one.id
        for one in books.book.records[Kind.INVOICE].values()
        if books.book.open_amount(one) > 0 and one.fields["TxnDate"] >= "2026-05-01"
    ]
    assert [one["Id"] for one in found] == expected and expected
    with pytest.raises(Refused, match="4000"):
        books.query("select * from Invoice where Id = '1' or Id = '2'")


def test_apostrophes_are_escaped_with_a_backslash() -> None:
    books = company("none")
    books.create(Kind.CUSTOMER, {"DisplayName": "Adam's Candy"})
    assert len(rows(books, r"select * from Customer where DisplayName = 'Adam\'s Candy'")) == 1
    assert len(rows(books, r"select * from Customer where displayname LIKE 'ADAM\'S%'")) == 1


def test_inactive_customers_are_listed_only_when_asked_for() -> None:
    books = company("none")
    made = books.create(Kind.CUSTOMER, {"DisplayName": "Old"})
    books.update(Kind.CUSTOMER, books.token_body(Kind.CUSTOMER, made.id) | {"sparse": True, "Active": False})
    assert rows(books, "select * from Customer") == []
    assert rows(books, "select * from Customer where Active in (true, false)")[0]["DisplayName"] == "Old (deleted)"


def test_rows_are_sorted_by_what_can_be_sorted(books: Company) -> None:
    found = rows(books, "select * from Payment ORDERBY MetaData.LastUpdatedTime DESC maxresults 1000")
    moments = [datetime.fromisoformat(one["MetaData"]["LastUpdatedTime"]) for one in found]
    assert moments == sorted(moments, reverse=True)
    assert len(rows(books, "select * from Customer order by DisplayName")) == 40
    with pytest.raises(Refused, match="4001"):
        books.query("select * from Payment orderby Id")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("select * from Invoice startposition 0", "4001"),
        ("select * from Payment where DocNumber = '1'", "4001"),
        ("select * from Invoice where CustomField = 'x'", "4001"),
        ("select * from Nonsense", "4001"),
        ("select * from", "4000"),
        ("update Invoice", "4000"),
        ("select * from Invoice where TotalAmt > 'much'", "4001"),
    ],
)
def test_what_intuit_refuses_is_refused(books: Company, text: str, code: str) -> None:
    with pytest.raises(Refused) as refused:
        books.query(text)
    assert refused.value.code == code


def test_times_without_an_offset_are_the_companys(books: Company) -> None:
    newest = max(one.updated_at for one in books.book.records[Kind.INVOICE].values())
    local = newest.astimezone(books.zone).replace(tzinfo=None).isoformat()
    assert len(rows(books, f"select * from Invoice where MetaData.LastUpdatedTime >= '{local}'")) == 1
    assert len(rows(books, f"select * from Invoice where MetaData.LastUpdatedTime >= '{newest.isoformat()}'")) == 1


def test_changes_since_name_each_entity_and_deleted_stubs_without_token() -> None:
    books = company("small")
    since = books.clock.now()
    books.delete(Kind.PAYMENT, books.token_body(Kind.PAYMENT, next(iter(books.book.records[Kind.PAYMENT]))))
    invoices, payments, refunds = decode(encode(books.changes_since(["Invoice", "Payment", "RefundReceipt"], since)))
    assert refunds == {}
    assert [one.get("status") for one in payments["Payment"]] == ["Deleted"]
    assert "SyncToken" not in payments["Payment"][0]
    assert invoices["Invoice"], "the invoices it paid are open again"


def test_changes_are_a_thousand_at_most_over_all_entities_without_a_word() -> None:
    books = company("none")
    customer = books.create(Kind.CUSTOMER, {"DisplayName": "A"}).id
    for _ in range(1005):
        add_invoice(books, customer)
    answers = books.changes_since(["Customer", "Invoice", "Payment"], books.clock.now() - timedelta(days=1))
    assert [one.get("maxResults", 0) for one in answers] == [1, 999, 0]


def test_changes_of_more_than_thirty_days_ago_are_refused(books: Company) -> None:
    with pytest.raises(Refused):
        books.changes_since(["Invoice"], books.clock.now() - timedelta(days=31))


def test_stale_reads_show_the_state_before_the_change_until_the_delay_is_over() -> None:
    books = company("small")
    clock = books.clock
    assert isinstance(clock, SteppedClock)
    books.delay_visibility(10)
    record_id = next(iter(books.book.records[Kind.INVOICE]))
    before = books.read(Kind.INVOICE, record_id)
    body = books.token_body(Kind.INVOICE, record_id) | {"sparse": True, "PrivateNote": "new"}
    books.update(Kind.INVOICE, body)
    assert books.read(Kind.INVOICE, record_id) == before
    assert rows(books, f"select * from Invoice where Id = '{record_id}'") == [decode(before)]
    fresh = add_invoice(books, next(iter(books.book.records[Kind.CUSTOMER])))
    with pytest.raises(Refused, match="610"):
        books.read(Kind.INVOICE, fresh)
    clock.move_to(clock.now() + timedelta(seconds=11))
    assert decode(books.read(Kind.INVOICE, record_id))["PrivateNote"] == "new"
    assert decode(books.read(Kind.INVOICE, fresh))["Id"] == fresh


def add_invoice(books: Company, customer: str) -> str:
    line = {"Amount": 100, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {}}
    return books.create(Kind.INVOICE, {"CustomerRef": {"value": customer}, "Line": [line]}).id


def test_list_of_ids_is_found_quickly_among_ten_thousand_invoices() -> None:
    books = company("none")
    assert isinstance(books.clock, SteppedClock)
    books.clock.move_to(datetime(2026, 10, 1, tzinfo=UTC))
    customer = books.create(Kind.CUSTOMER, {"DisplayName": "A"}).id
    ids = [add_invoice(books, customer) for _ in range(10_000)]
    wanted = ", ".join(f"'{one}'" for one in ids[::100])
    statement = f"select * from Invoice where Id in ({wanted})"
    encode(books.query(statement))
    best = min(timed(lambda: encode(books.query(statement))) for _ in range(5))
    assert best < 0.5  # a few milliseconds on an idle machine; seconds where all are looked at


def timed(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
