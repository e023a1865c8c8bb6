"""Which events are due, and that an event changes all of its rows or none."""

from dataclasses import replace
from typing import Any

import pytest

from schemas import accounting
from schemas.errors import UnprocessableError
from streams.posting import postings
from streams.projections import balance_changes, document_changes
from streams.read_tables import PROJECT_BALANCE, BalanceRow, Change, Rows, apply, due, exact
from tests.builders import DAY, accounting_event, figures, filled, invoice_issued, money, numbered


def test_repeated_and_old_versions_are_not_due() -> None:
    first, second, third = numbered([invoice_issued()] * 3)
    assert due([first, second, first, second, third], 1) == ([second, third], None)


def test_what_stands_behind_a_gap_is_not_due() -> None:
    first, _, third = numbered([invoice_issued()] * 3)
    assert due([first, third], 0) == ([first], third)


def test_event_that_fails_in_its_second_row_changes_no_row() -> None:
    def refuse(_row: object) -> BalanceRow:
        raise UnprocessableError("no")

    row = BalanceRow(1, "bridge", "USD", "9130", DAY, 1)
    rows: Rows = {}
    with pytest.raises(UnprocessableError):
        apply(rows, (Change(PROJECT_BALANCE, ("a",), lambda _row: row), Change(PROJECT_BALANCE, ("b",), refuse)))
    assert rows == {}


def test_every_event_of_the_catalogue_has_its_place_in_the_posting_table() -> None:
    known: dict[str, Any] = {"before": figures(), "after": figures(), "from_project_id": None, "to_project_id": None}
    documents = [each for each in accounting.EVENTS if issubclass(each, accounting.DocumentEvent)]
    assert len(documents) == 21
    for shape in documents:
        assert postings(filled(shape, known))


def test_mapping_a_customer_moves_no_money() -> None:
    mapped = accounting.CustomerMapped(customer_id="5", reference_number="", from_on=None, mapping_version=1)
    assert postings(mapped) == ()
    assert document_changes(accounting_event(mapped, "Customer", "5")) == ()


def test_document_with_amounts_in_two_currencies_is_refused() -> None:
    two = accounting.InvoiceIssued(after=replace(figures(), tax=money("1", "EUR")))
    with pytest.raises(UnprocessableError, match="one document holds amounts in USD and in EUR"):
        postings(two)


def test_sum_with_more_digits_than_are_kept_raises_instead_of_rounding() -> None:
    huge, tiny = money("1" + "0" * 31).amount, money("0.000001").amount
    with exact():
        assert (huge + tiny) - huge == tiny


def test_another_home_currency_than_before_is_refused_since_its_figures_would_mix() -> None:
    rows: Rows = {}
    first, second = numbered(
        [invoice_issued(home_total=money("110", currency), home_deposit=None) for currency in ("EUR", "GBP")]
    )
    with exact():
        apply(rows, balance_changes(first))
        with pytest.raises(UnprocessableError, match="the home currency was EUR and is GBP now"):
            apply(rows, balance_changes(second))
