"""What the read tables must say, worked out from the simulator's truth alone.

Reads: the truth of one company. Writes: nothing. Shares no code with the ledger.
Guarantees: where a document leads is what its writer noted; who paid whom is the published rule (design section 3,
"Payments": credits first to invoices of their own project, then by number; cash takes the rest), so every figure is one
figure; where the oracle gives a least and a most of it, the comparison holds it to these as well.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

ZERO = Decimal(0)
INVOICE, MEMO, REFUND, PAYMENT = "Invoice", "CreditMemo", "RefundReceipt", "Payment"
FORMS = (INVOICE, MEMO, REFUND)
FIGURES = (
    *("invoiced_gross", "invoiced_tax", "credited", "cash_received", "open_invoices", "unused_credit", "unapplied"),
    "refunds",
)
CAUSES = {
    "customer not mapped": "customer_not_synced",
    "reference only": "reference_only",
    "parent customer": "not_mapped_itself",
}
Part = tuple[str, str, str]  # type, id, and which part of it waits
Place = tuple[str, str]  # project, currency


class Wait(NamedTuple):
    """What is at stake, the cause that must stand in read_waiting, and why it belongs to no project."""

    customer_id: str
    amount: Decimal
    cause: str
    why: str


@dataclass(slots=True)
class Form:
    """An invoice, memo or refund that counts."""

    customer_id: str
    currency: str
    project_id: str | None
    why: str
    total: Decimal
    owed: Decimal  # QuickBooks' balance or remaining credit
    unbooked: Decimal = ZERO  # settled in QuickBooks by payments, or parts of them, that wait

    @property
    def open_amount(self) -> Decimal:
        """What the project must show as open."""
        return self.owed + self.unbooked


@dataclass(slots=True)
class Expected:
    """One company."""

    home_currency: str
    forms: dict[tuple[str, str], Form] = field(default_factory=dict)
    shares: defaultdict[tuple[str, str], list[Decimal]] = field(
        default_factory=lambda: defaultdict(lambda: [ZERO, ZERO])
    )  # (payment, project): received, unapplied
    settled: dict[tuple[str, str, str], Decimal] = field(default_factory=dict)  # payment, project, invoice
    waiting: dict[Part, Wait] = field(default_factory=dict)
    figures: defaultdict[Place, dict[str, Decimal]] = field(
        default_factory=lambda: defaultdict(lambda: dict.fromkeys(FIGURES, ZERO))
    )
    waiting_net: defaultdict[str, Decimal] = field(default_factory=lambda: defaultdict(lambda: ZERO))  # by customer
    deposits: Counter[Place] = field(default_factory=Counter)  # invoices with money taken on them
    divided: set[Place] = field(default_factory=set)  # of whose exchange gain the oracle knows only the company's sum


class Line(NamedTuple):
    """One line of a payment."""

    entity: str
    id: str
    amount: Decimal
    is_source: bool

    @property
    def part(self) -> str:
        """The name of this line among what waits."""
        return f"{self.entity}:{self.id}"


def expected(truth: dict[str, Any]) -> Expected:
    """What everything in the truth amounts to in each project, and what of it waits."""
    found = Expected(truth["home_currency"])
    for kind in FORMS:
        for number, told in truth[kind].items():
            if counts(told):
                _add_form(found, kind, number, told)
    for number, told in truth[PAYMENT].items():
        if counts(told):
            _Division(found, number, told).book()
    for (kind, _), form in found.forms.items():
        _sum_up(found, kind, form)
    return found


def counts(told: dict[str, Any]) -> bool:
    """There, and neither voided nor deleted."""
    return not told["deleted"] and not told["voided"]


def _add_form(found: Expected, kind: str, number: str, told: dict[str, Any]) -> None:
    owed = Decimal(told.get("balance", told.get("remaining_credit", "0")))
    total, deposit = Decimal(told["total"]), Decimal(told.get("deposit", "0"))
    form = Form(told["customer_id"], told["currency"], told["determined_project"], told["why"], total, owed)
    found.forms[kind, number] = form
    if form.project_id is None:
        found.waiting[kind, number, ""] = Wait(form.customer_id, total, _cause(form.why), _reason(form))
        return
    figures = found.figures[form.project_id, form.currency]
    figures[{INVOICE: "invoiced_gross", MEMO: "credited", REFUND: "refunds"}[kind]] += total
    if kind == INVOICE:
        figures["invoiced_tax"] += Decimal(told["tax"])
        figures["cash_received"] += deposit
        found.deposits[form.project_id, form.currency] += bool(deposit)


def _cause(why: str) -> str:
    return CAUSES.get(why, why)


def _reason(form: Form) -> str:
    return f"customer {form.customer_id}: {form.why}"


def _sum_up(found: Expected, kind: str, form: Form) -> None:
    """What is open, once every payment has said what of it is not booked."""
    if form.project_id is not None and kind != REFUND:
        column = "open_invoices" if kind == INVOICE else "unused_credit"
        found.figures[form.project_id, form.currency][column] += form.open_amount
    if kind != REFUND:
        waits = form.owed if form.project_id is None else -form.unbooked
        found.waiting_net[form.customer_id] += waits if kind == INVOICE else -waits


class _Division:
    """One payment over its projects."""

    def __init__(self, found: Expected, number: str, told: dict[str, Any]) -> None:
        self.found, self.number, self.told = found, number, told
        self.total, self.unapplied = Decimal(told["total"]), Decimal(told["unapplied"])
        lines = [
            Line(one["type"], one["id"], Decimal(one["amount"]), one["side"] == "source")
            for one in told["applications"]
        ]
        self.invoices = _by_number(line for line in lines if line.entity == INVOICE)
        self.memos = _by_number(line for line in lines if line.entity == MEMO)
        self.others = [line for line in lines if line.entity not in (INVOICE, MEMO)]
        self.own: str | None = told["determined_project"]
        self.on_account = self.own if told["is_direct"] else None  # where money on account goes
        self._note_divided()

    def book(self) -> None:
        """All of it, or what of it can be booked; the rest waits with its reason."""
        blocked = next((line for line in self.memos if self._form(line).project_id is None), None)
        spare = max(_total(self.memos) - _total(self.invoices), ZERO)
        if spare and (blocked is not None or self.own is None or (self.unapplied and self.on_account is None)):
            self._wait("", self.total, blocked)
            self._leave((*self.invoices, *self.memos))
            self.found.waiting_net[self.told["customer_id"]] -= self.unapplied
            return
        if blocked is not None:
            self._wait_for_memo(blocked)
        else:
            self._divide()
        self._rest(spare)

    def _wait_for_memo(self, blocked: Line) -> None:
        for line in self.invoices:
            self._wait(line.part, line.amount, blocked)
        self._leave((*self.invoices, *self.memos))

    def _divide(self) -> None:
        """Credits first to invoices of their own project, then by number; cash for the rest."""
        due = {line.id: line.amount for line in self.invoices}
        for memo, invoice, amount in _pairs(self.memos, self.invoices, self._project):
            due[invoice.id] -= amount
            if self._project(invoice) is None:
                self._form(memo).unbooked += amount
            elif self._project(memo) != self._project(invoice):  # credit of another project: both sides say so
                self._settle(memo, invoice, amount)
        for invoice in self.invoices:
            project = self._project(invoice)
            if project is None:
                self._wait(invoice.part, invoice.amount, invoice)
                self._leave((invoice,))
                continue
            self._settle(invoice, invoice, invoice.amount)
            self._receive(project, due[invoice.id], ZERO)

    def _settle(self, side: Line, invoice: Line, amount: Decimal) -> None:
        key = self.number, str(self._project(side)), invoice.id
        self.found.settled[key] = self.found.settled.get(key, ZERO) + amount

    def _rest(self, spare: Decimal) -> None:
        """Money on account follows the payment's own mapping, lines to what is not kept here a parent's too."""
        booked = self.unapplied
        if self.unapplied and self.on_account is None:
            booked = ZERO
            self._wait("unapplied", self.unapplied)
            self.found.waiting_net[self.told["customer_id"]] -= self.unapplied
        uses = [line._replace(amount=-line.amount) if line.is_source else line for line in self.others]
        if self.own is not None:
            self._receive(self.own, booked + _total(uses) - spare, booked)
            return
        for line in uses:
            self._wait(line.part, line.amount)

    def _receive(self, project: str, cash: Decimal, unapplied: Decimal) -> None:
        figures, share = self.found.figures[project, self.told["currency"]], self.found.shares[self.number, project]
        figures["cash_received"] += cash
        figures["unapplied"] += unapplied
        share[0] += cash
        share[1] += unapplied

    def _wait(self, part: str, amount: Decimal, waits_for: Line | None = None) -> None:
        """Without `waits_for` the payment's own customer is why."""
        customer_id, cause = self.told["customer_id"], _cause(self.told["why"])
        why = f"customer {customer_id}: {self.told['why']}"
        if waits_for is not None:
            cause = "invoice_waits" if waits_for.entity == INVOICE else "credit_memo_waits"
            why = f"{waits_for.entity} {waits_for.id} waits: {_reason(self._form(waits_for))}"
        self.found.waiting[PAYMENT, self.number, part] = Wait(customer_id, amount, cause, why)

    def _leave(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self._form(line).unbooked += line.amount

    def _note_divided(self) -> None:
        projects = {self._project(line) for line in (*self.invoices, *self.memos)}
        if self.unapplied:
            projects.add(self.on_account)
        if len(projects) > 1 or self.others:
            projects.add(self.own)
            self.found.divided |= {(project, self.told["currency"]) for project in projects if project is not None}

    def _form(self, line: Line) -> Form:
        return self.found.forms[line.entity, line.id]

    def _project(self, line: Line) -> str | None:
        return self._form(line).project_id


def _pairs(memos: list[Line], invoices: list[Line], project: Any) -> Iterator[tuple[Line, Line, Decimal]]:
    """Which memo pays how much of which invoice."""
    left, due = ({line.id: line.amount for line in lines} for lines in (memos, invoices))
    for same in (True, False):
        for memo in memos:
            for invoice in invoices:
                amount = min(left[memo.id], due[invoice.id])
                if amount and (not same or project(memo) == project(invoice)):
                    left[memo.id] -= amount
                    due[invoice.id] -= amount
                    yield memo, invoice, amount


def _by_number(lines: Iterable[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: int(line.id))


def _total(lines: Iterable[Line]) -> Decimal:
    return sum((line.amount for line in lines), ZERO)
