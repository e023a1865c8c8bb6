"""The posting table, worked by hand: what each kind of event adds to each figure, and the same in home currency.

An invoice of 120 EUR with 20 of tax and 30 taken on it counts 132 and 33 USD at 1.10; money counts at 1.20.
"""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from schemas import accounting as facts
from schemas.errors import UnprocessableError
from schemas.money import Money
from streams.posting import FIGURES, KINDS, Posting, postings
from streams.projections import balance_changes
from streams.read_tables import BalanceRow, Rows, apply, exact
from tests.builders import DAY, accounting_event, figures, money, share

LATER = date(2026, 4, 1)


def eur(amount: str) -> Money:
    return money(amount, "EUR")


def usd(amount: str) -> Money:
    return money(amount, "USD")


SALE: dict[str, Any] = {"tax": "20", "deposit": "30", "home_total": usd("132"), "home_deposit": usd("33")}
OLD = figures("120", "EUR", **SALE)
NEW = figures("200", "EUR", issued_on=LATER, home_total=usd("220"), home_deposit=usd("0"))
MEMO = figures("50", "EUR", home_total=usd("55"), home_deposit=usd("0"))
SHARE = share("80", "EUR", home_received=usd("96"))
SIDES: dict[str, Any] = {"applied_on": LATER, "home_source": usd("96"), "home_target": usd("88")}
TO_OTHER: dict[str, Any] = {"other_type": "Check", "other_id": "7", "applied_on": LATER, "home_source": usd("96")}
TRANSFER: dict[str, Any] = {"credit_memo_id": "5", "invoice_id": "11", "other_project_id": "P2"}
TRANSFER |= {"transferred": eur("80"), "transferred_on": LATER, "home_transferred": usd("88")}
EXCHANGE: dict[str, Any] = {"invoice_id": "11", "credit_memo_id": "", "settled": eur("80"), "gained_on": LATER}
INVOICED = {"invoiced_gross": 120, "invoiced_tax": 20, "cash_received": 30, "open_invoices": 90}
INVOICED_AT_HOME = {"invoiced_gross": 132, "cash_received": 33, "open_invoices": 99}
NEWLY = {"invoiced_gross": 200, "open_invoices": 200}
NEWLY_AT_HOME = {"invoiced_gross": 220, "open_invoices": 220}


def negative(amounts: dict[str, int]) -> dict[str, int]:
    return {name: -amount for name, amount in amounts.items()}


CASES: list[tuple[Any, list[tuple[date, dict[str, int], dict[str, int]]]]] = [
    (facts.InvoiceIssued(after=OLD), [(DAY, INVOICED, INVOICED_AT_HOME)]),
    (facts.InvoiceMovedIn(after=OLD, from_project_id=None), [(DAY, INVOICED, INVOICED_AT_HOME)]),
    (
        facts.InvoiceRevised(before=OLD, after=NEW),
        [(DAY, negative(INVOICED), negative(INVOICED_AT_HOME)), (LATER, NEWLY, NEWLY_AT_HOME)],
    ),
    (facts.InvoiceDeleted(before=OLD), [(DAY, negative(INVOICED), negative(INVOICED_AT_HOME))]),
    (
        facts.CreditMemoIssued(after=MEMO),
        [(DAY, {"credited": 50, "unused_credit": 50}, {"credited": 55, "unused_credit": 55})],
    ),
    (
        facts.CreditMemoVoided(before=MEMO),
        [(DAY, {"credited": -50, "unused_credit": -50}, {"credited": -55, "unused_credit": -55})],
    ),
    (facts.RefundGiven(after=MEMO), [(DAY, {"refunds": 50}, {"refunds": 55})]),
    (facts.RefundMovedOut(before=MEMO, to_project_id=None), [(DAY, {"refunds": -50}, {"refunds": -55})]),
    (
        facts.PaymentReceived(after=SHARE),
        [(DAY, {"cash_received": 80, "unapplied": 80}, {"cash_received": 96, "unapplied": 96})],
    ),
    (
        facts.PaymentRevised(before=SHARE, after=share("10", "EUR", received_on=LATER)),
        [
            (DAY, {"cash_received": -80, "unapplied": -80}, {"cash_received": -96, "unapplied": -96}),
            (LATER, {"cash_received": 10, "unapplied": 10}, {}),
        ],
    ),
    (
        facts.PaymentMovedOut(before=SHARE, to_project_id=None),
        [(DAY, {"cash_received": -80, "unapplied": -80}, {"cash_received": -96, "unapplied": -96})],
    ),
    (
        facts.PaymentApplied(invoice_id="11", applied=eur("80"), **SIDES),
        [(LATER, {"open_invoices": -80, "unapplied": -80}, {"open_invoices": -88, "unapplied": -96})],
    ),
    (
        facts.PaymentUnapplied(invoice_id="11", applied=eur("80"), **SIDES),
        [(LATER, {"open_invoices": 80, "unapplied": 80}, {"open_invoices": 88, "unapplied": 96})],
    ),
    (
        facts.PaymentAppliedToOther(applied=eur("80"), **TO_OTHER),
        [(LATER, {"unapplied": -80, "applied_to_other": 80}, {"unapplied": -96})],
    ),
    (
        facts.PaymentUnappliedFromOther(applied=eur("80"), **TO_OTHER),
        [(LATER, {"unapplied": 80, "applied_to_other": -80}, {"unapplied": 96})],
    ),
    (
        facts.CreditApplied(credit_memo_id="5", invoice_id="11", applied=eur("80"), **SIDES),
        [(LATER, {"open_invoices": -80, "unused_credit": -80}, {"open_invoices": -88, "unused_credit": -96})],
    ),
    (
        facts.CreditUnapplied(credit_memo_id="5", invoice_id="11", applied=eur("80"), **SIDES),
        [(LATER, {"open_invoices": 80, "unused_credit": 80}, {"open_invoices": 88, "unused_credit": 96})],
    ),
    (
        facts.CreditAppliedToOther(credit_memo_id="5", applied=eur("80"), **SIDES),
        [
            (
                LATER,
                {"unused_credit": -80, "unapplied": 80, "credit_to_other": 80},
                {"unused_credit": -96, "unapplied": 88},
            )
        ],
    ),
    (
        facts.CreditUnappliedFromOther(credit_memo_id="5", applied=eur("80"), **SIDES),
        [
            (
                LATER,
                {"unused_credit": 80, "unapplied": -80, "credit_to_other": -80},
                {"unused_credit": 96, "unapplied": -88},
            )
        ],
    ),
    (
        facts.CreditTransferredIn(**TRANSFER),
        [(LATER, {"unused_credit": 80, "credit_in": 80}, {"unused_credit": 88})],
    ),
    (
        facts.CreditTransferInReversed(**TRANSFER),
        [(LATER, {"unused_credit": -80, "credit_in": -80}, {"unused_credit": -88})],
    ),
    (
        facts.CreditTransferredOut(**TRANSFER),
        [(LATER, {"unused_credit": -80, "credit_out": 80}, {"unused_credit": -88})],
    ),
    (
        facts.CreditTransferOutReversed(**TRANSFER),
        [(LATER, {"unused_credit": 80, "credit_out": -80}, {"unused_credit": 88})],
    ),
    (facts.ExchangeDifference(gained=usd("8"), **EXCHANGE), [(LATER, {}, {"exchange_difference": 8})]),
    (facts.ExchangeDifferenceReversed(gained=usd("8"), **EXCHANGE), [(LATER, {}, {"exchange_difference": -8})]),
]


def said(posting: Any) -> dict[str, Decimal]:
    """The figures of a posting, or of its home side, that are not nothing."""
    amounts = {} if posting is None else posting._asdict()
    return {name: amount for name, amount in amounts.items() if isinstance(amount, Decimal) and amount}


@pytest.mark.parametrize(("body", "expected"), CASES, ids=lambda value: type(value).__name__)
def test_event_posts_what_the_table_says(
    body: Any, expected: list[tuple[date, dict[str, int], dict[str, int]]]
) -> None:
    found = postings(body)
    assert [(posting.on, said(posting), said(posting.home)) for posting in found] == expected
    assert {posting.currency for posting in found} == {"EUR"}
    assert {posting.home.currency for posting in found if posting.home is not None} == {"USD"}


def test_an_event_that_says_nothing_at_home_posts_nothing_there() -> None:
    bodies = (
        facts.InvoiceIssued(after=figures("120")),
        facts.PaymentReceived(after=share("80")),
        facts.PaymentApplied(invoice_id="11", applied=usd("80"), applied_on=DAY),
        facts.CreditTransferredIn(**(TRANSFER | {"home_transferred": None})),
    )
    assert [posting.home for body in bodies for posting in postings(body)] == [None] * 4


def test_every_document_of_the_catalogue_has_one_kind() -> None:
    documents = {each for each in facts.EVENTS if issubclass(each, facts.DocumentEvent)}
    assert set(KINDS) == documents
    assert all(event.__name__.startswith(str(kind).removesuffix("Receipt")) for event, kind in KINDS.items())


def test_every_figure_of_a_posting_is_summed_in_the_balance() -> None:
    """And the balance has each of them under the same name."""
    amounts = [name for name in Posting._fields if name not in ("currency", "on", "home")]
    assert list(FIGURES) == amounts
    assert set(FIGURES) < set(BalanceRow._fields)
    events = [accounting_event(body, "Invoice", "11", version=n) for n, (body, _) in enumerate(CASES, start=1)]
    rows: Rows = {}
    with exact():
        for event in events:
            apply(rows, balance_changes(event))
    (row,) = rows.values()
    for figure in FIGURES:
        assert getattr(row, figure) == sum(getattr(p, figure) for body, _ in CASES for p in postings(body)), figure


@pytest.mark.parametrize("currency", ["AUD", "ZAR"])
def test_a_deposit_in_another_currency_than_its_invoice_is_refused(currency: str) -> None:
    body = facts.InvoiceIssued(after=replace(figures(), deposit=money("1", currency)))
    with pytest.raises(UnprocessableError, match=f"amounts in USD and in {currency}"):
        postings(body)


def test_a_transfer_that_is_not_in_the_catalogue_is_an_error() -> None:
    with pytest.raises(TypeError, match="CreditTransfer is no transfer of the catalogue"):
        postings(facts.CreditTransfer(**TRANSFER))
