"""Answers of QuickBooks taken apart, and JSON of strangers, without any I/O."""

import contextlib
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.quickbooks.answers import (
    CDC_DEPTH,
    QUERY_DEPTH,
    READ_DEPTH,
    NotAnAnswer,
    answer_of,
    company_of,
    fault_of,
    time_of,
)
from connectors.quickbooks.http import Reply
from connectors.quickbooks.limiter import MINUTE_MAX, allowed
from schemas import strict_json
from schemas.errors import UnprocessableError

TIME = b'"time":"2026-03-20T14:03:00.120-07:00"'
INVOICE = (
    b'{"Id":"17","SyncToken":"2","MetaData":{"LastUpdatedTime":"2026-03-20T14:02:45-07:00"},"TotalAmt":100.00,'
    b'"PrivateNote":"a } ] \\" { \\\\","Line":[{"Amount":0}]}'
)


def test_a_record_keeps_its_bytes_in_every_kind_of_answer() -> None:
    bodies = {
        READ_DEPTH: b'{"Invoice":' + INVOICE + b"," + TIME + b"}",
        QUERY_DEPTH: b'{"QueryResponse":{"Invoice":[' + INVOICE + b'],"maxResults":1},' + TIME + b"}",
        CDC_DEPTH: b'{"CDCResponse":[{"QueryResponse":[{},{"Invoice":[' + INVOICE + b"]}]}]," + TIME + b"}",
    }
    for depth, body in bodies.items():
        (record,) = answer_of(body, depth).records
        assert record.raw == INVOICE
        assert (record.record_type, record.record_id, record.sync_token) == ("Invoice", "17", 2)
        assert record.revised_at == datetime(2026, 3, 20, 21, 2, 45, tzinfo=UTC)


def test_deleted_stubs_are_told_from_records() -> None:
    stub = b'{"domain":"QBO","status":"Deleted","Id":"979","MetaData":{"LastUpdatedTime":"2026-03-20T14:02:45Z"}}'
    body = b'{"CDCResponse":[{"QueryResponse":[{"Invoice":[' + stub + b"," + INVOICE + b"]}]}]," + TIME + b"}"
    answer = answer_of(body, CDC_DEPTH)
    assert [each.record_id for each in answer.deleted] == ["979"]
    assert [each.record_id for each in answer.records] == ["17"]
    assert answer.size == 2


@pytest.mark.parametrize(
    "bad",
    [
        b'{"Id":17,"SyncToken":"0","MetaData":{"LastUpdatedTime":"2026-03-20T14:02:45Z"}}',
        b'{"Id":"17","SyncToken":"0"}',
        b'{"Id":"17","SyncToken":"0","MetaData":{"LastUpdatedTime":"2026-03-20T14:02:45"}}',
        b'{"Id":"1 OR 1","SyncToken":"0","MetaData":{"LastUpdatedTime":"2026-03-20T14:02:45Z"}}',
        b'{"Id":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
        b"{nonsense}",
    ],
    ids=["number", "no-time", "no-zone", "no-id", "deep", "no-json"],
)
def test_a_record_that_cannot_be_told_does_not_hide_the_others(bad: bytes) -> None:
    body = b'{"QueryResponse":{"Invoice":[' + INVOICE + b"," + bad + b"]}," + TIME + b"}"
    answer = answer_of(body, QUERY_DEPTH)
    assert [each.record_id for each in answer.records] == ["17"]
    assert len(answer.unreadable) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b"[]",
        b"{}",
        b'{"QueryResponse":{},"time":"yesterday"}',
        b'{"QueryResponse":{"Invoice":[1]},' + TIME + b"}",
        b'{"QueryResponse":[],' + TIME + b"}",
        b'{"QueryResponse":{"Invoice":[{"":0}',
        b'"' * 200_001,
        b'{"a":' * 200_000,
        b'{"a":"\\"\\"\\"',
    ],
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(NotAnAnswer):
        answer_of(body, QUERY_DEPTH)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer_or_none(body: bytes) -> None:
    for depth in (READ_DEPTH, QUERY_DEPTH, CDC_DEPTH):
        with contextlib.suppress(NotAnAnswer):
            answer_of(body, depth)


@given(
    st.recursive(
        st.none() | st.booleans() | st.text() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_is_an_answer_or_none(value: object) -> None:
    body = json.dumps({"QueryResponse": value, "time": "2026-03-20T14:03:00Z"}).encode()
    for depth in (READ_DEPTH, QUERY_DEPTH, CDC_DEPTH):
        with contextlib.suppress(NotAnAnswer):
            answer_of(body, depth)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('{"Fault":{"Error":[{"Message":"m","code":"610"}],"type":"ValidationFault"}}', "610"),
        ('{"fault":{"error":[{"message":"m","code":"3200"}],"type":"AUTHENTICATION"},"time":1601391072830}', "3200"),
        (
            '<?xml version="1.0"?><A><Fault type="SERVICE"><Error code="003001"/></Fault></A>',
            "3001",
        ),
        ('{"Fault":{}}', ""),
        ('{"Fault":{"Error":[]}}', ""),
        ('{"Fault":{"Error":[{"code":3001}]}}', "3001"),
    ],
)
def test_faults_are_read_in_every_shape(body: str, code: str) -> None:
    fault = fault_of(Reply(400, {}, body.encode()))
    assert fault is not None or code == ""
    assert fault is None or fault.code == code


@pytest.mark.parametrize("body", ["<html><body>down</body></html>", "", "busy", '{"Fault"', '{"QueryResponse":{}}'])
def test_other_bodies_hold_no_fault(body: str) -> None:
    assert fault_of(Reply(503, {}, body.encode())) is None


def test_the_time_of_a_fault_is_its_own_else_the_headers() -> None:
    date_header = {"date": "Tue, 29 Sep 2020 13:55:31 GMT"}
    assert time_of(Reply(400, date_header, b'{"time":"2020-09-29T06:55:30-07:00"}')).second == 30
    assert time_of(Reply(400, date_header, b"{}")) == datetime(2020, 9, 29, 13, 55, 31, tzinfo=UTC)
    with pytest.raises(NotAnAnswer):
        time_of(Reply(400, {}, b"{}"))


def test_a_company_is_what_both_answers_say() -> None:
    about = {
        "CompanyInfo": {"CompanyName": "Bayside", "NameValue": [{"Name": "OfferingSku", "Value": "QuickBooks Plus"}]},
        "time": "2026-03-20T14:03:00Z",
    }
    fields = [
        {"Name": "SalesFormsPrefs.UseSalesCustom1", "Type": "BooleanType", "BooleanValue": True},
        {"Name": "SalesFormsPrefs.UseSalesCustom2", "Type": "BooleanType", "BooleanValue": False},
    ]
    names = [
        {"Name": "SalesFormsPrefs.SalesCustomName1", "Type": "StringType", "StringValue": "Reference Number"},
        {"Name": "SalesFormsPrefs.SalesCustomName2", "Type": "StringType", "StringValue": "Crew #"},
    ]
    preferences = {
        "Preferences": {
            "CurrencyPrefs": {"HomeCurrency": {"value": "CAD"}, "MultiCurrencyEnabled": True},
            "AccountingInfoPrefs": {"BookCloseDate": "2025-12-31"},
            "SalesFormsPrefs": {"CustomField": [{"CustomField": fields}, {"CustomField": names}]},
        },
        "time": "2026-03-20T14:03:00Z",
    }
    company = company_of(json.dumps(about).encode(), json.dumps(preferences).encode())
    assert (company.name, company.facts.home_currency, company.facts.several_currencies) == ("Bayside", "CAD", True)
    assert (company.facts.plan, company.facts.books_closed_on) == ("QuickBooks Plus", date(2025, 12, 31))
    assert [(each.definition_id, each.name) for each in company.facts.custom_fields] == [("1", "Reference Number")]
    with pytest.raises(NotAnAnswer):
        company_of(json.dumps(about).encode(), b'{"Preferences":{},"time":"2026-03-20T14:03:00Z"}')


def test_numbers_are_exact() -> None:
    value = strict_json.parse(b'{"a":100.00,"b":0,"c":0.1}')
    assert value == {"a": Decimal("100.00"), "b": 0, "c": Decimal("0.1")}
    assert str(value["a"]) == "100.00"


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b"[Infinity]",
        b"[1e400]",
        b"[1e1000000]",
        b"[-1e-1000000]",
        b"[1e99999999999999999999]",
        b"[" + b"9" * 41 + b"]",
        b'["\\u0000"]',
        b'["\\ud800"]',
        b'{"\\ud800":1}',
        b'["' + b"x" * 65_537 + b'"]',
        b"[" * 33 + b"]" * 33,
        b"[" * 100_000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b"[" + b"0," * 250_000 + b"0]",
        b'["\xff"]',
        b"{'a':1}",
        b"",
    ],
)
def test_poison_is_refused_with_a_reason(text: bytes) -> None:
    with pytest.raises(UnprocessableError):
        strict_json.parse(text)


@given(st.binary(max_size=200) | st.from_regex(rb"-?[1-9]\.?[0-9]{1,45}[eE][+-]?[0-9]{1,25}", fullmatch=True))
def test_nothing_but_a_reason_leaves_the_json_reader(text: bytes) -> None:
    with contextlib.suppress(UnprocessableError):
        strict_json.parse(text)


@given(st.lists(st.tuples(st.integers(0, 5_000), st.integers(1, 20)), max_size=40))
def test_calls_keep_their_distance_whoever_asks_when(asks: list[tuple[int, int]]) -> None:
    """Each ask comes so many milliseconds after the one before, for so many calls."""
    now, next_at, starts = datetime(2026, 1, 1, tzinfo=UTC), None, list[datetime]()
    for later_ms, calls in asks:
        now += timedelta(milliseconds=later_ms)
        given_starts, next_at = allowed(next_at, now, calls)
        assert all(start >= now for start in given_starts)
        starts += given_starts
    for first, last in zip(starts, starts[9:], strict=False):
        assert last - first > timedelta(seconds=1)
    for first, last in zip(starts, starts[MINUTE_MAX:], strict=False):
        assert last - first >= timedelta(minutes=1) - timedelta(milliseconds=1)
