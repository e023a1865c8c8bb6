"""What a record would become if a write were carried out: complete, figured and allowed, before anything is changed.

Reads: bodies as a client sends them, and the book. Writes: nothing in the book.
Guarantees: what a draft holds can be posted; what cannot be is refused with Intuit's own fault.
Source: intuit.md 3.8, 3.9, 4, 5, 9.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from connectors.simulator.books import forms, sources
from connectors.simulator.books.catalogue import CURRENCIES, DIGITS
from connectors.simulator.books.records import (
    CENT,
    SALES_FORMS,
    SOURCES,
    Kind,
    Posting,
    Record,
    Refused,
    against_rules,
    bad_reference,
    missing,
    money,
    not_found,
    plain,
)

if TYPE_CHECKING:
    from connectors.simulator.books.book import Book

DOC_NUMBERED = SALES_FORMS | {Kind.JOURNAL_ENTRY}
_NEEDS_CUSTOMER = {Kind.INVOICE, Kind.CREDIT_MEMO, Kind.PAYMENT, Kind.STATEMENT_CHARGE, Kind.REIMBURSE_CHARGE}
_IN_PROJECTS = SALES_FORMS | {Kind.PAYMENT}


class Drafts:
    """Makes drafts of one book's records."""

    def __init__(self, book: Book) -> None:
        self.book = book

    def draft(
        self, record: Record, fields: dict[str, Any], body: dict[str, Any], *, for_project: bool = True
    ) -> Record:
        """What the record would become, fully checked; with `for_project` a project decides its customer.

        Raises Refused.
        """
        draft = Record(record.kind, record.id, fields, record.created_at, record.updated_at)
        draft.custom = self.custom_fields(record, body)
        if record.kind is Kind.CUSTOMER:
            return draft
        self._check_customer(fields, record)
        if for_project:
            self._check_project(draft, record)
        _check_date(fields)
        self._check_doc_number(draft, record)
        fields["CurrencyRef"] = self._document_currency(draft)
        if self.book.multicurrency and fields["CurrencyRef"]["value"] != self.book.home_currency:
            fields["ExchangeRate"] = plain(fields.get("ExchangeRate", 1))
        else:
            fields.pop("ExchangeRate", None)
        self.book.sources.read(record, fields, body)
        self._figure(draft, record)
        draft.voided = record.voided and _is_empty(draft)
        return draft

    def _figure(self, draft: Record, record: Record) -> None:
        fields, unit = draft.fields, self._unit(draft)
        if draft.kind in SALES_FORMS:
            figures = forms.sales_figures(fields, unit)
            fields["Line"], fields["TxnTaxDetail"], draft.total = figures.lines, figures.tax_detail, figures.total
            if "Deposit" in fields:
                fields["Deposit"] = self._checked_deposit(money(fields["Deposit"], unit), draft.total)
        elif draft.kind is Kind.PAYMENT:
            draft.total = money(fields.get("TotalAmt", 0), unit)
            draft.applications = self.book.settlement.read_lines(record, fields, unit)
            draft.unapplied = self.book.ledger.unapplied(draft.total, draft.applications)
            self.book.settlement.check_equation(draft)
        elif draft.kind is Kind.JOURNAL_ENTRY:
            draft.total = forms.journal_total(fields, unit)
        elif draft.kind in SOURCES:
            hours = draft.kind is Kind.TIME_ACTIVITY
            draft.total = sources.hours_total(fields) if hours else sources.charge_total(fields, unit)
        else:
            draft.total = forms.cash_total(fields, unit)
            self._check_deposited(draft)
        if draft.kind is not Kind.PAYMENT:
            entries = forms.postings(draft)  # refuses what cannot be posted, before anything is changed
            self._check_currencies(draft, entries)

    def _check_deposited(self, draft: Record) -> None:
        for payment_id in deposited(draft):
            if self.book.get(Kind.PAYMENT, payment_id).deposit_id not in (None, draft.id):
                raise against_rules("Business Validation Error: the payment has been deposited already.")

    def _check_currencies(self, draft: Record, entries: tuple[Posting, ...]) -> None:
        """Nobody's balance holds two currencies."""
        for entry in entries:
            if entry.customer is None:
                continue
            customer = self.book.records[Kind.CUSTOMER].get(entry.customer)
            if customer is None:
                raise bad_reference(f"Names element id {entry.customer} not found", "Entity")
            if customer.currency != draft.currency:
                raise against_rules(
                    "Business Validation Error: a line to Accounts Receivable must be in the customer's currency."
                )

    def _unit(self, draft: Record) -> Decimal:
        """The smallest coin of the draft's currency."""
        digits = DIGITS.get(draft.currency, 2) if self.book.switches.currency_digits else 2
        return Decimal(1).scaleb(-digits) if digits != 2 else CENT

    def _checked_deposit(self, deposit: Decimal, total: Decimal) -> Decimal:
        if deposit < 0 or deposit > total:
            raise against_rules("Business Validation Error: the deposit cannot be more than the total.")
        return deposit

    def custom_fields(self, record: Record, body: dict[str, Any]) -> dict[str, str]:
        """Values by definition after a write. Raises Refused.

        A full update without custom fields clears the classic ones; the enhanced ones it cannot see stay.
        """
        sparse = body.get("sparse") or body.get("Id") is None
        kept = {key: value for key, value in record.custom.items() if sparse or key not in self.book.fields.classic}
        return self.book.fields.read(record.kind, body.get("CustomField"), kept)

    def _check_customer(self, fields: dict[str, Any], record: Record) -> None:
        reference = fields.get("CustomerRef")
        if not reference:
            if record.kind in _NEEDS_CUSTOMER:
                raise missing("CustomerRef")
            return
        found = self.book.records[Kind.CUSTOMER].get(str(reference.get("value")))
        if found is None:
            raise bad_reference(f"Names element id {reference.get('value')} not found", "CustomerRef")
        if not found.fields["Active"] and record.customer_id != found.id:
            raise not_found(found.fields["DisplayName"])
        fields["CustomerRef"] = {"value": found.id}

    def _check_project(self, draft: Record, record: Record) -> None:
        """ProjectRef has ids of its own; whether CustomerRef then names the project-customer is a switch."""
        fields, projects = draft.fields, self.book.customers.projects
        if draft.kind not in _IN_PROJECTS or not projects:
            return
        reference = fields.get("ProjectRef")
        if not reference:
            project_id = self.book.customers.project_of(draft.customer_id)
            if project_id is None:
                return
            reference = {"value": project_id}
        customer_id = projects.get(str(reference.get("value")))
        if customer_id is None:
            raise bad_reference(f"Project element id {reference.get('value')} not found", "ProjectRef")
        project = self.book.customer(customer_id)
        parent = project.fields["ParentRef"]["value"]
        if draft.customer_id not in (None, parent, customer_id) and draft.kind is not Kind.PAYMENT:
            raise against_rules("Business Validation Error: the project belongs to another customer.")
        fields["ProjectRef"] = {"value": str(reference["value"])}  # no name: it would outlive a renaming
        if draft.customer_id in (parent, customer_id) and draft.kind is not Kind.PAYMENT:
            named = customer_id if self.book.switches.project_customer_in_ref else parent
            fields["CustomerRef"] = {"value": named}
            self._check_customer(fields, record)

    def _document_currency(self, draft: Record) -> dict[str, Any]:
        if draft.customer_id:
            currency: dict[str, Any] = self.book.customer(draft.customer_id).fields["CurrencyRef"]
            return currency  # nobody writes into it: a customer's currency is fixed for life
        if draft.fields.get("CurrencyRef") is None and (named := self._receivable_of(draft)):
            return dict(named.fields["CurrencyRef"])
        return self.currency(draft.fields.get("CurrencyRef"))

    def _receivable_of(self, draft: Record) -> Record | None:
        """The first customer whose balance a journal, deposit or purchase moves; its currency is the document's."""
        for reference in forms.receivable_references(draft.fields):
            if found := self.book.records[Kind.CUSTOMER].get(str(reference.get("value"))):
                return found
        return None

    def currency(self, given: dict[str, Any] | None) -> dict[str, Any]:
        """The currency of a customer or document that names one itself. Raises Refused."""
        code = str((given or {}).get("value", self.book.home_currency))
        if code != self.book.home_currency and not self.book.multicurrency:
            raise against_rules(
                "Business Validation Error: Multi currency should be enabled to perform this operation."
            )
        return {"value": code, "name": CURRENCIES.get(code, code)}

    def _check_doc_number(self, draft: Record, record: Record) -> None:
        number = draft.fields.get("DocNumber")
        if not number or number == record.fields.get("DocNumber") or draft.kind not in DOC_NUMBERED:
            return
        if len(str(number)) > 21:
            raise Refused(
                "2050",
                "String length is either shorter or longer than supported by specification",
                "Max allowed length is 21.",
                "DocNumber",
            )
        if self.book.is_number_taken(draft.kind, str(number)):
            raise Refused(
                "6140",
                "Duplicate Document Number Error",
                "Duplicate Document Number Error : You must specify a different number. "
                f"This number has already been used. DocNumber={number}",
            )


def _check_date(fields: dict[str, Any]) -> None:
    for key in ("TxnDate", "DueDate"):
        try:
            fields_date = date.fromisoformat(str(fields.get(key, "2000-01-01")))
        except ValueError as error:
            detail = f"Property Name:{key} specified is unsupported or invalid: {fields[key]}"
            raise Refused("2010", "Request has invalid or unsupported property", detail, key) from error
        if key in fields:
            fields[key] = fields_date.isoformat()


def _is_empty(draft: Record) -> bool:
    """Whether a voided document has not been filled in again."""
    lines = draft.fields.get("Line") or []
    return not draft.total and not draft.applications and not any(line.get("Amount") for line in lines)


def deposited(deposit: Record) -> list[str]:
    """Ids of the payments that a deposit takes to the bank."""
    links = [link for line in deposit.fields["Line"] for link in line.get("LinkedTxn") or []]
    return [str(link["TxnId"]) for link in links if link.get("TxnType") == "Payment"]
