"""A naive model of what the ledger's rules mean: everything is worked out from scratch, with plain dicts.

Shares no code with the rules. It keeps the latest record of each kind and every decision of a person; `figures` and
`waiting` go through all of them. Slow and simple, so that a reader can check it against design section 3.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

ZERO = Decimal(0)
Key = tuple[str, str]
Place = tuple[str | None, str]  # the project, or None and why it waits


@dataclass
class Sale:
    """An invoice, memo or refund as it is now."""

    customer: str
    total: Decimal
    on: date
    deposit: Decimal = ZERO
    reference: str | None = None
    voided: bool = False


@dataclass
class Money:
    """A payment as it is now; lines by target, all positive."""

    customer: str
    total: Decimal
    on: date
    lines: dict[Key, Decimal] = field(default_factory=dict)

    @property
    def voided(self) -> bool:
        return not self.total and not self.lines

    def sum_of(self, *kinds: str) -> Decimal:
        return sum((amount for (kind, _), amount in self.lines.items() if kind in kinds), ZERO)


@dataclass
class Mapping:
    """What a person decided about a customer."""

    state: str = "none"
    scopes: list[tuple[date | None, str]] = field(default_factory=list)


@dataclass
class Naive:
    """The whole company."""

    parents: dict[str, str | None] = field(default_factory=dict)  # of customers that were read
    mappings: dict[str, Mapping] = field(default_factory=dict)
    projects: dict[str, bool] = field(default_factory=dict)  # closed?
    assigned: dict[Key, str] = field(default_factory=dict)
    records: dict[Key, Sale | Money] = field(default_factory=dict)
    revised: dict[Key, int] = field(default_factory=dict)
    gone: dict[Key, int] = field(default_factory=dict)

    # --- what happens ---------------------------------------------------------------------------------------------

    def read(self, key: Key, record: Sale | Money, at: int) -> None:
        """A record was read; an older one says nothing."""
        if at > self.revised.get(key, -1):
            self.records[key], self.revised[key] = record, at

    def delete(self, key: Key, at: int) -> None:
        """It was announced as deleted, and is not there."""
        self.gone[key] = max(at, self.gone.get(key, -1))

    def map(self, customer: str, project: str, from_on: date | None) -> None:
        """A person maps a customer; from a day on keeps what lies before that day."""
        mapping = self.mappings.setdefault(customer, Mapping())
        kept = [s for s in mapping.scopes if from_on is not None and (s[0] is None or s[0] < from_on)]
        self.mappings[customer] = Mapping("mapped", [*kept, (from_on, project)])

    # --- what is so -----------------------------------------------------------------------------------------------

    def counts(self, key: Key) -> bool:
        """There, and neither voided nor deleted."""
        return key in self.records and not self.is_gone(key) and not self.records[key].voided

    def is_gone(self, key: Key) -> bool:
        """Deleted, and nothing later was read."""
        return key in self.gone and self.gone[key] >= self.revised.get(key, -1)

    def place(self, key: Key) -> Place:
        """The project of a record by its own facts."""
        record = self.records[key]
        family = self._family(record.customer)
        if not family:
            return None, "customer_unknown"
        decided = next((c for c in family if self.mappings.get(c, Mapping()).state in DECIDED), None)
        if decided is None:
            return None, "customer_not_synced"
        if key in self.assigned:
            return self.assigned[key], "assigned"
        state = self.mappings[decided].state
        if state == "excluded":
            return None, "excluded"
        if isinstance(record, Sale) and record.reference is not None:
            named = [p for p in self.projects if p.lower() == record.reference.strip().lower()]
            if named:
                return named[0], "reference_number"
        if state == "reference_only":
            return None, "reference_only"
        return self._by_customer(family, record.on)

    def _by_customer(self, family: list[str], on: date) -> Place:
        for distance, customer in enumerate(family):
            mapping = self.mappings.get(customer, Mapping())
            scopes = [s for s in mapping.scopes if s[0] is None or s[0] <= on] if mapping.state == "mapped" else []
            if scopes:
                return scopes[-1][1], "customer" if distance == 0 else "parent_customer"
        return None, "out_of_scope"

    def _family(self, customer: str) -> list[str]:
        found: list[str] = []
        while customer in self.parents and len(found) < 10:
            found.append(customer)
            parent = self.parents[customer]
            if parent is None:
                break
            customer = parent
        return found

    # --- figures --------------------------------------------------------------------------------------------------

    def figures(self) -> dict[str, dict[str, Decimal]]:
        """Every project's figures that are not zero."""
        return self._worked_out()[0]

    def waiting(self) -> dict[tuple[str, str, str], Decimal]:
        """What waits, by record and part."""
        return self._worked_out()[1]

    def _worked_out(self) -> tuple[dict[str, dict[str, Decimal]], dict[tuple[str, str, str], Decimal]]:
        found: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(lambda: ZERO))
        waits: dict[tuple[str, str, str], Decimal] = {}
        for key, record in self.records.items():
            if not self.counts(key):
                continue
            if isinstance(record, Money):
                self._payment(key, record, found, waits)
                continue
            project, _ = self.place(key)
            if project is None:
                waits[(*key, "")] = record.total
            else:
                _post_sale(found[project], key[0], record)
        shown = {p: {n: a for n, a in figures.items() if a} for p, figures in found.items()}
        return {p: figures for p, figures in shown.items() if figures}, waits

    def _payment(self, key: Key, payment: Money, found: Any, waits: Any) -> None:
        own, why = self.place(key)
        unapplied = payment.total + payment.sum_of("CreditMemo", "CreditCardCredit")
        unapplied -= payment.sum_of("Invoice", "Check", "Expense")
        on_account = None if why == "parent_customer" else own  # where money on account goes
        memos = {k: a for k, a in payment.lines.items() if k[0] == "CreditMemo"}
        invoices = {k: a for k, a in payment.lines.items() if k[0] == "Invoice"}
        others = {k: a for k, a in payment.lines.items() if k[0] not in ("Invoice", "CreditMemo")}
        spare = max(sum(memos.values(), ZERO) - sum(invoices.values(), ZERO), ZERO)
        blocked = any(self._stand(memo) is None for memo in memos)
        if spare and (blocked or own is None or (unapplied and on_account is None)):
            waits[(*key, "")] = payment.total
            return
        if blocked:
            for _, number in invoices:
                waits[(*key, f"Invoice:{number}")] = invoices["Invoice", number]
        else:
            self._divide(key, payment, memos, invoices, own, found, waits)
        signed = {k: -a if k[0] == "CreditCardCredit" else a for k, a in others.items()}
        if on_account is None and unapplied:
            waits[(*key, "unapplied")] = unapplied
            unapplied = ZERO
        if own is None:
            for (kind, number), amount in signed.items():
                waits[(*key, f"{kind}:{number}")] = amount
            return
        _receive(found[own], unapplied + sum(signed.values(), ZERO) - spare)
        for amount in signed.values():
            found[own]["U"] -= amount
            found[own]["other"] += amount

    def _divide(
        self, key: Key, payment: Money, memos: Any, invoices: Any, own: str | None, found: Any, waits: Any
    ) -> None:
        left, due = dict(memos), dict(invoices)
        pairs = [(m, i) for same in (True, False) for m in _sorted(memos) for i in _sorted(invoices)
                 if not same or self._stand(m) == self._stand(i)]  # fmt: skip
        for memo, invoice in pairs:
            amount = min(left[memo], due[invoice])
            left[memo] -= amount
            due[invoice] -= amount
            if self._stand(invoice) is not None and self.counts(memo) and self.counts(invoice) and amount:
                self._use(memo, str(self._stand(invoice)), amount, found)
                found[self._stand(invoice)]["O"] -= amount
                found[self._stand(invoice)]["C"] -= amount
        for invoice, amount in due.items():
            if self._stand(invoice) is not None and amount:
                _receive(found[self._stand(invoice)], amount)
                if self.counts(invoice):
                    found[self._stand(invoice)]["U"] -= amount
                    found[self._stand(invoice)]["O"] -= amount
        for memo, amount in left.items():
            if amount and self.counts(memo):
                self._use(memo, str(own), amount, found)
                found[own]["C"] -= amount
                found[own]["U"] += amount
        for invoice in invoices:
            if self._stand(invoice) is None:
                waits[(*key, f"Invoice:{invoice[1]}")] = invoices[invoice]

    def _use(self, memo: Key, project: str, amount: Decimal, found: Any) -> None:
        """Credit that goes to another project is transferred before it is used there."""
        home = str(self._stand(memo))
        if home != project:
            found[home]["C"] -= amount
            found[home]["credit_out"] += amount
            found[project]["C"] += amount
            found[project]["credit_in"] += amount

    def _stand(self, key: Key) -> str | None:
        """Where a payment's target stands; a voided or deleted one stands where it would."""
        return self.place(key)[0] if key in self.records else None


DECIDED = ("mapped", "excluded", "reference_only")


def _sorted(keys: Any) -> list[Key]:
    return sorted(keys, key=lambda key: int(key[1]))


def _receive(figures: dict[str, Decimal], amount: Decimal) -> None:
    figures["cash"] += amount
    figures["U"] += amount


def _post_sale(figures: dict[str, Decimal], kind: str, sale: Sale) -> None:
    if kind == "Invoice":
        figures["invoiced"] += sale.total
        figures["O"] += sale.total - sale.deposit
        figures["cash"] += sale.deposit
    elif kind == "CreditMemo":
        figures["credited"] += sale.total
        figures["C"] += sale.total
    else:
        figures["refunds"] += sale.total
