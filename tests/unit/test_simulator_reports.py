"""Reports of the simulated company: they agree with its balances, with each other, and with what they said before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from connectors.simulator.api import reports
from connectors.simulator.api.company import Company
from connectors.simulator.books.book import Book
from connectors.simulator.books.records import ZERO, Kind, Refused
from connectors.simulator.clock import SteppedClock
from connectors.simulator.life.happenings import Life
from connectors.simulator.life.history import HISTORY_END, write_history
from tests.unit.test_simulator_receivables import Office


def report(book: Book, name: str, today: str = "2026-12-31", **parameters: str) -> dict[str, Any]:
    found = reports.answer(book, reports.Asked(name, parameters, today, "2026-12-31T12:00:00.000-08:00"))
    assert found is not None
    return found


def cells(row: dict[str, Any]) -> list[str]:
    return [cell["value"] for cell in row["ColData"]]


def plain_rows(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    """Every row with figures of its own, at any depth: plain rows, and the headers of sections."""
    for row in rows:
        if "ColData" in row:
            yield cells(row)
        if "Rows" in row:
            yield cells(row["Header"])
            yield from plain_rows(row["Rows"]["Row"])


def grand_total(found: dict[str, Any]) -> list[str]:
    (row,) = [row for row in found["Rows"]["Row"] if row.get("group") == "GrandTotal"]
    return cells(row["Summary"])


def number(text: str) -> Decimal:
    return Decimal(text or "0")


def in_trial_balance(book: Book, account: str, day: str) -> Decimal:
    """Debit less credit of one account by its name."""
    for name, debit, credit in plain_rows(report(book, "TrialBalance", end_date=day)["Rows"]["Row"]):
        if name == account:
            return number(debit) - number(credit)
    return ZERO


RECEIVABLE = "Accounts Receivable (A/R)"


@pytest.fixture(scope="module")
def firm() -> Company:
    made = Company("9130000000000001", "Bayside", SteppedClock(HISTORY_END))
    made.projects = write_history(made, 3, 0, "year")
    return made


def test_details_add_up_to_each_customers_balance(firm: Company) -> None:
    sections = {
        row["Header"]["ColData"][0]["id"]: row
        for row in report(firm.book, "CustomerBalanceDetail")["Rows"]["Row"]
        if "Header" in row
    }
    for customer in firm.book.records[Kind.CUSTOMER]:
        rows = sections[customer]["Rows"]["Row"] if customer in sections else []
        assert sum((number(cells(row)[5]) for row in rows), ZERO) == firm.book.balance(customer), customer
    assert len(sections) > 10


def test_customer_balances_nest_jobs_and_sum_to_the_total(firm: Company) -> None:
    found = report(firm.book, "CustomerBalance")
    assert found["Header"]["ReportName"] == "CustomerBalance" and found["Header"]["Currency"] == "USD"
    by_name = {row[0]: number(row[1]) for row in plain_rows(found["Rows"]["Row"])}
    for customer, record in firm.book.records[Kind.CUSTOMER].items():
        assert by_name.get(firm.book.customers.shown_name(record), ZERO) == firm.book.balance(customer)
    assert sum(by_name.values()) == number(grand_total(found)[1]) == firm.book.ledger.account_totals["84"]
    assert any("Rows" in row for row in found["Rows"]["Row"]), "some customer has jobs with a balance"


def test_ageing_as_of_today_is_the_receivables_account(firm: Company) -> None:
    today = "2026-10-31"
    found = report(firm.book, "AgedReceivables", today)
    titles = [column["ColTitle"] for column in found["Columns"]["Column"]]
    assert titles == ["", "Current", "1 - 30", "31 - 60", "61 - 90", "91 and over", "Total"]
    *buckets, total = [number(text) for text in grand_total(found)[1:]]
    detail = number(grand_total(report(firm.book, "AgedReceivableDetail", today))[-1])
    assert sum(buckets) == total == detail == in_trial_balance(firm.book, RECEIVABLE, today) > 0
    assert sum(1 for one in buckets if one) > 2


@pytest.mark.parametrize("day", ["2025-12-31", "2026-03-31", "2026-10-31"])
def test_debits_equal_credits_in_every_trial_balance(firm: Company, day: str) -> None:
    found = report(firm.book, "TrialBalance", end_date=day, start_date="2026-01-01")
    rows = list(plain_rows(found["Rows"]["Row"]))
    debits, credits_ = (sum((number(row[column]) for row in rows), ZERO) for column in (1, 2))
    assert debits == credits_ > 0
    assert [number(text) for text in grand_total(found)[1:]] == [debits, credits_]


def test_what_was_earned_before_the_start_is_retained(firm: Company) -> None:
    whole = dict_of(report(firm.book, "TrialBalance", start_date="2025-01-01", end_date="2026-10-31"))
    later = dict_of(report(firm.book, "TrialBalance", start_date="2026-06-01", end_date="2026-10-31"))
    assert later["Retained Earnings"] and "Retained Earnings" not in whole
    earned = ("Services", "Sales of Product Income", "Discounts given")
    assert later["Retained Earnings"] + sum(later.get(one, ZERO) for one in earned) == sum(
        whole.get(one, ZERO) for one in earned
    )


def dict_of(found: dict[str, Any]) -> dict[str, Decimal]:
    return {name: number(debit) - number(credit) for name, debit, credit in plain_rows(found["Rows"]["Row"])}


def test_report_as_of_an_earlier_day_says_what_it_said_on_that_day() -> None:
    made = Company("9130000000000001", "Bayside", SteppedClock(HISTORY_END))
    made.projects = write_history(made, 2, 0, "small")
    clock, life = made.clock, Life(made, 2)
    assert isinstance(clock, SteppedClock)
    day = HISTORY_END.date().isoformat()
    names = ("CustomerBalance", "AgedReceivables", "AgedReceivableDetail", "CustomerBalanceDetail", "TrialBalance")
    said = {name: report(made.book, name, day) for name in names}
    clock.move_to(clock.now() + timedelta(days=3))
    for _ in range(60):  # written later and dated later; nothing before is changed
        clock.move_to(clock.now() + timedelta(hours=1))
        life.change(["invoice_created", "payment_created", "credit_memo_created", "credit_linked"])
    later = (HISTORY_END + timedelta(days=30)).date().isoformat()
    assert report(made.book, "AgedReceivables", later) != said["AgedReceivables"]
    for name in names:
        again = report(made.book, name, later, report_date=day, end_date=day)
        assert again["Rows"] == said[name]["Rows"], name


def test_open_on_a_day_counts_both_ends_of_a_link_by_their_own_dates() -> None:
    desk = Office()
    invoice = desk.invoice("100", desk.other, TxnDate="2026-02-01", DueDate="2026-02-15")
    body = desk.payment_body("100", [(invoice, "100")], desk.other)
    desk.book.create(Kind.PAYMENT, body | {"TxnDate": "2026-01-20"}, desk.clock.tick())
    totals = {
        day: grand_total(report(desk.book, "AgedReceivables", report_date=day))[-1]
        for day in ("2026-01-10", "2026-01-31", "2026-02-01")
    }
    assert totals == {"2026-01-10": "", "2026-01-31": "-100.00", "2026-02-01": ""}


def test_age_is_counted_from_the_due_date_in_periods_of_the_asked_length() -> None:
    desk = Office()
    desk.invoice("100", desk.other, TxnDate="2026-01-01", DueDate="2026-01-31")
    found = report(desk.book, "AgedReceivables", report_date="2026-02-10", aging_period="10", num_periods="3")
    titles = [column["ColTitle"] for column in found["Columns"]["Column"]]
    assert titles[1:5] == ["Current", "1 - 10", "11 - 20", "21 and over"]
    assert grand_total(found)[1:] == ["", "100.00", "", "", "100.00"]
    today = report(
        desk.book, "AgedReceivables", "2026-03-31", report_date="2026-02-10", aging_method="Current", num_periods="3"
    )
    assert grand_total(today)[1:] == ["", "", "100.00", "", "100.00"]


def test_foreign_receivables_are_reported_at_home() -> None:
    desk = Office()
    desk.book.multicurrency = True
    berlin = desk.write(Kind.CUSTOMER, DisplayName="Berlin GmbH", CurrencyRef={"value": "EUR"}).id
    invoice = desk.invoice("1000", berlin, ExchangeRate=Decimal("1.10"))
    body = desk.payment_body("400", [(invoice, "400")], berlin) | {"ExchangeRate": Decimal("1.20")}
    desk.book.create(Kind.PAYMENT, body, desk.clock.tick())
    assert grand_total(report(desk.book, "CustomerBalance"))[1] == "660.00"
    assert in_trial_balance(desk.book, "Exchange Gain or Loss", "2026-12-31") == Decimal("-40.00")


def test_reports_can_be_asked_for_single_customers_and_refuse_dates_that_are_none(firm: Company) -> None:
    owing = next(one for one in firm.book.records[Kind.CUSTOMER] if firm.book.balance(one) > 0)
    found = report(firm.book, "CustomerBalance", customer=owing)
    assert number(grand_total(found)[1]) == firm.book.balance(owing)
    with pytest.raises(Refused, match="4001"):
        report(firm.book, "AgedReceivables", report_date="yesterday")
    assert reports.answer(firm.book, reports.Asked("BalanceOfPower", {}, "2026-01-01", "")) is None
