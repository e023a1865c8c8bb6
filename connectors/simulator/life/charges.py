"""What stands behind invoices, and what else touches receivables: charges, estimates, hours, expenses, card credits.

Reads: the firm. Writes: the papers that IntoAEC does not keep, and the invoices that are made from them.
Guarantees: an invoice made from something is written by a bookkeeper like any other, for a job fixed before.
"""

from __future__ import annotations

from typing import Any

from connectors.simulator.books.catalogue import CREDIT_CARD, RECEIVABLE
from connectors.simulator.books.notes import Note, Why
from connectors.simulator.books.records import Kind, Record
from connectors.simulator.life.bookkeepers import write_up
from connectors.simulator.life.firm import Firm
from connectors.simulator.life.happenings import Impossible
from connectors.simulator.life.sales import lines, new_invoice

EXPENSE_LINE = "AccountBasedExpenseLineDetail"


def statement_charge(firm: Firm) -> None:
    """Something is charged in the receivables register, without an invoice."""
    body = {"CustomerRef": {"value": firm.site().customer}, "Amount": firm.amount(10, 900)}
    firm.create(Kind.STATEMENT_CHARGE, body)


def estimate(firm: Firm) -> None:
    """A job is priced; nothing is booked."""
    body = {"CustomerRef": {"value": firm.site().customer}, "Line": lines(firm)}
    firm.create(Kind.ESTIMATE, body)


def hours_worked(firm: Firm) -> None:
    """Billable hours on a job."""
    body = {"CustomerRef": {"value": firm.site().customer}, "Hours": firm.dice.randint(1, 9), "HourlyRate": 65}
    firm.create(Kind.TIME_ACTIVITY, body | {"NameOf": "Employee", "BillableStatus": "Billable"})


def made_into_invoice(firm: Firm) -> None:
    """An estimate, hours or a statement charge become an invoice; its lines need not add up to its total."""
    kind = firm.dice.choice((Kind.ESTIMATE, Kind.TIME_ACTIVITY, Kind.STATEMENT_CHARGE, Kind.STATEMENT_CHARGE))
    source = firm.paper(kind, lambda one: not one.voided and not one.fields.get("InvoiceId"))
    site = firm.site_of_customer(str(source.customer_id))
    written = write_up(firm, site)
    if written.customer != source.customer_id:
        raise Impossible
    new_invoice(firm, written, lines(firm), LinkedTxn=[_link(source)])


def card_credit(firm: Firm) -> None:
    """A credit on the firm's card is booked to what a customer owes."""
    customer = firm.home_customer()
    detail = {"AccountRef": {"value": RECEIVABLE}, "CustomerRef": {"value": customer}}
    line = {"Amount": firm.amount(10, 300), "DetailType": EXPENSE_LINE, EXPENSE_LINE: detail}
    body = {"PaymentType": "CreditCard", "Credit": True, "AccountRef": {"value": CREDIT_CARD}, "Line": [line]}
    firm.create(Kind.PURCHASE, body | {"EntityRef": {"value": customer}})


def opening_balance(firm: Firm) -> None:
    """A client is entered with what it owed before; QuickBooks itself makes an invoice or a journal of it."""
    name = f"Before {firm.book.next_ids['customer']}"
    body: dict[str, Any] = {"DisplayName": name, "Balance": firm.amount(100, 5000), "OpenBalanceDate": firm.day(-30)}
    firm.create(Kind.CUSTOMER, body, Note(None, None, Why.NOT_MAPPED))


def _link(source: Record) -> dict[str, str]:
    return {"TxnId": source.id, "TxnType": source.kind.value}
