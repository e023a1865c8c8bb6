"""A delivery is cut into its events without losing a byte, and an event is understood or refused with a reason."""

import hashlib
import json
from datetime import UTC, datetime

import pytest

from schemas.errors import UnprocessableError
from schemas.notifications import (
    EVENTS_MAX,
    Entry,
    Format,
    Notification,
    Operation,
    Unreadable,
    parse_notification,
    split_delivery,
)

INVOICE = (
    b'{"specversion":"1.0","id":"5f0c8b0e-8f4e-4c1d-9a57-2f0c4b1d7e11", "source":"intuit.dsnBgbse=",'
    b'"type":"qbo.invoice.created.v1","datacontenttype":"application/json","time":"2026-03-08T09:15:02.179851517Z",'
    b'"intuitentityid":"1045","intuitaccountid":"1185883450","data":{}}'
)
MERGE = (
    b'{"specversion":"1.0","id":"7d0a3f52-1111-4222-8333-944455566677-Customer-58","source":"intuit.x",'
    b'"type":"qbo.customer.merged.v1","time":"2026-03-08T09:16:00Z",'
    b'"intuitentityid":"58","intuitaccountid":"22","data":{"deletedid":"61"}}'
)
LEGACY_CUSTOMER = b'{"name":"Customer","id":"58","operation":"Create","lastUpdated":"2026-03-08T09:15:02.000Z"}'
LEGACY_MERGE = (
    b'{ "name":"Customer" ,"id":"58","operation":"Merge","lastUpdated":"2015-10-05T14:42:19-0700","deletedId":"61"}'
)


def legacy(*companies: tuple[bytes, list[bytes]]) -> bytes:
    notifications = [
        b'{"realmId":"%s","dataChangeEvent":{"entities":[%s]}}' % (company, b" , ".join(events))
        for company, events in companies
    ]
    return b'{"eventNotifications":[%s]}' % b",".join(notifications)


def event(**changes: object) -> bytes:
    """The invoice event with other fields; None takes a field out."""
    fields = json.loads(INVOICE) | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


# ------------------------------------------------------------------------------------------------------------ cutting


def test_cloudevents_of_two_companies_keep_their_bytes_and_companies() -> None:
    split = split_delivery(b" [\n" + INVOICE + b" ,\t" + MERGE + b"\r\n] ")
    assert split.unreadable == []
    assert split.entries == [
        Entry(
            value=INVOICE,
            company_id="1185883450",
            cause_id="5f0c8b0e-8f4e-4c1d-9a57-2f0c4b1d7e11",
            format=Format.CLOUDEVENTS,
        ),
        Entry(
            value=MERGE,
            company_id="22",
            cause_id="7d0a3f52-1111-4222-8333-944455566677-Customer-58",
            format=Format.CLOUDEVENTS,
        ),
    ]


def test_legacy_entities_of_two_companies_keep_their_bytes_and_companies() -> None:
    split = split_delivery(legacy((b"11", [LEGACY_CUSTOMER, LEGACY_MERGE]), (b"22", [LEGACY_CUSTOMER])))
    assert split.unreadable == []
    assert [(entry.value, entry.company_id, entry.format) for entry in split.entries] == [
        (LEGACY_CUSTOMER, "11", Format.LEGACY),
        (LEGACY_MERGE, "11", Format.LEGACY),
        (LEGACY_CUSTOMER, "22", Format.LEGACY),
    ]


def test_cause_of_a_legacy_event_is_the_hash_of_its_bytes_and_company() -> None:
    first, second = split_delivery(legacy((b"11", [LEGACY_CUSTOMER]), (b"22", [LEGACY_CUSTOMER]))).entries
    assert first.cause_id == hashlib.sha256(LEGACY_CUSTOMER + b"11").hexdigest()
    assert second.cause_id == hashlib.sha256(LEGACY_CUSTOMER + b"22").hexdigest()


def test_realm_id_may_stand_after_the_entities() -> None:
    body = b'{"eventNotifications":[{"dataChangeEvent":{"x":1,"entities":[%s]},"realmId":"7"}]}' % LEGACY_CUSTOMER
    assert [entry.company_id for entry in split_delivery(body).entries] == ["7"]


@pytest.mark.parametrize("body", [b"[]", b" [ ] ", b'{"eventNotifications":[]}'])
def test_delivery_without_events_is_read_and_empty(body: bytes) -> None:
    assert split_delivery(body) == ([], [])


def test_one_cloudevent_outside_a_list_is_taken() -> None:
    assert [entry.value for entry in split_delivery(INVOICE).entries] == [INVOICE]


def test_byte_order_mark_is_skipped() -> None:
    assert [entry.value for entry in split_delivery(b"\xef\xbb\xbf[" + INVOICE + b"]").entries] == [INVOICE]


def test_events_that_name_no_company_are_set_aside_alone() -> None:
    odd = [
        b"7",
        b"null",
        b'"text"',
        b"{}",
        b'{"intuitaccountid":"12a"}',
        b'{"intuitaccountid":"123456789012345678901"}',
    ]
    split = split_delivery(b"[" + b",".join([INVOICE, *odd, MERGE]) + b"]")
    assert [entry.value for entry in split.entries] == [INVOICE, MERGE]
    assert [value for value, _ in split.unreadable] == odd


def test_legacy_notification_without_entities_is_set_aside_whole() -> None:
    odd = b'{"realmId":"11","dataChangeEvent":[]}'
    body = b'{"eventNotifications":[%s,{"realmId":"2","dataChangeEvent":{"entities":[%s]}}]}' % (odd, LEGACY_CUSTOMER)
    split = split_delivery(body)
    assert [entry.company_id for entry in split.entries] == ["2"]
    assert split.unreadable == [Unreadable(odd, "the notification has no list of entities")]


def test_wrong_encoding_of_one_event_leaves_its_neighbours_alone() -> None:
    broken = INVOICE.replace(b"intuit.dsn", b"intuit.\xff\xfe")
    assert [entry.value for entry in split_delivery(b"[" + MERGE + b"," + broken + b"]").entries] == [MERGE, broken]
    with pytest.raises(UnprocessableError, match="not UTF-8"):
        parse_notification(broken, {})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"null",
        b"7",
        b'"[]"',
        b"{}",
        b"[",
        b"]",
        b"[,]",
        b"[" + INVOICE,
        b"[" + INVOICE + b",]",
        b"[" + INVOICE + b"]]",
        b"[" + INVOICE + b" " + INVOICE + b"]",
        INVOICE + INVOICE,
        b'{"eventNotifications":null}',
        b'{"eventNotifications":{}}',
        b"<html></html>",
        "[]".encode("utf-16"),
        b"[" * 100_000,
        b"[" + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"]",
        b'{"eventNotifications":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b"[" + b"{}," * EVENTS_MAX + b"{}]",
    ],
    ids=lambda body: repr(body[:30]),
)
def test_body_that_is_no_delivery_is_refused_with_a_reason(body: bytes) -> None:
    with pytest.raises(UnprocessableError, match="the body"):
        split_delivery(body)


def test_reason_never_repeats_what_stands_in_the_body() -> None:
    with pytest.raises(UnprocessableError) as refused:
        split_delivery(b'[{"canary-1234": canary-5678}]')
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("odd_id", ["", "a\x00b", "a\nb", "\ud800", "x" * 257, 7.5, None, ["x"], {"a": 1}])
def test_cloudevents_id_that_no_header_can_hold_is_replaced_by_a_hash(odd_id: object) -> None:
    value = event(id=odd_id)
    [entry] = split_delivery(b"[" + value + b"]").entries
    if odd_id == 7.5:
        assert entry.cause_id == "7.5"  # text or number: what was given
    else:
        assert entry.cause_id == hashlib.sha256(value + b"1185883450").hexdigest()


# ------------------------------------------------------------------------------------------------------ understanding


def test_cloudevent_is_understood() -> None:
    assert parse_notification(INVOICE, {}) == Notification(
        company_id="1185883450",
        record_type="Invoice",
        record_id="1045",
        operation=Operation.CREATE,
        occurred_at=datetime(2026, 3, 8, 9, 15, 2, 179851, tzinfo=UTC),
        vanished_id=None,
        cause_id="5f0c8b0e-8f4e-4c1d-9a57-2f0c4b1d7e11",
    )


def test_legacy_event_is_understood_with_its_headers() -> None:
    headers = {"company_id": b"11", "cause_id": b"abc", "format": b"legacy"}
    assert parse_notification(LEGACY_MERGE, headers) == Notification(
        company_id="11",
        record_type="Customer",
        record_id="58",
        operation=Operation.MERGE,
        occurred_at=datetime(2015, 10, 5, 21, 42, 19, tzinfo=UTC),
        vanished_id="61",
        cause_id="abc",
    )


@pytest.mark.parametrize("data", [{"deletedid": "61"}, {"deletedId": "61"}])
def test_merge_names_the_customer_that_vanished_in_either_spelling(data: dict[str, str]) -> None:
    value = event(type="qbo.customer.merged.v1", data=data)
    assert parse_notification(value, {}).vanished_id == "61"


@pytest.mark.parametrize("data", [None, [], "x", {}])
def test_merge_that_names_nobody_still_says_that_a_record_changed(data: object) -> None:
    assert parse_notification(event(type="qbo.customer.merged.v1", data=data), {}).vanished_id is None


@pytest.mark.parametrize(
    ("word", "operation"),
    [
        ("created", Operation.CREATE),
        ("updated", Operation.UPDATE),
        ("deleted", Operation.DELETE),
        ("merged", Operation.MERGE),
        ("void", Operation.VOID),
        ("voided", Operation.VOID),
        ("emailed", Operation.EMAILED),
        ("Void", Operation.VOID),
    ],
)
def test_each_operation_is_known_in_its_spellings(word: str, operation: Operation) -> None:
    assert parse_notification(event(type=f"qbo.payment.{word}.v1"), {}).operation is operation


@pytest.mark.parametrize(
    ("wire", "record_type"),
    [("creditmemo", "CreditMemo"), ("refundreceipt", "RefundReceipt"), ("spaceship", "spaceship")],
)
def test_record_type_has_quickbooks_casing_and_an_unknown_one_the_wires(wire: str, record_type: str) -> None:
    assert parse_notification(event(type=f"qbo.{wire}.updated.v1"), {}).record_type == record_type


@pytest.mark.parametrize(
    ("given", "instant"),
    [
        ("2026-03-08T09:15:02Z", datetime(2026, 3, 8, 9, 15, 2, tzinfo=UTC)),
        ("2026-03-08T09:15:02.657Z", datetime(2026, 3, 8, 9, 15, 2, 657000, tzinfo=UTC)),
        ("2026-03-08T09:15:02.179851517Z", datetime(2026, 3, 8, 9, 15, 2, 179851, tzinfo=UTC)),
        ("2026-03-08T09:15:02-07:00", datetime(2026, 3, 8, 16, 15, 2, tzinfo=UTC)),
        ("2026-03-08T09:15:02.5+0530", datetime(2026, 3, 8, 3, 45, 2, 500000, tzinfo=UTC)),
    ],
)
def test_time_is_read_in_every_form_seen_on_the_wire(given: str, instant: datetime) -> None:
    assert parse_notification(event(time=given), {}).occurred_at == instant


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"time": "2026-03-08"}, "time"),
        ({"time": "2026-03-08T09:15:02"}, "time"),
        ({"time": "2026-02-30T09:15:02Z"}, "time"),
        ({"time": "0001-01-01T00:00:00+23:59"}, "time"),
        ({"time": "٢٠٢٦-03-08T09:15:02Z"}, "time"),
        ({"time": 7}, "time"),
        ({"time": None}, "time"),
        ({"intuitentityid": "12' OR 1=1"}, "intuitentityid"),
        ({"intuitentityid": ""}, "intuitentityid"),
        ({"intuitentityid": "1" * 21}, "intuitentityid"),
        ({"intuitentityid": "١٢"}, "intuitentityid"),
        ({"intuitentityid": "12\n"}, "intuitentityid"),
        ({"intuitentityid": None}, "intuitentityid"),
        ({"intuitaccountid": None}, "company"),
        ({"intuitaccountid": "x"}, "company"),
        ({"type": "qbo.invoice.v1"}, "type"),
        ({"type": "qbo.invoice.created.v1\n"}, "type"),
        ({"type": 7}, "type"),
        ({"type": "qbo.invoice.teleported.v1"}, "operation"),
        ({"type": "qbo.customer.merged.v1", "data": {"deletedid": "6 1"}}, "merged away"),
        ({"source": "a\x00b"}, "NUL"),
        ({"source": "\ud800"}, "surrogate"),
        ({"a\x00b": 1}, "NUL"),
        ({"source": "x" * 70_000}, "longer"),
        ({"data": [[]] * 260_000}, "nodes"),
        ({"data": 10**41}, "characters"),
        ({"data": float("nan")}, "NaN"),
        ({"data": float("inf")}, "Infinity"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_event_that_means_nothing_is_refused_with_the_field_in_the_reason(
    changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(UnprocessableError, match=reason):
        parse_notification(event(**changes), {})


@pytest.mark.parametrize("depth", [40, 900, 5_000, 100_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    value = INVOICE.replace(b'"data":{}', b'"data":' + b"[" * depth + b"]" * depth)
    with pytest.raises(UnprocessableError, match="nested"):
        parse_notification(value, {})


@pytest.mark.parametrize(
    "value", [None, b"", b"[]", b"7", b"{", INVOICE + b"}", INVOICE.replace(b'"data":{}', b'"id":"other"')]
)
def test_value_that_is_no_single_object_with_unique_names_is_refused(value: bytes | None) -> None:
    with pytest.raises(UnprocessableError):
        parse_notification(value, {})


def test_event_of_another_company_than_its_header_is_refused() -> None:
    with pytest.raises(UnprocessableError, match="another company"):
        parse_notification(INVOICE, {"company_id": b"11"})


@pytest.mark.parametrize("header", [{}, {"company_id": b""}, {"company_id": b"x"}, {"company_id": b"\xff"}])
def test_legacy_event_without_a_company_in_its_header_is_refused(header: dict[str, bytes]) -> None:
    with pytest.raises(UnprocessableError, match="company"):
        parse_notification(LEGACY_CUSTOMER, header)
