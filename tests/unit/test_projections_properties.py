"""Whatever happens in a project, its tables say what the posting table says, computed here once more and naively."""

from collections import defaultdict
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas import accounting
from schemas.money import Money
from streams.projections import balance_changes, document_changes, payment_changes
from streams.read_tables import ALLOCATIONS, PAYMENTS, PROJECT_BALANCE, PROJECT_DOCUMENTS, Rows, apply, exact
from tests.builders import DAY, Event, accounting_event, figures, filled, money, numbered, share

cents = st.integers(1, 10**9).map(lambda n: str(Decimal(n).scaleb(-2)))
ids = st.sampled_from(["1", "2", "3"])
DOCUMENTS = {"Invoice": "Invoice", "CreditMemo": "CreditMemo", "Refund": "RefundReceipt"}
ADDED, REMOVED = ("Issued", "Given", "Reinstated", "MovedIn"), ("Voided", "Deleted", "MovedOut")


@st.composite
def document_bodies(draw: Any) -> tuple[str, Any]:
    prefix = draw(st.sampled_from(list(DOCUMENTS)))
    deposit = "0.50" if prefix == "Invoice" and draw(st.booleans()) else "0"
    at_home = {"home_deposit": home("0.55") if deposit != "0" else home("0")}
    after = figures(draw(cents), tax="0.01", deposit=deposit, **(at_home | {"home_total": home(draw(cents))}))
    before = figures(draw(cents), tax="0.02")
    shapes = [each for each in accounting.EVENTS if each.__name__.startswith(prefix)]
    return DOCUMENTS[prefix], _filled(draw(st.sampled_from(shapes)), before, after)


@st.composite
def share_bodies(draw: Any) -> tuple[str, Any]:
    shapes = [each for each in accounting.EVENTS if issubclass(each, accounting.ShareEvent)]
    after = share(draw(cents), home_received=home(draw(cents)))
    return "Payment", _filled(draw(st.sampled_from(shapes)), share(draw(cents)), after)


def _filled(shape: type, before: Any, after: Any) -> Any:
    known = {"before": before, "after": after, "from_project_id": None, "to_project_id": "tunnel"}
    return filled(shape, known)


@st.composite
def link_bodies(draw: Any) -> tuple[str, Any]:
    shapes = [each for each in accounting.EVENTS if issubclass(each, accounting.LinkEvent)]
    amount, shape = money(draw(cents)), draw(st.sampled_from(shapes))
    known = {
        "invoice_id": draw(ids),
        "credit_memo_id": draw(ids),
        "applied": amount,
        "transferred": amount,
        "applied_on": DAY,
        "transferred_on": DAY,
        "other_project_id": "tunnel",
        "other_type": "JournalEntry",
        "other_id": "9",
    }
    names = ("home_source", "home_target", "home_transferred")
    stated = draw(st.booleans())
    return "Payment", filled(shape, known | {name: home(draw(cents)) if stated else None for name in names})


@st.composite
def exchange_bodies(draw: Any) -> tuple[str, Any]:
    shapes = [each for each in accounting.EVENTS if issubclass(each, accounting.Exchanged)]
    gained = home(draw(st.sampled_from(["", "-"])) + draw(cents))
    known = {"invoice_id": draw(ids), "credit_memo_id": "", "settled": money("1"), "gained": gained, "gained_on": DAY}
    return "Payment", filled(draw(st.sampled_from(shapes)), known)


def home(amount: str) -> Money:
    """In the company's own currency; the documents are in another one."""
    return money(amount, "EUR")


@st.composite
def histories(draw: Any) -> list[Event]:
    bodies = draw(st.lists(st.one_of(document_bodies(), share_bodies(), link_bodies(), exchange_bodies()), max_size=30))
    return numbered([accounting_event(body, record_type, draw(ids)) for record_type, body in bodies])


def naive(events: list[Event]) -> dict[str, Decimal]:
    """The table in the docstring of schemas.accounting, by the events' names."""
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    for event in events:
        name, body = type(event.body).__name__, event.body
        for sign, part in ((1, getattr(body, "after", None)), (-1, getattr(body, "before", None))):
            if part is not None:
                _add_figures(sums, name, sign, part)
        link = getattr(body, "applied", None) or getattr(body, "transferred", None)
        if link is not None:
            _add_link(sums, name, link)
    return sums


def _add_figures(sums: dict[str, Decimal], name: str, sign: int, part: Any) -> None:
    if name.startswith("Invoice"):
        sums["O"] += sign * (part.total.amount - part.deposit.amount)
        sums["cash"] += sign * part.deposit.amount
    elif name.startswith("CreditMemo"):
        sums["C"] += sign * part.total.amount
    elif name.startswith("Refund"):
        sums["refunds"] += sign * part.total.amount
    else:
        sums["U"] += sign * part.received.amount
        sums["cash"] += sign * part.received.amount


def _add_link(sums: dict[str, Decimal], name: str, link: Money) -> None:
    back = "Unapplied" in name or "Reversed" in name
    amount = -link.amount if back else link.amount
    if name in ("PaymentApplied", "PaymentUnapplied", "CreditApplied", "CreditUnapplied"):
        sums["O"] -= amount
    if name in ("CreditAppliedToOther", "CreditUnappliedFromOther"):
        sums["U"] += amount
    if name.startswith("Payment"):
        sums["U"] -= amount
    elif "TransferredIn" in name or "TransferIn" in name:
        sums["C"] += amount
    else:
        sums["C"] -= amount


def naive_at_home(events: list[Event]) -> dict[str, Decimal]:
    """The same table once more, over what the events state in home currency."""
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    for event in events:
        name, body = type(event.body).__name__, event.body
        for sign, part in ((1, getattr(body, "after", None)), (-1, getattr(body, "before", None))):
            if part is not None:
                _add_figures_at_home(sums, name, sign, part)
        back = "Unapplied" in name or "Reversed" in name
        source, target, transferred = (
            -_said(body, side) if back else _said(body, side)
            for side in ("home_source", "home_target", "home_transferred")
        )
        sums["U" if name.startswith("Payment") else "C"] -= source
        sums["C"] += transferred if "TransferredIn" in name or "TransferIn" in name else -transferred
        if name in ("CreditAppliedToOther", "CreditUnappliedFromOther"):
            sums["U"] += target
        else:
            sums["O"] -= target
        if name.startswith("Exchange"):
            sums["gained"] += -body.gained.amount if back else body.gained.amount
    return sums


def _add_figures_at_home(sums: dict[str, Decimal], name: str, sign: int, part: Any) -> None:
    total, deposit = sign * _said(part, "home_total"), sign * _said(part, "home_deposit")
    received = sign * _said(part, "home_received")
    sums["cash"] += received
    sums["U"] += received
    if name.startswith("Invoice"):
        sums["O"] += total - deposit
        sums["cash"] += deposit
    elif name.startswith("CreditMemo"):
        sums["C"] += total
    else:
        sums["refunds"] += total


def _said(body: Any, field_name: str) -> Decimal:
    stated = getattr(body, field_name, None)
    return Decimal(0) if stated is None else stated.amount


def applied(events: list[Event]) -> Rows:
    rows: Rows = {}
    with exact():
        for event in events:
            for changes in (balance_changes, document_changes, payment_changes):
                apply(rows, changes(event))
    return rows


@given(histories())
def test_balance_is_the_sum_over_the_posting_table(events: list[Event]) -> None:
    balance: Any = next((row for (table, _), row in applied(events).items() if table is PROJECT_BALANCE), None)
    sums = naive(events)
    if balance is None:
        assert not events
        return
    assert balance.open_invoices == sums["O"]
    assert balance.unused_credit == sums["C"]
    assert balance.unapplied == sums["U"]
    assert balance.cash_received == sums["cash"]
    assert balance.refunds == sums["refunds"]
    assert balance.last_version == len(events)


@given(histories())
def test_home_figures_are_the_sums_of_what_events_state(events: list[Event]) -> None:
    balance: Any = next((row for (table, _), row in applied(events).items() if table is PROJECT_BALANCE), None)
    sums = naive_at_home(events)
    if balance is None or balance.home_currency is None:
        assert not any(sums.values())
        return
    assert balance.home_currency == "EUR"
    assert balance.home_open_invoices == sums["O"]
    assert balance.home_unused_credit == sums["C"]
    assert balance.home_unapplied == sums["U"]
    assert balance.home_cash_received == sums["cash"]
    assert balance.home_refunds == sums["refunds"]
    assert balance.exchange_difference == sums["gained"]


@given(histories())
def test_what_settled_things_adds_up_the_same_in_every_table(events: list[Event]) -> None:
    rows = applied(events)
    signs = {("Payment", "Invoice"): 1, ("CreditMemo", "Other"): -1}  # a credit paid out is money of the payment
    pairs = [((row.source_type, row.target_type), row.amount) for row in _of(rows, ALLOCATIONS)]
    allocated = sum((signs.get(p, p[0] == "Payment") * amount for p, amount in pairs), Decimal(0))
    paid = sum((row.applied + row.applied_to_other for row in _of(rows, PAYMENTS)), Decimal(0))
    assert allocated == paid
    settled = sum(
        (row.amount for row in _of(rows, ALLOCATIONS) if row.target_type == "Invoice" and row.source_type == "Payment"),
        Decimal(0),
    )
    by_payments = sum((row.applied for row in _of(rows, PAYMENTS)), Decimal(0))
    assert settled == by_payments
    used = {
        kind: sum((row.used for row in _of(rows, PROJECT_DOCUMENTS) if row.record_type == kind), Decimal(0))
        for kind in ("Invoice", "CreditMemo")
    }
    invoiced, credited = _net_figures(events, "Invoice"), _net_figures(events, "CreditMemo")
    balance: Any = next(iter(_of(rows, PROJECT_BALANCE)), None)
    if balance is not None:
        assert balance.open_invoices == invoiced - used["Invoice"]
        assert balance.unused_credit == credited - used["CreditMemo"]


def _of(rows: Rows, table: Any) -> list[Any]:
    return [row for (its_table, _), row in rows.items() if its_table is table]


def _net_figures(events: list[Event], prefix: str) -> Decimal:
    """What documents of this kind posted, without what settled them."""
    return sum(
        (
            sign * (part.total.amount - part.deposit.amount)
            for event in events
            if type(event.body).__name__.startswith(prefix)
            for sign, part in ((1, getattr(event.body, "after", None)), (-1, getattr(event.body, "before", None)))
            if part is not None
        ),
        Decimal(0),
    )


@given(histories(), st.integers(0, 30))
def test_rows_do_not_depend_on_where_a_batch_ends(events: list[Event], cut: int) -> None:
    first = applied(events[:cut])
    with exact():
        for event in events[cut:]:
            for changes in (balance_changes, document_changes, payment_changes):
                apply(first, changes(event))
    assert first == applied(events)
