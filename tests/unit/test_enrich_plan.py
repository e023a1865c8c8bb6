"""What enrich decides before it calls anybody: pure."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.answers import Answer, Record
from schemas.changes import Cause
from schemas.known import CompanyState, Key, Known, Shown
from schemas.notifications import Operation
from schemas.wire import Incoming
from streams.enrich import SETTLED, Ask, coalesced, is_shown, is_swept, needs_name, plan
from streams.repair import Cursor, next_page

T = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)
KEY = Key("1", "Invoice", "17")


def after(seconds: float) -> datetime:
    return T + timedelta(seconds=seconds)


def ask(at: float = 0, operation: Operation | None = Operation.UPDATE, *, key: Key = KEY, cause: str = "c") -> Ask:
    topic = "read-requests" if operation is None else "quickbooks-notifications"
    place = (None, None) if operation is None else (0, 1)
    return Ask(
        key=key,
        occurred_at=after(at),
        cause=Cause(cause_id=cause, partition=place[0], offset=place[1], caused_at=after(at)),
        origin="request" if operation is None else "webhook",
        correlation_id=cause,
        operation=operation,
        record=Incoming(topic, 0, 1, key.company_id, b"", {}, 0),
    )


def wanted(*asks: Ask) -> Any:
    return coalesced(asks)[KEY]


def test_many_asks_of_one_record_are_one_read_with_all_causes() -> None:
    one = wanted(ask(5, cause="b"), ask(0, Operation.CREATE, cause="a"), ask(9, Operation.EMAILED, cause="d"))
    assert [cause.cause_id for cause in one.causes] == ["a", "b", "d"]
    assert (one.oldest_at, one.newest_at, one.must_show) == (after(0), after(9), after(5))
    assert (one.correlation_id, one.announced_at, one.origin) == ("a", None, "webhook")


@given(st.permutations([ask(at, cause=str(at)) for at in range(4)] + [ask(2, Operation.DELETE, cause="x")]))
def test_the_order_of_the_asks_does_not_matter(asks: list[Ask]) -> None:
    assert wanted(*asks) == wanted(*sorted(asks, key=lambda each: (each.occurred_at, each.cause.cause_id)))


def test_a_delete_and_a_request_must_be_kept_by_name_and_an_update_need_not() -> None:
    assert needs_name(wanted(ask(0, Operation.DELETE)))
    assert needs_name(wanted(ask(0, None)))
    assert needs_name(wanted(ask(0), ask(1, None)))
    assert not needs_name(wanted(ask(0), ask(1, Operation.VOID)))


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (None, False),
        (Shown(after(9), after(9)), False),  # answered before it happened
        (Shown(after(11), after(10)), True),
        (Shown(after(11), after(8)), True),  # whole seconds, and clocks that differ a little
        (Shown(after(11), after(7)), False),  # answered after it, but shows what was before it
        (Shown(after(10) + SETTLED, after(0)), True),  # so long after it, every answer shows it
        (Shown(after(11), None), True),  # it was gone
    ],
)
def test_a_record_is_read_again_unless_a_published_read_shows_the_change(shown: Shown | None, expected: bool) -> None:
    assert is_shown(wanted(ask(10)), shown) is expected


@pytest.mark.parametrize(
    ("stated", "read_at", "expected"),
    [
        (10, 10.4, False),  # whole seconds: it may have happened at 10.9
        (10, 11, True),
        (10.383, 10.383, False),  # both are cut to milliseconds
        (10.383, 10.384, True),
        (10.383517, 10.384, True),
    ],
)
def test_a_read_within_the_stated_time_of_a_change_may_not_show_it(
    stated: float, read_at: float, expected: bool
) -> None:
    assert is_shown(wanted(ask(stated), ask(stated, cause="other")), Shown(after(read_at), after(10))) is expected


def test_a_sweep_that_ended_well_after_a_change_has_read_it_but_no_delete_and_no_request() -> None:
    late = after(0) + SETTLED
    assert is_swept(wanted(ask(0)), late)
    assert not is_swept(wanted(ask(0)), after(1))
    assert not is_swept(wanted(ask(0)), None)
    assert not is_swept(wanted(ask(0, Operation.DELETE)), late)
    assert not is_swept(wanted(ask(0, None)), late)


def test_a_plan_reads_readable_companies_notes_others_and_counts_strangers() -> None:
    keys = [Key(company, "Invoice", "17") for company in ("1", "2", "3")]
    known = Known({"1": CompanyState(True, None), "2": CompanyState(False, None)}, {})
    made = plan(coalesced(ask(key=key) for key in keys).values(), known)
    assert {company: [each.key for each in asked] for company, asked in made.read.items()} == {"1": [keys[0]]}
    assert [each.key for each in made.unreadable] == [keys[1]]
    assert made.strangers == {"3": 1}


def answer(*seconds: float) -> Answer:
    records = tuple(Record("Invoice", str(at), after(each), 0, b"{}") for at, each in enumerate(seconds))
    return Answer(answered_at=after(1000), records=records)


def cursor(since: float, start: int = 1) -> Cursor:
    return Cursor(gap_since="", record_type="Invoice", since=after(since), start=start, began_at=T, records=0)


def test_the_next_page_begins_at_the_last_second_of_this_one() -> None:
    following = next_page(cursor(0), answer(1, 2, 2))
    assert (following.since, following.start, following.records) == (after(2), 1, 3)


def test_a_page_within_one_second_goes_on_by_position_with_some_overlap() -> None:
    following = next_page(cursor(2), answer(*[2] * 200))
    assert (following.since, following.start) == (after(2), 151)
    assert next_page(following, answer(*[2] * 200)).start == 301
    assert next_page(following, answer(*[2] * 199, 3)).start == 1
