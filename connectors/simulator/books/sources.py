"""What an invoice can be made from: estimates, hours, statement charges and billable expenses.

Reads: `LinkedTxn` of an invoice as sent. Writes: the sources' `InvoiceId`, and the invoice's `SourceTxn`.
Guarantees: a source is billed by one invoice at a time and comes back when that invoice is voided, deleted or changed;
a billed statement charge leaves the receivables, because the invoice's total holds it.
Source: intuit.md 9 (an invoice with a statement charge does not add up to its lines).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from connectors.simulator.books.effects import Effects, Mark
from connectors.simulator.books.records import (
    SOURCES,
    ZERO,
    Kind,
    Record,
    against_rules,
    bad_reference,
    missing,
    money,
    not_found,
)
from connectors.simulator.books.settlement import Settlement

_WORDS = {kind.value: kind for kind in SOURCES}


class Sources:
    """Ties invoices to what they were made from."""

    def __init__(self, records: dict[Kind, dict[str, Record]], settlement: Settlement) -> None:
        self.records = records
        self.settlement = settlement
        self._billed: dict[str, dict[Record, None]] = {}  # Invoice.Id -> what it bills

    def remember(self, record: Record) -> None:
        """Take a source that some invoice bills into the index."""
        if record.kind in SOURCES and (invoice_id := record.fields.get("InvoiceId")):
            self._billed.setdefault(invoice_id, {})[record] = None

    def read(self, invoice: Record, fields: dict[str, Any], body: dict[str, Any]) -> None:
        """Put `SourceTxn` and `Charged` into an invoice's fields. Raises Refused where a source cannot be billed."""
        if invoice.kind is not Kind.INVOICE:
            return
        if body.get("LinkedTxn") is not None or any(line.get("LinkedTxn") for line in body.get("Line") or []):
            fields["SourceTxn"] = _named(body)
        else:
            fields["SourceTxn"] = list(invoice.fields.get("SourceTxn", []))
        moved = invoice.fields and fields["CustomerRef"]["value"] != invoice.customer_id
        kept = [] if moved else fields["SourceTxn"]
        charged = ZERO
        for link in kept:
            source = self._find(link)
            self._check(source, invoice, str(fields["CustomerRef"]["value"]))
            charged += source.total if source.kind is Kind.STATEMENT_CHARGE else ZERO
        fields["SourceTxn"], fields["Charged"] = kept, charged
        for key in ("SourceTxn", "Charged"):
            if not fields[key]:
                del fields[key]

    def _find(self, link: dict[str, str]) -> Record:
        source = self.records[_WORDS[link["TxnType"]]].get(link["TxnId"])
        if source is None:
            raise not_found(f"{link['TxnType']} {link['TxnId']}")
        return source

    def _check(self, source: Record, invoice: Record, customer: str) -> None:
        if source.customer_id != customer:
            raise bad_reference(f"{source.kind} {source.id} belongs to another customer", "LinkedTxn")
        if source.fields.get("InvoiceId") not in (None, invoice.id):
            raise against_rules(f"Business Validation Error: {source.kind} {source.id} has been billed already.")

    def bind(self, invoice: Record, effects: Effects) -> None:
        """Let what an invoice names be billed by it, and nothing else."""
        if invoice.kind is not Kind.INVOICE:
            return
        named = {(link["TxnType"], link["TxnId"]) for link in invoice.fields.get("SourceTxn", [])}
        for source in self.of(invoice.id):
            if (source.kind.value, source.id) not in named:
                self._free(source, effects)
        for word, source_id in sorted(named):
            source = self.records[_WORDS[word]][source_id]
            if source.fields.get("InvoiceId") != invoice.id:
                self.settlement.unlink(source, effects)
                source.fields["InvoiceId"] = invoice.id
                self.remember(source)
                self.settlement.post(source, effects)
                effects.mark(source, Mark.LINKED)

    def release(self, invoice: Record, effects: Effects) -> None:
        """Give everything back that an invoice billed."""
        if invoice.fields.pop("SourceTxn", None):
            for source in self.of(invoice.id):
                self._free(source, effects)
        invoice.fields.pop("Charged", None)

    def _free(self, source: Record, effects: Effects) -> None:
        self._billed[source.fields.pop("InvoiceId")].pop(source)
        self.settlement.post(source, effects)
        effects.mark(source, Mark.LINKED)

    def of(self, invoice_id: str) -> list[Record]:
        """What an invoice bills, in the order in which it was named."""
        return list(self._billed.get(invoice_id, ()))


def _named(body: dict[str, Any]) -> list[dict[str, str]]:
    links = [*(body.get("LinkedTxn") or [])]
    for line in body.get("Line") or []:
        links.extend(line.get("LinkedTxn") or [])
    found: dict[tuple[str, str], None] = {}
    for link in links:
        if str(link.get("TxnType")) in _WORDS:
            found[str(link["TxnType"]), str(link.get("TxnId"))] = None
    return [{"TxnId": source_id, "TxnType": word} for word, source_id in found]


def charge_total(fields: dict[str, Any], unit: Decimal) -> Decimal:
    """The amount of a statement charge or a billable expense. Raises Refused."""
    if fields.get("Amount") is None:
        raise missing("Amount")
    fields["Amount"] = money(fields["Amount"], unit)
    if fields["Amount"] < 0:
        raise against_rules("Business Validation Error: Transaction amount must be 0 or greater.")
    return Decimal(fields["Amount"])


def hours_total(fields: dict[str, Any]) -> Decimal:
    """What billable hours are worth: hours and minutes at the hourly rate."""
    minutes = Decimal(int(fields.get("Hours", 0)) * 60 + int(fields.get("Minutes", 0)))
    return money(minutes * money(fields.get("HourlyRate", 0)) / 60)
