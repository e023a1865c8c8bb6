"""The oracle: what is so in one company, to the cent, for tests to compare with.

Reads: the book. Writes: nothing.
Guarantees: amounts are text with two digits; deleted and voided documents are listed as such.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from connectors.simulator.api.company import Company
from connectors.simulator.api.render import key_amounts
from connectors.simulator.books.records import ZERO, Kind, Record

LISTED = (Kind.INVOICE, Kind.CREDIT_MEMO, Kind.PAYMENT, Kind.REFUND_RECEIPT)


def truth(company: Company) -> dict[str, Any]:
    """Customers with their balances and every document with its key amounts."""
    book = company.book
    documents = {kind: list(book.records[kind].values()) for kind in LISTED}
    for record in book.gone.values():
        if record.kind in documents:
            documents[record.kind].append(record)
    return {
        "realm": company.realm,
        "home_currency": book.home_currency,
        "customers": _customers(company, documents),
        **{kind.value: {one.id: _document(company, one) for one in records} for kind, records in documents.items()},
        "accounts": {account: text(total) for account, total in sorted(book.ledger.account_totals.items())},
    }


def text(amount: Decimal) -> str:
    """An amount as text, with its two digits even where it is zero."""
    return format(amount + ZERO, "f")


def _customers(company: Company, documents: dict[Kind, list[Record]]) -> dict[str, dict[str, Any]]:
    book = company.book
    opened: dict[str, Decimal] = {}
    credit: dict[str, Decimal] = {}
    unapplied: dict[str, Decimal] = {}
    for sums, kind in ((opened, Kind.INVOICE), (credit, Kind.CREDIT_MEMO), (unapplied, Kind.PAYMENT)):
        for record in documents[kind]:
            owner = str(record.customer_id)
            amount = record.unapplied if kind is Kind.PAYMENT else book.open_amount(record)
            sums[owner] = sums.get(owner, ZERO) + amount
    return {
        record.id: {
            "name": book.customers.shown_name(record),
            "active": record.fields["Active"],
            "parent_id": (record.fields.get("ParentRef") or {}).get("value"),
            "currency": record.fields["CurrencyRef"]["value"],
            "balance": text(book.balance(record.id)),
            "balance_with_jobs": text(book.balance_with_jobs(record.id)),
            "open_invoices": text(opened.get(record.id, ZERO)),
            "remaining_credit": text(credit.get(record.id, ZERO)),
            "unapplied": text(unapplied.get(record.id, ZERO)),
        }
        for record in book.records[Kind.CUSTOMER].values()
    }


def _document(company: Company, record: Record) -> dict[str, Any]:
    found: dict[str, Any] = {
        "customer_id": record.customer_id,
        "currency": record.currency,
        "txn_date": record.fields.get("TxnDate"),
        "sync_token": str(record.sync_token),
        "updated_at": record.updated_at.isoformat(),
        "voided": record.voided and not record.deleted,
        "deleted": record.deleted,
        "intended_project": record.intended_project,
        **key_amounts(company.book, record),
    }
    if record.kind is Kind.PAYMENT:
        found["applications"] = [
            {"entity": line.item.kind.value, "id": line.item.id, "amount": text(line.amount)}
            for line in record.applications
        ]
    else:
        found["doc_number"] = record.fields.get("DocNumber")
        found["reference_number"] = record.custom.get("1")
    return found
