"""What payments settle: their lines, the links that follow, and what is given back when a document changes.

Reads: payment bodies; the ledger's open items. Writes: payments' lines and the ledger's links.
Guarantees: nothing is settled for more than it is; TotalAmt + sources = uses + UnappliedAmt, and UnappliedAmt stays
between zero and TotalAmt.
Source: intuit.md 4.4, 4.6, 7.6, 7.18; D-LINK.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from connectors.simulator.books import forms
from connectors.simulator.books.customers import Customers
from connectors.simulator.books.effects import Effects, Mark, Switches
from connectors.simulator.books.ledger import Ledger
from connectors.simulator.books.records import (
    CENT,
    KIND_OF_LINK,
    ONE,
    ZERO,
    Application,
    ItemKey,
    Kind,
    OpenItem,
    Record,
    against_rules,
    bad_reference,
    missing,
    money,
    not_found,
)


class Settlement:
    """Keeps payments, the documents they settle, and the ledger in step."""

    def __init__(
        self, ledger: Ledger, records: dict[Kind, dict[str, Record]], customers: Customers, switches: Switches
    ) -> None:
        self.ledger = ledger
        self.items = ledger.items
        self.records = records
        self.customers = customers
        self.switches = switches

    def read_lines(self, record: Record, fields: dict[str, Any], unit: Decimal = CENT) -> list[Application]:
        """The payment's lines, checked against what is open now."""
        if "TotalAmt" not in fields:
            raise missing("TotalAmt")
        own = {line.item: line for line in record.applications}
        found: list[Application] = []
        for line in fields.pop("Line", None) or []:
            if isinstance(line, Application):
                found.append(copy.copy(line))
                continue
            found.extend(self._read_line(line, own, str(fields["CustomerRef"]["value"]), unit))
        if len({line.item for line in found}) != len(found):
            raise against_rules("Business Validation Error: a transaction may be linked only once in one payment.")
        self._check_open(found, own, fields)
        return found

    def _read_line(
        self, line: dict[str, Any], own: dict[ItemKey, Application], payer: str, unit: Decimal
    ) -> Iterator[Application]:
        amount = money(line.get("Amount", 0), unit)
        for link in line.get("LinkedTxn") or []:
            txn_type = str(link.get("TxnType"))
            if txn_type not in KIND_OF_LINK:
                raise bad_reference(f"TxnType {txn_type} cannot be linked", "Line.LinkedTxn")
            item = self._find_item(KIND_OF_LINK[txn_type], str(link.get("TxnId")), link.get("TxnLineId"), payer)
            before = own[item.key].open_before if item.key in own else item.remaining
            if amount:
                yield Application(item.key, self._word(item.key), amount, before)

    def _word(self, key: ItemKey) -> str:
        return forms.link_word(self.records[key.kind][key.id])

    def _find_item(self, kind: Kind, txn_id: str, line_id: str | None, payer: str) -> OpenItem:
        """The item that a link names; without a line of its own, the first of the payer's that is open."""
        exact = self.items.get(ItemKey(kind, txn_id, str(line_id or "")))
        if exact is not None:
            return exact
        record = self.records[kind].get(txn_id)
        found = [self.items[key] for key in self.ledger.keys_of(record)] if record and line_id is None else []
        if not found:
            raise not_found(f"{kind} {txn_id}")
        return min(found, key=lambda item: (not self.may_settle(item.customer, payer), not item.remaining))

    def _check_open(self, lines: list[Application], own: dict[ItemKey, Application], fields: dict[str, Any]) -> None:
        payer = str(fields["CustomerRef"]["value"])
        for line in lines:
            item = self.items.get(line.item)
            if item is None:
                raise not_found(f"{line.item.kind} {line.item.id}")
            kept = own[line.item].amount if line.item in own else ZERO
            if line.amount < 0 or line.amount > item.remaining + kept:
                raise against_rules(
                    "Business Validation Error: You can't apply more than the open balance of the transaction."
                )
            if not self.may_settle(item.customer, payer):
                raise against_rules("Business Validation Error: the linked transaction belongs to another customer.")

    def may_settle(self, owner: str, payer: str) -> bool:
        """Whether one customer's payment may settle what another owes: one currency, and by switch one family."""
        currencies = {self.records[Kind.CUSTOMER][one].currency for one in (owner, payer)}
        is_family = not self.switches.payment_family_only or self.customers.is_within(owner, payer)
        return is_family and len(currencies) == 1

    def check_equation(self, draft: Record) -> None:
        """Raise Refused where more is used than there is, or more credit than can be used."""
        if draft.total < 0:
            raise against_rules("Business Validation Error: Transaction amount must be 0 or greater.")
        if draft.unapplied < 0:
            raise against_rules("Business Validation Error: The amount applied is more than the amount received.")
        if draft.unapplied > draft.total:
            raise against_rules("Business Validation Error: more credit is used than there is to pay.")

    def relink(self, payment: Record, wanted: list[Application], effects: Effects) -> None:
        """Replace the lines of a payment; documents whose share changed are touched."""
        if payment.kind is not Kind.PAYMENT:
            return
        before = {line.item: line.amount for line in payment.applications}
        after = {line.item: line.amount for line in wanted}
        for line in payment.applications:
            self.ledger.unlink(line.item, payment.id)
        payment.applications = wanted
        for line in wanted:
            self.ledger.link(payment.id, line)
        for key in {**before, **after}:
            if before.get(key) != after.get(key):
                self._touch_item(key, effects)

    def _touch_item(self, key: ItemKey, effects: Effects) -> None:
        record = self.records[key.kind].get(key.id)
        if record is None:
            return
        raised = key.kind is not Kind.CREDIT_MEMO or self.switches.memo_revision_on_apply
        effects.mark(record, Mark.LINKED if raised else Mark.BALANCE)
        item = self.items.get(key)
        if item is not None and item.rate != ONE:  # a foreign item's last cent may move to another payment
            for payment_id in item.links:
                self.post(self.records[Kind.PAYMENT][payment_id], effects)

    def unlink(self, record: Record, effects: Effects) -> None:
        """Take away every application that a document or payment takes part in."""
        if record.kind is Kind.PAYMENT:
            self.relink(record, [], effects)
            return
        for key in self.ledger.keys_of(record):
            for payment_id in list(self.items[key].links):
                self._cut(self.records[Kind.PAYMENT][payment_id], key, ZERO, effects)

    def unlink_turned(self, record: Record, effects: Effects) -> None:
        """What is worth nothing any more, or turned from charge to credit, cannot stay linked."""
        after = {entry.item: entry.amount for entry in self.ledger.entries(record) if entry.item is not None}
        for key in self.ledger.keys_of(record):
            item = self.items[key]
            if item.original * after.get(key.line, ZERO) <= 0:
                for payment_id in list(item.links):
                    self._cut(self.records[Kind.PAYMENT][payment_id], key, ZERO, effects)

    def _cut(self, payment: Record, key: ItemKey, to: Decimal, effects: Effects) -> None:
        """Lower one line of a payment to `to` and bring the payment's equation back into order."""
        lines = []
        for line in payment.applications:
            shorter = copy.copy(line)
            if line.item == key:
                shorter.amount = to
            lines.append(shorter)
        self._trim(payment, lines)
        self.relink(payment, [line for line in lines if line.amount], effects)
        effects.mark(payment, Mark.LINKED)
        self.post(payment, effects)

    def trimmed(self, payment: Record, lines: list[Application]) -> list[Application]:
        """These lines of a payment, shortened until its equation holds."""
        kept = [copy.copy(line) for line in lines]
        self._trim(payment, kept)
        return [line for line in kept if line.amount]

    def _trim(self, payment: Record, lines: list[Application]) -> None:
        """Give back uses that nothing covers any more, or credits that nothing uses, last line first."""
        left = self.ledger.unapplied(payment.total, lines)
        for line in reversed(lines):
            is_source = self.items[line.item].is_credit
            if left < 0 and not is_source:
                given_back = min(line.amount, -left)
                line.amount -= given_back
                left += given_back
            elif left > payment.total and is_source:
                given_back = min(line.amount, left - payment.total)
                line.amount -= given_back
                left -= given_back

    def settle(self, payment_ids: set[str], effects: Effects) -> None:
        """Post payments again whose documents changed hands or worth."""
        for payment_id in sorted(payment_ids, key=int):
            payment = self.records[Kind.PAYMENT][payment_id]
            self.leave_family(payment, effects)
            self.post(payment, effects)

    def leave_family(self, payment: Record, effects: Effects) -> None:
        """A link to a document that went to another customer is taken away."""
        payer = str(payment.customer_id)
        for line in list(payment.applications):
            item = self.items.get(line.item)
            if item is not None and not self.may_settle(item.customer, payer):
                self._cut(payment, line.item, ZERO, effects)

    def fit(self, key: ItemKey, effects: Effects) -> None:
        """Where an item is now worth less than was applied to it, the latest payments get the rest back."""
        item = self.items[key]
        for payment_id in sorted(item.links, key=int, reverse=True):
            over = item.applied - abs(item.original)
            if over <= 0:
                return
            share = item.links[payment_id]
            self._cut(self.records[Kind.PAYMENT][payment_id], key, max(share - over, ZERO), effects)

    def post(self, record: Record, effects: Effects) -> None:
        """Bring the ledger in step with a record; customers whose balance moved are touched."""
        for customer_id in self.ledger.post(record):
            customer = self.records[Kind.CUSTOMER].get(customer_id)
            if customer is not None:
                effects.mark(customer, Mark.BALANCE)
            for parent in self.customers.ancestors(customer_id):
                effects.mark(parent, Mark.SEEN)
