"""The auditor of the simulated books: silent over true books, loud over each way in which they can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from connectors.simulator.api.company import Company
from connectors.simulator.books.audit import VIOLATIONS_MAX, violations
from connectors.simulator.books.book import Book
from connectors.simulator.books.records import ItemKey, Kind, Record
from connectors.simulator.clock import SteppedClock
from connectors.simulator.life.history import HISTORY_END, write_history

CENT = Decimal("0.01")


def small_book(size: str = "small") -> Book:
    made = Company("9130000000000001", "Bayside", SteppedClock(HISTORY_END))
    write_history(made, 1, 0, size)
    return made.book


def some(book: Book, kind: Kind, fits: Callable[[Record], bool]) -> Record:
    return next(record for record in book.records[kind].values() if fits(record))


def paying(book: Book) -> Record:
    return some(book, Kind.PAYMENT, lambda one: bool(one.applications))


def owing(book: Book) -> Record:
    return some(book, Kind.INVOICE, lambda one: book.open_amount(one) > 0)


def _raise_an_account(book: Book) -> None:
    book.ledger.account_totals["52"] += CENT


def _raise_a_balance(book: Book) -> None:
    book.ledger.receivable[str(owing(book).customer_id)] += CENT


def _post_one_side_only(book: Book) -> None:
    invoice = owing(book)
    invoice.postings = invoice.postings[:1]


def _raise_a_total(book: Book) -> None:
    owing(book).total += CENT


def _forget_an_item(book: Book) -> None:
    del book.items[ItemKey(Kind.INVOICE, owing(book).id)]


def _settle_too_much(book: Book) -> None:
    item = book.items[ItemKey(Kind.INVOICE, owing(book).id)]
    item.applied = item.original + CENT


def _break_a_link(book: Book) -> None:
    payment = paying(book)
    del book.items[payment.applications[0].item].links[payment.id]


def _raise_a_line(book: Book) -> None:
    payment = paying(book)
    payment.applications = [replace(line, amount=line.amount + CENT) for line in payment.applications]


def _raise_the_unapplied(book: Book) -> None:
    paying(book).unapplied += CENT


def _call_a_document_void(book: Book) -> None:
    owing(book).voided = True


def _close_an_open_item(book: Book) -> None:
    invoice = owing(book)
    del book.open_items[str(invoice.customer_id)][ItemKey(Kind.INVOICE, invoice.id)]


def _lose_a_document(book: Book) -> None:
    invoice = owing(book)
    del book.documents_of[str(invoice.customer_id)][invoice]


def _claim_a_deposit(book: Book) -> None:
    paying(book).deposit_id = "99"


def test_books_of_a_plausible_past_are_right() -> None:
    assert violations(small_book()) == []


@pytest.mark.parametrize(
    "harm",
    [
        _raise_an_account,
        _raise_a_balance,
        _post_one_side_only,
        _raise_a_total,
        _forget_an_item,
        _settle_too_much,
        _break_a_link,
        _raise_a_line,
        _raise_the_unapplied,
        _call_a_document_void,
        _close_an_open_item,
        _lose_a_document,
        _claim_a_deposit,
    ],
)
def test_a_single_wrong_figure_is_found(harm: Callable[[Book], None]) -> None:
    book = small_book()
    harm(book)
    assert violations(book)


def test_a_broken_book_is_not_described_without_end() -> None:
    book = small_book("year")
    for records in book.records.values():
        for record in records.values():
            record.total += CENT
            record.unapplied += CENT
    book.items.clear()
    assert len(violations(book)) == VIOLATIONS_MAX
