"""The oracle: what is so in one company, to the cent, for tests to compare with.

Reads: the book, and the notes of those who wrote it. Writes: nothing.
Guarantees: amounts are text with two digits; deleted and voided documents are listed as such; the project of a document
is the one that its writer noted when it was written.
"""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal
from typing import Any

from connectors.simulator.api.company import Company
from connectors.simulator.api.render import key_amounts
from connectors.simulator.books.notes import NOTHING, Note, Why
from connectors.simulator.books.records import ZERO, ItemKey, Kind, Record
from connectors.simulator.life.positions import Positions, Waiting

NOT_NOTED = NOTHING._replace(why=Why.UNKNOWN)
LISTED = (Kind.INVOICE, Kind.CREDIT_MEMO, Kind.PAYMENT, Kind.REFUND_RECEIPT)


def truth(company: Company) -> dict[str, Any]:
    """Customers with their balances and every document with its key amounts."""
    book = company.book
    positions = Positions(book)
    documents = {kind: list(book.records[kind].values()) for kind in LISTED}
    for record in book.gone.values():
        if record.kind in documents:
            documents[record.kind].append(record)
    return {
        "realm": company.realm,
        "home_currency": book.home_currency,
        "mapping": mapping(company),
        "customers": _customers(company, documents, positions),
        "projects": _projects(positions),
        "waiting": [_waiting(one) for one in positions.waiting],
        "exchange_gain_over_several_projects": text(positions.exchange_open),
        **{kind.value: {one.id: _document(company, one) for one in records} for kind, records in documents.items()},
        "accounts": {account: text(total) for account, total in sorted(book.ledger.account_totals.items()) if total},
    }


def text(amount: Decimal) -> str:
    """An amount as text, with its two digits even where it is zero."""
    return format(amount + ZERO, "f")


def mapping(company: Company) -> dict[str, Any]:
    """What people would have to say in IntoAEC for the documents to lead where the truth says they lead."""
    customers: dict[str, dict[str, Any]] = {}
    linked: dict[str, str] = {}
    for record in company.book.records[Kind.CUSTOMER].values():
        note = record.note or NOT_NOTED
        if note.why is Why.CUSTOMER:
            customers[record.id] = {"project_id": note.determined, "reference_number": note.alias}
        elif note.why is Why.REFERENCE_ONLY:
            customers[record.id] = {"reference_only": True}
        if note.quickbooks_project is not None and note.linked is not None:
            linked[note.quickbooks_project] = note.linked
    field = {"definition_id": "1", "name": company.book.field_names.get("1")}
    return {"customers": customers, "quickbooks_projects": linked, "reference_field": field}


def _projects(positions: Positions) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for (project, currency), position in sorted(positions.projects.items()):
        figures: dict[str, Any] = {column: text(amount) for column, amount in position.sums.items()}
        sums = position.sums
        figures["net_receivable"] = text(sums["open_invoices"] - sums["unused_credit"] - sums["unapplied"])
        figures["open_to_rule"] = {
            column: {"least": text(sums[column] + less), "most": text(sums[column] + more)}
            for column, (less, more) in sorted(position.spread.items())
        }
        found.setdefault(project, {})[currency] = figures
    return found


def _waiting(one: Waiting) -> dict[str, str]:
    return one._asdict() | {"amount": text(one.amount), "net": text(one.net), "why": str(one.why)}


def _customers(
    company: Company, documents: dict[Kind, list[Record]], positions: Positions
) -> dict[str, dict[str, Any]]:
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
            **{key: text(amount) for key, amount in asdict(positions.customers[record.id]).items()},
        }
        for record in book.records[Kind.CUSTOMER].values()
    }


def _noted(note: Note) -> dict[str, Any]:
    return {
        **{"intended_project": note.intended, "determined_project": note.determined, "why": str(note.why)},
        **{"bookkeeper": note.writer or None, "is_direct": note.is_direct},
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
        **_noted(record.note or NOT_NOTED),
        **key_amounts(company.book, record),
    }
    if record.kind is Kind.PAYMENT:
        found["applications"] = [
            {
                **{"entity": line.item.kind.value, "id": line.item.id, "amount": text(line.amount)},
                **{"type": line.txn_type, "side": _side(company, line.item)},
            }
            for line in record.applications
        ]
    else:
        found["doc_number"] = record.fields.get("DocNumber")
        found["reference_number"] = record.custom.get("1")
    return found


def _side(company: Company, key: ItemKey) -> str:
    """On which side of the payment a line stands; of a deleted payment's it is no longer known."""
    item = company.book.items.get(key)
    return "" if item is None else "source" if item.is_credit else "use"
