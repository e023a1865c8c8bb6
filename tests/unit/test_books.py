"""The books' own words: what the tables keep comes back without loss, and what was seen is told in one order."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from schemas.accounting import ExchangeRate, Figures, Share
from schemas.money import Money
from schemas.quickbooks import INVOICE, PAYMENT, CustomField, Payment, PaymentLine, SalesDocument
from streams.books import (
    Booking,
    Books,
    Company,
    CustomerState,
    Document,
    Ended,
    Link,
    LinkKey,
    Naming,
    Reason,
    Revision,
    Scope,
    Standing,
    WaitCause,
    Waiting,
    booking_from_plain,
    booking_to_plain,
    head_from_plain,
    head_to_plain,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
RATE = ExchangeRate(Decimal("1.0825"))


def eur(amount: str) -> Money:
    return Money(Decimal(amount), "EUR")


def usd(amount: str) -> Money:
    return Money(Decimal(amount), "USD")


def sale(**changed: Any) -> SalesDocument:
    known: dict[str, Any] = {
        "record_type": INVOICE,
        "record_id": "11",
        "customer_id": "7",
        "doc_number": "1045",
        "issued_on": date(2026, 1, 15),
        "due_on": date(2026, 2, 14),
        "total": eur("1210.50"),
        "tax": eur("210.50"),
        "deposit": eur("100.00"),
        "exchange_rate": RATE,
        "project_ref": "39298034",
        "custom_fields": (CustomField(definition_id="1", name="Reference Number", text="P1"),),
        "voided": False,
    }
    return SalesDocument(**(known | changed))


def payment(**changed: Any) -> Payment:
    known: dict[str, Any] = {
        "record_id": "21",
        "customer_id": "7",
        "reference": "CHQ 12",
        "received_on": date(2026, 2, 1),
        "total": eur("900.00"),
        "unapplied": eur("0.01"),
        "exchange_rate": RATE,
        "project_ref": "39298034",
        "lines": (
            PaymentLine(record_type=INVOICE, record_id="11", amount=eur("800.00"), side=""),
            PaymentLine(record_type="JournalEntry", record_id="90", amount=eur("99.99"), side="use"),
        ),
    }
    return Payment(**(known | changed))


def figures(**changed: Any) -> Figures:
    known: dict[str, Any] = {
        "customer_id": "7",
        "doc_number": "1045",
        "issued_on": date(2026, 1, 15),
        "due_on": date(2026, 2, 14),
        "total": eur("1210.50"),
        "tax": eur("210.50"),
        "deposit": eur("100.00"),
        "exchange_rate": RATE,
        "home_total": usd("1310.37"),
        "home_deposit": usd("108.25"),
    }
    return Figures(**(known | changed))


def share(**changed: Any) -> Share:
    known: dict[str, Any] = {
        "customer_id": "7",
        "reference": "CHQ 12",
        "received_on": date(2026, 2, 1),
        "received": eur("900.00"),
        "exchange_rate": RATE,
        "home_received": usd("974.25"),
    }
    return Share(**(known | changed))


def stored(plain: Any) -> Any:
    """As the table gives it back."""
    return json.loads(json.dumps(plain))


@pytest.mark.parametrize(
    "head",
    [
        sale(),
        sale(due_on=None, exchange_rate=None, project_ref=None, custom_fields=(), voided=True),
        payment(),
        payment(exchange_rate=None, project_ref=None, lines=()),
    ],
)
def test_what_quickbooks_said_comes_back_from_the_table(head: SalesDocument | Payment) -> None:
    key = (PAYMENT if isinstance(head, Payment) else INVOICE, head.record_id)
    assert head_from_plain(key, stored(head_to_plain(head))) == head


IN_ONE = LinkKey("payment", "P1", INVOICE, "11")
ACROSS = LinkKey("credit", "P1", INVOICE, "11", "5", "P2")


@pytest.mark.parametrize(
    "booking",
    [
        Booking(standings={"P1": Standing(Reason.ASSIGNED, figures())}, ever=True),
        Booking(standings={"P1": Standing(Reason.CUSTOMER, figures(due_on=None, home_total=None, home_deposit=None))}),
        Booking(standings={"P1": Standing(Reason.INVOICE, share()), "P2": Standing(Reason.INVOICE, share())}),
        Booking(standings={"P1": Standing(Reason.CUSTOMER, share(exchange_rate=None, home_received=None))}),
        Booking(links={IN_ONE: Link(eur("800"), date(2026, 2, 1), Reason.INVOICE, usd("866.00"), usd("880.00"))}),
        Booking(links={ACROSS: Link(eur("50"), date(2026, 2, 1), Reason.INVOICE)}),
        Booking(links={ACROSS: Link(eur("50"), date(2026, 2, 1), Reason.INVOICE, usd("54.13"), None)}),
        Booking(links={ACROSS: Link(eur("50"), date(2026, 2, 1), Reason.INVOICE, None, usd("54.13"))}),
        Booking(waiting={"": Waiting(WaitCause.CUSTOMER_UNKNOWN, "7", None, None)}),
        Booking(waiting={"unapplied": Waiting(WaitCause.EXCLUDED, "7", eur("1"), date(2026, 2, 1), usd("1.08"))}),
        Booking(warnings={"reference_unknown": "P9"}, ended=Ended.VOIDED, ever=True),
        Booking(ended=Ended.DELETED),
    ],
)
def test_what_is_booked_comes_back_from_the_table(booking: Booking) -> None:
    assert booking_from_plain(stored(booking_to_plain(booking))) == booking


def test_nothing_is_kept_where_nothing_is_booked() -> None:
    assert booking_to_plain(Booking()) == {}
    assert booking_from_plain({}) == Booking()


def test_rows_without_home_currency_are_kept_as_short_as_they_always_were() -> None:
    """Rows of earlier builds are read by this one, and most companies have one currency."""
    standing = Standing(Reason.CUSTOMER, figures(home_total=None, home_deposit=None))
    link = Link(eur("50"), date(2026, 2, 1), Reason.INVOICE)
    waiting = Waiting(WaitCause.EXCLUDED, "7", eur("1"), date(2026, 2, 1))
    plain = booking_to_plain(Booking(standings={"P1": standing}, links={ACROSS: link}, waiting={"": waiting}))
    assert plain["standings"]["P1"] == [
        "customer",
        ["7", "1045", "2026-01-15", ["1210.50", "EUR"], "1.0825", "2026-02-14", ["210.50", "EUR"], ["100.00", "EUR"]],
    ]
    assert plain["links"] == [["credit", "P1", INVOICE, "11", "5", "P2", ["50", "EUR"], "2026-02-01", "invoice"]]
    assert plain["waiting"] == {"": ["excluded", "7", ["1", "EUR"], "2026-02-01"]}
    assert set(plain) == {"standings", "links", "waiting"}
    assert head_to_plain(payment())["lines"] == [
        [INVOICE, "11", ["800.00", "EUR"]],
        ["JournalEntry", "90", ["99.99", "EUR"], "use"],
    ]


# --- what was seen -----------------------------------------------------------------------------------------------


def document(**changed: Any) -> Document:
    return Document(INVOICE, "11", **changed)


def revision(revised_at: datetime, read_at: datetime = NOON + 9 * HOUR) -> Revision:
    return Revision(revised_at, 0, read_at)


def test_what_a_document_was_seen_to_name_is_a_span_that_grows_on_both_sides() -> None:
    seen = document(named={"7": (NOON, NOON)}).named_with("7", NOON + HOUR)
    assert seen == {"7": (NOON, NOON + HOUR)}
    assert document(named=seen).named_with("7", NOON - HOUR) == {"7": (NOON - HOUR, NOON + HOUR)}
    assert document(named=seen).named_with("8", NOON) == {"7": (NOON, NOON + HOUR), "8": (NOON, NOON)}


@pytest.mark.parametrize("at", [NOON, NOON + HOUR / 2, NOON + HOUR])
def test_what_was_seen_within_the_span_says_nothing_new(at: datetime) -> None:
    seen = document(named={"7": (NOON, NOON + HOUR)})
    assert seen.named_with("7", at) is seen.named


def test_a_deleted_document_comes_back_with_a_revision_after_its_delete_and_not_with_one_of_that_moment() -> None:
    assert document(gone_at=NOON, revision=revision(NOON + HOUR)).came_back
    assert not document(gone_at=NOON, revision=revision(NOON)).came_back
    assert not document(gone_at=NOON).came_back
    assert not document(revision=revision(NOON)).came_back
    assert document(gone_at=NOON, revision=revision(NOON)).ended is Ended.DELETED
    assert document(gone_at=NOON, revision=revision(NOON + HOUR), head=sale(voided=True)).ended is Ended.VOIDED
    assert document(gone_at=NOON, revision=revision(NOON + HOUR), head=sale()).ended is Ended.NO
    assert document(head=sale(), revision=revision(NOON)).ended is Ended.NO
    assert document().ended is Ended.NO


def test_absence_that_no_delete_announced_is_listed_until_the_document_is_read_again() -> None:
    absent = {"absent_in_quickbooks": "Invoice 11"}
    assert document(absent_at=NOON, revision=revision(NOON - HOUR, NOON - HOUR)).alarms == absent
    assert document(absent_at=NOON, revision=revision(NOON - HOUR, NOON)).alarms == {}
    assert document(absent_at=NOON, revision=revision(NOON - HOUR, NOON + HOUR)).alarms == {}
    assert document(absent_at=NOON).alarms == {}
    assert document(revision=revision(NOON - HOUR, NOON - HOUR)).alarms == {}


def test_absence_of_what_is_deleted_is_nothing_to_look_at_and_a_return_is() -> None:
    old = revision(NOON - HOUR, NOON - HOUR)
    assert document(absent_at=NOON, gone_at=NOON, revision=old).alarms == {}
    assert document(gone_at=NOON, revision=old).alarms == {}
    assert document(gone_at=NOON, revision=revision(NOON + HOUR)).alarms == {"reopened_after_delete": "Invoice 11"}


# --- who belongs to whom -----------------------------------------------------------------------------------------


def customer(customer_id: str, parent_id: str | None = None, *scopes: Scope) -> CustomerState:
    return CustomerState(customer_id, revision(NOON), parent_id, True, "USD", b"", scopes=scopes)


def books(*customers: CustomerState, references: dict[str, set[Naming]] | None = None) -> Books:
    known = {each.customer_id: each for each in customers}
    return Books(Company("9130"), customers=known, references=references or {})


def test_the_family_is_told_nearest_first_and_ends_where_nothing_is_known() -> None:
    world = books(customer("3", "2"), customer("2", "1"))
    assert [each.customer_id for each in world.family("3")] == ["3", "2"]
    assert world.family("4") == []


def test_a_circle_of_parents_ends() -> None:
    """QuickBooks allows five levels; records read at different times may still name each other."""
    world = books(customer("1", "2"), customer("2", "1"))
    assert len(world.family("1")) == 10


def test_a_scope_covers_its_first_day_and_the_later_of_two_wins() -> None:
    job = customer("1", None, Scope("P1", None, ""), Scope("P2", date(2026, 1, 1), ""))
    assert job.scope_on(date(2025, 12, 31)) == Scope("P1", None, "")
    assert job.scope_on(date(2026, 1, 1)) == Scope("P2", date(2026, 1, 1), "")
    assert customer("1", None, Scope("P2", date(2026, 1, 1), "")).scope_on(date(2025, 12, 31)) is None


def test_a_projects_own_id_wins_over_numbers_and_two_numbers_name_both() -> None:
    names = {"p9": {Naming("P9", ""), Naming("P1", "1")}, "r-1": {Naming("P1", "1"), Naming("P2", "2")}}
    world = books(references=names)
    assert world.projects_named("p9") == {"P9"}
    assert world.projects_named("R-1") == {"P1", "P2"}
    assert world.projects_named("other") == set()


def test_a_settlement_gains_the_difference_of_its_sides_and_nothing_where_they_are_equal() -> None:
    def gained(source: Money | None, target: Money | None) -> Money | None:
        return Link(eur("50"), NOON.date(), Reason.INVOICE, source, target).gained

    assert gained(usd("55.00"), usd("54.00")) == usd("1.00")
    assert gained(usd("54.00"), usd("55.00")) == usd("-1.00")
    assert gained(usd("54.00"), usd("54.00")) is None
    assert gained(None, usd("54.00")) is None
    assert gained(usd("54.00"), None) is None


def test_a_company_of_which_nothing_was_read_is_decided_by_the_first_rules() -> None:
    """So were the companies of the builds that knew no versions of rules."""
    unread = Company("9130")
    assert (unread.rules_version, unread.several_currencies, unread.active) == (1, False, False)


def test_a_document_of_which_nothing_is_known_is_an_empty_one() -> None:
    known = document(head=sale())
    world = Books(Company("9130"), documents={known.key: known})
    assert world.document((INVOICE, "11")) is known
    assert world.document((INVOICE, "12")) == Document(INVOICE, "12")
