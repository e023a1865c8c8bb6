"""The read tables of one company against the simulator's truth, to the cent.

Reads: read_project_balance, read_project_documents, read_payments, read_payment_allocations, read_waiting; the truth.
Writes: nothing.
Guarantees: every project in every currency, every customer, every document and everything that waits is compared, from
both sides: what only one of them knows is a difference.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from tests.convergence.expecting import FIGURES, INVOICE, PAYMENT, REFUND, ZERO, Expected, Part, Place, Wait, expected

Rows = Callable[..., list[tuple[Any, ...]]]
Account = tuple[str, str, str]  # customer, project, currency
CENT = Decimal("0.01")
SUMS = ("open_invoices", "unused_credit", "unapplied")
NOBODY = Wait("", ZERO, "", "the truth knows of nothing that waits here")


class Difference(NamedTuple):
    """One figure that is not as it must be."""

    where: str
    what: str
    ours: object
    theirs: object

    def __str__(self) -> str:
        return f"{self.where}: {self.what} is {self.ours}, must be {self.theirs}"


class Waiting(NamedTuple):
    """One row of read_waiting, and why the truth says that it waits."""

    record: str
    part: str
    cause: str
    customer_id: str
    amount: Decimal
    currency: str
    why: str


@dataclass(slots=True)
class Comparison:
    """What came of one company."""

    company_id: str
    differences: list[Difference] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    compared: Counter[str] = field(default_factory=Counter)

    def equal(self, kind: str, where: str, what: str, ours: object, theirs: object) -> None:
        """Compare one figure."""
        self.compared[kind] += 1
        if ours != theirs:
            self.differences.append(Difference(where, what, ours, theirs))


def compare(company_id: str, truth: dict[str, Any], rows: Rows) -> Comparison:
    """Everything that the read tables say of this company; `rows` asks the database."""
    found, wanted = Comparison(company_id), expected(truth)
    documents, payments = rows(_DOCUMENTS, company_id), rows(_PAYMENTS, company_id)
    _projects(found, truth, wanted, {(row[0], row[1]): row[2:] for row in rows(_BALANCE, company_id)})
    _forms(found, wanted, documents)
    _shares(found, wanted, payments)
    _settled(found, wanted, {(row[0], row[1], row[2]): row[3] for row in rows(_ALLOCATIONS, company_id)})
    _customers(found, truth, wanted, documents, payments)
    _waits(found, wanted, {(row[0], row[1], row[2]): row[3:] for row in rows(_WAITING, company_id)})
    return found


# --- projects ---------------------------------------------------------------------------------------------------------


def _projects(
    found: Comparison, truth: dict[str, Any], wanted: Expected, ours: Mapping[Place, tuple[Any, ...]]
) -> None:
    told = {(project, currency): one for project, of in truth["projects"].items() for currency, one in of.items()}
    for place in sorted({*told, *wanted.figures, *ours}):
        where = f"project {place[0]} {place[1]}"
        amounts = dict(zip(_COLUMNS, ours.get(place, (ZERO,) * len(_COLUMNS)), strict=True))
        figures = dict(wanted.figures[place])
        figures["net_receivable"] = figures["open_invoices"] - figures["unused_credit"] - figures["unapplied"]
        for column, theirs in figures.items():
            found.equal("figures of projects", where, column, amounts[column], theirs)
        _within(found, where, amounts, told.get(place, {}), wanted, place)


def _within(
    found: Comparison,
    where: str,
    amounts: Mapping[str, Decimal],
    told: Mapping[str, Any],
    wanted: Expected,
    place: Place,
) -> None:
    """The oracle's own sums, which know nothing of the rule by which a payment is divided."""
    columns = (*FIGURES, "home_net_receivable", *(() if place in wanted.divided else ("exchange_gain",)))
    for column in columns:
        least, most = _bounds(told, column)
        if column not in FIGURES and place[1] != wanted.home_currency:
            cents = wanted.deposits[place] * CENT  # QuickBooks does not say which of total, deposit and rest it rounds
            least, most = least - cents, most + cents
        found.compared["sums of the oracle"] += 1
        if amounts[column] is None or not least <= amounts[column] <= most:
            found.differences.append(Difference(where, column, amounts[column], f"{least} to {most}"))


def _bounds(told: Mapping[str, Any], column: str) -> tuple[Decimal, Decimal]:
    bounds = told.get("open_to_rule", {}).get(column)
    exact = Decimal(told.get(column, "0"))
    return (Decimal(bounds["least"]), Decimal(bounds["most"])) if bounds else (exact, exact)


# --- documents --------------------------------------------------------------------------------------------------------


def _forms(found: Comparison, wanted: Expected, rows: list[tuple[Any, ...]]) -> None:
    ours: dict[tuple[str, str, str], tuple[Any, ...]] = {}
    for kind, number, project, customer, currency, state, total, open_amount in rows:
        if state == "open" or open_amount:
            ours[kind, number, project] = (customer, currency, total if state == "open" else ZERO, open_amount)
    theirs = {
        (kind, number, form.project_id): (
            form.customer_id, form.currency, form.total, ZERO if kind == REFUND else form.open_amount
        )
        for (kind, number), form in wanted.forms.items()
        if form.project_id is not None
    }  # fmt: skip
    for key in sorted({*ours, *theirs}):
        where = f"{key[0]} {key[1]} in {key[2]}"
        found.equal("documents", where, "customer, currency, total, open", _said(ours, key), _said(theirs, key))


def _shares(found: Comparison, wanted: Expected, rows: list[tuple[Any, ...]]) -> None:
    ours = {(row[0], row[1]): (row[4], row[5]) for row in rows if row[4] or row[5]}
    theirs = {key: tuple(share) for key, share in wanted.shares.items() if any(share)}
    for key in sorted({*ours, *theirs}):
        where = f"{PAYMENT} {key[0]} in {key[1]}"
        found.equal("shares of payments", where, "received, unapplied", _said(ours, key), _said(theirs, key))


def _settled(found: Comparison, wanted: Expected, ours: Mapping[tuple[str, str, str], Decimal]) -> None:
    """What each payment settles of each invoice, cash and credit together; credit of another project is in both."""
    for key in sorted({*ours, *wanted.settled}):
        where = f"{PAYMENT} {key[0]} to {INVOICE} {key[2]} in {key[1]}"
        found.equal("allocations", where, "settled", ours.get(key, ZERO), wanted.settled.get(key, ZERO))


def _said(rows: Mapping[Any, tuple[Any, ...]], key: object) -> str:
    """A row as it is compared; amounts of any scale are the same."""
    row = rows.get(key)
    if row is None:
        return "nothing"
    return ", ".join(format(one.normalize(), "f") if isinstance(one, Decimal) else str(one) for one in row)


# --- customers --------------------------------------------------------------------------------------------------------


def _customers(
    found: Comparison,
    truth: dict[str, Any],
    wanted: Expected,
    documents: list[tuple[Any, ...]],
    payments: list[tuple[Any, ...]],
) -> None:
    """Each customer's part of each project, and all of it against QuickBooks' own Customer.Balance."""
    ours, theirs = _accounts(_our_postings(documents, payments)), _accounts(_their_postings(truth, wanted))
    nets: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
    for account in sorted({*ours, *theirs}):
        customer, project, currency = account
        where = f"customer {customer} in {project} {currency}"
        for column in SUMS:
            found.equal("figures of customers", where, column, ours[account][column], theirs[account][column])
        sums = ours[account]
        nets[customer] += sums["open_invoices"] - sums["unused_credit"] - sums["unapplied"]
    for customer, told in truth["customers"].items():
        explained = nets.pop(customer, ZERO) + wanted.waiting_net[customer] + Decimal(told["other_receivables"])
        found.equal("balances", f"customer {customer}", "Customer.Balance", explained, Decimal(told["balance"]))
    for customer, net in nets.items():
        found.equal("balances", f"customer {customer}", "a customer that is not there", net, ZERO)


def _accounts(postings: Iterator[tuple[Account, str, Decimal]]) -> defaultdict[Account, dict[str, Decimal]]:
    found: defaultdict[Account, dict[str, Decimal]] = defaultdict(lambda: dict.fromkeys(SUMS, ZERO))
    for account, column, amount in postings:
        found[account][column] += amount
    return found


def _our_postings(
    documents: list[tuple[Any, ...]], payments: list[tuple[Any, ...]]
) -> Iterator[tuple[Account, str, Decimal]]:
    for kind, _, project, customer, currency, _, _, open_amount in documents:
        if kind != REFUND and open_amount:
            yield (customer, project, currency), SUMS[kind != INVOICE], open_amount
    for _, project, customer, currency, _, unapplied in payments:
        if unapplied:
            yield (customer, project, currency), "unapplied", unapplied


def _their_postings(truth: dict[str, Any], wanted: Expected) -> Iterator[tuple[Account, str, Decimal]]:
    for (kind, _), form in wanted.forms.items():
        if form.project_id is not None and kind != REFUND and form.open_amount:
            yield (form.customer_id, form.project_id, form.currency), SUMS[kind != INVOICE], form.open_amount
    for (number, project), (_, unapplied) in wanted.shares.items():
        if unapplied:
            told = truth[PAYMENT][number]
            yield (told["customer_id"], project, told["currency"]), "unapplied", unapplied


# --- what waits -------------------------------------------------------------------------------------------------------


def _waits(found: Comparison, wanted: Expected, ours: Mapping[Part, tuple[Any, ...]]) -> None:
    for part in sorted({*ours, *(part for part, wait in wanted.waiting.items() if wait.amount)}):
        wait = wanted.waiting.get(part, NOBODY)
        where = f"{part[0]} {part[1]} {part[2]}".rstrip()
        if part not in ours:
            found.equal("waiting", where, "waiting", "nothing", f"{wait.amount}, {wait.why}")
            continue
        cause, customer, amount, currency = ours[part]
        said = _said({part: (cause, customer, amount)}, part)
        must = _said({part: (wait.cause, wait.customer_id, wait.amount)}, part) if wait is not NOBODY else wait.why
        found.equal("waiting", where, "cause, customer, amount", said, must)
        found.waiting.append(Waiting(f"{part[0]} {part[1]}", part[2], cause, customer, amount, currency, wait.why))


_COLUMNS = (*FIGURES, "net_receivable", "home_net_receivable", "exchange_gain")
_BALANCE = f"""
    SELECT project_id, currency, {", ".join(_COLUMNS[:-1])}, exchange_difference
    FROM read_project_balance WHERE company_id = %s
"""
_DOCUMENTS = """
    SELECT record_type, record_id, project_id, customer_id, currency, state, total,
           coalesce(open_amount, unused_amount, 0)
    FROM read_project_documents WHERE company_id = %s
"""
_PAYMENTS = """
    SELECT payment_id, project_id, customer_id, currency, CASE WHEN state = 'open' THEN received ELSE 0 END, unapplied
    FROM read_payments WHERE company_id = %s
"""
_ALLOCATIONS = """
    SELECT payment_id, project_id, target_id, sum(amount) FROM read_payment_allocations
    WHERE company_id = %s AND target_type = 'Invoice' AND target_id <> '' GROUP BY payment_id, project_id, target_id
"""
_WAITING = """
    SELECT record_type, record_id, part, cause, customer_id, amount, currency FROM read_waiting WHERE company_id = %s
"""
