"""Whatever stands in a delivery: no byte of an event is lost or changed, and nothing but a reason is raised."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import UnprocessableError
from schemas.notifications import Operation, parse_notification, split_delivery
from tests.unit.test_notifications import INVOICE, MERGE, legacy

pytestmark = pytest.mark.slow

SPACE = st.text(" \t\r\n", max_size=3).map(str.encode)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
COMPANIES = st.integers(1, 10**20 - 1).map(str)


@st.composite
def events(draw: st.DrawFn) -> tuple[str, bytes]:
    """A company and the bytes of an event that names it, spelled in any way that JSON allows."""
    company = draw(COMPANIES)
    members = draw(st.dictionaries(st.text(), TREES, max_size=5)) | {"intuitaccountid": company}
    indent, ascii_only = draw(st.sampled_from([None, 0, 1])), draw(st.booleans())
    text = json.dumps(members, indent=indent, ensure_ascii=ascii_only)
    return company, text.encode("utf-8", "surrogatepass")


@given(st.lists(st.tuples(events(), SPACE, SPACE), max_size=6))
def test_every_cloudevent_keeps_its_bytes_and_company(parts: list[tuple[tuple[str, bytes], bytes, bytes]]) -> None:
    body = b"[" + b",".join(before + value + after for (_, value), before, after in parts) + b"]"
    split = split_delivery(body)
    assert [(entry.company_id, entry.value) for entry in split.entries] == [event for event, _, _ in parts]
    assert split.unreadable == []


@given(st.lists(st.tuples(COMPANIES, st.lists(events(), min_size=1, max_size=3)), max_size=4))
def test_every_legacy_entity_keeps_its_bytes_and_company(parts: list[tuple[str, list[tuple[str, bytes]]]]) -> None:
    body = legacy(*((company.encode(), [value for _, value in held]) for company, held in parts))
    expected = [(company, value) for company, held in parts for _, value in held]
    assert [(entry.company_id, entry.value) for entry in split_delivery(body).entries] == expected


@given(
    st.sampled_from([b"[" + INVOICE + b"," + MERGE + b"]", legacy((b"1", [INVOICE, MERGE]))]),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 6), st.binary(max_size=4)), max_size=4),
)
def test_mutant_of_a_delivery_is_cut_into_its_own_bytes_or_refused_with_a_reason(
    body: bytes, edits: list[tuple[int, int, bytes]]
) -> None:
    for at, removed, inserted in edits:
        body = body[:at] + inserted + body[at + removed :]
    with contextlib.suppress(UnprocessableError):
        split = split_delivery(body)
        assert all(entry.value in body for entry in split.entries)
        assert all(value in body for value, _ in split.unreadable)


@given(st.binary(max_size=200) | TREES.map(lambda tree: json.dumps(tree).encode()))
def test_no_value_raises_anything_but_a_reason(value: bytes) -> None:
    with contextlib.suppress(UnprocessableError):
        split_delivery(value)
    with contextlib.suppress(UnprocessableError):
        parse_notification(value, {"company_id": b"1"})


@given(
    st.fixed_dictionaries(
        {"specversion": st.just("1.0"), "intuitaccountid": COMPANIES, "intuitentityid": COMPANIES},
        optional={
            "id": TREES,
            "type": st.sampled_from(["qbo.payment.void.v1", "qbo.customer.merged.v1"]) | TREES,
            "time": st.sampled_from(["2026-03-08T09:15:02Z"]) | TREES,
            "data": TREES,
        },
    )
)
def test_event_is_understood_wholly_or_refused(tree: dict[str, object]) -> None:
    with contextlib.suppress(UnprocessableError):
        understood = parse_notification(json.dumps(tree).encode(), {})
        assert understood.company_id == tree["intuitaccountid"]
        assert understood.record_id == tree["intuitentityid"]
        assert understood.operation in (Operation.VOID, Operation.MERGE)
        assert understood.cause_id.isprintable()
